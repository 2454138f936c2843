"""Forgetting a handle: afterwards nothing names it, and everything about others is unchanged."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import worker.jobs.erasure
from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob, everything
from tests.support.stage import open_stage
from tests.support.waiting import wait_until
from worker.domain.handle import handle_digest
from worker.domain.mentions import Mentions
from worker.jobs.services import Services
from worker.store.erasure import Erasure
from worker.store.keys import Keys
from worker.store.shares import Shares

ANNA = "+12025550147"
BERT = "bert@example.org"
ALMOST_ANNA = "+120255501470"
CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"


async def poll(services: Services, chat_id: str) -> None:
    """Read a chat now, whenever it would be due."""
    await services.store.redis.zadd(services.store.keys.due, {chat_id: 1}, xx=True)
    await services.need_engine().poll_now(chat_id)


async def follow(
    services: Services, run_job: RunJob, chat_id: str, *, asked: bool = False, positions: int = 1, **wishes: Any
) -> str:
    """Track a chat and read it until that many positions are published; return the share's id."""
    job = "request_location" if asked else "track_location"
    result, _ = await run_job(job, job_id=str(uuid.uuid4()), chat_id=chat_id, **wishes)
    share_id = str(result["share_id"])

    async def published() -> bool:
        await poll(services, chat_id)
        seen = await types(services.store.redis, services.settings.key_prefix, share_id)
        return seen.count("location.updated") >= positions

    await wait_until(published, "the positions are there")
    return share_id


async def types(redis: Redis, prefix: str, share_id: str) -> list[str]:
    rows = await redis.xrange(f"{prefix}:events")
    return [fields[b"type"].decode() for _, fields in rows if share_id.encode() in fields[b"data"]]


async def named(redis: Redis, prefix: str, *texts: str) -> list[str]:
    """Return the keys that contain any of these texts, in their name or their content."""
    contents = await everything(redis, prefix)
    return [key for key, content in contents.items() for text in texts if text in key + content]


async def publish(redis: Redis, prefix: str, handle: str, **fields: Any) -> None:
    data = {"chat_id": CHAT, "handle": handle}
    event: dict[Any, Any] = {
        "id": str(uuid.uuid4()),
        "type": "location.updated",
        "subject": handle,
        "reference": "",
        "data": json.dumps(data),
    }
    await redis.xadd(f"{prefix}:events", event | fields)


async def test_a_tracked_chat_ends_and_nothing_names_its_contact(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    chat = simulator.add_person(ANNA, sharing=True)
    other = simulator.add_person(BERT, sharing=True)
    share_id, other_id = [await follow(services, run_job, each) for each in (chat, other)]
    assert {f"{prefix}:{name}" for name in ("events", "geo", f"share:{chat}", f"latest:{chat}")} == set(
        await named(redis, prefix, ANNA)
    )
    others = await types(redis, prefix, other_id)

    done = await run_job("forget_handle", handle="+1 (202) 555-0147")
    assert done == ({"status": "forgotten", "shares": 1, "events": 2}, [])
    assert await named(redis, prefix, ANNA, "2025550147") == []
    assert await types(redis, prefix, share_id) == ["location.tracking.ended"]
    [(_, last)] = await redis.xrevrange(f"{prefix}:events", count=1)
    assert json.loads(last[b"data"])["reason"] == "forgotten"
    assert await redis.zcard(f"{prefix}:due") == 1
    assert await redis.zrange(f"{prefix}:geo", 0, -1) == [BERT.encode()]
    assert await types(redis, prefix, other_id) == others
    assert (await services.store.shares.overview()).phases["tracking"] == 1


async def test_in_a_group_the_handle_is_left_out_and_the_others_stay(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    for handle in (ANNA, BERT):
        simulator.add_person(handle)
    group = simulator.add_chat([ANNA, BERT])
    for handle in (ANNA, BERT):
        simulator.start_sharing(handle, chat_id=group)
    share_id = await follow(services, run_job, group, positions=2)

    done = await run_job("forget_handle", handle=ANNA)
    assert done.result == {"status": "forgotten", "shares": 1, "events": 2}
    assert await named(redis, prefix, ANNA) == []
    simulator.set_position(group, ANNA, 1.5, 2.5)
    simulator.set_position(group, BERT, 3.5, 4.5)
    await poll(services, group)
    assert await named(redis, prefix, ANNA) == []
    assert await types(redis, prefix, share_id) == ["location.sharing.started", "location.updated", "location.updated"]
    assert (await run_job("forget_handle", job_id="again", handle=ANNA)).result["shares"] == 0


async def test_a_reference_that_names_the_contact_goes_with_the_share(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    chat = simulator.add_person(ANNA, sharing=True)
    share_id = await follow(services, run_job, chat, reference=f"for {ANNA}")
    await run_job("forget_handle", handle=ANNA)
    assert await named(redis, prefix, ANNA) == []
    assert await types(redis, prefix, share_id) == []


async def test_of_an_ended_share_the_cool_down_is_all_that_stays(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    chat = simulator.add_person(ANNA)
    await follow(services, run_job, chat, asked=True, reference=f"for {ANNA}")
    await run_job("untrack_location", chat_id=chat)
    before = (await services.store.shares.load(chat)).share
    assert before is not None
    assert before.people
    assert before.prompted_at is not None
    await redis.expire(f"{prefix}:share:{chat}", 1000)

    done = await run_job("forget_handle", handle=ANNA)
    assert done.result["shares"] == 0
    assert done.result["events"] >= 3
    assert await named(redis, prefix, ANNA) == []
    after = (await services.store.shares.load(chat)).share
    assert after is not None
    assert (after.people, after.prompted_at, after.ended) == ([], before.prompted_at, "untracked")
    assert 900 < await redis.ttl(f"{prefix}:share:{chat}") <= 1000


@pytest.mark.parametrize("group", [False, True])
async def test_a_contact_who_has_shown_nothing_yet_is_found_at_linq(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str, *, group: bool
) -> None:
    direct = simulator.add_person(ANNA, accepts_after=None)
    simulator.add_person(BERT)
    chat = simulator.add_chat([ANNA, BERT]) if group else direct
    share_id = await follow(services, run_job, chat, positions=0)
    assert (await run_job("forget_handle", handle=ANNA)).result == {"status": "forgotten", "shares": 1, "events": 0}
    share = (await services.store.shares.load(chat)).share
    assert share is not None
    assert share.ended == (None if group else "forgotten")
    simulator.start_sharing(ANNA, chat_id=chat)
    await poll(services, chat)
    assert await types(redis, prefix, share_id) == ([] if group else ["location.tracking.ended"])


async def test_without_linq_what_is_known_here_is_forgotten(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    chat = simulator.add_person(ANNA, sharing=True)
    await follow(services, run_job, chat)
    simulator.fault("error", endpoint="linq", status=503, replies=None)
    assert (await run_job("forget_handle", handle=ANNA)).result["shares"] == 1
    assert await named(redis, prefix, ANNA) == []
    object.__setattr__(services, "linq", None)
    assert (await run_job("forget_handle", job_id="again", handle=ANNA)).result["shares"] == 0


async def test_only_linq_tells_a_group_of_which_one_was_seen(
    run_job: RunJob, services: Services, simulator: SimulatorServer
) -> None:
    for handle in (ANNA, BERT):
        simulator.add_person(handle)
    group = simulator.add_chat([ANNA, BERT])
    simulator.start_sharing(ANNA, chat_id=group)
    await follow(services, run_job, group)
    simulator.fault("error", endpoint="chats", status=503)
    assert (await run_job("forget_handle", handle=ANNA)).result["shares"] == 1
    share = (await services.store.shares.load(group)).live
    assert share is not None
    assert (share.group, len(share.excluded)) == (True, 1)


async def test_an_unknown_handle_gives_zeros(run_job: RunJob, redis: Redis, prefix: str) -> None:
    await publish(redis, prefix, BERT)
    assert (await run_job("forget_handle", handle=ANNA)).result == {"status": "forgotten", "shares": 0, "events": 0}
    assert await redis.xlen(f"{prefix}:events") == 1


async def test_the_stream_loses_what_names_the_handle_and_nothing_else(
    run_job: RunJob, redis: Redis, prefix: str
) -> None:
    for number in range(1200):
        await publish(redis, prefix, ALMOST_ANNA if number % 3 else ANNA)
    detail = json.dumps({"code": 1003, "detail": "+1 202 555-0147 cannot be reached", "external_id": None})
    await publish(redis, prefix, "", type="location.pin.failed", data=detail)
    await publish(redis, prefix, BERT, reference=ANNA)
    await publish(redis, prefix, BERT, data=json.dumps({"shared_by": ANNA}))
    await publish(redis, prefix, BERT, data=json.dumps({"longitude": 12.025550147}))
    assert (await run_job("forget_handle", handle=ANNA)).result["events"] == 403
    assert await redis.xlen(f"{prefix}:events") == 801


async def test_dead_letters_that_name_the_handle_go_too(
    run_job: RunJob, services: Services, redis: Redis, prefix: str
) -> None:
    keep = services.store.dead_letters.add
    for number in range(60):
        await keep("job", "invalid_arguments", payload=f'{{"to": "{ALMOST_ANNA}", "number": {number}}}')
        await keep("job", "invalid_arguments", payload='{"to": "+1 (202) 555-0147"}')
    await keep("api_reply", "malformed", payload=b"\xff 12025550147")
    await keep("webhook", "x", payload="", detail={"said": "1\u00a0202\u00a0555\u00a00147"})
    await keep("job", "x", payload="", reference=f"call {ANNA}")
    await run_job("forget_handle", handle=ANNA)
    assert await redis.xlen(f"{prefix}:dead-letters") == 60
    await run_job("forget_handle", job_id="2", handle=ALMOST_ANNA)
    assert await redis.xlen(f"{prefix}:dead-letters") == 0


async def test_results_of_pins_and_memories_of_chats_go_too(
    run_job: RunJob, services: Services, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    simulator.fault("error", endpoint="pin", code=1003, message=f"{ANNA} is no number")
    await run_job("send_pin", job_id="pin-1", phone=ANNA, latitude=1, longitude=2)
    await services.store.chats.put(CHAT, is_group=False, line="+12025550100", contacts=[ANNA])
    await services.store.chats.put_between(ANNA, "+12025550100", CHAT)
    await services.store.chats.put_between(BERT, "+12025550100", CHAT)
    await services.store.chats.put_end(ANNA, "+12025550100", 1)
    assert (await run_job("forget_handle", handle=ANNA)).result["events"] == 1
    assert await named(redis, prefix, ANNA) == []
    assert await services.store.chats.get(CHAT) is None
    assert await services.store.chats.between(ANNA, "+12025550100") is None
    assert await services.store.chats.end_of(ANNA, "+12025550100") is None
    assert await services.store.chats.between(BERT, "+12025550100") == CHAT
    again = await run_job("send_pin", job_id="pin-1", phone=ANNA, latitude=1, longitude=2)
    assert again.result == {"status": "failed", "code": 1003, "detail": "erased"}


async def test_a_prefix_is_taken_literally(redis: Redis, prefix: str) -> None:
    """Used as a pattern, the prefix would match the keys of somebody else."""
    erasure = Erasure(redis, Keys(f"{prefix}:[ab]*"))
    theirs = f"{prefix}:ab:chat:{CHAT}"
    ours = f"{prefix}:[ab]*:chat:{CHAT}"
    for key in (theirs, ours):
        await redis.set(key, handle_digest(ANNA), ex=60)
    cursor, found = "", list[str]()
    while cursor != "0":
        page = await erasure.scan(cursor, Mentions(ANNA))
        cursor, found = page.cursor, found + page.forget
    assert found == [ours]


async def test_slices_of_work_add_up(
    run_job: RunJob,
    services: Services,
    simulator: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis, prefix = services.store.redis, services.settings.key_prefix
    monkeypatch.setattr(worker.jobs.erasure, "SLICE_SECONDS", 0.0)
    share = await follow(services, run_job, simulator.add_person(ANNA, sharing=True))
    for number in range(1500):
        await publish(redis, prefix, ANNA if number % 2 else BERT)
    done = await run_job("forget_handle", handle=ANNA)
    assert done.result == {"status": "forgotten", "shares": 1, "events": 752}
    assert len(done.waits) > 3
    assert await named(redis, prefix, ANNA) == []
    assert await types(redis, prefix, share) == ["location.tracking.ended"]


async def test_a_job_cut_off_after_a_change_counts_it_once(
    run_job: RunJob, services: Services, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutError(Exception):
        pass

    chats = [simulator.add_person(ANNA, sharing=True), simulator.add_person(BERT, sharing=True)]
    chats.append(simulator.add_chat([ANNA], line=None))
    for chat in chats:
        await follow(services, run_job, chat)
    change = Shares.change

    async def change_and_die(*arguments: Any) -> bool:
        await change(*arguments)
        raise CutError

    monkeypatch.setattr(Shares, "change", change_and_die)
    for _ in range(2):
        with pytest.raises(CutError):
            await run_job("forget_handle", handle=ANNA)
    monkeypatch.setattr(Shares, "change", change)
    assert (await run_job("forget_handle", handle=ANNA)).result["shares"] == 2


@pytest.mark.acceptance
async def test_a_worker_killed_while_it_erases_is_followed_by_one_that_counts_right(
    simulator: SimulatorServer, redis_url: str, redis: Redis, prefix: str, tmp_path: Path
) -> None:
    count = 60_000
    for start in range(0, count, 2000):
        async with redis.pipeline(transaction=False) as pipeline:
            for number in range(start, start + 2000):
                handle = BERT if number % 2 else ANNA
                pipeline.xadd(f"{prefix}:events", {"subject": handle, "data": json.dumps({"handle": handle})})
            await pipeline.execute()
    async with open_stage(simulator, redis_url, prefix, tmp_path) as stage:
        killed = await stage.workers.start(LINQ_API_V3_API_KEY="", CHERT_SIGNING_SECRET="secret-of-chert")
        job = await stage.client.forget_handle(ANNA)

        async def has_begun() -> bool:
            erased = await redis.hget(f"{prefix}:forget:{job.id}", "events")  # type: ignore[misc]  # redis-py's stubs
            return int(erased or 0) > 0

        await wait_until(has_begun, "some are erased")
        killed.kill()
        assert await redis.xlen(f"{prefix}:events") > count // 2
        # arq gives a killed worker's job to another one after 40 s.
        await redis.delete(f"arq:in-progress:{job.id}")
        await stage.workers.start()
        assert await job.result(timeout=60) == {"status": "forgotten", "shares": 0, "events": count // 2}
        await stage.workers.stop()
        assert all(ANNA not in each.log() for each in stage.workers.started)
    assert await named(redis, prefix, ANNA) == []

"""Linq refuses, fails, stalls and garbles: nothing crashes, nothing is lost, and the work resumes by itself."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.support import oracle
from tests.support.stage import Stage
from tests.support.waiting import wait_until

RETRY_AFTER = 3.0
TRAVEL_SECONDS = 0.2  # how much less time a request may take on its way than the reply before it


async def paused(stage: Stage) -> dict[bytes, bytes]:
    # redis-py's annotation says "awaitable or not" for both of its clients at once.
    return await stage.redis.hgetall(f"{stage.prefix}:pause")  # type: ignore[misc, no-any-return]


async def probe_now(stage: Stage) -> None:
    """Bring forward the probe, which is otherwise made once a minute."""
    await stage.redis.hset(f"{stage.prefix}:pause", "probe_at", "0")  # type: ignore[misc]


@pytest.mark.parametrize("refusal", [{"status": 401, "code": 2004}, {"status": 403, "code": 2011}])
async def test_a_refused_account_pauses_everything_and_goes_on_after_a_probe(
    stage: Stage, refusal: dict[str, Any]
) -> None:
    chats = stage.people(10)
    [waiting] = stage.people(1)
    worker = await stage.workers.start()
    await stage.request_all(chats)
    await stage.more_positions(chats)
    stage.simulator.fault("error", endpoint="linq", replies=None, **refusal)
    await wait_until(lambda: paused(stage), "the pause", deadline=20)
    await worker.logged("paused")

    # A request that comes now is accepted, and waits.
    result = await stage.request(waiting)
    assert (result["status"], result["prompt"]) == ("requested", "waiting")
    sent = len(stage.requests(None))
    await probe_now(stage)
    await wait_until(lambda: len(stage.requests(None)) > sent, "a probe", deadline=20)
    probe_at = await wait_until(lambda: later_probe(stage), "the next probe's time", deadline=20)
    assert probe_at > stage.requests(None)[-1].received_at + 50
    await worker.logged("still_paused")

    stage.simulator.clear_faults()
    assert len(stage.requests(None)) == sent + 1, "more than the probe was sent"
    await probe_now(stage)
    await stage.more_positions([*chats, waiting], more=2)
    assert not await paused(stage)
    assert not await stage.redis.exists(f"{stage.prefix}:dead-letters"), "the probe's good reply is a dead letter"
    shares = await stage.finish()
    assert oracle.count(shares.values(), lambda kind: kind.endswith(("ended", "stopped", "rejected"))) == 0
    assert stage.simulator.prompts(waiting) == 1


async def later_probe(stage: Stage) -> float:
    return float((await paused(stage)).get(b"probe_at", 0))


async def test_a_storm_of_429_slows_everybody_and_no_chat_is_read_before_its_retry_after(stage: Stage) -> None:
    chats = stage.people(30)
    await stage.workers.start(LINQ_REQUESTS_PER_SECOND="100")
    await stage.request_all(chats)
    await stage.more_positions(chats)
    stage.simulator.fault(
        "error", endpoint="read", status=429, code=1007, retry_after=RETRY_AFTER, replies=None, probability=0.5
    )
    await wait_until(lambda: len(throttled(stage)) >= 20, "replies of 429", deadline=60)
    stage.simulator.clear_faults()
    await stage.more_positions(chats)
    shares = await stage.finish()
    assert oracle.count(shares.values(), lambda kind: kind.endswith(("ended", "stopped"))) == 0
    rate = float(await stage.redis.hget(f"{stage.prefix}:budget", "rate") or 0)  # type: ignore[misc]
    assert 0 < rate < 100
    oracle.check_budget(stage.simulator.request_times(), 100)
    for chat in chats:
        for refused, following in pairwise(stage.requests("read", chat)):
            if refused.status == 429:
                assert following.received_at >= refused.sent_at + RETRY_AFTER - TRAVEL_SECONDS


def throttled(stage: Stage) -> list[Any]:
    return [answer for answer in stage.requests("read") if answer.status == 429]


async def test_every_kind_of_failure_mixed_ends_nothing_and_loses_nothing(stage: Stage) -> None:
    chats = stage.people(40)
    await stage.workers.start()
    await stage.workers.start(POLL_CLIENT="httpx")
    async for _, result in stage.client.results(await stage.request_all(chats)):
        assert isinstance(result, dict)
    await stage.more_positions(chats)
    kinds: list[dict[str, Any]] = [
        {"kind": "error", "status": 500},
        {"kind": "error", "status": 503},
        {"kind": "reset"},
        {"kind": "cut"},
        {"kind": "html"},
        {"kind": "html", "status": 403},
        {"kind": "html", "status": 404},
        {"kind": "redirect"},
        {"kind": "slow", "delay": 0.5},
        {"kind": "hang"},
        {"kind": "drip", "delay": 0.5},
        *(
            {"kind": "malformed", "shape": shape}
            for shape in ("features_null", "features_absent", "features_text", "coordinates_text", "nan", "huge")
        ),
        *({"kind": "malformed", "shape": shape} for shape in ("data_null", "list", "not_json", "not_utf8", "nothing")),
    ]
    for kind in kinds:
        stage.simulator.fault(**kind, endpoint="read", replies=None, probability=0.05)
    spoilt = {answer.number for answer in stage.requests("read")}
    await wait_until(
        lambda: (
            len({answer.fault for answer in stage.requests("read") if answer.number not in spoilt}) > 9
            and len(stage.requests("read")) > len(spoilt) + 200
        ),
        "each kind of failure",
        deadline=60,
    )
    stage.simulator.clear_faults()
    await stage.more_positions(chats, more=2)
    shares = await stage.finish(longest_read=2.0)
    assert oracle.count(shares.values(), lambda kind: kind.endswith(("ended", "stopped"))) == 0
    kept = await stage.redis.xrange(f"{stage.prefix}:dead-letters")
    assert {fields[b"kind"] for _, fields in kept} == {b"api_reply"}
    assert all(stage.simulator.api_key.encode() not in b"".join(fields.values()) for _, fields in kept)


async def test_one_reply_that_never_comes_holds_up_nobody_else(stage: Stage) -> None:
    silent, other = stage.people(2)
    worker = await stage.workers.start(LEASE_SECONDS="30")
    await stage.request_all([silent, other], min_interval=2, max_interval=2.5)
    await stage.published(silent, "location.updated")
    await stage.published(other, "location.updated")
    stage.simulator.fault("hang", endpoint="read", chat_id=silent, replies=None)
    await wait_until(
        lambda: [answer for answer in stage.requests("read", silent) if answer.outcome == "hung"],
        "a read without a reply",
        deadline=20,
    )
    await stage.more_positions([other])
    given_up = [line for line in worker.lines("poll") if line["outcome"] == "timeout"]
    assert not given_up, "the other waited until the read was given up"


async def test_a_field_that_linq_adds_is_reported_once_by_its_name(stage: Stage) -> None:
    [chat] = stage.people(1, recording=None, sharing=True)
    added = {"handle": stage.simulator.handle_of(chat), "accuracy": 4.2637, "+12025550111": 1}
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [13.4, 52.5]}, "properties": added}
    stage.simulator.change_chat(chat, features=[feature])
    first = await stage.workers.start()
    await stage.request(chat)
    await first.logged("unknown_field", times=2)
    assert [line["field"] for line in first.lines("unknown_field")] == ["properties.(other)", "properties.accuracy"]
    second = await stage.workers.start()
    await first.stop()
    stage.simulator.change_chat(chat, features=[{**feature, "id": "7"}])
    await second.logged("unknown_field")
    assert [line["field"] for line in second.lines("unknown_field")] == ["id"]
    assert "4.2637" not in first.log() + second.log()
    shown = await stage.workers.command("doctor", "--json")
    found = {finding["check"]: finding["found"] for finding in json.loads(shown.stdout)}
    assert found["linq fields"].endswith(": id, properties.(other), properties.accuracy")

"""The queue of jobs: long, broken, or filled by others."""

import json
import pickle
import time
import uuid
from typing import Any

import pytest

from location_client import Job
from tests.support.stage import Stage
from tests.support.waiting import wait_until
from worker.jobs.arq_worker import MAX_TRIES

Raw = bytes | dict[str, Any]
CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
BACKLOG = 4000  # jobs: about ten seconds of work


async def test_a_long_queue_of_jobs_does_not_hold_up_the_polling(stage: Stage) -> None:
    chats = stage.people(5)
    first = await stage.workers.start()
    await stage.request_all(chats)
    await stage.more_positions(chats)
    assert await first.stop() == 0
    await stage.client.queue_many(Job.untrack_location(str(uuid.uuid4())) for _ in range(BACKLOG))
    await stage.workers.start()
    seen = len(stage.requests("read"))
    await wait_until(lambda: len(stage.requests("read")) > seen + 10, "reads", deadline=60)
    assert await stage.redis.zcard(f"{stage.prefix}:jobs") > BACKLOG / 10
    await stage.finish()


def job(**changes: Any) -> dict[str, Any]:
    """Return a valid job with these changes."""
    right: dict[str, Any] = {
        "t": None,
        "f": "untrack_location",
        "a": [],
        "k": {"chat_id": CHAT},
        "et": int(time.time() * 1000),
    }
    return right | changes


def arguments(**given: Any) -> dict[str, Any]:
    return job(f="request_location", k={"chat_id": CHAT} | given)


class Bomb:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("exploded", "w")


BROKEN: dict[str, Raw] = {
    "not JSON": b"untrack",
    "empty text": b'""',
    "not UTF-8": b'{"f": "\xff\xfe"}',
    "half": json.dumps(job()).encode()[:-9],
    "pickle": pickle.dumps(job()),
    "a pickle that acts": pickle.dumps(Bomb()),
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "f a list": job(f=["untrack_location"]),
    "f a number": job(f=7),
    "f null": job(f=None),
    "f missing": {name: value for name, value in job().items() if name != "f"},
    "t a text": job(t="1"),
    "t negative": job(t=-1),
    "t huge": job(t=10**30),
    "t true": job(t=True),
    "et null": job(et=None),
    "et a text": job(et="now"),
    "et 1e30": json.dumps(job()).encode().replace(b'"et": ', b'"et": 1e30, "x": '),
    "et 10^30": job(et=10**30),
    "et negative": job(et=-5),
    "k a list": job(k=[]),
    "k null": job(k=None),
    "a a text": job(a="chat"),
    "a an object": job(a={}),
    "nested lists": b"[" * 100_000,
    "nested arguments": b'{"t":null,"f":"untrack_location","a":[],"k":{"chat_id":'
    + b"[" * 900
    + b"]" * 900
    + b'},"et":1}',
    "megabytes": job(k={"chat_id": "x" * 3_000_000}),
    "a megabyte of names": job(k={f"name {number}": 1 for number in range(40_000)}),
    "NaN": arguments(min_interval=float("nan")),
    "infinity": arguments(min_interval=float("inf")),
    "unknown function": job(f="untrack"),
    "our stand-in": job(f="refuse", k={"payload": "x", "reason": "x"}),
    "an unknown function of a private name": job(f="__init__"),
    "positional arguments": job(a=[CHAT], k={}),
    "unknown keyword": job(k={"chat_id": CHAT, "chat": CHAT}),
    "unknown keyword that is null": job(k={"chat_id": CHAT, "chat": None}),
    "keyword of the program": job(k={"chat_id": CHAT, "context": {}, "self": 1, "job_id": 2}),
    "no keyword": job(k={}),
    "chat_id a number": job(k={"chat_id": 12}),
    "chat_id a list": job(k={"chat_id": [CHAT]}),
    "chat_id no UUID": job(k={"chat_id": "../../x"}),
    "chat_id in odd digits": job(k={"chat_id": CHAT.replace("3", "\uff13")}),
    "chat_id with misplaced hyphens": job(k={"chat_id": CHAT.replace("-", "") + "----"}),
    "reference empty": arguments(reference=""),
    "reference too long": arguments(reference="x" * 129),
    "reference with a line break": arguments(reference="a\nb"),
    "reference a lone surrogate": arguments(reference="\ud800"),
    "follow a text": arguments(follow="yes"),
    "interval 0": arguments(min_interval=0),
    "interval a text": arguments(max_interval="5"),
    "interval true": arguments(max_interval=True),
    "interval 10^400": arguments(max_interval=10**400),
    "bounds crossed": arguments(min_interval=5, max_interval=1),
    "chat and handles": arguments(to="+12025550147", **{"from": "+12025550148"}),
    "to alone": job(f="request_location", k={"to": "+12025550147"}),
    "to no handle": job(f="request_location", k={"to": "somebody", "from": "+12025550148"}),
    "accept_within of track_location": job(f="track_location", k={"chat_id": CHAT, "accept_within": 5}),
}


def data_of(raw: Raw) -> bytes:
    return raw if isinstance(raw, bytes) else json.dumps(raw).encode()


async def put(stage: Stage, raw: Raw, job_id: str, *, score: float | None = None) -> None:
    await stage.redis.set(f"arq:job:{job_id}", data_of(raw), px=86_400_000)
    await stage.redis.zadd(f"{stage.prefix}:jobs", {job_id: time.time() * 1000 if score is None else score})


async def result_of(stage: Stage, job_id: str) -> dict[str, Any]:
    raw = await wait_until(lambda: stage.redis.get(f"arq:result:{job_id}"), f"the result of {job_id}", deadline=30)
    result: dict[str, Any] = json.loads(raw)
    return result


async def see_it_works(stage: Stage) -> None:
    """Check that a good job queued afterwards succeeds, and that one process served everything."""
    untracked = await stage.client.untrack_location(str(uuid.uuid4()))
    assert await untracked.result() == {"status": "not_tracked"}
    assert all(worker.runs for worker in stage.workers.started)
    assert not any(worker.lines("queue_failed") for worker in stage.workers.started)


async def dead_letters(stage: Stage) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await stage.redis.xrange(f"{stage.prefix}:dead-letters")]


async def test_every_broken_job_is_a_dead_letter_and_a_failed_result(stage: Stage) -> None:
    await stage.workers.start()
    ids = {name: f"{stage.prefix}-{number}" for number, name in enumerate(BROKEN)}
    for name, raw in BROKEN.items():
        await put(stage, raw, ids[name])
    results = {name: await result_of(stage, job_id) for name, job_id in ids.items()}
    assert [name for name, result in results.items() if result["s"]] == []
    # A plain cause, not an error that slipped through.
    causes = {name: result["r"]["error"] for name, result in results.items()}
    assert set(causes.values()) == {"RefusedJobError", "InvalidJobError"}, causes
    assert all(result["r"]["detail"] for result in results.values())
    assert max(len(json.dumps(result["r"])) for result in results.values()) < 10_000
    letters = await dead_letters(stage)
    kept = {json.loads(fields[b"detail"])["job_id"]: fields[b"payload"] for fields in letters}
    assert kept == {
        ids[name]: data_of(raw).decode("utf-8", "replace").encode()[:65_536] for name, raw in BROKEN.items()
    }
    assert len(letters) == len(BROKEN)
    assert all(fields[b"kind"] == b"job" for fields in letters)
    assert results["unknown function"]["r"]["detail"] == (
        "no function 'untrack'; there are forget_handle, request_location, send_pin, set_places, stop_sharing, "
        "track_location, untrack_location"
    )
    assert not [key async for key in stage.redis.scan_iter(match=f"arq:job:{stage.prefix}*")]
    await see_it_works(stage)
    assert not (stage.workers.started[0].log_path.parent / "exploded").exists()
    assert not await stage.entries()


@pytest.mark.parametrize("score", [0.0, -1.0, float("-inf")])
async def test_a_job_whose_time_is_before_all_times_runs_at_once(stage: Stage, score: float) -> None:
    await stage.workers.start()
    job_id = f"{stage.prefix}-early"
    await put(stage, job(), job_id, score=score)
    assert (await result_of(stage, job_id))["r"] == {"status": "not_tracked"}
    await see_it_works(stage)


async def test_entries_of_the_queue_that_are_no_jobs_are_taken_out(stage: Stage) -> None:
    await stage.workers.start()
    queue = f"{stage.prefix}:jobs"
    untracking = job()
    wrong_type, timeless, gone = (f"{stage.prefix}-{name}" for name in ("list", "timeless", "gone"))
    await stage.redis.rpush(f"arq:job:{wrong_type}", "x")  # type: ignore[misc]
    now = time.time() * 1000
    odd = [b"\xff\xfe" + stage.prefix.encode(), f"{stage.prefix} é".encode(), f"{stage.prefix} b".encode()]
    await stage.redis.zadd(queue, {wrong_type: now, gone: now, **dict.fromkeys(odd, now)})
    await put(stage, untracking, timeless, score=float("inf"))
    for job_id in (wrong_type, timeless, gone):
        result = await result_of(stage, job_id)
        assert not result["s"]
        assert result["r"]["detail"]
    assert await wait_until(lambda: is_empty(stage), "an empty queue", deadline=30)
    letters = await dead_letters(stage)
    # If an entry has no data, the dead letter holds the entry itself.
    assert {json.loads(fields[b"detail"])["job_id"]: fields[b"payload"] for fields in letters} == {
        wrong_type: wrong_type.encode(),
        timeless: data_of(untracking),
        **{name: name.encode() for name in (entry.decode("utf-8", "replace") for entry in odd)},
    }
    await see_it_works(stage)


async def test_a_job_that_was_tried_too_often_is_a_dead_letter(stage: Stage) -> None:
    await stage.workers.start()
    job_id = f"{stage.prefix}-tried"
    await put(stage, job(t=MAX_TRIES + 1), job_id)
    assert (await result_of(stage, job_id))["r"]["error"] == "JobExecutionFailed"
    [letter] = await dead_letters(stage)
    assert letter[b"reason"] == b"given_up"
    assert json.loads(letter[b"payload"])["k"] == {"chat_id": CHAT}


async def is_empty(stage: Stage) -> bool:
    """Return whether the queue holds nothing but the ticks."""
    entries = await stage.redis.zrange(f"{stage.prefix}:jobs", 0, -1)
    return not [entry for entry in entries if not entry.startswith(b"cron:")]

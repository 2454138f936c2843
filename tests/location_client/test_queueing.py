"""Jobs reach the queue as docs/reference/jobs.md describes, and their results come back."""

import asyncio
import json
import math
import pickle
import uuid
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job as ArqJob
from redis.asyncio import Redis

from location_client import Job, JobExists, JobFailed, LocationClient, QueuedJob
from tests.location_client.samples import CHAT, Answer


async def job_in_redis(redis: Redis, job_id: str) -> Any:
    return json.loads(await redis.get(f"arq:job:{job_id}") or b"null")


async def test_a_request_is_written_as_the_contract_says(client: LocationClient, redis: Redis, prefix: str) -> None:
    job = await client.request_location(
        chat_id=CHAT, reference="Bestellung № 7", follow=False, accept_within=60, min_interval=15
    )
    assert str(uuid.UUID(job.id)) == job.id
    body = await job_in_redis(redis, job.id)
    enqueued_at = body.pop("et")
    arguments = {
        "chat_id": CHAT,
        "reference": "Bestellung № 7",
        "follow": False,
        "accept_within": 60,
        "min_interval": 15,
    }
    assert body == {"t": None, "f": "request_location", "a": [], "k": arguments}
    seconds, _ = await redis.time()
    assert abs(enqueued_at / 1000 - seconds) < 60
    assert await redis.zscore(f"{prefix}:jobs", job.id) == enqueued_at
    assert 86_300_000 < await redis.pttl(f"arq:job:{job.id}") <= 86_400_000


async def test_from_is_written_without_the_underscore_that_python_needs(client: LocationClient, redis: Redis) -> None:
    job = await client.request_location(to="+12025550147", from_="+14155550100", message="Where are you?")
    body = await job_in_redis(redis, job.id)
    assert body["k"] == {"to": "+12025550147", "from": "+14155550100", "message": "Where are you?"}


async def test_every_job_of_the_contract_has_its_method(client: LocationClient, redis: Redis) -> None:
    queued: list[QueuedJob[Any]] = [
        await client.track_location(chat_id=CHAT, follow_for=60),
        await client.untrack_location(CHAT),
        await client.stop_sharing(CHAT, "+12025550147"),
        await client.send_pin(phone="+12025550147", latitude=51.5, longitude=-0.1, label="London Eye"),
        await client.forget_handle("someone@example.org"),
    ]
    bodies = [await job_in_redis(redis, job.id) for job in queued]
    assert [(body["f"], body["k"]) for body in bodies] == [
        ("track_location", {"chat_id": CHAT, "follow_for": 60}),
        ("untrack_location", {"chat_id": CHAT}),
        ("stop_sharing", {"chat_id": CHAT, "handle": "+12025550147"}),
        (
            "send_pin",
            {"phone": "+12025550147", "latitude": 51.5, "longitude": -0.1, "label": "London Eye"},
        ),
        ("forget_handle", {"handle": "someone@example.org"}),
    ]


async def test_arq_itself_reads_what_the_client_wrote(client: LocationClient, redis: Redis, prefix: str) -> None:
    job = await client.untrack_location(CHAT)
    pool = ArqRedis(connection_pool=redis.connection_pool, job_deserializer=json.loads)
    info = await ArqJob(job.id, pool, _queue_name=f"{prefix}:jobs", _deserializer=json.loads).info()
    assert info is not None
    assert (info.function, list(info.args), info.kwargs) == ("untrack_location", [], {"chat_id": CHAT})


async def test_the_queue_can_have_a_name_of_its_own(redis: Redis, prefix: str, lasting: set[str]) -> None:
    lasting.add(f"{prefix}:others")
    client = LocationClient(redis, key_prefix=prefix, queue_name=f"{prefix}:others")
    job = await client.untrack_location(CHAT)
    assert await redis.zscore(f"{prefix}:others", job.id) is not None
    assert not await redis.exists(f"{prefix}:jobs")


async def test_a_redis_that_was_given_stays_open(redis: Redis, prefix: str) -> None:
    async with LocationClient(redis, key_prefix=prefix) as client:
        await client.untrack_location(CHAT)
    assert await redis.ping()


async def test_thousands_of_jobs_are_queued_in_order_and_progress_is_told(
    client: LocationClient, redis: Redis, prefix: str
) -> None:
    jobs = [Job.track_location(chat_id=str(uuid.UUID(int=number))) for number in range(1200)]
    told: list[int] = []
    queued = await client.queue_many(jobs, progress=told.append)
    assert [job.id for job in queued] == [job.id for job in jobs]
    assert sum(told) == await redis.zcard(f"{prefix}:jobs") == 1200
    assert len(told) > 1
    assert (await job_in_redis(redis, jobs[-1].id))["k"] == {"chat_id": str(uuid.UUID(int=1199))}


async def test_an_id_that_waits_in_the_queue_is_not_queued_again(client: LocationClient, redis: Redis) -> None:
    job_id = f"mine-{uuid.uuid4()}"
    await client.untrack_location(CHAT, job_id=job_id)
    with pytest.raises(JobExists, match=f"job id in use: {job_id}"):
        await client.forget_handle("+12025550147", job_id=job_id)
    assert (await job_in_redis(redis, job_id))["f"] == "untrack_location"


async def test_an_id_whose_result_is_kept_is_not_queued_again(
    client: LocationClient, redis: Redis, answer: Answer, prefix: str
) -> None:
    job = await client.untrack_location(CHAT)
    await answer(job.id, {"status": "untracked"})
    await redis.delete(f"{prefix}:jobs")
    fresh = Job.untrack_location(CHAT)
    with pytest.raises(JobExists, match=job.id):
        await client.queue_many([Job.untrack_location(CHAT, job_id=job.id), fresh])
    assert await redis.zrange(f"{prefix}:jobs", 0, -1) == [fresh.id.encode()]


@pytest.mark.parametrize("job_id", ["with space", "ключ", "line\nbreak", "\x00"])
def test_an_id_that_no_key_should_have_is_refused(job_id: str) -> None:
    with pytest.raises(ValueError, match="expected printable ASCII without spaces"):
        Job.untrack_location(CHAT, job_id=job_id)


async def test_what_no_worker_would_take_is_refused_before_anything_is_written(
    client: LocationClient, redis: Redis, prefix: str
) -> None:
    with pytest.raises(ValueError, match="latitude: accepted: degrees from -90 to 90"):
        await client.send_pin(phone="+12025550147", latitude=math.nan, longitude=0)
    assert not await redis.exists(f"{prefix}:jobs")


async def test_a_result_is_waited_for(client: LocationClient, answer: Answer) -> None:
    job = await client.untrack_location(CHAT)
    waiting = asyncio.create_task(job.result(timeout=30))
    await asyncio.sleep(0)
    await answer(job.id, {"status": "not_tracked"})
    assert await waiting == {"status": "not_tracked"}


async def test_a_failed_job_raises_what_the_worker_says(client: LocationClient, answer: Answer) -> None:
    job = await client.request_location(chat_id=CHAT)
    detail = [{"field": "chat_id", "message": "accepted: a UUID", "given": "'no-uuid'"}]
    await answer(job.id, {"error": "InvalidJobError", "detail": detail}, success=False)
    with pytest.raises(JobFailed, match=r"^InvalidJobError: chat_id: accepted: a UUID$") as caught:
        await job.result(timeout=30)
    assert (caught.value.error, caught.value.detail) == ("InvalidJobError", detail)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (pickle.dumps({"s": True}), "UnreadableResult"),
        (b"[]", "UnreadableResult"),
        (b"{}", "UnreadableResult"),
        (b"[" * 100_000, "UnreadableResult"),
        (b'{"s": false, "r": "unable to serialize result"}', "Failure"),
    ],
    ids=["pickle", "list", "empty", "deep", "text"],
)
async def test_a_result_of_another_shape_is_a_failure_and_never_unpickled(
    client: LocationClient, redis: Redis, raw: bytes, error: str
) -> None:
    job = await client.untrack_location(CHAT)
    await redis.set(f"arq:result:{job.id}", raw, px=60_000)
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=30)
    assert caught.value.error == error


async def test_no_result_in_time_is_a_timeout_that_names_the_likely_cause(client: LocationClient) -> None:
    job = await client.untrack_location(CHAT)
    with pytest.raises(TimeoutError, match="does a worker serve this queue"):
        await job.result(timeout=0.1)


async def test_a_job_that_redis_has_lost_is_a_failure(
    client: LocationClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("location_client.client._LOST_AFTER_SECONDS", 0.2)
    job = await client.untrack_location(CHAT)
    await redis.delete(f"arq:job:{job.id}")
    with pytest.raises(JobFailed, match="neither the job nor its result is in Redis"):
        await job.result(timeout=30)


async def test_many_results_come_as_they_are_ready(client: LocationClient, answer: Answer) -> None:
    first, second, third = await client.queue_many([Job.untrack_location(CHAT) for _ in range(3)])
    await answer(second.id, {"status": "untracked"})
    await answer(third.id, {"error": "InvalidJob", "detail": "no"}, success=False)
    outcomes: dict[str, Any] = {}
    async for job, outcome in client.results([first, second, third], timeout=30):
        outcomes[job.id] = outcome
        if len(outcomes) == 2:
            await answer(first.id, {"status": "not_tracked"})
    assert outcomes[first.id] == {"status": "not_tracked"}
    assert outcomes[second.id] == {"status": "untracked"}
    assert isinstance(outcomes[third.id], JobFailed)


async def test_results_that_do_not_come_in_time_are_left_out(client: LocationClient, answer: Answer) -> None:
    slow, quick = await client.queue_many([Job.untrack_location(CHAT) for _ in range(2)])
    await answer(quick.id, {"status": "untracked"})
    assert [job.id async for job, _ in client.results([slow, quick], timeout=0.2)] == [quick.id]

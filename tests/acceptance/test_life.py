"""One worker from the queued job to the end of the share."""

import json
import socket
import time
import uuid
from typing import Any

import httpx
from arq.connections import ArqRedis

from tests.support.stage import Stage
from tests.support.waiting import wait_until

METRICS = (
    "location_polls_total",
    "location_poll_seconds_bucket",
    "location_positions_total",
    "location_staleness_seconds_bucket",
    "location_requests_total",
    "location_pins_total",
    "location_dead_letters_total",
)


async def test_a_queued_request_becomes_a_prompt_and_positions_until_it_is_untracked(stage: Stage) -> None:
    [chat] = stage.people(1)
    await stage.workers.start()
    result = await stage.request(chat)
    assert result["status"] == "requested"
    assert result["prompt"] == "sent"
    await stage.published(chat, "location.updated", times=4)
    again = await stage.request(chat)
    assert (again["status"], again["share_id"]) == ("already_tracked", result["share_id"])
    job = await stage.client.untrack_location(chat)
    assert await job.result() == {"status": "untracked"}

    shares = await stage.finish()
    types = shares[result["share_id"]].types()
    assert types[:3] == ["location.requested", "location.sharing.started", "location.updated"]
    assert types[-1] == "location.tracking.ended"
    assert stage.simulator.prompts(chat) == 1
    assert not await stage.redis.exists(f"{stage.prefix}:latest:{chat}")


async def test_a_contact_who_stops_ends_the_share(stage: Stage) -> None:
    [chat] = stage.people(1, sharing=True, handle="+12025550147")
    await stage.workers.start()
    result = await stage.request(chat)
    assert result["status"] == "already_sharing"
    await stage.published(chat, "location.updated", times=2)
    stage.simulator.stop_sharing("+12025550147")
    await stage.published(chat, "location.tracking.ended")
    shares = await stage.finish()
    assert json.loads(shares[result["share_id"]].entries[-1]["data"])["reason"] == "sharing_stopped"


async def test_a_job_written_by_hand_runs(stage: Stage) -> None:
    """The wire format of docs/reference/jobs.md, with nothing but Redis commands."""
    [chat] = stage.people(1)
    await stage.workers.start()
    job_id, now = str(uuid.uuid4()), int(time.time() * 1000)
    arguments = {"chat_id": chat.upper(), "follow": False, "max_interval": 0.5}
    body: dict[str, Any] = {"t": None, "f": "request_location", "a": [], "k": arguments, "et": now}
    async with stage.redis.pipeline(transaction=True) as pipeline:
        pipeline.set(f"arq:job:{job_id}", json.dumps(body), px=86_400_000)
        pipeline.zadd(f"{stage.prefix}:jobs", {job_id: now})
        await pipeline.execute()
    raw = await wait_until(lambda: stage.redis.get(f"arq:result:{job_id}"), "the result", deadline=30)
    result = json.loads(raw)
    assert set(result) == {"t", "f", "a", "k", "et", "s", "r", "st", "ft", "q", "id"}
    assert (result["s"], result["f"], result["k"], result["id"]) == (True, "request_location", body["k"], job_id)
    assert result["r"]["status"] == "requested"
    assert result["r"]["chat_id"] == chat
    assert 0 < await stage.redis.ttl(f"arq:result:{job_id}") <= 3600
    await stage.published(chat, "location.tracking.ended")
    [share] = (await stage.finish()).values()
    assert share.types() == [
        "location.requested",
        "location.sharing.started",
        "location.updated",
        "location.tracking.ended",
    ]


async def test_arqs_own_client_with_json_works(stage: Stage) -> None:
    [chat] = stage.people(1)
    await stage.workers.start()
    arq = ArqRedis(
        stage.redis.connection_pool,
        job_serializer=lambda job: json.dumps(job).encode(),
        job_deserializer=json.loads,
        default_queue_name=f"{stage.prefix}:jobs",
    )
    job = await arq.enqueue_job("track_location", chat_id=chat)
    assert job is not None
    assert (await job.result(timeout=30, poll_delay=0.05))["status"] == "tracking"
    job = await arq.enqueue_job("untrack_location", chat_id=chat)
    assert job is not None
    assert await job.result(timeout=30, poll_delay=0.05) == {"status": "untracked"}


async def test_metrics_are_served_and_name_nobody(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    [chat] = stage.people(1)
    await stage.workers.start(METRICS_PORT=str(port))
    await stage.request(chat)
    await stage.published(chat, "location.updated")
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    assert [name for name in METRICS if name not in text] == []
    assert 'location_polls_total{outcome="new"}' in text
    assert 'location_requests_total{outcome="sent"} 1.0' in text
    assert chat not in text
    assert not [handle for handle in stage.simulator.world.people if handle.strip("+") in text]

"""Pins: one event and one result for each job, whatever happens to Chert, the connection and the worker."""

import asyncio
import contextlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis

from simulator.harness import SimulatorServer
from tests.support.jobs import RunJob
from tests.support.rawserver import Exchange, answering, http_answer, raw_server
from tests.support.stage import open_stage
from tests.support.waiting import wait_until
from worker import metrics
from worker.chert.client import ChertClient
from worker.jobs.arguments import InvalidJobError
from worker.jobs.services import MissingKeyError, Services

PHONE = "+12025550147"
PIN: dict[str, Any] = {"phone": PHONE, "latitude": 51.5033, "longitude": -0.1196}
FIELDS = [
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "sequence", "reference",
    "data",
]  # fmt: skip


async def entries(redis: Redis, stream: str) -> list[dict[str, str]]:
    rows = await redis.xrange(stream)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in rows]


async def events(redis: Redis, prefix: str) -> list[dict[str, str]]:
    return await entries(redis, f"{prefix}:events")


async def letters(redis: Redis, prefix: str) -> list[dict[str, str]]:
    return await entries(redis, f"{prefix}:dead-letters")


async def test_a_pin_is_queued_and_said_so_on_the_stream(
    run_job: RunJob, redis: Redis, prefix: str, simulator: SimulatorServer, job_id: str
) -> None:
    done = await run_job(
        "send_pin", **PIN | {"phone": "+1 (202) 555-0147"}, label="London Eye", external_id="x-7", reference="order 7"
    )
    [pin] = simulator.pins()
    assert pin.body == {
        **PIN,
        "label": "London Eye",
        "fallback_mode": "auto",
        "idempotency_key": job_id,
        "external_id": "x-7",
    }
    message_id, line = pin.reply["message_id"], pin.reply["phone_line_id"]
    assert done == ({"status": "queued", "message_id": message_id, "phone_line_id": line}, [])
    [event] = await events(redis, prefix)
    assert list(event) == FIELDS
    assert event["time"].endswith("Z")
    assert event | {"time": "", "data": ""} == {
        "specversion": "1.0",
        "id": job_id,
        "source": "/chert",
        "type": "location.pin.queued",
        "subject": PHONE,
        "time": "",
        "datacontenttype": "application/json",
        "dataschema": "urn:location-worker:location.pin.queued:1",
        "sequence": "1",
        "reference": "order 7",
        "data": "",
    }
    data = json.loads(event["data"])
    location = data.pop("location")
    assert data == {"message_id": message_id, "phone_line_id": line, "external_id": "x-7"}
    assert location == {
        "latitude": 51.5033,
        "longitude": -0.1196,
        "label": "London Eye",
        "mode": "balloon",
        "fallback_mode_requested": "auto",
    }
    assert await letters(redis, prefix) == []


async def test_a_pin_into_a_delivery_chat_has_no_subject(run_job: RunJob, redis: Redis, prefix: str) -> None:
    await run_job("send_pin", chat_id="iMessage;-;+12025550147", latitude=1, longitude=2, idempotency_key="pin-7f3a")
    [event] = await events(redis, prefix)
    assert event["id"] == "pin-7f3a"
    assert list(event) == [name for name in FIELDS if name not in ("subject", "reference")]


async def test_a_job_id_too_long_for_a_key_stands_for_itself_by_its_digest(
    run_job: RunJob, simulator: SimulatorServer
) -> None:
    for name in ("j" * 200, "j" * 201):
        await run_job("send_pin", job_id=name, **PIN)
    short, long = (pin.body["idempotency_key"] for pin in simulator.pins())
    assert short == "j" * 200
    assert len(long) == 64
    assert long != short


async def test_a_final_refusal_is_a_failed_result_an_event_and_a_dead_letter(
    run_job: RunJob, redis: Redis, prefix: str, simulator: SimulatorServer, job_id: str
) -> None:
    simulator.fault("error", endpoint="pin", status=422, code=4099, message="Location is not available on this line")
    done = await run_job("send_pin", **PIN, external_id="x-7", reference="order 7")
    detail = "Location is not available on this line"
    assert done == ({"status": "failed", "code": 4099, "detail": detail}, [])
    [event] = await events(redis, prefix)
    assert (event["type"], event["id"], event["subject"]) == ("location.pin.failed", job_id, PHONE)
    assert json.loads(event["data"]) == {"code": 4099, "detail": detail, "external_id": "x-7"}
    [letter] = await letters(redis, prefix)
    assert (letter["kind"], letter["reason"], letter["reference"]) == ("job", "pin_failed", "order 7")
    assert json.loads(letter["payload"]) == {
        "f": "send_pin",
        "k": {**PIN, "external_id": "x-7", "reference": "order 7"},
    }
    assert json.loads(letter["detail"]) == {"job_id": job_id, "code": 4099, "fault": detail}


async def test_a_named_wait_is_obeyed(run_job: RunJob, simulator: SimulatorServer) -> None:
    simulator.fault("error", endpoint="pin", code=1007, retry_after=37, replies=5)
    result, waits = await run_job("send_pin", **PIN)
    assert result["status"] == "queued"
    assert waits == [37.0] * 5


async def test_ten_attempts_are_enough(run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str) -> None:
    simulator.fault("error", endpoint="pin", code=1007, retry_after=2, replies=None)
    result, waits = await run_job("send_pin", **PIN)
    assert len(waits) == 9
    assert len(simulator.answers(endpoint="pin")) == 10
    assert result == {"status": "failed", "code": 1007, "detail": "given up after 10 attempts: HTTP 429, code 1007"}
    [event], [letter] = await events(redis, prefix), await letters(redis, prefix)
    assert json.loads(event["data"])["code"] == json.loads(letter["detail"])["code"] == 1007


async def test_without_a_named_wait_it_is_given_up_after_1_2_and_4_seconds(
    run_job: RunJob, simulator: SimulatorServer
) -> None:
    simulator.fault("error", endpoint="pin", code=3001, replies=None)
    result, waits = await run_job("send_pin", **PIN)
    assert waits == [1.0, 2.0, 4.0]
    detail = "given up after 4 attempts: HTTP 500, code 3001; it may have been sent"
    assert result == {"status": "failed", "code": 3001, "detail": detail}


async def test_the_code_is_the_last_one_that_chert_gave(run_job: RunJob, simulator: SimulatorServer) -> None:
    simulator.fault("error", endpoint="pin", code=4002)
    simulator.fault("error", endpoint="pin", code=3002)
    simulator.fault("html", endpoint="pin", status=404, after_work=False, replies=None)
    result, waits = await run_job("send_pin", **PIN)
    assert len(waits) == 3
    assert result == {"status": "failed", "code": 3002, "detail": "given up after 4 attempts: HTTP 404"}


async def test_where_chert_gave_no_code_there_is_none(run_job: RunJob, simulator: SimulatorServer) -> None:
    simulator.fault("html", endpoint="pin", status=403, after_work=False, replies=None)
    result, waits = await run_job("send_pin", **PIN)
    assert len(waits) == 3
    assert result == {"status": "failed", "code": None, "detail": "given up after 4 attempts: HTTP 403"}
    assert simulator.pins() == []


async def test_an_attempt_whose_outcome_nobody_knows_is_remembered_to_the_end(
    run_job: RunJob, simulator: SimulatorServer
) -> None:
    simulator.fault("reset", endpoint="pin", after_work=True)
    simulator.fault("error", endpoint="pin", code=3002, replies=None)
    result, _ = await run_job("send_pin", **PIN)
    assert result["detail"] == "given up after 4 attempts: HTTP 503, code 3002; it may have been sent"
    assert len(simulator.pins()) == 1


async def test_a_redirect_is_no_proof_that_nothing_was_sent(run_job: RunJob, simulator: SimulatorServer) -> None:
    simulator.fault("redirect", endpoint="pin", after_work=True)
    simulator.fault("error", endpoint="pin", code=4099)
    result, waits = await run_job("send_pin", **PIN)
    assert (result["status"], result["code"], waits) == ("failed", 4099, [1.0])
    assert result["detail"].endswith("; it may have been sent")


async def test_a_run_that_was_cut_off_may_have_sent_the_pin(
    run_job: RunJob, simulator: SimulatorServer, job_id: str
) -> None:
    simulator.fault("slow", endpoint="pin", delay=60)
    cut = asyncio.create_task(run_job("send_pin", **PIN))
    await wait_until(simulator.pins, "the pin has been sent")
    cut.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cut
    simulator.clear_faults()
    simulator.fault("error", endpoint="pin", code=4099)
    result, _ = await run_job("send_pin", **PIN)
    assert result["detail"].endswith("; it may have been sent")
    # A new job sends a new pin.
    simulator.fault("error", endpoint="pin", code=4099)
    other, _ = await run_job("send_pin", job_id=f"{job_id}-2", **PIN)
    assert "may have been sent" not in other["detail"]


async def test_a_bad_character_in_the_answer_costs_no_pin(run_job: RunJob, services: Services) -> None:
    body = b'{"message_id": "msg_1", "phone_line_id": null, "location": {"label": "Caf\\ud83d"}, "note": "\xe9"}'
    answer = http_answer(body, status="202 Accepted")
    async with raw_server(answering(answer)) as server, ChertClient(base_url=server.url, signing_secret="s") as chert:
        object.__setattr__(services, "chert", chert)
        done = await run_job("send_pin", **PIN)
    assert done == ({"status": "queued", "message_id": "msg_1", "phone_line_id": None}, [])
    assert len(server.bodies) == 1


async def test_a_wait_beyond_the_life_of_the_job_is_not_begun(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, job_id: str
) -> None:
    await redis.set(f"arq:job:{job_id}", b"", ex=3600 + 100)
    simulator.fault("error", endpoint="pin", code=1007, retry_after=60, replies=1)
    simulator.fault("error", endpoint="pin", code=1007, retry_after=600, replies=1)
    result, waits = await run_job("send_pin", **PIN)
    assert waits == [60.0]
    assert result["status"] == "failed"


async def test_a_broken_connection_sends_the_same_bytes_again(run_job: RunJob, services: Services) -> None:
    accepted = http_answer(b'{"message_id": "msg_1", "phone_line_id": null, "location": null}', status="202 Accepted")

    async def script(exchange: Exchange) -> None:
        if len(server.bodies) < 3:
            exchange.reset()
        else:
            await exchange.send(accepted)

    async with raw_server(script) as server, ChertClient(base_url=server.url, signing_secret="s") as chert:
        object.__setattr__(services, "chert", chert)
        done = await run_job("send_pin", **PIN, expires_at="2026-10-12T11:00:00+02:00", label="Café № 7")
    assert done == ({"status": "queued", "message_id": "msg_1", "phone_line_id": None}, [1.0, 2.0])
    assert len(set(server.bodies)) == 1
    assert json.loads(server.bodies[0])["expires_at"] == "2026-10-12T09:00:00Z"


async def test_a_pin_whose_answer_was_lost_is_sent_once(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    simulator.fault("reset", endpoint="pin", after_work=True, replies=2)
    result, waits = await run_job("send_pin", **PIN)
    assert (result["status"], waits) == ("queued", [1.0, 2.0])
    assert len(simulator.pins()) == 1
    assert len(await events(redis, prefix)) == 1


async def test_a_job_that_runs_again_gives_its_first_result_and_calls_nobody(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    first = await run_job("send_pin", **PIN)
    assert await run_job("send_pin", **PIN) == first
    assert len(simulator.answers(endpoint="pin")) == 1
    assert len(await events(redis, prefix)) == 1


async def test_two_runs_at_a_time_are_one_pin_and_one_event(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    """A job is started again 40 s after its worker was last heard of, even if the worker is alive."""
    simulator.fault("slow", endpoint="pin", delay=0.3)
    first, second = await asyncio.gather(run_job("send_pin", **PIN), run_job("send_pin", **PIN))
    assert first == second
    assert len(simulator.pins()) == len(await events(redis, prefix)) == 1


async def test_each_attempt_is_counted_by_what_came_of_it(run_job: RunJob, simulator: SimulatorServer) -> None:
    def counts() -> dict[str, float]:
        outcomes = ("queued", "failed", "retried", "uncertain", "paused")
        return {outcome: metrics.PINS.labels(outcome)._value.get() for outcome in outcomes}

    before = counts()
    simulator.fault("error", endpoint="pin", code=3002)
    simulator.fault("reset", endpoint="pin")
    simulator.fault("error", endpoint="pin", code=4099)
    for job in ("a", "b"):
        await run_job("send_pin", job_id=job, **PIN)
    simulator.fault("error", endpoint="pin", code=2004)
    await run_job("send_pin", job_id="c", runs=1, **PIN)
    gained = {outcome: count - before[outcome] for outcome, count in counts().items()}
    assert gained == {"queued": 1, "failed": 1, "retried": 1, "uncertain": 1, "paused": 1}


@pytest.mark.parametrize("code", [2001, 2005, 2007, 2008, 3003])
async def test_what_chert_calls_final_is_not_sent_again_though_it_may_concern_the_account(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str, code: int
) -> None:
    simulator.fault("error", endpoint="pin", code=code)
    result, waits = await run_job("send_pin", **PIN)
    assert (result["status"], result["code"], waits) == ("failed", code, [])
    assert [event["type"] for event in await events(redis, prefix)] == ["location.pin.failed"]
    assert (await run_job("send_pin", job_id="next", **PIN)).result["status"] == "queued"


@pytest.mark.parametrize("lost", [2004, 2012, 2013])
async def test_a_refused_secret_lets_pins_wait_and_one_a_minute_try(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, services: Services, lost: int
) -> None:
    prefix = services.settings.key_prefix

    async def a_minute_later() -> None:
        await redis.hset(f"{prefix}:pins-pause", "probe_at", "0")  # type: ignore[misc]  # redis-py's stubs

    simulator.fault("error", endpoint="pin", code=lost, replies=2)
    jobs = [str(uuid.uuid4()) for _ in range(3)]
    with structlog.testing.capture_logs() as logs:
        for job in jobs:
            done = await run_job("send_pin", job_id=job, runs=1, **PIN)
            assert done.result is None
            assert 0 < done.waits[0] <= 65
        assert len(simulator.answers(endpoint="pin")) == 1

        await a_minute_later()
        for job in jobs:
            assert (await run_job("send_pin", job_id=job, runs=1, **PIN)).result is None
        assert len(simulator.answers(endpoint="pin")) == 2
        assert (pause := await services.store.pins_pause.state()) is not None
        assert str(lost) in pause.reason
        assert await services.store.account_pause.state() is None

        await a_minute_later()
        for job in jobs:
            assert (await run_job("send_pin", job_id=job, runs=1, **PIN)).result["status"] == "queued"
    assert await services.store.pins_pause.state() is None
    said = [line["event"] for line in logs if line["event"].startswith("pins_")]
    assert said == ["pins_paused", "pins_still_paused", "pins_resumed"]
    assert [event["type"] for event in await events(redis, prefix)] == ["location.pin.queued"] * 3


async def test_a_pin_that_waited_for_the_account_all_its_life_fails(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str, job_id: str
) -> None:
    await redis.set(f"arq:job:{job_id}", b"", ex=3600)
    simulator.fault("error", endpoint="pin", code=2004)
    result, waits = await run_job("send_pin", **PIN)
    assert (result["status"], result["code"], waits) == ("failed", 2004, [])
    assert result["detail"].startswith("not sent: Chert has refused the whole account")
    assert [event["type"] for event in await events(redis, prefix)] == ["location.pin.failed"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"phone": None}, "arguments"),
        ({"chat_id": "iMessage;-;+12025550148"}, "arguments"),
        ({"phone": "202 555 0147"}, "phone"),
        ({"phone": "anna@example.org"}, "phone"),
        ({"phone": None, "chat_id": "iMessage;-;+12025550148\n"}, "chat_id"),
        ({"latitude": 90.0001234}, "latitude"),
        ({"longitude": "12.3456789"}, "longitude"),
        ({"label": "Anna's\nhouse"}, "label"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"fallback_mode": "vcard"}, "fallback_mode"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"idempotency_key": "k" * 201}, "idempotency_key"),
        ({"idempotency_key": "clé"}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "a\n"}, "idempotency_key"),
        ({"reference": ""}, "reference"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_no_pin_is_refused_by_name_and_kept(
    run_job: RunJob, simulator: SimulatorServer, services: Services, change: dict[str, Any], field: str
) -> None:
    redis, prefix = services.store.redis, services.settings.key_prefix
    with pytest.raises(InvalidJobError) as refused:
        await run_job("send_pin", **PIN | change)
    assert [entry["field"] for entry in refused.value.detail] == [field]
    said = json.dumps(refused.value.detail)
    assert not [text for text in ("555", "anna", "90.0001", "12.345", "house", "javascript") if text in said]
    [letter] = await letters(redis, prefix)
    assert (letter["kind"], letter["reason"]) == ("job", "invalid_arguments")
    assert json.loads(letter["payload"]) == {"f": "send_pin", "k": PIN | change}
    assert simulator.answers(endpoint="pin") == []
    assert await events(redis, prefix) == []


async def test_null_is_as_good_as_nothing(run_job: RunJob, job_id: str, simulator: SimulatorServer) -> None:
    nothing = dict.fromkeys(["chat_id", "label", "address", "url", "fallback_mode", "idempotency_key", "reference"])
    await run_job("send_pin", **PIN | nothing)
    assert [pin.body for pin in simulator.pins()] == [{**PIN, "fallback_mode": "auto", "idempotency_key": job_id}]


async def test_without_its_secret_the_job_names_the_variable(run_job: RunJob, services: Services) -> None:
    object.__setattr__(services, "chert", None)
    with pytest.raises(MissingKeyError, match="CHERT_SIGNING_SECRET"):
        await run_job("send_pin", **PIN)


async def test_a_secret_never_gets_into_a_dead_letter(
    run_job: RunJob, simulator: SimulatorServer, redis: Redis, prefix: str
) -> None:
    secret = simulator.chert_secret
    simulator.fault("error", endpoint="pin", status=400, code=1002, message=f"bad token {secret}")
    await run_job("send_pin", **PIN, label=secret)
    [letter] = await letters(redis, prefix)
    assert json.loads(letter["payload"])["k"] == PIN | {"label": "•••"}
    assert secret not in letter["detail"]


@pytest.mark.acceptance
async def test_a_worker_killed_between_the_pin_and_its_event_sends_it_once(
    simulator: SimulatorServer, redis_url: str, redis: Redis, prefix: str, tmp_path: Path
) -> None:
    simulator.fault("slow", endpoint="pin", delay=60)
    chert = {"CHERT_SIGNING_SECRET": simulator.chert_secret, "CHERT_BASE_URL": simulator.chert_base_url}
    async with open_stage(simulator, redis_url, prefix, tmp_path) as stage:
        worker = await stage.workers.start(**chert)
        job = await stage.client.send_pin(**PIN, reference="order 7")
        await wait_until(simulator.pins, "the pin has been sent")
        worker.kill()
        assert await events(redis, prefix) == []
        # arq gives a killed worker's job to another one after 40 s.
        await redis.delete(f"arq:in-progress:{job.id}")
        await stage.workers.start(**chert)
        result = await job.result(timeout=60)
        await stage.workers.stop()
    [pin] = simulator.pins()
    assert result == {
        "status": "queued",
        "message_id": pin.reply["message_id"],
        "phone_line_id": pin.reply["phone_line_id"],
    }
    [event] = await events(redis, prefix)
    assert (event["id"], event["reference"]) == (job.id, "order 7")


@pytest.mark.acceptance
async def test_the_queue_runs_a_waiting_pin_again(
    simulator: SimulatorServer, redis_url: str, redis: Redis, prefix: str, tmp_path: Path
) -> None:
    """Real waits: 1 s after a broken connection, the Retry-After of a refusal, and until the account works again."""
    simulator.fault("reset", endpoint="pin")
    simulator.fault("error", endpoint="pin", code=1007, retry_after=0.5)
    simulator.fault("error", endpoint="pin", code=2004)
    chert = {"CHERT_SIGNING_SECRET": simulator.chert_secret, "CHERT_BASE_URL": simulator.chert_base_url}
    async with open_stage(simulator, redis_url, prefix, tmp_path) as stage:
        worker = await stage.workers.start(LINQ_API_V3_API_KEY="", **chert)
        job = await stage.client.send_pin(**PIN)
        await worker.logged("pins_paused")
        assert await redis.exists(f"arq:job:{job.id}")
        # Pretend that the minute until the next probe is over, for the job and for the pause.
        await redis.hset(f"{prefix}:pins-pause", "probe_at", "0")  # type: ignore[misc]  # redis-py's stubs

        async def queued_again() -> bool:
            return not await redis.exists(f"arq:in-progress:{job.id}")

        await wait_until(queued_again, "the job is in the queue again")
        await redis.zadd(f"{prefix}:jobs", {job.id: 1}, xx=True)
        assert (await job.result(timeout=30))["status"] == "queued"
        await worker.logged("pins_resumed")
        await stage.workers.stop()
    assert len(simulator.answers(endpoint="pin")) == 4
    assert [event["id"] for event in await events(redis, prefix)] == [job.id]

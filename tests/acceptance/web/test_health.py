"""GET /healthz, /readyz and /metrics (docs/reference/http.md)."""

import asyncio
import json
import math
import socket

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from config.redis import connect
from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.web import OTHER_SECRET, WebProcess, WebProcesses, event, signed
from worker.domain import prompts
from worker.domain.decision import Decision
from worker.domain.share import Share
from worker.store.store import Store

CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
FLEET = {"location_due_lag_seconds", "location_shares", "location_rate_limit_per_second", "location_paused"}
Samples = dict[tuple[str, tuple[str, ...]], float]


async def samples(web: WebProcess) -> Samples:
    """Return the samples by name and label values."""
    reply = await web.client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def store_of(redis: Redis, redis_url: str, prefix: str) -> Store:
    return Store(redis, Settings(redis_url=redis_url, key_prefix=prefix))


async def track_a_chat(store: Store) -> None:
    """Begin one share, due at once."""
    loaded = await store.shares.load(CHAT)
    share = Share("11111111-1111-4111-8111-111111111111", "", loaded.now, asked=False, follow=True, follow_for=600)
    decision = Decision(share, CHAT, now=loaded.now, context=loaded.context, random_unit=0.5)
    prompts.begin(decision, accept_within=60, previous=None)
    assert await store.shares.change(loaded, decision)


async def test_it_is_healthy_and_ready(web: WebProcess) -> None:
    assert (await web.client.get("/healthz")).status_code == 200
    ready = await web.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_a_pause_makes_it_not_ready_with_the_reason(
    web: WebProcess, redis: Redis, redis_url: str, prefix: str
) -> None:
    store = store_of(redis, redis_url, prefix)
    await store.account_pause.begin("Linq answered 401/2004")
    ready = await web.client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "Linq answered 401/2004" in ready.json()["reasons"][0]
    assert (await samples(web))["location_paused", ()] == 1
    await store.account_pause.end()
    assert (await web.client.get("/readyz")).status_code == 200
    assert (await samples(web))["location_paused", ()] == 0


async def test_chats_that_wait_for_their_line_make_it_not_ready(
    web: WebProcess, redis: Redis, redis_url: str, prefix: str
) -> None:
    store = store_of(redis, redis_url, prefix)
    chat = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
    await store.lost_lines.park(chat, "all", "Linq answered 403/2005")
    ready = await web.client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "Linq answered 403/2005" in ready.json()["reasons"][0]
    assert (await samples(web))["location_paused", ()] == 1
    assert await store.lost_lines.release(chat, "") == 1
    assert (await web.client.get("/readyz")).status_code == 200
    assert (await samples(web))["location_paused", ()] == 0


async def test_every_delivery_is_counted_by_what_came_of_it(web: WebProcess) -> None:
    body = event()
    headers = signed(body)
    for _ in range(3):
        await web.deliver(body, headers)
    await web.deliver(event("message.received"))
    await web.deliver(event("environment.line_moved"))
    await web.deliver(body, signed(body, secret=OTHER_SECRET))
    await web.deliver(b"no event")
    await web.deliver(b" " * 300_000, headers)
    found = await samples(web)
    counted = {
        labels[0]: value for (name, labels), value in found.items() if name == "location_webhooks_total" and value
    }
    assert counted == {
        "accepted": 1,
        "duplicate": 2,
        "ignored": 1,
        "account_event": 1,
        "bad_signature": 1,
        "not_an_event": 1,
        "too_large": 1,
    }
    assert found["location_dead_letters_total", ("webhook",)] == 1


async def test_the_fleet_is_shown_as_redis_has_it(web: WebProcess, redis: Redis, redis_url: str, prefix: str) -> None:
    found = await samples(web)
    assert {name for name, _ in found} >= FLEET
    assert found["location_shares", ("tracking",)] == found["location_due_lag_seconds", ()] == 0
    assert found["location_rate_limit_per_second", ()] == 20
    await track_a_chat(store_of(redis, redis_url, prefix))
    found = await samples(web)
    shares = {labels[0]: value for (name, labels), value in found.items() if name == "location_shares"}
    assert shares == {"requested": 0, "pending": 1, "tracking": 0}
    assert found["location_due_lag_seconds", ()] > 0


async def test_while_redis_is_away_the_own_counters_are_shown_and_the_fleet_is_unknown(
    own_redis: EmbeddedRedis, own_webs: WebProcesses
) -> None:
    web = await own_webs.start()
    own_redis.halt()
    assert (await web.deliver(event())).status_code == 503
    found = await samples(web)
    assert found["location_webhooks_total", ("not_stored",)] == 1
    assert all(math.isnan(value) for (name, _), value in found.items() if name in FLEET)
    own_redis.restart()
    assert (await samples(web))["location_paused", ()] == 0


async def test_a_metrics_port_has_the_metrics_and_nothing_else_and_the_public_port_has_none(webs: WebProcesses) -> None:
    port = free_port()
    web = await webs.start(METRICS_PORT=str(port), HOST="0.0.0.0")  # noqa: S104  # as on a host with Procfiles
    assert (await web.client.get("/metrics")).status_code == 404
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert "location_shares" in (await client.get("/metrics")).text
        assert (await client.get("/healthz")).status_code == 404
    assert await web.stop() == 0


async def test_a_metrics_port_that_is_taken_is_named_and_ends_the_start(webs: WebProcesses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        web = webs.launch(METRICS_PORT=str(port))
        assert await web.status() == 1
    assert f"METRICS_PORT {port}" in web.log()
    assert "worker and web on one machine need one each" in web.log()
    assert "Traceback" not in web.log()


@pytest.mark.parametrize(
    ("refusal", "setting"), [("OOM", {"maxmemory": 1}), ("NOREPLICAS", {"min-replicas-to-write": 1})]
)
async def test_a_redis_that_takes_no_writes_is_not_ready_and_its_figures_stay_known(
    own_redis: EmbeddedRedis, own_webs: WebProcesses, prefix: str, refusal: str, setting: dict[str, int]
) -> None:
    web = await own_webs.start()
    async with connect(Settings(redis_url=own_redis.url)) as redis:
        await track_a_chat(store_of(redis, own_redis.url, prefix))
        [name] = setting
        await redis.config_set(name, setting[name])

        async def refused() -> list[str]:
            return [reason for reason in (await web.client.get("/readyz")).json()["reasons"] if refusal in reason]

        assert await wait_until(refused, "it says that writes are refused")
        found = await samples(web)
        assert found["location_shares", ("pending",)] == 1
        assert found["location_due_lag_seconds", ()] > 0
        assert (await web.deliver(event())).status_code == 503
        await redis.config_set(name, 0)

    async def ready() -> bool:
        return (await web.client.get("/readyz")).status_code == 200

    await wait_until(ready, "it is ready again")
    [line] = [line for line in web.log().splitlines() if "webhook_not_stored" in line]
    assert refusal in line


async def test_what_anybody_can_provoke_is_logged_once_a_second(web: WebProcess) -> None:
    body = event()
    forged = signed(body, secret=OTHER_SECRET)
    replies = await asyncio.gather(*(web.deliver(body, forged) for _ in range(200)))
    assert {reply.status_code for reply in replies} == {401}
    assert await web.stop() == 0
    lines = [json.loads(line) for line in web.log().splitlines() if "webhook_refused" in line]
    assert sum(line["count"] for line in lines) == 200
    # One line for each second that the 200 deliveries took, not one for each delivery.
    assert len(lines) < 20
    assert all("LINQ_WEBHOOK_SECRET" in line["cause"] for line in lines)

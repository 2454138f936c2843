"""The doctor on a real Redis and the simulator."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis

from config.settings import Settings
from simulator.embedded_redis import EmbeddedRedis
from simulator.harness import SimulatorServer
from tests.support.rawserver import Exchange, raw_server
from tests.support.stored import begin, new_chat
from worker.cli import cli
from worker.doctor import checks
from worker.doctor.checks import examine
from worker.doctor.findings import Finding
from worker.domain.handle import handle_digest
from worker.store.account_events import Announced
from worker.store.store import Store

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HOOK = "https://hooks.example.org/webhooks/linq?version=2026-02-03"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        server.subscribe(HOOK, secret=SECRET)
        yield server


@pytest.fixture
def settings(redis_url: str, prefix: str, simulator: SimulatorServer) -> Settings:
    return Settings(
        redis_url=redis_url,
        key_prefix=prefix,
        linq_api_key=simulator.api_key,
        linq_base_url=simulator.base_url,
        linq_webhook_secrets=(SECRET,),
        chert_signing_secret=simulator.chert_secret,
        chert_base_url=simulator.chert_base_url,
    )


def by_check(found: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


async def test_a_good_installation_has_nothing_wrong(settings: Settings, redis: Redis) -> None:
    found = by_check(await examine(settings))
    assert [finding for finding in found.values() if not finding.ok] == []
    assert set(found) == {
        *("settings", "redis server", "redis eviction", "redis persistence", "redis memory"),
        *("redis writes", "redis clock"),
        *(
            "pause",
            "lost lines",
            "account events",
            "pins",
            "request budget",
            "shares",
            "queue",
            "dead letters",
            "linq fields",
        ),
        *("linq key", "linq clock", "lines", "webhooks", "chert secret"),
    }
    fine = {check for check, finding in found.items() if finding.level == "ok"}
    # The test's Redis keeps nothing, and no worker runs.
    assert set(found) - fine == {"redis persistence", "queue"}


async def test_what_is_amiss_in_redis_is_found(settings: Settings, redis: Redis) -> None:
    store = Store(redis, settings)
    await store.account_pause.begin("Linq answered 401/2004")
    await store.pins_pause.begin("Chert refuses the account, code 2004")
    await store.budget.throttle(None)
    await store.dead_letters.add("job", "not_a_job", payload="x")
    await redis.zadd(settings.queue_name, {"old": (time.time() - 100) * 1000})
    found = by_check(await examine(settings))
    await redis.delete(store.keys.pause)
    assert not found["pause"].ok
    assert "401/2004" in found["pause"].found
    assert not found["pins"].ok
    assert "code 2004" in found["pins"].found
    assert found["request budget"].level == "warning"
    assert "1 job" in found["dead letters"].found
    assert not found["queue"].ok
    assert found["linq key"].ok, "a person's look goes through while the fleet is paused"


async def test_chats_on_lines_that_the_key_does_not_reach_are_named(settings: Settings, redis: Redis) -> None:
    store = Store(redis, settings)
    lines = ["+14155550100", "+14155550199", "+14155550199", ""]
    chats = [new_chat() for _ in lines]
    for chat, line in zip(chats, lines, strict=True):
        await begin(store, chat, line=line and handle_digest(line))
    await store.lost_lines.park(chats[1], handle_digest("+14155550199"), "Linq answered 403/2005")
    await store.account_events.put(Announced("environment.line_moved", time.time() - 7200, ""))
    found = by_check(await examine(settings))
    assert not found["lines"].ok
    assert "of 2 tracked chats: " in found["lines"].found
    assert {chat for chat in chats if chat in found["lines"].found} == set(chats[1:3])
    assert "the line of 1 chat is not known" in found["lines"].found
    assert not found["lost lines"].ok
    assert "1 chat waiting" in found["lost lines"].found
    assert "403/2005" in found["lost lines"].found
    assert found["account events"].level == "warning"
    assert "environment.line_moved 2 h ago" in found["account events"].found


async def test_calls_to_linq_take_tokens_of_the_budget(settings: Settings, redis: Redis) -> None:
    await examine(settings)
    kept = await redis.hget(f"{settings.key_prefix}:budget", "tokens")  # type: ignore[misc]  # redis-py's two clients
    assert kept is not None
    assert float(kept) < 5, "the depth of the bucket"


async def test_a_budget_that_is_used_up_is_not_waited_for(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TOKEN_SECONDS", 0.05)
    await Store(redis, settings).budget.throttle(60)
    found = by_check(await examine(settings))
    assert found["linq key"].level == found["webhooks"].level == "skipped"


async def test_refused_keys_are_wrong_and_shown_nowhere(settings: Settings, redis: Redis) -> None:
    other = Settings(
        **{
            **settings.model_dump(exclude={"linq_api_key", "chert_signing_secret"}),
            "linq_api_key": "lk_somebody_elses",
            "chert_signing_secret": "ffff0000ffff0000ffff0000ffff0000",
        }
    )
    found = await examine(other)
    known = by_check(found)
    assert not known["linq key"].ok
    assert not known["chert secret"].ok
    assert known["redis server"].ok
    assert "somebody" not in str(found)
    assert "ffff0000" not in str(found)


async def test_a_redis_that_is_away_stops_no_other_check(settings: Settings) -> None:
    with EmbeddedRedis() as server:
        away = settings.model_copy(update={"redis_url": server.url})
        server.halt()
        found = by_check(await examine(away))
    assert not found["redis"].ok
    assert found["queue"].level == "skipped"
    assert found["linq key"].level == found["chert secret"].level == "ok"


async def test_a_redis_that_hangs_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "REDIS_SECONDS", 0.2)
    with EmbeddedRedis() as server:
        server.pause()
        try:
            found = by_check(await examine(settings.model_copy(update={"redis_url": server.url})))
        finally:
            server.resume()
    assert not found["redis"].ok
    assert found["linq key"].ok


async def test_a_server_with_eviction_is_wrong(settings: Settings) -> None:
    with EmbeddedRedis(persistence=True) as server:
        async with Redis.from_url(server.url) as client:
            await client.config_set("maxmemory-policy", "allkeys-lru")
        found = by_check(await examine(settings.model_copy(update={"redis_url": server.url})))
    assert not found["redis eviction"].ok
    assert found["redis persistence"].level == "ok"


async def test_a_user_without_rights_is_told_which(settings: Settings) -> None:
    with EmbeddedRedis(tcp=True) as server:
        async with Redis.from_url(server.url) as client:
            await client.execute_command("ACL", "SETUSER", "poor", "on", ">word", "~*", "+ping", "+time")
        url = server.url.replace("redis://", "redis://poor:word@")
        found = by_check(await examine(settings.model_copy(update={"redis_url": url})))
    assert found["redis server"].level == "warning"
    assert not found["shares"].ok
    assert "ACL" in found["shares"].remedy or "rights" in found["shares"].remedy


async def test_a_linq_that_never_answers_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.3)

    async def silent(_: Exchange) -> None:
        await asyncio.sleep(60)

    async with raw_server(silent) as server:
        found = by_check(await examine(settings.model_copy(update={"linq_base_url": server.url})))
    assert not found["linq key"].ok
    assert found["linq clock"].level == "skipped"
    assert found["shares"].ok


async def test_a_page_in_place_of_the_api_is_wrong(settings: Settings, redis: Redis) -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

    async with raw_server(page) as server:
        known = settings.model_copy(update={"linq_base_url": server.url, "chert_base_url": server.url})
        found = by_check(await examine(known))
    assert not found["linq key"].ok


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words])


def test_the_command_shows_a_table_and_ends_with_status_1_where_something_is_wrong() -> None:
    shown = run()
    assert shown.exit_code == 1
    assert "REDIS_URL" in shown.output
    assert "wrong" in shown.output


def test_the_command_ends_with_status_0_where_there_are_warnings_only(
    settings: Settings, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "REDIS_URL": str(settings.redis_url),
        "KEY_PREFIX": settings.key_prefix,
        "LINQ_API_V3_API_KEY": simulator.api_key,
        "LINQ_API_V3_BASE_URL": simulator.base_url,
        "LINQ_WEBHOOK_SECRET": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    shown = run("--json")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert {"check", "ok", "level", "found", "remedy"} == set(found[0])
    assert any(finding["level"] == "warning" for finding in found)
    assert simulator.api_key not in shown.output


def test_wrong_settings_are_findings_and_the_rest_is_said_not_to_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIN_POLL_SECONDS", "soon")
    shown = run("--json")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert any("MIN_POLL_SECONDS" in finding["found"] for finding in found)
    assert {finding["level"] for finding in found if finding["check"] != "settings"} == {"skipped"}

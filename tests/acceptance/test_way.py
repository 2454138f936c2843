"""How operators can follow one position: its times, its entry on the stream, the metrics of lateness."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import replay
from tests.support.ports import free_port
from tests.support.process import leaks, private_texts
from tests.support.stage import Stage
from tests.support.waiting import wait_until
from tests.support.web import WebProcesses
from worker.domain.timestamp import NANOSECONDS, parse_time

AGE = 50.0  # seconds


@pytest.fixture
async def webs(redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[WebProcesses]:
    processes = WebProcesses(tmp_path, REDIS_URL=redis_url, KEY_PREFIX=prefix)
    yield processes
    await processes.close()


async def metrics(url: str) -> dict[str, float]:
    """Return the samples: those without a label by name, a histogram's buckets by name and bound."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{url}/metrics")).text
    return {
        sample.name + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if set(sample.labels) <= {"le"}
    }


async def test_a_position_shows_when_it_was_made_when_it_was_read_and_when_it_was_published(stage: Stage) -> None:
    port = free_port()
    [chat] = stage.people(1, sharing=True)
    stage.simulator.set_position(chat, None, 13.4, 52.5, updated_at=time.time() - AGE)
    await stage.workers.start(METRICS_PORT=str(port))
    await stage.client.track_location(chat_id=chat)
    await stage.published(chat, "location.updated")

    [(entry_id, fields)] = [
        entry
        for entry in await stage.redis.xrange(f"{stage.prefix}:events")
        if entry[1][b"type"] == b"location.updated"
    ]
    told = json.loads(fields[b"data"])["properties"]
    updated_at, received_at = parse_time(told["updated_at"]) / 1e9, parse_time(told["received_at"]) / 1e9
    streamed_at = int(entry_id.partition(b"-")[0]) / 1e3
    [first, *_] = stage.requests("read", chat)
    assert fields[b"time"].decode() == told["updated_at"]
    assert updated_at + AGE < received_at <= streamed_at + 0.001  # both are rounded
    assert first.received_at - 1.0 < received_at  # by Redis' clock, as read at the last claim
    assert streamed_at <= time.time()

    seen = await metrics(f"http://127.0.0.1:{port}")
    assert seen["location_staleness_seconds_count"] == 1
    assert seen["location_staleness_seconds_sum"] == pytest.approx(received_at - updated_at, abs=0.002)
    assert (seen["location_staleness_seconds_bucket30.0"], seen["location_staleness_seconds_bucket+Inf"]) == (0, 1)


async def test_how_late_the_fleet_is_shows_while_nobody_polls_and_is_gone_when_somebody_does(
    stage: Stage, webs: WebProcesses
) -> None:
    web = await webs.start()
    chats = stage.people(3)
    assert (await metrics(web.url))["location_due_lag_seconds"] == 0
    worker = await stage.workers.start()
    await stage.request_all(chats)
    await stage.more_positions(chats)
    await stage.kill(worker)

    async def late() -> bool:
        return (await metrics(web.url))["location_due_lag_seconds"] > 1

    async def punctual() -> bool:
        return (await metrics(web.url))["location_due_lag_seconds"] < 1

    # The chats that the worker held become due when its leases expire.
    await wait_until(late, "the most overdue share is over a second late", deadline=20)
    await stage.workers.start()
    await wait_until(punctual, "no share is late", deadline=20)
    await stage.finish()


async def test_a_recorded_poll_log_can_be_replayed_and_names_nobody(stage: Stage, tmp_path: Path) -> None:
    log = tmp_path / "polls.jsonl"
    chats = stage.people(3)
    await stage.workers.start(POLL_LOG=str(log))
    await stage.request_all(chats)
    await stage.more_positions(chats, more=5)
    await stage.workers.stop()

    content = log.read_text()
    assert not leaks(content, private_texts(stage.simulator))
    lines = [json.loads(line) for line in content.splitlines()]
    assert len(lines) == len([answer for answer in stage.requests("read") if answer.status == 200])
    published = await stage.entries(kind="location.updated")
    assert sum(line["changed"] for line in lines) == len(published)
    made = {parse_time(json.loads(entry["data"])["properties"]["updated_at"]) / NANOSECONDS for entry in published}
    assert {line["updated_at"] for line in lines if line["changed"]} == made

    result = CliRunner().invoke(replay.main, [str(log), "--json", "--min-poll", "0.3", "--max-poll", "1"])
    assert result.exit_code == 0, result.output
    report: Any = json.loads(result.stdout)
    assert (report["bad_lines"], report["shares"], report["positions"]) == (0, 3, len(published))
    first = {line["share"]: line["time"] for line in reversed(lines) if line["changed"]}
    assert report["recorded"]["requests"] == sum(line["time"] >= first[line["share"]] for line in lines)
    assert report["replayed"]["requests"] > 0

"""The ticks beside the jobs: each installation has its own."""

import pytest

from config.settings import Settings
from worker.jobs import arq_worker
from worker.jobs.services import Services
from worker.store.store import Store


@pytest.mark.parametrize("prefix", ["location", "lieu-é", "場所{1}*"])
async def test_ticks_have_ids_that_arq_can_run_whatever_the_key_prefix(redis_url: str, prefix: str) -> None:
    names = await _ticks(redis_url, prefix)
    assert all(name.isascii() for name in names)
    assert not names & await _ticks(redis_url, f"{prefix}2")


async def _ticks(redis_url: str, prefix: str) -> set[str]:
    settings = Settings(redis_url=redis_url, key_prefix=prefix)
    pool = arq_worker.open_pool(settings)
    worker = arq_worker.make_worker(settings, Services(settings, Store(pool, settings)), pool)
    await pool.aclose()
    assert worker.cron_jobs
    return {tick.name for tick in worker.cron_jobs}

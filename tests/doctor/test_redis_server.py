"""The judgement of a Redis server, from facts and on real ones."""

from typing import Any

import pytest

from config.redis import connect
from config.settings import Settings
from tests.support.servers import StartServer
from worker.doctor.findings import Finding
from worker.doctor.redis_server import judge_server, look_at_server

GIB = 2**30
HEALTHY: dict[str, Any] = {
    "redis_version": "7.2.4",
    "redis_mode": "standalone",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": 4 * GIB,
    "used_memory": GIB,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


def test_a_healthy_server_is_fine_in_every_respect() -> None:
    assert set(levels(judge_server(HEALTHY, {})).values()) == {"ok"}


@pytest.mark.parametrize(
    ("changes", "save", "check", "level"),
    [
        ({"redis_version": "6.0.16"}, "", "redis server", "wrong"),
        ({"redis_version": "6.2.0"}, "", "redis server", "ok"),
        ({"redis_mode": "cluster"}, "", "redis server", "wrong"),
        ({"role": "slave"}, "", "redis role", "wrong"),
        ({"maxmemory_policy": "allkeys-lru"}, "", "redis eviction", "wrong"),
        ({"maxmemory_policy": "volatile-ttl"}, "", "redis eviction", "wrong"),
        ({"maxmemory_policy": None}, "", "redis eviction", "warning"),
        ({"aof_enabled": 0}, "3600 1", "redis persistence", "warning"),
        ({"aof_enabled": 0}, "", "redis persistence", "warning"),
        ({"aof_enabled": 0}, None, "redis persistence", "warning"),
        ({"aof_last_write_status": "err"}, "", "redis persistence", "wrong"),
        ({"rdb_last_bgsave_status": "err"}, "", "redis persistence", "wrong"),
        ({"used_memory": 3.2 * GIB}, "", "redis memory", "warning"),
        ({"used_memory": 3.8 * GIB}, "", "redis memory", "wrong"),
        ({"maxmemory": 0, "total_system_memory": GIB}, "", "redis memory", "wrong"),
        ({"maxmemory": 0, "total_system_memory": 16 * GIB}, "", "redis memory", "ok"),
        ({"maxmemory": 0}, "", "redis memory", "ok"),
    ],
)
def test_each_fault_of_a_server_is_found(changes: dict[str, Any], save: str | None, check: str, level: str) -> None:
    found = levels(judge_server({**HEALTHY, **changes}, {} if save is None else {"save": save}))
    assert found.pop(check) == level
    assert set(found.values()) == {"ok"}, "one fault is one finding"


def test_a_server_that_hides_itself_is_a_warning() -> None:
    assert levels(judge_server({}, {})) == {"redis server": "warning"}


@pytest.mark.parametrize(
    ("info", "needed", "sentinel", "level"),
    [
        ({"connected_slaves": 0}, "0", False, None),
        ({"connected_slaves": 0, "min_slaves_good_slaves": 0}, "1", False, "wrong"),
        ({"connected_slaves": 2, "min_slaves_good_slaves": 1}, "2", False, "wrong"),
        ({"connected_slaves": 2, "min_slaves_good_slaves": 2}, "2", False, None),
        ({"connected_slaves": 0}, "0", True, "wrong"),
        ({"connected_slaves": 1}, "0", True, "warning"),
        ({"connected_slaves": 1, "min_slaves_good_slaves": 1}, "1", True, "ok"),
        # CONFIG is forbidden. INFO counts good replicas only where at least one is required.
        ({"connected_slaves": 1}, None, True, "warning"),
        ({"connected_slaves": 1, "min_slaves_good_slaves": 1}, None, True, "ok"),
        ({"connected_slaves": 1, "min_slaves_good_slaves": 0}, None, True, "wrong"),
    ],
)
def test_replicas_are_judged_by_what_a_failover_would_lose(
    info: dict[str, int], needed: str | None, sentinel: bool, level: str | None
) -> None:
    settings = {"save": ""} | ({} if needed is None else {"min-replicas-to-write": needed})
    assert levels(judge_server({**HEALTHY, **info}, settings, sentinel=sentinel)).get("redis replicas") == level


async def test_real_servers_say_what_is_judged(start_server: StartServer) -> None:
    async with connect(Settings(redis_url=start_server(persistence=True).url)) as redis:
        assert set(levels(await look_at_server(redis, sentinel=False)).values()) == {"ok"}
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("min-replicas-to-write", 1)
        await redis.config_set("appendonly", "no")
        found = levels(await look_at_server(redis, sentinel=True))
        bad = {name: level for name, level in found.items() if level != "ok"}
        assert bad == {"redis eviction": "wrong", "redis persistence": "warning", "redis replicas": "wrong"}


async def test_what_an_acl_hides_is_a_warning(start_server: StartServer) -> None:
    server = start_server(tcp=True)
    rights = {"blind": ["+@all", "-info", "-config"], "half": ["+@all", "-config"]}
    async with connect(Settings(redis_url=server.url)) as redis:
        for name, commands in rights.items():
            await redis.acl_setuser(name, enabled=True, passwords=["+secret"], keys=["*"], commands=commands)
    async with connect(Settings(redis_url=server.url.replace("//", "//blind:secret@"))) as redis:
        assert levels(await look_at_server(redis, sentinel=False)) == {"redis server": "warning"}
    async with connect(Settings(redis_url=server.url.replace("//", "//half:secret@"))) as redis:
        found = {finding.check: finding for finding in await look_at_server(redis, sentinel=False)}
        assert found["redis server"].level == "ok"
        assert "CONFIG is forbidden" in found["redis persistence"].found

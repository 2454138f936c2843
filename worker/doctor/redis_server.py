"""The judgement of a Redis server, for the doctor and for a worker that starts."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from location_client.outages import passes_by_itself
from worker.doctor.findings import Finding, fine, warn, wrong

OLDEST_VERSION = (6, 2)
MEMORY_NOTICED = 0.75
MEMORY_HARMFUL = 0.9

VERSION = "redis server"  # the check without which nothing works


async def look_at_server(redis: Redis, *, sentinel: bool) -> list[Finding]:
    """Judge a server that answers. What an ACL hides is unknown, and a warning at most. Raises RedisError."""
    info: Mapping[str, Any] = {}
    settings: dict[str, str] = {}
    try:
        info = await redis.info()
        for name in ("save", "min-replicas-to-write"):  # one by one: before Redis 7 it takes one name
            settings |= await redis.config_get(name)
    except ResponseError as error:
        # Otherwise an ACL forbids the command, or a hosting service has renamed it.
        if passes_by_itself(error):
            raise
    return judge_server(info, settings, sentinel=sentinel)


def judge_server(info: Mapping[str, Any], settings: Mapping[str, str], *, sentinel: bool = False) -> list[Finding]:
    """Judge Redis by its INFO (empty: forbidden) and what CONFIG says (empty: forbidden)."""
    if not info:
        return [warn(VERSION, "INFO is forbidden to this user", "allow +info, or check the server yourself")]
    found = [_version(info), _eviction(info), _persistence(info, settings.get("save")), _memory(info)]
    return found + _role(info) + _replicas(info, settings, sentinel=sentinel)


def _version(info: Mapping[str, Any]) -> Finding:
    text = str(info.get("redis_version", "unknown"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {text}"
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if len(numbers) == len(OLDEST_VERSION) and numbers < OLDEST_VERSION:
        return wrong(VERSION, f"version {text}", "upgrade to Redis 6.2 or newer, or to Valkey")
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled"):
        return wrong(VERSION, f"{name} in cluster mode", "use one server, a managed one, or Sentinel")
    return fine(VERSION, name)


def _role(info: Mapping[str, Any]) -> list[Finding]:
    if info.get("role") != "slave":
        return []
    remedy = "let REDIS_URL name the master, or the sentinels"
    return [wrong("redis role", "a replica: it refuses writes", remedy)]


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return warn("redis eviction", "maxmemory-policy is hidden", "make sure that it is noeviction")
    if policy != "noeviction":
        return wrong(
            "redis eviction",
            f"maxmemory-policy is {policy}: a full Redis silently drops shares, jobs and events",
            "CONFIG SET maxmemory-policy noeviction, and in the server's configuration",
        )
    return fine("redis eviction", "noeviction")


def _persistence(info: Mapping[str, Any], save: str | None) -> Finding:
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        return wrong(
            "redis persistence",
            "the last write to disk failed; Redis may refuse commands",
            "check the disk and Redis' log",
        )
    if info.get("aof_enabled"):
        return fine("redis persistence", "append-only file")
    if save:
        return warn(
            "redis persistence",
            "snapshots only: a crash loses the shares, jobs and events since the last one",
            "CONFIG SET appendonly yes, which loses a second at most",
        )
    if save is None:
        return warn(
            "redis persistence",
            "no append-only file, and CONFIG is forbidden to this user: snapshots are unknown",
            "make sure that the server keeps its data across restarts",
        )
    return warn(
        "redis persistence",
        "off: a restart loses every share, job and event",
        "CONFIG SET appendonly yes, and in the file",
    )


def _memory(info: Mapping[str, Any]) -> Finding:
    used, limit, kind = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)), "maxmemory"
    if not limit:
        limit, kind = int(info.get("total_system_memory", 0)), "the machine's memory"
    if not limit:
        return fine("redis memory", f"{used / 2**20:.0f} MiB used, no limit known")
    found = f"{used / 2**20:.0f} MiB used, {used / limit:.0%} of {kind}"
    remedy = "more memory, or a smaller EVENTS_MAXLEN or EVENTS_RETENTION_SECONDS"
    if used >= MEMORY_HARMFUL * limit:
        return wrong("redis memory", f"{found}: a full Redis refuses every write", remedy)
    return warn("redis memory", found, remedy) if used >= MEMORY_NOTICED * limit else fine("redis memory", found)


def _replicas(info: Mapping[str, Any], settings: Mapping[str, str], *, sentinel: bool) -> list[Finding]:
    """Judge what a failover would lose. INFO counts good replicas only where min-replicas-to-write is above 0."""
    check = "redis replicas"
    connected, good = int(info.get("connected_slaves", 0)), info.get("min_slaves_good_slaves")
    needed = int(settings.get("min-replicas-to-write", 0 if good is None else 1))
    if good is not None and int(good) < needed:
        return [
            wrong(
                check,
                f"{good} good ones, and min-replicas-to-write is {needed}: writes are refused (NOREPLICAS)",
                "bring the replicas back, or find out why they lag",
            )
        ]
    if not sentinel:
        return []
    if not connected:
        return [
            wrong(
                check,
                "the master has none: no prompt is sent until it has one, and there is nothing to fail over to",
                "start a replica",
            )
        ]
    if not needed:
        return [
            warn(
                check,
                "min-replicas-to-write is 0: a master that is cut off keeps accepting writes, which are lost",
                "CONFIG SET min-replicas-to-write 1 on every server, and in their files",
            )
        ]
    return [fine(check, f"{connected} connected, {needed} needed for a write")]

"""The Lua scripts: read once, loaded by their digest, loaded again by redis-py when Redis has lost them (NOSCRIPT)."""

from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

_FOLDER = Path(__file__).with_name("lua")
_PRELUDE = (_FOLDER / "budget.lua").read_text()
_SPENDING = frozenset({"claim", "pause", "take", "throttle"})


class Scripts:
    """The scripts, ready to be called on one connection pool."""

    def __init__(self, redis: Redis) -> None:
        self.claim = _register(redis, "claim")
        self.commit = _register(redis, "commit")
        self.hear = _register(redis, "hear")
        self.pause = _register(redis, "pause")
        self.take = _register(redis, "take")
        self.throttle = _register(redis, "throttle")


def _register(redis: Redis, name: str) -> AsyncScript:
    text = (_FOLDER / f"{name}.lua").read_text()
    return redis.register_script(_PRELUDE + text if name in _SPENDING else text)

"""The Lua scripts: read once, loaded by their digest, loaded again by redis-py when Redis has lost them (NOSCRIPT)."""

from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

_FOLDER = Path(__file__).with_name("lua")
# Functions that several scripts share are put in front of them: Redis has no other way.
_PRELUDES = {
    "append": ("commit", "pin"),
    "census": ("commit", "count"),
    "budget": ("claim", "pause", "permit", "take", "throttle"),
}


class Scripts:
    """The scripts, ready to be called on one connection pool."""

    def __init__(self, redis: Redis) -> None:
        self.claim = _register(redis, "claim")
        self.commit = _register(redis, "commit")
        self.count = _register(redis, "count")
        self.finish = _register(redis, "finish")
        self.hear = _register(redis, "hear")
        self.load = _register(redis, "load")
        self.pause = _register(redis, "pause")
        self.permit = _register(redis, "permit")
        self.pin = _register(redis, "pin")
        self.start = _register(redis, "start")
        self.take = _register(redis, "take")
        self.throttle = _register(redis, "throttle")


def _register(redis: Redis, name: str) -> AsyncScript:
    preludes = (prelude for prelude, users in _PRELUDES.items() if name in users)
    return redis.register_script("".join((_FOLDER / f"{part}.lua").read_text() for part in (*preludes, name)))

"""Which keys may stay in Redis forever: every other key must expire, or the test that left it fails."""

from redis.asyncio import Redis

# One of each per installation, bounded by what is alive or by trimming.
PERMANENT = (
    "budget",
    "dead-letters",
    "due",
    "events",
    "fleet",
    "geo",
    "jobs",
)

# `{prefix}:NAME:{chat_id}`: may stay as long as the chat is tracked, which is as long as it is in `{prefix}:due`.
PER_CHAT = ("latest", "share")

# `{prefix}:NAME`: hashes of chat ids, whose fields may stay as long as all of their chats are tracked.
HASHES_OF_CHATS = ("handles",)


async def leaked_keys(redis: Redis, prefix: str) -> list[str]:
    """Return the names of the keys under `prefix` that nothing will ever remove."""
    names = [_text(key) async for key in redis.scan_iter(match=f"{prefix}:*", count=1000)]
    tracked = {_text(member) for member in await redis.zrange(f"{prefix}:due", 0, -1)}
    return sorted([name for name in names if await _leaks(redis, name, name.removeprefix(f"{prefix}:"), tracked)])


async def _leaks(redis: Redis, key: str, name: str, tracked: set[str]) -> bool:
    # -1: no expiry; -2: the key has gone since the scan.
    if name in PERMANENT or await redis.pttl(key) != -1:
        return False
    kind, _, rest = name.partition(":")
    if kind in PER_CHAT:
        return rest not in tracked
    if kind in HASHES_OF_CHATS:
        # redis-py's annotation says "awaitable or not" for both of its clients at once.
        values = await redis.hvals(key)  # type: ignore[misc]
        return not {chat for value in values for chat in _text(value).split()} <= tracked
    return True


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

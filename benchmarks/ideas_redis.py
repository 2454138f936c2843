"""Ideas for a cheaper poll that concern Redis: how a share is stored, what scripts are passed, how big commits are."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
import uvloop
from redis._parsers import BaseParser, _AsyncHiredisParser, _AsyncRESP2Parser
from redis.asyncio import ConnectionPool, Redis

from benchmarks.growth import BATCH, made_position, poll_without_http
from benchmarks.installation import always_due, opened_store
from benchmarks.preload import preload
from benchmarks.redis_server import RedisServer
from benchmarks.variants import Cost, Idea
from worker.domain import reads
from worker.domain.decision import Decision
from worker.domain.observation import Features
from worker.domain.policy import Pace
from worker.domain.share import Person, Share
from worker.store.packing import pack, unpack

_TURNS = 40  # batches per measurement
_CHATS = 4_096
_COMMITTED = 2_048  # chats per measurement
_SIZES = (128, 1, 8, 32, 512)

Work = Callable[[Redis], Awaitable[None]]


def redis_ideas(redis: RedisServer) -> list[Idea]:
    """Fill an empty Redis with chats in the middle of being polled, and return the ideas that need them."""
    shares = uvloop.run(_fill(redis))
    if any(_from_hash({name.encode(): value for name, value in _to_hash(share).items()}) != share for share in shares):
        raise RuntimeError("a share does not come out of its hash as it went in")
    packed = [pack(share) for share in shares]
    names = [f"benchmark:{number}" for number in range(BATCH)]
    reply = [value for share, state in zip(shares, packed, strict=True) for value in (share.share_id, state)]
    redis.client.rpush("benchmark:reply", *[str(number) for number in range(10)], *reply)
    return [
        Idea(
            "keeping a share",
            "share written and read",
            {
                "one packed value": partial(_keep, redis, names, partial(_with_values, names, shares)),
                "a hash, a field each": partial(_keep, redis, names, partial(_with_hashes, names, shares)),
            },
        ),
        Idea(
            "arguments of a script",
            "item",
            {
                "one msgpack": partial(_ask, redis, _LOOP % "cmsgpack.unpack(ARGV[1])", _in_msgpack, packed),
                "one JSON, states in base64": partial(_ask, redis, _LOOP % "cjson.decode(ARGV[1])", _in_json, packed),
                "an argument per value": partial(_ask, redis, _FLAT_LOOP, _flat, packed),
            },
        ),
        Idea(
            "parsing a reply of Redis",
            "claim of 128",
            {
                "hiredis": partial(_parse, redis, _AsyncHiredisParser),
                "redis-py's own parser": partial(_parse, redis, _AsyncRESP2Parser),
            },
        ),
        Idea(
            "chats in a commit",
            "poll, each new",
            {str(size): partial(_commit, redis, size) for size in _SIZES},
        ),
    ]


async def _fill(redis: RedisServer) -> list[Share]:
    async with opened_store(always_due(redis.url)) as store:
        await preload(store, _CHATS)
        # First polls differ from later ones; after these, every share has a pace and a person.
        await poll_without_http(store, 3 * _CHATS)
        return [chat.share for chat in (await store.shares.claim(BATCH)).chats]


async def _spent(redis: RedisServer, work: Awaitable[None], units: int) -> Cost:
    """Await the work, and return its cost per unit."""
    before, here = redis.work(), time.process_time()
    await work
    client = time.process_time() - here
    return Cost(client / units * 1e6, redis.work().since(before).cpu / units * 1e6)


def _keep(redis: RedisServer, names: Sequence[str], work: Work) -> Cost:
    redis.client.delete(*names)

    async def measure() -> Cost:
        async with opened_store(always_due(redis.url)) as store:
            await work(store.redis)  # connects, and writes once before measuring

            async def turns() -> None:
                for _ in range(_TURNS):
                    await work(store.redis)

            return await _spent(redis, turns(), _TURNS * BATCH)

    cost = uvloop.run(measure())
    sizes: list[Any] = [redis.client.memory_usage(name, samples=0) for name in names]
    return cost._replace(size=sum(sizes) / len(sizes))


async def _with_values(names: Sequence[str], shares: Sequence[Share], redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for name, share in zip(names, shares, strict=True):
            pipe.set(name, pack(share))
        await pipe.execute()
        for name in names:
            pipe.get(name)
        for stored in await pipe.execute():
            unpack(stored)


async def _with_hashes(names: Sequence[str], shares: Sequence[Share], redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for name, share in zip(names, shares, strict=True):
            pipe.hset(name, mapping=_to_hash(share))
        await pipe.execute()
        for name in names:
            pipe.hgetall(name)
        for stored in await pipe.execute():
            _from_hash(stored)


def _to_hash(share: Share) -> dict[str, bytes]:
    """Return every field that differs from its default; fields of the pace and of people have prefixed names."""
    fields: dict[str, bytes] = {}
    parts = [("", share), ("pace.", share.pace), *((f"people.{n}.", one) for n, one in enumerate(share.people))]
    for prefix, part in parts:
        if part is not None:
            for field in _FIELDS[type(part)]:
                value = getattr(part, field.name)
                if value not in (field.default, []):
                    fields[prefix + field.name] = msgspec.json.encode(value)
    return fields


def _from_hash(fields: dict[bytes, bytes]) -> Share:
    parts: dict[str, dict[str, Any]] = {"": {}}
    for key, value in fields.items():
        prefix, _, name = key.decode().rpartition(".")
        parts.setdefault(prefix, {})[name] = msgspec.json.decode(value)
    share = parts.pop("")
    pace = parts.pop("pace", None)
    people = [Person(**person) for _, person in sorted(parts.items())]
    return Share(**share, pace=None if pace is None else Pace(**pace), people=people)


_FIELDS = {
    kind: [field for field in msgspec.structs.fields(kind) if field.name not in {"pace", "people"}]
    for kind in (Share, Pace, Person)
}

# Uses each value once, writes nothing. An item: chat id, due time, state, next due time, seconds kept, five sums.
_LOOP = """
local sum = 0
for _, item in ipairs(%s) do
  sum = sum + #item[1] + item[2] + #item[3] + item[4] + item[5]
  for _, change in ipairs(item[6]) do sum = sum + change end
end
return sum
"""
_FLAT_LOOP = """
local sum = 0
for start = 1, #ARGV, 10 do
  sum = sum + #ARGV[start] + tonumber(ARGV[start + 1]) + #ARGV[start + 2]
  for index = start + 3, start + 9 do sum = sum + tonumber(ARGV[index]) end
end
return sum
"""
_SUMS = (57_732, 0, 1, -1, 0)


def _in_msgpack(states: Sequence[bytes]) -> list[bytes]:
    # Redis' cmsgpack has no type for bytes, but its text may hold any byte.
    texts = (msgspec.Raw(b"\xdb" + len(state).to_bytes(4, "big") + state) for state in states)
    return [msgspec.msgpack.encode([_item(number, text) for number, text in enumerate(texts)])]


def _in_json(states: Sequence[bytes]) -> list[bytes]:
    # JSON holds no bytes: msgspec writes them as base64.
    return [msgspec.json.encode([_item(number, state) for number, state in enumerate(states)])]


def _flat(states: Sequence[bytes]) -> list[Any]:
    arguments: list[Any] = []
    for number, state in enumerate(states):
        chat_id, due, _, next_due, kept, sums = _item(number, state)
        arguments += (chat_id, repr(due), state, repr(next_due), kept, *sums)
    return arguments


def _item(number: int, state: object) -> tuple[Any, ...]:
    return (f"00000000-0000-4000-8000-{number:012x}", 1.7e9 + number / 7, state, 1.7e9 + number / 3, 86_401, _SUMS)


def _ask(redis: RedisServer, lua: str, encode: Callable[[Sequence[bytes]], list[Any]], states: Sequence[bytes]) -> Cost:
    async def measure() -> Cost:
        async with opened_store(always_due(redis.url)) as store:
            script = store.redis.register_script(lua)
            await script(args=encode(states))

            async def turns() -> None:
                for _ in range(_TURNS):
                    await script(args=encode(states))

            return await _spent(redis, turns(), _TURNS * BATCH)

    return uvloop.run(measure())


def _parse(redis: RedisServer, parser: type[BaseParser]) -> Cost:
    async def measure() -> Cost:
        client: Redis = Redis(connection_pool=ConnectionPool.from_url(redis.url, parser_class=parser))
        client.auto_close_connection_pool = True
        async with client:
            await client.ping()

            async def turns() -> None:
                for _ in range(_TURNS):
                    # redis-py's stubs mix its two clients: what is awaited here is always awaitable.
                    await cast("Awaitable[list[bytes]]", client.lrange("benchmark:reply", 0, -1))

            return await _spent(redis, turns(), _TURNS)

    return uvloop.run(measure())


def _commit(redis: RedisServer, size: int) -> Cost:
    async def measure() -> Cost:
        async with opened_store(always_due(redis.url)) as store:
            # The stream is capped in use; here each measurement begins with an empty one.
            await store.redis.delete(store.keys.events)
            claim = await store.shares.claim(_COMMITTED)
            if len(claim.chats) < _COMMITTED:
                message = f"only {len(claim.chats)} of {_COMMITTED} chats were due"
                raise RuntimeError(message)
            items = []
            for chat in claim.chats:
                decision = Decision(chat.share, chat.chat_id, now=claim.now, context=claim.context, random_unit=0.5)
                reads.observe(decision, Features([made_position(chat.chat_id, claim.now, chat.share.sequence)], []))
                items.append(store.shares.item(decision, chat.lease, chat.before))

            async def commits() -> None:
                for start in range(0, len(items), size):
                    if not all(await store.shares.commit(items[start : start + size])):
                        raise RuntimeError("a commit came too late: the leases had ended")

            return await _spent(redis, commits(), len(items))

    return uvloop.run(measure())

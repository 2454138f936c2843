"""Failovers in which the old master lives on: nobody writes there any more, and no accepted write is lost."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from location_client import sentinel
from location_client.address import parse_address
from location_client.connection import connect
from location_client.sentinel import Named, choose
from simulator.sentinels import RedisWithSentinels
from tests.support.waiting import wait_until

A, B, C = ("10.0.0.1", 6379), ("10.0.0.2", 6379), ("10.0.0.3", 6379)
SENTINELS = 3


@pytest.mark.parametrize(
    ("current", "named", "chosen"),
    [
        (None, [], None),
        (None, [Named(3, A), Named(4, B)], Named(4, B)),
        # So far, or by now, only one sentinel reports the failover.
        (Named(3, A), [Named(3, A), Named(3, A), Named(4, B)], Named(4, B)),
        (Named(4, B), [Named(3, A), Named(3, A), Named(4, B)], Named(4, B)),
        # The only sentinel in reach is cut off together with the old master, or none is in reach.
        (Named(4, B), [Named(3, A)], Named(4, B)),
        (Named(4, B), [], Named(4, B)),
        # The sentinel that reported it is gone, and the others know nothing of it.
        (Named(4, B), [Named(3, A), Named(3, A)], Named(3, A)),
        # The sentinels are set up again by hand, one after the other, and their epochs start over.
        (Named(4, B), [Named(4, B), Named(0, C), Named(0, C)], Named(4, B)),
        (Named(4, B), [Named(0, C), Named(0, C), Named(0, C)], Named(0, C)),
        (Named(0, A), [Named(0, A), Named(0, C), Named(0, C)], Named(0, A)),
        (Named(0, A), [Named(0, C), Named(0, C), Named(0, C)], Named(0, C)),
    ],
)
def test_whom_to_follow(current: Named | None, named: list[Named], chosen: Named | None) -> None:
    assert choose(current, named, SENTINELS) == chosen


names = st.builds(Named, st.integers(0, 3), st.sampled_from([A, B, C]))


@given(names, st.lists(names, max_size=SENTINELS))
def test_nobody_goes_back_to_an_older_master_while_a_sentinel_knows_better(current: Named, named: list[Named]) -> None:
    chosen = choose(current, named, SENTINELS)
    assert chosen is not None
    assert chosen == current or chosen in named
    if current in named:
        assert chosen.epoch >= current.epoch
    if chosen.epoch <= current.epoch and chosen != current:
        assert sum(one.master == chosen.master for one in named) > SENTINELS / 2


@pytest.fixture
def servers() -> Iterator[RedisWithSentinels]:
    with RedisWithSentinels() as running:
        yield running


@pytest.mark.acceptance
@pytest.mark.parametrize("messages", ["heard", "lost"])
async def test_the_old_master_is_left_at_once(
    servers: RedisWithSentinels, messages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if messages == "lost":
        for event in ("_BEGUN", "_ENDED", "_ABORTED"):
            monkeypatch.setattr(sentinel, event, "+never-said")
    address = parse_address(servers.url)
    old, new = servers.servers
    over = asyncio.Event()
    taken: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        # Two pools, as in a worker: the store's and arq's.
        first, second = [await stack.enter_async_context(connect(address)) for _ in range(2)]

        async def write(redis: Redis, name: str) -> None:
            number = 0
            while not over.is_set():
                number += 1
                with contextlib.suppress(RedisError):
                    await redis.xadd("entries", {"name": f"{name}{number}"})
                    taken.append(f"{name}{number}")
                await asyncio.sleep(0.002)

        writing = [
            asyncio.create_task(write(redis, name)) for redis, name in ((first, "a"), (first, "b"), (second, "c"))
        ]
        await wait_until(lambda: len(taken) > 50, "entries are taken")
        waiting = asyncio.create_task(second.execute_command("BLPOP", "nothing", 60))  # type: ignore[no-untyped-call]  # redis-py has no types here
        await asyncio.sleep(0.1)  # so that the command blocks at the old master

        servers.fail_over()
        await wait_until(lambda: servers.master() is new, "the sentinels name the other one")
        before = len(taken)
        began = time.monotonic()
        # The old master accepts writes for ten more seconds.
        await wait_until(lambda: len(taken) > before + 50, "entries are taken by the new master")
        assert time.monotonic() - began < 2 * sentinel.LOOK_SECONDS + 1  # and a second for a slow machine
        with pytest.raises(RedisConnectionError):
            await asyncio.wait_for(waiting, 5)
        over.set()
        await asyncio.gather(*writing)

        assert (await first.info("replication"))["role"] == "master"
        kept = {fields[b"name"].decode() for _, fields in await first.xrange("entries")}
        if messages == "heard":
            # Without the messages, writes that the old master accepted before the new one was named are lost.
            assert set(taken) <= kept
        alone = connect(parse_address(old.url))
        assert (await alone.info("replication"))["role"] == "master", "nobody has told the old one yet"
        end = await alone.xlen("entries")
        await asyncio.sleep(2 * sentinel.LOOK_SECONDS)
        assert await alone.xlen("entries") == end
        await alone.aclose()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.acceptance
def test_a_connection_that_was_cut_off_before_a_command_is_sent_is_a_lost_connection(
    servers: RedisWithSentinels,
) -> None:
    async def use() -> None:
        async with connect(parse_address(servers.url)) as redis:
            await redis.ping()
            connection: Any = redis.connection_pool._available_connections[0]
            connection.drop()
            await asyncio.sleep(0.01)  # uvloop closes the transport in one of its next iterations
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # asyncio's own transport would accept the bytes
        runner.run(use())


@pytest.mark.acceptance
async def test_a_known_master_is_used_without_sentinels_and_an_unknown_one_says_why(
    servers: RedisWithSentinels,
) -> None:
    address = parse_address(servers.url)
    async with connect(address) as redis, connect(parse_address(servers.url.replace("main", "other"))) as other:
        assert await redis.ping()
        with pytest.raises(RedisConnectionError, match="watches no master of the name 'other'"):
            await other.ping()
        for one in servers.sentinels:
            one.halt()
        await asyncio.sleep(2 * sentinel.LOOK_SECONDS)
        await redis.connection_pool.disconnect(inuse_connections=False)
        assert await redis.ping()
    async with connect(address) as redis:
        with pytest.raises(RedisConnectionError, match="no sentinel names the master 'main'"):
            await redis.ping()

"""Connections that send nothing or only a part, or do not read, shut nobody else out."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.waiting import wait_until
from tests.support.web import WebProcess, WebProcesses, event
from worker.processes.connections import HEAD_SECONDS

HEAD = b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\n"
LATENESS = 5.0  # seconds by which a loaded machine may be late


class Crowd:
    """Open connections to one process."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.members: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def join(self, count: int, first: bytes = b"") -> None:
        """Open `count` connections, and send the same bytes on each."""
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(first)
            self.members.append((reader, writer))

    async def ended(self) -> int:
        """Count the connections that the process has closed."""
        return sum([await _is_closed(reader) for reader, _ in self.members])

    def drip(self, piece: bytes) -> None:
        """Send a little more on each connection that is still open."""
        for _, writer in self.members:
            with contextlib.suppress(OSError):
                writer.write(piece)

    def leave(self) -> None:
        for _, writer in self.members:
            writer.transport.abort()


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.001):
            return await reader.read(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@contextlib.asynccontextmanager
async def crowd(web: WebProcess) -> AsyncIterator[Crowd]:
    members = Crowd(web.port)
    try:
        yield members
    finally:
        members.leave()


async def test_a_head_or_what_follows_an_answer_has_ten_seconds_however_it_drips(web: WebProcess) -> None:
    async with crowd(web) as members:
        began = time.monotonic()
        for first in (b"", HEAD, b"GET /healthz HTTP/1.1\r\nhost: here\r\ncontent-length: 99\r\n\r\n"):
            await members.join(2, first)
        await asyncio.sleep(HEAD_SECONDS / 2)
        assert await members.ended() == 0
        while await members.ended() < 6:
            assert time.monotonic() - began < HEAD_SECONDS + LATENESS
            members.drip(b"x")
            await asyncio.sleep(0.3)
    assert (await web.deliver(event())).status_code == 204


async def test_an_idle_connection_is_kept_for_another_request_and_not_for_long(web: WebProcess) -> None:
    async with crowd(web) as members:
        await members.join(1, b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n")
        [(reader, writer)] = members.members
        await reader.readuntil(b"}")
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n")
        await reader.readuntil(b"}")
        async with asyncio.timeout(HEAD_SECONDS + LATENESS):
            assert await reader.read(1000) == b""


async def test_a_thousand_of_each_kind_at_once_hold_no_delivery_up(web: WebProcess) -> None:
    async with crowd(web) as members:
        await members.join(1000)
        await members.join(1000, HEAD + b"x-slow: ")
        await members.join(1000, HEAD + b"content-length: 400\r\n\r\n{")
        for _ in range(20):
            members.drip(b"x")
            began = time.monotonic()
            reply = await web.deliver(event())
            assert reply.status_code == 204
            # Far less than the ten seconds after which Linq gives up.
            assert time.monotonic() - began < LATENESS
    assert "Traceback" not in web.log()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system cannot bound another process")
async def test_where_few_files_may_be_open_the_one_who_waited_longest_makes_room(webs: WebProcesses) -> None:
    web = webs.launch()
    # Set before the process looks up its limit: Python takes longer than this to start.
    resource.prlimit(web.pid, resource.RLIMIT_NOFILE, (256, 256))
    await web.serves()
    async with crowd(web) as members:
        await members.join(400)
        began = time.monotonic()
        assert (await web.deliver(event())).status_code == 204
        assert time.monotonic() - began < LATENESS
        await wait_until(members.ended, "the first of the crowd are let go")
    assert "Traceback" not in web.log()
    assert web.log().count("connection_refused") < LATENESS * 2


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system cannot bound another process")
async def test_where_all_are_being_answered_another_request_is_503(webs: WebProcesses) -> None:
    web = webs.launch()
    resource.prlimit(web.pid, resource.RLIMIT_NOFILE, (256, 256))
    await web.serves()
    async with crowd(web) as members:
        await members.join(200, HEAD + b"content-length: 400\r\n\r\n{")
        async with httpx.AsyncClient(trust_env=False) as newcomer:
            reply = await newcomer.post(web.hook, content=event())
        assert (reply.status_code, reply.json()) == (503, {"error": "too_many_connections"})

        async def taken() -> bool:
            with contextlib.suppress(httpx.TransportError):  # this client's idle connection was closed to make room
                return (await web.deliver(event())).status_code == 204
            return False

        await wait_until(taken, "there is room when the slow ones are given up", deadline=HEAD_SECONDS + LATENESS)

"""Ideas for a cheaper poll, each alone: what the worker does beside what it could do instead."""

import asyncio
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Literal
from uuid import UUID

import uvloop
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.request import ConsumedRequest
from rich.console import Console

from benchmarks.ideas_redis import redis_ideas
from benchmarks.redis_server import running_redis
from benchmarks.stub import Stub, running_stub
from benchmarks.variants import Cost, Idea, measure
from worker.domain.handle import normalize_handle
from worker.domain.timestamp import parse_time
from worker.http import certificates
from worker.linq.classification import read_observation
from worker.linq.reply import Reply
from worker.linq.socket_poller import SocketPoller

_IN_FLIGHT = 64  # as the floor of the part `speed`
_GETS = 6_400
_READ = 5_000  # replies
_CHATS = 500

Runner = Callable[[Coroutine[Any, Any, Cost]], Cost]


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure all variants in turn and print. Returns plain data for JSON."""
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            stub = stack.enter_context(running_stub(tls=True))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            skipped["HTTP over TLS"] = str(error)
            stub = stack.enter_context(running_stub())
        redis = stack.enter_context(running_redis())
        ideas = [*_http_ideas(stub), _reading(stub), *redis_ideas(redis)]
        if stub.kind != "nginx":
            skipped = {"HTTP": "nginx is not installed, and the other stand-in is too slow to keep 64 GETs in flight"}
        found = measure(console, ideas, rounds=2 if quick else 7)
    for name, reason in skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False)
    return {"stub": stub.kind, "redis": redis.version, "ideas": found, "skipped": skipped}


def _http_ideas(stub: Stub) -> list[Idea]:
    if stub.kind != "nginx":
        return []
    loops: dict[str, Runner] = {"uvloop": uvloop.run, "asyncio": asyncio.run}
    ways = {"HTTP/1.1": (stub.url, "HTTP/1.1")}
    if stub.secure_url:
        ways |= {
            "HTTP/1.1 over TLS": (stub.secure_url, "HTTP/1.1"),
            "HTTP/2 over TLS": (stub.secure_url, "HTTP/2.0"),
        }
    gets: dict[str, Callable[[], Cost]] = {
        f"{loop}, {way}, pyreqwest": partial(_in_loop, run, stub, url, version)
        for loop, run in loops.items()
        for way, (url, version) in ways.items()
    }
    for way, (url, version) in ways.items():
        if version == "HTTP/1.1":
            gets[f"uvloop, {way}, socket"] = partial(_in_loop_with_sockets, stub, url)
    return [
        Idea(
            "client, loop and protocol",
            "GET",
            gets,
        ),
        Idea(
            "building the request",
            "GET",
            {
                "each time": partial(_in_loop, uvloop.run, stub, stub.url, "HTTP/1.1"),
                "once per chat, then copied": partial(
                    _in_loop, uvloop.run, stub, stub.url, "HTTP/1.1", built_once=True
                ),
            },
        ),
    ]


def _in_loop(run: Runner, stub: Stub, url: str, version: str, *, built_once: bool = False) -> Cost:
    return run(_get(stub, url, version, built_once=built_once))


async def _get(stub: Stub, url: str, version: str, *, built_once: bool) -> Cost:
    builder = ClientBuilder().http2(version == "HTTP/2.0").default_headers({"Authorization": "Bearer benchmark"})
    if stub.certificate:
        builder = builder.add_root_certificate_pem(stub.certificate)
    async with builder.build() as client:
        next_request = _requests(client, f"{url}/none", built_once=built_once)

        async def fetch(count: int) -> None:
            for _ in range(count):
                reply = await next_request().send()
                await reply.bytes()
                if reply.version != version:
                    message = f"the stand-in answered over {reply.version}, asked for was {version}"
                    raise RuntimeError(message)

        return await _timed(fetch)


def _in_loop_with_sockets(stub: Stub, url: str) -> Cost:
    """Read with the worker's own client, which makes a `Reply` of each answer; the others make nothing of theirs."""

    async def get() -> Cost:
        poller = SocketPoller(base_url=f"{url}/none", api_key="benchmark", timeout=10)
        chat_ids = cycle([str(UUID(int=number)) for number in range(1, _CHATS + 1)])

        async def fetch(count: int) -> None:
            for _ in range(count):
                reply = await poller.fetch(next(chat_ids))
                if reply.status != 200:
                    message = f"the stand-in did not answer: {reply.failure}"
                    raise RuntimeError(message)

        cost = await _timed(fetch)
        await poller.close()
        return cost

    if not url.startswith("https"):
        return uvloop.run(get())
    with NamedTemporaryFile() as authority:
        authority.write(stub.certificate)
        authority.flush()
        os.environ["SSL_CERT_FILE"] = authority.name
        certificates.cache_clear()
        try:
            return uvloop.run(get())
        finally:
            del os.environ["SSL_CERT_FILE"]
            certificates.cache_clear()


async def _timed(fetch: Callable[[int], Coroutine[Any, Any, None]]) -> Cost:
    """Measure a GET by `fetch`, which makes so many one after the other."""
    await asyncio.gather(*(fetch(10) for _ in range(_IN_FLIGHT)))  # connections open
    before = time.process_time()
    await asyncio.gather(*(fetch(_GETS // _IN_FLIGHT) for _ in range(_IN_FLIGHT)))
    return Cost((time.process_time() - before) / _GETS * 1e6)


def _requests(client: Client, base_url: str, *, built_once: bool) -> Callable[[], ConsumedRequest]:
    """Return what makes the next request: pyreqwest sends none twice ("Request was already sent"), only copies."""
    urls = [f"{base_url}/v3/chats/{UUID(int=number)}/location" for number in range(1, _CHATS + 1)]
    if built_once:
        built = cycle([client.get(url).build() for url in urls])
        return lambda: next(built).copy()
    endless = cycle(urls)
    return lambda: client.get(next(endless)).build()


class _Geometry(BaseModel):
    type: Literal["Point"]
    # Two, as the stand-in sends; that there may be an altitude is left out in favour of pydantic.
    coordinates: tuple[Annotated[float, Field(ge=-180, le=180)], Annotated[float, Field(ge=-90, le=90)]]


class _Properties(BaseModel):
    handle: Annotated[str, AfterValidator(partial(normalize_handle, lenient=True))]
    address: str | None = None
    locality: str | None = None
    updated_at: Annotated[int, BeforeValidator(parse_time)]


class _Feature(BaseModel):
    geometry: _Geometry
    properties: _Properties


class _Collection(BaseModel):
    features: list[_Feature]


class _Reply(BaseModel):
    success: Literal[True]
    data: _Collection


def _reading(stub: Stub) -> Idea:
    chat = f"{stub.base_url('none')}/v3/chats/{UUID(int=1)}/location"
    with urllib.request.urlopen(chat, timeout=5) as answer:  # noqa: S310 (our own loopback address)
        body: bytes = answer.read()
    reply, now = Reply(200, body, None, None, None), time.time()
    adapter = TypeAdapter(_Reply)

    def timed(read: Callable[[], object]) -> Cost:
        before = time.process_time()
        for _ in range(_READ):
            read()
        return Cost((time.process_time() - before) / _READ * 1e6)

    return Idea(
        "reading a reply",
        "reply",
        {
            "msgspec": lambda: timed(lambda: read_observation(reply, now=now)),
            "pydantic, the same checks": lambda: timed(lambda: adapter.validate_json(body)),
        },
    )

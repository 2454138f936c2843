"""Ideas for a cheaper poll, one at a time: what the worker does beside what it could do instead."""

import asyncio
import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import cycle
from typing import Annotated, Any, Literal
from uuid import UUID

import uvloop
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter
from rich.console import Console

from benchmarks.gets import chat_ids, timed
from benchmarks.ideas_redis import redis_ideas
from benchmarks.measure import ROOT, python_of
from benchmarks.redis_server import running_redis
from benchmarks.stub import Stub, running_stub
from benchmarks.variants import Cost, Idea, measure
from worker.domain.handle import normalize_handle
from worker.domain.timestamp import parse_time
from worker.http import certificates
from worker.linq.classification import read_observation
from worker.linq.reply import Reply
from worker.linq.socket_poller import SocketPoller

_READ = 5_000  # replies
_LOOPS: dict[str, Callable[[Coroutine[Any, Any, float]], float]] = {"uvloop": uvloop.run, "asyncio": asyncio.run}
_BENCH_PYTHON = python_of("benchmarks/.venv")


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure all variants in turn and print. Returns plain data for JSON."""
    skipped: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        try:
            stub = stack.enter_context(running_stub(tls=True))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            skipped["HTTP over TLS"] = str(error)
            stub = stack.enter_context(running_stub())
        redis = stack.enter_context(running_redis())
        ideas = [_reading(stub), *redis_ideas(redis)]
        if stub.kind != "nginx":
            skipped = {"HTTP": "nginx is not installed, and the other stand-in is too slow to keep 64 GETs in flight"}
        else:
            if not _BENCH_PYTHON.exists():
                skipped["pyreqwest"] = "not installed in benchmarks/.venv (`make bench-install`)"
            ideas.insert(0, _http_idea(stub))
        found = measure(console, ideas, rounds=2 if quick else 7)
    for name, reason in skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False)
    return {"stub": stub.kind, "redis": redis.version, "ideas": found, "skipped": skipped}


def _http_idea(stub: Stub) -> Idea:
    urls = {"HTTP/1.1": stub.url}
    if stub.secure_url:
        urls["HTTP/1.1 over TLS"] = stub.secure_url
    variants: dict[str, Callable[[], Cost]] = {
        f"`socket` on {loop}, {way}": partial(_with_sockets, loop, url, stub.certificate)
        for loop in _LOOPS
        for way, url in urls.items()
    }
    if _BENCH_PYTHON.exists():
        ways = [(way, url, "HTTP/1.1") for way, url in urls.items()]
        if stub.secure_url:
            ways.append(("HTTP/2 over TLS", stub.secure_url, "HTTP/2.0"))
        variants |= {
            f"pyreqwest on {loop}, {way}": partial(_with_pyreqwest, loop, url, version, stub.certificate)
            for loop in _LOOPS
            for way, url, version in ways
        }
    return Idea("client, loop and protocol", "GET", variants)


def _with_sockets(loop: str, url: str, certificate: str) -> Cost:
    """Read with the worker's own client, which makes a `Reply` of each answer; pyreqwest's are discarded."""

    async def get() -> float:
        poller = SocketPoller(base_url=f"{url}/none", api_key="benchmark", timeout=10)
        chats = cycle(chat_ids())

        async def fetch() -> None:
            reply = await poller.fetch(next(chats))
            if reply.status != 200:
                message = f"the stand-in did not answer: {reply.failure}"
                raise RuntimeError(message)

        try:
            return await timed(fetch)
        finally:
            await poller.close()

    with _believing(certificate):
        return Cost(_LOOPS[loop](get()))


@contextlib.contextmanager
def _believing(certificate: str) -> Iterator[None]:
    """Make clients within the block trust this certificate."""
    if certificate:
        os.environ["SSL_CERT_FILE"] = certificate
    certificates.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("SSL_CERT_FILE", None)
        certificates.cache_clear()


def _with_pyreqwest(loop: str, url: str, version: str, certificate: str) -> Cost:
    command = [str(_BENCH_PYTHON), "-m", "benchmarks.pyreqwest_gets", f"{url}/none", version, loop, certificate]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return Cost(float(done.stdout))


class _Geometry(BaseModel):
    type: Literal["Point"]
    # Two, as the stand-in sends. The optional altitude is left out, which favours pydantic.
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

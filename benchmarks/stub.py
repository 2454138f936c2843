"""A stand-in for Linq's location read that is never the bottleneck: nginx if installed, else a server of our own.

The first part of a path chooses how often a reply carries a position nobody has seen: `/every`, `/fifth` (one reply
in five, at random) or `/none`. `/status` tells how many requests were answered, so that polls are counted without help
from whoever polls.
"""

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from benchmarks.process import cpu_seconds, free_port

MODES = ("every", "fifth", "none")

# A later time is new. All replies of `/none` carry this one, and four of five replies of `/fifth`.
_OLD = "2026-01-01T00:00:00.000Z"

_BODY = (
    '{"success":true,"data":{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point",'
    '"coordinates":[-0.1195,51.5033]},"properties":{"handle":"%s","address":"Riverside Building, County Hall, London",'
    '"locality":"London","updated_at":"%s"}}]}}'
)

_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log off;
    # Neither a time nor a number of requests ends a connection: reconnecting is not what is measured.
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    default_type application/json;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    # nginx knows whole seconds in ISO form and milliseconds since 1970; both come from the same reading of the clock.
    map $time_iso8601 $second {{ "~^(?<head>.{{19}})" $head; default ""; }}
    map $msec $fraction {{ "~[.](?<tail>[0-9]+)$" $tail; default "000"; }}
    map $uri $handle {{ "~(?<digits>[0-9a-f]{{8}})/location$" "$digits@example.com"; default ""; }}
    split_clients $request_id $drawn {{ 20% fifth; * ""; }}
    map $uri$drawn $updated_at {{
        "~^/every/" "${{second}}.${{fraction}}Z";
        "~^/fifth/.*/locationfifth$" "${{second}}.${{fraction}}Z";
        default "{old}";
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {secure}
        location = /status {{ stub_status; }}
        location / {{ return 200 '{body}'; }}
    }}
}}
"""

_SECURE = "listen 127.0.0.1:{port} ssl http2 backlog=4096; ssl_certificate {certificate}; ssl_certificate_key {key};"


@dataclass(frozen=True, slots=True)
class Stub:
    """A running stub: where it listens, what it is, and the process whose CPU seconds are its own.

    With TLS it listens at `secure_url`, too, over HTTP/1.1 and HTTP/2, with a certificate of its own
    (a file in PEM form).
    """

    url: str
    kind: str
    pid: int
    secure_url: str = ""
    certificate: str = ""

    def base_url(self, mode: str) -> str:
        """Return the `LINQ_API_V3_BASE_URL` whose requests are answered in one of `MODES`."""
        return f"{self.url}/{mode}"

    def requests(self) -> int:
        """Return how many requests were answered so far, this one included."""
        with urllib.request.urlopen(f"{self.url}/status", timeout=5) as reply:  # noqa: S310 (our own loopback address)
            text: str = reply.read().decode()
        found = re.search(r"^ *\d+ +\d+ +(\d+)", text, re.MULTILINE)
        if found is None:
            message = f"the stub's /status answered {text!r}, which holds no counts"
            raise RuntimeError(message)
        return int(found[1])

    def cpu(self) -> float:
        """Return the CPU seconds used so far."""
        return cpu_seconds(self.pid)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the stub itself can do: requests a second when pipelined, and microseconds of its CPU per request."""

    requests_per_second: float
    cpu_microseconds: float


@contextlib.contextmanager
def running_stub(*, nginx: bool = True, tls: bool = False) -> Iterator[Stub]:
    """Start the stub on a free loopback port, end it on leaving. `nginx=False` forces our own server.

    `tls` needs nginx and the program openssl; raises FileNotFoundError naming the one that is missing.
    """
    program = _nginx_path() if nginx else None
    port = free_port()
    if tls and program is None:
        message = "nginx is not installed: only it speaks TLS here"
        raise FileNotFoundError(message)
    with tempfile.TemporaryDirectory(prefix="location-stub-") as folder:
        secure = secure_url = pem = ""
        if tls:
            certificate, key = _make_certificate(folder)
            secure_port = free_port()
            secure = _SECURE.format(port=secure_port, certificate=certificate, key=key)
            secure_url, pem = f"https://127.0.0.1:{secure_port}", str(certificate)
        if program is not None:
            configuration = Path(folder, "nginx.conf")
            handle = "$handle"
            configuration.write_text(
                _NGINX.format(folder=folder, port=port, secure=secure, old=_OLD, body=_BODY % (handle, "$updated_at"))
            )
            command = [program, "-e", "stderr", "-p", folder, "-c", str(configuration)]
        else:
            command = [sys.executable, "-m", "benchmarks.stub", str(port)]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            _await_port(port, process)
            pid = _only_child(process.pid) if program is not None else process.pid
            kind = "nginx" if program is not None else "asyncio"
            yield Stub(f"http://127.0.0.1:{port}", kind, pid, secure_url, pem)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def measure_ceiling(stub: Stub, *, seconds: float = 2.0) -> Ceiling:
    """Ask as fast as sockets allow: 32 connections, 16 requests pipelined on each."""
    request = b"GET /every/v3/chats/00000000-0000-4000-8000-000000000001/location HTTP/1.1\r\nHost: stub\r\n\r\n"
    return asyncio.run(_pipelined(stub, request, seconds))


async def _pipelined(stub: Stub, request: bytes, seconds: float) -> Ceiling:
    port = int(stub.url.rsplit(":", 1)[1])
    depth = 16
    stop = time.monotonic() + seconds

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if length is None:
            message = "the stub answered without Content-Length"
            raise RuntimeError(message)
        await reader.readexactly(int(length[1]))
        size = len(head) + int(length[1])  # every reply to the same request is as long
        while time.monotonic() < stop:
            writer.write(request * depth)
            await reader.readexactly(size * depth)
        writer.close()

    before, cpu, began = stub.requests(), stub.cpu(), time.monotonic()
    await asyncio.gather(*(connection() for _ in range(32)))
    answered, spent, lasted = stub.requests() - before, stub.cpu() - cpu, time.monotonic() - began
    return Ceiling(answered / lasted, spent / answered * 1e6)


def _nginx_path() -> str | None:
    # Debian installs it in a folder that is only on root's PATH.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def _make_certificate(folder: str) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that is good for a day, and its key, as PEM files. Raises FileNotFoundError."""
    openssl = shutil.which("openssl")
    if openssl is None:
        message = "openssl, which makes the certificate for TLS, is not on PATH"
        raise FileNotFoundError(message)
    certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=stub", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    # rustls refuses a CA certificate as a server's own.
    command += ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            message = f"the stub ended at once with status {process.returncode}"
            raise RuntimeError(message)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    message = f"the stub did not listen on port {port} within 10 s"
    raise TimeoutError(message)


def _only_child(pid: int) -> int:
    """Find the worker process of an nginx master, which does all the work."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    message = "nginx started no worker process"
    raise TimeoutError(message)


class _Server(asyncio.Protocol):
    """Answers GETs without parsing more than the path. For machines without nginx."""

    requests = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have this interface without inheriting it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        self._transport.write(b"".join([_answer(request) for request in requests]))


def _answer(request: bytes) -> bytes:
    _Server.requests += 1
    path = request[4 : request.index(b" ", 4)].decode("ascii", "replace")
    if path == "/status":
        body = f"server accepts handled requests\n 0 0 {_Server.requests}\n"
    else:
        mode = path[1 : path.find("/", 1)]
        new = mode == "every" or (mode == "fifth" and random.random() < 0.2)
        updated_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if new else _OLD
        body = _BODY % (f"{path[-17:-9]}@example.com", updated_at)
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", port, backlog=4096)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with server:
        await stopped.wait()
    # Idle keep-alive connections would hold the server open; nobody waits for them.
    os._exit(0)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))

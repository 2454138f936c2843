"""A master, replicas and the sentinels that watch them, on loopback, for real failovers."""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from simulator.embedded_redis import EmbeddedRedis

_READY_WITHIN = 30.0
_PAUSE = 0.05


class EmbeddedSentinel(EmbeddedRedis):
    """A sentinel; `configuration` is its file, to which it adds what it learns."""

    def __init__(self, configuration: Sequence[str], *, binary: Path | None = None) -> None:
        self._configuration = configuration
        super().__init__(binary=binary, tcp=True)

    def arguments(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            own = (f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}")
            file.write_text("\n".join([*own, *self._configuration, ""]))
        return [str(file), "--sentinel"]


class RedisWithSentinels:
    """A master with replicas and three sentinels, any two of which may replace it; ended with its context.

    `down_after`: seconds without an answer after which a master is replaced. `options`: of every Redis server, such as
    `["--min-replicas-to-write", "1"]`. `url` is what REDIS_URL is set to; `servers` and `sentinels` may be killed,
    paused and started again. Raises EmbeddedRedisError, and TimeoutError if they do not find each other.
    """

    def __init__(
        self,
        *,
        binary: Path | None = None,
        replicas: int = 1,
        down_after: float = 1.0,
        persistence: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.name = "main"
        self._stack = contextlib.ExitStack()
        try:
            self._start(binary, replicas, down_after, persistence, options)
        except BaseException:
            self.stop()
            raise

    def _start(
        self, binary: Path | None, replicas: int, down_after: float, persistence: bool, options: Sequence[str]
    ) -> None:
        # Without these, a replica waits for seconds before it copies its master.
        quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options]
        enter = self._stack.enter_context
        first = enter(EmbeddedRedis(binary=binary, tcp=True, persistence=persistence, options=quick))
        following = [*quick, "--replicaof", f"127.0.0.1 {first.port}"]
        self.servers = [
            first,
            *(
                enter(EmbeddedRedis(binary=binary, tcp=True, persistence=persistence, options=following))
                for _ in range(replicas)
            ),
        ]
        configuration = [
            f"sentinel monitor {self.name} 127.0.0.1 {first.port} 2",
            f"sentinel down-after-milliseconds {self.name} {round(down_after * 1000)}",
            # The time after which a stuck failover is tried again, and a wrong master is made a replica.
            f"sentinel failover-timeout {self.name} 3000",
            # Otherwise each learns of the replicas only within 10 s.
            *(f"sentinel known-replica {self.name} 127.0.0.1 {server.port}" for server in self.servers[1:]),
        ]
        self.sentinels = [
            enter(EmbeddedSentinel([f"sentinel myid {secrets.token_hex(20)}", *configuration], binary=binary))
            for _ in range(3)
        ]
        self._wait_until(self._is_complete, "the sentinels know each other and a replica")
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/0?master={self.name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything."""
        self._stack.close()

    def master(self) -> EmbeddedRedis:
        """Return the server that the sentinels call the master now."""
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisError):
                _, port = self._ask(sentinel, "GET-MASTER-ADDR-BY-NAME", self.name)
                return next(server for server in self.servers if server.port == int(port))
        raise RuntimeError("no sentinel answers")

    def fail_over(self) -> None:
        """Have the sentinels replace the master, which stays alive; return as soon as they have begun."""

        def begins() -> bool:
            # A replica that has just been a master is not promoted at once.
            with contextlib.suppress(ResponseError):
                return bool(self._ask(self.sentinels[0], "FAILOVER", self.name))
            return False

        self._wait_until(begins, "the failover begins")

    def _is_complete(self) -> bool:
        for sentinel in self.sentinels:
            others = self._ask(sentinel, "SENTINELS", self.name)
            if len(others) < len(self.sentinels) - 1:
                return False
            for replica in self._ask(sentinel, "REPLICAS", self.name):
                about = dict(zip(replica[::2], replica[1::2], strict=True))
                if about["flags"] != "slave" or about["master-link-status"] != "ok":
                    return False
        return _has_replica(self.servers[0]) or len(self.servers) == 1

    def _ask(self, sentinel: EmbeddedRedis, *arguments: str) -> Any:
        with contextlib.closing(_client(sentinel)) as client:
            return client.execute_command("SENTINEL", *arguments)  # type: ignore[no-untyped-call]  # redis-py has no types here

    def _wait_until(self, holds: Callable[[], bool], description: str) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {_READY_WITHIN:g} s: {description}")
            time.sleep(_PAUSE)


def _client(server: EmbeddedRedis) -> Redis:
    return Redis(port=server.port, decode_responses=True, protocol=2, socket_timeout=2)


def _has_replica(server: EmbeddedRedis) -> bool:
    with contextlib.closing(_client(server)) as client:
        about: Any = client.info("replication")
        return any(isinstance(value, dict) and value.get("state") == "online" for value in about.values())

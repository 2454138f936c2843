"""A master, a replica and three sentinels, each server behind a proxy that can break its connections."""

import contextlib
import secrets
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chaos.proxy import Proxy
from simulator.embedded_redis import EmbeddedRedis
from simulator.sentinels import EmbeddedSentinel
from tests.support.waiting import wait_until

NAME = "chaos"
DOWN_AFTER_MILLISECONDS = 800  # until a silent server counts as down: short, so that a run sees many failovers
FAILOVER_TIMEOUT_MILLISECONDS = 3_000
READY_WITHIN = 30.0
QUORUM = 2


class Node:
    """One server and its proxy; clients, replicas and sentinels only know the proxy's port."""

    def __init__(self, proxy: Proxy, *, replica_of: int | None = None) -> None:
        self.proxy = proxy
        self.lives = True
        options = ["--appendfsync", "everysec", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        options += ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(proxy.port)]
        if replica_of is not None:
            options += ["--replicaof", f"127.0.0.1 {replica_of}"]
        self.server = EmbeddedRedis(tcp=True, persistence=True, options=options)
        proxy.target = self.server.port

    def kill(self) -> None:
        """End the server without a chance to write anything."""
        self.lives = False
        self.server.kill()

    async def revive(self, other: "Node") -> None:
        """Let it go on, as a replica of the other if it had ended; the sentinels correct the roles."""
        self.proxy.heal()
        if self.lives:
            self.server.resume()
            return
        self.server.restart()
        self.lives = True
        with contextlib.suppress(RedisError, OSError):
            await self.command("REPLICAOF", "127.0.0.1", str(other.proxy.port))

    async def command(self, *words: str) -> Any:
        """Send a command past the proxy; raises RedisError, OSError."""
        return await _send(self.server.port, *words)


class Cluster:
    """The servers. `url` is what workers and clients are given."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._sentinels: list[EmbeddedSentinel] = []
        self._stack = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        """The address of the cluster, by its sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        return f"redis+sentinel://{hosts}/0?master={NAME}"

    async def __aenter__(self) -> Self:
        proxies = [await self._stack.enter_async_context(Proxy(seed=number)) for number in range(2)]
        first = Node(proxies[0])
        self._stack.callback(first.server.stop)
        second = Node(proxies[1], replica_of=first.proxy.port)
        self._stack.callback(second.server.stop)
        self.nodes = [first, second]
        for _ in range(3):
            sentinel = EmbeddedSentinel(
                [
                    f"sentinel myid {secrets.token_hex(20)}",
                    f"sentinel monitor {NAME} 127.0.0.1 {first.proxy.port} {QUORUM}",
                    f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MILLISECONDS}",
                    f"sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT_MILLISECONDS}",
                    f"sentinel known-replica {NAME} 127.0.0.1 {second.proxy.port}",
                ]
            )
            self._stack.callback(sentinel.stop)
            self._sentinels.append(sentinel)
        await wait_until(self._is_complete, "sentinels that know the replica and each other", deadline=READY_WITHIN)
        await wait_until(self.is_healed, "a master with a replica in step", deadline=READY_WITHIN)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _is_complete(self) -> bool:
        for sentinel in self._sentinels:
            others = await _ask(sentinel, "SENTINELS", NAME)
            if len(others or []) < len(self._sentinels) - 1:
                return False
        return True

    async def fail_over(self) -> None:
        """Have the sentinels promote the replica although the master is alive."""

        async def begins() -> bool:
            # A server that has just come back is not promoted at once.
            return await _ask(self._sentinels[0], "FAILOVER", NAME) is not None

        await wait_until(begins, "the failover begins", deadline=READY_WITHIN)

    async def master(self) -> Node | None:
        """Return the node that most sentinels call the master; None while there is none."""
        named: list[int] = []
        for sentinel in self._sentinels:
            found = await _ask(sentinel, "GET-MASTER-ADDR-BY-NAME", NAME)
            if found:
                named.append(int(found[1]))
        return next((node for node in self.nodes if named.count(node.proxy.port) >= QUORUM), None)

    async def is_healed(self) -> bool:
        """Return whether all agree on one master, which accepts writes and has the other node as a replica in step."""
        master = await self.master()
        if master is None:
            return False
        with contextlib.suppress(RedisError, OSError):
            for node in self.nodes:
                role = await node.command("ROLE")
                if node is master and role[0] != b"master":
                    return False
                if node is not master and role[:4:3] != [b"slave", b"connected"]:
                    return False
            return bool(await master.command("SET", f"{NAME}:probe", "1", "EX", "60"))
        return False

    async def revive(self) -> None:
        """Restart what has ended, end every pause, and allow all connections again."""
        for node, other in (self.nodes, self.nodes[::-1]):
            await node.revive(other)


async def _send(port: int, *words: str) -> Any:
    redis = Redis(port=port, socket_timeout=1.0, socket_connect_timeout=1.0)
    async with redis:
        return await cast("Any", redis).execute_command(*words)


async def _ask(sentinel: EmbeddedSentinel, *words: str) -> Any:
    """Return a sentinel's answer; None if it does not answer or refuses."""
    try:
        return await _send(sentinel.port, "SENTINEL", *words)
    except (RedisError, OSError):
        return None

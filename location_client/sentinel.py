"""Redis behind Sentinel: one master for a whole process, which leaves it at once when the sentinels name another.

redis-py asks the sentinels only when it connects. If an old master is still alive (a planned failover, a false alarm, a
partition), it would go on writing there for ten seconds, until the sentinels turn it into a replica and all is lost.
"""

import asyncio
import contextlib
import weakref
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

LOOK_SECONDS = 0.5  # between two questions to a sentinel, as its messages may get lost
_CHANGING_LOOK_SECONDS = 0.1
_MAX_CHANGE_SECONDS = 10.0  # a failover that has not named another master by then has failed, or its message was lost
_ANSWER_SECONDS = 1.0  # for the answer of one sentinel; all are asked at the same time
_WAIT_SECONDS = 2.0  # for the first answer, or the end of a failover, which takes just over a second
_CANCEL_AGAIN_SECONDS = 0.1
# The leader of a failover announces whom it will promote a tenth of a second before it does. What is written to the old
# master from then on may be lost; the other sentinels learn of the promotion up to a second later.
_BEGUN = "+selected-slave"
_ENDED = "+switch-master"
_ABORTED = "-failover-abort*"

Host = tuple[str, int]


class MasterUnknownError(RedisConnectionError):
    """No sentinel names a master, or they are replacing it just now."""


class MasterChangedError(RedisConnectionError):
    """The sentinels have named another master: what the old one did or answered does not count."""


class Named(NamedTuple):
    """A sentinel's answer: the master, and the epoch of the failover that made it one (later ones are higher)."""

    epoch: int
    master: Host


def choose(current: Named | None, named: Collection[Named], sentinels: int) -> Named | None:
    """Return the master to use, given the answers of those of the `sentinels` that answer; None if none does.

    A later failover is believed from the first sentinel that reports it. An earlier one is believed only if nobody
    reports the later one any more and most sentinels agree: then the failover came to nothing, or everything was set up
    anew. A single sentinel may have been cut off.
    """
    if not named:
        return current
    latest = max(named)
    if current is None or latest.epoch > current.epoch:
        return latest
    if current in named:
        return current
    [(master, votes)] = Counter(one.master for one in named).most_common(1)
    return max(one for one in named if one.master == master) if votes > sentinels / 2 else current


class MasterPool(ConnectionPool):
    """Connections to the master that the sentinels name; all pools of a process that ask the same ones use one master.

    `options` are those of redis-py's pool, without a host and a connection class. User and password among them are for
    the sentinels, too; one that asks for none is fine.
    """

    def __init__(self, sentinels: Sequence[Host], name: str, **options: Any) -> None:
        super().__init__(connection_class=_MasterConnection, **options)
        self._place = (tuple(sentinels), name, options.get("username"), options.get("password"))
        self._watch: _Watch | None = None

    async def get_connection(self, *positional: Any, **named: Any) -> Any:
        """Return a connection to the master. Raises MasterUnknownError, and redis-py's errors."""
        if self._watch is None:
            self._watch = _watch_of(self._place)
            self._watch.join(self)
        return await super().get_connection(*positional, **named)

    def make_connection(self) -> Any:
        """Return a connection, not yet connected."""
        connection = super().make_connection()  # type: ignore[no-untyped-call]  # redis-py has no types here
        connection.watch = self._watch
        return connection

    async def disconnect(self, inuse_connections: bool = True, **named: Any) -> None:
        """Disconnect; if connections in use are closed as well, stop watching the sentinels, too."""
        try:
            await super().disconnect(inuse_connections, **named)
        finally:
            if inuse_connections and self._watch is not None:
                watch, self._watch = self._watch, None
                await watch.leave(self)


class _MasterConnection(Connection):
    """A connection that ends as soon as its master is no longer the master."""

    watch: "_Watch"
    _master: Host | None = None

    async def connect(self) -> None:
        """Connect, again if the master has changed while the connection waited in the pool."""
        if self.is_connected and not self._is_current():
            await self.disconnect(nowait=True)
        await super().connect()  # type: ignore[no-untyped-call]  # redis-py has no types here

    async def _connect(self) -> None:
        # Called for every try, so that a new master is used as soon as it is known.
        master = await self.watch.master()
        self.host, self.port = master
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py has no types here
        self._master = master
        if not self._is_current():
            self.drop()
            raise MasterChangedError("the master changed while a connection was made")
        self.watch.connections.add(self)

    async def send_packed_command(self, *positional: Any, **named: Any) -> None:
        """Send a command. Raises MasterChangedError if the connection was cut off before it was sent."""
        try:
            await super().send_packed_command(*positional, **named)
        except RuntimeError as error:
            # uvloop's error for a closed transport; redis-py only handles OSError.
            if self._is_current():
                raise RedisConnectionError("the connection is closed") from error
            await self._refuse(error)

    async def read_response(self, *positional: Any, **named: Any) -> Any:
        """Read a reply. Raises MasterChangedError if it comes from a server that is no longer the master."""
        try:
            reply = await super().read_response(*positional, **named)
        except (RedisError, OSError) as error:
            if self._is_current():
                raise
            await self._refuse(error)
        if not self._is_current():
            await self._refuse(None)
        return reply

    async def _refuse(self, cause: Exception | None) -> None:
        await self.disconnect(nowait=True)
        raise MasterChangedError("the master changed before its reply") from cause

    def _is_current(self) -> bool:
        return self._master == self.watch.known

    def drop(self) -> None:
        """Cut the connection off; a caller that waits for a reply gets an error at once."""
        # Not `disconnect`, which would remove reader and writer during a command.
        if self._writer is not None:
            self._writer.transport.abort()


class _SentinelConnection(Connection):
    """A connection to a sentinel, which often has no user or password though its master has one."""

    async def connect(self) -> None:
        try:
            await super().connect()  # type: ignore[no-untyped-call]  # redis-py has no types here
        except AuthenticationError as refusal:
            if self.password is None:
                raise
            given = self.username, self.password
            self.username = self.password = None
            try:
                await super().connect()  # type: ignore[no-untyped-call]  # redis-py has no types here
            except AuthenticationError:
                self.username, self.password = given
                raise refusal from None


_Place = tuple[tuple[Host, ...], str, str | None, str | None]
_watches: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Place, _Watch]]" = weakref.WeakKeyDictionary()


def _watch_of(place: _Place) -> "_Watch":
    """Return the one watch of this event loop over these sentinels."""
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    if place not in watches:
        watches[place] = _Watch(place)
    return watches[place]


class _Watch:
    """Asks all sentinels, as long as a pool is open: by subscription, and every half second."""

    def __init__(self, place: _Place) -> None:
        self._hosts, self._name, self._username, self._password = self._place = place
        self.connections: weakref.WeakSet[_MasterConnection] = weakref.WeakSet()
        self._pools: set[MasterPool] = set()
        self._current: Named | None = None
        self._changing_until = 0.0  # of the loop's time
        self._named: dict[Host, Named] = {}
        self._failed: dict[Host, Exception] = {}
        self._heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> Host | None:
        """The master, None while it is being replaced and before the first sentinel has named one."""
        return None if self._current is None or self._is_changing() else self._current.master

    def _is_changing(self) -> bool:
        return asyncio.get_running_loop().time() < self._changing_until

    def join(self, pool: MasterPool) -> None:
        """Watch on behalf of a pool."""
        self._pools.add(pool)
        if not self._tasks:
            self._tasks = {asyncio.create_task(self._follow(host)) for host in self._hosts}

    async def leave(self, pool: MasterPool) -> None:
        """Stop watching with the last pool."""
        self._pools.discard(pool)
        if self._pools:
            return
        _watches[asyncio.get_running_loop()].pop(self._place, None)
        pending, self._tasks = self._tasks, set()
        while pending:
            for task in pending:
                task.cancel()
            # Again: before Python 3.12 a cancellation gets lost if what is awaited ends at that moment.
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)

    async def master(self) -> Host:
        """Return the master. Raises MasterUnknownError if every sentinel was asked and none names one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                while not self._is_settled():
                    self._heard.clear()
                    await self._heard.wait()
        if self.known is None:
            causes = "; ".join(f"{host}:{port}: {error}" for (host, port), error in self._failed.items())
            raise MasterUnknownError(
                f"no sentinel names the master {self._name!r} ({causes or 'it is being replaced'})"
            ) from next(iter(self._failed.values()), None)
        return self.known

    def _is_settled(self) -> bool:
        """Return whether there is nothing to wait for."""
        if self._is_changing():
            return False
        # The first to answer may have been cut off: hear most of them before the first connection is made.
        return len(self._named) > len(self._hosts) / 2 or len(self._named) + len(self._failed) >= len(self._hosts)

    async def _follow(self, host: Host) -> None:
        while True:
            try:
                async with _sentinel(host, self._username, self._password) as sentinel, sentinel.pubsub() as messages:
                    await messages.psubscribe(_BEGUN, _ENDED, _ABORTED)
                    while True:
                        self._note_answer(host, await self._ask(sentinel))
                        pause = _CHANGING_LOOK_SECONDS if self._is_changing() else LOOK_SECONDS
                        message = await messages.get_message(ignore_subscribe_messages=True, timeout=pause)
                        _stop_if_cancelled()
                        if message is not None and self._name in message["data"].split():
                            self._apply_message(message["channel"])
            except Exception as error:  # noqa: BLE001 (uvloop raises RuntimeError; whatever it is, the next look may work)
                self._named.pop(host, None)
                self._failed[host] = error
                self._heard.set()
            await asyncio.sleep(LOOK_SECONDS)

    def _apply_message(self, event: str) -> None:
        """Leave a master that is about to be replaced. Its successor is asked for: an answer is more reliable."""
        if event == _BEGUN:
            self._changing_until = asyncio.get_running_loop().time() + _MAX_CHANGE_SECONDS
            self._drop_all()
        elif event != _ENDED:
            self._changing_until = 0.0
            self._heard.set()

    async def _ask(self, sentinel: Redis) -> Named:
        # In one round trip: during a failover the leader's two answers change at the same moment.
        pipeline = sentinel.pipeline(transaction=False)
        pipeline.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        pipeline.execute_command("SENTINEL", "MASTER", self._name)
        master, about = await pipeline.execute(raise_on_error=False)
        if master is None:
            raise MasterUnknownError(f"it watches no master of the name {self._name!r}")
        for answer in (master, about):
            if isinstance(answer, Exception):
                raise answer
        fields: Mapping[str, str] = (
            about if isinstance(about, dict) else dict(zip(about[::2], about[1::2], strict=True))
        )
        return Named(int(fields["config-epoch"]), (master[0], int(master[1])))

    def _note_answer(self, host: Host, named: Named) -> None:
        self._failed.pop(host, None)
        self._named[host] = named
        before = self._current
        self._current = choose(before, self._named.values(), len(self._hosts))
        if before is not None and self._current is not None and self._current.master != before.master:
            self._changing_until = 0.0
            self._drop_all()
        self._heard.set()

    def _drop_all(self) -> None:
        for connection in list(self.connections):
            connection.drop()
        self.connections.clear()


def _sentinel(host: Host, username: str | None, password: str | None) -> Redis:
    pool = ConnectionPool(
        _SentinelConnection,
        host=host[0],
        port=host[1],
        username=username,
        password=password,
        decode_responses=True,
        protocol=2,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_ANSWER_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
    sentinel: Redis = Redis(connection_pool=pool)
    sentinel.auto_close_connection_pool = True
    return sentinel


def _stop_if_cancelled() -> None:
    """Raise CancelledError if redis-py has swallowed it, as asyncio.wait_for may before Python 3.12."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

"""The store: all of Redis, as the engine, the jobs and the other processes use it."""

from redis.asyncio import Redis

from config.redis import redis_address
from config.settings import Settings
from worker.domain.decision import Limits
from worker.store.account_events import AccountEvents
from worker.store.budget import Budget
from worker.store.chats import Chats
from worker.store.dead_letters import DeadLetters
from worker.store.erasure import Erasure
from worker.store.event_stream import EventStream
from worker.store.keys import PIN_TTL_SECONDS, Keys
from worker.store.latest import Latest
from worker.store.lost_lines import LostLines
from worker.store.outage import Outage
from worker.store.pause import Pause
from worker.store.pins import Pins
from worker.store.reconciliation import Reconciliation
from worker.store.shares import Shares
from worker.store.unknown_fields import UnknownFields
from worker.store.webhook_inbox import Inbox

MAX_HELD_SECONDS = 60.0  # beyond a lease: while a prompt is under way


class Store:
    """Everything under one KEY_PREFIX: tracked shares, budget, pauses, dead letters and the rest."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.keys = Keys(settings.key_prefix)
        self.outage = Outage(redis, self.keys)
        ceiling = settings.linq_requests_per_second
        self.shares = Shares(
            redis,
            self.keys,
            limits=limits_of(settings),
            lease=settings.lease_seconds,
            ceiling=ceiling,
            events_maxlen=settings.events_maxlen,
            queue_name=settings.queue_name,
            replicated=settings.redis_url is not None and bool(redis_address(settings).sentinels),
        )
        self.budget = Budget(redis, self.keys, ceiling=ceiling)
        self.account_events = AccountEvents(redis, self.keys)
        self.lost_lines = LostLines(redis, self.keys, lease=max(settings.lease_seconds, MAX_HELD_SECONDS))
        self.account_pause = Pause(redis, self.keys.pause)
        self.pins_pause = Pause(redis, self.keys.pins_pause, ttl=PIN_TTL_SECONDS)
        self.reconciliation = Reconciliation(redis, self.keys)
        self.events = EventStream(redis, self.keys)
        self.latest = Latest(redis, self.keys)
        self.unknown_fields = UnknownFields(redis, self.keys)
        self.dead_letters = DeadLetters(redis, self.keys, secrets=settings.secrets())
        self.chats = Chats(redis, self.keys)
        self.inbox = Inbox(redis, self.keys, queue_name=settings.queue_name)
        self.pins = Pins(redis, self.keys, events_maxlen=settings.events_maxlen)
        self.erasure = Erasure(redis, self.keys)
        self._maxlen = settings.events_maxlen
        self._retention = settings.events_retention_seconds

    async def trim(self) -> None:
        """Drop events and dead letters older than EVENTS_RETENTION_SECONDS, and events beyond EVENTS_MAXLEN (0: none).

        A full Redis allows this, and accepts writes again once enough is gone.
        """
        if self._maxlen:
            await self.redis.xtrim(self.keys.events, maxlen=self._maxlen)
        if not self._retention:
            return
        seconds, _ = await self.redis.time()
        oldest = int((seconds - self._retention) * 1000)
        for stream in (self.keys.events, self.keys.dead_letters):
            await self.redis.xtrim(stream, minid=max(oldest, 0), approximate=False)


def limits_of(settings: Settings) -> Limits:
    """Return the settings that decisions depend on."""
    return Limits(
        min_poll=settings.min_poll_seconds,
        max_poll=settings.max_poll_seconds,
        cooldown=settings.request_cooldown_seconds,
        stale_after=settings.stale_after_seconds,
    )

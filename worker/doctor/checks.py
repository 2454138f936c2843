"""`location-worker doctor`: checks all that an installation needs, part by part, each within a bounded time.

It changes nothing except the request budget: each call to Linq takes a token. worker/doctor/findings.py judges.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from config.logging import configure_logging, mask_text
from config.redis import connect, redis_address
from config.redis_errors import explain, explain_refusal
from config.settings import Settings, SettingsError, load_settings
from worker.chert.client import ChertClient
from worker.doctor import findings
from worker.doctor.findings import Finding, fine, skipped, wrong
from worker.doctor.redis_server import look_at_server
from worker.domain.handle import handle_digest, normalize_handle
from worker.http import parse_error
from worker.linq.client import LinqClient, LinqError, PhoneLine
from worker.store.store import Store

CHECK_SECONDS = 15.0  # one check; calls to Linq and Chert end by themselves after 10 s
REDIS_SECONDS = 3.0
TOKEN_SECONDS = 3.0  # the wait for a token of the budget
DEAD_LETTERS_COUNTED = 100  # each may have 64 KiB
HOUR_SECONDS = 3600

Check = Callable[[], Awaitable[Sequence[Finding]]]

_REDIS_CHECKS = (
    "redis server",
    "redis writes",
    "redis clock",
    "pause",
    "lost lines",
    "account events",
    "pins",
    "request budget",
    "shares",
    "queue",
    "dead letters",
    "linq fields",
)
_LINQ_CHECKS = ("linq key", "linq clock", "lines", "webhooks")


def diagnose() -> list[Finding]:
    """Check the installation that the environment and `.env` describe; takes half a minute at most.

    Raises CertificatesError, and SettingsError for a proxy that cannot be used: without them nothing can be asked.
    """
    complaints: list[str] = []
    try:
        settings = load_settings("worker")
    except SettingsError as error:
        complaints = error.lines
        try:
            settings = load_settings("demo")  # something is only missing: the rest can be checked
        except SettingsError:
            remedy = "correct it in the environment or in .env"
            others = ("redis", *_LINQ_CHECKS, "chert secret")
            return [
                *(wrong("settings", line, remedy) for line in complaints),
                *(skipped(check, "the settings are wrong") for check in others),
            ]
    # The parts under test write debug lines, which are not part of the result.
    configure_logging(settings.model_copy(update={"log_level": "ERROR"}))
    return asyncio.run(examine(settings, complaints))


async def examine(settings: Settings, complaints: Sequence[str] = ()) -> list[Finding]:
    """Check what these settings describe; `complaints` are lines about missing settings."""
    doctor = _Doctor(settings)
    parts = await asyncio.gather(doctor.redis(), doctor.linq(), doctor.chert())
    return [*findings.judge_settings(settings, complaints), *(finding for part in parts for finding in part)]


class _Doctor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mask = mask_text(settings.secrets())
        self._lines: list[PhoneLine] | None = None

    async def redis(self) -> list[Finding]:
        if self._settings.redis_url is None:
            return [skipped("redis", "REDIS_URL is not set")]
        async with connect(self._settings, socket_timeout=REDIS_SECONDS) as redis:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await redis.ping()
            except (RedisError, OSError) as error:
                trouble = await explain_refusal(error, redis_address(self._settings))
                return [
                    wrong("redis", f"Redis {trouble.cause}", trouble.remedy),
                    *(skipped(check, "Redis does not answer") for check in _REDIS_CHECKS),
                ]
            examination = _RedisExamination(self._settings, redis)
            checks = (
                examination.server,
                examination.writes,
                examination.clock,
                examination.pause,
                examination.lost_lines,
                examination.account_events,
                examination.pins,
                examination.rate,
                examination.shares,
                examination.queue,
                examination.dead_letters,
                examination.unknown_fields,
            )
            made = [await self._make(name, check) for name, check in zip(_REDIS_CHECKS, checks, strict=True)]
        return [finding for part in made for finding in part]

    async def linq(self) -> list[Finding]:
        if self._settings.linq_api_key is None:
            return [skipped(check, "LINQ_API_V3_API_KEY is not set") for check in _LINQ_CHECKS]
        key = self._settings.linq_api_key.get_secret_value()
        async with LinqClient(base_url=self._settings.linq_base_url, api_key=key) as linq:
            made = [*await self._make("linq key", lambda: self._linq_key(linq))]
            made += await self._make("linq clock", lambda: _linq_clock(linq))
            made += await self._make("lines", self._reach)
            made += await self._make("webhooks", lambda: self._webhooks(linq))
        return made

    async def _linq_key(self, linq: LinqClient) -> list[Finding]:
        if not await self._may_ask():
            return [skipped("linq key", "the request budget is used up; try again")]
        try:
            self._lines = await linq.phone_numbers()
        except LinqError as error:
            return [findings.judge_refusal("linq key", error.status, error.code)]
        return [findings.judge_lines(self._lines)]

    async def _reach(self) -> list[Finding]:
        """Check that the key reaches the lines of the tracked chats that are due first."""
        if self._lines is None:
            return [skipped("lines", "Linq has not listed the lines")]
        if self._settings.redis_url is None:
            return [skipped("lines", "REDIS_URL is not set")]
        digests = set()
        for line in self._lines:
            with contextlib.suppress(ValueError):
                digests.add(handle_digest(normalize_handle(line.phone_number, lenient=True)))
        unreached: list[str] = []
        known = unknown = 0
        deadline = time.monotonic() + CHECK_SECONDS / 3
        async with connect(self._settings, socket_timeout=REDIS_SECONDS) as redis:
            async for page in Store(redis, self._settings).shares.tracked():
                for chat_id, share, _ in page:
                    if share.parked or (share.line and share.line not in digests):
                        unreached.append(chat_id)
                    elif share.line:
                        known += 1
                    else:
                        unknown += 1
                if time.monotonic() > deadline:
                    break
        return [findings.judge_reach(unreached, known=known, unknown=unknown)]

    async def _webhooks(self, linq: LinqClient) -> list[Finding]:
        if not await self._may_ask():
            return [skipped("webhooks", "the request budget is used up; try again")]
        try:
            found = await linq.list_subscriptions()
        except LinqError as error:
            return [findings.judge_refusal("webhooks", error.status, error.code)]
        return [findings.judge_subscriptions(found, secrets=len(self._settings.linq_webhook_secrets))]

    async def chert(self) -> list[Finding]:
        secret = self._settings.chert_signing_secret
        if secret is None:
            return [skipped("chert secret", "CHERT_SIGNING_SECRET is not set; send_pin fails without")]
        async with ChertClient(
            base_url=self._settings.chert_base_url,
            signing_secret=secret.get_secret_value(),
            tenant=self._settings.chert_tenant,
        ) as chert:

            async def probe() -> list[Finding]:
                reply = await chert.probe()
                envelope = parse_error(reply.body)
                return [findings.judge_chert(reply.status, envelope.code if envelope else None)]

            return list(await self._make("chert secret", probe))

    async def _may_ask(self) -> bool:
        """Take a token. While everything is paused or Redis is away, one is not needed: a person asks."""
        if self._settings.redis_url is None:
            return True
        deadline = time.monotonic() + TOKEN_SECONDS
        try:
            async with connect(self._settings, socket_timeout=REDIS_SECONDS) as redis:
                budget = Store(redis, self._settings).budget
                while (seconds := await budget.take()) is not None:
                    if seconds == float("inf"):
                        return True
                    if time.monotonic() + seconds > deadline:
                        return False
                    await asyncio.sleep(seconds)
        except (RedisError, OSError):
            return True
        return True

    async def _make(self, name: str, check: Check) -> Sequence[Finding]:
        """Make one check; if it fails, that is its finding."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await check()
        except NoPermissionError as error:
            return [wrong(name, self._tell(error), "docs/operations.md lists the rights that the Redis user needs")]
        except TimeoutError:
            return [
                wrong(
                    name, f"no answer within {CHECK_SECONDS:g} s", "try again; if it happens again, check the network"
                )
            ]
        except (RedisError, OSError) as error:
            return [wrong(name, f"Redis: {self._tell(error)}", "check the server and its log")]
        except Exception as error:  # noqa: BLE001 (one check that fails must not hide the others)
            return [wrong(name, f"the check itself failed: {self._tell(error)}", "please report it")]

    def _tell(self, error: Exception) -> str:
        return self._mask(f"{type(error).__name__}: {error}")[:200]


async def _linq_clock(linq: LinqClient) -> list[Finding]:
    if linq.clock_ahead is None:
        return [skipped("linq clock", "Linq sent no Date")]
    # The header has whole seconds, cut off: half a second is the unbiased guess.
    return [findings.judge_clock("linq clock", linq.clock_ahead + 0.5)]


class _RedisExamination:
    """The checks on a Redis that answers."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._store = Store(redis, settings)

    async def server(self) -> list[Finding]:
        return await look_at_server(self._redis, sentinel=bool(redis_address(self._settings).sentinels))

    async def writes(self) -> list[Finding]:
        try:
            await self._store.outage.probe()
        except ResponseError as error:
            trouble = explain(error)
            return [wrong("redis writes", f"Redis {trouble.cause}", trouble.remedy)]
        return [fine("redis writes", "taken")]

    async def clock(self) -> list[Finding]:
        before = time.time()
        seconds, microseconds = await self._redis.time()
        middle = (before + time.time()) / 2
        return [findings.judge_clock("redis clock", seconds + microseconds / 1e6 - middle)]

    async def pause(self) -> list[Finding]:
        seconds, _ = await self._redis.time()
        return [findings.judge_pause(await self._store.account_pause.state(), seconds)]

    async def lost_lines(self) -> list[Finding]:
        seconds, _ = await self._redis.time()
        return [findings.judge_lost_lines(await self._store.lost_lines.states(), seconds)]

    async def account_events(self) -> list[Finding]:
        seconds, _ = await self._redis.time()
        return [findings.judge_account_events(await self._store.account_events.all(), seconds)]

    async def pins(self) -> list[Finding]:
        seconds, _ = await self._redis.time()
        return [findings.judge_pins_pause(await self._store.pins_pause.state(), seconds)]

    async def rate(self) -> list[Finding]:
        return [findings.judge_rate(await self._store.budget.rate(), self._settings.linq_requests_per_second)]

    async def shares(self) -> list[Finding]:
        paused = await self._store.account_pause.state() is not None
        return [findings.judge_shares(await self._store.shares.overview(), paused=paused)]

    async def queue(self) -> list[Finding]:
        queue = self._settings.queue_name
        seconds, microseconds = await self._redis.time()
        now = seconds * 1000 + microseconds / 1000
        due = await self._redis.zcount(queue, "-inf", now)
        oldest = await self._redis.zrange(queue, 0, 0, withscores=True)
        reported = await self._redis.exists(f"{queue}:health-check")  # arq's own key
        waited = max(0.0, now - oldest[0][1]) / 1000 if oldest else 0.0
        return [findings.judge_queue(due, waited, reported=bool(reported))]

    async def dead_letters(self) -> list[Finding]:
        seconds, _ = await self._redis.time()
        since = (seconds - HOUR_SECONDS) * 1000
        entries = await self._redis.xrevrange(self._store.keys.dead_letters, "+", since, count=DEAD_LETTERS_COUNTED)
        kinds = Counter(fields.get(b"kind", b"").decode() for _, fields in entries)
        return [findings.judge_dead_letters(kinds, DEAD_LETTERS_COUNTED)]

    async def unknown_fields(self) -> list[Finding]:
        return [findings.judge_unknown_fields(await self._store.unknown_fields.names())]

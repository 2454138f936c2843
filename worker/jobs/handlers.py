"""The jobs of docs/reference/jobs.md and the periodic ticks, kept thin: they validate, call and answer."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from arq import Retry
from pydantic import BaseModel
from redis.exceptions import RedisError

from config.redis_errors import explain
from worker.jobs.arguments import (
    EndSharing,
    ForgetHandle,
    HearWebhook,
    InvalidJobError,
    RequestLocation,
    SetPlaces,
    StopSharing,
    TrackLocation,
    UntrackLocation,
    read_arguments,
)
from worker.jobs.erasure import forget_handle
from worker.jobs.linq_calls import NotNowError, bounded_tries, call_linq, find_direct_chat, remember
from worker.jobs.pins import SendPin, send_pin
from worker.jobs.services import Services
from worker.jobs.tracking import Result, already_tracked, settle_request, track, untrack
from worker.jobs.tracking import set_places as change_places
from worker.jobs.webhooks import apply_started, apply_stopped
from worker.linq.classification import rejection
from worker.linq.client import LinqError
from worker.linq.webhook import SharingStarted, SharingStopped
from worker.polling.engine import EngineStoppedError
from worker.store.outage import is_waited_out

WEBHOOK_TRIES = 5  # webhooks only speed things up: after this many tries one is applied without asking Linq
CHAT_IS_NONE = frozenset(
    {"chat_not_found", "chat_unavailable", "not_imessage"}
)  # the next attempt may find another one
# Waits grow, so that arq's tries last for most of the day that a job lives: an account may be paused for long.
WAIT_GROWTH = 1.1
MAX_WAIT_SECONDS = 900.0
RECONCILIATION_SECONDS = 2.0  # of each minute: a million shares are counted in about ten minutes
CREATION_SECONDS = 1.0  # until a job looks again for a chat that another one creates
RETRY_SECONDS = 2.0  # after an outage of Redis in the middle of a job

JobContext = dict[str, Any]
Job = Callable[..., Awaitable[Any]]
Model = TypeVar("Model", bound=BaseModel)

log = structlog.get_logger("jobs")


class RefusedJobError(ValueError):
    """The job's data is not a job; `detail` says why. It is kept as a dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.detail = reason


async def refuse(context: JobContext, /, *, reason: str) -> None:
    """Take the place of a queued entry that is not a job: keep it as a dead letter and fail."""
    await _keep(context, "not_a_job", reason)
    raise RefusedJobError(reason)


async def request_location(context: JobContext, arguments: RequestLocation) -> Result:
    """Ask a contact to share and publish positions until the share ends."""
    services: Services = context["services"]
    services.need_engine()
    chat_id = await _find_chat(context, arguments, arguments.message)
    if isinstance(chat_id, dict):
        return chat_id
    share, own = await track(
        services,
        job_id=context["job_id"],
        chat_id=chat_id,
        asked=True,
        accept_within=arguments.accept_within,
        **_wishes(arguments),
    )
    if not own:
        return already_tracked(chat_id, share, asked=True)
    result = await settle_request(services, chat_id, share.share_id)
    if arguments.chat_id is None and result.get("reason") in CHAT_IS_NONE:
        await services.store.chats.forget_between(str(arguments.to), str(arguments.from_))
    return result


async def track_location(context: JobContext, arguments: TrackLocation) -> Result:
    """Publish the positions in a chat without asking anybody."""
    services: Services = context["services"]
    engine = services.need_engine()
    chat_id = await _find_chat(context, arguments, None)
    if isinstance(chat_id, dict):
        return chat_id
    share, own = await track(services, job_id=context["job_id"], chat_id=chat_id, asked=False, **_wishes(arguments))
    if not own:
        return already_tracked(chat_id, share, asked=False)
    engine.wake()
    return {"status": "tracking", "chat_id": chat_id, "share_id": share.share_id}


async def set_places(context: JobContext, arguments: SetPlaces) -> Result:
    """Change the places of a tracked share."""
    services: Services = context["services"]
    services.need_engine()
    is_tracked = await change_places(services, arguments.chat_id, arguments.circles(), arguments.until)
    return {"status": "set" if is_tracked else "not_tracked"}


async def untrack_location(context: JobContext, arguments: UntrackLocation) -> Result:
    """Stop polling a chat; nothing changes upstream."""
    services: Services = context["services"]
    services.need_engine()
    return {"status": "untracked" if await untrack(services, arguments.chat_id) else "not_tracked"}


async def reconcile(context: JobContext) -> None:
    """Tick: go on counting what all shares add to the fleet's sums, and correct sums that are wrong."""
    services: Services = context["services"]
    repair = await services.store.reconciliation.run(RECONCILIATION_SECONDS)
    if repair.rescued:
        log.warning("shares_rescued", chats=repair.rescued, cause="they had dropped out of the schedule")
    if repair.drift:
        log.warning("sums_repaired", **repair.drift)


async def stop_sharing(context: JobContext, arguments: StopSharing) -> Result:
    """Ask Linq to end the contact's share; its end is published when it has really happened."""
    services: Services = context["services"]

    with bounded_tries(context["job_try"]):
        stopping = await call_linq(services, lambda linq: linq.stop_sharing(arguments.chat_id, arguments.handle))
    return {"status": "stopping" if stopping else "not_sharing"}


async def end_sharing(context: JobContext, arguments: EndSharing) -> Result:
    """Ask Linq to end the share of a contact whose position nobody needs any more; log the outcome.

    Usually nobody waits for this job, so a refusal is also kept as a dead letter.
    """
    services: Services = context["services"]
    shares = services.store.shares
    chat_id, share_id = arguments.chat_id, arguments.share_id
    loaded = await shares.load(chat_id)
    elsewhere = [shown for shown in await shares.shown_in(arguments.handle) if shown != chat_id]
    if elsewhere or loaded.live is not None:
        outcome = "still_needed"
    else:
        try:
            with bounded_tries(context["job_try"]):
                stopping = await call_linq(services, lambda linq: linq.stop_sharing(chat_id, arguments.handle))
        except LinqError as error:
            log.warning("sharing_not_ended", chat_id=chat_id, share_id=share_id, status=error.status, code=error.code)
            share = loaded.share
            reference = share.reference if share is not None and share.share_id == share_id else ""
            await _keep(context, "sharing_not_ended", str(error), reference)
            raise
        outcome = "stopping" if stopping else "not_sharing"
    log.info("sharing_ended", chat_id=chat_id, share_id=share_id, outcome=outcome)
    return {"status": outcome}


async def hear_webhook(context: JobContext, arguments: HearWebhook) -> Result:
    """Apply a webhook that the web process has stored."""
    services: Services = context["services"]
    last_try = context["job_try"] >= WEBHOOK_TRIES
    try:
        if arguments.kind == "started":
            started = msgspec.convert(arguments.event, SharingStarted)
            outcome = await apply_started(services, started, job_id=context["job_id"], last_try=last_try)
        else:
            outcome = await apply_stopped(services, msgspec.convert(arguments.event, SharingStopped), last_try=last_try)
    except msgspec.ValidationError as error:
        raise InvalidJobError([{"field": "event", "message": str(error)}]) from None
    log.info("webhook_applied", kind=arguments.kind, outcome=outcome)
    if outcome == "updated" and services.engine is not None:
        services.engine.wake()
    return {"status": outcome}


async def _find_chat(
    context: JobContext, arguments: RequestLocation | TrackLocation, message: str | None
) -> str | Result:
    """Return the chat that a job is about, or the job's result if there is none."""
    services: Services = context["services"]
    if arguments.chat_id is not None:
        return arguments.chat_id
    to, line = str(arguments.to), str(arguments.from_)
    with bounded_tries(context["job_try"]):
        chat_id = await find_direct_chat(services, to, line)
    if chat_id is not None:
        return chat_id
    if message is None:
        return {"status": "rejected", "reason": "chat_not_found", "code": None}
    chats = services.store.chats
    if not await chats.reserve_between(to, line, context["job_id"]):
        raise NotNowError(CREATION_SECONDS)  # another job is at it: a second message would reach the contact
    try:
        with bounded_tries(context["job_try"]):
            created = await call_linq(
                services,
                lambda linq: linq.create_chat(from_=line, to=to, text=message, idempotency_key=context["job_id"]),
            )
    except LinqError as error:
        await chats.forget_between(to, line)
        if error.by_proxy:
            raise
        return {"status": "rejected", "reason": rejection(error.status, error.code), "code": error.code}
    await remember(services, created, line)
    await chats.put_between(to, line, created.id)
    return created.id


def _wishes(arguments: RequestLocation | TrackLocation) -> dict[str, Any]:
    return {
        "follow": arguments.follow,
        "reference": arguments.reference or "",
        "follow_for": arguments.follow_for,
        "min_interval": arguments.min_interval,
        "max_interval": arguments.max_interval,
        "places": arguments.circles(),
        "until": arguments.until,
        "max_age": arguments.max_age,
        "stop_when_done": arguments.stop_when_done,
    }


def _validated(job: Callable[[JobContext, Model], Awaitable[Result]], model: type[Model]) -> Job:
    """Make the function that arq calls: validate, bind the job to the log, and wait out outages of Redis."""

    async def run(context: JobContext, /, **given: Any) -> Result:
        name = job.__name__
        with structlog.contextvars.bound_contextvars(job_id=context["job_id"], job=name):
            try:
                return await job(context, read_arguments(name, model, given))
            except InvalidJobError as error:
                reference = given.get("reference")
                await _keep(context, "invalid_arguments", error.detail, reference if isinstance(reference, str) else "")
                raise
            except EngineStoppedError:
                raise Retry from None  # another worker goes on
            except NotNowError as error:
                seconds = _grown(error.seconds, context)
                log.info("job_delayed", seconds=round(seconds, 3))
                raise Retry(defer=seconds) from None
            except RedisError as error:
                raise _after_outage(error, context) from error

    return run


def _grown(seconds: float, context: JobContext) -> float:
    """Return how long a job waits that should wait for `seconds` and has waited before."""
    grown = seconds * float(WAIT_GROWTH ** (context["job_try"] - 1))
    return max(seconds, min(grown, MAX_WAIT_SECONDS))


def _after_outage(error: RedisError, context: JobContext) -> Exception:
    """Return what a job raises after an error of Redis: a temporary one is tried again, others are final."""
    if not is_waited_out(error):
        return error
    seconds = _grown(RETRY_SECONDS, context)
    log.warning("job_delayed", cause=f"Redis {explain(error).cause}", seconds=round(seconds, 3))
    return Retry(defer=seconds)


async def _keep(context: JobContext, reason: str, fault: Any, reference: str = "") -> None:
    services: Services = context["services"]
    try:
        await services.keep_job(context["job_id"].encode(), reason, {"fault": fault}, reference=reference[:128])
    except RedisError as error:
        raise _after_outage(error, context) from error


JOBS: dict[str, Job] = {
    "request_location": _validated(request_location, RequestLocation),
    "track_location": _validated(track_location, TrackLocation),
    "set_places": _validated(set_places, SetPlaces),
    "untrack_location": _validated(untrack_location, UntrackLocation),
    "stop_sharing": _validated(stop_sharing, StopSharing),
    "send_pin": _validated(send_pin, SendPin),
    "forget_handle": _validated(forget_handle, ForgetHandle),
    "end_sharing": _validated(end_sharing, EndSharing),
    "hear_webhook": _validated(hear_webhook, HearWebhook),
}

"""The jobs of contract.md section 3, and the ticks of the schedule: thin, they validate, call and answer."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from arq import Retry
from pydantic import BaseModel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker import metrics
from worker.job_arguments import (
    InvalidJobError,
    RequestLocation,
    TrackLocation,
    UntrackLocation,
    read_arguments,
)
from worker.services import Services
from worker.watching import Result, already_tracked, poll_soon, settle_request, unwatch, watch

POLL_SECONDS = 20.0  # one tick polls at most so long; the next ones take over
RETRY_SECONDS = 2.0  # after Redis was away in the middle of a job

Context = dict[str, Any]
Job = Callable[..., Awaitable[Any]]
Model = TypeVar("Model", bound=BaseModel)

log = structlog.get_logger("jobs")


class RefusedJobError(ValueError):
    """The job's data is not a job; `detail` says why. It is kept as a dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.detail = reason


async def refuse(context: Context, /, *, payload: bytes, reason: str) -> None:
    """Stand in for whatever was queued and is no job: keep it as a dead letter and fail."""
    await _keep(context, payload, "not_a_job", reason, "")
    raise RefusedJobError(reason)


async def request_location(context: Context, arguments: RequestLocation) -> Result:
    """Ask a contact to share and publish positions until the share ends."""
    services: Services = context["services"]
    services.need_engine()
    chat_id = _chat(arguments.chat_id)
    share, own = await watch(
        services,
        job_id=context["job_id"],
        chat_id=chat_id,
        asked=True,
        accept_within=arguments.accept_within,
        **_wishes(arguments),
    )
    if not own:
        return already_tracked(chat_id, share, asked=True)
    return await settle_request(services, chat_id, share.share_id)


async def track_location(context: Context, arguments: TrackLocation) -> Result:
    """Publish the positions of a chat without asking anybody."""
    services: Services = context["services"]
    engine = services.need_engine()
    chat_id = _chat(arguments.chat_id)
    share, own = await watch(services, job_id=context["job_id"], chat_id=chat_id, asked=False, **_wishes(arguments))
    if not own:
        return already_tracked(chat_id, share, asked=False)
    poll_soon(engine)
    return {"status": "tracking", "chat_id": chat_id, "share_id": share.share_id}


async def untrack_location(context: Context, arguments: UntrackLocation) -> Result:
    """Stop polling a chat; nothing changes upstream."""
    services: Services = context["services"]
    services.need_engine()
    return {"status": "untracked" if await unwatch(services, arguments.chat_id) else "not_tracked"}


async def poll_due(context: Context) -> None:
    """Tick: poll what is due. Harmless when run twice or missed."""
    services: Services = context["services"]
    if services.engine is None:
        return
    try:
        await services.engine.poll_due(POLL_SECONDS)
    except RedisError as error:
        log.warning("polling_interrupted", error=type(error).__name__)


async def trim(context: Context) -> None:
    """Tick: drop what is older than the retention."""
    services: Services = context["services"]
    await services.store.trim()


def _chat(chat_id: str | None) -> str:
    if chat_id is None:
        raise NotImplementedError("requests by handle")
    return chat_id


def _wishes(arguments: RequestLocation | TrackLocation) -> dict[str, Any]:
    return {
        "follow": arguments.follow,
        "reference": arguments.reference or "",
        "follow_for": arguments.follow_for,
        "min_interval": arguments.min_interval,
        "max_interval": arguments.max_interval,
    }


def _validated(job: Callable[[Context, Model], Awaitable[Result]], model: type[Model]) -> Job:
    """Make the function that arq calls: validate, bind the job to the log, and let Redis' outages pass."""

    async def run(context: Context, /, **given: Any) -> Result:
        name = job.__name__  # type: ignore[attr-defined]  # functions have one
        with structlog.contextvars.bound_contextvars(job_id=context["job_id"], job=name):
            try:
                arguments = read_arguments(model, given)
            except InvalidJobError as error:
                reference = given.get("reference")
                await _keep(
                    context,
                    msgspec.json.encode({"f": name, "k": given}),
                    "invalid_arguments",
                    error.detail,
                    reference if isinstance(reference, str) else "",
                )
                raise
            try:
                return await job(context, arguments)
            except (RedisConnectionError, RedisTimeoutError) as error:
                log.warning("job_delayed", error=type(error).__name__)
                raise Retry(defer=RETRY_SECONDS) from None

    return run


async def _keep(context: Context, payload: bytes, reason: str, detail: Any, reference: str) -> None:
    services: Services = context["services"]
    await services.store.dead_letters.add(
        "job", reason, payload=payload, detail={"job_id": context["job_id"], "fault": detail}, reference=reference[:128]
    )
    metrics.DEAD_LETTERS.labels("job").inc()


JOBS: dict[str, Job] = {
    "request_location": _validated(request_location, RequestLocation),
    "track_location": _validated(track_location, TrackLocation),
    "untrack_location": _validated(untrack_location, UntrackLocation),
}

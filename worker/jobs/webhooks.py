"""What a webhook does to tracked chats. It only brings reads forward: polling finds the same."""

from collections.abc import Awaitable
from typing import TypeVar

import structlog

from worker.domain import webhooks
from worker.domain.decision import Decision
from worker.domain.handle import handle_digest
from worker.jobs.linq_calls import NotNowError, find_direct_chat, know_chat
from worker.jobs.services import Services
from worker.jobs.tracking import track
from worker.linq.client import LinqError
from worker.linq.webhook import SharingStarted, SharingStopped
from worker.store.chats import KnownChat
from worker.store.shares import Loaded

REMEDY = (
    "The contact shares under an Apple ID e-mail address, which this chat does not have. Ask them to stop sharing, "
    "open the Messages conversation with your line, and share their location from there."
)

AnswerT = TypeVar("AnswerT")

log = structlog.get_logger("webhooks")


async def apply_started(services: Services, event: SharingStarted, *, job_id: str, last_try: bool) -> str:
    """Begin or update sharing in every chat that the event belongs to; return the outcome, in a word.

    Raises NotNowError while Linq has to be asked and cannot be; the last try does without Linq.
    """
    shares = services.store.shares
    chat_id = event.chat_id
    if chat_id is not None and (await shares.load(chat_id)).live is not None:
        if await _can_show(services, chat_id, event.shared_by, last_try=last_try):
            return await _apply(services, chat_id, event)
        return await _track_elsewhere(services, event, chat_id, job_id=job_id, last_try=last_try)
    found = await _tracked_by_pair(services, event, last_try=last_try)
    if found:
        return await _apply_to_all(services, found, event)
    if not services.settings.follow_unrequested:
        return "not_tracked"
    if chat_id is None or not await _can_show(services, chat_id, event.shared_by, last_try=last_try):
        # Nothing else would find this share, as its chat is not polled: ask Linq until there is an answer.
        chat_id = await _find_direct(services, event, last_try=False)
    if chat_id is None:
        return "not_tracked"
    began = event.created_at if event.began_at is None else event.began_at
    past = (await shares.load(chat_id)).share
    ends = [await services.store.chats.end_of(event.shared_by, event.shared_with)]
    ends += [person.stopped_at for person in (past.people if past else ()) if person.handle == event.shared_by]
    if any(end is not None and end >= began for end in ends):
        return "late"
    await track(services, job_id=job_id, chat_id=chat_id, asked=False)
    return await _apply(services, chat_id, event)


async def apply_stopped(services: Services, event: SharingStopped, *, last_try: bool) -> str:
    """End the handle's sharing in every chat tracked with it; return the outcome, in a word."""
    found = await _tracked_by_pair(services, event, last_try=last_try)
    if services.settings.follow_unrequested:
        # Its `started` may still come, and must not begin a share then.
        end = event.created_at if event.ended_at is None else event.ended_at
        await services.store.chats.put_end(event.shared_by, event.shared_with, end)
    return await _apply_to_all(services, found, event)


async def _apply_to_all(services: Services, chats: list[str], event: SharingStarted | SharingStopped) -> str:
    outcomes = [await _apply(services, chat_id, event) for chat_id in chats]
    return "updated" if "updated" in outcomes else next(iter(outcomes), "not_tracked")


async def _apply(services: Services, chat_id: str, event: SharingStarted | SharingStopped) -> str:
    def decide(loaded: Loaded) -> tuple[Decision | None, str]:
        if loaded.live is None:
            return None, "not_tracked"
        decision = loaded.decide_on(loaded.live)
        if isinstance(event, SharingStarted):
            if chat_id == event.chat_id:
                loaded.live.line = handle_digest(event.shared_with)
            changed = webhooks.apply_started(
                decision, event.shared_by, began_at=event.began_at, ends_at=event.ends_at, created_at=event.created_at
            )
        else:
            changed = webhooks.apply_stopped(
                decision, event.shared_by, began_at=event.began_at, ended_at=event.ended_at, created_at=event.created_at
            )
        return (decision, "updated") if changed else (None, "unchanged")

    return await services.store.shares.update(chat_id, decide)


async def _tracked_by_pair(services: Services, event: SharingStarted | SharingStopped, *, last_try: bool) -> list[str]:
    """Find the tracked chats of a contact and a line: often more than the event's `chat_id`, which may be absent."""
    shares = services.store.shares
    found = [
        chat_id
        for chat_id in await shares.shown_in(event.shared_by)
        if chat_id == event.chat_id or await _is_on_line(services, chat_id, event, last_try=last_try)
    ]
    own = event.chat_id
    if (
        own is not None
        and own not in found
        and (await shares.load(own)).live is not None
        and await _can_show(services, own, event.shared_by, last_try=last_try)
    ):
        found.append(own)
    if isinstance(event, SharingStopped) and found:
        return found
    overview = await shares.overview()
    if services.linq is None or not sum(overview.phases.values()):
        return found
    chat_id = await _find_direct(services, event, last_try=last_try)
    if chat_id is not None and chat_id not in found and (await shares.load(chat_id)).live is not None:
        found.append(chat_id)
    return found


async def _is_on_line(
    services: Services, chat_id: str, event: SharingStarted | SharingStopped, *, last_try: bool
) -> bool:
    """Return whether a chat belongs to the event's line.

    If Linq does not say, assume so; if it cannot be asked now, only for a start, which costs no more than a read.
    """
    line = handle_digest(event.shared_with)
    share = (await services.store.shares.load(chat_id)).live
    if share is not None and share.line:
        return share.line == line
    if services.linq is None:
        return isinstance(event, SharingStarted)
    try:
        known = await know_chat(services, chat_id)
    except LinqError:
        return True
    except NotNowError as error:
        if error.refusal is not None:
            return True
        if not last_try:
            raise
        return isinstance(event, SharingStarted)
    if known.line is None and len(known.contacts) > 1:
        return line in known.contacts  # Linq did not mark which participant we are
    return known.line in (line, None)


async def _can_show(services: Services, chat_id: str, handle: str, *, last_try: bool) -> bool:
    """Return whether a share under this handle can be read in a chat; under an Apple ID e-mail it may not."""
    if "@" not in handle:
        return True
    known = await _try_to_know(services, chat_id, last_try=last_try)
    return known is None or not known.contacts or handle_digest(handle) in known.contacts


async def _find_direct(services: Services, event: SharingStarted | SharingStopped, *, last_try: bool) -> str | None:
    return await _try(find_direct_chat(services, event.shared_by, event.shared_with), last_try=last_try)


async def _try_to_know(services: Services, chat_id: str, *, last_try: bool) -> KnownChat | None:
    return None if services.linq is None else await _try(know_chat(services, chat_id), last_try=last_try)


async def _try(asked: Awaitable[AnswerT], *, last_try: bool) -> AnswerT | None:
    """Return Linq's answer, None if there is none. Raises NotNowError if a later try may bring one."""
    try:
        return await asked
    except LinqError:
        return None
    except NotNowError:
        if not last_try:
            raise
        return None


async def _track_elsewhere(
    services: Services, event: SharingStarted, chat_id: str, *, job_id: str, last_try: bool
) -> str:
    """Track the contact's chat that has the Apple ID e-mail, or report that there is none."""
    other = await _find_direct(services, event, last_try=last_try)
    if other is not None:
        share = (await services.store.shares.load(chat_id)).live
        if share is None:
            return "not_tracked"
        await track(
            services,
            job_id=job_id,
            chat_id=other,
            asked=False,
            follow=share.follow,
            reference=share.reference,
            follow_for=share.follow_for,
            min_interval=share.lower,
            max_interval=share.upper,
            places=share.places,
            until=share.until,
            max_age=share.max_age,
            stop_when_done=share.stop_when_done,
        )
        return await _apply(services, other, event)

    def report(loaded: Loaded) -> tuple[Decision | None, str]:
        if loaded.live is None:
            return None, "not_tracked"
        decision = loaded.decide_on(loaded.live)
        began_at = event.began_at or event.created_at
        if not webhooks.report_unreadable(decision, event.shared_by, REMEDY, began_at=began_at):
            return None, "unchanged"
        return decision, "unreadable"

    return await services.store.shares.update(chat_id, report)

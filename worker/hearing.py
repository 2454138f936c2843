"""What a webhook does to the watched chats (linq-api.md 6 and 13). Webhooks only hurry: polling finds the same."""

import random

import structlog

from worker.commands import NotNowError, call_linq, find_direct_chat, know_chat
from worker.domain.handle import handle_digest
from worker.domain.life import Turn
from worker.domain.share import Share
from worker.linq.client import LinqError
from worker.linq.webhook import SharingStarted, SharingStopped
from worker.services import Services
from worker.watching import CHANGE_TRIES, BusyError, watch

REMEDY = (
    "The contact shares under an Apple ID e-mail address, which this chat does not have. Ask them to stop sharing, "
    "open the Messages conversation with your line, and share their location from there."
)

log = structlog.get_logger("webhooks")


async def hear_started(services: Services, event: SharingStarted, *, job_id: str, last_try: bool) -> str:
    """Begin or update sharing wherever the event belongs; give what came of it, in a word.

    Raises NotNowError while Linq has to be asked and cannot be; on the last try it makes do without.
    """
    shares = services.store.shares
    chat_id = event.chat_id
    if chat_id is not None and (await shares.load(chat_id)).live is not None:
        if "@" in event.shared_by and not await _has_contact(services, chat_id, event.shared_by, last_try=last_try):
            return await _follow_elsewhere(services, event, chat_id, job_id=job_id)
        return await _apply(services, chat_id, event)
    found = await _watched_by_pair(services, event, last_try=last_try)
    if found:
        return await _apply_to_all(services, found, event)
    if not services.settings.follow_unrequested:
        return "not_watched"
    followed = chat_id or await find_direct_chat(services, event.shared_by, event.shared_with)
    if followed is None:
        return "not_watched"
    began = event.created_at if event.began_at is None else event.began_at
    past = (await shares.load(followed)).share
    if past is not None and any(
        person.handle == event.shared_by and person.stopped_at is not None and person.stopped_at >= began
        for person in past.people
    ):
        return "late"
    await watch(services, job_id=job_id, chat_id=followed, asked=False)
    return await _apply(services, followed, event)


async def hear_stopped(services: Services, event: SharingStopped, *, last_try: bool) -> str:
    """End the handle's sharing in every chat watched with it; give what came of it, in a word."""
    found = await _watched_by_pair(services, event, last_try=last_try)
    if event.chat_id is not None and event.chat_id not in found:
        found.append(event.chat_id)
    return await _apply_to_all(services, found, event)


async def _apply_to_all(services: Services, chats: list[str], event: SharingStarted | SharingStopped) -> str:
    outcomes = [await _apply(services, chat_id, event) for chat_id in chats]
    return "updated" if "updated" in outcomes else next(iter(outcomes), "not_watched")


async def _apply(services: Services, chat_id: str, event: SharingStarted | SharingStopped) -> str:
    shares = services.store.shares
    for _ in range(CHANGE_TRIES):
        loaded = await shares.load(chat_id)
        if loaded.live is None:
            return "not_watched"
        turn = Turn(loaded.live, chat_id, now=loaded.now, circumstances=loaded.circumstances, chance=random.random())
        if isinstance(event, SharingStarted):
            changed = turn.hear_started(
                event.shared_by, began_at=event.began_at, ends_at=event.ends_at, created_at=event.created_at
            )
        else:
            changed = turn.hear_stopped(
                event.shared_by, began_at=event.began_at, ended_at=event.ended_at, created_at=event.created_at
            )
        if not changed:
            return "unchanged"
        if await shares.change(loaded, turn):
            return "updated"
    raise BusyError("the chat changes too often to take in a webhook")


async def _watched_by_pair(services: Services, event: SharingStarted | SharingStopped, *, last_try: bool) -> list[str]:
    """Find the watched chats of a contact and a line, where `chat_id` does not say them all."""
    shares = services.store.shares
    found = [
        chat_id
        for chat_id in await shares.shown_in(event.shared_by)
        if chat_id == event.chat_id or await _is_on_line(services, chat_id, event.shared_with, last_try=last_try)
    ]
    if isinstance(event, SharingStopped) and (found or event.chat_id is not None):
        return found
    overview = await shares.overview()
    if services.linq is None or not sum(overview.phases.values()):
        return found
    try:
        chat_id = await find_direct_chat(services, event.shared_by, event.shared_with)
    except (LinqError, NotNowError):
        if not last_try:
            raise
        return found
    if chat_id is not None and chat_id not in found and (await shares.load(chat_id)).live is not None:
        found.append(chat_id)
    return found


async def _is_on_line(services: Services, chat_id: str, line: str, *, last_try: bool) -> bool:
    """Tell whether a chat is of a line; unknown counts as yes, because one more read finds out."""
    try:
        known = await know_chat(services, chat_id)
    except LinqError:
        return True
    except NotNowError:
        if not last_try:
            raise
        return True
    return known.line is None or known.line == handle_digest(line)


async def _has_contact(services: Services, chat_id: str, handle: str, *, last_try: bool) -> bool:
    try:
        known = await know_chat(services, chat_id)
    except LinqError:
        return True
    except NotNowError:
        if not last_try:
            raise
        return True
    return not known.contacts or handle_digest(handle) in known.contacts


async def _follow_elsewhere(services: Services, event: SharingStarted, chat_id: str, *, job_id: str) -> str:
    """A share under an Apple ID e-mail is readable only in a chat with that address (linq-api.md 6.3)."""
    chats = await call_linq(services, lambda linq: linq.find_chats(to=event.shared_by, from_=event.shared_with))
    other = next((chat.id for chat in chats if not chat.is_group and chat.id != chat_id), None)
    shares = services.store.shares
    for _ in range(CHANGE_TRIES):
        loaded = await shares.load(chat_id)
        share = loaded.live
        if share is None:
            return "not_watched"
        if other is not None:
            return await _follow_in(services, event, other, share, job_id=job_id)
        turn = Turn(share, chat_id, now=loaded.now, circumstances=loaded.circumstances, chance=random.random())
        turn.report_unreadable(event.shared_by, REMEDY)
        if await shares.change(loaded, turn):
            return "unreadable"
    raise BusyError("the chat changes too often to take in a webhook")


async def _follow_in(services: Services, event: SharingStarted, chat_id: str, share: Share, *, job_id: str) -> str:
    await watch(
        services,
        job_id=job_id,
        chat_id=chat_id,
        asked=False,
        follow=share.follow,
        reference=share.reference,
        follow_for=share.follow_for,
        min_interval=share.lower,
        max_interval=share.upper,
    )
    return await _apply(services, chat_id, event)

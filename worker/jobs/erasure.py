"""Forgetting a handle (contract.md section 3): what is tracked of it ends, and everything kept about it is erased.

The work is done in stages and pages whose progress is kept in Redis: a job may be cut short anywhere and goes on where
it was. What cannot be asked of Linq now is decided from what is known here; forgetting never waits for it.
"""

import asyncio
import time
from typing import Any

import arq
import structlog

from worker.domain.handle import handle_digest
from worker.domain.mentions import Mentions
from worker.domain.share import Share
from worker.jobs.arguments import ForgetHandle
from worker.jobs.linq_calls import NotNowError, call_linq, know_chat
from worker.jobs.services import Services
from worker.jobs.tracking import CHANGE_TRIES, BusyError, decision_of
from worker.linq.client import LinqError
from worker.store.erasure import ERASED, Erasure, Progress, Stage
from worker.store.shares import Loaded, Shares

SLICE_SECONDS = 15.0  # of work, then the job is queued again: a job of over 30 s would be cut off for good
LINQ_SECONDS = 8.0  # what Linq may take of that
AGAIN_SECONDS = 0.1

log = structlog.get_logger("forgetting")

JobContext = dict[str, Any]
Result = dict[str, Any]


async def forget_handle(context: JobContext, arguments: ForgetHandle) -> Result:
    """Erase what is kept about a handle; return the counts, or have the job go on in a moment."""
    forgetting = _Forgetting(context, arguments.handle)
    return await forgetting.run()


class _Forgetting:
    """One run of one job."""

    def __init__(self, context: JobContext, handle: str) -> None:
        self._services: Services = context["services"]
        self._shares: Shares = self._services.store.shares
        self._erasure: Erasure = self._services.store.erasure
        self._job_id: str = context["job_id"]
        self._handle = handle
        self._digest = handle_digest(handle)
        self._mentions = Mentions(handle)
        self._deadline = time.monotonic() + SLICE_SECONDS

    async def run(self) -> Result:
        while (progress := await self._erasure.open(self._job_id, self._handle)).stage != "done":
            await self._go_through(progress)
        log.info("handle_forgotten", shares=progress.shares, events=progress.events, letters=progress.letters)
        return {"status": "forgotten", "shares": progress.shares, "events": progress.events}

    async def _go_through(self, progress: Progress) -> None:
        following: Stage
        match progress.stage:
            case "chats":
                await self._leave_chats_at_linq()
                following = "keys"
            case "keys":
                await self._go_through_keys(progress.cursor)
                await self._erasure.unindex(self._handle)
                following = "events"
            case "events":
                while progress.cursor != "0":
                    progress = await self._erasure.erase_events(self._job_id, progress, self._mentions)
                    await self._breathe()
                following = "letters"
            case _:
                while progress.cursor != "0":
                    progress = await self._erasure.erase_letters(self._job_id, progress, self._mentions)
                    await self._breathe()
                following = "done"
        await self._erasure.enter(self._job_id, following)

    async def _breathe(self) -> None:
        """Stop here if the slice is over; the job goes on where it was."""
        if time.monotonic() < self._deadline:
            return
        progress = await self._erasure.open(self._job_id, self._handle)
        log.info(
            "forgetting",
            stage=progress.stage,
            shares=progress.shares,
            events=progress.events,
            letters=progress.letters,
        )
        raise arq.Retry(defer=AGAIN_SECONDS)

    # Chats

    async def _leave_chats_at_linq(self) -> None:
        """Find the tracked chats of the handle that have not shown it yet: only Linq knows whose they are."""
        if self._services.linq is None:
            return
        try:
            async with asyncio.timeout(LINQ_SECONDS):
                chats = await call_linq(self._services, lambda linq: linq.find_chats(to=self._handle))
        except (LinqError, NotNowError, TimeoutError) as error:
            log.warning(
                "linq_not_asked",
                error=type(error).__name__,
                consequence="a tracked chat that has not shown the handle yet goes on",
            )
            return
        for chat in chats:
            if await self._leave(chat.id, certain=True, group=chat.is_group):
                await self._breathe()

    async def _go_through_keys(self, cursor: str) -> None:
        while cursor != "0":
            page = await self._erasure.scan(cursor, self._mentions)
            for chat_id in page.chats:
                if await self._leave(chat_id, certain=chat_id in page.members, group=None):
                    await self._breathe()
            await self._erasure.sweep(self._job_id, page, self._handle)
            cursor = page.cursor
            if cursor != "0":
                await self._breathe()

    async def _leave(self, chat_id: str, *, certain: bool, group: bool | None) -> bool:
        """End the tracking of a 1:1 chat, leave the handle out of a group's, or out of what is kept of an ended share.

        `certain`: the handle takes part in the chat, whether its share has shown it or not. Returns whether a tracked
        share was touched: what was done in an earlier run is passed over quickly, so that every run gets further.
        """
        for _ in range(CHANGE_TRIES):
            loaded = await self._shares.load(chat_id)
            share = loaded.live
            if share is None:
                if await self._clean_up_after(loaded):
                    return False
                continue
            if self._digest in share.excluded or not (certain or self._knows(share)):
                return False
            if share.group is None:
                share.group = group if group is not None else await self._ask_kind(chat_id, share)
                group = share.group
            decision = decision_of(loaded, share)
            decision.forget(self._handle, ends_share=not share.group)
            await self._erasure.touch(self._job_id, share.share_id)
            if await self._shares.change(loaded, decision):
                return True
            if not await self._is_live(chat_id, share.share_id):
                await self._erasure.untouch(self._job_id, share.share_id)
        raise BusyError("the chat changes too often to forget a handle in it")

    def _knows(self, share: Share) -> bool:
        return any(person.handle == self._handle for person in share.people)

    async def _is_live(self, chat_id: str, share_id: str) -> bool:
        live = (await self._shares.load(chat_id)).live
        return live is not None and live.share_id == share_id

    async def _clean_up_after(self, loaded: Loaded) -> bool:
        """Take the handle out of an ended share; what it says of prompts stays, so that the cool-down holds."""
        share = loaded.share
        if not loaded.stored or loaded.due is not None:
            return True
        if share is not None:
            share.people = [person for person in share.people if person.handle != self._handle]
            if self._mentions.exactly(share.reference):
                share.reference = ERASED
        return await self._erasure.rewrite(loaded.chat_id, loaded.stored, share)

    async def _ask_kind(self, chat_id: str, share: Share) -> bool | None:
        """Find out whether a chat is a group: who was seen in it tells, else Linq, else (None) nobody does now."""
        if len(share.people) + len(share.excluded) > 1:
            return True
        if self._services.linq is None:
            return None
        try:
            async with asyncio.timeout(LINQ_SECONDS):
                return (await know_chat(self._services, chat_id)).is_group
        except (LinqError, NotNowError, TimeoutError):
            return None

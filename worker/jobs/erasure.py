"""Forgetting a handle: its tracking ends, and everything kept about it is erased.

The work is done in stages and pages whose progress is stored in Redis: a job may be interrupted anywhere and goes on
where it was. If Linq cannot be asked, what is known here decides; forgetting never waits for Linq.
"""

import asyncio
import time
from typing import Any

import arq
import structlog

from worker.domain.decision import Decision
from worker.domain.handle import handle_digest
from worker.domain.mentions import Mentions
from worker.domain.share import Share
from worker.jobs.arguments import ForgetHandle
from worker.jobs.linq_calls import NotNowError, find_chats, know_chat
from worker.jobs.services import Services
from worker.linq.client import LinqError
from worker.store.erasure import ERASED, Erasure, Progress, Stage
from worker.store.shares import Loaded, Shares

SLICE_SECONDS = 15.0  # of work, then the job is queued again: arq would cut off a job of over 30 s for good
LINQ_SECONDS = 8.0  # of these for Linq
AGAIN_SECONDS = 0.1

log = structlog.get_logger("forgetting")

JobContext = dict[str, Any]
Result = dict[str, Any]


async def forget_handle(context: JobContext, arguments: ForgetHandle) -> Result:
    """Erase what is kept about a handle; return the counts, or raise arq.Retry for the next slice of the work."""
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
                    await self._end_slice()
                following = "letters"
            case _:
                while progress.cursor != "0":
                    progress = await self._erasure.erase_letters(self._job_id, progress, self._mentions)
                    await self._end_slice()
                following = "done"
        await self._erasure.enter(self._job_id, following)

    async def _end_slice(self) -> None:
        """Stop here if the time slice is over; the job goes on where it was."""
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
        """Stop tracking chats of the handle that have not shown it yet: only Linq knows whose they are."""
        if self._services.linq is None:
            return
        try:
            async with asyncio.timeout(LINQ_SECONDS):
                chats = await find_chats(self._services, to=self._handle)
        except (LinqError, NotNowError, TimeoutError) as error:
            log.warning(
                "linq_not_asked",
                error=type(error).__name__,
                consequence="a tracked chat that has not shown the handle yet goes on",
            )
            return
        for chat in chats:
            if await self._leave(chat.id, certain=True, group=chat.is_group):
                await self._end_slice()

    async def _go_through_keys(self, cursor: str) -> None:
        while cursor != "0":
            page = await self._erasure.scan(cursor, self._mentions)
            for chat_id in page.chats:
                if await self._leave(chat_id, certain=chat_id in page.members, group=None):
                    await self._end_slice()
            await self._erasure.sweep(self._job_id, page, self._handle)
            cursor = page.cursor
            if cursor != "0":
                await self._end_slice()

    async def _leave(self, chat_id: str, *, certain: bool, group: bool | None) -> bool:
        """End the tracking of a 1:1 chat, exclude the handle from a group's, or take it out of an ended share.

        `certain`: the handle takes part in the chat, whether or not its share has shown it. Returns whether a tracked
        share was changed: what an earlier run did is skipped quickly, so that every run gets further.
        """
        loaded = await self._shares.load(chat_id)
        if loaded.share is None and loaded.stored and loaded.due is None:
            await self._shares.discard(loaded)
            return False
        touched: str | None = None
        if loaded.live is not None and self._concerns(loaded.live, certain=certain):
            if loaded.live.group is None and group is None:
                group = await self._ask_kind(chat_id, loaded.live)
            # Before the change, so that the share is counted even if the run is interrupted right after it.
            touched = loaded.live.share_id
            await self._erasure.touch(self._job_id, touched)

        def decide(loaded: Loaded) -> tuple[Decision | None, str | None]:
            share = loaded.live
            if share is None:
                return self._clean_up_after(loaded), None
            if not self._concerns(share, certain=certain):
                return None, None
            if share.group is None:
                share.group = group
            decision = loaded.decide_on(share)
            decision.forget(self._handle, ends_share=not share.group)
            if share.ended is not None and self._mentions.exactly(share.reference):
                share.reference = ERASED
            return decision, share.share_id

        changed = await self._shares.update(chat_id, decide)
        if changed != touched:
            # The share has ended meanwhile, or another one has begun.
            if touched is not None:
                await self._erasure.untouch(self._job_id, touched)
            if changed is not None:
                await self._erasure.touch(self._job_id, changed)
        return changed is not None

    def _concerns(self, share: Share, *, certain: bool) -> bool:
        known = certain or any(person.handle == self._handle for person in share.people)
        return known and self._digest not in share.excluded

    def _clean_up_after(self, loaded: Loaded) -> Decision | None:
        """Remove the handle from an ended share; what it says about prompts stays, so that the cool-down holds."""
        share = loaded.share
        if share is None or loaded.due is not None:
            return None
        decision = loaded.decide_on(share)
        known = decision.forget(self._handle, ends_share=True)
        named = self._mentions.exactly(share.reference)
        if named:
            share.reference = ERASED
        return decision if known or named else None

    async def _ask_kind(self, chat_id: str, share: Share) -> bool | None:
        """Find out whether a chat is a group: from the people seen in it, or from Linq; None if neither tells."""
        if len(share.people) + len(share.excluded) > 1:
            return True
        if self._services.linq is None:
            return None
        try:
            async with asyncio.timeout(LINQ_SECONDS):
                return (await know_chat(self._services, chat_id)).is_group
        except (LinqError, NotNowError, TimeoutError):
            return None

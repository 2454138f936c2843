"""Beginning and ending the tracking of a chat, and the results of the jobs that do it."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from worker.domain import prompts
from worker.domain.decision import Decision
from worker.domain.places import replace as replace_places
from worker.domain.share import PROMPT_IN_RESULTS, Place, Prompt, Share
from worker.jobs.services import Services
from worker.store.shares import Loaded

# The same job always begins the same share, so that a job finds its own share when it runs again after a crash.
_NAMESPACE = uuid.UUID("6f0c9a6e-5b0e-5c39-8a43-0a3a0c6b1f10")
_SETTLE_SECONDS = 14.0  # a prompt takes 10 s at most; the rest is for the read that may follow
_LOOK_AGAIN_SECONDS = 0.1

Result = dict[str, Any]


def share_id_of(job_id: str, chat_id: str) -> str:
    """Return the id of the share that a job begins in a chat."""
    return str(uuid.uuid5(_NAMESPACE, f"{job_id} {chat_id}"))


async def track(
    services: Services,
    *,
    job_id: str,
    chat_id: str,
    asked: bool,
    follow: bool = True,
    reference: str = "",
    accept_within: float | None = None,
    follow_for: float | None = None,
    min_interval: float | None = None,
    max_interval: float | None = None,
    places: Sequence[Place] = (),
    until: str | None = None,
    max_age: float | None = None,
    stop_when_done: bool = False,
) -> tuple[Share, bool]:
    """Begin to track a chat; return its share, and whether this job began it (in an earlier run, too)."""
    settings = services.settings
    share_id = share_id_of(job_id, chat_id)
    known = await services.store.chats.get(chat_id)

    def begin(loaded: Loaded) -> tuple[Decision | None, tuple[Share, bool]]:
        if loaded.share is not None and loaded.share.share_id == share_id:
            return None, (loaded.share, True)
        if loaded.live is not None:
            return None, (loaded.live, False)
        share = Share(
            share_id=share_id,
            reference=reference,
            begun_at=loaded.now,
            asked=asked,
            follow=follow,
            follow_for=follow_for or settings.follow_for_seconds,
            lower=min_interval,
            upper=max_interval,
            places=list(places),
            until=until,
            max_age=max_age,
            stop_when_done=stop_when_done,
            line="" if known is None else known.line or "",
        )
        decision = loaded.decide_on(share)
        accepted_within = accept_within or settings.accept_within_seconds
        prompts.begin(decision, accept_within=accepted_within, previous=loaded.share)
        return decision, (share, True)

    return await services.store.shares.update(chat_id, begin)


async def settle_request(services: Services, chat_id: str, share_id: str) -> Result:
    """Wait until a request's prompt is sent, has to wait, or is refused; return the job's result."""
    engine = services.need_engine()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        claim = await engine.poll_now(chat_id)
        loaded = await services.store.shares.load(chat_id)
        share = loaded.share
        if share is None or share.share_id != share_id:
            # It has ended, and another one has begun: this request was accepted, and its events are on the stream.
            return _request_result("requested", chat_id, share_id, None)
        if share.refusal is not None:
            reason, code = share.refusal
            return {"status": "rejected", "reason": reason, "code": code, "chat_id": chat_id, "share_id": share_id}
        settled = share.ended is not None or share.prompt in (Prompt.SENT, Prompt.UNCERTAIN)
        if share.conflict and share.ended is None and share.rule == "already-sharing":
            settled = False  # what the 409 meant is settled by one read
        waits = share.prompt is Prompt.WAITING and (
            claim.paused or claim.tokens < 1 or (share.prompt_after or 0.0) > loaded.now
        )
        if settled or waits or time.monotonic() > deadline:
            shares_already = share.conflict and share.sequence > 1
            return _request_result("already_sharing" if shares_already else "requested", chat_id, share_id, share)
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _request_result(status: str, chat_id: str, share_id: str, share: Share | None) -> Result:
    prompt = None if share is None else PROMPT_IN_RESULTS[share.prompt]
    return {"status": status, "chat_id": chat_id, "share_id": share_id, "prompt": prompt}


def already_tracked(chat_id: str, share: Share, *, asked: bool) -> Result:
    """Return the result of a job whose chat is tracked already."""
    result: Result = {"status": "already_tracked", "chat_id": chat_id, "share_id": share.share_id}
    return result | {"prompt": PROMPT_IN_RESULTS[share.prompt]} if asked else result


async def set_places(services: Services, chat_id: str, places: list[Place], until: str | None) -> bool:
    """Change the places of a tracked chat; return whether it is tracked."""

    def change(loaded: Loaded) -> tuple[Decision | None, bool]:
        if loaded.live is None:
            return None, False
        decision = loaded.decide_on(loaded.live)
        replace_places(decision, places, until)
        return decision, True

    return await services.store.shares.update(chat_id, change)


async def untrack(services: Services, chat_id: str) -> bool:
    """Stop tracking a chat; return whether it was tracked. Nothing changes at Linq."""

    def end(loaded: Loaded) -> tuple[Decision | None, bool]:
        if loaded.live is None:
            return None, False
        decision = loaded.decide_on(loaded.live)
        decision.end("untracked")
        return decision, True

    return await services.store.shares.update(chat_id, end)

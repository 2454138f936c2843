"""Beginning and ending the tracking of a chat: what the jobs of contract.md section 3 do with shares."""

import asyncio
import random
import time
import uuid
from typing import Any

from worker.domain import prompts
from worker.domain.decision import Decision
from worker.domain.share import PROMPT_IN_RESULTS, Prompt, Share
from worker.jobs.services import Services
from worker.polling.engine import Engine
from worker.store.shares import Loaded

# The same job always begins the same share, so that a job that runs again after a crash finds its own.
_NAMESPACE = uuid.UUID("6f0c9a6e-5b0e-5c39-8a43-0a3a0c6b1f10")
_SETTLE_SECONDS = 14.0  # a prompt takes 10 s at most, the read that may follow it is given the rest
_LOOK_AGAIN_SECONDS = 0.1
CHANGE_TRIES = 50  # a chat changes at most a few times a second

Result = dict[str, Any]


class BusyError(RuntimeError):
    """A chat changed under every attempt to change it; the job may be queued again."""


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
) -> tuple[Share, bool]:
    """Begin to track a chat; return its share, and whether this job began it (in an earlier run, too)."""
    settings = services.settings
    shares = services.store.shares
    share_id = share_id_of(job_id, chat_id)
    for _ in range(CHANGE_TRIES):
        loaded = await shares.load(chat_id)
        if loaded.share is not None and loaded.share.share_id == share_id:
            return loaded.share, True
        if loaded.live is not None:
            return loaded.live, False
        share = Share(
            share_id=share_id,
            reference=reference,
            begun_at=loaded.now,
            asked=asked,
            follow=follow,
            follow_for=follow_for or settings.follow_for_seconds,
            lower=min_interval,
            upper=max_interval,
        )
        decision = decision_of(loaded, share)
        prompts.begin(decision, accept_within=accept_within or settings.accept_within_seconds, previous=loaded.share)
        if await shares.change(loaded, decision):
            return share, True
    raise BusyError("the chat changes too often to begin a share")


async def settle_request(services: Services, chat_id: str, share_id: str) -> Result:
    """See a request through until its prompt has left, has to wait, or was refused; return the job's result."""
    engine = services.need_engine()
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        claim = await engine.poll_now(chat_id)
        loaded = await services.store.shares.load(chat_id)
        share = loaded.share
        if share is None or share.share_id != share_id:
            # Ended, and another one has begun meanwhile: this request was taken on, and its events are on the stream.
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


async def untrack(services: Services, chat_id: str) -> bool:
    """End the tracking of a chat; return whether it was tracked. Nothing changes upstream."""
    shares = services.store.shares
    for _ in range(CHANGE_TRIES):
        loaded = await shares.load(chat_id)
        if loaded.live is None:
            return False
        decision = decision_of(loaded, loaded.live)
        decision.end("untracked")
        if await shares.change(loaded, decision):
            return True
    raise BusyError("the chat changes too often to be untracked")


def decision_of(loaded: Loaded, share: Share) -> Decision:
    """Begin a decision about a share of a chat that was loaded, not claimed; `Shares.change` writes it."""
    return Decision(share, loaded.chat_id, now=loaded.now, context=loaded.context, random_unit=random.random())


def poll_soon(engine: Engine | None) -> None:
    """Have what became due polled at once."""
    if engine is not None:
        engine.wake()

"""Wait for prompts that could not be sent within their job: look at the shares until each is sent or refused."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from worker.domain.share import PROMPT_IN_RESULTS, Prompt, Share

if TYPE_CHECKING:
    from worker.store.shares import Loaded
    from worker.store.store import Store

_PAUSE_SECONDS = 0.5


async def settle_prompts(
    store: "Store", outcomes: dict[str, dict[str, Any]], *, timeout: float, tell: Callable[[int], object]
) -> None:
    """Update the results of jobs, by job id, until no prompt waits any more; `tell` is called for each one settled.

    Ends early when none was settled for `timeout` seconds, or none can be within that time.
    """
    waiting = {job_id: outcome for job_id, outcome in outcomes.items() if outcome.get("prompt") == "waiting"}
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    while waiting:
        found: list[tuple[str, Loaded]] = []
        with contextlib.suppress(RedisError):  # while Redis is away, try again until the time is up
            loaded = await asyncio.gather(*(store.shares.load(outcome["chat_id"]) for outcome in waiting.values()))
            found = list(zip(waiting, loaded, strict=True))
        hopeful = not found
        for job_id, chat in found:
            settled = _settled(waiting[job_id], chat.share)
            if settled is not None:
                outcomes[job_id] = settled
                del waiting[job_id]
                deadline = clock() + timeout
                tell(1)
            elif chat.share is not None:
                hopeful = hopeful or (chat.share.prompt_after or 0.0) < chat.now + timeout
        if not hopeful or clock() >= deadline:
            return
        await asyncio.sleep(_PAUSE_SECONDS)


def _settled(outcome: dict[str, Any], share: Share | None) -> dict[str, Any] | None:
    """Return the result as it is known now; None while the prompt waits."""
    if share is None or share.share_id != outcome["share_id"]:
        return outcome  # ended and no longer stored: there is nothing more to learn
    ids = {name: outcome[name] for name in ("chat_id", "share_id")}
    if share.refusal is not None:
        reason, code = share.refusal
        return {"status": "rejected", "reason": reason, "code": code, **ids}
    if share.prompt not in (Prompt.WAITING, Prompt.CALLING):
        return {**outcome, "prompt": PROMPT_IN_RESULTS[share.prompt]}
    if share.pace is not None:
        # People who share already are not asked.
        return {**outcome, "status": "already_sharing", "prompt": "sent"}
    return None if share.ended is None else {"status": "ended", "reason": share.ended, **ids}

"""The account at Linq: what one answer means for all chats."""

import structlog

from worker.domain.observation import Features, PromptOutcome, ReadObservation, Refused, Suspended, Throttled
from worker.store.pause import Pause
from worker.store.store import Store

log = structlog.get_logger("account")


async def apply_to_account(store: Store, answer: ReadObservation | PromptOutcome, *, probe: bool = False) -> None:
    """Pause everything if the account is refused, and slow everything down after a 429 on a read.

    The answer to a `probe` ends the pause if it shows that the account works.
    """
    if isinstance(answer, Suspended):
        await pause_account(store.account_pause, answer, probe=probe)
    elif isinstance(answer, Throttled):
        await store.budget.throttle(answer.retry_after)
        log.warning("throttled", retry_after=answer.retry_after)
    elif probe and isinstance(answer, Features | Refused):
        await resume_account(store.account_pause)


async def pause_account(pause: Pause, refusal: Suspended, *, probe: bool = False) -> None:
    """Pause all requests to Linq, and log it once; after a `probe`, log that the pause goes on."""
    reason = f"Linq answered {refusal.status}" + (f"/{refusal.code}" if refusal.code else "")
    if await pause.begin(reason):
        log.error("paused", reason=reason, remedy="check the API key and that locations are enabled")
    elif probe:
        log.error("still_paused", reason=reason)


async def resume_account(pause: Pause) -> None:
    """End the pause if there is one, and log it once."""
    if await pause.end():
        log.warning("resumed")

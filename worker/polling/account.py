"""The account at Linq: what follows for everybody where Linq refuses it whole."""

import structlog

from worker.domain.observation import Suspended
from worker.store.budget import Budget

log = structlog.get_logger("account")


async def pause_account(budget: Budget, refusal: Suspended, *, probe: bool = False) -> None:
    """Pause everything that goes to Linq, and say so once; `probe`: where it was paused, say that it stays so."""
    reason = f"Linq answered {refusal.status}" + (f"/{refusal.code}" if refusal.code else "")
    if await budget.pause(reason):
        log.error("paused", reason=reason, remedy="check the API key and that locations are enabled")
    elif probe:
        log.error("still_paused", reason=reason)


async def resume_account(budget: Budget) -> None:
    """End the pause, where there is one, and say so once."""
    if await budget.resume():
        log.warning("resumed")

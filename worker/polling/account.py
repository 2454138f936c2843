"""The account at Linq: what follows for everybody where Linq refuses it whole."""

import structlog

from worker.domain.observation import Suspended
from worker.store.pause import Pause

log = structlog.get_logger("account")


async def pause_account(pause: Pause, refusal: Suspended, *, probe: bool = False) -> None:
    """Pause everything that goes to Linq, and say so once; `probe`: where it was paused, say that it stays so."""
    reason = f"Linq answered {refusal.status}" + (f"/{refusal.code}" if refusal.code else "")
    if await pause.begin(reason):
        log.error("paused", reason=reason, remedy="check the API key and that locations are enabled")
    elif probe:
        log.error("still_paused", reason=reason)


async def resume_account(pause: Pause) -> None:
    """End the pause, where there is one, and say so once."""
    if await pause.end():
        log.warning("resumed")

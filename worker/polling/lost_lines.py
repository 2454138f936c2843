"""Lines that the key has lost: refusals of their chats concern the account, so the chats wait instead of ending."""

import msgspec
import structlog

from worker.domain import refusals
from worker.domain.decision import Decision
from worker.domain.observation import Features, LineLost, ReadObservation, Refused
from worker.store.keys import ALL_LINES
from worker.store.lost_lines import LostLines

REMEDY = "see whether the key reaches the line (`location-worker doctor`); its chats then resume by themselves"

log = structlog.get_logger("lost_lines")


async def consider(lines: LostLines, decision: Decision, observation: ReadObservation) -> ReadObservation:
    """Return what a read of a chat shows in the light of reads of others; store and log what it means for the line."""
    if isinstance(observation, Refused) and observation.reason != "chat_unavailable":
        return await _judge(lines, decision, observation)
    share = decision.share
    if isinstance(observation, Features) and (share.parked or share.pending_refusal is not None):
        await lines.forgive(decision.chat_id, share.line)
        if share.parked and (chats := await lines.release(decision.chat_id, share.line)) is not None:
            log.warning("line_back", chats=chats)
    return observation


async def _judge(lines: LostLines, decision: Decision, refusal: Refused) -> Refused | LineLost:
    share = decision.share
    since = share.pending_refusal_since
    evidence = await lines.count(decision.chat_id, share.line, since=since, now=decision.now)
    owner = refusals.owner(evidence, confirm=decision.context.limits.confirm)
    if owner == "chat":
        return refusal
    if owner == "unclear":
        return msgspec.structs.replace(refusal, final=False)
    lost = share.line if owner == "line" else ALL_LINES
    reason = f"Linq answered {refusal.status}" + (f"/{refusal.code}" if refusal.code else "")
    if await lines.park(decision.chat_id, lost, reason):
        log.error("line_lost", reason=reason, remedy=REMEDY)
    elif share.parked:
        log.error("line_still_lost", reason=reason, remedy=REMEDY)
    return LineLost(refusal.status, refusal.code)

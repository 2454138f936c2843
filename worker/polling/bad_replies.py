"""Replies that hold something unusable, kept as dead letters; everything else needs none."""

import structlog
from redis.exceptions import RedisError

from worker import metrics
from worker.domain.decision import Decision
from worker.domain.observation import Fault, Features, ReadObservation
from worker.linq.reply import Reply
from worker.store.dead_letters import DeadLetters

log = structlog.get_logger("engine")


async def keep_bad_reply(letters: DeadLetters, decision: Decision, observation: ReadObservation, reply: Reply) -> None:
    """Keep a reply as a dead letter if it holds something unusable."""
    reason: str
    detail: object
    if isinstance(observation, Features):
        if not observation.invalid:
            return
        reason, detail = "invalid_position", [feature.reason for feature in observation.invalid]
    elif isinstance(observation, Fault) and observation.kind in ("malformed", "unexpected"):
        reason, detail = observation.kind, observation.detail
    else:
        return
    log.warning("bad_reply", chat_id=decision.chat_id, reason=reason, trace_id=reply.trace_id)
    try:
        kept = await letters.add(
            "api_reply",
            reason,
            payload=reply.body,
            detail={
                "chat_id": decision.chat_id,
                "status": reply.status,
                "trace_id": reply.trace_id,
                "found": detail,
            },
            reference=decision.share.reference,
            chat_id=decision.chat_id,
        )
    except RedisError:
        log.warning("dead_letter_lost", reason=reason)
        return
    if kept:
        metrics.DEAD_LETTERS.labels("api_reply").inc()

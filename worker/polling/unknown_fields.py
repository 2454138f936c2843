"""Notice fields that Linq adds to positions: from time to time, search one reply for names that are new here."""

import structlog

from worker.linq.unknown_fields import unknown_fields
from worker.store.unknown_fields import UnknownFields

log = structlog.get_logger("linq")


class FieldWatch:
    """Keeps one reply with positions at a time. A poll costs a look at `reply`, nothing more."""

    def __init__(self, known: UnknownFields) -> None:
        self._known = known
        self.reply: bytes | None = None  # None: the next one is wanted

    async def report(self) -> None:
        """Search the kept reply, and log each name that no worker has reported yet. Raises RedisError."""
        reply, self.reply = self.reply, None
        names = [] if reply is None else unknown_fields(reply)
        if names:
            for name in await self._known.add(names):
                log.warning("unknown_field", field=name)

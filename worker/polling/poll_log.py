"""POLL_LOG: each read as a JSON line, without handles or coordinates, for tuning the polling policy.

A line: `time` (seconds since 1970, UTC), `share` (share id), `updated_at` (of the newest known position, same unit, or
null), `changed` (a new position came), `rule` (which chose the next read). `python -m benchmarks.replay` reads it.
"""

from pathlib import Path

import msgspec
import structlog

from worker.domain.decision import Decision
from worker.domain.timestamp import NANOSECONDS

log = structlog.get_logger("poll_log")

_encode = msgspec.json.Encoder().encode


class PollLog:
    """Append to one file; several workers need one file each. Raises OSError if it cannot be opened.

    A file that can no longer be written (a full disk) stops the log, never the polling.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lines: list[bytes] = []

    def write(self, decision: Decision) -> None:
        """Record the read that `decision` decided on."""
        if self._file.closed:
            return
        share = decision.share
        newest = max((person.updated_at or 0 for person in share.people), default=0)
        line = {
            "time": round(decision.now, 3),
            "share": share.share_id,
            "updated_at": newest / NANOSECONDS or None,
            "changed": bool(decision.positions),
            "rule": share.rule,
        }
        self._lines.append(_encode(line) + b"\n")

    def flush(self) -> None:
        """Write the buffered lines to the file."""
        lines, self._lines = b"".join(self._lines), []
        if not lines:
            return
        try:
            self._file.write(lines)
        except OSError as error:
            log.error("poll_log_ends", error=type(error).__name__, remedy="make room, then restart the worker")  # noqa: TRY400 (the error has no more to say)
            self._file.close()

    def close(self) -> None:
        """Write what is left and close the file; drop later lines."""
        self.flush()
        self._file.close()

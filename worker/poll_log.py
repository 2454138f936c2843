"""POLL_LOG: each read as a JSON line, without handles or coordinates, for tuning the polling policy.

A line: `time` (seconds since 1970, UTC), `share` (share id), `updated_at` (newest position known, the same unit, or
null), `changed` (a new position came), `rule` (that chose the next read). `python -m benchmarks.replay` reads it.
"""

from pathlib import Path

import msgspec

from worker.domain.life import Turn

_encode = msgspec.json.Encoder().encode


class PollLog:
    """Appends to one file; several workers need one file each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def write(self, turn: Turn) -> None:
        """Record the read that `turn` decided on."""
        share = turn.share
        newest = max((person.updated_at or 0 for person in share.people), default=0)
        line = {
            "time": round(turn.now, 3),
            "share": share.share_id,
            "updated_at": newest / 1e9 or None,
            "changed": bool(turn.positions),
            "rule": share.rule,
        }
        self._file.write(_encode(line) + b"\n")

    def flush(self) -> None:
        """Hand the lines over to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; later lines are an error."""
        self._file.close()

"""Heads of replies that llhttp refuses but other clients accept: folded lines, a length given twice."""

import re
from collections.abc import Callable

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r\n]")  # what follows 101 is another protocol
_FOLD = re.compile(rb"\r?\n[ \t]+")


class HeadMender:
    """Receives a reply in llhttp's place until its head is complete, then passes everything on with the head mended.

    Folded lines become one; a length given twice, or as `n, n`, is given once. Interim replies are dropped.
    """

    def __init__(self, go_on: Callable[[bytes], None]) -> None:
        self._go_on = go_on
        self._came = bytearray()
        self._searched = 0

    def feed_data(self, data: bytes) -> None:
        """Receive bytes. Raises what `go_on` raises."""
        came = self._came
        came += data
        while end := _END_OF_HEAD.search(came, self._searched):
            head = bytes(came[: end.end()])
            del came[: end.end()]
            self._searched = 0
            if not _INTERIM.match(head):
                self._go_on(_mend(head) + came)
                return
        self._searched = max(0, len(came) - 2)


def _mend(head: bytes) -> bytes:
    lines: list[bytes] = []
    lengths: set[bytes] = set()
    for line in _FOLD.sub(b" ", head).split(b"\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            lengths.update(length.strip() for length in value.split(b","))
        else:
            lines.append(line)
    # If they differ, all stay, and llhttp refuses them.
    lines[1:1] = [b"Content-Length: %b\r" % length for length in lengths]
    return b"\n".join(lines)

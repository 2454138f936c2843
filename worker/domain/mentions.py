"""Find a handle in text: as this project writes it, and as people and other programs may have written it."""

import json
import re

# What stands between the digits of a phone number: white space, brackets, dots, slashes, dashes, marks of direction,
# and what a URL makes of any of them.
_BETWEEN = (
    "(?:[\\s().\u2010-\u2015/\u2212\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff-]|%[0-9A-Fa-f]{2}){0,6}?"
)
# A trunk prefix, as in +44 (0)20, stands after the country code, which is that of one to three digits.
_TRUNK = f"(?:{_BETWEEN}(?:0|\\((?:06|8)\\)))?"
# JSON within JSON escapes the backslashes of the inner one; Python's repr writes \xa0.
_BACKSLASHES = re.compile(r"\\+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrt/])")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
_NO_LONGER = r"(?![0-9]|\.[0-9])"


class Mentions:
    """Finds one handle, given in normal form."""

    def __init__(self, handle: str) -> None:
        self.handle = handle
        self._is_phone = handle.startswith("+")
        if self._is_phone:
            digits = handle[1:]
            self._exact = re.compile(rf"\+{digits}(?![0-9])")
            loose = f"{_TRUNK}{_BETWEEN}".join(digits[:4]) + _BETWEEN + _BETWEEN.join(digits[4:])
            self._loose = re.compile(rf"(?<![0-9])(?<![0-9]\.)(?:00)?({loose}){_NO_LONGER}")
        else:
            address = re.escape(handle)
            # In JSON, a quotation mark or backslash of the local part is escaped.
            escaped = re.escape(json.dumps(handle, ensure_ascii=False)[1:-1])
            self._exact = re.compile(rf"(?<![\w.%+-])(?:{address}|{escaped})(?![\w-]|\.\w)")
            loose = address.replace("@", "(?:@|%40)")
            self._loose = re.compile(rf"(?<![\w.%+-]){loose}(?![\w-]|\.\w)", re.IGNORECASE)

    def exactly(self, text: str) -> bool:
        """Return whether the text names the handle in normal form, and not only as a part of another one."""
        return self._exact.search(text) is not None

    def loosely(self, text: str) -> bool:
        """Return whether the text names the handle in any usual form: spaces, brackets, dashes, escapes, case.

        A decimal number with the digits of a phone number is a coordinate, and part of a longer number is another one.
        """
        # In two steps: one pattern for both would take time quadratic in a long run of backslashes.
        plain = _ESCAPE.sub(_unescape, _BACKSLASHES.sub(r"\\", text))
        for match in self._loose.finditer(plain):
            if (
                not self._is_phone
                or not _DECIMAL.fullmatch(match[1])
                or plain[match.start() - 1 : match.start()] == "+"
            ):
                return True
        return False


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else " "

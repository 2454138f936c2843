"""A contact's address, a phone number or an e-mail address, in the one form in which it is compared."""

import hashlib
import re
from functools import lru_cache

# What people and programs put between digits: spaces (also those that do not break), hyphens and dashes,
# dots, parentheses, slashes, and the marks of writing direction that copying a number from an address book
# leaves behind.
_DECORATION = re.compile("[\\s().\u2010-\u2015/\u2212\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff-]+")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_MAX_EMAIL_LENGTH = 254
# Longer texts cannot become a handle; this keeps hostile ones cheap.
_MAX_TEXT_LENGTH = 400


def normalize_handle(text: str, *, lenient: bool = False) -> str:
    """Return the handle in normal form: `+` and 7 to 15 digits, or a lower-case e-mail address of at most 254
    characters.

    `lenient` also takes digits without `+` as a phone number (replies of vendors; a person who leaves the
    country code out must be told). Raises ValueError, which does not repeat the text.
    """
    if _PHONE.fullmatch(text):
        return text
    if len(text) <= _MAX_TEXT_LENGTH:
        if "@" in text:
            email = text.strip().lower()
            local, _, domain = email.partition("@")
            if (
                local
                and domain
                and "@" not in domain
                and len(email) <= _MAX_EMAIL_LENGTH
                and email.isprintable()
                and " " not in email
            ):
                return email
        else:
            phone = _DECORATION.sub("", text)
            if lenient and phone[:1] != "+":
                phone = f"+{phone}"
            if _PHONE.fullmatch(phone):
                return phone
    raise ValueError(
        "not a handle: expected a phone number with its country code (`+`, 7 to 15 digits, the first not 0) "
        "or an e-mail address (one @, no spaces, at most 254 characters)"
    )


@lru_cache(maxsize=65_536)  # asked at each publishing
def handle_digest(handle: str) -> str:
    """20 hexadecimal digits that stand for a normalized handle in names of keys, where no clear handle may
    be.
    """
    return hashlib.blake2b(handle.encode(), digest_size=10).hexdigest()

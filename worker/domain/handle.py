"""A contact's address, a phone number or an e-mail address, in the one form in which it is compared."""

import hashlib
import re
from functools import lru_cache
from urllib.parse import unquote

# Marks of writing direction and characters without width, which copying from an address book leaves behind.
_MARKS = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"
_AROUND = re.compile(f"^[\\s{_MARKS}]+|[\\s{_MARKS}]+$")
# What people and programs put between digits beside parentheses: spaces (also those that do not break), hyphens and
# dashes, dots, slashes.
_SEPARATORS = re.compile(f"[\\s.\u2010-\u2015/\u2212{_MARKS}-]+")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_USUAL_EMAIL = re.compile(r"[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,189}")
_SCHEME = re.compile(r"(mailto|tel):", re.IGNORECASE)
_NOT_IN_EMAIL = re.compile("[\\s<>\ufffd]")  # U+FFFD stands for what could not be decoded
_MAX_EMAIL_LENGTH = 254
# Longer texts cannot become a handle; this keeps hostile ones cheap.
_MAX_TEXT_LENGTH = 400

# E.164, in a pattern: the country codes of one and of two digits, and those of three.
_COUNTRY_CODE = "1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2}"
_WITH_COUNTRY_CODE = re.compile(rf"\(?\+({_COUNTRY_CODE})\)?")
_IN_PARENTHESES = re.compile(r"\(([0-9]+)\)")
# Trunk prefixes other than 0, dialled before an area code only within the country.
_TRUNK_PREFIXES = {"7": "8", "36": "06", "375": "8", "993": "8"}
# Where numbers begin with 0 also when called from abroad (libphonenumber 9.0): Italy, parts of Africa, Tajikistan, and
# networks of no country.
_KEEPS_ZERO = frozenset(
    {"39", "225", "226", "227", "229", "241", "242", "250", "378", "992"}
    | {"800", "808", "870", "878", "881", "882", "883", "888", "979"}
)


def normalize_handle(text: str, *, lenient: bool = False) -> str:
    """Return the handle in normal form: `+` and 7 to 15 digits, or a lower-case e-mail address of at most 254
    characters.

    `lenient` also accepts digits without `+` as a phone number: for replies of vendors, not for people, who may have
    left the country code out. Raises ValueError, which does not repeat the text.
    """
    if _PHONE.fullmatch(text) or _USUAL_EMAIL.fullmatch(text):
        return text
    if len(text) <= _MAX_TEXT_LENGTH:
        text = _unwrap(text)
        handle = _read_email(text) if "@" in text else _read_phone(text, lenient=lenient)
        if handle is not None:
            return handle
    raise ValueError(
        "not a handle: expected a phone number with its country code (`+`, 7 to 15 digits, the first not 0) "
        "or an e-mail address (one @, no spaces, at most 254 characters)"
    )


def _unwrap(text: str) -> str:
    """Return the address in `mailto:…`, `tel:…` or `<…>`, without marks and spaces around it."""
    while True:
        bare = _AROUND.sub("", text)
        if bare[:1] == "<" and bare[-1:] == ">":
            bare = bare[1:-1]
        elif scheme := _SCHEME.match(bare):
            bare = bare[scheme.end() :]
            if scheme[1].lower() == "mailto":
                bare = unquote(bare.partition("?")[0])
        if bare == text:
            return text
        text = bare


def _read_email(text: str) -> str | None:
    email = text.lower()
    local, _, domain = email.partition("@")
    if not local or not domain or "@" in domain or len(email) > _MAX_EMAIL_LENGTH:
        return None
    return email if email.isprintable() and not _NOT_IN_EMAIL.search(email) else None


def _read_phone(text: str, *, lenient: bool) -> str | None:
    """Return the number without the trunk prefix that people put in parentheses, as in +44 (0)20 7946 0018.

    Raises ValueError where such a prefix cannot be told from the number.
    """
    if _PHONE.fullmatch(text):
        return text
    number = _SEPARATORS.sub("", text)
    if lenient and "+" not in number:
        number = f"+{number}"
    begin = _WITH_COUNTRY_CODE.match(number)
    if begin is None:
        return None
    code, rest = begin[1], number[begin.end() :]
    marked = _IN_PARENTHESES.match(rest)
    if marked is not None:
        group, prefix = marked[1], _TRUNK_PREFIXES.get(code, "0")
        if code not in _KEEPS_ZERO and (group == prefix or (group.startswith(prefix) and prefix[0] == "0")):
            rest = group[len(prefix) :] + rest[marked.end() :]
        elif group == "0":
            raise ValueError("not a handle: whether (0) is part of the number is not clear: write it without ( )")
    if rest[:1] == "0" and code not in _KEEPS_ZERO and (marked is not None or not lenient):
        raise ValueError("not a handle: leave out the 0 between the country code and the number")
    phone = f"+{code}{rest.replace('(', '').replace(')', '')}"
    return phone if _PHONE.fullmatch(phone) else None


@lru_cache(maxsize=65_536)  # needed for every published event
def handle_digest(handle: str) -> str:
    """Return 20 hexadecimal digits that stand for a normalized handle in names of keys, which hold no clear handle."""
    return hashlib.blake2b(handle.encode(), digest_size=10).hexdigest()

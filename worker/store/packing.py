"""The stored form of a share: MessagePack without what most shares have in common."""

import msgspec

from worker.domain.share import Person, Share

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Share)


def _tails() -> tuple[bytes, bytes, bytes]:
    """Return the bytes that begin a packed share, and those that end one without anything unusual.

    The long end is that of a share whose last person has nothing unusual either; the short one fits any such share.
    """
    plain = Share("", "", 0.0, asked=False, follow=False, follow_for=0.0)
    short = _encoder.encode(plain).partition(_encoder.encode([]))[2]
    person = _encoder.encode(Person("", listed=True)).rpartition(_encoder.encode(True))[2]
    return _encoder.encode(plain)[:3], short, person + short


_HEAD, _SHORT_TAIL, _LONG_TAIL = _tails()
_SHORT, _LONG = b"\x01", b"\x02"  # first byte of a form without head and end; no array begins with it


def pack(share: Share) -> bytes:
    """Return the stored form of a share."""
    packed = _encoder.encode(share)
    if packed.endswith(_LONG_TAIL):
        return _LONG + packed[len(_HEAD) : -len(_LONG_TAIL)]
    if packed.endswith(_SHORT_TAIL):
        return _SHORT + packed[len(_HEAD) : -len(_SHORT_TAIL)]
    return packed


def unpack(stored: bytes) -> Share:
    """Read the stored form of a share. Raises msgspec.ValidationError or DecodeError if it is not one."""
    first = stored[:1]
    if first == _LONG:
        stored = b"".join((_HEAD, stored[1:], _LONG_TAIL))
    elif first == _SHORT:
        stored = b"".join((_HEAD, stored[1:], _SHORT_TAIL))
    try:
        return _decoder.decode(stored)
    except (UnicodeDecodeError, RecursionError):
        raise msgspec.DecodeError("not a share: text that is not UTF-8, or nested too deeply") from None

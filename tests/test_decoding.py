"""JSON from outside: one bad character loses only itself, never the message around it."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.decoding import REPLACEMENT, decode_json, decode_object


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"a": "x\ud83d", "b": 1}', {"a": f"x{REPLACEMENT}", "b": 1}),
        (rb'{"a": "\uDE00y", "b": 1}', {"a": f"{REPLACEMENT}y", "b": 1}),
        (rb'{"a": "\ude00\ud83d"}', {"a": REPLACEMENT * 2}),
        (rb'{"a": "\ud83d\ud83d\ude00"}', {"a": f"{REPLACEMENT}\U0001f600"}),
        (rb'{"a": "\ud83d\u0041"}', {"a": f"{REPLACEMENT}A"}),
        (rb'{"\ud83d": 1, "b": 2}', {REPLACEMENT: 1, "b": 2}),
        (rb'["\\ud83d", "\ud83d"]', [r"\ud83d", REPLACEMENT]),
        (rb'["\\\ud83d", "\\\\ud83d"]', [f"\\{REPLACEMENT}", r"\\ud83d"]),
        (rb'["\u12", "\x41", "\"]"]', [REPLACEMENT, f"{REPLACEMENT}41", '"]']),
        (b'["caf\xe9", "caf\xc3\xa9"]', [f"caf{REPLACEMENT}", "café"]),
        (b'["\xe9"]', [REPLACEMENT]),
        (b'["\xed\xa0\xbd"]', [REPLACEMENT * 3]),
        (b'["a\nb\x00\tc"]', ["a\nb\x00\tc"]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("\ufeff[1]".encode("utf-16-le"), [1]),
        (b"[NaN, Infinity, -Infinity, 1e999, -1e999, 1]", [None] * 5 + [1]),
        (b"[" + b"9" * 5000 + b", -" + b"9" * 5000 + b".5, 2]", [None, None, 2]),
        (b"[0." + b"1" * 5000 + b", NaN]", [1 / 9, None]),
        (b'\xef\xbb\xbf["\xe9", "\\ud83d", NaN, ' + b"1" * 5000 + b', "\\ud83d\\ude00"]',
         [REPLACEMENT, REPLACEMENT, None, None, "\U0001f600"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_replaced_and_the_rest_is_kept(body: bytes, value: object) -> None:
    assert decode_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf",
        b"<html>busy</html>",
        b'{"a": 1',
        b'{"a": 1} trailing',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a" 1}',
        b"[nan]",
        b"[01]",
        b"\xff\xfe",
        b'{\xe9"a": 1}',
        b'{"a": "b',
        rb"[\ud83d]",
    ],
)
def test_damage_between_the_values_leaves_no_json(body: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        decode_json(body)
    assert decode_object(body) is None


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"a":' * 100_000, b'"\\ud83d"' + b"[" * 10_000])
def test_endless_nesting_is_no_object(body: bytes) -> None:
    assert decode_object(body) is None


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"', b"NaN"])
def test_what_is_no_object_is_none(body: bytes) -> None:
    assert decode_object(body) is None


# Any JSON as the vendors' encoders write it: texts in any script, including lone surrogates.
surrogates = st.characters(categories=["Cs"])
texts = st.text(st.characters() | surrogates | st.sampled_from('\\"/u\x00\n'), max_size=8)
numbers = st.integers() | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)


def sound(text: str) -> str:
    """Return the text as a decoder of UTF-16 reads it, with U+FFFD in place of each lone surrogate."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def expected(value: Any) -> Any:
    match value:
        case str():
            return sound(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [expected(item) for item in value]
        case dict():
            return {sound(name): expected(item) for name, item in value.items()}
        case _:
            return value


@given(values, st.booleans())
def test_every_value_comes_back_but_for_what_no_json_can_hold(value: object, bom: bool) -> None:
    body = json.dumps(value).encode()
    assert decode_json(b"\xef\xbb\xbf" + body if bom else body) == expected(value)


@given(values)
def test_what_is_sound_is_read_as_the_strict_decoder_reads_it(value: object) -> None:
    body = json.dumps(expected(value), ensure_ascii=False).encode()
    assert decode_json(body) == msgspec.json.decode(body)


@given(values, st.data())
def test_bytes_that_are_no_text_cost_no_more_than_the_text_they_are_in(value: object, data: st.DataObject) -> None:
    body = json.dumps({"before": 1, "damaged": "here", "after": value}).encode()
    broken = data.draw(st.binary(min_size=1, max_size=6).map(lambda part: bytes(byte | 0x80 for byte in part)))
    read = decode_json(body.replace(b"here", b"a" + broken + b"z", 1))
    assert (read["before"], read["after"]) == (1, expected(value))
    assert read["damaged"][0] + read["damaged"][-1] == "az"


def assert_sound(value: object) -> None:
    match value:
        case str():
            value.encode()
        case float():
            assert math.isfinite(value)
        case list():
            for item in value:
                assert_sound(item)
        case dict():
            for name, item in value.items():
                assert_sound(name)
                assert_sound(item)


@given(values, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_damaged_json_gives_a_sound_value_or_none(value: object, damage: list[tuple[int, int]]) -> None:
    body = bytearray(json.dumps({"a": value}).encode())
    for position, byte in damage:
        body[position % len(body)] = byte
    assert_sound(decode_object(bytes(body)))


@given(st.binary())
def test_arbitrary_bytes_give_a_sound_value_or_none(body: bytes) -> None:
    assert_sound(decode_object(body))

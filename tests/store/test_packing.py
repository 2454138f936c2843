"""The stored form of a share: small as long as nothing is unusual, and always complete."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.policy import Pace
from worker.domain.share import Person, Prompt, Share
from worker.store.packing import pack, unpack

SHARE_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
times = st.none() | st.floats(0, 4e9)
nanoseconds = st.none() | st.integers(0, 2**62)
people = st.builds(
    Person,
    st.text(max_size=40),
    sharing=st.booleans(),
    updated_at=nanoseconds,
    seen_at=times,
    listed=st.booleans(),
    missing_since=times,
    stale=st.booleans(),
    began_at=nanoseconds,
    stopped_at=nanoseconds,
    unlisted=st.booleans(),
)
shares = st.builds(
    Share,
    st.sampled_from([SHARE_ID, "", "short"]),
    st.text(max_size=128),
    st.floats(0, 4e9),
    asked=st.booleans(),
    follow=st.booleans(),
    follow_for=st.floats(0, 4e9),
    prompt=st.sampled_from(Prompt),
    pace=st.none() | st.builds(Pace, st.floats(0, 4e9)),
    people=st.lists(people, max_size=3),
    prompt_after=times,
    failures=st.integers(0, 9),
    pending_refusal=st.none() | st.just("forbidden"),
    excluded=st.lists(st.text(max_size=20), max_size=2),
    group=st.sampled_from([None, False, True]),
    refusal=st.none() | st.tuples(st.text(max_size=9), st.none() | st.integers(1000, 9999)),
    ended=st.none() | st.just("untracked"),
)


@given(shares)
def test_every_share_comes_back_as_it_was(share: Share) -> None:
    assert unpack(pack(share)) == share


@given(shares)
def test_a_form_from_before_it_was_made_small_can_be_read(share: Share) -> None:
    assert unpack(msgspec.msgpack.encode(share)) == share


def test_a_tracked_share_takes_little_room() -> None:
    person = Person("+12025550147", True, 10**18, 1.7e9, 2**32 - 1, -0.1195, 51.5033, True)
    pace = Pace(1.7e9, 1.7e9, 3.3, 500.1, 20.2, 30.3, 0.1)
    share = Share(SHARE_ID, "", 1.7e9, asked=False, follow=True, follow_for=604_800.0, people=[person], pace=pace)
    share.follow_until = share.read_at = 1.7e9
    share.sequence = 5
    share.rule = "tracking"
    assert len(pack(share)) <= 220  # Redis stores up to 220 bytes in a block of 224


@given(st.binary(max_size=60))
@pytest.mark.parametrize("first", [b"", b"\x01", b"\x02", b"\xdc\x00\x1f"])
def test_what_is_no_share_is_told(first: bytes, rest: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpack(first + rest)

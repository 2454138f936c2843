"""The end-to-end benchmark derives the same delays from the stream as the simulated clock would count."""

import pytest

from benchmarks.lateness import TAIL, Seen, _delays
from benchmarks.simulated import Chat, Scenario

BEGIN = 1_760_000_000.0


def scenario(*updates: float, start: float = 0.0) -> Scenario:
    chat = Chat("one", start, None, end_known=False, updates=[(at, 0.5, 0.0) for at in updates])
    return Scenario("made up", 300.0, 0.0, 1.0, 1.0, {}, [], [chat], {}, {})


def seen(updated_at: float, streamed_at: float) -> Seen:
    return Seen("one", BEGIN + updated_at, BEGIN + streamed_at, streamed_at)


def test_a_position_counts_until_it_or_one_that_replaces_it_is_on_the_stream() -> None:
    found = _delays(scenario(10.0, 20.0, 30.0), [seen(20.0, 22.0), seen(30.0, 40.0)], BEGIN)
    assert found == pytest.approx([22.0 - 10.5, 22.0 - 20.5, 40.0 - 30.5])


def test_a_position_that_never_comes_counts_to_the_end() -> None:
    assert _delays(scenario(10.0), [], BEGIN) == pytest.approx([300.0 - 10.5])


def test_positions_before_the_share_and_in_the_last_seconds_do_not_count() -> None:
    assert _delays(scenario(10.0, 300.0 - TAIL, start=10.0), [seen(10.0, 11.0)], BEGIN) == []


def test_times_are_compared_as_linq_sends_them() -> None:
    assert _delays(scenario(10.0004), [seen(10.0, 12.0)], BEGIN) == pytest.approx([12.0 - 10.5004])

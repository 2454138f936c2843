"""The command `estimate`."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_it_needs_neither_redis_nor_a_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    told = json.loads(run("estimate", "--people", "20", "--json").stdout)
    assert (told["people"], told["moving"], told["rate"]) == (20, 0.3, 20)
    requests = [row["requests_per_day"] for row in told["estimates"]]
    delays = [row["mean_delay"] for row in told["estimates"]]
    assert requests[0] > requests[-1]
    assert delays[0] < delays[-1]


def test_the_table_marks_what_is_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIN_POLL_SECONDS", "45")
    monkeypatch.setenv("LINQ_REQUESTS_PER_SECOND", "5")
    result = run("estimate", "--people", "20", "--moving", "1")
    assert result.exit_code == 0
    assert "20 people, 100% of them on the move, at most 5 requests a second" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines() if " s *" in line] == ["45"]
    assert "█" in result.stdout


def test_only_the_intervals_that_are_asked_for_are_shown(run: Run) -> None:
    told = json.loads(run("estimate", "--people", "5", "--interval", "900", "--interval", "90", "--json").stdout)
    assert [row["min_interval"] for row in told["estimates"]] == [90, 900]


@pytest.mark.parametrize("words", [("--moving", "nan"), ("--moving", "1.1"), ("--people", "0"), ("--rate", "0")])
def test_what_makes_no_sense_is_refused(run: Run, words: tuple[str, str]) -> None:
    result = run("estimate", *words)
    assert result.exit_code == 2
    assert words[1] in result.stderr

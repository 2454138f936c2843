"""A replay of a recorded POLL_LOG: the figures it gives, and how it handles a log with faults."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks import replay, simulated
from benchmarks.followers import Worker
from benchmarks.simulated import Answer, Fleet
from worker.domain.decision import Limits

BEGIN = 1_760_000_000.0


class Recorder(Worker):
    """The worker's decisions with its default parameters, writing down what it reads."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate, Random(7), limits=Limits())
        self.lines: list[str] = []
        self._known: dict[int, float] = {}

    def told(self, chat: int, now: float, answer: Answer, rate: float) -> None:
        if answer.updated_at is not None:
            self._known[chat] = BEGIN + answer.updated_at
        self.lines.append(
            line(
                time=BEGIN + now,
                share=f"share-{chat}",
                updated_at=self._known.get(chat),
                changed=answer.updated_at is not None,
            )
        )
        super().told(chat, now, answer, rate)


def line(**fields: object) -> str:
    return json.dumps({"time": BEGIN, "share": "one", "updated_at": None, "changed": False, "rule": "x"} | fields)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "polls.jsonl"


def run(log: Path, *options: str) -> Result:
    return CliRunner().invoke(replay.main, [str(log), *options])


def report(log: Path, *options: str) -> Any:
    result = run(log, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.no_cover
def test_the_parameters_that_were_recorded_give_the_figures_that_were_recorded(log: Path) -> None:
    scenario = simulated.load("mixed")
    recorder = Recorder(rate=20.0)
    real = simulated.follow(Fleet(scenario), recorder, 20.0)
    log.write_text("\n".join(recorder.lines))

    figures = report(log)

    assert figures["bad_lines"] == 0
    assert figures["shares"] == len(scenario.chats)
    recorded, replayed = figures["recorded"], figures["replayed"]
    assert recorded["requests"] == pytest.approx(real.requests, rel=0.02)
    assert recorded["mean"] == pytest.approx(real.mean, rel=0.2)
    assert recorded["missed"] == pytest.approx(0.0)
    assert replayed["requests"] == pytest.approx(recorded["requests"], rel=0.15)
    assert replayed["mean"] == pytest.approx(recorded["mean"], rel=0.25)


def test_a_higher_price_takes_fewer_requests_and_more_time(log: Path) -> None:
    recorder = Recorder(rate=20.0)
    simulated.follow(Fleet(simulated.load("mixed-small")), recorder, 20.0)
    log.write_text("\n".join(recorder.lines))

    cheap, dear = (report(log, "--price-floor", price)["replayed"] for price in ("5", "10"))

    assert dear["requests"] < cheap["requests"]
    assert dear["mean"] > cheap["mean"]


def test_a_delay_runs_from_when_the_position_could_be_read(log: Path) -> None:
    log.write_text(
        "\n".join(
            [
                line(time=BEGIN, updated_at=BEGIN - 5.0, changed=True),
                line(time=BEGIN + 40.0, updated_at=BEGIN - 5.0),
                line(time=BEGIN + 100.0, updated_at=BEGIN + 20.0, changed=True),  # not shown at 40 s
                line(time=BEGIN + 200.0, updated_at=BEGIN + 190.0, changed=True),
                line(time=BEGIN + 300.0, updated_at=None, changed=True),  # without a time: half-way
                line(time=BEGIN + 400.0),
            ]
        )
    )

    recorded = report(log)["recorded"]

    assert recorded["requests"] == 6
    assert recorded["mean"] == pytest.approx((60.0 + 10.0 + 50.0) / 3, abs=0.01)


def test_lines_out_of_order_are_put_in_order(log: Path) -> None:
    lines = [line(time=BEGIN + 60.0 * n, updated_at=BEGIN + 60.0 * n - 10.0, changed=True) for n in range(20)]
    log.write_text("\n".join(lines))
    forwards = report(log)
    log.write_text("\n".join(reversed(lines)))

    assert report(log) == forwards


def test_reads_before_the_first_position_and_pauses_of_the_recording_are_left_out(log: Path) -> None:
    day = 86_400.0
    waiting = [line(time=BEGIN + 60.0 * n) for n in range(100)]
    lines = [
        line(time=start + 60.0 * n, updated_at=start + 60.0 * n - 10.0, changed=True)
        for start in (BEGIN + day, BEGIN + 2 * day)
        for n in range(20)
    ]
    log.write_text("\n".join([*waiting, *lines]))

    figures = report(log)

    assert figures["recorded"]["requests"] == 40
    assert figures["replayed"]["requests"] < 80
    assert figures["shares"] == 1


def test_unusable_lines_are_counted_and_told_by_number_without_their_content(log: Path) -> None:
    good = [line(time=BEGIN + 60.0 * n, updated_at=BEGIN + 60.0 * n - 10.0, changed=True) for n in range(9)]
    bad = [
        b"secret",
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"x":' + b"[" * 100_000,
        line(time=None).encode(),
        line(time=BEGIN * 1000.0).encode(),
        line(changed="secret").encode(),
        line(updated_at=float("nan")).encode(),
        b'{"time": 1760000000',
    ]
    log.write_bytes(b"\n".join([*bad, *(text.encode() for text in good)]))

    result = run(log)

    assert result.exit_code == 0
    assert "19 lines, 10 of them unusable" in result.output
    assert "line 1:" in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("content", [b"", b"\n\n", b"no json", line().encode()])
def test_a_log_without_a_position_is_said_to_be_empty(log: Path, content: bytes) -> None:
    log.write_bytes(content)

    for options in ((), ("--json",)):
        result = run(log, *options)
        assert result.exit_code == 1
        assert "nothing to replay" in result.stderr


def test_one_read_is_enough_not_to_fail(log: Path) -> None:
    log.write_text(line(updated_at=BEGIN - 5.0, changed=True))

    result = run(log)

    assert result.exit_code == 0
    assert "none" in result.output


@pytest.mark.parametrize(
    "options",
    [
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--price-floor", "inf"),
        ("--max-poll", "-1"),
        ("--min-poll", "60", "--max-poll", "30"),
    ],
)
def test_senseless_parameters_are_refused(log: Path, options: tuple[str, ...]) -> None:
    log.write_text(line(updated_at=BEGIN - 5.0, changed=True))

    result = run(log, *options)

    assert result.exit_code == 2
    assert options[0] in result.output

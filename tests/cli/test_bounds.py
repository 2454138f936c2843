"""The command line accepts and refuses the same values as the jobs, for every argument that both have."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import pytest
from click.testing import Result
from pydantic import BaseModel

from location_client import Job
from location_client.arguments import FORMS
from tests.location_client.samples import CHAT
from worker.cli import cli
from worker.jobs.arguments import (
    ForgetHandle,
    InvalidJobError,
    RequestLocation,
    SetPlaces,
    StopSharing,
    TrackLocation,
    UntrackLocation,
    read_arguments,
)
from worker.jobs.pins import SendPin

Run = Callable[..., Result]

ANNA = "+12025550147"
PLACE = {"name": "depot", "latitude": 51.5, "longitude": -0.1, "radius": 200}

# The command, the model of the job, and the fewest arguments that both accept.
COMMANDS: dict[str, tuple[str, type[BaseModel], dict[str, Any]]] = {
    "request_location": ("request", RequestLocation, {"chat_id": CHAT}),
    "track_location": ("track", TrackLocation, {"chat_id": CHAT}),
    "set_places": ("set-places", SetPlaces, {"chat_id": CHAT, "places": [PLACE]}),
    "untrack_location": ("untrack", UntrackLocation, {"chat_id": CHAT}),
    "stop_sharing": ("stop-sharing", StopSharing, {"chat_id": CHAT, "handle": ANNA}),
    "forget_handle": ("forget", ForgetHandle, {"handle": ANNA}),
    "send_pin": ("pin", SendPin, {"phone": ANNA, "latitude": 1, "longitude": 2}),
}
# What must be given or left out (None) for an argument to be allowed.
TOGETHER: dict[str, dict[str, Any]] = {
    "to": {"chat_id": None, "from": ANNA},
    "from": {"chat_id": None, "to": ANNA},
    "message": {"chat_id": None, "to": ANNA, "from": ANNA},
    "max_age": {"follow": False},
    "until": {"places": [PLACE]},
}
FLAGS = {"follow", "stop_when_done"}

NUMBERS = [
    *("0", "-0", "-1", "1e-9", "0.001", "1", "5.5", "20", "19.99", "90", "90.01", "-90", "-90.01", "180", "180.01"),
    *("-180.01", "100000", "100000.01", "316224000", "316224000.1", "1e9", "1e400", "NaN", "Infinity", "1_0", "1h", ""),
]
TEXTS = [
    *("", " ", "x", " x ", "a\tb", "a\nb", "é", "№ 7", "🗼", "\u200b", "\u202ax", "x\udcff"),
    *("x" * length for length in (64, 65, 128, 129, 200, 201, 300, 301, 10_000, 10_001)),
    *("é" * length for length in (100, 101)),
    *(CHAT, CHAT.upper(), CHAT.replace("-", ""), CHAT.replace("3", "٣")),
    *(ANNA, "+1 (202) 555-0147", "+44 (0)20 7946 0018", "+39 (0)6 1234567", "12025550147", "+1202", "tel:" + ANNA),
    *(f"+{' ' * count}12025550147" for count in (60, 390)),
    *("anna@example.org", "a@b@c", "a@", "a b@example.org", "é@example.org", "a\udcff@example.org"),
    *(f"{'a' * length}@example.org" for length in (242, 243)),
    *("https://a.example", "HTTPS://A.EXAMPLE/?q#f", "https://[::1]:8/", "https://:80", "https://?q", "https://["),
    *("http://", "ftp://a.example", "https://a.example/\u200b", "https://a.example/a b", "https://a.example/\udcff"),
    *(f"https://a.example/{'a' * length}" for length in (2030, 2031)),
    *("2026-10-12T18:00:00Z", "2026-10-12T20:00:00.5+02:00", "2026-10-12 18:00:00Z", "2026-02-30T18:00:00Z"),
    *("1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "2026-10-12T24:00:00Z", "auto", "geo_url", "vcard"),
]


def command_of(function: str) -> click.Command:
    return cli.get_command(click.Context(cli), COMMANDS[function][0])  # type: ignore[return-value]


def words(function: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return the command line for the arguments of a job."""
    positional, options = [], []
    for name, value in arguments.items():
        parameter = {"from": "from_", "follow": "once"}.get(name, name)
        if name in FLAGS:
            options.append(f"--{parameter.replace('_', '-')}")
        elif name == "places":
            options += ["--place={name}:{latitude},{longitude},{radius}".format_map(place) for place in value]
        elif parameter in {known.name for known in command_of(function).params if isinstance(known, click.Option)}:
            options.append(f"--{name.replace('_', '-')}={value}")
        else:
            positional.append(value)
    return [COMMANDS[function][0], *options, "--", *positional]


def with_one(function: str, name: str, value: Any) -> dict[str, Any]:
    given = {**COMMANDS[function][2], **TOGETHER.get(name, {}), name: value}
    if function == "send_pin" and name == "chat_id":
        del given["phone"]
    return {name: value for name, value in given.items() if value is not None}


def is_taken_by_job(function: str, arguments: Mapping[str, Any]) -> bool:
    try:
        read_arguments(function, COMMANDS[function][1], dict(arguments))
    except InvalidJobError:
        return False
    return True


def read_number(text: str) -> Any:
    """Return the number as it appears in the JSON of a job."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def everything() -> Iterator[tuple[str, str]]:
    for function, forms in FORMS.items():
        yield from ((function, name) for name in forms if name not in FLAGS)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Queue nothing; return the list of jobs that would have been queued."""
    jobs: list[dict[str, Any]] = []
    check = Job.checked

    def checking(function: str, arguments: Mapping[str, Any]) -> Any:
        job = check(function, arguments)
        jobs.append(dict(job.arguments))
        job.encode(1)
        return job

    monkeypatch.setattr(Job, "checked", checking)
    monkeypatch.setattr("worker.cli.reporting.with_client", lambda *_: 0)
    return jobs


def compare(
    run: Run, checked: list[dict[str, Any]], function: str, said: Mapping[str, Any], given: Mapping[str, Any]
) -> bool:
    """Pass the arguments on the command line and to the job; return whether both accept them."""
    result = run(*words(function, said))
    assert result.exit_code in {0, 2}, result.output
    is_taken = result.exit_code == 0
    assert is_taken == is_taken_by_job(function, given), result.output
    assert not is_taken or is_taken_by_job(function, checked[-1])
    return is_taken


@pytest.mark.parametrize(("function", "name"), [each for each in everything() if each[1] != "places"])
def test_an_argument_is_taken_by_both_or_by_none(
    run: Run, checked: list[dict[str, Any]], function: str, name: str
) -> None:
    is_number = FORMS[function][name].accepts(5)
    outcomes = [
        compare(
            run,
            checked,
            function,
            with_one(function, name, text),
            with_one(function, name, read_number(text) if is_number else text),
        )
        for text in (NUMBERS if is_number else TEXTS)
    ]
    if name != "until":  # none of these texts is the place's name
        assert set(outcomes) == {True, False}


@pytest.mark.parametrize("name", PLACE)
@pytest.mark.parametrize("function", [function for function, forms in FORMS.items() if "places" in forms])
def test_a_place_is_taken_by_both_or_by_none(run: Run, checked: list[dict[str, Any]], function: str, name: str) -> None:
    outcomes = [
        compare(
            run,
            checked,
            function,
            with_one(function, "places", [{**PLACE, name: text}]),
            with_one(function, "places", [{**PLACE, name: text if name == "name" else read_number(text)}]),
        )
        for text in (TEXTS if name == "name" else NUMBERS)
    ]
    assert set(outcomes) == {True, False}
    for count, is_taken in ((16, True), (17, False)):
        places = [{**PLACE, "name": f"depot {number}"} for number in range(count)]
        both = with_one(function, "places", places)
        assert compare(run, checked, function, both, both) is is_taken

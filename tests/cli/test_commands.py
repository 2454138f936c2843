"""What the commands do when all is well, and what they say when something is wrong."""

import csv
import io
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
from click.testing import Result
from jsonschema import Draft202012Validator

from tests.location_client.samples import CHAT, SHARE
from worker.domain.events import EVENT_TYPES
from worker.domain.share import Person, Share
from worker.store.packing import pack
from worker.text import in_words

Run = Callable[..., Result]
SECOND_CHAT = "11111111-2222-3333-4444-555555555555"
ADDRESS = {"phone": "+12025550147", "latitude": 51.5033, "longitude": -0.1196}


def queued(server: Any, prefix: str) -> list[dict[str, Any]]:
    ids = server.zrange(f"{prefix}:jobs", 0, -1)
    jobs = [json.loads(server.get(f"arq:job:{job_id}")) for job_id in ids]
    return sorted(({"f": job["f"], **job["k"]} for job in jobs), key=str)


class Answering(threading.Thread):
    """Takes queued jobs as a worker does, and replies with the given answers."""

    def __init__(self, server: Any, prefix: str, answer: Callable[[dict[str, Any]], tuple[bool, Any]]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._queue = f"{prefix}:jobs"
        self._answer = answer
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.is_set():
            for job_id in self._server.zrange(self._queue, 0, -1):
                job = json.loads(self._server.get(f"arq:job:{job_id}"))
                success, result = self._answer(job)
                body = {"s": success, "r": result}
                self._server.set(f"arq:result:{job_id}", json.dumps(body), ex=60)
                self._server.delete(f"arq:job:{job_id}")
                self._server.zrem(self._queue, job_id)
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.join()


def test_request_queues_one_job_for_each_chat(run: Run, server: Any, prefix: str) -> None:
    result = run("request", CHAT.upper(), SECOND_CHAT, "--reference", "order-7", "--once", "--min-interval", "15")
    assert result.exit_code == 0
    assert CHAT in result.stdout
    shared = {"f": "request_location", "reference": "order-7", "follow": False, "min_interval": 15}
    assert queued(server, prefix) == sorted(
        ({**shared, "chat_id": chat_id} for chat_id in (CHAT, SECOND_CHAT)), key=str
    )


def test_request_by_handle_normalizes_it(run: Run, server: Any, prefix: str) -> None:
    result = run(
        "request", "--to", "+1 (202) 555-0147", "--from", "+14155550100", "--message", "Hi", "--follow-for", "60"
    )
    assert result.exit_code == 0
    assert queued(server, prefix) == [
        {
            "f": "request_location",
            "to": "+12025550147",
            "from": "+14155550100",
            "message": "Hi",
            "follow": True,
            "follow_for": 60,
        }
    ]


def test_chats_come_from_a_file_with_their_own_references(run: Run, server: Any, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "chats.csv"
    path.write_text(f'\ufeffchat_id,reference\n{CHAT},"Müller, Köln"\n\n# {SHARE}\n{SECOND_CHAT}\n')
    result = run("track", "--file", str(path), "--reference", "common", "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["reference"] for line in lines] == ["Müller, Köln", "common"]
    assert {line["job_id"] for line in lines} == set(server.zrange(f"{prefix}:jobs", 0, -1))
    assert {job["reference"] for job in queued(server, prefix)} == {"Müller, Köln", "common"}


def test_thousands_of_chats_from_standard_input_are_queued(run: Run, server: Any, prefix: str) -> None:
    lines = io.StringIO()
    csv.writer(lines).writerows([f"{number:08x}-0000-4000-8000-000000000000", number] for number in range(2500))
    result = run("request", "-", stdin=lines.getvalue())
    assert result.exit_code == 0
    assert result.stdout == "2500 jobs queued (request_location)\n"
    assert server.zcard(f"{prefix}:jobs") == 2500


@pytest.mark.parametrize(
    ("words", "job"),
    [
        (["untrack", CHAT], {"f": "untrack_location", "chat_id": CHAT}),
        (
            ["stop-sharing", CHAT, "Someone@Example.org"],
            {"f": "stop_sharing", "chat_id": CHAT, "handle": "someone@example.org"},
        ),
        (["forget", "+1 202 555 0147"], {"f": "forget_handle", "handle": "+12025550147"}),
        (
            [
                *("pin", "--phone", "+1 202 555 0147", "--latitude", "51.5033", "--longitude", "-0.1196"),
                *("--label", "London Eye", "--expires-at", "2026-10-12T18:00:00Z", "--fallback-mode", "auto"),
            ],
            {
                "f": "send_pin",
                **ADDRESS,
                "label": "London Eye",
                "expires_at": "2026-10-12T18:00:00Z",
                "fallback_mode": "auto",
            },
        ),
    ],
    ids=["untrack", "stop-sharing", "forget", "pin"],
)
def test_other_jobs_are_queued_in_normal_form(
    run: Run, server: Any, prefix: str, words: list[str], job: dict[str, Any]
) -> None:
    result = run(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert queued(server, prefix) == [job]


@pytest.fixture
def latest(server: Any, prefix: str, lasting: set[str]) -> Callable[..., None]:
    lasting.add(f"{prefix}:latest:{CHAT}")

    def write(handle: str, longitude: float, latitude: float) -> None:
        feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [longitude, latitude]}}
        server.hset(f"{prefix}:latest:{CHAT}", handle, json.dumps({**feature, "properties": {}}))
        server.expire(f"{prefix}:latest:{CHAT}", 60)

    return write


def test_a_pin_takes_its_place_from_a_share(run: Run, server: Any, prefix: str, latest: Callable[..., None]) -> None:
    latest("+12025550147", 13.4, 52.5)
    assert run("pin", "--phone", "+12025550100", "--from-share", CHAT).exit_code == 0
    assert queued(server, prefix) == [{"f": "send_pin", "phone": "+12025550100", "latitude": 52.5, "longitude": 13.4}]


def test_a_pin_from_a_share_of_several_people_needs_a_name(
    run: Run, server: Any, prefix: str, latest: Callable[..., None]
) -> None:
    latest("+12025550147", 13.4, 52.5)
    latest("two@example.org", 13.5, 52.6)
    pin = ("pin", "--phone", "+12025550100", "--from-share", CHAT)
    result = run(*pin)
    assert result.exit_code == 1
    assert "2 people share in chat" in result.stderr
    assert queued(server, prefix) == []
    assert run(*pin, "--handle", "Two@example.org").exit_code == 0
    assert queued(server, prefix)[0]["latitude"] == 52.6


def test_a_pin_from_a_share_that_nobody_has_is_told(run: Run) -> None:
    result = run("pin", "--phone", "+12025550100", "--from-share", CHAT)
    assert result.exit_code == 1
    assert f"nobody shares a position in chat {CHAT} at the moment" in result.stderr


def test_wait_shows_the_results(run: Run, server: Any, prefix: str) -> None:
    answer = {"status": "requested", "chat_id": CHAT, "share_id": SHARE, "prompt": "sent"}
    with Answering(server, prefix, lambda _: (True, answer)):
        result = run("request", CHAT, "--wait", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["result"] == answer
    with Answering(server, prefix, lambda _: (True, answer)):
        result = run("request", CHAT, "--wait")
    assert "prompt sent" in result.stdout
    assert SHARE in result.stdout


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            (True, {"status": "rejected", "reason": "group_chat", "code": 2016}),
            "reason group_chat, code 2016",
        ),
        (
            (
                False,
                {"error": "InvalidJobError", "detail": [{"field": "chat_id", "message": "accepted: a UUID"}]},
            ),
            "InvalidJobError: chat_id:",
        ),
    ],
    ids=["rejected", "failed"],
)
def test_wait_ends_with_1_when_a_job_did_not_succeed(
    run: Run, server: Any, prefix: str, answer: tuple[bool, Any], told: str
) -> None:
    def answers(job: dict[str, Any]) -> tuple[bool, Any]:
        return (True, {"status": "requested"}) if job["k"]["chat_id"] == CHAT else answer

    with Answering(server, prefix, answers):
        result = run("request", CHAT, SECOND_CHAT, "--wait")
    assert result.exit_code == 1
    assert told in result.stdout
    assert "1 of 2 did not succeed" in result.stderr


def test_wait_without_a_worker_ends_with_1_and_says_so(run: Run) -> None:
    result = run("untrack", CHAT, "--wait", "--timeout", "0.1")
    assert result.exit_code == 1
    assert "does a worker run on this Redis" in " ".join(result.stdout.split())
    assert "1 job still waiting for a result" in result.stderr


def add(server: Any, prefix: str, kind: str, data: Any, **fields: str) -> str:
    event = {
        "specversion": "1.0",
        "id": f"{SHARE}:1",
        "source": f"/linq/chats/{CHAT}",
        "type": kind,
        "subject": "+12025550147",
        "time": "2026-10-12T09:31:18.000Z",
        "datacontenttype": "application/json",
        "dataschema": f"urn:location-worker:{kind}:1",
        "sequence": "1",
        "reference": "order-7",
        "data": json.dumps(data),
    }
    return str(server.xadd(f"{prefix}:events", event | fields))


def add_position(server: Any, prefix: str, **fields: str) -> str:
    data = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [13.4, 52.5]},
        "properties": {
            "locality": "Berlin",
            "address": None,
            "updated_at": "2026-10-12T09:31:18Z",
            "received_at": "2026-10-12T09:31:30.000Z",
        },
    }
    return add(server, prefix, "location.updated", data, **fields)


def test_tail_shows_what_people_want_to_see(run: Run, server: Any, prefix: str) -> None:
    published = int(add_position(server, prefix).partition("-")[0]) // 1000
    add(server, prefix, "location.tracking.ended", {"chat_id": CHAT, "reason": "untracked"}, subject="")
    result = run("tail", "--from", "beginning", "--count", "2")
    position, ended = result.stdout.splitlines()
    assert [part.strip() for part in position.split("  ") if part] == [
        datetime.fromtimestamp(published, UTC).strftime("%H:%M:%S"),
        "updated",
        CHAT[:8],
        "+12025550147",
        "52.50000, 13.40000",
        "Berlin",
        "12 s old",
        "[order-7]",
    ]
    assert "reason untracked" in ended


def test_tail_does_not_pass_on_what_a_terminal_would_obey(run: Run, server: Any, prefix: str) -> None:
    add_position(server, prefix, reference="\x1b]0;title\x07")
    result = run("tail", "--from", "beginning", "--count", "1")
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_tail_as_json_gives_one_whole_event_a_line(run: Run, server: Any, prefix: str) -> None:
    stream_id = add_position(server, prefix)
    result = run("tail", "--from", "beginning", "--count", "1", "--json")
    event = json.loads(result.stdout)
    assert (event["stream_id"], event["sequence"], event["subject"]) == (stream_id, 1, "+12025550147")
    assert event["data"]["geometry"]["coordinates"] == [13.4, 52.5]


def test_tail_keeps_to_types_and_place(run: Run, server: Any, prefix: str) -> None:
    first = add_position(server, prefix)
    add(server, prefix, "location.requested", {})
    last = add_position(server, prefix)
    result = run("tail", "--from", first, "--type", "updated", "--count", "1", "--json")
    assert json.loads(result.stdout)["stream_id"] == last


def test_tail_with_a_group_goes_on_where_it_ended(run: Run, server: Any, prefix: str) -> None:
    ids = [add_position(server, prefix) for _ in range(3)]
    tail = ("tail", "--group", "watchers", "--from", "beginning", "--json")
    first = run(*tail, "--count", "1")
    rest = run(*tail, "--count", "2")
    shown = [json.loads(line)["stream_id"] for line in (first.stdout + rest.stdout).splitlines()]
    assert shown == ids


def test_tail_shows_what_is_no_event_of_ours_too(run: Run, server: Any, prefix: str) -> None:
    server.xadd(f"{prefix}:events", {"type": "location.updated", "data": "{"})
    result = run("tail", "--from", "beginning", "--count", "1")
    assert result.exit_code == 0
    assert "not one of this project's events" in result.stdout


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_schema_prints_the_schema_of_every_type(run: Run, event_type: str) -> None:
    schema = json.loads(run("schema", event_type).stdout)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == event_type


def test_schema_without_a_type_lists_the_types(run: Run) -> None:
    assert all(event_type in run("schema").stdout for event_type in EVENT_TYPES)
    assert list(json.loads(run("schema", "--json").stdout)) == list(EVENT_TYPES)


def test_status_of_nothing_is_an_empty_table(run: Run) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert "0 chats tracked" in result.stdout
    nothing = {"requested": 0, "pending": 0, "tracking": 0}
    empty = {"watched": 0, "phases": nothing, "late_seconds": 0.0, "chats": [], "more": 0}
    assert json.loads(run("status", "--json").stdout) == empty
    assert run("status", "--json", "--all").stdout == ""


def test_status_of_an_unknown_chat_is_told(run: Run) -> None:
    result = run("status", CHAT)
    assert result.exit_code == 1
    assert f"chat {CHAT} is not tracked" in result.stderr


@pytest.fixture
def tracked(server: Any, prefix: str) -> None:
    """Store two tracked chats as the worker does: one asked, one followed."""
    seconds, _ = server.time()
    asked = Share(SHARE, "order-7", seconds - 60, asked=True, follow=True, follow_for=60, rule="pending")
    person = Person("+12025550147", sharing=True, updated_at=(seconds - 12) * 10**9)
    followed = Share(SHARE, "", seconds - 60, asked=False, follow=True, follow_for=60, people=[person], sequence=3)
    for chat_id, share, due in ((CHAT, asked, seconds + 600), (SECOND_CHAT, followed, seconds - 5)):
        server.set(f"{prefix}:share:{chat_id}", pack(share))
        server.zadd(f"{prefix}:due", {chat_id: due})
    server.hset(f"{prefix}:fleet", mapping={"pending": 2})


@pytest.mark.usefixtures("tracked")
def test_status_tells_what_is_tracked_and_when_it_is_read_next(run: Run) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert "2 chats tracked" in result.stdout
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "10 min" in rows[CHAT]
    assert "pending" in rows[CHAT]
    assert "order-7" in rows[CHAT]
    assert "0 s" in rows[SECOND_CHAT]
    told = json.loads(run("status", "--json").stdout)
    assert [(chat["chat_id"], chat["reference"]) for chat in told["chats"]] == [(SECOND_CHAT, ""), (CHAT, "order-7")]
    assert (told["watched"], told["phases"]["pending"], told["more"]) == (2, 2, 0)
    assert 5 <= told["late_seconds"] < 60


@pytest.mark.usefixtures("tracked")
def test_status_shows_the_most_overdue_chats_and_says_how_many_more_there_are(run: Run) -> None:
    result = run("status", "--limit", "1")
    assert "2 chats tracked: 2 pending; the most overdue one is" in result.stdout
    assert SECOND_CHAT in result.stdout
    assert CHAT not in result.stdout
    assert "1 more" in result.stdout
    assert json.loads(run("status", "--limit", "1", "--json").stdout)["more"] == 1


@pytest.mark.usefixtures("tracked")
def test_status_shows_every_chat_where_that_is_asked(run: Run) -> None:
    result = run("status", "--limit", "1", "--all")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == [SECOND_CHAT, CHAT]
    assert "order-7" in result.stdout
    lines = [json.loads(line) for line in run("status", "--json", "--all").stdout.splitlines()]
    assert [line["chat_id"] for line in lines] == [SECOND_CHAT, CHAT]


def test_status_does_not_read_what_it_does_not_show(run: Run, server: Any, prefix: str) -> None:
    seconds, _ = server.time()
    server.zadd(f"{prefix}:due", {str(UUID(int=number)): seconds + number for number in range(5000)})
    before = server.info("commandstats").get("cmdstat_zrange", {"calls": 0})
    assert "5,000 chats tracked" in run("status").stdout
    assert server.info("commandstats")["cmdstat_zrange"]["calls"] - before["calls"] <= 2


@pytest.mark.usefixtures("tracked")
def test_status_of_one_chat_shows_its_people(run: Run) -> None:
    result = run("status", SECOND_CHAT.upper())
    assert result.exit_code == 0
    assert "+12025550147" in result.stdout
    described = json.loads(run("status", SECOND_CHAT, "--json").stdout)
    assert described["events"] == 3
    (person,) = described["people"]
    assert person["sharing"] is True
    assert 10 < person["position_age"] < 60


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (12.4, "12 s"), (119, "119 s"), (180, "3 min"), (7200, "2 h")]
)
def test_durations_are_put_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words

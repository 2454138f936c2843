"""The control API, the answer log, and the simulator as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from simulator.harness import SimulatorServer


def command(linq: httpx.Client, method: str, **arguments: Any) -> Any:
    reply = linq.post(f"/_simulator/{method}", json=arguments)
    assert reply.status_code == 200, reply.text
    return reply.json()["result"]


def test_the_whole_story_can_be_told_over_http(linq: httpx.Client) -> None:
    chat_id = command(linq, "add_person", handle="+12025550147", accepts_after=None)
    linq.post(f"/v3/chats/{chat_id}/location/request")
    command(linq, "start_sharing", handle="+12025550147", chat_id=chat_id)
    command(linq, "set_position", chat_id=chat_id, handle=None, longitude=1.5, latitude=2, updated_at=1e9)
    read = linq.get(f"/v3/chats/{chat_id}/location").json()["data"]["features"]
    assert read[0]["geometry"]["coordinates"] == [1.5, 2]
    assert read[0]["properties"]["updated_at"] == "2001-09-09T01:46:40Z"
    command(linq, "fault", kind="error", code=3006)
    linq.get(f"/v3/chats/{chat_id}/location")
    command(linq, "stop_sharing", handle="+12025550147")

    answers = command(linq, "answers", chat_id=chat_id)
    assert [(answer["endpoint"], answer["status"]) for answer in answers] == [
        ("request", 200),
        ("read", 200),
        ("read", 500),
    ]
    assert [answer["prompted"] for answer in answers] == [True, False, False]
    assert [answer["features"] for answer in answers] == [None, read, None]
    assert command(linq, "answers", after=answers[1]["number"]) == answers[2:]
    state = linq.get("/_simulator").json()
    assert state["prompts"] == {chat_id: 1}
    assert state["chats"][0]["sharing"] == []


def test_people_and_chats_can_be_changed_over_http(linq: httpx.Client) -> None:
    chat_id = command(linq, "add_person", handle="+12025550147", sharing=True)
    command(linq, "change_person", handle="+12025550147", accepts_after=None)
    command(linq, "change_chat", chat_id=chat_id, features=[])
    assert linq.get(f"/v3/chats/{chat_id}/location").json()["data"]["features"] == []


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("change_chat", {"features": []}, "chat_id"),
        ("add_person", {"handle": "Ann"}, "is not a handle"),
        ("add_person", {"age": 7}, "age"),
        ("fault", {"kind": "explode"}, "is none of"),
        ("stop_sharing", {"handle": "+12025550147"}, "not known"),
        ("change_habits", {"speed": 3}, "fixed"),
        ("change_habits", {"colour": 3}, "has no 'colour'"),
        ("disturb", {"kind": "explode"}, "is none of"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    linq: httpx.Client, method: str, arguments: dict[str, Any], said: str
) -> None:
    reply = linq.post(f"/_simulator/{method}", json=arguments)
    assert reply.status_code == 400
    assert said in reply.json()["error"]


def test_an_unknown_command_names_those_that_exist(linq: httpx.Client) -> None:
    reply = linq.post("/_simulator/nonsense")
    assert reply.status_code == 404
    assert "add_person" in reply.json()["error"]


def test_exact_features_and_times_can_be_scripted(simulator: SimulatorServer, linq: httpx.Client) -> None:
    chat_id = simulator.add_person(sharing=True)
    path = f"/v3/chats/{chat_id}/location"
    text = "2026-10-12T09:30:04.512904118Z"
    simulator.set_position(chat_id, None, 1, 2, altitude=30, updated_at=text, locality="Springfield")
    (feature,) = linq.get(path).json()["data"]["features"]
    assert feature["geometry"]["coordinates"] == [1, 2, 30]
    assert feature["properties"]["updated_at"] == text
    simulator.set_position(chat_id, None, 1, 2, updated_at=None)
    (feature,) = linq.get(path).json()["data"]["features"]
    assert "updated_at" not in feature["properties"]
    simulator.change_person(simulator.handle_of(chat_id), scripted=None)
    (feature,) = linq.get(path).json()["data"]["features"]
    assert feature["geometry"]["coordinates"] == [13.4, 52.5]
    simulator.set_features(chat_id, [{"odd": True}])
    assert linq.get(path).json()["data"]["features"] == [{"odd": True}]
    simulator.set_features(chat_id, None)
    assert len(linq.get(path).json()["data"]["features"]) == 1


def test_contacts_come_and_go_and_lines_are_refused(simulator: SimulatorServer, linq: httpx.Client) -> None:
    ann, ben = "+12025550147", "+12025550148"
    alone = simulator.add_person(ann, sharing=True)
    simulator.add_person(ben, sharing=True)
    group = simulator.add_chat([ann], is_group=True)

    def listed() -> list[str]:
        features = linq.get(f"/v3/chats/{group.upper()}/location").json()["data"]["features"]
        return [feature["properties"]["handle"] for feature in features]

    simulator.join(group, ben)
    assert listed() == [ann, ben]
    simulator.leave(group, ann)
    assert listed() == [ben]
    assert len(simulator.answers(chat_id=group)) == 2

    line = simulator.world.lines[0]
    simulator.refuse_line(line)
    refused = linq.post(f"/v3/chats/{alone}/location/request").json()
    assert refused["error"]["code"] == 2027
    simulator.refuse_line(line, None)
    already = linq.post(f"/v3/chats/{alone}/location/request").json()
    assert already["error"]["code"] == 2030


def test_requests_are_counted_with_their_times(simulator: SimulatorServer, linq: httpx.Client) -> None:
    before = time.time()
    for _ in range(5):
        linq.get("/v3/phone_numbers")
    times = simulator.request_times()
    assert len(times) == 5
    assert before <= times[0] <= times[-1] <= time.time()
    assert simulator.request_times("chert") == []


def test_thousands_of_chats_are_listed_and_read(simulator: SimulatorServer, linq: httpx.Client) -> None:
    chats = [simulator.add_person(recording="gpxpy-korita", sharing=True) for _ in range(2000)]
    assert len(set(chats)) == 2000
    last = linq.get("/v3/chats", params={"cursor": "1990", "limit": "100"}).json()
    assert [chat["id"] for chat in last["chats"]] == chats[1990:]
    assert last["next_cursor"] is None
    assert len(linq.get(f"/v3/chats/{chats[-1]}/location").json()["data"]["features"]) == 1


async def test_the_harness_serves_an_asynchronous_caller() -> None:
    async with SimulatorServer() as simulator, httpx.AsyncClient(trust_env=False) as client:
        simulator.add_person()
        assert (await client.get(f"{simulator.base_url}/_simulator")).json()["chats"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_where_it_is_and_ends_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--people", "12", "--speed", "20"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {hello['api_key']}"}
        with httpx.Client(base_url=hello["base_url"], headers=headers, trust_env=False) as client:
            assert len(client.get("/v3/chats").json()["chats"]) == len(hello["chats"]) == 12
        process.send_signal(number)
        assert process.wait(10) == 0

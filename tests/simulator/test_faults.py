from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any, get_args

import httpx
import msgspec
import pytest

from simulator.faults import Damage, Endpoint, Fault, FaultBoard, Shape
from simulator.harness import SimulatorServer


@pytest.fixture
def location(simulator: SimulatorServer) -> str:
    return f"/v3/chats/{simulator.add_person(sharing=True)}/location"


def test_a_rate_limit_says_when_to_come_back(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("error", endpoint="read", code=1007, retry_after=37.2)
    reply = linq.get(location)
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "38")
    assert reply.json()["error"]["retry_after"] == 38
    assert linq.get(location).status_code == 200

    date = "Mon, 12 Oct 2026 09:30:00 GMT"
    simulator.fault("error", code=1007, retry_after=date)
    reply = linq.get(location)
    assert reply.headers["Retry-After"] == date
    assert "retry_after" not in reply.json()["error"]


@pytest.mark.parametrize("code", [2004, 2011, 3006, 3005, 4004])
def test_errors_last_until_they_are_cleared(
    simulator: SimulatorServer, linq: httpx.Client, location: str, code: int
) -> None:
    simulator.fault("error", code=code, replies=None)
    for _ in range(3):
        reply = linq.get(location)
        assert reply.json()["error"]["code"] == code
        assert reply.json()["error"]["status"] == reply.status_code
    simulator.clear_faults()
    assert linq.get(location).status_code == 200


def test_a_connection_is_reset_before_or_after_the_work(simulator: SimulatorServer, linq: httpx.Client) -> None:
    for after_work in (False, True):
        chat_id = simulator.add_person(accepts_after=None)
        simulator.fault("reset", endpoint="request", chat_id=chat_id, after_work=after_work)
        with pytest.raises(httpx.ReadError):
            linq.post(f"/v3/chats/{chat_id}/location/request")
        assert simulator.prompts(chat_id) == after_work
        (answer,) = simulator.answers(chat_id=chat_id)
        assert (answer.outcome, answer.prompted, answer.status) == ("reset", after_work, None)


def test_an_error_may_hide_a_prompt_that_went_out(simulator: SimulatorServer, linq: httpx.Client) -> None:
    chat_id = simulator.add_person()
    simulator.fault("error", endpoint="request", status=504, code=3005, after_work=True)
    assert linq.post(f"/v3/chats/{chat_id}/location/request").status_code == 504
    assert simulator.prompts(chat_id) == 1
    assert len(linq.get(f"/v3/chats/{chat_id}/location").json()["data"]["features"]) == 1


def test_a_cut_reply_is_shorter_than_it_says(simulator: SimulatorServer, location: str) -> None:
    simulator.fault("cut", endpoint="read")
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        key = simulator.api_key
        connection.sendall(f"GET {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert head.startswith(b"HTTP/1.1 200 ")
    assert 0 < len(body) < announced
    assert simulator.answers()[-1].outcome == "cut"


def test_a_hanging_reply_never_comes(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("hang")
    with pytest.raises(httpx.ReadTimeout):
        linq.get(location, timeout=0.2)
    assert simulator.answers()[-1].outcome == "hung"


def test_the_server_ends_while_a_reply_hangs(simulator: SimulatorServer, location: str) -> None:
    simulator.fault("hang")
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        connection.sendall(f"GET {location} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        deadline = time.monotonic() + 5
        while not simulator.answers():
            assert time.monotonic() < deadline, "the request did not arrive"
            time.sleep(0.01)
        simulator.stop()
        assert connection.recv(1) == b""


def test_a_slow_reply_shows_what_was_true_when_it_was_asked(
    simulator: SimulatorServer, linq: httpx.Client, location: str
) -> None:
    simulator.fault("slow", delay=0.2)
    assert linq.get(location).status_code == 200
    answer = simulator.answers()[-1]
    assert answer.sent_at - answer.decided_at >= 0.19

    simulator.fault("slow", delay=0.3)
    with pytest.raises(httpx.ReadTimeout):
        linq.get(location, timeout=0.05)
    deadline = time.monotonic() + 5
    while simulator.answers()[-1].outcome != "abandoned":
        assert time.monotonic() < deadline, "the reply was not noted as abandoned"
        time.sleep(0.01)


def test_a_dripping_reply_comes_whole_in_the_end(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("drip", delay=0.3)
    began = time.monotonic()
    assert len(linq.get(location).json()["data"]["features"]) == 1
    assert time.monotonic() - began > 0.25
    assert simulator.answers()[-1].outcome == "dripped"


def test_pages_and_redirects_of_a_proxy(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("html")
    reply = linq.get(location)
    assert (reply.status_code, reply.headers["Content-Type"]) == (502, "text/html")
    simulator.fault("html", status=200)
    assert linq.get(location).text.startswith("<!doctype html>")
    simulator.fault("redirect", location="https://elsewhere.example.org/")
    reply = linq.get(location)
    assert (reply.status_code, reply.headers["Location"]) == (302, "https://elsewhere.example.org/")


def test_a_hiccup_lists_nobody_once(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("empty")
    assert linq.get(location).json()["data"]["features"] == []
    assert simulator.answers()[-1].features == []
    assert len(linq.get(location).json()["data"]["features"]) == 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("features_null", {"type": "FeatureCollection", "features": None}),
        ("features_absent", {"type": "FeatureCollection"}),
        ("features_text", {"type": "FeatureCollection", "features": "none"}),
        ("data_null", None),
    ],
)
def test_a_reply_of_a_wrong_shape(
    simulator: SimulatorServer, linq: httpx.Client, location: str, shape: Shape, expected: Any
) -> None:
    simulator.fault("malformed", shape=shape)
    assert linq.get(location).json()["data"] == expected
    assert simulator.answers()[-1].features is None


def test_replies_that_are_no_json_or_too_large(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("malformed", shape="coordinates_text")
    coordinates = linq.get(location).json()["data"]["features"][0]["geometry"]["coordinates"]
    assert all(isinstance(number, str) for number in coordinates)
    simulator.fault("malformed", shape="nan")
    assert b"[NaN, NaN]" in linq.get(location).content
    simulator.fault("malformed", shape="huge")
    assert len(linq.get(location).content) > 1024 * 1024
    simulator.fault("malformed", shape="nothing")
    assert linq.get(location).content == b""
    simulator.fault("malformed", shape="list")
    assert linq.get(location).json() == [1, 2, 3]
    for shape in ("not_json", "not_utf8"):
        simulator.fault("malformed", shape=shape)
        with pytest.raises(ValueError, match=r"."):
            json.loads(linq.get(location).content)


@pytest.mark.parametrize("damage", get_args(Damage))
def test_a_damaged_reply_is_none_for_a_strict_reader(
    simulator: SimulatorServer, linq: httpx.Client, location: str, damage: Damage
) -> None:
    simulator.fault("damaged", damage=damage)
    simulator.fault("error", code=2009, damage=damage)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"."):
            msgspec.json.decode(linq.get(location).content)
    assert len(linq.get(location).json()["data"]["features"]) == 1


def test_a_device_without_a_fix_has_no_geometry(simulator: SimulatorServer, linq: httpx.Client, location: str) -> None:
    simulator.fault("malformed", shape="no_fix")
    (feature,) = linq.get(location).json()["data"]["features"]
    assert feature["geometry"] is None
    assert feature["properties"]["handle"]


def test_a_fault_strikes_only_where_it_is_set(simulator: SimulatorServer, linq: httpx.Client) -> None:
    struck, spared = simulator.add_person(), simulator.add_person()
    simulator.fault("error", code=3006, endpoint="read", chat_id=struck, replies=None)
    assert linq.get(f"/v3/chats/{spared}/location").status_code == 200
    assert linq.get(f"/v3/chats/{struck}").status_code == 200
    assert linq.get(f"/v3/chats/{struck}/location").status_code == 500
    simulator.clear_faults(endpoint="request")
    assert linq.get(f"/v3/chats/{struck}/location").status_code == 500
    simulator.clear_faults(chat_id=struck)
    assert linq.get(f"/v3/chats/{struck}/location").status_code == 200


def test_a_fault_of_one_api_spares_the_other(simulator: SimulatorServer, linq: httpx.Client) -> None:
    simulator.fault("error", endpoint="linq", code=2004, replies=None)
    assert linq.get("/v3/phone_numbers").status_code == 401
    chert = {"Authorization": f"Bearer {simulator.chert_secret}"}
    assert linq.get("/api/v1/phone-numbers", headers=chert).status_code == 200


def test_a_fault_strikes_as_often_as_its_probability_says() -> None:
    board = FaultBoard(seed=1)
    board.add(Fault("error", status=500, replies=None, probability=0.25))
    struck = sum(board.take("read", None) is not None for _ in range(4000))
    assert 800 < struck < 1200


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "explode"}, {"kind": "error"}, {"kind": "slow", "endpoint": "door"}, {"kind": "slow", "shape": "x"}],
)
def test_a_fault_that_cannot_happen_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"none of|needs a status"):
        Fault(**wrong)


def test_faults_hit_in_the_order_in_which_they_were_set() -> None:
    board = FaultBoard()
    endpoint: Endpoint = "read"
    board.add(Fault("html", replies=2))
    board.add(Fault("empty"))
    taken = [board.take(endpoint, None) for _ in range(4)]
    assert [fault.kind if fault else None for fault in taken] == ["html", "html", "empty", None]


def test_a_reply_to_a_client_that_has_hung_up_is_abandoned_also_where_nobody_has_noticed(
    simulator: SimulatorServer, location: str
) -> None:
    url = httpx.URL(simulator.base_url + location)
    head = f"GET {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {simulator.api_key}\r\n\r\n"
    assert simulator.loop is not None
    hung_up = threading.Event()
    with socket.create_connection((url.host, url.port or 80)) as client:
        simulator.loop.call_soon_threadsafe(hung_up.wait)  # until both the request and its end have come
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        hung_up.set()
        assert client.recv(1) == b""
    (answer,) = simulator.answers(endpoint="read")
    assert (answer.outcome, answer.status) == ("abandoned", None)

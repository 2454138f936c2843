from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator.harness import SimulatorServer

LINE = "+14155550100"
HELLO = {"parts": [{"type": "text", "value": "Hello"}]}
LINK = {"parts": [{"type": "link", "value": "https://example.org/"}]}
CHAT: dict[str, Any] = {"from": LINE, "to": ["+12025550147"], "message": HELLO}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "cursor=x", "cursor=-1"])
def test_an_impossible_page_is_refused(linq: httpx.Client, query: str) -> None:
    assert linq.get(f"/v3/chats?{query}").json()["error"]["code"] == 1005


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"from": None}, 1001),
        ({"to": []}, 1001),
        ({"message": None}, 1001),
        ({"message": "Hello"}, 1001),
        ({"message": {"parts": []}}, 1001),
        ({"message": {"parts": ["Hello"]}}, 1003),
        ({"message": {**HELLO, "preferred_service": "pigeon"}}, 1005),
        ({"message": {**HELLO, "idempotency_key": "x" * 256}}, 1005),
        ({"message": LINK}, 1005),
        ({"to": "+12025550147"}, 1005),
        ({"to": ["0202 555 0147"]}, 1002),
        ({"from": "+14155550199"}, 2006),
    ],
)
def test_a_chat_that_cannot_be_is_refused(
    simulator: SimulatorServer, linq: httpx.Client, changes: dict[str, Any], code: int
) -> None:
    assert linq.post("/v3/chats", json={**CHAT, **changes}).json()["error"]["code"] == code
    assert simulator.world.chats == {}


def test_a_contact_who_opted_out_gets_nothing_unless_it_is_insisted(
    simulator: SimulatorServer, linq: httpx.Client
) -> None:
    chat_id = simulator.add_person("+12025550147")
    simulator.change_chat(chat_id, refuses_with=2024)
    for path, body in (("/v3/chats", CHAT), (f"/v3/chats/{chat_id}/messages", {"message": HELLO})):
        assert linq.post(path, json=body).json()["error"]["code"] == 2024
        assert linq.post(path, json={**body, "override_optout": True}).is_success
    assert linq.get(f"/v3/chats/{chat_id}").json()["health_status"]["status"] == "OPTED_OUT"


def test_the_same_key_sends_one_message(simulator: SimulatorServer, linq: httpx.Client) -> None:
    chat_id = simulator.add_person("+12025550147")
    path, body = f"/v3/chats/{chat_id}/messages", {"message": {**HELLO, "idempotency_key": "thanks"}}
    assert linq.post(path, json=body).json() == linq.post(path, json=body).json()
    assert linq.post(path, json={"message": HELLO}).json() != linq.post(path, json={"message": HELLO}).json()


def test_a_new_chat_takes_a_moment_before_its_contact_can_be_asked(
    simulator: SimulatorServer, linq: httpx.Client
) -> None:
    simulator.change_habits(creating_for=3600.0)
    chat_id = linq.post("/v3/chats", json=CHAT).json()["chat"]["id"]
    reply = linq.post(f"/v3/chats/{chat_id}/location/request")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, 2009)
    simulator.change_chat(chat_id, ready_at=0.0)
    assert linq.post(f"/v3/chats/{chat_id}/location/request").is_success


def test_a_stop_needs_a_handle(simulator: SimulatorServer, linq: httpx.Client) -> None:
    path = f"/v3/chats/{simulator.add_person()}/location"
    for body, code in ((b"{}", 1001), (b"[]", 1003), (b"", 1003), (b'{"handle": "Ann"}', 1002)):
        assert linq.request("DELETE", path, content=body).json()["error"]["code"] == code

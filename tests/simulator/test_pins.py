from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from simulator.harness import SimulatorServer

PIN: dict[str, Any] = {"phone": "+12025550147", "latitude": 51.5033, "longitude": -0.1196}


@pytest.fixture
def chert(simulator: SimulatorServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {simulator.chert_secret}"}
    with httpx.Client(base_url=simulator.chert_base_url, headers=headers, trust_env=False) as client:
        yield client


def send(chert: httpx.Client, **changes: Any) -> httpx.Response:
    body = {name: value for name, value in {**PIN, **changes}.items() if value is not None}
    return chert.post("/api/v1/locations", json=body)


def test_a_pin_is_queued(simulator: SimulatorServer, chert: httpx.Client) -> None:
    reply = send(chert, label="London Eye", fallback_mode="auto", expires_at="2026-10-12T18:00:00Z")
    assert reply.status_code == 202
    content = reply.json()
    assert content["status"] == "queued"
    assert content["location"]["latitude"] == PIN["latitude"]
    assert content["phone_line_id"] == "pl_14155550100"
    assert "success" not in content
    assert len(reply.headers["X-Trace-ID"]) == 32
    assert [pin.body["label"] for pin in simulator.pins()] == ["London Eye"]


def test_the_same_key_and_body_send_once(simulator: SimulatorServer, chert: httpx.Client) -> None:
    first = send(chert, idempotency_key="pin-1")
    assert send(chert, idempotency_key="pin-1").json() == first.json()
    assert send(chert, idempotency_key="pin-1", label="elsewhere").json()["error"]["code"] == 1002
    assert len(simulator.pins()) == 1
    send(chert)
    send(chert)
    assert len(simulator.pins()) == 3


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"phone": None}, 400, 1001),
        ({"latitude": None}, 400, 1001),
        ({"chat_id": "iMessage;+;chat42"}, 400, 1002),
        ({"latitude": 90.5}, 400, 1002),
        ({"longitude": -181}, 400, 1002),
        ({"longitude": "3"}, 400, 1002),
        ({"latitude": True}, 400, 1002),
        ({"phone": "0202 555 0147"}, 400, 1003),
        ({"phone": None, "chat_id": "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"}, 404, 2002),
        ({"label": 7}, 400, 1002),
        ({"fallback_mode": "vcard"}, 422, 4099),
        ({"fallback_mode": "pigeon"}, 400, 1002),
        ({"expires_at": "tomorrow"}, 400, 1002),
        ({"phone_line_id": "pl_0"}, 400, 2006),
    ],
)
def test_a_wrong_pin_is_refused(
    simulator: SimulatorServer, chert: httpx.Client, changes: dict[str, Any], status: int, code: int
) -> None:
    reply = send(chert, **changes)
    error = reply.json()["error"]
    assert (reply.status_code, error["status"], error["code"]) == (status, status, code)
    assert error["retryable"] is False
    assert simulator.pins() == []


def test_what_is_no_json_is_refused(chert: httpx.Client) -> None:
    for body in (b"{", b"[]"):
        assert chert.post("/api/v1/locations", content=body).json()["error"]["code"] == 1004


def test_credentials_and_tenant_are_checked() -> None:
    with (
        SimulatorServer(chert_tenant="acme") as simulator,
        httpx.Client(base_url=simulator.chert_base_url, trust_env=False) as client,
    ):
        right = {"Authorization": f"Bearer {simulator.chert_secret}"}
        for headers, code in (
            ({}, 2012),
            ({"Authorization": "Bearer wrong"}, 2004),
            (right, 2001),
            ({**right, "x-chert-tenant": "acme"}, None),
        ):
            content = client.get("/api/v1/phone-numbers", headers=headers).json()
            assert content.get("error", {}).get("code") == code


def test_faults_carry_their_retryable(simulator: SimulatorServer, chert: httpx.Client) -> None:
    simulator.fault("error", endpoint="pin", code=4002, retry_after=3)
    error = send(chert).json()["error"]
    assert (error["status"], error["retryable"], error["retry_after"]) == (503, True, 3)
    simulator.fault("error", endpoint="pin", code=3003)
    assert send(chert).json()["error"]["retryable"] is False
    simulator.fault("error", endpoint="pin", code=4001, retryable=False, after_work=True)
    assert send(chert).json()["error"]["retryable"] is False
    assert len(simulator.pins()) == 1

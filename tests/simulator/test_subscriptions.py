from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator.harness import SimulatorServer
from tests.simulator.receiver import Receiver

PATH = "/v3/webhook-subscriptions"
URL = "https://hooks.example.org/a?version=2026-02-03"
EVENTS = ["location.sharing.started"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"subscribed_events": EVENTS}, 1001),
        ({"target_url": URL, "subscribed_events": []}, 1001),
        ({"target_url": "http://hooks.example.org/", "subscribed_events": EVENTS}, 1005),
        ({"target_url": "ftp://127.0.0.1/", "subscribed_events": EVENTS}, 1005),
        ({"target_url": URL, "subscribed_events": ["location.updated"]}, 1005),
        ({"target_url": URL, "subscribed_events": EVENTS, "phone_numbers": "+1"}, 1003),
        ([], 1003),
    ],
)
def test_a_wrong_subscription_is_refused(linq: httpx.Client, body: Any, code: int) -> None:
    reply = linq.post(PATH, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    assert linq.get(PATH).json() == {"subscriptions": []}


def test_a_url_serves_one_subscription_only(linq: httpx.Client) -> None:
    body = {"target_url": URL, "subscribed_events": EVENTS}
    first = linq.post(PATH, json=body)
    assert first.status_code == 201
    assert linq.post(PATH, json=body).json()["error"]["code"] == 1005
    assert linq.put(f"{PATH}/{first.json()['id']}", json={"target_url": URL}).status_code == 200


def test_an_unknown_subscription_is_not_found(linq: httpx.Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        reply = linq.request(method, f"{PATH}/none", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, 2010)


async def test_a_subscription_may_ask_for_one_line(simulator: SimulatorServer) -> None:
    async with Receiver() as one, Receiver() as every:
        simulator.subscribe(one.url).phone_numbers = ["+14155550101"]
        simulator.subscribe(every.url)
        for line in ("+14155550100", "+14155550101"):
            simulator.announce("location.sharing.started", {"line": line}, line=line)
        await one.wait(1)
        await every.wait(2)
        assert [delivery.event["data"]["line"] for delivery in one.deliveries] == ["+14155550101"]

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from simulator.deliveries import signed_headers
from simulator.harness import SimulatorServer
from simulator.world import Habits
from tests.simulator.receiver import Receiver

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
EVENT_ID = "5b0f6a1e-3d0c-4c55-9a7e-1f4f0a7c9e21"
BODY = (
    b'{"api_version":"v3","webhook_version":"2026-02-03","event_type":"location.sharing.started",'
    b'"event_id":"5b0f6a1e-3d0c-4c55-9a7e-1f4f0a7c9e21","created_at":"2026-10-12T09:30:04.512Z",'
    b'"trace_id":"0b9d6f5a4c3e2d1f8a7b6c5d4e3f2a1b","partner_id":"acme-partner","data":'
    b'{"shared_by":"+12025550147","shared_with":"+14155550100","began_at":"2026-10-12T09:30:03Z",'
    b'"ends_at":"2026-10-12T10:30:03Z","chat_id":"3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"}}'
)


def test_the_signatures_are_those_of_the_reference() -> None:
    assert len(BODY) == 436
    headers = signed_headers(SECRET, EVENT_ID, 1791797405, BODY)
    assert headers["webhook-signature"] == "v1,/qFDdQG2W2/DWbah+3dCQzz+I0EJYxg7h7BcG3GEXKw="
    assert headers["X-Webhook-Signature"] == "0fcdc1c64f08a6649847108ef85b3a2aed5393130276df38764f2a5db5050d39"


def test_the_standard_library_of_webhooks_signs_alike() -> None:
    now = int(time.time())
    headers = signed_headers(SECRET, EVENT_ID, now, BODY)
    Webhook(SECRET).verify(BODY, headers)
    theirs = Webhook(SECRET).sign(EVENT_ID, datetime.fromtimestamp(now, tz=UTC), BODY.decode())
    assert headers["webhook-signature"] == theirs


async def test_a_share_is_announced_at_its_beginning_and_its_planned_end() -> None:
    async with Receiver() as receiver, SimulatorServer(habits=Habits(speed=1000)) as simulator:
        simulator.subscribe(receiver.url)
        chat_id = simulator.add_person(shares_for=60)
        handle = simulator.world.chats[chat_id].handles[0]
        simulator.start_sharing(handle, chat_id=chat_id)
        started, stopped = await receiver.wait(2)
        assert [started.event_type, stopped.event_type] == [
            "location.sharing.started",
            "location.sharing.stopped",
        ]
        assert started.event["data"]["shared_by"] == handle
        assert started.event["data"]["ends_at"] == stopped.event["data"]["ended_at"]


@pytest.mark.parametrize("status", [500, 503, 429, 0])
async def test_what_may_pass_is_sent_again_with_the_same_id(status: int) -> None:
    async with Receiver(status, status) as receiver, SimulatorServer(habits=Habits(speed=1000)) as simulator:
        simulator.subscribe(receiver.url)
        event_id = simulator.announce("location.sharing.started", {"shared_by": "+12025550147"})
        deliveries = await receiver.wait(3)
        assert {delivery.headers["webhook-id"] for delivery in deliveries} == {event_id}
        assert len({delivery.body for delivery in deliveries}) == 1


async def test_a_refusal_is_final(simulator: SimulatorServer) -> None:
    async with Receiver(400) as receiver:
        simulator.subscribe(receiver.url)
        simulator.announce("location.sharing.started", {})
        await receiver.wait(1)
        simulator.announce("location.sharing.stopped", {})
        await receiver.wait(2)
        assert [delivery.event_type for delivery in receiver.deliveries] == [
            "location.sharing.started",
            "location.sharing.stopped",
        ]


async def test_events_are_lost_doubled_late_and_out_of_order_on_demand(simulator: SimulatorServer) -> None:
    async with Receiver() as receiver:
        simulator.subscribe(receiver.url)
        simulator.disturb("lose")
        simulator.announce("location.sharing.started", {"number": 1})
        simulator.disturb("duplicate")
        simulator.announce("location.sharing.started", {"number": 2})
        first, second = await receiver.wait(2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        simulator.disturb("hold", "location.sharing.started")
        simulator.announce("location.sharing.started", {"number": 3})
        simulator.announce("location.sharing.stopped", {"number": 4})
        await receiver.wait(4)
        simulator.disturb("delay", seconds=0.05)
        simulator.announce("location.sharing.started", {"number": 5})
        simulator.announce("location.sharing.started", {"number": 6})
        await receiver.wait(6)
    assert [delivery.event["data"]["number"] for delivery in receiver.deliveries] == [2, 2, 4, 3, 6, 5]


async def test_subscriptions_get_what_they_asked_for_and_what_nobody_knows(simulator: SimulatorServer) -> None:
    async with Receiver() as stops, Receiver() as nothing:
        simulator.subscribe(stops.url, ["location.sharing.stopped"])
        subscription = simulator.subscribe(nothing.url)
        subscription.is_active = False
        simulator.announce("location.sharing.started", {})
        simulator.announce("location.sharing.stopped", {})
        await stops.wait(1)
        simulator.announce("location.sharing.imagined", {})
        await stops.wait(2)
        assert {delivery.event_type for delivery in stops.deliveries} == {
            "location.sharing.stopped",
            "location.sharing.imagined",
        }
        assert nothing.deliveries == []

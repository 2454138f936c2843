"""The official SDK can talk to the simulator as it does to Linq."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import linq as linq_sdk
import pytest

from simulator.harness import SimulatorServer
from tests.simulator.receiver import Receiver

CONTACT = "+12025550147"
LINE = "+14155550100"


@pytest.fixture
def sdk(simulator: SimulatorServer) -> Iterator[linq_sdk.LinqAPIV3]:
    with linq_sdk.LinqAPIV3(api_key=simulator.api_key, base_url=simulator.base_url, max_retries=0) as client:
        yield client


def test_a_contact_is_asked_read_and_stopped(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    chat_id = simulator.add_person(CONTACT, longitude=-0.1195, latitude=51.5033)
    assert sdk.chats.location.retrieve(chat_id).data.features == []

    assert sdk.chats.location.request(chat_id).success
    (feature,) = sdk.chats.location.retrieve(chat_id).data.features
    assert feature.geometry.coordinates == [-0.1195, 51.5033]
    assert feature.properties.handle == CONTACT
    assert feature.properties.updated_at is not None

    assert sdk.chats.location.stop(chat_id, handle=CONTACT).success
    assert sdk.chats.location.retrieve(chat_id).data.features == []
    with pytest.raises(linq_sdk.NotFoundError):
        sdk.chats.location.stop(chat_id, handle=CONTACT)


def test_positions_are_old_first_and_their_addresses_come_later(
    simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3
) -> None:
    simulator.change_habits(live_after=2.0)
    chat_id = simulator.add_person(CONTACT, stored_age=3600, address_after=1.0)
    sdk.chats.location.request(chat_id)
    asked_at = datetime.now(UTC)

    def ages() -> list[tuple[int, bool]]:
        """Return each position's age in minutes, and whether it has an address."""
        features = sdk.chats.location.retrieve(chat_id).data.features
        times = [(one.properties.updated_at, one.properties.address is not None) for one in features]
        return [(round((asked_at - at).total_seconds() / 60), known) for at, known in times if at is not None]

    seen: list[tuple[int, bool]] = []
    while (0, True) not in seen:
        assert (datetime.now(UTC) - asked_at).total_seconds() < 30
        seen += ages()
    assert list(dict.fromkeys(seen)) == [(60, False), (60, True), (0, False), (0, True)]


def test_an_order_to_stop_takes_its_time(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    simulator.change_habits(stop_takes=0.5)
    chat_id = simulator.add_person(CONTACT, sharing=True)
    ordered_at = time.monotonic()
    assert sdk.chats.location.stop(chat_id, handle=CONTACT).success
    assert time.monotonic() - ordered_at > 0.5 or len(sdk.chats.location.retrieve(chat_id).data.features) == 1
    while sdk.chats.location.retrieve(chat_id).data.features:
        assert time.monotonic() - ordered_at < 30
    assert time.monotonic() - ordered_at >= 0.5


def test_chats_are_listed_page_by_page(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    chats = [simulator.add_person() for _ in range(45)]
    assert [chat.id for chat in sdk.chats.list_chats()] == chats
    assert [chat.id for chat in sdk.chats.list_chats(limit=7)] == chats


def test_chats_are_found_by_line_and_contact(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    alone = simulator.add_person(CONTACT)
    group = simulator.add_chat([CONTACT, "+12025550148"])
    elsewhere = simulator.add_chat([CONTACT], line="+14155550101")
    found = list(sdk.chats.list_chats(to=CONTACT))
    assert [chat.id for chat in found] == [alone, group, elsewhere]
    assert [chat.is_group for chat in found] == [False, True, False]
    assert [chat.id for chat in sdk.chats.list_chats(to=CONTACT, from_=LINE)] == [alone, group]
    assert list(sdk.chats.list_chats(to="nobody@example.org")) == []


def test_a_chat_shows_its_handles(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    chat = sdk.chats.retrieve(simulator.add_person(CONTACT, service="SMS"))
    assert chat.service == "SMS"
    assert [(handle.handle, handle.is_me) for handle in chat.handles] == [(LINE, True), (CONTACT, False)]


def test_a_chat_may_leave_open_which_handle_is_the_line(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    chat_id = simulator.add_person(CONTACT)
    simulator.change_chat(chat_id, marks_line=False)
    assert [(handle.handle, handle.is_me) for handle in sdk.chats.retrieve(chat_id).handles] == [
        (LINE, None),
        (CONTACT, None),
    ]


@pytest.mark.parametrize(("code", "error"), [(2005, linq_sdk.PermissionDeniedError), (2001, linq_sdk.NotFoundError)])
def test_a_line_may_be_lost_and_come_back(
    simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3, code: int, error: type[linq_sdk.APIStatusError]
) -> None:
    chat_id = simulator.add_person(CONTACT, sharing=True)
    simulator.lose_line(code=code)
    with pytest.raises(error):
        sdk.chats.location.retrieve(chat_id)
    assert LINE not in [line.phone_number for line in sdk.phone_numbers.list().phone_numbers]
    assert list(sdk.chats.list_chats(to=CONTACT)) == []
    simulator.lose_line(code=None)
    assert len(sdk.chats.location.retrieve(chat_id).data.features) == 1
    assert LINE in [line.phone_number for line in sdk.phone_numbers.list().phone_numbers]


def test_a_chat_is_created_once_for_the_same_participants(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    def create() -> str:
        created = sdk.chats.create(
            from_=LINE,
            to=[CONTACT],
            message={
                "parts": [{"type": "text", "value": "Hello"}],
                "preferred_service": "iMessage",
                "idempotency_key": "hello-1",
            },
        )
        assert created.chat.message.delivery_status == "queued"
        return created.chat.id

    assert create() == create()
    assert len(list(sdk.chats.list_chats())) == 1


def test_messages_lines_and_event_types(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    chat_id = simulator.add_person()
    sent = sdk.chats.messages.send(chat_id, message={"parts": [{"type": "text", "value": "Thanks"}]})
    assert sent.chat_id == chat_id
    lines = sdk.phone_numbers.list().phone_numbers
    assert [line.phone_number for line in lines] == ["+14155550100", "+14155550101"]
    assert "location.sharing.started" in sdk.webhook_events.list().events


def test_subscriptions_are_made_read_changed_and_deleted(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    created = sdk.webhook_subscriptions.create(
        target_url="https://hooks.example.org/a", subscribed_events=["location.sharing.started"]
    )
    assert created.signing_secret.startswith("whsec_")
    (listed,) = sdk.webhook_subscriptions.list().subscriptions
    assert listed.id == created.id
    assert not hasattr(listed, "signing_secret")
    sdk.webhook_subscriptions.update(created.id, is_active=False)
    assert not sdk.webhook_subscriptions.retrieve(created.id).is_active
    sdk.webhook_subscriptions.delete(created.id)
    with pytest.raises(linq_sdk.NotFoundError):
        sdk.webhook_subscriptions.retrieve(created.id)


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"service": "SMS"}, linq_sdk.ConflictError, 2017),
        ({"is_group": True}, linq_sdk.ConflictError, 2016),
        ({"available": False}, linq_sdk.ConflictError, 2013),
        ({"deleted": True}, linq_sdk.NotFoundError, 2001),
        ({"refuses_with": 2024}, linq_sdk.PermissionDeniedError, 2024),
        ({"refuses_with": 2008}, linq_sdk.PermissionDeniedError, 2008),
        ({"ready_at": 4e9}, linq_sdk.ConflictError, 2009),
    ],
)
def test_a_request_is_refused_with_the_documented_code(
    simulator: SimulatorServer,
    sdk: linq_sdk.LinqAPIV3,
    change: dict[str, object],
    error: type[linq_sdk.APIStatusError],
    code: int,
) -> None:
    chat_id = simulator.add_person()
    simulator.change_chat(chat_id, **change)
    with pytest.raises(error) as refused:
        sdk.chats.location.request(chat_id)
    assert _code(refused.value) == code
    assert simulator.prompts(chat_id) == 0


def test_the_wrong_key_and_unknown_chats_are_refused(simulator: SimulatorServer, sdk: linq_sdk.LinqAPIV3) -> None:
    with pytest.raises(linq_sdk.NotFoundError):
        sdk.chats.location.retrieve(str(uuid.uuid4()))
    with pytest.raises(linq_sdk.BadRequestError):
        sdk.chats.location.retrieve("no-uuid")
    simulator.use_api_key("another")
    with pytest.raises(linq_sdk.AuthenticationError) as refused:
        sdk.phone_numbers.list()
    assert _code(refused.value) == 2004


async def test_the_sdk_unwraps_what_is_signed_here(simulator: SimulatorServer) -> None:
    async with (
        Receiver() as receiver,
        linq_sdk.AsyncLinqAPIV3(api_key=simulator.api_key, base_url=simulator.base_url) as sdk,
    ):
        subscription = await sdk.webhook_subscriptions.create(
            target_url=receiver.url,
            subscribed_events=["location.sharing.started", "location.sharing.stopped"],
        )
        chat_id = simulator.add_person(CONTACT, shares_for=3600)
        await sdk.chats.location.request(chat_id)
        await receiver.wait(1)
        simulator.stop_sharing(CONTACT)
        started, stopped = await receiver.wait(2)
        for delivery in (started, stopped):
            event = sdk.webhooks.unwrap(
                delivery.body.decode(), headers=delivery.headers, key=subscription.signing_secret
            )
            assert event.event_type == delivery.event_type
            assert event.event_id == delivery.headers["webhook-id"]
        assert started.event["data"]["chat_id"] == chat_id
        assert started.event["data"]["ends_at"] is not None
        assert stopped.event["data"]["began_at"] == started.event["data"]["began_at"]
        assert stopped.event["data"]["ended_at"] is not None


def _code(error: linq_sdk.APIStatusError) -> int:
    body = error.response.json()
    assert body["success"] is False
    assert body["error"]["status"] == error.status_code
    assert error.response.headers["X-Trace-ID"] == body["trace_id"]
    return int(body["error"]["code"])

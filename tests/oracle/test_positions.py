"""The oracle of the whole-process tests excuses a missing position only where something happened that explains it."""

from dataclasses import replace
from typing import Any

import pytest

from simulator.answers import Answer
from tests.support import oracle
from tests.support.oracle import Disturbance, Entry
from tests.support.tracking import ANNA, BEGINNING, CHAT, TrackedChat, listing, position
from worker.domain.events import Event, dataschema
from worker.domain.timestamp import format_time


def entry(event: Event) -> Entry:
    """Return an event as it is stored in Redis."""
    fields = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.datacontenttype,
        "dataschema": dataschema(event.type),
        "sequence": str(event.sequence),
        "reference": event.reference,
        "data": event.data,
    }
    return {name: value for name, value in fields.items() if value}


def published(*seconds: int) -> list[Entry]:
    """Return the stream of a share whose positions at these seconds were read immediately."""
    chat = TrackedChat(asked=False)
    for second in seconds:
        chat.wait(second - chat.now).read(listing(position(at=second)))
    return [entry(event) for event in chat.events]


def read(second: int, **changes: Any) -> Answer:
    """Return a reply that shows the position of a second, in that second."""
    moment = BEGINNING + second
    shown = position(at=second)
    assert shown.updated_at is not None
    properties = {"handle": ANNA, "updated_at": format_time(shown.updated_at)}
    geometry = {"type": "Point", "coordinates": [shown.longitude, shown.latitude]}
    answer = Answer(
        number=second,
        endpoint="read",
        method="GET",
        path="",
        chat_id=CHAT,
        received_at=moment,
        received_monotonic=moment,
        decided_at=moment,
        sent_at=moment,
        sent_monotonic=moment,
        status=200,
        code=None,
        outcome="complete",
        worked=True,
        prompted=False,
        features=[{"type": "Feature", "geometry": geometry, "properties": properties}],
        fault=None,
        trace_id=f"trace {second}",
    )
    return replace(answer, **changes)


def test_what_was_answered_is_on_the_stream() -> None:
    oracle.check(published(1, 2, 3), [read(1), read(2), read(3)])


@pytest.mark.parametrize("missing", [2, 3])
def test_a_position_that_was_answered_and_is_missing_is_found(missing: int) -> None:
    kept = [second for second in (1, 2, 3) if second != missing]
    with pytest.raises(AssertionError, match="not on the stream"):
        oracle.check(published(*kept), [read(1), read(2), read(3)])


def test_a_reply_on_which_was_decided_when_another_worker_had_the_chat_may_be_missing_and_no_other() -> None:
    answers = [read(1), read(2), read(3)]
    oracle.check(published(1, 2), answers, superseded={"trace 3"})
    with pytest.raises(AssertionError, match="not on the stream"):
        oracle.check(published(1, 2), answers, superseded={"trace 2"})


def test_a_reply_to_a_client_that_had_hung_up_may_be_missing() -> None:
    oracle.check(published(1, 2), [read(1), read(2), read(3, outcome="abandoned", status=None)])


def test_what_was_answered_around_a_disturbance_may_be_missing_until_the_next_read() -> None:
    answers = [read(1), read(2), read(3)]
    oracle.check(published(1, 3), answers, disturbances=[Disturbance(BEGINNING + 2.5, BEGINNING + 2.6)])
    with pytest.raises(AssertionError, match="not on the stream"):
        oracle.check(published(1, 3), answers, disturbances=[Disturbance(BEGINNING + 0.5, BEGINNING + 0.6)])


def test_a_position_that_a_later_reply_shows_again_is_not_excused() -> None:
    again = replace(read(3), features=read(2).features)
    with pytest.raises(AssertionError, match="not on the stream"):
        oracle.check(published(1), [read(1), read(2), again], superseded={"trace 2"})

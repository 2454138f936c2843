"""The judge of a chaos run finds each kind of broken promise, and accepts what an announced disturbance explains."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from chaos.judge import Delivery, Trouble, Verdict, judge
from simulator.answers import Answer

CHAT, SHARE, ANNA = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", "5b1e8a0c-6a36-4d06-8a5b-0c8f6f6f2a11", "+12025550147"
BEGINNING = 1_790_000_000.0
# The person goes north by a hundredth of a degree each second, and is at the stop at second 2.
STOP = {"name": "stop", "latitude": 52.52, "longitude": 13.4, "radius": 100}
METRES_A_SECOND = 6_371_008.8 * math.pi / 18_000


def properties(second: int) -> dict[str, Any]:
    updated_at = f"2026-09-21T13:33:{second:02}Z"
    return {"handle": ANNA, "share_id": SHARE, "updated_at": updated_at, "received_at": updated_at}


def feature(second: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [13.4, 52.5 + second / 100]},
        "properties": properties(second),
    }


def answer(number: int, endpoint: Any, *, at: float, **changes: Any) -> Answer:
    """Return a reply `at` seconds after the beginning."""
    moment = BEGINNING + at
    given: dict[str, Any] = {
        "number": number,
        "endpoint": endpoint,
        "method": "GET",
        "path": "",
        "chat_id": CHAT,
        "received_at": moment,
        "received_monotonic": at,
        "decided_at": moment,
        "sent_at": moment,
        "sent_monotonic": at,
        "status": 200,
        "code": None,
        "outcome": "complete",
        "worked": True,
        "prompted": endpoint == "request",
        "features": None,
        "fault": None,
        "trace_id": "",
    }
    return Answer(**given | changes)


def read(at: int) -> Answer:
    return answer(at, "read", at=float(at), features=[feature(at)])


def event(kind: str, at: float, *, name: str = "", data: dict[str, Any] | None = None) -> Delivery:
    subject = "" if kind in {"requested", "tracking.ended"} else ANNA
    return Delivery(name or f"{kind} {at}", f"location.{kind}", CHAT, SHARE, subject, data or {}, BEGINNING + at)


def updated(second: int, **arguments: Any) -> Delivery:
    return event("updated", float(second), data=feature(second), **arguments)


def verdict(
    deliveries: Sequence[Delivery], answers: Sequence[Answer], troubles: Sequence[Trouble] = (), **changes: Any
) -> Verdict:
    given: dict[str, Any] = {
        "chats": [CHAT],
        "lost_shares": [],
        "cooldown": 5.0,
        "rate": 10.0,
        "request_times": [],
    }
    return judge(deliveries, answers, troubles, **given | changes)


def crossed(kind: str, second: int, *, name: str = "stop", at: float | None = None) -> Delivery:
    """Return the event that a person entered or left a place, as shown by the position at a second."""
    data = {**properties(second), "place": {**STOP, "name": name}, "distance": abs(second - 2) * METRES_A_SECOND}
    return event(f"place.{kind}", float(second) if at is None else at, data=data, name=f"{kind} {name} {second}")


def life(*positions: Delivery) -> list[Delivery]:
    return [event("requested", 0.0), event("sharing.started", 0.5), *positions, event("tracking.ended", 50.0)]


def test_a_run_without_trouble_is_found_good() -> None:
    found = verdict(life(updated(1), updated(2)), [read(1), read(2)])
    assert found.faults == []
    assert found.figures["positions kept"] == 2
    assert found.figures["ends learnt"] == 1


def test_a_repeat_under_the_same_id_is_dropped() -> None:
    found = verdict(life(updated(1, name="one"), updated(1, name="one")), [read(1)])
    assert found.faults == []
    assert found.figures["repeats dropped by id"] == 1


def faults(*arguments: Any, **changes: Any) -> list[str]:
    """Return the kinds of the faults found."""
    return [fault.partition(":")[0] for fault in verdict(*arguments, **changes).faults]


def test_two_facts_under_one_id_are_a_fault() -> None:
    found = faults(life(updated(1, name="one"), updated(2, name="one")), [read(1)])
    assert found == ["ids"]


def test_a_position_that_is_lost_doubled_late_or_made_up_is_a_fault() -> None:
    assert faults(life(updated(1)), [read(1), read(2)]) == ["positions"]
    assert faults(life(updated(1, name="a"), updated(1, name="b")), [read(1)]) == ["positions"]
    assert faults(life(updated(2), updated(1)), [read(1), read(2)]) == ["positions"]
    assert faults(life(updated(1), updated(3)), [read(1)]) == ["positions"]


def test_a_position_with_an_address_that_came_later_is_no_repeat() -> None:
    def located(second: int, **address: str) -> dict[str, Any]:
        return feature(second) | {"properties": properties(second) | address}

    def judged(*features: dict[str, Any]) -> list[str]:
        told = [event("updated", 1.0 + number, data=data) for number, data in enumerate(features)]
        return faults(life(*told), [answer(7, "read", at=1.0, features=list(features))])

    assert judged(located(1), located(1, address="Larkenshaw Street")) == []
    assert judged(located(1, address="Hollowmead"), located(1, address="Larkenshaw Street")) == ["positions"]


def test_a_position_may_be_lost_in_trouble_only() -> None:
    trouble = Trouble(BEGINNING + 1.5, BEGINNING + 2.5)
    found = verdict(life(updated(1)), [read(1), read(2)], [trouble])
    assert found.faults == []
    assert found.figures["positions lost in trouble"] == 1


def test_a_share_whose_end_is_never_learnt_is_a_fault_unless_redis_lost_it() -> None:
    assert faults(life()[:-1], []) == ["ends"]
    assert faults(life()[:-1], [], lost_shares=[SHARE]) == []


def test_events_out_of_order_are_a_fault_but_after_a_rollback() -> None:
    doubled = [event("requested", 0.0), event("sharing.started", 0.5), event("sharing.started", 3.0)]
    deliveries = [*doubled, event("tracking.ended", 50.0)]
    assert faults(deliveries, []) == ["order"]
    assert faults(deliveries, [], [Trouble(BEGINNING + 1, BEGINNING + 2, rollback=True)]) == []
    assert faults([*life(), updated(51)], [read(51)]) == ["order"]


def test_a_third_prompt_one_too_soon_and_one_without_a_read_are_faults() -> None:
    asked = [answer(number, "request", at=10.0 * number) for number in range(3)]
    looks = [answer(100 + number, "read", at=10.0 * number + 5, features=[]) for number in range(3)]
    assert faults(life(), [*asked[:2], *looks]) == []
    assert faults(life(), [*asked, *looks]) == ["prompts"]
    assert faults(life(), asked[:2]) == ["prompts"]
    assert faults(life(), [asked[0], *looks, answer(9, "request", at=2.0)]) == ["prompts"]


def test_more_requests_than_the_budget_allows_are_a_fault() -> None:
    assert faults(life(), [], request_times=[BEGINNING + number / 100 for number in range(30)]) == ["budget"]


def passing(*events: Delivery, **changes: Any) -> list[str]:
    """Return the faults of a share with a stop on the way, whose positions were shown as they were published."""
    shown = [answer(7, "read", at=one.at - BEGINNING, features=[one.data]) for one in events if "geometry" in one.data]
    return verdict(life(*events), shown, **{"places": {CHAT: [STOP]}} | changes).faults


def test_an_arrival_and_a_departure_with_their_positions_are_found_good() -> None:
    way = [updated(1), updated(2), crossed("entered", 2), updated(3), crossed("left", 3), updated(4)]
    assert passing(*way) == []
    assert (
        verdict(life(*way), [read(second) for second in range(1, 5)], places={CHAT: [STOP]}).figures[
            "arrivals and departures kept"
        ]
        == 2
    )


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        ([updated(1), updated(2)], "was lost"),
        ([updated(2), crossed("entered", 2), updated(3)], "was lost"),
        ([updated(1), crossed("entered", 1)], "without a position that shows it"),
        ([updated(1), crossed("entered", 2), updated(2)], "without a position that shows it"),
        ([updated(2), crossed("left", 2)], "without a position that shows it"),
        ([updated(2), crossed("entered", 2), updated(3), crossed("entered", 3)], "without a position that shows it"),
        ([updated(2), crossed("entered", 2, name="elsewhere")], "without a position that shows it"),
        ([updated(2), crossed("entered", 2), replace(crossed("entered", 2), id="again")], "or twice"),
        ([updated(2), replace(crossed("entered", 3), id="other")], "does not fit"),
    ],
)
def test_an_arrival_that_is_lost_doubled_or_not_proved_is_a_fault(way: list[Delivery], fault: str) -> None:
    assert any(fault in found for found in passing(*way)), passing(*way)


def test_after_a_rollback_it_is_not_known_who_is_inside_until_a_position_tells() -> None:
    rollback = [Trouble(BEGINNING + 2.5, BEGINNING + 2.6, rollback=True)]

    def judged(*events: Delivery) -> list[str]:
        shown = [
            answer(7, "read", at=one.at - BEGINNING, features=[one.data]) for one in events if "geometry" in one.data
        ]
        return faults(life(*events), shown, rollback, places={CHAT: [STOP]})

    seen = [updated(2), crossed("entered", 2)]
    # Redis may or may not have lost the arrival.
    assert judged(*seen, updated(3), crossed("left", 3), updated(4)) == []
    assert judged(*seen, updated(3), updated(4)) == []
    assert judged(*seen, updated(3), updated(4), crossed("left", 4)) == ["places"]


def test_a_share_with_a_destination_ends_with_the_arrival_and_only_with_it() -> None:
    def ended(reason: str, *before: Delivery) -> list[str]:
        end = event("tracking.ended", 50.0, data={"reason": reason})
        events = [event("requested", 0.0), event("sharing.started", 0.5), *before, end]
        return faults(events, [read(1), read(2)], places={CHAT: [STOP]}, until={CHAT: "stop"})

    arriving = [updated(1), updated(2), crossed("entered", 2)]
    assert ended("arrived", *arriving) == []
    assert ended("sharing_stopped", *arriving) == ["places"]
    assert ended("arrived", updated(1)) == ["positions", "places"]
    assert ended("arrived", updated(1), updated(2)) == ["places", "places"]


def test_a_share_that_a_rollback_brings_back_may_go_on() -> None:
    after = [*life(updated(1)), updated(52), updated(53)]
    shown = [read(1), read(52), read(53)]
    assert faults(after, shown) == ["order", "order"]
    assert faults(after, shown, [Trouble(BEGINNING + 50.5, BEGINNING + 51, rollback=True)]) == []


def ends(reason: str, *others: Answer, at: float = 50.0, **changes: Any) -> list[str]:
    """Return the kinds of faults of a share that ended for this reason."""
    end = event("tracking.ended", at, data={"reason": reason})
    return faults([event("requested", 0.0), end], others, **changes)


@pytest.mark.parametrize("reason", ["chat_not_found", "chat_unavailable", "forbidden"])
def test_a_share_that_ends_by_refused_reads_is_a_fault(reason: str) -> None:
    refused = [answer(at, "read", at=at, status=404, code=2001, worked=False) for at in (1, 40)]
    assert ends(reason, *refused) == ["ends"]


def test_a_request_is_rejected_only_where_its_prompt_was_refused() -> None:
    assert ends("request_rejected", answer(1, "request", at=1, status=403, code=2005, prompted=False)) == []
    assert ends("request_rejected", answer(1, "request", at=1, status=404, code=None, prompted=False)) == ["ends"]
    assert ends("request_rejected", answer(1, "request", at=1)) == ["ends"]


def test_whoever_has_arrived_and_was_to_stop_then_is_ordered_to_stop() -> None:
    def judged(*others: Answer, **changes: Any) -> list[str]:
        arriving = [updated(1), updated(2), crossed("entered", 2)]
        end = event("tracking.ended", 3.0, data={"reason": "arrived"})
        events = [event("requested", 0.0), event("sharing.started", 0.5), *arriving, end]
        shown = [read(1), read(2), *others]
        given = {"places": {CHAT: [STOP]}, "until": {CHAT: "stop"}, "stop_when_done": [CHAT]}
        return faults(events, shown, **given | changes)

    assert judged(answer(9, "stop", at=4)) == []
    assert judged(answer(9, "stop", at=4, status=404, code=2001, worked=False)) == []
    assert judged(answer(9, "stop", at=4, status=500, worked=False)) == ["orders"]
    assert judged() == ["orders"]
    assert judged(stop_when_done=[]) == []
    lost = Trouble(BEGINNING + 2.5, BEGINNING + 4, rollback=True)
    assert judged(troubles=[lost]) == []

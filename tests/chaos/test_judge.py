"""The judge of a chaos run finds each kind of broken promise, and lets pass what was announced."""

from collections.abc import Sequence
from typing import Any

from chaos.judge import Delivery, Trouble, Verdict, judge
from simulator.answers import Answer

CHAT, SHARE, ANNA = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13", "5b1e8a0c-6a36-4d06-8a5b-0c8f6f6f2a11", "+12025550147"
BEGINNING = 1_790_000_000.0


def properties(second: int) -> dict[str, Any]:
    return {"handle": ANNA, "updated_at": f"2026-09-21T13:33:{second:02}Z"}


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

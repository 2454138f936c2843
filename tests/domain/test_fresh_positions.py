"""One position that is fresh enough (`max_age`), and no more sharing than needed (`stop_when_done`)."""

import pytest

from tests.support.tracking import ANNA, BERT, TrackedChat, listing, position
from worker.domain.decision import Limits
from worker.domain.observation import Fault, Sent
from worker.domain.share import Place

OFTEN = Limits(min_poll=1.0)


def wanted(**arguments: object) -> TrackedChat:
    """Return a chat with a request for one position that is at most two minutes old."""
    given = {"follow": False, "max_age": 120.0, "accept_within": 600.0, "limits": OFTEN} | arguments
    chat = TrackedChat(**given)  # type: ignore[arg-type]  # the arguments of a tracked chat
    chat.prompt(Sent())
    return chat


def test_an_old_position_is_published_and_does_not_end_the_share() -> None:
    chat = wanted().wait(300)
    assert chat.read(listing(position(at=100))) == ["sharing.started", "updated"]
    assert chat.wait(2).read(listing(position(at=301))) == ["updated", "tracking.ended"]
    assert chat.data("tracking.ended")[0]["reason"] == "first_position"


@pytest.mark.parametrize(("age", "ends"), [(120.0, True), (120.1, False)])
def test_a_position_may_be_exactly_so_old_when_it_is_read(age: float, ends: bool) -> None:
    chat = wanted().wait(300)
    chat.read(listing(position(at=300 - age)))
    assert (chat.share.ended is not None) is ends


def test_after_an_old_position_reads_follow_as_after_a_webhook() -> None:
    chat = wanted().wait(300)
    chat.read(listing(position(at=100)))
    waits = []
    for _ in range(7):
        waits.append(chat.due_in)
        chat.wait_until_due().read(listing(position(at=100)))
    assert waits == pytest.approx([1, 1, 1, 2, 3, 4, 8])
    assert chat.due_in > 10, "then the policy's own interval"


def test_the_bound_of_the_job_holds_for_these_reads_too() -> None:
    chat = wanted(lower=30.0).wait(300)
    chat.read(listing(position(at=100)))
    assert chat.due_in >= 30


def test_a_position_without_a_time_is_fresh_where_the_read_before_did_not_list_it() -> None:
    chat = wanted().wait(30)
    assert chat.read(listing(position(at=None)))[-1] == "tracking.ended"


def test_when_the_time_is_over_the_request_expires_though_somebody_shares() -> None:
    chat = wanted().wait(300)
    chat.read(listing(position(at=100)))
    assert chat.wait(299).read(listing(position(at=100))) == []
    assert chat.due_in == pytest.approx(1)
    assert chat.wait(1).read(listing(position(at=100))) == ["request.expired", "tracking.ended"]


def test_a_fault_at_the_end_of_the_time_is_waited_for_but_not_for_ever() -> None:
    chat = wanted().wait(300)
    chat.read(listing(position(at=100)))
    chat.wait(310).read(Fault("timeout", ""))
    assert chat.share.ended is None
    chat.wait(300).read(Fault("timeout", ""))
    assert chat.data("tracking.ended")[0]["reason"] == "request_expired"


def test_a_tracked_chat_that_shows_nothing_fresh_ends_with_its_time_limit() -> None:
    chat = TrackedChat(asked=False, follow=False, max_age=120.0, follow_for=600.0)
    chat.wait(300).read(listing(position(at=100)))
    assert chat.wait(300).next_action() == "end"


def done(chat: TrackedChat, *, at: float = 60.0) -> list[str]:
    """Show a position; return the handles whose sharing is to be ended."""
    chat.wait(at).read(listing(position(at=chat.now)))
    return chat.stops


def test_sharing_is_ended_once_the_share_has_done_what_it_is_for() -> None:
    depot = Place("depot", 52.5, 13.4, 100.0)
    assert done(TrackedChat(asked=False, follow=False, stop_when_done=True)) == [ANNA]
    assert done(TrackedChat(asked=False, places=(depot,), until="depot", stop_when_done=True)) == [ANNA]
    chat = TrackedChat(asked=False, follow_for=100.0, stop_when_done=True)
    assert done(chat) == []
    chat.wait(100)
    decision = chat.decision()
    decision.end("time_limit")
    assert decision.stops == [ANNA]


def test_everybody_who_shares_in_the_chat_is_meant() -> None:
    chat = TrackedChat(asked=False, follow=False, stop_when_done=True)
    chat.wait(60).read(listing(position(at=60), position(BERT, at=60)))
    assert chat.stops == [ANNA, BERT]


def test_nothing_is_ended_where_it_is_not_wanted_or_not_done() -> None:
    assert done(TrackedChat(asked=False, follow=False)) == []
    chat = TrackedChat(asked=False, stop_when_done=True)
    done(chat)
    decision = chat.decision()
    decision.end("untracked")
    assert decision.stops == []

"""What webhooks change: they announce, bring a read forward, and never undo anything newer than themselves."""

from itertools import permutations

import pytest

from tests.support.tracking import ANNA, BERT, TrackedChat, listing, ns, position
from worker.domain import webhooks
from worker.domain.observation import Fault, Sent

BROKEN = Fault("broken", "connection reset")


def asked() -> TrackedChat:
    chat = TrackedChat()
    chat.prompt(Sent())
    return chat


def test_a_started_event_is_published_at_once_and_a_read_follows_now() -> None:
    chat = asked().wait(20)
    assert chat.started(began=18, ends=3618)
    assert chat.types == ["requested", "sharing.started"]
    [data] = chat.data("sharing.started")
    assert data["handle"] == ANNA
    assert data["detected_by"] == "webhook"
    assert data["began_at"].endswith("Z")
    assert data["ends_at"] > data["began_at"]
    assert chat.due_in == 0


def test_after_a_started_event_the_first_position_is_looked_for_every_few_seconds() -> None:
    chat = asked().wait(20)
    chat.started(began=18)
    intervals = []
    for _ in range(8):
        chat.wait_until_due()
        chat.read(listing())
        intervals.append(chat.due_in)
    assert intervals[:7] == pytest.approx([1, 1, 1, 2, 3, 4, 8])
    assert intervals[7] > 4


def test_a_repeated_started_event_changes_nothing() -> None:
    chat = asked().wait(20)
    assert chat.started(began=18, ends=3618, created=19)
    assert not chat.started(began=18, ends=3618, created=19)


def test_a_prolonged_share_gets_its_new_end_without_a_second_start() -> None:
    chat = asked().wait(20)
    chat.started(began=18, ends=3618, created=19)
    chat.read(listing(position(at=20)))
    assert chat.wait(60).started(began=18, ends=7218, created=79)
    assert chat.types.count("sharing.started") == 1
    assert chat.share.people[0].ends_at is not None
    chat.wait(3700).read(listing(position(at=20)))
    assert "sharing.stopped" not in chat.types


def test_an_older_started_event_does_not_take_a_newer_end_back() -> None:
    chat = asked().wait(20)
    chat.started(began=18, ends=7218, created=30)
    assert not chat.started(began=18, ends=3618, created=19)


def test_a_stopped_event_ends_the_share_after_one_last_read() -> None:
    chat = asked().wait(20)
    chat.started(began=18)
    chat.read(listing(position(at=20)))
    chat.wait(100)
    assert chat.stopped(began=18, ended=115)
    assert chat.due_in == 0
    assert chat.read(listing(position(at=110))) == ["updated", "sharing.stopped", "tracking.ended"]
    assert chat.data("sharing.stopped")[0]["reason"] == "stopped"
    assert chat.data("tracking.ended")[0]["reason"] == "sharing_stopped"


def test_a_stopped_event_ends_the_share_even_when_the_last_read_fails() -> None:
    chat = asked().wait(20)
    chat.started(began=18)
    chat.read(listing(position(at=20)))
    chat.stopped(began=18, ended=25)
    assert chat.read(BROKEN) == ["sharing.stopped", "tracking.ended"]


def test_a_stopped_event_of_an_older_share_never_ends_a_newer_one() -> None:
    chat = asked().wait(20)
    chat.started(began=18)
    chat.read(listing(position(at=20)))
    assert not chat.stopped(began=-500, ended=-100)
    assert not chat.stopped(created=10)


def test_a_stopped_event_that_newer_positions_contradict_is_an_older_shares() -> None:
    chat = asked().wait(20)
    chat.read(listing(position(at=15)))
    chat.wait(10).stopped(ended=16)
    assert chat.read(listing(position(at=29))) == ["updated"]
    assert chat.wait(60).read(listing(position(at=29))) == []
    assert chat.share.ended is None


def test_an_end_that_is_known_already_does_not_stop_who_started_again() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=-5), position(BERT, at=-5)))
    chat.wait(20).read(listing(position(BERT, at=15)))
    chat.wait(40).read(listing(position(BERT, at=15)))
    assert chat.types[-1] == "sharing.stopped"
    chat.wait(60).read(listing(position(at=None), position(BERT, at=15)))
    assert chat.types[-1] == "sharing.started"
    assert not chat.wait(5).stopped(ended=10)
    assert chat.wait(5).read(listing(position(at=None), position(BERT, at=15))) == []


@pytest.mark.parametrize("again", [18.0, 15.0])
def test_a_started_event_that_comes_late_does_not_revive_what_is_about_to_stop(again: float) -> None:
    chat = asked().wait(20)
    chat.started(began=18, created=19)
    chat.read(listing(position(at=20)))
    chat.wait(100).stopped(began=18, ended=115, created=116)
    assert not chat.started(began=again, ends=9000, created=117)
    assert chat.read(listing())[-1:] == ["tracking.ended"]


def test_a_started_event_after_the_announced_end_begins_anew() -> None:
    chat = asked().wait(20)
    chat.started(began=18, created=19)
    chat.read(listing(position(at=20)))
    chat.wait(100).stopped(began=18, ended=115, created=116)
    assert chat.started(began=118, created=119)
    assert chat.read(listing(position(at=119))) == ["updated"]
    assert chat.share.ended is None


def test_a_stopped_event_without_a_beginning_is_remembered_for_its_late_started() -> None:
    chat = asked().wait(60)
    assert chat.stopped(ended=50)
    assert not chat.stopped(ended=50)
    assert not chat.started(began=40)
    assert chat.read(listing(position(at=45))) == []
    assert chat.started(began=55)


@pytest.mark.parametrize("lingering", [False, True])
@pytest.mark.parametrize("order", list(permutations(["answer", "started", "stopped", "read"])))
def test_every_order_of_answer_started_read_and_stopped_ends_in_the_same_share(
    order: tuple[str, ...], lingering: bool
) -> None:
    chat = TrackedChat()
    chat.call()
    reply = listing(position(at=0.5)) if lingering else listing()
    for step in order:
        chat.wait(1)
        if step == "answer":
            chat.settle(Sent())
        elif step == "started":
            chat.started(began=0.2, ends=3620, created=1)
        elif step == "stopped":
            chat.stopped(began=0.2, ended=0.9, created=2)
        else:
            chat.read(reply)
    for _ in range(4):
        if chat.share.ended is None:
            chat.wait_until_due()
            chat.read(reply)
    told = chat.types
    expected = ["requested", "sharing.started", *(["updated"] if lingering else []), "sharing.stopped"]
    assert told == [*expected, "tracking.ended"]
    assert chat.share.ended == "sharing_stopped"


def test_a_stop_that_came_while_a_prompt_was_under_way_is_read_for_at_once() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(1).started(began=0.5)
    chat.wait(1).stopped(began=0.5, ended=1.5)
    chat.settle(Sent())
    assert chat.due_in == 0


def test_a_webhook_brings_one_read_forward_where_the_caller_set_the_least_interval() -> None:
    chat = TrackedChat(lower=60, upper=300)
    chat.prompt(Sent())
    chat.wait(100).read(listing())
    chat.wait(5).started(began=104)
    assert chat.due_in <= 2
    chat.wait_until_due().read(listing())
    assert chat.due_in >= 60


def test_the_end_of_a_share_that_cannot_be_read_here_starts_and_ends_nothing() -> None:
    chat = asked().wait(20)
    decision = chat.decision()
    assert webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=ns(10))
    assert not webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=ns(10))
    chat.keep(decision)
    chat.wait(60).stopped(BERT, began=10, ended=70)
    assert chat.read(listing()) == []
    assert chat.types == ["requested", "sharing.unreadable"]


def test_a_forgotten_handle_is_not_reported_as_unreadable() -> None:
    chat = TrackedChat(asked=False)
    decision = chat.decision()
    decision.forget(BERT, ends_share=False)
    assert not webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=ns(10))
    assert decision.events == []

"""What webhooks change: they announce, advance a read, and never undo what is newer than they are."""

from itertools import permutations

import pytest

from tests.support.tracking import ANNA, BERT, Watch, listing, ns, position
from worker.domain.observation import Fault, Sent

BROKEN = Fault("broken", "connection reset")


def asked() -> Watch:
    watch = Watch()
    watch.prompt(Sent())
    return watch


def test_a_started_event_is_published_at_once_and_a_read_follows_now() -> None:
    watch = asked().wait(20)
    assert watch.started(began=18, ends=3618)
    assert watch.types == ["requested", "sharing.started"]
    [data] = watch.data("sharing.started")
    assert data["handle"] == ANNA
    assert data["detected_by"] == "webhook"
    assert data["began_at"].endswith("Z")
    assert data["ends_at"] > data["began_at"]
    assert watch.due_in == 0


def test_after_a_started_event_the_first_position_is_looked_for_every_few_seconds() -> None:
    watch = asked().wait(20)
    watch.started(began=18)
    intervals = []
    for _ in range(8):
        watch.wait_until_due()
        watch.read(listing())
        intervals.append(watch.due_in)
    assert intervals[:7] == pytest.approx([1, 1, 1, 2, 3, 4, 8])
    assert intervals[7] > 4


def test_a_repeated_started_event_changes_nothing() -> None:
    watch = asked().wait(20)
    assert watch.started(began=18, ends=3618, created=19)
    assert not watch.started(began=18, ends=3618, created=19)


def test_a_prolonged_share_gets_its_new_end_without_a_second_start() -> None:
    watch = asked().wait(20)
    watch.started(began=18, ends=3618, created=19)
    watch.read(listing(position(at=20)))
    assert watch.wait(60).started(began=18, ends=7218, created=79)
    assert watch.types.count("sharing.started") == 1
    assert watch.share.people[0].ends_at is not None
    watch.wait(3700).read(listing(position(at=20)))
    assert "sharing.stopped" not in watch.types


def test_an_older_started_event_does_not_take_a_newer_end_back() -> None:
    watch = asked().wait(20)
    watch.started(began=18, ends=7218, created=30)
    assert not watch.started(began=18, ends=3618, created=19)


def test_a_stopped_event_ends_the_share_after_one_last_read() -> None:
    watch = asked().wait(20)
    watch.started(began=18)
    watch.read(listing(position(at=20)))
    watch.wait(100)
    assert watch.stopped(began=18, ended=115)
    assert watch.due_in == 0
    assert watch.read(listing(position(at=110))) == ["updated", "sharing.stopped", "tracking.ended"]
    assert watch.data("sharing.stopped")[0]["reason"] == "stopped"
    assert watch.data("tracking.ended")[0]["reason"] == "sharing_stopped"


def test_a_stopped_event_ends_the_share_even_when_the_last_read_fails() -> None:
    watch = asked().wait(20)
    watch.started(began=18)
    watch.read(listing(position(at=20)))
    watch.stopped(began=18, ended=25)
    assert watch.read(BROKEN) == ["sharing.stopped", "tracking.ended"]


def test_a_stopped_event_of_an_older_share_never_ends_a_newer_one() -> None:
    watch = asked().wait(20)
    watch.started(began=18)
    watch.read(listing(position(at=20)))
    assert not watch.stopped(began=-500, ended=-100)
    assert not watch.stopped(created=10)


def test_a_stopped_event_that_newer_positions_contradict_is_an_older_shares() -> None:
    watch = asked().wait(20)
    watch.read(listing(position(at=15)))
    watch.wait(10).stopped(ended=16)
    assert watch.read(listing(position(at=29))) == ["updated"]
    assert watch.wait(60).read(listing(position(at=29))) == []
    assert watch.share.ended is None


def test_an_end_that_is_known_already_does_not_stop_who_started_again() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=-5), position(BERT, at=-5)))
    watch.wait(20).read(listing(position(BERT, at=15)))
    watch.wait(40).read(listing(position(BERT, at=15)))
    assert watch.types[-1] == "sharing.stopped"
    watch.wait(60).read(listing(position(at=None), position(BERT, at=15)))
    assert watch.types[-1] == "sharing.started"
    assert not watch.wait(5).stopped(ended=10)
    assert watch.wait(5).read(listing(position(at=None), position(BERT, at=15))) == []


@pytest.mark.parametrize("again", [18.0, 15.0])
def test_a_started_event_that_comes_late_does_not_revive_what_is_about_to_stop(again: float) -> None:
    watch = asked().wait(20)
    watch.started(began=18, created=19)
    watch.read(listing(position(at=20)))
    watch.wait(100).stopped(began=18, ended=115, created=116)
    assert not watch.started(began=again, ends=9000, created=117)
    assert watch.read(listing())[-1:] == ["tracking.ended"]


def test_a_started_event_after_the_announced_end_begins_anew() -> None:
    watch = asked().wait(20)
    watch.started(began=18, created=19)
    watch.read(listing(position(at=20)))
    watch.wait(100).stopped(began=18, ended=115, created=116)
    assert watch.started(began=118, created=119)
    assert watch.read(listing(position(at=119))) == ["updated"]
    assert watch.share.ended is None


def test_a_stopped_event_without_a_beginning_is_remembered_for_its_late_started() -> None:
    watch = asked().wait(60)
    assert watch.stopped(ended=50)
    assert not watch.stopped(ended=50)
    assert not watch.started(began=40)
    assert watch.read(listing(position(at=45))) == []
    assert watch.started(began=55)


@pytest.mark.parametrize("lingering", [False, True])
@pytest.mark.parametrize("order", list(permutations(["answer", "started", "stopped", "read"])))
def test_every_order_of_answer_started_read_and_stopped_ends_in_the_same_share(
    order: tuple[str, ...], lingering: bool
) -> None:
    watch = Watch()
    watch.call()
    reply = listing(position(at=0.5)) if lingering else listing()
    for step in order:
        watch.wait(1)
        if step == "answer":
            watch.settle(Sent())
        elif step == "started":
            watch.started(began=0.2, ends=3620, created=1)
        elif step == "stopped":
            watch.stopped(began=0.2, ended=0.9, created=2)
        else:
            watch.read(reply)
    for _ in range(4):
        if watch.share.ended is None:
            watch.wait_until_due()
            watch.read(reply)
    told = watch.types
    expected = ["requested", "sharing.started", *(["updated"] if lingering else []), "sharing.stopped"]
    assert told == [*expected, "tracking.ended"]
    assert watch.share.ended == "sharing_stopped"


def test_a_stop_that_came_while_a_prompt_was_under_way_is_read_for_at_once() -> None:
    watch = Watch()
    watch.call()
    watch.wait(1).started(began=0.5)
    watch.wait(1).stopped(began=0.5, ended=1.5)
    watch.settle(Sent())
    assert watch.due_in == 0


def test_a_webhook_brings_one_read_forward_where_the_caller_set_the_least_interval() -> None:
    watch = Watch(lower=60, upper=300)
    watch.prompt(Sent())
    watch.wait(100).read(listing())
    watch.wait(5).started(began=104)
    assert watch.due_in <= 2
    watch.wait_until_due().read(listing())
    assert watch.due_in >= 60


def test_the_end_of_a_share_that_cannot_be_read_here_starts_and_ends_nothing() -> None:
    watch = asked().wait(20)
    decision = watch.decision()
    assert decision.report_unreadable(BERT, "share from Messages", began_at=ns(10))
    assert not decision.report_unreadable(BERT, "share from Messages", began_at=ns(10))
    watch.keep(decision)
    watch.wait(60).stopped(BERT, began=10, ended=70)
    assert watch.read(listing()) == []
    assert watch.types == ["requested", "sharing.unreadable"]


def test_a_forgotten_handle_is_not_reported_as_unreadable() -> None:
    watch = Watch(asked=False)
    decision = watch.decision()
    decision.forget(BERT, ends_share=False)
    assert not decision.report_unreadable(BERT, "share from Messages")
    assert decision.events == []

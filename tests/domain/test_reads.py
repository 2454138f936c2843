"""What reads do to a share: who starts, what is published, who stops, and what never ends anything."""

from collections.abc import Callable

import pytest

from tests.support.tracking import ANNA, BERT, CHAT, SHARE, Watch, listing, position
from worker.domain.observation import (
    Fault,
    ReadObservation,
    Refused,
    Sent,
    Suspended,
    Throttled,
)
from worker.domain.webhooks import Decision, Limits

FAULTS: list[ReadObservation] = [
    Fault("server_error", "HTTP 500"),
    Fault("timeout", "10 s"),
    Fault("broken", "reset"),
    Fault("malformed", "no list of features"),
    Fault("unexpected", "HTTP 302"),
    Throttled(None),
    Throttled(7.0),
    Suspended(401, 2004),
    Suspended(403, 2011),
]


def tracked(**arguments: object) -> Watch:
    """Someone is asked, and shares since the first read."""
    watch = Watch(**arguments)  # type: ignore[arg-type]  # passed on as they come
    if watch.asked:
        watch.prompt(Sent())
    watch.wait(10).read(listing(position(at=5)))
    return watch


# Positions


def test_the_first_position_starts_the_share_and_is_published() -> None:
    watch = tracked()
    assert watch.types == ["requested", "sharing.started", "updated"]
    [started] = watch.data("sharing.started")
    assert (started["began_at"], started["ends_at"], started["detected_by"]) == (None, None, "poll")
    [feature] = watch.data("updated")
    assert feature["type"] == "Feature"
    assert feature["geometry"] == {"type": "Point", "coordinates": [13.4, 52.5]}
    assert feature["properties"] == {
        "chat_id": CHAT,
        "share_id": SHARE,
        "handle": ANNA,
        "latitude": 52.5,
        "longitude": 13.4,
        "altitude": None,
        "address": None,
        "locality": None,
        "updated_at": "2026-09-21T14:13:25Z",
        "received_at": "2026-09-21T14:13:30.000Z",
    }
    event = watch.events[-1]
    assert (event.subject, event.time, event.datacontenttype) == (
        ANNA,
        "2026-09-21T14:13:25.000Z",
        "application/geo+json",
    )
    assert (event.id, event.sequence, event.reference) == (f"{SHARE}:3", 3, "order 7")
    assert event.source == f"/linq/chats/{CHAT}"


def test_the_same_position_is_published_once() -> None:
    watch = tracked()
    assert watch.wait(30).read(listing(position(at=5))) == []


def test_an_older_position_is_never_published_after_a_newer_one() -> None:
    watch = tracked()
    assert watch.wait(30).read(listing(position(at=4, longitude=14.0))) == []


def test_of_two_positions_in_one_reply_the_newer_one_is_published_last() -> None:
    watch = tracked()
    assert watch.wait(30).read(listing(position(at=20), position(at=30))) == ["updated", "updated"]
    assert watch.wait(30).read(listing(position(at=50), position(at=40))) == ["updated"]


@pytest.mark.parametrize(
    "other",
    [
        position(at=None, longitude=13.5),
        position(at=None, latitude=52.6),
        position(at=None, address="Riverside Building"),
        position(at=None, locality="London"),
    ],
)
def test_without_a_time_another_place_address_or_locality_is_a_new_position(other: object) -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=None)))
    assert watch.wait(30).read(listing(position(at=None))) == []
    assert watch.wait(30).read(listing(other)) == ["updated"]  # type: ignore[arg-type]  # a Position
    assert watch.data("updated")[-1]["properties"]["updated_at"] is None


def test_null_island_never_replaces_a_real_position_without_a_newer_time() -> None:
    watch = tracked()
    assert watch.wait(30).read(listing(position(at=None, longitude=0, latitude=0))) == []
    assert watch.wait(30).read(listing(position(at=5, longitude=0, latitude=0))) == []
    assert watch.wait(30).read(listing(position(at=60, longitude=0, latitude=0))) == ["updated"]


def test_null_island_is_a_position_where_nothing_better_is_known() -> None:
    watch = Watch(asked=False)
    assert watch.read(listing(position(at=None, longitude=0, latitude=0))) == ["sharing.started", "updated"]


def test_without_following_the_share_ends_after_the_first_position() -> None:
    watch = tracked(follow=False)
    assert watch.types[-2:] == ["updated", "tracking.ended"]
    assert watch.data("tracking.ended")[0]["reason"] == "first_position"
    assert watch.due is None
    assert watch.views[-1].data is None


def test_everybody_in_a_group_is_followed_under_their_own_handle() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=1), position(BERT, at=2)))
    assert watch.types == ["sharing.started", "updated", "sharing.started", "updated"]
    assert [event.subject for event in watch.events] == [ANNA, ANNA, BERT, BERT]


# The end


def test_one_empty_reply_is_a_hiccup() -> None:
    watch = tracked(limits=Limits(min_poll=15))
    assert watch.wait(30).read(listing()) == []
    assert watch.due_in == pytest.approx(30)
    assert watch.wait_until_due().read(listing(position(at=5))) == []
    assert watch.wait(600).read(listing()) == []


def test_two_reads_that_do_not_list_a_handle_end_its_share() -> None:
    watch = tracked()
    watch.wait(30).read(listing())
    assert watch.wait_until_due().read(listing()) == ["sharing.stopped", "tracking.ended"]
    assert watch.data("sharing.stopped")[0]["reason"] == "disappeared"
    assert watch.data("sharing.stopped")[0]["ended_at"] == "2026-09-21T14:14:00Z"
    assert watch.data("tracking.ended")[0]["reason"] == "sharing_stopped"
    assert watch.due is None


def test_two_empty_replies_too_close_together_are_not_believed() -> None:
    watch = tracked(limits=Limits(min_poll=15))
    watch.wait(30).read(listing())
    assert watch.wait(29).read(listing()) == []
    assert watch.due_in == pytest.approx(15)
    assert watch.wait(1).read(listing()) != []


def test_the_second_empty_reply_may_come_sooner_where_the_largest_interval_is_small() -> None:
    watch = tracked(limits=Limits(min_poll=2, max_poll=5))
    watch.wait(5).read(listing())
    assert watch.wait(4.9).read(listing()) == []
    assert watch.wait(0.1).read(listing()) == ["sharing.stopped", "tracking.ended"]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_no_fault_ever_ends_a_share(fault: ReadObservation) -> None:
    watch = tracked(follow_for=10_000_000.0)
    watch.wait(30).read(listing())
    for _ in range(20):
        watch.wait(40)
        assert watch.read(fault) == []
        assert watch.due_in >= 0
    assert watch.read(listing(position(at=5))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_does_not_count_as_a_read_that_listed_nobody(fault: ReadObservation) -> None:
    watch = tracked()
    watch.wait(30).read(fault)
    watch.wait(60).read(listing())
    assert watch.share.ended is None


def test_a_reply_with_unreadable_features_never_proves_that_somebody_is_gone() -> None:
    watch = tracked()
    for _ in range(10):
        assert watch.wait(60).read(listing(invalid=1)) == []
    watch.wait(60).read(listing())
    assert watch.wait(30).read(listing(invalid=1)) == []
    assert watch.wait(30).read(listing())[-1] == "tracking.ended"


def test_other_features_of_a_reply_with_unreadable_ones_are_published() -> None:
    watch = tracked()
    assert watch.wait(60).read(listing(position(at=60), invalid=2)) == ["updated"]


def test_a_group_goes_on_until_the_last_handle_has_stopped() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=0), position(BERT, at=0)))
    watch.wait(60).read(listing(position(BERT, at=50)))
    assert watch.wait(30).read(listing(position(BERT, at=50))) == ["sharing.stopped"]
    watch.wait(60).read(listing())
    assert watch.wait(30).read(listing()) == ["sharing.stopped", "tracking.ended"]


def test_who_has_gone_starts_again_when_listed_again() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=0), position(BERT, at=0)))
    watch.wait(60).read(listing(position(BERT, at=50)))
    watch.wait(30).read(listing(position(BERT, at=50)))
    assert watch.wait(30).read(listing(position(at=110), position(BERT, at=50))) == ["sharing.started", "updated"]


def test_after_a_stop_a_feature_that_lingers_starts_nothing_until_it_is_newer_than_the_end() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=0), position(BERT, at=0)))
    watch.wait(60).stopped(ended=50)
    watch.read(listing(position(at=0), position(BERT, at=0)))
    assert watch.types[-1] == "sharing.stopped"
    assert watch.wait(30).read(listing(position(at=0), position(BERT, at=0))) == []
    assert watch.wait(30).read(listing(position(at=49), position(BERT, at=0))) == []
    assert watch.wait(30).read(listing(position(at=51), position(BERT, at=0))) == ["sharing.started", "updated"]


@pytest.mark.parametrize(
    "refused",
    [
        Refused("chat_not_found", 404, 2001),
        Refused("chat_unavailable", 409, 2013),
        Refused("forbidden", 403, 2005),
    ],
    ids=repr,
)
def test_a_refused_read_ends_the_share_only_when_the_next_one_says_the_same(refused: Refused) -> None:
    watch = tracked()
    assert watch.wait(30).read(refused) == []
    assert watch.due_in == 30
    assert watch.wait(10).read(refused) == []
    assert watch.wait_until_due().read(refused) == ["tracking.ended"]
    assert watch.data("tracking.ended")[0]["reason"] == refused.reason


def test_a_refusal_for_another_reason_or_after_a_good_read_starts_over() -> None:
    watch = tracked()
    missing, forbidden = Refused("chat_not_found", 404, 2001), Refused("forbidden", 403, 2005)
    watch.wait(30).read(missing)
    assert watch.wait(60).read(forbidden) == []
    assert watch.wait(60).read(missing) == []
    watch.wait(60).read(listing(position(at=5)))
    assert watch.wait(60).read(missing) == []


# Times


def test_somebody_who_sends_nothing_new_goes_stale_once_until_the_next_position() -> None:
    watch = tracked()
    assert watch.wait(1799).read(listing(position(at=5))) == []
    assert watch.wait(1).read(listing(position(at=5))) == ["sharing.stale"]
    assert watch.data("sharing.stale")[0]["last_updated_at"] == "2026-09-21T14:13:25Z"
    assert watch.wait(3000).read(listing(position(at=5))) == []
    assert watch.wait(10).read(listing(position(at=4815))) == ["updated"]
    assert watch.wait(1800).read(listing(position(at=4815))) == ["sharing.stale"]


def test_nobody_goes_stale_where_that_is_switched_off() -> None:
    watch = tracked(limits=Limits(stale_after=0))
    assert watch.wait(100_000).read(listing(position(at=5))) == []


def test_who_is_no_longer_listed_does_not_go_stale() -> None:
    watch = tracked()
    assert watch.wait(1900).read(listing()) == []


def test_a_planned_end_that_passes_without_a_listing_is_an_expiry() -> None:
    watch = tracked()
    watch.started(began=4, ends=100)
    watch.wait(50).read(listing(position(at=55)))
    watch.now = 101.0
    assert watch.read(listing()) == ["sharing.stopped", "tracking.ended"]
    stopped = watch.data("sharing.stopped")[0]
    assert (stopped["reason"], stopped["ended_at"]) == ("expired", "2026-09-21T14:15:00Z")


def test_a_minute_after_a_planned_end_nothing_newer_means_that_it_has_expired() -> None:
    watch = tracked()
    watch.started(began=4, ends=100)
    watch.now = 99.0
    watch.read(listing(position(at=90)))
    watch.now = 159.0
    assert watch.read(listing(position(at=90))) == []
    watch.now = 160.0
    assert watch.read(listing(position(at=95))) == ["updated", "sharing.stopped", "tracking.ended"]
    assert watch.data("sharing.stopped")[0]["reason"] == "expired"


def test_a_planned_end_is_read_just_before_and_a_minute_after() -> None:
    watch = tracked(lower=1, upper=600)
    watch.started(began=4, ends=100)
    watch.read(listing(position(at=5)))
    seen = []
    while watch.share.ended is None:
        watch.wait_until_due()
        seen.append(watch.now)
        watch.read(listing(position(at=5)))
    assert pytest.approx(98.0) in seen
    assert seen[-1] == pytest.approx(160.0)


def test_newer_positions_after_a_planned_end_mean_that_it_was_prolonged() -> None:
    watch = tracked()
    watch.started(began=4, ends=100)
    watch.now = 130.0
    assert watch.read(listing(position(at=101))) == ["updated"]
    watch.now = 1000.0
    assert watch.read(listing(position(at=101))) == []
    assert watch.share.ended is None


def test_a_share_that_never_ends_is_let_go_after_the_time_limit() -> None:
    watch = tracked(follow_for=300.0)
    while watch.next_action() == "read":
        watch.read(listing(position(at=watch.now)))
        watch.wait_until_due()
    assert watch.now == pytest.approx(310.0)
    decision = watch.decision()
    assert decision.next_action() == "end"
    decision.expire()
    watch.keep(decision)
    assert watch.data("tracking.ended")[0]["reason"] == "time_limit"
    assert watch.due is None


def test_the_time_limit_of_a_chat_that_is_tracked_counts_from_the_beginning() -> None:
    watch = Watch(asked=False, follow_for=100.0)
    watch.wait(90).read(Fault("timeout", ""))
    assert watch.due_in <= 10
    assert watch.wait(10).next_action() == "end"


# The pace


@pytest.mark.parametrize("fault", FAULTS[:5], ids=repr)
def test_faults_back_off_up_to_two_minutes_or_the_largest_interval(fault: ReadObservation) -> None:
    for upper, longest in ((None, 120), (40.0, 40)):
        watch = tracked(upper=upper, random_unit=1.0, follow_for=10_000_000.0)
        waited = []
        for _ in range(12):
            watch.read(fault)
            waited.append(watch.due_in)
            watch.wait_until_due()
        assert max(waited) == pytest.approx(longest)


def test_a_throttled_chat_waits_for_its_retry_after() -> None:
    watch = tracked(limits=Limits(min_poll=15))
    watch.read(Throttled(345.0))
    assert watch.due_in == 345
    watch.read(Throttled(0.0))
    assert watch.due_in == 15
    watch.read(Throttled(None))
    assert watch.due_in == 60


def test_a_throttled_chat_without_retry_after_waits_no_longer_than_its_largest_interval() -> None:
    watch = tracked(lower=5, upper=20)
    watch.read(Throttled(None))
    assert watch.due_in == 20


def test_a_chat_met_by_a_pause_is_due_as_soon_as_it_ends() -> None:
    watch = tracked()
    watch.read(Suspended(401, 2004))
    assert watch.due_in == 0


@pytest.mark.parametrize("asked", [True, False])
def test_the_callers_bounds_hold_for_every_scheduled_read(asked: bool) -> None:
    watch = Watch(asked=asked, lower=40, upper=50)
    if asked:
        watch.prompt(Sent())
        assert 40 <= watch.due_in <= 50
    for answer in (
        listing(),
        listing(),
        listing(position(at=1)),
        listing(position(at=1)),
        listing(),
        Fault("timeout", ""),
        Refused("forbidden", 403, None),
        listing(position(at=2)),
    ):
        watch.wait_until_due().read(answer)
        assert 40 <= watch.due_in <= 50


# Leaving out, ending from outside


def test_a_forgotten_handle_of_a_group_is_left_out_until_the_share_ends() -> None:
    watch = Watch(asked=False)
    watch.read(listing(position(at=0), position(BERT, at=0)))
    decision = watch.decision()
    assert decision.forget(ANNA, ends_share=False)
    watch.keep(decision)
    assert [person.handle for person in watch.share.people] == [BERT]
    assert ANNA.encode() not in watch.stored
    assert watch.views[-1][:2] == (ANNA, None)
    assert watch.wait(60).read(listing(position(at=50), position(BERT, at=50))) == ["updated"]
    assert not watch.started(began=100)
    assert not watch.stopped(ended=100)


def test_a_forgotten_contact_ends_the_share_of_a_chat_of_two() -> None:
    watch = tracked()
    decision = watch.decision()
    assert decision.forget(ANNA, ends_share=True)
    watch.keep(decision)
    assert watch.data("tracking.ended")[0]["reason"] == "forgotten"
    assert watch.due is None
    assert watch.views[-1][:2] == (ANNA, None)
    assert ANNA.encode() not in watch.stored


def test_after_the_end_nothing_more_happens() -> None:
    watch = tracked()
    decision = watch.decision()
    decision.end("untracked")
    watch.keep(decision)
    assert watch.data("tracking.ended")[0]["reason"] == "untracked"
    told = len(watch.events)
    for fault in FAULTS:
        watch.read(fault)
    watch.read(listing(position(at=99)))
    watch.settle(Sent())
    assert not watch.started(began=200)
    assert not watch.stopped(ended=200)
    changes: list[Callable[[Decision], object]] = [
        lambda decision: decision.end("untracked"),
        lambda decision: decision.expire(),
        lambda decision: decision.forget(ANNA, ends_share=True),
        lambda decision: decision.forget(BERT, ends_share=False),
        lambda decision: decision.report_unreadable(BERT, "share from Messages"),
    ]
    for change in changes:
        decision = watch.decision()
        change(decision)
        watch.keep(decision)
        assert watch.due is None
    assert len(watch.events) == told


def test_a_share_under_another_handle_is_reported_with_its_remedy() -> None:
    watch = Watch(asked=False)
    decision = watch.decision()
    decision.report_unreadable(BERT, "share from Messages")
    watch.keep(decision)
    assert watch.data("sharing.unreadable") == [
        {"chat_id": CHAT, "share_id": SHARE, "shared_by": BERT, "remedy": "share from Messages"}
    ]


# One share after another


def ended(*, gone: bool) -> Watch:
    watch = tracked()
    if gone:
        watch.wait(60).read(listing())
        watch.wait(30).read(listing())
    else:
        watch.wait(60).stopped(ended=65)
        watch.read(listing(position(at=5)))
    assert watch.share.ended == "sharing_stopped"
    return watch


def test_a_new_share_is_not_begun_by_what_lingers_of_the_last_one() -> None:
    old = ended(gone=False)
    watch = Watch(asked=False, previous=old.share, now=200)
    assert watch.read(listing(position(at=5))) == []
    assert watch.wait(60).read(listing(position(at=66))) == ["sharing.started", "updated"]


def test_a_new_share_publishes_a_position_again_after_a_read_that_did_not_list_it() -> None:
    old = ended(gone=False)
    watch = Watch(asked=False, previous=old.share, now=200)
    watch.read(listing())
    assert watch.wait(60).read(listing(position(at=5))) == ["sharing.started", "updated"]


def test_a_new_share_publishes_the_position_of_who_had_gone_and_is_back() -> None:
    old = ended(gone=True)
    watch = Watch(asked=False, previous=old.share, now=200)
    assert watch.read(listing(position(at=5))) == ["sharing.started", "updated"]


def test_a_new_share_of_who_never_stopped_starts_with_the_position_as_it_is() -> None:
    old = tracked()
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    watch = Watch(asked=False, previous=old.share, now=200)
    assert watch.read(listing(position(at=5))) == ["sharing.started", "updated"]

"""What reads do to a share: who starts, what is published, who stops, and what never ends anything."""

from collections.abc import Callable

import pytest

from tests.support.tracking import ANNA, BERT, CHAT, SHARE, TrackedChat, listing, position
from worker.domain import prompts, reads, webhooks
from worker.domain.decision import Decision, Limits
from worker.domain.observation import (
    Fault,
    LineLost,
    Position,
    ReadObservation,
    Refused,
    Sent,
    Suspended,
    Throttled,
)

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
    LineLost(403, 2005),
]


def tracked(**arguments: object) -> TrackedChat:
    """Return a chat whose contact was prompted if `asked`, and has been sharing since the first read."""
    chat = TrackedChat(**arguments)  # type: ignore[arg-type]  # passed on as they come
    if chat.asked:
        chat.prompt(Sent())
    chat.wait(10).read(listing(position(at=5)))
    return chat


# Positions


def test_the_first_position_starts_the_share_and_is_published() -> None:
    chat = tracked()
    assert chat.types == ["requested", "sharing.started", "updated"]
    [started] = chat.data("sharing.started")
    assert (started["began_at"], started["ends_at"], started["detected_by"]) == (None, None, "poll")
    [feature] = chat.data("updated")
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
    event = chat.events[-1]
    assert (event.subject, event.time, event.datacontenttype) == (
        ANNA,
        "2026-09-21T14:13:25.000Z",
        "application/geo+json",
    )
    assert (event.sequence, event.reference) == (3, "order 7")
    assert event.source == f"/linq/chats/{CHAT}"


def test_the_same_position_is_published_once() -> None:
    chat = tracked()
    assert chat.wait(30).read(listing(position(at=5))) == []


def test_an_older_position_is_never_published_after_a_newer_one() -> None:
    chat = tracked()
    assert chat.wait(30).read(listing(position(at=4, longitude=14.0))) == []


def test_of_two_positions_in_one_reply_the_newer_one_is_published_last() -> None:
    chat = tracked()
    assert chat.wait(30).read(listing(position(at=20), position(at=30))) == ["updated", "updated"]
    assert chat.wait(30).read(listing(position(at=50), position(at=40))) == ["updated"]


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
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=None)))
    assert chat.wait(30).read(listing(position(at=None))) == []
    assert chat.wait(30).read(listing(other)) == ["updated"]  # type: ignore[arg-type]  # a Position
    assert chat.data("updated")[-1]["properties"]["updated_at"] is None


def test_null_island_never_replaces_a_real_position_without_a_newer_time() -> None:
    chat = tracked()
    assert chat.wait(30).read(listing(position(at=None, longitude=0, latitude=0))) == []
    assert chat.wait(30).read(listing(position(at=5, longitude=0, latitude=0))) == []
    assert chat.wait(30).read(listing(position(at=60, longitude=0, latitude=0))) == ["updated"]


def test_null_island_is_a_position_where_nothing_better_is_known() -> None:
    chat = TrackedChat(asked=False)
    assert chat.read(listing(position(at=None, longitude=0, latitude=0))) == ["sharing.started", "updated"]


def test_without_following_the_share_ends_after_the_first_position() -> None:
    chat = tracked(follow=False)
    assert chat.types[-2:] == ["updated", "tracking.ended"]
    assert chat.data("tracking.ended")[0]["reason"] == "first_position"
    assert chat.due is None
    assert chat.views[-1].data is None


def test_everybody_in_a_group_is_followed_under_their_own_handle() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=1), position(BERT, at=2)))
    assert chat.types == ["sharing.started", "updated", "sharing.started", "updated"]
    assert [event.subject for event in chat.events] == [ANNA, ANNA, BERT, BERT]


# The end


def test_one_empty_reply_is_a_hiccup() -> None:
    chat = tracked(limits=Limits(min_poll=15))
    assert chat.wait(30).read(listing()) == []
    assert chat.due_in == pytest.approx(30)
    assert chat.wait_until_due().read(listing(position(at=5))) == []
    assert chat.wait(600).read(listing()) == []


def test_two_reads_that_do_not_list_a_handle_end_its_share() -> None:
    chat = tracked()
    chat.wait(30).read(listing())
    assert chat.wait_until_due().read(listing()) == ["sharing.stopped", "tracking.ended"]
    assert chat.data("sharing.stopped")[0]["reason"] == "disappeared"
    assert chat.data("sharing.stopped")[0]["ended_at"] == "2026-09-21T14:14:00Z"
    assert chat.data("tracking.ended")[0]["reason"] == "sharing_stopped"
    assert chat.due is None


def test_two_empty_replies_too_close_together_are_not_believed() -> None:
    chat = tracked(limits=Limits(min_poll=15))
    chat.wait(30).read(listing())
    assert chat.wait(29).read(listing()) == []
    assert chat.due_in == pytest.approx(15)
    assert chat.wait(1).read(listing()) != []


def test_the_second_empty_reply_may_come_sooner_where_the_largest_interval_is_small() -> None:
    chat = tracked(limits=Limits(min_poll=2, max_poll=5))
    chat.wait(5).read(listing())
    assert chat.wait(4.9).read(listing()) == []
    assert chat.wait(0.1).read(listing()) == ["sharing.stopped", "tracking.ended"]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_no_fault_ever_ends_a_share(fault: ReadObservation) -> None:
    chat = tracked(follow_for=10_000_000.0)
    chat.wait(30).read(listing())
    for _ in range(20):
        chat.wait(40)
        assert chat.read(fault) == []
        assert chat.due_in >= 0
    assert chat.read(listing(position(at=5))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_does_not_count_as_a_read_that_listed_nobody(fault: ReadObservation) -> None:
    chat = tracked()
    chat.wait(30).read(fault)
    chat.wait(60).read(listing())
    assert chat.share.ended is None


def test_a_feature_that_names_nobody_may_be_anybodys() -> None:
    chat = tracked()
    for _ in range(10):
        assert chat.wait(60).read(listing(unusable=[None])) == []
    chat.wait(60).read(listing())
    assert chat.wait(30).read(listing(unusable=[None])) == []
    assert chat.wait(30).read(listing()) == []
    assert chat.wait(30).read(listing())[-1] == "tracking.ended"


def test_a_feature_without_a_position_keeps_its_owner_and_nobody_else() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    chat.wait(60).read(listing(unusable=[BERT]))
    assert chat.wait(30).read(listing(unusable=[BERT])) == ["sharing.stopped"]
    assert [person.handle for person in chat.share.people if person.sharing] == [BERT]
    chat.wait(60).read(listing())
    assert chat.wait(30).read(listing(unusable=[BERT])) == []
    chat.wait(60).read(listing())
    assert chat.wait(30).read(listing())[-1] == "tracking.ended"


def test_a_contact_without_a_position_is_still_shared_and_goes_stale() -> None:
    chat = tracked()
    assert chat.wait(1900).read(listing(unusable=[ANNA])) == ["sharing.stale"]


def test_a_feature_without_a_position_starts_nobody() -> None:
    chat = TrackedChat(asked=False)
    assert chat.read(listing(unusable=[ANNA])) == []
    assert chat.share.people == []


def test_other_features_of_a_reply_with_unreadable_ones_are_published() -> None:
    chat = tracked()
    assert chat.wait(60).read(listing(position(at=60), unusable=[None, BERT])) == ["updated"]


def test_a_group_goes_on_until_the_last_handle_has_stopped() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    chat.wait(60).read(listing(position(BERT, at=50)))
    assert chat.wait(30).read(listing(position(BERT, at=50))) == ["sharing.stopped"]
    chat.wait(60).read(listing())
    assert chat.wait(30).read(listing()) == ["sharing.stopped", "tracking.ended"]


def test_who_has_gone_starts_again_when_listed_again() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    chat.wait(60).read(listing(position(BERT, at=50)))
    chat.wait(30).read(listing(position(BERT, at=50)))
    assert chat.wait(30).read(listing(position(at=110), position(BERT, at=50))) == ["sharing.started", "updated"]


def test_after_a_stop_a_feature_that_lingers_starts_nothing_until_it_is_newer_than_the_end() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    chat.wait(60).stopped(ended=50)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    assert chat.types[-1] == "sharing.stopped"
    assert chat.wait(30).read(listing(position(at=0), position(BERT, at=0))) == []
    assert chat.wait(30).read(listing(position(at=49), position(BERT, at=0))) == []
    assert chat.wait(30).read(listing(position(at=51), position(BERT, at=0))) == ["sharing.started", "updated"]


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
    chat = tracked()
    assert chat.wait(30).read(refused) == []
    assert chat.due_in == 30
    assert chat.wait(10).read(refused) == []
    assert chat.wait_until_due().read(refused) == ["tracking.ended"]
    assert chat.data("tracking.ended")[0]["reason"] == refused.reason


def test_a_refusal_for_another_reason_or_after_a_good_read_starts_over() -> None:
    chat = tracked()
    missing, forbidden = Refused("chat_not_found", 404, 2001), Refused("forbidden", 403, 2005)
    chat.wait(30).read(missing)
    assert chat.wait(60).read(forbidden) == []
    assert chat.wait(60).read(missing) == []
    chat.wait(60).read(listing(position(at=5)))
    assert chat.wait(60).read(missing) == []


@pytest.mark.parametrize(
    "between", [Fault("server_error", "HTTP 500"), Throttled(None), Suspended(401, 2004)], ids=repr
)
def test_a_refusal_is_not_repeated_by_the_next_read_where_something_else_is_between(between: ReadObservation) -> None:
    chat = tracked()
    missing = Refused("chat_not_found", 404, 2001)
    for observation in (missing, between, missing):
        assert chat.wait(60).read(observation) == []
    assert chat.wait(60).read(missing) == ["tracking.ended"]


# Times


def test_somebody_who_sends_nothing_new_goes_stale_once_until_the_next_position() -> None:
    chat = tracked()
    assert chat.wait(1799).read(listing(position(at=5))) == []
    assert chat.wait(1).read(listing(position(at=5))) == ["sharing.stale"]
    assert chat.data("sharing.stale")[0]["last_updated_at"] == "2026-09-21T14:13:25Z"
    assert chat.wait(3000).read(listing(position(at=5))) == []
    assert chat.wait(10).read(listing(position(at=4815))) == ["updated"]
    assert chat.wait(1800).read(listing(position(at=4815))) == ["sharing.stale"]


def test_nobody_goes_stale_where_that_is_switched_off() -> None:
    chat = tracked(limits=Limits(stale_after=0))
    assert chat.wait(100_000).read(listing(position(at=5))) == []


def test_who_is_no_longer_listed_does_not_go_stale() -> None:
    chat = tracked()
    assert chat.wait(1900).read(listing()) == []


def test_a_planned_end_that_passes_without_a_listing_is_an_expiry() -> None:
    chat = tracked()
    chat.started(began=4, ends=100)
    chat.wait(50).read(listing(position(at=55)))
    chat.now = 101.0
    assert chat.read(listing()) == ["sharing.stopped", "tracking.ended"]
    stopped = chat.data("sharing.stopped")[0]
    assert (stopped["reason"], stopped["ended_at"]) == ("expired", "2026-09-21T14:15:00Z")


def test_a_minute_after_a_planned_end_nothing_newer_means_that_it_has_expired() -> None:
    chat = tracked()
    chat.started(began=4, ends=100)
    chat.now = 99.0
    chat.read(listing(position(at=90)))
    chat.now = 159.0
    assert chat.read(listing(position(at=90))) == []
    chat.now = 160.0
    assert chat.read(listing(position(at=95))) == ["updated", "sharing.stopped", "tracking.ended"]
    assert chat.data("sharing.stopped")[0]["reason"] == "expired"


def test_a_planned_end_is_read_just_before_and_a_minute_after() -> None:
    chat = tracked(lower=1, upper=600)
    chat.started(began=4, ends=100)
    chat.read(listing(position(at=5)))
    seen = []
    while chat.share.ended is None:
        chat.wait_until_due()
        seen.append(chat.now)
        chat.read(listing(position(at=5)))
    assert pytest.approx(98.0) in seen
    assert seen[-1] == pytest.approx(160.0)


def test_newer_positions_after_a_planned_end_mean_that_it_was_prolonged() -> None:
    chat = tracked()
    chat.started(began=4, ends=100)
    chat.now = 130.0
    assert chat.read(listing(position(at=101))) == ["updated"]
    chat.now = 1000.0
    assert chat.read(listing(position(at=101))) == []
    assert chat.share.ended is None


def test_a_share_that_never_ends_is_let_go_after_the_time_limit() -> None:
    chat = tracked(follow_for=300.0)
    while chat.next_action() == "read":
        chat.read(listing(position(at=chat.now)))
        chat.wait_until_due()
    assert chat.now == pytest.approx(310.0)
    decision = chat.decision()
    assert prompts.next_action(decision) == "end"
    decision.end("time_limit")
    chat.keep(decision)
    assert chat.data("tracking.ended")[0]["reason"] == "time_limit"
    assert chat.due is None


def test_the_time_limit_of_a_chat_that_is_tracked_counts_from_the_beginning() -> None:
    chat = TrackedChat(asked=False, follow_for=100.0)
    chat.wait(90).read(Fault("timeout", ""))
    assert chat.due_in <= 10
    assert chat.wait(10).next_action() == "end"


# The pace


@pytest.mark.parametrize("fault", FAULTS[:5], ids=repr)
def test_faults_back_off_up_to_two_minutes_or_the_largest_interval(fault: ReadObservation) -> None:
    for upper, longest in ((None, 120), (40.0, 40)):
        chat = tracked(upper=upper, random_unit=1.0, follow_for=10_000_000.0)
        waited = []
        for _ in range(12):
            chat.read(fault)
            waited.append(chat.due_in)
            chat.wait_until_due()
        assert max(waited) == pytest.approx(longest)


def test_a_throttled_chat_waits_for_its_retry_after() -> None:
    chat = tracked(limits=Limits(min_poll=15))
    chat.read(Throttled(345.0))
    assert chat.due_in == 345
    chat.read(Throttled(0.0))
    assert chat.due_in == 15
    chat.read(Throttled(None))
    assert chat.due_in == 60


def test_a_throttled_chat_without_retry_after_waits_no_longer_than_its_largest_interval() -> None:
    chat = tracked(lower=5, upper=20)
    chat.read(Throttled(None))
    assert chat.due_in == 20


def test_a_chat_met_by_a_pause_is_due_as_soon_as_it_ends() -> None:
    chat = tracked()
    chat.read(Suspended(401, 2004))
    assert chat.due_in == 0


@pytest.mark.parametrize("asked", [True, False])
def test_the_callers_bounds_hold_for_every_scheduled_read(asked: bool) -> None:
    chat = TrackedChat(asked=asked, lower=40, upper=50)
    if asked:
        chat.prompt(Sent())
        assert 40 <= chat.due_in <= 50
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
        chat.wait_until_due().read(answer)
        assert 40 <= chat.due_in <= 50


# Leaving out, ending from outside


def test_a_forgotten_handle_of_a_group_is_left_out_until_the_share_ends() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0), position(BERT, at=0)))
    decision = chat.decision()
    assert decision.forget(ANNA, ends_share=False)
    chat.keep(decision)
    assert (chat.due_in, chat.share.rule) == (0, "forgotten")
    assert [person.handle for person in chat.share.people] == [BERT]
    assert ANNA.encode() not in chat.stored
    assert chat.views[-1][:2] == (ANNA, None)
    assert chat.wait(60).read(listing(position(at=50), position(BERT, at=50))) == ["updated"]
    assert not chat.started(began=100)
    assert not chat.stopped(ended=100)


def test_a_forgotten_contact_ends_the_share_of_a_chat_of_two() -> None:
    chat = tracked()
    decision = chat.decision()
    assert decision.forget(ANNA, ends_share=True)
    chat.keep(decision)
    assert chat.data("tracking.ended")[0]["reason"] == "forgotten"
    assert chat.due is None
    assert chat.views[-1][:2] == (ANNA, None)
    assert ANNA.encode() not in chat.stored


def test_after_the_end_nothing_more_happens() -> None:
    chat = tracked()
    decision = chat.decision()
    decision.end("untracked")
    chat.keep(decision)
    assert chat.data("tracking.ended")[0]["reason"] == "untracked"
    told = len(chat.events)
    for fault in FAULTS:
        chat.read(fault)
    chat.read(listing(position(at=99)))
    chat.settle(Sent())
    assert not chat.started(began=200)
    assert not chat.stopped(ended=200)
    changes: list[Callable[[Decision], object]] = [
        lambda decision: decision.end("untracked"),
        lambda decision: decision.end("time_limit"),
        lambda decision: decision.forget(ANNA, ends_share=True),
        lambda decision: decision.forget(BERT, ends_share=False),
        lambda decision: webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=1),
    ]
    for change in changes:
        decision = chat.decision()
        change(decision)
        chat.keep(decision)
        assert chat.due is None
    assert len(chat.events) == told


def test_a_share_under_another_handle_is_reported_with_its_remedy() -> None:
    chat = TrackedChat(asked=False)
    decision = chat.decision()
    webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=1)
    chat.keep(decision)
    assert chat.data("sharing.unreadable") == [
        {"chat_id": CHAT, "share_id": SHARE, "shared_by": BERT, "remedy": "share from Messages"}
    ]


# One share after another


def ended(*, gone: bool) -> TrackedChat:
    chat = tracked()
    if gone:
        chat.wait(60).read(listing())
        chat.wait(30).read(listing())
    else:
        chat.wait(60).stopped(ended=65)
        chat.read(listing(position(at=5)))
    assert chat.share.ended == "sharing_stopped"
    return chat


def test_a_new_share_is_not_begun_by_what_lingers_of_the_last_one() -> None:
    old = ended(gone=False)
    chat = TrackedChat(asked=False, previous=old.share, now=200)
    assert chat.read(listing(position(at=5))) == []
    assert chat.wait(60).read(listing(position(at=66))) == ["sharing.started", "updated"]


def test_a_new_share_publishes_a_position_again_after_a_read_that_did_not_list_it() -> None:
    old = ended(gone=False)
    chat = TrackedChat(asked=False, previous=old.share, now=200)
    chat.read(listing())
    assert chat.wait(60).read(listing(position(at=5))) == ["sharing.started", "updated"]


def test_a_new_share_publishes_the_position_of_who_had_gone_and_is_back() -> None:
    old = ended(gone=True)
    chat = TrackedChat(asked=False, previous=old.share, now=200)
    assert chat.read(listing(position(at=5))) == ["sharing.started", "updated"]


def test_a_new_share_of_who_never_stopped_starts_with_the_position_as_it_is() -> None:
    old = tracked()
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    chat = TrackedChat(asked=False, previous=old.share, now=200)
    assert chat.read(listing(position(at=5))) == ["sharing.started", "updated"]


# The same time again


def test_an_address_that_comes_later_is_news_once_under_an_id_of_its_own() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0)))
    for address, locality, news in [
        (None, None, []),
        ("Riverside Building", None, ["updated"]),
        ("Riverside Building", None, []),
        ("Riverside Building", "London", ["updated"]),
        (None, None, []),
        ("Riverside Building", "London", []),
    ]:
        assert chat.wait(60).read(listing(position(at=0, address=address, locality=locality))) == news
    told = [event for event in chat.events if event.type == "location.updated"]
    assert len({event.id for event in told}) == 3
    assert len({event.time for event in told}) == 1
    assert chat.data("updated")[-1]["properties"]["locality"] == "London"


def test_an_address_that_comes_later_is_no_newer_position() -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0)))
    chat.wait(1000).read(listing(position(at=0, address="Riverside Building")))
    assert chat.wait(800).read(listing(position(at=0, address="Riverside Building"))) == ["sharing.stale"]


def test_an_address_found_again_with_its_position_is_the_fact_that_it_was() -> None:
    late, at_once = TrackedChat(asked=False), TrackedChat(asked=False)
    late.read(listing(position(at=0)))
    late.wait(60).read(listing(position(at=0, address="Riverside Building")))
    at_once.wait(60).read(listing(position(at=0, address="Riverside Building")))
    assert late.events[-1].id == at_once.events[-1].id != late.events[-2].id


@pytest.mark.parametrize(
    "other", [position(at=0, longitude=13.5), position(at=0, address="elsewhere"), position(at=0, locality="London")]
)
def test_another_change_under_the_same_time_is_counted_once_and_not_published(other: Position) -> None:
    chat = TrackedChat(asked=False)
    chat.read(listing(position(at=0, address="Riverside Building")))
    counted = []
    for shown in (other, other, position(at=0, address="Riverside Building")):
        decision = chat.wait(60).decision()
        reads.observe(decision, listing(shown))
        chat.keep(decision)
        counted.append(decision.corrected)
        assert decision.events == []
    assert counted == [True, False, False]

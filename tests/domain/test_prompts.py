"""What becomes of a request: when the contact is asked, asked again, or never."""

import pytest

from tests.support.tracking import ANNA, BEGINNING, CHAT, NANO, SHARE, Watch, listing, position
from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Later,
    Rejected,
    RejectionReason,
    Sent,
    Suspended,
    Throttled,
    Uncertain,
)
from worker.domain.share import PROMPT_IN_RESULTS, Prompt, describe, pack
from worker.domain.webhooks import Limits

GROUP = Rejected("group_chat", 409, 2016, "not in group chats")
LOST = Uncertain(possibly_sent=True, detail="timeout")
UNCONNECTED = Uncertain(possibly_sent=False, detail="connect")


def state(watch: Watch) -> Prompt:
    return watch.share.prompt


def read_until_prompted(watch: Watch, *, at_most: int = 100) -> int:
    """Read nobody whenever due until a prompt is; gives how many reads that took."""
    for reads in range(at_most):
        watch.wait_until_due()
        if watch.next_action() == "prompt":
            return reads
        watch.read(listing())
    raise AssertionError("no prompt")


def never_prompted(watch: Watch, *, reads: int = 40) -> None:
    for _ in range(reads):
        watch.wait_until_due()
        assert watch.next_action() == "read"
        watch.read(listing())


def test_a_request_is_on_the_stream_before_the_prompt_leaves() -> None:
    watch = Watch(accept_within=3600)
    assert watch.types == ["requested"]
    assert watch.data("requested") == [{"chat_id": CHAT, "share_id": SHARE, "expires_at": "2026-09-21T15:13:20.000Z"}]
    assert watch.next_action() == "prompt"
    assert watch.due_in == 0


def test_a_chat_that_is_tracked_is_never_prompted() -> None:
    watch = Watch(asked=False)
    assert watch.types == []
    assert watch.share.phase == "pending"
    never_prompted(watch)


def test_a_prompt_that_was_sent_is_never_repeated() -> None:
    watch = Watch()
    watch.prompt(Sent())
    assert state(watch) is Prompt.SENT
    never_prompted(watch)


def test_the_first_reads_after_a_prompt_follow_the_policy() -> None:
    watch = Watch()
    watch.prompt(Sent())
    moments = []
    for _ in range(4):
        watch.wait_until_due()
        moments.append(watch.now)
        watch.read(listing())
    assert moments == pytest.approx([13, 30, 51, 78], abs=1)


def test_an_uncertain_prompt_is_repeated_once_after_the_cool_down_and_a_read() -> None:
    watch = Watch()
    watch.prompt(LOST)
    assert state(watch) is Prompt.UNCERTAIN
    assert read_until_prompted(watch) > 0
    assert watch.now >= 600
    assert watch.share.read_at is not None
    assert watch.share.read_at - BEGINNING >= 600
    watch.prompt(LOST)
    never_prompted(watch)


def test_a_prompt_whose_worker_was_killed_is_uncertain() -> None:
    watch = Watch()
    watch.call()
    assert state(watch) is Prompt.CALLING
    watch.wait(30)
    assert watch.next_action() == "read"
    watch.read(listing())
    assert state(watch) is Prompt.UNCERTAIN
    read_until_prompted(watch)
    assert watch.now >= 600


def test_a_read_beside_a_prompt_that_is_under_way_does_not_doubt_it() -> None:
    watch = Watch()
    watch.call()
    watch.wait(5)
    assert watch.next_action() == "read"
    watch.read(listing(position(at=4)))
    assert state(watch) is Prompt.CALLING
    watch.settle(Sent())
    assert state(watch) is Prompt.SENT


def test_an_uncertain_prompt_is_not_repeated_while_no_read_succeeds() -> None:
    watch = Watch()
    watch.prompt(LOST)
    for _ in range(50):
        watch.wait(60)
        assert watch.next_action() == "read"
        watch.read(Fault("server_error", "HTTP 503"))


def test_an_uncertain_prompt_is_not_repeated_when_somebody_shares() -> None:
    watch = Watch()
    watch.prompt(LOST)
    watch.wait(60).read(listing(position(at=50)))
    for _ in range(3):
        watch.wait(1000)
        assert watch.next_action() == "read"
        watch.read(listing(position(at=50)))


def test_a_prompt_that_never_left_does_not_count() -> None:
    watch = Watch()
    for _ in range(4):
        watch.prompt(UNCONNECTED)
        assert watch.share.prompts == 0
        read_until_prompted(watch)


def test_without_a_cool_down_an_uncertain_prompt_still_waits_for_a_read() -> None:
    watch = Watch(limits=Limits(cooldown=0))
    watch.prompt(LOST)
    assert watch.next_action() == "read"
    assert read_until_prompted(watch) > 0
    assert watch.now >= 5


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (Later("throttled", 38.0), 38),
        (Later("throttled", 0.0), 3),
        (Later("throttled", None), 60),
        (Later("chat_being_created", None), 3),
        (Later("chat_being_created", 9.0), 9),
    ],
)
def test_a_prompt_that_may_not_be_sent_yet_waits(outcome: Later, seconds: float) -> None:
    watch = Watch()
    assert watch.prompt(outcome) == []
    assert state(watch) is Prompt.WAITING
    assert (watch.share.prompts, watch.share.prompted_at) == (0, None)
    read_until_prompted(watch)
    assert watch.now >= seconds
    watch.prompt(Sent())
    never_prompted(watch)


def test_after_a_throttled_prompt_the_location_is_read_before_the_next() -> None:
    watch = Watch()
    watch.prompt(Later("throttled", 38.0))
    watch.wait(38)
    assert watch.next_action() == "read"
    watch.read(listing())
    assert watch.due_in == 0
    assert watch.next_action() == "prompt"


def test_a_prompt_met_by_a_pause_goes_out_as_soon_as_it_ends() -> None:
    watch = Watch()
    watch.prompt(Suspended(401, 2004))
    assert watch.due_in == 0
    assert watch.next_action() == "prompt"


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("group_chat", 409, 2016),
        ("not_imessage", 409, 2017),
        ("chat_unavailable", 409, 2013),
        ("chat_not_found", 404, 2001),
        ("opted_out", 403, 2024),
        ("blocked", 403, 2026),
        ("line_not_eligible", 403, 2027),
        ("recipient_not_allowed", 403, 2008),
        ("forbidden", 403, 2005),
        ("invalid_request", 400, None),
    ],
)
def test_a_refused_prompt_ends_the_share_with_its_reason(
    reason: RejectionReason, status: int, code: int | None
) -> None:
    watch = Watch()
    assert watch.prompt(Rejected(reason, status, code, "no")) == ["request.rejected", "tracking.ended"]
    [data] = watch.data("request.rejected")
    assert (data["reason"], data["status"], data["code"], data["detail"]) == (reason, status, code, "no")
    assert watch.data("tracking.ended")[0]["reason"] == "request_rejected"
    assert watch.share.refusal == (reason, code)
    assert watch.due is None


def test_a_refusal_does_not_end_who_shares_already() -> None:
    watch = Watch()
    watch.call()
    watch.wait(1).started(began=0.5)
    assert watch.settle(GROUP) == []
    assert watch.share.ended is None


def test_already_sharing_is_settled_by_reading_at_once() -> None:
    watch = Watch()
    watch.prompt(AlreadySharing())
    assert watch.due_in == 0
    assert watch.read(listing(position(at=-30))) == ["sharing.started", "updated"]
    assert watch.share.conflict


def test_already_sharing_without_a_position_is_read_on_as_after_a_prompt() -> None:
    watch = Watch()
    watch.prompt(AlreadySharing())
    watch.read(listing())
    assert watch.due_in == pytest.approx(13, abs=1)
    never_prompted(watch)


def test_a_late_answer_to_a_prompt_is_still_of_use() -> None:
    watch = Watch()
    watch.call()
    watch.wait(31).read(listing())
    assert state(watch) is Prompt.UNCERTAIN
    watch.settle(Sent())
    assert state(watch) is Prompt.SENT
    assert watch.due_in == 0
    never_prompted(watch)


def test_a_late_refusal_ends_the_request() -> None:
    watch = Watch()
    watch.call()
    watch.wait(31).read(listing())
    assert watch.settle(GROUP) == ["request.rejected", "tracking.ended"]


def test_a_request_that_nobody_answers_expires_after_one_last_read() -> None:
    watch = Watch(accept_within=100)
    watch.prompt(Sent())
    last: list[str] = []
    while watch.share.ended is None:
        watch.wait_until_due()
        last = watch.read(listing())
    assert watch.now == 100
    assert last == ["request.expired", "tracking.ended"]
    assert watch.data("request.expired")[0]["waited_seconds"] == 100
    assert watch.data("tracking.ended")[0]["reason"] == "request_expired"


def test_who_accepts_just_before_the_last_read_is_followed() -> None:
    watch = Watch(accept_within=100)
    watch.prompt(Sent())
    watch.now = 100
    assert watch.read(listing(position(at=99))) == ["sharing.started", "updated"]
    assert watch.wait(1000).read(listing(position(at=99))) == []


def test_a_request_expires_later_where_the_last_reads_fail() -> None:
    watch = Watch(accept_within=100)
    watch.prompt(Sent())
    watch.now = 399
    assert watch.read(Fault("timeout", "")) == []
    watch.now = 400
    assert watch.read(Fault("timeout", "")) == ["request.expired", "tracking.ended"]


def test_a_request_does_not_expire_while_the_account_is_paused_or_throttled() -> None:
    watch = Watch(accept_within=100)
    watch.prompt(Sent())
    watch.now = 4000
    assert watch.read(Suspended(401, 2004)) == []
    assert watch.read(Throttled(None)) == []


def test_the_prompt_is_not_sent_after_the_request_has_expired() -> None:
    watch = Watch(accept_within=20)
    watch.prompt(Later("throttled", 60.0))
    while watch.share.ended is None:
        watch.wait_until_due()
        assert watch.next_action() == "read"
        watch.read(listing())
    assert watch.share.ended == "request_expired"


@pytest.mark.parametrize("outcome", [Sent(), LOST, AlreadySharing()])
def test_the_cool_down_holds_over_several_shares(outcome: Sent | Uncertain | AlreadySharing) -> None:
    old = Watch()
    old.prompt(outcome)
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    watch = Watch(previous=old.share, now=100)
    assert watch.types == ["requested"]
    assert watch.next_action() == "read"
    assert PROMPT_IN_RESULTS[watch.share.prompt] == "waiting"
    read_until_prompted(watch)
    assert watch.now >= 600


@pytest.mark.parametrize("outcome", [Later("throttled", 1.0), Suspended(401, 2004), GROUP])
def test_a_prompt_that_was_not_sent_starts_no_cool_down(outcome: Later | Suspended | Rejected) -> None:
    old = Watch()
    old.prompt(outcome)
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    watch = Watch(previous=old.share, now=100)
    assert watch.next_action() == "prompt"


def test_a_chat_that_was_tracked_between_two_requests_keeps_the_cool_down() -> None:
    first = Watch()
    first.prompt(Sent())
    second = Watch(asked=False, previous=first.share, now=50)
    third = Watch(previous=second.share, now=100)
    assert third.next_action() == "read"


def test_what_a_request_is_doing_can_be_told() -> None:
    watch = Watch(accept_within=100)
    assert watch.share.phase == "requested"
    watch.prompt(Sent())
    told = describe(watch.share)
    assert (told["phase"], told["prompt"], told["sequence"]) == ("pending", "sent", 1)
    assert told["expires_at"] == BEGINNING + 100
    watch.read(listing(position()))
    assert describe(watch.share)["phase"] == "tracking"
    assert describe(watch.share)["expires_at"] is None


def test_the_state_of_a_request_that_waits_is_small() -> None:
    watch = Watch(reference="a" * 32)
    watch.prompt(Sent())
    watch.wait(13).read(listing())
    assert len(watch.stored) <= 200
    assert pack(watch.share) == watch.stored
    assert ANNA.encode() not in watch.stored
    assert watch.share.begun_at * NANO == BEGINNING * NANO

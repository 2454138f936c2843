"""What becomes of a request: when the contact is asked, asked again, or never."""

import pytest

from location_client.data import RejectionReason
from tests.support.tracking import ANNA, BEGINNING, CHAT, NANO, SHARE, TrackedChat, listing, position
from worker.domain.decision import Limits
from worker.domain.observation import (
    AlreadySharing,
    Fault,
    Later,
    Rejected,
    Sent,
    Suspended,
    Throttled,
    Uncertain,
)
from worker.domain.share import PROMPT_IN_RESULTS, Prompt
from worker.store.packing import pack

GROUP = Rejected("group_chat", 409, 2016, "not in group chats")
LOST = Uncertain(possibly_sent=True, detail="timeout")
UNCONNECTED = Uncertain(possibly_sent=False, detail="connect")


def state(chat: TrackedChat) -> Prompt:
    return chat.share.prompt


def read_until_prompted(chat: TrackedChat, *, at_most: int = 100) -> int:
    """Read an empty list whenever due, until a prompt is due; return how many reads that took."""
    for reads in range(at_most):
        chat.wait_until_due()
        if chat.next_action() == "prompt":
            return reads
        chat.read(listing())
    raise AssertionError("no prompt")


def never_prompted(chat: TrackedChat, *, reads: int = 40) -> None:
    for _ in range(reads):
        chat.wait_until_due()
        assert chat.next_action() == "read"
        chat.read(listing())


def test_a_request_is_on_the_stream_before_the_prompt_leaves() -> None:
    chat = TrackedChat(accept_within=3600)
    assert chat.types == ["requested"]
    assert chat.data("requested") == [{"chat_id": CHAT, "share_id": SHARE, "expires_at": "2026-09-21T15:13:20.000Z"}]
    assert chat.next_action() == "prompt"
    assert chat.due_in == 0


def test_a_chat_that_is_tracked_is_never_prompted() -> None:
    chat = TrackedChat(asked=False)
    assert chat.types == []
    assert chat.share.phase == "pending"
    never_prompted(chat)


def test_a_prompt_that_was_sent_is_never_repeated() -> None:
    chat = TrackedChat()
    chat.prompt(Sent())
    assert state(chat) is Prompt.SENT
    never_prompted(chat)


def test_the_first_reads_after_a_prompt_follow_the_policy() -> None:
    chat = TrackedChat()
    chat.prompt(Sent())
    moments = []
    for _ in range(4):
        chat.wait_until_due()
        moments.append(chat.now)
        chat.read(listing())
    assert moments == pytest.approx([13, 30, 51, 78], abs=1)


def test_an_uncertain_prompt_is_repeated_once_after_the_cool_down_and_a_read() -> None:
    chat = TrackedChat()
    chat.prompt(LOST)
    assert state(chat) is Prompt.UNCERTAIN
    assert read_until_prompted(chat) > 0
    assert chat.now >= 600
    assert chat.share.read_at is not None
    assert chat.share.read_at - BEGINNING >= 600
    chat.prompt(LOST)
    never_prompted(chat)


def test_a_prompt_whose_worker_was_killed_is_uncertain() -> None:
    chat = TrackedChat()
    chat.call()
    assert state(chat) is Prompt.CALLING
    chat.wait(30)
    assert chat.next_action() == "read"
    chat.read(listing())
    assert state(chat) is Prompt.UNCERTAIN
    read_until_prompted(chat)
    assert chat.now >= 600


def test_the_cool_down_begins_when_the_prompt_leaves_not_when_it_was_decided_on() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(9).settle(LOST, left_at=8)
    read_until_prompted(chat)
    assert chat.now >= 608
    # If the worker was killed, nobody knows whether the prompt was sent, or when.
    chat = TrackedChat()
    chat.call()
    chat.wait(30).read(listing())
    read_until_prompted(chat)
    assert chat.now >= 630


def test_a_read_beside_a_prompt_that_is_under_way_does_not_doubt_it() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(5)
    assert chat.next_action() == "read"
    chat.read(listing(position(at=4)))
    assert state(chat) is Prompt.CALLING
    chat.settle(Sent())
    assert state(chat) is Prompt.SENT


def test_an_uncertain_prompt_is_not_repeated_while_no_read_succeeds() -> None:
    chat = TrackedChat()
    chat.prompt(LOST)
    for _ in range(50):
        chat.wait(60)
        assert chat.next_action() == "read"
        chat.read(Fault("server_error", "HTTP 503"))


def test_an_uncertain_prompt_is_not_repeated_when_somebody_shares() -> None:
    chat = TrackedChat()
    chat.prompt(LOST)
    chat.wait(60).read(listing(position(at=50)))
    for _ in range(3):
        chat.wait(1000)
        assert chat.next_action() == "read"
        chat.read(listing(position(at=50)))


def test_a_prompt_that_never_left_does_not_count() -> None:
    chat = TrackedChat()
    for _ in range(4):
        chat.prompt(UNCONNECTED)
        assert chat.share.prompts == 0
        read_until_prompted(chat)


def test_without_a_cool_down_an_uncertain_prompt_still_waits_for_a_read() -> None:
    chat = TrackedChat(limits=Limits(cooldown=0))
    chat.prompt(LOST)
    assert chat.next_action() == "read"
    assert read_until_prompted(chat) > 0
    assert chat.now >= 5


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (Later("throttled", 38.0), 38),
        (Later("throttled", 0.0), 3),
        (Later("throttled", None), 60),
        (Later("chat_being_created", None), 3),
        (Later("chat_being_created", 9.0), 9),
        (Later("refused_by_proxy", None), 600),
        (Later("refused_by_proxy", 5.0), 600),
        (Later("refused_by_proxy", 900.0), 900),
    ],
)
def test_a_prompt_that_may_not_be_sent_yet_waits(outcome: Later, seconds: float) -> None:
    chat = TrackedChat()
    assert chat.prompt(outcome) == []
    assert state(chat) is Prompt.WAITING
    assert (chat.share.prompts, chat.share.prompted_at) == (0, None)
    read_until_prompted(chat)
    assert chat.now >= seconds
    chat.prompt(Sent())
    never_prompted(chat)


def test_a_prompt_that_something_in_between_refuses_goes_out_as_long_as_the_request_lives() -> None:
    chat = TrackedChat()
    for times in range(1, 6):
        read_until_prompted(chat)
        chat.prompt(Later("refused_by_proxy", None))
        assert (chat.share.prompts, chat.share.prompted_at) == (0, None)
        assert chat.now >= 600 * (times - 1)
    read_until_prompted(chat)
    chat.prompt(Sent())
    never_prompted(chat)


def test_after_a_throttled_prompt_the_location_is_read_before_the_next() -> None:
    chat = TrackedChat()
    chat.prompt(Later("throttled", 38.0))
    chat.wait(38)
    assert chat.next_action() == "read"
    chat.read(listing())
    assert chat.due_in == 0
    assert chat.next_action() == "prompt"


def test_a_prompt_met_by_a_pause_goes_out_as_soon_as_it_ends() -> None:
    chat = TrackedChat()
    chat.prompt(Suspended(401, 2004))
    assert chat.due_in == 0
    assert chat.next_action() == "prompt"


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
    chat = TrackedChat()
    assert chat.prompt(Rejected(reason, status, code, "no")) == ["request.rejected", "tracking.ended"]
    [data] = chat.data("request.rejected")
    assert (data["reason"], data["status"], data["code"], data["detail"]) == (reason, status, code, "no")
    assert chat.data("tracking.ended")[0]["reason"] == "request_rejected"
    assert chat.share.refusal == (reason, code)
    assert chat.due is None


def test_a_refusal_does_not_end_who_shares_already() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(1).started(began=0.5)
    assert chat.settle(GROUP) == []
    assert chat.share.ended is None


def test_already_sharing_is_settled_by_reading_at_once() -> None:
    chat = TrackedChat()
    chat.prompt(AlreadySharing())
    assert chat.due_in == 0
    assert chat.read(listing(position(at=-30))) == ["sharing.started", "updated"]
    assert chat.share.conflict


def test_already_sharing_without_a_position_is_read_on_as_after_a_prompt() -> None:
    chat = TrackedChat()
    chat.prompt(AlreadySharing())
    chat.read(listing())
    assert chat.due_in == pytest.approx(13, abs=1)
    never_prompted(chat)


def test_a_late_answer_to_a_prompt_is_still_of_use() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(31).read(listing())
    assert state(chat) is Prompt.UNCERTAIN
    chat.settle(Sent())
    assert state(chat) is Prompt.SENT
    assert chat.due_in == 0
    never_prompted(chat)


def test_a_late_refusal_ends_the_request() -> None:
    chat = TrackedChat()
    chat.call()
    chat.wait(31).read(listing())
    assert chat.settle(GROUP) == ["request.rejected", "tracking.ended"]


def test_a_request_that_nobody_answers_expires_after_one_last_read() -> None:
    chat = TrackedChat(accept_within=100)
    chat.prompt(Sent())
    last: list[str] = []
    while chat.share.ended is None:
        chat.wait_until_due()
        last = chat.read(listing())
    assert chat.now == 100
    assert last == ["request.expired", "tracking.ended"]
    assert chat.data("request.expired")[0]["waited_seconds"] == 100
    assert chat.data("tracking.ended")[0]["reason"] == "request_expired"


def test_who_accepts_just_before_the_last_read_is_followed() -> None:
    chat = TrackedChat(accept_within=100)
    chat.prompt(Sent())
    chat.now = 100
    assert chat.read(listing(position(at=99))) == ["sharing.started", "updated"]
    assert chat.wait(1000).read(listing(position(at=99))) == []


@pytest.mark.parametrize(("accept_within", "end"), [(100, 200), (1000, 1300)])
def test_a_request_expires_later_where_the_last_reads_fail(accept_within: float, end: float) -> None:
    chat = TrackedChat(accept_within=accept_within)
    chat.prompt(Sent())
    chat.now = end - 1
    assert chat.read(Fault("timeout", "")) == []
    assert chat.wait_until_due().now == pytest.approx(end)
    assert chat.read(Fault("timeout", "")) == ["request.expired", "tracking.ended"]


def test_a_request_does_not_expire_while_the_account_is_paused_or_throttled() -> None:
    chat = TrackedChat(accept_within=100)
    chat.prompt(Sent())
    chat.now = 4000
    assert chat.read(Suspended(401, 2004)) == []
    assert chat.read(Throttled(None)) == []


def test_the_prompt_is_not_sent_after_the_request_has_expired() -> None:
    chat = TrackedChat(accept_within=20)
    chat.prompt(Later("throttled", 60.0))
    while chat.share.ended is None:
        chat.wait_until_due()
        assert chat.next_action() == "read"
        chat.read(listing())
    assert chat.share.ended == "request_expired"


@pytest.mark.parametrize("outcome", [Sent(), LOST, AlreadySharing()])
def test_the_cool_down_holds_over_several_shares(outcome: Sent | Uncertain | AlreadySharing) -> None:
    old = TrackedChat()
    old.prompt(outcome)
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    chat = TrackedChat(previous=old.share, now=100)
    assert chat.types == ["requested"]
    assert chat.next_action() == "read"
    assert PROMPT_IN_RESULTS[chat.share.prompt] == "waiting"
    read_until_prompted(chat)
    assert chat.now >= 600


@pytest.mark.parametrize("outcome", [Later("throttled", 1.0), Suspended(401, 2004), GROUP])
def test_a_prompt_that_was_not_sent_starts_no_cool_down(outcome: Later | Suspended | Rejected) -> None:
    old = TrackedChat()
    old.prompt(outcome)
    decision = old.decision()
    decision.end("untracked")
    old.keep(decision)
    chat = TrackedChat(previous=old.share, now=100)
    assert chat.next_action() == "prompt"


def test_a_chat_that_was_tracked_between_two_requests_keeps_the_cool_down() -> None:
    first = TrackedChat()
    first.prompt(Sent())
    second = TrackedChat(asked=False, previous=first.share, now=50)
    third = TrackedChat(previous=second.share, now=100)
    assert third.next_action() == "read"


def test_what_a_request_is_doing_can_be_told() -> None:
    chat = TrackedChat(accept_within=100)
    waiting = chat.share
    assert waiting.phase == "requested"
    chat.prompt(Sent())
    asked = chat.share
    assert (asked.phase, PROMPT_IN_RESULTS[asked.prompt], asked.expires_at) == ("pending", "sent", BEGINNING + 100)
    chat.read(listing(position()))
    seen = chat.share
    assert seen.phase == "tracking"


def test_the_state_of_a_request_that_waits_is_small() -> None:
    chat = TrackedChat(reference="a" * 32)
    chat.prompt(Sent())
    chat.wait(13).read(listing())
    assert len(chat.stored) <= 200
    assert pack(chat.share) == chat.stored
    assert ANNA.encode() not in chat.stored
    assert chat.share.begun_at * NANO == BEGINNING * NANO

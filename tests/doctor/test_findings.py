"""What the doctor concludes from facts."""

from typing import Any

import pytest

from config.settings import Settings
from worker.doctor import findings
from worker.doctor.findings import Finding
from worker.linq.client import PhoneLine, Subscription
from worker.polling.engine import GIVE_BACK_SECONDS
from worker.processes.worker import CLOSING_SECONDS, MAX_READ_SECONDS
from worker.store.pause import PauseState
from worker.store.shares import Overview


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


def subscription(**changes: Any) -> Subscription:
    values: dict[str, Any] = {
        "id": "s",
        "target_url": "https://hooks.example.org/webhooks/linq?version=2026-02-03",
        "subscribed_events": ["location.sharing.started", "location.sharing.stopped"],
        "phone_numbers": [],
        "is_active": True,
        "signing_secret": None,
    }
    return Subscription(**{**values, **changes})


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.2, "ok"), (-4.0, "ok"), (-20.0, "warning"), (20.0, "warning"), (61.0, "wrong")]
)
def test_a_clock_is_wrong_from_a_minute_on(ahead: float, level: str) -> None:
    assert findings.judge_clock("clock", ahead).level == level


def test_a_clock_says_in_which_direction() -> None:
    assert "20 s behind" in findings.judge_clock("clock", 20.0).found
    assert "20 s ahead" in findings.judge_clock("clock", -20.0).found


@pytest.mark.parametrize(
    ("due", "oldest", "reported", "level"),
    [
        (0, 0.0, True, "ok"),
        (0, 0.0, False, "warning"),
        (80, 2.0, True, "ok"),
        (80, 30.0, True, "warning"),
        (80, 90.0, True, "wrong"),
        (1, 90.0, False, "wrong"),
    ],
)
def test_a_queue_is_judged_by_its_oldest_job(due: int, oldest: float, reported: bool, level: str) -> None:
    assert findings.judge_queue(due, oldest, reported=reported).level == level


@pytest.mark.parametrize(
    ("lag", "paused", "level"),
    [(0.0, False, "ok"), (40.0, False, "warning"), (600.0, False, "wrong"), (600.0, True, "ok")],
)
def test_overdue_shares_are_wrong_unless_everything_is_paused(lag: float, paused: bool, level: str) -> None:
    overview = Overview({"requested": 1, "pending": 2, "tracking": 3}, lag)
    finding = findings.judge_shares(overview, paused=paused)
    assert finding.level == level
    assert "3 tracking" in finding.found


def test_a_pause_is_wrong_and_says_why() -> None:
    finding = findings.judge_pause(PauseState("Linq answered 401", 100.0, 160.0), 142.0)
    assert not finding.ok
    assert "Linq answered 401" in finding.found
    assert "42 s" in finding.found
    assert findings.judge_pause(None, 142.0).ok


def test_a_cut_rate_is_a_warning() -> None:
    assert findings.judge_rate(16.0, 20.0).level == "warning"
    assert findings.judge_rate(20.0, 20.0).level == "ok"


def test_dead_letters_are_counted_by_kind() -> None:
    assert findings.judge_dead_letters({}, 100).level == "ok"
    assert findings.judge_dead_letters({"webhook": 1, "job": 2}, 100).found == "2 job, 1 webhook within the last hour"
    assert findings.judge_dead_letters({"job": 100}, 100).found.startswith("at least 100 job")


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ([PhoneLine("+14155550100", "iMessage", "HEALTHY")], "ok"),
        ([PhoneLine("+14155550100", None, None)], "ok"),
        ([PhoneLine("+14155550100", "iMessage", "CRITICAL")], "warning"),
        ([PhoneLine("+14155550100", "RCS", "HEALTHY")], "wrong"),
        ([], "warning"),
    ],
)
def test_lines_are_judged_without_showing_their_numbers(lines: list[PhoneLine], level: str) -> None:
    finding = findings.judge_lines(lines)
    assert finding.level == level
    assert "4155550100" not in finding.found


@pytest.mark.parametrize(
    ("status", "code", "level", "remedy"),
    [
        (0, None, "wrong", "LINQ_API_V3_BASE_URL"),
        (401, 2004, "wrong", "LINQ_API_V3_API_KEY"),
        (403, 2011, "wrong", "enable locations"),
        (403, 2005, "wrong", "dashboard"),
        (404, None, "wrong", "LINQ_API_V3_BASE_URL"),
        (429, 1007, "warning", "later"),
        (503, 4004, "warning", "by itself"),
    ],
)
def test_each_refusal_of_linq_has_its_remedy(status: int, code: int | None, level: str, remedy: str) -> None:
    finding = findings.judge_refusal("linq key", status, code)
    assert finding.level == level
    assert remedy in finding.remedy


def test_an_active_subscription_for_both_events_is_fine() -> None:
    assert findings.judge_subscriptions([subscription()], secrets=1).level == "ok"


@pytest.mark.parametrize(
    ("subscriptions", "secrets", "said"),
    [
        ([], 1, "only polling"),
        ([subscription(target_url="https://hooks.example.org/other")], 1, "only polling"),
        ([subscription(is_active=False)], 1, "inactive"),
        ([subscription(subscribed_events=["location.sharing.started"])], 1, "lacks"),
        ([subscription()], 0, "LINQ_WEBHOOK_SECRET"),
    ],
)
def test_missing_webhooks_are_a_warning(subscriptions: list[Subscription], secrets: int, said: str) -> None:
    finding = findings.judge_subscriptions(subscriptions, secrets=secrets)
    assert finding.level == "warning"
    assert said in finding.found
    assert finding.remedy


def test_a_subscription_of_some_lines_says_so() -> None:
    some = subscription(phone_numbers=["+14155550100"])
    assert "some lines only" in findings.judge_subscriptions([some], secrets=1).found


@pytest.mark.parametrize(
    ("status", "code", "level", "remedy"),
    [
        (200, None, "ok", ""),
        (0, None, "wrong", "CHERT_BASE_URL"),
        (401, 2004, "wrong", "CHERT_SIGNING_SECRET"),
        (401, 2013, "wrong", "clock"),
        (404, 2001, "wrong", "CHERT_TENANT"),
        (402, 2008, "wrong", "limit"),
        (503, 3002, "warning", "later"),
        (418, None, "wrong", "CHERT_BASE_URL"),
    ],
)
def test_each_answer_of_chert_has_its_remedy(status: int, code: int | None, level: str, remedy: str) -> None:
    finding = findings.judge_chert(status, code)
    assert finding.level == level
    assert remedy in finding.remedy


def test_missing_settings_are_wrong_and_odd_ones_a_warning() -> None:
    assert levels(findings.judge_settings(Settings(), [])) == {"settings": "ok"}
    assert not findings.judge_settings(Settings(), ["REDIS_URL: not set"])[0].ok
    short = findings.judge_settings(Settings(shutdown_grace_seconds=2), [])
    assert [finding.level for finding in short] == ["warning"]
    endless = findings.judge_settings(Settings(events_maxlen=0, events_retention_seconds=0), [])
    assert [finding.level for finding in endless] == ["warning"]


@pytest.mark.parametrize(("minimum", "level"), [(15, "warning"), (29.9, "warning"), (30, "ok"), (300, "ok")])
def test_reading_far_more_often_than_linq_asks_for_is_a_warning(minimum: float, level: str) -> None:
    (found,) = findings.judge_settings(Settings(min_poll_seconds=minimum), [])
    assert found.level == level
    assert ("min_interval" in found.remedy) == (level == "warning")


def test_only_what_is_wrong_is_not_ok_and_every_fault_has_a_remedy() -> None:
    made = [
        findings.fine("a", "b"),
        findings.warn("a", "b", "c"),
        findings.wrong("a", "b", "c"),
        findings.skipped("a", "b"),
    ]
    assert [finding.ok for finding in made] == [True, True, False, True]
    assert [bool(finding.remedy) for finding in made] == [False, True, True, False]


def test_the_grace_is_judged_by_what_a_read_and_the_end_of_a_worker_may_take() -> None:
    assert findings.READ_SECONDS == MAX_READ_SECONDS
    assert findings.ENDING_SECONDS == GIVE_BACK_SECONDS + CLOSING_SECONDS

"""What `location-worker doctor` concludes: facts in, findings out, without any I/O."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from config.settings import Settings
from worker.linq.client import PhoneLine, Subscription
from worker.store.account_events import Announced
from worker.store.lost_lines import LostLine
from worker.store.pause import PauseState
from worker.store.shares import Overview
from worker.text import counted

Level = Literal["ok", "warning", "wrong", "skipped"]

LOCATION_EVENTS = frozenset({"location.sharing.started", "location.sharing.stopped"})
WEBHOOK_PATH = "/webhooks/linq"
READ_SECONDS = 10.0  # docs/reference/settings.md, LEASE_SECONDS
ENDING_SECONDS = 6.0  # of SHUTDOWN_GRACE_SECONDS: to commit, give back and close, at most
HASTY_POLL_SECONDS = 30.0  # half the default, which is already at the lower end of Linq's advice
CLOCK_NOTICED_SECONDS = 5.0
CLOCK_HARMFUL_SECONDS = 60.0  # from here on arq runs cron jobs twice; signatures fail at 300 s
QUEUE_NOTICED_SECONDS = 10.0
QUEUE_HARMFUL_SECONDS = 60.0  # a crashed worker's jobs wait 40 s
LATE_NOTICED_SECONDS = 30.0
ACCOUNT_EVENT_SECONDS = 7 * 86_400.0
SHOWN_CHATS = 5
LATE_HARMFUL_SECONDS = 120.0

# Codes that mean that every pin fails until a person acts.
_CHERT_REMEDIES = {
    2001: "correct CHERT_TENANT",
    2004: "set CHERT_SIGNING_SECRET to the secret of Chert's console; a rotated one is invalid at once",
    2005: "ask Chert: the tenant is suspended",
    2007: "verify the account's e-mail address at Chert",
    2008: "raise the account's limit at Chert",
    2012: "set CHERT_SIGNING_SECRET",
    3003: "ask Chert's support: the delivery service is not configured",
}


class Finding(NamedTuple):
    """One check: `found` is the state, `remedy` what to do. Only `wrong` makes `ok` false; `skipped` is the reason."""

    check: str
    ok: bool
    level: Level
    found: str
    remedy: str


def fine(check: str, found: str) -> Finding:
    """Report what is as it should be."""
    return Finding(check, True, "ok", found, "")


def warn(check: str, found: str, remedy: str) -> Finding:
    """Report what works, but not as well or as safely as it could."""
    return Finding(check, True, "warning", found, remedy)


def wrong(check: str, found: str, remedy: str) -> Finding:
    """Report what does not work, or is about to fail."""
    return Finding(check, False, "wrong", found, remedy)


def skipped(check: str, why: str) -> Finding:
    """Report a check that could not be made or has nothing to look at."""
    return Finding(check, True, "skipped", f"not checked: {why}", "")


def judge_settings(settings: Settings, complaints: Sequence[str]) -> list[Finding]:
    """Judge values that are valid one by one; `complaints` are the lines about wrong and missing ones."""
    findings = [wrong("settings", line, "correct it in the environment or in .env") for line in complaints]
    longest_read = min(READ_SECONDS, 0.8 * settings.lease_seconds)
    needed = longest_read + ENDING_SECONDS
    if settings.shutdown_grace_seconds < needed:
        findings.append(
            warn(
                "settings",
                f"SHUTDOWN_GRACE_SECONDS {settings.shutdown_grace_seconds:g} is too short for the longest read "
                f"({longest_read:g} s) and the end ({ENDING_SECONDS:g} s): a stopping worker gives back what it reads",
                f"set it to {needed:g} or more",
            )
        )
    if not settings.events_maxlen and not settings.events_retention_seconds:
        findings.append(
            warn(
                "settings",
                "EVENTS_MAXLEN and EVENTS_RETENTION_SECONDS are both 0: the event stream grows for ever",
                "set one of them",
            )
        )
    if settings.min_poll_seconds < HASTY_POLL_SECONDS:
        findings.append(
            warn(
                "settings",
                f"MIN_POLL_SECONDS {settings.min_poll_seconds:g} is far below Linq's advice: read a chat "
                '"once every few minutes"',
                "set it to 60 or more; a job that needs a chat sooner sets min_interval for itself",
            )
        )
    return findings or [fine("settings", "every variable is valid, and all that a worker needs is set")]


def judge_clock(check: str, ahead: float) -> Finding:
    """Judge another clock by how many seconds it is ahead of this machine's."""
    if abs(ahead) < CLOCK_NOTICED_SECONDS:
        return fine(check, "less than 5 s apart")
    found = f"this machine's clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead'}"
    remedy = "run chrony, systemd-timesyncd or another NTP client on both machines"
    if abs(ahead) < CLOCK_HARMFUL_SECONDS:
        return warn(check, found, remedy)
    return wrong(check, f"{found}: from 5 minutes on, webhooks are refused", remedy)


def judge_queue(due: int, oldest: float, *, reported: bool) -> Finding:
    """Judge the jobs that are due (running ones included), the oldest for `oldest` seconds.

    `reported`: within half a minute a worker has reported that it runs.
    """
    found = f"{counted(due, 'job')} due" + (f", the oldest for {oldest:.0f} s" if due else "")
    if due and oldest > QUEUE_HARMFUL_SECONDS:
        remedy = "start more workers" if reported else "start `location-worker worker` on this Redis and QUEUE_NAME"
        return wrong("queue", found, f"{remedy}; its logs say what they wait for")
    if not reported:
        return warn(
            "queue",
            f"{found}; no worker has reported for half a minute",
            "start `location-worker worker`, unless one has just started or stopped",
        )
    if due and oldest > QUEUE_NOTICED_SECONDS:
        return warn("queue", found, "watch it; if it grows, start another worker")
    return fine("queue", found)


def judge_shares(overview: Overview, *, paused: bool) -> Finding:
    """Judge how late the most overdue share is."""
    phases = ", ".join(f"{count} {phase}" for phase, count in overview.phases.items())
    found = f"{phases}; the most overdue is {overview.lag:.0f} s late"
    if paused:
        return fine("shares", f"{found} (everything is paused)")
    if overview.lag > LATE_HARMFUL_SECONDS:
        return wrong(
            "shares",
            found,
            "is a worker running? If so, start another or raise LINQ_REQUESTS_PER_SECOND",
        )
    if overview.lag > LATE_NOTICED_SECONDS:
        return warn("shares", found, "watch location_due_lag_seconds; if it grows, start another worker")
    return fine("shares", found)


def judge_pause(pause: PauseState | None, now: float) -> Finding:
    """Judge whether everything is paused; `now` in seconds since 1970 (UTC)."""
    if pause is None:
        return fine("pause", "not paused")
    return wrong(
        "pause",
        f"{pause.reason}: for {max(0.0, now - pause.since):.0f} s nothing but one probe a minute has gone to Linq",
        "401: renew LINQ_API_V3_API_KEY and restart the workers; 403/2011: ask Linq to enable locations. "
        "Polling then resumes by itself",
    )


def judge_lost_lines(lines: Sequence[LostLine], now: float) -> Finding:
    """Judge whether chats wait because the key has lost their lines; `now` in seconds since 1970 (UTC)."""
    if not lines:
        return fine("lost lines", "no chat waits for its line")
    first = min(lines, key=lambda line: line.pause.since)
    chats = sum(line.chats for line in lines)
    return wrong(
        "lost lines",
        f"{counted(chats, 'chat')} waiting for {max(0.0, now - first.pause.since):.0f} s: {first.pause.reason} to most "
        "reads of a line, or of all lines. One chat is tried each minute",
        "give the key its lines back in Linq's dashboard, or untrack the chats. Polling then resumes by itself",
    )


def judge_account_events(events: Sequence[Announced], now: float) -> Finding:
    """Judge what Linq announced about the account; `now` in seconds since 1970 (UTC)."""
    warnings = [event for event in events if now - event.at < ACCOUNT_EVENT_SECONDS and event.note != "ACTIVE"]
    if not warnings:
        return fine("account events", "no warning within a week")
    told = ", ".join(
        f"{event.event_type}{event.note and f' ({event.note})'} {max(0.0, now - event.at) / 3600:.0f} h ago"
        for event in warnings
    )
    return warn("account events", told, "see Linq's dashboard, and the finding on lines below")


def judge_reach(unreached: Sequence[str], *, known: int, unknown: int) -> Finding:
    """Judge whether the key reaches the lines of the tracked chats; `unreached` are chats whose line it does not list.

    `known` and `unknown`: for how many chats the line is known, and for how many not.
    """
    more = f"; the line of {counted(unknown, 'chat')} is not known" if unknown else ""
    if not unreached:
        return fine("lines", f"the key reaches the lines of {counted(known, 'tracked chat')}{more}")
    shown = ", ".join(unreached[:SHOWN_CHATS]) + (", …" if len(unreached) > SHOWN_CHATS else "")
    return wrong(
        "lines",
        f"the key does not reach the lines of {counted(len(unreached), 'tracked chat')}: {shown}{more}",
        "give the key these lines in Linq's dashboard, or untrack the chats",
    )


def judge_pins_pause(pause: PauseState | None, now: float) -> Finding:
    """Judge whether pins are paused; `now` in seconds since 1970 (UTC)."""
    if pause is None:
        return fine("pins", "not paused")
    return wrong(
        "pins",
        f"{pause.reason}: for {max(0.0, now - pause.since):.0f} s nothing but one probe a minute has gone to Chert",
        "check CHERT_SIGNING_SECRET, CHERT_TENANT and the account at Chert. Pins then resume by themselves",
    )


def judge_rate(rate: float, ceiling: float) -> Finding:
    """Judge the rate, in requests per second, that the last 429 left."""
    if rate < ceiling:
        return warn(
            "request budget",
            f"Linq answered 429: cut to {rate:.3g} of {ceiling:g} requests per second, recovering within the hour",
            "if it recurs, lower LINQ_REQUESTS_PER_SECOND or agree on more with Linq",
        )
    return fine("request budget", f"{ceiling:g} requests per second")


def judge_dead_letters(kinds: Mapping[str, int], most: int) -> Finding:
    """Judge the dead letters of the last hour; at most `most` were counted."""
    count = sum(kinds.values())
    if not count:
        return fine("dead letters", "none within the last hour")
    listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return warn(
        "dead letters",
        f"{'at least ' if count >= most else ''}{listed} within the last hour",
        "read them as docs/operations.md says: XREVRANGE {KEY_PREFIX}:dead-letters + - COUNT 5",
    )


def judge_unknown_fields(names: Sequence[str]) -> Finding:
    """Judge the fields that Linq sends with positions and that this version does not know."""
    if not names:
        return fine("linq fields", "all known to this version")
    found = f"Linq sends fields with positions that this version does not know: {', '.join(names)}"
    return Finding("linq fields", True, "ok", found, "see whether a newer version reads them")


def judge_lines(lines: Sequence[PhoneLine]) -> Finding:
    """Judge what an accepted key reaches."""
    if not lines:
        return warn("linq key", "accepted, but the account has no phone line", "add a line in Linq's dashboard")
    found = f"accepted; {counted(len(lines), 'line')}"
    if all(line.line_type == "RCS" for line in lines):
        return wrong("linq key", f"{found}, none of them iMessage", "locations need an iMessage line: ask Linq")
    poor = sum(line.reputation == "CRITICAL" for line in lines)
    if poor:
        return warn("linq key", f"{found}, {poor} with a CRITICAL reputation", "see Linq's dashboard")
    return fine("linq key", found)


def judge_refusal(check: str, status: int, code: int | None) -> Finding:
    """Judge a call to Linq that did not succeed; `status` 0: no answer."""
    shown = f"Linq answered {status}" + (f"/{code}" if code is not None else "")
    if status == 0:
        return wrong(check, "Linq does not answer", "check the network, proxies and LINQ_API_V3_BASE_URL")
    if status == 401:
        return wrong(check, shown, "set LINQ_API_V3_API_KEY to a valid token of Linq's dashboard")
    if status == 403 and code == 2011:
        return wrong(check, shown, "ask Linq to enable locations for the account")
    if status == 429:
        return warn(check, shown, "try again later; if it happens often, lower LINQ_REQUESTS_PER_SECOND")
    if status == 404:
        return wrong(check, shown, "correct LINQ_API_V3_BASE_URL: paths below it start with /v3/")
    if status >= 500:
        return warn(check, shown, "a fault at Linq; the worker backs off and goes on by itself")
    return wrong(check, shown, "check LINQ_API_V3_BASE_URL, and the account in Linq's dashboard")


def judge_subscriptions(subscriptions: Sequence[Subscription], *, secrets: int) -> Finding:
    """Judge whether webhooks can arrive; `secrets`: how many LINQ_WEBHOOK_SECRET holds."""
    here = [one for one in subscriptions if urlsplit(one.target_url).path.endswith(WEBHOOK_PATH)]
    useful = [one for one in here if one.is_active is not False and set(one.subscribed_events) >= LOCATION_EVENTS]
    slower = "without webhooks, only polling finds beginnings and ends, which is slower"
    if not here:
        return warn(
            "webhooks",
            f"no subscription ends in {WEBHOOK_PATH}: {slower}",
            f"location-worker webhooks register https://YOUR-HOST{WEBHOOK_PATH}",
        )
    if not useful:
        return warn(
            "webhooks",
            f"the subscription is inactive or lacks one of the two location events: {slower}",
            "delete and register it again: location-worker webhooks list | delete ID | register URL",
        )
    if not secrets:
        return warn(
            "webhooks",
            "there is a subscription, but LINQ_WEBHOOK_SECRET is not set here: `web` would answer 503",
            "set it for `web`; if the secret is lost, delete the subscription and register the URL again",
        )
    only = "" if any(not one.phone_numbers for one in useful) else ", for some lines only"
    return fine("webhooks", f"{counted(len(useful), 'active subscription')}{only}")


def judge_chert(status: int, code: int | None) -> Finding:
    """Judge the answer to the cheapest authenticated call; `status` 0: no answer."""
    if 200 <= status < 300:
        return fine("chert secret", "accepted")
    shown = f"Chert answered {status}" + (f"/{code}" if code is not None else "")
    if status == 0:
        return wrong("chert secret", "Chert does not answer", "check the network, proxies and CHERT_BASE_URL")
    if code == 2013:
        return wrong("chert secret", shown, "set this machine's clock")
    if code in _CHERT_REMEDIES:
        return wrong("chert secret", shown, _CHERT_REMEDIES[code])
    if status == 429 or status >= 500:
        return warn("chert secret", shown, "a temporary fault at Chert: try again later")
    return wrong("chert secret", shown, "check CHERT_SIGNING_SECRET, CHERT_TENANT and CHERT_BASE_URL")

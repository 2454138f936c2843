"""Check the promises against what happened: the simulator's answers on one side, a consumer's events on the other.

A consumer sees entries at least once and drops repeats by `id`; `kept` is what is left, in order of arrival. Redis may
lose its last moments in a rollback. Then consumers may have seen more than the worker knows, so a wrong order across a
rollback is excused; everything after it counts again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.answers import Answer
from tests.support import oracle
from tests.support.crossings import Crossed, Crossing, Place, Presence, proves
from tests.support.oracle import Disturbance, Fix

MAX_PROMPTS = 2  # one, and one more if it cannot be known whether the first was sent
# No chat of a run is ever gone: reads are refused only while the key has lost the line.
ENDS_OF_THE_GONE = frozenset({"chat_not_found", "chat_unavailable", "forbidden"})
MAX_ORDERS = 4  # docs/reference/jobs.md, stop_sharing: what a proxy refuses is tried so often
DELIVERY_SECONDS = 1.0  # until a consumer has what was written, at most


@dataclass
class Trouble(Disturbance):
    """From `begin` to `end` (seconds since 1970 UTC) something was broken.

    `rollback`: Redis may have lost data meanwhile.
    """

    rollback: bool = False


@dataclass(frozen=True)
class Delivery:
    """An event as the consumer got it, at `at` (seconds since 1970 UTC)."""

    id: str
    type: str
    chat_id: str
    share_id: str
    subject: str
    data: dict[str, Any]
    at: float


@dataclass
class Verdict:
    """What was found: `faults` are broken promises, `figures` what was counted."""

    faults: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)


def judge(
    deliveries: Sequence[Delivery],
    answers: Sequence[Answer],
    troubles: Sequence[Trouble],
    *,
    chats: Iterable[str],
    lost_shares: Iterable[str],
    cooldown: float,
    rate: float,
    request_times: Sequence[float],
    places: Mapping[str, Sequence[Place]] | None = None,
    until: Mapping[str, str] | None = None,
    stop_when_done: Iterable[str] = (),
) -> Verdict:
    """Judge a run. Each chat was requested once; `lost_shares` are shares that Redis no longer knows.

    `places`, `until` and `stop_when_done`: of the chats that were requested with them.
    """
    verdict = Verdict()
    kept = _drop_repeats(deliveries, verdict)
    stopping = set(stop_when_done)
    rollbacks = [trouble for trouble in troubles if trouble.rollback]
    reads: dict[str, list[Answer]] = defaultdict(list)
    others: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.chat_id is not None:
            (reads if answer.endpoint == "read" else others)[answer.chat_id].append(answer)
    events: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in kept:
        events[delivery.chat_id].append(delivery)
    for chat_id in chats:
        _judge_positions(chat_id, events[chat_id], reads[chat_id], troubles, verdict)
        _judge_order(chat_id, events[chat_id], rollbacks, set(lost_shares), verdict)
        _judge_crossings(
            chat_id,
            events[chat_id],
            rollbacks,
            verdict,
            places=(places or {}).get(chat_id, ()),
            until=(until or {}).get(chat_id),
        )
        _judge_ends(chat_id, events[chat_id], others[chat_id], verdict)
        if chat_id in stopping:
            _judge_orders(chat_id, events[chat_id], others[chat_id], rollbacks, verdict)
        _judge_prompts(chat_id, answers, cooldown, verdict)
    try:
        oracle.check_budget(request_times, rate)
    except AssertionError as error:
        verdict.faults.append(f"budget: {error}")
    verdict.figures["requests to Linq"] = len(request_times)
    verdict.figures["prompts on a phone"] = sum(answer.prompted for answer in answers)
    return verdict


def _drop_repeats(deliveries: Sequence[Delivery], verdict: Verdict) -> list[Delivery]:
    """Keep the first event of each id; two facts with one id are a fault."""
    facts: dict[str, tuple[str, str, str]] = {}
    kept = []
    for delivery in deliveries:
        fact = (delivery.type, delivery.subject, _moment(delivery))
        if delivery.id not in facts:
            facts[delivery.id] = fact
            kept.append(delivery)
        elif facts[delivery.id] != fact:
            verdict.faults.append(f"ids: {delivery.id} stands for {facts[delivery.id][0]} and for {delivery.type}")
        else:
            verdict.figures["repeats dropped by id"] += 1
    verdict.figures["events kept"] = len(kept)
    return kept


def _moment(delivery: Delivery) -> str:
    """Return what distinguishes two positions; other facts may have different words the second time."""
    return str(delivery.data["properties"]["updated_at"]) if delivery.type == "location.updated" else ""


def _judge_positions(
    chat_id: str, events: Sequence[Delivery], reads: Sequence[Answer], troubles: Sequence[Trouble], verdict: Verdict
) -> None:
    shown: dict[str, dict[Fix, bool]] = defaultdict(dict)
    for index, answer in enumerate(reads):
        following = reads[index + 1].received_at if index + 1 < len(reads) else float("inf")
        used = oracle.surely_used(answer, following, troubles, float("inf"))
        for handle, fix in oracle.shown(answer):
            shown[handle][fix] = shown[handle].get(fix, False) or used
    published: dict[str, list[Fix]] = defaultdict(list)
    stops: dict[str, int] = {}
    for delivery in events:
        data = delivery.data
        if delivery.type == "location.updated":
            published[delivery.subject].append(oracle.fix_of(data["geometry"]["coordinates"], data["properties"]))
        elif delivery.type == "location.sharing.stopped":
            stops[delivery.subject] = oracle.nanoseconds(data["ended_at"])
    for handle in shown.keys() | published.keys():
        fixes = published[handle]
        verdict.figures["positions kept"] += len(fixes)
        for fix in fixes:
            if fix not in shown[handle]:
                verdict.faults.append(f"positions: chat {chat_id}: one was published that was never shown")
        times = [fix.updated_at or 0 for fix in fixes]
        # The same position with a new address is published again.
        if len({(fix.updated_at, fix.address is None, fix.locality is None) for fix in fixes}) != len(fixes):
            verdict.faults.append(f"positions: chat {chat_id}: one was published twice")
        elif sorted(times) != times:
            verdict.faults.append(f"positions: chat {chat_id}: an older one after a newer one")
        for fix, used in shown[handle].items():
            if fix in fixes:
                continue
            if used and (fix.updated_at or 0) > stops.get(handle, 0):
                verdict.faults.append(f"positions: chat {chat_id}: one was shown in calm and never published")
            else:
                verdict.figures["positions lost in trouble"] += 1


def _judge_order(
    chat_id: str, events: Sequence[Delivery], rollbacks: Sequence[Trouble], lost_shares: set[str], verdict: Verdict
) -> None:
    sharing: set[str] = set()
    ended: set[str] = set()
    over: set[str] = set()  # of those that ended, the ones that Redis has not brought back
    shares: set[str] = set()
    last_at = 0.0
    for delivery in events:
        excused = _overlaps(rollbacks, last_at, delivery.at)
        last_at = delivery.at
        share_id = delivery.share_id
        shares.add(share_id)
        fault = ""
        if excused:
            over.discard(share_id)
        if share_id in over:
            fault = f"{delivery.type} after location.tracking.ended"
        elif delivery.type == "location.sharing.started":
            fault = "started twice" if delivery.subject in sharing else ""
            sharing.add(delivery.subject)
        elif delivery.type == "location.sharing.stopped":
            fault = "stopped without a start" if delivery.subject not in sharing else ""
            sharing.discard(delivery.subject)
        elif delivery.type == "location.updated" and delivery.subject not in sharing:
            fault = "a position while nobody shares"
        elif delivery.type == "location.tracking.ended":
            ended.add(share_id)
            over.add(share_id)
        if fault and not excused:
            verdict.faults.append(f"order: chat {chat_id}: {fault}")
    verdict.figures["shares"] += len(shares)
    verdict.figures["ends learnt"] += len(ended)
    for share_id in shares - ended:
        if share_id in lost_shares:
            verdict.figures["shares lost with Redis' data"] += 1
        else:
            verdict.faults.append(f"ends: chat {chat_id}: the end of share {share_id} was never learnt")


def _judge_ends(chat_id: str, events: Sequence[Delivery], others: Sequence[Answer], verdict: Verdict) -> None:
    """Check that no share ended because of refused reads, and none by a rejected prompt that was not refused."""
    refused = any(answer.endpoint == "request" and answer.status in (403, 404) and answer.code for answer in others)
    for delivery in events:
        if delivery.type == "location.tracking.ended":
            reason = delivery.data.get("reason")
            if reason in ENDS_OF_THE_GONE or (reason == "request_rejected" and not refused):
                verdict.faults.append(f"ends: chat {chat_id}: {reason}, though the chat is there")


def _judge_orders(
    chat_id: str, events: Sequence[Delivery], others: Sequence[Answer], rollbacks: Sequence[Trouble], verdict: Verdict
) -> None:
    """Check that Linq was asked to end the sharing of everybody who has arrived."""
    for delivery in events:
        if delivery.type == "location.tracking.ended" and delivery.data.get("reason") == "arrived":
            # Of a share that came back, another end is the same fact, and has been dropped.
            if _is_settled([answer for answer in others if answer.endpoint == "stop"]):
                verdict.figures["arrivals with an order to stop"] += 1
            elif not _overlaps(rollbacks, delivery.at - DELIVERY_SECONDS, delivery.at):
                verdict.faults.append(f"orders: chat {chat_id}: arrived, and Linq was not told to end the sharing")


def _is_settled(orders: Sequence[Answer]) -> bool:
    """Return whether Linq took an order to stop, or refused it for good."""
    # A proxy's refusals are final when they have been met so often.
    taken = any(order.worked or (order.status in (403, 404) and order.code) for order in orders)
    return taken or len(orders) >= MAX_ORDERS


def _judge_crossings(
    chat_id: str,
    events: Sequence[Delivery],
    rollbacks: Sequence[Trouble],
    verdict: Verdict,
    *,
    places: Sequence[Place],
    until: str | None,
) -> None:
    """Check arrivals and departures against the positions before them, and the end of the share against `until`."""
    presence = Presence(places)
    ended: set[str] = set()
    arrived = False  # by the step before
    last_at = 0.0
    for lead, crossed in _steps(events):
        told = {Crossing(one.type.rpartition(".")[2], one.data["place"]["name"]) for one in crossed}
        excused = _overlaps(rollbacks, last_at, [lead, *crossed][-1].at)
        last_at = lead.at
        if excused:
            presence.doubt()
        shown = Crossed(set(), set())
        faults = []
        if lead.type == "location.sharing.started":
            presence.begin(lead.subject)
        elif lead.type == "location.updated":
            shown = presence.move(lead.subject, lead.data["geometry"]["coordinates"])
        if shown.certain - told:
            faults.append("an arrival or departure was lost")
        if told - shown.certain - shown.possible or len(told) < len(crossed):
            faults.append("an arrival or departure without a position that shows it, or twice")
        elif not all(proves(lead.data, one.data) for one in crossed):
            faults.append("an arrival or departure does not fit the position before it")
        ends_here = lead.type == "location.tracking.ended" and lead.data.get("reason") == "arrived"
        # An end is one fact, so that a second one, of a share that came back with older data, has been dropped.
        if arrived != ends_here and lead.share_id not in ended:
            faults.append("the share did not end with the arrival that was to end it, or without it")
        if lead.type == "location.tracking.ended":
            ended.add(lead.share_id)
            verdict.figures["shares that arrived"] += ends_here
        arrived = until is not None and Crossing("entered", until) in told
        verdict.figures["arrivals and departures kept"] += len(crossed)
        if not excused:
            verdict.faults += [f"places: chat {chat_id}: {fault}" for fault in faults]


def _steps(events: Sequence[Delivery]) -> Iterable[tuple[Delivery, list[Delivery]]]:
    """Return each event that is not about a place, with the events about places that follow it."""
    lead: Delivery | None = None
    crossed: list[Delivery] = []
    for delivery in events:
        if lead is None or not delivery.type.startswith("location.place."):
            if lead is not None:
                yield lead, crossed
            lead, crossed = delivery, []
        else:
            crossed.append(delivery)
    if lead is not None:
        yield lead, crossed


def _overlaps(rollbacks: Sequence[Trouble], begin: float, end: float) -> bool:
    return any(trouble.begin <= end and trouble.end >= begin for trouble in rollbacks)


def _judge_prompts(chat_id: str, answers: Sequence[Answer], cooldown: float, verdict: Verdict) -> None:
    try:
        prompts = oracle.check_prompts(answers, chat_id, cooldown=cooldown)
    except AssertionError as error:
        verdict.faults.append(f"prompts: chat {chat_id}: {error}")
        return
    if prompts > MAX_PROMPTS:
        verdict.faults.append(f"prompts: chat {chat_id}: {prompts} may have been sent")
    verdict.figures[f"chats prompted {prompts} times at most"] += 1

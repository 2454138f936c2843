"""When to read which chat: one price for a request, the same for everybody, and the interval that follows.

A chat that changes L times a second and is read every I seconds has L*I/2 positions unread on average and
costs 1/I requests. The sum over all chats is smallest, for a given number of requests, where I = C/sqrt(L)
with one price C for all of them (Sia, Cho and Cho 2007). A request that waits to be accepted follows the same
rule with the hazard of acceptance in place of L (Keller 1974).

Everything here is pure: the caller brings the clock and the randomness. Times are float seconds since 1970
(UTC), intervals seconds, rates requests per second.
"""

import math

import msgspec

PRIOR_SECONDS = 300.0  # one update in this time is the first guess, and governs a chat's first minutes
MIN_UPDATES = 1 / 7200  # per second: a phone that has been silent for hours is still read
MAX_UPDATES = 1 / 10
MAX_HAZARD = 0.2  # of an update per second, once the quiet time is over
MEMORY = 0.8  # the weight that a poll leaves to the past: about five polls are remembered
MEMORY_MOVING = 0.6  # a phone that has moved is about to publish at another pace
QUIET_CREEP = 1.1  # the quiet time is the least gap seen, and forgets a freak one by rising slowly
QUIET_SHARE = 0.3  # of the intensity remains inside the quiet time: a person who stood still may start to walk
QUIET_GATE = 0.6  # updates per interval, up to which nearly every one can be seen, so that waiting for them pays
PRICE_FLOOR = 5.0  # square root of seconds: 4 costs a quarter more requests, 8 twice the delay
HEAD_ROOM = 0.9  # of the rate is planned for polling; the rest is for retries and commands
ARRIVAL_WORTH = 6.0  # a second of delay of an arrival counts as much as this many of a position
APPROACH_WORTH = 2.0  # from here on the rule is called `approach`
MAX_WORTH = 16.0  # times an ordinary chat: its weight, the root, is 4 times an ordinary one's at most
MIN_REACH = 15.0  # seconds: if nearer, the next position shows it anyway
FAR_REACH = 80.0  # seconds: if farther, there is time to turn off, and waiting costs little
UNFAIRNESS = 2.5  # times the fleet's mean interval: bounds what is lost when a quiet chat wakes up

ACCEPT_SHAPE = 0.75  # between sqrt(age), best if everybody accepts in the end, and age, best if many never do
ACCEPT_OFFSET = 30.0  # seconds
PENDING_LOWER = 5.0  # seconds: people who accept mostly do so at once
PENDING_UPPER = 6.0  # times the largest interval
PENDING_SHARE = 0.25  # of the rate at most, so that pending chats never starve those that share
MAX_ANNOUNCED = 0.9  # webhooks are never trusted beyond this

FIRST_BACKOFF_SECONDS = 2.0  # seconds
MAX_BACKOFF_SECONDS = 120.0
MAX_BACKOFF_DOUBLINGS = 6  # 2 s doubled this often is over MAX_BACKOFF_SECONDS; more would overflow one day

RATE_CUT = 0.8
RATE_FLOOR = 0.05  # of the ceiling
RATE_CUT_EVERY = 5.0  # seconds: one overload answers many requests with 429, and means one thing
RATE_CALM = 60.0  # seconds without a 429 before the rate recovers
RATE_RECOVERY = 3600.0  # seconds from nothing to the ceiling


class Pace(msgspec.Struct, array_like=True):
    """What the polls of one tracked chat have shown; stored with the share, so only seven floats.

    `weight` is the square root of the update intensity (updates per second), and what this chat adds to the fleet's
    sum; 0 until the first answer, while the chat is not in the sum. `count` and the observed times are discounted:
    recent polls count for more.
    """

    polled_at: float = 0.0  # 0: not yet
    updated_at: float = 0.0  # the newest position's; 0: unknown
    count: float = 0.0  # polls that found a newer position
    observed: float = 0.0  # seconds known to hold no update: from the newest one to the poll that showed it
    outside: float = 0.0  # seconds observed outside the quiet time
    quiet: float = 0.0  # seconds in which no update follows an update; 0: unknown
    weight: float = 0.0


class Fleet(msgspec.Struct, frozen=True):
    """What all chats on this Redis have in common: the demand, which sets the price, and the rate that meets it."""

    weights: float  # sum of the weights of all tracked chats, this one's present weight included
    tracked: int  # chats in that sum
    waiting: float  # reads per second that all pending chats want together, each as `wanted_rate` says
    rate: float  # requests per second allowed now
    ceiling: float  # requests per second configured


def tracking_interval(
    pace: Pace,
    fleet: Fleet,
    *,
    now: float,
    updated_at: float | None,
    moved: bool,
    lower: float,
    upper: float,
    spread: float,
    reach: float | None = None,
    price_floor: float = PRICE_FLOOR,
    head_room: float = HEAD_ROOM,
) -> tuple[float, str]:
    """Learn from an answer at `now`; return the seconds until the next read, and the rule that chose them.

    `updated_at` is the newest position's time, None if the answer held nothing newer (for a newer position without a
    time, the middle between `pace.polled_at` and `now` is the unbiased guess); `moved`: it is over 100 m from the last.
    `reach`: the seconds in which somebody may cross the edge of a place. `lower` and `upper` are the chat's own bounds;
    `spread`, about uniform in 0.98 to 1.02, keeps chats apart and never leads out of the bounds. `price_floor` (square
    root of seconds) is the price when requests are plentiful; `head_room` is the part of the rate to plan with.

    `pace` is changed in place, including its weight: the fleet's sum has to change by the difference. The interval is
    finite and within the bounds for every finite input: clocks that go back or run ahead are clamped.
    """
    since = _learn(pace, now, updated_at, moved)

    updates = (pace.count + 1.0) / (pace.observed + PRIOR_SECONDS)
    if not updates > MIN_UPDATES:
        updates = MIN_UPDATES
    elif updates > MAX_UPDATES:
        updates = MAX_UPDATES
    weight = math.sqrt(updates)
    worth = 1.0
    if reach is not None:
        worth = _worth(reach, updates)
        weight *= math.sqrt(worth)
    before = pace.weight
    pace.weight = weight

    tracked = fleet.tracked if before else fleet.tracked + 1
    weights = fleet.weights + weight - before
    if not weights > weight:  # a wrong sum never makes this chat cheaper than it would be alone
        weights = weight
    ceiling = fleet.ceiling
    reserved = min(PENDING_SHARE, fleet.waiting / ceiling) if ceiling > 0.0 else PENDING_SHARE
    budget = fleet.rate * (head_room - reserved)
    if not budget > 0.0:
        return upper, "maximum"
    price = weights / budget
    if not price > price_floor:
        price = price_floor

    interval = price / weight
    rule = "square-root" if worth < APPROACH_WORTH else "approach"
    if pace.quiet > 0.0 and interval * updates < QUIET_GATE:
        rule = "quiet-time" if worth < APPROACH_WORTH else "approach"
        interval = _after_quiet_time(pace, since, updates, worth, price)

    fair = UNFAIRNESS * price * tracked / weights if tracked > 0 else upper
    if not interval < fair:
        interval = fair
        rule = "fleet-cap"
    if not interval < upper:
        interval = upper
        rule = "maximum"
    if not interval > lower:
        interval = lower
        rule = "minimum"
    interval *= spread
    if interval < lower:
        return lower, rule
    if interval > upper:
        return upper, rule
    return interval, rule


def _learn(pace: Pace, now: float, updated_at: float | None, moved: bool) -> float:
    """Learn from an answer; return the seconds since the newest known position (since 1970 if there is none)."""
    polled_at = pace.polled_at
    known = pace.updated_at
    quiet = pace.quiet
    count = pace.count
    observed = pace.observed
    outside = pace.outside
    new = updated_at is not None and updated_at > known
    newest = updated_at if new and updated_at is not None else known
    since = now - newest if newest < now else 0.0

    if polled_at:
        elapsed = now - polled_at if now > polled_at else 0.0
        memory = MEMORY_MOVING if new and moved else MEMORY
        blind = polled_at if not known or known + quiet < polled_at else known + quiet
        if new:
            # The newest time shows exactly how long there was no update, however many were missed before.
            count = memory * count + 1.0
            observed = memory * observed + min(elapsed, since)
            outside *= memory
            if since > quiet:
                outside += since - quiet
            if known and now - since > blind:
                outside += now - since - blind
        else:
            count *= memory
            observed = memory * observed + elapsed
            outside *= memory
            if now > blind:
                outside += now - blind
        pace.count = count
        pace.observed = observed
        pace.outside = outside
    if new:
        if known:
            gap = newest - known
            quiet = gap if not quiet or gap < QUIET_CREEP * quiet else QUIET_CREEP * quiet
            pace.quiet = quiet
        pace.updated_at = newest
    pace.polled_at = now
    return since


def _after_quiet_time(pace: Pace, since: float, updates: float, worth: float, price: float) -> float:
    """Return the interval after which the delay that a read is expected to save is worth its price.

    That is price squared / 2; the delay accrues slowly inside the quiet time, quickly after it.
    """
    left = pace.quiet - since if pace.quiet > since else 0.0
    prior = PRIOR_SECONDS if updates * PRIOR_SECONDS < 1.0 else 1.0 / updates
    hazard = (pace.count + 1.0) / (pace.outside + prior)
    if hazard < updates:
        hazard = updates
    elif hazard > MAX_HAZARD:
        hazard = MAX_HAZARD
    square = price * price / worth
    accrued = QUIET_SHARE * updates * left * left
    if square <= accrued:
        return price / math.sqrt(QUIET_SHARE * updates * worth)
    return math.sqrt(left * left + (square - accrued) / hazard)


def _worth(reach: float, updates: float) -> float:
    """Return how much a second of delay in this chat counts, if an edge may be crossed in `reach` seconds.

    An arrival is treated like an acceptance: its hazard, about 1 / reach, weighted by what it is worth, is added to the
    intensity of updates, at the same price for everybody.
    """
    reach = max(MIN_REACH, reach)
    hazard = min(1.0, FAR_REACH / reach) / reach
    return min(MAX_WORTH, 1.0 + ARRIVAL_WORTH * hazard / updates)


def pending_interval(
    age: float, fleet: Fleet, *, lower: float, upper: float, announced: float, spread: float
) -> tuple[float, str]:
    """Return the seconds until the next read of a chat asked `age` seconds ago, and the rule that chose them.

    `lower` and `upper` are the chat's bounds while it is tracked; while it waits they are min(5 s, lower) and
    6 * upper. `announced` (0 to 0.9) is the fraction of accepted requests that webhooks announce in time. All intervals
    stretch alike, so that pending reads use no larger part of a lowered rate than of the full one, and never over a
    quarter.
    """
    interval = _wanted_interval(age, announced, lower, upper)
    shortest = min(PENDING_LOWER, lower)
    longest = PENDING_UPPER * upper
    demand = max(fleet.ceiling, fleet.waiting / PENDING_SHARE)
    stretched = fleet.rate < demand
    if stretched:
        interval = min(longest, interval * (demand / fleet.rate)) if fleet.rate > 0.0 else longest
    interval = max(shortest, min(longest, interval * spread))
    return interval, "pending-stretched" if stretched else "pending"


def wanted_rate(age: float, *, announced: float, lower: float, upper: float) -> float:
    """Return how often a second a chat asked `age` seconds ago wants to be read; see `pending_interval`."""
    return 1.0 / _wanted_interval(age, announced, lower, upper)


def _wanted_interval(age: float, announced: float, lower: float, upper: float) -> float:
    rarely = 1.0 / math.sqrt(1.0 - min(MAX_ANNOUNCED, max(0.0, announced)))
    interval = rarely * math.pow(max(0.0, age) + ACCEPT_OFFSET, ACCEPT_SHAPE)
    return max(min(PENDING_LOWER, lower), min(PENDING_UPPER * upper, interval))


def backoff(failures: int, *, lower: float, upper: float, random_unit: float) -> float:
    """Return the seconds until the next read after faults in a row: full jitter, `random_unit` uniform in 0 to 1.

    Between `lower` and a bound that doubles with each fault; never above min(upper, 120).
    """
    longest = min(upper, MAX_BACKOFF_SECONDS)
    shortest = min(lower, longest)
    doublings = min(max(failures - 1, 0), MAX_BACKOFF_DOUBLINGS)
    bound = min(longest, max(shortest * 2.0, FIRST_BACKOFF_SECONDS) * 2.0**doublings)
    return shortest + random_unit * (bound - shortest)


def recovered_rate(rate: float, *, ceiling: float, calm: float) -> float:
    """Return the requests per second allowed now, if the last 429 left `rate` and was `calm` seconds ago."""
    return min(ceiling, rate + max(0.0, calm - RATE_CALM) * ceiling / RATE_RECOVERY)


def throttled_rate(rate: float, *, ceiling: float, since_cut: float) -> float:
    """Return the requests per second allowed after a 429, with `rate` before it and the last cut `since_cut` s ago."""
    if since_cut < RATE_CUT_EVERY:
        return rate
    return max(RATE_CUT * rate, RATE_FLOOR * ceiling)

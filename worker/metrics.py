"""Every metric in one place; docs/reference/http.md has the names and labels. None names a chat, share or person.

Each counter has all its series from the start, at 0: for Prometheus' increase(), a series that appears at 1 has not
risen, and the first dead letter of a process would raise no alarm.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

WORKER = CollectorRegistry()
WEB = CollectorRegistry()

PollOutcome = Literal[
    "new",
    "unchanged",
    "corrected",
    "empty",
    "server_error",
    "timeout",
    "broken",
    "malformed",
    "unexpected",
    "throttled",
    "chat_not_found",
    "chat_unavailable",
    "forbidden",
    "suspended",
]
PromptOutcome = Literal["sent", "conflict", "later", "uncertain", "rejected", "suspended"]
PinOutcome = Literal["queued", "failed", "retried", "uncertain", "paused"]
WebhookOutcome = Literal[
    "accepted",
    "duplicate",
    "ignored",
    "account_event",
    "bad_signature",
    "not_an_event",
    "not_stored",
    "no_secret_set",
    "too_large",
    "too_slow",
    "disconnected",
]
DeadLetterKind = Literal["job", "api_reply", "webhook"]
PORT_REMEDY = "free it or set another METRICS_PORT; worker and web on one machine need one each"


class HotCounter(Collector):
    """A counter by outcome for the poll path: plain numbers, counted on one thread, read on the scraper's.

    prometheus_client's own take 8 µs a poll, more than deciding does.
    """

    def __init__(self, name: str, documentation: str, outcomes: Any, registry: CollectorRegistry) -> None:
        self.counts: dict[str, int] = dict.fromkeys(get_args(outcomes), 0)
        self._name = name.removesuffix("_total")
        self._documentation = documentation
        registry.register(self)

    def inc(self, outcome: PollOutcome) -> None:
        """Count one more."""
        self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Return the counts as a scrape shows them."""
        family = CounterMetricFamily(self._name, self._documentation, labels=["outcome"])
        for outcome, count in list(self.counts.items()):
            family.add_metric([outcome], count)
        return [family]


class HotHistogram(Collector):
    """A histogram for the poll path, as HotCounter."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count a value in."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        """Return the buckets as a scrape shows them."""
        buckets = []
        total = 0
        for bound, count in zip((*map(float, self._bounds), float("inf")), list(self._counts), strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], buckets, self._sum)
        return [family]


def _counter(name: str, documentation: str, label: str, values: Any, registry: CollectorRegistry) -> Counter:
    counter = Counter(name, documentation, [label], registry=registry)
    for value in get_args(values):
        counter.labels(value)
    return counter


POLLS = HotCounter("location_polls_total", "Reads of a chat's location, by outcome.", PollOutcome, WORKER)
POLL_SECONDS = HotHistogram(
    "location_poll_seconds",
    "Seconds from sending a read to its complete reply.",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    WORKER,
)
POSITIONS = Counter("location_positions_total", "New positions published.", registry=WORKER)
STALENESS_SECONDS = HotHistogram(
    "location_staleness_seconds",
    "Age of a position when it was read: received_at - updated_at, in seconds.",
    (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 7200),
    WORKER,
)
REQUESTS = _counter(
    "location_requests_total", "Prompts to share a location, by outcome.", "outcome", PromptOutcome, WORKER
)
PINS = _counter("location_pins_total", "Attempts to send a pin, by outcome.", "outcome", PinOutcome, WORKER)

WEBHOOKS = _counter(
    "location_webhooks_total", "Webhook deliveries received, by outcome.", "outcome", WebhookOutcome, WEB
)
DUE_LAG_SECONDS = Gauge(
    "location_due_lag_seconds", "How late the most overdue share is, in seconds; 0 when none is.", registry=WEB
)
SHARES = Gauge("location_shares", "Tracked shares, by phase.", ["phase"], registry=WEB)
RATE_LIMIT = Gauge("location_rate_limit_per_second", "Requests to Linq allowed per second now.", registry=WEB)
PAUSED = Gauge("location_paused", "1 while everything is paused because Linq refuses the account.", registry=WEB)

DEAD_LETTERS = _counter(
    "location_dead_letters_total", "Dead letters kept by this process, by kind.", "kind", DeadLetterKind, WORKER
)
WEB.register(DEAD_LETTERS)

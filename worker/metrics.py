"""Every metric in one place; names and labels are contract.md's, section 8. No label names a chat, share or person."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WORKER = CollectorRegistry()
WEB = CollectorRegistry()

POLLS = Counter(
    "location_polls_total", "Reads of a chat's location, by what came of them.", ["outcome"], registry=WORKER
)
POLL_SECONDS = Histogram(
    "location_poll_seconds",
    "Seconds from sending a read to its whole reply.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=WORKER,
)
POSITIONS = Counter("location_positions_total", "New positions published.", registry=WORKER)
STALENESS_SECONDS = Histogram(
    "location_staleness_seconds",
    "Age of a position when it was read: received_at - updated_at, in seconds.",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 7200),
    registry=WORKER,
)
REQUESTS = Counter(
    "location_requests_total", "Prompts to share a location, by what came of them.", ["outcome"], registry=WORKER
)
PINS = Counter("location_pins_total", "Attempts to send a pin, by what came of them.", ["outcome"], registry=WORKER)

WEBHOOKS = Counter(
    "location_webhooks_total", "Webhook deliveries received, by what came of them.", ["outcome"], registry=WEB
)
DUE_LAG_SECONDS = Gauge(
    "location_due_lag_seconds", "How late the most overdue share is, in seconds; 0 when none is.", registry=WEB
)
SHARES = Gauge("location_shares", "Watched shares, by phase.", ["phase"], registry=WEB)
RATE_LIMIT = Gauge("location_rate_limit_per_second", "Requests to Linq allowed per second now.", registry=WEB)
PAUSED = Gauge("location_paused", "1 while everything is paused because Linq refuses the account.", registry=WEB)

DEAD_LETTERS = Counter(
    "location_dead_letters_total", "Dead letters kept by this process, by kind.", ["kind"], registry=WORKER
)
WEB.register(DEAD_LETTERS)

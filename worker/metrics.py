"""Every metric in one place; names and labels are contract.md's, section 8. No label names a chat, a share or a person."""

from prometheus_client import Counter, Histogram

POLLS = Counter("location_polls_total", "Reads of a chat's location, by what came of them.", ["outcome"])
POLL_SECONDS = Histogram(
    "location_poll_seconds",
    "Seconds from sending a read to its whole reply.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
POSITIONS = Counter("location_positions_total", "New positions published.")
STALENESS_SECONDS = Histogram(
    "location_staleness_seconds",
    "Age of a position when it was read: received_at - updated_at, in seconds.",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 7200),
)
REQUESTS = Counter("location_requests_total", "Prompts to share a location, by what came of them.", ["outcome"])
PINS = Counter("location_pins_total", "Pins sent through Chert, by what came of them.", ["outcome"])
WEBHOOKS = Counter("location_webhooks_total", "Webhook deliveries received, by what came of them.", ["outcome"])
DEAD_LETTERS = Counter("location_dead_letters_total", "Dead letters kept by this process, by kind.", ["kind"])

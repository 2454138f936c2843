"""Every key of this project in Redis: its name and, unless it stays for good, its lifetime."""

ACCOUNT_EVENTS_TTL_SECONDS = 30 * 86_400  # `account_events` after the last one
UNKNOWN_FIELDS_TTL_SECONDS = 30 * 86_400  # `unknown_fields` after the last time that any of them was seen
ENDED_SHARE_TTL_SECONDS = 86_400  # `share` after the end, at least: late webhooks and the cool-down need it
CHAT_TTL_SECONDS = 86_400  # `chat` and `pair`: lines and members of a chat change seldom
CREATION_TTL_SECONDS = 300  # `pair` while a job creates the chat: longer than it waits after faults, as a rule
PIN_TTL_SECONDS = 86_400  # `pin` and `pins_pause`: as long as arq keeps a job
FORGETTING_TTL_SECONDS = 86_400  # `forgetting` and `forgotten_shares`: the same
LOST_LINE_TTL_SECONDS = 86_400  # `lost_lines`, `lost_line` and `parked` after the last probe
RECONCILIATION_TTL_SECONDS = 7_200  # as in lua/mark_counted.lua
WEBHOOK_TTL_SECONDS = 3_600  # `webhook`: Linq sends an event again for some minutes, once said up to an hour
STOP_TTL_SECONDS = 3_600  # `stopped`: how late a `started` may come after its `stopped`, and more
PROBE_TTL_SECONDS = 60  # `probe`
MUTE_TTL_SECONDS = 60  # `muted`: one dead letter per chat and minute
ALL_LINES = "all"  # in place of a line's digest


class Keys:
    """The keys under one KEY_PREFIX. `events`, `latest`, `geo` and `dead_letters` are public."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.events = f"{prefix}:events"  # stream
        self.dead_letters = f"{prefix}:dead-letters"  # stream
        self.latest = f"{prefix}:latest:"  # and the chat's id; hash of handle and data
        self.geo = f"{prefix}:geo"  # geo set of handles
        self.handles = f"{prefix}:handles"  # hash of a handle's digest and the chats that show it, spaces between them
        self.due = f"{prefix}:due"  # sorted set of tracked chats, scored with the time at which each is next due
        self.share = f"{prefix}:share:"  # and the chat's id; worker/store/packing.py
        self.fleet = f"{prefix}:fleet"  # hash of the sums over all shares
        self.answered = f"{prefix}:answered:"  # and line and number of 5 s; HyperLogLog of the chats that were answered
        self.reconciliation = f"{prefix}:fleet:census"  # hash of the count under way; its sets' names begin so, too
        self.reconciliation_rests = f"{prefix}:fleet:census-rests"  # while it is there no reconciliation begins
        self.probe = f"{prefix}:probe"  # written to see whether Redis takes writes
        self.budget = f"{prefix}:budget"  # hash: the token bucket of all requests to Linq
        self.pause = f"{prefix}:pause"  # hash, there while Linq refuses the account
        self.pins_pause = f"{prefix}:pins-pause"  # the same for Chert
        self.account_events = f"{prefix}:account-events"  # hash: the last event of each type about the account
        self.unknown_fields = f"{prefix}:unknown-fields"  # hash: names of fields that Linq has added
        self.lost_lines = f"{prefix}:lost-lines"  # set of the digests of lines whose chats are refused, or `all`
        self.pin = f"{prefix}:pin:"  # and the job's id; hash of what is remembered of a pin

    def lost_line(self, line: str) -> str:
        """Name the pause of a line's chats."""
        return f"{self.prefix}:lost-line:{line}"

    def parked(self, line: str) -> str:
        """Name the set of a line's chats that wait."""
        return f"{self.prefix}:parked:{line}"

    def refused(self, line: str) -> str:
        """Name the sorted set of a line's chats that were refused in the last two minutes, scored with when."""
        return f"{self.prefix}:refused:{line}"

    def muted(self, chat_id: str) -> str:
        """Name the mark that a chat's bad replies are kept already."""
        return f"{self.prefix}:muted:{chat_id}"

    def webhook(self, digest: str) -> str:
        """Name the mark that a webhook's event has been stored."""
        return f"{self.prefix}:heard:{digest}"

    def chat(self, chat_id: str) -> str:
        """Name what is remembered of a chat."""
        return f"{self.prefix}:chat:{chat_id}"

    def pair(self, contact_digest: str, line_digest: str) -> str:
        """Name the memory of which 1:1 chat a contact and a line have."""
        return f"{self.prefix}:pair:{contact_digest}:{line_digest}"

    def stopped(self, contact_digest: str, line_digest: str) -> str:
        """Name the memory of when a contact last stopped sharing with a line."""
        return f"{self.prefix}:stopped:{contact_digest}:{line_digest}"

    def forgetting(self, job_id: str) -> str:
        """Name how far a job that forgets a handle has come."""
        return f"{self.prefix}:forget:{job_id}"

    def forgotten_shares(self, job_id: str) -> str:
        """Name the set of the tracked shares which that job has changed."""
        return f"{self.prefix}:forget:{job_id}:shares"

"""Every key this project owns in Redis, named in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under one KEY_PREFIX. `events`, `latest`, `geo` and `dead_letters` are public (contract.md 4, 5)."""

    prefix: str

    @property
    def events(self) -> str:
        """Name the event stream."""
        return f"{self.prefix}:events"

    @property
    def geo(self) -> str:
        """Name the geo set of latest positions."""
        return f"{self.prefix}:geo"

    @property
    def dead_letters(self) -> str:
        """Name the dead-letter stream."""
        return f"{self.prefix}:dead-letters"

    @property
    def latest(self) -> str:
        """Begin the name of a chat's latest view."""
        return f"{self.prefix}:latest:"

    @property
    def due(self) -> str:
        """Name the sorted set of tracked chats, scored with the time at which each is next due."""
        return f"{self.prefix}:due"

    @property
    def share(self) -> str:
        """Begin the name of a chat's share."""
        return f"{self.prefix}:share:"

    @property
    def handles(self) -> str:
        """Name the hash of which chats show whom: digest of a handle, chat ids with spaces between them."""
        return f"{self.prefix}:handles"

    @property
    def probe(self) -> str:
        """Name the key that is written to see whether Redis takes writes."""
        return f"{self.prefix}:probe"

    @property
    def budget(self) -> str:
        """Name the request budget."""
        return f"{self.prefix}:budget"

    @property
    def pause(self) -> str:
        """Name the pause, there while the account is refused."""
        return f"{self.prefix}:pause"

    @property
    def fleet(self) -> str:
        """Name the sums over all shares."""
        return f"{self.prefix}:fleet"

    @property
    def reconciliation(self) -> str:
        """Name the count that is under way of what all shares add to the sums; its sets' names begin so, too."""
        return f"{self.fleet}:census"

    @property
    def reconciliation_rests(self) -> str:
        """Name the mark that no reconciliation begins yet."""
        return f"{self.fleet}:census-rests"

    def muted(self, chat_id: str) -> str:
        """Name the mark that a chat's bad replies are kept already (contract.md 5: one per chat and minute)."""
        return f"{self.prefix}:muted:{chat_id}"

    def heard(self, digest: str) -> str:
        """Name the mark that a webhook's event has been stored."""
        return f"{self.prefix}:heard:{digest}"

    def chat(self, chat_id: str) -> str:
        """Name what is remembered of a chat."""
        return f"{self.prefix}:chat:{chat_id}"

    def stopped(self, contact_digest: str, line_digest: str) -> str:
        """Name the memory of when a contact last stopped sharing with a line."""
        return f"{self.prefix}:stopped:{contact_digest}:{line_digest}"

    def pair(self, contact_digest: str, line_digest: str) -> str:
        """Name the memory of which 1:1 chat a contact and a line have."""
        return f"{self.prefix}:pair:{contact_digest}:{line_digest}"

    @property
    def pins_pause(self) -> str:
        """Name the pause of pins, there while Chert refuses the account."""
        return f"{self.prefix}:pins-pause"

    @property
    def pin(self) -> str:
        """Begin the name of what is remembered of a pin's job."""
        return f"{self.prefix}:pin:"

    def forgetting(self, job_id: str) -> str:
        """Name how far a job that forgets a handle has come."""
        return f"{self.prefix}:forget:{job_id}"

    def touched(self, job_id: str) -> str:
        """Name the set of the tracked shares which that job has touched."""
        return f"{self.prefix}:forget:{job_id}:shares"

"""What one call to Linq gave: the words that pollers, client and classification share."""

from worker.http import Failure, Reply, no_reply

__all__ = ["ACCEPT", "Failure", "Reply", "no_reply"]

# The first is what the documentation asks for, the second what is really sent.
ACCEPT = "application/geo+json, application/json"

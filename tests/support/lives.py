"""Lives of shares in which every type of event about a share is published."""

from tests.support.tracking import BERT, TrackedChat, listing, position
from worker.domain import webhooks
from worker.domain.events import Event
from worker.domain.observation import Rejected, Sent
from worker.domain.share import Place


def events_of_every_type() -> list[Event]:
    """Return events of every type but pins, as the domain publishes them."""
    chat = TrackedChat(asked=False, follow_for=9000.0)
    chat.read(listing(position(at=0, address="Riverside Building", locality="London"), position(BERT, at=None)))
    chat.started(began=-10, ends=4000)
    chat.wait(1900).read(listing(position(at=0), position(BERT, at=None)))
    chat.stopped(BERT, ended=1890)
    chat.read(listing(position(at=0)))
    decision = chat.decision()
    webhooks.report_unreadable(decision, BERT, "share from Messages", began_at=1)
    chat.keep(decision)
    chat.wait(9000).read(listing())
    refused, expired = TrackedChat(), TrackedChat(accept_within=10)
    refused.prompt(Rejected("blocked", 403, 2026, "no"))
    expired.prompt(Sent())
    expired.wait(10).read(listing())
    passing = TrackedChat(asked=False, places=(Place("depot", 52.5, 13.4, 100.0),))
    passing.read(listing(position(at=0)))
    passing.wait(60).read(listing(position(at=60, latitude=52.6)))
    return [*chat.events, *refused.events, *expired.events, *passing.events]

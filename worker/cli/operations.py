"""Commands for operators: webhooks, doctor."""

import time
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import as_json, note, print_json, print_table
from worker.text import clean, counted

if TYPE_CHECKING:
    from config.settings import Settings


@click.group()
def webhooks() -> None:
    """Manage the webhook subscription at Linq.

    Its deliveries tell the `web` process that a share begins or ends.
    """


@webhooks.command("list")
@as_json
def list_subscriptions(*, as_json: bool) -> None:
    """Show every subscription of the account."""

    async def work(linq: Any) -> Any:
        return await linq.list_subscriptions()

    found = _with_linq(work)
    if as_json:
        print_json([_about(subscription) for subscription in found])
        return
    print_table(
        counted(len(found), "subscription"),
        ("id", "url", "events", "lines", "active"),
        [
            (
                subscription.id,
                subscription.target_url,
                ", ".join(subscription.subscribed_events),
                ", ".join(subscription.phone_numbers) or "all",
                {True: "yes", False: "no", None: "?"}[subscription.is_active],
            )
            for subscription in found
        ],
    )


@webhooks.command()
@click.argument("url")
@as_json
def register(*, url: str, as_json: bool) -> None:
    """Subscribe URL, the public address of your `/webhooks/linq`.

    To the location events, and to those about the account, which warn of lines that are moved and tokens that expire.
    """
    from worker.cli.subscription import EVENTS, pinned  # noqa: PLC0415
    from worker.linq.webhook import ACCOUNT_EVENTS  # noqa: PLC0415

    try:
        target = pinned(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None

    async def work(linq: Any) -> Any:
        from worker.linq.client import LinqError  # noqa: PLC0415

        try:
            return await linq.create_subscription(target_url=target, events=[*EVENTS, *ACCOUNT_EVENTS])
        except LinqError as error:
            if error.status != 400:  # an event type that this account does not have
                raise
            note("Linq refuses the events about the account: subscribing only to the location events")
            return await linq.create_subscription(target_url=target, events=list(EVENTS))

    made = _with_linq(work)
    if as_json:
        print_json({**_about(made), "signing_secret": made.signing_secret})
        return
    click.echo(f"subscription {clean(made.id)} for {clean(made.target_url)}")
    click.echo(f"\nLINQ_WEBHOOK_SECRET={clean(made.signing_secret)}\n")
    click.echo(
        "Linq shows this secret only once. Set it for the `web` process (with the old one, separated by a comma, "
        "while you rotate) and restart it; then try `location-worker webhooks test`."
    )


@webhooks.command()
@click.argument("subscription_id", metavar="ID")
def delete(*, subscription_id: str) -> None:
    """End a subscription."""

    async def work(linq: Any) -> None:
        await linq.delete_subscription(subscription_id)

    _with_linq(work)
    click.echo(f"subscription {clean(subscription_id)} is deleted")


@webhooks.command()
@click.option("--url", help="Your endpoint; `/webhooks/linq` on HOST and PORT by default.")
def test(*, url: str | None) -> int:
    """Send a signed sample to your own endpoint.

    It concerns no real share and changes nothing.
    """
    from config.settings import load_settings  # noqa: PLC0415  # see worker.cli
    from worker.cli.subscription import send_sample  # noqa: PLC0415

    settings = load_settings("demo")
    if not settings.linq_webhook_secrets:
        raise click.ClickException(
            "LINQ_WEBHOOK_SECRET is not set: `location-worker webhooks register URL` prints it once"
        )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    target = url or f"http://{host}:{settings.port}/webhooks/linq"
    succeeded, told = send_sample(target, settings.linq_webhook_secrets[0], time.time())
    if not succeeded:
        raise click.ClickException(told)
    click.echo(told)
    return 0


def _with_linq(work: Any) -> Any:
    import asyncio  # noqa: PLC0415  # see worker.cli
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    from config.settings import load_settings  # noqa: PLC0415
    from worker.linq.client import LinqClient, LinqError  # noqa: PLC0415

    settings: Settings = load_settings("demo")
    if settings.linq_api_key is None:
        raise click.ClickException("LINQ_API_V3_API_KEY is not set: it is the token from Linq's dashboard")
    key = settings.linq_api_key.get_secret_value()
    # Standard output is for the result, so only warnings are logged, to standard error.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )

    async def run() -> Any:
        async with LinqClient(base_url=settings.linq_base_url, api_key=key) as linq:
            return await work(linq)

    try:
        return asyncio.run(run())
    except LinqError as error:
        said = f": {clean(error.message)}" if error.message else ""
        raise click.ClickException(f"{clean(error)}{said}") from None


def _about(subscription: Any) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "target_url": subscription.target_url,
        "subscribed_events": subscription.subscribed_events,
        "phone_numbers": subscription.phone_numbers,
        "is_active": subscription.is_active,
    }


@click.command()
@as_json
def doctor(*, as_json: bool) -> int:
    """Check the installation, and say what to fix.

    Settings, Redis, keys, clocks, webhooks, queue.
    """
    from worker.doctor.checks import diagnose  # noqa: PLC0415  # see worker.cli

    findings = diagnose()
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        rows = [(finding.level, finding.check, finding.found, finding.remedy) for finding in findings]
        print_table("doctor", ("", "check", "found", "remedy"), rows)
    return 0 if all(finding.ok for finding in findings) else 1

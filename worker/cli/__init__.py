"""The command line: `location-worker COMMAND`.

Exit statuses: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted.

Modules that a command needs are imported when it runs, so that `--help` and wrong usage answer at once.
"""

import contextlib
import errno
import io
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NoReturn

import click

from worker.cli.apis import asyncapi, openapi
from worker.cli.estimate import estimate
from worker.cli.events import schema, tail
from worker.cli.operations import doctor, webhooks
from worker.cli.pins import pin
from worker.cli.processes import demo, web, worker
from worker.cli.queueing import forget, request, set_places, stop_sharing, track, untrack
from worker.cli.status import status

if TYPE_CHECKING:
    from redis.exceptions import RedisError

INTERRUPTED = 130
# A full disk, a quota or a file-size limit that is reached, a failing device.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class WrongSettings(click.ClickException):
    """Settings are missing or wrong: exit status 2, one line per variable."""

    exit_code = 2


class Commands(click.Group):
    """List commands in the order a newcomer needs them; turn failures into one message and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of registration."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> NoReturn:
        """Run the command; show a traceback only for faults of the program."""
        try:
            status = super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # The reader has gone, as `head` does. Python would complain once more when it flushes at exit.
            _throw_output_away()
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001  # sorted by _tell, which raises what it does not know
            _tell(error)
        ctx.exit(status if isinstance(status, int) else 0)


def _throw_output_away() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: Exception) -> NoReturn:
    from redis.exceptions import RedisError  # noqa: PLC0415  # after a failure time does not matter

    from config.settings import SettingsError  # noqa: PLC0415
    from worker.http import CertificatesError  # noqa: PLC0415

    if isinstance(error, SettingsError):
        raise WrongSettings("\n".join(error.lines)) from error
    if isinstance(error, CertificatesError):
        raise WrongSettings(str(error)) from error
    if isinstance(error, RedisError):
        raise click.ClickException(_explain(error)) from error
    raise error


def _explain(error: "RedisError") -> str:
    import asyncio  # noqa: PLC0415  # see _tell

    from config.redis import redis_address  # noqa: PLC0415
    from config.redis_errors import explain_refusal  # noqa: PLC0415
    from config.settings import load_settings  # noqa: PLC0415

    trouble = asyncio.run(explain_refusal(error, redis_address(load_settings("client"))))
    return f"Redis {trouble.cause}: {trouble.remedy}"


def _version() -> str:
    try:
        return version("location-worker")
    except PackageNotFoundError:
        return "not installed"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(_version(), prog_name="location-worker")
def cli() -> None:
    """Track locations shared over iMessage and publish every new position once on a Redis stream.

    Settings come from environment variables and from .env; REDIS_URL is the first one to set.
    """


for _command in (
    demo,
    worker,
    web,
    request,
    track,
    set_places,
    untrack,
    stop_sharing,
    forget,
    pin,
    status,
    tail,
    schema,
    asyncapi,
    openapi,
    estimate,
    webhooks,
    doctor,
):
    cli.add_command(_command)


def main() -> int:
    """Run the command line of this process and return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does by default: write an escape for what the terminal's encoding cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        cli.main(prog_name="location-worker")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # Python would try to write the rest again when it flushes at exit.
        _throw_output_away()
        with contextlib.suppress(OSError):
            click.echo(f"Error: the output cannot be written: {os.strerror(error.errno)}.", err=True)
        return 1

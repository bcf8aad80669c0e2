"""Options of commands that speak to one device without a database, and the guard they share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from meterplex.cli.errors import InServiceError
from meterplex.cli.output import tell
from meterplex.cli.program import Program
from meterplex.sdk import LinkTimeoutError
from meterplex.services.estate.known_devices import find_known_device


def channel_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--channel``."""
    return click.option(
        "--channel",
        "channel_url",
        required=True,
        metavar="URL",
        help="For example 'tcp://10.0.0.5:502?framing=tcp' or 'serial:///dev/ttyUSB0?baud=9600'.",
    )(command)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--model``, ``--channel``, ``--address``, ``--set`` and ``--trace``."""
    options = (
        click.option("--model", "model_id", required=True, help="See: meterplex models."),
        channel_option,
        click.option("--address", required=True, help="Of the device on its bus."),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=TEXT",
            help="A setting of the model; may be repeated.",
        ),
        click.option("--trace", is_flag=True, help="Show every burst on the wire in hex (stderr)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def parse_settings(assignments: Iterable[str]) -> dict[str, str]:
    """Read ``name=text`` settings.

    Raises:
        click.UsageError: one has another form, or a name comes twice.
    """
    settings: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set {assignment!r}: expected NAME=TEXT")
        if name in settings:
            raise click.UsageError(f"--set {name} is given twice")
        settings[name] = text
    return settings


def show_burst(direction: str, burst: bytes) -> None:
    """Print a burst on the wire: ``>`` went out, ``<`` came in."""
    tell(f"{'>' if direction == 'tx' else '<'} {burst.hex(' ').upper()}")


@contextmanager
def naming_silence(channel_url: str, address: str) -> Iterator[None]:
    """Say of a time-out who was silent."""
    try:
        yield
    except LinkTimeoutError as error:
        text = f"no reply from address {address} on {channel_url}: {error}"
        raise LinkTimeoutError(text) from error


async def refuse_in_service(program: Program, channel_url: str, address: str) -> None:
    """Let a commissioning command through only to a device that the estate does not know.

    Args:
        address: in its model's normal form.

    Raises:
        InServiceError: the configured database has a meter there.
        DatabaseError: there is a database and it could not be asked.
    """
    file = program.database_file
    if file is not None and not file.exists():
        return
    async with program.database() as database:
        meter = await find_known_device(database, channel_url, address)
    if meter is not None:
        raise InServiceError(
            f"address {address} on {channel_url} is meter {meter.serial} of the estate: "
            "use meterplex command"
        )

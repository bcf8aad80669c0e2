"""``meterplex scan``: finds the devices of a bus by asking each address."""

from collections.abc import Callable, Sequence

import click
import msgspec

from meterplex.cli.device_options import channel_option, show_burst
from meterplex.cli.errors import ExitCode
from meterplex.cli.output import json_option, print_json, print_table, progress_bar, tell
from meterplex.cli.program import Program, pass_program, run
from meterplex.cli.simulate import parse_addresses
from meterplex.headend.direct import link_on, open_line
from meterplex.headend.line import Line
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    DriverError,
    Identity,
    LinkTimeoutError,
    LinkUnavailableError,
    MeterModel,
)


class FoundDevice(msgspec.Struct, frozen=True):
    """A device that answered; without a model when none of those tried fits it."""

    address: str
    model: str | None
    serial: str | None = None
    firmware: str | None = None
    note: str = ""


@click.command
@channel_option
@click.option(
    "--addresses", default="1-247", show_default=True, metavar="LIST", help="For example 1-32,100."
)
@click.option(
    "--model", "model_ids", multiple=True, help="Try only this; may be repeated. All otherwise."
)
@click.option("--trace", is_flag=True, help="Show every burst on the wire in hex (stderr).")
@json_option
@pass_program
@click.pass_context
def scan(
    context: click.Context,
    program: Program,
    channel_url: str,
    addresses: str,
    model_ids: tuple[str, ...],
    trace: bool,
    as_json: bool,
) -> None:
    """Ask every address of a bus which model answers there.

    Ctrl-C ends the search and shows what was found so far. Nothing is written to any device.
    """
    places = parse_addresses(addresses)
    models = [program.model(name) for name in model_ids or sorted(program.plugins.models)]
    found: list[FoundDevice] = []

    async def search(show: Callable[[int, str], None]) -> None:
        tracer = show_burst if trace else None
        async with open_line(program.plugins, channel_url, trace=tracer) as line:
            for done, address in enumerate(places):
                show(done, address)
                device = await _ask(line, program.plugins, models, address)
                if device is not None:
                    found.append(device)
            show(len(places), "")

    interrupted = False
    with progress_bar("scanning") as bar:
        try:
            run(search(lambda done, address: bar.show(done, len(places), f"address {address}")))
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        print_json(found)
    else:
        print_table(
            ("address ", "model", "serial", "firmware", "note"),
            ((d.address, d.model or "?", d.serial, d.firmware, d.note) for d in found),
        )
        tell(f"{len(found)} found" + (", the search was interrupted" if interrupted else ""))
    if interrupted:
        context.exit(ExitCode.INTERRUPTED)


async def _ask(
    line: Line, plugins: PluginManager, models: Sequence[MeterModel], address: str
) -> FoundDevice | None:
    """Try the models one after the other; silence in one protocol ends that protocol.

    Several models may fit, because some devices do not say what they are: the one that tells a
    serial, then the one that can do most, is taken, and the others are named.

    Raises:
        LinkUnavailableError: the channel is down.
        SettingsError: a model does not take the address.
    """
    silent: set[str] = set()
    fitting: list[tuple[MeterModel, Identity]] = []
    note = ""
    for model in models:
        if model.bus.protocol in silent:
            continue
        normal = plugins.check_address(model.id, address)
        driver = plugins.make_driver(model.id, link_on(line, model.bus), normal, {})
        try:
            fitting.append((model, await driver.identify()))
        except LinkTimeoutError:
            silent.add(model.bus.protocol)
        except LinkUnavailableError:
            raise
        except DriverError as error:
            note = str(error)
    if not fitting:
        return FoundDevice(address, None, note=note) if note else None
    fitting.sort(key=lambda each: (each[1].serial is None, -len(each[0].capabilities)))
    identity = fitting[0][1]
    others = ", ".join(model.id for model, _ in fitting[1:])
    return FoundDevice(
        address,
        identity.model,
        identity.serial,
        identity.firmware,
        f"would also fit: {others}" if others else "",
    )

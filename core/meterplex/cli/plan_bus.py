"""``meterplex plan-bus``: what a bus will be like, before it is cabled."""

import re
from dataclasses import replace
from typing import Final

import click

from meterplex.cli.output import json_option, print_json, print_lines, tell
from meterplex.cli.program import Program, pass_program
from meterplex.domain.bus_plan import (
    BusPrediction,
    DeviceGroup,
    FrameSizes,
    Parity,
    SerialLine,
    predict_bus,
)
from meterplex.domain.intervals import parse_interval

_HELP: Final = """Predict the reading cycle of a bus.

    Devices are given by model, whose frames and response time are known, or by the sizes of their
    frames in bytes.

    \b
      meterplex plan-bus --device acrel_dtsy1352=27 --dead 3 --baud 9600 --interval 30m
      meterplex plan-bus --frames '20:8/45,8/13' --baud 2400 --parity E
    """
_FRAMES: Final = re.compile(r"([0-9]{1,5}):((?:[0-9]{1,5}/[0-9]{1,5},?)+)")


@click.command(help=_HELP)
@click.option("--device", "devices", multiple=True, metavar="MODEL=COUNT", help="May be repeated.")
@click.option(
    "--frames",
    "framed",
    multiple=True,
    metavar="COUNT:REQUEST/REPLY,...",
    help="Devices that are read by exchanges of these sizes; may be repeated.",
)
@click.option("--dead", default=0, show_default=True, help="How many of the devices do not answer.")
@click.option("--baud", default=9600, show_default=True, help="Bits per second.")
@click.option("--parity", type=click.Choice([p.value for p in Parity]), default="N")
@click.option("--stop-bits", type=click.Choice(["1", "2"]), default="1")
@click.option("--interval", default="30m", show_default=True, help="Between two reads of a device.")
@click.option(
    "--turn-round",
    "turn_round_s",
    default=0.02,
    show_default=True,
    metavar="SECONDS",
    help="Usual silence before a device replies.",
)
@click.option(
    "--latency",
    "latency_s",
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="What a network before the bus adds to each exchange.",
)
@click.option("--devices-max", type=int, help="How many devices the bus carries, if not 32.")
@json_option
@pass_program
def plan_bus(
    program: Program,
    devices: tuple[str, ...],
    framed: tuple[str, ...],
    dead: int,
    baud: int,
    parity: str,
    stop_bits: str,
    interval: str,
    turn_round_s: float,
    latency_s: float,
    devices_max: int | None,
    as_json: bool,
) -> None:
    """Predict the reading cycle of a bus."""
    groups = [_by_model(program, device, turn_round_s) for device in devices]
    groups += [_by_frames(text, turn_round_s) for text in framed]
    try:
        line = SerialLine(baud, Parity(parity), int(stop_bits), latency_s)
        prediction = predict_bus(
            line,
            _with_dead(groups, dead),
            interval_s=parse_interval(interval).total_seconds(),
            devices_max=devices_max,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        print_json(prediction)
    else:
        _print(prediction)
    for warning in prediction.warnings:
        tell(f"warning: {warning.text}")


def _by_model(program: Program, text: str, turn_round_s: float) -> DeviceGroup:
    name, _, count = text.partition("=")
    if not (count.isascii() and count.isdecimal()) or len(count) > 5:
        raise click.UsageError(f"--device {text!r}: expected MODEL=COUNT")
    model = program.model(name)
    return DeviceGroup(
        name=model.id,
        protocol=model.bus.protocol,
        frames=tuple(FrameSizes(size.request, size.reply) for size in model.poll),
        count=int(count),
        turn_round_s=turn_round_s,
        response_time_max_s=model.bus.response_time_max_s,
        gap_characters=model.bus.gap_characters,
        devices_max=model.bus.devices_max,
    )


def _by_frames(text: str, turn_round_s: float) -> DeviceGroup:
    match = _FRAMES.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--frames {text!r}: expected COUNT:REQUEST/REPLY,...")
    sizes = [size.split("/") for size in match[2].split(",") if size]
    return DeviceGroup(
        name=text,
        protocol="given frames",
        frames=tuple(FrameSizes(int(request), int(reply)) for request, reply in sizes),
        count=int(match[1]),
        turn_round_s=turn_round_s,
    )


def _with_dead(groups: list[DeviceGroup], dead: int) -> list[DeviceGroup]:
    """Return the groups with the dead devices among them, the last ones first."""
    result: list[DeviceGroup] = []
    for group in reversed(groups):
        share = min(max(dead, 0), group.count)
        dead -= share
        result.append(replace(group, dead=share))
    if dead:
        raise click.UsageError(f"--dead: {dead} more than there are devices")
    return result[::-1]


def _print(prediction: BusPrediction) -> None:
    print_lines(
        f"devices      {prediction.devices}, {prediction.dead} of them dead",
        f"cycle        {prediction.round_s:.2f} s for {prediction.exchanges} exchanges, "
        f"at worst {prediction.round_worst_s:.2f} s",
        f"bus load     {prediction.load:.1%} of an interval of {prediction.interval_s:.0f} s",
        f"freshness    a reading is at most {prediction.freshness_s:.0f} s old; read without "
        f"pause {prediction.round_s:.2f} s",
    )

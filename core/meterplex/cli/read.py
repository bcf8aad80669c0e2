"""``meterplex read``: one device on a channel URL, without a database."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import click
import msgspec

from meterplex.cli.device_options import (
    device_options,
    naming_silence,
    parse_settings,
    refuse_in_service,
    show_burst,
)
from meterplex.cli.errors import UnknownNameError
from meterplex.cli.output import json_option, print_json, print_lines, print_table, tell
from meterplex.cli.program import Program, pass_program, run
from meterplex.domain.supply import SupplyAction, SupplyState
from meterplex.headend.direct import open_driver
from meterplex.sdk import Capability, CreditState, MeterDriver, MeterSnapshot, RegisterType
from meterplex.services.estate.file_format import nearest

_HELP: Final = """Read one device; no database is needed.

    \b
      meterplex read --model acrel_dtsy1352 --address 1 --json \\
        --channel 'tcp://127.0.0.1:5020?framing=rtu'
    """


class RegisterAnswer(msgspec.Struct, frozen=True):
    """One register in the answer."""

    register: str
    obis: str
    value: Decimal
    unit: str
    quality: str


class SupplyAnswer(msgspec.Struct, frozen=True):
    """The supply in the answer; ``connected`` is null when it could not be told."""

    connected: bool | None
    mode: str


class CreditAnswer(msgspec.Struct, frozen=True):
    """The wallet in the answer, in currency units."""

    remaining: Decimal
    purchase_count: int


class ReadAnswer(msgspec.Struct, frozen=True):
    """What ``read --json`` prints."""

    model: str
    address: str
    readings: tuple[RegisterAnswer, ...]
    supply: SupplyAnswer | None
    credit: CreditAnswer | None


@click.command(help=_HELP)
@device_options
@click.option("--registers", metavar="LIST", help="Only these, by name or OBIS code, with commas.")
@click.option(
    "--supply",
    "action",
    type=click.Choice([action.value for action in SupplyAction]),
    help="Command the supply and show the state read back; commissioning only.",
)
@click.option("--commissioning", is_flag=True, help="The device is not in service yet.")
@json_option
@pass_program
def read(
    program: Program,
    model_id: str,
    channel_url: str,
    address: str,
    assignments: tuple[str, ...],
    trace: bool,
    registers: str | None,
    action: str | None,
    commissioning: bool,
    as_json: bool,
) -> None:
    if action is not None and not commissioning:
        raise click.UsageError("--supply needs --commissioning: the device is not in service yet")
    model = program.model(model_id)
    wanted = None if registers is None else _registers(model.registers, registers)
    normal_address = program.plugins.check_address(model_id, address)
    settings = parse_settings(assignments)

    async def ask() -> ReadAnswer:
        if action is not None:
            await refuse_in_service(program, channel_url, normal_address)
        async with open_driver(
            program.plugins,
            model_id,
            channel_url,
            address,
            settings,
            trace=show_burst if trace else None,
        ) as driver:
            if action is not None:
                await driver.set_supply(SupplyAction(action))
            return await _ask(driver, model_id, normal_address, wanted)

    with naming_silence(channel_url, normal_address):
        answer = run(ask())
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _registers(known: Sequence[RegisterType], names: str) -> tuple[RegisterType, ...]:
    by_name = {register.slug: register for register in known}
    by_name |= {str(register.obis): register for register in known}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in by_name:
            slugs = [register.slug for register in known]
            raise UnknownNameError(f"the model has no register {name!r}{nearest(name, slugs)}")
    return tuple(by_name[name] for name in wanted)


async def _ask(
    driver: MeterDriver, model_id: str, address: str, wanted: tuple[RegisterType, ...] | None
) -> ReadAnswer:
    """Read the registers and, unless only some were asked for, supply and wallet."""
    snapshot = await driver.read(wanted)
    supply, credit = snapshot.supply, snapshot.credit
    if wanted is None and supply is None and Capability.SUPPLY in driver.capabilities:
        supply = await driver.read_supply()
    if wanted is None and credit is None and Capability.CREDIT in driver.capabilities:
        credit = await driver.read_credit()
    return ReadAnswer(
        model_id, address, _readings(snapshot, wanted), _supply(supply), _credit(credit)
    )


def _readings(
    snapshot: MeterSnapshot, wanted: tuple[RegisterType, ...] | None
) -> tuple[RegisterAnswer, ...]:
    return tuple(
        RegisterAnswer(
            value.register.slug,
            str(value.register.obis),
            value.value,
            value.register.unit,
            value.quality,
        )
        for value in snapshot.values
        if wanted is None or value.register in wanted
    )


def _supply(supply: SupplyState | None) -> SupplyAnswer | None:
    return None if supply is None else SupplyAnswer(supply.connected, supply.mode)


def _credit(credit: CreditState | None) -> CreditAnswer | None:
    return None if credit is None else CreditAnswer(credit.remaining, credit.purchase_count)


def _print(answer: ReadAnswer) -> None:
    tell(f"{answer.model} at address {answer.address}")
    rows = ((r.register, r.obis, r.value, r.unit, r.quality) for r in answer.readings)
    print_table(("register", "OBIS", "value ", "unit", "quality"), rows)
    if answer.supply is not None:
        connected = {True: "connected", False: "disconnected", None: "not known"}
        state = connected[answer.supply.connected]
        print_lines("", f"supply: {state}, mode {answer.supply.mode}")
    if answer.credit is not None:
        remaining, count = answer.credit.remaining, answer.credit.purchase_count
        print_lines(f"credit: {remaining} remaining after {count} purchases")

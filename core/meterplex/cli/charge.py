"""``meterplex charge``: turn readings into charges, list, explain and replay them."""

from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from meterplex.cli.billing_options import at_account, at_site, dry_run_option
from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.names import SpokenNames, load_names, told_of
from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
    tell,
)
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.charges import Charge, ChargeId
from meterplex.domain.money import ledger_decimal
from meterplex.domain.operators import Right
from meterplex.domain.readings import Reading
from meterplex.services.charging.charge_readings import ChargingOutcome, charge_meters
from meterplex.services.charging.explain_charge import (
    Explanation,
    Replay,
    explain_charge,
    replay_charge,
)
from meterplex.services.metering.issue_commands import find_meters
from meterplex.services.tariffs.book import TariffBook


@click.group(cls=FailingGroup)
def charge() -> None:
    """Charge readings, and see what charges were made from.

    Looking needs a signed-in operator with the right account.read, charging one with bill.manage.
    """


@charge.command("run")
@click.argument("serials", metavar="[METER]...", nargs=-1)
@click.option("--site", "code", metavar="CODE", help="All meters of this site.")
@dry_run_option
@operator_option
@json_option
@pass_program
def run_(
    program: Program, serials: tuple[str, ...], code: str | None, dry_run: bool, as_json: bool
) -> None:
    """Charge what the readings of meters show; all meters when none is named.

    A running program does so by itself whenever readings come in.
    """
    done = run(_run(program, serials, code, dry_run=dry_run))
    show_outcome(done, as_json=as_json, dry_run=dry_run)


async def _run(
    program: Program, serials: tuple[str, ...], code: str | None, *, dry_run: bool
) -> ChargingOutcome:
    async with program.database() as database:
        organisation, site, operator = await at_site(program, database, code, Right.BILL_MANAGE)
        async with database.unit_of_work(read_only=True) as uow:
            if serials:
                meters = await find_meters(uow, organisation.id, serials)
            elif site is not None:
                meters = await uow.meters.in_site(organisation.id, site.id)
            else:
                meters = await uow.meters.all(organisation.id)
        return await charge_meters(
            database,
            organisation.id,
            [each.id for each in meters],
            now(),
            book=TariffBook(program.plugins.tariff_components),
            operator=operator.name,
            dry_run=dry_run,
        )


def show_outcome(done: ChargingOutcome, *, as_json: bool, dry_run: bool) -> None:
    """Print what charging did."""
    if as_json:
        print_json(
            {
                "charges": [charge_fields(each) for each in done.charges],
                "held": [str(each.id) for each in done.held],
                "uncharged": [
                    {"binding": str(each.binding_id), "reason": each.reason}
                    for each in done.uncharged
                ],
                "dry_run": dry_run,
            }
        )
        return
    _print_charges(done.charges)
    for each in done.held:
        tell(f"held: {each.register.slug} {each.value}, {each.detail} ({each.id})")
    for problem in done.uncharged:
        tell(f"not charged: {problem.reason}")
    if dry_run:
        tell("nothing of this was kept")


def charge_fields(each: Charge) -> dict[str, Any]:
    """Return a charge as JSON values."""
    return {
        "id": str(each.id),
        "kind": each.kind,
        "register": each.register.slug,
        "from": each.from_at,
        "to": each.to_at,
        "from_value": str(each.from_value),
        "to_value": str(each.to_value),
        "units": str(each.units),
        "amount": str(ledger_decimal(each.amount_units)),
        "booked_at": each.booked_at,
        "reason": each.reason,
    }


def _print_charges(charges: tuple[Charge, ...], zone: ZoneInfo | None = None) -> None:
    print_table(
        ("charge", "kind", "from", "to", "units ", "amount "),
        (
            (
                each.id,
                each.kind,
                format_time(each.from_at.astimezone(zone)),
                format_time(each.to_at.astimezone(zone)),
                each.units,
                ledger_decimal(each.amount_units),
            )
            for each in charges
        ),
    )


@charge.command("list")
@click.argument("account", metavar="ACCOUNT")
@click.option("--from", "start", type=click.DateTime(), help="Tiles that end after this time.")
@click.option("--to", "end", type=click.DateTime(), help="Tiles that end no later.")
@operator_option
@json_option
@pass_program
def list_(
    program: Program, account: str, start: datetime | None, end: datetime | None, as_json: bool
) -> None:
    """List the charges of an account, by its number; times are those of its site."""
    charges, zone = run(_list(program, account, start, end))
    if as_json:
        print_json([charge_fields(each) for each in charges])
    else:
        _print_charges(charges, zone)


async def _list(
    program: Program, number: str, start: datetime | None, end: datetime | None
) -> tuple[tuple[Charge, ...], ZoneInfo]:
    async with program.database() as database:
        found = await at_account(program, database, number, Right.ACCOUNT_READ)
        zone = ZoneInfo(found.site.time_zone)
        async with database.unit_of_work(read_only=True) as uow:
            charges = await uow.charges.of_account(
                found.account.organisation_id,
                found.account.id,
                None if start is None else start.replace(tzinfo=zone),
                None if end is None else end.replace(tzinfo=zone),
            )
        return charges, zone


@charge.command
@click.argument("charge_id", metavar="CHARGE", type=click.UUID)
@operator_option
@json_option
@pass_program
def explain(program: Program, charge_id: UUID, as_json: bool) -> None:
    """Tell what a charge was made from: readings, tariff, lines, ledger entry."""
    found, names = run(_explain(program, ChargeId(charge_id)))
    if as_json:
        print_json(_explanation_fields(found))
        return
    zone, each = ZoneInfo(found.site.time_zone), found.charge
    print_lines(
        f"charge {each.id}, {each.kind}, of account {found.account.number}, "
        f"usage point {found.usage_point.code}, meter {found.meter.serial}",
        f"ct {found.binding.ct}, pt {found.binding.pt}",
    )
    for at, value, reading in (
        (each.from_at, each.from_value, found.readings[0]),
        (each.to_at, each.to_value, found.readings[1]),
    ):
        told = "opening or closing value" if reading is None else _told(reading)
        print_lines(f"{format_time(at.astimezone(zone))}: {each.register.slug} {value}, {told}")
    print_table(
        ("period", "version ", "component", "block", "band", "units ", "price ", "amount "),
        (
            (
                line.get("period", "")[:10],
                line.get("tariff_version"),
                line["component"],
                line.get("block", ""),
                line.get("band", ""),
                line.get("units"),
                line.get("price"),
                ledger_decimal(line["amount_units"]),
            )
            for line in each.lines
        ),
    )
    print_lines(f"{each.units} units, {ledger_decimal(each.amount_units)} {found.account.currency}")
    if found.adjusts is not None:
        print_lines(f"changes charge {found.adjusts.id}: {each.reason}")
    if found.entry is not None:
        booked_at = format_time(found.entry.booked_at.astimezone(zone))
        print_lines(f"booked {booked_at}: {found.entry.kind}, {names.said(found.entry.memo)}")
        for posting in found.entry.postings:
            amount = ledger_decimal(posting.amount_units)
            print_lines(f"  {names.said(posting.debit)} -> {names.said(posting.credit)}: {amount}")


def _told(reading: Reading) -> str:
    return f"{reading.quality}, {reading.source}, revision {reading.revision} {reading.reason}"


def _explanation_fields(found: Explanation) -> dict[str, Any]:
    each, entry = found.charge, found.entry
    return charge_fields(each) | {
        "account": found.account.number,
        "usage_point": found.usage_point.code,
        "meter": found.meter.serial,
        "ct": str(found.binding.ct),
        "pt": str(found.binding.pt),
        "readings": [
            None
            if reading is None
            else {
                "read_at": reading.read_at,
                "value": str(reading.value),
                "quality": reading.quality,
                "source": reading.source,
                "revision": reading.revision,
                "reason": reading.reason,
            }
            for reading in found.readings
        ],
        "lines": [dict(line) for line in each.lines],
        "tariffs": [
            {
                "id": key,
                "code": tariff.code,
                "version": tariff.version,
                "valid_from": tariff.valid_from.isoformat(),
                "sha256": tariff.sha256,
            }
            for key, tariff in found.tariffs.items()
        ],
        "adjusts": None if found.adjusts is None else str(found.adjusts.id),
        "entry": None
        if entry is None
        else {
            "id": str(entry.id),
            "kind": entry.kind,
            "period": entry.period.isoformat(),
            "memo": entry.memo,
            "postings": [
                {
                    "debit": str(posting.debit),
                    "credit": str(posting.credit),
                    "amount": str(ledger_decimal(posting.amount_units)),
                }
                for posting in entry.postings
            ],
        },
    }


async def _explain(program: Program, charge_id: ChargeId) -> tuple[Explanation, SpokenNames]:
    async with program.database() as database:
        organisation_id = (await program.session(database)).operator.organisation_id
        found = await explain_charge(database, organisation_id, charge_id)
        await program.operator(database, Right.ACCOUNT_READ, site_id=found.site.id)
        async with database.unit_of_work(read_only=True) as uow:
            return found, await load_names(uow, organisation_id, told_of(found.entry))


@charge.command
@click.argument("charge_id", metavar="CHARGE", type=click.UUID)
@operator_option
@json_option
@pass_program
def replay(program: Program, charge_id: UUID, as_json: bool) -> None:
    """Make a charge again from what was known then; exit code 4 when it comes out otherwise."""
    found = run(_replay(program, ChargeId(charge_id)))
    booked, again = (
        str(ledger_decimal(amount)) for amount in (found.charge.amount_units, found.amount_units)
    )
    if as_json:
        print_json({"id": str(charge_id), "booked": booked, "again": again, "same": found.same})
    else:
        print_lines(f"booked {booked}, made again {again}")
    if not found.same:
        raise click.exceptions.Exit(ExitCode.CONFLICT)


async def _replay(program: Program, charge_id: ChargeId) -> Replay:
    async with program.database() as database:
        organisation_id = (await program.session(database)).operator.organisation_id
        found = await explain_charge(database, organisation_id, charge_id)
        await program.operator(database, Right.ACCOUNT_READ, site_id=found.site.id)
        book = TariffBook(program.plugins.tariff_components)
        return await replay_charge(database, organisation_id, charge_id, book)

"""``meterplex hold`` and ``reading``: held readings and what people decide; estimated readings."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from meterplex.cli.billing_options import NUMBER, at_site, dry_run_option
from meterplex.cli.charge import show_outcome
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_table
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.charged_registers import main_counter
from meterplex.domain.charges import HoldId, HoldState, ReadingHold
from meterplex.domain.operators import Right
from meterplex.domain.tariff import BASE_UNITS
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.charging.charge_readings import ChargingOutcome
from meterplex.services.charging.estimate_readings import estimate_reading
from meterplex.services.charging.settle_holds import HoldDecision, settle_hold
from meterplex.services.metering.issue_commands import find_meters
from meterplex.services.tariffs.book import TariffBook


@click.group(cls=FailingGroup)
def hold() -> None:
    """Readings that wait for a decision: they move no money until then.

    Needs a signed-in operator with the right bill.manage.
    """


@hold.command("list")
@click.option("--site", "code", metavar="CODE", help="Only this site.")
@click.option("--all", "settled", is_flag=True, help="The settled ones too.")
@operator_option
@json_option
@pass_program
def list_(program: Program, code: str | None, settled: bool, as_json: bool) -> None:
    """List held readings, oldest first."""
    found = run(_list(program, code, settled=settled))
    if as_json:
        print_json([_fields(each, serial) for each, serial in found])
        return
    print_table(
        ("hold", "meter", "register", "read", "value ", "reason", "detail", "state"),
        (
            (
                each.id,
                serial,
                each.register.slug,
                format_time(each.read_at),
                each.value,
                each.reason,
                each.detail,
                each.state,
            )
            for each, serial in found
        ),
    )


def _fields(each: ReadingHold, serial: str) -> dict[str, Any]:
    return {
        "id": str(each.id),
        "meter": serial,
        "register": each.register.slug,
        "read_at": each.read_at,
        "value": str(each.value),
        "reason": each.reason,
        "detail": each.detail,
        "state": each.state,
        "raised_at": each.raised_at,
        "settled_at": each.settled_at,
        "settled_by": each.settled_by,
    }


async def _list(
    program: Program, code: str | None, *, settled: bool
) -> list[tuple[ReadingHold, str]]:
    async with program.database() as database:
        organisation, site, _ = await at_site(program, database, code, Right.BILL_MANAGE)
        async with database.unit_of_work(read_only=True) as uow:
            holds = await uow.reading_holds.all(organisation.id)
            bindings = await uow.bindings.by_ids(
                organisation.id, {each.binding_id for each in holds}
            )
            meters = await uow.meters.by_ids(
                organisation.id, {each.meter_id for each in bindings.values()}
            )
    found = []
    for each in holds:
        meter = meters[bindings[each.binding_id].meter_id]
        here = site is None or meter.site_id == site.id
        if here and (settled or each.state is HoldState.OPEN):
            found.append((each, meter.serial))
    return found


@hold.command
@click.argument("hold_id", metavar="HOLD", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def release(program: Program, hold_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Let a reading move money: what it shows is right."""
    decision = HoldDecision(HoldState.RELEASED)
    done = run(_settle(program, HoldId(hold_id), decision, dry_run=dry_run))
    show_outcome(done, as_json=as_json, dry_run=dry_run)


@hold.command
@click.argument("hold_id", metavar="HOLD", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def reject(program: Program, hold_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Let a reading never move money."""
    decision = HoldDecision(HoldState.REJECTED)
    done = run(_settle(program, HoldId(hold_id), decision, dry_run=dry_run))
    show_outcome(done, as_json=as_json, dry_run=dry_run)


@hold.command("new-start")
@click.argument("hold_id", metavar="HOLD", type=click.UUID)
@click.argument("closing", type=NUMBER)
@click.argument("opening", type=NUMBER)
@dry_run_option
@operator_option
@json_option
@pass_program
def new_start(
    program: Program,
    hold_id: UUID,
    closing: Decimal,
    opening: Decimal,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Say that the counter began anew before a reading.

    CLOSING is what it showed last before that, OPENING what it showed first after it.
    """
    decision = HoldDecision(HoldState.NEW_START, closing, opening)
    done = run(_settle(program, HoldId(hold_id), decision, dry_run=dry_run))
    show_outcome(done, as_json=as_json, dry_run=dry_run)


async def _settle(
    program: Program, hold_id: HoldId, decision: HoldDecision, *, dry_run: bool
) -> ChargingOutcome:
    async with program.database() as database:
        organisation_id = (await program.session(database)).operator.organisation_id
        async with database.unit_of_work(read_only=True) as uow:
            held = await uow.reading_holds.get(organisation_id, hold_id)
            binding = await uow.bindings.get(organisation_id, held.binding_id)
            meter = await uow.meters.get(organisation_id, binding.meter_id)
        operator = await program.operator(database, Right.BILL_MANAGE, site_id=meter.site_id)
        return await settle_hold(
            database,
            organisation_id,
            hold_id,
            decision,
            at=now(),
            operator=operator.name,
            book=TariffBook(program.plugins.tariff_components),
            dry_run=dry_run,
        )


@click.group(cls=FailingGroup)
def reading() -> None:
    """Enter readings by hand."""


@reading.command
@click.argument("serial", metavar="METER")
@click.argument("value", type=NUMBER)
@click.option("--at", "read_at", type=click.DateTime(), help="Local time.  [default: now]")
@click.option("--reason", default="", help="Why, for the record.")
@dry_run_option
@operator_option
@json_option
@pass_program
def estimate(
    program: Program,
    serial: str,
    value: Decimal,
    read_at: datetime | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Say what the counter of METER is believed to show; the next reading settles it.

    Needs a signed-in operator with the right bill.manage at the meter's site.
    """
    done = run(_estimate(program, serial, value, read_at, reason, dry_run=dry_run))
    show_outcome(done, as_json=as_json, dry_run=dry_run)


async def _estimate(
    program: Program,
    serial: str,
    value: Decimal,
    read_at: datetime | None,
    reason: str,
    *,
    dry_run: bool,
) -> ChargingOutcome:
    async with program.database() as database:
        organisation_id = (await program.session(database)).operator.organisation_id
        async with database.unit_of_work(read_only=True) as uow:
            (meter,) = await find_meters(uow, organisation_id, [serial])
            site = await uow.sites.get(organisation_id, meter.site_id)
            binding = await uow.bindings.open_of_meter(organisation_id, meter.id)
            if binding is None:
                raise MoneyConflictError("meter", f"{serial} is at no usage point")
            point = await uow.usage_points.get(organisation_id, binding.usage_point_id)
            openings = await uow.charges.openings(organisation_id, [binding.id])
        known = [each[0] for each in openings.get(binding.id, {}).values()]
        register = main_counter(point.utility, BASE_UNITS.get(point.utility), known)
        if register is None:
            raise MoneyConflictError("meter", f"{serial} has no one counter of {point.utility}")
        operator = await program.operator(database, Right.BILL_MANAGE, site_id=site.id)
        at = now()
        zone = ZoneInfo(site.time_zone)
        return await estimate_reading(
            database,
            organisation_id,
            meter,
            register,
            value,
            at if read_at is None else read_at.replace(tzinfo=zone),
            at=at,
            operator=operator.name,
            reason=reason,
            book=TariffBook(program.plugins.tariff_components),
            dry_run=dry_run,
        )

"""``meterplex readings``, ``runs`` and ``events``: what was read and what happened."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click

from meterplex.cli.errors import UnknownNameError
from meterplex.cli.output import format_time, json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, pass_program, run
from meterplex.db import UnitOfWork
from meterplex.domain.estate import Organisation
from meterplex.domain.readings import DeviceEventRecord, Reading, ReadingRun
from meterplex.domain.registers import RegisterType
from meterplex.services.estate.file_format import nearest
from meterplex.services.metering.issue_commands import find_meters

DEFAULT_SPAN = timedelta(days=1)


@click.command
@click.argument("meter", metavar="METER")
@click.option("--from", "start", metavar="TIME", help="ISO 8601; a day before the end otherwise.")
@click.option("--to", "end", metavar="TIME", help="ISO 8601, not included; now otherwise.")
@click.option("--register", "slug", metavar="NAME", help="Only this register.")
@json_option
@pass_program
def readings(
    program: Program,
    meter: str,
    start: str | None,
    end: str | None,
    slug: str | None,
    as_json: bool,
) -> None:
    """List the readings of a meter, by its serial, in a period.

    Values are as the meter shows them. Times without a zone are in the zone of the site.
    """

    async def look(uow: UnitOfWork, organisation: Organisation) -> tuple[ZoneInfo, list[Reading]]:
        (found,) = await find_meters(uow, organisation.id, [meter])
        site = await uow.sites.get(organisation.id, found.site_id)
        zone = ZoneInfo(site.time_zone)
        until = now() if end is None else _time(end, zone)
        since = until - DEFAULT_SPAN if start is None else _time(start, zone)
        known = [each.register for each in await uow.readings.latest(organisation.id, [found.id])]
        history: list[Reading] = []
        for register in _wanted(known, slug):
            history += await uow.readings.history(organisation.id, found.id, register, since, until)
        return zone, sorted(history, key=lambda each: (each.read_at, each.register.slug))

    zone, history = run(program.in_estate(look))
    if as_json:
        print_json([_fields(each, zone) for each in history])
        return
    print_table(
        ("time", "register", "value ", "unit", "quality", "source", "revision ", "reason"),
        (
            (
                format_time(each.read_at.astimezone(zone)),
                each.register.slug,
                each.value,
                each.register.unit,
                each.quality,
                each.source,
                each.revision,
                each.reason,
            )
            for each in history
        ),
    )
    tell(f"{len(history)} readings")


def _time(text: str, zone: ZoneInfo) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r}: expected a time such as 2026-07-01T00:00") from error
    return at.replace(tzinfo=zone) if at.tzinfo is None else at


def _wanted(known: list[RegisterType], slug: str | None) -> list[RegisterType]:
    if slug is None:
        return known
    wanted = [register for register in known if register.slug == slug]
    if not wanted:
        names = [register.slug for register in known]
        raise UnknownNameError(f"the meter has no readings of {slug!r}{nearest(slug, names)}")
    return wanted


def _fields(reading: Reading, zone: ZoneInfo) -> dict[str, object]:
    return {
        "read_at": reading.read_at.astimezone(zone),
        "register": reading.register.slug,
        "obis": str(reading.register.obis),
        "value": reading.value,
        "unit": reading.register.unit,
        "quality": reading.quality,
        "source": reading.source,
        "revision": reading.revision,
        "reason": reading.reason,
    }


@click.command
@click.option("--channel", "code", metavar="CHANNEL", help="Only this channel.")
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@json_option
@pass_program
def runs(program: Program, code: str | None, limit: int, as_json: bool) -> None:
    """List the last reading runs with their success and failure lists."""

    async def look(
        uow: UnitOfWork, organisation: Organisation
    ) -> tuple[tuple[ReadingRun, ...], dict[object, str]]:
        all_channels = await uow.channels.all(organisation.id)
        names: dict[object, str] = {channel.id: channel.code for channel in all_channels}
        names |= {meter.id: meter.serial for meter in await uow.meters.all(organisation.id)}
        chosen = [channel for channel in all_channels if code in (None, channel.code)]
        if not chosen and code is not None:
            codes = [channel.code for channel in all_channels]
            raise UnknownNameError(f"no channel {code!r}{nearest(code, codes)}")
        channel_id = None if code is None else chosen[0].id
        return await uow.runs.newest(organisation.id, channel_id, limit), names

    found, names = run(program.in_estate(look))
    if as_json:
        print_json([_run_fields(each, names) for each in found])
        return
    print_table(
        ("started", "channel", "source", "s ", "read ", "failed ", "failures"),
        (
            (
                format_time(each.started_at),
                names.get(each.channel_id, each.channel_id),
                each.source,
                f"{(each.ended_at - each.started_at).total_seconds():.1f}",
                len(each.succeeded),
                len(each.failed),
                "; ".join(f"{names.get(f.meter_id, f.meter_id)}: {f.reason}" for f in each.failed),
            )
            for each in found
        ),
    )


def _run_fields(each: ReadingRun, names: dict[object, str]) -> dict[str, object]:
    return {
        "id": each.id,
        "channel": names.get(each.channel_id),
        "source": each.source,
        "started_at": each.started_at,
        "ended_at": each.ended_at,
        "succeeded": [names.get(meter_id, str(meter_id)) for meter_id in each.succeeded],
        "failed": [
            {"meter": names.get(failure.meter_id, str(failure.meter_id)), "reason": failure.reason}
            for failure in each.failed
        ],
    }


@click.command
@click.option("--meter", "serial", metavar="METER", help="Only of this meter.")
@click.option("--limit", default=100, show_default=True, help="How many, newest first.")
@json_option
@pass_program
def events(program: Program, serial: str | None, limit: int, as_json: bool) -> None:
    """List the last events of meters, gateways and channels."""

    async def look(
        uow: UnitOfWork, organisation: Organisation
    ) -> tuple[tuple[DeviceEventRecord, ...], dict[object, str]]:
        names: dict[object, str] = {m.id: m.serial for m in await uow.meters.all(organisation.id)}
        names |= {each.id: each.code for each in await uow.channels.all(organisation.id)}
        names |= {each.id: each.code for each in await uow.gateways.all(organisation.id)}
        subject_id = None
        if serial is not None:
            (meter,) = await find_meters(uow, organisation.id, [serial])
            subject_id = meter.id
        return await uow.events.newest(organisation.id, subject_id, limit), names

    found, names = run(program.in_estate(look))
    if as_json:
        print_json(
            [
                {
                    "at": each.at,
                    "subject": each.subject,
                    "name": names.get(each.subject_id),
                    "kind": each.kind,
                    "code": each.code,
                    "detail": each.detail,
                }
                for each in found
            ]
        )
        return
    print_table(
        ("time", "what", "name", "event", "code", "detail"),
        (
            (
                format_time(each.at),
                each.subject,
                names.get(each.subject_id, each.subject_id),
                each.kind,
                each.code,
                each.detail,
            )
            for each in found
        ),
    )

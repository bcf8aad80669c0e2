"""``meterplex tariff backtest``: what a new tariff would have cost those who used the old one."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import click

from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
    progress_bar,
    tell,
)
from meterplex.cli.program import Program, pass_program, run
from meterplex.cli.tariff_options import FILE, one_line_each, read_tariff_file
from meterplex.db import UnitOfWork
from meterplex.domain.estate import Organisation, Site, UsagePoint
from meterplex.domain.money import Rounding, ledger_decimal, round_ratio
from meterplex.domain.tariff import TariffVersion
from meterplex.services.metering.issue_commands import find_meters
from meterplex.services.tariffs.backtest_tariffs import (
    Backtest,
    BacktestError,
    PointComparison,
    backtest_tariffs,
)
from meterplex.services.tariffs.rated_document import format_units

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command
@click.argument("old_file", metavar="OLD", type=FILE)
@click.argument("new_file", metavar="NEW", type=FILE)
@click.option("--site", "site_code", metavar="CODE", help="All usage points of a site.")
@click.option(
    "--meter", "serials", multiple=True, metavar="SERIAL", help="The usage points of a meter."
)
@click.option(
    "--from", "first_day", type=_DAY, required=True, metavar="DATE", help="First local day."
)
@click.option(
    "--to", "last_day", type=_DAY, required=True, metavar="DATE", help="The day after the last."
)
@json_option
@pass_program
def backtest(
    program: Program,
    old_file: Path,
    new_file: Path,
    site_code: str | None,
    serials: tuple[str, ...],
    first_day: datetime,
    last_day: datetime,
    as_json: bool,
) -> None:
    """Compare two tariffs on what was really used.

    The stored good readings of the usage points are rated with OLD and with NEW, both as if they
    had always been valid. Time without readings that can be believed is left out and named.
    """
    if (site_code is None) == (not serials):
        raise click.UsageError("name a site or meters: --site CODE or --meter SERIAL")
    with one_line_each():
        tariffs = read_tariff_file(program, old_file), read_tariff_file(program, new_file)

        async def compare(uow: UnitOfWork, organisation: Organisation) -> Backtest:
            site, points = await _points(program, uow, organisation, site_code, serials)
            with progress_bar("usage points") as bar:
                return await backtest_tariffs(
                    uow,
                    organisation.id,
                    points,
                    *tariffs,
                    (first_day.date(), last_day.date()),
                    site.time_zone,
                    bar.show,
                )

        try:
            result = run(program.in_estate(compare))
        except BacktestError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        print_json(_document(result))
    else:
        _show(result)


async def _points(
    program: Program,
    uow: UnitOfWork,
    organisation: Organisation,
    site_code: str | None,
    serials: Sequence[str],
) -> tuple[Site, tuple[UsagePoint, ...]]:
    """Return the usage points that are meant, and the site whose days are counted."""
    if site_code is not None:
        site = await program.site(uow, organisation, site_code)
        return site, await uow.usage_points.in_site(organisation.id, site.id)
    points: dict[str, UsagePoint] = {}
    for meter in await find_meters(uow, organisation.id, serials):
        for binding in await uow.bindings.of_meter(organisation.id, meter.id):
            point = await uow.usage_points.get(organisation.id, binding.usage_point_id)
            points[point.code] = point
    sites = {point.site_id for point in points.values()}
    if len(sites) != 1:
        raise click.UsageError("the meters must be at usage points of one site")
    known = {site.id: site for site in await uow.sites.all(organisation.id)}
    return known[sites.pop()], tuple(points.values())


def _show(result: Backtest) -> None:
    print_table(
        ("usage point", "units ", "old ", "new ", "difference ", "gaps "),
        (_row(point) for point in result.points),
    )
    for line in _summary(result):
        print_lines(line)
    for point in result.points:
        for gap in point.gaps:
            span = f"{format_time(gap.start)} to {format_time(gap.end)}"
            tell(f"{point.usage_point}: {span} left out: {gap.reason}")
        if point.reactive_missing:
            tell(f"{point.usage_point}: no reactive energy, rated without the power factor")
    for left in result.left_out:
        tell(f"{left.usage_point}: not rated: {left.reason}")


def _row(point: PointComparison) -> tuple[object, ...]:
    amounts = point.old_units, point.new_units, point.difference_units
    return (
        point.usage_point,
        format_units(point.units, 0),
        *(ledger_decimal(amount) for amount in amounts),
        len(point.gaps),
    )


def _summary(result: Backtest) -> Iterator[str]:
    totals = _totals(result)
    yield ""
    yield f"total {totals['old']} to {totals['new']} {result.old.currency}"
    yield (
        f"{result.winners} pay less, {result.losers} pay more, {result.unchanged} the same; "
        f"median difference {totals['median_difference']}"
    )
    yield f"{len(result.left_out)} not rated"


def _totals(result: Backtest) -> dict[str, object]:
    median = result.median_difference
    return {
        "usage_points": len(result.points),
        "units": format_units(sum((point.units for point in result.points), Fraction(0)), 0),
        "old": _amount(sum(point.old_units for point in result.points)),
        "new": _amount(sum(point.new_units for point in result.points)),
        "difference": _amount(sum(point.difference_units for point in result.points)),
        "winners": result.winners,
        "losers": result.losers,
        "unchanged": result.unchanged,
        "median_difference": _amount(
            round_ratio(median.numerator, median.denominator, Rounding.HALF_EVEN)
        ),
    }


def _document(result: Backtest) -> dict[str, object]:
    return {
        "old": _version(result.old),
        "new": _version(result.new),
        "currency": result.old.currency,
        "from": result.start,
        "to": result.end,
        "usage_points": [
            {
                "usage_point": point.usage_point,
                "units": format_units(point.units, 0),
                "old": _amount(point.old_units),
                "new": _amount(point.new_units),
                "difference": _amount(point.difference_units),
                "gaps": point.gaps,
                "reactive_missing": point.reactive_missing,
            }
            for point in result.points
        ],
        "left_out": result.left_out,
        "totals": _totals(result),
    }


def _version(tariff: TariffVersion) -> dict[str, object]:
    return {"tariff": tariff.id, "version": tariff.version}


def _amount(amount_units: int) -> str:
    return str(ledger_decimal(amount_units))

"""``meterplex tariff``: check tariffs, rate use with them, and bring them to meters."""

from collections.abc import Iterator
from pathlib import Path

import click

from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
)
from meterplex.cli.program import Program, pass_program
from meterplex.cli.tariff_backtest import backtest
from meterplex.cli.tariff_download import download, download_status
from meterplex.cli.tariff_options import FILE, one_line_each, read_tariff_file
from meterplex.cli.tariff_publishing import list_, preview, publish, show
from meterplex.domain.money import ledger_decimal, minor_decimal
from meterplex.domain.tariff import (
    Bill,
    Rater,
    Rating,
    TariffError,
    TariffVersion,
)
from meterplex.services.tariffs.files import read_document, read_usage
from meterplex.services.tariffs.price_override import tariff_of_meter
from meterplex.services.tariffs.rated_document import describe, format_units

_override_option = click.option(
    "--override", type=FILE, help="File with a meter's own prices (TOML or JSON)."
)


@click.group()
def tariff() -> None:
    """Check tariffs, rate use with them, and bring them to meters."""


for command in (backtest, download, download_status, list_, preview, publish, show):
    tariff.add_command(command)


@tariff.command()
@click.argument("file", metavar="TARIFF", type=FILE)
@_override_option
@json_option
@pass_program
def check(program: Program, file: Path, override: Path | None, as_json: bool) -> None:
    """Tell everything that is wrong in a tariff file (TOML or JSON)."""
    with one_line_each():
        try:
            version = _read(program, file, override)
        except TariffError as error:
            if as_json:
                print_json({"sound": False, "faults": error.faults})
            raise
    if as_json:
        print_json({"sound": True, "tariff": version.id, "version": version.version, "faults": []})
    else:
        print_lines(f"{version.id} version {version.version} is sound")


@tariff.command()
@click.argument("file", metavar="TARIFF", type=FILE)
@click.argument("intervals", metavar="INTERVALS", type=FILE)
@_override_option
@click.option("--explain", is_flag=True, help="Add to each line when its units were used.")
@json_option
@pass_program
def rate(
    program: Program,
    file: Path,
    intervals: Path,
    override: Path | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Print the bills of a file of intervals.

    INTERVALS is CSV with the columns start, end (ISO 8601 with offset), units and, where the power
    factor counts, reactive_units.
    """
    with one_line_each():
        rating = Rater(_read(program, file, override)).rate(read_usage(intervals))
    if as_json:
        print_json(describe(rating, spans=explain))
        return
    for bill in rating.bills:
        print_lines(
            f"{rating.tariff} version {rating.version}, "
            f"{format_time(bill.start)} to {format_time(bill.end)}"
        )
        print_table(_COLUMNS + _SPAN_COLUMNS * explain, _rows(bill, rating, explain))
        print_lines(f"payable {minor_decimal(bill.payable_minor, rating.currency)}", "")


def _read(program: Program, file: Path, override: Path | None = None) -> TariffVersion:
    """Read a tariff, with a meter's own prices where they are given."""
    version = read_tariff_file(program, file)
    return tariff_of_meter(version, None if override is None else read_document(override))


_COLUMNS = ("component", "block", "band", "units ", "unit", "price ", "amount ")
_SPAN_COLUMNS = ("from", "until")


def _rows(bill: Bill, rating: Rating, explain: bool) -> Iterator[tuple[object, ...]]:
    for line in bill.lines:
        units, unit, price = None, line.unit, line.price
        if line.units is not None:
            units = format_units(line.units, 0)
        elif line.base_units is not None and line.percent is not None:
            units, unit = format_units(line.percent, 0), f"% of {ledger_decimal(line.base_units)}"
        row = (
            line.component,
            line.block,
            line.band,
            units,
            unit,
            price,
            ledger_decimal(line.amount_units),
        )
        yield (*row, format_time(line.start), format_time(line.end)) if explain else row
    total = ("total", "", "", None, rating.currency, None, ledger_decimal(bill.total_units))
    yield (*total, "", "") if explain else total

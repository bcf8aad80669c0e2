"""How reports are shown: as a table, JSON or CSV, all made from the same rows."""

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import Enum, StrEnum
from typing import Any, Final

import click

from meterplex.cli.output import format_time, print_json, print_table
from meterplex.domain.money import ledger_decimal
from meterplex.domain.reports import Report
from meterplex.services.books.amounts import format_amount

_AMOUNT: Final = "_units"
_HIDDEN: Final = ("account_id", "figures")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula when a text begins with it."""


class ReportForm(StrEnum):
    """What a report is printed as."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``--json`` and ``--csv``, as the argument ``form``."""
    for form in (ReportForm.CSV, ReportForm.JSON):
        command = click.option(
            f"--{form}", "form", flag_value=form, type=ReportForm, help=f"Print {form.upper()}."
        )(command)
    return click.option(
        "--table",
        "form",
        flag_value=ReportForm.TABLE,
        type=ReportForm,
        default=ReportForm.TABLE,
        help="Print a table; so without any of these.",
    )(command)


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """The columns of a report: what its rows are about, then their figures.

    Attributes:
        payable: its amounts are paid as they stand, in whole minor units; else all four decimals
            of the ledger are shown.
    """

    row: type
    figures: type
    payable: bool

    @property
    def about(self) -> tuple[str, ...]:
        """Names of what rows are about; the currency comes with the figures."""
        names = (each.name for each in fields(self.row) if each.name not in _HIDDEN)
        return tuple(name for name in names if name != "currency")

    @property
    def amounts(self) -> tuple[str, ...]:
        """Names of the figures, those that follow from others last."""
        return (
            *(each.name for each in fields(self.figures)),
            *getattr(self.figures, "derived", ()),
        )

    def amount(self, name: str, value: int, currency: str) -> int | str:
        """Return a figure as it is shown: counts are whole numbers, amounts are texts."""
        if not name.endswith(_AMOUNT):
            return value
        return format_amount(value, currency) if self.payable else f"{ledger_decimal(value):f}"

    def figures_of(self, figures: object, currency: str) -> dict[str, int | str]:
        """Return figures by the names that readers see."""
        return {
            name.removesuffix(_AMOUNT): self.amount(name, getattr(figures, name), currency)
            for name in self.amounts
        }


def print_report(
    report: Report[Any, Any], columns: ReportColumns, form: ReportForm, **about: object
) -> None:
    """Print a report.

    Args:
        about: what the JSON tells of the report as a whole.
    """
    if form is ReportForm.JSON:
        print_json(
            {**about, "rows": [*_documents(report, columns)], "totals": _totals(report, columns)}
        )
    elif form is ReportForm.CSV:
        _print_csv(report, columns)
    else:
        _print_table(report, columns)


def _documents(report: Report[Any, Any], columns: ReportColumns) -> Iterator[dict[str, object]]:
    for row in report.rows:
        about = {name: getattr(row, name) for name in columns.about}
        yield about | {"currency": row.currency} | columns.figures_of(row.figures, row.currency)


def _totals(report: Report[Any, Any], columns: ReportColumns) -> list[dict[str, object]]:
    return [
        {"currency": currency, **columns.figures_of(figures, currency)}
        for currency, figures in report.totals.items()
    ]


def _print_table(report: Report[Any, Any], columns: ReportColumns) -> None:
    blank = [""] * (len(columns.about) - 1)
    heads = [name.replace("_", " ") for name in columns.about]
    amounts = [f"{name.removesuffix(_AMOUNT).replace('_', ' ')} " for name in columns.amounts]
    rows = [
        (
            *(_shown(getattr(row, name)) for name in columns.about),
            *columns.figures_of(row.figures, row.currency).values(),
            row.currency,
        )
        for row in report.rows
    ]
    totals = [
        ("total", *blank, *columns.figures_of(figures, currency).values(), currency)
        for currency, figures in report.totals.items()
    ]
    print_table([*heads, *amounts, "currency"], [*rows, *totals])


def _print_csv(report: Report[Any, Any], columns: ReportColumns) -> None:
    """Print the rows without totals, so that a spreadsheet can add them up itself."""
    amounts = [name.removesuffix(_AMOUNT) for name in columns.amounts]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*columns.about, *amounts, "currency"])
    for row in report.rows:
        writer.writerow(
            [
                *(_plain(_shown(getattr(row, name))) for name in columns.about),
                *columns.figures_of(row.figures, row.currency).values(),
                row.currency,
            ]
        )


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return format_time(value)
        case date():
            return value.isoformat()
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text

"""Exports of the estate as CSV (RFC 4180): UTF-8, a header, one meter or account a line.

Text that a spreadsheet would take for a formula is written with an apostrophe before it.
"""

import csv
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from meterplex.domain.accounts import AccountState, format_deduction_order
from meterplex.domain.intervals import format_interval
from meterplex.services.accounts.customer_file import AccountFile
from meterplex.services.books.amounts import format_amount
from meterplex.services.metering.meter_states import MeterStatus

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

METER_COLUMNS: Final = (
    "site",
    "serial",
    "model",
    "channel",
    "address",
    "ct",
    "pt",
    "usage_point",
    "reading_interval",
)
"""Those of the table ``meter`` in an estate file."""

STATE_COLUMNS: Final = (
    "site",
    "serial",
    "model",
    "channel",
    "address",
    "usage_point",
    "state",
    "state_since",
    "lost_reason",
    "flags",
    "last_good_at",
    "age_s",
    "fresh",
)

ACCOUNT_COLUMNS: Final = (
    "site",
    "number",
    "customer",
    "mode",
    "tariff",
    "usage_points",
    "customer_number",
    "phone",
    "email",
    "alarm_1",
    "alarm_2",
    "overdraft",
    "emergency",
    "hoard",
    "deduction_order",
    "head_count",
)
"""Those of the table ``account`` in an estate file."""


def write_meters(meters: Iterable[MeterStatus], out: TextIO) -> None:
    """Write the meters as an estate file has them."""
    writer = csv.writer(out)
    writer.writerow(METER_COLUMNS)
    writer.writerows(_meter_row(status) for status in meters)


def write_states(meters: Sequence[MeterStatus], out: TextIO) -> None:
    """Write what is known of the meters now, with a column for each register any of them has."""
    registers = sorted({reading.register.slug for each in meters for reading in each.readings})
    writer = csv.writer(out)
    writer.writerow((*STATE_COLUMNS, *registers))
    for status in meters:
        values = {reading.register.slug: f"{reading.value:f}" for reading in status.readings}
        writer.writerow((*_state_row(status), *(values.get(slug, "") for slug in registers)))


def _place(status: MeterStatus) -> list[str]:
    meter = status.meter
    texts = (status.site.code, meter.serial, meter.model, status.channel.code, meter.address)
    return [as_text(text) for text in texts]


def _meter_row(status: MeterStatus) -> Sequence[str]:
    binding, point, interval = status.binding, status.usage_point, status.meter.reading_interval
    return (
        *_place(status),
        "1" if binding is None else f"{binding.ct:f}",
        "1" if binding is None else f"{binding.pt:f}",
        "" if point is None else as_text(point.code),
        "" if interval is None else format_interval(interval),
    )


def _state_row(status: MeterStatus) -> Sequence[str]:
    meter, point = status.meter, status.usage_point
    return (
        *_place(status),
        "" if point is None else as_text(point.code),
        meter.state,
        "" if meter.state_since is None else meter.state_since.isoformat(),
        meter.lost_reason or "",
        " ".join(sorted(meter.flags)),
        "" if status.last_good_at is None else status.last_good_at.isoformat(),
        "" if status.age is None else f"{status.age.total_seconds():.0f}",
        "yes" if status.is_fresh else "no",
    )


def write_accounts(accounts: Iterable[AccountFile], out: TextIO) -> None:
    """Write the accounts that are not closed as an estate file has them."""
    writer = csv.writer(out)
    writer.writerow(ACCOUNT_COLUMNS)
    writer.writerows(
        _account_row(each) for each in accounts if each.account.state is not AccountState.CLOSED
    )


def _account_row(each: AccountFile) -> Sequence[str]:
    account, customer = each.account, each.customer
    points = sorted(meter.usage_point.code for meter in each.meters if meter.binding.until is None)
    limits = (
        account.alarm_1_units,
        account.alarm_2_units,
        account.overdraft_units,
        account.emergency_units,
        account.hoard_units,
    )
    texts = (
        each.site.code,
        account.number,
        customer.name,
        account.mode,
        account.tariff,
        ",".join(points),
        customer.number,
        customer.phone,
        customer.email,
        *("" if units is None else format_amount(units, account.currency) for units in limits),
        format_deduction_order(account.deduction_order),
        "" if account.head_count is None else str(account.head_count),
    )
    return [as_text(text) for text in texts]


def as_text(text: str) -> str:
    """Return ``text`` such that no spreadsheet runs it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text

"""What the commands of accounts have in common: readings, limits, and how an account is shown."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import click

from meterplex.domain.accounts import Account, format_deduction_order
from meterplex.domain.estate import Binding
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.services.accounts.binding_counters import GivenReadings
from meterplex.services.books.amounts import format_amount, parse_amount, parse_limit

LIMITS: Final[Mapping[str, str]] = {
    "alarm_1": "First low-credit warning, currency units.",
    "alarm_2": "Second low-credit warning, currency units.",
    "overdraft": "How far below zero supply goes on, currency units.",
    "emergency": "Credit lent once before a disconnect, currency units.",
    "hoard": "Most credit it may hold, currency units.",
}
"""Options of limits, by the name of their field without ``_units``."""

DEFAULT: Final = "default"
"""Gives a limit its default of the site's back."""

Command = Callable[..., Any]


def limit_options(command: Command) -> Command:
    """Give a command an option for each limit, as arguments of their names."""
    for name, text in reversed(tuple(LIMITS.items())):
        command = click.option(f"--{name.replace('_', '-')}", name, metavar="AMOUNT", help=text)(
            command
        )
    return command


def limits_of(given: Mapping[str, str | None], currency: str) -> dict[str, int | None]:
    """Return the limits that were given, by name of their field; None for ``default``.

    Raises:
        AmountError: one cannot be.
    """
    return {
        f"{name}_units": None if text == DEFAULT else parse_limit(text, currency, name)
        for name, text in given.items()
        if name in LIMITS and text is not None
    }


def readings_option(command: Command) -> Command:
    """Give a command the option ``--reading``, as the argument ``readings``."""
    return click.option(
        "--reading",
        "readings",
        multiple=True,
        metavar="POINT=VALUE",
        help="What the meter at a usage point shows now; POINT:REGISTER=VALUE for another counter "
        f"than {ACTIVE_ENERGY_IMPORT.slug}. Otherwise the last reading counts.",
    )(command)


def readings_by_point(texts: Iterable[str]) -> dict[str, dict[str, Decimal]]:
    """Return readings by usage point and register.

    Raises:
        click.UsageError: one is not of the form, or no number.
    """
    found: dict[str, dict[str, Decimal]] = {}
    for text in texts:
        place, sign, value = text.rpartition("=")
        point, colon, register = place.rpartition(":")
        if not colon:
            point, register = place, ACTIVE_ENERGY_IMPORT.slug
        if not (sign and point and register):
            raise click.UsageError(f"--reading {text}: expected POINT=VALUE")
        found.setdefault(point, {})[register] = _number(text, value)
    return found


def readings_of_meter(texts: Iterable[str]) -> GivenReadings:
    """Return readings of one meter, each ``VALUE`` or ``REGISTER=VALUE``.

    Raises:
        click.UsageError: one is no number.
    """
    found: dict[str, Decimal] = {}
    for text in texts:
        register, _, value = text.rpartition("=")
        found[register or ACTIVE_ENERGY_IMPORT.slug] = _number(text, value)
    return found


def _number(text: str, value: str) -> Decimal:
    try:
        return Decimal(value.strip())
    except InvalidOperation as error:
        raise click.UsageError(f"reading {text}: {value!r} is no number") from error


def amount_of(text: str | None, currency: str, field: str) -> int:
    """Return an amount that may be left out, in ledger units; then it is 0.

    Raises:
        AmountError: it cannot be paid.
    """
    return 0 if text is None else parse_amount(text, currency, field)


def account_fields(account: Account) -> dict[str, Any]:
    """Return an account as JSON values."""

    def said(units: int | None) -> str | None:
        return None if units is None else format_amount(units, account.currency)

    return {
        "number": account.number,
        "state": account.state,
        "mode": account.mode,
        "tariff": account.tariff,
        "currency": account.currency,
        "opened_at": account.opened_at,
        "closed_at": account.closed_at,
        "closing_step": account.closing_step,
        "alarm_1": said(account.alarm_1_units),
        "alarm_2": said(account.alarm_2_units),
        "overdraft": said(account.overdraft_units),
        "emergency": said(account.emergency_units),
        "hoard": said(account.hoard_units),
        "deduction_order": format_deduction_order(account.deduction_order),
        "head_count": account.head_count,
    }


def binding_fields(binding: Binding) -> dict[str, Any]:
    """Return how a meter is bound as JSON values."""
    return {
        "id": binding.id,
        "mode": binding.mode,
        "tariff": binding.tariff,
        "price_override": binding.price_override,
        "since": binding.since,
        "until": binding.until,
        "ct": binding.ct,
        "pt": binding.pt,
        "frozen": binding.frozen,
        "sole_seller": binding.sole_seller,
    }

"""What a site decides for itself: default parameters and its rules for supply (F90).

Kept as a document of texts by name, each as a person writes it; what a site has not set is the
default of its row in :data:`PARAMETERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

from meterplex.db import Database, UnitOfWork
from meterplex.db.site_records import Holiday
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Site
from meterplex.domain.friendly_hours import Holidays
from meterplex.domain.intervals import parse_interval, parse_window
from meterplex.domain.money import LEDGER_UNITS
from meterplex.domain.supply_policy import (
    DEFAULT_POLICY,
    DayWindow,
    HolidayRule,
    SupplyPolicy,
    WaterRule,
)
from meterplex.domain.warnings import DEFAULT_THRESHOLDS, Thresholds, thresholds_of
from meterplex.services.books.amounts import parse_limit
from meterplex.services.books.errors import MoneyInputError, UnknownThingError
from meterplex.services.operators.audit import record

Chosen = TypeVar("Chosen", bound=Enum)

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TEXT_LENGTH_MAX: Final = 200
OUTDOOR_AGE_MAX: Final = timedelta(hours=24)
"""How long an outdoor temperature that somebody told is believed (choice)."""


class WindowKeeper(StrEnum):
    """What keeps a meter that trips by itself on outside the disconnect window."""

    HOLD = "hold"
    """Keep-power is set before the window closes and released when it opens."""
    OVERDRAFT = "overdraft"
    """The overdraft limit in the meter; nothing is sent."""


@dataclass(frozen=True, slots=True)
class SiteParameters:
    """The parameters of a site, its own or defaults.

    Attributes:
        thresholds: of accounts that have none of their own.
        hoard_units: most credit of an account that has no limit of its own; None for no limit.
        overdraft_units, emergency_units: of new accounts.
        overload_kw: pushed to new meters; None leaves them alone.
        sms_number: where alarms of the site go.
        tariff: code, of new accounts that name none.
        refund_alone_max_units: larger refunds and reversals need a second person.
        gap_max: readings further apart are held.
        supply: the rules for taking supply away.
        window_by: see :class:`WindowKeeper`.
        outdoor_c: as it was told at ``outdoor_at``.
    """

    thresholds: Thresholds = DEFAULT_THRESHOLDS
    hoard_units: int | None = None
    overdraft_units: int = 0
    emergency_units: int = 0
    overload_kw: Decimal | None = None
    sms_number: str = ""
    tariff: str = ""
    refund_alone_max_units: int = 500 * LEDGER_UNITS
    gap_max: timedelta = timedelta(days=7)
    supply: SupplyPolicy = field(default=DEFAULT_POLICY)
    window_by: WindowKeeper = WindowKeeper.HOLD
    outdoor_c: Decimal | None = None
    outdoor_at: datetime | None = None

    def thresholds_of(self, account: Account) -> Thresholds:
        """Return the thresholds of an account: its own where it has them (F57)."""
        return thresholds_of(self.thresholds, account.alarm_1_units, account.alarm_2_units)

    def outdoor_c_at(self, at: datetime) -> Decimal | None:
        """Return the outdoor temperature, if it was told lately."""
        if self.outdoor_at is None or not timedelta(0) <= at - self.outdoor_at <= OUTDOOR_AGE_MAX:
            return None
        return self.outdoor_c


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a site.

    Attributes:
        default: as shown while it is not set.
        meaning: for the help.
        read: makes its value of a text, a currency and its name.
    """

    default: str
    meaning: str
    read: Callable[[str, str, str], Any]


def _amount(text: str, currency: str, name: str) -> int:
    return parse_limit(text, currency, name)


def _time_span(text: str, _currency: str, name: str) -> timedelta:
    try:
        return parse_interval(text.strip())
    except ValueError as error:
        raise MoneyInputError(name, str(error)) from error


def _plain_text(text: str, _currency: str, name: str) -> str:
    text = text.strip()
    if len(text) > TEXT_LENGTH_MAX or not text.isprintable():
        raise MoneyInputError(name, f"expected at most {TEXT_LENGTH_MAX} printable characters")
    return text


def _decimal(text: str, name: str, smallest: int, largest: int) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not smallest <= value <= largest:
        raise MoneyInputError(name, f"{text!r}: expected a number from {smallest} to {largest}")
    return value


def _power_kw(text: str, _currency: str, name: str) -> Decimal:
    return _decimal(text, name, 0, 100_000)


def _celsius(text: str, _currency: str, name: str) -> Decimal:
    return _decimal(text, name, -90, 60)


def _yes_or_no(text: str, _currency: str, name: str) -> bool:
    words = {"yes": True, "no": False}
    if text.strip().lower() not in words:
        raise MoneyInputError(name, f"{text!r}: expected yes or no")
    return words[text.strip().lower()]


def _one_of(kind: type[Chosen]) -> Callable[[str, str, str], Chosen]:
    def read(text: str, _currency: str, name: str) -> Chosen:
        try:
            return kind(text.strip().lower())
        except ValueError as error:
            known = ", ".join(each.value for each in kind)
            raise MoneyInputError(name, f"{text!r}: expected one of {known}") from error

    return read


def _windows(text: str, _currency: str, name: str) -> tuple[tuple[DayWindow, ...], ...]:
    """Read ``mon-fri 09:00-16:00; sat 10:00-12:00``; ``none`` for no window at all."""
    week: list[list[DayWindow]] = [[] for _ in DAYS]
    for part in "" if text.strip() == "none" else text.split(";"):
        days, _, hours = part.strip().partition(" ")
        first, _, last = days.lower().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise MoneyInputError(name, f"{part.strip()!r}: expected such as mon-fri 09:00-16:00")
        try:
            window = parse_window(hours.strip())
            opened = DayWindow(window.start, window.end)
        except ValueError as error:
            raise MoneyInputError(name, str(error)) from error
        start, end = DAYS.index(first), DAYS.index(last or first)
        if end < start:
            raise MoneyInputError(name, f"{days!r}: expected the days in the order of the week")
        for day in range(start, end + 1):
            week[day].append(opened)
    return tuple(tuple(sorted(day, key=lambda each: each.start)) for day in week)


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "alarm_1": Parameter("50.00", "first low-credit warning", _amount),
    "alarm_2": Parameter("20.00", "second low-credit warning", _amount),
    "hoard": Parameter("", "most credit an account may hold; empty for no limit", _amount),
    "overdraft": Parameter("0", "of new accounts: how far below zero supply goes on", _amount),
    "emergency_credit": Parameter("0", "of new accounts: lent once until the next pay", _amount),
    "overload_kw": Parameter("", "power above which meters disconnect", _power_kw),
    "sms_number": Parameter("", "phone that gets the alarms of the site", _plain_text),
    "tariff": Parameter("", "of new accounts that name none", _plain_text),
    "refund_alone_max": Parameter("500", "larger refunds need a second person", _amount),
    "gap_max": Parameter("7d", "readings further apart are held", _time_span),
    "disconnect_windows": Parameter("mon-fri 09:00-16:00", "when supply may end", _windows),
    "holiday_rule": Parameter("eve_too", "what holidays protect", _one_of(HolidayRule)),
    "warning_lead": Parameter("1d", "from the arrears warning to a disconnect", _time_span),
    "reconnect_threshold": Parameter("0", "above the limit before a reconnect", _amount),
    "reconnect_spread": Parameter("10m", "many reconnects are spread over this", _time_span),
    "water_homes": Parameter("minimum_flow", "water of homes that owe", _one_of(WaterRule)),
    "frost_limit_c": Parameter("5", "heat stays on below this outdoor temperature", _celsius),
    "gas_reconnect_on_site": Parameter("yes", "gas is opened by a person there", _yes_or_no),
    "window_by": Parameter("hold", "what keeps prepaid meters on", _one_of(WindowKeeper)),
    "outdoor_c": Parameter("", "outdoor temperature now; believed for 24 h", _celsius),
}
"""All parameters of a site, by name."""

_OUTDOOR_AT: Final = "outdoor_at"
_SUPPLY: Final = {
    "disconnect_windows": "disconnect_windows",
    "holiday_rule": "holiday_rule",
    "warning_lead": "warning_lead",
    "reconnect_threshold": "reconnect_threshold_units",
    "reconnect_spread": "reconnect_spread",
    "water_homes": "water_homes",
    "frost_limit_c": "frost_limit_c",
    "gas_reconnect_on_site": "gas_reconnect_on_site",
}
"""Parameters that are fields of the site's ``SupplyPolicy``."""
_OWN: Final = {
    "hoard": "hoard_units",
    "overdraft": "overdraft_units",
    "emergency_credit": "emergency_units",
    "overload_kw": "overload_kw",
    "sms_number": "sms_number",
    "tariff": "tariff",
    "refund_alone_max": "refund_alone_max_units",
    "gap_max": "gap_max",
    "window_by": "window_by",
    "outdoor_c": "outdoor_c",
}
"""Parameters that are fields of ``SiteParameters``."""


def read_parameters(document: Mapping[str, Any], currency: str) -> SiteParameters:
    """Make the parameters of a site from its document.

    Raises:
        MoneyInputError: a parameter has a value that cannot be; ``field`` names it.
        UnknownThingError: there is no parameter of that name.
    """
    values: dict[str, Any] = {}
    for name, text in document.items():
        if name == _OUTDOOR_AT:
            continue
        if name not in PARAMETERS:
            raise UnknownThingError(name, f"no such parameter; known: {', '.join(PARAMETERS)}")
        values[name] = PARAMETERS[name].read(str(text), currency, name)
    thresholds = _thresholds(values)
    own = {field_name: values[name] for name, field_name in _OWN.items() if name in values}
    if document.get(_OUTDOOR_AT):
        own["outdoor_at"] = datetime.fromisoformat(document[_OUTDOOR_AT])
    supply = {field_name: values[name] for name, field_name in _SUPPLY.items() if name in values}
    return SiteParameters(thresholds=thresholds, supply=SupplyPolicy(**supply), **own)


def _thresholds(values: Mapping[str, Any]) -> Thresholds:
    try:
        return thresholds_of(DEFAULT_THRESHOLDS, values.get("alarm_1"), values.get("alarm_2"))
    except ValueError as error:
        raise MoneyInputError("alarm_2", str(error)) from error


async def load_parameters(uow: UnitOfWork, site: Site) -> SiteParameters:
    """Return the parameters of a site."""
    organisation = await uow.organisations.get(site.organisation_id)
    document = await uow.site_records.policy(site.organisation_id, site.id)
    return read_parameters(document, organisation.currency)


async def load_holidays(uow: UnitOfWork, site: Site) -> Holidays:
    """Return the public holidays of a site; weekend days that are worked are none."""
    days = await uow.site_records.holidays(site.organisation_id, site.id)
    return Holidays(frozenset(each.day for each in days if not each.working))


async def set_parameters(
    database: Database,
    site: Site,
    changes: Mapping[str, str],
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Mapping[str, str]:
    """Change parameters of a site; an empty text gives one its default back.

    Returns:
        All that the site has set now, as texts.

    Raises:
        MoneyInputError, UnknownThingError: see :func:`read_parameters`; nothing was written.
    """
    async with database.unit_of_work() as uow:
        organisation = await uow.organisations.get(site.organisation_id)
        document = dict(await uow.site_records.policy(site.organisation_id, site.id))
        if unknown := [name for name in changes if name not in PARAMETERS]:
            raise UnknownThingError(unknown[0], f"no such parameter: {', '.join(PARAMETERS)}")
        document |= {name: text.strip() for name, text in changes.items()}
        if "outdoor_c" in changes:
            document[_OUTDOOR_AT] = at.isoformat() if changes["outdoor_c"].strip() else ""
        document = {name: text for name, text in document.items() if text}
        read_parameters(document, organisation.currency)
        await uow.site_records.set_policy(site.organisation_id, site.id, document)
        await record(
            uow,
            site.organisation_id,
            operator,
            "site.policy",
            f"site {site.code}",
            dict(changes),
            at,
        )
        if not dry_run:
            await uow.commit()
    return document


async def set_holidays(
    database: Database,
    site: Site,
    year: int,
    days: Mapping[date, str],
    *,
    working: Mapping[date, str] | None = None,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> tuple[Holiday, ...]:
    """Replace the calendar of a site for one year.

    Args:
        days: holidays with their names; working: weekend days that are worked.

    Raises:
        MoneyInputError: a day of another year, or one that is both.
    """
    working = working or {}
    if both := sorted(days.keys() & working.keys()):
        raise MoneyInputError("working", f"{both[0]} is a holiday too")
    if strangers := sorted(day for day in (*days, *working) if day.year != year):
        raise MoneyInputError("days", f"{strangers[0]}: expected days of {year}")
    organisation_id = site.organisation_id
    calendar = [
        *(Holiday(organisation_id, site.id, day, name) for day, name in days.items()),
        *(Holiday(organisation_id, site.id, day, name, True) for day, name in working.items()),
    ]
    async with database.unit_of_work() as uow:
        await uow.site_records.set_holidays(organisation_id, site.id, year, calendar)
        detail = {"year": str(year), "days": ", ".join(str(day) for day in sorted(days))}
        await record(
            uow, organisation_id, operator, "site.holidays", f"site {site.code}", detail, at
        )
        if not dry_run:
            await uow.commit()
    return tuple(sorted(calendar, key=lambda each: each.day))

"""From a document of keys and values to a tariff version: the format of tariff files.

Everything wrong is told at once: unknown keys, missing ones, values of another form, and then what
makes the tariff unsound. What is unsound in sections whose form is already wrong is left for the
next try, because it would only be an echo.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from meterplex.domain.money import Rounding
from meterplex.domain.registers import Utility
from meterplex.domain.tariff import (
    Block,
    BlockAllocation,
    Component,
    ComponentField,
    ComponentSettings,
    ComponentValue,
    DayPlan,
    DayType,
    Demand,
    FieldKind,
    Holidays,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Season,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffComponent,
    TariffError,
    TariffFault,
    TariffVersion,
    find_faults,
)
from meterplex.services.estate_format import nearest

_DECIMAL: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,8})?")
_MONTH_DAY: Final = re.compile(r"([0-9]{2})-([0-9]{2})")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_ENTWINED: Final = (
    frozenset({"bands", "blocks", "energy", "seasons"}),
    frozenset({"standing", "demand", "power_factor", "surcharge"}),
)
"""Sections that are judged together, the second with those of plugins."""
_NO_ITEMS: Final[Sequence[object]] = ()
_NO_KEYS: Final[Mapping[str, object]] = MappingProxyType({})
NO_COMPONENTS: Final[Mapping[str, TariffComponent]] = MappingProxyType({})

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)


def parse_tariff(
    document: Mapping[str, object], components: Mapping[str, TariffComponent] = NO_COMPONENTS
) -> TariffVersion:
    """Return the sound tariff version of a document.

    Args:
        components: that plugins bring, by kind.

    Raises:
        TariffError: with everything that is wrong in it.
    """
    faults: list[TariffFault] = []
    malformed: set[str] = set()
    table = _Table("", document, faults, malformed)
    tariff = _tariff(table, components)
    strangers = _refuse_strangers(table, components)
    table.refuse_unknown()
    for entwined in (_ENTWINED[0], _ENTWINED[1] | components.keys() | strangers):
        if malformed & entwined:
            malformed |= entwined
    faults += [fault for fault in find_faults(tariff) if _section(fault.path) not in malformed]
    if faults:
        raise TariffError(faults)
    return tariff


def _refuse_strangers(table: "_Table", components: Mapping[str, TariffComponent]) -> set[str]:
    """Tell every table at the top that nobody knows: the component of a plugin not there?

    What looks like a slip of the pen is left to :meth:`_Table.refuse_unknown`.
    """
    strangers = {
        key
        for key, value in table.values.items()
        if isinstance(value, list | dict)
        and key not in table.known
        and not nearest(key, table.known)
    }
    kinds = [f"{kind} ({each.plugin})" for kind, each in sorted(components.items())]
    for key in strangers:
        known = ", ".join(kinds) or "none"
        table.fault(key, f"unknown table; plugins bring these components: {known}")
    table.known |= strangers
    return strangers


def _section(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


class _FormError(Exception):
    """A value has another form than expected; the text says both."""


@dataclass(slots=True)
class _Table:
    """A table of the document: hands out values by key and remembers what is wrong.

    After a fault it hands out a neutral value, so that reading goes on.
    """

    path: str
    values: Mapping[str, object]
    faults: list[TariffFault]
    malformed: set[str]
    known: set[str] = field(default_factory=set)
    tables_read: list["_Table"] = field(default_factory=list)

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def fault(self, path: str, message: str) -> None:
        self.faults.append(TariffFault(path, message))
        self.malformed.add(_section(path))

    def has(self, key: str) -> bool:
        self.known.add(key)
        return key in self.values

    def take(self, key: str, read: Callable[[object], T], neutral: T) -> T:
        """Return the value of a key that must be there."""
        if not self.has(key):
            self.fault(self.at(key), "is missing")
            return neutral
        return self.read(self.at(key), self.values[key], read, neutral)

    def maybe(self, key: str, read: Callable[[object], T], neutral: T) -> T | None:
        """Return the value of a key, None where it is not."""
        return self.take(key, read, neutral) if self.has(key) else None

    def read(self, path: str, value: object, read: Callable[[object], T], neutral: T) -> T:
        try:
            return read(value)
        except _FormError as error:
            self.fault(path, str(error))
            return neutral

    def items(self, key: str, read: Callable[[object], T], neutral: T) -> tuple[T, ...]:
        """Return the values of a list, none where the key is missing."""
        values = self.take(key, _list, _NO_ITEMS) if self.has(key) else _NO_ITEMS
        return tuple(
            self.read(f"{self.at(key)}[{index}]", value, read, neutral)
            for index, value in enumerate(values)
        )

    def table(self, key: str) -> "_Table":
        """Return the table of a key that must be there."""
        return self._sub(self.at(key), self.take(key, _mapping, _NO_KEYS))

    def tables(self, key: str) -> Iterator["_Table"]:
        """Yield the tables of a list of them, none where the key is missing."""
        for index, values in enumerate(self.items(key, _mapping, _NO_KEYS)):
            yield self._sub(f"{self.at(key)}[{index}]", values)

    def _sub(self, path: str, values: Mapping[str, object]) -> "_Table":
        table = _Table(path, values, self.faults, self.malformed)
        self.tables_read.append(table)
        return table

    def refuse_unknown(self) -> None:
        """Tell every key that nobody asked for, here and below."""
        for key in self.values:
            if key not in self.known:
                hint = nearest(key, self.known)
                self.faults.append(TariffFault(self.at(key), f"unknown key{hint}"))
        for table in self.tables_read:
            table.refuse_unknown()


def _tariff(table: _Table, components: Mapping[str, TariffComponent]) -> TariffVersion:
    periods = table.table("periods")
    return TariffVersion(
        id=table.take("id", _text, "-"),
        version=table.take("version", _integer, 1),
        utility=Utility(table.take("utility", _text, "electricity")),
        currency=table.take("currency", _text, "XXX"),
        time_zone=table.take("time_zone", _text, "UTC"),
        valid_from=table.take("valid_from", _date, date(1970, 1, 1)),
        rounding=table.take("rounding", _one_of(Rounding), Rounding.HALF_UP),
        block_span=periods.take("blocks", _one_of(Span), Span.MONTH),
        billing_span=periods.take("billing", _one_of(Span), Span.MONTH),
        block_allocation=periods.take(
            "block_allocation", _one_of(BlockAllocation), BlockAllocation.CHRONOLOGICAL
        ),
        bands=table.table("bands").items("names", _text, ""),
        seasons=tuple(_season(season) for season in table.tables("seasons")),
        blocks=_blocks(table) or (),
        prices=_prices(table.table("energy")) or () if table.has("energy") else (),
        holidays=_holidays(table.table("holidays")) if table.has("holidays") else Holidays(),
        standing=tuple(_standing(standing) for standing in table.tables("standing")),
        demand=tuple(_demand(demand) for demand in table.tables("demand")),
        components=tuple(
            component
            for kind in sorted(components)
            for component in _components(table, components[kind])
        ),
        power_factor=(
            _power_factor(table.table("power_factor")) if table.has("power_factor") else None
        ),
        surcharges=tuple(_surcharge(surcharge) for surcharge in table.tables("surcharge")),
        minimum=_minimum(table.table("minimum")) if table.has("minimum") else None,
    )


def _blocks(table: _Table) -> tuple[Block, ...] | None:
    if not table.has("blocks"):
        return None
    return tuple(
        Block(block.take("name", _text, ""), block.maybe("up_to", _decimal, Decimal(0)))
        for block in table.tables("blocks")
    )


def _prices(table: _Table) -> tuple[tuple[Decimal, ...], ...] | None:
    if not table.has("prices"):
        return None
    rows = table.items("prices", _list, _NO_ITEMS)
    return tuple(
        tuple(
            table.read(f"{table.at('prices')}[{at}][{column}]", cell, _decimal, Decimal(0))
            for column, cell in enumerate(row)
        )
        for at, row in enumerate(rows)
    )


def _season(table: _Table) -> Season:
    month, day = table.take("from", _month_day, (1, 1))
    return Season(
        name=table.take("name", _text, "-"),
        month=month,
        day=day,
        days=tuple(_day_plan(plan) for plan in table.tables("days")),
        blocks=_blocks(table),
        prices=_prices(table),
    )


def _day_plan(table: _Table) -> DayPlan:
    return DayPlan(
        types=table.items("types", _one_of(DayType), DayType.WORKDAY),
        slots=tuple(
            Slot(slot.take("at", _clock, time.min), slot.take("band", _text, ""))
            for slot in table.tables("slots")
        ),
    )


def _holidays(table: _Table) -> Holidays:
    return Holidays(
        dates=frozenset(table.items("dates", _date, date.min)),
        working_days=frozenset(table.items("working_days", _date, date.max)),
    )


def _standing(table: _Table) -> Standing:
    return Standing(
        name=table.take("name", _text, "-"),
        per=table.take("per", _one_of(Span), Span.MONTH),
        amount=table.take("amount", _decimal, Decimal(0)),
    )


def _demand(table: _Table) -> Demand:
    return Demand(
        name=table.take("name", _text, "-"),
        window_min=table.take("window_min", _integer, 15),
        price_per_kw=table.take("price_per_kw", _decimal, Decimal(0)),
    )


def _components(table: _Table, kind: TariffComponent) -> Iterator[Component]:
    """Yield the components of one kind: a table of its name, or a list of them."""
    if not table.has(kind.kind):
        return
    single = isinstance(table.values[kind.kind], dict)
    for entry in (table.table(kind.kind),) if single else table.tables(kind.kind):
        yield Component(
            type=kind,
            name=entry.take("name", _text, "-") if entry.has("name") else kind.kind,
            settings=ComponentSettings(
                tuple((field.name, _component_value(entry, field)) for field in kind.fields)
            ),
        )


def _component_value(table: _Table, field: ComponentField) -> ComponentValue:
    if field.default is not None and not table.has(field.name):
        return field.default
    match field.kind:
        case FieldKind.DECIMAL:
            return table.take(field.name, _decimal, Decimal(0))
        case FieldKind.INTEGER:
            return table.take(field.name, _integer, 0)
        case FieldKind.TEXT if field.choices:
            return table.take(field.name, _choice(field.choices), "")
        case FieldKind.TEXT:
            return table.take(field.name, _text, "")


def _power_factor(table: _Table) -> PowerFactor:
    return PowerFactor(
        target=table.take("target", _decimal, Decimal(1)),
        applies_to=table.items("applies_to", _text, ""),
        table=tuple(_power_factor_step(step) for step in table.tables("table")),
    )


def _power_factor_step(table: _Table) -> PowerFactorStep:
    return PowerFactorStep(
        percent=table.take("percent", _decimal, Decimal(0)),
        per=table.take("per", _decimal, Decimal(1)),
        below=table.maybe("below", _decimal, Decimal(0)),
        above=table.maybe("above", _decimal, Decimal(0)),
        at_most=table.maybe("at_most", _decimal, Decimal(0)),
    )


def _surcharge(table: _Table) -> Surcharge:
    return Surcharge(
        name=table.take("name", _text, "-"),
        per_unit=table.maybe("per_unit", _decimal, Decimal(0)),
        percent=table.maybe("percent", _decimal, Decimal(0)),
        applies_to=table.items("applies_to", _text, ""),
        tax_code=table.maybe("tax_code", _text, "") or "",
    )


def _minimum(table: _Table) -> Minimum:
    return Minimum(
        per=table.take("per", _one_of(Span), Span.MONTH),
        amount=table.take("amount", _decimal, Decimal(0)),
    )


def _spell(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _FormError(f"expected text, got {_spell(value)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise _FormError(f"expected text without control characters, got {_spell(value)}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _FormError(f"expected a whole number, got {_spell(value)}")
    return value


def _decimal(value: object) -> Decimal:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise _FormError(f'expected a decimal as text, for example "0.6170", got {_spell(value)}')
    return Decimal(value)


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(_text(value))
    except (_FormError, ValueError) as error:
        raise _FormError(f"expected a date, for example 2026-07-01, got {_spell(value)}") from error


def _month_day(value: object) -> tuple[int, int]:
    match = _MONTH_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _FormError(f'expected a month and day, for example "05-01", got {_spell(value)}')
    return int(match[1]), int(match[2])


def _clock(value: object) -> time:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _FormError(f'expected a time of day, for example "06:00", got {_spell(value)}')
    return time(int(match[1]), int(match[2]))


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise _FormError(f"expected a list, got {_spell(value)}")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _FormError(f"expected a table of keys, got {_spell(value)}")
    return value


def _choice(choices: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise _FormError(f"expected one of {', '.join(choices)}, got {_spell(value)}")
        return _text(value)

    return read


def _one_of(choices: type[Choice]) -> Callable[[object], Choice]:
    def read(value: object) -> Choice:
        for choice in choices:
            if value == choice.value:
                return choice
        expected = ", ".join(choice.value for choice in choices)
        raise _FormError(f"expected one of {expected}, got {_spell(value)}")

    return read

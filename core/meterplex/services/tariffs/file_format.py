"""From a document of keys and values to a tariff version: the format of tariff files.

Everything wrong is told at once: unknown keys, missing ones, values of another form, and then what
makes the tariff unsound. What is unsound in sections whose form is already wrong is left for the
next try, because it would only be an echo.
"""

from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from types import MappingProxyType
from typing import Final

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
from meterplex.services.estate.file_format import nearest
from meterplex.services.tariffs.file_tables import (
    Table,
    choice_of,
    one_of,
    read_clock,
    read_date,
    read_decimal,
    read_integer,
    read_month_day,
    read_price_rows,
    read_text,
    section,
)

_ENTWINED: Final = (
    frozenset({"bands", "blocks", "energy", "seasons"}),
    frozenset({"standing", "demand", "power_factor", "surcharge"}),
)
"""Sections that are judged together, the second with those of plugins."""
NO_COMPONENTS: Final[Mapping[str, TariffComponent]] = MappingProxyType({})


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
    table = Table("", document, faults, malformed)
    tariff = _tariff(table, components)
    strangers = _refuse_strangers(table, components)
    table.refuse_unknown()
    for entwined in (_ENTWINED[0], _ENTWINED[1] | components.keys() | strangers):
        if malformed & entwined:
            malformed |= entwined
    faults += [fault for fault in find_faults(tariff) if section(fault.path) not in malformed]
    if faults:
        raise TariffError(faults)
    return tariff


def _refuse_strangers(table: Table, components: Mapping[str, TariffComponent]) -> set[str]:
    """Tell every table at the top that nobody knows: the component of a plugin not there?

    What looks like a slip of the pen is left to :meth:`Table.refuse_unknown`.
    """
    strangers = {
        key
        for key, value in table.values.items()
        if isinstance(value, list | dict)
        and key not in table.known
        and not nearest(key, table.known)
    }
    kinds = [f"{kind} ({each.plugin})" for kind, each in sorted(components.items())]
    for key in sorted(strangers):
        known = ", ".join(kinds) or "none"
        table.fault(key, f"unknown table; plugins bring these components: {known}")
    table.known |= strangers
    return strangers


def _tariff(table: Table, components: Mapping[str, TariffComponent]) -> TariffVersion:
    periods = table.table("periods")
    return TariffVersion(
        id=table.take("id", read_text, "-"),
        version=table.take("version", read_integer, 1),
        utility=Utility(table.take("utility", read_text, "electricity")),
        currency=table.take("currency", read_text, "XXX"),
        time_zone=table.take("time_zone", read_text, "UTC"),
        valid_from=table.take("valid_from", read_date, date(1970, 1, 1)),
        rounding=table.take("rounding", one_of(Rounding), Rounding.HALF_UP),
        block_span=periods.take("blocks", one_of(Span), Span.MONTH),
        billing_span=periods.take("billing", one_of(Span), Span.MONTH),
        block_allocation=periods.take(
            "block_allocation", one_of(BlockAllocation), BlockAllocation.CHRONOLOGICAL
        ),
        bands=table.table("bands").items("names", read_text, ""),
        seasons=tuple(_season(season) for season in table.tables("seasons")),
        blocks=_blocks(table) or (),
        prices=read_price_rows(table.table("energy")) or () if table.has("energy") else (),
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


def _blocks(table: Table) -> tuple[Block, ...] | None:
    if not table.has("blocks"):
        return None
    return tuple(
        Block(block.take("name", read_text, ""), block.maybe("up_to", read_decimal, Decimal(0)))
        for block in table.tables("blocks")
    )


def _season(table: Table) -> Season:
    month, day = table.take("from", read_month_day, (1, 1))
    return Season(
        name=table.take("name", read_text, "-"),
        month=month,
        day=day,
        days=tuple(_day_plan(plan) for plan in table.tables("days")),
        blocks=_blocks(table),
        prices=read_price_rows(table),
    )


def _day_plan(table: Table) -> DayPlan:
    return DayPlan(
        types=table.items("types", one_of(DayType), DayType.WORKDAY),
        slots=tuple(
            Slot(slot.take("at", read_clock, time.min), slot.take("band", read_text, ""))
            for slot in table.tables("slots")
        ),
    )


def _holidays(table: Table) -> Holidays:
    return Holidays(
        dates=frozenset(table.items("dates", read_date, date.min)),
        working_days=frozenset(table.items("working_days", read_date, date.max)),
    )


def _standing(table: Table) -> Standing:
    return Standing(
        name=table.take("name", read_text, "-"),
        per=table.take("per", one_of(Span), Span.MONTH),
        amount=table.take("amount", read_decimal, Decimal(0)),
    )


def _demand(table: Table) -> Demand:
    return Demand(
        name=table.take("name", read_text, "-"),
        window_min=table.take("window_min", read_integer, 15),
        price_per_kw=table.take("price_per_kw", read_decimal, Decimal(0)),
    )


def _components(table: Table, kind: TariffComponent) -> Iterator[Component]:
    """Yield the components of one kind: a table of its name, or a list of them."""
    if not table.has(kind.kind):
        return
    single = isinstance(table.values[kind.kind], dict)
    for entry in (table.table(kind.kind),) if single else table.tables(kind.kind):
        yield Component(
            type=kind,
            name=entry.take("name", read_text, "-") if entry.has("name") else kind.kind,
            settings=ComponentSettings(
                tuple((field.name, _component_value(entry, field)) for field in kind.fields)
            ),
        )


def _component_value(table: Table, field: ComponentField) -> ComponentValue:
    if field.default is not None and not table.has(field.name):
        return field.default
    match field.kind:
        case FieldKind.DECIMAL:
            return table.take(field.name, read_decimal, Decimal(0))
        case FieldKind.INTEGER:
            return table.take(field.name, read_integer, 0)
        case FieldKind.TEXT if field.choices:
            return table.take(field.name, choice_of(field.choices), "")
        case FieldKind.TEXT:
            return table.take(field.name, read_text, "")


def _power_factor(table: Table) -> PowerFactor:
    return PowerFactor(
        target=table.take("target", read_decimal, Decimal(1)),
        applies_to=table.items("applies_to", read_text, ""),
        table=tuple(_power_factor_step(step) for step in table.tables("table")),
    )


def _power_factor_step(table: Table) -> PowerFactorStep:
    return PowerFactorStep(
        percent=table.take("percent", read_decimal, Decimal(0)),
        per=table.take("per", read_decimal, Decimal(1)),
        below=table.maybe("below", read_decimal, Decimal(0)),
        above=table.maybe("above", read_decimal, Decimal(0)),
        at_most=table.maybe("at_most", read_decimal, Decimal(0)),
    )


def _surcharge(table: Table) -> Surcharge:
    return Surcharge(
        name=table.take("name", read_text, "-"),
        per_unit=table.maybe("per_unit", read_decimal, Decimal(0)),
        percent=table.maybe("percent", read_decimal, Decimal(0)),
        applies_to=table.items("applies_to", read_text, ""),
        tax_code=table.maybe("tax_code", read_text, "") or "",
    )


def _minimum(table: Table) -> Minimum:
    return Minimum(
        per=table.take("per", one_of(Span), Span.MONTH),
        amount=table.take("amount", read_decimal, Decimal(0)),
    )

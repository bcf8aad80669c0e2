"""Tariff versions and charge lines as exact text: what is stored with tariffs and charges.

A version has one canonical text, the JSON form of its file with sorted keys and no spaces, so its
digest tells whether two are the same. Defaults of plugins' components are written out: a version
once published keeps its meaning when a plugin changes its mind. Fractions are ``"n/d"`` or a whole
number as text, amounts are integers of the ledger unit.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from meterplex.domain.tariff import (
    Block,
    ChargeLine,
    Component,
    ComponentKind,
    ComponentValue,
    PowerFactor,
    Season,
    TariffComponent,
    TariffVersion,
)
from meterplex.services.tariffs.file_format import NO_COMPONENTS, parse_tariff

Document: TypeAlias = dict[str, Any]


class TariffDocumentError(Exception):
    """Stored text that is no tariff version or no charge line: it was not written by us."""


def tariff_to_text(version: TariffVersion) -> str:
    """Return the canonical text of a sound version."""
    return json.dumps(
        describe_tariff(version), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def tariff_from_text(
    text: str, components: Mapping[str, TariffComponent] = NO_COMPONENTS
) -> TariffVersion:
    """Return the version of a canonical text.

    Args:
        components: that plugins bring, by kind.

    Raises:
        TariffDocumentError: the text is no JSON table.
        TariffError: the version has faults; that of a plugin which is gone names its table.
    """
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TariffDocumentError(f"stored tariff is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise TariffDocumentError(f"stored tariff is no table of keys: {text[:60]!r}")
    return parse_tariff(document, components)


def tariff_digest(version: TariffVersion) -> str:
    """Return the SHA-256 of the canonical text in UTF-8, as 64 hexadecimal digits."""
    return sha256(tariff_to_text(version).encode()).hexdigest()


def describe_tariff(version: TariffVersion) -> Document:
    """Return a version as the document of its file."""
    document: Document = {
        "id": version.id,
        "version": version.version,
        "utility": version.utility,
        "currency": version.currency,
        "time_zone": version.time_zone,
        "valid_from": version.valid_from.isoformat(),
        "rounding": version.rounding.value,
        "periods": {
            "blocks": version.block_span.value,
            "billing": version.billing_span.value,
            "block_allocation": version.block_allocation.value,
        },
        "bands": {"names": list(version.bands)},
        "seasons": [_season(season) for season in version.seasons],
    }
    document |= {key: value for key, value in _optional(version) if value}
    return document


def _optional(version: TariffVersion) -> Iterator[tuple[str, Any]]:
    """Yield the sections that a file may leave out; an empty one is left out."""
    holidays, power_factor, minimum = version.holidays, version.power_factor, version.minimum
    yield "blocks", _blocks(version.blocks)
    yield "energy", {"prices": _prices(version.prices)} if version.prices else None
    yield (
        "holidays",
        _present(
            dates=[day.isoformat() for day in sorted(holidays.dates)] or None,
            working_days=[day.isoformat() for day in sorted(holidays.working_days)] or None,
        ),
    )
    yield (
        "standing",
        [
            {"name": each.name, "per": each.per.value, "amount": _text(each.amount)}
            for each in version.standing
        ],
    )
    yield (
        "demand",
        [
            {
                "name": each.name,
                "window_min": each.window_min,
                "price_per_kw": _text(each.price_per_kw),
            }
            for each in version.demand
        ],
    )
    yield from _components(version.components).items()
    yield "power_factor", None if power_factor is None else _power_factor(power_factor)
    yield (
        "surcharge",
        [
            _present(
                name=each.name,
                per_unit=_maybe_text(each.per_unit),
                percent=_maybe_text(each.percent),
                applies_to=list(each.applies_to) or None,
                tax_code=each.tax_code or None,
            )
            for each in version.surcharges
        ],
    )
    if minimum is not None:
        yield "minimum", {"per": minimum.per.value, "amount": _text(minimum.amount)}


def _season(season: Season) -> Document:
    return _present(
        **{"from": f"{season.month:02}-{season.day:02}"},
        name=season.name,
        days=[
            {
                "types": [each.value for each in plan.types],
                "slots": [{"at": f"{slot.at:%H:%M}", "band": slot.band} for slot in plan.slots],
            }
            for plan in season.days
        ],
        blocks=None if season.blocks is None else _blocks(season.blocks),
        prices=None if season.prices is None else _prices(season.prices),
    )


def _blocks(blocks: Iterable[Block]) -> list[Document]:
    return [_present(name=block.name, up_to=_maybe_text(block.up_to)) for block in blocks]


def _prices(prices: Iterable[Iterable[Decimal]]) -> list[list[str]]:
    return [[_text(price) for price in row] for row in prices]


def _power_factor(rule: PowerFactor) -> Document:
    return {
        "target": _text(rule.target),
        "applies_to": list(rule.applies_to),
        "table": [
            _present(
                percent=_text(step.percent),
                per=_text(step.per),
                below=_maybe_text(step.below),
                above=_maybe_text(step.above),
                at_most=_maybe_text(step.at_most),
            )
            for step in rule.table
        ],
    }


def _components(components: Iterable[Component]) -> dict[str, list[Document]]:
    """Return the tables of plugins' components by kind."""
    tables: dict[str, list[Document]] = {}
    for component in components:
        values = {key: _value(value) for key, value in component.settings.values}
        tables.setdefault(component.type.kind, []).append({"name": component.name, **values})
    return tables


def _value(value: ComponentValue) -> int | str:
    return _text(value) if isinstance(value, Decimal) else value


def lines_to_json(lines: Iterable[ChargeLine]) -> list[Document]:
    """Return charge lines as JSON values, exact; what a line does not have is left out."""
    return [
        _present(
            kind=line.kind.value,
            component=line.component,
            amount_units=line.amount_units,
            start=line.start.isoformat(),
            end=line.end.isoformat(),
            units=None if line.units is None else str(line.units),
            unit=line.unit or None,
            price=_maybe_text(line.price),
            block=line.block or None,
            band=line.band or None,
            base_units=line.base_units,
            percent=None if line.percent is None else str(line.percent),
            power_factor=_maybe_text(line.power_factor),
            tax_code=line.tax_code or None,
        )
        for line in lines
    ]


def lines_from_json(rows: Iterable[Mapping[str, Any]], time_zone: str) -> tuple[ChargeLine, ...]:
    """Return the charge lines that :func:`lines_to_json` wrote.

    Args:
        time_zone: of their tariff, on whose clock the lines tell their times.

    Raises:
        TariffDocumentError: a row is no charge line.
    """
    zone = ZoneInfo(time_zone)
    return tuple(_line(row, zone) for row in rows)


def _line(row: Mapping[str, Any], zone: ZoneInfo) -> ChargeLine:
    try:
        return ChargeLine(
            kind=ComponentKind(row["kind"]),
            component=row["component"],
            amount_units=int(row["amount_units"]),
            start=datetime.fromisoformat(row["start"]).astimezone(zone),
            end=datetime.fromisoformat(row["end"]).astimezone(zone),
            units=None if "units" not in row else _fraction(row["units"]),
            unit=row.get("unit", ""),
            price=_maybe_decimal(row, "price"),
            block=row.get("block", ""),
            band=row.get("band", ""),
            base_units=None if "base_units" not in row else int(row["base_units"]),
            percent=None if "percent" not in row else _fraction(row["percent"]),
            power_factor=_maybe_decimal(row, "power_factor"),
            tax_code=row.get("tax_code", ""),
        )
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        raise TariffDocumentError(
            f"stored charge line {dict(row)!r} cannot be read: {error!r}"
        ) from error


def _fraction(text: str) -> Fraction:
    """Return the fraction of a text as :func:`lines_to_json` writes it."""
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator or 1))


def _present(**values: object) -> Document:
    return {key: value for key, value in values.items() if value is not None}


def _text(value: Decimal) -> str:
    return f"{value:f}"


def _maybe_text(value: Decimal | None) -> str | None:
    return None if value is None else _text(value)


def _maybe_decimal(row: Mapping[str, Any], key: str) -> Decimal | None:
    return Decimal(row[key]) if key in row else None

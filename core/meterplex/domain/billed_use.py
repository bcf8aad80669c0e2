"""Use as a bill tells it: charges gathered by month, usage point, component, block and band.

A bill says what all charges of its months come to by now, less what earlier bills said. So a
charge is on exactly one bill, whenever it became known; what comes late stands on the next bill
as a line of the month that it belongs to.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from meterplex.domain.charges import Charge
from meterplex.domain.ledger import period_of


@dataclass(frozen=True, slots=True, order=True)
class UseKey:
    """What charges are gathered by; ``month`` is its first day, ``price`` a decimal as text."""

    month: date
    usage_point: str
    component: str
    block: str = ""
    band: str = ""
    unit: str = ""
    price: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """What a key comes to; ledger units, and units of the utility where they are counted."""

    amount_units: int = 0
    units: Fraction = Fraction()

    def __add__(self, other: "Use") -> "Use":
        return Use(self.amount_units + other.amount_units, self.units + other.units)

    def __sub__(self, other: "Use") -> "Use":
        return Use(self.amount_units - other.amount_units, self.units - other.units)

    def __bool__(self) -> bool:
        return bool(self.amount_units or self.units)


def gather(
    charges: Iterable[Charge], usage_points: Mapping[Any, str], zone: ZoneInfo
) -> dict[UseKey, Use]:
    """Return what charges come to.

    Args:
        usage_points: code by binding.
        zone: of the site; a line belongs to the local month in which its time begins.
    """
    found: defaultdict[UseKey, Use] = defaultdict(Use)
    for charge in charges:
        for line in charge.lines:
            start = max(datetime.fromisoformat(line["start"]), charge.from_at)
            key = UseKey(
                period_of(start.astimezone(zone).date()),
                usage_points[charge.binding_id],
                line["component"],
                line.get("block", ""),
                line.get("band", ""),
                line.get("unit", ""),
                line.get("price", ""),
            )
            found[key] += Use(line["amount_units"], Fraction(line.get("units", 0)))
    return dict(found)


def billed(lines: Iterable[Mapping[str, Any]]) -> dict[UseKey, Use]:
    """Return what the lines of bills said, as :func:`describe_use` wrote them."""
    found: defaultdict[UseKey, Use] = defaultdict(Use)
    for line in lines:
        key = UseKey(
            date.fromisoformat(line["month"]),
            line["usage_point"],
            line["component"],
            line["block"],
            line["band"],
            line["unit"],
            line["price"],
        )
        found[key] += Use(line["amount_units"], Fraction(line["units"]))
    return dict(found)


def unbilled(
    charged: Mapping[UseKey, Use], before: Mapping[UseKey, Use]
) -> list[tuple[UseKey, Use]]:
    """Return what has not been billed yet, by key; nothing where charges and bills agree."""
    keys = charged.keys() | before.keys()
    left = ((key, charged.get(key, Use()) - before.get(key, Use())) for key in keys)
    return sorted(((key, use) for key, use in left if use), key=lambda each: each[0])


def describe_use(key: UseKey, use: Use, month: date) -> dict[str, Any]:
    """Return a line of the bill of a month; one of an earlier month says so."""
    words = [key.usage_point, key.component, key.block, key.band]
    if key.month != month:
        words.append(f"(late, of {key.month:%Y-%m})")
    return {
        "text": " ".join(word for word in words if word),
        "amount_units": use.amount_units,
        "month": key.month.isoformat(),
        "usage_point": key.usage_point,
        "component": key.component,
        "block": key.block,
        "band": key.band,
        "unit": key.unit,
        "price": key.price,
        "units": str(use.units),
    }

"""Tariffs: dated versions as data, and the one rating engine.

A version is checked whole (:func:`find_faults`); a :class:`Rater` turns the :class:`Usage` of
meters into :class:`Rating`: bills of charge lines that say what they were made from.
"""

from meterplex.domain.tariff.charges import Bill, ChargeLine, Rating, charges_since
from meterplex.domain.tariff.components import (
    BillSoFar,
    Component,
    ComponentError,
    ComponentField,
    ComponentLine,
    ComponentSettings,
    ComponentValue,
    FieldKind,
    TariffComponent,
)
from meterplex.domain.tariff.faults import TariffError, TariffFault, find_faults
from meterplex.domain.tariff.override import PriceOverride, override_prices
from meterplex.domain.tariff.rating import Rater
from meterplex.domain.tariff.usage import Interval, Usage, UsageError
from meterplex.domain.tariff.version import (
    BASE_UNITS,
    Block,
    BlockAllocation,
    ComponentKind,
    DayPlan,
    DayType,
    Demand,
    Holidays,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Prices,
    Season,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffVersion,
)

__all__ = [
    "BASE_UNITS",
    "Bill",
    "BillSoFar",
    "Block",
    "BlockAllocation",
    "ChargeLine",
    "Component",
    "ComponentError",
    "ComponentField",
    "ComponentKind",
    "ComponentLine",
    "ComponentSettings",
    "ComponentValue",
    "DayPlan",
    "DayType",
    "Demand",
    "FieldKind",
    "Holidays",
    "Interval",
    "Minimum",
    "PowerFactor",
    "PowerFactorStep",
    "PriceOverride",
    "Prices",
    "Rater",
    "Rating",
    "Season",
    "Slot",
    "Span",
    "Standing",
    "Surcharge",
    "TariffComponent",
    "TariffError",
    "TariffFault",
    "TariffVersion",
    "Usage",
    "UsageError",
    "charges_since",
    "find_faults",
    "override_prices",
]

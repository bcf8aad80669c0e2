"""What a plugin declares to bring a component of tariffs.

A component has a table of its own in tariff files, named by its kind; its keys are declared, so
the core reads and checks them, stores them with published versions, and shows them to people. What
it charges is one pure function. The engine calls it for each bill, after energy, standing charges
and demand and before percentages, minimum and taxes, with the lines made so far; it rounds each of
the component's exact amounts once, to the ledger unit.
"""

from meterplex.domain.tariff import (
    BillSoFar,
    ChargeLine,
    ComponentField,
    ComponentKind,
    ComponentLine,
    ComponentSettings,
    ComponentValue,
    FieldKind,
    TariffComponent,
)

__all__ = [
    "BillSoFar",
    "ChargeLine",
    "ComponentField",
    "ComponentKind",
    "ComponentLine",
    "ComponentSettings",
    "ComponentValue",
    "FieldKind",
    "TariffComponent",
]

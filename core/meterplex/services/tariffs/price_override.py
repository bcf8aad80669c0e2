"""The format of price overrides: what a meter pays otherwise than its tariff says (F83).

::

    [energy]
    factor_percent = "95"               # of every price; or:
    prices = [["0.58", "0.29"]]         # [block][band], instead of the tariff's

    [seasons]                           # where seasons have prices of their own
    summer = [["0.65", "0.31"]]

    [standing]
    "meter service" = "0.00"
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from meterplex.domain.tariff import (
    PriceOverride,
    Prices,
    TariffError,
    TariffFault,
    TariffVersion,
    override_prices,
)
from meterplex.services.tariffs.file_tables import Table, read_decimal, read_price_rows


def parse_override(document: Mapping[str, object]) -> PriceOverride:
    """Return the override of a document, whatever tariff it is for.

    Raises:
        TariffError: with everything whose form is wrong.
    """
    faults: list[TariffFault] = []
    table = Table("", document, faults, set())
    energy, seasons, standing = (_section(table, key) for key in ("energy", "seasons", "standing"))
    override = PriceOverride(
        prices=read_price_rows(energy),
        season_prices=tuple(
            (name, read_price_rows(seasons, name) or ()) for name in seasons.values
        ),
        factor_percent=energy.maybe("factor_percent", read_decimal, Decimal(0)),
        standing=tuple(
            (name, standing.take(name, read_decimal, Decimal(0))) for name in standing.values
        ),
    )
    table.refuse_unknown()
    if faults:
        raise TariffError(faults)
    return override


def _section(table: Table, key: str) -> Table:
    """Return a table of the document, an empty one where it is not."""
    return table.table(key) if table.has(key) else Table(key, {}, table.faults, table.malformed)


def describe_override(override: PriceOverride) -> dict[str, Any]:
    """Return the document that :func:`parse_override` reads; what is stored with a binding."""
    document: dict[str, Any] = {}
    if override.prices is not None:
        document["energy"] = {"prices": _rows(override.prices)}
    if override.factor_percent is not None:
        document["energy"] = {
            "factor_percent": f"{override.factor_percent:f}",
            **document.get("energy", {}),
        }
    if override.season_prices:
        document["seasons"] = {name: _rows(prices) for name, prices in override.season_prices}
    if override.standing:
        document["standing"] = {name: f"{amount:f}" for name, amount in override.standing}
    return document


def tariff_of_meter(tariff: TariffVersion, document: Mapping[str, object] | None) -> TariffVersion:
    """Return the tariff that a meter is rated with: its own prices, if its binding has any.

    Raises:
        TariffError: with everything that is wrong in the document, or does not fit the tariff.
    """
    return tariff if document is None else override_prices(tariff, parse_override(document))


def _rows(prices: Prices) -> list[list[str]]:
    return [[f"{price:f}" for price in row] for row in prices]

"""Components of a tariff that the core does not know: what a plugin declares and must keep.

A plugin names a kind of component, the keys of its table in a tariff file, and a pure function
that charges. The function sees a bill that may still grow: the same bill is rated again with more
use, and only the difference is charged. It therefore depends on nothing but its arguments, gives
exact amounts, and leaves rounding to the engine, which rounds each line once.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeAlias

from meterplex.domain.registers import Utility

if TYPE_CHECKING:
    from meterplex.domain.tariff.charges import ChargeLine

AMOUNT_MAX: Final = 10**12
"""Of a component's line, in the currency: what no bill reaches."""

RESERVED_KEY: Final = "name"
"""Every component's table may have it; taxes name the component by it."""

RESERVED_KINDS: Final = frozenset(
    {
        "bands",
        "blocks",
        "currency",
        "demand",
        "energy",
        "holidays",
        "id",
        "minimum",
        "periods",
        "plugin",
        "power_factor",
        "rounding",
        "seasons",
        "standing",
        "surcharge",
        "time_zone",
        "utility",
        "valid_from",
        "version",
    }
)
"""Keys and components of a tariff file that are the core's own."""

ComponentValue: TypeAlias = Decimal | int | str


class ComponentError(Exception):
    """A component of a plugin failed or gave what cannot be charged; it costs only this tariff.

    Attributes:
        plugin: its name.
        kind: and ``name`` of the component.
        reason: what it did.
    """

    def __init__(self, plugin: str, kind: str, name: str, reason: str) -> None:
        super().__init__(f"plugin {plugin!r}: tariff component {name!r} of kind {kind!r} {reason}")
        self.plugin = plugin
        self.kind = kind
        self.name = name
        self.reason = reason


class FieldKind(StrEnum):
    """What a key of a component's table holds."""

    DECIMAL = "decimal"
    """A decimal as text, as everywhere in tariff files: ``"0.95"``."""
    INTEGER = "integer"
    TEXT = "text"


_TYPES: Final[dict[FieldKind, type]] = {
    FieldKind.DECIMAL: Decimal,
    FieldKind.INTEGER: int,
    FieldKind.TEXT: str,
}


@dataclass(frozen=True, slots=True)
class ComponentField:
    """One key of a component's table.

    Attributes:
        help: one line for the manual, with the unit.
        default: used when the key is missing; None when it must be there.
        choices: the allowed texts; empty when any is.
    """

    name: str
    kind: FieldKind
    help: str
    default: ComponentValue | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name == RESERVED_KEY:
            raise ValueError(
                f"field {self.name!r}: expected lower-case letters, digits, _, "
                f"and not {RESERVED_KEY!r}"
            )
        if self.default is not None and type(self.default) is not _TYPES[self.kind]:
            raise ValueError(f"field {self.name}: default {self.default!r} is no {self.kind.value}")


@dataclass(frozen=True, slots=True)
class ComponentSettings:
    """The table of one component: a value for every declared field, in their order."""

    values: tuple[tuple[str, ComponentValue], ...] = ()

    def decimal(self, name: str) -> Decimal:
        """Return a field of kind DECIMAL."""
        value = self._value(name)
        assert isinstance(value, Decimal)
        return value

    def integer(self, name: str) -> int:
        """Return a field of kind INTEGER."""
        value = self._value(name)
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """Return a field of kind TEXT."""
        value = self._value(name)
        assert isinstance(value, str)
        return value

    def _value(self, name: str) -> ComponentValue:
        return dict(self.values)[name]


@dataclass(frozen=True, slots=True)
class BillSoFar:
    """What a component may look at: a bill, or the part of it that was in service.

    Attributes:
        start: and ``end``, on the tariff's clock.
        days: and ``months`` it counts for; parts of a month by its days.
        units: used in it, in the utility's base unit.
        lines: of the components before this one.
    """

    utility: Utility
    currency: str
    start: datetime
    end: datetime
    days: Fraction
    months: Fraction
    units: Fraction
    lines: "tuple[ChargeLine, ...]" = ()


@dataclass(frozen=True, slots=True)
class ComponentLine:
    """One exact amount of the currency, to be rounded by the engine.

    Attributes:
        units: that are charged, of ``unit``, at ``price`` each; for the reader of the bill.
        block: tells several lines of one component apart; it must stay while the bill grows.
    """

    amount: Fraction | Decimal
    units: Fraction | Decimal | None = None
    unit: str = ""
    price: Decimal | None = None
    block: str = ""


Charge: TypeAlias = Callable[[ComponentSettings, BillSoFar], Sequence[ComponentLine]]
Check: TypeAlias = Callable[[ComponentSettings], Iterable[tuple[str, str]]]


def _no_faults(settings: ComponentSettings) -> Iterable[tuple[str, str]]:
    del settings  # whatever has the declared form is sound
    return ()


def _unheard(error: ComponentError) -> None:
    del error  # nobody counts


@dataclass(frozen=True, slots=True)
class TariffComponent:
    """A kind of component.

    Attributes:
        kind: the table's name in tariff files, ``[a-z][a-z0-9_]*``, unique over all plugins and
            none of the core's own.
        title: for people.
        fields: the keys of its table, besides ``name``.
        charge: pure; what the component comes to for the bill so far, exact.
        check: pure; yields (key, message) for each value that cannot be.
        utilities: whose tariffs may have it; empty when any may.
        plugin: that brings it; filled in by the core.
        on_failure: told of each failure that its plugin is to blame for; filled in by the core.
    """

    kind: str
    title: str
    fields: tuple[ComponentField, ...]
    charge: Charge
    check: Check = _no_faults
    utilities: frozenset[Utility] = frozenset()
    plugin: str = ""
    on_failure: Callable[[ComponentError], None] = field(
        default=_unheard, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.kind):
            raise ValueError(
                f"component kind {self.kind!r}: expected lower-case letters, digits, _"
            )
        if self.kind in RESERVED_KINDS:
            raise ValueError(f"component kind {self.kind!r}: the core has it itself")
        if not all(isinstance(each, ComponentField) for each in self.fields):
            raise ValueError(f"component {self.kind}: fields {self.fields!r} are not all fields")
        names = [each.name for each in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"component {self.kind}: a field is there twice: {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a tariff version: its kind and the values of its table."""

    type: TariffComponent
    name: str
    settings: ComponentSettings

    def faults(self, utility: Utility) -> Sequence[tuple[str, str]]:
        """Return (key, message) of everything that is wrong; an empty key means the table."""
        if self.type.utilities and utility not in self.type.utilities:
            allowed = ", ".join(sorted(self.type.utilities))
            return [("", f"{utility} has no such component, it is for {allowed}")]
        try:
            return [(str(key), str(message)) for key, message in self.type.check(self.settings)]
        except KeyboardInterrupt:  # the user's, not the plugin's
            raise
        except BaseException as error:  # noqa: BLE001 - whatever else it raises becomes a fault
            self._failure(f"could not be checked: {_spell(error)}")
            return [("", f"plugin {self.type.plugin!r} could not check it: {_spell(error)}")]

    def charge(self, bill: BillSoFar) -> tuple[ComponentLine, ...]:
        """Return the component's lines.

        Raises:
            ComponentError: the plugin raised, or returned what cannot be charged.
        """
        try:
            lines = tuple(self.type.charge(self.settings, bill))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._failure(f"raised {_spell(error)}") from error
        seen: set[tuple[str, Decimal | None]] = set()
        for index, line in enumerate(lines):
            reason = _unfit(line)
            if reason:
                raise self._failure(f"returned a line {index} {reason}")
            if (line.block, line.price) in seen:
                raise self._failure(f"returned two lines of block {line.block!r} at one price")
            seen.add((line.block, line.price))
        return lines

    def _failure(self, reason: str) -> ComponentError:
        error = ComponentError(self.type.plugin, self.type.kind, self.name, reason)
        self.type.on_failure(error)
        return error


def _unfit(line: object) -> str:
    """Return why something is no line of a bill; empty when it is one.

    A plugin need not be type-checked, so its fields are taken for anything.
    """
    if not isinstance(line, ComponentLine):
        return f"of type {type(line).__name__}, expected ComponentLine"
    price: object = line.price
    texts: tuple[object, object] = line.unit, line.block
    if not _is_exact(line.amount) or abs(Fraction(line.amount)) > AMOUNT_MAX:
        return f"whose amount {line.amount!r} is no exact amount of money"
    if line.units is not None and not _is_exact(line.units):
        return f"whose units {line.units!r} are no exact number"
    if price is not None and (isinstance(price, Fraction) or not _is_exact(price)):
        return f"whose price {price!r} is no decimal"
    if not all(isinstance(text, str) for text in texts):
        return "whose unit or block is no text"
    return ""


def _is_exact(value: object) -> bool:
    return isinstance(value, Fraction) or (isinstance(value, Decimal) and value.is_finite())


def _spell(error: BaseException) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__

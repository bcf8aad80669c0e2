"""The wallet inside a meter as read, and what is compared with what was expected of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from meterplex.domain.estate_rules import is_same_number
from meterplex.domain.money import ledger_decimal
from meterplex.domain.prepayment.orders import Direction


@dataclass(frozen=True, slots=True)
class PurchaseRecord:
    """One entry of a meter's own purchase history.

    Attributes:
        amount_units: ledger units; negative for a withdrawal.
        at: by the meter's clock, or None where it keeps no time.
        mark: of the order, as the frame brought it; None where there was none.
    """

    count: int
    amount_units: int
    at: datetime | None = None
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Wallet:
    """The wallet inside a meter, all from one read; None where the meter does not tell.

    Attributes:
        remaining_units: ledger units; negative when in arrears.
        purchase_count: number of purchases and withdrawals taken.
        total_purchased_units: ledger units ever bought, less those withdrawn.
        meter: number of the meter that answered.
        customer: number of the customer that the meter was opened for.
        records: the newest records, in any order; None where the meter keeps none.
    """

    remaining_units: int
    purchase_count: int | None = None
    total_purchased_units: int | None = None
    meter: str | None = None
    customer: str | None = None
    records: tuple[PurchaseRecord, ...] | None = None

    @property
    def records_by_count(self) -> Mapping[int, PurchaseRecord]:
        """The records by their count; empty where the meter keeps none."""
        return {record.count: record for record in self.records or ()}


Baseline: TypeAlias = Wallet
"""A wallet as it was read right before arming."""


@dataclass(frozen=True, slots=True)
class CountCapability:
    """What a make of meter does with purchase counts.

    Attributes:
        count_checked: it takes a purchase only if its count is the stored one + 1, proven on a
            bench. Without it the meter is *blind*: a purchase is never sent to it twice.
        count_max: largest count it can hold: 9999, 65535 or 2**32 - 1.
        withdraws_absolutely: a withdrawal writes remaining, count and total, whatever they were.
    """

    count_checked: bool
    count_max: int
    withdraws_absolutely: bool = False

    def binds(self, direction: Direction) -> bool:
        """Tell whether a frame of this direction can be taken with the next count only."""
        absolute = direction is Direction.WITHDRAW and self.withdraws_absolutely
        return self.count_checked and not absolute


def count_alarm(count: int, capability: CountCapability) -> bool:
    """Tell whether 90 % of all counts are used: the account must be opened anew in the meter."""
    return count * 10 >= capability.count_max * 9


def difference_of_identity(expected: Wallet, seen: Wallet) -> str | None:
    """Say which meter or customer number is another one; None when none that both tell is."""
    for what, wanted, came in (
        ("meter", expected.meter, seen.meter),
        ("customer", expected.customer, seen.customer),
    ):
        if wanted is not None and came is not None and not is_same_number(wanted, came):
            return f"{what} number {came}, expected {wanted}"
    return None


def total_moved(before: Wallet, now: Wallet) -> int | None:
    """Return by how many ledger units the total purchased moved; None when it was not told."""
    if before.total_purchased_units is None or now.total_purchased_units is None:
        return None
    return now.total_purchased_units - before.total_purchased_units


class Comparison(StrEnum):
    """What a read of a wallet says where no order of its binding is in flight."""

    OK = "ok"
    FOREIGN = "foreign"
    """Somebody else sold to this meter: the amount goes to SUSPENSE."""
    CONFLICT = "conflict"
    """It cannot have come about by purchases."""


@dataclass(frozen=True, slots=True)
class CountComparison:
    """Outcome of :func:`compare_count`, in ledger units, and one line for people."""

    outcome: Comparison
    foreign_units: int = 0
    sentence: str = ""


_AS_EXPECTED: Final = CountComparison(Comparison.OK)


def compare_count(expected: Wallet, seen: Wallet) -> CountComparison:
    """Compare a wallet with the last one that was accounted for, at every read.

    Only identity, count, total and records are compared: remaining falls with use. What one of
    the two does not tell is not compared.
    """
    stranger = difference_of_identity(expected, seen)
    if stranger is not None:
        return CountComparison(Comparison.CONFLICT, sentence=stranger)
    moved = total_moved(expected, seen)
    if expected.purchase_count is None or seen.purchase_count is None:
        return _without_count(moved)
    before, count = expected.purchase_count, seen.purchase_count
    counts = f"count {count}, expected {before}"
    if count == before and not moved:
        return _AS_EXPECTED
    if count > before:
        foreign = moved if moved is not None else recorded_units(seen, before, count)
        if foreign is not None and foreign > 0:
            sentence = f"{counts}: {ledger_decimal(foreign)} was bought elsewhere"
            return CountComparison(Comparison.FOREIGN, foreign, sentence)
    return CountComparison(Comparison.CONFLICT, sentence=f"{counts}; {told_moved(moved)}")


def recorded_units(wallet: Wallet, after: int, last: int) -> int | None:
    """Return the sum of the records above ``after`` up to ``last``; None if one is missing."""
    records = wallet.records_by_count
    since = range(after + 1, last + 1)
    if any(count not in records for count in since):
        return None
    return sum(records[count].amount_units for count in since)


def told_moved(moved: int | None) -> str:
    """Say how the total moved, as an amount of the currency."""
    return (
        "the total is not told" if moved is None else f"the total moved by {ledger_decimal(moved)}"
    )


def _without_count(moved: int | None) -> CountComparison:
    if not moved:
        return _AS_EXPECTED
    outcome = Comparison.FOREIGN if moved > 0 else Comparison.CONFLICT
    return CountComparison(outcome, max(moved, 0), f"no count is told; {told_moved(moved)}")

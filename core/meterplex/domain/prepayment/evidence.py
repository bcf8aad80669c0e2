"""Evidence: what a wallet, read again, proves about an order that was sent.

A meter takes a recharge of count n only if n is its stored count + 1, and then changes count,
remaining and total together; silence proves nothing. So count, total and records are read again
over the same binding and compared with the baseline:

====  ==============================================  =========================================
E1    count n was taken, by this order                booked
E2    count and total are as they were                not applied so far: the same frame again
E3    count n was taken by another purchase           fenced: back to waiting, a new count
E4    what was read cannot have come about            frozen: two people decide
none  too little can be read                          nothing by itself: read on, ask a person
====  ==============================================  =========================================

*Twins*: another purchase of the same count and the same amount looks like ours. E1 therefore
needs a mark that the meter returns, a record time between arming and reading, or a binding that
nobody else sells to. Where none holds a person decides.

*Blind* meters do not compare counts: nothing is sent to them twice, and a count that is taken
fences nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final

from meterplex.domain.money import ledger_decimal
from meterplex.domain.prepayment.arming import Arming
from meterplex.domain.prepayment.orders import Direction, OrderState
from meterplex.domain.prepayment.wallet import (
    CountCapability,
    PurchaseRecord,
    Wallet,
    difference_of_identity,
    recorded_units,
    told_moved,
    total_moved,
)


class Evidence(StrEnum):
    """See the module's table."""

    E1 = "E1"
    E2 = "E2"
    E3 = "E3"
    E4 = "E4"
    NONE = "none"


class Next(StrEnum):
    """What happens to the order."""

    CONFIRM = "confirm"
    SEND_AGAIN = "send_again"
    """The same count and amount, after arming the next attempt."""
    FENCE = "fence"
    """Foreign amount to SUSPENSE, the order back to PAID; a new count next time."""
    CONFLICT = "conflict"
    WAIT = "wait"
    """Stays UNCERTAIN: read again later, nothing is sent, a person may decide."""


STATE_AFTER: Final[dict[Next, OrderState]] = {
    Next.CONFIRM: OrderState.CONFIRMED,
    Next.SEND_AGAIN: OrderState.ARMED,
    Next.FENCE: OrderState.PAID,
    Next.CONFLICT: OrderState.CONFLICT,
    Next.WAIT: OrderState.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says.

    Attributes:
        foreign_units: bought elsewhere since the baseline, for SUSPENSE; with E1 after ours.
        sentence: one line for people; amounts are of the currency.
    """

    evidence: Evidence
    next: Next
    sentence: str
    foreign_units: int = 0


@dataclass(frozen=True, slots=True)
class UseSince:
    """Use between baseline and reading, for meters that show no total.

    Attributes:
        used_units: use times price, ledger units.
        unit_price_units: price of one unit (kWh, m3): the least that can be told apart.
    """

    used_units: int
    unit_price_units: int

    def within_tolerance(self, gap_units: int, amount_units: int) -> bool:
        """Tell whether a gap is below 1 % of the amount or below the price of one unit."""
        return abs(gap_units) * 100 <= max(amount_units, self.unit_price_units * 100)


@dataclass(frozen=True, slots=True)
class RecordWindow:
    """Arming and reading by the meter's clock, widened by its error, both included."""

    since: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        """Tell whether a record's time lies in it."""
        return self.since <= at <= self.until


def judge(
    arming: Arming,
    wallet: Wallet,
    capability: CountCapability,
    *,
    sole_seller: bool = False,
    record_window: RecordWindow | None = None,
    use: UseSince | None = None,
) -> Verdict:
    """Say what a wallet, read after the order was sent, proves about it.

    Args:
        sole_seller: nobody else can sell to this binding (cards and handhelds disabled).
        record_window: None when the meter's clock is not trusted.
        use: None when the registers were not read with the wallet.
    """
    return _Case(arming, wallet, capability, sole_seller, record_window, use).verdict()


class _Owner(Enum):
    OURS = "ours"
    OTHER = "other"
    TWIN = "twin"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class _Case:
    arming: Arming
    wallet: Wallet
    capability: CountCapability
    sole_seller: bool
    window: RecordWindow | None
    use: UseSince | None

    def verdict(self) -> Verdict:
        stranger = difference_of_identity(self.arming.baseline, self.wallet)
        if stranger is not None:
            return _conflict(stranger)
        before, count = self.arming.baseline.purchase_count, self.wallet.purchase_count
        if before is None or count is None:
            return _wait("the meter shows no purchase count")
        if count < before:
            return _conflict(f"the count fell from {before} to {count}")
        if count == before:
            return self._not_taken(count)
        if self.moved == 0:
            return _conflict(f"the count rose from {before} to {count}, the total did not move")
        if self.wallet.records is not None:
            return self._by_record(before, count)
        if count > self.arming.count:
            return _conflict(f"count {count}, sent {self.arming.count}, and no records are kept")
        return self._by_figures()

    @property
    def moved(self) -> int | None:
        """Ledger units by which the total moved since the baseline."""
        return total_moved(self.arming.baseline, self.wallet)

    @property
    def risen(self) -> int:
        """Ledger units by which remaining rose since the baseline; use makes it fall."""
        return self.wallet.remaining_units - self.arming.baseline.remaining_units

    @property
    def told_risen(self) -> str:
        """``risen`` as an amount of the currency, for sentences."""
        return f"{ledger_decimal(self.risen):f}"

    @property
    def writes_absolutely(self) -> bool:
        withdraws = self.arming.direction is Direction.WITHDRAW
        return withdraws and self.capability.withdraws_absolutely

    def _not_taken(self, count: int) -> Verdict:
        """Judge a count that is as it was: E2 if nothing else moved."""
        if self.moved:
            return _conflict(f"the count is still {count}, but {told_moved(self.moved)}")
        if self.writes_absolutely:
            return self._absolute_not_taken()
        if self.moved is None:
            verdict = self._remaining_unmoved()
            if verdict is not None:
                return verdict
        if self.capability.binds(self.arming.direction):
            return _again(f"count {self.arming.count} is not taken so far")
        sentence = f"count {self.arming.count} is not taken so far; the meter compares no counts"
        return Verdict(Evidence.E2, Next.WAIT, sentence)

    def _absolute_not_taken(self) -> Verdict:
        """Writing the same figures twice is writing them once, while no use goes between."""
        if self.risen == 0:
            return _again("remaining, count and total are as they were")
        sentence = f"not taken, but remaining moved by {self.told_risen} with the supply off"
        return Verdict(Evidence.E2, Next.WAIT, sentence)

    def _remaining_unmoved(self) -> Verdict | None:
        """Judge remaining where no total is told; None when it did not move but by use."""
        risen = self.risen + (self.use.used_units if self.use else 0)
        if risen == 0 or (self.use and self._tolerable(risen)):
            return None
        if risen > 0:
            return _conflict(f"remaining rose by {ledger_decimal(risen)}, the count did not")
        if self.arming.direction is Direction.DELIVER:
            return None
        fallen = f"remaining fell by {ledger_decimal(-risen)}"
        if self.use is None:
            return _wait(f"{fallen}; what was used is not known")
        return _conflict(f"{fallen} beyond use, the count did not rise")

    def _by_record(self, before: int, count: int) -> Verdict:
        """Judge by the meter's own record of count n."""
        record = self.wallet.records_by_count.get(self.arming.count)
        if record is None:
            return _conflict(f"record {self.arming.count} is not in the meter's history any more")
        recorded = recorded_units(self.wallet, before, count)
        if self.moved is not None and recorded is not None and self.moved != recorded:
            records = f"records since {before} sum to {ledger_decimal(recorded)}"
            return _conflict(f"{records}, {told_moved(self.moved)}")
        owner = self._owner_of(record)
        if owner is _Owner.CONTRADICTION:
            return _conflict(f"record {record.count} is of {record.at}, and nobody else sells here")
        if owner is _Owner.OTHER:
            return self._taken_by_other(recorded if self.moved is None else self.moved)
        if recorded is None:
            return _conflict(f"of records {self.arming.count} to {count} not all are there")
        return self._taken(recorded, owner)

    def _by_figures(self) -> Verdict:
        """Judge count n, just taken, where no records are kept."""
        change = self.arming.change_units
        if self.moved is not None and self.moved != change:
            return self._taken_by_other(self.moved)
        return self._taken(change, _Owner.OURS if self.sole_seller else _Owner.TWIN)

    def _owner_of(self, record: PurchaseRecord) -> _Owner:
        if record.amount_units != self.arming.change_units:
            return _Owner.OTHER
        if self.arming.mark is not None:
            return _Owner.OURS if record.mark == self.arming.mark else _Owner.OTHER
        if self.window is not None and record.at is not None:
            if self.window.holds(record.at):
                return _Owner.OURS
            return _Owner.CONTRADICTION if self.sole_seller else _Owner.OTHER
        return _Owner.OURS if self.sole_seller else _Owner.TWIN

    def _taken_by_other(self, foreign: int | None) -> Verdict:
        taken = f"count {self.arming.count} was taken by another purchase"
        if foreign is None or foreign <= 0:
            return _conflict(f"{taken}, but how much was bought since cannot be told")
        sentence = f"{taken}; {ledger_decimal(foreign)} was bought elsewhere"
        binds = self.capability.binds(self.arming.direction)
        return Verdict(Evidence.E3, Next.FENCE if binds else Next.CONFLICT, sentence, foreign)

    def _taken(self, change: int, owner: _Owner) -> Verdict:
        """Judge a count n that may be ours by remaining and by who else could have sold it.

        Args:
            change: of remaining by all purchases since the baseline.
            owner: OURS or TWIN.
        """
        amount = ledger_decimal(self.arming.amount_units)
        taken = f"count {self.arming.count} was taken with {amount}"
        agrees = self._remaining_agrees(change)
        if agrees is None:
            return _wait(f"{taken}, but remaining and use or total do not tell enough")
        if not agrees:
            return _conflict(f"{taken}, but remaining moved by {self.told_risen}")
        if owner is _Owner.TWIN:
            return _wait(f"{taken}, but a twin bought elsewhere cannot be ruled out")
        foreign = change - self.arming.change_units
        if foreign < 0:
            return _conflict(f"{taken}, and {ledger_decimal(-foreign)} was taken back elsewhere")
        return Verdict(Evidence.E1, Next.CONFIRM, taken, foreign)

    def _remaining_agrees(self, change: int) -> bool | None:
        """Tell whether remaining moved by ``change`` but for use; None when it cannot be told."""
        if self.writes_absolutely:
            return None if self.moved is None else self.risen == change
        if self.moved is not None and self.arming.direction is Direction.DELIVER:
            return True
        if self.use is not None:
            return self._tolerable(self.risen + self.use.used_units - change)
        return None if self.moved is None else self.risen <= change

    def _tolerable(self, gap_units: int) -> bool:
        return self.use is not None and self.use.within_tolerance(
            gap_units, self.arming.amount_units
        )


def _again(sentence: str) -> Verdict:
    return Verdict(Evidence.E2, Next.SEND_AGAIN, sentence)


def _conflict(sentence: str) -> Verdict:
    return Verdict(Evidence.E4, Next.CONFLICT, sentence)


def _wait(sentence: str) -> Verdict:
    return Verdict(Evidence.NONE, Next.WAIT, sentence)

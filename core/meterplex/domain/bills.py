"""What was issued and agreed with an account: bills, fees, debt plans, shared costs.

What a bill has been paid is not counted payment by payment. It follows from what the account
still owes by the ledger: the newest claims are the ones that are open, so whatever comes in, and
however it is taken back, the oldest bills are settled first and bills and ledger agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NewType
from uuid import UUID

from meterplex.domain.accounts import Category
from meterplex.domain.billing import BillStatus, DunningTerms
from meterplex.domain.debt_plans import DebtPlan
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.fees import Fee, FeePeriod
from meterplex.domain.ledger import EntryId
from meterplex.domain.sharing import SharingBasis
from meterplex.domain.warnings import WarningLevel

BillId = NewType("BillId", UUID)
FeeId = NewType("FeeId", UUID)
DebtPlanId = NewType("DebtPlanId", UUID)
ShareRunId = NewType("ShareRunId", UUID)


@dataclass(frozen=True, slots=True)
class IssuedBill:
    """A bill of a post-paid month, a fee or a share; amounts are ledger units.

    Attributes:
        number: unique in the site, without gaps.
        since: and ``until``, local dates of what it is for, half-open.
        due_on: last local date on which payment is in time.
        amount_units: to be paid, whole minor units; above zero.
        paid_units: settled of it by the ledger, by whatever way.
        lines: each with ``text`` and ``amount_units``; they sum to the amount less its rounding.
        entry_id: of the claim, or of the rounding of a bill over charges.
    """

    id: BillId
    organisation_id: OrganisationId
    site_id: SiteId
    account_id: AccountId
    number: str
    category: Category
    title: str
    since: date
    until: date
    issued_at: datetime
    due_on: date
    currency: str
    amount_units: int
    lines: tuple[Mapping[str, Any], ...]
    paid_units: int = 0
    fee_id: FeeId | None = None
    share_run_id: ShareRunId | None = None
    entry_id: EntryId | None = None

    @property
    def outstanding_units(self) -> int:
        """What is still to be paid."""
        return self.amount_units - self.paid_units

    @property
    def rounding_units(self) -> int:
        """What rounding to the minor unit added to the lines."""
        return self.amount_units - sum(int(line["amount_units"]) for line in self.lines)

    def status(self, today: date) -> BillStatus:
        """Return how the bill stands on a local date."""
        if not self.outstanding_units:
            return BillStatus.PAID
        if today > self.due_on:
            return BillStatus.IN_ARREARS
        return BillStatus.PARTLY_PAID if self.paid_units else BillStatus.OPEN

    def days_late(self, today: date) -> int:
        """Return the days since the due date of a bill that is not paid; 0 in time."""
        return max((today - self.due_on).days, 0) if self.outstanding_units else 0


def dunning_level(
    bill: IssuedBill, today: date, terms: DunningTerms | None = None
) -> WarningLevel | None:
    """Return the highest warning that a bill has earned by a local date; None when none."""
    return (terms or DunningTerms()).level(bill.days_late(today))


def spread_outstanding(amounts: Sequence[int], outstanding_units: int) -> tuple[int, ...]:
    """Return what each of some bills has been paid when so much of all of them is open.

    Args:
        amounts: of the bills, the oldest first.
        outstanding_units: not below zero; what is more than all bills is of none of them.
    """
    paid: list[int] = []
    for amount in reversed(amounts):
        still_open = min(amount, outstanding_units)
        outstanding_units -= still_open
        paid.append(amount - still_open)
    return tuple(reversed(paid))


@dataclass(frozen=True, slots=True)
class AccountFee:
    """A fee of an account, booked up to ``charged_until``, exclusive."""

    id: FeeId
    organisation_id: OrganisationId
    account_id: AccountId
    fee: Fee
    charged_until: date
    created_by: str

    def target(self, until: date) -> date:
        """Return up to where the fee is to be charged when all is due that begins by ``until``.

        A fee in advance is due when its period begins, another when it has ended. Only the first
        and last days of service cut a period.
        """
        if self.fee.starts_on > until:
            return self.charged_until
        period: FeePeriod = self.fee.period
        end = period.end(until) if self.fee.in_advance else period.begin(until)
        if self.fee.ends_on is None:
            return end
        if not self.fee.in_advance and self.fee.ends_on <= until:
            return self.fee.ends_on
        return min(end, self.fee.ends_on)


@dataclass(frozen=True, slots=True)
class AccountDebt:
    """A debt of an account under a plan; what is left of it is the ledger's DEBT account."""

    id: DebtPlanId
    organisation_id: OrganisationId
    account_id: AccountId
    name: str
    currency: str
    plan: DebtPlan
    created_at: datetime
    created_by: str
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShareRun:
    """A common cost as it was shared out, once for its site, name and beginning.

    Attributes:
        statement: from what, by which weights, how much for whom; for everybody to reckon again.
    """

    id: ShareRunId
    organisation_id: OrganisationId
    site_id: SiteId
    name: str
    basis: SharingBasis
    since: date
    until: date
    amount_units: int
    currency: str
    statement: Mapping[str, Any]
    created_at: datetime
    created_by: str

"""What plugins are told about accounts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from meterplex.domain.registers import Utility


class AccountEventKind(StrEnum):
    """What happened to an account."""

    OPENED = "opened"
    CREDITED = "credited"
    """A payment, refund to the wallet or transfer raised the balance."""
    LOW_1 = "low_1"
    """The balance fell below the first warning."""
    LOW_2 = "low_2"
    """The balance fell below the second warning."""
    ARREARS = "arrears"
    """Nothing is left, or a bill is overdue."""
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """One thing that happened to an account, as it was when its transaction was committed.

    Attributes:
        id: the same each time the event is told; what tells a repeat from a second event.
        organisation: its name, and ``site`` its code.
        account_number: as printed on receipts, unique in the organisation.
        balance: after it, in currency units with the decimals of the ledger (4).
        currency: ISO 4217 code.
        at: when it happened, UTC.
        utility: that was disconnected or reconnected, or whose use lowered the balance; None
            where it concerns the account as a whole.
        detail: further facts by name, as text: ``order``, ``meter``, ``amount``, ``reason`` ...
    """

    id: UUID
    kind: AccountEventKind
    organisation_id: UUID
    organisation: str
    site_id: UUID
    site: str
    account_id: UUID
    account_number: str
    balance: Decimal
    currency: str
    at: datetime
    utility: Utility | None = None
    detail: Mapping[str, str] = field(default_factory=dict)

"""Charges: what readings cost, once each, in order, without gap or overlap.

For a binding the accepted readings of its register, from the opening reading on, tile time. What
a tariff period costs is always rated whole, from the accepted readings known so far; a charge is
that amount minus what the period was charged before. So however readings come in (late, twice,
in any order, corrected), the charges of a period sum to the same.

A tile is charged once by a regular charge. Whatever changes the past of tiles that are charged
makes an adjustment. A reading that may not move money waits in a hold, with a reason: money stops
there, supply does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from meterplex.domain.estate import AccountId, BindingId, OrganisationId
from meterplex.domain.ledger import EntryId
from meterplex.domain.registers import RegisterType

ChargeId = NewType("ChargeId", UUID)
HoldId = NewType("HoldId", UUID)
TariffVersionId = NewType("TariffVersionId", UUID)


class ChargeKind(StrEnum):
    """What a charge is made from."""

    REGULAR = "regular"
    """Two readings and what lies between them."""
    ESTIMATE = "estimate"
    """A reading and an estimated one; the next reading settles it by one signed regular charge."""
    ADJUSTMENT = "adjustment"
    """A change of what was charged before: a late or corrected reading, a late tariff."""
    METERED = "metered"
    """The fall of the credit that the meter itself counts down."""


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount, and all that explains it.

    Attributes:
        from_at: and ``to_at``: times of the readings; half-open.
        from_value: and ``to_value``: as the meter shows them, before ct and pt.
        units: after ct and pt, in the base unit of the utility; below zero gives back.
        tariff_version_id: None for METERED.
        amount_units: ledger units; below zero gives back.
        lines: charge lines that sum to the amount; see ``services.tariffs.document``.
        adjusts_id: the charge whose past it changes.
        entry_id: its ledger entry; None when the amount is zero.
    """

    id: ChargeId
    organisation_id: OrganisationId
    account_id: AccountId
    binding_id: BindingId
    register: RegisterType
    kind: ChargeKind
    from_at: datetime
    to_at: datetime
    from_value: Decimal
    to_value: Decimal
    units: Decimal
    amount_units: int
    booked_at: datetime
    tariff_version_id: TariffVersionId | None = None
    lines: tuple[Mapping[str, Any], ...] = ()
    adjusts_id: ChargeId | None = None
    entry_id: EntryId | None = None
    reason: str = ""


class HoldReason(StrEnum):
    """Why a reading may not move money (B7)."""

    SUSPECT = "suspect"
    """The meter or its driver marks it as doubtful."""
    NEGATIVE = "negative"
    """Below the one before, and no roll-over."""
    RESET = "reset"
    """Near zero after a value that was not near the end of the counter."""
    JUMP = "jump"
    """More than the connection can carry in the time."""
    GAP = "gap"
    """Too long after the one before."""
    REPLACED = "replaced"
    """Another device answers at this place."""


class HoldState(StrEnum):
    """What became of a held reading."""

    OPEN = "open"
    RELEASED = "released"
    """A person, or later readings, showed it to be right: it moves money."""
    REJECTED = "rejected"
    """It never moves money."""
    NEW_START = "new_start"
    """The counter began anew: a closing value before, an opening value after."""


@dataclass(frozen=True, slots=True)
class ReadingHold:
    """A reading that waits for a decision.

    Attributes:
        closing_value: for NEW_START, the last value of the old count, as the meter showed it.
        opening_value: for NEW_START, the first value of the new count.
    """

    id: HoldId
    organisation_id: OrganisationId
    binding_id: BindingId
    register: RegisterType
    read_at: datetime
    value: Decimal
    reason: HoldReason
    raised_at: datetime
    detail: str = ""
    state: HoldState = HoldState.OPEN
    closing_value: Decimal | None = None
    opening_value: Decimal | None = None
    settled_at: datetime | None = None
    settled_by: str = ""

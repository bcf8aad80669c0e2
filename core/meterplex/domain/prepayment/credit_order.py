"""One order as it is kept, and the steps that it went through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from meterplex.domain.approvals import ApprovalId
from meterplex.domain.estate import AccountId, BindingId, OrganisationId, SiteId
from meterplex.domain.prepayment.arming import Arming
from meterplex.domain.prepayment.orders import FINAL, Direction, OrderId, OrderKind, OrderState


@dataclass(frozen=True, slots=True)
class CreditOrder:
    """An order for credit; amounts are ledger units.

    Attributes:
        binding_id: whose meter it goes through; None where the balance is kept on the server.
        amount_units: paid, or asked back.
        deliver_units: what of it goes through the meter.
        idempotency_key: of whoever asked, unique in the organisation for ever.
        method: how is paid (``cash``, ``bank`` ...).
        channel: where it was asked for (``desk``, ``rest``, ``close`` ...).
        reverses_id: the vend that it takes back.
        arming: the count that it was given, with what was read before; None while it has none.
        sent_at: of its last frame.
        due_at: when its delivery looks at it next; None when never.
        ever_sent: bytes of some frame of it may have left, under its present count or another.
        fence: that stands between it and all its frames; empty while there is none.
        held: why it waits for a person; empty while it does not.
        outcome: one line for people.
    """

    id: OrderId
    organisation_id: OrganisationId
    site_id: SiteId
    account_id: AccountId
    binding_id: BindingId | None
    kind: OrderKind
    direction: Direction
    state: OrderState
    amount_units: int
    deliver_units: int
    currency: str
    idempotency_key: str
    method: str
    channel: str
    asked_by: str
    created_at: datetime
    approval_id: ApprovalId | None = None
    reverses_id: OrderId | None = None
    arming: Arming | None = None
    sent_at: datetime | None = None
    uncertain_at: datetime | None = None
    due_at: datetime | None = None
    settled_at: datetime | None = None
    ever_sent: bool = False
    fence: str = ""
    held: str = ""
    outcome: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in FINAL


class StepCode(StrEnum):
    """What a step was, where it is neither evidence (``E1`` ...) nor a fence (``F1`` ...)."""

    ASKED = "asked"
    ARMED = "armed"
    ANSWER = "answer"
    NOT_SENT = "not_sent"
    RESTARTED = "restarted"
    """Found ARMED at start-up."""
    UNREAD = "unread"
    """The meter could not be read."""
    HELD = "held"
    IDENTITY = "identity"
    ALARM = "alarm"
    RETRY = "retry"
    """A person asked for another look."""
    DECIDED = "decided"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class OrderStep:
    """Something that happened to an order.

    Attributes:
        state: of the order after it.
        code: the evidence, the fence, or a :class:`StepCode`.
        detail: of the evidence: figures that were read, answers.
        done_by: who, or ``delivery``.
        number: from 1 on; given when it is stored.
    """

    at: datetime
    state: OrderState
    code: str
    sentence: str
    done_by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0


def key_of(prefix: str, identifier: UUID) -> str:
    """Return the idempotency key of an order that a rule makes once for something."""
    return f"{prefix}:{identifier}"

"""Approvals: what one operator asks for and another one allows, once, and only as it was asked.

::

    OPEN -> APPROVED -> USED     allowed by another operator, then done
      |        `------> LAPSED   not done in time
      |---> REFUSED
      `---> LAPSED               not decided in time

An approval belongs to its exact content, by a hash: other meters, another amount, another action
need another approval (prepayment-protocol 3.2). It lapses by the clock alone; no row has to be
written for that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, NewType
from uuid import UUID

from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import (
    ForbiddenError,
    Operator,
    OperatorError,
    OperatorId,
    OperatorInputError,
    Right,
    require_right,
)

ApprovalId = NewType("ApprovalId", UUID)

LIFETIME: Final = timedelta(minutes=30)
"""From asking to doing (choice of prepayment-protocol 3.2)."""
REASON_LENGTH_MAX: Final = 500


class ApprovalError(OperatorError):
    """An approval cannot be decided, or does not allow what it was shown for."""


class ApprovalKind(StrEnum):
    """What needs two people."""

    SUPPLY_BATCH = "supply_batch"
    BREAKER_CLOSE = "breaker_close"
    REFUND = "refund"
    REVERSAL = "reversal"
    CONFLICT = "conflict"
    """Settle an order whose evidence contradicts it."""
    ESTIMATE_SWAP = "estimate_swap"
    """Swap a dead meter on an estimate of its remaining credit."""
    BYPASS = "bypass"
    PAYOUT = "payout"


class ApprovalState(StrEnum):
    """See the module's picture."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    LAPSED = "lapsed"
    USED = "used"


ASKING: Final[Mapping[ApprovalKind, Right]] = MappingProxyType(
    {
        ApprovalKind.SUPPLY_BATCH: Right.SUPPLY_COMMAND,
        ApprovalKind.BREAKER_CLOSE: Right.SUPPLY_APPROVE,
        ApprovalKind.REFUND: Right.MONEY_REFUND,
        ApprovalKind.REVERSAL: Right.MONEY_REVERSE,
        ApprovalKind.CONFLICT: Right.MONEY_APPROVE,
        ApprovalKind.ESTIMATE_SWAP: Right.ACCOUNT_MANAGE,
        ApprovalKind.BYPASS: Right.SUPPLY_HOLD,
        ApprovalKind.PAYOUT: Right.MONEY_PAYOUT,
    }
)
"""The right of the one who asks."""

DECIDING: Final[Mapping[ApprovalKind, Right]] = MappingProxyType(
    {
        ApprovalKind.SUPPLY_BATCH: Right.SUPPLY_APPROVE,
        ApprovalKind.BREAKER_CLOSE: Right.SUPPLY_APPROVE,
        ApprovalKind.REFUND: Right.MONEY_APPROVE,
        ApprovalKind.REVERSAL: Right.MONEY_APPROVE,
        ApprovalKind.CONFLICT: Right.MONEY_APPROVE,
        ApprovalKind.ESTIMATE_SWAP: Right.MONEY_APPROVE,
        ApprovalKind.BYPASS: Right.SUPPLY_APPROVE,
        ApprovalKind.PAYOUT: Right.MONEY_APPROVE,
    }
)
"""The right of the one who decides."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One request for a second person.

    Attributes:
        subject: what it is about, for people.
        site_id: where the rights are needed; None for the whole organisation.
        content: exactly what is to be done, as JSON; see :func:`content_hash`.
        reason: of the one who asks.
        lapses_at: neither decided nor used from then on.
        state: as stored; :meth:`state_at` knows the time too.
        remark: of the one who decided.
    """

    id: ApprovalId
    organisation_id: OrganisationId
    kind: ApprovalKind
    subject: str
    site_id: SiteId | None
    content_hash: str
    content: Mapping[str, Any]
    reason: str
    asked_by: OperatorId
    asked_at: datetime
    lapses_at: datetime
    state: ApprovalState = ApprovalState.OPEN
    decided_by: OperatorId | None = None
    decided_at: datetime | None = None
    remark: str = ""
    used_at: datetime | None = None

    def state_at(self, at: datetime) -> ApprovalState:
        """Return the state at a time: an open or approved one lapses."""
        waiting = self.state in {ApprovalState.OPEN, ApprovalState.APPROVED}
        return ApprovalState.LAPSED if waiting and at >= self.lapses_at else self.state


def content_hash(kind: ApprovalKind, content: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of a kind and its content as canonical JSON.

    The order of keys does not matter, that of a list does.

    Raises:
        OperatorInputError: the content is not made of texts, whole numbers, truth values, None,
            lists and mappings with texts as keys.
    """
    _check_json(content, "content")
    text = json.dumps({"kind": kind, "content": content}, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("ascii")).hexdigest()


def _check_json(value: object, where: str) -> None:
    """See that a value has one text in JSON only, on every machine and after every database."""
    match value:
        case None | bool() | int() | str():
            pass
        case list() | tuple():
            for number, each in enumerate(value):
                _check_json(each, f"{where}[{number}]")
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise OperatorInputError(f"{where}: key {key!r} is no text")
                _check_json(each, f"{where}.{key}")
        case _:
            raise OperatorInputError(f"{where}: a {type(value).__name__} has no exact JSON")


def reason_text(text: str) -> str:
    """Return a reason without outer space.

    Raises:
        OperatorInputError: empty or too long.
    """
    reason = text.strip()
    if not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise OperatorInputError(f"reason: expected 1 to {REASON_LENGTH_MAX} characters")
    return reason


def check_decider(approval: Approval, operator: Operator) -> None:
    """See that an operator is the second person of an approval.

    Raises:
        ForbiddenError: it is the one who asked, or one without the right to approve there.
    """
    require_right(operator, DECIDING[approval.kind], approval.site_id)
    if operator.id == approval.asked_by:
        raise ForbiddenError(
            f"approval {approval.id}: {operator.name} asked for it, another one decides"
        )


def check_open(approval: Approval, at: datetime) -> None:
    """See that an approval can be decided.

    Raises:
        ApprovalError: it has been, or has lapsed.
    """
    state = approval.state_at(at)
    if state is not ApprovalState.OPEN:
        raise ApprovalError(f"approval {approval.id} is {state}, expected open")


def check_usable(approval: Approval, wanted_hash: str, at: datetime) -> None:
    """See that an approval allows a content now.

    Args:
        wanted_hash: :func:`content_hash` of what is about to be done.

    Raises:
        ApprovalError: not approved, lapsed, used before, or given for something else.
    """
    state = approval.state_at(at)
    if state is not ApprovalState.APPROVED:
        raise ApprovalError(f"approval {approval.id} is {state}, expected approved")
    if approval.content_hash != wanted_hash:
        raise ApprovalError(
            f"approval {approval.id} was given for another {approval.kind}: {approval.subject}"
        )

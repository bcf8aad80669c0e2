"""What was read about an order since it was sent, from the steps that it left."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from meterplex.db.orders import wallet_document
from meterplex.domain.prepayment import (
    CountCapability,
    Evidence,
    EvidenceRead,
    Fence,
    FenceFacts,
    Wallet,
)
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode

LOOKS: Final = frozenset({*Evidence, StepCode.UNREAD, StepCode.HELD})
"""Codes of steps that came of a look without a result."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What is known of the link that an order is delivered over.

    Attributes:
        drain_time: how long a late frame or answer may still come.
        path: tells this way to the meter from any other; frames that took another one are not
            drained by this one's close.
        session_closed_at: when its last session was closed, on a link that stores nothing; None
            on any other link.
        frame_lifetime: how long after it was sent the meter, or its terminal, takes a frame, by the
            meter's own clock; None where frames carry no expiry.
        control_sent: tells whether bytes that move value may have left in this attempt; None
            where nobody knows, and the driver's error is believed.
    """

    drain_time: timedelta = timedelta(0)
    path: str = ""
    session_closed_at: datetime | None = None
    frame_lifetime: timedelta | None = None
    control_sent: Callable[[], bool] | None = None


DIRECT: Final = LinkFacts()
"""A link of which nothing is known."""


def capability_document(capability: CountCapability) -> dict[str, Any]:
    """Return what the meter's make does with counts, as it is kept with each arming."""
    return {
        "count_checked": capability.count_checked,
        "count_max": capability.count_max,
        "withdraws_absolutely": capability.withdraws_absolutely,
    }


def read_document(
    wallet: Wallet, read_at: datetime, meter_clock: datetime | None = None
) -> dict[str, Any]:
    """Return a read as it is kept with the step that it led to.

    Args:
        meter_clock: naive, as the meter showed it; None where it was not read.
    """
    document = {"wallet": wallet_document(wallet), "read_at": read_at.isoformat()}
    return document if meter_clock is None else document | {"meter_clock": meter_clock.isoformat()}


def looks_in_a_row(steps: Sequence[OrderStep]) -> int:
    """Return how many looks without a result were the last steps."""
    count = 0
    for step in reversed(steps):
        if step.code not in LOOKS and step.code != StepCode.ALARM:
            break
        count += step.code in LOOKS
    return count


def last_fence(steps: Iterable[OrderStep]) -> str:
    """Return the fence that was found last; empty when none was."""
    fences = [step.code for step in steps if step.code in frozenset(Fence)]
    return fences[-1] if fences else ""


def fence_facts(
    order: CreditOrder,
    steps: Iterable[OrderStep],
    *,
    zone: ZoneInfo,
    link: LinkFacts = DIRECT,
    declared_foreign: bool = False,
) -> FenceFacts | None:
    """Return what fences are judged by; None for an order that has no frame out.

    Args:
        zone: of the site, which the meter's clock shows.
    """
    if order.arming is None or order.sent_at is None:
        return None
    kept = tuple(steps)
    armed = [step for step in kept if step.code == StepCode.ARMED]
    capability = CountCapability(**armed[-1].detail["capability"])
    took_link = all(step.detail.get("path", "") == link.path for step in armed)
    reads = [step for step in kept if step.code in frozenset(Evidence)]
    return FenceFacts(
        count=order.arming.count,
        count_binds=capability.binds(order.direction),
        last_sent_at=order.sent_at,
        reads=tuple(_read(step, zone) for step in reads),
        declared_foreign=declared_foreign,
        wallet_renewed_at=max(
            (_read_at(step) for step in reads if _is_new(step, order.arming.baseline)),
            default=None,
        ),
        session_closed_at=link.session_closed_at if took_link else None,
        drain_time=link.drain_time,
        frame_expires_at=None
        if link.frame_lifetime is None
        else order.sent_at + link.frame_lifetime,
    )


def _read(step: OrderStep, zone: ZoneInfo) -> EvidenceRead:
    shown = step.detail.get("meter_clock")
    return EvidenceRead(
        _read_at(step),
        Evidence(step.code),
        _wallet(step)["purchase_count"],
        None if shown is None else datetime.fromisoformat(shown).replace(tzinfo=zone),
    )


def _read_at(step: OrderStep) -> datetime:
    return datetime.fromisoformat(step.detail["read_at"])


def _is_new(step: OrderStep, baseline: Wallet) -> bool:
    """Tell whether a read showed a wallet that was initialised since the baseline."""
    wallet = _wallet(step)
    emptied = wallet["purchase_count"] == 0 and not wallet["total_purchased_units"]
    return emptied and bool(baseline.purchase_count)


def _wallet(step: OrderStep) -> Mapping[str, Any]:
    wallet: Mapping[str, Any] = step.detail["wallet"]
    return wallet

"""What the supply of a meter should be, seen from balance, policy and holds alone.

A wish is not a command: the supply loop compares it with the last relay reading, and whatever may
take supply away passes the supply gate first. First match decides:

1. A bypass: no automatic command at all, not even a hold.
2. A hold in force: supply stays on.
3. An account that is not in normal run, or a balance that is not known: left as it is.
4. The balance: below the limit it is off; at the limit plus the reconnect threshold, or above, on;
   between the two it is left as it is, so that a balance about the limit switches nothing
   to and fro.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from meterplex.domain.money import ledger_decimal
from meterplex.domain.registers import GAS, Utility
from meterplex.domain.supply import SupplyAction
from meterplex.domain.supply_holds import Bypass, SupplyHold, holds_in_force
from meterplex.domain.supply_policy import SupplyPolicy


@dataclass(frozen=True, slots=True)
class SupplyDecision:
    """What to ask of the supply, and why; None leaves it as it is."""

    action: SupplyAction | None
    reason: str


def wanted_supply(
    balance_units: int | None,
    limit_units: int,
    policy: SupplyPolicy,
    *,
    utility: Utility,
    now: datetime | None,
    holds: Collection[SupplyHold] = (),
    bypass: Bypass | None = None,
    left_alone: str = "",
    person_on_site: bool = False,
) -> SupplyDecision:
    """Return what the supply should be.

    Args:
        balance_units: in ledger units, on the server or in the meter; None when not known.
        limit_units: see ``disconnect_limit_units``.
        policy: of the site.
        utility: gas is not opened from afar.
        now: aware; None when the clock is not to be trusted, and then no hold ends.
        holds: of the meter, its account and its site, expired ones too.
        bypass: set until a person ends it.
        left_alone: why the loop leaves the supply as it is (the account is suspended, closing or
            closed); empty in normal run.
        person_on_site: whether somebody stands at the valve and asked to open it.
    """
    if bypass is not None:
        return SupplyDecision(None, str(bypass))
    if in_force := holds_in_force(holds, now):
        return SupplyDecision(SupplyAction.HOLD, "; ".join(str(hold) for hold in in_force))
    if left_alone:
        return SupplyDecision(None, left_alone)
    if balance_units is None:
        return SupplyDecision(None, "the balance is not known")
    balance, limit = ledger_decimal(balance_units), ledger_decimal(limit_units)
    if balance_units < limit_units:
        return SupplyDecision(SupplyAction.DISCONNECT, f"balance {balance} is below {limit}")
    reconnect_units = limit_units + policy.reconnect_threshold_units
    if balance_units < reconnect_units:
        enough = ledger_decimal(reconnect_units)
        return SupplyDecision(None, f"balance {balance} is between {limit} and {enough}")
    if utility == GAS and policy.gas_reconnect_on_site and not person_on_site:
        return SupplyDecision(None, f"balance {balance}, but gas is opened by a person on site")
    return SupplyDecision(
        SupplyAction.RECONNECT, f"balance {balance} is not below {ledger_decimal(reconnect_units)}"
    )


def may_take_supply(
    action: SupplyAction,
    *,
    balance_units: int | None,
    limit_units: int,
    balance_in_meter: bool,
) -> bool:
    """Whether an action can leave the customer without supply, and so needs the gate.

    A meter that keeps its own balance trips as soon as keep-power is released, if that balance
    is used up or not known.

    Args:
        action: to be sent.
        balance_units: in ledger units; None when not known.
        limit_units: see ``disconnect_limit_units``.
        balance_in_meter: whether the meter keeps the balance and trips by itself.
    """
    if action in (SupplyAction.DISCONNECT, SupplyAction.HOLD):
        return action is SupplyAction.DISCONNECT
    is_used_up = balance_units is None or balance_units <= limit_units
    return balance_in_meter and is_used_up


def reconnect_delays(count: int, rng: Random, policy: SupplyPolicy) -> tuple[timedelta, ...]:
    """Return how long each of so many queued reconnects waits: none, unless they are many.

    Args:
        count: reconnects queued.
        rng: many are spread evenly at random, in whole milliseconds, over the policy's time.
        policy: of the site.
    """
    if count <= policy.reconnect_at_once_max:
        return (timedelta(0),) * count
    spread_ms = policy.reconnect_spread // timedelta(milliseconds=1)
    return tuple(timedelta(milliseconds=rng.randint(0, spread_ms)) for _ in range(count))

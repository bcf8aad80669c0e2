"""The gate that every disconnect passes: protocol rules D1-D8, all at once, with reasons.

The gate is asked when a command is made, and again in the transaction that marks it sent, with
the facts of that moment. It answers with everything that speaks against the disconnect; nothing
means it may be sent. A fact that is not known speaks against it. It does not matter whether the
server or the meter keeps the balance, but for the window's own hold: a meter that trips by itself
is kept on by that hold outside the window, so it is no reason against a disconnect within it.

Which rules are asked depends on why supply is taken away:

ARREARS
    All eight: here the customer is protected from us, and from our mistakes.
CLOSING
    The account is being closed by its customer's wish, and a meter gives its credit back only
    while its relay is open. No debt is claimed, so balance, orders and warnings (D1-D3) are not
    asked; orders were settled before. All else holds.
SHORTAGE
    Too little supply, or a government's call to shed load (F71). It comes when it comes: a window
    (D4) would make it useless, and payment (D1-D3) has nothing to do with it. Holds, limiter,
    right, second person and frost hold: shedding whom life depends on, or everybody at once, is
    what the gate is for.
SAFETY
    Fire or flood: supply itself is the danger. Only D7 is asked, and by name: a person with the
    right to force, never a rule. Holds do not stop it but are shown (:func:`cautions`). It waits
    for no limiter or breaker and is never quarantined, yet it takes its tokens, and beyond them,
    as in any large batch, it needs a second person: a fire brigade has a main switch, whoever
    stole a sign-in has not.

After an outage or a jump of the clock no rule may disconnect until the site has settled (D6), and
none on a balance read before (D1); a person may.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from meterplex.domain.friendly_hours import Holidays, may_disconnect_at, next_allowed
from meterplex.domain.limiter import LimiterVerdict
from meterplex.domain.money import ledger_decimal
from meterplex.domain.registers import HEAT, WATER, Utility
from meterplex.domain.supply_holds import Bypass, HoldOwner, SupplyHold, holds_in_force
from meterplex.domain.supply_policy import (
    OffAction,
    SupplyPolicy,
    UnitKind,
    off_action,
)
from meterplex.domain.warnings import WarningLevel, WarningSent, needs_paper


class DisconnectCause(StrEnum):
    """Why supply is to be taken away; see the module's text."""

    ARREARS = "arrears"
    CLOSING = "closing"
    SHORTAGE = "shortage"
    SAFETY = "safety"


class Refusal(StrEnum):
    """The rules of the gate, by the numbers of the protocol."""

    D1 = "D1"
    """Below the limit, from a fresh and plausible reading."""
    D2 = "D2"
    """No money on its way."""
    D3 = "D3"
    """Warned long enough before, emergency credit used up."""
    D4 = "D4"
    """Inside the disconnect window, by a trusted clock."""
    D5 = "D5"
    """No hold."""
    D6 = "D6"
    """Limiter, breaker, settled after an outage."""
    D7 = "D7"
    """Asked by who may, and on record."""
    D8 = "D8"
    """What the utility forbids."""


class RefusalReason(StrEnum):
    """What exactly speaks against a disconnect."""

    BALANCE_UNKNOWN = "balance_unknown"
    NOT_BELOW_LIMIT = "not_below_limit"
    READING_IMPLAUSIBLE = "reading_implausible"
    READING_AGE_UNKNOWN = "reading_age_unknown"
    READING_IN_FUTURE = "reading_in_future"
    READING_STALE = "reading_stale"
    READING_BEFORE_OUTAGE = "reading_before_outage"
    ORDERS_UNKNOWN = "orders_unknown"
    MONEY_ON_ITS_WAY = "money_on_its_way"
    WARNINGS_UNKNOWN = "warnings_unknown"
    NOT_WARNED = "not_warned"
    WARNED_TOO_LATE = "warned_too_late"
    EMERGENCY_CREDIT_LEFT = "emergency_credit_left"
    CLOCK_UNTRUSTED = "clock_untrusted"
    HOLIDAYS_UNKNOWN = "holidays_unknown"
    OUTSIDE_WINDOW = "outside_window"
    HOLDS_UNKNOWN = "holds_unknown"
    HELD = "held"
    BYPASSED = "bypassed"
    LIMITER_UNKNOWN = "limiter_unknown"
    OVER_LIMIT = "over_limit"
    BREAKER_OPEN = "breaker_open"
    QUARANTINED = "quarantined"
    SETTLING = "settling"
    NO_RIGHT = "no_right"
    SECOND_PERSON = "second_person"
    NOT_AUDITED = "not_audited"
    VALVE_UNKNOWN = "valve_unknown"
    WATER_OF_HOME = "water_of_home"
    TEMPERATURE_UNKNOWN = "temperature_unknown"
    FROST = "frost"


@dataclass(frozen=True, slots=True)
class GateRefusal:
    """One thing that speaks against a disconnect, with a sentence for people."""

    rule: Refusal
    reason: RefusalReason
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


class Authority(StrEnum):
    """What lets whoever asks for a disconnect of this meter ask for it."""

    RULE = "rule"
    """The program itself, by a rule."""
    COMMAND = "command"
    """A person with the right to command this meter's supply."""
    FORCE = "force"
    """A person with the right to force it, which includes commanding it."""
    NONE = "none"
    """A person without either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """All that the gate must know of one disconnect; what is left out is not known, and refuses.

    Attributes:
        now: aware, in the site's zone; clock_trusted: whether it may be believed.
        outage_ended_at: end of the last outage or clock jump that needs settling, a start of the
            program included; None where there was none.
        balance_units: of the account, or of the meter where that keeps it, in ledger units.
        limit_units: balance below which supply ends: see ``disconnect_limit_units``.
        balance_in_meter: whether the meter keeps the balance and trips by itself.
        balance_read_at: time of the oldest reading that the balance stands on.
        unsettled_orders: states of the account's orders whose money is still on its way: paid,
            armed, uncertain, conflict.
        warnings: of the present low episode.
        emergency_used: whether the emergency credit, if there is any, is used up.
        holds: set for this meter, its account or its site, expired ones too.
        limiter: asked with the send times locked; breaker_closed: the tenant's and the system's.
        quarantined: whether an earlier disconnect of this meter waits in quarantine for a person,
            whom no rule forestalls by asking again.
        batch_size: disconnects asked for together with this one; batch_approved: whether another
            person approved exactly them, and recently.
        audited: whether the asking is in the audit chain.
        unit_kind: None counts as a home.
        action: what the valve is to do; only water knows more than closing.
        outdoor_c, flow_c: degrees Celsius outside and in the heating's flow.

    Raises:
        ValueError: a time is naive.
    """

    cause: DisconnectCause
    utility: Utility
    limit_units: int
    now: datetime | None = None
    clock_trusted: bool = False
    holidays: Holidays | None = None
    outage_ended_at: datetime | None = None
    balance_units: int | None = None
    balance_in_meter: bool = False
    balance_read_at: datetime | None = None
    polling_interval: timedelta | None = None
    reading_plausible: bool | None = None
    unsettled_orders: Collection[str] | None = None
    warnings: Collection[WarningSent] | None = None
    emergency_used: bool | None = None
    holds: Collection[SupplyHold] | None = None
    bypass: Bypass | None = None
    limiter: LimiterVerdict | None = None
    breaker_closed: bool | None = None
    quarantined: bool | None = None
    authority: Authority = Authority.NONE
    batch_size: int = 1
    batch_approved: bool = False
    audited: bool = False
    unit_kind: UnitKind | None = None
    action: OffAction = OffAction.CLOSE
    valve_can_minimum_flow: bool | None = None
    outdoor_c: Decimal | None = None
    flow_c: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("now", "balance_read_at", "outage_ended_at"):
            at: datetime | None = getattr(self, name)
            if at is not None and at.tzinfo is None:
                raise ValueError(f"{name} {at.isoformat()} has no zone")

    @property
    def sure_now(self) -> datetime | None:
        """The time, if it is known and to be believed."""
        return self.now if self.clock_trusted else None

    @property
    def asked_by_rule(self) -> bool:
        """Whether no person asked for it."""
        return self.authority is Authority.RULE

    def age(self, since: datetime | None) -> timedelta | None:
        """Return how long ago something was; None where that is not known."""
        now = self.sure_now
        return None if since is None or now is None else now - since


class _Objection(NamedTuple):
    reason: RefusalReason
    sentence: str


_Check: TypeAlias = Callable[[GateFacts, SupplyPolicy], Iterator[_Objection]]
_NO_TIME: Final = timedelta(0)
_EXCESS: Final = frozenset({RefusalReason.OVER_LIMIT, RefusalReason.BREAKER_OPEN})


def refusals(facts: GateFacts, policy: SupplyPolicy) -> tuple[GateRefusal, ...]:
    """Return all that speaks against a disconnect, by rule; ``()`` means it may be sent."""
    return tuple(
        GateRefusal(rule, reason, sentence)
        for rule in Refusal
        if rule in RULES_ASKED[facts.cause]
        for reason, sentence in _CHECKS[rule](facts, policy)
    )


def is_excess(found: Collection[GateRefusal]) -> bool:
    """Whether only limiter and breaker speak against a disconnect: it goes to quarantine.

    Else what was refused is dropped; a rule that still wants it asks again.
    """
    return bool(found) and all(each.reason in _EXCESS for each in found)


def cautions(facts: GateFacts) -> tuple[str, ...]:
    """Return what a person should see before a disconnect, though it may not stop it: the holds."""
    if facts.holds is None:
        return ("whether anything holds the supply is not known",)
    return tuple(str(hold) for hold in holds_in_force(facts.holds, facts.sure_now))


def _balance(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.balance_units is None:
        yield _Objection(RefusalReason.BALANCE_UNKNOWN, "the balance is not known")
    elif facts.balance_units >= facts.limit_units:
        balance, limit = ledger_decimal(facts.balance_units), ledger_decimal(facts.limit_units)
        yield _Objection(
            RefusalReason.NOT_BELOW_LIMIT, f"the balance of {balance} is not below {limit}"
        )
    if not facts.reading_plausible:
        yield _Objection(
            RefusalReason.READING_IMPLAUSIBLE, "the balance stands on a reading in doubt"
        )
    yield from _reading_age(facts, policy)
    before, outage = facts.balance_read_at, facts.outage_ended_at
    if facts.asked_by_rule and before and outage and before < outage:
        yield _Objection(
            RefusalReason.READING_BEFORE_OUTAGE,
            f"the balance stands on a reading from before the outage that ended {_local(outage)}",
        )


def _reading_age(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    age = facts.age(facts.balance_read_at)
    if age is None or facts.polling_interval is None:
        yield _Objection(
            RefusalReason.READING_AGE_UNKNOWN, "how old the balance's reading is is not known"
        )
        return
    age_max = policy.reading_age_polls_max * facts.polling_interval
    if age < _NO_TIME:
        yield _Objection(
            RefusalReason.READING_IN_FUTURE, f"the balance's reading is {-age} in the future"
        )
    elif age > age_max:
        yield _Objection(
            RefusalReason.READING_STALE,
            f"the balance's reading is {age} old, at most {age_max} is allowed",
        )


def _orders(facts: GateFacts, _policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.unsettled_orders is None:
        yield _Objection(RefusalReason.ORDERS_UNKNOWN, "the account's orders are not known")
    elif facts.unsettled_orders:
        states = ", ".join(sorted(facts.unsettled_orders))
        yield _Objection(RefusalReason.MONEY_ON_ITS_WAY, f"money is on its way: orders {states}")


def _warned(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.warnings is None:
        yield _Objection(RefusalReason.WARNINGS_UNKNOWN, "the warnings sent are not known")
    else:
        yield from _warned_in_time(facts, policy, facts.warnings)
    if not facts.emergency_used:
        yield _Objection(RefusalReason.EMERGENCY_CREDIT_LEFT, "the emergency credit is not used up")


def _warned_in_time(
    facts: GateFacts, policy: SupplyPolicy, warnings: Collection[WarningSent]
) -> Iterator[_Objection]:
    arrears = [warning for warning in warnings if warning.level is WarningLevel.ARREARS]
    given = [warning.at for warning in arrears if warning.counts]
    if not given:
        sentence = "the arrears warning was not sent"
        if needs_paper(arrears):
            sentence = "the arrears warning could not be sent: tell the customer on paper"
        yield _Objection(RefusalReason.NOT_WARNED, sentence)
        return
    age = facts.age(min(given))
    if age is None or age < policy.warning_lead:
        yield _Objection(
            RefusalReason.WARNED_TOO_LATE,
            f"the arrears warning went out {_local(min(given))},"
            f" expected {policy.warning_lead} before",
        )


def _window(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    now = facts.sure_now
    if now is None:
        yield _Objection(RefusalReason.CLOCK_UNTRUSTED, "the clock is not to be trusted")
    if facts.holidays is None:
        yield _Objection(RefusalReason.HOLIDAYS_UNKNOWN, "the site's holidays are not known")
    elif now is not None and not may_disconnect_at(policy, now, facts.holidays):
        following = next_allowed(policy, now, facts.holidays)
        when = "none is near" if following is None else f"the next begins {_local(following)}"
        yield _Objection(
            RefusalReason.OUTSIDE_WINDOW, f"{_local(now)} is in no disconnect window: {when}"
        )


def _holds(facts: GateFacts, _policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.holds is None:
        yield _Objection(
            RefusalReason.HOLDS_UNKNOWN, "whether anything holds the supply is not known"
        )
    else:
        for hold in holds_in_force(facts.holds, facts.sure_now):
            if hold.owner is not HoldOwner.WINDOW or not facts.balance_in_meter:
                yield _Objection(RefusalReason.HELD, str(hold))
    if facts.bypass is not None and facts.asked_by_rule:
        yield _Objection(RefusalReason.BYPASSED, str(facts.bypass))


def _limiter(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.limiter is None:
        yield _Objection(RefusalReason.LIMITER_UNKNOWN, "no token was asked of the limiter")
    elif not facts.limiter.allowed:
        yield _Objection(RefusalReason.OVER_LIMIT, str(facts.limiter))
    if not facts.breaker_closed:
        yield _Objection(RefusalReason.BREAKER_OPEN, "the breaker is not closed")
    if facts.asked_by_rule and facts.quarantined is not False:
        yield _Objection(
            RefusalReason.QUARANTINED, "a disconnect of this meter is in quarantine, or may be"
        )
    if facts.asked_by_rule and facts.outage_ended_at is not None:
        settled_for = facts.age(facts.outage_ended_at)
        if settled_for is None or settled_for < policy.settle_time:
            yield _Objection(
                RefusalReason.SETTLING,
                f"an outage or clock jump ended {_local(facts.outage_ended_at)}:"
                f" no rule disconnects for {policy.settle_time}",
            )


def _authority(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    is_safety = facts.cause is DisconnectCause.SAFETY
    if is_safety and facts.authority is not Authority.FORCE:
        yield _Objection(
            RefusalReason.NO_RIGHT, "only a person with the right to force supply may do this"
        )
    elif facts.authority is Authority.NONE:
        yield _Objection(
            RefusalReason.NO_RIGHT, "whoever asked has no right to command this supply"
        )
    is_large = facts.batch_size > policy.batch_alone_max
    is_over_limit = facts.limiter is None or not facts.limiter.allowed
    if (is_large or (is_safety and is_over_limit)) and not facts.batch_approved:
        many = f"{facts.batch_size} disconnects at once, more than {policy.batch_alone_max}"
        what = many if is_large else "more disconnects than the limiter allows"
        yield _Objection(RefusalReason.SECOND_PERSON, f"{what}: a second person must approve")
    if not facts.audited:
        yield _Objection(RefusalReason.NOT_AUDITED, "the asking is not in the audit log")


def _utility(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    if facts.utility == WATER:
        yield from _water(facts, policy)
    elif facts.utility == HEAT:
        yield from _frost(facts, policy)


def _water(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    can_flow = facts.valve_can_minimum_flow
    softest, hardest = (
        off_action(policy, WATER, facts.unit_kind, valve_can_minimum_flow=can)
        for can in (True, False)
    )
    if can_flow is None and softest is not hardest:
        yield _Objection(
            RefusalReason.VALVE_UNKNOWN, "whether the valve has a minimum flow is not known"
        )
        return
    allowed = softest if can_flow else hardest
    if allowed is None:
        yield _Objection(
            RefusalReason.WATER_OF_HOME,
            "the site leaves a home its water, and this valve only closes",
        )
    elif allowed is OffAction.MINIMUM_FLOW and facts.action is OffAction.CLOSE:
        yield _Objection(RefusalReason.WATER_OF_HOME, "a home keeps the minimum flow of water")


def _frost(facts: GateFacts, policy: SupplyPolicy) -> Iterator[_Objection]:
    # A hot flow says nothing about the frost outside; a cold one says that pipes may freeze.
    if facts.outdoor_c is None:
        yield _Objection(RefusalReason.TEMPERATURE_UNKNOWN, "the outdoor temperature is not known")
    for place, celsius in (("outdoors", facts.outdoor_c), ("in the flow", facts.flow_c)):
        if celsius is not None and celsius < policy.frost_limit_c:
            yield _Objection(
                RefusalReason.FROST,
                f"{celsius} degC {place}, heat stays on below {policy.frost_limit_c} degC",
            )


def _local(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M}"


RULES_ASKED: Final[Mapping[DisconnectCause, frozenset[Refusal]]] = {
    DisconnectCause.ARREARS: frozenset(Refusal),
    DisconnectCause.CLOSING: frozenset(Refusal) - {Refusal.D1, Refusal.D2, Refusal.D3},
    DisconnectCause.SHORTAGE: frozenset({Refusal.D5, Refusal.D6, Refusal.D7, Refusal.D8}),
    DisconnectCause.SAFETY: frozenset({Refusal.D7}),
}
"""The rules that each cause must pass; the module's text says why."""

_CHECKS: Final[Mapping[Refusal, _Check]] = {
    Refusal.D1: _balance,
    Refusal.D2: _orders,
    Refusal.D3: _warned,
    Refusal.D4: _window,
    Refusal.D5: _holds,
    Refusal.D6: _limiter,
    Refusal.D7: _authority,
    Refusal.D8: _utility,
}

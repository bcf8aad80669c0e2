"""How many disconnects may leave in a while, and the breaker that stops all when more want to.

The limiter guards against ourselves: a wrong tariff, a lost payment file, a stolen sign-in would
each ask for thousands of disconnects at once. It is over sliding windows and knows nothing but
the times at which disconnects were marked sent, so a restart forgets nothing. A time later than
now counts like one just now: a clock that is set back frees no token, and within any window of
recorded times there are never more than its limit.

Excess is never delayed and then sent: it goes to quarantine, where a person decides, and the
breaker opens. An open breaker lets no disconnect pass; two different people close it. What was
quarantined stays so. Reconnects, keep-power and reads are no business of either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from meterplex.domain.supply_policy import LimiterPolicy

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class LimiterScope(StrEnum):
    """Over what disconnects are counted."""

    METER = "meter"
    TENANT = "tenant"
    """An organisation."""
    SYSTEM = "system"


class MeterCounts(NamedTuple):
    """Meters installed: of the tenant, and of all."""

    tenant: int
    system: int


@dataclass(frozen=True, slots=True)
class SendTimes:
    """When disconnects were marked sent (aware): of this meter, of its tenant, of all.

    Times up to a day back are enough, and any later than now; order does not matter.
    """

    meter: tuple[datetime, ...] = ()
    tenant: tuple[datetime, ...] = ()
    system: tuple[datetime, ...] = ()

    def of(self, scope: LimiterScope) -> tuple[datetime, ...]:
        """Return the times of a scope."""
        by_scope = {
            LimiterScope.METER: self.meter,
            LimiterScope.TENANT: self.tenant,
            LimiterScope.SYSTEM: self.system,
        }
        return by_scope[scope]

    def and_sent(self, at: datetime) -> "SendTimes":
        """Return the times after one more disconnect of this meter was marked sent."""
        return SendTimes((*self.meter, at), (*self.tenant, at), (*self.system, at))


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most so many disconnects of a scope in any window of this length."""

    scope: LimiterScope
    opens_max: int
    window: timedelta

    def tokens(self, sent_times: Iterable[datetime], now: datetime) -> int:
        """Return how many disconnects are left; times in the future of ``now`` count as used."""
        used = sum(1 for at in sent_times if at > now - self.window)
        return max(0, self.opens_max - used)


@dataclass(frozen=True, slots=True)
class LimiterVerdict:
    """Whether there is a token of every allowance, and which ran out.

    Attributes:
        tokens: how many more disconnects may be sent now; 0 where one is out.
        excess: the allowances without a token.
    """

    tokens: int
    excess: tuple[Allowance, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether one more disconnect may be sent."""
        return not self.excess

    @property
    def opens_breaker(self) -> bool:
        """Whether the excess is more than one flapping meter's own."""
        return any(allowance.scope is not LimiterScope.METER for allowance in self.excess)

    def __str__(self) -> str:
        if self.allowed:
            return f"{self.tokens} more disconnects may be sent"
        return "; ".join(
            f"{allowance.scope}: {allowance.opens_max} disconnects in {allowance.window} used up"
            for allowance in self.excess
        )


def share_of(meters: int, percent: Decimal, at_least: int) -> int:
    """Return a share of the meters, rounded down, but never less than the floor."""
    return max(at_least, int(meters * percent / 100))


def allowances(meters: MeterCounts, policy: LimiterPolicy) -> tuple[Allowance, ...]:
    """Return what a policy allows: one meter, its tenant by hour and by day, the system."""
    tenant, system = LimiterScope.TENANT, LimiterScope.SYSTEM
    hour_max = share_of(meters.tenant, policy.tenant_hour_percent, policy.tenant_min)
    day_max = share_of(meters.tenant, policy.tenant_day_percent, policy.tenant_min)
    system_max = share_of(meters.system, policy.system_percent, policy.system_min)
    return (
        Allowance(LimiterScope.METER, policy.meter_day_max, _DAY),
        Allowance(tenant, hour_max, _HOUR),
        Allowance(tenant, day_max, _DAY),
        Allowance(system, system_max, policy.system_window),
    )


def verdict(
    sent_times: SendTimes, meters: MeterCounts, now: datetime, policy: LimiterPolicy
) -> LimiterVerdict:
    """Return whether one more disconnect may be sent at ``now``.

    To hold for every interleaving it must be asked in the transaction that marks the command
    sent, with the send times locked.
    """
    left = [
        (each, each.tokens(sent_times.of(each.scope), now)) for each in allowances(meters, policy)
    ]
    excess = tuple(allowance for allowance, tokens in left if not tokens)
    return LimiterVerdict(min(tokens for _, tokens in left), excess)


class BreakerState(StrEnum):
    """CLOSED lets disconnects pass, like the breaker of a circuit."""

    CLOSED = "closed"
    OPEN = "open"


class BreakerError(Exception):
    """The breaker cannot be closed like this."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of a tenant or of the system.

    Attributes:
        opened_at: when it opened; None while closed. An approval to close it is for this time.
        reason: why it opened.
    """

    state: BreakerState = BreakerState.CLOSED
    opened_at: datetime | None = None
    reason: str = ""

    @property
    def closed(self) -> bool:
        """Whether disconnects may pass."""
        return self.state is BreakerState.CLOSED

    def opened(self, at: datetime, reason: str) -> "Breaker":
        """Return it open; one that is open keeps its first time and reason."""
        return Breaker(BreakerState.OPEN, at, reason) if self.closed else self

    def closed_by(self, first: str, second: str) -> "Breaker":
        """Return it closed, by two different people.

        Args:
            first: who asked for it; second: who approved. Names differ in more than case.

        Raises:
            BreakerError: it is closed already, a person is missing, or both are the same.
        """
        if self.closed:
            raise BreakerError("the breaker is closed already")
        names = {name.strip().casefold() for name in (first, second)}
        if "" in names or len(names) != 2:
            raise BreakerError(
                f"two different people close the breaker, got {first!r} and {second!r}"
            )
        return Breaker()

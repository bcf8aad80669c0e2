"""A cost that several customers carry together, split so that every one can check his part.

The amount is cut into steps, mostly whole minor units. Each sharer gets the whole steps of his
exact part; the steps left over go one each to the largest remainders (Hamilton's method), so the
shares always sum to the amount. Equal remainders go by key, never by the order of the sharers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from meterplex.domain.billing import BillingError


class SharingError(BillingError):
    """A cost that cannot be split as asked."""


class SharingBasis(StrEnum):
    """What a sharer's weight is."""

    AREA = "area"
    """Square metres."""
    HEAD_COUNT = "head_count"
    """People, a whole number."""
    EQUAL = "equal"
    """1 for each who takes part, 0 for who does not."""
    USE = "use"
    """Units of the utility that the sharer's own meters counted."""


@dataclass(frozen=True, slots=True)
class Sharer:
    """One who carries a part; ``key`` is unique and stays, such as the account's number."""

    key: str
    weight: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Share:
    """What one sharer carries, in ledger units."""

    key: str
    weight: Decimal
    amount_units: int


@dataclass(frozen=True, slots=True)
class Statement:
    """How a cost was split: with it a sharer reckons his share again.

    Attributes:
        amount_units: ledger units, the sum of the shares; below zero when a cost is given back.
        step_units: what every share is a multiple of.
        shares: in the order of the sharers.
    """

    basis: SharingBasis
    amount_units: int
    step_units: int
    total_weight: Decimal
    shares: tuple[Share, ...]

    def share_of(self, key: str) -> Share:
        """Return the share of one sharer.

        Raises:
            KeyError: the key takes no part.
        """
        for share in self.shares:
            if share.key == key:
                return share
        raise KeyError(key)

    def exact_units(self, share: Share) -> Fraction:
        """Return what the share would be without steps: it differs by less than one step."""
        return Fraction(share.weight) / Fraction(self.total_weight) * self.amount_units


def share_amount(
    amount_units: int, basis: SharingBasis, sharers: Sequence[Sharer], *, step_units: int = 1
) -> Statement:
    """Split an amount by weight.

    Args:
        amount_units: ledger units; a cost given back is below zero and split alike.
        basis: what the weights are.
        sharers: a weight of zero carries nothing.
        step_units: the smallest amount a share may differ by; see
            :func:`~meterplex.domain.billing.minor_step_units`.

    Raises:
        SharingError: no sharers, a key twice, a weight that the basis does not know, no weight at
            all, an amount that is not whole steps.
    """
    _check(amount_units, basis, sharers, step_units)
    weights = [Fraction(sharer.weight) for sharer in sharers]
    total = sum(weights, Fraction())
    steps, sign = abs(amount_units) // step_units, -1 if amount_units < 0 else 1
    quotas = [weight * steps / total for weight in weights]
    parts = [int(quota) for quota in quotas]
    by_remainder = sorted(
        range(len(sharers)), key=lambda at: (parts[at] - quotas[at], sharers[at].key)
    )
    for at in by_remainder[: steps - sum(parts)]:
        parts[at] += 1
    shares = (
        Share(sharer.key, sharer.weight, sign * part * step_units)
        for sharer, part in zip(sharers, parts, strict=True)
    )
    return Statement(basis, amount_units, step_units, _exact_sum(sharers), tuple(shares))


def _check(
    amount_units: int, basis: SharingBasis, sharers: Sequence[Sharer], step_units: int
) -> None:
    if step_units < 1:
        raise SharingError("step_units", f"{step_units} is below 1")
    if amount_units % step_units:
        raise SharingError("amount_units", f"{amount_units} is no multiple of {step_units}")
    if not sharers:
        raise SharingError("sharers", "nobody shares the amount")
    seen: set[str] = set()
    for sharer in sharers:
        if sharer.key in seen:
            raise SharingError(f"sharers[{sharer.key}]", "is given twice")
        seen.add(sharer.key)
        reason = _weight_fault(basis, sharer.weight)
        if reason:
            raise SharingError(f"sharers[{sharer.key}].weight", f"{sharer.weight} {reason}")
    if not any(sharer.weight for sharer in sharers):
        raise SharingError("sharers", f"all weights by {basis} are zero")


_DECIMALS_MAX: Final = 15
_MAGNITUDE_MAX: Final = 15


def _weight_fault(basis: SharingBasis, weight: Decimal) -> str:
    if not weight.is_finite():
        return "is no number"
    if weight < 0:
        return "is below zero"
    if int(weight.as_tuple().exponent) < -_DECIMALS_MAX or weight.adjusted() > _MAGNITUDE_MAX:
        return "has more digits than anything measured"
    if basis is SharingBasis.EQUAL and weight not in (0, 1):
        return "is neither 0 nor 1"
    if basis is SharingBasis.HEAD_COUNT and weight != weight.to_integral_value():
        return "is no whole number of people"
    return ""


def _exact_sum(sharers: Iterable[Sharer]) -> Decimal:
    """Return the sum with all its digits, whatever the precision of the context."""
    weights = [sharer.weight for sharer in sharers]
    decimals = max(max(-int(weight.as_tuple().exponent), 0) for weight in weights)
    scaled = sum((Fraction(weight) * 10**decimals for weight in weights), Fraction())
    return Decimal(f"{scaled.numerator}E-{decimals}") if decimals else Decimal(scaled.numerator)


class ResidualDecision(StrEnum):
    """What to do with the use that the sub-meters do not explain."""

    SHARE = "share"
    """It is common use."""
    NOTHING = "nothing"
    """There is none, or less than none by no more than meters err."""
    HOLD = "hold"
    """The sub-meters counted more than their main meter: a person looks before anyone pays."""


RESIDUAL_TOLERANCE: Final = Decimal("0.02")
"""Part of the main meter's use by which class 1 meters err against each other (guess)."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A main meter against its sub-meters over one period, in units of the utility.

    Attributes:
        units: main less sub; shared only where the decision says so.
    """

    main_units: Decimal
    sub_units: Decimal
    units: Decimal
    decision: ResidualDecision


def judge_residual(
    main_units: Decimal,
    sub_units: Iterable[Decimal],
    *,
    tolerance: Decimal = RESIDUAL_TOLERANCE,
) -> Residual:
    """Return what a main meter counted beyond its sub-meters, and what to do with it.

    Args:
        main_units: used at the main meter in the period.
        sub_units: used at each sub-meter in the same period.
        tolerance: part of the main meter's use by which the sub-meters may pass it.
    """
    total = sum(sub_units, Decimal())
    units = main_units - total
    if units > 0:
        decision = ResidualDecision.SHARE
    elif -units <= main_units * tolerance:
        decision = ResidualDecision.NOTHING
    else:
        decision = ResidualDecision.HOLD
    return Residual(main_units, total, units, decision)

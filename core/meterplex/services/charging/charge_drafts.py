"""From rated periods to charges: what each counter adds, and what becomes of its holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import uuid_utils.compat

from meterplex.db.charges import ChargedPeriod, ChargedRegister
from meterplex.domain.accounts import Account
from meterplex.domain.charges import (
    Charge,
    ChargeId,
    ChargeKind,
    HoldId,
    HoldReason,
    HoldState,
    ReadingHold,
)
from meterplex.domain.charging import Hold, Shown, Tiling
from meterplex.domain.estate import Binding, Site
from meterplex.domain.ledger import LedgerAccount
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import Utility
from meterplex.services.charging.charged_counters import RULE, Counter
from meterplex.services.charging.period_rating import Lines, MutableLines, Plan, added
from meterplex.services.tariffs.document import lines_from_json, lines_to_json

ROLLED_OVER: Final = "the counter rolled over"
"""Why a reading that had seemed doubtful is kept as good."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What charging one register of a binding comes to.

    Attributes:
        charges: without their entries.
        paid_from: where the charges are taken from; None takes them from the wallet.
        periods: and ``register``, to be written.
        holds: to be written; those that are new, or open again, are ``raised`` too.
        settled: those that settled themselves.
        accepted: readings to be kept as good from now on.
        corrected_at: time of the oldest reading that may have changed what was charged.
    """

    account: Account
    site: Site
    binding: Binding
    utility: Utility
    charges: tuple[Charge, ...] = ()
    paid_from: LedgerAccount | None = None
    periods: tuple[ChargedPeriod, ...] = ()
    register: ChargedRegister | None = None
    raised: tuple[ReadingHold, ...] = ()
    settled: tuple[ReadingHold, ...] = ()
    accepted: tuple[Reading, ...] = ()
    corrected_at: datetime | None = None


def draft_charges(plan: Plan, at: datetime) -> Draft:
    """Return what a rated plan adds to what was charged before.

    Args:
        at: now.
    """
    counter, charged = plan.counter, _charged(plan)
    charges = tuple(_charges(plan, charged, at))
    raised, settled = _holds(counter, plan.full, at)
    return Draft(
        account=counter.account,
        site=counter.site,
        binding=counter.binding,
        utility=counter.utility,
        charges=charges,
        periods=tuple(_periods(plan, charged)) if charges else (),
        register=_register(plan, at) if charges else None,
        raised=raised,
        settled=settled,
        accepted=tuple(_rolled_over(counter, plan.full)),
        corrected_at=counter.changed_since,
    )


def _charges(plan: Plan, charged: Lines, at: datetime) -> Iterator[Charge]:
    """Yield an adjustment of what is charged, if there is any, and the charge of a new tile."""
    counter = plan.counter
    full, past = plan.rated
    units = counter.start_units if counter.charged is None else counter.charged.units
    if plan.past is not None:
        tiling, lines = (plan.past, past) if plan.grows else (plan.full, full)
        corrected = _units(counter, tiling)
        change = added(charged, lines)
        if change or corrected != units:
            yield _adjustment(plan, tiling, change, corrected - units, at)
        charged, units = lines, corrected
    if plan.grows:
        change = added(charged, full)
        yield _growth(plan, change, _units(counter, plan.full) - units, at)


def _charged(plan: Plan) -> MutableLines:
    """Return what the periods that are rated again were charged before."""
    zones = {span.id: span.tariff.time_zone for span in plan.counter.spans}
    return {
        (row.tariff_version_id, row.start): lines_from_json(
            row.lines, zones.get(row.tariff_version_id, plan.counter.site.time_zone)
        )
        for row in plan.counter.periods
        if row.start >= plan.since
    }


def _units(counter: Counter, tiling: Tiling) -> Decimal:
    """Return the units used since the binding began."""
    used = sum(point.used for point in tiling.points)
    return counter.start_units + counter.scale.units(used)


def _growth(plan: Plan, change: Lines, units: Decimal, at: datetime) -> Charge:
    counter, last = plan.counter, plan.last
    assert last is not None, "it grows"
    start = counter.value(counter.opening.count)
    return _charge(
        plan,
        change,
        ChargeKind.ESTIMATE if last.estimated else ChargeKind.REGULAR,
        (counter.until, start if counter.charged is None else counter.charged.value),
        (last.at, counter.value(last.count)),
        units,
        at,
    )


def _adjustment(plan: Plan, tiling: Tiling, change: Lines, units: Decimal, at: datetime) -> Charge:
    counter, begin = plan.counter, plan.begin
    return _charge(
        plan,
        change,
        ChargeKind.ADJUSTMENT,
        (begin.at, counter.value(begin.count)),
        (counter.until, _value_at(counter, tiling)),
        units,
        at,
    )


def _value_at(counter: Counter, tiling: Tiling) -> Decimal:
    """Return what the meter showed, as is known now, where it is charged to."""
    assert counter.charged is not None, "the past is charged"
    for point in tiling.points:
        if point.at == counter.until:
            return counter.value(point.count)
    return counter.charged.value


def _charge(
    plan: Plan,
    change: Lines,
    kind: ChargeKind,
    start: tuple[datetime, Decimal],
    end: tuple[datetime, Decimal],
    units: Decimal,
    at: datetime,
) -> Charge:
    counter = plan.counter
    lines = tuple(_documents(plan, change))
    span = next((each for each in reversed(counter.spans) if each.start < end[0]), counter.spans[0])
    return Charge(
        id=ChargeId(uuid_utils.compat.uuid7()),
        organisation_id=counter.account.organisation_id,
        account_id=counter.account.id,
        binding_id=counter.binding.id,
        register=counter.register,
        kind=kind,
        from_at=start[0],
        to_at=end[0],
        from_value=start[1],
        to_value=end[1],
        units=units,
        amount_units=sum(line["amount_units"] for line in lines),
        booked_at=at,
        tariff_version_id=span.id,
        lines=lines,
    )


def _documents(plan: Plan, change: Lines) -> Iterator[Mapping[str, Any]]:
    """Yield lines as they are kept, each with its tariff version and period."""
    versions = {span.id: span.tariff.version for span in plan.counter.spans}
    for (version_id, start), lines in change.items():
        where = {
            "period": start.isoformat(),
            "tariff_version_id": str(version_id),
            "tariff_version": versions.get(version_id, 0),
        }
        for line in lines_to_json(lines):
            yield line | where


def _periods(plan: Plan, charged: Lines) -> Iterator[ChargedPeriod]:
    """Yield what the rated periods are charged now; those that are no more are empty."""
    counter, (full, _) = plan.counter, plan.rated
    for version_id, start in charged.keys() | full.keys():
        lines = full.get((version_id, start), ())
        anchor, units = _anchor(counter, plan.full, start)
        yield ChargedPeriod(
            organisation_id=counter.account.organisation_id,
            binding_id=counter.binding.id,
            register=counter.register,
            tariff_version_id=version_id,
            start=start,
            lines=lines_to_json(lines),
            amount_units=sum(line.amount_units for line in lines),
            anchor_at=anchor.at,
            anchor_value=counter.value(anchor.count),
            anchor_units=units,
        )


def _anchor(counter: Counter, tiling: Tiling, start: datetime) -> tuple[Shown, Decimal]:
    """Return the last sure reading not after a time, and the units used before it."""
    found, steps, found_steps = counter.start, 0, 0
    for point in tiling.points:
        if point.at > start:
            break
        steps += point.used
        if point.sure:
            found, found_steps = Shown(point.at, point.count), steps
    return found, counter.start_units + counter.scale.units(found_steps)


def _register(plan: Plan, at: datetime) -> ChargedRegister:
    counter, last = plan.counter, plan.last
    until, value = counter.until, counter.value(counter.opening.count)
    if last is not None and plan.grows:
        until, value = last.at, counter.value(last.count)
    elif counter.charged is not None:
        value = _value_at(counter, plan.full)
    return ChargedRegister(
        organisation_id=counter.account.organisation_id,
        binding_id=counter.binding.id,
        register=counter.register,
        until=until,
        value=value,
        units=_units(counter, plan.full),
        booked_at=at,
    )


def _holds(
    counter: Counter, tiling: Tiling, at: datetime
) -> tuple[tuple[ReadingHold, ...], tuple[ReadingHold, ...]]:
    """Return the holds that are raised now, and those that have settled themselves."""
    known = {hold.read_at: hold for hold in counter.holds}
    raised = () if tiling.hold is None else _raised(counter, tiling.hold, known, at)
    accepted = {point.at for point in tiling.points}
    settled = []
    for hold in counter.holds:
        if hold.state is HoldState.OPEN and hold.read_at in accepted | tiling.left_out:
            state = HoldState.RELEASED if hold.read_at in accepted else HoldState.REJECTED
            settled.append(replace(hold, state=state, settled_at=at, settled_by=RULE))
    return raised, tuple(settled)


def _raised(
    counter: Counter, hold: Hold, known: Mapping[datetime, ReadingHold], at: datetime
) -> tuple[ReadingHold, ...]:
    before = known.get(hold.shown.at)
    fresh = ReadingHold(
        id=HoldId(uuid_utils.compat.uuid7()) if before is None else before.id,
        organisation_id=counter.account.organisation_id,
        binding_id=counter.binding.id,
        register=counter.register,
        read_at=hold.shown.at,
        value=counter.value(hold.shown.count),
        reason=hold.held.reason,
        raised_at=at,
        detail=hold.held.detail,
    )
    if before is not None and before.state is HoldState.OPEN:
        if before.reason is HoldReason.REPLACED and hold.held.reason is HoldReason.SUSPECT:
            return ()  # it is known why it is doubtful
        fresh = replace(fresh, raised_at=before.raised_at)
    return () if fresh == before else (fresh,)


def _rolled_over(counter: Counter, tiling: Tiling) -> Iterator[Reading]:
    """Yield readings at which the counter rolled over and that are not kept as good yet.

    What comes after them is then compared with them, and no more with what was before.
    """
    rolled = {point.at for point in tiling.points if point.rolled_over}
    for each in counter.readings:
        if each.at in rolled and each.quality is not ReadingQuality.GOOD:
            yield Reading(
                meter_id=counter.binding.meter_id,
                register=counter.register,
                read_at=each.at,
                value=counter.value(each.count),
                source=each.source,
                reason=ROLLED_OVER,
            )

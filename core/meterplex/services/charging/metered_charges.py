"""Charges where the meter itself counts the credit down (prepayment-protocol 4.8).

The charge is the fall of the meter's remaining credit, corrected by what was delivered: what the
ledger says the meter holds, less what it was read to hold. It can be told only while nothing is on
its way, so a reading older than the last settled order, or one that was not yet compared with what
was sold, waits for the next. Server rating only checks the meter's prices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.charges import ChargedRegister, ReadingSpan, StoredReading
from meterplex.domain.accounts import Account
from meterplex.domain.charged_registers import MAIN_COUNTERS
from meterplex.domain.charged_use import UnitScale, usage_of, whole_second
from meterplex.domain.charges import (
    Charge,
    ChargeId,
    ChargeKind,
    HoldId,
    HoldReason,
    HoldState,
    ReadingHold,
)
from meterplex.domain.charging import CounterLimits, Shown, tile
from meterplex.domain.estate import AccountId, Binding, MeterId, OrganisationId, Site
from meterplex.domain.ledger import in_meter
from meterplex.domain.money import LEDGER_DECIMALS, LEDGER_UNITS, ledger_decimal
from meterplex.domain.prepayment.orders import BLOCKING, OrderState
from meterplex.domain.readings import DeviceEventRecord, EventKind, ReadingQuality
from meterplex.domain.registers import CREDIT_REMAINING, Utility
from meterplex.domain.tariff import ComponentError, TariffError, UsageError
from meterplex.services.charging.charge_drafts import Draft
from meterplex.services.charging.charged_counters import RULE
from meterplex.services.tariffs.book import TariffBook, TariffSpan

PRICE_MISMATCH: Final = "price_mismatch"
"""Code of the device event when a meter charges otherwise than its tariff."""

TOLERANCE: Final = Fraction(1, 100)
"""Of a charge; but never less than the price of one unit."""

TOLD_EVERY: Final = timedelta(days=1)
"""A meter whose prices are wrong is told of once in so long."""


@dataclass(frozen=True, slots=True)
class _Credit:
    """The credit of a binding's meter: as the ledger has it, and as it was read last.

    Attributes:
        balance_units: in the ledger.
        charged: until when; None when nothing was charged yet.
    """

    account: Account
    site: Site
    binding: Binding
    utility: Utility
    balance_units: int
    reading: StoredReading
    charged: ChargedRegister | None
    holds: Mapping[datetime, ReadingHold]

    @property
    def remaining_units(self) -> int:
        """As it was read; a step of the register is a ledger unit."""
        return self.reading.count

    @property
    def since(self) -> datetime:
        """Where the tile starts."""
        return self.binding.since if self.charged is None else self.charged.until


async def draft_metered(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    accounts: Mapping[AccountId, Account],
    bindings: Sequence[Binding],
    book: TariffBook,
    at: datetime,
) -> list[Draft]:
    """Return what the meters of bindings have counted down since they were charged last."""
    found = await _credits(uow, organisation_id, accounts, bindings)
    await book.load(uow, organisation_id, {_code(each) for each in found} - {""})
    drafts = []
    for each in found:
        draft = _draft(each, at)
        drafts.append(draft)
        for charge in draft.charges:
            await _check_price(uow, each, charge, book, at)
    return drafts


async def _credits(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    accounts: Mapping[AccountId, Account],
    bindings: Sequence[Binding],
) -> list[_Credit]:
    ids = [binding.id for binding in bindings]
    charged = await uow.charges.registers(organisation_id, ids)
    holds = await uow.reading_holds.of_bindings(organisation_id, ids)
    utilities = await uow.charges.utilities_of(organisation_id, bindings)
    sites = await uow.sites.by_ids(
        organisation_id, {account.site_id for account in accounts.values()}
    )
    found = []
    for binding in bindings:
        assert binding.account_id is not None
        key = binding.id, CREDIT_REMAINING.slug
        row = charged.get(key)
        reading = await _eligible(uow, binding, row)
        if reading is None:
            continue
        account, credit = accounts[binding.account_id], in_meter(binding.id)
        held = await uow.ledger.lock(organisation_id, account.currency, [credit])
        found.append(
            _Credit(
                account=account,
                site=sites[account.site_id],
                binding=binding,
                utility=utilities[binding.usage_point_id],
                balance_units=held[credit],
                reading=reading,
                charged=row,
                holds={hold.read_at: hold for hold in holds.get(key, ())},
            )
        )
    return found


async def _eligible(
    uow: UnitOfWork, binding: Binding, charged: ChargedRegister | None
) -> StoredReading | None:
    """Return the newest good reading of the credit, if nothing that it may not show is booked."""
    organisation_id = binding.organisation_id
    orders = await uow.orders.of_binding(organisation_id, binding.id)
    if any(order.state in BLOCKING for order in orders):
        return None
    wallet = await uow.wallets.find(organisation_id, binding.id)
    last = uow.readings.last_before
    until = binding.until or datetime.max.replace(tzinfo=binding.since.tzinfo)
    newest = await last(organisation_id, binding.meter_id, CREDIT_REMAINING, until)
    after = binding.since if charged is None else charged.until
    if newest is None or newest.quality is not ReadingQuality.GOOD or newest.read_at <= after:
        return None
    settled = [
        order.settled_at
        for order in orders
        if order.state is OrderState.CONFIRMED and order.settled_at is not None
    ]
    if any(newest.read_at <= each for each in settled):
        return None
    if wallet is not None and wallet.read_at < newest.read_at:
        return None
    return StoredReading(
        newest.read_at,
        CREDIT_REMAINING.to_steps(newest.value),
        newest.quality,
        newest.source,
        newest.revision,
        newest.read_at,
    )


def _draft(each: _Credit, at: datetime) -> Draft:
    fall = each.balance_units - each.remaining_units
    plain = Draft(each.account, each.site, each.binding, each.utility)
    known = each.holds.get(each.reading.at)
    decided = known is not None and known.settled_by not in {"", RULE}
    if fall == 0 or (decided and known is not None and known.state is HoldState.REJECTED):
        return plain
    if fall < 0 and not decided:
        return Draft(
            each.account, each.site, each.binding, each.utility, raised=_raised(each, known, at)
        )
    settled = tuple(
        _settled(hold, at) for hold in each.holds.values() if hold.state is HoldState.OPEN
    )
    value = ledger_decimal(each.remaining_units)
    return Draft(
        account=each.account,
        site=each.site,
        binding=each.binding,
        utility=each.utility,
        charges=(_charge(each, fall, at),),
        paid_from=in_meter(each.binding.id),
        register=ChargedRegister(
            organisation_id=each.binding.organisation_id,
            binding_id=each.binding.id,
            register=CREDIT_REMAINING,
            until=each.reading.at,
            value=value,
            units=Decimal(0),
            booked_at=at,
        ),
        settled=settled,
    )


def _settled(hold: ReadingHold, at: datetime) -> ReadingHold:
    """Return a hold that a later reading has made pointless: it moved no money and never will."""
    return replace(hold, state=HoldState.REJECTED, settled_at=at, settled_by=RULE)


def _raised(each: _Credit, known: ReadingHold | None, at: datetime) -> tuple[ReadingHold, ...]:
    if known is not None and known.state is HoldState.OPEN:
        return ()
    rise = ledger_decimal(each.remaining_units - each.balance_units)
    return (
        ReadingHold(
            id=HoldId(uuid_utils.compat.uuid7()) if known is None else known.id,
            organisation_id=each.binding.organisation_id,
            binding_id=each.binding.id,
            register=CREDIT_REMAINING,
            read_at=each.reading.at,
            value=ledger_decimal(each.remaining_units),
            reason=HoldReason.NEGATIVE,
            raised_at=at,
            detail=f"the meter holds {rise} more than was delivered and not used",
        ),
    )


def _charge(each: _Credit, fall: int, at: datetime) -> Charge:
    before = ledger_decimal(each.balance_units) if each.charged is None else each.charged.value
    remaining = ledger_decimal(each.remaining_units)
    delivered = fall - (before - remaining).scaleb(LEDGER_DECIMALS)
    line = {
        "kind": "metered",
        "component": "metered",
        "amount_units": fall,
        "start": each.since.isoformat(),
        "end": each.reading.at.isoformat(),
        "delivered_units": int(delivered),
    }
    return Charge(
        id=ChargeId(uuid_utils.compat.uuid7()),
        organisation_id=each.binding.organisation_id,
        account_id=each.account.id,
        binding_id=each.binding.id,
        register=CREDIT_REMAINING,
        kind=ChargeKind.METERED,
        from_at=each.since,
        to_at=each.reading.at,
        from_value=before,
        to_value=remaining,
        units=Decimal(0),
        amount_units=fall,
        booked_at=at,
        lines=(line,),
    )


# -- the check of the meter's prices -----------------------------------------------------------


def _code(each: _Credit) -> str:
    return each.binding.tariff or each.account.tariff


async def _check_price(
    uow: UnitOfWork, each: _Credit, charge: Charge, book: TariffBook, at: datetime
) -> None:
    """Tell when the meter charged otherwise than its tariff; what cannot be rated is let pass."""
    try:
        rated = await _rated(uow, each, charge, book)
    except (TariffError, UsageError, ComponentError):
        return
    if rated is None:
        return
    rated_units, unit_price = rated
    gap = abs(charge.amount_units - rated_units)
    if gap <= max(TOLERANCE * abs(charge.amount_units), unit_price):
        return
    known = await uow.events.newest(each.binding.organisation_id, each.binding.meter_id)
    if any(event.code == PRICE_MISMATCH and event.at > at - TOLD_EVERY for event in known):
        return
    event = DeviceEventRecord(
        id=uuid_utils.compat.uuid7(),
        organisation_id=each.binding.organisation_id,
        subject="meter",
        subject_id=each.binding.meter_id,
        kind=EventKind.LOGGED,
        code=PRICE_MISMATCH,
        at=at,
        detail=f"the meter charged {ledger_decimal(charge.amount_units)}, its tariff comes to "
        f"{ledger_decimal(rated_units)}",
    )
    await uow.events.add_all([event])


async def _rated(
    uow: UnitOfWork, each: _Credit, charge: Charge, book: TariffBook
) -> tuple[int, Fraction] | None:
    """Return what the tariff comes to, and the ledger units of its dearest unit."""
    register = MAIN_COUNTERS.get(each.utility)
    spans = book.spans(each.binding, _code(each)) if _code(each) else ()
    in_force = [span for span in spans if span.start <= charge.from_at and charge.to_at <= span.end]
    if register is None or not in_force:
        return None
    first = charge.from_at - timedelta(microseconds=1)
    span = ReadingSpan(each.binding.meter_id, register, first, charge.to_at)
    readings = await uow.charges.readings(each.binding.organisation_id, [span])
    shown = _shown(readings, each.binding.meter_id, register.slug)
    if not shown or (shown[0].at, shown[-1].at) != (charge.from_at, charge.to_at):
        return None
    points = tile(shown[0], shown[1:], CounterLimits.of(register), {}).points
    if not points or points[-1].at != charge.to_at:
        return None
    scale = UnitScale.of(register, each.binding.ct, each.binding.pt)
    service = whole_second(charge.from_at), whole_second(charge.to_at)
    usage = usage_of(shown[0], points, scale, service)
    return in_force[0].rater.rate(usage).total_units, _dearest(in_force[0])


def _shown(
    readings: Mapping[tuple[MeterId, str], Sequence[StoredReading]], meter_id: MeterId, slug: str
) -> list[Shown]:
    return [Shown(each.at, each.count, each.quality) for each in readings.get((meter_id, slug), ())]


def _dearest(span: TariffSpan) -> Fraction:
    prices = [
        price
        for season in span.tariff.seasons
        for row in span.tariff.prices_of(season)
        for price in row
    ]
    return max((Fraction(price) * LEDGER_UNITS for price in prices), default=Fraction(0))

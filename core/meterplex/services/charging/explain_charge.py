"""Explains a charge from its identifier, and makes it again from what it was made from (B4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from meterplex.db import Database, UnitOfWork
from meterplex.db.charges import FOR_EVER, ReadingSpan
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.accounts import Account
from meterplex.domain.charges import Charge, ChargeId, ChargeKind
from meterplex.domain.charging import Shown, tile
from meterplex.domain.estate import Binding, Meter, OrganisationId, Site, UsagePoint
from meterplex.domain.ledger import Entry, changes, in_meter
from meterplex.domain.money import LEDGER_DECIMALS
from meterplex.domain.readings import Reading
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.charging.charged_counters import Counter, CounterLoader
from meterplex.services.charging.period_rating import MutableLines, Plan, added, rate
from meterplex.services.tariffs.book import TariffBook
from meterplex.services.tariffs.document import lines_from_json


@dataclass(frozen=True, slots=True)
class Explanation:
    """A charge with all that it was made from.

    Attributes:
        readings: at the start and end of its tile, as they were known when it was booked; None
            for the opening value of the binding.
        tariffs: versions that its lines name, by identifier.
        adjusts: the charge whose past it changes.
    """

    charge: Charge
    account: Account
    site: Site
    meter: Meter
    usage_point: UsagePoint
    binding: Binding
    readings: tuple[Reading | None, Reading | None]
    tariffs: Mapping[str, PublishedTariff]
    entry: Entry | None
    adjusts: Charge | None


@dataclass(frozen=True, slots=True)
class Replay:
    """A charge made again.

    Attributes:
        amount_units: that came out now; the same as was booked, or something is wrong.
    """

    charge: Charge
    amount_units: int

    @property
    def same(self) -> bool:
        """Whether it is what was booked."""
        return self.amount_units == self.charge.amount_units


async def explain_charge(
    database: Database, organisation_id: OrganisationId, charge_id: ChargeId
) -> Explanation:
    """Return a charge with its readings, tariff versions and entry.

    Raises:
        NotFoundError: there is no such charge.
    """
    async with database.unit_of_work(read_only=True) as uow:
        charge = await uow.charges.get(organisation_id, charge_id)
        account = await uow.accounts.get(organisation_id, charge.account_id)
        binding = await uow.bindings.get(organisation_id, charge.binding_id)
        versions = {line["tariff_version_id"] for line in charge.lines if _is_rated(line)}
        published = await uow.tariff_versions.all(organisation_id) if versions else ()
        return Explanation(
            charge=charge,
            account=account,
            site=await uow.sites.get(organisation_id, account.site_id),
            meter=await uow.meters.get(organisation_id, binding.meter_id),
            usage_point=await uow.usage_points.get(organisation_id, binding.usage_point_id),
            binding=binding,
            readings=(
                await _reading(uow, charge, binding, charge.from_at),
                await _reading(uow, charge, binding, charge.to_at),
            ),
            tariffs={str(each.id): each for each in published if str(each.id) in versions},
            entry=None
            if charge.entry_id is None
            else await uow.ledger.get(organisation_id, charge.entry_id),
            adjusts=None
            if charge.adjusts_id is None
            else await uow.charges.get(organisation_id, charge.adjusts_id),
        )


def _is_rated(line: Mapping[str, Any]) -> bool:
    return "tariff_version_id" in line


async def _reading(
    uow: UnitOfWork, charge: Charge, binding: Binding, at: datetime
) -> Reading | None:
    """Return a reading as it was known when the charge was booked."""
    span = ReadingSpan(binding.meter_id, charge.register, at - timedelta(microseconds=1), at)
    found = await uow.charges.readings(charge.organisation_id, [span], known_at=charge.booked_at)
    for stored in found.get((binding.meter_id, charge.register.slug), ()):
        revisions = await uow.readings.revisions(
            charge.organisation_id, binding.meter_id, charge.register, at
        )
        return next(each for each in revisions if each.revision == stored.revision)
    return None


async def replay_charge(
    database: Database,
    organisation_id: OrganisationId,
    charge_id: ChargeId,
    book: TariffBook | None = None,
) -> Replay:
    """Make a charge again, from the stored readings and tariffs as they were known then.

    Raises:
        NotFoundError: there is no such charge.
        MoneyConflictError: what it was made from is not there any more.
    """
    async with database.unit_of_work(read_only=True) as uow:
        charge = await uow.charges.get(organisation_id, charge_id)
        if charge.kind is ChargeKind.METERED:
            return Replay(charge, await _metered_again(uow, charge))
        earlier, beside = await _others(uow, charge)
        counter = await _counter(uow, charge, book or TariffBook())
    return Replay(charge, _rated_again(charge, counter, earlier, beside))


async def _others(uow: UnitOfWork, charge: Charge) -> tuple[Sequence[Charge], Sequence[Charge]]:
    """Return the charges of the register before a charge, and those booked together with it."""
    of_binding = await uow.charges.of_binding(charge.organisation_id, charge.binding_id)
    mine = [each for each in of_binding if each.register == charge.register]
    place = next(index for index, each in enumerate(mine) if each.id == charge.id)
    beside = [each for each in mine[place + 1 :] if each.booked_at == charge.booked_at]
    return mine[:place], beside


async def _counter(uow: UnitOfWork, charge: Charge, book: TariffBook) -> Counter:
    account = await uow.accounts.get(charge.organisation_id, charge.account_id)
    binding = await uow.bindings.get(charge.organisation_id, charge.binding_id)
    loader = CounterLoader(uow, charge.organisation_id, book, known_at=charge.booked_at)
    counters = await loader.load({account.id: account}, [binding], since=FOR_EVER)
    if not counters:
        raise MoneyConflictError("charge", loader.problems[0].reason)
    return counters[0]


def _rated_again(
    charge: Charge, counter: Counter, earlier: Sequence[Charge], beside: Sequence[Charge]
) -> int:
    if not charge.lines:
        return 0
    # An adjustment is made before the tile that came in together with it.
    bounded = charge.kind is ChargeKind.ADJUSTMENT and any(
        each.from_at == charge.to_at for each in beside
    )
    shown = [
        Shown(each.at, each.count, each.quality)
        for each in counter.readings
        if not bounded or each.at <= charge.to_at
    ]
    full = tile(counter.start, shown, counter.limits, counter.decisions)
    since = min(datetime.fromisoformat(line["period"]) for line in charge.lines)
    plan = Plan(replace(counter, changed_since=None), full, None, counter.start, since)
    rate([plan])
    if plan.problem:
        raise MoneyConflictError("charge", plan.problem)
    change = added(_charged_before(counter, earlier, since), plan.rated[0])
    return sum(line.amount_units for lines in change.values() for line in lines)


def _charged_before(counter: Counter, earlier: Sequence[Charge], since: datetime) -> MutableLines:
    zones = {str(span.id): span.tariff.time_zone for span in counter.spans}
    ids = {str(span.id): span.id for span in counter.spans}
    found: MutableLines = defaultdict(tuple)
    for charge in earlier:
        for line in charge.lines:
            start, version = datetime.fromisoformat(line["period"]), line["tariff_version_id"]
            if start >= since and version in ids:
                found[ids[version], start] += lines_from_json([line], zones[version])
    return found


async def _metered_again(uow: UnitOfWork, charge: Charge) -> int:
    """Return what the ledger had in the meter before the charge, less what the meter showed."""
    balance = 0
    credit = in_meter(charge.binding_id)
    for entry in await uow.ledger.of_account(charge.organisation_id, charge.account_id):
        if entry.id == charge.entry_id:
            break
        balance += changes(entry.postings).get(credit, 0)
    return balance - int(charge.to_value.scaleb(LEDGER_DECIMALS))

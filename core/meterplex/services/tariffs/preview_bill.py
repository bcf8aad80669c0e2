"""A dry run of any bill: what an account's use costs, under its tariff or another (B9)."""

from dataclasses import dataclass, replace
from datetime import date, datetime

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.charged_use import usage_of, whole_second
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.charging import Shown, tile
from meterplex.domain.tariff import ComponentError, Rater, Rating, TariffVersion, UsageError
from meterplex.services.charging.charged_counters import Counter, CounterLoader
from meterplex.services.tariffs.book import FOR_EVER, TariffBook, TariffSpan


@dataclass(frozen=True, slots=True)
class PointPreview:
    """One meter's part.

    Attributes:
        start: and ``end`` of what was rated: ends at the last accepted reading.
        problem: why it was not rated; empty when it was.
    """

    usage_point: str
    meter: str
    start: datetime
    end: datetime
    ratings: tuple[Rating, ...] = ()
    problem: str = ""

    @property
    def total_units(self) -> int:
        """Ledger units of all its bills."""
        return sum(rating.total_units for rating in self.ratings)


async def preview_bill(
    uow: UnitOfWork,
    account: Account,
    start: datetime,
    end: datetime,
    book: TariffBook,
    *,
    at: datetime,
    tariff: TariffVersion | str = "",
) -> tuple[PointPreview, ...]:
    """Rate what the meters of an account used in ``[start, end)``; nothing is booked.

    Args:
        at: now; nothing that became known later is looked at.
        tariff: a version, taken as valid for ever, or the code of a published tariff; empty takes
            those of the bindings.
    """
    organisation_id = account.organisation_id
    bindings = [
        each
        for each in await uow.bindings.of_account(organisation_id, account.id)
        if each.since < end and (each.until is None or each.until > start)
    ]
    if isinstance(tariff, str) and tariff:
        bindings = [replace(each, tariff=tariff, price_override=None) for each in bindings]
    loader = CounterLoader(uow, organisation_id, book, known_at=at)
    counters = await loader.load({account.id: account}, bindings, since=FOR_EVER)
    by_binding = {counter.binding.id: counter for counter in counters}
    problems = {each.binding_id: each.reason for each in loader.problems}
    found = []
    for binding in bindings:
        meter = await uow.meters.get(organisation_id, binding.meter_id)
        point = await uow.usage_points.get(organisation_id, binding.usage_point_id)
        preview = PointPreview(point.code, meter.serial, start, end)
        if binding.id in by_binding:
            found.append(_rated(preview, by_binding[binding.id], tariff))
        else:
            found.append(replace(preview, problem=problems[binding.id]))
    return tuple(found)


def _rated(preview: PointPreview, counter: Counter, tariff: TariffVersion | str) -> PointPreview:
    spans = counter.spans
    if isinstance(tariff, TariffVersion):
        if tariff.utility != counter.utility:
            return replace(preview, problem=f"{tariff.id} is for {tariff.utility}")
        spans = (_always(tariff, counter),)
    shown = [Shown(each.at, each.count, each.quality) for each in counter.readings]
    points = tile(counter.start, shown, counter.limits, counter.decisions).points
    if not points:
        return replace(preview, problem="no two readings that can be charged")
    first = max(preview.start, whole_second(counter.binding.since))
    last = min(preview.end, whole_second(points[-1].at))
    preview = replace(preview, start=first, end=last)
    ratings = []
    for span in spans:
        service = max(first, span.start), min(last, span.end)
        if service[0] < service[1]:
            try:
                usage = usage_of(counter.start, points, counter.scale, service)
                ratings.append(span.rater.rate(usage))
            except (UsageError, ComponentError) as error:
                return replace(preview, problem=str(error))
    return replace(preview, ratings=tuple(ratings))


def _always(tariff: TariffVersion, counter: Counter) -> TariffSpan:
    """Return a version as if it had been valid from long before the binding on."""
    early = replace(tariff, valid_from=date(counter.binding.since.year - 1, 1, 1))
    begin = datetime.min.replace(tzinfo=FOR_EVER.tzinfo)
    return TariffSpan(TariffVersionId(counter.binding.id), early, Rater(early), begin, FOR_EVER)

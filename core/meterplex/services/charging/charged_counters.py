"""Everything that the charging of counters depends on, looked up for many meters at once."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.db.charges import (
    FOR_EVER,
    ChargedPeriod,
    ChargedRegister,
    Key,
    ReadingSpan,
    StoredReading,
)
from meterplex.domain.accounts import Account
from meterplex.domain.charged_registers import main_counter
from meterplex.domain.charged_use import UnitScale, span_start
from meterplex.domain.charges import HoldState, ReadingHold
from meterplex.domain.charging import CounterLimits, Decision, Shown
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    MeterId,
    OrganisationId,
    Site,
    SiteId,
)
from meterplex.domain.readings import ReadingQuality, ReadingSource
from meterplex.domain.registers import REACTIVE_ENERGY_IMPORT, RegisterType, Utility
from meterplex.domain.tariff import BASE_UNITS, TariffError, UsageError
from meterplex.services.estate.site_policies import load_parameters
from meterplex.services.tariffs.book import TariffBook, TariffSpan

RULE: Final = "charging"
"""Who settles holds without a person, and who books charges."""

LATE: Final = timedelta(hours=1)
"""How long after its time of receipt a reading may be committed."""


@dataclass(frozen=True, slots=True)
class Uncharged:
    """A binding that could not be charged, and why in one line."""

    binding_id: BindingId
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """The register by which a binding is charged, with all that its charges depend on.

    Attributes:
        opening: what it showed when the binding began.
        start: the anchor from which it is looked at now: the opening, or a sure reading later.
        start_units: used between the two.
        changed_since: time of the oldest reading that may be new, if it is not after what is
            charged; None when only newer ones are.
    """

    account: Account
    site: Site
    utility: Utility
    binding: Binding
    register: RegisterType
    scale: UnitScale
    limits: CounterLimits
    spans: tuple[TariffSpan, ...]
    opening: Shown
    start: Shown
    start_units: Decimal
    readings: Sequence[StoredReading]
    reactive: Sequence[Shown]
    decisions: Mapping[datetime, Decision]
    holds: Sequence[ReadingHold]
    charged: ChargedRegister | None
    periods: Sequence[ChargedPeriod]
    changed_since: datetime | None

    @property
    def key(self) -> Key:
        """Its binding, and the slug of its register."""
        return self.binding.id, self.register.slug

    @property
    def until(self) -> datetime:
        """How far it is charged."""
        return self.opening.at if self.charged is None else self.charged.until

    def value(self, count: int) -> Decimal:
        """Return a count as the meter shows it."""
        return self.register.from_steps(count)


@dataclass(frozen=True, slots=True)
class _Known:
    """A counter before its readings are looked up."""

    account: Account
    binding: Binding
    utility: Utility
    register: RegisterType
    opening: Decimal
    closing: Decimal | None
    scale: UnitScale
    spans: tuple[TariffSpan, ...]


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Where the readings of a counter are looked at from."""

    shown: Shown
    units: Decimal


class CounterLoader:
    """Looks up the counters of bindings, in one transaction."""

    def __init__(
        self,
        uow: UnitOfWork,
        organisation_id: OrganisationId,
        book: TariffBook,
        known_at: datetime | None = None,
    ) -> None:
        """Begin.

        Args:
            known_at: look at things as they were known then, from the openings on; None for now.
        """
        self._uow = uow
        self._organisation_id = organisation_id
        self._book = book
        self._known_at = known_at
        self._limits: dict[tuple[str, timedelta], CounterLimits] = {}
        self.problems: list[Uncharged] = []

    async def load(
        self,
        accounts: Mapping[AccountId, Account],
        bindings: Sequence[Binding],
        since: datetime | None,
    ) -> list[Counter]:
        """Return the counters of bindings; what cannot be charged is left to ``problems``.

        Args:
            accounts: of the bindings.
            since: time of the oldest reading that may be new; None looks for it.
        """
        ids = [binding.id for binding in bindings]
        known = await self._know(accounts, bindings)
        if not known:
            return []
        charged = await self._uow.charges.registers(self._organisation_id, ids)
        periods = await self._uow.charges.periods(self._organisation_id, ids)
        holds = await self._uow.reading_holds.of_bindings(self._organisation_id, ids)
        changed = await self._changes(known, charged, since)
        anchors = {each.binding.id: self._anchor(each, charged, periods, changed) for each in known}
        readings, reactive = await self._readings(known, anchors)
        sites = await self._sites(accounts)
        return [
            self._counter(
                each,
                sites[each.account.site_id],
                anchors[each.binding.id],
                readings.get((each.binding.meter_id, each.register.slug), []),
                reactive.get((each.binding.meter_id, REACTIVE_ENERGY_IMPORT.slug), []),
                holds.get((each.binding.id, each.register.slug), ()),
                charged.get((each.binding.id, each.register.slug)),
                periods.get((each.binding.id, each.register.slug), ()),
                changed.get(each.binding.id),
            )
            for each in known
        ]

    async def _know(
        self, accounts: Mapping[AccountId, Account], bindings: Sequence[Binding]
    ) -> list[_Known]:
        utilities = await self._uow.charges.utilities_of(self._organisation_id, bindings)
        openings = await self._uow.charges.openings(
            self._organisation_id, [binding.id for binding in bindings]
        )
        codes = {_tariff_code(accounts, binding) for binding in bindings} - {""}
        await self._book.load(self._uow, self._organisation_id, codes)
        known = []
        for binding in bindings:
            utility = utilities[binding.usage_point_id]
            of_binding = openings.get(binding.id, {})
            try:
                known.append(self._known(accounts, binding, utility, of_binding))
            except (LookupError, TariffError, UsageError) as error:
                told = " ".join(str(error.args[0] if error.args else error).split())
                self.problems.append(Uncharged(binding.id, told))
        return known

    def _known(
        self,
        accounts: Mapping[AccountId, Account],
        binding: Binding,
        utility: Utility,
        openings: Mapping[str, tuple[RegisterType, Decimal, Decimal | None]],
    ) -> _Known:
        register = main_counter(
            utility, BASE_UNITS.get(utility), [opening[0] for opening in openings.values()]
        )
        if register is None:
            raise LookupError(f"no one counter of {utility} to charge by")
        if register.slug not in openings:
            raise LookupError(f"no opening value of {register.slug}")
        code = _tariff_code(accounts, binding)
        spans = self._book.spans(binding, code, self._known_at) if code else ()
        if not spans:
            raise LookupError(f"no version of tariff {code!r}" if code else "no tariff")
        register, opening, closing = openings[register.slug]
        assert binding.account_id is not None
        return _Known(
            accounts[binding.account_id],
            binding,
            utility,
            register,
            opening,
            closing,
            UnitScale.of(register, binding.ct, binding.pt),
            spans,
        )

    async def _changes(
        self,
        known: Iterable[_Known],
        charged: Mapping[Key, ChargedRegister],
        since: datetime | None,
    ) -> dict[BindingId, datetime]:
        """Return since when readings that are charged may have changed, by binding."""
        past = {
            each: charged[each.binding.id, each.register.slug]
            for each in known
            if (each.binding.id, each.register.slug) in charged
        }
        if since is not None:
            return {
                each.binding.id: max(since, each.binding.since)
                for each, row in past.items()
                if since <= row.until
            }
        found: dict[BindingId, datetime] = {}
        for booked_at in sorted({row.booked_at for row in past.values()}):
            spans = {
                each: ReadingSpan(
                    each.binding.meter_id, each.register, each.binding.since, row.until
                )
                for each, row in past.items()
                if row.booked_at == booked_at
            }
            oldest = await self._uow.charges.earliest_received(
                self._organisation_id, list(spans.values()), booked_at - LATE
            )
            for each in spans:
                at = oldest.get((each.binding.meter_id, each.register.slug))
                if at is not None:
                    found[each.binding.id] = max(at, each.binding.since)
        return found

    def _anchor(
        self,
        each: _Known,
        charged: Mapping[Key, ChargedRegister],
        periods: Mapping[Key, Sequence[ChargedPeriod]],
        changed: Mapping[BindingId, datetime],
    ) -> _Anchor:
        """Return the last anchor from which all that may change can be charged again."""
        opening = _Anchor(
            Shown(each.binding.since, each.register.to_steps(each.opening)), Decimal(0)
        )
        key = each.binding.id, each.register.slug
        row = charged.get(key)
        if row is None or self._known_at is not None:
            return opening
        rows = periods.get(key, ())
        first = row.until
        if each.binding.id in changed:
            before = [period.anchor_at for period in rows]
            first = max(
                (at for at in before if at < changed[each.binding.id]), default=opening.shown.at
            )
        begin = min(
            span_start(span.tariff, span.tariff.block_span, first)
            for span in each.spans
            if span.end > first or span is each.spans[-1]
        )
        usable = [period for period in rows if period.start <= begin and period.anchor_at <= first]
        if not usable:
            return opening
        anchor = usable[-1]
        count = each.register.to_steps(anchor.anchor_value)
        return _Anchor(Shown(anchor.anchor_at, count), anchor.anchor_units)

    async def _readings(
        self, known: Iterable[_Known], anchors: Mapping[BindingId, _Anchor]
    ) -> tuple[
        Mapping[tuple[MeterId, str], Sequence[StoredReading]],
        Mapping[tuple[MeterId, str], Sequence[StoredReading]],
    ]:
        """Return the readings of the counters, and the reactive ones where they matter."""
        main, reactive = [], []
        for each in known:
            binding = each.binding
            after, until = anchors[binding.id].shown.at, binding.until or FOR_EVER
            main.append(ReadingSpan(binding.meter_id, each.register, after, until))
            if any(span.tariff.power_factor is not None for span in each.spans):
                first = after - timedelta(microseconds=1)
                span = ReadingSpan(binding.meter_id, REACTIVE_ENERGY_IMPORT, first, until)
                reactive.append(span)
        known_at = FOR_EVER if self._known_at is None else self._known_at
        read = self._uow.charges.readings
        return (
            await read(self._organisation_id, main, known_at=known_at),
            await read(self._organisation_id, reactive, known_at=known_at),
        )

    async def _sites(
        self, accounts: Mapping[AccountId, Account]
    ) -> Mapping[SiteId, tuple[Site, timedelta]]:
        """Return the sites with how far readings may lie apart there."""
        found = {}
        for site_id in sorted({account.site_id for account in accounts.values()}):
            site = await self._uow.sites.get(self._organisation_id, site_id)
            found[site_id] = site, (await load_parameters(self._uow, site)).gap_max
        return found

    def _counter(
        self,
        each: _Known,
        site: tuple[Site, timedelta],
        anchor: _Anchor,
        readings: Sequence[StoredReading],
        reactive: Sequence[StoredReading],
        holds: Sequence[ReadingHold],
        charged: ChargedRegister | None,
        periods: Sequence[ChargedPeriod],
        changed_since: datetime | None,
    ) -> Counter:
        since, until = anchor.shown.at, each.binding.until
        mine = [row for row in readings if since < row.at and (until is None or row.at <= until)]
        mine += self._closing(each, mine)
        return Counter(
            account=each.account,
            site=site[0],
            utility=each.utility,
            binding=each.binding,
            register=each.register,
            scale=each.scale,
            limits=self._limits_of(each.register, site[1]),
            spans=each.spans,
            opening=Shown(each.binding.since, each.register.to_steps(each.opening)),
            start=anchor.shown,
            start_units=anchor.units,
            readings=mine,
            reactive=[Shown(row.at, row.count) for row in reactive],
            decisions=_decisions(holds, each.register, self._known_at),
            holds=holds,
            charged=charged,
            periods=periods,
            changed_since=changed_since,
        )

    def _limits_of(self, register: RegisterType, gap_max: timedelta) -> CounterLimits:
        key = register.slug, gap_max
        if key not in self._limits:
            self._limits[key] = CounterLimits.of(register, gap_max=gap_max)
        return self._limits[key]

    def _closing(self, each: _Known, read: Iterable[StoredReading]) -> Iterator[StoredReading]:
        """Yield what the counter showed when its binding ended, where no reading says so."""
        until, now = each.binding.until, self._known_at
        if until is None or each.closing is None or any(row.at == until for row in read):
            return
        if now is None or until <= now:
            count, source = each.register.to_steps(each.closing), ReadingSource.MANUAL
            yield StoredReading(until, count, ReadingQuality.GOOD, source, 0, until)


def _tariff_code(accounts: Mapping[AccountId, Account], binding: Binding) -> str:
    assert binding.account_id is not None
    return binding.tariff or accounts[binding.account_id].tariff


def _decisions(
    holds: Collection[ReadingHold], register: RegisterType, known_at: datetime | None
) -> dict[datetime, Decision]:
    """Return what people decided; what the rule itself settled is found anew each time."""
    found = {}
    for hold in holds:
        if hold.state is HoldState.OPEN or hold.settled_by == RULE or hold.settled_at is None:
            continue
        if known_at is not None and hold.settled_at > known_at:
            continue
        found[hold.read_at] = Decision(
            hold.state,
            register.to_steps(hold.value),
            register.to_steps(hold.closing_value or Decimal(0)),
            register.to_steps(hold.opening_value or Decimal(0)),
        )
    return found

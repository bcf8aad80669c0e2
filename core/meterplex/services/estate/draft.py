"""The estate as it will be once a file has been taken in: built row by row, then judged whole.

:class:`EstateDraft` starts from what the database has, lays the rows of a file over it, and ends
with what is to be added, what is to be changed, and everything that is wrong. It does no I/O.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from meterplex.domain.accounts import Account, Customer
from meterplex.domain.estate import (
    Binding,
    Building,
    Channel,
    Gateway,
    Meter,
    MeterId,
    Organisation,
    OrganisationId,
    Site,
    SiteId,
    Unit,
    UsagePoint,
)
from meterplex.services.estate.file_format import Cells, nearest
from meterplex.services.estate.files import EstateProblem, EstateRow


class Identified(Protocol):
    """Whatever has an identifier."""

    @property
    def id(self) -> UUID: ...


Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing", bound=Identified)

InSite = tuple[str, str]
"""Code of a site, code in that site."""


@dataclass(frozen=True, slots=True)
class StandingEstate:
    """What an organisation has before a file is taken in. Meters include removed ones."""

    organisation: Organisation
    is_new: bool
    sites: tuple[Site, ...] = ()
    buildings: tuple[Building, ...] = ()
    units: tuple[Unit, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    channels: tuple[Channel, ...] = ()
    meters: tuple[Meter, ...] = ()
    usage_points: tuple[UsagePoint, ...] = ()
    bindings: tuple[Binding, ...] = ()
    """The open ones."""
    customers: tuple[Customer, ...] = ()
    accounts: tuple[Account, ...] = ()
    tariff_codes: frozenset[str] = frozenset()
    """Of the published tariffs."""


@dataclass(frozen=True, slots=True)
class TableCount:
    """What became of the things of one table."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


class Register(Generic[Key, Thing]):
    """The things of one table: those that stand, and over them those of the file."""

    def __init__(self, noun: str, standing: Iterable[tuple[Key, Thing]]) -> None:
        self.noun: Final = noun
        self.things: dict[Key, Thing] = dict(standing)
        self.rows: dict[Key, EstateRow] = {}
        """The row that a thing of the file came from."""
        self._standing: Final = dict(self.things)
        self._refused: set[Key] = set()

    def claim(self, cells: Cells, column: str, key: Key) -> bool:
        """Take a key for a row; False when the row cannot have it."""
        if not cells.has(column):
            return False
        first = self.rows.get(key)
        if first is not None:
            cells.refuse(column, f"{cells.text(column)!r} is also that of row {first.number}")
            return False
        self.rows[key] = cells.row
        if not cells.sound:
            self._refused.add(key)
        return cells.sound

    def put(self, key: Key, thing: Thing) -> None:
        """Lay a thing over what stands."""
        self.things[key] = thing

    def refer(self, cells: Cells, column: str, key: Key, name: str) -> Thing | None:
        """Return what a cell names; without it the row is given up.

        Nothing is said of a thing whose own row was refused: one mistake, one line.
        """
        thing = self.things.get(key)
        if thing is None or key in self._refused:
            if key in self._refused:
                cells.drop()
            elif name:
                known = (_last(other) for other in self.things if _scope(other) == _scope(key))
                cells.refuse(column, f"unknown {self.noun} {name!r}{nearest(name, known)}")
            return None
        return thing

    def standing(self, key: Key) -> Thing | None:
        """Return the thing as it stands before the file."""
        return self._standing.get(key)

    def added(self) -> tuple[Thing, ...]:
        """Return the new things."""
        return tuple(thing for key, thing in self.things.items() if key not in self._standing)

    def updated(self) -> tuple[Thing, ...]:
        """Return the things that stand and will change."""
        return tuple(
            self.things[key] for key, thing in self._standing.items() if self.things[key] != thing
        )

    def count(self) -> TableCount:
        """Count what is new, what changes, and the rows of the file that change nothing."""
        same = sum(self.things.get(key) == self._standing.get(key) for key in self.rows)
        return TableCount(len(self.added()), len(self.updated()), same)


def _last(key: object) -> str:
    return str(key[-1]) if isinstance(key, tuple) else str(key)


def _scope(key: object) -> object:
    return key[:-1] if isinstance(key, tuple) else ()


@dataclass(slots=True)
class EstateDraft:
    """The registers of an organisation's estate, and what was found wrong or worth saying."""

    organisation: Organisation
    organisation_is_new: bool
    sites: Register[str, Site]
    buildings: Register[InSite, Building]
    units: Register[InSite, Unit]
    gateways: Register[InSite, Gateway]
    channels: Register[InSite, Channel]
    meters: Register[str, Meter]
    usage_points: Register[InSite, UsagePoint]
    bindings: Register[MeterId, Binding]
    customers: Register[str, Customer]
    accounts: Register[str, Account]
    tariff_codes: frozenset[str]
    new_id: Callable[[], UUID]
    problems: list[EstateProblem] = field(default_factory=list)
    warnings: list[EstateProblem] = field(default_factory=list)

    @classmethod
    def over(cls, standing: StandingEstate, new_id: Callable[[], UUID]) -> "EstateDraft":
        """Start from what stands."""
        codes = {site.id: site.code for site in standing.sites}
        return cls(
            organisation=standing.organisation,
            organisation_is_new=standing.is_new,
            sites=Register("site", ((site.code, site) for site in standing.sites)),
            buildings=Register("building", _in_sites(standing.buildings, codes)),
            units=Register("unit", _in_sites(standing.units, codes)),
            gateways=Register("gateway", _in_sites(standing.gateways, codes)),
            channels=Register("channel", _in_sites(standing.channels, codes)),
            meters=Register("meter", ((meter.serial, meter) for meter in standing.meters)),
            usage_points=Register("usage point", _in_sites(standing.usage_points, codes)),
            bindings=Register("binding", ((bind.meter_id, bind) for bind in standing.bindings)),
            customers=Register("customer", ((each.number, each) for each in standing.customers)),
            accounts=Register("account", ((each.number, each) for each in standing.accounts)),
            tariff_codes=standing.tariff_codes,
            new_id=new_id,
        )

    @property
    def organisation_id(self) -> OrganisationId:
        """Whose estate it is."""
        return self.organisation.id

    def site_of(self, cells: Cells) -> Site | None:
        """Return the site that a row names; without it the row is given up."""
        code = cells.text("site")
        return self.sites.refer(cells, "site", code, code)

    def in_site(
        self, cells: Cells, site: Site | None, register: Register[InSite, Thing], column: str
    ) -> Thing | None:
        """Return what a cell names in a site; without it the row is given up."""
        name = cells.text(column)
        if site is None:
            return None
        return register.refer(cells, column, (site.code, name), name)

    def identify(self, standing: Identified | None) -> UUID:
        """Return the identifier of what stands, or a new one."""
        return self.new_id() if standing is None else standing.id


class _Coded(Identified, Protocol):
    @property
    def site_id(self) -> SiteId: ...
    @property
    def code(self) -> str: ...


Coded = TypeVar("Coded", bound=_Coded)


def _in_sites(
    things: Iterable[Coded], codes: Mapping[SiteId, str]
) -> Iterator[tuple[InSite, Coded]]:
    for thing in things:
        yield (codes[thing.site_id], thing.code), thing

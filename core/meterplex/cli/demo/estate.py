"""The estate of the demo: two sites, six buses of 27 meters each, and a tenant's own line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from meterplex.domain.intervals import format_interval
from meterplex.simulator.estate import AccessKind, BusPlan, SimulatedEstate, TwinPlan
from meterplex.simulator.faults import NO_FAULTS, FaultRates
from meterplex.simulator.wire import Pace

SITES: Final = {"east": "East Street Mall", "west": "West Court"}
TIME_ZONE: Final = "Asia/Shanghai"
BUSES_PER_SITE: Final = 6
METERS_PER_BUS: Final = 27
BAUD: Final = 9600
READ_EVERY_S: Final = 10.0
"""Real time between two readings of a meter; the site's interval is that much business time."""
TENANT_READ_EVERY_S: Final = 3.0
NOISE: Final = FaultRates.noise(0.12)
NOISY_BUS: Final = "east-4"
DEAD: Final = {"east-2": "5", "west-3": "9", "west-6": "13"}
"""Address of the one dead meter of a bus."""
CT_RATIO: Final = 40
PT_RATIO: Final = 100
"""Of the main meters: 200/5 A, and at the west site 10 kV/100 V as well."""

SHOP: Final = "east-7"
"""Line of the tenant whose balance is kept on the server."""
HOME: Final = "west-7"
"""Line of the tenant whose meter keeps the credit."""
HOME_PRICE: Final = "0.8000"
"""Per kWh, in the home's meter and in its tariff."""
TENANT_METER: Final = "1"
"""Address of the one meter on a tenant's line."""

_TENANT_TWINS: Final[Mapping[str, Mapping[str, str]]] = {
    SHOP: {"load_kw": "18", "fee_control": "false"},
    HOME: {"load_kw": "4", "remaining": "30.00", "price": HOME_PRICE},
}
_TENANT_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    SHOP: {},
    HOME: {"count_checked": "true"},
}
"""Settings of the drivers; the home's meter was seen to compare purchase counts."""
_TENANT_MODELS: Final = {SHOP: "acrel_dtsy1352", HOME: "acrel_ddsy1352"}
_ACCESS: Final = (AccessKind.PTY, AccessKind.RAW, AccessKind.GATEWAY)


@dataclass(frozen=True, slots=True)
class DemoBus:
    """One bus of the demo; the first meter of the first in each site is the site's main meter.

    Attributes:
        settings: of the drivers of its meters.
    """

    site: str
    code: str
    model: str
    url: str
    addresses: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_tenants(self) -> bool:
        """Whether it is a tenant's own line."""
        return self.code in _TENANT_TWINS

    def serial(self, address: str) -> str:
        """Return the number of the meter at an address."""
        return _serial(self.site, self.code, address)

    def usage_point(self, address: str) -> str:
        """Return the code of what the meter at an address measures."""
        if self.code.endswith("-1") and address == "1":
            return f"{self.site}/main"
        return f"{self.code}-{int(address):02}/power"


@dataclass(frozen=True, slots=True)
class DemoEstate:
    """The buses of the demo, and the simulated ones behind them."""

    simulated: SimulatedEstate
    buses: list[DemoBus] = field(default_factory=list)

    @classmethod
    async def open(cls, simulated: SimulatedEstate) -> Self:
        """Make all buses and let them be reached."""
        estate = cls(simulated)
        for site in SITES:
            for number in range(BUSES_PER_SITE):
                await estate._open_bus(site, number)
        for code in (SHOP, HOME):
            await estate._open_line(code)
        return estate

    def bus(self, code: str) -> DemoBus:
        """Return the bus of a code."""
        return next(bus for bus in self.buses if bus.code == code)

    @property
    def meters(self) -> int:
        """How many meters there are."""
        return sum(len(bus.addresses) for bus in self.buses)

    async def _open_bus(self, site: str, number: int) -> None:
        code = f"{site}-{number + 1}"
        # One kind of device on one bus.
        model = ("acrel_dtsy1352", "acrel_ddsy1352")[number % 2]
        addresses = tuple(str(address) for address in range(1, METERS_PER_BUS + 1))
        opened = await self.simulated.open_bus(
            BusPlan(
                name=code,
                twins=[_twin(model, site, code, address, {}) for address in addresses],
                access=_ACCESS[number % len(_ACCESS)],
                pace=Pace.at(BAUD),
                dead=frozenset({DEAD[code]} if code in DEAD else ()),
                faults=NOISE if code == NOISY_BUS else NO_FAULTS,
            )
        )
        self.buses.append(DemoBus(site, code, model, opened.url, addresses))

    async def _open_line(self, code: str) -> None:
        site, model = code.partition("-")[0], _TENANT_MODELS[code]
        twin = _twin(model, site, code, TENANT_METER, _TENANT_TWINS[code])
        opened = await self.simulated.open_bus(BusPlan(code, [twin], pace=Pace.at(BAUD)))
        self.buses.append(
            DemoBus(site, code, model, opened.url, (TENANT_METER,), _TENANT_SETTINGS[code])
        )


def _serial(site: str, code: str, address: str) -> str:
    number = list(SITES).index(site) * 10 + int(code[-1])
    return f"2026{number:04}{int(address):04}"


def _twin(model: str, site: str, code: str, address: str, settings: Mapping[str, str]) -> TwinPlan:
    return TwinPlan(model, address, {"serial": _serial(site, code, address), **settings})


def estate_text(estate: DemoEstate) -> str:
    """Return the estate file, in the format that ``meterplex import`` takes."""
    speed = estate.simulated.clock.speed
    lines = ["[organisation]", 'name = "Demo Property Group"', 'currency = "CNY"']
    lines += ['language = "en"']
    for site, name in SITES.items():
        lines += ["", "[[site]]", f'code = "{site}"', f'name = "{name}"']
        lines += [f'time_zone = "{TIME_ZONE}"', 'utilities = ["electricity"]']
        lines += [f'reading_interval = "{_business_time(READ_EVERY_S, speed)}"']
        lines += [
            "",
            "[[building]]",
            f'site = "{site}"',
            'code = "B1"',
            f'name = "{name} 1"',
        ]
    for bus in estate.buses:
        lines += ["", "[[channel]]", f'site = "{bus.site}"', f'code = "{bus.code}"']
        lines += [f'url = "{bus.url}"']
    for bus in estate.buses:
        for address in bus.addresses:
            lines += ["", *_meter(bus, address, speed)]
    return "\n".join(lines) + "\n"


def _business_time(real_s: float, speed: float) -> str:
    return format_interval(timedelta(seconds=max(1, round(real_s * speed))))


def _meter(bus: DemoBus, address: str, speed: float) -> Iterator[str]:
    point, main = bus.usage_point(address), f"{bus.site}/main"
    yield "[[meter]]"
    yield f'site = "{bus.site}"'
    yield f'serial = "{bus.serial(address)}"'
    yield f'model = "{bus.model}"'
    yield f'channel = "{bus.code}"'
    yield f'address = "{address}"'
    yield f'usage_point = "{point}"'
    if point == main:
        yield f"ct = {CT_RATIO}"
        yield f"pt = {PT_RATIO if bus.site == 'west' else 1}"
    else:
        yield f'parent_usage_point = "{main}"'
    if bus.is_tenants:
        yield f'reading_interval = "{_business_time(TENANT_READ_EVERY_S, speed)}"'
    for name, text in bus.settings.items():
        yield f'settings.{name} = "{text}"'

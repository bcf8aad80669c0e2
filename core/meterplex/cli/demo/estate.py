"""The estate of the demo: two sites, six buses each, 27 meters a bus."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from meterplex.simulator.estate import AccessKind, BusPlan, SimulatedEstate, TwinPlan
from meterplex.simulator.faults import NO_FAULTS, FaultRates
from meterplex.simulator.wire import Pace

SITES: Final = {"east": "East Street Mall", "west": "West Court"}
BUSES_PER_SITE: Final = 6
METERS_PER_BUS: Final = 27
BAUD: Final = 9600
READING_INTERVAL: Final = "10s"
NOISE: Final = FaultRates.noise(0.12)
NOISY_BUS: Final = "east-4"
DEAD: Final = {"east-2": "5", "west-3": "9", "west-6": "13"}
"""Address of the one dead meter of a bus."""
CT_RATIO: Final = 40
PT_RATIO: Final = 100
"""Of the main meters: 200/5 A, and at the west site 10 kV/100 V as well."""

_ACCESS: Final = (AccessKind.PTY, AccessKind.RAW, AccessKind.GATEWAY)


@dataclass(frozen=True, slots=True)
class DemoBus:
    """One bus of the demo; its first meter in each site is the site's main meter."""

    site: str
    code: str
    model: str
    url: str

    def serial(self, address: str) -> str:
        """Return the number of the meter at an address."""
        number = list(SITES).index(self.site) * BUSES_PER_SITE + int(self.code[-1])
        return f"2026{number:04}{int(address):04}"


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
                code = f"{site}-{number + 1}"
                # One kind of device on one bus.
                model = ("acrel_dtsy1352", "acrel_ddsy1352")[number % 2]
                opened = await simulated.open_bus(
                    BusPlan(
                        name=code,
                        twins=[TwinPlan(model, address) for address in addresses()],
                        access=_ACCESS[number % len(_ACCESS)],
                        pace=Pace.at(BAUD),
                        dead=frozenset({DEAD[code]} if code in DEAD else ()),
                        faults=NOISE if code == NOISY_BUS else NO_FAULTS,
                    )
                )
                estate.buses.append(DemoBus(site, code, model, opened.url))
        return estate

    def bus(self, code: str) -> DemoBus:
        """Return the bus of a code."""
        return next(bus for bus in self.buses if bus.code == code)


def addresses() -> Iterator[str]:
    """Give the addresses of a bus."""
    return (str(address) for address in range(1, METERS_PER_BUS + 1))


def estate_text(estate: DemoEstate) -> str:
    """Return the estate file, in the format that ``meterplex import`` takes."""
    lines = ["[organisation]", 'name = "Demo Property Group"', 'currency = "CNY"']
    lines += ['language = "en"']
    for site, name in SITES.items():
        lines += ["", "[[site]]", f'code = "{site}"', f'name = "{name}"']
        lines += ['time_zone = "Asia/Shanghai"', 'utilities = ["electricity"]']
        lines += [f'reading_interval = "{READING_INTERVAL}"']
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
        for address in addresses():
            lines += ["", *_meter(bus, address)]
    return "\n".join(lines) + "\n"


def _meter(bus: DemoBus, address: str) -> list[str]:
    lines = ["[[meter]]", f'site = "{bus.site}"', f'serial = "{bus.serial(address)}"']
    lines += [f'model = "{bus.model}"', f'channel = "{bus.code}"', f'address = "{address}"']
    if bus.code.endswith("-1") and address == "1":
        pt = PT_RATIO if bus.site == "west" else 1
        return [*lines, f'usage_point = "{bus.site}/main"', f"ct = {CT_RATIO}", f"pt = {pt}"]
    point = f"{bus.code}-{int(address):02}/power"
    return [*lines, f'usage_point = "{point}"', f'parent_usage_point = "{bus.site}/main"']

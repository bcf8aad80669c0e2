"""The reference meter: a made-up model that has every capability and keeps every rule.

The kit is tested on it, broken drivers are made from it, and a test that needs some meter of no
real make may use it.
"""

from collections.abc import Mapping
from typing import Final

from meterplex.domain.registers import ELECTRICITY
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.errors import SettingsError
from meterplex.sdk.models import BusTolerance, ExchangeSize, MeterModel, Setting
from meterplex.sdk.testing.reference_driver import READ_LENGTH, REGISTERS, ReferenceDriver
from meterplex.sdk.testing.reference_frames import OVERHEAD
from meterplex.sdk.testing.reference_twin import ReferenceTwin

ADDRESS_MAX: Final = 250


def check_address(text: str) -> str:
    """Return an address in normal form: decimal, 1 to 250.

    Raises:
        SettingsError: it is something else.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= ADDRESS_MAX):
        raise SettingsError(f"address {text!r}: expected 1 to {ADDRESS_MAX}")
    return str(int(text))


def make_twin(address: str, settings: Mapping[str, str], seed: int) -> ReferenceTwin:
    """Make a twin.

    Args:
        address: in normal form.
        settings: ``remaining``, whole currency units in the wallet.
        seed: makes the counter of one twin differ from another's.
    """
    remaining_cents = 100 * int(settings.get("remaining", "50"))
    return ReferenceTwin(
        int(address),
        energy_wh=1_000_000 + 1_000 * seed + int(address),
        remaining_cents=remaining_cents,
    )


REFERENCE_METER: Final = MeterModel(
    id="reference_meter",
    title="Reference meter of the conformance kit",
    utility=ELECTRICITY,
    registers=REGISTERS,
    bus=BusTolerance("reference"),
    poll=(ExchangeSize(request=OVERHEAD, reply=OVERHEAD + READ_LENGTH),),
    check_address=check_address,
    driver=ReferenceDriver,
    twin=make_twin,
    capabilities=frozenset(Capability),
    settings=(
        Setting("hold", "whether supply can be held, yes or no", "yes", choices=("yes", "no")),
    ),
)

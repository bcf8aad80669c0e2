"""All checks in one class: what a vendor subclasses."""

from meterplex.sdk.testing.credit import CreditSuite
from meterplex.sdk.testing.history import HistorySuite
from meterplex.sdk.testing.meter_settings import MeterSettingsSuite
from meterplex.sdk.testing.reading import DeclarationSuite, ReadingSuite
from meterplex.sdk.testing.supply import SupplySuite
from meterplex.sdk.testing.twins import TwinSuite


class MeterDriverSuite(
    DeclarationSuite,
    ReadingSuite,
    SupplySuite,
    CreditSuite,
    MeterSettingsSuite,
    HistorySuite,
    TwinSuite,
):
    """Every rule of the contract as one check each.

    ::

        class TestMyMeter(MeterDriverSuite):
            model = MY_METER
            bad_addresses = (*MeterDriverSuite.bad_addresses, "0", "248")

    See :class:`~meterplex.sdk.testing.device.DeviceUnderTest` for what may be set, and each check's
    docstring for its rule.
    """

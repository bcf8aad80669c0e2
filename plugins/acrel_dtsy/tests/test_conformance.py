"""The contract of the SDK, for every model of the plugin."""

from pathlib import Path
from typing import ClassVar

from meterplex.sdk import MeterModel
from meterplex.sdk.testing import MeterDriverSuite, modbus_refusal, read_script
from meterplex.sdk.testing.links import Script
from meterplex.sdk.testing.reading import DeclarationSuite, ReadingSuite
from meterplex_acrel_dtsy import models

DATA = Path(__file__).parent / "data"
BAD_ADDRESSES = (*MeterDriverSuite.bad_addresses, "0", "248")
RELATIVES = {model.id: model for model in models.relatives()}


def recorded(name: str) -> Script:
    return read_script((DATA / name).read_text())


class AcrelSuite(MeterDriverSuite):
    __test__ = False
    bad_addresses = BAD_ADDRESSES

    def refuse(self, request: bytes) -> bytes:
        return modbus_refusal(3)(request)


class RelativeSuite(DeclarationSuite, ReadingSuite):
    """Meters that are only read, known by frames alone."""

    __test__ = False
    bad_addresses = BAD_ADDRESSES


class TestDtsy1352(AcrelSuite):
    __test__ = True
    model = models.dtsy1352()


class TestDdsy1352(AcrelSuite):
    __test__ = True
    model = models.ddsy1352()


class TestProvenDtsy1352(AcrelSuite):
    """As shipped after a bench check."""

    __test__ = True
    model = models.dtsy1352()
    settings: ClassVar[dict[str, str]] = {"count_checked": "true"}


class TestAdl300(RelativeSuite):
    __test__ = True
    model: ClassVar[MeterModel] = RELATIVES["acrel_adl300"]
    script = recorded("adl300.frames")


class TestAdw300(RelativeSuite):
    __test__ = True
    model: ClassVar[MeterModel] = RELATIVES["acrel_adw300"]
    script = recorded("adw300.frames")


class TestDtsd1352c(RelativeSuite):
    __test__ = True
    model: ClassVar[MeterModel] = RELATIVES["acrel_dtsd1352c"]
    script = recorded("dtsd1352c.frames")

"""The suite on a device that is only known by recorded frames."""

from dataclasses import replace

import pytest

from meterplex.sdk.testing import MeterDriverSuite, TwinLink, modbus_refusal, read_script
from meterplex.sdk.testing.links import UnscriptedRequestError
from meterplex.sdk.testing.reading import DeclarationSuite, ReadingSuite
from meterplex.sdk.testing.reference import REFERENCE_METER, make_twin
from meterplex.sdk.testing.reference_driver import ReferenceDriver


async def recording() -> str:
    """Record what the reference meter says to ``identify`` and ``read``."""
    link = TwinLink(make_twin("1", {}, 1))
    driver = ReferenceDriver(link, "1", {"hold": "yes"})
    await driver.identify()
    await driver.read()
    return "\n".join(f"> {sent.request.hex()}\n< {sent.arrived.hex()}" for sent in link.exchanges)


@pytest.fixture
async def scripted() -> type[MeterDriverSuite]:
    frames = read_script(await recording())

    class Scripted(MeterDriverSuite):
        model = replace(REFERENCE_METER, twin=None)
        script = frames
        other_address = None

    return Scripted


OTHERS = {
    "test_asked_register_equals_polled_one",  # these need a twin
    "test_other_devices_replies_give_no_value",
    "test_two_drivers_share_nothing",
    "test_driver_opens_no_socket",  # takes a fixture
}
CHECKS = [
    name
    for suite in (DeclarationSuite, ReadingSuite)
    for name in vars(suite)
    if name.startswith("test_") and name not in OTHERS
]


@pytest.mark.parametrize("name", CHECKS)
def test_reading_is_proven_by_a_script(scripted: type[MeterDriverSuite], name: str) -> None:
    getattr(scripted(), name)()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_acknowledgement_is_no_proof", "is not tested with a twin"),
        ("test_twin_takes_any_bytes", "has no twin"),
        ("test_twin_hears_only_its_address", "has no second address"),
    ],
)
def test_skip_says_why(scripted: type[MeterDriverSuite], name: str, reason: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"reference_meter {reason}"):
        getattr(scripted(), name)()


def test_missing_frame_fails_the_check(scripted: type[MeterDriverSuite]) -> None:
    with pytest.raises(UnscriptedRequestError, match="but the script knows only"):
        scripted().test_wallet_is_one_read()


def test_modbus_refusal_is_an_exception_reply() -> None:
    # Modbus Application Protocol V1.1b3 section 7: function + 80, then the code; CRC computed here.
    request = bytes.fromhex("01 10 00 57 00 02 04 00 01 00 01 27 75")
    assert modbus_refusal(4)(request) == bytes.fromhex("01 90 04 4D C3")

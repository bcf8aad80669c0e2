"""Raises when a driver, a twin or an address is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from meterplex import hookimpl
from meterplex.sdk import DeviceTwin, Link, MeterDriver, MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


def check_address(text: str) -> str:
    """Fail on what is not a number, with the wrong error."""
    return str(int(text))


def make_driver(link: Link, address: str, settings: Mapping[str, str]) -> MeterDriver:
    """Fail for want of a setting that was never declared."""
    raise LookupError(f"no key for meter {address}: {settings['key']}")


def make_twin(address: str, settings: Mapping[str, str], seed: int) -> DeviceTwin:
    """Fail on a division."""
    raise ZeroDivisionError(seed // 0)


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare a model of which nothing can be made."""
    model = replace(REFERENCE_METER, id="unmakeable_meter")
    return (replace(model, check_address=check_address, driver=make_driver, twin=make_twin),)

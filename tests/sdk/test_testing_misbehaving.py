"""The misbehaving plugins misbehave as they say; the core's tests rely on it."""

import asyncio
import importlib
import signal
from collections.abc import Iterator

import pytest

from meterplex.sdk import MeterDriver, MeterModel
from meterplex.sdk.testing import TwinLink
from meterplex.sdk.testing.misbehaving.planting import PACKAGE
from meterplex.sdk.testing.reference import make_twin

PATIENCE_S = 0.02


class AlarmError(Exception):
    """The alarm went off."""


def models_of(plugin: str) -> dict[str, MeterModel]:
    module = importlib.import_module(f"{PACKAGE}.{plugin}")
    return {model.id: model for model in module.meterplex_meter_models()}


def driver_of(plugin: str, model_id: str) -> MeterDriver:
    model = models_of(plugin)[model_id]
    return model.driver(TwinLink(make_twin("1", {}, 1)), "1", {"hold": "yes"})


@pytest.fixture
def alarm() -> Iterator[None]:
    """Interrupt the running code after a moment, as the watchdog does."""

    def interrupt(*_: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


async def test_raising_meter_raises_no_driver_error() -> None:
    with pytest.raises(IndexError):
        await driver_of("raises_in_read", "raising_meter").read()


async def test_waiting_meter_never_comes_back() -> None:
    driver = driver_of("awaits_for_ever", "waiting_meter")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(driver.read(), PATIENCE_S)


@pytest.mark.parametrize("model_id", ["sleeping_meter", "computing_meter"])
@pytest.mark.usefixtures("alarm")
async def test_blocking_meter_lets_nobody_else_run(model_id: str) -> None:
    with pytest.raises(AlarmError):
        await driver_of("blocks_event_loop", model_id).read()

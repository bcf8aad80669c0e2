"""The conformance suite against drivers that break one rule each."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import ClassVar, Self

import pytest

from meterplex.sdk import Limits, MeterModel
from meterplex.sdk.testing import MeterDriverSuite
from meterplex.sdk.testing.misbehaving import commands, reading
from meterplex.sdk.testing.reference import REFERENCE_METER
from meterplex.sdk.testing.reference_frames import refuse

BROKEN = {**reading.BROKEN, **commands.BROKEN}
CASES = [
    pytest.param(check, model, id=f"{check}-{number}")
    for check, models in BROKEN.items()
    for number, model in enumerate(models)
]


class ReferenceSuite(MeterDriverSuite):
    model = REFERENCE_METER
    limits = Limits(alarm_1=Decimal(30))
    bad_addresses = (*MeterDriverSuite.bad_addresses, "0", "251")

    def refuse(self, request: bytes) -> bytes:
        return refuse(request)


class TestReferenceMeter(ReferenceSuite):
    """The reference meter keeps every rule."""


class TestReferenceMeterWithoutHold(ReferenceSuite):
    settings: ClassVar[Mapping[str, str]] = {"hold": "no"}


class Outcome:
    """Takes in what a check raises; a skip is no failure."""

    failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> bool:
        self.failed = error is not None and not isinstance(error, pytest.skip.Exception)
        return not isinstance(error, KeyboardInterrupt)


def checks_of(suite: type[MeterDriverSuite]) -> list[str]:
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def failures(suite: MeterDriverSuite, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run every check and return the names of those that fail."""
    failed = set()
    for name in checks_of(type(suite)):
        check: Callable[..., None] = getattr(suite, name)
        arguments = (monkeypatch,) if name == "test_driver_opens_no_socket" else ()
        with Outcome() as outcome:
            check(*arguments)
        if outcome.failed:
            failed.add(name)
    return failed


@pytest.mark.parametrize(("check", "broken"), CASES)
def test_broken_rule_fails_its_check_and_no_other(
    check: str, broken: MeterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Suite(ReferenceSuite):
        model = broken

    assert failures(Suite(), monkeypatch) == {check}


def test_every_check_is_broken_by_something() -> None:
    assert checks_of(MeterDriverSuite) == sorted(BROKEN)


@pytest.mark.parametrize("name", checks_of(MeterDriverSuite))
def test_every_check_states_its_rule(name: str) -> None:
    assert (getattr(MeterDriverSuite, name).__doc__ or "").strip().endswith(".")

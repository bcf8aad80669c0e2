from collections.abc import Awaitable, Callable

import pytest

from meterplex.sdk import (
    DamagedReplyError,
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
)
from meterplex_acrel_dtsy.proof import prove

TIMEOUT = LinkTimeoutError("nothing came")
DAMAGED = DamagedReplyError("cannot be true")
NO = DeviceRefusedError("illegal data value", 3)
GONE = LinkUnavailableError("the port is gone")
LATE = ExpiredError("too late")


def answering(
    *answers: DriverError | None,
) -> tuple[list[int], list[Callable[[], Awaitable[None]]]]:
    """Frames that are answered so, and the numbers of those that were sent."""
    sent: list[int] = []

    def frame(number: int, answer: DriverError | None) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            sent.append(number)
            if answer is not None:
                raise answer

        return send

    return sent, [frame(number, answer) for number, answer in enumerate(answers)]


async def outcome_of(
    *answers: DriverError | None, read: str | DriverError
) -> tuple[str | type[DriverError], list[int]]:
    """What proving ``wanted`` came to, and which frames were sent for it."""

    async def read_back() -> str:
        if isinstance(read, DriverError):
            raise read
        return read

    sent, frames = answering(*answers)
    try:
        return await prove("it", frames, read_back, lambda state: state == "wanted"), sent
    except DriverError as error:
        return type(error), sent


@pytest.mark.parametrize(
    ("answers", "read", "outcome", "sent"),
    [
        pytest.param((None, None), "wanted", "wanted", [0, 1], id="all-answered"),
        pytest.param((None, None), "other", DeviceRefusedError, [0, 1], id="answered-not-kept"),
        pytest.param((None, None), TIMEOUT, OutcomeUnknownError, [0, 1], id="not-read-back"),
        pytest.param((None, None), NO, OutcomeUnknownError, [0, 1], id="read-back-refused"),
        pytest.param((TIMEOUT, None), "wanted", "wanted", [0], id="lost-but-done"),
        pytest.param((TIMEOUT, None), "other", OutcomeUnknownError, [0], id="lost-and-not-done"),
        pytest.param((DAMAGED, None), "other", OutcomeUnknownError, [0], id="damaged-answer"),
        pytest.param((None, TIMEOUT), "other", OutcomeUnknownError, [0, 1], id="second-lost"),
        pytest.param((NO, None), "other", DeviceRefusedError, [0], id="refused"),
        pytest.param((None, NO), "other", DeviceRefusedError, [0, 1], id="second-refused"),
        pytest.param((GONE, None), "other", LinkUnavailableError, [0], id="nothing-sent"),
        pytest.param((LATE, None), "other", ExpiredError, [0], id="nothing-sent-in-time"),
        pytest.param((None, GONE), "other", OutcomeUnknownError, [0, 1], id="half-sent"),
        pytest.param((None, LATE), "other", OutcomeUnknownError, [0, 1], id="half-sent-in-time"),
        pytest.param((), "wanted", "wanted", [], id="nothing-to-send"),
    ],
)
async def test_only_the_read_back_proves(
    answers: tuple[DriverError | None, ...],
    read: str | DriverError,
    outcome: str | type[DriverError],
    sent: list[int],
) -> None:
    assert await outcome_of(*answers, read=read) == (outcome, sent)

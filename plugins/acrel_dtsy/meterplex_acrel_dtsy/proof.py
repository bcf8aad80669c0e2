"""Control frames are sent once each; what took effect is what is read back afterwards."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from meterplex.sdk import (
    DamagedReplyError,
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
)

State = TypeVar("State")

ControlFrame = Callable[[], Awaitable[object]]
"""Sends one control frame when it is called."""

UNANSWERED: Final = (LinkTimeoutError, DamagedReplyError, OutcomeUnknownError)
"""Raised by a control frame that may have taken effect."""
_NOT_SENT: Final = (LinkUnavailableError, ExpiredError)


async def prove(
    what: str,
    frames: Iterable[ControlFrame],
    read_back: Callable[[], Awaitable[State]],
    proven: Callable[[State], bool],
) -> State:
    """Send frames in order until one is not answered, and return the state read after them.

    Raises:
        DeviceRefusedError: a frame was answered no, or all were answered yes and the device keeps
            another state.
        OutcomeUnknownError: a frame was not answered and the state does not show its effect, or
            the state could not be read.
        LinkUnavailableError, ExpiredError: nothing was sent.
    """
    unanswered = await _send(frames)
    state = await read_after(what, read_back)
    if proven(state):
        return state
    if unanswered is not None:
        raise OutcomeUnknownError(
            f"{what}: {unanswered}; the meter was then read as {state}"
        ) from unanswered
    raise DeviceRefusedError(f"{what}: accepted, but the meter was then read as {state}")


async def read_after(what: str, read_back: Callable[[], Awaitable[State]]) -> State:
    """Read what a control frame led to.

    Raises:
        OutcomeUnknownError: it could not be read, for whatever reason.
    """
    try:
        return await read_back()
    except DriverError as error:
        raise OutcomeUnknownError(f"{what}: sent, not read back: {error}") from error


async def _send(frames: Iterable[ControlFrame]) -> DriverError | None:
    """Return why the last frame that was tried is in doubt, or None when all were answered."""
    for index, send in enumerate(frames):
        try:
            await send()
        except UNANSWERED as error:
            return error
        except _NOT_SENT as error:
            if index == 0:
                raise
            return error
    return None

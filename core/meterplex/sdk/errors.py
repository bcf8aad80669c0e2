"""Everything a driver, a link or a plugin may raise, as one tree.

A caller asks first whether bytes that matter left us, then whose fault it is:

==============================  ====================  =============================================
class                           sent?                 what the head-end does
==============================  ====================  =============================================
:class:`LinkUnavailableError`   no                    waits for the channel, tries again
:class:`ExpiredError`           no                    gives the command up
:class:`LinkTimeoutError`       yes, no fitting reply retries reads; a command becomes *unknown*
:class:`DamagedReplyError`      yes                   as a time-out
:class:`DeviceRefusedError`     yes, device said no   never retries
:class:`DeviceMismatchError`    yes, another device   never retries, raises an alarm
:class:`OutcomeUnknownError`    yes, unproven         reads evidence before anything else
:class:`UnsupportedError`       no, caller's mistake  never retries
:class:`SettingsError`          no, bad configuration never retries
==============================  ====================  =============================================
"""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterplex.sdk.capabilities import Capability


class DriverError(Exception):
    """Root of all errors on the way to a device."""


class LinkError(DriverError):
    """The path to the device failed; the device itself said nothing."""


class LinkUnavailableError(LinkError):
    """The channel cannot be opened or was lost before the request was sent."""


class LinkTimeoutError(LinkError):
    """The request was sent and no reply that fits it came in time."""


class ExpiredError(DriverError):
    """The time after which the request must not be sent has passed; it was not sent."""


class DamagedReplyError(DriverError):
    """A reply came that fits the request but whose content cannot be true."""


class RefusalReason(StrEnum):
    """Why a device says no to a purchase or withdrawal, where its answer tells.

    None of them proves that nothing was taken: a meter answers *duplicate* to the second copy of
    a frame whose first one it has taken.
    """

    DUPLICATE = "duplicate"
    """The count is the stored one, or below it."""
    COUNT_WRONG = "count_wrong"
    """The count is beyond the stored one + 1."""
    OVER_HOARD = "over_hoard"
    """The meter would hold too much."""
    CUSTOMER_MISMATCH = "customer_mismatch"
    """The meter was opened for another customer."""
    AUTHENTICATION = "authentication"
    """Log-in, key or security module failed; each try may bring the meter closer to its lock."""
    OTHER = "other"


class DeviceRefusedError(DriverError):
    """The device answered, and its answer is no.

    Attributes:
        code: the protocol's error code, or None when the refusal was read from its state.
        reason: what the answer to a move of credit says, by the protocol's own table; left at
            *other* where that is not certain.
    """

    def __init__(
        self,
        message: str,
        code: int | None = None,
        *,
        reason: RefusalReason = RefusalReason.OTHER,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class DeviceMismatchError(DriverError):
    """Another device, model or meter number answered than the one that was expected."""


class OutcomeUnknownError(DriverError):
    """A request that may move supply or value was sent; whether it took effect is not proven."""


class UnsupportedError(DriverError):
    """The caller asked for a capability that this driver does not have."""

    def __init__(self, capability: "Capability | str") -> None:
        super().__init__(f"the driver has no capability {capability!s}")
        self.capability = capability


class SettingsError(DriverError):
    """An address, a URL or a setting of a meter or channel is not usable."""


class PluginError(Exception):
    """A plugin broke the contract: it failed to load, gave a duplicate or a wrong type."""

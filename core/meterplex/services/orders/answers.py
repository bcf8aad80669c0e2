"""What a driver's error says about an order that was being sent."""

from typing import Final

from meterplex.domain.prepayment.answers import Answer, AnswerKind
from meterplex.protocols.errors import EncodeError
from meterplex.sdk import (
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    ExpiredError,
    LinkUnavailableError,
    RefusalReason,
    SettingsError,
    UnsupportedError,
)
from meterplex.services.orders.evidence import LinkFacts

_NOT_SENT: Final = (
    LinkUnavailableError,
    ExpiredError,
    UnsupportedError,
    SettingsError,
    EncodeError,
)

_REFUSALS: Final = {
    RefusalReason.DUPLICATE: AnswerKind.DUPLICATE,
    RefusalReason.COUNT_WRONG: AnswerKind.COUNT_WRONG,
    RefusalReason.OVER_HOARD: AnswerKind.OVER_HOARD,
    RefusalReason.CUSTOMER_MISMATCH: AnswerKind.CUSTOMER_MISMATCH,
    RefusalReason.AUTHENTICATION: AnswerKind.AUTHENTICATION,
    RefusalReason.OTHER: AnswerKind.OTHER_ERROR,
}


def refused_log_in(error: Exception | None) -> bool:
    """Tell whether a meter refused to be logged in to, whatever was to be done there."""
    if not isinstance(error, DeviceRefusedError):
        return False
    return error.reason is RefusalReason.AUTHENTICATION


def answer_of(error: Exception, link: LinkFacts) -> Answer:
    """Return the answer that an error stands for.

    Where the link knows whether bytes may have left, it is believed; what a driver could not make
    sense of counts as silence.
    """
    if link.control_sent is not None:
        if not link.control_sent():
            return Answer(AnswerKind.NOT_SENT)
    elif isinstance(error, _NOT_SENT):
        return Answer(AnswerKind.NOT_SENT)
    if isinstance(error, DeviceRefusedError):
        return Answer(_REFUSALS[error.reason])
    if isinstance(error, DamagedReplyError | DeviceMismatchError):
        return Answer(AnswerKind.DAMAGED)
    return Answer(AnswerKind.SILENCE)

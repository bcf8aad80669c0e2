"""What each error means to whoever called the program: one line, and an exit code."""

from enum import IntEnum
from typing import Final

import click

from meterplex.db import errors as db
from meterplex.domain.amount_words import AmountWordsError
from meterplex.domain.approvals import ApprovalError
from meterplex.domain.billing import BillingError
from meterplex.domain.operators import OperatorError, OperatorInputError, OperatorRuleError
from meterplex.sdk import errors as sdk
from meterplex.services.books.errors import (
    MoneyConflictError,
    MoneyError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.estate.files import EstateFileError
from meterplex.services.estate.import_estate import EstateRefusedError
from meterplex.services.metering.issue_commands import NobodyCanError
from meterplex.services.receipts.documents import ReceiptFontError
from meterplex.services.reports import ReportError
from meterplex.settings import SettingsFileError


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    REFUSED = 5
    TIMEOUT = 6
    INTERRUPTED = 130
    """Ctrl-C, as shells count it."""


class UnknownNameError(Exception):
    """A name on the command line is of nothing that exists."""


class InServiceError(Exception):
    """A commissioning command was aimed at a device that the estate has in service."""


CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (click.UsageError, ExitCode.USAGE),
    (UnknownNameError, ExitCode.NOT_FOUND),
    (InServiceError, ExitCode.CONFLICT),
    (SettingsFileError, ExitCode.USAGE),
    (sdk.SettingsError, ExitCode.USAGE),
    (sdk.UnsupportedError, ExitCode.USAGE),
    (NobodyCanError, ExitCode.USAGE),
    (sdk.DeviceRefusedError, ExitCode.REFUSED),
    (sdk.DeviceMismatchError, ExitCode.CONFLICT),
    (sdk.LinkTimeoutError, ExitCode.TIMEOUT),
    (sdk.OutcomeUnknownError, ExitCode.TIMEOUT),
    (sdk.ExpiredError, ExitCode.TIMEOUT),
    (sdk.DriverError, ExitCode.ERROR),
    (sdk.PluginError, ExitCode.ERROR),
    (OperatorInputError, ExitCode.USAGE),
    (OperatorRuleError, ExitCode.CONFLICT),
    (ApprovalError, ExitCode.CONFLICT),
    (OperatorError, ExitCode.ERROR),
    (BillingError, ExitCode.USAGE),
    (MoneyInputError, ExitCode.USAGE),
    (UnknownThingError, ExitCode.NOT_FOUND),
    (MoneyConflictError, ExitCode.CONFLICT),
    (MoneyError, ExitCode.ERROR),
    (EstateFileError, ExitCode.ERROR),
    (EstateRefusedError, ExitCode.ERROR),
    (db.NotFoundError, ExitCode.NOT_FOUND),
    (db.ConflictError, ExitCode.CONFLICT),
    (db.TransactionConflictError, ExitCode.CONFLICT),
    (db.DatabaseUrlError, ExitCode.USAGE),
    (db.DatabaseError, ExitCode.ERROR),
    (ReportError, ExitCode.USAGE),
    (AmountWordsError, ExitCode.ERROR),
    (ReceiptFontError, ExitCode.ERROR),
    (OSError, ExitCode.ERROR),
)
"""The first class that fits counts. What is not here is a bug and keeps its traceback."""


def judge(error: BaseException) -> tuple[str, ExitCode] | None:
    """Return the one line and the exit code of an error; None for one that nobody expected."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    for kind, code in CODES:
        if isinstance(error, kind):
            return " ".join(_text(error).split()) or kind.__name__, code
    return None


def _text(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted"
        case click.ClickException():
            return error.format_message()
        case db.DatabaseUnavailableError():
            return f"database: {error}"
        case OSError(strerror=str(reason), filename=str(name)):
            return f"{name}: {reason}"
        case OSError(strerror=str(reason)):
            return reason
        case _:
            return str(error)

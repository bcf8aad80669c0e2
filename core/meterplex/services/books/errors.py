"""Why a service that moves money refused; whatever raises one of these has booked nothing."""


class MoneyError(Exception):
    """Root of all refusals.

    Attributes:
        field: name of the argument that is meant, as the caller gave it.
        reason: what was expected and what came.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class MoneyInputError(MoneyError):
    """An argument is not of the form or within the bounds that it must have."""


class AmountError(MoneyInputError):
    """An amount that cannot be paid: not a number, not above zero, too exact, too much."""


class UnknownThingError(MoneyError):
    """The organisation has nothing of this name."""


class UnknownAccountError(UnknownThingError):
    """The organisation has no such account."""


class UnknownTariffError(UnknownThingError):
    """No version of the tariff is published, or none is valid at that time."""


class MoneyConflictError(MoneyError):
    """What stands in the books does not allow it now."""


class AccountStateError(MoneyConflictError):
    """The account is not in a state for this."""


class AccountClosedError(AccountStateError):
    """The account is closed, or being closed."""


class HoardLimitError(MoneyConflictError):
    """More credit than the account, or its meter, may hold (F60)."""


class NotEnoughCreditError(MoneyConflictError):
    """More is asked back than there is to give."""


class IdempotencyError(MoneyConflictError):
    """The key was used before, for something else."""


class BusyError(MoneyConflictError):
    """An order or command is on its way that must be settled first; the same call works later."""


class MeterUnfitError(MoneyConflictError):
    """The meter cannot do what the way of paying, or the tariff, asks of it."""

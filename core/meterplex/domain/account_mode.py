"""How use is paid for."""

from enum import StrEnum


class AccountMode(StrEnum):
    """When is paid, and who keeps the balance."""

    PREPAID_SERVER = "prepaid_server"
    """Paid before; the balance is kept here, supply is switched from here."""
    PREPAID_METER = "prepaid_meter"
    """Paid before; the credit is sent to the meter, which counts it down and trips by itself."""
    POSTPAID = "postpaid"
    """Billed after each period, with a due date."""
    CARD = "card"
    """As in the meter; the credit travels on a card."""
    TOKEN = "token"  # noqa: S105 - a way of paying, no secret
    """As in the meter; the credit travels as typed digits."""
    PACKAGE = "package"
    """As on the server: a fee each month brings units in the tariff's first block."""

    @property
    def in_meter(self) -> bool:
        """Whether the meter holds the credit."""
        return self in {AccountMode.PREPAID_METER, AccountMode.CARD, AccountMode.TOKEN}

    @property
    def prepaid(self) -> bool:
        """Whether supply ends with the credit."""
        return self is not AccountMode.POSTPAID

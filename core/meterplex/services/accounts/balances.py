"""What an account has and owes, from the ledger; amounts are ledger units."""

from collections.abc import Mapping
from dataclasses import dataclass

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.estate import BindingId
from meterplex.domain.ledger import customer, in_meter, receivable, refund_payable, transit


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """The balances of one account.

    Attributes:
        wallet_units: prepaid credit on the server; below zero by at most the overdraft.
        owed_units: above zero, by category (without debt plans).
        payable_units: to be paid out.
        in_meter_units: by binding, as the ledger holds it (the meter may have counted on).
        in_transit_units: by binding, sold and not proven in the meter.
    """

    wallet_units: int
    owed_units: Mapping[Category, int]
    payable_units: int
    in_meter_units: Mapping[BindingId, int]
    in_transit_units: Mapping[BindingId, int]

    @property
    def available_units(self) -> int:
        """The credit on the server less what is owed for use: what decides about supply."""
        return self.wallet_units - self.owed_units[Category.UTILITY]

    @property
    def is_zero(self) -> bool:
        """Whether nothing is left anywhere."""
        return not any(
            (
                self.wallet_units,
                self.payable_units,
                *self.owed_units.values(),
                *self.in_meter_units.values(),
                *self.in_transit_units.values(),
            )
        )


async def account_balance(
    uow: UnitOfWork, account: Account, *, lock: bool = False
) -> AccountBalance:
    """Return the balances of an account; with ``lock`` they are held until the transaction ends."""
    bindings = [
        each.id for each in await uow.bindings.of_account(account.organisation_id, account.id)
    ]
    owed = [category for category in Category if category is not Category.DEBT]
    names = [
        customer(account.id),
        refund_payable(account.id),
        *(receivable(account.id, category) for category in owed),
        *(in_meter(binding) for binding in bindings),
        *(transit(binding) for binding in bindings),
    ]
    find = uow.ledger.lock if lock else uow.ledger.balances
    found = await find(account.organisation_id, account.currency, names)
    return AccountBalance(
        wallet_units=found[customer(account.id)],
        owed_units={category: -found[receivable(account.id, category)] for category in owed},
        payable_units=found[refund_payable(account.id)],
        in_meter_units={binding: found[in_meter(binding)] for binding in bindings},
        in_transit_units={binding: found[transit(binding)] for binding in bindings},
    )

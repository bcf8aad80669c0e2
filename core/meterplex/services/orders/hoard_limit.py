"""The most credit that an account, or each meter of it, may hold (F60)."""

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, Site
from meterplex.domain.ledger import customer
from meterplex.domain.prepayment import Direction
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.errors import HoardLimitError
from meterplex.services.estate.site_policies import load_parameters


async def hoard_limit(uow: UnitOfWork, account: Account, site: Site) -> int | None:
    """Return the limit of an account, its own or its site's, in ledger units; None for none."""
    if account.hoard_units is not None:
        return account.hoard_units
    return (await load_parameters(uow, site)).hoard_units


async def check_hoard(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    binding: Binding | None,
    credit_units: int,
    field: str,
) -> None:
    """See that more credit may be held; for a meter, with all that is on its way there.

    Args:
        binding: whose meter gets it; None for the wallet on the server.
        credit_units: what of a payment becomes credit.

    Raises:
        HoardLimitError: it may not.
    """
    limit = await hoard_limit(uow, account, site)
    if limit is None or credit_units == 0:
        return
    if binding is None:
        wallet = customer(account.id)
        balances = await uow.ledger.balances(account.organisation_id, account.currency, [wallet])
        held = balances[wallet]
    else:
        held = await _held_by_meter(uow, binding)
    if held + credit_units > limit:
        said = [format_amount(units, account.currency) for units in (held, credit_units, limit)]
        raise HoardLimitError(
            field, f"{said[0]} held and {said[1]} more, but the hoard limit is {said[2]}"
        )


async def _held_by_meter(uow: UnitOfWork, binding: Binding) -> int:
    row = await uow.wallets.find(binding.organisation_id, binding.id)
    coming = await uow.orders.open_of_binding(binding.organisation_id, binding.id)
    return (0 if row is None else row.remaining_units) + sum(
        order.deliver_units for order in coming if order.direction is Direction.DELIVER
    )

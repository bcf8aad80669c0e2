"""Wallets inside meters: from what a driver reads to whole ledger units, and what is kept of it."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from meterplex.db import UnitOfWork
from meterplex.db.accounts import WalletRow
from meterplex.domain.estate import Binding, Meter
from meterplex.domain.estate_rules import plain_number
from meterplex.domain.money import Rounding, ledger_decimal, to_ledger_units
from meterplex.domain.prepayment import Wallet
from meterplex.sdk import CreditState, DamagedReplyError


def wallet_of(credit: CreditState, meter: str | None = None) -> Wallet:
    """Return a wallet in ledger units.

    Args:
        meter: number of the meter that answered, where it told it.

    Raises:
        DamagedReplyError: an amount is no finite number.
    """
    total = credit.total_purchased
    return Wallet(
        remaining_units=_units("remaining", credit.remaining),
        purchase_count=credit.purchase_count,
        total_purchased_units=None if total is None else _units("total purchased", total),
        meter=meter,
    )


def currency_amount(amount_units: int) -> Decimal:
    """Return ledger units as the amount that a driver takes."""
    return ledger_decimal(amount_units)


def expected_of(meter: Meter) -> Wallet:
    """Return who must answer for a meter; nothing else is compared."""
    return Wallet(remaining_units=0, meter=plain_number(meter.serial))


def wallet_of_row(row: WalletRow) -> Wallet:
    """Return the wallet that was accounted for last."""
    return Wallet(row.remaining_units, row.purchase_count, row.total_purchased_units)


async def put_wallet(uow: UnitOfWork, binding: Binding, wallet: Wallet, read_at: datetime) -> None:
    """Keep a wallet as the last one that is accounted for."""
    await uow.wallets.put(
        WalletRow(
            binding.organisation_id,
            binding.id,
            wallet.purchase_count or 0,
            wallet.total_purchased_units,
            wallet.remaining_units,
            read_at,
        )
    )


def moved_by(wallet: Wallet, count: int, change_units: int) -> Wallet:
    """Return a wallet after a purchase or withdrawal that people say it took."""
    total = wallet.total_purchased_units
    return replace(
        wallet,
        remaining_units=wallet.remaining_units + change_units,
        purchase_count=max(wallet.purchase_count or 0, count),
        total_purchased_units=None if total is None else total + change_units,
    )


def _units(what: str, amount: Decimal) -> int:
    if not amount.is_finite():
        raise DamagedReplyError(f"{what} was read as {amount}")
    return to_ledger_units(Fraction(amount), Rounding.HALF_EVEN)

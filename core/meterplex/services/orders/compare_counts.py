"""Compares the wallet of a meter, at every read, with what was sold to it here (F61).

The wallet that is kept with a binding is the last one that is accounted for. What a later read
shows beyond it was bought elsewhere: it goes to SUSPENSE, and the meter's credit stays right. What
purchases cannot explain is told to people. While an order is on its way its own evidence decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from meterplex.db import Database, UnitOfWork
from meterplex.db.accounts import WalletRow
from meterplex.domain.accounts import Account
from meterplex.domain.estate import AccountId, Binding, Meter, OrganisationId, Site
from meterplex.domain.ledger import EntryKind, Posting, in_meter, suspense
from meterplex.domain.prepayment import (
    BLOCKING,
    Comparison,
    CountComparison,
    PrepaymentRules,
    Wallet,
)
from meterplex.sdk import CreditState, DamagedReplyError
from meterplex.services.accounts.bind_meters import bring_in
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.books.book_entries import book
from meterplex.services.metering.reading_messages import tell_readings
from meterplex.services.orders.meter_alarms import CreditAlarm, raise_alarm
from meterplex.services.orders.meter_wallets import put_wallet, wallet_of, wallet_of_row

DONE_BY = "meter reading"
_AS_EXPECTED = CountComparison(Comparison.OK)


@dataclass(frozen=True, slots=True)
class SeenWallet:
    """A wallet that came along with a read of a meter."""

    meter: Meter
    read_at: datetime
    credit: CreditState


async def compare_counts(
    database: Database,
    organisation_id: OrganisationId,
    seen: Sequence[SeenWallet],
    rules: PrepaymentRules,
) -> None:
    """Account for the wallets of a run, in one transaction; a repetition changes nothing."""
    async with database.unit_of_work(read_only=True) as uow:
        if not seen or not await _bound(uow, organisation_id, seen):
            return
    async with database.unit_of_work() as uow:
        by_account: dict[AccountId, list[tuple[Binding, SeenWallet]]] = defaultdict(list)
        for account_id, binding, each in await _bound(uow, organisation_id, seen):
            by_account[account_id].append((binding, each))
        for account_id in sorted(by_account):
            account = await uow.accounts.lock(organisation_id, account_id)
            site = await uow.sites.get(organisation_id, account.site_id)
            for binding, each in by_account[account_id]:
                await _compare(uow, account, site, binding, each, rules)
        meters = [each.meter.id for group in by_account.values() for _, each in group]
        oldest = min(each.read_at for each in seen)
        await tell_readings(uow, organisation_id, meters, since=oldest, at=oldest)
        await uow.commit()


async def account_for(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    binding: Binding,
    meter: Meter,
    wallet: Wallet,
    *,
    read_at: datetime,
    rules: PrepaymentRules,
) -> CountComparison:
    """Compare one wallet with the last one accounted for, and keep it, with the account held.

    No order of the binding may be on its way. What the first one holds was brought in.
    """
    row = await uow.wallets.find(binding.organisation_id, binding.id)
    if row is not None and read_at <= row.read_at:
        return _AS_EXPECTED
    compared = _AS_EXPECTED if row is None else rules.compare_count(wallet_of_row(row), wallet)
    if compared.outcome is Comparison.FOREIGN:
        await _book_foreign(uow, account, site, binding, compared, read_at)
        alarm = CreditAlarm.FOREIGN_PURCHASE
        await raise_alarm(uow, meter, alarm, compared.sentence, read_at)
    elif compared.outcome is Comparison.CONFLICT:
        await raise_alarm(uow, meter, CreditAlarm.PURCHASE_COUNT, compared.sentence, read_at)
    elif row is None:
        found = wallet.remaining_units
        await bring_in(uow, site, account, binding, meter, found, at=read_at, operator=DONE_BY)
    await put_wallet(uow, binding, _with_total(wallet, row), read_at)
    return compared


def _with_total(wallet: Wallet, row: WalletRow | None) -> Wallet:
    """Return a wallet with the total that is known of it, where this read did not tell it."""
    if row is None or wallet.total_purchased_units is not None:
        return wallet
    if wallet.purchase_count != row.purchase_count:
        return wallet
    return replace(wallet, total_purchased_units=row.total_purchased_units)


async def _bound(
    uow: UnitOfWork, organisation_id: OrganisationId, seen: Iterable[SeenWallet]
) -> list[tuple[AccountId, Binding, SeenWallet]]:
    by_meter = {each.meter.id: each for each in seen}
    bindings = await uow.bindings.open_of_meters(organisation_id, by_meter.keys())
    return [
        (binding.account_id, binding, by_meter[binding.meter_id])
        for binding in bindings
        if binding.account_id is not None and binding.mode is not None and binding.mode.in_meter
    ]


async def _compare(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    binding: Binding,
    seen: SeenWallet,
    rules: PrepaymentRules,
) -> None:
    try:
        wallet = wallet_of(seen.credit)
    except DamagedReplyError:
        return  # the next read may be a number
    opened = await uow.orders.open_of_binding(binding.organisation_id, binding.id)
    if seen.read_at < binding.since or any(order.state in BLOCKING for order in opened):
        return
    compared = await account_for(
        uow, account, site, binding, seen.meter, wallet, read_at=seen.read_at, rules=rules
    )
    if compared.outcome is not Comparison.OK:
        await reconsider_supply(uow, account, seen.read_at)


async def _book_foreign(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    binding: Binding,
    compared: CountComparison,
    at: datetime,
) -> None:
    posting = Posting(suspense(binding.id), in_meter(binding.id), compared.foreign_units)
    await book(
        uow,
        site,
        EntryKind.FOREIGN,
        (posting,),
        currency=account.currency,
        at=at,
        operator=DONE_BY,
        account=account,
        memo=compared.sentence,
    )

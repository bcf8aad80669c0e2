"""Eight processes sell at once, to one account and to many: as if they had sold in turn (I14)."""

import asyncio
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conftest import Estate

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.ledger import cash, customer
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import OpenAccount, open_account
from meterplex.services.books.book_entries import find_discrepancies

DESKS, SALES, SHARED = 8, 250, 25


@pytest.mark.integration
@pytest.mark.parametrize("accounts", [1, 40], ids=["one-account", "many-accounts"])
async def test_sales_at_once_add_up(
    database: Database, database_url: str, estate: Estate, tmp_path: Path, accounts: int
) -> None:
    plugins = PluginManager.load((builtin_channels,), ())
    organisation_id = estate.organisation.id
    opened = [
        await open_account(
            database,
            plugins,
            OpenAccount(
                organisation_id,
                estate.site.code,
                f"a-{number}",
                NewCustomer(f"c-{number}", "Li Na"),
                AccountMode.PREPAID_SERVER,
            ),
            at=datetime.now(UTC),
            operator="manager",
        )
        for number in range(accounts)
    ]
    told = {
        "url": database_url,
        "folder": str(tmp_path),
        "organisation": str(organisation_id),
        "accounts": [str(each.account.id) for each in opened],
        "desks": DESKS,
        "sales": SALES,
        "shared": SHARED,
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.proving.vending_program", json.dumps(told)
    )
    assert await program.wait() == 0
    answers = [
        tuple(line)
        for desk in range(DESKS)
        for line in json.loads((tmp_path / f"{desk}.json").read_text())
    ]
    orders = defaultdict(set)
    for key, *answer in answers:
        orders[key].add(tuple(answer))
    assert len(answers) == DESKS * (SALES + SHARED)
    assert len(orders) == DESKS * SALES + SHARED
    assert all(len(each) == 1 for each in orders.values())
    sales = [next(iter(each)) for each in orders.values()]
    async with database.unit_of_work(read_only=True) as uow:
        wallets = [customer(each.account.id) for each in opened]
        names = [*wallets, cash("cash")]
        balances = await uow.ledger.balances(organisation_id, "CNY", names)
        assert await find_discrepancies(uow, organisation_id) == ()
    paid = sum(units for _, _, units in sales)
    assert balances[cash("cash")] == -paid
    assert sum(balances[each] for each in wallets) == paid
    if accounts == 1:
        before = 0
        for _, wallet, units in sorted(sales, key=lambda sale: sale[1]):
            assert wallet == before + units
            before = wallet

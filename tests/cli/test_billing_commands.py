"""Bills, fees, debts, shares and the ledger from the terminal."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category, Customer, CustomerId
from meterplex.domain.charges import Charge, ChargeId, ChargeKind
from meterplex.domain.estate import AccountId, Binding, BindingId
from meterplex.domain.ledger import EntryKind, Posting, receivable, revenue
from meterplex.domain.operators import Right
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.services.books.book_entries import book

AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]
Cli = Callable[..., Result]
Estate = Callable[..., None]

DAYS = ("--from", "2026-02-01", "--to", "2026-03-01")
OPENED = datetime(2026, 1, 31, 16, tzinfo=UTC)


@pytest.fixture
def account(estate: Estate, database_file: Path) -> str:
    """A post-paid account of three people that used 20 units for 10.005 in February 2026."""
    estate()
    asyncio.run(_open(f"sqlite:///{database_file}"))
    return "A1"


async def _open(url: str) -> None:
    async with await Database.open(url) as database, database.unit_of_work() as uow:
        (organisation,) = await uow.organisations.all()
        (site,) = await uow.sites.all(organisation.id)
        (bound,) = await uow.bindings.all(organisation.id)
        await uow.bindings.end(organisation.id, bound.id, bound.since + timedelta(seconds=1))
        owner = Customer(CustomerId(uuid7()), organisation.id, "C1", "Li")
        await uow.customers.add(owner)
        account = Account(
            AccountId(uuid7()),
            organisation.id,
            site.id,
            owner.id,
            "A1",
            AccountMode.POSTPAID,
            "CNY",
            OPENED,
            head_count=3,
        )
        await uow.accounts.add(account)
        binding = Binding(
            BindingId(uuid7()),
            organisation.id,
            bound.meter_id,
            bound.usage_point_id,
            OPENED,
            OPENED + timedelta(days=20),
            account_id=account.id,
            mode=AccountMode.POSTPAID,
        )
        await uow.bindings.add(binding)
        owed = receivable(account.id, Category.UTILITY)
        entry = await book(
            uow,
            site,
            EntryKind.CHARGE,
            [Posting(owed, revenue("electricity"), 10_0050)],
            currency="CNY",
            at=OPENED + timedelta(days=3),
            operator="charging",
            account=account,
        )
        assert entry is not None
        line = {
            "kind": "energy",
            "component": "energy",
            "band": "all",
            "amount_units": 10_0050,
            "start": OPENED.isoformat(),
            "end": (OPENED + timedelta(days=2)).isoformat(),
            "units": "20",
            "price": "0.50025",
        }
        charge = Charge(
            ChargeId(uuid7()),
            organisation.id,
            account.id,
            binding.id,
            ACTIVE_ENERGY_IMPORT,
            ChargeKind.REGULAR,
            OPENED,
            OPENED + timedelta(days=2),
            Decimal(0),
            Decimal(20),
            Decimal(20),
            10_0050,
            OPENED + timedelta(days=3),
            lines=(line,),
            entry_id=entry.id,
        )
        await uow.registers.ensure([ACTIVE_ENERGY_IMPORT])
        await uow.charges.add_all([charge])
        await uow.commit()


def test_month_is_billed_shown_and_listed(cli: Cli, account: str, answer: Answer) -> None:
    issue = ("bill", "issue", "--site", "east", "--month", "2026-02", "--json")
    (dry,) = answer(cli(*issue, "--dry-run"))
    assert (dry["number"], dry["amount"], dry["rounding"]) == ("", "10.01", "0.0050")
    assert answer(cli("bill", "list", "--json")) == []
    (bill,) = answer(cli(*issue))
    assert answer(cli(*issue)) == []
    assert (bill["account"], bill["since"], bill["until"]) == (account, "2026-02-01", "2026-03-01")
    shown = answer(cli("bill", "show", bill["number"], "--json"))
    assert shown == bill
    (line,) = shown["lines"]
    assert (line["units"], line["price"], line["amount"]) == ("20", "0.50025", "10.0050")
    listed = answer(cli("bill", "list", "--month", "2026-02", "--unpaid", "--json"))
    assert listed == [bill]
    assert answer(cli("bill", "list", "--month", "2026-03", "--json")) == []
    assert bill["number"] in cli("bill", "list", "--account", account).stdout
    assert "to pay 10.01 CNY" in cli("bill", "show", bill["number"]).stdout


def test_bill_and_statement_are_written_into_files(
    cli: Cli, account: str, answer: Answer, tmp_path: Path
) -> None:
    (bill,) = answer(cli("bill", "issue", "--site", "east", "--month", "2026-02", "--json"))
    page, file = tmp_path / "bill.html", tmp_path / "share.pdf"
    number = bill["number"]
    printed = answer(cli("bill", "print", number, "--html", str(page), "--json"))
    assert printed == {"number": number, "file": str(page)}
    text = page.read_text("utf-8")
    for shown in (number, "p1 energy all: 20 x 0.50025", "0.0050", "CNY 10.01", "Li", ">open<"):
        assert shown in text
    assert cli("bill", "print", number, "--html", str(page), "--language", "zh").exit_code == 0
    assert "账单编号" in page.read_text("utf-8")
    cost = ("--site", "east", *DAYS, "--by", "head_count", "--amount", "90.10")
    assert cli("share", "run", "lifts", *cost).exit_code == 0
    which = ("lifts", "--site", "east", "--from", "2026-02-01")
    assert cli("share", "print", *which, "--pdf", str(file)).exit_code == 0
    assert file.read_bytes().startswith(b"%PDF-")
    assert cli("share", "print", *which, "--html", str(page)).exit_code == 0
    assert "A1: 3 / 3" in page.read_text("utf-8")
    assert cli("bill", "print", number).exit_code == 2


def test_fee_is_agreed_charged_and_ended(cli: Cli, account: str, answer: Answer) -> None:
    add = ("fee", "add", account, "property fee", "2.50", "--from", "2026-02-01", "--area", "80")
    assert answer(cli(*add, "--dry-run", "--json"))[0]["price"] == "2.50"
    (fee,) = answer(cli(*add, "--json"))
    assert answer(cli("fee", "list", account, "--json")) == [fee]
    charge = ("fee", "charge", "--until", "2026-03-31", "--json")
    assert [each["amount"] for each in answer(cli(*charge, "--dry-run"))] == ["200.00", "200.00"]
    assert len(answer(cli(*charge))) == 2
    assert answer(cli(*charge)) == []
    early = cli("fee", "end", fee["id"], "2026-03-15")
    assert early.exit_code == 4
    assert "charged until 2026-04-01" in early.stderr
    (ended,) = answer(cli("fee", "end", fee["id"], "2026-05-01", "--json"))
    assert ended["to"] == "2026-05-01"
    assert "property fee" in cli("fee", "list", account).stdout


def test_debt_is_put_under_a_plan(cli: Cli, account: str, answer: Answer) -> None:
    add = ("debt", "add", account, "old", "--amount", "50", "--percent", "20", "--json")
    assert answer(cli(*add, "--dry-run"))[0]["left"] == "50.00"
    assert answer(cli("debt", "list", account, "--json")) == []
    (debt,) = answer(cli(*add))
    assert (debt["rule"], debt["left"], debt["paid"]) == ("20 % of each payment", "50.00", "0.00")
    assert [each["id"] for each in answer(cli("debt", "list", account, "--json"))] == [debt["id"]]
    moved = ("--arrears", "utility", "--amount", "10", "--instalment", "5", "--first", "2026-02-01")
    assert cli("debt", "add", account, "arrears", *moved).exit_code == 0
    assert "5.00 each month from 2026-02-01" in cli("debt", "list", account).stdout


def test_cost_is_shared_out(cli: Cli, account: str, answer: Answer) -> None:
    run = (
        "share",
        "run",
        "lifts",
        "--site",
        "east",
        *DAYS,
        "--by",
        "head_count",
        "--amount",
        "90.10",
        "--json",
    )
    assert answer(cli(*run, "--dry-run"))["total_weight"] == "3"
    shared = answer(cli(*run))
    assert shared["shares"] == [{"account": account, "weight": "3", "amount": "90.10"}]
    assert cli(*run).exit_code == 4
    shown = ("share", "show", "lifts", "--site", "east", "--from", "2026-02-01")
    assert answer(cli(*shown, "--json")) == shared
    assert "90.10 CNY by head_count" in cli(*shown).stdout
    assert answer(cli("share", "list", "--site", "east", "--json")) == [shared]


def test_ledger_is_checked_shown_and_closed(cli: Cli, account: str, answer: Answer) -> None:
    assert answer(cli("ledger", "check", "--json")) == {"organisations": 1, "problems": {}}
    balances = answer(cli("ledger", "trial-balance", "--json"))
    assert sorted(each["balance"] for each in balances) == ["-10.0050", "10.0050"]
    assert f":{account}" in cli("ledger", "trial-balance").stdout
    assert f":{account}" in cli("ledger", "entries", "--account", account).stdout
    assert not any(account in each["account"] for each in balances)
    assert answer(cli("ledger", "trial-balance", "--period", "2026-01", "--json")) == []
    (entry,) = answer(cli("ledger", "entries", "--account", account, "--json"))
    assert entry["postings"][0]["amount"] == "10.0050"
    close = ("ledger", "close-period", "2026-02")
    assert answer(cli(*close, "--dry-run", "--json")) == balances
    assert cli(*close).exit_code == 0
    again = cli(*close)
    assert again.exit_code == 4
    assert "closed already" in again.stderr


def test_check_lists_what_is_wrong(cli: Cli, account: str, database_file: Path) -> None:
    async def damage() -> None:
        async with (
            await Database.open(f"sqlite:///{database_file}") as database,
            database.unit_of_work() as uow,
        ):
            (organisation,) = await uow.organisations.all()
            for bill in await uow.bills.all(organisation.id):
                await uow.bills.set_paid(organisation.id, bill.id, 1)
            await uow.commit()

    assert cli("bill", "issue", "--site", "east", "--month", "2026-02").exit_code == 0
    asyncio.run(damage())
    checked = cli("ledger", "check")
    assert checked.exit_code == 1
    assert "0.0001 CNY paid, 0.0000 by what is owed" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("bill", "issue", "--site", "east", "--month", "2026-13"), 2, "expected a month"),
        (("bill", "issue", "--site", "east", "--month", "2999-01"), 2, "is not over"),
        (("bill", "issue", "--site", "west", "--month", "2026-02"), 3, "no site"),
        (("bill", "show", "EAST-B2026-000009"), 3, "no bill"),
        (("fee", "add", "A1", "x", "0", "--from", "2026-02-01"), 2, "price"),
        (("fee", "add", "A9", "x", "1", "--from", "2026-02-01"), 3, "no account 'A9'"),
        (("fee", "add", "A1", "x", "NaN", "--from", "2026-02-01"), 2, "expected a number"),
        (("debt", "add", "A1", "x", "--amount", "0.001", "--percent", "5"), 2, "2 decimals"),
        (("debt", "add", "A1", "x", "--amount", "5"), 2, "instalments"),
        (
            ("share", "run", "x", "--site", "east", "--by", "equal", *DAYS),
            2,
            "name one cost",
        ),
        (("ledger", "close-period", "2999-01"), 2, "is not over"),
        (("ledger", "entries"), 2, "name an account or an order"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_ends_with_a_line_and_a_code(
    cli: Cli, account: str, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, reason in result.stderr) == (code, True), result.stderr


def test_billing_needs_its_right(cli: Cli, account: str, add_operator: AddOperator) -> None:
    token = ("--token", add_operator("bert", Right.ACCOUNT_READ))
    refused = cli("bill", "issue", "--site", "east", "--month", "2026-02", *token)
    assert refused.exit_code == 1
    assert "bill.manage" in refused.stderr
    assert cli("bill", "list", *token).exit_code == 0
    assert cli("ledger", "close-period", "2026-02", *token).exit_code == 1

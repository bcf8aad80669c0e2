"""Reports and receipts at the terminal, each operator seeing his own sites."""

import asyncio
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Customer, CustomerId
from meterplex.domain.estate import AccountId, SiteId
from meterplex.domain.operators import Grant, Right
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]
Cli = Callable[..., Result]
Estate = Callable[..., None]

YUAN = 10_000
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
MARCH = ("--from", "2026-03-01", "--to", "2026-04-01")


@pytest.fixture
def sold(estate: Estate, database_file: Path) -> dict[str, SiteId]:
    """Sell 100.00 at the site east and 40.50 at the site west; return the sites by code."""
    estate()

    async def sell() -> dict[str, SiteId]:
        async with await Database.open(f"sqlite:///{database_file}") as database:
            async with database.unit_of_work() as uow:
                (organisation,) = await uow.organisations.all()
                (east,) = await uow.sites.all(organisation.id)
                west = replace(east, id=SiteId(uuid7()), code="west", name="West")
                await uow.sites.add(west)
                made = []
                for at, site in enumerate((east, west)):
                    name = ("=Li Na", "Wang Wei")[at]
                    owner = Customer(CustomerId(uuid7()), organisation.id, f"c-{at}", name)
                    await uow.customers.add(owner)
                    account = Account(
                        AccountId(uuid7()),
                        organisation.id,
                        site.id,
                        owner.id,
                        f"a-{at}",
                        AccountMode.PREPAID_SERVER,
                        "CNY",
                        NOON,
                    )
                    await uow.accounts.add(account)
                    made.append(account)
                await uow.commit()
            for account, amount in zip(made, (100 * YUAN, 405_000), strict=True):
                request = VendRequest(organisation.id, account.id, amount, f"k-{account.number}")
                await vend_credit(database, request, at=NOON, operator="cashier")
            return {"east": east.id, "west": west.id}

    return asyncio.run(sell())


def test_sales_are_shown_with_totals(cli: Cli, sold: dict[str, SiteId], answer: Answer) -> None:
    report = answer(cli("report", "sales", *MARCH, "--by", "month", "--json"))
    assert report["rows"] == [
        {
            "start": "2026-03-01",
            "currency": "CNY",
            "sales": 2,
            "sold": "140.50",
            "reversals": 0,
            "reversed": "0.00",
            "payouts": 0,
            "paid_out": "0.00",
            "net": "140.50",
        }
    ]
    assert report["totals"][0]["sold"] == "140.50"
    assert (report["from"], report["to"], report["by"]) == ("2026-03-01", "2026-04-01", "month")
    table = cli("report", "sales", *MARCH).stdout.splitlines()
    assert table[1].split()[0] == "2026-03-02"
    assert table[-1].split()[0] == "total"


def test_operator_of_a_site_sees_that_site(
    cli: Cli, sold: dict[str, SiteId], add_operator: AddOperator, answer: Answer
) -> None:
    token = add_operator("west-only", Grant(Right.REPORT_READ, sold["west"]))
    asked = ("report", "sales", *MARCH, "--json", "--token", token)
    assert answer(cli(*asked))["totals"][0]["sold"] == "40.50"
    assert answer(cli(*asked, "--site", "west"))["totals"][0]["sold"] == "40.50"
    for refused in (
        (*asked, "--site", "east"),
        (*asked, "--account", "a-0"),
        ("report", "trial-balance", *MARCH, "--token", token),
        ("report", "sales", *MARCH, "--token", add_operator("nobody")),
    ):
        result = cli(*refused)
        assert result.exit_code == 1
        assert "no right report.read" in result.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(("cashiers", *MARCH), {"cashier": "cashier", "sold": "140.50"}, id="cashiers"),
        pytest.param(
            ("balances", *MARCH, "--site", "west"),
            {"account": "a-1", "topped_up": "40.5000", "closing": "40.5000"},
            id="balances",
        ),
        pytest.param(
            ("accounts", "--state", "open", "--account", "a-0"),
            {"customer": "=Li Na", "credit": "100.0000", "state": "open"},
            id="accounts",
        ),
        pytest.param(
            ("accounts", "--low"),
            {"account": "a-1", "level": "alarm_1", "remaining": "40.5000"},
            id="low",
        ),
        pytest.param(
            ("trial-balance", *MARCH),
            {"kind": "cash", "subject": "cash", "debit": "140.5000", "closing": "-140.5000"},
            id="trial-balance",
        ),
    ],
)
def test_reports_show_what_happened(
    cli: Cli,
    sold: dict[str, SiteId],
    answer: Answer,
    command: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    rows = answer(cli("report", *command, "--json"))["rows"]
    assert {name: rows[0][name] for name in expected} == expected
    assert cli("report", *command).exit_code == 0


@pytest.mark.parametrize("name", ["refunds", "bills", "shares"])
def test_reports_of_nothing_are_empty(
    cli: Cli, sold: dict[str, SiteId], answer: Answer, name: str
) -> None:
    report = answer(cli("report", name, *MARCH, "--json"))
    assert (report["rows"], report["totals"]) == ([], [])


def test_ageing_of_nothing_is_empty(cli: Cli, sold: dict[str, SiteId], answer: Answer) -> None:
    assert answer(cli("report", "ageing", "--json"))["rows"] == []


def test_csv_has_no_totals_and_no_formulas(cli: Cli, sold: dict[str, SiteId]) -> None:
    result = cli("report", "balances", *MARCH, "--csv")
    head, *rows = csv.reader(io.StringIO(result.stdout))
    assert head[:4] == ["site", "account", "customer", "opening"]
    assert [row[:3] for row in rows] == [["east", "a-0", "'=Li Na"], ["west", "a-1", "Wang Wei"]]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(
            ("sales", "--from", "2026-03-02", "--to", "2026-03-02"), 2, "not after", id="no-day"
        ),
        pytest.param(("sales", *MARCH, "--site", "nowhere"), 3, "no site", id="site"),
        pytest.param(("sales", *MARCH, "--account", "nobody"), 3, "no account", id="account"),
        pytest.param(
            ("trial-balance", "--from", "2026-03-02", "--to", "2026-04-01"),
            2,
            "first of a month",
            id="part-month",
        ),
        pytest.param(("accounts", "--low", "--state", "open"), 2, "--state", id="low-and-state"),
        pytest.param(("shares", *MARCH, "--account", "a-0"), 2, "site", id="shares-of-account"),
    ],
)
def test_impossible_reports_end_with_one_line(
    cli: Cli, sold: dict[str, SiteId], arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = cli("report", *arguments)
    assert result.exit_code == code
    assert words in result.stderr


# -- receipts ----------------------------------------------------------------------------------

NUMBER = "EAST-2026-000001"


def test_receipts_are_listed_and_shown(cli: Cli, sold: dict[str, SiteId], answer: Answer) -> None:
    (listed,) = answer(cli("receipt", "list", *MARCH, "--site", "east", "--json"))
    shown = answer(cli("receipt", "show", NUMBER, "--json"))
    assert listed["number"] == shown["number"] == NUMBER
    assert (shown["paid"], shown["cashier"], shown["prints"]) == ("100.00", "cashier", [])
    assert shown["items"] == [{"kind": "credit", "amount": "100.00"}]
    assert (
        answer(cli("receipt", "list", *MARCH, "--site", "east", "--account", "a-1", "--json")) == []
    )
    assert NUMBER in cli("receipt", "list", *MARCH, "--site", "east").stdout
    assert "paid 100.00 CNY" in cli("receipt", "show", NUMBER).stdout


def test_first_print_is_the_original(
    cli: Cli, sold: dict[str, SiteId], answer: Answer, tmp_path: Path
) -> None:
    files = [tmp_path / f"{at}.html" for at in range(3)]
    tried = answer(cli("receipt", "print", NUMBER, "--html", str(files[2]), "--dry-run", "--json"))
    copies = [
        answer(cli("receipt", "print", NUMBER, "--html", str(file), "--json"))["copy"]
        for file in files[:2]
    ]
    assert (tried["copy"], copies) == (0, [0, 1])
    original, copy = (file.read_text() for file in files[:2])
    assert "COPY 1" in copy
    assert "COPY" not in original
    prints = answer(cli("receipt", "show", NUMBER, "--json"))["prints"]
    assert [(each["copy"], each["printed_by"]) for each in prints] == [(0, "anna"), (1, "anna")]
    assert "copy 1 printed" in cli("receipt", "show", NUMBER).stdout


def test_receipt_is_printed_as_pdf_in_a_language(
    cli: Cli, sold: dict[str, SiteId], tmp_path: Path
) -> None:
    file = tmp_path / "r.pdf"
    result = cli("receipt", "print", NUMBER, "--pdf", str(file), "--language", "en")
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(b"%PDF-")


def test_missing_font_costs_no_original(
    cli: Cli,
    sold: dict[str, SiteId],
    answer: Answer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METERPLEX_RECEIPT__FONT", str(tmp_path / "gone.ttf"))
    result = cli("receipt", "print", NUMBER, "--pdf", str(tmp_path / "r.pdf"), "--language", "zh")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
    assert answer(cli("receipt", "show", NUMBER, "--json"))["prints"] == []


def test_file_that_cannot_be_written_costs_no_original(
    cli: Cli, sold: dict[str, SiteId], answer: Answer, tmp_path: Path
) -> None:
    result = cli("receipt", "print", NUMBER, "--html", str(tmp_path / "gone" / "r.html"))
    assert result.exit_code == 1
    assert answer(cli("receipt", "show", NUMBER, "--json"))["prints"] == []


def test_true_and_invented_check_texts(cli: Cli, sold: dict[str, SiteId], answer: Answer) -> None:
    check = answer(cli("receipt", "show", NUMBER, "--json"))["check"]
    assert answer(cli("receipt", "verify", NUMBER, check, "--json"))["receipt"]["paid"] == "100.00"
    assert "paid 100.00" in cli("receipt", "verify", NUMBER, check.lower()).stdout
    told, shown = (
        cli("receipt", "verify", NUMBER, "0000-1111-2222-3333-4444", *form)
        for form in ((), ("--json",))
    )
    assert (told.exit_code, shown.exit_code) == (1, 1)
    assert "100.00" not in told.output
    assert json.loads(shown.stdout) == {"number": NUMBER, "genuine": False}


def test_receipt_of_another_site_is_not_found(
    cli: Cli, sold: dict[str, SiteId], add_operator: AddOperator
) -> None:
    token = add_operator("west-only", Grant(Right.ACCOUNT_READ, sold["west"]))
    known, unknown = (
        cli("receipt", "show", number, "--token", token) for number in (NUMBER, "EAST-2026-000009")
    )
    assert (known.exit_code, unknown.exit_code) == (3, 3)
    assert known.stderr.replace("000001", "000009") == unknown.stderr
    nobody = cli("receipt", "show", NUMBER, "--token", add_operator("nobody"))
    assert (nobody.exit_code, "account.read" in nobody.stderr) == (1, True)


@pytest.mark.parametrize("files", [(), ("--html", "a", "--pdf", "b")], ids=["none", "both"])
def test_print_needs_one_file(cli: Cli, sold: dict[str, SiteId], files: tuple[str, ...]) -> None:
    assert cli("receipt", "print", NUMBER, *files).exit_code == 2

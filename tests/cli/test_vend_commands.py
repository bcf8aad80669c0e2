"""``vend``, ``refund``, ``reverse``, ``payout`` and ``order`` as their users meet them."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from uuid_utils.compat import uuid7

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Customer, CustomerId
from meterplex.domain.estate import AccountId
from meterplex.domain.operators import Right
from meterplex.domain.prepayment import OrderState
from meterplex.domain.prepayment.credit_order import OrderStep

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]
Work = Callable[[UnitOfWork], Awaitable[None]]
InDatabase = Callable[[Work], None]
OpenAccount = Callable[..., None]


@pytest.fixture
def in_database(database_file: Path) -> InDatabase:
    """Do something in the user's database, and commit it."""

    async def act(work: Work) -> None:
        async with (
            await Database.open(f"sqlite:///{database_file}") as database,
            database.unit_of_work() as uow,
        ):
            await work(uow)
            await uow.commit()

    return lambda work: asyncio.run(act(work))


@pytest.fixture
def open_account(estate: Callable[..., None], in_database: InDatabase) -> OpenAccount:
    """Store the account a-1; with the meter m1 where that holds the credit."""

    def open_it(mode: AccountMode = AccountMode.PREPAID_SERVER) -> None:
        estate()

        async def write(uow: UnitOfWork) -> None:
            (organisation,) = await uow.organisations.all()
            (site,) = await uow.sites.all(organisation.id)
            customer = Customer(CustomerId(uuid7()), organisation.id, "c-1", "Li Na")
            await uow.customers.add(customer)
            account = Account(
                AccountId(uuid7()),
                organisation.id,
                site.id,
                customer.id,
                "a-1",
                mode,
                "CNY",
                datetime.now(UTC),
            )
            await uow.accounts.add(account)
            (binding,) = await uow.bindings.open(organisation.id)
            await uow.bindings.replace(replace(binding, account_id=account.id, mode=mode))

        in_database(write)

    return open_it


def vend(cli: Cli, amount: str, key: str, *more: str) -> Result:
    return cli("vend", "a-1", amount, "--key", key, "--json", *more)


def test_vend_is_answered_and_repeated(cli: Cli, open_account: OpenAccount, answer: Answer) -> None:
    open_account()
    sold = answer(vend(cli, "50", "k-1"))
    assert (sold["state"], sold["credit"], sold["balance"]) == ("confirmed", "50.00", "50.00")
    assert sold["receipt"]
    assert answer(vend(cli, "50", "k-1")) == sold | {"repeated": True}
    (listed,) = answer(cli("order", "list", "a-1", "--json"))
    assert (listed["id"], listed["kind"], listed["amount"]) == (sold["order"], "vend", "50.00")


def test_dry_run_keeps_nothing(cli: Cli, open_account: OpenAccount, answer: Answer) -> None:
    open_account()
    assert answer(vend(cli, "50", "k-1", "--dry-run"))["balance"] == "50.00"
    assert answer(cli("order", "list", "a-1", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("vend", "a-1", "0", "--key", "k"), 2, "amount: 0: expected more than 0"),
        (("vend", "a-1", "1.005", "--key", "k"), 2, "amount: 1.005: CNY has 2 decimals"),
        (("vend", "a-1", "NaN", "--key", "k"), 2, "amount: 'NaN'"),
        (("vend", "a-9", "1", "--key", "k"), 3, "account: no account 'a-9'"),
        (("vend", "a-1", "1", "--key", "k", "--meter", "m9"), 3, "meter: account a-1"),
        (("vend", "a-1", "1"), 2, "--key"),
        (("refund", "a-1", "1", "--key", "k"), 4, "amount: 1.00 asked back, at most 0.00"),
        (("payout", "a-1", "1", "--key", "k"), 4, "amount: 1.00 asked, 0.00"),
        (("order", "show", "00000000-0000-0000-0000-000000000001"), 3, "no credit_order"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_named(
    cli: Cli, open_account: OpenAccount, arguments: tuple[str, ...], code: int, said: str
) -> None:
    open_account()
    result = cli(*arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


def test_right_is_needed(
    cli: Cli,
    open_account: OpenAccount,
    add_operator: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_account()
    monkeypatch.setenv("METERPLEX_TOKEN", add_operator("reader", Right.ACCOUNT_READ))
    assert vend(cli, "50", "k-1").exit_code == 1
    assert cli("order", "list", "a-1").exit_code == 0


def test_refund_is_paid_out(cli: Cli, open_account: OpenAccount, answer: Answer) -> None:
    open_account()
    vend(cli, "50", "k-1")
    back = answer(cli("refund", "a-1", "20", "--key", "r-1", "--json"))
    assert (back["state"], back["to_pay_out"]) == ("confirmed", "20.00")
    paid = answer(cli("payout", "a-1", "20", "--key", "p-1", "--method", "bank", "--json"))
    assert (paid["method"], paid["to_pay_out"]) == ("bank", "0.00")
    printed = cli("payout", "a-1", "20", "--key", "p-1", "--method", "bank")
    assert "repeated: True" in printed.stdout


def test_what_needs_a_second_person_needs_a_reason(cli: Cli, open_account: OpenAccount) -> None:
    open_account()
    cli("vend", "a-1", "900", "--key", "v-1")
    refused = cli("refund", "a-1", "600", "--key", "r-1")
    assert refused.exit_code == 2
    assert "needs a second person: say why with --reason" in refused.stderr


def test_large_refund_asks_for_the_second_person(
    cli: Cli,
    open_account: OpenAccount,
    answer: Answer,
    add_operator: Callable[..., str],
) -> None:
    open_account()
    vend(cli, "900", "k-1")
    refund = ("refund", "a-1", "600", "--key", "r-1", "--reason", "moves out", "--json")
    asked = cli(*refund)
    assert asked.exit_code == 4
    approval = json.loads(asked.stdout)["approval"]
    token = add_operator("ben", *Right)
    shown = cli("approval", "show", approval).stdout
    assert re.search(r"^content: amount +600\.0000 *$", shown, re.MULTILINE)
    assert re.search(r"^content: account +a-1 *$", shown, re.MULTILINE)
    assert cli("approval", "approve", approval, "--token", token).exit_code == 0
    assert answer(cli(*refund, "--approval", approval))["to_pay_out"] == "600.00"


def test_closing_asks_for_the_second_person_of_a_large_payout(
    cli: Cli,
    answer: Answer,
    estate: Callable[..., None],
    add_operator: Callable[..., str],
) -> None:
    estate()
    named = ("--site", "east", "--name", "Li Na", "--mode", "prepaid_server")
    assert cli("account", "open", "a-1", *named).exit_code == 0
    answer(vend(cli, "900", "k-1"))
    close = ("account", "close", "a-1", "--pay-out", "cash", "--json")
    asked = cli(*close)
    assert asked.exit_code == 4, asked.output
    approval = json.loads(asked.stdout)["approval"]
    token = add_operator("ben", *Right)
    assert cli("approval", "approve", approval, "--token", token).exit_code == 0
    assert answer(cli(*close, "--approval", approval))["closed"]


def test_vend_is_reversed_by_another(
    cli: Cli,
    open_account: OpenAccount,
    answer: Answer,
    add_operator: Callable[..., str],
) -> None:
    open_account()
    order = answer(vend(cli, "50", "k-1"))["order"]
    reverse = ("reverse", order, "--key", "r-1", "--reason", "typed twice", "--json")
    own = cli(*reverse)
    assert own.exit_code == 4
    assert "whoever sold it cannot reverse it" in own.stderr
    token = add_operator("ben", *Right)
    assert answer(cli(*reverse, "--token", token))["state"] == "confirmed"
    again = cli("reverse", order, "--key", "r-2", "--reason", "again", "--token", token)
    assert again.exit_code == 4


def test_order_of_a_meter_is_shown_tried_again_and_given_up(
    cli: Cli, open_account: OpenAccount, answer: Answer
) -> None:
    open_account(AccountMode.PREPAID_METER)
    sold = answer(vend(cli, "50", "k-1", "--meter", "m1"))
    assert sold["state"] == "paid"
    order = sold["order"]
    shown = answer(cli("order", "show", order, "--json"))
    assert (shown["meter"], [each["code"] for each in shown["steps"]]) == ("m1", ["asked"])
    assert "50.00 CNY paid" in cli("order", "show", order).stdout
    assert "transit:m1/a-1" in cli("ledger", "entries", "--order", order).stdout
    assert answer(cli("order", "retry", order, "--json"))["state"] == "paid"
    void = ("order", "void", order, "--reason", "wrong flat")
    assert cli(*void, "--dry-run").exit_code == 0
    assert answer(cli(*void, "--json"))["state"] == "voided"
    assert cli(*void).exit_code == 4
    paid = answer(cli("payout", "a-1", "50", "--key", "p-1", "--json"))
    assert paid["to_pay_out"] == "0.00"


def test_conflict_is_settled_by_two(
    cli: Cli,
    open_account: OpenAccount,
    in_database: InDatabase,
    answer: Answer,
    add_operator: Callable[..., str],
) -> None:
    open_account(AccountMode.PREPAID_METER)
    order_id = answer(vend(cli, "50", "k-1"))["order"]

    async def freeze(uow: UnitOfWork) -> None:
        (order,) = await uow.orders.in_states({OrderState.PAID})
        frozen = replace(order, state=OrderState.CONFLICT, due_at=None)
        step = OrderStep(datetime.now(UTC), frozen.state, "identity", "another meter", "test")
        assert await uow.orders.move(order, frozen, step)

    in_database(freeze)
    resolve = ("order", "resolve", order_id, "--to", "voided", "--reason", "meter is gone")
    asked = cli(*resolve)
    assert asked.exit_code == 4
    approval = asked.stdout.strip()
    token = add_operator("ben", *Right)
    assert cli("approval", "approve", approval, "--token", token).exit_code == 0
    settled = answer(cli(*resolve, "--approval", approval, "--json"))
    assert settled["state"] == "voided"


def test_waiting_for_a_meter_that_nobody_serves_ends_as_a_time_out(
    cli: Cli, open_account: OpenAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(AccountMode.PREPAID_METER)
    monkeypatch.setattr("meterplex.cli.order_answer.WAIT", timedelta(0))
    result = vend(cli, "50", "k-1", "--wait")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (6, "paid")


def test_waiting_tells_why_credit_is_not_delivered(
    cli: Cli, open_account: OpenAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_account(AccountMode.PREPAID_METER)
    monkeypatch.setattr("meterplex.cli.order_answer.WAIT", timedelta(0))
    result = vend(cli, "50", "k-1", "--wait")
    assert result.exit_code == 6
    assert "is paid, not delivered: " in result.stderr

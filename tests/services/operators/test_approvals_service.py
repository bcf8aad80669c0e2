from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.errors import NotFoundError
from meterplex.domain.approvals import (
    Approval,
    ApprovalError,
    ApprovalId,
    ApprovalKind,
    ApprovalState,
)
from meterplex.domain.operators import (
    ForbiddenError,
    Grant,
    Operator,
    OperatorId,
    OperatorInputError,
    Right,
)
from meterplex.services.operators import approvals

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
REFUND: dict[str, Any] = {"account": "A-7", "amount_units": 120_0000, "receipts": ["R-1"]}


async def store(database: Database, estate: "Estate", name: str, *rights: Right) -> Operator:
    operator = Operator(
        OperatorId(uuid7()),
        estate.organisation.id,
        name,
        "en",
        NOW,
        grants=frozenset(Grant(right, estate.site.id) for right in rights),
    )
    async with database.unit_of_work() as uow:
        await uow.operators.add(operator, "no password")
        await uow.commit()
    return operator


@pytest.fixture
async def cashier(database: Database, estate: "Estate") -> Operator:
    return await store(database, estate, "cashier", Right.MONEY_REFUND, Right.MONEY_APPROVE)


@pytest.fixture
async def second(database: Database, estate: "Estate") -> Operator:
    return await store(database, estate, "second", Right.MONEY_APPROVE)


async def ask(
    database: Database, estate: "Estate", operator: Operator, reason: str = "moved out"
) -> Approval:
    async with database.unit_of_work() as uow:
        approval = await approvals.ask(
            uow,
            operator,
            ApprovalKind.REFUND,
            REFUND,
            subject="refund 120.00 to A-7",
            reason=reason,
            site_id=estate.site.id,
            at=NOW,
        )
        await uow.commit()
    return approval


async def use(
    database: Database,
    operator: Operator,
    approval_id: ApprovalId | None,
    content: dict[str, Any] | None = None,
    *,
    at: datetime = NOW,
    commit: bool = True,
) -> Approval:
    async with database.unit_of_work() as uow:
        used = await approvals.require(
            uow, operator, approval_id, ApprovalKind.REFUND, content or REFUND, at=at
        )
        if commit:
            await uow.commit()
    return used


async def actions(database: Database, operator: Operator) -> list[tuple[str, str]]:
    async with database.unit_of_work(read_only=True) as uow:
        entries = await uow.audit.entries(operator.organisation_id)
    return [(entry.record.operator, entry.record.action) for entry in entries]


async def test_what_a_second_person_approved_is_allowed_once(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    decided = await approvals.decide(
        database, second, asked.id, approve=True, remark=" seen ", at=NOW
    )
    assert decided == replace(
        asked,
        state=ApprovalState.APPROVED,
        decided_by=second.id,
        decided_at=NOW,
        remark="seen",
    )
    same = dict(reversed(REFUND.items()))
    used = await use(database, cashier, asked.id, same)
    assert used == replace(decided, state=ApprovalState.USED, used_at=NOW)
    with pytest.raises(ApprovalError, match="is used, expected approved"):
        await use(database, cashier, asked.id)
    assert await actions(database, cashier) == [
        ("cashier", "approval.ask"),
        ("second", "approval.approve"),
    ]


async def test_approval_that_was_not_committed_can_be_used_again(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    await approvals.decide(database, second, asked.id, approve=True, at=NOW)
    await use(database, cashier, asked.id, commit=False)
    await use(database, cashier, asked.id)


@pytest.mark.parametrize(
    "changed",
    [{"amount_units": 120_0001}, {"account": "A-8"}, {"receipts": ["R-1", "R-2"]}, {"more": None}],
    ids=["amount", "account", "list", "another field"],
)
async def test_approval_allows_nothing_but_its_content(
    database: Database,
    estate: "Estate",
    cashier: Operator,
    second: Operator,
    changed: dict[str, Any],
) -> None:
    asked = await ask(database, estate, cashier)
    await approvals.decide(database, second, asked.id, approve=True, at=NOW)
    with pytest.raises(ApprovalError, match="given for another refund: refund 120"):
        await use(database, cashier, asked.id, REFUND | changed)
    await use(database, cashier, asked.id)


async def test_without_a_decision_nothing_is_allowed(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    with pytest.raises(ApprovalError, match="refund needs the approval of a second person"):
        await use(database, cashier, None)
    with pytest.raises(NotFoundError):
        await use(database, cashier, ApprovalId(uuid7()))
    asked = await ask(database, estate, cashier)
    with pytest.raises(ApprovalError, match="is open, expected approved"):
        await use(database, cashier, asked.id)
    await approvals.decide(database, second, asked.id, approve=False, at=NOW)
    with pytest.raises(ApprovalError, match="is refused"):
        await use(database, cashier, asked.id)


async def test_approval_lapses_half_an_hour_after_asking(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    late = NOW + timedelta(minutes=30)
    first, other = [await ask(database, estate, cashier) for _ in range(2)]
    with pytest.raises(ApprovalError, match="is lapsed, expected open"):
        await approvals.decide(database, second, first.id, approve=True, at=late)
    await approvals.decide(database, second, other.id, approve=True, at=late - timedelta(seconds=1))
    with pytest.raises(ApprovalError, match="is lapsed, expected approved"):
        await use(database, cashier, other.id, at=late)


async def test_who_asked_does_not_decide_even_with_the_right(
    database: Database, estate: "Estate", cashier: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    for approve in (True, False):
        with pytest.raises(ForbiddenError, match="asked for it"):
            await approvals.decide(database, cashier, asked.id, approve=approve, at=NOW)
    assert (await actions(database, cashier))[1:] == [
        ("cashier", "approval.approve.refused"),
        ("cashier", "approval.refuse.refused"),
    ]


async def test_who_has_not_the_right_does_not_decide(
    database: Database, estate: "Estate", cashier: Operator
) -> None:
    reader = await store(database, estate, "reader", Right.REPORT_READ, Right.SUPPLY_APPROVE)
    asked = await ask(database, estate, cashier)
    with pytest.raises(ForbiddenError, match=r"reader has no right money\.approve"):
        await approvals.decide(database, reader, asked.id, approve=True, at=NOW)
    assert (await actions(database, cashier))[-1] == ("reader", "approval.approve.refused")


async def test_decision_is_final(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    await approvals.decide(database, second, asked.id, approve=False, at=NOW)
    with pytest.raises(ApprovalError, match="is refused, expected open"):
        await approvals.decide(database, second, asked.id, approve=True, at=NOW)


async def test_dry_run_decides_nothing(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    decided = await approvals.decide(database, second, asked.id, approve=True, at=NOW, dry_run=True)
    assert decided.state is ApprovalState.APPROVED
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.approvals.get(asked.organisation_id, asked.id) == asked


async def test_asking_needs_the_right_and_a_reason(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    with pytest.raises(ForbiddenError, match=r"no right money\.refund"):
        await ask(database, estate, second)
    with pytest.raises(OperatorInputError, match=r"^reason"):
        await ask(database, estate, cashier, reason=" ")


async def test_remark_has_an_end(
    database: Database, estate: "Estate", cashier: Operator, second: Operator
) -> None:
    asked = await ask(database, estate, cashier)
    with pytest.raises(OperatorInputError, match=r"^remark"):
        await approvals.decide(database, second, asked.id, approve=True, remark="x" * 501, at=NOW)


async def test_approval_of_another_organisation_does_not_exist(
    database: Database,
    estate: "Estate",
    other_estate: "Estate",
    cashier: Operator,
    second: Operator,
) -> None:
    asked = await ask(database, estate, cashier)
    stranger = await store(database, other_estate, "stranger", Right.MONEY_APPROVE)
    with pytest.raises(NotFoundError):
        await approvals.decide(database, stranger, asked.id, approve=True, at=NOW)
    await approvals.decide(database, second, asked.id, approve=True, at=NOW)
    with pytest.raises(NotFoundError):
        await use(database, stranger, asked.id)

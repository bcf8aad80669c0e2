"""The two people at a till, and what its books say."""

from datetime import datetime
from typing import Any

from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import Grant, Operator, OperatorId, Right
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.operators import approvals


def cashier_and_manager(
    organisation_id: OrganisationId, since: datetime
) -> tuple[Operator, Operator]:
    """Return two operators who may do everything."""
    grants = frozenset(Grant(right) for right in Right)
    cashier, manager = (
        Operator(OperatorId(uuid7()), organisation_id, name, "en", since, grants=grants)
        for name in ("cashier", "manager")
    )
    return cashier, manager


async def approve(
    database: Database,
    cashier: Operator,
    manager: Operator,
    kind: ApprovalKind,
    content: dict[str, Any],
    *,
    site_id: SiteId,
    at: datetime,
) -> ApprovalId:
    """Have the manager allow what the cashier asks for."""
    async with database.unit_of_work() as uow:
        asked = await approvals.ask(
            uow,
            cashier,
            kind,
            content,
            subject="for a test",
            reason="asked",
            site_id=site_id,
            at=at,
        )
        await uow.commit()
    decided = await approvals.decide(database, manager, asked.id, approve=True, at=at)
    return decided.id


async def balances_by_kind(database: Database, organisation_id: OrganisationId) -> dict[str, int]:
    """Return all balances that are not zero, in ledger units; the books are right."""
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.ledger.trial_balance(organisation_id, "CNY")
        assert await find_discrepancies(uow, organisation_id) == ()
    summed: dict[str, int] = {}
    for account, units in found.items():
        summed[account.kind.value] = summed.get(account.kind.value, 0) + units
    return {kind: units for kind, units in summed.items() if units}

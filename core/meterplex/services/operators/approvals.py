"""Approvals: asked for by one operator, decided by another, taken with what they allow."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.approvals import (
    ASKING,
    LIFETIME,
    Approval,
    ApprovalError,
    ApprovalId,
    ApprovalKind,
    ApprovalState,
    check_decider,
    check_open,
    check_usable,
    content_hash,
    reason_text,
)
from meterplex.domain.estate import SiteId
from meterplex.domain.operators import Operator, OperatorInputError, require_right
from meterplex.services.operators.audit import record
from meterplex.services.operators.manage_operators import refusals_noted

REMARK_LENGTH_MAX: Final = 500


async def ask(
    uow: UnitOfWork,
    operator: Operator,
    kind: ApprovalKind,
    content: Mapping[str, Any],
    *,
    subject: str,
    reason: str,
    site_id: SiteId | None,
    at: datetime,
    lifetime: timedelta = LIFETIME,
) -> Approval:
    """Ask for a second person, in the caller's transaction, of which it should be the last thing.

    Args:
        content: exactly what is to be done: texts, whole numbers, lists, mappings. Sort lists
            whose order says nothing.
        subject: what it is about, one line for the one who decides.
        site_id: where both need their rights; None for the whole organisation.

    Raises:
        OperatorInputError: no reason, or content without an exact JSON.
        ForbiddenError: who asks has not the right to do such a thing there.
    """
    require_right(operator, ASKING[kind], site_id)
    approval = Approval(
        ApprovalId(uuid_utils.compat.uuid7()),
        operator.organisation_id,
        kind,
        subject,
        site_id,
        content_hash(kind, content),
        content,
        reason_text(reason),
        asked_by=operator.id,
        asked_at=at,
        lapses_at=at + lifetime,
    )
    await uow.approvals.add(approval)
    await _record(uow, operator, approval, "approval.ask", {"reason": approval.reason}, at)
    return approval


async def decide(
    database: Database,
    operator: Operator,
    approval_id: ApprovalId,
    *,
    approve: bool,
    remark: str = "",
    at: datetime,
    dry_run: bool = False,
) -> Approval:
    """Approve or refuse as the second person.

    Raises:
        NotFoundError: there is no such approval.
        ForbiddenError: the operator asked for it, or has not the right to approve there.
        ApprovalError: it has been decided, or has lapsed.
        OperatorInputError: the remark is too long.
    """
    remark = remark.strip()
    if len(remark) > REMARK_LENGTH_MAX:
        raise OperatorInputError(f"remark: expected at most {REMARK_LENGTH_MAX} characters")
    action, state = "approval.refuse", ApprovalState.REFUSED
    if approve:
        action, state = "approval.approve", ApprovalState.APPROVED
    subject = f"approval {approval_id}"
    async with (
        refusals_noted(database, operator, action, subject, at),
        database.unit_of_work() as uow,
    ):
        approval = await uow.approvals.get(operator.organisation_id, approval_id)
        check_decider(approval, operator)
        check_open(approval, at)
        decided = await uow.approvals.decide(
            operator.organisation_id,
            approval_id,
            state,
            decided_by=operator.id,
            at=at,
            remark=remark,
        )
        if decided is None:
            raise ApprovalError(f"{subject} was decided by somebody else at once")
        await _record(uow, operator, decided, action, {"remark": remark}, at)
        if not dry_run:
            await uow.commit()
    return decided


async def require(
    uow: UnitOfWork,
    operator: Operator,
    approval_id: ApprovalId | None,
    kind: ApprovalKind,
    content: Mapping[str, Any],
    *,
    at: datetime,
) -> Approval:
    """Take an approval in the transaction of what it allows; it allows that once.

    The caller's own audit entry names the approval. None is written here, where the caller has
    yet to lock rows: who holds the audit log must not wait for others.

    Args:
        operator: who does it now.
        approval_id: None when there is none yet, which is refused.
        content: what is about to be done, exactly as it was asked for.

    Raises:
        NotFoundError: there is no such approval.
        ApprovalError: there is none, or it does not allow this now.
    """
    if approval_id is None:
        raise ApprovalError(f"{kind} needs the approval of a second person")
    wanted = content_hash(kind, content)
    used = await uow.approvals.use(operator.organisation_id, approval_id, wanted, at)
    if used is None:
        found = await uow.approvals.get(operator.organisation_id, approval_id)
        check_usable(found, wanted, at)
        raise ApprovalError(f"approval {approval_id} was used at once by somebody else")
    return used


async def _record(
    uow: UnitOfWork,
    operator: Operator,
    approval: Approval,
    action: str,
    detail: Mapping[str, str],
    at: datetime,
) -> None:
    facts = {
        "kind": approval.kind,
        "about": approval.subject,
        "content_hash": approval.content_hash,
    }
    await record(
        uow,
        operator.organisation_id,
        operator.name,
        action,
        f"approval {approval.id}",
        facts | dict(detail),
        at,
    )

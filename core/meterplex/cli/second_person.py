"""Asks for the second person that a refund, a reversal, a payout or a decision needs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.output import format_time, print_json, print_lines, tell
from meterplex.cli.program import now
from meterplex.db import Database
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalKind
from meterplex.domain.estate import SiteId
from meterplex.domain.operators import Operator
from meterplex.services.operators import approvals

approval_option = click.option(
    "--approval",
    type=click.UUID,
    metavar="ID",
    help="Of a second person, where one is needed; without it one is asked for.",
)
reason_option = click.option("--reason", default="", help="Why; needed where others decide.")


def approval_of(identifier: UUID | None) -> ApprovalId | None:
    """Return the approval that was named."""
    return None if identifier is None else ApprovalId(identifier)


async def ask(
    database: Database,
    operator: Operator,
    kind: ApprovalKind,
    content: Mapping[str, Any],
    *,
    subject: str,
    reason: str,
    site_id: SiteId,
) -> Approval:
    """Ask for the second person.

    Raises:
        click.UsageError: no reason.
        OperatorInputError: a reason that is none.
    """
    if not reason.strip():
        raise click.UsageError(f"{subject} needs a second person: say why with --reason")
    async with database.unit_of_work() as uow:
        asked = await approvals.ask(
            uow,
            operator,
            kind,
            content,
            subject=subject,
            reason=reason,
            site_id=site_id,
            at=now(),
        )
        await uow.commit()
    return asked


def show_asked(asked: Approval, *, as_json: bool) -> None:
    """Say what was asked for, and end with the exit code of a conflict."""
    if as_json:
        print_json({"approval": asked.id, "lapses_at": asked.lapses_at})
    else:
        print_lines(str(asked.id))
    tell(
        f"{asked.subject} needs a second person: after meterplex approval approve, until "
        f"{format_time(asked.lapses_at)}, say the same with --approval"
    )
    raise SystemExit(ExitCode.CONFLICT)

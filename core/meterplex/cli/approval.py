"""``meterplex approval``: the second person looks, and decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.names import SpokenNames, load_names
from meterplex.cli.output import format_time, json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db import UnitOfWork
from meterplex.db.errors import NotFoundError
from meterplex.domain.approvals import ASKING, DECIDING, Approval, ApprovalId
from meterplex.domain.operators import Operator, OperatorId
from meterplex.services.operators import approvals as service

OperatorNames = Mapping[OperatorId, str]


@dataclass(frozen=True, slots=True)
class _Shown:
    """An approval, who had to do with it, and what its content is called."""

    approval: Approval
    operators: OperatorNames
    names: SpokenNames


@click.group(cls=FailingGroup)
def approval() -> None:
    """Look at what needs a second person, and decide it with a token of one's own.

    An approval allows once exactly what was asked for, within 30 minutes of asking.
    """


@approval.command("list")
@click.option("--all", "every", is_flag=True, help="Decided, used and lapsed ones too, newest 100.")
@operator_option
@json_option
@pass_program
def list_(program: Program, every: bool, as_json: bool) -> None:
    """List what waits for a second person."""

    async def look() -> tuple[list[Approval], OperatorNames]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                if every:
                    found = await uow.approvals.newest(operator.organisation_id)
                else:
                    found = await uow.approvals.waiting(operator.organisation_id, now())
                operators = await uow.operators.all(operator.organisation_id)
        names = {each.id: each.name for each in operators}
        return [each for each in found if _may_see(operator, each)], names

    found, names = run(look())
    if as_json:
        print_json([_fields(each, names) for each in found])
        return
    print_table(
        ("id", "kind", "about", "asked by", "reason", "lapses", "state"),
        (
            (
                each.id,
                each.kind,
                each.subject,
                names[each.asked_by],
                each.reason,
                format_time(each.lapses_at),
                each.state_at(now()),
            )
            for each in found
        ),
    )


@approval.command
@click.argument("approval_id", metavar="ID", type=click.UUID)
@operator_option
@json_option
@pass_program
def show(program: Program, approval_id: UUID, as_json: bool) -> None:
    """Show exactly what an approval would allow."""

    async def look() -> _Shown:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.approvals.get(operator.organisation_id, ApprovalId(approval_id))
                if not _may_see(operator, found):
                    raise NotFoundError(f"no approval {approval_id} in this organisation")
                return await _load_shown(uow, found)

    _show(run(look()), as_json=as_json)


@approval.command
@click.argument("approval_id", metavar="ID", type=click.UUID)
@click.option("--remark", default="", help="A line for the log.")
@click.option("--dry-run", is_flag=True, help="Check, but decide nothing.")
@operator_option
@json_option
@pass_program
def approve(program: Program, approval_id: UUID, remark: str, dry_run: bool, as_json: bool) -> None:
    """Allow it, as another person than the one who asked."""
    _decide(program, approval_id, remark, approve=True, dry_run=dry_run, as_json=as_json)


@approval.command
@click.argument("approval_id", metavar="ID", type=click.UUID)
@click.option("--remark", default="", help="A line for the log.")
@click.option("--dry-run", is_flag=True, help="Check, but decide nothing.")
@operator_option
@json_option
@pass_program
def refuse(program: Program, approval_id: UUID, remark: str, dry_run: bool, as_json: bool) -> None:
    """Refuse it for good."""
    _decide(program, approval_id, remark, approve=False, dry_run=dry_run, as_json=as_json)


def _decide(
    program: Program,
    approval_id: UUID,
    remark: str,
    *,
    approve: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    async def write() -> _Shown:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            decided = await service.decide(
                database,
                operator,
                ApprovalId(approval_id),
                approve=approve,
                remark=remark,
                at=now(),
                dry_run=dry_run,
            )
            async with database.unit_of_work(read_only=True) as uow:
                return await _load_shown(uow, decided)

    decided = run(write())
    if dry_run:
        tell("dry run: nothing was written")
    _show(decided, as_json=as_json)


def _may_see(operator: Operator, each: Approval) -> bool:
    """Whether it is one's own, or one holds a right that asks for or decides such things there."""
    rights = (ASKING[each.kind], DECIDING[each.kind])
    return each.asked_by == operator.id or any(
        operator.may(right, each.site_id) for right in rights
    )


async def _load_shown(uow: UnitOfWork, each: Approval) -> _Shown:
    operators = await uow.operators.all(each.organisation_id)
    names = await load_names(uow, each.organisation_id, each.content.values())
    return _Shown(each, {each.id: each.name for each in operators}, names)


def _show(shown: _Shown, *, as_json: bool) -> None:
    fields = _fields(shown.approval, shown.operators)
    if as_json:
        print_json(fields)
        return
    content = {
        f"content: {name}": value for name, value in shown.names.rows(shown.approval.content)
    }
    del fields["content"]
    print_table(
        ("", ""),
        ((name, "" if value is None else str(value)) for name, value in (fields | content).items()),
    )


def _fields(each: Approval, names: OperatorNames) -> dict[str, object]:
    return {
        "id": each.id,
        "kind": each.kind,
        "about": each.subject,
        "reason": each.reason,
        "asked_by": names[each.asked_by],
        "asked_at": each.asked_at,
        "lapses_at": each.lapses_at,
        "state": each.state_at(now()),
        "decided_by": None if each.decided_by is None else names[each.decided_by],
        "decided_at": each.decided_at,
        "remark": each.remark,
        "used_at": each.used_at,
        "content_hash": each.content_hash,
        "content": each.content,
    }

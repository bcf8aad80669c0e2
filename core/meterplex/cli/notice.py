"""``meterplex notice``: the log of who was told what, and who has to be told on paper."""

from uuid import UUID

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db.notices import Notice, NoticeId
from meterplex.domain.operators import Operator, Right
from meterplex.domain.warnings import WarningState
from meterplex.services.accounts.find_accounts import find_account
from meterplex.services.follow_up.notices import TEXTS
from meterplex.services.supply.send_warnings import note_on_paper


@click.group(cls=FailingGroup)
def notice() -> None:
    """See what customers and operators were told."""


@notice.command("list")
@click.option("--account", metavar="NUMBER", help="To one account.")
@click.option("--unreachable", is_flag=True, help="Warnings that somebody has to bring on paper.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@operator_option
@json_option
@pass_program
def list_(
    program: Program, account: str | None, unreachable: bool, limit: int, as_json: bool
) -> None:
    """List the newest notices."""

    async def look() -> list[Notice]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                organisation_id = operator.organisation_id
                whose = None
                if account is not None:
                    whose = (await find_account(uow, organisation_id, account)).id
                if unreachable:
                    found = await uow.notices.unreachable(organisation_id)
                else:
                    found = await uow.notices.newest(organisation_id, account_id=whose, limit=limit)
        return [each for each in found if _may_see(operator, each)]

    found = run(look())
    if as_json:
        print_json([_fields(each) for each in found])
        return
    print_table(
        ("id", "created", "kind", "to", "state", "by", "text"),
        (
            (
                each.id,
                format_time(each.created_at),
                each.kind,
                each.recipient,
                each.state,
                each.notifier,
                each.detail if each.state is WarningState.FAILED else each.text,
            )
            for each in found
        ),
    )


@notice.command
@click.argument("notice_id", metavar="ID", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@operator_option
@json_option
@pass_program
def paper(program: Program, notice_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Note that somebody brought it on paper; it counts from now."""

    async def write() -> Notice:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.notices.get(operator.organisation_id, notice_id)
            await program.require(database, operator, [Right.SUPPLY_HOLD], [found.site_id])
            return await note_on_paper(
                database,
                operator.organisation_id,
                NoticeId(notice_id),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )

    brought = run(write())
    if dry_run:
        tell("dry run: nothing was written")
    if as_json:
        print_json(_fields(brought))
    else:
        tell(f"notice {brought.id} to account: {brought.state}")


@notice.command
@json_option
def preview(as_json: bool) -> None:
    """Show the texts that customers get."""
    if as_json:
        print_json(TEXTS)
        return
    print_table(
        ("language", "kind", "text"),
        (
            (language, kind, text)
            for language, texts in TEXTS.items()
            for kind, text in texts.items()
        ),
    )


def _may_see(operator: Operator, each: Notice) -> bool:
    return each.recipient == operator.name or operator.may(Right.ACCOUNT_READ, each.site_id)


def _fields(each: Notice) -> dict[str, object]:
    return {
        "id": each.id,
        "created_at": each.created_at,
        "kind": each.kind,
        "recipient": each.recipient,
        "language": each.language,
        "text": each.text,
        "state": each.state,
        "notifier": each.notifier,
        "sent_at": each.sent_at,
        "detail": each.detail,
    }

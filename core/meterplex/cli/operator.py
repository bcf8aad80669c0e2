"""``meterplex operator``: the people who may act, and what each may do."""

from collections.abc import Callable
from typing import Any

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_table, tell
from meterplex.cli.passwords import CURRENT, NEW, ask_passwords, password_option
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.sign_in import rights_shown
from meterplex.db import Database
from meterplex.domain.estate import Organisation, SiteId
from meterplex.domain.operators import (
    LANGUAGES,
    Grant,
    Operator,
    OperatorState,
    Right,
    Role,
    operator_name,
)
from meterplex.services.operators import manage_operators as service
from meterplex.services.operators.manage_operators import NewOperator, grants_of
from meterplex.services.operators.sign_in import PasswordHasher

Codes = dict[SiteId, str]


@click.group(cls=FailingGroup)
def operator() -> None:
    """Manage the people who may act.

    The first operator of an organisation is added by whoever owns the machine and gets --role
    admin; all that follows needs a signed-in operator with the right operator.manage, who can give
    no right that he has not. A right holds at the sites of --site, otherwise at all.
    """


def _grant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--role",
            "roles",
            type=click.Choice([role.value for role in Role]),
            multiple=True,
            help="A ready-made set of rights.",
        ),
        click.option(
            "--right",
            "rights",
            type=click.Choice([right.value for right in Right]),
            multiple=True,
            metavar="RIGHT",
            help="One right, such as money.vend; docs/operators.md has all.",
        ),
        click.option("--site", "sites", multiple=True, metavar="CODE", help="Where it holds."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check and do everything, but keep nothing of it."
)


@operator.command
@click.argument("name")
@_grant_options
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    help="Of pages and notices.  [default: the organisation's]",
)
@password_option
@_dry_run_option
@operator_option
@json_option
@pass_program
def add(
    program: Program,
    name: str,
    roles: tuple[str, ...],
    rights: tuple[str, ...],
    sites: tuple[str, ...],
    language: str | None,
    from_stdin: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add an operator with a password and rights."""
    (password,) = ask_passwords([NEW], from_stdin=from_stdin)

    async def write() -> tuple[Operator, Codes]:
        async with program.database() as database:
            organisation, codes = await _estate(program, database)
            by = await _adding(program, database, organisation)
            new = NewOperator(
                name,
                password,
                language or organisation.language,
                await _grants(program, database, roles, rights, sites),
            )
            added = await service.add_operator(
                database,
                PasswordHasher(),
                organisation.id,
                new,
                by=by,
                at=now(),
                dry_run=dry_run,
            )
            return added, codes

    _show(*run(write()), done="added", dry_run=dry_run, as_json=as_json)


@operator.command("list")
@operator_option
@json_option
@pass_program
def list_(program: Program, as_json: bool) -> None:
    """List all operators."""

    async def look() -> tuple[tuple[Operator, ...], Codes]:
        async with program.database() as database:
            by = (await program.session(database)).operator
            if not by.may_somewhere(Right.OPERATOR_MANAGE):
                await program.require(database, by, [Right.OPERATOR_MANAGE], [None])
            organisation, codes = await _estate(program, database)
            async with database.unit_of_work(read_only=True) as uow:
                return await uow.operators.all(organisation.id), codes

    operators, codes = run(look())
    if as_json:
        print_json([_fields(each, codes) for each in operators])
        return
    print_table(
        ("name", "state", "language", "since", "rights"),
        (
            (each.name, each.state, each.language, format_time(each.created_at), _rights(each))
            for each in operators
        ),
    )


@operator.command
@click.argument("name")
@_grant_options
@click.option("--take", is_flag=True, help="Take these rights away; otherwise they are given.")
@_dry_run_option
@operator_option
@json_option
@pass_program
def rights(
    program: Program,
    name: str,
    roles: tuple[str, ...],
    rights: tuple[str, ...],
    sites: tuple[str, ...],
    take: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give rights to an operator, or take some away."""

    async def write() -> tuple[Operator, Codes]:
        async with program.database() as database:
            by = (await program.session(database)).operator
            organisation, codes = await _estate(program, database)
            grants = await _grants(program, database, roles, rights, sites)
            changed = await service.change_rights(
                database,
                organisation.id,
                name,
                give=() if take else grants,
                take=grants if take else (),
                by=by,
                at=now(),
                dry_run=dry_run,
            )
            return changed, codes

    _show(*run(write()), done="changed", dry_run=dry_run, as_json=as_json)


@operator.command
@click.argument("name")
@_dry_run_option
@operator_option
@json_option
@pass_program
def lock(program: Program, name: str, dry_run: bool, as_json: bool) -> None:
    """Let an operator in no more, and end all its tokens."""
    _set_state(program, name, OperatorState.LOCKED, dry_run=dry_run, as_json=as_json)


@operator.command
@click.argument("name")
@_dry_run_option
@operator_option
@json_option
@pass_program
def unlock(program: Program, name: str, dry_run: bool, as_json: bool) -> None:
    """Let an operator in again, also one who is blocked after wrong passwords."""
    _set_state(program, name, OperatorState.ACTIVE, dry_run=dry_run, as_json=as_json)


@operator.command
@click.argument("name")
@password_option
@_dry_run_option
@operator_option
@json_option
@pass_program
def password(program: Program, name: str, from_stdin: bool, dry_run: bool, as_json: bool) -> None:
    """Set a password and end all tokens; one's own needs the current one first."""

    async def write() -> tuple[Operator, Codes]:
        async with program.database() as database:
            by = (await program.session(database)).operator
            organisation, codes = await _estate(program, database)
            prompts = [CURRENT, NEW] if operator_name(name) == by.name else [NEW]
            *current, new = ask_passwords(prompts, from_stdin=from_stdin)
            changed = await service.set_password(
                database,
                PasswordHasher(),
                organisation.id,
                name,
                new,
                current=current[0] if current else None,
                by=by,
                at=now(),
                dry_run=dry_run,
            )
            return changed, codes

    _show(*run(write()), done="has a new password", dry_run=dry_run, as_json=as_json)


@operator.command
@click.argument("name")
@_dry_run_option
@operator_option
@json_option
@pass_program
def revoke(program: Program, name: str, dry_run: bool, as_json: bool) -> None:
    """End all tokens of an operator; the password stays."""

    async def write() -> int:
        async with program.database() as database:
            by = (await program.session(database)).operator
            return await service.revoke_tokens(
                database, by.organisation_id, name, by=by, at=now(), dry_run=dry_run
            )

    ended = run(write())
    _tell_dry(dry_run=dry_run)
    if as_json:
        print_json({"operator": name, "tokens_ended": ended, "dry_run": dry_run})
    else:
        tell(f"{ended} tokens of {name} ended")


def _set_state(
    program: Program, name: str, state: OperatorState, *, dry_run: bool, as_json: bool
) -> None:
    async def write() -> tuple[Operator, Codes]:
        async with program.database() as database:
            by = (await program.session(database)).operator
            organisation, codes = await _estate(program, database)
            changed = await service.set_operator_state(
                database, organisation.id, name, state, by=by, at=now(), dry_run=dry_run
            )
            return changed, codes

    _show(*run(write()), done=f"is {state}", dry_run=dry_run, as_json=as_json)


async def _estate(program: Program, database: Database) -> tuple[Organisation, Codes]:
    """Return the organisation and the codes of its sites."""
    async with database.unit_of_work(read_only=True) as uow:
        organisation = await program.organisation(uow)
        sites = await uow.sites.all(organisation.id)
    return organisation, {site.id: site.code for site in sites}


async def _adding(
    program: Program, database: Database, organisation: Organisation
) -> Operator | None:
    """Return who adds an operator; None for the owner of the machine, who adds the first."""
    async with database.unit_of_work(read_only=True) as uow:
        if not await uow.operators.all(organisation.id):
            return None
    return (await program.session(database)).operator


async def _grants(
    program: Program,
    database: Database,
    roles: tuple[str, ...],
    rights: tuple[str, ...],
    sites: tuple[str, ...],
) -> frozenset[Grant]:
    if not roles and not rights:
        raise click.UsageError("name rights with --role or --right")
    async with database.unit_of_work(read_only=True) as uow:
        organisation = await program.organisation(uow)
        found = [await program.site(uow, organisation, code) for code in sites]
    return grants_of(map(Role, roles), map(Right, rights), [site.id for site in found])


def _show(shown: Operator, codes: Codes, *, done: str, dry_run: bool, as_json: bool) -> None:
    _tell_dry(dry_run=dry_run)
    if as_json:
        print_json(_fields(shown, codes) | {"dry_run": dry_run})
    else:
        tell(f"{shown.name} {done}")


def _tell_dry(*, dry_run: bool) -> None:
    if dry_run:
        tell("dry run: nothing was written")


def _fields(each: Operator, codes: Codes) -> dict[str, object]:
    return {
        "id": each.id,
        "name": each.name,
        "state": each.state,
        "language": each.language,
        "created_at": each.created_at,
        "rights": [{"right": right, "site": site} for right, site in rights_shown(each, codes)],
    }


def _rights(each: Operator) -> str:
    everywhere = sum(grant.site_id is None for grant in each.grants)
    at_sites = len(each.grants) - everywhere
    parts = [f"{everywhere} at all sites"] if everywhere else []
    parts += [f"{at_sites} at single sites"] if at_sites else []
    return ", ".join(parts) or "none"

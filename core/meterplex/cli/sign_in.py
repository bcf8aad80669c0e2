"""``meterplex sign-in``, ``sign-out`` and ``whoami``: who acts, shown by a token."""

from datetime import datetime, timedelta
from typing import Final

import click

from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
    tell,
)
from meterplex.cli.passwords import KNOWN, ask_passwords, password_option
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.stored_token import forget_token, store_token
from meterplex.domain.estate import Organisation, SiteId
from meterplex.domain.intervals import parse_interval
from meterplex.domain.operators import Operator
from meterplex.services.operators import sign_in as service
from meterplex.services.operators.sign_in import PasswordHasher, Session, SignedIn

DEFAULT_LIFETIME: Final = "12h"


def _lifetime(_context: object, _parameter: object, text: str) -> timedelta:
    try:
        return parse_interval(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("sign-in")
@click.argument("name")
@click.option("--store", is_flag=True, help="Keep the token for the next commands of this user.")
@click.option(
    "--lifetime",
    default=DEFAULT_LIFETIME,
    show_default=True,
    callback=_lifetime,
    metavar="TIME",
    help="How long the token lives, 30 days at most.",
)
@password_option
@json_option
@pass_program
def sign_in(
    program: Program, name: str, store: bool, lifetime: timedelta, from_stdin: bool, as_json: bool
) -> None:
    """Sign in with a password; the new token goes to stdout, or into a file with --store.

    The file is meterplex/token in XDG_STATE_HOME, otherwise in ~/.local/state.
    """
    (password,) = ask_passwords([KNOWN], from_stdin=from_stdin)

    async def enter() -> SignedIn:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
            return await service.sign_in(
                database,
                PasswordHasher(),
                organisation.id,
                name,
                password,
                at=now(),
                lifetime=lifetime,
            )

    signed_in = run(enter())
    kept = store_token(signed_in.token) if store else None
    tell(f"signed in as {signed_in.operator.name} until {format_time(signed_in.expires_at)}")
    if as_json:
        print_json(
            {
                "operator": signed_in.operator.name,
                "token": None if store else signed_in.token,
                "stored_in": kept,
                "expires_at": signed_in.expires_at,
            }
        )
    elif kept is None:
        print_lines(signed_in.token)


@click.command("sign-out")
@operator_option
@json_option
@pass_program
def sign_out(program: Program, as_json: bool) -> None:
    """End the token that is in use, and delete it where it was stored."""

    async def leave() -> Session:
        async with program.database() as database:
            session = await program.session(database)
            await service.sign_out(database, session, now())
            return session

    session = run(leave())
    forget_token(session.token.hash)
    tell(f"{session.operator.name} is signed out")
    if as_json:
        print_json({"operator": session.operator.name, "signed_out": True})


@click.command()
@operator_option
@json_option
@pass_program
def whoami(program: Program, as_json: bool) -> None:
    """Show who is signed in, until when, and with which rights."""

    async def look() -> tuple[Session, Organisation, dict[SiteId, str]]:
        async with program.database() as database:
            session = await program.session(database)
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
                sites = await uow.sites.all(organisation.id)
        return session, organisation, {site.id: site.code for site in sites}

    session, organisation, codes = run(look())
    rights = rights_shown(session.operator, codes)
    if as_json:
        print_json(
            {
                "operator": session.operator.name,
                "organisation": organisation.name,
                "language": session.operator.language,
                "expires_at": session.token.expires_at,
                "rights": [{"right": right, "site": site} for right, site in rights],
            }
        )
        return
    tell(_sentence(session.operator, organisation, session.token.expires_at))
    print_table(("right", "site"), ((right, site or "all") for right, site in rights))


def rights_shown(operator: Operator, codes: dict[SiteId, str]) -> list[tuple[str, str | None]]:
    """Return the rights with the codes of their sites, in order; None for all sites."""
    held = (
        (grant.right.value, None if grant.site_id is None else codes[grant.site_id])
        for grant in operator.grants
    )
    return sorted(held, key=lambda each: (each[0], each[1] or ""))


def _sentence(operator: Operator, organisation: Organisation, expires_at: datetime) -> str:
    return f"{operator.name} of {organisation.name}, until {format_time(expires_at)}"

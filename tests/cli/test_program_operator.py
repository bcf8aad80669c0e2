from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from meterplex.cli.group import FailingGroup
from meterplex.cli.program import Program, operator_option, pass_program, run
from meterplex.domain.operators import Right

AddOperator = Callable[..., str]
Cli = Callable[..., Result]
Estate = Callable[..., None]


@click.group(cls=FailingGroup)
def till() -> None:
    """Hold one command that moves money."""


@till.command
@click.option("--site")
@operator_option
@pass_program
def vend(program: Program, site: str | None) -> None:
    """Say who may vend here."""

    async def who() -> str:
        async with program.database() as database:
            site_id = None
            if site is not None:
                async with database.unit_of_work(read_only=True) as uow:
                    site_id = (await program.site(uow, await program.organisation(uow), site)).id
            rights = (Right.ACCOUNT_READ, Right.MONEY_VEND)
            return (await program.operator(database, *rights, site_id=site_id)).name

    click.echo(run(who()))


def test_command_of_money_knows_its_operator(
    estate: Estate, cli: Cli, add_operator: AddOperator, database_file: Path
) -> None:
    estate()
    at_east = ("operator", "rights", "bert", "--role", "cashier", "--site", "east")
    bert = add_operator("bert", Right.REPORT_READ)
    assert cli(*at_east).exit_code == 0

    def ask(*arguments: str) -> Result:
        return CliRunner().invoke(till, ["vend", *arguments])

    assert ask().stdout == "anna\n"
    assert ask("--site", "east").stdout == "anna\n"
    assert ask("--site", "east", "--token", bert).stdout == "bert\n"
    refused = ask("--token", bert)
    assert refused.exit_code == 1
    assert "bert has no right account.read at the whole organisation" in refused.stderr


@pytest.mark.parametrize("token", ["", "mplx_unknown"])
def test_command_of_money_is_not_run_for_nobody(bare_estate: Estate, token: str) -> None:
    bare_estate()
    result = CliRunner().invoke(till, ["vend", "--token", token])
    assert result.exit_code == 1
    assert "run meterplex sign-in" in result.stderr

"""``meterplex db``: the schema of the database."""

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_lines, tell
from meterplex.cli.program import Program, pass_program, run
from meterplex.db import migrations
from meterplex.db.errors import SchemaError
from meterplex.settings import mask_secrets


@click.group(cls=FailingGroup)
def db() -> None:
    """Make, upgrade and check the database."""


@db.command
@json_option
@pass_program
def upgrade(program: Program, as_json: bool) -> None:
    """Bring the database to the schema of this program; an SQLite file is made if new."""
    url, file = program.settings.db.url, program.database_file
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    run(migrations.upgrade(url))
    found = run(migrations.current(url))
    if as_json:
        print_json({"database": mask_secrets(url), "revision": found})
    else:
        tell(f"{mask_secrets(url)} is at revision {found}")


@db.command
@json_option
@pass_program
@click.pass_context
def check(context: click.Context, program: Program, as_json: bool) -> None:
    """Compare the schema of the database with what this program needs."""
    url, file = program.settings.db.url, program.database_file
    if file is not None and not file.exists():
        raise SchemaError(f"no database at {file}: run meterplex db upgrade")
    differences = run(migrations.check(url))
    if as_json:
        print_json({"database": mask_secrets(url), "differences": differences})
    elif differences:
        print_lines(*differences)
    else:
        tell(f"{mask_secrets(url)} fits")
    context.exit(ExitCode.ERROR if differences else ExitCode.OK)

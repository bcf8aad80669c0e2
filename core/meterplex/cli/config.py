"""``meterplex config``: the settings in force, and where each came from."""

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, pass_program
from meterplex.db.database import driver_url


@click.group(cls=FailingGroup)
def config() -> None:
    """Show and check the settings."""


@config.command
@json_option
@pass_program
def show(program: Program, as_json: bool) -> None:
    """Show every setting with its origin; secrets are masked."""
    values = tuple(program.loaded_settings.values())
    if as_json:
        print_json([{"name": v.name, "value": v.value, "origin": v.origin} for v in values])
        return
    print_table(("setting", "value", "origin"), ((v.name, v.value, v.origin) for v in values))


@config.command
@json_option
@pass_program
def check(program: Program, as_json: bool) -> None:
    """Check the settings file and the environment; nothing is opened."""
    driver_url(program.settings.db.url)
    given = sorted(program.loaded_settings.origins)
    if as_json:
        print_json({"ok": True, "given": given})
    else:
        tell(f"settings are good; {len(given)} differ from their defaults or were given")

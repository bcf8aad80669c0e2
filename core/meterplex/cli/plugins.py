"""``meterplex plugins`` and ``meterplex models``: what is installed and what it can read."""

import click

from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, pass_program


@click.command
@json_option
@pass_program
def plugins(program: Program, as_json: bool) -> None:
    """List the plugins, whether they work, and what is wrong with them."""
    found = program.plugins.plugins
    if as_json:
        print_json(found)
        return
    print_table(
        ("plugin", "state", "distribution", "version", "models ", "channels"),
        (
            (
                plugin.name,
                plugin.state,
                plugin.distribution,
                plugin.version,
                len(plugin.models),
                ", ".join(plugin.channel_types),
            )
            for plugin in found
        ),
    )
    for plugin in found:
        for problem in plugin.problems:
            tell(f"{plugin.name}: {problem}")


@click.command
@click.option("--utility", help="Only models for this utility.")
@json_option
@pass_program
def models(program: Program, utility: str | None, as_json: bool) -> None:
    """List the models of meter that can be read."""
    found = [
        model
        for _, model in sorted(program.plugins.models.items())
        if utility in (None, model.utility)
    ]
    if as_json:
        print_json(
            [
                {
                    "id": model.id,
                    "title": model.title,
                    "utility": model.utility,
                    "plugin": program.plugins.plugin_of_model(model.id),
                    "protocol": model.bus.protocol,
                    "capabilities": sorted(model.capabilities),
                    "registers": [register.slug for register in model.registers],
                    "settings": [
                        {
                            "name": setting.name,
                            "help": setting.help,
                            "default": setting.default,
                            "choices": setting.choices,
                        }
                        for setting in model.settings
                    ],
                    "twin": model.twin is not None,
                }
                for model in found
            ]
        )
        return
    print_table(
        ("model", "title", "utility", "protocol", "registers ", "capabilities"),
        (
            (
                model.id,
                model.title,
                model.utility,
                model.bus.protocol,
                len(model.registers),
                " ".join(sorted(model.capabilities)),
            )
            for model in found
        ),
    )

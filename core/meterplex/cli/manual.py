"""Writes the manual of all commands from the commands themselves: ``docs/cli.md``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from meterplex.cli import main

HEAD: Final = """# Commands

Made from the commands by `make docs`; a test keeps it equal to them.

Data goes to stdout, talk and progress to stderr. Every command that prints data takes `--json`.
An error is one line on stderr and an exit code:

| code | meaning |
|---|---|
| 0 | done |
| 1 | error: a channel or database that fails, a refused file, nobody signed in, no right |
| 2 | wrong use: an option, a setting, an address or a URL that cannot be |
| 3 | not found: a model, meter, site or batch of this name |
| 4 | conflict: a device in service, another than expected, a taken key, an approval not valid |
| 5 | the device refused |
| 6 | time-out: no reply, or an outcome that is not proven |
| 130 | interrupted by Ctrl-C |
"""
WIDTH: Final = 96


def render() -> str:
    """Return the manual as Markdown."""
    root = _context(main, "meterplex", None)
    return "\n".join([HEAD, *(_section(context) for context in _contexts(root))])


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Give the context of each command, groups before their own commands."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None:
                yield from _contexts(_context(command, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        help_option_names=main.context_settings["help_option_names"],
    )


def _section(context: click.Context) -> str:
    return f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


if __name__ == "__main__":
    Path("docs/cli.md").write_text(render(), "utf-8")

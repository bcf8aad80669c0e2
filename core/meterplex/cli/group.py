"""The command group: loads a command's module when it is called, ends each failure in one place."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import ClassVar

import click

_PASSED_ON = (
    click.exceptions.Exit,
    click.exceptions.NoArgsIsHelpError,
    click.Abort,
    BrokenPipeError,  # whoever read our output has seen enough
)


class FailingGroup(click.Group):
    """A group whose commands end with one line and an exit code, whatever they raise."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _end(error)
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            _end(error)
            raise


def _end(error: BaseException) -> None:
    """Say what went wrong and leave with its exit code; come back from what passes on.

    Raises:
        click.exceptions.Exit: the error is one that is expected.
    """
    if isinstance(error, _PASSED_ON):
        return
    from meterplex.cli.errors import judge

    judged = judge(error)
    if judged is not None:
        text, code = judged
        click.echo(f"error: {text}", err=True)
        raise click.exceptions.Exit(code) from error


class LazyGroup(FailingGroup):
    """A group that knows its commands by ``module:attribute`` and imports them when needed."""

    commands_at: ClassVar[Mapping[str, str]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in order."""
        return sorted(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        place = self.commands_at.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant.

        Raises:
            click.UsageError: there is none of this name; the nearest one is told.
        """
        name = args[0]
        if name not in self.commands_at and not name.startswith("-"):
            near = get_close_matches(name, self.commands_at, 1)
            hint = f", did you mean {near[0]!r}?" if near else ", see meterplex --help"
            raise click.UsageError(f"no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

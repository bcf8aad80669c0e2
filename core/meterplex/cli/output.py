"""How commands speak: data on stdout, as JSON or for people; talk and progress on stderr."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Command = TypeVar("Command", bound=Callable[..., Any])

_WIDTH_OF_A_PIPE = 10_000
"""So that nothing is cut off where nobody sees a screen."""


def json_option(command: Command) -> Command:
    """Give a command the option ``--json``, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(value: object) -> None:
    """Print a value as indented JSON; decimals and times become text."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, for output that goes on."""
    click.echo(msgspec.json.encode(value))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header; columns whose name ends in a space are right-aligned."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.strip(), justify="right" if column.endswith(" ") else "left")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    _console().print(table, markup=False, highlight=False)


def print_lines(*lines: str) -> None:
    """Print lines for people."""
    for line in lines:
        click.echo(line)


def tell(text: str) -> None:
    """Say something that is not data."""
    click.echo(text, err=True)


def _console() -> Console:
    if sys.stdout.isatty():
        return Console(file=sys.stdout)
    return Console(file=sys.stdout, width=_WIDTH_OF_A_PIPE)


def format_age(age: timedelta | None) -> str:
    """Return an age for people; ``never`` for None."""
    if age is None:
        return "never"
    seconds = int(age.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def format_time(at: datetime | None) -> str:
    """Return a time to the second with its zone; empty for None."""
    return "" if at is None else at.isoformat(sep=" ", timespec="seconds")


@dataclass(slots=True)
class ProgressBar:
    """A bar on stderr; it shows on a terminal only."""

    _progress: Progress
    _task: Any

    def show(self, done: int, total: int, text: str | None = None) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total)
        if text is not None:
            self._progress.update(self._task, description=text)

    def tell(self, text: str) -> None:
        """Say something above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)


@contextmanager
def progress_bar(text: str) -> Iterator[ProgressBar]:
    """Show how far long work has come."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield ProgressBar(bar, bar.add_task(text, total=None))

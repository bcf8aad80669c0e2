"""How commands get passwords: from the terminal without echo, from stdin, or from a file."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

FILE_VARIABLE: Final = "METERPLEX_PASSWORD_FILE"
_SIZE_MAX: Final = 1 << 16

CURRENT: Final = "Current password"
NEW: Final = "New password"
KNOWN: Final = "Password"


def password_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--password-stdin``, as the argument ``from_stdin``."""
    return click.option(
        "--password-stdin",
        "from_stdin",
        is_flag=True,
        help="Read the password from stdin, several in the order of their prompts, one a line; "
        f"otherwise from the file in {FILE_VARIABLE}, otherwise it is asked for.",
    )(command)


def ask_passwords(prompts: Sequence[str], *, from_stdin: bool) -> list[str]:
    """Return a password for each of some prompts; a new one is asked for twice.

    Raises:
        click.UsageError: stdin or the file has another number of lines.
        OSError: the file cannot be read.
    """
    named = os.environ.get(FILE_VARIABLE, "")
    if from_stdin:
        return _lines("stdin", sys.stdin.buffer.read(_SIZE_MAX), len(prompts))
    if named:
        with Path(named).open("rb") as stream:
            return _lines(named, stream.read(_SIZE_MAX), len(prompts))
    return [
        click.prompt(prompt, hide_input=True, err=True, confirmation_prompt=prompt == NEW)
        for prompt in prompts
    ]


def _lines(source: str, content: bytes, wanted: int) -> list[str]:
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise click.UsageError(f"{source}: not UTF-8 text") from None
    if len(lines) != wanted:
        raise click.UsageError(
            f"{source}: expected one line for each of {wanted}, found {len(lines)}"
        )
    return lines

"""Where the token of a sign-in is kept between commands, for its user's eyes only."""

import os
from pathlib import Path
from typing import Final

import click

from meterplex.services.operators.sign_in import token_hash

FILE_VARIABLE: Final = "METERPLEX_TOKEN_FILE"
_SIZE_MAX: Final = 4096


def stored_token_file() -> Path:
    """Return the file in the user's state directory (XDG base directories)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return home / "meterplex" / "token"


def store_token(token: str) -> Path:
    """Keep a token for the next commands; return its file, which nobody else can read."""
    file = stored_token_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"{token}\n")
    new.replace(file)
    return file


def forget_token(hashed: str) -> None:
    """Delete the file if the token of this hash is what it keeps."""
    file = stored_token_file()
    if file.exists() and token_hash(_content(file)) == hashed:
        file.unlink()


def find_token() -> str:
    """Return the token of METERPLEX_TOKEN_FILE, else the stored one; empty without either.

    Raises:
        OSError: the file that was named cannot be read.
        click.UsageError: it holds something else.
    """
    named = os.environ.get(FILE_VARIABLE, "")
    if named:
        return _content(Path(named))
    file = stored_token_file()
    return _content(file) if file.exists() else ""


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(_SIZE_MAX + 1)
    if len(content) > _SIZE_MAX or not content.isascii():
        raise click.UsageError(f"{file}: expected a token, not {len(content)} bytes of something")
    return content.decode("ascii").strip()

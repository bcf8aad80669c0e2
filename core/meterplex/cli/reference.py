"""Writes the reference of settings, channels and models from the code: ``docs/reference.md``."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from meterplex.cli.program import Program
from meterplex.domain.intervals import format_interval
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Setting
from meterplex.settings import Settings

HEAD: Final = """# Reference

Made from the code by `make docs`; a test keeps it equal to it.

## Settings of the program

From the file named by `--config` or `METERPLEX_CONFIG`, else from `meterplex.toml` in the working
directory, then from the environment: `METERPLEX_DB__URL` sets `url` of the table `[db]`, and
`METERPLEX_DB__URL_FILE` names a file that holds it. `meterplex config show` tells what is in force
and where it comes from.
"""


def render() -> str:
    """Return the reference as Markdown."""
    plugins = Program().plugins
    return "\n".join([HEAD, *_program(), *_channels(plugins), *_models(plugins)])


def _program() -> Iterator[str]:
    rows = []
    for group in msgspec.structs.fields(Settings):
        texts = _attributes(inspect.getdoc(group.type) or "")
        for setting in msgspec.structs.fields(group.type):
            name = f"{group.name}.{setting.name}"
            default: object = setting.default
            if isinstance(default, timedelta):
                default = format_interval(default)
            shown = "a file in the user's data directory" if name == "db.url" else f"`{default}`"
            rows.append((f"`{name}`", shown, texts.get(setting.name, "")))
    yield from _table(("setting", "default", "meaning"), rows)


def _attributes(docstring: str) -> dict[str, str]:
    """Read the ``Attributes`` section of a docstring."""
    section = docstring.partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): ((?:.*\n?)(?:^     +.*\n?)*)", section, re.MULTILINE)
    return {name: " ".join(text.replace("``", "`").split()) for name, text in found}


def _channels(plugins: PluginManager) -> Iterator[str]:
    yield "## Channels\n"
    for scheme, channel_type in sorted(plugins.channel_types.items()):
        yield f"### `{scheme}://`: {channel_type.title}\n"
        yield from _settings(channel_type.settings)


def _models(plugins: PluginManager) -> Iterator[str]:
    yield "## Models of meters\n"
    for name, model in sorted(plugins.models.items()):
        yield f"### `{name}`: {model.title}\n"
        capabilities = ", ".join(sorted(model.capabilities)) or "none beyond reading"
        registers = ", ".join(f"`{register.slug}`" for register in model.registers)
        yield f"- plugin `{plugins.plugin_of_model(name)}`, {model.utility}"
        yield f"- can: {capabilities}"
        yield f"- registers: {registers}\n"
        yield from _settings(model.settings)
        if model.twin_settings:
            yield "Its simulated device, with `meterplex simulate --set`:\n"
            yield from _settings(model.twin_settings)


def _settings(settings: Sequence[Setting]) -> Iterator[str]:
    rows = [
        (
            f"`{setting.name}`",
            "must be given" if setting.default is None else f"`{setting.default}`",
            setting.help + (f"; {' or '.join(setting.choices)}" if setting.choices else ""),
        )
        for setting in settings
    ]
    if rows:
        yield from _table(("setting", "default", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        cells = (cell.replace("``", "") for cell in row)
        yield f"| {' | '.join(cells)} |"
    yield ""


if __name__ == "__main__":
    Path("docs/reference.md").write_text(render(), "utf-8")

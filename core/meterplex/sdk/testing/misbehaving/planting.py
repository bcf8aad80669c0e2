"""Puts the misbehaving plugins where a test needs them.

:func:`entry_points` names them as modules of the kit, to be handed to the plugin manager.
:func:`plant` installs them into a folder as distributions of their own, with top-level modules,
as a vendor's would be; with the folder on ``sys.path`` they are found like any other.
"""

from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from typing import Final

PACKAGE: Final = "meterplex.sdk.testing.misbehaving.plugins"
GROUP: Final = "meterplex"


def entry_points(*names: str) -> tuple[EntryPoint, ...]:
    """Return entry points of the named plugins, each under its module's name."""
    return tuple(EntryPoint(name, f"{PACKAGE}.{name}", GROUP) for name in names)


def plant(folder: Path, *names: str, version: str = "1.0") -> None:
    """Install the named plugins into a folder, each as distribution ``misbehaving-<name>``."""
    for name in names:
        module = f"misbehaving_{name}"
        source = files(PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: misbehaving-{name.replace('_', '-')}\n"
            f"Version: {version}\n",
            encoding="utf-8",
        )
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}\n", encoding="utf-8")

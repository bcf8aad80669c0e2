"""Runs benches and prints a table; exits 1 when a promise is not kept."""

import importlib
import pkgutil
import platform
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

import bench
from bench.figures import Figure


def benches() -> dict[str, Callable[[], list[Figure]]]:
    """Return the benches by name."""
    found = {}
    for module_info in pkgutil.iter_modules(bench.__path__):
        if module_info.name == "__main__":
            continue
        module = importlib.import_module(f"bench.{module_info.name}")
        if hasattr(module, "run"):
            found[module_info.name] = module.run
    return found


def table(figures: Sequence[Figure]) -> Table:
    rows = Table(title=f"{platform.machine()}, Python {platform.python_version()}")
    for column in ("what", "value", "promise", "kept", "detail"):
        rows.add_column(column, overflow="fold")
    for figure in figures:
        value = f"{figure.value:.3g} {figure.unit}"
        kept = "yes" if figure.kept else "NO"
        rows.add_row(figure.what, value, figure.promise, kept, figure.detail)
    return rows


def main(names: Sequence[str]) -> int:
    known = benches()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no bench {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name in names or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += known[name]()
    Console(width=140 if not sys.stdout.isatty() else None).print(table(figures))
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

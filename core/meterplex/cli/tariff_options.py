"""What the commands of ``meterplex tariff`` share: reading tariff files, and ending with faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.output import tell
from meterplex.cli.program import Program
from meterplex.domain.tariff import ComponentError, TariffError, TariffVersion, UsageError
from meterplex.services.tariffs.files import IntervalsError, TariffFileError, read_tariff

FILE: Final = click.Path(path_type=Path, dir_okay=False)


def read_tariff_file(program: Program, file: Path) -> TariffVersion:
    """Read a sound tariff version, with the components of all plugins.

    Raises:
        TariffFileError: the file cannot be read.
        TariffError: with everything that is wrong in it.
    """
    return read_tariff(file, program.plugins.tariff_components)


@contextmanager
def one_line_each() -> Iterator[None]:
    """End with one line on stderr for each thing that is wrong."""
    try:
        yield
    except TariffError as error:
        faults: tuple[object, ...] = error.faults
    except IntervalsError as error:
        faults = error.problems
    except (TariffFileError, UsageError, ComponentError) as error:
        faults = (error,)
    else:
        return
    for fault in faults:
        tell(f"error: {fault}")
    raise click.exceptions.Exit(ExitCode.ERROR)

"""Where the Alembic scripts are, in a checkout and in an installed wheel."""

from pathlib import Path

import meterplex


def migrations_dir() -> Path:
    """Return the folder that holds ``env.py`` and ``versions/``.

    Raises:
        FileNotFoundError: it is in neither of its two places.
    """
    package = Path(meterplex.__file__).parent
    places = (package / "migrations", package.parents[1] / "migrations")
    for place in places:
        if (place / "env.py").is_file():
            return place
    raise FileNotFoundError(f"no migrations in {' or '.join(str(place) for place in places)}")

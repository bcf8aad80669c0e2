"""What is in the distribution that people install."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the sdist, as an index gets it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_module_of_the_core(names: set[str]) -> None:
    core = ROOT / "core"
    modules = {str(path.relative_to(core)) for path in core.rglob("*.py")}
    assert modules <= names


def test_wheel_is_typed(names: set[str]) -> None:
    assert "meterplex/py.typed" in names


def test_wheel_holds_every_migration(names: set[str]) -> None:
    migrations = {
        f"meterplex/migrations/{path.relative_to(ROOT / 'migrations')}"
        for path in (ROOT / "migrations").rglob("*.py")
    }
    assert "meterplex/migrations/env.py" in migrations
    assert migrations <= names


def test_wheel_holds_no_plugin_and_no_test(names: set[str]) -> None:
    folders = {name.partition("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"meterplex"}


def test_wheel_declares_program_and_pytest_plugin(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.partition("/")[0] for name in archive.namelist()} - {"meterplex"}
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
    assert "meterplex = meterplex.cli:main" in entry_points
    assert "meterplex = meterplex.sdk.testing.pytest_plugin" in entry_points
    assert metadata["License-Expression"] == "Apache-2.0"


def test_sdist_holds_what_a_packager_needs(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        paths = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "migrations/env.py", "pyproject.toml"} <= paths

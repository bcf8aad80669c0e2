"""The tutorial's plugin, built and installed where nobody has the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "plugin-author" / "tutorial.md"
FILE = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.integration


class Installation:
    """A virtual environment that knows the installed wheels and nothing of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self._folder = folder
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COVERAGE", "METERPLEX", "VIRTUAL_ENV", "PYTEST"))
        }

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str | Path) -> str:
        with self.start(*command) as process:
            output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, f"{command}\n{output}\n{errors}"
        return output


def build_wheel(source: Path, target: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return dict(FILE.findall(TUTORIAL.read_text()))


@pytest.fixture(scope="module")
def installation(
    files: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    require_program: Callable[..., Path],
) -> Installation:
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else require_program("uv")
    folder = tmp_path_factory.mktemp("vendor")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "meterplex_acme_em1.py"):
        (source / name).write_text(files[name])
    wheels = [build_wheel(source, folder / "plugin"), build_wheel(ROOT, folder / "core")]
    shutil.rmtree(source)
    (folder / "test_acme_em1.py").write_text(files["test_acme_em1.py"])
    made = Installation(folder)
    made.run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", made.bin / "python"]
    install += ["--constraint", ROOT / "constraints.txt", *wheels, "pytest"]
    try:
        made.run(*install, "--offline")
    except AssertionError:  # not all of it has been downloaded before
        made.run(*install)
    return made


@pytest.fixture
def twin_url(installation: Installation) -> Iterator[str]:
    """Serve the tutorial's twin and give its channel URL."""
    process = installation.start(
        installation.bin / "meterplex",
        *("simulate", "--model", "acme_em1", "--addresses", "1", "--seed", "7"),
        *("--listen", "tcp://127.0.0.1:0?framing=rtu", "--json"),
    )
    with process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["buses"][0]["url"]
        process.terminate()
        process.communicate(timeout=30)


def test_tutorial_is_two_files_and_a_test(files: dict[str, str]) -> None:
    assert list(files) == ["pyproject.toml", "meterplex_acme_em1.py", "test_acme_em1.py"]


def test_installed_plugin_does_not_see_the_checkout(installation: Installation) -> None:
    paths = installation.run(
        installation.bin / "python",
        "-c",
        "import meterplex, meterplex_acme_em1 as em1; print(meterplex.__file__, em1.__file__)",
    )
    assert str(ROOT / "core") not in paths
    assert paths.count("site-packages") == 2


def test_installed_plugin_is_listed(installation: Installation) -> None:
    program = installation.bin / "meterplex"
    plugins = {
        plugin["name"]: plugin
        for plugin in json.loads(installation.run(program, "plugins", "--json"))
    }
    assert plugins["acme_em1"]["state"] == "loaded"
    assert plugins["acme_em1"]["distribution"] == "meterplex-acme-em1"
    (model,) = json.loads(installation.run(program, "models", "--json"))
    assert (model["id"], model["plugin"]) == ("acme_em1", "acme_em1")
    assert model["registers"] == ["active_energy_import", "voltage_l1"]


def test_installed_plugin_reads_its_twin(installation: Installation, twin_url: str) -> None:
    answer = json.loads(
        installation.run(
            installation.bin / "meterplex",
            *("read", "--model", "acme_em1", "--channel", twin_url, "--address", "1", "--json"),
        )
    )
    assert (answer["model"], answer["address"]) == ("acme_em1", "1")
    values = {reading["register"]: reading["value"] for reading in answer["readings"]}
    assert values["voltage_l1"] == "230.5"
    assert float(values["active_energy_import"]) >= 1000.0
    assert {reading["obis"] for reading in answer["readings"]} == {"1-0:1.8.0", "1-0:32.7.0"}


def test_installed_plugin_keeps_the_rules(installation: Installation) -> None:
    output = installation.run(installation.bin / "python", "-m", "pytest", "-q", "test_acme_em1.py")
    assert re.search(r"^\d\d passed, \d\d skipped", output, re.MULTILINE), output

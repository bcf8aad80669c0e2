from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meterplex.settings import (
    LoadedSettings,
    SettingsFileError,
    load_settings,
    mask_secrets,
)

Writer = Callable[..., Path]


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Write a settings file into an otherwise empty working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "site.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def shown(loaded: LoadedSettings) -> dict[str, tuple[str, str]]:
    return {value.name: (value.value, value.origin) for value in loaded.values()}


def test_defaults_stand_without_file_and_environment(settings_file: Writer) -> None:
    settings = load_settings(None, {}).settings
    assert settings.reading.interval == timedelta(minutes=30)
    assert settings.http.host == "127.0.0.1"
    assert settings.db.url.startswith("sqlite:///")


def test_default_database_lies_in_the_users_data_directory(
    settings_file: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    url = load_settings(None, {}).settings.db.url
    assert url == "sqlite:////srv/data/meterplex/meterplex.sqlite"


def test_environment_wins_over_the_file(settings_file: Writer) -> None:
    path = settings_file('[http]\nport = 9000\nhost = "::1"\n')
    loaded = load_settings(path, {"METERPLEX_HTTP__PORT": "9001"})
    assert (loaded.settings.http.port, loaded.settings.http.host) == (9001, "::1")
    assert shown(loaded)["http.port"] == ("9001", "METERPLEX_HTTP__PORT")
    assert shown(loaded)["http.host"] == ("::1", str(path))
    assert shown(loaded)["log.level"] == ("info", "default")


def test_file_of_the_working_directory_is_found(settings_file: Writer) -> None:
    settings_file('[log]\nlevel = "debug"\n', "meterplex.toml")
    assert load_settings(None, {}).settings.log.level == "debug"


def test_file_named_in_the_environment_wins_over_the_working_directory(
    settings_file: Writer,
) -> None:
    settings_file('[log]\nlevel = "debug"\n', "meterplex.toml")
    other = settings_file('[log]\nlevel = "error"\n')
    assert load_settings(None, {"METERPLEX_CONFIG": str(other)}).settings.log.level == "error"


def test_secret_is_read_from_the_file_that_a_variable_names(settings_file: Writer) -> None:
    secret = settings_file("postgresql://me:word@db/m\n", "secret")
    settings = load_settings(None, {"METERPLEX_DB__URL_FILE": str(secret)}).settings
    assert settings.db.url == "postgresql://me:word@db/m"


def test_interval_is_read_as_people_write_it(settings_file: Writer) -> None:
    path = settings_file('[reading]\ninterval = "1h30m"\n')
    loaded = load_settings(path, {})
    assert loaded.settings.reading.interval == timedelta(minutes=90)
    assert shown(loaded)["reading.interval"] == ("1h30m", str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[db]\nulr = 1", "unknown setting db.ulr, did you mean db.url", id="key"),
        pytest.param("[htp]\nport = 1", r"unknown table \[htp\], did you mean http", id="table"),
        pytest.param('http = "x"', r"http is a table, write \[http\]", id="no table"),
        pytest.param("[http]\nport = 70000", "http.port 70000: Expected `int` <= 65535", id="port"),
        pytest.param('[log]\nlevel = "loud"', "log.level 'loud': Invalid enum", id="choice"),
        pytest.param("[headend]\ncommand_poll_s = 0", "command_poll_s 0: Expected", id="zero"),
        pytest.param("[reading]\ninterval = 30", "'30': expected a time such as", id="no unit"),
        pytest.param("[db\nurl = 1", "not TOML", id="syntax"),
        pytest.param("a = " + "[" * 5000, "not TOML", id="deep nesting"),
    ],
)
def test_unusable_file_is_refused_by_name_and_reason(
    settings_file: Writer, text: str, message: str
) -> None:
    path = settings_file(text)
    with pytest.raises(SettingsFileError, match=message) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("METERPLEX_HTTP__PROT", "1", "unknown setting http.prot, did you mean http.port"),
        ("METERPLEX_DB_URL", "x", "not a setting, did you mean METERPLEX_DB__URL"),
        ("METERPLEX_HTTP__PORT", "many", "http.port 'many': Expected `int`"),
        ("METERPLEX_DB__URL_FILE", "/no/such/file", "cannot read /no/such/file"),
        ("METERPLEX_DB__ULR_FILE", "/no/such/file", "unknown setting db.ulr"),
    ],
)
def test_unusable_variable_is_refused_by_name_and_reason(
    settings_file: Writer, variable: str, value: str, message: str
) -> None:
    with pytest.raises(SettingsFileError, match=f"^{variable}: .*{message}"):
        load_settings(None, {variable: value})


def test_other_variables_of_the_program_are_no_settings(settings_file: Writer) -> None:
    load_settings(None, {"METERPLEX_TEST_REQUIRE_ALL": "1", "PATH": "/bin", "HTTP__PORT": "x"})


def test_missing_named_file_is_an_error(settings_file: Writer, tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match="No such file"):
        load_settings(tmp_path / "gone.toml", {})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:pa:s@s@db:5/m", "postgresql://me:***@db:5/m"),
        ("postgresql://db/m?user=u&password=x&a=b", "postgresql://db/m?user=u&password=***&a=b"),
        ("sqlite:////srv/m.sqlite", "sqlite:////srv/m.sqlite"),
        ("plain", "plain"),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_password_of_a_refused_url_is_not_in_the_error(settings_file: Writer) -> None:
    path = settings_file("[db]\nurl = ['postgresql://me:hunter2@db/m']")
    with pytest.raises(SettingsFileError) as caught:
        load_settings(path, {})
    assert "hunter2" not in str(caught.value)

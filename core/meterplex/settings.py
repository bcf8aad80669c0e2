"""Settings of the program: defaults, then a TOML file, then the environment.

The file is the one named by ``--config``, else by ``METERPLEX_CONFIG``, else ``meterplex.toml`` in
the working directory if it is there. In the environment a double underscore nests:
``METERPLEX_DB__URL`` is ``url`` of the table ``[db]``; with ``_FILE`` behind it
(``METERPLEX_DB__URL_FILE``) it names a file that holds the value, so that a secret need not stand
in the environment.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from meterplex.domain.intervals import format_interval, parse_interval

PREFIX: Final = "METERPLEX_"
DEFAULT_FILE: Final = Path("meterplex.toml")
_FILE_SIZE_MAX: Final = 1 << 20

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class SettingsFileError(Exception):
    """A settings file or an environment variable is not usable; the text names which and why."""


def default_database_url() -> str:
    """Return the SQLite file in the user's data directory (XDG base directories)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    home = Path(data) if Path(data).is_absolute() else Path.home() / ".local" / "share"
    return f"sqlite:///{home / 'meterplex' / 'meterplex.sqlite'}"


class DatabaseSettings(msgspec.Struct, frozen=True):
    """``[db]``.

    Attributes:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
    """

    url: str = msgspec.field(default_factory=default_database_url)


class HttpSettings(msgspec.Struct, frozen=True):
    """``[http]``: where health, metrics and later the API are served.

    Attributes:
        host: address to listen on.
        port: to listen on; 0 takes any free one.
    """

    host: str = "127.0.0.1"
    port: Port = 8080


class LogSettings(msgspec.Struct, frozen=True):
    """``[log]``.

    Attributes:
        level: debug, info, warning or error.
        format: console for people, json for programs; on stderr either way.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class ReadingSettings(msgspec.Struct, frozen=True):
    """``[reading]``.

    Attributes:
        interval: between two readings of a meter where its site says nothing else.
    """

    interval: timedelta = timedelta(minutes=30)


class HeadendSettings(msgspec.Struct, frozen=True):
    """``[headend]``.

    Attributes:
        command_poll_s: how often the database is asked for commands of other processes.
        estate_poll_s: how often it is asked for changes of channels and meters.
        read_deadline_s: a driver that has not come back by then is cancelled.
        call_attempts: reads of a meter that must fail in a row before it counts as lost.
    """

    command_poll_s: Positive = 0.5
    estate_poll_s: Positive = 5.0
    read_deadline_s: Positive = 30.0
    call_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3


class ReceiptSettings(msgspec.Struct, frozen=True):
    """``[receipt]``.

    Attributes:
        font: TrueType or OpenType file with Chinese letters to print receipts with; empty takes
            that of Debian's fonts-wqy-microhei.
    """

    font: str = ""


class SupplySettings(msgspec.Struct, frozen=True):
    """``[supply]``: how many disconnects may be sent, whoever asks for them.

    Attributes:
        tenant_min: an organisation may send so many an hour, and a day, however small it is.
        tenant_hour_percent: of its meters that it may disconnect in an hour.
        tenant_day_percent: of its meters that it may disconnect in a day.
        system_min: all together may send so many in ten minutes.
        system_percent: of all meters that may be disconnected in ten minutes.
        meter_day_max: disconnects of one meter in a day.
        sweep_s: how often accounts that are low, or off, are looked at again.
    """

    tenant_min: Count = 5
    tenant_hour_percent: Percent = 2.0
    tenant_day_percent: Percent = 5.0
    system_min: Count = 5
    system_percent: Percent = 1.0
    meter_day_max: Count = 6
    sweep_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 20.0


class NoticeSettings(msgspec.Struct, frozen=True):
    """``[notices]``.

    Attributes:
        file: gets one line of JSON for each notice, for a program that sends them on; empty for
            none, and then people have to bring what should be sent.
    """

    file: str = ""


class Settings(msgspec.Struct, frozen=True):
    """All settings of the program, by table of the file."""

    db: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    reading: ReadingSettings = ReadingSettings()
    headend: HeadendSettings = HeadendSettings()
    receipt: ReceiptSettings = ReceiptSettings()
    supply: SupplySettings = SupplySettings()
    notices: NoticeSettings = NoticeSettings()


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting as it came out.

    Attributes:
        name: ``table.key``.
        value: as text, secrets masked.
        origin: ``default``, a file or a variable.
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and where those that were given came from (by ``table.key``)."""

    settings: Settings
    origins: Mapping[str, str]

    def values(self) -> Iterator[SettingValue]:
        """Give every setting in the order of the tables."""
        for name in known_names():
            table, key = name.split(".")
            value = getattr(getattr(self.settings, table), key)
            yield SettingValue(name, _shown(value), self.origins.get(name, "default"))


def known_names() -> tuple[str, ...]:
    """Return ``table.key`` of every setting."""
    return tuple(
        f"{table.name}.{field.name}"
        for table in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(table.type)
    )


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Read the settings; see the module for what wins.

    Args:
        path: a settings file that must exist; None looks where the module says.
        environment: None takes the process's own.

    Raises:
        SettingsFileError: an unknown key, a value of a wrong kind, a file that cannot be read.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = _settings_file(path, environment)
    if file is not None:
        for name, value in _file_values(file):
            given[name], origins[name] = value, str(file)
    for variable, name, text in _environment_values(environment):
        given[name], origins[name] = text, variable
    tables: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        table, key = name.split(".")
        tables.setdefault(table, {})[key] = _checked(name, value, origins[name])
    return LoadedSettings(msgspec.convert(tables, Settings), origins)


def _settings_file(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = environment.get(f"{PREFIX}CONFIG", "")
    if path is None and named:
        path = Path(named)
    if path is not None:
        return path
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _file_values(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        if file.stat().st_size > _FILE_SIZE_MAX:
            raise SettingsFileError(f"{file}: larger than {_FILE_SIZE_MAX} bytes")
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsFileError(f"{file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsFileError(f"{file}: not TOML: {error}") from error
    tables = {field.name for field in msgspec.structs.fields(Settings)}
    for table, keys in document.items():
        if table not in tables:
            raise SettingsFileError(f"{file}: unknown table [{table}]{_nearest(table, tables)}")
        if not isinstance(keys, dict):
            raise SettingsFileError(f"{file}: {table} is a table, write [{table}]")
        for key, value in keys.items():
            yield _known(f"{table}.{key}", str(file)), value


def _environment_values(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Give (variable, ``table.key``, text) of every variable that is a setting."""
    flat = {name.replace(".", "_"): name for name in known_names()}
    for variable in sorted(environment):
        words = variable.removeprefix(PREFIX).lower()
        if words == variable.lower():
            continue
        if "__" not in words:
            if words in flat:
                meant = PREFIX + flat[words].replace(".", "__").upper()
                raise SettingsFileError(f"{variable}: not a setting, did you mean {meant}?")
            continue
        name = words.replace("__", ".", 1)
        if name not in known_names() and name.endswith("_file"):
            name = _known(name.removesuffix("_file"), variable)
            yield variable, name, _secret(variable, Path(environment[variable]))
        else:
            yield variable, _known(name, variable), environment[variable]


def _secret(variable: str, file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsFileError(f"{variable}: cannot read {file}: {error}") from error


def _known(name: str, origin: str) -> str:
    names = known_names()
    if name not in names:
        raise SettingsFileError(f"{origin}: unknown setting {name}{_nearest(name, names)}")
    return name


def _nearest(name: str, names: tuple[str, ...] | set[str]) -> str:
    near = get_close_matches(name, sorted(names), 1)
    return f", did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(names))}"


def _checked(name: str, value: object, origin: str) -> object:
    table, key = name.split(".")
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    kind = {f.name: f.type for f in msgspec.structs.fields(fields[table].type)}[key]
    try:
        if kind is timedelta:
            return parse_interval(value if isinstance(value, str) else repr(value))
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except ValueError as error:
        shown = "" if "://" in str(value) else f" {value!r}"
        raise SettingsFileError(f"{origin}: {name}{shown}: {error}") from error


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return format_interval(value)
    return mask_secrets(value) if isinstance(value, str) else str(value)


def mask_secrets(text: str) -> str:
    """Return ``text`` with the password of a URL, in user part or query, replaced by ``***``."""
    text = re.sub(r"(://[^/?#:@]*):[^?#]*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", text)

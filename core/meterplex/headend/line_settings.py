"""Reads the query of a channel URL into the timing of a line."""

from collections.abc import Mapping, Sequence

from meterplex.protocols.modbus.timing import character_time_s
from meterplex.sdk import ChannelUrl, LineTiming, Setting, SettingsError
from meterplex.sdk.settings import complete_settings


def line_timing(
    url: ChannelUrl, settings: Sequence[Setting]
) -> tuple[LineTiming, Mapping[str, str]]:
    """Return the timing that a URL asks for, and all its settings with defaults filled in.

    The keys ``baud``, ``parity``, ``stopbits``, ``latency``, ``late`` and ``response`` must be
    among ``settings``.

    Raises:
        SettingsError: a key is unknown, or a value is out of its range.
    """
    values = complete_settings(settings, url.query, f"channel URL {url.text!r}")
    baud = _number(url, values, "baud", 300, 4_000_000)
    if baud != int(baud):
        raise SettingsError(f"channel URL {url.text!r}: baud is {values['baud']!r}, not whole")
    timing = LineTiming(
        character_s=character_time_s(int(baud), values["parity"], int(values["stopbits"])),
        late_s=_number(url, values, "late", 0, 600),
        latency_s=_number(url, values, "latency", 0, 60),
        response_time_s=_number(url, values, "response", 0.001, 60) if values["response"] else None,
    )
    return timing, values


def _number(
    url: ChannelUrl, values: Mapping[str, str], name: str, least: float, most: float
) -> float:
    try:
        number = float(values[name])
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise SettingsError(
            f"channel URL {url.text!r}: {name} is {values[name]!r}, expected {least:g} to {most:g}"
        )
    return number

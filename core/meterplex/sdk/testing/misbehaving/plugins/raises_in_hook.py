"""Raises when it is asked for its models; its channel types are fine."""

from collections.abc import Awaitable, Sequence

from meterplex import hookimpl
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    LinkUnavailableError,
    MeterModel,
    Receiver,
    SettingsError,
    Transport,
)


def configure(url: ChannelUrl) -> ChannelSettings:
    """Refuse every URL.

    Raises:
        SettingsError: always.
    """
    raise SettingsError(f"channel URL {url.text!r}: this channel type is only for show")


def open_nothing(settings: ChannelSettings, receiver: Receiver) -> Awaitable[Transport]:
    """Refuse to open.

    Raises:
        LinkUnavailableError: always.
    """
    raise LinkUnavailableError("this channel type is only for show")


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Fail."""
    raise KeyError("profiles")


@hookimpl
def meterplex_channel_types() -> Sequence[ChannelType]:
    """Declare a channel type that opens nothing."""
    return (ChannelType("show", "Only for show", configure, open_nothing),)

"""The channel types that come with the head-end, declared through the vendors' own hook."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.headend.serial_channel import SERIAL
from meterplex.headend.tcp_channel import TCP
from meterplex.sdk import ChannelType


@hookimpl
def meterplex_channel_types() -> Sequence[ChannelType]:
    """Serial ports and outgoing TCP connections."""
    return (SERIAL, TCP)

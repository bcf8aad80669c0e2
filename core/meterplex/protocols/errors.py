"""Errors of the protocol codecs.

:class:`ProtocolError` is the peer's fault (its bytes are wrong), :class:`EncodeError` ours (what we
were asked to send cannot be said in the protocol).
"""


class ProtocolError(Exception):
    """The peer's bytes break the protocol."""


class FrameError(ProtocolError):
    """A frame is damaged: length, delimiter or checksum."""


class EncodeError(ValueError):
    """A value or an address cannot be expressed in the protocol; the message names which."""

"""The master's side of Modbus over a link: what drivers of Modbus meters are written on.

RTU or Modbus TCP framing is chosen by :attr:`~meterplex.sdk.links.Link.framing`; the driver does
not see the difference. Addresses are those of the PDU, from 0.
"""

from collections.abc import Callable, Iterator, Sequence

from meterplex.sdk.links import Link


def check_unit_address(text: str) -> str:
    """Return a unit address in normal form: decimal, ``"1"`` to ``"247"``, no leading zero.

    Raises:
        SettingsError: it is something else.
    """


class ModbusMaster:
    """Reads and writes the registers of one device.

    Every method raises, besides what :meth:`Link.exchange` raises:

    - ``DeviceRefusedError`` with the exception code and its standard name;
    - ``LinkTimeoutError`` when a gateway says that the meter did not answer (exception 0B);
    - ``LinkUnavailableError`` when a gateway had no path to send on (exception 0A): not sent;
    - ``DamagedReplyError`` when a fitting reply cannot be true;
    - ``EncodeError`` (a ``ValueError``) when the request cannot be said in Modbus.

    The methods that write send one control frame once and never repeat it. An exception 05
    ("acknowledge": taken, not done yet) after a write is an ``OutcomeUnknownError``.
    """

    def __init__(
        self, link: Link, unit: int, *, transactions: Iterator[int] | None = None
    ) -> None: ...

    async def read_holding(self, start: int, count: int) -> tuple[int, ...]:
        """Read ``count`` (1..125) holding registers from ``start``, function 03."""

    async def read_input(self, start: int, count: int) -> tuple[int, ...]:
        """Read ``count`` (1..125) input registers from ``start``, function 04."""

    async def write_register(self, start: int, value: int) -> None:
        """Write one register, function 06, as a control frame."""

    async def write_registers(self, start: int, values: Sequence[int]) -> None:
        """Write 1..123 registers from ``start`` in one frame, function 16, as a control frame."""

    async def vendor_write(
        self,
        function: int,
        start: int,
        data: bytes,
        *,
        reply_length: int = 15,
        cipher: Callable[[bytes], bytes] | None = None,
    ) -> bytes:
        """Write ``data`` by a maker's own function, framed as function 16 is; a control frame.

        Args:
            function: 01..7F, none of the standard's own.
            data: an even number of bytes, at most 246.
            reply_length: bytes of the RTU reply, from address to CRC.
            cipher: enciphers the whole RTU frame with its CRC; the reply is plain.

        Returns:
            the reply's bytes after its function code, without CRC.

        Raises:
            SettingsError: a cipher on a Modbus TCP channel, where the gateway makes the RTU frame.
        """

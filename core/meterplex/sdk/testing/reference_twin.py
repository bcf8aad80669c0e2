"""Twin of the reference meter."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from meterplex.sdk.testing.reference_frames import (
    Operation,
    RefusalCode,
    encode_frame,
    frame_at,
    refuse,
)

SECONDS_TO_2000: Final = 946_684_800
DISCONNECT, RECONNECT, HOLD, AUTOMATIC = range(4)
MODE_AUTOMATIC, MODE_FORCED_OFF, MODE_HELD = range(3)
MODE_AFTER: Final = {
    DISCONNECT: MODE_FORCED_OFF,
    RECONNECT: MODE_AUTOMATIC,
    HOLD: MODE_HELD,
    AUTOMATIC: MODE_AUTOMATIC,
}
LOAD_W: Final = 1200

Handler = Callable[[bytes], bytes]
"""Takes the data of a request and returns that of its reply."""


class RefusedError(Exception):
    """The meter says no."""

    def __init__(self, code: RefusalCode = RefusalCode.OTHER) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True)
class ReferenceTwin:
    """One reference meter with a steady load; prepaid, and on while its wallet is not empty."""

    address: int
    energy_wh: int = 1_234_567
    voltage_cv: int = 23_012
    mode: int = MODE_AUTOMATIC
    remaining_cents: int = 5_000
    count: int = 7
    total_cents: int = 20_000
    prices: bytes = struct.pack(">4I", 10_000, 8_000, 5_000, 3_000)
    limits: bytes = struct.pack(">2I", 2_000, 500)
    calendar: bytes = bytes([1, 1, 1, 0, 1, 0, 0, 2])
    clock_s: int = 820_000_000
    events: list[tuple[int, int]] = field(
        default_factory=lambda: [(819_000_000 + 3_600 * hour, hour) for hour in range(5)]
    )
    turn_round_s: float = 0.005
    _lived_until: datetime | None = None
    _watt_seconds: float = 0.0

    @property
    def connected(self) -> bool:
        """Whether current can flow."""
        if self.mode == MODE_AUTOMATIC:
            return self.remaining_cents > 0
        return self.mode == MODE_HELD

    def receive(self, burst: bytes) -> bytes:
        """Answer a whole request to this address; keep silent at anything else."""
        frame = frame_at(burst, 0)
        if frame is None or frame[1] != self.address or len(frame) != len(burst):
            return b""
        try:
            reply = self._answer(frame[2], frame[4:-4])
        except RefusedError as error:
            return refuse(frame, error.code)
        except (ValueError, struct.error):
            return refuse(frame)
        return encode_frame(self.address, frame[2], reply)

    def advance(self, now: datetime) -> None:
        """Consume while connected, and keep the clock."""
        if self._lived_until is not None:
            elapsed_s = max((now - self._lived_until).total_seconds(), 0.0)
            self.clock_s += int(elapsed_s)
            self._watt_seconds += LOAD_W * elapsed_s if self.connected else 0.0
            used_wh, self._watt_seconds = divmod(self._watt_seconds, 3600)
            self.energy_wh += int(used_wh)
        else:
            self.clock_s = int(now.timestamp()) - SECONDS_TO_2000
        self._lived_until = now

    # -- operations ----------------------------------------------------------------------------

    def _answer(self, operation: int, data: bytes) -> bytes:
        handlers: dict[int, Handler] = {
            Operation.IDENTIFY: lambda _: b"REF1",
            Operation.READ: self._read,
            Operation.READ_WALLET: self._wallet,
            Operation.READ_PRICES: lambda _: self.prices,
            Operation.READ_LIMITS: lambda _: self.limits,
            Operation.READ_CALENDAR: lambda _: self.calendar,
            Operation.READ_CLOCK: lambda _: self.clock_s.to_bytes(4),
            Operation.READ_EVENTS: self._read_events,
            Operation.READ_FROZEN: self._read_frozen,
            Operation.SET_SUPPLY: self._set_supply,
            Operation.DELIVER: self._deliver,
            Operation.WITHDRAW: self._withdraw,
            Operation.WRITE_PRICES: self._write_prices,
            Operation.WRITE_LIMITS: self._write_limits,
            Operation.WRITE_CALENDAR: self._write_calendar,
            Operation.WRITE_CLOCK: self._write_clock,
        }
        if operation not in handlers:
            raise RefusedError
        return handlers[operation](data)

    def _read(self, _: bytes) -> bytes:
        flags = int(self.remaining_cents < 0)
        return struct.pack(
            ">IHBBBI",
            self.energy_wh,
            self.voltage_cv,
            self.connected,
            self.mode,
            flags,
            self.clock_s,
        )

    def _wallet(self, _: bytes) -> bytes:
        return struct.pack(">iHI", self.remaining_cents, self.count, self.total_cents)

    def _read_events(self, data: bytes) -> bytes:
        (limit,) = struct.unpack(">B", data)
        newest = sorted(self.events, reverse=True)[:limit]
        return b"".join(struct.pack(">IB", *event) for event in newest)

    def _read_frozen(self, data: bytes) -> bytes:
        monthly, since = struct.unpack(">BH", data)
        step = 30 if monthly else 1
        today = self.clock_s // 86_400
        days = [today - step * back for back in (3, 2, 1)]
        return b"".join(
            struct.pack(">HI", day, self.energy_wh - 24 * (today - day))
            for day in days
            if day >= since
        )

    def _set_supply(self, data: bytes) -> bytes:
        (action,) = struct.unpack(">B", data)
        if action not in MODE_AFTER:
            raise RefusedError
        self.mode = MODE_AFTER[action]
        return b""

    def _deliver(self, data: bytes) -> bytes:
        count, cents = struct.unpack(">HI", data)
        self._check_count(count)
        self.count, self.remaining_cents = count, self.remaining_cents + cents
        self.total_cents += cents
        return b""

    def _withdraw(self, data: bytes) -> bytes:
        count, cents = struct.unpack(">HI", data)
        self._check_count(count)
        if self.connected or cents > self.remaining_cents:
            raise RefusedError
        self.count, self.remaining_cents = count, self.remaining_cents - cents
        self.total_cents -= cents
        return b""

    def _check_count(self, count: int) -> None:
        if count <= self.count:
            raise RefusedError(RefusalCode.DUPLICATE)
        if count != self.count + 1:
            raise RefusedError(RefusalCode.COUNT_WRONG)

    def _write_prices(self, data: bytes) -> bytes:
        struct.unpack(">4I", data)
        self.prices = data
        return b""

    def _write_limits(self, data: bytes) -> bytes:
        struct.unpack(">2I", data)
        self.limits = data
        return b""

    def _write_calendar(self, data: bytes) -> bytes:
        self.calendar = data
        return b""

    def _write_clock(self, data: bytes) -> bytes:
        (self.clock_s,) = struct.unpack(">I", data)
        return b""

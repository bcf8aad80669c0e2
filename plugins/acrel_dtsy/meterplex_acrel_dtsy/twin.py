"""A simulated DTSY1352 or DDSY1352: the meter that the sheet describes, on the wire.

Written from the sheet alone: it shares no encoder, decoder or profile with the driver. It answers
exactly the sheet's blocks. Where the sheet knows nothing, it does the following (all guesses):

* FC 0x20 is answered with 15 bytes: address, 20, start, 08, remaining amount in 1/100 as 32 bits,
  purchase count, 00 00, CRC. A command that is not taken gets the exception A0 with the code
  03 (a purchase whose count is not the stored one + 1, a value out of range), 02 (no such
  block) or 01 (a plain command while encrypted commands are on).
* FC 06 is refused with exception 01: the sheet's writes are all FC 16.
* Registers without a meaning inside a known block read 0.
* Writing the serial port blocks (0x0360, 0x0365) and time control (0x20 at 0x0300) is refused with
  exception 02: their contents are not readable from any source.
* FF in the first byte of a load control frame applies the frame to all phases.
* Amounts count 1/100, prices 1/10000 per kWh, rounded down.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from meterplex.sdk import DeviceTwin, SettingsError
from meterplex_acrel_dtsy.twin_calendar import PLAN_LENGTH
from meterplex_acrel_dtsy.twin_load import LoadCurve
from meterplex_acrel_dtsy.twin_meter import Force, MeterBody
from meterplex_acrel_dtsy.twin_settings import TwinSettings
from meterplex_acrel_dtsy.twin_wire import decipher, is_sealed, seal

_PRIVILEGED: Final = 0x20
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3
_CENT: Final = 100
"""Wire amounts are 1/100 of the currency unit; a twin counts 1/10000."""
_CIPHER_ON: Final = 1 << 5

_SNAPSHOT: Final = struct.Struct(">H3H3H4h4h4hHHI4IiHHHBBBBI7BH4BBBB")
_SETTINGS: Final = struct.Struct(">HH4IIIIIIiIH")
_OLD_BLOCK: Final = struct.Struct(">III4xHi8xBxHHH4IH")
_GROUP: Final = struct.Struct(">5HBB")


class _Refused(Exception):  # noqa: N818 - control flow inside the twin, never seen outside
    """The request gets an exception answer."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class AcrelTwin:
    """One meter on a bus; implements ``DeviceTwin``.

    Attributes:
        turn_round_s: silence before its reply.
        body: what it measures and decides; tests and demonstrations may look and reach in.
    """

    def __init__(self, address: int, settings: TwinSettings, seed: int, *, phases: int) -> None:
        self.turn_round_s = settings.turn_round_s
        self.body = MeterBody(settings, LoadCurve(settings.load_w, seed, phases))
        self._address = address
        self._phases = phases
        self._count_checked = settings.count_checked
        self._key = settings.key
        self._serial = bytes.fromhex((settings.serial or str(seed % 10**12)).zfill(12))
        self._code = 0
        self._pulse = 0
        self._run_mode = 0x41 | (_CIPHER_ON if settings.key else 0)
        self._parameter = 0
        calendar = PLAN_LENGTH // 2
        self._areas: dict[int, tuple[int, Callable[[], bytes]]] = {
            0x0000: (17 if phases == 1 else 11, self._base_block),
            0x0022: (1, lambda: struct.pack(">H", self._run_mode)),
            0x0037: (2, lambda: struct.pack(">HH", self.body.pt, self.body.ct)),
            0x0043: (3, lambda: self._serial),
            0x0046: (28, self._old_block),
            0x0063: (1, lambda: struct.pack(">H", self._pulse)),
            0x0200: (48, self._snapshot),
            0x0360: (10, self._port_blocks),
            0x0400: (25, self._settings_block),
            0x0480: (1 + 6 * phases, self._load_block),
        }
        if phases == 1:
            self._areas[0x2000] = (calendar + 42, lambda: self.body.calendar.packed)
        else:
            self._areas[0x0028] = (calendar, lambda: self.body.calendar.packed[:PLAN_LENGTH])
            self._areas[0x2000] = (42, lambda: self.body.calendar.packed[PLAN_LENGTH:])
        self._commands: dict[tuple[int, int], Callable[[bytes], None]] = {
            (0x0100, 4): self._sell,
            (0x0200, 30): self._write_account,
            (0x0354, 5): self._write_clock,
            (0x0410, 4): lambda _: self.body.reset_trips(),
        }
        for phase in range(phases):
            self._commands[0x0400 + 13 * phase, 13] = self._load_writer(phase)
        if phases > 1:
            self._commands[0x0500, 5] = self._force_phases

    def receive(self, burst: bytes) -> bytes:
        """Answer one frame; see :class:`~meterplex.sdk.twins.DeviceTwin`."""
        if len(burst) >= 4 and burst[0] == self._address and is_sealed(burst):
            return self._answer(burst[1], burst[2:-2], ciphered=False)
        if self._key is not None and self._run_mode & _CIPHER_ON and not len(burst) % 4:
            frame = decipher(burst, self._key)
            if len(frame) >= 9 and frame[0] == self._address and frame[1] == _PRIVILEGED:
                frame = frame[: frame[6] + 9]
                if is_sealed(frame):
                    return self._answer(_PRIVILEGED, frame[2:-2], ciphered=True)
        return b""

    def advance(self, now: datetime) -> None:
        """Live until ``now``; see :class:`~meterplex.sdk.twins.DeviceTwin`."""
        self.body.advance(now)

    def _answer(self, function: int, data: bytes, *, ciphered: bool) -> bytes:
        try:
            reply = self._perform(function, data, ciphered=ciphered)
        except _Refused as refused:
            return seal(bytes((self._address, function | 0x80, refused.code)))
        return seal(bytes((self._address, function)) + reply) if reply else b""

    def _perform(self, function: int, data: bytes, *, ciphered: bool) -> bytes:
        """Do what is asked and return the reply after the function code.

        A length that fits no request is a frame cut or glued by the line: no reply.
        """
        match function:
            case 0x03:
                return self._read(*struct.unpack(">HH", data)) if len(data) == 4 else b""
            case 0x10:
                return self._write(data) if len(data) >= 5 else b""
            case 0x20 if ciphered or not self._run_mode & _CIPHER_ON:
                return self._privileged(data) if len(data) >= 5 else b""
            case _:
                raise _Refused(_ILLEGAL_FUNCTION)

    def _read(self, start: int, count: int) -> bytes:
        if not 1 <= count <= 125:
            raise _Refused(_ILLEGAL_VALUE)
        for first, (size, content) in self._areas.items():
            if first <= start and start + count <= first + size:
                at = 2 * (start - first)
                return bytes((2 * count,)) + content()[at : at + 2 * count]
        raise _Refused(_ILLEGAL_ADDRESS)

    # Blocks, as the sheet lays them out.

    def _base_block(self) -> bytes:
        """0x0000: energies and keypad code; on the DDSY also the single-phase values."""
        energies = [wh // 10 for wh in (sum(self.body.energy_wh), *self.body.energy_wh)]
        packed = struct.pack(">5IH", *energies, self._code)
        if self._phases == 3:
            return packed
        _, amperes, watts, vars_, factors = self._measured()
        return packed + struct.pack(
            ">HHhhHh",
            self.body.voltage_tenths(0),
            amperes[0],
            watts[0],
            vars_[0],
            math.isqrt(watts[0] ** 2 + vars_[0] ** 2),
            factors[0],
        )

    def _old_block(self) -> bytes:
        """0x0046: the old prepaid block, with force control at 0x0057 and 0x0058."""
        wallet, forces = self.body.wallet, self.body.force
        return _OLD_BLOCK.pack(
            wallet.alarm_1 // _CENT,
            wallet.alarm_2 // _CENT,
            wallet.overdraft // _CENT,
            wallet.purchase_count,
            wallet.remaining // _CENT,
            int(wallet.fee_control),
            0,
            int(forces[0] is not Force.OFF),
            int(forces[0] is Force.OPEN),
            *wallet.prices,
            self.body.load_control[0].power_w_max,
        )

    def _measured(
        self,
    ) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
        """Return per phase U in 1/10 V, I in 1/100 A, P in W, Q in var, power factor in 1/1000."""
        watts = list(self.body.power_w)
        volts = [self.body.voltage_tenths(phase) for phase in range(self._phases)]
        factors = [self.body.power_factor_permille(phase) for phase in range(self._phases)]
        amperes = [
            watt * 1_000_000 // (volt * factor)
            for watt, volt, factor in zip(watts, volts, factors, strict=True)
        ]
        vars_ = [
            math.isqrt((watt * 1000 // factor) ** 2 - watt**2)
            for watt, factor in zip(watts, factors, strict=True)
        ]
        return volts, amperes, watts, vars_, factors

    def _snapshot(self) -> bytes:
        """0x0200: the 96 bytes of sheet section 4."""
        body, wallet = self.body, self.body.wallet
        volts, amperes, watts, vars_, factors = self._measured()
        power, reactive = sum(watts), sum(vars_)
        apparent = math.isqrt(power**2 + reactive**2)
        padding = [0] * (3 - self._phases)
        clock, peak = body.clock, body.demand
        return _SNAPSHOT.pack(
            7 if self._phases == 1 else 5,
            *(*volts, *padding, *amperes, *padding, *watts, *padding, power),
            *(*vars_, *padding, reactive, *factors, *padding),
            power * 1000 // apparent if apparent else 1000,
            body.pt,
            body.ct,
            sum(body.energy_wh) // 10,
            *(wh // 10 for wh in body.energy_wh),
            wallet.remaining // _CENT,
            wallet.purchase_count,
            body.overload_trips,
            body.load_control[0].trips_allowed,
            *self._status(),
            wallet.base_wh // 10,
            *(clock.year % 100, clock.month, clock.day, clock.isoweekday() % 7),
            *(clock.hour, clock.minute, clock.second),
            peak.power_w,
            *(peak.at.minute, peak.at.hour, peak.at.day, peak.at.month),
            0,
            0,
            int(self._phases == 1),
        )

    def _status(self) -> tuple[int, int, int, int]:
        """Return status A high, A low, B high, B low (sheet section 5).

        A phase that the meter does not have reads open.
        """
        body, wallet = self.body, self.body.wallet
        existing = (1 << self._phases) - 1
        warned = wallet.remaining if wallet.fee_control else None
        fee = (
            (0 if wallet.exhausted else existing)
            | wallet.fee_control << 3
            | wallet.exhausted << 4
            | (warned is not None and warned < 0) << 5
            | (warned is not None and warned <= wallet.alarm_1) << 6
            | (warned is not None and warned <= wallet.alarm_2) << 7
        )
        power = _bits(not control.tripped for control in body.load_control)
        force = _bits(force is Force.CLOSED for force in body.force)
        return (
            _bits(body.relays) << 5 | int(body.faulty),
            fee,
            power | any(control.enabled for control in body.load_control) << 3,
            force | any(force is not Force.OFF for force in body.force) << 3 | existing << 4,
        )

    def _port_blocks(self) -> bytes:
        """0x0360 and 0x0365: the same for both ports; the indices are opaque."""
        return (bytes((self._address, 3, 0, 0)) + self._serial) * 2

    def _settings_block(self) -> bytes:
        """0x0400: prepaid settings of sheet section 4a."""
        wallet = self.body.wallet
        return _SETTINGS.pack(
            int(wallet.fee_control),
            wallet.purchase_count,
            *wallet.prices,
            *(wallet.alarm_1 // _CENT, wallet.alarm_2 // _CENT, wallet.overdraft // _CENT),
            0,
            wallet.total_purchased // _CENT,
            wallet.remaining // _CENT,
            wallet.base_wh // 10,
            self._parameter << 8,
        )

    def _load_block(self) -> bytes:
        """0x0480: enable, then six registers per phase."""
        controls = self.body.load_control
        return struct.pack(">H", any(control.enabled for control in controls)) + b"".join(
            _GROUP.pack(
                control.power_w_max,
                control.step_max,
                control.power_factor,
                control.unread,
                control.trips_allowed,
                control.recover_min,
                control.tail,
            )
            for control in controls
        )

    # Writes by FC 16.

    def _write(self, data: bytes) -> bytes:
        start, count, length = struct.unpack(">HHB", data[:5])
        values = data[5:]
        if not 1 <= count <= 123 or length != 2 * count or len(values) != length:
            raise _Refused(_ILLEGAL_VALUE)
        words = struct.unpack(f">{count}H", values)
        match start, count:
            case 0x0057, 2:
                self._set_force(words[0], words[1])
            case 0x0057, 1:
                self._set_force(words[0], int(self.body.force[0] is Force.OPEN))
            case 0x0058, 1:
                self._set_force(int(self.body.force[0] is not Force.OFF), words[0])
            case (0x0037, 1 | 2) | (0x0038, 1):
                self._set_ratios(start, words)
            case 0x000A, 1 if words[0] <= 9999:
                self._code = words[0]
            case 0x0022, 1:
                self._run_mode = words[0]
            case 0x0063, 1 if words[0] <= 1:
                self._pulse = words[0]
            case ((0x000A | 0x0063), 1):
                raise _Refused(_ILLEGAL_VALUE)
            case _:
                self._write_calendar(start, values)
        return data[:4]

    def _set_force(self, on: int, opened: int) -> None:
        if on > 1 or opened > 1:
            raise _Refused(_ILLEGAL_VALUE)
        self.body.force[:] = [_force(on, opened)] * self._phases

    def _set_ratios(self, start: int, words: tuple[int, ...]) -> None:
        if not all(words):
            raise _Refused(_ILLEGAL_VALUE)
        if start == 0x0037:
            self.body.pt = words[0]
        if start == 0x0038 or len(words) == 2:
            self.body.ct = words[-1]

    def _write_calendar(self, start: int, values: bytes) -> None:
        """Write within the date plan or the day tables (section 6)."""
        if self._phases == 1:
            offset, end = 2 * (start - 0x2000), len(self.body.calendar.packed)
        elif start < 0x2000:
            offset, end = 2 * (start - 0x0028), PLAN_LENGTH
        else:
            offset = PLAN_LENGTH + 2 * (start - 0x2000)
            end = len(self.body.calendar.packed)
        if not 0 <= offset <= end - len(values):
            raise _Refused(_ILLEGAL_ADDRESS)
        if not self.body.calendar.replace(offset, values):
            raise _Refused(_ILLEGAL_VALUE)

    # Commands by FC 0x20 (section 7).

    def _privileged(self, data: bytes) -> bytes:
        start, count, length = struct.unpack(">HHB", data[:5])
        if not any(start == known for known, _ in self._commands):
            raise _Refused(_ILLEGAL_ADDRESS)
        command = self._commands.get((start, count))
        if command is None or length != 2 * count or len(data) != 5 + length:
            raise _Refused(_ILLEGAL_VALUE)
        command(data[5:])
        wallet = self.body.wallet
        return struct.pack(">HBiHH", start, 8, wallet.remaining // _CENT, wallet.purchase_count, 0)

    def _sell(self, data: bytes) -> None:
        """Take a purchase: amount u32, new purchase count u16, 0000."""
        amount, count, _ = struct.unpack(">IHH", data)
        wallet = self.body.wallet
        if self._count_checked and count != wallet.purchase_count + 1:
            raise _Refused(_ILLEGAL_VALUE)
        remaining = wallet.remaining + amount * _CENT
        total = wallet.total_purchased + amount * _CENT
        if remaining // _CENT >= 2**31 or total // _CENT >= 2**32:
            raise _Refused(_ILLEGAL_VALUE)
        wallet.remaining, wallet.total_purchased, wallet.purchase_count = remaining, total, count

    def _write_account(self, data: bytes) -> None:
        """Set the groups of the account block whose enable byte is 1."""
        wallet = self.body.wallet
        if data[0] == 1:
            wallet.fee_control = data[1] == 1
        if data[2] == 1:
            (cents,) = struct.unpack_from(">i", data, 3)
            wallet.remaining, wallet.owed = cents * _CENT, 0
        if data[7] == 1:
            (wallet.purchase_count,) = struct.unpack_from(">H", data, 8)
        if data[10] == 1:
            wallet.total_purchased = struct.unpack_from(">I", data, 11)[0] * _CENT
        if data[15] == 1:
            wallet.base_wh = struct.unpack_from(">I", data, 16)[0] * 10
        if data[20] == 1:
            first, second = struct.unpack_from(">II", data, 21)
            wallet.alarm_1, wallet.alarm_2 = first * _CENT, second * _CENT
        if data[29] == 1:
            wallet.prices[:] = struct.unpack_from(">4I", data, 30)
        if data[46] == 1:
            wallet.overdraft = struct.unpack_from(">I", data, 47)[0] * _CENT
        if data[51] == 1:
            self._parameter = data[52]
        if data[53] == 1:
            self._serial = data[54:60]

    def _load_writer(self, phase: int) -> Callable[[bytes], None]:
        """Return the command that writes load control of a phase."""

        def write(data: bytes) -> None:
            controls = self.body.load_control
            for control in controls if data[0] == 0xFF else controls[phase : phase + 1]:
                if data[0]:
                    control.enabled = data[1] == 1
                if data[2]:
                    control.power_w_max, control.step_max, control.power_factor = (
                        struct.unpack_from(">HHH", data, 3)
                    )
                if data[9]:
                    control.recover_min = data[10]
                if data[11]:
                    (control.trips_allowed,) = struct.unpack_from(">H", data, 12)
                if data[14]:
                    (control.unread,) = struct.unpack_from(">H", data, 15)
                if data[17]:
                    control.tail = data[18]

        return write

    def _force_phases(self, data: bytes) -> None:
        """Force each phase by itself: enable, force on, 1 = open (section 3)."""
        for phase in range(self._phases):
            enable, on, opened = data[3 * phase : 3 * phase + 3]
            if enable == 1:
                self.body.force[phase] = _force(on, opened)

    def _write_clock(self, data: bytes) -> None:
        """Set the clock: ss mm hh weekday dd MM yy 00 00 00."""
        second, minute, hour, _, day, month, year = data[:7]
        try:
            local = datetime.fromisoformat(
                f"20{year:02}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
            )
        except ValueError:
            raise _Refused(_ILLEGAL_VALUE) from None
        self.body.set_clock(local)


def _force(on: int, opened: int) -> Force:
    if not on:
        return Force.OFF
    return Force.OPEN if opened else Force.CLOSED


def _bits(phases: Iterable[bool]) -> int:
    return sum(1 << phase for phase, value in enumerate(phases) if value)


def _make(address: str, settings: Mapping[str, str], seed: int, phases: int) -> DeviceTwin:
    if not (address.isascii() and address.isdigit() and 1 <= int(address) <= 247):
        raise SettingsError(f"address {address!r}: expected 1..247")
    return AcrelTwin(int(address), TwinSettings.parse(settings), seed, phases=phases)


def make_dtsy_twin(address: str, settings: Mapping[str, str], seed: int) -> DeviceTwin:
    """Make a three-phase twin; for ``MeterModel.twin``.

    Raises:
        SettingsError: the address or a setting is not usable.
    """
    return _make(address, settings, seed, 3)


def make_ddsy_twin(address: str, settings: Mapping[str, str], seed: int) -> DeviceTwin:
    """Make a single-phase twin; for ``MeterModel.twin``.

    Raises:
        SettingsError: the address or a setting is not usable.
    """
    return _make(address, settings, seed, 1)

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

import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from meterplex.sdk import DeviceTwin, SettingsError
from meterplex_acrel_dtsy.twin_calendar import PLAN_LENGTH
from meterplex_acrel_dtsy.twin_load import LoadCurve
from meterplex_acrel_dtsy.twin_meter import Force, MeterBody
from meterplex_acrel_dtsy.twin_registers import CENT, CIPHER_ON, TwinRegisters, amount
from meterplex_acrel_dtsy.twin_settings import TwinSettings
from meterplex_acrel_dtsy.twin_wire import decipher, is_sealed, seal

_PRIVILEGED: Final = 0x20
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3


class _RefusedError(Exception):
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
        serial = bytes.fromhex((settings.serial or str(seed % 10**12)).zfill(12))
        self._registers = TwinRegisters(self.body, address, serial, ciphered=bool(settings.key))
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
        if self._key is not None and self._registers.run_mode & CIPHER_ON and not len(burst) % 4:
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
        except _RefusedError as refused:
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
            case 0x20 if ciphered or not self._registers.run_mode & CIPHER_ON:
                return self._privileged(data) if len(data) >= 5 else b""
            case _:
                raise _RefusedError(_ILLEGAL_FUNCTION)

    def _read(self, start: int, count: int) -> bytes:
        if not 1 <= count <= 125:
            raise _RefusedError(_ILLEGAL_VALUE)
        content = self._registers.content(start, count)
        if content is None:
            raise _RefusedError(_ILLEGAL_ADDRESS)
        return bytes((2 * count,)) + content

    # Writes by FC 16.

    def _write(self, data: bytes) -> bytes:
        start, count, length = struct.unpack(">HHB", data[:5])
        values = data[5:]
        if not 1 <= count <= 123 or length != 2 * count or len(values) != length:
            raise _RefusedError(_ILLEGAL_VALUE)
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
                self._registers.keypad_code = words[0]
            case 0x0022, 1:
                self._registers.run_mode = words[0]
            case 0x0063, 1 if words[0] <= 1:
                self._registers.pulse_output = words[0]
            case ((0x000A | 0x0063), 1):
                raise _RefusedError(_ILLEGAL_VALUE)
            case _:
                self._write_calendar(start, values)
        return data[:4]

    def _set_force(self, on: int, opened: int) -> None:
        if on > 1 or opened > 1:
            raise _RefusedError(_ILLEGAL_VALUE)
        self.body.force[:] = [_force(on, opened)] * self._phases

    def _set_ratios(self, start: int, words: tuple[int, ...]) -> None:
        if not all(words):
            raise _RefusedError(_ILLEGAL_VALUE)
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
            raise _RefusedError(_ILLEGAL_ADDRESS)
        if not self.body.calendar.replace(offset, values):
            raise _RefusedError(_ILLEGAL_VALUE)

    # Commands by FC 0x20 (section 7).

    def _privileged(self, data: bytes) -> bytes:
        start, count, length = struct.unpack(">HHB", data[:5])
        if not any(start == known for known, _ in self._commands):
            raise _RefusedError(_ILLEGAL_ADDRESS)
        command = self._commands.get((start, count))
        if command is None or length != 2 * count or len(data) != 5 + length:
            raise _RefusedError(_ILLEGAL_VALUE)
        command(data[5:])
        wallet = self.body.wallet
        return struct.pack(">HBiHH", start, 8, amount(wallet.remaining), wallet.purchase_count, 0)

    def _sell(self, data: bytes) -> None:
        """Take a purchase: amount u32, new purchase count u16, 0000."""
        amount, count, _ = struct.unpack(">IHH", data)
        wallet = self.body.wallet
        if self._count_checked and count != wallet.purchase_count + 1:
            raise _RefusedError(_ILLEGAL_VALUE)
        remaining = wallet.remaining + amount * CENT
        total = wallet.total_purchased + amount * CENT
        if remaining // CENT >= 2**31 or total // CENT >= 2**32:
            raise _RefusedError(_ILLEGAL_VALUE)
        wallet.remaining, wallet.total_purchased, wallet.purchase_count = remaining, total, count

    def _write_account(self, data: bytes) -> None:
        """Set the groups of the account block whose enable byte is 1."""
        wallet = self.body.wallet
        if data[0] == 1:
            wallet.fee_control = data[1] == 1
        if data[2] == 1:
            (cents,) = struct.unpack_from(">i", data, 3)
            wallet.remaining, wallet.owed = cents * CENT, 0
        if data[7] == 1:
            (wallet.purchase_count,) = struct.unpack_from(">H", data, 8)
        if data[10] == 1:
            wallet.total_purchased = struct.unpack_from(">I", data, 11)[0] * CENT
        if data[15] == 1:
            wallet.base_wh = struct.unpack_from(">I", data, 16)[0] * 10
        if data[20] == 1:
            first, second = struct.unpack_from(">II", data, 21)
            wallet.alarm_1, wallet.alarm_2 = first * CENT, second * CENT
        if data[29] == 1:
            wallet.prices[:] = struct.unpack_from(">4I", data, 30)
        if data[46] == 1:
            wallet.overdraft = struct.unpack_from(">I", data, 47)[0] * CENT
        if data[51] == 1:
            self._registers.parameter = data[52]
        if data[53] == 1:
            self._registers.serial = data[54:60]

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
            raise _RefusedError(_ILLEGAL_VALUE) from None
        self.body.set_clock(local)


def _force(on: int, opened: int) -> Force:
    if not on:
        return Force.OFF
    return Force.OPEN if opened else Force.CLOSED


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

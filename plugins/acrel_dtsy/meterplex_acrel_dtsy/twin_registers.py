"""What a twin gives back to FC 03: the sheet's blocks, filled from the meter's body."""

import math
import struct
from collections.abc import Callable, Iterable
from typing import Final

from meterplex_acrel_dtsy.twin_calendar import PLAN_LENGTH
from meterplex_acrel_dtsy.twin_meter import Force, MeterBody

CENT: Final = 100
"""Wire amounts are 1/100 of the currency unit; a twin counts 1/10000."""

CIPHER_ON: Final = 1 << 5
"""Bit of the run mode: privileged commands must come enciphered."""

_MULTI_RATE_PREPAID: Final = 0x41
"""Run mode bits 0 and 6."""

_SNAPSHOT: Final = struct.Struct(">H3H3H4h4h4hHHI4IiHHHBBBBI7BH4BBBB")
_SETTINGS: Final = struct.Struct(">HH4IIIIIIiIH")
_OLD_BLOCK: Final = struct.Struct(">III4xHi8xBxHHH4IH")
_GROUP: Final = struct.Struct(">5HBB")


class TwinRegisters:
    """The register map of one twin.

    Attributes:
        serial: meter number, 6 bytes BCD.
        keypad_code: 0..9999.
        pulse_output: 0 level, 1 pulse.
        run_mode: bits of sheet section 5.
        parameter: the setting at 0x0418 whose meaning is not known.
    """

    def __init__(self, body: MeterBody, address: int, serial: bytes, *, ciphered: bool) -> None:
        self.body = body
        self.serial = serial
        self.keypad_code = 0
        self.pulse_output = 0
        self.run_mode = _MULTI_RATE_PREPAID | (CIPHER_ON if ciphered else 0)
        self.parameter = 0
        self._address = address
        self._areas: dict[int, tuple[int, Callable[[], bytes]]] = {
            0x0000: (17 if body.phases == 1 else 11, self._base_block),
            0x0022: (1, lambda: struct.pack(">H", self.run_mode)),
            0x0037: (2, lambda: struct.pack(">HH", body.pt, body.ct)),
            0x0043: (3, lambda: self.serial),
            0x0046: (28, self._old_block),
            0x0063: (1, lambda: struct.pack(">H", self.pulse_output)),
            0x0200: (48, self._snapshot),
            0x0360: (10, self._port_blocks),
            0x0400: (25, self._settings_block),
            0x0480: (1 + 6 * body.phases, self._load_block),
        }
        plan = PLAN_LENGTH // 2
        if body.phases == 1:
            self._areas[0x2000] = (plan + 42, lambda: body.calendar.packed)
        else:
            self._areas[0x0028] = (plan, lambda: body.calendar.packed[:PLAN_LENGTH])
            self._areas[0x2000] = (42, lambda: body.calendar.packed[PLAN_LENGTH:])

    def content(self, start: int, count: int) -> bytes | None:
        """Return the bytes of some registers; None where they are not all of one known area."""
        for first, (size, pack) in self._areas.items():
            if first <= start and start + count <= first + size:
                return pack()[2 * (start - first) : 2 * (start - first + count)]
        return None

    def _base_block(self) -> bytes:
        """0x0000: energies and keypad code; on the DDSY also the single-phase values."""
        energies = [_counter(wh) for wh in (sum(self.body.energy_wh), *self.body.energy_wh)]
        packed = struct.pack(">5IH", *energies, self.keypad_code)
        if self.body.phases == 3:
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
            wallet.alarm_1 // CENT,
            wallet.alarm_2 // CENT,
            wallet.overdraft // CENT,
            wallet.purchase_count,
            amount(wallet.remaining),
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
        volts = [self.body.voltage_tenths(phase) for phase in range(self.body.phases)]
        factors = [self.body.power_factor_permille(phase) for phase in range(self.body.phases)]
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
        padding = [0] * (3 - self.body.phases)
        clock, peak = body.clock, body.demand
        return _SNAPSHOT.pack(
            7 if self.body.phases == 1 else 5,
            *(*volts, *padding, *amperes, *padding, *watts, *padding, power),
            *(*vars_, *padding, reactive, *factors, *padding),
            power * 1000 // apparent if apparent else 1000,
            body.pt,
            body.ct,
            _counter(sum(body.energy_wh)),
            *(_counter(wh) for wh in body.energy_wh),
            amount(wallet.remaining),
            wallet.purchase_count,
            min(body.overload_trips, 0xFFFF),
            body.load_control[0].trips_allowed,
            *self._status(),
            wallet.base_wh // 10,
            *(clock.year % 100, clock.month, clock.day, clock.isoweekday() % 7),
            *(clock.hour, clock.minute, clock.second),
            peak.power_w,
            *(peak.at.minute, peak.at.hour, peak.at.day, peak.at.month),
            0,
            0,
            int(self.body.phases == 1),
        )

    def _status(self) -> tuple[int, int, int, int]:
        """Return status A high, A low, B high, B low (sheet section 5).

        A phase that the meter does not have reads open.
        """
        body, wallet = self.body, self.body.wallet
        existing = (1 << self.body.phases) - 1
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
        return (bytes((self._address, 3, 0, 0)) + self.serial) * 2

    def _settings_block(self) -> bytes:
        """0x0400: prepaid settings of sheet section 4a."""
        wallet = self.body.wallet
        return _SETTINGS.pack(
            int(wallet.fee_control),
            wallet.purchase_count,
            *wallet.prices,
            *(wallet.alarm_1 // CENT, wallet.alarm_2 // CENT, wallet.overdraft // CENT),
            0,
            wallet.total_purchased // CENT,
            amount(wallet.remaining),
            wallet.base_wh // 10,
            self.parameter << 8,
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


def amount(remaining: int) -> int:
    """Return a remaining amount as the 32 bits of its register hold it, at worst the lowest."""
    return max(remaining // CENT, -(2**31))


def _counter(wh: int) -> int:
    """Return an energy in 1/100 kWh; the register rolls over at 42,949,672.96 kWh."""
    return wh // 10 % 2**32


def _bits(phases: Iterable[bool]) -> int:
    return sum(1 << phase for phase, value in enumerate(phases) if value)

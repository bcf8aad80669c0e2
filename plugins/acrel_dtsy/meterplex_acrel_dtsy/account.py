"""The wallet of the meter: settings block, sale frame and account frame (DBG, one source).

Settings block, read from 0x0400, registers from its start::

    0 fee control   1 purchase count   2 4 6 8 prices sharp peak flat valley
    10 alarm 1   12 alarm 2   14 overdraft   18 total purchased   20 remaining

Account frame, function 20 at 0x0200, 60 bytes; each group is led by an enable byte (1 = apply)::

    2 remaining   7 purchase count   10 total purchased   20 alarm 1, alarm 2
    29 prices sharp peak flat valley   46 overdraft
"""

import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Self

from meterplex.protocols.errors import EncodeError
from meterplex.sdk import CreditState, DeviceRefusedError, Limits, Prices
from meterplex_acrel_dtsy.settings import AcrelSettings

_ACCOUNT_BYTES: Final = 60
_U16_MAX: Final = 0xFFFF
_U32_MAX: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What the settings block says, in currency units."""

    fee_control: bool
    credit: CreditState
    prices: Prices
    alarm_1: Decimal
    alarm_2: Decimal
    overdraft: Decimal

    @classmethod
    def decode(cls, block: bytes, settings: AcrelSettings) -> Self:
        """Read the 50 bytes of the settings block."""

        def money(register: int, *, signed: bool = False) -> Decimal:
            raw = block[register * 2 : register * 2 + 4]
            return int.from_bytes(raw, "big", signed=signed) * settings.amount_scale

        sharp, peak, flat, valley = (
            steps * settings.price_scale for steps in struct.unpack_from(">4I", block, 4)
        )
        fee_control, count = struct.unpack_from(">2H", block)
        return cls(
            fee_control=bool(fee_control),
            credit=CreditState(money(20, signed=settings.balance_signed), count, money(18)),
            prices=Prices(sharp, peak, flat, valley),
            alarm_1=money(10),
            alarm_2=money(12),
            overdraft=money(14),
        )

    def limits(self, overload_kw: Decimal | None) -> Limits:
        """Return the limits, with the one that is kept in another block."""
        return Limits(
            alarm_1=self.alarm_1,
            alarm_2=self.alarm_2,
            overdraft=self.overdraft,
            overload_kw=overload_kw,
        )


def encode_sale(count: int, amount: Decimal, scale: Decimal) -> bytes:
    """Return the 8 data bytes of a purchase: amount, new purchase count, 0000.

    Raises:
        EncodeError: the amount is not positive, not a whole number of steps or too large, or the
            count is outside 1..65535.
    """
    _check_count(count)
    bought = steps("amount", amount, scale)
    if not bought:
        raise EncodeError(f"amount {amount}: expected more than 0")
    return struct.pack(">IHH", bought, count, 0)


def encode_withdrawal(wallet: CreditState, count: int, amount: Decimal, scale: Decimal) -> bytes:
    """Return the account frame that takes ``amount`` out of the wallet as it was just read.

    Remaining, count and total purchased are set together, to absolute values.

    Raises:
        EncodeError: the amount or the count cannot be said, see :func:`encode_sale`.
        DeviceRefusedError: less is left or was bought than asked, or another transaction came in
            between: written over it, the frame would undo it.
    """
    encode_sale(count, amount, scale)
    held = wallet.purchase_count
    if count != held + 1:
        raise DeviceRefusedError(
            f"withdrawal {count}: the meter holds count {held}, expected {count - 1}"
        )
    bought = wallet.total_purchased or Decimal(0)
    if amount > min(wallet.remaining, bought):
        raise DeviceRefusedError(
            f"withdrawal {count}: {amount} asked, {wallet.remaining} left of {bought} bought"
        )
    return _account(
        (2, struct.pack(">I", steps("remaining", wallet.remaining - amount, scale))),
        (7, struct.pack(">H", count)),
        (10, struct.pack(">I", steps("total purchased", bought - amount, scale))),
    )


def encode_prices(prices: Prices, scale: Decimal) -> bytes:
    """Return the account frame that sets the four prices.

    Raises:
        EncodeError: a price below zero, not a whole number of steps or too large.
    """
    named = zip(
        ("sharp", "peak", "flat", "valley"),
        (prices.sharp, prices.peak, prices.flat, prices.valley),
        strict=True,
    )
    return _account(
        (29, struct.pack(">4I", *(steps(f"{rate} price", price, scale) for rate, price in named)))
    )


def encode_limits(
    alarms: tuple[Decimal, Decimal] | None, overdraft: Decimal | None, scale: Decimal
) -> bytes:
    """Return the account frame that sets both alarms, the overdraft limit, or all three.

    Raises:
        EncodeError: a limit below zero, not a whole number of steps or too large.
    """
    groups = []
    if alarms is not None:
        first, second = alarms
        pair = steps("alarm 1", first, scale), steps("alarm 2", second, scale)
        groups.append((20, struct.pack(">2I", *pair)))
    if overdraft is not None:
        groups.append((46, struct.pack(">I", steps("overdraft", overdraft, scale))))
    return _account(*groups)


def steps(what: str, value: Decimal, scale: Decimal, limit: int = _U32_MAX) -> int:
    """Return ``value`` as a whole number of steps of ``scale``.

    Raises:
        EncodeError: it is below zero, not whole, or above ``limit`` steps.
    """
    if not (value.is_finite() and 0 <= value <= limit * scale and value % scale == 0):
        raise EncodeError(f"{what} {value}: expected 0 to {limit * scale} in steps of {scale}")
    return int(value / scale)


def _check_count(count: int) -> None:
    if not 1 <= count <= _U16_MAX:
        raise EncodeError(f"purchase count {count}: expected 1 to {_U16_MAX}")


def _account(*groups: tuple[int, bytes]) -> bytes:
    frame = bytearray(_ACCOUNT_BYTES)
    for offset, value in groups:
        frame[offset] = 1
        frame[offset + 1 : offset + 1 + len(value)] = value
    return bytes(frame)

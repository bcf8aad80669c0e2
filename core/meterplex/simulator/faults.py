"""What a bad line and bad devices do to replies, drawn from a seed.

The faults that forge a reply (another address, function or length) give it a good Modbus CRC
again: a master must refuse it for what it says, not for its check sum.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, Self

from fastcrc.crc16 import modbus


class Fault(StrEnum):
    """One thing that goes wrong in an exchange."""

    DEAF = "deaf"
    """A bit of the request flips on its way: the device does nothing and stays silent."""
    SILENT = "silent"
    """The device does what it is asked; its reply is lost."""
    LATE = "late"
    """The reply comes after ``late_s``."""
    DOUBLED = "doubled"
    """The reply comes twice, one after the other."""
    TRUNCATED = "truncated"
    """The end of the reply is missing."""
    GARBAGE = "garbage"
    """Bytes that belong to nothing come before or after the reply."""
    FLIPPED = "flipped"
    """One to three bits of the reply flip."""
    WRONG_ADDRESS = "wrong_address"
    """The reply is from another device."""
    WRONG_FUNCTION = "wrong_function"
    """The reply is to another function."""
    WRONG_CRC = "wrong_crc"
    """The check sum belongs to something else."""
    WRONG_LENGTH = "wrong_length"
    """The reply carries more or less than was asked for."""


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often each fault strikes: shares of all exchanges, together at most 1.

    Attributes:
        late_s: how much later than due a late reply comes.
    """

    shares: Mapping[Fault, float]
    late_s: float = 1.0

    def __post_init__(self) -> None:
        if min(self.shares.values(), default=0) < 0 or sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"fault shares {dict(self.shares)}: expected each >= 0, sum <= 1")

    @classmethod
    def even(cls, total: float, late_s: float = 1.0) -> Self:
        """Spread a total share evenly over all faults."""
        return cls(dict.fromkeys(Fault, total / len(Fault)), late_s)

    @classmethod
    def noise(cls, total: float) -> Self:
        """Spread a total share over what a noisy line does: flipped bits and stray bytes."""
        return cls({Fault.DEAF: total / 3, Fault.FLIPPED: total / 3, Fault.GARBAGE: total / 3})


NO_FAULTS: Final = FaultRates({})


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that leave a device, so long after its reply was due."""

    data: bytes
    late_s: float = 0.0


class Faults:
    """Strikes exchanges with faults.

    Attributes:
        rates: may be exchanged at run time.
        counts: how often each fault has struck.
    """

    def __init__(self, rates: FaultRates = NO_FAULTS, seed: int = 0) -> None:
        self.rates = rates
        self.counts: Counter[Fault] = Counter()
        self._random = Random(seed)  # noqa: S311 - repeatable, not secret

    def draw(self) -> Fault | None:
        """Decide what happens to the next exchange."""
        if not self.rates.shares:
            return None
        left = self._random.random()
        for fault, share in self.rates.shares.items():
            left -= share
            if left < 0:
                return fault
        return None

    def strike_request(self, burst: bytes) -> bytes:
        """Return what a deaf device hears."""
        self.counts[Fault.DEAF] += 1
        return self._flip(burst, 1)

    def strike_reply(self, fault: Fault, reply: bytes) -> tuple[Part, ...]:
        """Return what leaves instead of a reply.

        Args:
            fault: any but DEAF.
            reply: a whole Modbus RTU frame.
        """
        self.counts[fault] += 1
        match fault:
            case Fault.LATE:
                return (Part(reply, self.rates.late_s),)
            case Fault.DOUBLED:
                return Part(reply), Part(reply)
            case Fault.GARBAGE:
                noise = self._random.randbytes(self._random.randint(1, 12))
                return (Part(noise + reply if self._random.random() < 0.5 else reply + noise),)
            case Fault.SILENT:
                return ()
            case _:
                return (Part(self._damage(fault, reply)),)

    def _damage(self, fault: Fault, reply: bytes) -> bytes:
        match fault:
            case Fault.TRUNCATED:
                return reply[: self._random.randrange(1, len(reply))]
            case Fault.WRONG_ADDRESS:
                return _seal(
                    bytes(((reply[0] + self._random.randint(1, 246)) % 256,)) + reply[1:-2]
                )
            case Fault.WRONG_FUNCTION:
                other = self._random.choice([code for code in (3, 4, 6, 16) if code != reply[1]])
                return _seal(reply[:1] + bytes((other,)) + reply[2:-2])
            case Fault.WRONG_CRC:
                return reply[:-2] + bytes(255 - byte for byte in reply[-2:])
            case Fault.WRONG_LENGTH:
                return _seal(self._resize(reply[:-2]))
            case _:
                return self._flip(reply, self._random.randint(1, 3))

    def _resize(self, body: bytes) -> bytes:
        """Make a body longer or shorter by a register; its own byte count stays true."""
        if len(body) < 5 or body[2] != len(body) - 3:
            return body[:-1]
        resized = (
            body[3:-2] if self._random.random() < 0.5 else body[3:] + self._random.randbytes(2)
        )
        return body[:2] + bytes((len(resized) % 256,)) + resized

    def _flip(self, data: bytes, bits: int) -> bytes:
        damaged = bytearray(data)
        for bit in self._random.sample(range(8 * len(data)), min(bits, 8 * len(data))):
            damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)


def _seal(body: bytes) -> bytes:
    return body + modbus(body).to_bytes(2, "little")

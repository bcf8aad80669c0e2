"""The gateway on simulated time; frames after the Modbus Messaging Guide V1.0b clause 3.1.3."""

import asyncio
from datetime import UTC, datetime

import pytest

from meterplex.simulator.bus import TwinBus
from meterplex.simulator.faults import Fault, FaultRates, Faults
from meterplex.simulator.gateway import GatewaySession, Modem
from meterplex.simulator.virtual_time import run_in_virtual_time
from meterplex.simulator.wire import Pace, Wire


class Register:
    """Device 1 with one register that holds 0x1234; refuses any other request."""

    turn_round_s = 0.01

    def receive(self, burst: bytes) -> bytes:
        if burst == bytes.fromhex("01 03 00 00 00 01 84 0A"):
            return bytes.fromhex("01 03 02 12 34 B5 33")
        return bytes.fromhex("01 83 02 C0 F1") if burst[:1] == b"\x01" else b""

    def advance(self, now: datetime) -> None:
        raise AssertionError(now.astimezone(UTC))


READ = bytes.fromhex("00 07 00 00 00 06 01 03 00 00 00 01")
READ_REPLY = bytes.fromhex("00 07 00 00 00 05 01 03 02 12 34")


def play(
    *pieces: bytes, pace: Pace | None = None, fault: Fault | None = None
) -> tuple[bytes, TwinBus, float]:
    """Return what the gateway wrote, its bus, and when it wrote last."""
    shares = {fault: 1.0} if fault else {}
    bus = TwinBus({"1": Register()}, Faults(FaultRates(shares, late_s=5.0), seed=4))
    written = bytearray()
    wrote_at = 0.0

    async def main() -> None:
        def write(data: bytes) -> None:
            nonlocal wrote_at
            written.extend(data)
            wrote_at = asyncio.get_running_loop().time()

        session = GatewaySession(Modem(Wire(bus, pace), 0.5), write)
        for piece in pieces:
            session.receive(piece)
        await asyncio.sleep(10)

    run_in_virtual_time(main())
    return bytes(written), bus, wrote_at


def test_reply_carries_the_transaction_of_its_request() -> None:
    assert play(READ)[0] == READ_REPLY


def test_exception_of_the_device_is_passed_on() -> None:
    written, _, _ = play(bytes.fromhex("00 08 00 00 00 06 01 04 00 00 00 01"))

    # The twin's exception is to function 3, the request was function 4: not its reply.
    assert written == bytes.fromhex("00 08 00 00 00 03 01 84 0B")

    written, _, _ = play(bytes.fromhex("00 08 00 00 00 06 01 03 00 09 00 01"))
    assert written == bytes.fromhex("00 08 00 00 00 03 01 83 02")


def test_silent_device_becomes_exception_0b() -> None:
    written, _, at = play(bytes.fromhex("00 01 00 00 00 06 05 03 00 00 00 01"))

    assert written == bytes.fromhex("00 01 00 00 00 03 05 83 0B")
    assert at == pytest.approx(0.5)


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault.SILENT, Fault.LATE, Fault.TRUNCATED, Fault.FLIPPED),
        *(Fault.WRONG_ADDRESS, Fault.WRONG_FUNCTION, Fault.WRONG_CRC),
    ],
)
def test_bad_reply_becomes_exception_0b(fault: Fault) -> None:
    assert play(READ, fault=fault)[0] == bytes.fromhex("00 07 00 00 00 03 01 83 0B")


def test_length_is_not_the_gateways_business() -> None:
    assert play(READ, fault=Fault.WRONG_LENGTH)[0] == bytes.fromhex("00 07 00 00 00 03 01 03 00")


def test_second_copy_of_a_reply_goes_nowhere() -> None:
    written, _, _ = play(READ, READ, fault=Fault.DOUBLED)

    assert written == READ_REPLY * 2


def test_requests_queue_for_the_one_line() -> None:
    written, bus, _ = play(READ + READ + READ, pace=Pace.at(9600))

    assert written == READ_REPLY * 3
    assert bus.counters.exchanges == 3
    assert bus.counters.gap_violations == 0


@pytest.mark.parametrize("cut", range(1, len(READ)))
def test_request_may_come_in_two_pieces(cut: int) -> None:
    assert play(READ[:cut], READ[cut:])[0] == READ_REPLY


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(bytes.fromhex("00 07 00 01 00 06 01 03 00 00 00 01"), id="protocol 1"),
        pytest.param(bytes.fromhex("00 07 00 00 00 01 01"), id="no function"),
        pytest.param(bytes.fromhex("00 07 00 00 01 00 01 03"), id="longer than a PDU"),
        pytest.param(b"\xff" * 300, id="noise"),
    ],
)
def test_what_is_no_frame_is_dropped(noise: bytes) -> None:
    assert play(noise, READ)[0] == READ_REPLY

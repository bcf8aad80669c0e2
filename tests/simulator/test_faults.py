from collections import Counter

import pytest
from fastcrc.crc16 import modbus

from meterplex.simulator.faults import NO_FAULTS, Fault, FaultRates, Faults

# Reply to a read of two registers of device 1.
REPLY = bytes.fromhex("01 03 04 00 06 00 05 DA 31")
# Acknowledgement of a write of two registers.
WRITTEN = bytes.fromhex("01 10 00 57 00 02 F0 18")
REFUSED = bytes.fromhex("01 83 02 C0 F1")


def only(fault: Fault, seed: int = 1) -> Faults:
    return Faults(FaultRates({fault: 1.0}, late_s=0.7), seed)


def struck(fault: Fault, seed: int, reply: bytes = REPLY) -> bytes:
    (part,) = only(fault, seed).strike_reply(fault, reply)
    assert part.late_s == 0
    return part.data


def test_samples_are_sound() -> None:
    assert modbus(REPLY) == modbus(WRITTEN) == modbus(REFUSED) == 0


def test_no_faults_never_strike() -> None:
    faults = Faults(NO_FAULTS)

    assert [faults.draw() for _ in range(100)] == [None] * 100


def test_faults_strike_as_often_as_asked() -> None:
    faults = Faults(FaultRates.even(0.3), seed=3)

    drawn = Counter(faults.draw() for _ in range(10_000))

    assert 6_800 < drawn[None] < 7_200
    assert all(200 < drawn[fault] < 350 for fault in Fault)


def test_same_seed_strikes_the_same_way() -> None:
    first, second = Faults(FaultRates.even(0.9), 5), Faults(FaultRates.even(0.9), 5)

    assert [first.draw() for _ in range(50)] == [second.draw() for _ in range(50)]
    assert first.strike_reply(Fault.FLIPPED, REPLY) == second.strike_reply(Fault.FLIPPED, REPLY)


@pytest.mark.parametrize("shares", [{Fault.LATE: 0.6, Fault.SILENT: 0.5}, {Fault.LATE: -0.1}])
def test_impossible_shares_are_refused(shares: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="expected each >= 0, sum <= 1"):
        FaultRates(shares)


def test_strikes_are_counted() -> None:
    faults = only(Fault.SILENT)

    faults.strike_reply(Fault.SILENT, REPLY)
    faults.strike_request(REPLY)

    assert faults.counts == {Fault.SILENT: 1, Fault.DEAF: 1}


def test_silent_loses_the_reply() -> None:
    assert only(Fault.SILENT).strike_reply(Fault.SILENT, REPLY) == ()


def test_late_delays_the_reply() -> None:
    (part,) = only(Fault.LATE).strike_reply(Fault.LATE, REPLY)

    assert (part.data, part.late_s) == (REPLY, 0.7)


def test_doubled_sends_the_reply_twice() -> None:
    parts = only(Fault.DOUBLED).strike_reply(Fault.DOUBLED, REPLY)

    assert [part.data for part in parts] == [REPLY, REPLY]


@pytest.mark.parametrize("seed", range(20))
def test_truncated_is_a_true_beginning(seed: int) -> None:
    part = struck(Fault.TRUNCATED, seed)

    assert 1 <= len(part) < len(REPLY)
    assert REPLY.startswith(part)


def test_garbage_comes_before_and_after() -> None:
    parts = [struck(Fault.GARBAGE, seed) for seed in range(20)]

    assert all(REPLY in part and len(part) > len(REPLY) for part in parts)
    assert {part.startswith(REPLY) for part in parts} == {True, False}


@pytest.mark.parametrize("seed", range(20))
def test_flipped_differs_in_one_to_three_bits(seed: int) -> None:
    part = struck(Fault.FLIPPED, seed)

    flipped = sum((one ^ other).bit_count() for one, other in zip(part, REPLY, strict=True))
    assert 1 <= flipped <= 3


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("reply", [REPLY, WRITTEN, REFUSED])
def test_forged_replies_have_a_good_crc(reply: bytes, seed: int) -> None:
    address = struck(Fault.WRONG_ADDRESS, seed, reply)
    function = struck(Fault.WRONG_FUNCTION, seed, reply)
    length = struck(Fault.WRONG_LENGTH, seed, reply)

    assert modbus(address) == modbus(function) == modbus(length) == 0
    assert address[0] != reply[0]
    assert address[1:-2] == reply[1:-2]
    assert function[1] != reply[1]
    assert function[2:-2] == reply[2:-2]
    assert len(length) != len(reply)


def test_wrong_length_keeps_its_byte_count_true() -> None:
    lengths = {len(struck(Fault.WRONG_LENGTH, seed)) for seed in range(20)}

    assert lengths == {7, 11}
    assert all((part := struck(Fault.WRONG_LENGTH, seed))[2] == len(part) - 5 for seed in range(20))


def test_wrong_crc_keeps_the_content() -> None:
    part = struck(Fault.WRONG_CRC, 1)

    assert part[:-2] == REPLY[:-2]
    assert modbus(part) != 0


def test_deaf_device_hears_one_flipped_bit() -> None:
    heard = only(Fault.DEAF).strike_request(REPLY)

    assert sum((one ^ other).bit_count() for one, other in zip(heard, REPLY, strict=True)) == 1

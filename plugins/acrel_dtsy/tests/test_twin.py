"""The twin against the sheet's literal frames.

Frames are from sheet sections 3, 4, 4a, 4b and 7; offsets in replies are the sheet's, taken apart
here by hand.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from meterplex.sdk import SettingsError
from meterplex_acrel_dtsy.twin import AcrelTwin, make_ddsy_twin, make_dtsy_twin
from meterplex_acrel_dtsy.twin_meter import Force
from meterplex_acrel_dtsy.twin_wire import is_sealed, seal

START = datetime(2026, 11, 20, 4, 30, 15, tzinfo=UTC)  # Friday 12:30:15 in Shanghai

READ_SNAPSHOT = "01 03 02 00 00 30 44 66"
READ_SETTINGS = "01 03 04 00 00 19 85 30"
READ_OLD_BLOCK = "01 03 00 46 00 1C A5 D6"
OPEN = "01 10 00 57 00 02 04 00 01 00 01 27 75"
HOLD = "01 10 00 57 00 02 04 00 01 00 00 E6 B5"
PREPAID = "01 10 00 57 00 02 04 00 00 00 00 B7 75"
SELL_100_COUNT_5 = "01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE"
SELL_100_COUNT_5_CIPHERED = "E0 95 D3 88 D7 54 BE C9 06 FF C5 83 01 E8 D9 82 70 ED F9 87"


def dtsy(**settings: str) -> AcrelTwin:
    made = make_dtsy_twin("1", settings, 42)
    assert isinstance(made, AcrelTwin)
    made.advance(START)
    return made


def ddsy(**settings: str) -> AcrelTwin:
    made = make_ddsy_twin("1", settings, 42)
    assert isinstance(made, AcrelTwin)
    made.advance(START)
    return made


def ask(twin: AcrelTwin, frame: str) -> bytes:
    """Return the reply's bytes between function code and CRC."""
    request = bytes.fromhex(frame)
    reply = twin.receive(request)
    assert is_sealed(reply)
    assert reply[0] == 1
    assert reply[1] == request[1]
    return reply[2:-2]


def read(twin: AcrelTwin, start: int, count: int) -> bytes:
    reply = twin.receive(seal(bytes((1, 3, start >> 8, start & 255, count >> 8, count & 255))))
    assert is_sealed(reply)
    assert reply[:3] == bytes((1, 3, 2 * count)), reply.hex(" ")
    return reply[3:-2]


def write(start: int, data: bytes, function: int = 0x10) -> bytes:
    count = len(data) // 2
    head = bytes((1, function, start >> 8, start & 255, count >> 8, count & 255, len(data)))
    return seal(head + data)


def refusal(reply: bytes) -> int:
    assert is_sealed(reply)
    assert len(reply) == 5
    assert reply[1] & 0x80
    return reply[2]


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def test_snapshot_of_a_dtsy() -> None:
    twin = dtsy(start_energy_kwh="1234.56", remaining="88.88", purchase_count="7", ct="40", pt="2")

    reply = ask(twin, READ_SNAPSHOT)

    assert reply[0] == 96
    data = reply[1:]
    assert len(data) == 96
    assert u16(data, 0) == 5
    assert all(2180 <= u16(data, at) <= 2420 for at in (2, 4, 6))
    assert u16(data, 14) + u16(data, 16) + u16(data, 18) == u16(data, 20) > 0
    assert all(860 <= u16(data, at) <= 1000 for at in (30, 32, 34, 36))
    assert (u16(data, 38), u16(data, 40)) == (2, 40)
    assert u32(data, 42) == 123_456
    assert [u32(data, at) for at in (46, 50, 54, 58)] == [12_345, 37_036, 49_382, 24_691]
    assert u32(data, 62) == 8888
    assert u16(data, 66) == 7
    assert (u16(data, 68), u16(data, 70)) == (0, 3)
    assert data[72:76] == bytes((0xE0, 0x0F, 0x07, 0x70))
    assert u32(data, 76) == 0
    assert data[80:87] == bytes((26, 11, 20, 5, 12, 30, 15))
    assert data[95] == 0


def test_snapshot_of_a_ddsy() -> None:
    data = ask(ddsy(), READ_SNAPSHOT)[1:]

    assert u16(data, 0) == 7
    assert 2180 <= u16(data, 2) <= 2420
    assert data[4:8] == bytes(4)
    assert u16(data, 14) == u16(data, 20) > 0
    assert data[16:20] == bytes(4)
    assert data[72:76] == bytes((0x20, 0x09, 0x01, 0x10))
    assert data[95] == 1


@pytest.mark.parametrize("make", [dtsy, ddsy])
def test_measured_values_fit_each_other(make: Callable[[], AcrelTwin]) -> None:
    data = ask(make(), READ_SNAPSHOT)[1:]

    volts, amperes, watts = u16(data, 2) / 10, u16(data, 8) / 100, u16(data, 14)
    factor, reactive = u16(data, 30) / 1000, u16(data, 22)
    assert volts * amperes * factor == pytest.approx(watts, abs=volts * 0.01 + 1)
    assert (volts * amperes) ** 2 == pytest.approx(watts**2 + reactive**2, rel=0.05)


def test_weekday_zero_is_sunday() -> None:
    twin = dtsy()
    twin.advance(START + timedelta(days=2))

    assert ask(twin, READ_SNAPSHOT)[1:][83] == 0


def test_arrears_read_as_a_negative_amount() -> None:
    data = ask(dtsy(remaining="-1.50", overdraft="10"), READ_SNAPSHOT)[1:]

    assert data[62:66] == bytes.fromhex("FF FF FF 6A")


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        pytest.param({}, 0x0F, id="enough credit"),
        pytest.param({"remaining": "20"}, 0x4F, id="alarm 1"),
        pytest.param({"remaining": "5"}, 0xCF, id="alarm 2"),
        pytest.param({"remaining": "-1", "overdraft": "2"}, 0xEF, id="arrears"),
        pytest.param({"remaining": "-2", "overdraft": "2"}, 0xF8, id="over the limit"),
        pytest.param({"remaining": "-2", "fee_control": "false"}, 0x07, id="postpaid"),
    ],
)
def test_fee_status_bits(settings: dict[str, str], status: int) -> None:
    assert ask(dtsy(**settings), READ_SNAPSHOT)[1:][73] == status


def test_fault_bit() -> None:
    twin = dtsy()
    twin.body.faulty = True

    assert ask(twin, READ_SNAPSHOT)[1:][72] == 0xE1


def test_settings_block() -> None:
    twin = dtsy(remaining="88.88", total_purchased="500", purchase_count="9", overdraft="3")

    reply = ask(twin, READ_SETTINGS)

    assert reply[0] == 50
    data = reply[1:]
    assert (u16(data, 0), u16(data, 2)) == (1, 9)
    assert [u32(data, at) for at in (4, 8, 12, 16)] == [12_000, 9_500, 6_500, 3_500]
    assert [u32(data, at) for at in (20, 24, 28)] == [2000, 500, 300]
    assert (u32(data, 36), u32(data, 40), u32(data, 44)) == (50_000, 8888, 0)


def test_old_block() -> None:
    twin = dtsy(remaining="88.88", purchase_count="9", overload_w="4000")
    twin.receive(bytes.fromhex(HOLD))

    reply = ask(twin, READ_OLD_BLOCK)

    assert reply[0] == 56
    data = reply[1:]
    assert [u32(data, 2 * (register - 0x46)) for register in (0x46, 0x48, 0x4A, 0x4F)] == [
        *(2000, 500, 0, 8888)
    ]
    assert u16(data, 2 * (0x4E - 0x46)) == 9
    assert data[2 * (0x55 - 0x46)] == 1
    assert data[2 * (0x57 - 0x46) : 2 * (0x59 - 0x46)] == bytes((0, 1, 0, 0))
    assert [u32(data, 2 * (register - 0x46)) for register in (0x59, 0x5B, 0x5D, 0x5F)] == [
        *(12_000, 9_500, 6_500, 3_500)
    ]
    assert u16(data, 2 * (0x61 - 0x46)) == 4000


def test_base_block_and_number() -> None:
    twin = dtsy(start_energy_kwh="1234.56", serial="260711000123")

    data = read(twin, 0x0000, 11)

    assert u32(data, 0) == 123_456
    assert u16(data, 20) == 0
    assert read(twin, 0x0043, 3) == bytes.fromhex("26 07 11 00 01 23")


def test_single_phase_values_of_the_base_block() -> None:
    twin = ddsy()

    data, snapshot = read(twin, 0x000B, 6), ask(twin, READ_SNAPSHOT)[1:]

    assert u16(data, 0) == u16(snapshot, 2)
    assert u16(data, 2) == u16(snapshot, 8)
    assert u16(data, 4) == u16(snapshot, 14)
    assert u16(data, 6) == u16(snapshot, 22)
    assert u16(data, 10) == u16(snapshot, 30)


@pytest.mark.parametrize(
    ("make", "start", "count"),
    [
        pytest.param(dtsy, 0x0000, 11, id="energies"),
        pytest.param(dtsy, 0x0022, 1, id="run mode"),
        pytest.param(dtsy, 0x0028, 6, id="date plan of a DTSY"),
        pytest.param(dtsy, 0x0037, 2, id="ratios"),
        pytest.param(dtsy, 0x0057, 2, id="force control"),
        pytest.param(dtsy, 0x0063, 1, id="output"),
        pytest.param(dtsy, 0x0215, 2, id="inside the snapshot"),
        pytest.param(dtsy, 0x0360, 5, id="port 1"),
        pytest.param(dtsy, 0x0365, 5, id="port 2"),
        pytest.param(dtsy, 0x0480, 19, id="load control of a DTSY"),
        pytest.param(dtsy, 0x2000, 42, id="day tables of a DTSY"),
        pytest.param(dtsy, 0x2015, 21, id="day table 2 of a DTSY"),
        pytest.param(ddsy, 0x0000, 17, id="base map of a DDSY"),
        pytest.param(ddsy, 0x0480, 7, id="load control of a DDSY"),
        pytest.param(ddsy, 0x2000, 6, id="date plan of a DDSY"),
        pytest.param(ddsy, 0x2006, 21, id="day table 1 of a DDSY"),
        pytest.param(ddsy, 0x201B, 21, id="day table 2 of a DDSY"),
    ],
)
def test_block_is_known(make: Callable[[], AcrelTwin], start: int, count: int) -> None:
    assert len(read(make(), start, count)) == 2 * count


@pytest.mark.parametrize(
    ("make", "start", "count"),
    [
        pytest.param(dtsy, 0x000B, 1, id="single-phase values of a DTSY"),
        pytest.param(dtsy, 0x0000, 12, id="over the end of a block"),
        pytest.param(dtsy, 0x0062, 2, id="before the start of a block"),
        pytest.param(ddsy, 0x0028, 6, id="date plan of a DTSY in a DDSY"),
        pytest.param(ddsy, 0x0480, 19, id="load control of a DTSY in a DDSY"),
        pytest.param(dtsy, 0x5030, 2, id="deep valley of a four-rate meter"),
        pytest.param(dtsy, 0xFFFF, 2, id="end of the address space"),
    ],
)
def test_block_is_unknown(make: Callable[[], AcrelTwin], start: int, count: int) -> None:
    request = seal(bytes((1, 3, start >> 8, start & 255, 0, count)))

    assert refusal(make().receive(request)) == 2


@pytest.mark.parametrize("count", [0, 126, 65535])
def test_bad_count_is_refused(count: int) -> None:
    assert refusal(dtsy().receive(seal(bytes((1, 3, 2, 0)) + count.to_bytes(2, "big")))) == 3


@pytest.mark.parametrize("function", [1, 4, 6, 0x2A, 0x7F])
def test_unknown_function_is_refused(function: int) -> None:
    assert refusal(dtsy().receive(seal(bytes((1, function, 0, 0x57, 0, 1))))) == 1


@pytest.mark.parametrize(
    "burst",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes.fromhex("02 03 02 00 00 30 44 55"), id="another address"),
        pytest.param(bytes.fromhex("01 03 02 00 00 30 44 67"), id="bad CRC"),
        pytest.param(seal(bytes((1, 3, 2, 0))), id="a read without its count"),
        pytest.param(seal(bytes((1, 3, 2, 0, 0, 48, 0))), id="a read with a byte too many"),
        pytest.param(seal(bytes((1, 0x10, 0, 0x57))), id="a write without values"),
        pytest.param(seal(bytes((1, 0x20))), id="a command without anything"),
        pytest.param(seal(bytes((0, 3, 2, 0, 0, 48))), id="broadcast"),
        pytest.param(b"\xff" * 4096, id="much noise"),
    ],
)
def test_burst_that_is_no_frame_for_it_gets_silence(burst: bytes) -> None:
    assert dtsy().receive(burst) == b""


@pytest.mark.parametrize("make", [dtsy, ddsy])
def test_well_sealed_nonsense_never_breaks_the_twin(make: Callable[[], AcrelTwin]) -> None:
    twin, random = make(), Random(5)
    written = (0x0022, 0x0028, 0x0037, 0x0057, 0x2000)
    commanded = (0x0100, 0x0200, 0x0354, 0x0400, 0x0410, 0x0500)

    for step in range(3000):
        count = random.choice((1, 2, 4, 5, 6, 13, 21, 30))
        data = random.randbytes(2 * count)
        burst = write(random.choice(written + commanded), data, random.choice((0x10, 0x20)))
        if step % 3 == 0:
            burst = seal(b"\x01" + random.randbytes(random.randrange(2, 12)))
        reply = twin.receive(burst)
        assert not reply or is_sealed(reply)
        twin.advance(START + timedelta(minutes=step))
        # What it has become can still be read.
        for start, size in ((0x0000, 11), (0x0046, 28), (0x0200, 48), (0x0400, 25), (0x0480, 7)):
            read(twin, start, size)


def test_energy_rolls_over() -> None:
    twin = dtsy(start_energy_kwh="42949672.959", load_kw="3", fee_control="false")

    twin.advance(START + timedelta(hours=1))

    assert 0 < u32(read(twin, 0x0000, 2), 0) < 1000


def test_every_flipped_bit_of_a_request_gets_silence() -> None:
    twin, request = dtsy(), bytes.fromhex(OPEN)

    for bit in range(8 * len(request)):
        burst = bytearray(request)
        burst[bit // 8] ^= 1 << bit % 8
        assert twin.receive(bytes(burst)) == b""
    assert all(twin.body.relays)


@pytest.mark.parametrize("make", [dtsy, ddsy])
def test_relay_follows_the_three_frames_of_the_sheet(make: Callable[[], AcrelTwin]) -> None:
    twin = make()
    seen = []

    for frame in (OPEN, HOLD, PREPAID):
        assert ask(twin, frame) == bytes.fromhex("00 57 00 02")
        status = ask(twin, READ_SNAPSHOT)[1:][72:76]
        seen.append((status[0] >> 5 & 1, status[3] & 0x0F, read(twin, 0x0057, 2).hex()))

    on = 0x0F if make is dtsy else 0x09
    assert seen == [(0, 0x08, "00010001"), (1, on, "00010000"), (1, 0, "00000000")]


def test_no_power_flows_through_an_open_relay() -> None:
    twin = dtsy()
    twin.receive(bytes.fromhex(OPEN))
    before = read(twin, 0x0000, 2)

    twin.advance(START + timedelta(days=1))

    data = ask(twin, READ_SNAPSHOT)[1:]
    assert data[8:30] == bytes(22)
    assert u16(data, 36) == 1000
    assert u16(data, 2) > 2000
    assert read(twin, 0x0000, 2) == before


def test_phases_can_be_forced_one_by_one() -> None:
    twin = dtsy()

    reply = twin.receive(write(0x0500, bytes((0, 0, 0, 1, 1, 1, 1, 1, 0, 0)), 0x20))

    assert len(reply) == 15
    assert twin.body.force == [Force.OFF, Force.OPEN, Force.CLOSED]
    assert ask(twin, READ_SNAPSHOT)[1:][72] == 0b101 << 5
    assert refusal(ddsy().receive(write(0x0500, bytes(10), 0x20))) == 2


def test_sale_is_taken_and_answered_with_15_bytes() -> None:
    twin = dtsy(remaining="3", total_purchased="50", purchase_count="4")

    reply = twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    # Layout of the answer is a guess: start, 08, remaining 103.00, count 5, 0000.
    assert reply == seal(bytes.fromhex("01 20 01 00 08 00 00 28 3C 00 05 00 00"))
    assert len(reply) == 15
    data = ask(twin, READ_SETTINGS)[1:]
    assert (u16(data, 2), u32(data, 36), u32(data, 40)) == (5, 15_000, 10_300)


@pytest.mark.parametrize("stored", ["5", "3", "6", "65535", "0"])
def test_sale_with_a_wrong_count_changes_nothing(stored: str) -> None:
    twin = dtsy(purchase_count=stored)
    before = ask(twin, READ_SETTINGS)

    assert refusal(twin.receive(bytes.fromhex(SELL_100_COUNT_5))) == 3
    assert ask(twin, READ_SETTINGS) == before


def test_doubled_sale_is_taken_once() -> None:
    twin = dtsy(purchase_count="4", remaining="0")

    first = twin.receive(bytes.fromhex(SELL_100_COUNT_5))
    second = twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    assert len(first) == 15
    assert refusal(second) == 3
    assert twin.body.wallet.remaining == 1_000_000


def test_blind_variant_takes_any_count_and_pays_twice() -> None:
    twin = dtsy(count_checked="false", purchase_count="77", remaining="0")

    twin.receive(bytes.fromhex(SELL_100_COUNT_5))
    twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    assert twin.body.wallet.remaining == 2_000_000
    assert twin.body.wallet.purchase_count == 5


def test_sale_beyond_the_register_is_refused() -> None:
    twin = dtsy(remaining="21474836.00", purchase_count="4")

    assert refusal(twin.receive(bytes.fromhex(SELL_100_COUNT_5))) == 3
    assert twin.body.wallet.purchase_count == 4


def test_sale_above_the_limit_recloses_a_meter_that_tripped() -> None:
    twin = dtsy(remaining="1", purchase_count="4")
    twin.advance(START + timedelta(days=1))
    tripped = ask(twin, READ_SNAPSHOT)[1:][72:74]

    twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    # Over limit, both alarms, and in arrears by a part of the last Wh.
    assert tripped == bytes((0x00, 0xF8))
    assert ask(twin, READ_SNAPSHOT)[1:][72:74] == bytes((0xE0, 0x0F))


def test_sale_below_the_limit_does_not_reclose() -> None:
    twin = dtsy(remaining="-150", purchase_count="4")

    twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    assert not any(twin.body.relays)


def test_forced_open_meter_stays_open_after_a_sale() -> None:
    twin = dtsy(purchase_count="4")
    twin.receive(bytes.fromhex(OPEN))

    twin.receive(bytes.fromhex(SELL_100_COUNT_5))

    assert not any(twin.body.relays)


def test_account_block_sets_enabled_groups_only() -> None:
    twin = dtsy(remaining="9", purchase_count="4", overdraft="1")
    frame = bytearray(60)
    frame[2:7] = bytes((1,)) + (-1234).to_bytes(4, "big", signed=True)
    frame[7:10] = bytes((0, 0, 99))
    frame[20:29] = bytes((1,)) + (3000).to_bytes(4, "big") + (1000).to_bytes(4, "big")
    frame[46:51] = bytes((1,)) + (5000).to_bytes(4, "big")

    reply = twin.receive(write(0x0200, bytes(frame), 0x20))

    assert len(reply) == 15
    data = ask(twin, READ_SETTINGS)[1:]
    assert data[40:44] == (-1234).to_bytes(4, "big", signed=True)
    assert u16(data, 2) == 4
    assert [u32(data, at) for at in (20, 24, 28)] == [3000, 1000, 5000]
    assert [u32(data, at) for at in (4, 8, 12, 16)] == [12_000, 9_500, 6_500, 3_500]


def test_account_block_sets_all_groups() -> None:
    twin = dtsy()
    frame = (
        bytes((1, 0))
        + bytes((1, 0, 0, 0, 50))
        + bytes((1, 0, 3))
        + bytes((1, 0, 0, 1, 0))
        + bytes((1, 0, 0, 0, 200))
        + bytes((1, 0, 0, 0, 7, 0, 0, 0, 6))
        + bytes((1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4))
        + bytes((1, 0, 0, 0, 8))
        + bytes((1, 0x5A))
        + bytes((1, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12))
    )
    assert len(frame) == 60

    twin.receive(write(0x0200, frame, 0x20))

    data = ask(twin, READ_SETTINGS)[1:]
    assert data == bytes.fromhex(
        "0000 0003 00000001 00000002 00000003 00000004 00000007 00000006 00000008"
        "00000000 00000100 00000032 000000C8 5A00"
    )
    assert read(twin, 0x0043, 3) == bytes.fromhex("12 34 56 78 90 12")


def test_load_control_is_written_and_read_back_per_phase() -> None:
    twin = dtsy()
    frame = bytes((1, 1, 1, 0x0F, 0xA0, 0, 5, 0, 90, 1, 10, 1, 0, 2, 1, 0, 6, 1, 7)) + bytes(7)

    twin.receive(write(0x040D, frame, 0x20))

    data = read(twin, 0x0480, 19)
    untouched = bytes((0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 0))
    written = bytes.fromhex("0FA0 0005 005A 0006 0002 0A 07")
    assert data == bytes((0, 1)) + untouched + written + untouched


def test_load_control_for_all_phases() -> None:
    twin = dtsy()

    twin.receive(write(0x0400, bytes((0xFF, 1, 1, 0, 9)) + bytes(21), 0x20))

    assert [control.power_w_max for control in twin.body.load_control] == [9, 9, 9]
    assert all(control.enabled for control in twin.body.load_control)


def test_overload_trips_are_counted_shown_and_reset() -> None:
    twin = ddsy(overload_w="10", recover_min="0", trips_allowed="4")
    twin.advance(START + timedelta(minutes=2))
    data = ask(twin, READ_SNAPSHOT)[1:]

    reply = twin.receive(write(0x0410, bytes(8), 0x20))

    assert (u16(data, 68), u16(data, 70)) == (1, 4)
    assert data[72:75] == bytes((0x00, 0x09, 0x08))
    assert len(reply) == 15
    assert ask(twin, READ_SNAPSHOT)[1:][74] == 0x09
    assert u16(ask(twin, READ_SNAPSHOT)[1:], 68) == 0


def test_clock_is_set() -> None:
    twin = dtsy()

    twin.receive(write(0x0354, bytes((5, 4, 3, 0, 31, 12, 29, 0, 0, 0)), 0x20))

    # 2029-12-31 is a Monday: the meter reckons the weekday itself.
    assert ask(twin, READ_SNAPSHOT)[1:][80:87] == bytes((29, 12, 31, 1, 3, 4, 5))


def test_impossible_clock_is_refused() -> None:
    request = write(0x0354, bytes((5, 4, 24, 0, 31, 12, 29, 0, 0, 0)), 0x20)

    assert refusal(dtsy().receive(request)) == 3


@pytest.mark.parametrize(
    ("make", "start", "values"),
    [
        pytest.param(dtsy, 0x0028, bytes((1, 1, 4) + (0,) * 9), id="date plan of a DTSY"),
        pytest.param(dtsy, 0x2015, bytes((4, 30, 6) + (0,) * 39), id="day table 2 of a DTSY"),
        pytest.param(ddsy, 0x2000, bytes((1, 1, 4) + (0,) * 9), id="date plan of a DDSY"),
        pytest.param(ddsy, 0x2006, bytes((4, 30, 6) + (0,) * 39), id="day table 1 of a DDSY"),
        pytest.param(dtsy, 0x0037, bytes((0, 2, 0, 80)), id="ratios"),
        pytest.param(dtsy, 0x0038, bytes((0, 80)), id="one ratio"),
        pytest.param(dtsy, 0x000A, bytes((0x27, 0x0F)), id="keypad code"),
        pytest.param(dtsy, 0x0063, bytes((0, 1)), id="output"),
        pytest.param(dtsy, 0x0022, bytes((0, 0x43)), id="run mode"),
        pytest.param(dtsy, 0x0058, bytes((0, 0)), id="half of force control"),
    ],
)
def test_written_registers_read_back(
    make: Callable[[], AcrelTwin], start: int, values: bytes
) -> None:
    twin = make()

    reply = twin.receive(write(start, values))

    assert reply == seal(bytes((1, 0x10, start >> 8, start & 255, 0, len(values) // 2)))
    assert read(twin, start, len(values) // 2) == values


@pytest.mark.parametrize(
    ("start", "values", "code"),
    [
        pytest.param(0x0000, bytes(4), 2, id="an energy"),
        pytest.param(0x0200, bytes(2), 2, id="the snapshot"),
        pytest.param(0x0046, bytes(4), 2, id="the old block"),
        pytest.param(0x0360, bytes(10), 2, id="a serial port"),
        pytest.param(0x2029, bytes(4), 2, id="over the end of the day tables"),
        pytest.param(0x0057, bytes((0, 2, 0, 0)), 3, id="force control 2"),
        pytest.param(0x0037, bytes((0, 0, 0, 1)), 3, id="a ratio of zero"),
        pytest.param(0x000A, bytes((0x27, 0x10)), 3, id="keypad code 10000"),
        pytest.param(0x0028, bytes((9, 9, 9)) + bytes(9), 3, id="an impossible date plan"),
    ],
)
def test_write_that_the_meter_does_not_take(start: int, values: bytes, code: int) -> None:
    assert refusal(dtsy().receive(write(start, values))) == code


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("01 10 00 57 00 02 03 00 01 00 01", id="byte count too small"),
        pytest.param("01 10 00 57 00 01 04 00 01 00 01", id="register count too small"),
        pytest.param("01 10 00 57 00 00 00", id="nothing to write"),
        pytest.param("01 10 00 57 00 02 04 00 01 00", id="a byte missing"),
        pytest.param("01 20 01 00 00 04 08 00 00 27 10 00 05 00", id="a sale cut short"),
        pytest.param("01 20 01 00 00 03 06 00 00 27 10 00 05", id="a sale of three registers"),
    ],
)
def test_write_whose_counts_disagree_is_refused(frame: str) -> None:
    twin = dtsy(purchase_count="4")

    assert refusal(twin.receive(seal(bytes.fromhex(frame)))) == 3
    assert all(twin.body.relays)
    assert twin.body.wallet.purchase_count == 4


@pytest.mark.parametrize(("start", "count"), [(0x0300, 28), (0x0201, 30), (0x0600, 4)])
def test_unknown_command_is_refused(start: int, count: int) -> None:
    assert refusal(dtsy().receive(write(start, bytes(2 * count), 0x20))) == 2


def test_ciphered_sale_of_the_sheet_is_taken() -> None:
    twin = dtsy(cipher="tea16", cipher_key="1111 2222 3333 4444", purchase_count="4")

    reply = twin.receive(bytes.fromhex(SELL_100_COUNT_5_CIPHERED))

    assert len(reply) == 15
    assert is_sealed(reply)
    assert twin.body.wallet.purchase_count == 5


def test_plain_command_is_refused_while_ciphers_are_on() -> None:
    twin = dtsy(cipher="tea16", cipher_key="1111 2222 3333 4444", purchase_count="4")

    assert refusal(twin.receive(bytes.fromhex(SELL_100_COUNT_5))) == 1
    assert len(ask(twin, READ_SNAPSHOT)) == 97


def test_ciphered_sale_with_another_key_gets_silence() -> None:
    twin = dtsy(cipher="tea16", cipher_key="1111 2222 3333 4445", purchase_count="4")

    assert twin.receive(bytes.fromhex(SELL_100_COUNT_5_CIPHERED)) == b""
    assert twin.body.wallet.purchase_count == 4


def test_ciphered_sale_gets_silence_where_ciphers_are_off() -> None:
    assert dtsy(purchase_count="4").receive(bytes.fromhex(SELL_100_COUNT_5_CIPHERED)) == b""


@pytest.mark.parametrize("address", ["0", "248", "-1", "one", "", "1.0"])
def test_address_out_of_range_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"1\.\.247"):
        make_dtsy_twin(address, {}, 1)


def test_serial_number_is_made_from_the_seed() -> None:
    assert read(dtsy(), 0x0043, 3) == bytes.fromhex("00 00 00 00 00 42")

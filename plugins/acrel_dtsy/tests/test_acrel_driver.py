"""The driver against literal frames: what it sends, byte for byte, and what it makes of answers.

Requests marked DBG and EMS are those of the public sources in the plugin's README; CRCs and
replies were computed for these tests from the layouts in those sources, none was recorded.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import pytest

from meterplex.sdk import (
    STANDARD_REGISTERS,
    Capability,
    CreditState,
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    Framing,
    Identity,
    LinkTimeoutError,
    MeterDriver,
    OutcomeUnknownError,
    Quality,
    SettingsError,
    SupplyAction,
    SupplyMode,
    SupplyState,
    UnsupportedError,
)
from meterplex.sdk.drivers import Limits
from meterplex.sdk.testing import MemoryLink, ScriptedTransport
from meterplex_acrel_dtsy import models

READ_SNAPSHOT = "01 03 02 00 00 30 44 66"  # DBG
# Model 5; 230.1 230.2 230.3 V; 5.12 4.80 0.07 A; 1.150 1.080 -0.020 2.210 kW; 0.100 -0.050 0
# 0.050 kvar; 0.997 0.999 -1.000 0.995; PT 1, CT 40; 1234.56 kWh as 1.00 10.00 100.00 1123.56;
# -1.25 left, count 5; overload trips 2 of 3; status A and B; base energy 0; 2026-11-20 22:30:15.
SNAPSHOT = (
    "01 03 60 00 05 08 FD 08 FE 08 FF 02 00 01 E0 00 07 04 7E 04 38 FF EC 08 A2 00 64 FF CE 00 00 "
    "00 32 03 E5 03 E7 FC 18 03 E3 00 01 00 28 00 01 E2 40 00 00 00 64 00 00 03 E8 00 00 27 10 "
    "00 01 B6 E4 FF FF FF 83 00 05 00 02 00 03 {} 00 00 00 00 1A 0B 14 05 16 1E 0F 09 C4 1E 12 "
    "0F 0B 00 00 00 {}"
)
CLOSED_IN_ARREARS = SNAPSHOT.format("E0 CF 00 00", "C5 05")
FORCED_OFF_SNAPSHOT = SNAPSHOT.format("00 08 00 08", "BA 5C")

READ_ACCOUNT = "01 03 04 00 00 19 85 30"  # DBG
# Count 5, prices 1.2000 0.9500 0.6500 0.3500, alarms 20.00 and 5.00, total 500.00, remaining.
ACCOUNT = (
    "01 03 32 00 01 00 05 00 00 2E E0 00 00 25 1C 00 00 19 64 00 00 0D AC 00 00 07 D0 00 00 01 F4 "
    "00 00 00 00 00 00 00 00 00 00 C3 50 {} 00 00 00 00 00 00 {}"
)
ACCOUNT_23_86 = ACCOUNT.format("00 00 09 52", "2B DB")
ACCOUNT_123_86 = ACCOUNT.format("00 00 30 62", "D8 A6")

SALE_100_AS_5 = "01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE"  # DBG
SALE_ENCIPHERED = "E0 95 D3 88 D7 54 BE C9 06 FF C5 83 01 E8 D9 82 70 ED F9 87"
SALE_REFUSED = "01 A0 03 18 01"

OPEN = "01 10 00 57 00 02 04 00 01 00 01 27 75"  # DBG, EMS
KEEP = "01 10 00 57 00 02 04 00 01 00 00 E6 B5"  # DBG, EMS
PREPAID = "01 10 00 57 00 02 04 00 00 00 00 B7 75"  # DBG
WRITTEN = "01 10 00 57 00 02 F0 18"
WRITE_REFUSED = "01 90 02 CD C1"
READ_STATUS = "01 03 02 24 00 02 85 B8"
CLOSED = "01 03 04 E0 08 00 00 4C 31"
OPENED = "01 03 04 00 08 00 08 7A 37"
KEPT = "01 03 04 E0 08 00 0F 0C 35"


def frames(script: Mapping[str, str]) -> dict[bytes, bytes]:
    return {bytes.fromhex(request): bytes.fromhex(reply) for request, reply in script.items()}


def meter(script: Mapping[str, str], **settings: str) -> tuple[MeterDriver, MemoryLink]:
    """A three-phase meter that knows these frames; an empty reply is silence."""
    link = ScriptedTransport(frames(script))
    return models.dtsy1352().driver(link, "1", settings), link


def sent(link: MemoryLink) -> list[str]:
    return [exchange.request.hex(" ").upper() for exchange in link.exchanges]


async def test_read_is_one_exchange_with_everything_in_it() -> None:
    driver, link = meter({READ_SNAPSHOT: CLOSED_IN_ARREARS})
    snapshot = await driver.read()
    assert sent(link) == [READ_SNAPSHOT]
    assert {value.register.slug: str(value.value) for value in snapshot.values} == {
        "voltage_l1": "230.1",
        "voltage_l2": "230.2",
        "voltage_l3": "230.3",
        "current_l1": "5.12",
        "current_l2": "4.80",
        "current_l3": "0.07",
        "active_power_l1": "1.150",
        "active_power_l2": "1.080",
        "active_power_l3": "-0.020",
        "active_power": "2.210",
        "reactive_power_l1": "0.100",
        "reactive_power_l2": "-0.050",
        "reactive_power_l3": "0.000",
        "reactive_power": "0.050",
        "power_factor_l1": "0.997",
        "power_factor_l2": "0.999",
        "power_factor_l3": "-1.000",
        "power_factor": "0.995",
        "active_energy_import": "1234.56",
        "active_energy_import_sharp": "1.00",
        "active_energy_import_peak": "10.00",
        "active_energy_import_flat": "100.00",
        "active_energy_import_valley": "1123.56",
        "credit_remaining": "-1.25",
        "purchase_count": "5",
    }
    assert snapshot.supply == SupplyState(True, SupplyMode.AUTOMATIC)
    assert snapshot.credit == CreditState(Decimal("-1.25"), 5)
    assert snapshot.flags == frozenset({"alarm_1", "alarm_2"})
    assert snapshot.clock == datetime(2026, 11, 20, 22, 30, 15)  # noqa: DTZ001 - a meter's
    assert {value.quality for value in snapshot.values} == {Quality.GOOD}


async def test_total_purchased_is_read_only_when_asked_for() -> None:
    read_total = "01 03 04 12 00 02 65 3E"
    driver, link = meter(
        {READ_SNAPSHOT: CLOSED_IN_ARREARS, read_total: "01 03 04 00 00 C3 50 AA FF"}
    )
    total = STANDARD_REGISTERS["total_purchased"]
    snapshot = await driver.read([total])
    assert {value.register: value.value for value in snapshot.values}[total] == Decimal("500.00")
    assert sent(link) == [READ_SNAPSHOT, read_total]


READ_DEEP_VALLEY = "01 03 50 30 00 02 D5 04"
DEEP_VALLEY = STANDARD_REGISTERS["active_energy_import_deep_valley"]


async def test_eight_rate_meter_is_polled_for_its_fifth_rate() -> None:
    script = {READ_SNAPSHOT: CLOSED_IN_ARREARS, READ_DEEP_VALLEY: "01 03 04 00 00 00 64 FB D8"}
    driver, link = meter(script, deep_valley="true")
    values = {value.register: value.value for value in (await driver.read()).values}
    assert values[DEEP_VALLEY] == Decimal("1.00")
    assert sent(link) == [READ_SNAPSHOT, READ_DEEP_VALLEY]


async def test_register_that_the_meter_does_not_have_is_left_out() -> None:
    driver, _ = meter({READ_SNAPSHOT: CLOSED_IN_ARREARS, READ_DEEP_VALLEY: "01 83 02 C0 F1"})
    snapshot = await driver.read([DEEP_VALLEY])
    assert DEEP_VALLEY not in {value.register for value in snapshot.values}


async def test_other_refusals_of_a_register_are_told() -> None:
    driver, _ = meter({READ_SNAPSHOT: CLOSED_IN_ARREARS, READ_DEEP_VALLEY: "01 83 04 40 F3"})
    with pytest.raises(DeviceRefusedError) as refusal:
        await driver.read([DEEP_VALLEY])
    assert refusal.value.code == 4


READ_MODEL = "01 03 02 00 00 01 85 B2"
READ_NUMBER = "01 03 00 43 00 03 F4 1F"
NUMBER = "01 03 06 20 26 07 11 00 01 BF 63"


async def test_meter_says_model_and_number() -> None:
    driver, _ = meter({READ_MODEL: "01 03 02 00 05 78 47", READ_NUMBER: NUMBER})
    assert await driver.identify() == Identity("acrel_dtsy1352", "202607110001")


async def test_another_model_is_a_mismatch() -> None:
    driver, _ = meter({READ_MODEL: "01 03 02 00 07 F9 86", READ_NUMBER: NUMBER})
    with pytest.raises(DeviceMismatchError, match="reads 7, expected 5"):
        await driver.identify()


async def test_read_of_another_model_is_a_mismatch() -> None:
    link = ScriptedTransport(frames({READ_SNAPSHOT: CLOSED_IN_ARREARS}))
    driver = models.ddsy1352().driver(link, "1", {})
    with pytest.raises(DeviceMismatchError, match="model word 5, expected 7"):
        await driver.read()


@pytest.mark.parametrize(
    ("action", "write", "status", "state"),
    [
        (SupplyAction.DISCONNECT, OPEN, OPENED, SupplyState(False, SupplyMode.FORCED_OFF)),
        (SupplyAction.HOLD, KEEP, KEPT, SupplyState(True, SupplyMode.HELD)),
        (SupplyAction.RECONNECT, PREPAID, CLOSED, SupplyState(True, SupplyMode.AUTOMATIC)),
        (SupplyAction.AUTOMATIC, PREPAID, CLOSED, SupplyState(True, SupplyMode.AUTOMATIC)),
    ],
)
async def test_supply_is_written_once_and_read_back(
    action: SupplyAction, write: str, status: str, state: SupplyState
) -> None:
    driver, link = meter({write: WRITTEN, READ_STATUS: status})
    assert await driver.set_supply(action) == state
    assert sent(link) == [write, READ_STATUS]
    assert link.control_frames == [bytes.fromhex(write)]


async def test_lost_answer_with_the_wanted_state_is_proven() -> None:
    driver, link = meter({OPEN: "", READ_STATUS: OPENED})
    state = await driver.set_supply(SupplyAction.DISCONNECT)
    assert state == SupplyState(False, SupplyMode.FORCED_OFF)
    assert sent(link).count(OPEN) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param("", CLOSED, id="no-answer-and-another-state"),
        pytest.param("", "", id="no-answer-and-no-state"),
        pytest.param(WRITTEN, "", id="answer-and-no-state"),
        pytest.param(WRITTEN, "01 83 02 C0 F1", id="answer-and-state-refused"),
        pytest.param(WRITTEN, "01 03 04 60 08 00 08 64 37", id="phases-disagree"),
    ],
)
async def test_unproven_disconnect_is_unknown(answer: str, status: str) -> None:
    driver, link = meter({OPEN: answer, READ_STATUS: status})
    with pytest.raises(OutcomeUnknownError):
        await driver.set_supply(SupplyAction.DISCONNECT)
    assert sent(link).count(OPEN) == 1


@pytest.mark.parametrize(
    ("action", "script"),
    [
        pytest.param(
            SupplyAction.DISCONNECT, {OPEN: WRITTEN, READ_STATUS: CLOSED}, id="stays-closed"
        ),
        pytest.param(
            SupplyAction.DISCONNECT, {OPEN: WRITE_REFUSED, READ_STATUS: CLOSED}, id="says-no"
        ),
        pytest.param(
            # Fee control on, in arrears, wants all phases open: A 0028, B 0000.
            SupplyAction.RECONNECT,
            {PREPAID: WRITTEN, READ_STATUS: "01 03 04 00 28 00 00 7A 3B"},
            id="fee-control-keeps-it-open",
        ),
    ],
)
async def test_meter_that_keeps_another_state_refused(
    action: SupplyAction, script: dict[str, str]
) -> None:
    driver, _ = meter(script)
    with pytest.raises(DeviceRefusedError):
        await driver.set_supply(action)


async def test_wallet_is_one_read_of_the_settings_block() -> None:
    driver, link = meter({READ_ACCOUNT: ACCOUNT_123_86})
    assert await driver.read_credit() == CreditState(Decimal("123.86"), 5, Decimal("500.00"))
    assert sent(link) == [READ_ACCOUNT]


SALE_TAKEN = "01 20 01 00 08 00 00 30 62 00 05 00 00 0F D0"


async def test_purchase_is_one_sale_frame_and_a_read() -> None:
    driver, link = meter({SALE_100_AS_5: SALE_TAKEN, READ_ACCOUNT: ACCOUNT_123_86})
    wallet = await driver.deliver_credit(5, Decimal("100.00"))
    assert wallet == CreditState(Decimal("123.86"), 5, Decimal("500.00"))
    assert sent(link) == [SALE_100_AS_5, READ_ACCOUNT]
    assert link.control_frames == [bytes.fromhex(SALE_100_AS_5)]


async def test_purchase_is_enciphered_when_set() -> None:
    driver, link = meter(
        {SALE_ENCIPHERED: SALE_TAKEN, READ_ACCOUNT: ACCOUNT_123_86},
        cipher="tea16",
        cipher_key="1111222233334444",
    )
    await driver.deliver_credit(5, Decimal("100.00"))
    assert sent(link) == [SALE_ENCIPHERED, READ_ACCOUNT]


async def test_refused_purchase_returns_the_wallet_as_evidence() -> None:
    driver, link = meter({SALE_100_AS_5: SALE_REFUSED, READ_ACCOUNT: ACCOUNT_23_86})
    assert (await driver.deliver_credit(5, Decimal(100))).remaining == Decimal("23.86")
    assert sent(link) == [SALE_100_AS_5, READ_ACCOUNT]


@pytest.mark.parametrize(
    ("answer", "wallet", "exchanges"),
    [
        pytest.param("", ACCOUNT_123_86, [SALE_100_AS_5], id="no-answer"),
        pytest.param(SALE_TAKEN[:-3], ACCOUNT_123_86, [SALE_100_AS_5], id="short-answer"),
        pytest.param(SALE_TAKEN, "", [SALE_100_AS_5, READ_ACCOUNT], id="no-wallet"),
        pytest.param(SALE_REFUSED, "", [SALE_100_AS_5, READ_ACCOUNT], id="refused-no-wallet"),
    ],
)
async def test_unproven_purchase_is_unknown_and_never_sent_again(
    answer: str, wallet: str, exchanges: list[str]
) -> None:
    driver, link = meter({SALE_100_AS_5: answer, READ_ACCOUNT: wallet})
    with pytest.raises(OutcomeUnknownError, match="purchase 5"):
        await driver.deliver_credit(5, Decimal(100))
    assert sent(link) == exchanges


# Account block, 30 registers: remaining 100.00, count 6, total purchased 476.14.
WITHDRAWAL = (
    "01 20 02 00 00 1E 3C 00 00 01 00 00 27 10 01 00 06 01 00 00 B9 FE " + "00 " * 45 + "5C CB"
)
WITHDRAWAL_TAKEN = "01 20 02 00 08 00 00 27 10 00 06 00 00 CB B8"


async def test_withdrawal_is_one_account_frame_while_the_relay_is_open() -> None:
    driver, link = meter(
        {
            READ_STATUS: OPENED,
            READ_ACCOUNT: ACCOUNT_123_86,
            WITHDRAWAL: WITHDRAWAL_TAKEN,
        }
    )
    await driver.withdraw_credit(6, Decimal("23.86"))
    assert sent(link) == [READ_STATUS, READ_ACCOUNT, WITHDRAWAL, READ_ACCOUNT]
    assert link.control_frames == [bytes.fromhex(WITHDRAWAL)]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(CLOSED, id="closed"),
        pytest.param("01 03 04 60 08 00 08 64 37", id="phases-disagree"),
    ],
)
async def test_withdrawal_with_the_relay_not_open_sends_nothing(status: str) -> None:
    driver, link = meter({READ_STATUS: status})
    with pytest.raises(DeviceRefusedError, match="relay"):
        await driver.withdraw_credit(6, Decimal("23.86"))
    assert link.control_frames == []


async def test_withdrawal_of_a_count_already_taken_sends_nothing() -> None:
    driver, link = meter({READ_STATUS: OPENED, READ_ACCOUNT: ACCOUNT_123_86})
    with pytest.raises(DeviceRefusedError, match="count 5"):
        await driver.withdraw_credit(5, Decimal("23.86"))
    assert link.control_frames == []


async def test_withdrawal_without_answer_is_unknown() -> None:
    driver, link = meter({READ_STATUS: OPENED, READ_ACCOUNT: ACCOUNT_123_86, WITHDRAWAL: ""})
    with pytest.raises(OutcomeUnknownError, match="withdrawal 6"):
        await driver.withdraw_credit(6, Decimal("23.86"))
    assert sent(link).count(WITHDRAWAL) == 1


async def test_hoard_limit_is_unsupported_and_nothing_is_written() -> None:
    driver, link = meter({})
    with pytest.raises(UnsupportedError, match="hoard"):
        await driver.write_limits(Limits(alarm_1=Decimal(1), hoard=Decimal(100)))
    assert link.exchanges == []


async def test_clock_that_shows_no_time_is_left_out_and_told_when_asked_for() -> None:
    # The snapshot above with month 13.
    reply = CLOSED_IN_ARREARS.replace("1A 0B 14", "1A 0D 14").replace("C5 05", "43 07")
    driver, _ = meter({READ_SNAPSHOT: reply})
    assert (await driver.read()).clock is None
    with pytest.raises(DamagedReplyError, match="month"):
        await driver.read_clock()


async def test_calendar_that_cannot_be_is_a_damaged_reply() -> None:
    # Three-phase meters keep the date plan at 0x0028 (DBG, EMS); here with month and table 13.
    driver, _ = meter(
        {
            "01 03 00 28 00 06 45 C0": "01 03 0C 0D 01 0D" + " 00" * 9 + " EB A5",
            "01 03 20 00 00 15 8F C5": "01 03 2A" + " 00" * 42 + " 2E D8",
            "01 03 20 15 00 15 9E 01": "01 03 2A" + " 00" * 42 + " 2E D8",
        }
    )
    with pytest.raises(DamagedReplyError, match="date plan 0D 01 0D"):
        await driver.read_calendar()


@pytest.mark.parametrize(("text", "checked"), [("false", False), ("true", True)])
def test_counts_are_checked_only_by_setting(text: str, checked: bool) -> None:
    driver, _ = meter({}, count_checked=text)
    assert (Capability.COUNT_CHECKED in driver.capabilities) is checked


def test_unproven_meter_is_not_said_to_check_counts() -> None:
    driver, _ = meter({})
    assert Capability.COUNT_CHECKED not in driver.capabilities


@pytest.mark.parametrize("address", ["0", "248", "x", ""])
def test_address_outside_the_bus_is_refused(address: str) -> None:
    with pytest.raises(SettingsError):
        models.dtsy1352().driver(ScriptedTransport({}), address, {})


async def test_same_read_goes_over_modbus_tcp() -> None:
    body = bytes.fromhex(CLOSED_IN_ARREARS)[:-2]

    def gateway(request: bytes) -> bytes:
        assert request[2:] == bytes.fromhex("00 00 00 06 01 03 02 00 00 30")
        return request[:4] + len(body).to_bytes(2, "big") + body

    link = MemoryLink(gateway, framing=Framing.TCP)
    snapshot = await models.dtsy1352().driver(link, "1", {}).read()
    assert snapshot.credit == CreditState(Decimal("-1.25"), 5)


async def test_silence_is_a_time_out() -> None:
    driver, _ = meter({READ_SNAPSHOT: ""})
    with pytest.raises(LinkTimeoutError):
        await driver.read()

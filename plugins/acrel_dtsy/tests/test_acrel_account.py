from decimal import Decimal

import pytest

from meterplex.protocols.errors import EncodeError
from meterplex.sdk import CreditState, DeviceRefusedError, Limits, Prices
from meterplex_acrel_dtsy.account import (
    AccountSettings,
    encode_limits,
    encode_prices,
    encode_sale,
    encode_withdrawal,
)
from meterplex_acrel_dtsy.settings import AcrelSettings

CENT = Decimal("0.01")
PRICE_STEP = Decimal("0.0001")
WALLET = CreditState(Decimal("123.86"), 5, Decimal("500.00"))

# Settings block, 25 registers from 0x0400 (DBG): fee control 1, count 5, prices 1.2000 0.9500
# 0.6500 0.3500, alarms 20.00 and 5.00, overdraft 0, total 500.00, remaining, base energy, a byte.
BLOCK = (
    "00 01 00 05 00 00 2E E0 00 00 25 1C 00 00 19 64 00 00 0D AC 00 00 07 D0 00 00 01 F4 "
    "00 00 00 00 00 00 00 00 00 00 C3 50 {remaining} 00 00 00 00 00 00"
)


def decode(remaining: str, **settings: str) -> AccountSettings:
    block = bytes.fromhex(BLOCK.format(remaining=remaining))
    return AccountSettings.decode(block, AcrelSettings.parse(settings))


def groups(frame: bytes) -> dict[int, str]:
    """The bytes of an account frame that are not zero, by where they begin."""
    assert len(frame) == 60
    lengths = {2: 5, 7: 3, 10: 5, 20: 9, 29: 17, 46: 5}
    found = {at: frame[at : at + size] for at, size in lengths.items() if frame[at]}
    rest = bytearray(frame)
    for at, group in found.items():
        rest[at : at + len(group)] = bytes(len(group))
    assert not any(rest)
    return {at: group.hex(" ").upper() for at, group in found.items()}


def test_settings_block_is_read() -> None:
    held = decode("00 00 30 62")
    assert held == AccountSettings(
        fee_control=True,
        credit=CreditState(Decimal("123.86"), 5, Decimal("500.00")),
        prices=Prices(Decimal("1.2000"), Decimal("0.9500"), Decimal("0.6500"), Decimal("0.3500")),
        alarm_1=Decimal("20.00"),
        alarm_2=Decimal("5.00"),
        overdraft=Decimal("0.00"),
    )
    assert held.limits(Decimal(8)) == Limits(
        alarm_1=Decimal(20), alarm_2=Decimal(5), overdraft=Decimal(0), overload_kw=Decimal(8)
    )


@pytest.mark.parametrize(
    ("settings", "remaining"),
    [
        pytest.param({}, "-1.25", id="signed"),
        pytest.param({"balance_signed": "false"}, "42949671.71", id="unsigned"),
        pytest.param({"amount_scale": "0.001"}, "-0.125", id="other-scale"),
    ],
)
def test_remaining_follows_the_settings(settings: dict[str, str], remaining: str) -> None:
    assert decode("FF FF FF 83", **settings).credit.remaining == Decimal(remaining)


def test_prices_follow_the_price_scale() -> None:
    assert decode("00 00 00 00", price_scale="0.001").prices.flat == Decimal("6.500")


def test_sale_is_amount_count_and_zeros() -> None:
    # The sale frame of DBG: 100.00 as purchase 5.
    assert encode_sale(5, Decimal(100), CENT) == bytes.fromhex("00 00 27 10 00 05 00 00")


@pytest.mark.parametrize(
    ("count", "amount"),
    [
        pytest.param(1, "0.01", id="least"),
        pytest.param(65535, "42949672.95", id="most"),
    ],
)
def test_sale_reaches_the_ends_of_its_fields(count: int, amount: str) -> None:
    assert len(encode_sale(count, Decimal(amount), CENT)) == 8


@pytest.mark.parametrize(
    ("count", "amount"),
    [
        pytest.param(0, "1", id="count-0"),
        pytest.param(65536, "1", id="count-65536"),
        pytest.param(1, "0", id="nothing"),
        pytest.param(1, "-1", id="negative"),
        pytest.param(1, "0.001", id="part-of-a-cent"),
        pytest.param(1, "42949672.96", id="too-much"),
        pytest.param(1, "NaN", id="not-a-number"),
        pytest.param(1, "Infinity", id="infinite"),
    ],
)
def test_sale_that_cannot_be_said_is_refused(count: int, amount: str) -> None:
    with pytest.raises(EncodeError):
        encode_sale(count, Decimal(amount), CENT)


def test_withdrawal_sets_remaining_count_and_total_together() -> None:
    frame = encode_withdrawal(WALLET, 6, Decimal("23.86"), CENT)
    assert groups(frame) == {
        2: "01 00 00 27 10",
        7: "01 00 06",
        10: "01 00 00 B9 FE",
    }


@pytest.mark.parametrize(
    ("wallet", "count", "amount"),
    [
        pytest.param(WALLET, 5, "1", id="count-already-taken"),
        pytest.param(WALLET, 7, "1", id="count-ahead"),
        pytest.param(WALLET, 6, "123.87", id="more-than-left"),
        pytest.param(CreditState(Decimal(9), 5, Decimal(8)), 6, "8.01", id="more-than-bought"),
        pytest.param(CreditState(Decimal(9), 5), 6, "1", id="total-not-known"),
    ],
)
def test_withdrawal_that_the_wallet_cannot_give_is_refused(
    wallet: CreditState, count: int, amount: str
) -> None:
    with pytest.raises(DeviceRefusedError):
        encode_withdrawal(wallet, count, Decimal(amount), CENT)


@pytest.mark.parametrize("amount", ["0", "-1", "0.001"])
def test_withdrawal_that_cannot_be_said_is_refused(amount: str) -> None:
    with pytest.raises(EncodeError):
        encode_withdrawal(WALLET, 6, Decimal(amount), CENT)


def test_prices_are_one_group() -> None:
    prices = Prices(Decimal("1.2"), Decimal("0.95"), Decimal("0.65"), Decimal("0.35"))
    assert groups(encode_prices(prices, PRICE_STEP)) == {
        29: "01 00 00 2E E0 00 00 25 1C 00 00 19 64 00 00 0D AC"
    }


def test_price_off_the_grid_is_named() -> None:
    prices = Prices(Decimal("1.2"), Decimal("0.95"), Decimal("0.65001"), Decimal("0.35"))
    with pytest.raises(EncodeError, match="flat price"):
        encode_prices(prices, PRICE_STEP)


@pytest.mark.parametrize(
    ("alarms", "overdraft", "written"),
    [
        pytest.param(("20", "5"), None, {20: "01 00 00 07 D0 00 00 01 F4"}, id="alarms"),
        pytest.param(None, "10", {46: "01 00 00 03 E8"}, id="overdraft"),
        pytest.param(
            ("20", "5"),
            "0",
            {20: "01 00 00 07 D0 00 00 01 F4", 46: "01 00 00 00 00"},
            id="all-three",
        ),
    ],
)
def test_limits_apply_only_what_is_given(
    alarms: tuple[str, str] | None, overdraft: str | None, written: dict[int, str]
) -> None:
    frame = encode_limits(
        None if alarms is None else (Decimal(alarms[0]), Decimal(alarms[1])),
        None if overdraft is None else Decimal(overdraft),
        CENT,
    )
    assert groups(frame) == written

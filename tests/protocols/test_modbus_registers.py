from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.protocols.errors import EncodeError, ProtocolError
from meterplex.protocols.modbus.registers import (
    RegisterFormat,
    WordOrder,
    decode,
    encode,
    from_bytes,
    to_bytes,
)

TABLE = [
    pytest.param("u16", "big", (0xFFFF,), "65535", id="u16"),
    pytest.param("s16", "big", (0xFFFE,), "-2", id="s16-negative"),
    pytest.param("u32", "big", (0x0001, 0x86A0), "100000", id="u32-high-word-first"),
    pytest.param("u32", "little", (0x86A0, 0x0001), "100000", id="u32-low-word-first"),
    pytest.param("s32", "big", (0xFFFF, 0xFF9C), "-100", id="s32-negative"),
    pytest.param("s32", "little", (0xFF9C, 0xFFFF), "-100", id="s32-low-word-first"),
    pytest.param("u48", "big", (0x0001, 0x0000, 0x0000), "4294967296", id="u48"),
    pytest.param("u64", "big", (0xFFFF,) * 4, "18446744073709551615", id="u64-highest"),
    pytest.param("u64", "little", (1, 0, 0, 0), "1", id="u64-low-word-first"),
    pytest.param("s64", "big", (0xFFFF,) * 4, "-1", id="s64-negative"),
    # IEEE 754: 230.5 is 43 66 80 00
    pytest.param("float32", "big", (0x4366, 0x8000), "230.5", id="float32"),
    pytest.param("float32", "little", (0x8000, 0x4366), "230.5", id="float32-low-word-first"),
    pytest.param("bcd16", "big", (0x1234,), "1234", id="bcd16"),
    pytest.param("bcd32", "little", (0x5678, 0x1234), "12345678", id="bcd32-low-word-first"),
    pytest.param("bcd48", "big", (0x0021, 0x0600, 0x0017), "2106000017", id="bcd48"),
    pytest.param("bcd64", "big", (0x9999,) * 4, "9999999999999999", id="bcd64-highest"),
]


@pytest.mark.parametrize(("form", "order", "words", "number"), TABLE)
def test_words_and_number_say_the_same(
    form: str, order: str, words: tuple[int, ...], number: str
) -> None:
    assert decode(words, RegisterFormat(form), WordOrder(order)) == Decimal(number)
    assert encode(Decimal(number), RegisterFormat(form), WordOrder(order)) == words


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((0x7FC0, 0x0000), id="nan"),
        pytest.param((0x7F80, 0x0000), id="infinity"),
        pytest.param((0xFF80, 0x0000), id="minus-infinity"),
    ],
)
def test_float_that_is_no_number_has_no_value(words: tuple[int, ...]) -> None:
    assert decode(words, RegisterFormat.FLOAT32) is None


def test_float_is_the_exact_value_of_its_bits() -> None:
    # 0.1 as float32, 3D CC CC CD
    assert decode((0x3DCC, 0xCCCD), RegisterFormat.FLOAT32) == Decimal(
        "0.100000001490116119384765625"
    )


@pytest.mark.parametrize("words", [(0x123A,), (0xFFFF,)])
def test_bcd_digit_above_nine_is_refused(words: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="a digit above 9"):
        decode(words, RegisterFormat.BCD16)


def test_wrong_number_of_words_is_refused() -> None:
    with pytest.raises(ProtocolError, match="1 registers for u32, expected 2"):
        decode((1,), RegisterFormat.U32)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("u16", "65536"),
        ("u16", "-1"),
        ("s16", "32768"),
        ("u32", "0.5"),
        ("bcd16", "10000"),
        ("bcd16", "-1"),
        ("float32", "1E+39"),
        ("float32", "NaN"),
        ("float32", "sNaN"),
        ("u16", "NaN"),
        ("u16", "Infinity"),
    ],
)
def test_value_that_does_not_fit_is_refused(form: str, value: str) -> None:
    with pytest.raises(EncodeError):
        encode(Decimal(value), RegisterFormat(form))


@pytest.mark.parametrize("order", list(WordOrder))
def test_bytes_and_words_in_both_orders(order: WordOrder) -> None:
    words = from_bytes(bytes.fromhex("1122 3344 5566"), order)
    assert words == ((0x1122, 0x3344, 0x5566) if order == "big" else (0x5566, 0x3344, 0x1122))
    assert to_bytes(words, order) == bytes.fromhex("1122 3344 5566")


@given(st.sampled_from(sorted(RegisterFormat)), st.sampled_from(sorted(WordOrder)), st.data())
def test_what_decodes_encodes_back(
    form: RegisterFormat, order: WordOrder, data: st.DataObject
) -> None:
    digits = st.integers(0, 9999).map(lambda number: int(f"{number:04d}", 16))
    word = digits if form.decimal else st.integers(0, 0xFFFF)
    words = tuple(data.draw(st.lists(word, min_size=form.words, max_size=form.words)))
    number = decode(words, form, order)
    if number is None:
        return
    again = encode(number, form, order)
    assert decode(again, form, order) == number
    if form is not RegisterFormat.FLOAT32:
        assert again == words

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.amount_words import (
    WHOLE_MAX,
    AmountWordsError,
    chinese_amount,
    english_amount,
)


@pytest.mark.parametrize(
    ("fen", "words"),
    [
        (0, "零元整"),
        (1, "壹分"),
        (5, "伍分"),
        (10, "壹角整"),
        (12, "壹角贰分"),
        (100, "壹元整"),
        (105, "壹元零伍分"),
        (110, "壹元壹角整"),
        (1000, "壹拾元整"),
        (1010, "壹拾元壹角整"),
        (1100, "壹拾壹元整"),
        (10100, "壹佰零壹元整"),
        (11000, "壹佰壹拾元整"),
        (12345, "壹佰贰拾叁元肆角伍分"),
        # Examples of the rules for filling in bank bills (1997, annex 1). Where these leave
        # it open: no zero, and 整 behind 角.
        (140950, "壹仟肆佰零玖元伍角整"),
        (600714, "陆仟零柒元壹角肆分"),
        (168032, "壹仟陆佰捌拾元叁角贰分"),
        (10700053, "壹拾万柒仟元伍角叁分"),
        (1640902, "壹万陆仟肆佰零玖元零贰分"),
        (32504, "叁佰贰拾伍元零肆分"),
        (100001, "壹仟元零壹分"),
        (100100, "壹仟零壹元整"),
        (101010, "壹仟零壹拾元壹角整"),
        (1000405, "壹万零肆元零伍分"),
        (1010000, "壹万零壹佰元整"),
        (1100000, "壹万壹仟元整"),
        (10000100, "壹拾万零壹元整"),
        (100010000, "壹佰万零壹佰元整"),
        (2000500000, "贰仟万伍仟元整"),
        (10000000000, "壹亿元整"),
        (10000001000, "壹亿零壹拾元整"),
        (10001000000, "壹亿零壹万元整"),
        (10100010000, "壹亿零壹佰万零壹佰元整"),
        (15000000000, "壹亿伍仟万元整"),
        (1000000000000, "壹佰亿元整"),
        (100000000000000, "壹万亿元整"),
        (100010000000000, "壹万零壹亿元整"),
        (100000000010000, "壹万亿零壹佰元整"),
        (-5000, "负伍拾元整"),
        (-5, "负伍分"),
    ],
)
def test_yuan_in_chinese(fen: int, words: str) -> None:
    assert chinese_amount(fen, "CNY") == f"人民币{words}"


@pytest.mark.parametrize(
    ("minor", "currency", "words"),
    [
        (1050, "JPY", "日元壹仟零伍拾元整"),
        (0, "JPY", "日元零元整"),
        (12345, "USD", "美元壹佰贰拾叁元肆角伍分"),
        (1234, "KWD", "KWD壹元贰角叁分肆厘"),
        (1050, "KWD", "KWD壹元零伍分整"),
        (1005, "KWD", "KWD壹元零伍厘"),
        (1105, "KWD", "KWD壹元壹角零伍厘"),
        (5, "KWD", "KWD伍厘"),
        (105, "KWD", "KWD壹角零伍厘"),
        (2000, "KWD", "KWD贰元整"),
    ],
)
def test_other_currencies_in_chinese(minor: int, currency: str, words: str) -> None:
    assert chinese_amount(minor, currency) == words


@pytest.mark.parametrize(
    ("minor", "currency", "words"),
    [
        (0, "CNY", "CNY zero and 00/100"),
        (5, "CNY", "CNY zero and 05/100"),
        (12345, "CNY", "CNY one hundred twenty-three and 45/100"),
        (1000405, "CNY", "CNY ten thousand four and 05/100"),
        (1900, "USD", "USD nineteen and 00/100"),
        (2000, "USD", "USD twenty and 00/100"),
        (99999, "EUR", "EUR nine hundred ninety-nine and 99/100"),
        (100000000_00, "CNY", "CNY one hundred million and 00/100"),
        (1_000_001_00, "CNY", "CNY one million one and 00/100"),
        (-5000, "CNY", "CNY minus fifty and 00/100"),
        (1050, "JPY", "JPY one thousand fifty"),
        (1050, "KWD", "KWD one and 050/1000"),
    ],
)
def test_english(minor: int, currency: str, words: str) -> None:
    assert english_amount(minor, currency) == words


@pytest.mark.parametrize("write", [chinese_amount, english_amount])
def test_amount_beyond_words_is_refused(write: Callable[[int, str], str]) -> None:
    assert write(WHOLE_MAX * 100 + 99, "CNY")
    with pytest.raises(AmountWordsError, match="10000000000000000 CNY"):
        write((WHOLE_MAX + 1) * 100, "CNY")


def read_chinese(words: str) -> int:
    """Reckon fen from financial figures; a reader of its own, by place values alone."""
    values = {word: at for at, word in enumerate("零壹贰叁肆伍陆柒捌玖")}
    places = {"拾": 10, "佰": 100, "仟": 1000}
    total = myriads = group = digit = 0
    for letter in words:
        if letter in values:
            digit = values[letter]
        elif letter in places:
            group, digit = group + digit * places[letter], 0
        elif letter == "万":
            myriads, group, digit = (group + digit) * 10_000, 0, 0
        elif letter == "亿":
            total, myriads, group, digit = (myriads + group + digit) * 10**8, 0, 0, 0
        elif letter == "元":
            total, myriads, group, digit = (total + myriads + group + digit) * 100, 0, 0, 0
        elif letter in "角分":
            total, digit = total + digit * (10 if letter == "角" else 1), 0
    return total


@given(st.integers(0, WHOLE_MAX * 100 + 99) | st.integers(0, 10**9))
def test_words_read_back_as_the_amount(fen: int) -> None:
    words = chinese_amount(fen, "CNY").removeprefix("人民币")
    assert read_chinese(words) == fen
    assert not re.search(
        "零零|零[元万亿角分]", words.replace("零元整", "" if fen == 0 else "零元整")
    )
    assert words.endswith(("整", "分"))

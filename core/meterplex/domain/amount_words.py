"""Amounts of money in words, as receipts and cheques carry them so that no digit can be added.

Chinese in the financial figures (the rules for filling in bank bills, People's Bank of China,
Payment and Settlement Measures 1997, annex 1), English with the minor unit as a fraction.
"""

from collections.abc import Mapping
from typing import Final

from meterplex.domain.money import minor_decimals

WHOLE_MAX: Final = 10**16 - 1
"""Most currency units that have words here."""

CHINESE_NAMES: Final[Mapping[str, str]] = {
    "CNY": "人民币",
    "HKD": "港币",
    "MOP": "澳门币",
    "TWD": "新台币",
    "USD": "美元",
    "EUR": "欧元",
    "JPY": "日元",
}
"""What stands before a Chinese amount; other currencies go by their code."""


class AmountWordsError(Exception):
    """An amount too large to be written in words."""


def chinese_amount(amount_minor: int, currency: str) -> str:
    """Return ``人民币壹佰贰拾叁元肆角伍分`` for 12345 fen.

    An amount without its last place is closed by 整. Zeros between digits are spoken once; where
    the rules leave it open (the places of 万 and 元 alone) they are not. Below zero begins 负.

    Raises:
        AmountWordsError: above :data:`WHOLE_MAX`.
    """
    whole, digits = _parts(amount_minor, currency)
    name = CHINESE_NAMES.get(currency, currency)
    sign = "负" if amount_minor < 0 else ""
    yuan = f"{_chinese_integer(whole)}元" if whole or not digits.strip("0") else ""
    end = "整" if digits[-1:] in ("", "0") else ""
    return f"{name}{sign}{yuan}{_chinese_minor(digits, led=whole > 0)}{end}"


def english_amount(amount_minor: int, currency: str) -> str:
    """Return ``CNY one hundred twenty-three and 45/100`` for 12345 fen.

    Raises:
        AmountWordsError: above :data:`WHOLE_MAX`.
    """
    whole, digits = _parts(amount_minor, currency)
    sign = "minus " if amount_minor < 0 else ""
    minor = f" and {digits}/{10 ** len(digits)}" if digits else ""
    return f"{currency} {sign}{_english_integer(whole)}{minor}"


def _parts(amount_minor: int, currency: str) -> tuple[int, str]:
    """Return whole currency units, and the digits behind the point; the sign is left out."""
    decimals = minor_decimals(currency)
    whole, minor = divmod(abs(amount_minor), 10**decimals)
    if whole > WHOLE_MAX:
        raise AmountWordsError(f"{whole} {currency}: words reach to {WHOLE_MAX}")
    return whole, f"{minor:0{decimals}d}" if decimals else ""


_DIGITS: Final = "零壹贰叁肆伍陆柒捌玖"
_PLACES: Final = ("", "拾", "佰", "仟")
_MINOR_PLACES: Final = ("角", "分", "厘")


def _chinese_minor(digits: str, *, led: bool) -> str:
    """Return the words behind the point; ``led`` when whole units stand before them."""
    words, gap = "", False
    for digit, place in zip(digits, _MINOR_PLACES, strict=False):
        if digit != "0":
            spoken = _DIGITS[0] if gap and (led or words) else ""
            words += f"{spoken}{_DIGITS[int(digit)]}{place}"
        gap = digit == "0"
    return words


def _chinese_integer(number: int) -> str:
    for size, place in ((10**8, "亿"), (10**4, "万")):
        if number >= size:
            head, rest = divmod(number, size)
            spoken = _DIGITS[0] if 0 < rest < size // 10 else ""
            return (
                f"{_chinese_integer(head)}{place}{spoken}{_chinese_integer(rest) if rest else ''}"
            )
    return _chinese_group(number) or _DIGITS[0]


def _chinese_group(group: int) -> str:
    """Return the words of a number below 10,000; none for 0."""
    words, gap = "", False
    for digit, place in zip(f"{group:04d}", reversed(_PLACES), strict=True):
        if digit != "0":
            spoken = _DIGITS[0] if gap and words else ""
            words += f"{spoken}{_DIGITS[int(digit)]}{place}"
        gap = digit == "0"
    return words


_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS: Final = ("", " thousand", " million", " billion", " trillion", " quadrillion")


def _english_integer(number: int) -> str:
    groups = []
    for at, name in enumerate(_THOUSANDS):
        group = number // 1000**at % 1000
        if group:
            groups.append(_english_group(group) + name)
    return " ".join(reversed(groups)) or _ONES[0]


def _english_group(group: int) -> str:
    """Return the words of a number from 1 to 999."""
    hundreds, rest = divmod(group, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        words.append(_TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else ""))
    elif rest:
        words.append(_ONES[rest])
    return " ".join(words)

from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.estate import ReadingWindow
from meterplex.domain.intervals import format_interval, format_window, parse_interval, parse_window


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("30m", timedelta(minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
    ],
)
def test_interval_is_read(text: str, interval: timedelta) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-5m", "5 m", "1.5h", "30m30m", "٣m"])
def test_other_texts_are_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|twice"):
        parse_interval(text)


@given(st.integers(1, 999_999 * 86_400))
def test_written_interval_reads_back(seconds: int) -> None:
    interval = timedelta(seconds=seconds)
    assert parse_interval(format_interval(interval)) == interval


@pytest.mark.parametrize("interval", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=0.5)])
def test_interval_without_a_text_is_refused(interval: timedelta) -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        format_interval(interval)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("00:00-24:00", ReadingWindow()),
        ("08:30-20:00", ReadingWindow(time(8, 30), time(20))),
        ("22:00-06:00", ReadingWindow(time(22), time(6))),
    ],
)
def test_window_is_read_and_written(text: str, window: ReadingWindow) -> None:
    assert parse_window(text) == window
    assert format_window(window) == text


@pytest.mark.parametrize("text", ["", "8:00-20:00", "08:00", "24:00-06:00", "00:00-24:01", "a-b"])
def test_other_texts_are_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a window|times of day"):
        parse_window(text)

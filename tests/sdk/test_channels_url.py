import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.sdk import ChannelUrl, SettingsError

URLS = [
    pytest.param(
        "serial:///dev/ttyUSB0?baud=9600&parity=N",
        ("serial", "", None, "/dev/ttyUSB0", {"baud": "9600", "parity": "N"}),
        id="serial port",
    ),
    pytest.param(
        "tcp://10.0.0.5:502?framing=rtu",
        ("tcp", "10.0.0.5", 502, "", {"framing": "rtu"}),
        id="gateway",
    ),
    pytest.param("tcp://[fe80::1]:502", ("tcp", "fe80::1", 502, "", {}), id="IPv6"),
    pytest.param("tcp://Gateway.local", ("tcp", "gateway.local", None, "", {}), id="no port"),
    pytest.param("dtu://A1B2", ("dtu", "a1b2", None, "", {}), id="registration"),
    pytest.param(
        "concentrator://12345/3?retry=",
        ("concentrator", "12345", None, "/3", {"retry": ""}),
        id="empty value",
    ),
]


@pytest.mark.parametrize(("text", "parts"), URLS)
def test_url_is_taken_apart(text: str, parts: tuple[object, ...]) -> None:
    url = ChannelUrl.parse(text)
    assert (url.scheme, url.host, url.port, url.path, dict(url.query)) == parts
    assert url.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected scheme://", id="empty"),
        pytest.param("10.0.0.5:502", "expected scheme://", id="no scheme"),
        pytest.param("/dev/ttyUSB0", "expected scheme://", id="path"),
        pytest.param("serial:/dev/ttyUSB0", "expected scheme://", id="one slash"),
        pytest.param("tcp://host:port", "[Pp]ort", id="port is a word"),
        pytest.param("tcp://host:65536", "Port out of range", id="port too high"),
        pytest.param("tcp://[::1", "Invalid IPv6 URL", id="open bracket"),
        pytest.param("tcp://host?framing", "bad query field", id="setting without value"),
        pytest.param("tcp://host?a=1&a=2", "a setting is given twice", id="setting twice"),
    ],
)
def test_bad_url_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        ChannelUrl.parse(text)
    assert f"channel URL {text!r}" in str(refused.value)


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        url = ChannelUrl.parse(text)
    except SettingsError:
        return
    assert url.scheme
    assert url.port is None or 0 <= url.port < 65536

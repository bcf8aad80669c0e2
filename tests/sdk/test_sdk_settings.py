import pytest

from meterplex.sdk import Setting, SettingsError
from meterplex.sdk.settings import complete_settings

DECLARED = (
    Setting("parity", "parity of the line", "none", choices=("none", "even")),
    Setting("scale", "currency units per count", "0.01"),
    Setting("key", "cipher key, 16 hex digits"),
)


def test_defaults_fill_what_is_not_given() -> None:
    assert complete_settings(DECLARED, {"key": "00"}, "model m") == {
        "parity": "none",
        "scale": "0.01",
        "key": "00",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"key": "00", "scales": "1"},
            "unknown setting 'scales'; did you mean 'scale'?",
            id="near",
        ),
        pytest.param(
            {"key": "00", "x": "1"}, "unknown setting 'x'; known: parity, scale, key", id="unknown"
        ),
        pytest.param({}, "setting 'key' must be given (cipher key, 16 hex digits)", id="missing"),
        pytest.param(
            {"key": "00", "parity": "odd"},
            "setting 'parity' is 'odd', expected one of none, even",
            id="choice",
        ),
    ],
)
def test_bad_settings_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        complete_settings(DECLARED, given, "model m")
    assert str(refused.value) == f"model m: {message}"


def test_nothing_declared_says_so() -> None:
    with pytest.raises(SettingsError, match="unknown setting 'x'; known: none"):
        complete_settings((), {"x": "1"}, "model m")

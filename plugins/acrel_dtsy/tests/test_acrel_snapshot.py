import pytest

from meterplex.sdk import Quality, SupplyMode, SupplyState
from meterplex_acrel_dtsy.models import profile_of
from meterplex_acrel_dtsy.settings import AcrelSettings
from meterplex_acrel_dtsy.snapshot import SnapshotLayout

PHASES = {"acrel_dtsy1352": 3, "acrel_ddsy1352": 1}


def layout(model: str = "acrel_dtsy1352", **settings: str) -> SnapshotLayout:
    return SnapshotLayout.of(profile_of(model), PHASES[model], AcrelSettings.parse(settings))


def block(status_a: int, status_b: int) -> tuple[int, ...]:
    words = [0] * 48
    words[0x24], words[0x25] = status_a, status_b
    return tuple(words)


@pytest.mark.parametrize(
    ("status_a", "status_b", "flags"),
    [
        pytest.param(0x0000, 0x0000, set(), id="none"),
        pytest.param(0x0100, 0x0000, {"meter_fault"}, id="meter-fault"),
        pytest.param(0x0010, 0x0000, {"over_limit"}, id="over-limit"),
        pytest.param(0x0020, 0x0000, {"arrears"}, id="arrears"),
        pytest.param(0x0040, 0x0000, {"alarm_1"}, id="alarm-1"),
        pytest.param(0x0080, 0x0000, {"alarm_2"}, id="alarm-2"),
        pytest.param(
            0x01F0, 0, {"meter_fault", "over_limit", "arrears", "alarm_1", "alarm_2"}, id="all"
        ),
        pytest.param(0xE00F, 0x0000, set(), id="relay-and-wishes-are-no-flags"),
        pytest.param(0x0000, 0x0F00, set(), id="load-control-on-and-content"),
        pytest.param(0x0000, 0x0800, {"overload"}, id="load-control-opens-all"),
        pytest.param(0x0000, 0x0E00, {"overload"}, id="load-control-opens-l1"),
        pytest.param(0x0000, 0x0000, set(), id="load-control-off"),
        pytest.param(0x0000, 0x00F0, set(), id="time-control-on-and-content"),
        pytest.param(0x0000, 0x0080, {"time_switch_open"}, id="time-control-opens"),
        pytest.param(0x0000, 0x0070, set(), id="time-control-off"),
    ],
)
def test_status_bits_give_flags(status_a: int, status_b: int, flags: set[str]) -> None:
    assert layout().decode(block(status_a, status_b)).flags == frozenset(flags)


@pytest.mark.parametrize(
    ("status_b", "flags"),
    [(0x0900, set()), (0x0800, {"overload"}), (0x0090, set()), (0x0080, {"time_switch_open"})],
)
def test_single_phase_looks_at_its_phase_alone(status_b: int, flags: set[str]) -> None:
    snapshot = layout("acrel_ddsy1352").decode(block(0, status_b))
    assert snapshot.flags == frozenset(flags)


@pytest.mark.parametrize(
    ("model", "status_a", "status_b", "state"),
    [
        ("acrel_dtsy1352", 0xE000, 0x0000, SupplyState(True, SupplyMode.AUTOMATIC)),
        ("acrel_dtsy1352", 0x0000, 0x0000, SupplyState(False, SupplyMode.AUTOMATIC)),
        ("acrel_dtsy1352", 0xE000, 0x0007, SupplyState(True, SupplyMode.AUTOMATIC)),
        ("acrel_dtsy1352", 0x0000, 0x0008, SupplyState(False, SupplyMode.FORCED_OFF)),
        ("acrel_dtsy1352", 0xE000, 0x000F, SupplyState(True, SupplyMode.HELD)),
        ("acrel_dtsy1352", 0xE000, 0x0008, SupplyState(True, SupplyMode.FORCED_OFF)),
        ("acrel_dtsy1352", 0x6000, 0x0000, SupplyState(None, SupplyMode.AUTOMATIC)),
        ("acrel_dtsy1352", 0x2000, 0x000B, SupplyState(None, SupplyMode.UNKNOWN)),
        ("acrel_ddsy1352", 0x2000, 0x0000, SupplyState(True, SupplyMode.AUTOMATIC)),
        ("acrel_ddsy1352", 0x0000, 0x0008, SupplyState(False, SupplyMode.FORCED_OFF)),
        ("acrel_ddsy1352", 0x2000, 0x0009, SupplyState(True, SupplyMode.HELD)),
        ("acrel_ddsy1352", 0xE000, 0x000F, SupplyState(True, SupplyMode.HELD)),
    ],
)
def test_status_bits_give_the_supply(
    model: str, status_a: int, status_b: int, state: SupplyState
) -> None:
    assert layout(model).decode(block(status_a, status_b)).supply == state


def test_meter_fault_makes_all_values_suspect() -> None:
    snapshot = layout().decode(block(0x0100, 0))
    assert {value.quality for value in snapshot.values} == {Quality.SUSPECT}


def test_more_status_bits_are_a_setting() -> None:
    fitted = layout(flag_bits="cover_open=0x0224.9 magnetic_field=0x0225.15")
    assert fitted.decode(block(0x0200, 0)).flags == frozenset({"cover_open"})
    assert fitted.decode(block(0, 0x8000)).flags == frozenset({"magnetic_field"})


def test_clock_of_zeros_is_left_out() -> None:
    assert layout().decode(block(0, 0)).clock is None

from itertools import product

import pytest

from meterplex.domain.supply import SUPPLY_FLAGS, SupplyAction, SupplyMode, SupplyState

DISCONNECT, RECONNECT = SupplyAction.DISCONNECT, SupplyAction.RECONNECT
HOLD, AUTOMATIC = SupplyAction.HOLD, SupplyAction.AUTOMATIC

# What each state, read back, proves: every other pair proves nothing.
PROVEN = {
    SupplyState(False, SupplyMode.FORCED_OFF): {DISCONNECT},
    SupplyState(True, SupplyMode.AUTOMATIC): {RECONNECT, AUTOMATIC},
    SupplyState(False, SupplyMode.AUTOMATIC): {AUTOMATIC},
    SupplyState(None, SupplyMode.AUTOMATIC): {AUTOMATIC},
    SupplyState(True, SupplyMode.HELD): {HOLD},
}
STATES = [SupplyState(*pair) for pair in product((True, False, None), SupplyMode)]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_read_back_proves_only_its_own_action(state: SupplyState) -> None:
    proven = {action for action in SupplyAction if state.proves(action)}
    assert proven == PROVEN.get(state, set())


def test_mode_is_unknown_unless_told() -> None:
    assert SupplyState(True).mode is SupplyMode.UNKNOWN


@pytest.mark.parametrize(
    ("state", "flags", "text"),
    [
        (SupplyState(True, SupplyMode.AUTOMATIC), set(), "connected, automatic"),
        (
            SupplyState(False, SupplyMode.FORCED_OFF),
            {"supply_off", "supply_forced_off"},
            "disconnected, forced off",
        ),
        (SupplyState(False, SupplyMode.AUTOMATIC), {"supply_off"}, "disconnected, automatic"),
        (SupplyState(True, SupplyMode.HELD), {"supply_held"}, "connected, held"),
        (SupplyState(None), {"supply_unclear"}, "neither on nor off, unknown"),
    ],
    ids=["on", "forced off", "tripped", "held", "unclear"],
)
def test_a_supply_state_as_flags_and_words(state: SupplyState, flags: set[str], text: str) -> None:
    assert state.flags == flags
    assert state.flags <= SUPPLY_FLAGS
    assert str(state) == text

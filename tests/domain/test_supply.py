from itertools import product

import pytest

from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState

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

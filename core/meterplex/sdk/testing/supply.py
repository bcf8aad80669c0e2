"""Checks of ``read_supply`` and ``set_supply``."""

from typing import Final

import pytest

from meterplex.domain.supply import SupplyAction, SupplyState
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.errors import (
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    LinkUnavailableError,
    OutcomeUnknownError,
    UnsupportedError,
)
from meterplex.sdk.testing.device import DeviceUnderTest
from meterplex.sdk.testing.links import (
    Disturbance,
    MemoryLink,
    after_control,
    answer_losses,
    fail_with,
    flip_bit,
    from_control_on,
    lose_reply,
    lose_request,
    on_control,
    reply_with,
    undisturbed,
)

BIT_STRIDE: Final = 7
"""Damages each byte of an acknowledgement once; reading tries every bit."""


class SupplySuite(DeviceUnderTest):
    """How a driver switches supply."""

    def actions(self) -> tuple[SupplyAction, ...]:
        """Return the actions that the driver promises, or skip where it promises none."""
        self.need(Capability.SUPPLY)
        held = Capability.HOLD_SUPPLY in self.driver().capabilities
        return tuple(action for action in SupplyAction if held or action is not SupplyAction.HOLD)

    def switchable(self, action: SupplyAction) -> MemoryLink:
        """Return a link to a device whose supply is not what ``action`` would make of it."""
        link = self.make_link()
        if self.script is None and self.supply_of(link).proves(action):
            away = SupplyAction.DISCONNECT
            if action is SupplyAction.DISCONNECT:
                away = SupplyAction.RECONNECT
            self.run(self.make_driver(link).set_supply(away))
        link.exchanges.clear()
        return link

    def supply_of(self, link: MemoryLink) -> SupplyState:
        """Return what a fresh driver reads, undisturbed."""
        link.disturb = undisturbed
        return self.run(self.make_driver(link).read_supply())

    def switch(
        self, action: SupplyAction, disturb: Disturbance
    ) -> tuple[SupplyState | DriverError, MemoryLink]:
        """Return the outcome of a disturbed ``set_supply``, and its link."""
        link = self.switchable(action)
        link.disturb = disturb
        return self.attempt(self.make_driver(link).set_supply(action)), link

    def test_read_supply_moves_nothing(self) -> None:
        """``read_supply`` sends no frame that is flagged as control."""
        self.need(Capability.SUPPLY)
        link = self.make_link()
        self.run(self.make_driver(link).read_supply())
        assert link.control_frames == []

    def test_set_supply_returns_what_is_read_back(self) -> None:
        """``set_supply`` returns a state that proves the action and that a fresh read repeats."""
        for action in self.actions():
            link = self.switchable(action)
            state = self.run(self.make_driver(link).set_supply(action))
            assert state.proves(action), f"{action}: {state}"
            if self.script is None:
                assert self.supply_of(link) == state

    def test_set_supply_sends_one_control_frame(self) -> None:
        """One supply command is one frame, flagged as control."""
        for action in self.actions():
            _, link = self.switch(action, undisturbed)
            requests = [exchange.request for exchange in link.exchanges]
            assert len(link.control_frames) == 1, action
            assert requests.count(link.control_frames[0]) == 1, action

    def test_acknowledgement_is_no_proof(self) -> None:
        """A device that says yes and does nothing is found out by the read-back."""
        self.need_twin()
        for action in self.actions():
            acting = self.switchable(action)
            outcome, _ = self.switch(action, on_control(reply_with(acting.device)))
            assert isinstance(outcome, DeviceRefusedError | OutcomeUnknownError), (
                f"{action}: {outcome}"
            )

    def test_lost_answer_is_settled_by_reading_back(self) -> None:
        """After a lost or damaged answer the state is proven by reading, or is unknown."""
        for action in self.actions():
            self.assert_proven_or_unknown(action, on_control(lose_reply))
            _, link = self.switch(action, undisturbed)
            acknowledgement = next(exchange for exchange in link.exchanges if exchange.control)
            for bit in range(0, 8 * len(acknowledgement.arrived), BIT_STRIDE):
                self.assert_proven_or_unknown(action, on_control(flip_bit(bit)))

    def assert_proven_or_unknown(self, action: SupplyAction, disturb: Disturbance) -> None:
        """The outcome is a proving state or ``OutcomeUnknownError``, never a plain failure."""
        outcome, _ = self.switch(action, disturb)
        if isinstance(outcome, DriverError):
            assert isinstance(outcome, OutcomeUnknownError), f"{action}: {outcome!r}"
        else:
            assert outcome.proves(action), f"{action}: {outcome}"

    def test_lost_command_is_unknown(self) -> None:
        """A command without answer or effect is unknown, never *refused*: a gateway may hold it."""
        self.need_twin()
        for action in self.actions():
            outcome, _ = self.switch(action, on_control(lose_request))
            assert isinstance(outcome, OutcomeUnknownError), f"{action}: {outcome}"

    def test_silence_after_a_command_is_unknown(self) -> None:
        """When neither answer nor read-back comes the outcome is unknown, never *failed*."""
        for action in self.actions():
            outcome, _ = self.switch(action, from_control_on(lose_reply))
            assert isinstance(outcome, OutcomeUnknownError), f"{action}: {outcome}"

    def test_link_lost_after_a_command_is_unknown(self) -> None:
        """When the link dies after the command the outcome is unknown, never *not sent*."""
        for action in self.actions():
            gone = fail_with(LinkUnavailableError("the port is gone"))
            outcome, _ = self.switch(action, after_control(gone))
            assert isinstance(outcome, OutcomeUnknownError), f"{action}: {outcome}"

    def test_supply_command_is_never_repeated(self) -> None:
        """Whatever gets lost, the control frame leaves once; the head-end decides about more."""
        for action in self.actions():
            for disturb in answer_losses():
                _, link = self.switch(action, disturb)
                assert len(link.control_frames) <= 1, action

    def test_refusal_of_a_command_is_said_so(self) -> None:
        """A device that says no makes ``DeviceRefusedError``."""
        for action in self.actions():
            outcome, _ = self.switch(action, on_control(reply_with(self.refuse)))
            assert isinstance(outcome, DeviceRefusedError), f"{action}: {outcome}"

    def test_unsent_command_is_not_unknown(self) -> None:
        """When the link did not send, its own error goes through: nothing is uncertain."""
        for error in (LinkUnavailableError("the port is gone"), ExpiredError("too late")):
            for action in self.actions():
                outcome, _ = self.switch(action, on_control(fail_with(error)))
                assert isinstance(outcome, type(error)), f"{action}: {outcome}"

    def test_hold_needs_its_capability(self) -> None:
        """HOLD without the capability raises ``UnsupportedError`` and sends nothing."""
        if Capability.HOLD_SUPPLY in self.driver().capabilities:
            pytest.skip(f"{self.model.id} can hold supply")
        link = self.make_link()
        outcome = self.attempt(self.make_driver(link).set_supply(SupplyAction.HOLD))
        assert isinstance(outcome, UnsupportedError)
        assert not link.exchanges

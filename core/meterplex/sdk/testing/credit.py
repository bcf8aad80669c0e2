"""Checks of the wallet inside a meter: ``read_credit``, ``deliver_credit``, ``withdraw_credit``."""

from decimal import Decimal
from enum import Enum
from typing import ClassVar, Final

from meterplex.domain.supply import SupplyAction
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import CreditState
from meterplex.sdk.errors import (
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    LinkUnavailableError,
    OutcomeUnknownError,
    RefusalReason,
)
from meterplex.sdk.testing.device import DeviceUnderTest
from meterplex.sdk.testing.links import (
    Disturbance,
    MemoryLink,
    after_control,
    answer_losses,
    fail_with,
    from_control_on,
    lose_reply,
    on_control,
    reply_with,
    undisturbed,
)


class Move(Enum):
    """A move of value, with the sign it has in the wallet."""

    DELIVER = 1
    WITHDRAW = -1


COUNT_REASONS: Final = frozenset(
    {RefusalReason.DUPLICATE, RefusalReason.COUNT_WRONG, RefusalReason.OTHER}
)


class CreditSuite(DeviceUnderTest):
    """How a driver moves value.

    Attributes:
        credit_amount: bought and taken back by the checks, in currency units.
    """

    credit_amount: ClassVar[Decimal] = Decimal("1.00")

    def moves(self) -> tuple[Move, ...]:
        """Return the moves that the driver promises, or skip where it promises none."""
        self.need(Capability.CREDIT)
        had = self.driver().capabilities
        if Capability.WITHDRAW_CREDIT not in had:
            self.need(Capability.DELIVER_CREDIT)
            return (Move.DELIVER,)
        return tuple(Move) if Capability.DELIVER_CREDIT in had else (Move.WITHDRAW,)

    def wallet_of(self, link: MemoryLink) -> CreditState:
        """Return what a fresh driver reads, undisturbed."""
        link.disturb = undisturbed
        return self.run(self.make_driver(link).read_credit())

    def device_ready_for(self, move: Move) -> tuple[MemoryLink, CreditState]:
        """Return a device that takes the move, and its wallet; withdrawing needs supply off."""
        link = self.make_link()
        driver = self.make_driver(link)
        if move is Move.WITHDRAW and Capability.SUPPLY in driver.capabilities:
            self.run(driver.set_supply(SupplyAction.DISCONNECT))
        before = self.wallet_of(link)
        link.exchanges.clear()
        return link, before

    def move_credit(
        self, move: Move, link: MemoryLink, count: int, disturb: Disturbance = undisturbed
    ) -> CreditState | DriverError:
        """Return the outcome of one disturbed move."""
        link.disturb = disturb
        driver = self.make_driver(link)
        if move is Move.DELIVER:
            return self.attempt(driver.deliver_credit(count, self.credit_amount))
        return self.attempt(driver.withdraw_credit(count, self.credit_amount))

    def test_wallet_is_one_read(self) -> None:
        """``read_credit`` takes the whole wallet from one exchange, which moves nothing."""
        self.need(Capability.CREDIT)
        link = self.make_link()
        wallet = self.run(self.make_driver(link).read_credit())
        assert len(link.exchanges) == 1
        assert link.control_frames == []
        assert isinstance(wallet.remaining, Decimal)
        assert wallet.remaining.is_finite()
        assert wallet.purchase_count >= 0

    def test_credit_moves_by_its_amount(self) -> None:
        """A move changes remaining by its amount and takes its count, as read from the meter."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            after = self.move_credit(move, link, before.purchase_count + 1)
            assert isinstance(after, CreditState), f"{move}: {after!r}"
            assert after.remaining - before.remaining == move.value * self.credit_amount, move
            assert after.purchase_count == before.purchase_count + 1, move
            if self.script is None:
                assert self.wallet_of(link) == after, move

    def test_credit_is_one_control_frame(self) -> None:
        """A move of value is one frame, flagged as control."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            self.move_credit(move, link, before.purchase_count + 1)
            requests = [exchange.request for exchange in link.exchanges]
            assert len(link.control_frames) == 1, move
            assert requests.count(link.control_frames[0]) == 1, move

    def test_lost_credit_answer_is_unknown_or_read_back(self) -> None:
        """After a lost answer the outcome is unknown, or the wallet as it is now is returned."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            outcome = self.move_credit(
                move, link, before.purchase_count + 1, on_control(lose_reply)
            )
            if isinstance(outcome, CreditState) and self.script is None:
                assert outcome == self.wallet_of(link), move
            assert isinstance(outcome, CreditState | OutcomeUnknownError), f"{move}: {outcome!r}"

    def test_silence_after_credit_is_unknown(self) -> None:
        """When neither answer nor wallet comes the outcome is unknown, never *failed*."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            outcome = self.move_credit(
                move, link, before.purchase_count + 1, from_control_on(lose_reply)
            )
            assert isinstance(outcome, OutcomeUnknownError), f"{move}: {outcome!r}"

    def test_link_lost_after_credit_is_unknown(self) -> None:
        """When the link dies after the frame the outcome is unknown, never *not sent*."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            gone = fail_with(LinkUnavailableError("the port is gone"))
            outcome = self.move_credit(move, link, before.purchase_count + 1, after_control(gone))
            assert isinstance(outcome, OutcomeUnknownError), f"{move}: {outcome!r}"

    def test_credit_is_never_sent_twice(self) -> None:
        """Whatever gets lost, a frame that moves value leaves once."""
        for move in self.moves():
            for disturb in answer_losses():
                link, before = self.device_ready_for(move)
                self.move_credit(move, link, before.purchase_count + 1, disturb)
                assert len(link.control_frames) <= 1, move

    def test_refused_credit_is_never_booked(self) -> None:
        """A device that says no makes ``DeviceRefusedError``, or the wallet comes unchanged."""
        for move in self.moves():
            link, before = self.device_ready_for(move)
            outcome = self.move_credit(
                move, link, before.purchase_count + 1, on_control(reply_with(self.refuse))
            )
            if isinstance(outcome, CreditState):
                assert outcome == before, move
            else:
                assert isinstance(outcome, DeviceRefusedError), f"{move}: {outcome!r}"

    def test_unsent_credit_is_not_unknown(self) -> None:
        """When the link did not send, its own error goes through: nothing is uncertain."""
        for error in (LinkUnavailableError("the port is gone"), ExpiredError("too late")):
            for move in self.moves():
                link, before = self.device_ready_for(move)
                outcome = self.move_credit(
                    move, link, before.purchase_count + 1, on_control(fail_with(error))
                )
                assert isinstance(outcome, type(error)), f"{move}: {outcome!r}"

    def test_caller_names_the_count(self) -> None:
        """The count in the frame is the caller's, never one read afresh.

        With a count that the meter has passed, nothing is bought.
        """
        self.need_twin()
        self.need(Capability.DELIVER_CREDIT, Capability.COUNT_CHECKED)
        link, before = self.device_ready_for(Move.DELIVER)
        self.move_credit(Move.DELIVER, link, before.purchase_count)
        assert self.wallet_of(link) == before

    def test_refused_count_is_called_by_its_name(self) -> None:
        """A count that the meter refuses is a duplicate, wrong, or left at *other*.

        Another reason would have a person wait for what is not so.
        """
        self.need_twin()
        self.need(Capability.DELIVER_CREDIT, Capability.COUNT_CHECKED)
        for step in (0, 2):
            link, before = self.device_ready_for(Move.DELIVER)
            outcome = self.move_credit(Move.DELIVER, link, before.purchase_count + step)
            if isinstance(outcome, DeviceRefusedError):
                assert outcome.reason in COUNT_REASONS, f"count + {step}: {outcome.reason}"

"""The rules of prepayment against a model meter behind a lossy, doubling, delaying link."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.domain.prepayment_model import (
    MISTAKES,
    Desk,
    Fate,
    InvariantError,
    SendingFirst,
    World,
)

from meterplex.domain.prepayment import (
    AnswerKind,
    ArmingObstacle,
    Direction,
    Evidence,
    Fence,
    Next,
    OrderState,
    PrepaymentRules,
)

OURS = (10, 20, 50)
FOREIGN = (7, 13)
"""Never the amount of an order, nor a sum of some."""


def worlds() -> st.SearchStrategy[World]:
    return st.builds(
        World,
        count_checked=st.booleans(),
        history=st.none() | st.integers(1, 4),
        marks=st.just(False),
        sole_seller=st.booleans(),
        names_count=st.booleans(),
        direct=st.booleans(),
        withdraws_absolutely=st.booleans(),
    ) | st.builds(
        World,
        history=st.integers(1, 4),
        marks=st.just(True),
        sole_seller=st.just(False),
        names_count=st.booleans(),
        direct=st.booleans(),
    )


class Delivery(RuleBasedStateMachine):
    """Orders of one meter, whatever the link, the crashes and other sellers do."""

    desk: Desk

    @initialize(world=worlds())
    def open_desk(self, world: World) -> None:
        self.desk = Desk(world)

    @rule(direction=st.sampled_from(Direction), amount=st.sampled_from(OURS))
    def ask(self, direction: Direction, amount: int) -> None:
        self.desk.ask(direction, amount)

    @rule(fate=st.sampled_from(Fate), late_before_read=st.booleans())
    def work(self, fate: Fate, late_before_read: bool) -> None:
        self.desk.work(fate, late_before_read=late_before_read)

    @rule(amount=st.sampled_from(FOREIGN), twin=st.sampled_from(OURS))
    def buy_elsewhere(self, amount: int, twin: int) -> None:
        self.desk.buy_elsewhere(amount if self.desk.world.sole_seller else twin)

    @rule(amount=st.integers(1, 60))
    def use(self, amount: int) -> None:
        self.desk.use(amount)

    @rule()
    def late_frame_arrives(self) -> None:
        self.desk.deliver_late()

    @rule()
    def wait_out(self) -> None:
        self.desk.wait_out()

    @rule()
    def give_up(self) -> None:
        self.desk.void()

    @invariant()
    def nothing_lost_or_doubled(self) -> None:
        if hasattr(self, "desk"):
            self.desk.check()

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.recover()
            self.desk.check_settled()


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def random_world(random: Random) -> World:
    marks = random.random() < 0.2
    return World(
        count_checked=marks or random.random() < 0.8,
        history=random.randint(1, 4) if marks or random.random() < 0.5 else None,
        marks=marks,
        sole_seller=not marks and random.random() < 0.6,
        names_count=random.random() < 0.3,
        direct=random.random() < 0.3,
        withdraws_absolutely=random.random() < 0.3,
    )


def run_story(desk: Desk, random: Random) -> None:
    """One random run, with the invariants checked after each step and after recovery."""
    for _ in range(random.randint(5, 30)):
        chance = random.random()
        if chance < 0.2:
            desk.ask(random.choice(list(Direction)), random.choice(OURS))
        elif chance < 0.75:
            desk.work(random.choice(list(Fate)), late_before_read=random.random() < 0.3)
        elif chance < 0.8:
            desk.use(random.randint(1, 60))
        elif chance < 0.85:
            desk.buy_elsewhere(random.choice(FOREIGN if desk.world.sole_seller else OURS))
        elif chance < 0.9:
            desk.deliver_late()
        elif chance < 0.95:
            desk.wait_out()
        else:
            desk.void()
        desk.check()
    desk.recover()
    desk.check_settled()


def stories(runs: int, make_desk: Callable[[World], Desk]) -> set[object]:
    """All that random runs came upon."""
    hit: set[object] = set()
    for seed in range(runs):
        random = Random(seed)
        desk = make_desk(random_world(random))
        run_story(desk, random)
        hit |= desk.hit
    return hit


def test_random_runs_come_upon_every_state_evidence_and_answer() -> None:
    hit = stories(5000, Desk)
    expected = {
        *(set(OrderState) - {OrderState.PAID}),
        *Evidence,
        *Next,
        *(Fence.F1, Fence.F3),
        *(AnswerKind.ACCEPTED, AnswerKind.SILENCE, AnswerKind.NOT_SENT, AnswerKind.OTHER_ERROR),
        AnswerKind.DUPLICATE,
        ArmingObstacle.NOT_ENOUGH_LEFT,
    }
    assert expected - hit == set()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: str(mistake.__name__))
def test_wrong_rules_lose_or_double_money(
    mistake: Callable[[PrepaymentRules], PrepaymentRules],
) -> None:
    wrong = mistake(PrepaymentRules())
    with pytest.raises(InvariantError):
        stories(3000, lambda world: Desk(world, wrong))


def test_arming_after_sending_loses_or_doubles_money() -> None:
    with pytest.raises(InvariantError):
        stories(3000, SendingFirst)

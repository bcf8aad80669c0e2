"""Orders over the services, with the twin behind a link that cannot be trusted.

What is checked, and where, is written in ``books``.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.proving.hits import EVIDENCE, STATES, Hits
from tests.proving.household import Household, World
from tests.proving.lossy_link import Fate
from tests.proving.run import Run
from tests.proving.wandering import FOREIGN, OURS, random_world, wander

from meterplex.services.orders.crash_points import CrashPoint, Moment

EXAMPLES = int(os.environ.get("METERPLEX_FUZZ_EXAMPLES", "20"))
RUNS = 2 * EXAMPLES // 3
STEPS = 40


def worlds(*, count_checked: bool) -> st.SearchStrategy[World]:
    return st.builds(
        World,
        count_checked=st.just(count_checked),
        sole_seller=st.booleans(),
        direct=st.booleans(),
        telling=st.booleans(),
        expires=st.booleans(),
        cents=st.sampled_from((0, 1500)),
    )


def machine(
    template: Path,
    hits: Hits,
    *,
    count_checked: bool,
) -> type[RuleBasedStateMachine]:
    """Return a machine of households on copies of a database."""

    class Selling(RuleBasedStateMachine):
        run: Run

        @initialize(world=worlds(count_checked=count_checked))
        def move_in(self, world: World) -> None:
            self.stack = ExitStack()
            self.run = Run(self.stack.enter_context(Household(template, world, hits)))
            self.steps = 0

        @rule(yuan=st.sampled_from(OURS))
        def vend(self, yuan: int) -> None:
            self.run.vend(yuan)

        @rule(yuan=st.sampled_from(OURS), fate=st.sampled_from(Fate))
        def sell(self, yuan: int, fate: Fate) -> None:
            self.run.vend(yuan)
            self.run.deliver(fate)

        @rule(fate=st.sampled_from(Fate))
        def sell_on_a_good_link(self, fate: Fate) -> None:
            self.run.resolve()
            self.run.cut(up=True, silent=False)
            self.run.vend(20)
            self.run.deliver(fate)
            self.run.deliver(Fate.ANSWERED)

        @rule(number=st.integers(0, 9))
        def vend_again(self, number: int) -> None:
            self.run.vend_again(number)

        @rule(yuan=st.sampled_from(OURS))
        def refund(self, yuan: int) -> None:
            self.run.refund(yuan)

        @rule(number=st.integers(0, 9), consented=st.booleans())
        def reverse(self, number: int, consented: bool) -> None:
            self.run.reverse(number, consented=consented)

        @rule(yuan=st.sampled_from(OURS))
        def pay_out(self, yuan: int) -> None:
            self.run.pay_out(yuan)

        @rule(
            fate=st.sampled_from(Fate), late=st.booleans(), seconds=st.sampled_from((1, 60, 7200))
        )
        def deliver(self, fate: Fate, late: bool, seconds: int) -> None:
            self.run.deliver(fate, late_before=late, seconds=seconds)

        @rule(fate=st.sampled_from(Fate))
        def deliver_more(self, fate: Fate) -> None:
            self.run.deliver(fate)

        @rule(yuan=st.sampled_from(FOREIGN))
        def lose_a_race(self, yuan: int) -> None:
            self.run.lose_a_race(yuan)

        @rule()
        def late_frame_arrives(self) -> None:
            self.run.deliver_late()

        @rule(up=st.booleans(), silent=st.booleans())
        def cut(self, up: bool, silent: bool) -> None:
            self.run.cut(up=up, silent=silent)

        @rule()
        def restore(self) -> None:
            self.run.cut(up=True, silent=False)

        @rule()
        def wait_out(self) -> None:
            self.run.wait_out()

        @rule(number=st.integers(0, 3))
        def void(self, number: int) -> None:
            self.run.void(number)

        @rule()
        def resolve(self) -> None:
            self.run.resolve()

        @rule(cents=st.integers(1, 3000))
        def use(self, cents: int) -> None:
            self.run.use(cents)

        @rule(yuan=st.sampled_from(FOREIGN), twin=st.sampled_from(OURS))
        def buy_elsewhere(self, yuan: int, twin: int) -> None:
            self.run.buy_elsewhere(yuan if self.run.home.world.sole_seller else twin)

        @rule()
        def read(self) -> None:
            self.run.read()

        @rule(opened=st.booleans())
        def relay(self, opened: bool) -> None:
            self.run.relay(opened=opened)

        @rule()
        def initialise(self) -> None:
            self.run.initialise()

        @rule(point=st.sampled_from(CrashPoint), moment=st.sampled_from(Moment))
        def plan_crash(self, point: CrashPoint, moment: Moment) -> None:
            self.run.plan_crash(point, moment)

        @rule(number=st.integers(0, 4), moment=st.sampled_from(Moment))
        def plan_kill_at_commit(self, number: int, moment: Moment) -> None:
            self.run.plan_kill_at_commit(number, moment)

        @rule()
        def trespass(self) -> None:
            self.run.trespass()

        @rule()
        def swap(self) -> None:
            self.run.swap()

        @precondition(lambda self: self.steps > STEPS - 6)
        @rule()
        def close(self) -> None:
            self.run.close()

        @invariant()
        def money_is_right(self) -> None:
            if hasattr(self, "run"):
                self.steps += 1
                self.run.check()

        def teardown(self) -> None:
            if hasattr(self, "run"):
                with self.stack:
                    self.run.recover()
                    self.run.check_old_frames()

    return Selling


def profile(examples: int) -> settings:
    """The same runs each time, unless somebody asks for more."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="METERPLEX_FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )


@pytest.mark.parametrize("count_checked", [True, False], ids=["count_checked", "blind"])
def test_no_money_is_lost_or_doubled(sqlite_template: Path, count_checked: bool) -> None:
    hits = Hits()
    run_state_machine_as_test(
        machine(sqlite_template, hits, count_checked=count_checked), settings=profile(EXAMPLES)
    )
    for seed in range(RUNS):
        random = Random(seed)
        world = random_world(random, count_checked=count_checked)
        with Household(sqlite_template, world, hits) as home:
            wander(Run(home), random, STEPS)
    required = [*STATES, *EVIDENCE] if count_checked else [*STATES, "E1", "E2", "E4"]
    hits.write(f"orders, {'count checked' if count_checked else 'blind'}", required)
    assert hits.missing(required) == []

"""Written runs: the mistakes that must be found, and what random runs seldom come upon."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.proving.hits import CRASHES, EVIDENCE, FENCES, STATES, Hits
from tests.proving.household import Household, World
from tests.proving.lossy_link import Fate, InvariantError
from tests.proving.mistakes import (
    SendsFirst,
    confirms_twins,
    forgets_the_count,
    takes_duplicate_for_failure,
    takes_missing_record_for_foreign,
    voids_on_one_read,
)
from tests.proving.run import Run

from meterplex.domain.prepayment import PrepaymentRules
from meterplex.services.orders.crash_points import CrashPoint, Moment
from meterplex.services.orders.deliver_orders import OrderDelivery

Story = Callable[[Run], None]


def tell(
    template: Path,
    story: Story,
    world: World,
    hits: Hits,
    rules: PrepaymentRules | None = None,
    delivery_type: type[OrderDelivery] = OrderDelivery,
) -> None:
    with Household(template, world, hits, rules, delivery_type) as home:
        run = Run(home)
        story(run)
        run.check()
        run.recover()
        run.check_old_frames()


def sale_arrives_late(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.DELAYED)
    run.deliver(Fate.LOST)
    run.deliver_late()
    run.deliver(Fate.ANSWERED)


def sale_is_doubled_on_the_line(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.REPEATED)
    run.deliver(Fate.ANSWERED)


def sale_arrives_after_it_was_given_up(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.DELAYED)
    run.void(0)
    run.deliver(Fate.ANSWERED)
    run.void(0)
    run.deliver_late()


def others_sell_after_us(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.ANSWER_LOST)
    run.buy_elsewhere(7)
    run.deliver(Fate.ANSWERED)
    run.deliver(Fate.ANSWERED)


def others_sell_the_same(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.LOST)
    run.buy_elsewhere(10)
    run.deliver(Fate.ANSWERED)


def all_goes_well(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.ANSWERED)


OTHERS_SELL = World(sole_seller=False)
Rule = Callable[[PrepaymentRules], PrepaymentRules]
MISTAKES: list[tuple[str, Rule, Story, World]] = [
    ("retry with a freshly read count", forgets_the_count, sale_arrives_late, World()),
    (
        "duplicate means failure",
        takes_duplicate_for_failure,
        sale_is_doubled_on_the_line,
        World(telling=True),
    ),
    (
        "void on one unchanged read",
        voids_on_one_read,
        sale_arrives_after_it_was_given_up,
        World(),
    ),
    (
        "missing record is foreign",
        takes_missing_record_for_foreign,
        others_sell_after_us,
        World(),
    ),
    ("confirm a twin", confirms_twins, others_sell_the_same, OTHERS_SELL),
]


@pytest.mark.parametrize(
    ("mistake", "story", "world"),
    [pytest.param(*more, id=name) for name, *more in MISTAKES],
)
def test_a_wrong_rule_is_found(
    sqlite_template: Path, mistake: Rule, story: Story, world: World
) -> None:
    tell(sqlite_template, story, world, Hits())
    with pytest.raises(InvariantError):
        tell(sqlite_template, story, world, Hits(), mistake(PrepaymentRules()))


def test_arming_after_sending_is_found(sqlite_template: Path) -> None:
    tell(sqlite_template, all_goes_well, World(), Hits())
    with pytest.raises(InvariantError, match="I9"):
        tell(sqlite_template, all_goes_well, World(), Hits(), delivery_type=SendsFirst)


def a_day_at_the_desk(run: Run) -> None:
    """Comes by every crash point."""
    run.vend(10)
    run.deliver(Fate.ANSWERED)
    run.vend(20)
    run.deliver(Fate.LOST)
    run.buy_elsewhere(7)
    run.deliver(Fate.ANSWERED)
    run.vend(50)
    run.void(9)
    run.vend(50)
    run.void(2)
    run.deliver(Fate.ANSWERED)


def dies_on_the_wire(fate: Fate) -> Story:
    def story(run: Run) -> None:
        run.vend(10)
        run.deliver(fate)

    return story


def dies_at(point: CrashPoint, moment: Moment) -> Story:
    def story(run: Run) -> None:
        run.plan_crash(point, moment)
        a_day_at_the_desk(run)

    return story


def is_fenced_by_a_quiet_link(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.DELAYED)
    run.void(0)
    run.wait_out()
    run.void(0)


def is_fenced_by_an_expiry(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.DELAYED)
    run.void(0)
    run.deliver(Fate.ANSWERED)
    run.void(0)
    run.deliver(Fate.ANSWERED, seconds=600)
    run.deliver(Fate.ANSWERED, seconds=600)
    run.void(0)


def is_fenced_by_a_new_wallet(run: Run) -> None:
    run.vend(10)
    run.deliver(Fate.DELAYED)
    run.initialise()
    run.resolve()


def is_given_back(run: Run) -> None:
    run.vend(50)
    run.deliver(Fate.ANSWERED)
    run.relay(opened=True)
    run.read()
    run.refund(20)
    run.deliver(Fate.ANSWER_LOST)
    run.deliver(Fate.ANSWERED)
    run.pay_out(20)
    run.pay_out(10)


def is_reversed(run: Run) -> None:
    run.vend(50)
    run.deliver(Fate.ANSWERED)
    run.relay(opened=True)
    run.read()
    run.reverse(0, consented=False)
    run.reverse(0, consented=False)
    run.deliver(Fate.ANSWERED)


def is_swapped(run: Run) -> None:
    run.vend(50)
    run.deliver(Fate.ANSWERED)
    run.vend(20)
    run.deliver(Fate.LOST)
    run.swap()
    run.deliver(Fate.ANSWERED)
    run.vend(10)
    run.swap()


def is_closed(run: Run) -> None:
    run.vend(50)
    run.deliver(Fate.ANSWERED)
    run.vend(20)
    run.close()
    run.relay(opened=True)
    run.deliver(Fate.ANSWERED)
    run.read()
    run.close()
    run.check()


def dies_at_commit(number: int, moment: Moment, rest: Story) -> Story:
    def story(run: Run) -> None:
        run.vend(50)
        run.deliver(Fate.ANSWERED)
        run.plan_kill_at_commit(number, moment)
        rest(run)

    return story


def swaps(run: Run) -> None:
    run.swap()
    run.swap()


def closes(run: Run) -> None:
    run.relay(opened=True)
    for _ in range(3):
        run.close()
        run.deliver(Fate.ANSWERED)
        run.read()


DIRECT = World(direct=True)
STORIES: list[tuple[Story, World]] = [
    *((dies_at(point, moment), World()) for point in CrashPoint for moment in Moment),
    *(
        (dies_on_the_wire(fate), World())
        for fate in (Fate.KILLED_BEFORE, Fate.KILLED_BETWEEN, Fate.KILLED_AFTER)
    ),
    *((story, world) for _, _, story, world in MISTAKES),
    (is_fenced_by_a_quiet_link, DIRECT),
    (is_fenced_by_a_quiet_link, World(direct=True, count_checked=False)),
    (is_fenced_by_an_expiry, World(expires=True)),
    (is_fenced_by_an_expiry, World(expires=True, count_checked=False)),
    (is_fenced_by_a_new_wallet, World()),
    *((story, World()) for story in (is_given_back, is_reversed, is_swapped, is_closed)),
    *(
        (dies_at_commit(number, moment, rest), World())
        for rest in (swaps, closes)
        for number in range(8)
        for moment in Moment
    ),
]
MUST_HAPPEN = [*STATES, *EVIDENCE, *FENCES, *CRASHES, "swapped", "closed", "refund confirmed"]


def test_the_stories_come_upon_everything(sqlite_template: Path) -> None:
    hits = Hits()
    for story, world in STORIES:
        tell(sqlite_template, story, world, hits)
    hits.write("orders, written stories", MUST_HAPPEN)
    assert hits.missing(MUST_HAPPEN) == []

"""Random runs, with what is dangerous made likely; much quicker than a search."""

from random import Random

from tests.proving.household import World
from tests.proving.lossy_link import Fate
from tests.proving.run import Run

from meterplex.services.orders.crash_points import CrashPoint, Moment

OURS = (10, 20, 50)
FOREIGN = (7, 11)
"""Never the amount of an order of ours, where nobody else is said to sell."""


def random_world(random: Random, *, count_checked: bool) -> World:
    return World(
        count_checked=count_checked,
        sole_seller=random.random() < 0.7,
        direct=random.random() < 0.4,
        telling=random.random() < 0.5,
        expires=random.random() < 0.3,
        cents=random.choice((0, 0, 1500)),
    )


def wander(run: Run, random: Random, steps: int) -> None:
    """Take some steps and recover, with the invariants checked after each."""
    for _ in range(steps):
        _step(run, random)
        run.check()
    if random.random() < 0.2:
        run.close()
        run.check()
    run.recover()
    run.check_old_frames()


def _step(run: Run, random: Random) -> None:
    chance = random.random()
    if chance < 0.06:
        run.resolve()
    elif chance < 0.16:
        run.vend(random.choice(OURS))
    elif chance < 0.5:
        seconds = random.choice((1, 60, 7200))
        run.deliver(random.choice(list(Fate)), late_before=random.random() < 0.3, seconds=seconds)
    elif chance < 0.58:
        run.deliver_late()
    elif chance < 0.61:
        run.buy_elsewhere(_elsewhere(run, random))
    elif chance < 0.64:
        run.lose_a_race(_elsewhere(run, random))
    elif chance < 0.71:
        run.void(random.randrange(4))
    elif chance < 0.75:
        run.plan_crash(random.choice(list(CrashPoint)), random.choice(list(Moment)))
    elif chance < 0.77:
        run.plan_kill_at_commit(random.randrange(4), random.choice(list(Moment)))
    else:
        _more(run, random)


def _elsewhere(run: Run, random: Random) -> int:
    return random.choice(FOREIGN if run.home.world.sole_seller else OURS)


def _more(run: Run, random: Random) -> None:
    match random.randrange(13):
        case 0:
            run.refund(random.choice(OURS))
        case 1:
            run.reverse(random.randrange(5), consented=random.random() < 0.5)
        case 2:
            run.pay_out(random.choice(OURS))
        case 3:
            run.wait_out()
        case 4:
            run.resolve()
        case 5:
            run.use(random.randint(1, 3000))
        case 6:
            run.read()
        case 7:
            run.relay(opened=random.random() < 0.7)
        case 8:
            run.initialise()
        case 9:
            run.cut(up=random.random() < 0.5, silent=random.random() < 0.5)
        case 10:
            run.cut(up=True, silent=False)
        case 11:
            run.vend_again(random.randrange(9))
        case _:
            run.swap()

"""One run: what people, meters, links and crashes do to a household, step by step.

The same steps are taken by the state machines, which choose them, and by the written stories.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tests.proving.books import Books, change_of
from tests.proving.household import YUAN, Household
from tests.proving.lossy_link import Fate, InvariantError, Killed

from meterplex.db.errors import NotFoundError
from meterplex.domain.ledger import in_meter, transit
from meterplex.domain.prepayment import FINAL, Direction, OrderKind, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.services.accounts.swap_meter import SwapStep
from meterplex.services.books.errors import MoneyError
from meterplex.services.orders.crash_points import CrashPoint, Moment

Work = Coroutine[Any, Any, Any]

KILLS_ON_THE_WIRE: Final = {
    Fate.KILLED_BEFORE.value: ("before first_byte",),
    Fate.KILLED_BETWEEN.value: ("after first_byte", "before last_byte"),
    Fate.KILLED_AFTER.value: ("after last_byte", "before answer_read"),
}
"""Crash points that only the link can hit."""


@dataclass
class Run:
    """See the module's text; amounts are whole yuan."""

    home: Household
    books: Books = field(init=False)

    def __post_init__(self) -> None:
        self.books = Books(self.home)

    def act(self, work: Work) -> Any:
        """Do something; a crash is followed by a start, a refusal by nothing."""
        try:
            return self.home.run(work)
        except Killed as killed:
            self.home.hits.add(*KILLS_ON_THE_WIRE.get(str(killed), ()), "killed")
            self.home.run(self.home.restart())
        except MoneyError as error:
            self.home.hits.add(f"refused {error.field}")
        return None

    def check(self) -> None:
        self.books.check()

    def _orders(self, wanted: Callable[[CreditOrder], bool]) -> list[CreditOrder]:
        return [each for each in self.home.run(self.home.orders()) if wanted(each)]

    # -- people --------------------------------------------------------------------------------

    def vend(self, yuan: int) -> None:
        self.act(self.home.vend(yuan))

    def vend_again(self, number: int) -> None:
        """I13: ask again with a key that was used."""
        requests = self.home.requests
        if not requests:
            return
        request, first = requests[number % len(requests)]
        known = len(self._orders(lambda _: True))
        again = self.act(self.home.vend(request.amount_units // YUAN, request.idempotency_key))
        self.home.requests.pop()
        if again is None or not again.repeated or again.order_id != first.order_id:
            raise InvariantError(f"I13: {request.idempotency_key} was answered by {again}")
        if known != len(self._orders(lambda _: True)):
            raise InvariantError("I13: asking again made another order")
        self.home.hits.add("asked again")

    def refund(self, yuan: int) -> None:
        self.act(self.home.refund(yuan))

    def reverse(self, number: int, *, consented: bool) -> None:
        vends = self._orders(lambda each: each.kind is OrderKind.VEND)
        if vends:
            order = vends[number % len(vends)]
            self.act(self.home.reverse(order.id, consented=consented))

    def pay_out(self, yuan: int) -> None:
        self.act(self.home.pay_out(yuan))

    def void(self, number: int) -> None:
        live = self._orders(lambda each: each.state not in FINAL)
        if live:
            self.act(self.home.void(live[number % len(live)].id))

    def resolve(self) -> None:
        """Two people look at the meter, and settle what is in CONFLICT as it is."""
        link = self.home.installed.link
        for order in self._orders(lambda each: each.state is OrderState.CONFLICT):
            taken = any(frame.taken for frame in link.sent if frame.order == str(order.id))
            to = OrderState.CONFIRMED if taken else OrderState.VOIDED
            moved = self.act(self.home.resolve(order.id, to))
            if moved is not None:
                self.home.hits.add(f"resolved to {to}")

    def trespass(self) -> None:
        """I23: ask for an order under the name of another organisation."""
        for order in self.home.run(self.home.orders()):
            theirs, self.home.acting_for = self.home.acting_for, self.home.neighbour
            try:
                self.home.run(self.home.void(order.id))
            except NotFoundError:
                self.home.hits.add("trespass refused")
            else:
                raise InvariantError("I23: an order of another organisation was found")
            finally:
                self.home.acting_for = theirs

    # -- link and meter ------------------------------------------------------------------------

    def deliver(self, fate: Fate, *, late_before: bool = False, seconds: float = 60) -> None:
        self.home.now += timedelta(seconds=seconds)
        if late_before:
            self.home.installed.link.deliver_late()
        self.home.installed.link.fate = fate
        self.act(self.home.deliver())

    def lose_a_race(self, yuan: int) -> None:
        """Sell, lose the frame, and let others sell before it is looked at."""
        self.resolve()
        self.cut(up=True, silent=False)
        self.vend(20)
        self.deliver(Fate.LOST)
        self.buy_elsewhere(yuan)
        self.deliver(Fate.ANSWERED)

    def deliver_late(self) -> None:
        self.home.installed.link.deliver_late()

    def cut(self, *, up: bool, silent: bool) -> None:
        link = self.home.installed.link
        link.up, link.silent = up, silent
        if up and not silent:
            self.home.hits.add("restored")
            self.act(self.home.delivery().wake(None))

    def wait_out(self) -> None:
        """Close the session, let the time of F3 pass, and look twice."""
        home = self.home
        home.session_closed_at = home.now
        if home.world.direct:
            home.installed.link.forget_late()
        for minutes in (30, 2):
            home.now += timedelta(minutes=minutes)
            self.act(home.delivery().wake(None))
            self.act(home.deliver())

    def use(self, cents: int) -> None:
        self.home.use(cents)

    def buy_elsewhere(self, yuan: int) -> None:
        self.home.buy_elsewhere(yuan)

    def read(self) -> None:
        self.home.now += timedelta(minutes=1)
        if self.act(self.home.read()):
            self.home.hits.add("read")

    def relay(self, *, opened: bool) -> None:
        self.home.open_relay(opened=opened)

    def initialise(self) -> None:
        """Renew the meter while an order is uncertain, and look at it."""
        uncertain = self._orders(lambda each: each.state is OrderState.UNCERTAIN)
        if not uncertain or not self.home.installed.wallet.purchase_count:
            return
        if any(
            frame.taken
            for frame in self.home.installed.link.sent
            if frame.order in {str(order.id) for order in uncertain}
        ):
            return  # whether it was taken could not be told any more, even by people
        self.home.initialise()
        self.home.hits.add("initialised")
        self.act(self.home.delivery().wake(None))
        self.deliver(Fate.ANSWERED)

    def plan_crash(self, point: CrashPoint, moment: Moment) -> None:
        self.home.killed_at[point, moment] = True

    def plan_kill_at_commit(self, number: int, moment: Moment) -> None:
        self.home.database.kill_at = number, moment

    # -- account -------------------------------------------------------------------------------

    def swap(self) -> None:
        home = self.home
        if home.former:
            return
        home.now += timedelta(minutes=1)
        self.act(home.read())
        before = home.run(self._held())
        swap = self.act(home.swap(home.estate.meters[1]))
        if swap is None:
            swap = self.act(home.swap(home.estate.meters[1]))
        if swap is None or swap.step is SwapStep.SETTLE_ORDERS or swap.binding is None:
            return
        old = home.binding_id
        home.put_in(home.estate.meters[1], swap.binding.id)
        after = home.run(self._held())
        if after != before:
            raise InvariantError(f"I21: {before} units before the swap, {after} after it")
        if home.run(home.balance(in_meter(old))) or home.run(home.balance(transit(old))):
            raise InvariantError("I21: credit stays with the old meter")
        home.hits.add("swapped")

    async def _held(self) -> tuple[int, int]:
        """Return what was paid, and what of it is in meters, on its way to them, used or owed."""
        kept = ("meter", "transit", "rounding", "revenue", "receivable", "tax")
        return await self.home.sum_of("cash"), await self.home.sum_of(*kept)

    def close(self) -> None:
        self.home.now += timedelta(minutes=1)
        self.act(self.home.close())

    # -- the end -------------------------------------------------------------------------------

    def recover(self) -> None:
        """Start anew on a good link, and work until all rests."""
        home = self.home
        link = home.installed.link
        link.up, link.silent, link.fate = True, False, Fate.ANSWERED
        home.session_closed_at = home.now
        if home.world.direct:
            link.forget_late()
        while link.late:
            link.deliver_late()
        home.run(home.restart())
        self._work_on()
        if home.run(home.frozen()):
            self.swap()
            self._work_on()
        self.books.check_settled()

    def _work_on(self) -> None:
        home = self.home
        for _ in range(40):
            home.now += timedelta(minutes=31)
            live = self._orders(lambda each: each.state not in FINAL)
            home.open_relay(opened=any(each.direction is Direction.WITHDRAW for each in live))
            home.run(home.deliver())
            if not self._orders(self._moves_on):
                break

    def _moves_on(self, order: CreditOrder) -> bool:
        return order.state in {OrderState.PAID, OrderState.UNCERTAIN} and not order.held

    def check_old_frames(self) -> None:
        """I10: no frame that is proven, or fenced by its count, is taken once more."""
        home = self.home
        if not home.world.count_checked:
            return
        orders = {str(order.id): order for order in home.run(home.orders())}
        wallet = home.installed.wallet
        for frame in home.installed.link.sent:
            order = orders[frame.order]
            done = order.state is OrderState.CONFIRMED or order.fence == "F1"
            if frame.dead or not done or change_of(order) < 0:
                continue
            before = wallet.total_purchased
            home.installed.twin.receive(frame.burst)
            if wallet.total_purchased != before:
                raise InvariantError(f"I10: an old frame of order {frame.order} was taken")

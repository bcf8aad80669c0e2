"""A model of prepayment: one meter, one lossy link, one desk that follows the rules of the domain.

What the desk has committed survives a crash; what it only knows does not. The books check the
invariants of money after every step.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID

from meterplex.domain.prepayment import (
    FINAL,
    MOVES,
    STATE_AFTER,
    Answer,
    AnswerKind,
    AnswerStep,
    Arming,
    ArmingRefusal,
    CountCapability,
    Direction,
    Evidence,
    EvidenceRead,
    Fence,
    FenceFacts,
    Next,
    OrderId,
    OrderState,
    PrepaymentRules,
    PurchaseRecord,
    Verdict,
    Wallet,
    may_arm,
    send_again,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
METER = "M1"


class InvariantError(Exception):
    """Money was lost, doubled, or moved without proof."""


@dataclass(frozen=True)
class World:
    """What a run is like.

    Attributes:
        count_checked: else the meter takes every frame and stores its count.
        history: how many records the meter keeps; None for none at all.
        marks: it returns the orders' marks in them.
        names_count: its positive answer names meter and count.
        direct: the link stores nothing once its session is closed.
        withdraws_absolutely: a withdrawal writes the figures it leads to, whatever was held; its
            frames are lost or taken at once, since nothing protects a meter from a late one.
    """

    count_checked: bool = True
    history: int | None = None
    marks: bool = False
    sole_seller: bool = True
    names_count: bool = False
    direct: bool = False
    withdraws_absolutely: bool = False

    @property
    def capability(self) -> CountCapability:
        return CountCapability(self.count_checked, 65535, self.withdraws_absolutely)


@dataclass(frozen=True)
class Frame:
    order: int
    count: int
    change: int
    mark: str | None


class Fate(Enum):
    """What the link does to a frame."""

    ANSWERED = "answered"
    ANSWER_LOST = "answer lost"
    LOST = "lost"
    DELAYED = "delayed"
    DOUBLED = "doubled"
    """A copy stays in the gateway."""
    REPEATED = "repeated"
    """The meter gets it twice, and only its second answer is heard."""
    NOT_SENT = "not sent"
    CRASH_BEFORE = "crash before the first byte"
    CRASH_AFTER = "crash after the last byte"


@dataclass
class Meter:
    world: World
    remaining: int = 100
    count: int = 5
    total: int = 2000
    records: deque[PurchaseRecord] = field(default_factory=deque)
    taken: list[int] = field(default_factory=list)

    def take(self, frame: Frame) -> AnswerKind:
        if self._writes_absolutely(frame):
            if frame.count != self.count + 1:
                return AnswerKind.OTHER_ERROR  # the driver looks before it writes
        elif self.world.count_checked and frame.count != self.count + 1:
            late = frame.count <= self.count
            return AnswerKind.DUPLICATE if late else AnswerKind.COUNT_WRONG
        if frame.change < 0 and self.remaining + frame.change < 0:
            return AnswerKind.OTHER_ERROR
        self.change(frame.count, frame.change, frame.mark)
        self.taken.append(frame.order)
        return AnswerKind.ACCEPTED

    def _writes_absolutely(self, frame: Frame) -> bool:
        return frame.change < 0 and self.world.withdraws_absolutely

    def change(self, count: int, change: int, mark: str | None) -> None:
        self.count, self.total = count, self.total + change
        self.remaining += change
        self.records.append(PurchaseRecord(count, change, mark=mark))
        while len(self.records) > (self.world.history or 0):
            self.records.popleft()

    def wallet(self) -> Wallet:
        records = None if self.world.history is None else tuple(self.records)
        return Wallet(self.remaining, self.count, self.total, METER, records=records)


@dataclass
class Order:
    """One durable row."""

    number: int
    direction: Direction
    amount: int
    state: OrderState = OrderState.PAID
    arming: Arming | None = None
    last_sent_at: datetime | None = None
    reads: list[EvidenceRead] = field(default_factory=list)
    fence: Fence | None = None
    ever_sent: bool = False

    @property
    def change(self) -> int:
        return self.amount if self.direction is Direction.DELIVER else -self.amount


class Desk:
    """Works on one order at a time, oldest first."""

    arms_first = True

    def __init__(self, world: World, rules: PrepaymentRules | None = None) -> None:
        self.world = world
        self.rules = rules or PrepaymentRules()
        self.meter = Meter(world)
        self.opening = self.meter.total
        self.foreign = 0
        self.orders: list[Order] = []
        self.late: list[Frame] = []
        self.sent: list[Frame] = []
        self.now = START
        self.session_closed_at: datetime | None = None
        self.hit: set[object] = set()

    def ask(self, direction: Direction, amount: int) -> None:
        self.orders.append(Order(len(self.orders), direction, amount))

    def buy_elsewhere(self, amount: int) -> None:
        self.meter.change(self.meter.count + 1, amount, None)
        self.foreign += amount

    def use(self, amount: int) -> None:
        self.meter.remaining -= amount

    def deliver_late(self) -> None:
        if self.late:
            self.meter.take(self.late.pop(0))

    def work(self, fate: Fate, *, late_before_read: bool = False) -> None:
        """Take the next step of the oldest order that has one."""
        self.now += timedelta(minutes=1)
        for order in self.orders:
            others = [other.state for other in self.orders if other is not order]
            if order.state is OrderState.UNCERTAIN:
                if late_before_read:
                    self.deliver_late()
                self._settle(order, fate)
                return
            if order.state is OrderState.PAID and may_arm(others):
                self._start(order, fate)
                return

    def wait_out(self) -> None:
        """Close the session, let the time of F3 pass, and look twice without sending."""
        self.session_closed_at = self.now
        if self.world.direct:
            self.late.clear()
        for minutes in (30, 2):
            self.now += timedelta(minutes=minutes)
            for order in self.orders:
                if order.state is OrderState.UNCERTAIN:
                    self._look(order)

    def void(self) -> None:
        """Give up the oldest unsettled order where the rules allow it."""
        for order in self.orders:
            if order.state in FINAL:
                continue
            fence = self._fence(order)
            if self.rules.may_void(order.state, ever_sent=order.ever_sent, fence=fence):
                order.fence = fence or order.fence
                self._move(order, OrderState.VOIDED)
            return

    def recover(self) -> None:
        """Deliver or forget all that is under way, then work on a good link until all rests."""
        while self.late:
            self.deliver_late()
        for _ in range(3 * len(self.orders) + 3):
            self.work(Fate.ANSWERED)

    def _start(self, order: Order, fate: Fate) -> None:
        armed = self.rules.arm(
            OrderId(UUID(int=order.number)),
            order.direction,
            order.amount,
            self.meter.wallet(),
            self.world.capability,
            bound_to=Wallet(0, meter=METER),
            armed_at=self.now,
            mark=f"order {order.number}" if self.world.marks else None,
        )
        if isinstance(armed, ArmingRefusal):
            self.hit.add(armed.obstacle)
            self._move(order, OrderState.VOIDED)
            return
        order.fence, order.reads = None, []
        self._send(order, armed, fate)

    def _settle(self, order: Order, fate: Fate) -> None:
        verdict = self._look(order)
        if verdict.next is Next.WAIT:
            return
        if verdict.next is Next.SEND_AGAIN:
            assert order.arming is not None
            self._send(order, send_again(order.arming), fate)
            return
        order.fence = self._fence(order)
        self._move(order, STATE_AFTER[verdict.next])

    def _look(self, order: Order) -> Verdict:
        assert order.arming is not None
        wallet = self.meter.wallet()
        verdict = self.rules.judge(
            order.arming, wallet, self.world.capability, sole_seller=self.world.sole_seller
        )
        self.hit |= {verdict.evidence, verdict.next}
        order.reads.append(EvidenceRead(self.now, verdict.evidence, wallet.purchase_count))
        return verdict

    def _fence(self, order: Order) -> Fence | None:
        if order.arming is None or order.last_sent_at is None:
            return None
        facts = FenceFacts(
            order.arming.count,
            self.world.capability.binds(order.direction),
            order.last_sent_at,
            tuple(order.reads),
            session_closed_at=self.session_closed_at if self.world.direct else None,
        )
        fence = self.rules.fence_of(facts)
        self.hit.add(fence)
        return fence

    def _send(self, order: Order, arming: Arming, fate: Fate) -> None:
        sent_before = order.state is OrderState.UNCERTAIN
        if self.arms_first:
            self._arm(order, arming)
        if fate is Fate.CRASH_BEFORE:
            self._restart()
            return
        answer = self._transmit(order, arming, fate)
        if fate is Fate.CRASH_AFTER:
            self._restart()
            return
        if not self.arms_first:
            self._arm(order, arming)
        self._conclude(order, arming, answer, sent_before=sent_before)

    def _arm(self, order: Order, arming: Arming) -> None:
        order.arming, order.ever_sent, order.last_sent_at = arming, True, self.now
        self._move(order, OrderState.ARMED)

    def _conclude(self, order: Order, arming: Arming, answer: Answer, *, sent_before: bool) -> None:
        self.hit.add(answer.kind)
        verdict = self.rules.after_answer(arming, answer, sent_before=sent_before)
        state = verdict.state
        if verdict.step is AnswerStep.READ_BACK:
            state = OrderState.UNCERTAIN
            if self._look(order).next is Next.CONFIRM:
                state = OrderState.CONFIRMED
        if state is OrderState.PAID:
            order.ever_sent = False
        self._move(order, state)

    def _transmit(self, order: Order, arming: Arming, fate: Fate) -> Answer:
        """Let the link do what it does, and return what is heard."""
        if fate is Fate.NOT_SENT:
            return Answer(AnswerKind.NOT_SENT)
        frame = Frame(order.number, arming.count, arming.change_units, arming.mark)
        self._check_frame(frame)
        self.sent.append(frame)
        copies = {Fate.LOST: 0, Fate.DELAYED: 0, Fate.REPEATED: 2}.get(fate, 1)
        absolute = order.direction is Direction.WITHDRAW and self.world.withdraws_absolutely
        once = absolute or not self.world.count_checked
        if once:
            copies = min(copies, 1)
        heard = AnswerKind.SILENCE
        for _ in range(copies):
            heard = self.meter.take(frame)
        if (fate is Fate.DELAYED and not absolute) or (fate is Fate.DOUBLED and not once):
            self.late.append(frame)
        if fate in {Fate.ANSWER_LOST, Fate.CRASH_AFTER}:
            heard = AnswerKind.SILENCE
        if heard is AnswerKind.ACCEPTED and self.world.names_count:
            return Answer(heard, METER, frame.count)
        return Answer(heard)

    def _restart(self) -> None:
        for order in self.orders:
            if order.state is OrderState.ARMED:
                self._move(order, OrderState.UNCERTAIN)

    def _move(self, order: Order, state: OrderState) -> None:
        if state is order.state:
            return
        if state not in MOVES[order.state]:
            message = f"order {order.number} went from {order.state} to {state}"
            raise InvariantError(message)
        order.state = state
        self.hit.add(state)

    def _check_frame(self, frame: Frame) -> None:
        """I8: two frames of one count say the same, unless a fence lies between."""
        for other in self.sent:
            if other.count != frame.count or other == frame:
                continue
            if self.orders[other.order].fence is None:
                message = f"count {frame.count} sent for orders {other.order} and {frame.order}"
                raise InvariantError(message)

    def check(self) -> None:
        """Check I3, I6, I7 and I10."""
        for broken in self._broken():
            raise InvariantError(broken)

    def check_settled(self) -> None:
        """Check I4: where nothing is open any more, books and meter agree."""
        self.check()
        if self._must_settle:
            message = f"order {self._must_settle[0].number} never settles"
            raise InvariantError(message)
        if all(order.state in FINAL for order in self.orders) and self._in_meter != self._proven:
            message = f"{self._proven} units booked, {self._in_meter} in the meter"
            raise InvariantError(message)
        if self.world.count_checked and not self.world.withdraws_absolutely:
            self._send_old_frames()

    def _send_old_frames(self) -> None:
        """I10: frames that are proven or fenced by their count are never taken any more."""
        for frame in self.sent:
            order = self.orders[frame.order]
            done = order.state is OrderState.CONFIRMED or order.fence is Fence.F1
            if done and self.meter.take(frame) is AnswerKind.ACCEPTED:
                message = f"an old frame of order {frame.order} was taken"
                raise InvariantError(message)

    @property
    def _must_settle(self) -> list[Order]:
        """Purchases that nothing stands against: one that can be told from all others."""
        told_apart = self.world.sole_seller or self.world.marks
        if not (self.world.count_checked and told_apart):
            return []
        states = {order.state for order in self.orders}
        open_states = {OrderState.UNCERTAIN}
        if states.isdisjoint({OrderState.UNCERTAIN, OrderState.CONFLICT}):
            open_states.add(OrderState.PAID)
        return [
            order
            for order in self.orders
            if order.direction is Direction.DELIVER and order.state in open_states
        ]

    @property
    def _in_meter(self) -> int:
        return self.meter.total - self.opening - self.foreign

    @property
    def _proven(self) -> int:
        return sum(each.change for each in self.orders if each.state is OrderState.CONFIRMED)

    def _broken(self) -> Iterator[str]:
        proven, in_meter = self._proven, self._in_meter
        live = [order for order in self.orders if order.state not in FINAL]
        least = proven + sum(min(order.change, 0) for order in live)
        most = proven + sum(max(order.change, 0) for order in live)
        if not least <= in_meter <= most:
            yield f"{in_meter} units in the meter, booked and open are {least} to {most}"
        if sum(order.state is OrderState.UNCERTAIN for order in live) > 1:
            yield "two orders are in flight"
        counts = [
            order.arming.count
            for order in self.orders
            if order.state is OrderState.CONFIRMED and order.arming is not None
        ]
        if sorted(set(counts)) != counts:
            yield f"confirmed counts are {counts}"
        for order in self.orders:
            if order.state is OrderState.VOIDED:
                if order.ever_sent and order.fence is None:
                    yield f"order {order.number} was sent and voided without a fence"
                if order.number in self.meter.taken:
                    yield f"a frame of voided order {order.number} was taken"


class SendingFirst(Desk):
    """Seeded mistake: arms after sending."""

    arms_first = False


def forgets_the_count(right: PrepaymentRules) -> PrepaymentRules:
    """Seeded mistake: a retry takes a freshly read count."""

    def judge(*args: object, **facts: object) -> Verdict:
        verdict = right.judge(*args, **facts)  # type: ignore[arg-type]
        return replace(verdict, next=Next.FENCE) if verdict.next is Next.SEND_AGAIN else verdict

    return replace(right, judge=judge)


def takes_duplicate_for_failure(right: PrepaymentRules) -> PrepaymentRules:
    """Seeded mistake: "duplicate" means that nothing was taken."""

    def after_answer(arming: Arming, answer: Answer, *, sent_before: bool = False) -> object:
        if answer.kind is AnswerKind.DUPLICATE:
            answer, sent_before = Answer(AnswerKind.NOT_SENT), False
        return right.after_answer(arming, answer, sent_before=sent_before)

    return replace(right, after_answer=after_answer)  # type: ignore[arg-type]


def voids_on_one_read(right: PrepaymentRules) -> PrepaymentRules:
    """Seeded mistake: one read that shows "not taken" is a fence."""

    def fence_of(facts: FenceFacts) -> Fence | None:
        unchanged = bool(facts.reads) and facts.reads[-1].evidence is Evidence.E2
        return Fence.F3 if unchanged else right.fence_of(facts)

    return replace(right, fence_of=fence_of)


def takes_missing_record_for_foreign(right: PrepaymentRules) -> PrepaymentRules:
    """Seeded mistake: a record that is not there any more was another purchase."""

    def judge(arming: Arming, wallet: Wallet, *args: object, **facts: object) -> Verdict:
        missing = wallet.records is not None and (
            arming.count <= (wallet.purchase_count or 0)
            and arming.count not in wallet.records_by_count
        )
        if missing:
            return Verdict(Evidence.E3, Next.FENCE, "the record is not there")
        return right.judge(arming, wallet, *args, **facts)  # type: ignore[arg-type]

    return replace(right, judge=judge)


def confirms_twins(right: PrepaymentRules) -> PrepaymentRules:
    """Seeded mistake: whatever looks like ours is ours."""

    def judge(*args: object, **facts: object) -> Verdict:
        return right.judge(*args, **facts | {"sole_seller": True})  # type: ignore[arg-type]

    return replace(right, judge=judge)


MISTAKES: tuple[Callable[[PrepaymentRules], PrepaymentRules], ...] = (
    forgets_the_count,
    takes_duplicate_for_failure,
    voids_on_one_read,
    takes_missing_record_for_foreign,
    confirms_twins,
)
"""Those that are wrong rules; the sixth is :class:`SendingFirst`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from meterplex.domain.registers import RegisterType
from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState
from meterplex.protocols.errors import EncodeError
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import CreditState, Identity, Limits, MeterDriver, MeterSnapshot
from meterplex.sdk.errors import (
    DeviceRefusedError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    UnsupportedError,
)
from meterplex.services.metering.bench_check import ATTEMPTS, Verdict, check_purchase_count

CREDIT = frozenset({Capability.CREDIT, Capability.DELIVER_CREDIT})
CENT = Decimal("0.01")
HOARD = Decimal("20.00")


def counts_up(stored: int, count: int) -> bool:
    return count == stored + 1


@dataclass
class BenchMeter(MeterDriver):
    """A meter by its rule; says no to what it does not take by exception, answer or silence."""

    takes: Callable[[int, int], bool] = counts_up
    capabilities: frozenset[Capability] = CREDIT
    says_no: str = "answer"
    hoard: Decimal | None = None
    hoard_kept: bool = True
    count_max: int = 65535
    wallet: CreditState = field(default=CreditState(Decimal("5.00"), 3, Decimal("40.00")))
    supply: SupplyState = field(default=SupplyState(True, SupplyMode.AUTOMATIC))
    sent: list[tuple[int, Decimal]] = field(default_factory=list)
    actions: list[SupplyAction] = field(default_factory=list)
    unreadable_after: int | None = None

    async def identify(self) -> Identity:
        return Identity("bench")

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        return MeterSnapshot(())

    async def read_credit(self) -> CreditState:
        if self.unreadable_after is not None and len(self.sent) >= self.unreadable_after:
            raise LinkTimeoutError("nothing came")
        return self.wallet

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        if count > self.count_max:
            raise EncodeError(f"count {count}")
        self.sent.append((count, amount))
        over = (
            self.hoard is not None
            and self.hoard_kept
            and self.wallet.remaining + amount > self.hoard
        )
        if self.takes(self.wallet.purchase_count, count) and not over:
            total = self.wallet.total_purchased
            self.wallet = CreditState(
                self.wallet.remaining + amount, count, None if total is None else total + amount
            )
            if self.says_no == "always silent":
                raise OutcomeUnknownError("nothing came")
        elif self.says_no == "exception":
            raise DeviceRefusedError("exception 03", 3)
        elif self.says_no in ("silence", "always silent"):
            raise OutcomeUnknownError("nothing came")
        return await self.read_credit()

    async def read_limits(self) -> Limits:
        return Limits(hoard=self.hoard)

    async def read_supply(self) -> SupplyState:
        return self.supply

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        self.actions.append(action)
        off = action is SupplyAction.DISCONNECT
        held = SupplyMode.HELD if action is SupplyAction.HOLD else SupplyMode.AUTOMATIC
        self.supply = SupplyState(not off, SupplyMode.FORCED_OFF if off else held)
        return self.supply

    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState:
        if self.supply.connected:
            raise DeviceRefusedError("the supply is on")
        assert self.wallet.total_purchased is not None
        self.wallet = CreditState(
            self.wallet.remaining - amount, count, self.wallet.total_purchased - amount
        )
        return self.wallet


@pytest.mark.parametrize("says_no", ["answer", "exception", "silence", "always silent"])
async def test_meter_that_counts_is_proven_however_it_says_no(says_no: str) -> None:
    report = await check_purchase_count(BenchMeter(says_no=says_no))
    assert report.verdict is Verdict.PROVEN
    assert [(step.name, step.verdict) for step in report.steps[:5]] == [
        ("next count", Verdict.PROVEN),
        ("same count again", Verdict.PROVEN),
        ("count too high", Verdict.PROVEN),
        ("over the hoard limit", Verdict.NOT_APPLICABLE),
        ("another customer", Verdict.NOT_APPLICABLE),
    ]


async def test_steps_tell_sent_expected_and_seen() -> None:
    meter = BenchMeter()
    report = await check_purchase_count(meter)
    taken = CreditState(Decimal("5.01"), 4, Decimal("40.01"))
    assert meter.sent == [(4, CENT), (4, CENT), (6, CENT)]
    assert [(step.count, step.amount, step.expected, step.seen) for step in report.steps[:3]] == [
        (4, CENT, taken, taken),
        (4, CENT, taken, taken),
        (6, CENT, taken, taken),
    ]
    assert report.found == CreditState(Decimal("5.00"), 3, Decimal("40.00"))
    assert report.left == taken


@pytest.mark.parametrize(
    ("takes", "failing"),
    [
        pytest.param(lambda stored, count: True, "same count again", id="takes-any-count"),
        pytest.param(lambda stored, count: count >= stored, "same count again", id="takes-twice"),
        pytest.param(lambda stored, count: count > stored, "count too high", id="takes-gaps"),
        pytest.param(lambda stored, count: count == stored + 2, "next count", id="other-rule"),
    ],
)
async def test_meter_with_another_rule_is_disproven(
    takes: Callable[[int, int], bool], failing: str
) -> None:
    report = await check_purchase_count(BenchMeter(takes=takes))
    assert report.verdict is Verdict.DISPROVEN
    verdicts = {step.name: step.verdict for step in report.steps}
    assert verdicts[failing] is Verdict.DISPROVEN


async def test_meter_that_refuses_the_next_count_is_disproven() -> None:
    meter = BenchMeter(takes=lambda stored, count: False)
    report = await check_purchase_count(meter)
    assert [step.verdict for step in report.steps] == [Verdict.DISPROVEN]
    assert meter.sent == [(4, CENT)]


async def test_silence_without_effect_on_the_next_count_proves_nothing() -> None:
    meter = BenchMeter(takes=lambda stored, count: False, says_no="silence")
    report = await check_purchase_count(meter)
    assert [step.verdict for step in report.steps] == [Verdict.INCONCLUSIVE]
    assert report.verdict is Verdict.INCONCLUSIVE
    assert meter.sent == [(4, CENT)]


async def test_silent_refusal_is_asked_again_before_it_counts() -> None:
    meter = BenchMeter(says_no="silence")
    await check_purchase_count(meter)
    assert meter.sent == [(4, CENT)] + [(4, CENT)] * ATTEMPTS + [(6, CENT)] * ATTEMPTS


async def test_purchase_taken_in_silence_stops_the_repeats() -> None:
    meter = BenchMeter(takes=lambda stored, count: True, says_no="always silent")
    report = await check_purchase_count(meter)
    assert report.verdict is Verdict.DISPROVEN
    assert meter.sent == [(4, CENT), (4, CENT), (6, CENT)]


@pytest.mark.parametrize(("kept", "verdict"), [(True, Verdict.PROVEN), (False, Verdict.DISPROVEN)])
async def test_known_hoard_limit_is_tried(kept: bool, verdict: Verdict) -> None:
    meter = BenchMeter(capabilities=CREDIT | {Capability.LIMITS}, hoard=HOARD, hoard_kept=kept)
    report = await check_purchase_count(meter)
    step = next(step for step in report.steps if step.name == "over the hoard limit")
    assert (step.count, step.amount, step.verdict) == (5, Decimal("15.00"), verdict)
    assert report.verdict is verdict


@pytest.mark.parametrize("sent", [1, 2, 3])
async def test_unreadable_wallet_ends_the_check_without_another_purchase(sent: int) -> None:
    meter = BenchMeter(unreadable_after=sent, says_no="silence")
    report = await check_purchase_count(meter)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.left is None
    assert len(meter.sent) == sent


@pytest.mark.parametrize(
    ("mode", "actions"),
    [
        (SupplyMode.AUTOMATIC, [SupplyAction.DISCONNECT, SupplyAction.AUTOMATIC]),
        (SupplyMode.HELD, [SupplyAction.DISCONNECT, SupplyAction.HOLD]),
        (SupplyMode.FORCED_OFF, [SupplyAction.DISCONNECT]),
    ],
)
async def test_what_was_taken_is_withdrawn_and_the_supply_given_back(
    mode: SupplyMode, actions: list[SupplyAction]
) -> None:
    meter = BenchMeter(
        capabilities=CREDIT | {Capability.SUPPLY, Capability.WITHDRAW_CREDIT},
        supply=SupplyState(mode is not SupplyMode.FORCED_OFF, mode),
    )
    report = await check_purchase_count(meter)
    assert report.left == CreditState(Decimal("5.00"), 5, Decimal("40.00"))
    assert report.steps[-1].note == "0.01 withdrawn"
    assert meter.actions == actions


async def test_credit_that_cannot_be_withdrawn_is_told() -> None:
    meter = BenchMeter(capabilities=CREDIT | {Capability.WITHDRAW_CREDIT})
    report = await check_purchase_count(meter)
    assert report.verdict is Verdict.PROVEN
    assert report.steps[-1].note == "0.01 may still be in the meter: the supply is on"


async def test_count_that_cannot_be_said_is_inconclusive() -> None:
    meter = BenchMeter(count_max=4)
    report = await check_purchase_count(meter)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert meter.sent == [(4, CENT), (4, CENT)]


async def test_meter_without_credit_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        await check_purchase_count(BenchMeter(capabilities=frozenset({Capability.CREDIT})))


async def test_wallet_that_cannot_be_read_at_first_sends_nothing() -> None:
    meter = BenchMeter(unreadable_after=0)
    with pytest.raises(LinkTimeoutError):
        await check_purchase_count(meter)
    assert meter.sent == []


async def test_link_that_breaks_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(self: BenchMeter, count: int, amount: Decimal) -> CreditState:
        raise LinkUnavailableError("the port is gone")

    monkeypatch.setattr(BenchMeter, "deliver_credit", unavailable)
    report = await check_purchase_count(BenchMeter())
    assert [step.verdict for step in report.steps] == [Verdict.INCONCLUSIVE]
    assert report.left is None


async def test_hoard_limit_that_cannot_be_read_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(self: BenchMeter) -> Limits:
        raise LinkTimeoutError("nothing came")

    monkeypatch.setattr(BenchMeter, "read_limits", silent)
    meter = BenchMeter(capabilities=CREDIT | {Capability.LIMITS})
    assert (await check_purchase_count(meter)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("stuck", "note", "left"),
    [
        (SupplyAction.DISCONNECT, "0.01 stays in the meter: stuck", Decimal("5.01")),
        (SupplyAction.AUTOMATIC, "the supply is still off: stuck", Decimal("5.00")),
    ],
)
async def test_supply_that_does_not_follow_is_told(
    monkeypatch: pytest.MonkeyPatch, stuck: SupplyAction, note: str, left: Decimal
) -> None:
    follow = BenchMeter.set_supply

    async def stick(self: BenchMeter, action: SupplyAction) -> SupplyState:
        if action is stuck:
            raise DeviceRefusedError("stuck")
        return await follow(self, action)

    monkeypatch.setattr(BenchMeter, "set_supply", stick)
    meter = BenchMeter(capabilities=CREDIT | {Capability.SUPPLY, Capability.WITHDRAW_CREDIT})
    report = await check_purchase_count(meter)
    assert report.verdict is Verdict.PROVEN
    assert report.steps[-1].note == note
    assert report.left is not None
    assert report.left.remaining == left


async def test_credit_that_stays_is_told() -> None:
    report = await check_purchase_count(BenchMeter())
    assert report.steps[-1].note == "0.01 stays in the meter: it cannot be withdrawn"

"""Bench check: does a meter compare purchase counts before it takes credit?

Only a meter that takes a purchase if, and only if, its count is the stored one + 1 may be sent the
same purchase again after an uncertain delivery (capability ``count_checked``). The check buys
small amounts on a meter on the bench, never on one in service:

======================  =====================================  ==========
step                    sent                                   must be
======================  =====================================  ==========
next count              stored count + 1                       taken once
same count again        the same purchase                      refused
count too high          stored count + 2                       refused
over the hoard limit    stored count + 1, more than the limit  refused
another customer        no such field in this sale: not applicable
======================  =====================================  ==========

Each step is judged by the wallet alone, read in one piece before and after. A refusal may be an
error or silence; silence could also be a request lost on the line, so a step that must be refused
is repeated while the meter is silent. Where the next count was not taken
the other steps would mean nothing and are left out. At the end, what was taken is withdrawn where
the meter can.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from meterplex.domain.supply import SupplyAction, SupplyMode
from meterplex.protocols.errors import EncodeError
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import CreditState, MeterDriver
from meterplex.sdk.errors import (
    DeviceRefusedError,
    DriverError,
    OutcomeUnknownError,
    UnsupportedError,
)

SMALLEST_AMOUNT: Final = Decimal("0.01")
ATTEMPTS: Final = 3


class Verdict(StrEnum):
    """What a check or one of its steps showed."""

    PROVEN = "proven"
    DISPROVEN = "disproven"
    INCONCLUSIVE = "inconclusive"
    """Something could not be read or was not answered: nothing is known, check again."""
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class BenchStep:
    """One step: what was sent, what the wallet should then have been, and what it was.

    Attributes:
        count, amount: of the purchase; None for a step without one.
        note: one line for people.
    """

    name: str
    verdict: Verdict
    count: int | None = None
    amount: Decimal | None = None
    expected: CreditState | None = None
    seen: CreditState | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All steps of a check.

    Attributes:
        found: the wallet before, left: the wallet after; None if it could not be read.
    """

    found: CreditState
    left: CreditState | None
    steps: tuple[BenchStep, ...]

    @property
    def verdict(self) -> Verdict:
        """PROVEN only if every step that applies was; one that was not outweighs all others."""
        verdicts = {step.verdict for step in self.steps}
        for verdict in (Verdict.DISPROVEN, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return Verdict.PROVEN


async def check_purchase_count(
    driver: MeterDriver, *, amount: Decimal = SMALLEST_AMOUNT
) -> BenchReport:
    """Prove or disprove that the meter compares purchase counts.

    The meter must be on a bench, without load: its wallet may change by the check alone.

    Args:
        driver: of the meter; its link must be direct, without store-and-forward.
        amount: of each purchase.

    Raises:
        UnsupportedError: the driver cannot deliver credit.
        DriverError: the wallet could not be read, so nothing was sent.
    """
    for needed in (Capability.CREDIT, Capability.DELIVER_CREDIT):
        if needed not in driver.capabilities:
            raise UnsupportedError(needed)
    found = await driver.read_credit()
    bench = _Bench(driver, found)
    await bench.run(amount)
    return BenchReport(found, bench.wallet, tuple(bench.steps))


@dataclass(frozen=True, slots=True)
class _Answer:
    """The wallet after a purchase was sent; None where it could not be read."""

    wallet: CreditState | None
    silent: bool
    note: str


class _Bench:
    """One run of the check.

    Attributes:
        wallet: as last read; None once it could not be.
    """

    def __init__(self, driver: MeterDriver, found: CreditState) -> None:
        self.wallet: CreditState | None = found
        self.steps: list[BenchStep] = []
        self._driver = driver
        self._found = found

    async def run(self, amount: Decimal) -> None:
        """Make every step that the one before leaves a meaning, and clean up."""
        first = self._found.purchase_count + 1
        await self._expect_taken("next count", first, amount)
        if self.steps[-1].verdict is Verdict.PROVEN:
            await self._expect_refused("same count again", first, amount)
            await self._skip_count(amount)
            await self._exceed_hoard(amount)
            note = "purchases of this driver carry no customer number"
            self.steps.append(BenchStep("another customer", Verdict.NOT_APPLICABLE, note=note))
        await self._withdraw()

    async def _expect_taken(self, name: str, count: int, amount: Decimal) -> None:
        before = self._found
        expected = _after(before, count, amount)
        answer = await self._buy(count, amount)
        if answer.wallet is None or (answer.silent and answer.wallet == before):
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.PROVEN if answer.wallet == expected else Verdict.DISPROVEN
        self._note(name, verdict, count, amount, expected, answer)

    async def _expect_refused(self, name: str, count: int, amount: Decimal) -> None:
        before = self.wallet
        if before is None:
            return
        for _ in range(ATTEMPTS):
            answer = await self._buy(count, amount)
            if not answer.silent or answer.wallet != before:
                break
        else:
            answer = replace(answer, note=f"{ATTEMPTS} times no answer: {answer.note}")
        if answer.wallet is None:
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.PROVEN if answer.wallet == before else Verdict.DISPROVEN
        self._note(name, verdict, count, amount, before, answer)

    async def _skip_count(self, amount: Decimal) -> None:
        if self.wallet is not None:
            count = self.wallet.purchase_count + 2
            await self._expect_refused("count too high", count, amount)

    async def _exceed_hoard(self, amount: Decimal) -> None:
        name = "over the hoard limit"
        if self.wallet is None:
            return
        try:
            hoard = await self._hoard_limit()
        except DriverError as error:
            self.steps.append(BenchStep(name, Verdict.INCONCLUSIVE, note=str(error)))
            return
        if hoard is None:
            note = "the meter tells no hoard limit"
            self.steps.append(BenchStep(name, Verdict.NOT_APPLICABLE, note=note))
            return
        over = max(hoard - self.wallet.remaining, Decimal(0)) + amount
        await self._expect_refused(name, self.wallet.purchase_count + 1, over)

    async def _hoard_limit(self) -> Decimal | None:
        if Capability.LIMITS not in self._driver.capabilities:
            return None
        return (await self._driver.read_limits()).hoard

    async def _buy(self, count: int, amount: Decimal) -> _Answer:
        """Send a purchase once, and read the wallet whatever came of it."""
        try:
            return _Answer(await self._driver.deliver_credit(count, amount), False, "")
        except DeviceRefusedError as error:
            silent, note = False, str(error)
        except OutcomeUnknownError as error:
            silent, note = True, str(error)
        except (DriverError, EncodeError) as error:
            return _Answer(None, True, f"not sent: {error}")
        try:
            return _Answer(await self._driver.read_credit(), silent, note)
        except DriverError as error:
            return _Answer(None, silent, f"{note}; wallet not read: {error}")

    def _note(
        self,
        name: str,
        verdict: Verdict,
        count: int,
        amount: Decimal,
        expected: CreditState,
        answer: _Answer,
    ) -> None:
        self.wallet = answer.wallet
        step = BenchStep(name, verdict, count, amount, expected, answer.wallet, answer.note)
        self.steps.append(step)

    async def _withdraw(self) -> None:
        """Leave the wallet with what it held; the count stays advanced."""
        if self.wallet is None or self.wallet.remaining <= self._found.remaining:
            return
        taken = self.wallet.remaining - self._found.remaining
        if Capability.WITHDRAW_CREDIT not in self._driver.capabilities:
            self._left(f"{taken} stays in the meter: it cannot be withdrawn")
            return
        try:
            mode = await self._switch_off()
        except DriverError as error:
            self._left(f"{taken} stays in the meter: {error}")
            return
        try:
            self.wallet = await self._driver.withdraw_credit(self.wallet.purchase_count + 1, taken)
        except DriverError as error:
            self._left(f"{taken} may still be in the meter: {error}")
        else:
            rest = self.wallet.remaining - self._found.remaining
            self._left(f"{rest} more than before is left" if rest else f"{taken} withdrawn")
        await self._give_back(mode)

    async def _switch_off(self) -> SupplyMode | None:
        """Switch the supply off, as withdrawing needs; return who decided about it before."""
        if Capability.SUPPLY not in self._driver.capabilities:
            return None
        mode = (await self._driver.read_supply()).mode
        await self._driver.set_supply(SupplyAction.DISCONNECT)
        return mode

    async def _give_back(self, mode: SupplyMode | None) -> None:
        if mode in (None, SupplyMode.FORCED_OFF):
            return
        action = SupplyAction.HOLD if mode is SupplyMode.HELD else SupplyAction.AUTOMATIC
        try:
            await self._driver.set_supply(action)
        except DriverError as error:
            self._left(f"the supply is still off: {error}")

    def _left(self, note: str) -> None:
        self.steps.append(
            BenchStep("clean-up", Verdict.NOT_APPLICABLE, seen=self.wallet, note=note)
        )


def _after(wallet: CreditState, count: int, amount: Decimal) -> CreditState:
    total = wallet.total_purchased
    return CreditState(wallet.remaining + amount, count, None if total is None else total + amount)

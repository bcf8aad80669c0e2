"""Reference meters that break one rule of commanding, moving value or remembering."""

import struct
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import (
    CreditState,
    DeviceEvent,
    FrozenPeriod,
    FrozenValue,
    Limits,
    Prices,
    TouCalendar,
)
from meterplex.sdk.errors import (
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    RefusalReason,
)
from meterplex.sdk.models import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER
from meterplex.sdk.testing.reference_driver import READ_LENGTH, ReferenceDriver, decode_readings
from meterplex.sdk.testing.reference_frames import Operation

# -- supply ------------------------------------------------------------------------------------


class FlagsSupplyReadAsControl(ReferenceDriver):
    """Flags the reading of the relay as a control frame."""

    async def read_supply(self) -> SupplyState:
        """Read the relay, flagged as control."""
        data = await self._exchange(Operation.READ, b"", READ_LENGTH, control=True)
        supply = decode_readings(data).supply
        assert supply is not None
        return supply


class ForgetsMode(ReferenceDriver):
    """Returns a state without its mode."""

    def _settle(
        self, action: SupplyAction, state: SupplyState, *, acknowledged: bool
    ) -> SupplyState:
        settled = super()._settle(action, state, acknowledged=acknowledged)
        return replace(settled, mode=SupplyMode.UNKNOWN) if acknowledged else settled


class MakesSure(ReferenceDriver):
    """Sends an acknowledged command once more, to make sure."""

    async def _switch(self, action: SupplyAction) -> bool:
        acknowledged = await super()._switch(action)
        return acknowledged and await super()._switch(action)


class Believes(ReferenceDriver):
    """Takes the acknowledgement for the deed."""

    def _settle(
        self, action: SupplyAction, state: SupplyState, *, acknowledged: bool
    ) -> SupplyState:
        if not acknowledged:
            return super()._settle(action, state, acknowledged=False)
        off = action is SupplyAction.DISCONNECT
        modes = {SupplyAction.DISCONNECT: SupplyMode.FORCED_OFF, SupplyAction.HOLD: SupplyMode.HELD}
        return SupplyState(not off, modes.get(action, SupplyMode.AUTOMATIC))


class IgnoresReadBack(ReferenceDriver):
    """Calls a command without answer a time-out although it reads back what was wanted."""

    def _settle(
        self, action: SupplyAction, state: SupplyState, *, acknowledged: bool
    ) -> SupplyState:
        settled = super()._settle(action, state, acknowledged=acknowledged)
        if not acknowledged:
            raise LinkTimeoutError("no answer to the command")
        return settled


class CallsLostRefused(ReferenceDriver):
    """Calls a command that got lost refused."""

    def _settle(
        self, action: SupplyAction, state: SupplyState, *, acknowledged: bool
    ) -> SupplyState:
        return super()._settle(action, state, acknowledged=True)


class CallsSilenceFailed(ReferenceDriver):
    """Lets the read-back's time-out through."""

    async def _read_back(self, action: SupplyAction) -> SupplyState:
        try:
            return await self._read_relay()
        except LinkUnavailableError as error:
            raise OutcomeUnknownError(str(error)) from error


class CallsLostLinkUnsent(ReferenceDriver):
    """Lets the read-back's dead link through, as if the command had not been sent."""

    async def _read_back(self, action: SupplyAction) -> SupplyState:
        try:
            return await self._read_relay()
        except LinkTimeoutError as error:
            raise OutcomeUnknownError(str(error)) from error


class RepeatsCommand(ReferenceDriver):
    """Sends a command without answer once more."""

    async def _switch(self, action: SupplyAction) -> bool:
        if not await super()._switch(action):
            with suppress(LinkUnavailableError):
                await super()._switch(action)
        return False


class OverhearsRefusal(ReferenceDriver):
    """Treats a refusal as silence."""

    async def _switch(self, action: SupplyAction) -> bool:
        try:
            return await super()._switch(action)
        except DeviceRefusedError:
            return False


class FearsUnsent(ReferenceDriver):
    """Calls unknown what was never sent."""

    async def _switch(self, action: SupplyAction) -> bool:
        try:
            return await super()._switch(action)
        except (LinkUnavailableError, ExpiredError) as error:
            raise OutcomeUnknownError(str(error)) from error


class HoldsUnpromised(ReferenceDriver):
    """Holds supply without having the capability."""

    capabilities = ReferenceDriver.capabilities - {Capability.HOLD_SUPPLY}

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        """Switch, whatever was promised."""
        self.capabilities = ReferenceDriver.capabilities
        return await super().set_supply(action)


# -- credit ------------------------------------------------------------------------------------


def _credit_frame(count: int, amount: Decimal) -> bytes:
    return struct.pack(">HI", count, int(amount * 100))


class ReadsWalletTwice(ReferenceDriver):
    """Puts the wallet together from two reads."""

    async def read_credit(self) -> CreditState:
        """Take the remaining amount from one read, the rest from another."""
        remaining = (await super().read_credit()).remaining
        return replace(await super().read_credit(), remaining=remaining)


class Miscounts(ReferenceDriver):
    """Returns a wallet that is a cent off."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and add a cent."""
        wallet = await super().deliver_credit(count, amount)
        return replace(wallet, remaining=wallet.remaining + Decimal("0.01"))


class MakesSureOfCredit(ReferenceDriver):
    """Sends an acknowledged purchase once more, to make sure."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver twice; the count rule of the meter saves the money."""
        wallet = await super().deliver_credit(count, amount)
        try:
            await self._command(Operation.DELIVER, _credit_frame(count, amount))
        except DriverError:
            return wallet
        return wallet


class ReturnsOldWallet(ReferenceDriver):
    """Returns the wallet from before when the answer got lost."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and return a wallet in every case."""
        before = await self.read_credit()
        try:
            return await super().deliver_credit(count, amount)
        except OutcomeUnknownError as error:
            try:
                await self.read_credit()
            except DriverError:
                raise error from None
            return before


class CallsCreditFailed(ReferenceDriver):
    """Calls a purchase after which the meter keeps silent a time-out."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and let the wallet's time-out through."""
        try:
            return await super().deliver_credit(count, amount)
        except OutcomeUnknownError:
            with suppress(LinkUnavailableError):  # the meter did not keep silent
                await self.read_credit()
            raise


class CallsCreditUnsent(ReferenceDriver):
    """Calls a purchase after which the link died not sent."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and let the wallet's dead link through."""
        try:
            return await super().deliver_credit(count, amount)
        except OutcomeUnknownError:
            with suppress(LinkTimeoutError):  # the link is not dead
                await self.read_credit()
            raise


class RepeatsCredit(ReferenceDriver):
    """Sends a purchase without answer once more."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver again after silence."""
        try:
            return await super().deliver_credit(count, amount)
        except OutcomeUnknownError:
            with suppress(DriverError):  # the first error counts
                await self._command(Operation.DELIVER, _credit_frame(count, amount))
            raise


class BooksRefusal(ReferenceDriver):
    """Books a purchase that the meter refused."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and reckon instead of reading when refused."""
        try:
            return await super().deliver_credit(count, amount)
        except DeviceRefusedError:
            wallet = await self.read_credit()
            return replace(wallet, remaining=wallet.remaining + amount, purchase_count=count)


class FearsUnsentCredit(ReferenceDriver):
    """Calls unknown what was never sent."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver, and take a dead link for silence."""
        try:
            return await super().deliver_credit(count, amount)
        except (LinkUnavailableError, ExpiredError) as error:
            raise OutcomeUnknownError(str(error)) from error


class CountsItself(ReferenceDriver):
    """Reads the count afresh instead of taking the caller's."""

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Deliver with the count that the meter will take."""
        return await super().deliver_credit((await self.read_credit()).purchase_count + 1, amount)


class BlamesCustomer(ReferenceDriver):
    """Calls every refused purchase one for another customer."""

    def _refused(self, operation: Operation, code: int) -> DeviceRefusedError:
        refused = super()._refused(operation, code)
        refused.reason = RefusalReason.CUSTOMER_MISMATCH
        return refused


# -- settings ----------------------------------------------------------------------------------


class SwapsPrices(ReferenceDriver):
    """Writes peak for flat."""

    async def write_prices(self, prices: Prices) -> Prices:
        """Write two prices crosswise."""
        return await super().write_prices(replace(prices, peak=prices.flat, flat=prices.peak))


class ForgetsLimit(ReferenceDriver):
    """Clears the limits that are not given."""

    async def write_limits(self, limits: Limits) -> Limits:
        """Write zero for None."""
        return await super().write_limits(replace(limits, alarm_2=limits.alarm_2 or Decimal()))


class TurnsCalendar(ReferenceDriver):
    """Writes the seasons in the wrong order."""

    async def write_calendar(self, calendar: TouCalendar) -> TouCalendar:
        """Write them backwards."""
        return await super().write_calendar(replace(calendar, seasons=calendar.seasons[::-1]))


class LosesHour(ReferenceDriver):
    """Sets the clock an hour off."""

    async def sync_clock(self, local: datetime) -> datetime:
        """Know better about summer time."""
        return await super().sync_clock(local + timedelta(hours=1))


class MakesSureOfPrices(ReferenceDriver):
    """Sends acknowledged prices once more, to make sure."""

    async def write_prices(self, prices: Prices) -> Prices:
        """Write twice."""
        await super().write_prices(prices)
        return await super().write_prices(prices)


class CallsWriteFailed(ReferenceDriver):
    """Calls a write after which the meter keeps silent a time-out."""

    async def sync_clock(self, local: datetime) -> datetime:
        """Set the clock, and let the time-out through."""
        try:
            return await super().sync_clock(local)
        except OutcomeUnknownError as error:
            raise LinkTimeoutError(str(error)) from error


class RepeatsWrite(ReferenceDriver):
    """Sends prices without answer once more."""

    async def write_prices(self, prices: Prices) -> Prices:
        """Write again after silence."""
        try:
            return await super().write_prices(prices)
        except OutcomeUnknownError:
            return await super().write_prices(prices)


class OverhearsWriteRefusal(ReferenceDriver):
    """Calls a refused write unknown."""

    async def write_prices(self, prices: Prices) -> Prices:
        """Write, and take a refusal for silence."""
        try:
            return await super().write_prices(prices)
        except DeviceRefusedError as error:
            raise OutcomeUnknownError(str(error)) from error


class FearsUnsentWrite(ReferenceDriver):
    """Calls unknown what was never sent."""

    async def write_prices(self, prices: Prices) -> Prices:
        """Write, and take an expired command for silence."""
        try:
            return await super().write_prices(prices)
        except ExpiredError as error:
            raise OutcomeUnknownError(str(error)) from error


# -- history -----------------------------------------------------------------------------------


class OldestEventsFirst(ReferenceDriver):
    """Gives events in the order in which they happened."""

    async def read_events(self, limit: int) -> tuple[DeviceEvent, ...]:
        """Turn the list round."""
        return (await super().read_events(limit))[::-1]


class NewestFrozenFirst(ReferenceDriver):
    """Gives frozen values newest first."""

    async def read_frozen(self, period: FrozenPeriod, since: date) -> tuple[FrozenValue, ...]:
        """Turn the list round."""
        return (await super().read_frozen(period, since))[::-1]


def _driver(driver: type[ReferenceDriver]) -> MeterModel:
    return replace(REFERENCE_METER, driver=driver)


BROKEN: Final[dict[str, tuple[MeterModel, ...]]] = {
    "test_read_supply_moves_nothing": (_driver(FlagsSupplyReadAsControl),),
    "test_set_supply_returns_what_is_read_back": (_driver(ForgetsMode),),
    "test_set_supply_sends_one_control_frame": (_driver(MakesSure),),
    "test_acknowledgement_is_no_proof": (_driver(Believes),),
    "test_lost_answer_is_settled_by_reading_back": (_driver(IgnoresReadBack),),
    "test_lost_command_is_unknown": (_driver(CallsLostRefused),),
    "test_silence_after_a_command_is_unknown": (_driver(CallsSilenceFailed),),
    "test_link_lost_after_a_command_is_unknown": (_driver(CallsLostLinkUnsent),),
    "test_supply_command_is_never_repeated": (_driver(RepeatsCommand),),
    "test_refusal_of_a_command_is_said_so": (_driver(OverhearsRefusal),),
    "test_unsent_command_is_not_unknown": (_driver(FearsUnsent),),
    "test_hold_needs_its_capability": (_driver(HoldsUnpromised),),
    "test_wallet_is_one_read": (_driver(ReadsWalletTwice),),
    "test_credit_moves_by_its_amount": (_driver(Miscounts),),
    "test_credit_is_one_control_frame": (_driver(MakesSureOfCredit),),
    "test_lost_credit_answer_is_unknown_or_read_back": (_driver(ReturnsOldWallet),),
    "test_silence_after_credit_is_unknown": (_driver(CallsCreditFailed),),
    "test_link_lost_after_credit_is_unknown": (_driver(CallsCreditUnsent),),
    "test_credit_is_never_sent_twice": (_driver(RepeatsCredit),),
    "test_refused_credit_is_never_booked": (_driver(BooksRefusal),),
    "test_unsent_credit_is_not_unknown": (_driver(FearsUnsentCredit),),
    "test_caller_names_the_count": (_driver(CountsItself),),
    "test_refused_count_is_called_by_its_name": (_driver(BlamesCustomer),),
    "test_prices_are_read_back": (_driver(SwapsPrices),),
    "test_limits_are_read_back": (_driver(ForgetsLimit),),
    "test_calendar_is_read_back": (_driver(TurnsCalendar),),
    "test_clock_is_read_back": (_driver(LosesHour),),
    "test_writes_are_control_frames": (_driver(MakesSureOfPrices),),
    "test_silence_after_a_write_is_unknown": (_driver(CallsWriteFailed),),
    "test_write_is_never_repeated": (_driver(RepeatsWrite),),
    "test_refusal_of_a_write_is_said_so": (_driver(OverhearsWriteRefusal),),
    "test_unsent_write_is_not_unknown": (_driver(FearsUnsentWrite),),
    "test_events_come_newest_first": (_driver(OldestEventsFirst),),
    "test_frozen_values_come_oldest_first": (_driver(NewestFrozenFirst),),
}
"""For each check, the models that break its rule and no other."""

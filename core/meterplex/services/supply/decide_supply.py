"""The supply loop: what the supply of an account should be, against what it was seen to be.

A wish follows from balance, policy and holds; where the meter was seen otherwise, a command is
issued. What would take supply away is issued only if nothing but limiter and breaker speaks
against it now; those are asked when it is sent, so that an excess is quarantined and not put off.
What a person has switched off for safety, for a shortage or for closing an account stays off.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random, SystemRandom
from typing import Final
from uuid import UUID

import structlog
import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import DatabaseError, NotFoundError
from meterplex.db.outbox import OutboxMessage
from meterplex.db.supply import SupplyDecided
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import AccountId, Binding, OrganisationId, Site
from meterplex.domain.friendly_hours import may_disconnect_at, next_allowed
from meterplex.domain.limiter import LimiterVerdict
from meterplex.domain.supply import SupplyAction
from meterplex.domain.supply_gate import Authority, DisconnectCause
from meterplex.domain.supply_holds import HoldOwner, SupplyHold
from meterplex.domain.supply_wish import SupplyDecision, reconnect_delays, wanted_supply
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Capability
from meterplex.services.accounts.messages import SUPPLY
from meterplex.services.estate.site_policies import SiteParameters, WindowKeeper, load_parameters
from meterplex.services.follow_up.outbox_worker import Handler
from meterplex.services.metering.issue_commands import NOT_AFTER_MAX, write_commands
from meterplex.services.supply.guard_disconnects import judge, takes_supply
from meterplex.services.supply.send_warnings import warn
from meterplex.services.supply.supply_case import (
    SupplyCase,
    load_case,
    overdue_units,
    server_credit,
)

log = structlog.get_logger(__name__)

RULE: Final = "rule:supply"
"""Who asks for the commands of the loop; no operator can have this name."""
RETRY_AFTER: Final = timedelta(seconds=60)
"""A command that a device refused is not repeated sooner."""
WINDOW_LEAD: Final = timedelta(minutes=15)
"""How long before the disconnect window closes low meters that trip by themselves are held."""

LASTING: Final = frozenset(
    {DisconnectCause.SAFETY, DisconnectCause.SHORTAGE, DisconnectCause.CLOSING}
)
"""Causes for which the loop gives no supply back by itself."""

UNDER_WAY: Final = frozenset({CommandState.QUEUED, CommandState.SENT, CommandState.UNKNOWN})
_NOT_DONE: Final = frozenset({CommandState.FAILED, CommandState.EXPIRED, CommandState.REFUSED})
_SERVER_MODES: Final = frozenset({AccountMode.PREPAID_SERVER, AccountMode.PACKAGE})
_OFF: Final = frozenset({"supply_off", "supply_forced_off"})
_DAY: Final = timedelta(days=1)
_ANY: Final = _OFF | {"supply_held", "supply_unclear"}
_AS_WANTED: Final = {
    SupplyAction.DISCONNECT: "supply is off already",
    SupplyAction.RECONNECT: "supply is on already",
    SupplyAction.HOLD: "supply is held on already",
    SupplyAction.AUTOMATIC: "supply is left to the meter already",
}


@dataclass(frozen=True, slots=True)
class SupplyLoop:
    """Decides about supply and issues what follows.

    Attributes:
        rng: spreads many reconnects.
        undecided: accounts that the last sweep could not decide about.
    """

    database: Database
    plugins: PluginManager
    rng: Random = field(default_factory=SystemRandom)
    undecided: set[AccountId] = field(default_factory=set)

    async def decide(
        self, organisation_id: OrganisationId, account_id: AccountId, *, at: datetime
    ) -> tuple[SupplyDecided, ...]:
        """Decide about every meter of an account, and raise the warnings that are due.

        Returns:
            What was decided, one a binding; nothing for an account that is not there.
        """
        async with self.database.unit_of_work() as uow:
            try:
                account = await uow.accounts.lock(organisation_id, account_id)
            except NotFoundError:
                return ()
            site = await uow.sites.get(organisation_id, account.site_id)
            parameters = await load_parameters(uow, site)
            bindings = [
                each
                for each in await uow.bindings.of_account(organisation_id, account_id)
                if each.until is None
            ]
            if account.state in {AccountState.OPEN, AccountState.SUSPENDED}:
                await _warn_account(uow, account, site, parameters, bindings, at)
            decided, commands = [], []
            for binding in bindings:
                done, issued = await self._decide_binding(uow, binding, at)
                decided += done
                commands += issued
            await write_commands(uow, commands)
            await uow.commit()
        return tuple(decided)

    async def sweep(self, *, at: datetime) -> int:
        """Decide about all accounts whose time may have come; return how many were looked at.

        One that cannot be decided about holds up no other.
        """
        looked_at = 0
        async with self.database.unit_of_work(read_only=True) as uow:
            organisations = await uow.organisations.all()
            # The day is over last in the west: a bill is overdue nowhere before that.
            found = [
                (each.id, await uow.supply_states.to_look_at(each.id, (at + _DAY).date()))
                for each in organisations
            ]
        for organisation_id, accounts in found:
            for account_id in accounts:
                looked_at += await self._looked_at(organisation_id, account_id, at)
        return looked_at

    async def _looked_at(
        self, organisation_id: OrganisationId, account_id: AccountId, at: datetime
    ) -> bool:
        try:
            await self.decide(organisation_id, account_id, at=at)
        except DatabaseError:
            raise
        except Exception:  # whatever it is, the others must be looked at
            if account_id not in self.undecided:
                log.exception("supply of an account not decided", account=str(account_id))
            self.undecided.add(account_id)
            return False
        self.undecided.discard(account_id)
        return True

    async def _decide_binding(
        self, uow: UnitOfWork, binding: Binding, at: datetime
    ) -> tuple[list[SupplyDecided], list[Command]]:
        meter = await uow.meters.get(binding.organisation_id, binding.meter_id)
        model = self.plugins.models.get(meter.model)
        if model is None or Capability.SUPPLY not in model.capabilities:
            return [], []
        case = await load_case(uow, meter, at)
        newest = await uow.commands.newest_of_supply(binding.organisation_id, meter.id)
        can_hold = Capability.HOLD_SUPPLY in model.capabilities
        decision = wish(case, newest, can_hold=can_hold)
        before = await uow.supply_states.find(binding.organisation_id, binding.id)
        wanted = "" if decision.action is None else decision.action.value
        changed = before is None or before.wanted != wanted
        decided = SupplyDecided(
            binding.organisation_id,
            binding.id,
            wanted,
            decision.reason,
            (0 if before is None else before.generation) + changed,
            at,
            None if changed or before is None else before.not_before,
            None if before is None else before.command_id,
        )
        decided, command = await self._issue(uow, case, newest, decided)
        if replace(decided, decided_at=at) != (before and replace(before, decided_at=at)):
            await uow.supply_states.put(decided)
        return [decided], [] if command is None else [command]

    async def _issue(
        self, uow: UnitOfWork, case: SupplyCase, newest: Command | None, decided: SupplyDecided
    ) -> tuple[SupplyDecided, Command | None]:
        """Return the decision as it is to be kept, and the command that it needs now."""
        if not decided.wanted:
            return decided, None
        action, at = SupplyAction(decided.wanted), case.at
        if waiting := obstacle(case, action, newest):
            return _with_reason(decided, waiting), None
        taking = takes_supply(case, action)
        if taking:
            against = await _spoken_against(uow, case)
            if against:
                return _with_reason(decided, against), None
        elif action is SupplyAction.RECONNECT:
            not_before = decided.not_before or await self._turn(uow, case)
            if not_before > at:
                decided = replace(decided, not_before=not_before)
                return _with_reason(decided, f"waits its turn until {not_before:%H:%M:%S}"), None
        command = Command(
            id=CommandId(uuid_utils.compat.uuid7()),
            organisation_id=decided.organisation_id,
            meter_id=case.meter.id,
            kind=CommandKind(action.value),
            asked_by=RULE,
            created_at=at,
            not_after=at + NOT_AFTER_MAX,
            cause=DisconnectCause.ARREARS.value if taking else "",
        )
        return replace(decided, command_id=command.id, not_before=None), command

    async def _turn(self, uow: UnitOfWork, case: SupplyCase) -> datetime:
        """Return when a reconnect may go; many are spread, and the loop is asked again then."""
        policy = case.parameters.supply
        queued = await uow.commands.count(CommandState.QUEUED, CommandKind.RECONNECT)
        *_, delay = reconnect_delays(queued + 1, self.rng, policy)
        assert case.account is not None
        if delay:
            due_at = case.at + delay
            message = OutboxMessage(
                uuid_utils.compat.uuid7(),
                case.account.organisation_id,
                SUPPLY,
                str(case.account.id),
                case.at,
                due_at,
            )
            await uow.outbox.add_all([message])
        return case.at + delay


def supply_handler(loop: SupplyLoop, wall: Callable[[], datetime]) -> Handler:
    """Return what handles the topic ``supply`` of the outbox."""

    async def handle(message: OutboxMessage) -> None:
        account_id = AccountId(UUID(message.subject))
        await loop.decide(message.organisation_id, account_id, at=wall())

    return handle


def wish(case: SupplyCase, newest: Command | None, *, can_hold: bool) -> SupplyDecision:
    """Return what the supply of a meter should be, in actions that its way of paying knows.

    Args:
        newest: the supply command that the meter was asked last.
        can_hold: whether the meter can be told to keep supply on.
    """
    assert case.account is not None
    if lasting := left_by_person(newest, case.at):
        return SupplyDecision(None, lasting)
    own_hold = window_hold(case) if can_hold else None
    state = case.account.state
    decision = wanted_supply(
        case.balance_units,
        case.limit_units,
        case.parameters.supply,
        utility=case.utility,
        now=case.local_now if case.clock_trusted else None,
        holds=(*case.holds, *(() if own_hold is None else (own_hold,))),
        bypass=case.bypass,
        left_alone="" if state is AccountState.OPEN else f"the account is {state}",
    )
    overdue = case.credit is not None and case.credit.overdue_units > 0
    match decision.action:
        case SupplyAction.DISCONNECT if case.in_meter and not overdue:
            # The meter trips by itself; it only has to be free to.
            return SupplyDecision(SupplyAction.AUTOMATIC, decision.reason)
        case SupplyAction.HOLD if not (case.in_meter and can_hold):
            return SupplyDecision(SupplyAction.RECONNECT, decision.reason)
    return decision


def left_by_person(newest: Command | None, at: datetime) -> str:
    """Say why a person's last word about a meter stands; empty where it does not."""
    if newest is None or newest.asked_by == RULE or newest.state in _NOT_DONE:
        return ""
    if newest.kind is CommandKind.HOLD:
        return f"held by {newest.asked_by}"
    if newest.kind is not CommandKind.DISCONNECT or newest.cause not in LASTING:
        return ""
    until = newest.arguments.get("until")
    if until is not None and at >= datetime.fromisoformat(until):
        return ""
    return f"disconnected by {newest.asked_by}: {newest.cause}" + (f" until {until}" * bool(until))


def window_hold(case: SupplyCase) -> SupplyHold | None:
    """Return the hold that keeps a low meter on while the disconnect window is closed."""
    parameters, balance = case.parameters, case.balance_units
    if not case.in_meter or parameters.window_by is not WindowKeeper.HOLD or balance is None:
        return None
    assert case.account is not None
    if balance > parameters.thresholds_of(case.account).alarm_1_units:
        return None
    policy, soon = parameters.supply, case.local_now + WINDOW_LEAD
    if may_disconnect_at(policy, soon, case.holidays):
        return None
    until = next_allowed(policy, soon, case.holidays)
    return SupplyHold(HoldOwner.WINDOW, "the disconnect window is closed", until)


def is_so(flags: frozenset[str], action: SupplyAction) -> bool:
    """Whether a meter was last seen as an action would leave it."""
    match action:
        case SupplyAction.DISCONNECT:
            return bool(flags & _OFF)
        case SupplyAction.RECONNECT:
            return not flags & _ANY
        case SupplyAction.HOLD:
            return "supply_held" in flags
        case SupplyAction.AUTOMATIC:
            return not flags & {"supply_held", "supply_forced_off"}


def obstacle(case: SupplyCase, action: SupplyAction, newest: Command | None) -> str:
    """Say why no command is needed, or none can be issued, now; empty where one is due."""
    under_way = newest is not None and newest.state in UNDER_WAY and newest.not_after > case.at
    kind = CommandKind(action.value)
    if newest is not None and under_way:
        if newest.kind is kind:
            return "a command is under way"
        if action is SupplyAction.DISCONNECT:
            return f"{newest.kind} is under way, and goes first"
        if newest.kind is CommandKind.DISCONNECT:
            return ""
    if is_so(case.meter.flags, action):
        return _AS_WANTED[action]
    failed = newest is not None and newest.kind is kind and newest.state in _NOT_DONE
    if newest is not None and failed and newest.state is not CommandState.EXPIRED:
        settled_at = newest.settled_at or newest.created_at
        if case.at < settled_at + RETRY_AFTER:
            return f"tried lately: {newest.outcome}"
    return ""


async def _spoken_against(uow: UnitOfWork, case: SupplyCase) -> str:
    """Return what speaks against taking supply away now, but for limiter and breaker."""
    meter = case.meter
    facts = replace(
        case.facts(DisconnectCause.ARREARS, Authority.RULE),
        limiter=LimiterVerdict(1),
        breaker_closed=True,
        quarantined=await uow.commands.has_quarantined(meter.organisation_id, meter.id),
        audited=True,
    )
    return "; ".join(str(each) for each in judge(case, facts))


def _with_reason(decided: SupplyDecided, more: str) -> SupplyDecided:
    return replace(decided, reason=f"{decided.reason}: {more}")


async def _warn_account(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    parameters: SiteParameters,
    bindings: Iterable[Binding],
    at: datetime,
) -> None:
    """Raise what is due for the account, and for each meter that keeps its own balance."""
    overdue = await overdue_units(uow, site, account, account.mode, at)
    if account.mode in _SERVER_MODES:
        credit = await server_credit(uow, account, overdue)
        await warn(uow, account, site, parameters, credit.units, at)
    else:
        await warn(uow, account, site, parameters, -overdue, at, only_arrears=True)
    for binding in bindings:
        if (binding.mode or account.mode).in_meter:
            wallet = await uow.wallets.find(account.organisation_id, binding.id)
            remaining = None if wallet is None else wallet.remaining_units
            await warn(uow, account, site, parameters, remaining, at, binding_id=binding.id)

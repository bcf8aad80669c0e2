"""Lays the rows of the table ``account`` over a draft: the customer, the account, its bindings.

A file opens accounts and keeps their limits. What moves money or ends a binding (another way of
paying, another tariff, another owner, a meter taken away) is asked of ``meterplex account``.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import (
    DEDUCTION_ORDER,
    Account,
    AccountState,
    Category,
    Customer,
    CustomerId,
    parse_deduction_order,
)
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    Meter,
    MeterId,
    Site,
    UsagePoint,
    UsagePointId,
)
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.bind_meters import check_mode
from meterplex.services.books.amounts import parse_limit
from meterplex.services.books.errors import AmountError, MoneyError
from meterplex.services.estate.draft import EstateDraft
from meterplex.services.estate.file_format import ACCOUNT_MODES, Cells

HEADS_MAX: Final = 10_000


class AccountRows:
    """Takes rows of accounts; they come after all meters."""

    def __init__(self, draft: EstateDraft, plugins: PluginManager, at: datetime) -> None:
        self._draft = draft
        self._plugins = plugins
        self._at = at
        self._by_point: dict[UsagePointId, MeterId] | None = None
        self._meters: dict[MeterId, Meter] = {}

    def take(self, cells: Cells) -> None:
        """Take one row."""
        draft, number = self._draft, cells.code("number")
        site = draft.site_of(cells)
        mode = cells.choice("mode", ACCOUNT_MODES)
        standing = draft.accounts.standing(number)
        fields = self._fields(cells)
        codes = cells.texts("usage_points")
        points = [
            draft.usage_points.refer(cells, "usage_points", (site.code, code), code)
            for code in codes
            if site is not None
        ]
        if standing is not None and site is not None:
            _check_standing(cells, standing, site)
        if not draft.accounts.claim(cells, "number", number) or site is None:
            return
        customer = self._customer(cells, standing)
        if customer is None:
            return
        account = self._account(standing, site, customer, number, AccountMode(mode))
        account = replace(account, tariff=cells.text("tariff"), **fields)
        draft.accounts.put(number, account)
        self._warn(cells, account)
        for code, point in zip(codes, points, strict=True):
            if point is not None:
                self._bind(cells, account, code, point)

    def _account(
        self,
        standing: Account | None,
        site: Site,
        customer: Customer,
        number: str,
        mode: AccountMode,
    ) -> Account:
        if standing is not None:
            return standing
        return Account(
            id=AccountId(self._draft.new_id()),
            organisation_id=self._draft.organisation_id,
            site_id=site.id,
            customer_id=customer.id,
            number=number,
            mode=mode,
            currency=self._draft.organisation.currency,
            opened_at=self._at,
        )

    def _fields(self, cells: Cells) -> dict[str, Any]:
        alarms = {f"{name}_units": self._limit(cells, name) for name in ("alarm_1", "alarm_2")}
        first, second = alarms["alarm_1_units"], alarms["alarm_2_units"]
        if first is not None and second is not None and second > first:
            cells.refuse("alarm_2", "is above alarm_1, which comes first")
        return {
            **alarms,
            "overdraft_units": self._limit(cells, "overdraft") or 0,
            "emergency_units": self._limit(cells, "emergency") or 0,
            "hoard_units": self._limit(cells, "hoard"),
            "deduction_order": _deduction_order(cells),
            "head_count": cells.count("head_count", HEADS_MAX),
        }

    def _limit(self, cells: Cells, column: str) -> int | None:
        if not cells.has(column):
            return None
        try:
            return parse_limit(cells.text(column), self._draft.organisation.currency, column)
        except AmountError as error:
            cells.refuse(column, error.reason)
            return None

    def _customer(self, cells: Cells, standing: Account | None) -> Customer | None:
        """Lay the row's customer over the draft; a new one gets the account's number."""
        customers = self._draft.customers
        number = cells.code("customer_number") or cells.text("number")
        known = {each.id: each for each in customers.things.values()}
        found = customers.things.get(number) if standing is None else known[standing.customer_id]
        if standing is not None and cells.has("customer_number"):
            assert found is not None
            if found.number != cells.text("customer_number"):
                cells.refuse(
                    "customer_number", f"is {found.number!r}: use meterplex account transfer"
                )
                return None
        if found is None:
            found = Customer(
                CustomerId(self._draft.new_id()), self._draft.organisation_id, number, ""
            )
        named = replace(
            found,
            name=cells.text("customer"),
            phone=cells.text("phone"),
            email=cells.text("email"),
        )
        customers.rows.setdefault(named.number, cells.row)
        customers.put(named.number, named)
        return named

    def _warn(self, cells: Cells, account: Account) -> None:
        if account.tariff not in self._draft.tariff_codes:
            reason = f"{account.tariff!r} is not published: nothing is charged until it is"
            self._draft.warnings.append(cells.row.problem("tariff", reason))

    def _bind(self, cells: Cells, account: Account, code: str, point: UsagePoint) -> None:
        bindings = self._draft.bindings
        meter_id = self._meter_at(point)
        if meter_id is None:
            cells.refuse("usage_points", f"no meter measures {code!r}")
            return
        binding = bindings.things[meter_id]
        if binding.account_id == account.id:
            return
        if binding.account_id is not None:
            whose = {each.id: each.number for each in self._draft.accounts.things.values()}
            owner = whose.get(binding.account_id, "another")
            cells.refuse("usage_points", f"{code!r} belongs to account {owner!r}")
            return
        try:
            check_mode(self._plugins, self._meters[meter_id], account.mode, "mode")
        except MoneyError as error:
            cells.refuse("mode", error.reason)
            return
        bindings.put(meter_id, self._bound(binding, account))

    def _bound(self, binding: Binding, account: Account) -> Binding:
        """Return the binding of an account; one that stands is ended, and a new one begins."""
        bound = replace(binding, account_id=account.id, mode=account.mode)
        if self._draft.bindings.standing(binding.meter_id) != binding:
            return bound
        return replace(bound, id=BindingId(self._draft.new_id()), since=self._at)

    def _meter_at(self, point: UsagePoint) -> MeterId | None:
        if self._by_point is None:
            things = self._draft.bindings.things.values()
            self._by_point = {each.usage_point_id: each.meter_id for each in things}
            self._meters = {each.id: each for each in self._draft.meters.things.values()}
        return self._by_point.get(point.id)


def _check_standing(cells: Cells, standing: Account, site: Site) -> None:
    """Refuse what a file cannot change of an account that stands."""
    if standing.state in {AccountState.CLOSING, AccountState.CLOSED}:
        cells.refuse("number", f"account {standing.number!r} is {standing.state}")
    if standing.site_id != site.id:
        cells.refuse("site", "an account stays at its site")
    if cells.text("mode") not in {"", standing.mode}:
        cells.refuse("mode", f"is {standing.mode}: use meterplex account convert")
    if cells.text("tariff") not in {"", standing.tariff}:
        cells.refuse("tariff", f"is {standing.tariff!r}: use meterplex account tariff")


def _deduction_order(cells: Cells) -> tuple[Category, ...]:
    if not cells.has("deduction_order"):
        return DEDUCTION_ORDER
    try:
        return parse_deduction_order(cells.text("deduction_order"))
    except ValueError as error:
        cells.refuse("deduction_order", str(error))
        return DEDUCTION_ORDER

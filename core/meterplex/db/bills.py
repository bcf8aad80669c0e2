"""Repositories of bills, fees, debt plans and shared costs."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.errors import NotFoundError
from meterplex.db.identified import IdentifiedRepository, columns_of
from meterplex.domain.accounts import Category
from meterplex.domain.bills import AccountDebt, AccountFee, BillId, IssuedBill, ShareRun
from meterplex.domain.debt_plans import DebtPlan, InstalmentPeriod, Instalments, PaymentShare
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.fees import Fee, FeePeriod
from meterplex.domain.money import Rounding
from meterplex.domain.sharing import SharingBasis


class Bills(IdentifiedRepository[IssuedBill]):
    """The bills; lists come in the order of issue."""

    table = tables.bill
    order = "issued_at"

    def _from_row(self, row: sa.RowMapping) -> IssuedBill:
        return IssuedBill(**{**row, "lines": tuple(row["lines"])})

    def _to_row(self, thing: IssuedBill) -> dict[str, Any]:
        return columns_of(thing) | {"lines": [dict(line) for line in thing.lines]}

    async def by_number(
        self, organisation_id: OrganisationId, number: str
    ) -> tuple[IssuedBill, ...]:
        """Return the bills of a number; one a site."""
        return await self._select(organisation_id, tables.bill.c.number == number)

    async def of_account(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        category: Category | None = None,
    ) -> tuple[IssuedBill, ...]:
        """Return the bills of an account, of all categories or one."""
        columns = tables.bill.c
        where = [columns.account_id == account_id]
        where += [] if category is None else [columns.category == category]
        return await self._select(organisation_id, *where)

    async def of_share_run(
        self, organisation_id: OrganisationId, share_run_id: UUID
    ) -> tuple[IssuedBill, ...]:
        """Return the bills over the shares of one cost."""
        return await self._select(organisation_id, tables.bill.c.share_run_id == share_run_id)

    async def search(
        self,
        organisation_id: OrganisationId,
        *,
        site_ids: Collection[SiteId] | None = None,
        account_id: AccountId | None = None,
        months: tuple[date, date] | None = None,
        unpaid: bool = False,
    ) -> tuple[IssuedBill, ...]:
        """Return bills by what they must be; None for any.

        Args:
            months: the bill is for any of the days in ``[first, second)``.
        """
        columns = tables.bill.c
        where: list[sa.ColumnElement[bool]] = []
        if site_ids is not None:
            where.append(columns.site_id.in_(site_ids))
        if account_id is not None:
            where.append(columns.account_id == account_id)
        if months is not None:
            where += [columns.since < months[1], columns.until > months[0]]
        if unpaid:
            where.append(columns.paid_units < columns.amount_units)
        return await self._select(organisation_id, *where)

    async def set_paid(
        self, organisation_id: OrganisationId, bill_id: BillId, paid_units: int
    ) -> None:
        """Write what of a bill is settled."""
        where = self._is(organisation_id, bill_id)
        await self._execute(sa.update(tables.bill).where(where).values(paid_units=paid_units))

    async def oldest_charged_since(
        self, organisation_id: OrganisationId, account_id: AccountId, booked_from: datetime
    ) -> datetime | None:
        """Return since when charges booked from a time on change what was used; None for never."""
        columns = tables.charge.c
        row = await self._row(
            sa.select(columns.from_at)
            .where(
                columns.organisation_id == organisation_id,
                columns.account_id == account_id,
                columns.booked_at >= booked_from,
            )
            .order_by(columns.from_at)
            .limit(1)
        )
        return None if row is None else row["from_at"]


class Fees(IdentifiedRepository[AccountFee]):
    """Fees of accounts; lists come in the order of their beginnings."""

    table = tables.fee
    order = "since"

    def _from_row(self, row: sa.RowMapping) -> AccountFee:
        rule = row["rule"]
        area = rule["area_m2"]
        fee = Fee(
            key=str(row["id"]),
            category=row["category"],
            text=row["name"],
            price=Decimal(rule["price"]),
            currency=rule["currency"],
            starts_on=row["since"],
            period=FeePeriod(rule["months"]),
            area_m2=None if area is None else Decimal(area),
            ends_on=row["until"],
            in_advance=rule["in_advance"],
            due_days=rule["due_days"],
            rounding=Rounding(rule["rounding"]),
        )
        return AccountFee(
            row["id"],
            row["organisation_id"],
            row["account_id"],
            fee,
            row["charged_until"],
            row["created_by"],
        )

    def _to_row(self, thing: AccountFee) -> dict[str, Any]:
        fee = thing.fee
        return {
            "organisation_id": thing.organisation_id,
            "id": thing.id,
            "account_id": thing.account_id,
            "category": fee.category,
            "name": fee.text,
            "rule": {
                "price": str(fee.price),
                "currency": fee.currency,
                "months": int(fee.period),
                "area_m2": None if fee.area_m2 is None else str(fee.area_m2),
                "in_advance": fee.in_advance,
                "due_days": fee.due_days,
                "rounding": fee.rounding.value,
            },
            "since": fee.starts_on,
            "until": fee.ends_on,
            "charged_until": thing.charged_until,
            "created_by": thing.created_by,
        }

    async def of_account(
        self, organisation_id: OrganisationId, account_id: AccountId
    ) -> tuple[AccountFee, ...]:
        """Return the fees of an account, the ended ones too."""
        return await self._select(organisation_id, tables.fee.c.account_id == account_id)


class DebtPlans(IdentifiedRepository[AccountDebt]):
    """Debts under plans; lists come in the order in which they were agreed."""

    table = tables.debt_plan
    order = "created_at"

    def _from_row(self, row: sa.RowMapping) -> AccountDebt:
        columns = dict(row)
        rule, amount_units = columns.pop("rule"), columns.pop("amount_units")
        plan = DebtPlan(str(columns["id"]), amount_units, _rule_from_json(rule))
        return AccountDebt(**columns, plan=plan)

    def _to_row(self, thing: AccountDebt) -> dict[str, Any]:
        columns = columns_of(thing)
        plan: DebtPlan = columns.pop("plan")
        return columns | {"amount_units": plan.debt_units, "rule": _rule_to_json(plan.rule)}

    async def of_account(
        self, organisation_id: OrganisationId, account_id: AccountId, *, ended: bool = False
    ) -> tuple[AccountDebt, ...]:
        """Return the plans of an account that go on; with ``ended`` all."""
        columns = tables.debt_plan.c
        where = [columns.account_id == account_id]
        where += [] if ended else [columns.ended_at.is_(None)]
        return await self._select(organisation_id, *where)

    async def set_ended(
        self, organisation_id: OrganisationId, plan_id: UUID, ended_at: datetime | None
    ) -> None:
        """Write when a debt was paid off; None when it goes on."""
        where = self._is(organisation_id, plan_id)
        await self._execute(sa.update(tables.debt_plan).where(where).values(ended_at=ended_at))


def _rule_to_json(rule: PaymentShare | Instalments) -> dict[str, Any]:
    if isinstance(rule, PaymentShare):
        return {
            "kind": "share",
            "percent": str(rule.percent),
            "at_least_units": rule.at_least_units,
            "at_most_units": rule.at_most_units,
            "step_units": rule.step_units,
            "rounding": rule.rounding.value,
        }
    return {
        "kind": "instalments",
        "amount_units": rule.amount_units,
        "first_on": rule.first_on.isoformat(),
        "time_zone": rule.zone.key,
        "period": rule.period.value,
    }


def _rule_from_json(rule: Mapping[str, Any]) -> PaymentShare | Instalments:
    if rule["kind"] == "share":
        return PaymentShare(
            Decimal(rule["percent"]),
            rule["at_least_units"],
            rule["at_most_units"],
            rule["step_units"],
            Rounding(rule["rounding"]),
        )
    return Instalments(
        rule["amount_units"],
        date.fromisoformat(rule["first_on"]),
        ZoneInfo(rule["time_zone"]),
        InstalmentPeriod(rule["period"]),
    )


class ShareRuns(IdentifiedRepository[ShareRun]):
    """Common costs as they were shared out; lists come in the order of their beginnings."""

    table = tables.share_run
    order = "since"

    def _from_row(self, row: sa.RowMapping) -> ShareRun:
        return ShareRun(**{**row, "basis": SharingBasis(row["basis"])})

    def _to_row(self, thing: ShareRun) -> dict[str, Any]:
        return columns_of(thing) | {
            "basis": thing.basis.value,
            "statement": dict(thing.statement),
        }

    async def of_site(
        self, organisation_id: OrganisationId, site_id: SiteId
    ) -> tuple[ShareRun, ...]:
        """Return the shared costs of a site."""
        return await self._select(organisation_id, tables.share_run.c.site_id == site_id)

    async def find(
        self, organisation_id: OrganisationId, site_id: SiteId, name: str, since: date
    ) -> ShareRun:
        """Return one by what it is for.

        Raises:
            NotFoundError: the site has shared no such cost.
        """
        columns = tables.share_run.c
        found = await self._find(
            organisation_id,
            columns.site_id == site_id,
            columns.name == name,
            columns.since == since,
        )
        if found is None:
            raise NotFoundError(f"no cost {name!r} was shared from {since} on")
        return found

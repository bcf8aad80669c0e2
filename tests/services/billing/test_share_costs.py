"""Common costs: shared once, to the cent, with a statement."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.charging_cases import BEGIN, Tenancy, move_in, new_id

from meterplex.db import Database
from meterplex.db.errors import NotFoundError
from meterplex.domain.accounts import Category
from meterplex.domain.bills import ShareRun
from meterplex.domain.estate import (
    Binding,
    BindingId,
    Building,
    BuildingId,
    Unit,
    UnitId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import receivable, revenue
from meterplex.domain.registers import ELECTRICITY
from meterplex.domain.sharing import Sharer, SharingBasis, SharingError, share_amount
from meterplex.services.billing.share_costs import (
    Cost,
    GivenAmount,
    NegativeResidualError,
    ResidualOf,
    SharedCost,
    ShareRequest,
    UseOf,
    share_costs,
)
from meterplex.services.books.check_books import check_books
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError

if TYPE_CHECKING:
    from tests.conftest import Estate

AT = datetime(2026, 7, 10, 2, tzinfo=UTC)
FIRST, LAST = date(2026, 7, 1), date(2026, 7, 4)
HOURS = 72


@pytest.fixture
async def tenants(database: Database, estate: "Estate") -> tuple[Tenancy, Tenancy]:
    """Two accounts, of 3 and 1 people, in shops of 60 and 30 m2 of one building."""
    first = await move_in(database, estate, head_count=3)
    second = await move_in(database, estate, meter=1, head_count=1)
    tenants = first, second
    organisation_id, site_id = estate.organisation.id, estate.site.id
    building = Building(BuildingId(new_id()), organisation_id, site_id, "b1", "One")
    async with database.unit_of_work() as uow:
        await uow.buildings.add(building)
        for tenancy, area in zip(tenants, ("60", "30"), strict=True):
            code = tenancy.account.number
            unit = Unit(
                UnitId(new_id()), organisation_id, site_id, building.id, code, "", Decimal(area)
            )
            await uow.units.add(unit)
            point = await uow.usage_points.get(organisation_id, tenancy.binding.usage_point_id)
            await uow.usage_points.replace(replace(point, unit_id=unit.id))
        await uow.commit()
    return tenants


async def share(
    tenancy: Tenancy,
    cost: Cost,
    basis: SharingBasis = SharingBasis.EQUAL,
    *,
    dry_run: bool = False,
    **more: Any,
) -> SharedCost:
    request = ShareRequest(
        tenancy.estate.site, "lifts", more.pop("since", FIRST), LAST, basis, cost, **more
    )
    shared = await share_costs(tenancy.database, request, at=AT, operator="anna", dry_run=dry_run)
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        assert await check_books(uow, tenancy.account.organisation_id) == ()
    return shared


def amounts(run: ShareRun) -> list[int]:
    return [each["amount_units"] for each in run.statement["shares"]]


async def put_above(tenancy: Tenancy, *below: Tenancy) -> Tenancy:
    """Put a main meter, at usage point ``main``, above the meters of tenants."""
    estate, database = tenancy.estate, tenancy.database
    organisation_id = estate.organisation.id
    main = UsagePoint(UsagePointId(new_id()), organisation_id, estate.site.id, "main", ELECTRICITY)
    binding = Binding(
        BindingId(new_id()), organisation_id, estate.meters[2].id, main.id, BEGIN, ct=Decimal(2)
    )
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(main)
        await uow.bindings.add(binding)
        for each in below:
            point = await uow.usage_points.get(organisation_id, each.binding.usage_point_id)
            await uow.usage_points.replace(replace(point, parent_id=main.id))
        await uow.commit()
    return replace(tenancy, binding=binding)


async def test_shares_follow_the_basis_and_sum_to_the_cent(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    for basis, expected in (
        (SharingBasis.EQUAL, [50_0100, 50_0000]),
        (SharingBasis.HEAD_COUNT, [75_0100, 25_0000]),
        (SharingBasis.AREA, [66_6700, 33_3400]),
    ):
        shared = await share(tenants[0], GivenAmount(100_0100), basis, dry_run=True)
        assert amounts(shared.run) == expected


async def test_each_share_is_claimed_with_a_bill(tenants: tuple[Tenancy, Tenancy]) -> None:
    shared = await share(tenants[0], GivenAmount(100_0100))
    assert [bill.amount_units for bill in shared.bills] == [50_0100, 50_0000]
    balances = await tenants[0].balances()
    owed = [balances[receivable(each.account.id, Category.FEE)] for each in tenants]
    assert owed == [-50_0100, -50_0000]
    assert balances[revenue("share")] == 100_0100
    assert {bill.share_run_id for bill in shared.bills} == {shared.run.id}


async def test_use_weighs_what_each_was_charged(tenants: tuple[Tenancy, Tenancy]) -> None:
    for tenancy, value in zip(tenants, ("130", "110"), strict=True):
        await tenancy.read((HOURS, value))
        await tenancy.charge(HOURS)
    shared = await share(tenants[0], GivenAmount(8_0000), SharingBasis.USE)
    assert amounts(shared.run) == [6_0000, 2_0000]


async def test_residual_of_a_main_meter_is_shared_at_a_price(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    main = await put_above(tenants[0], *tenants)
    for tenancy, value in zip((*tenants, main), ("130", "110", "125"), strict=True):
        await tenancy.read((0, "100"), (HOURS, value))
    shared = await share(tenants[0], ResidualOf("main", Decimal("0.85")))
    assert shared.run.amount_units == 8_5000
    told = shared.run.statement["cost"]
    assert (told["main_units"], told["sub_units"], told["units"]) == (
        "50.000",
        {"p0": "30.000", "p1": "10.000"},
        "10.000",
    )


async def test_negative_residual_is_held_for_a_person(tenants: tuple[Tenancy, Tenancy]) -> None:
    main = await put_above(tenants[0], *tenants)
    for tenancy, value in zip((*tenants, main), ("130", "130", "125"), strict=True):
        await tenancy.read((0, "100"), (HOURS, value))
    with pytest.raises(NegativeResidualError, match=r"counted 50.000, those below it 60.000"):
        await share(tenants[0], ResidualOf("main", Decimal(1)))


async def test_cost_of_a_common_meter_is_its_use_or_its_charges(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    await tenants[0].read((0, "100"), (HOURS, "150.5"))
    await tenants[0].charge(HOURS)
    by_price = await share(tenants[0], UseOf("p0", Decimal("0.333")), dry_run=True)
    assert by_price.run.amount_units == 16_8200
    by_charges = await share(tenants[0], UseOf("p0"), dry_run=True)
    assert by_charges.run.amount_units == 25_2500


async def test_use_with_gaps_is_not_shared(tenants: tuple[Tenancy, Tenancy]) -> None:
    await tenants[0].read((0, "100"), (HOURS - 1, "150"))
    with pytest.raises(MoneyConflictError, match="no good readings"):
        await share(tenants[0], UseOf("p0", Decimal(1)))


async def test_cost_is_shared_once_and_its_statement_stays(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    dry = await share(tenants[0], GivenAmount(9_0000), dry_run=True)
    shared = await share(tenants[0], GivenAmount(9_0000))
    assert dry.run.statement == shared.run.statement
    with pytest.raises(MoneyConflictError, match="shared from 2026-07-01 on already"):
        await share(tenants[0], GivenAmount(9_0000))
    site = tenants[0].estate.site
    async with tenants[0].database.unit_of_work(read_only=True) as uow:
        kept = await uow.share_runs.find(site.organisation_id, site.id, "lifts", FIRST)
        assert kept == shared.run
        assert await uow.share_runs.of_site(site.organisation_id, site.id) == (kept,)
        assert len(await uow.bills.of_share_run(site.organisation_id, kept.id)) == 2
        with pytest.raises(NotFoundError):
            await uow.share_runs.find(site.organisation_id, site.id, "lifts", LAST)


async def test_only_chosen_accounts_and_buildings_share(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    first, second = tenants
    alone = await share(
        first, GivenAmount(9_0000), account_ids=frozenset({second.account.id}), dry_run=True
    )
    assert [bill.account_id for bill in alone.bills] == [second.account.id]
    with pytest.raises(SharingError, match="nobody shares"):
        await share(first, GivenAmount(9_0000), building_id=BuildingId(new_id()))
    async with first.database.unit_of_work(read_only=True) as uow:
        (building,) = await uow.buildings.all(first.estate.organisation.id)
    both = await share(first, GivenAmount(9_0000), building_id=building.id, dry_run=True)
    assert len(both.bills) == 2


async def test_unknown_weight_is_refused(database: Database, estate: "Estate") -> None:
    alone = await move_in(database, estate)
    for basis in (SharingBasis.HEAD_COUNT, SharingBasis.AREA):
        with pytest.raises(MoneyConflictError, match="of account A0 is not known"):
            await share(alone, GivenAmount(9_0000), basis)
    with pytest.raises(SharingError, match="weights by use are zero"):
        await share(alone, GivenAmount(9_0000), SharingBasis.USE)


async def test_cost_that_cannot_be_shared_is_refused(
    tenants: tuple[Tenancy, Tenancy],
) -> None:
    given = GivenAmount(9_0000)
    refused: tuple[tuple[Cost, dict[str, Any], type[Exception]], ...] = (
        (GivenAmount(0), {}, MoneyConflictError),
        (GivenAmount(1), {}, MoneyConflictError),
        (given, {"since": LAST}, MoneyInputError),
        (given, {"net_days": -1}, MoneyInputError),
        (UseOf("p0", Decimal("NaN")), {}, MoneyInputError),
        (UseOf("p0", Decimal(0)), {}, MoneyInputError),
        (ResidualOf("p0", Decimal(1)), {}, MoneyInputError),
    )
    for cost, more, error in refused:
        with pytest.raises(error):
            await share(tenants[0], cost, **more)
    assert await tenants[0].balances() == {}


@given(
    st.integers(1, 10**9),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any),
)
def test_shares_always_sum_to_the_cost(cents: int, weights: list[int]) -> None:
    sharers = [Sharer(f"a{at}", Decimal(weight)) for at, weight in enumerate(weights)]
    statement = share_amount(cents * 100, SharingBasis.AREA, sharers, step_units=100)
    assert sum(share.amount_units for share in statement.shares) == cents * 100
    assert all(share.amount_units % 100 == 0 for share in statement.shares)

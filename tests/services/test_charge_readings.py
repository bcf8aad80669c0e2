from datetime import timedelta
from decimal import Decimal

from tests.conftest import Estate
from tests.services.charging_cases import BEGIN, HOUR, move_in, total

from meterplex.db import Database
from meterplex.domain.charges import ChargeKind
from meterplex.domain.ledger import customer, revenue


async def test_a_reading_is_charged_once(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.pay(100_0000)
    await tenancy.read((1, "104"))
    done = await tenancy.charge(1)
    (charge,) = done.charges
    assert (charge.kind, charge.units, charge.amount_units) == (
        ChargeKind.REGULAR,
        Decimal(4),
        2_0000,
    )
    assert (charge.from_at, charge.to_at) == (BEGIN, BEGIN + HOUR)
    assert (charge.from_value, charge.to_value) == (Decimal(100), Decimal(104))
    assert (await tenancy.charge(1)).charges == ()
    assert await tenancy.charges() == (charge,)
    balances = await tenancy.balances()
    assert balances[customer(tenancy.account.id)] == 98_0000
    assert balances[revenue("electricity")] == 2_0000
    await tenancy.check_books()


async def test_late_reading_makes_an_adjustment(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    await tenancy.read((3, "110"))
    await tenancy.charge(3)
    await tenancy.read((2, "109"), received=BEGIN + timedelta(hours=4))
    await tenancy.charge(4)
    charges = await tenancy.charges()
    assert total(charges) == 5_0000
    await tenancy.check_books()

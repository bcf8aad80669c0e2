from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from meterplex.domain.accounts import Category
from meterplex.domain.billed_use import Use, UseKey, billed, describe_use, gather, unbilled
from meterplex.domain.bills import AccountFee, FeeId
from meterplex.domain.charges import Charge, ChargeId, ChargeKind
from meterplex.domain.estate import AccountId, BindingId, OrganisationId
from meterplex.domain.fees import Fee
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT

ZONE = ZoneInfo("Asia/Shanghai")
BINDING = BindingId(UUID(int=3))
JULY, AUGUST = date(2026, 7, 1), date(2026, 8, 1)
MIDNIGHT = datetime(2026, 7, 31, 16, tzinfo=UTC)
"""Of 1 August at the site."""


def charge(*lines: dict[str, Any], start: datetime) -> Charge:
    return Charge(
        ChargeId(UUID(int=1)),
        OrganisationId(UUID(int=2)),
        AccountId(UUID(int=4)),
        BINDING,
        ACTIVE_ENERGY_IMPORT,
        ChargeKind.REGULAR,
        start,
        start.replace(hour=23),
        Decimal(0),
        Decimal(1),
        Decimal(1),
        sum(line["amount_units"] for line in lines),
        MIDNIGHT,
        lines=lines,
    )


def line(amount_units: int, start: datetime = MIDNIGHT, **more: str) -> dict[str, Any]:
    return {
        "component": "energy",
        "amount_units": amount_units,
        "start": start.isoformat(),
        **more,
    }


def key(month: date, **more: str) -> UseKey:
    return UseKey(month, "p1", "energy", **more)


def test_lines_are_gathered_by_their_local_month() -> None:
    before = MIDNIGHT.replace(hour=15)
    charges = [
        charge(line(5, before, units="1/3"), line(7, units="2/3"), start=before),
        charge(line(2, datetime(2026, 1, 1, tzinfo=UTC), band="peak"), start=MIDNIGHT),
        charge(line(4, units="1/3"), start=MIDNIGHT),
    ]
    assert gather(charges, {BINDING: "p1"}, ZONE) == {
        key(JULY): Use(5, Fraction(1, 3)),
        key(AUGUST): Use(11, Fraction(1)),
        key(AUGUST, band="peak"): Use(2),
    }


def test_what_bills_said_is_read_back_and_taken_off() -> None:
    charged = {key(JULY): Use(9, Fraction(1, 3)), key(AUGUST, block="2"): Use(4)}
    lines = [describe_use(each, use, AUGUST) for each, use in charged.items()]
    assert [each["text"] for each in lines] == ["p1 energy (late, of 2026-07)", "p1 energy 2"]
    assert billed(lines) == charged
    assert billed(lines * 2)[key(JULY)] == Use(18, Fraction(2, 3))
    assert unbilled(charged, billed(lines)) == []
    assert unbilled({key(JULY): Use(10, Fraction(1, 3))}, charged) == [
        (key(JULY), Use(1)),
        (key(AUGUST, block="2"), Use(-4)),
    ]


@pytest.mark.parametrize(
    ("more", "until", "target"),
    [
        ({}, date(2026, 7, 9), JULY.replace(day=10)),
        ({}, date(2026, 7, 10), AUGUST),
        ({}, AUGUST, date(2026, 9, 1)),
        ({"ends_on": date(2026, 8, 5)}, AUGUST, date(2026, 8, 5)),
        ({"in_advance": False}, date(2026, 7, 31), JULY),
        ({"in_advance": False}, AUGUST, AUGUST),
        ({"in_advance": False, "ends_on": date(2026, 7, 20)}, date(2026, 7, 20), date(2026, 7, 20)),
        ({"in_advance": False, "ends_on": date(2026, 7, 20)}, date(2026, 7, 19), JULY),
    ],
    ids=str,
)
def test_fee_is_charged_as_far_as_it_is_due(
    more: dict[str, Any], until: date, target: date
) -> None:
    begins = date(2026, 7, 10)
    agreed = Fee("f", Category.FEE, "fee", Decimal(1), "CNY", begins, **more)
    ids = FeeId(UUID(int=1)), OrganisationId(UUID(int=2)), AccountId(UUID(int=4))
    assert AccountFee(*ids, agreed, begins, "anna").target(until) == target

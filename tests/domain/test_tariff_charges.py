"""Charging a growing bill: amounts so far minus what was charged before."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from tests.domain.tariff_samples import FLAT, at, decimals, evenly, only_bill, used

from meterplex.domain.tariff import (
    ChargeLine,
    Minimum,
    Rater,
    Span,
    Surcharge,
    Usage,
    charges_since,
)

THIRDS = replace(
    FLAT,
    prices=decimals("0.33333"),
    surcharges=(Surcharge("tax", percent=Decimal(7), applies_to=("energy",)),),
)


def test_first_charge_is_the_bill() -> None:
    bill = only_bill(THIRDS, used("2026-07-01", "2026-07-02", "1"))
    assert charges_since((), bill) == bill.lines


def test_charges_of_a_growing_bill_sum_to_it() -> None:
    hours = evenly(at("2026-07-01"), timedelta(hours=1), [Decimal("0.1")] * 20)
    charged: tuple[ChargeLine, ...] = ()
    for count in range(1, 21):
        charged += charges_since(charged, only_bill(THIRDS, *hours[:count]))
    bill = only_bill(THIRDS, *hours)
    assert sum(line.amount_units for line in charged) == bill.total_units
    energy = [line for line in charged if line.component == "energy"]
    assert {line.amount_units for line in energy} == {333, 334}
    assert sum(line.units or 0 for line in energy) == 2


def test_nothing_new_charges_nothing() -> None:
    bill = only_bill(THIRDS, used("2026-07-01", "2026-07-02", "1"))
    assert charges_since(bill.lines, bill) == ()


def test_corrected_reading_gives_back_what_was_charged_too_much() -> None:
    before = only_bill(THIRDS, used("2026-07-01", "2026-07-02", "3"))
    after = only_bill(THIRDS, used("2026-07-01", "2026-07-02", "2"))
    energy, tax = charges_since(before.lines, after)
    assert (energy.units, energy.amount_units) == (Fraction(-1), 6667 - 10000)
    assert (tax.units, tax.amount_units) == (None, 467 - 700)


def test_line_that_is_no_more_is_taken_back() -> None:
    tariff = replace(FLAT, minimum=Minimum(Span.MONTH, Decimal(1)))
    before = only_bill(tariff, used("2026-07-01", "2026-07-02", "1"))
    after = only_bill(tariff, used("2026-07-01", "2026-07-02", "4"))
    energy, minimum = charges_since(before.lines, after)
    assert (energy.amount_units, minimum.amount_units) == (15000, -5000)
    nothing = only_bill(tariff, used("2026-07-01", "2026-07-02", "0"))
    gone = charges_since(before.lines, nothing)
    assert [(line.component, line.units, line.amount_units) for line in gone] == [
        ("minimum", None, 5000),
        ("energy", -1, -5000),
    ]


def test_live_charging_of_half_days_gives_the_monthly_bill() -> None:
    tariff = replace(THIRDS, prices=decimals("0.12345"))
    start, rater = at("2026-07-01"), Rater(tariff)
    halves = evenly(start, timedelta(hours=12), [Decimal(n % 7) / 8 for n in range(62)])
    charged: tuple[ChargeLine, ...] = ()
    for count in range(1, 63):
        usage = Usage.of(halves[:count], service=(start, halves[count - 1].end))
        charged += charges_since(charged, rater.rate(usage).bills[0])
    whole = rater.rate(Usage.of(halves)).bills[0]
    assert sum(line.amount_units for line in charged) == whole.total_units

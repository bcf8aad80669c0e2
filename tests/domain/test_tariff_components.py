from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
from tests.domain.tariff_cases import DRAIN, drain, dues
from tests.domain.tariff_samples import FLAT, amounts, month_of, only_bill

from meterplex.domain.registers import ELECTRICITY, WATER
from meterplex.domain.tariff import (
    BillSoFar,
    Component,
    ComponentError,
    ComponentField,
    ComponentLine,
    ComponentSettings,
    Demand,
    FieldKind,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Rater,
    Span,
    Standing,
    Surcharge,
    TariffComponent,
    TariffVersion,
    Usage,
    charges_since,
    find_faults,
)

VAT = Surcharge("VAT", percent=Decimal(10), applies_to=("energy", "drain"))
WITH_DRAIN = replace(FLAT, components=(drain(Decimal("0.70"), Decimal(2)),))


def charging(charge: Callable[..., Any], **rest: Any) -> TariffVersion:
    """A tariff whose only component charges as told."""
    kind = TariffComponent("odd", "Odd", (), charge, plugin="oddities", **rest)
    return replace(FLAT, components=(Component(kind, "my odd", ComponentSettings()),))


def test_component_is_charged_after_standing_and_before_taxes() -> None:
    tariff = replace(
        WITH_DRAIN, standing=(Standing("rent", Span.MONTH, Decimal(3)),), surcharges=(VAT,)
    )
    assert amounts(only_bill(tariff, month_of("10"))) == [
        ("energy", "block 1", "all", "10", "50000"),
        ("rent", "", "", "1", "30000"),
        ("drain", "drained", "", "8", "56000"),
        ("drain", "pipe", "", "None", "31000"),
        ("VAT", "", "", "None", "13700"),
    ]


def test_components_see_what_came_before_them_in_order() -> None:
    tariff = replace(WITH_DRAIN, components=(*WITH_DRAIN.components, dues(30), dues(30, "again")))
    lines = amounts(only_bill(tariff, month_of("10")))
    assert lines[-2:] == [("dues", "", "", "None", "13700"), ("again", "", "", "None", "15070")]


def test_component_counts_towards_the_minimum() -> None:
    tariff = replace(WITH_DRAIN, minimum=Minimum(Span.MONTH, Decimal(14)))
    assert only_bill(tariff, month_of("10")).lines[-1].amount_units == 140_000 - 137_000


def test_power_factor_may_be_taken_of_a_component() -> None:
    rule = PowerFactor(
        Decimal("0.90"),
        ("drain",),
        (PowerFactorStep(Decimal(1), Decimal("0.01"), below=Decimal("0.90")),),
    )
    tariff = replace(WITH_DRAIN, power_factor=rule)
    interval = replace(month_of("10"), reactive_units=Decimal(10))
    (line,) = [each for each in only_bill(tariff, interval).lines if each.percent]
    assert line.base_units == 87_000
    assert line.percent == 19


def test_growing_bill_charges_the_difference_of_a_component() -> None:
    first, second = (only_bill(WITH_DRAIN, month_of(units)) for units in ("10", "13"))
    charged = charges_since(first.lines, second)
    assert [(line.component, line.block, line.amount_units) for line in charged] == [
        ("energy", "block 1", 15_000),
        ("drain", "drained", 21_000),
    ]


def test_decimal_amounts_and_units_are_as_good_as_fractions() -> None:
    line = ComponentLine(Decimal("1.23456"), Decimal("2.5"), "m3", Decimal("0.1"))
    (_, charged) = only_bill(charging(lambda *_: [line]), month_of("1")).lines
    assert (charged.amount_units, charged.units, charged.price) == (
        12_346,
        Fraction(5, 2),
        Decimal("0.1"),
    )


def raises(*_: object) -> Sequence[ComponentLine]:
    raise KeyError("tide table")


def raises_silently(*_: object) -> Sequence[ComponentLine]:
    raise ValueError


def leaves(*_: object) -> Sequence[ComponentLine]:
    raise SystemExit(3)


def raises_late(*_: object) -> Iterator[ComponentLine]:
    yield ComponentLine(Fraction(1))
    raise OSError("gone")


def line(**fields: Any) -> Callable[..., Any]:
    return lambda *_: [ComponentLine(**{"amount": Fraction(1), **fields})]


@pytest.mark.parametrize(
    ("charge", "reason"),
    [
        (raises, "raised KeyError: 'tide table'"),
        (raises_silently, "raised ValueError"),
        (leaves, "raised SystemExit: 3"),
        (raises_late, "raised OSError: gone"),
        (lambda *_: None, "raised TypeError: 'NoneType' object is not iterable"),
        (lambda *_: [Fraction(1)], "returned a line 0 of type Fraction, expected ComponentLine"),
        (line(amount=1.5), "returned a line 0 whose amount 1.5 is no exact amount of money"),
        (line(amount=Decimal("NaN")), "returned a line 0 whose amount Decimal('NaN') is no exact"),
        (line(amount=Fraction(10**12 + 1)), "returned a line 0 whose amount Fraction(10000000000"),
        (line(units=2.0), "returned a line 0 whose units 2.0 are no exact number"),
        (line(price=Fraction(1, 3)), "returned a line 0 whose price Fraction(1, 3) is no decimal"),
        (line(price=0.5), "returned a line 0 whose price 0.5 is no decimal"),
        (line(unit=None), "returned a line 0 whose unit or block is no text"),
        (line(block=7), "returned a line 0 whose unit or block is no text"),
        (
            lambda *_: [ComponentLine(Fraction(1)), ComponentLine(Fraction(2))],
            "returned two lines of block '' at one price",
        ),
    ],
)
def test_component_that_fails_is_named_with_its_plugin(
    charge: Callable[..., Any], reason: str
) -> None:
    rater = Rater(charging(charge))
    with pytest.raises(ComponentError) as raised:
        rater.rate(Usage.of([month_of("1")]))
    error = raised.value
    assert (error.plugin, error.kind, error.name) == ("oddities", "odd", "my odd")
    assert error.reason.startswith(reason)
    assert str(error).startswith("plugin 'oddities': tariff component 'my odd' of kind 'odd' r")


def test_interrupt_of_the_user_passes() -> None:
    def interrupted(*_: object) -> Sequence[ComponentLine]:
        raise KeyboardInterrupt

    tariff = charging(interrupted)
    with pytest.raises(KeyboardInterrupt):
        Rater(tariff).rate(Usage.of([month_of("1")]))
    with pytest.raises(KeyboardInterrupt):
        find_faults(charging(interrupted, check=interrupted))


def found(tariff: TariffVersion) -> list[str]:
    return [str(fault) for fault in find_faults(tariff)]


def negative_price(settings: ComponentSettings) -> Iterator[tuple[str, str]]:
    if settings.decimal("price") < 0:
        yield "price", "is negative"
    if settings.decimal("free_units") < 0:
        yield "", "is below nothing"


CHECKED = replace(DRAIN, check=negative_price)


def test_faults_that_the_plugin_finds_have_the_path_of_their_field() -> None:
    cheap = replace(drain(Decimal(-1), Decimal(-1), "cheap"), type=CHECKED)
    tariff = replace(FLAT, components=(drain(Decimal(1)), cheap, dues(1)))
    assert found(tariff) == ["drain[1].price: is negative", "drain[1]: is below nothing"]


def test_components_in_another_order_than_by_kind_are_a_fault() -> None:
    tariff = replace(FLAT, components=(dues(1), drain(Decimal(1))))
    assert found(tariff) == ["components: are not by kind: dues, drain"]


def test_check_that_raises_is_a_fault() -> None:
    def raises_in_check(_: ComponentSettings) -> Iterator[tuple[str, str]]:
        raise KeyError("price")

    tariff = charging(lambda *_: (), check=raises_in_check)
    assert found(tariff) == ["odd[0]: plugin 'oddities' could not check it: KeyError: 'price'"]


def test_component_of_another_utility_is_a_fault() -> None:
    tariff = charging(lambda *_: (), utilities=frozenset({WATER}))
    assert tariff.utility == ELECTRICITY
    assert found(tariff) == ["odd[0]: electricity has no such component, it is for water"]
    assert found(replace(tariff, utility=WATER)) == []


@pytest.mark.parametrize(
    ("components", "fault"),
    [
        ((drain(Decimal(1), name=""),), "drain[0].name: is empty"),
        (
            (drain(Decimal(1)), drain(Decimal(2))),
            "drain[1].name: 'drain' is already drain[0]",
        ),
        ((drain(Decimal(1), name="rent"),), "drain[0].name: 'rent' is already standing[0]"),
        (
            (drain(Decimal(1), name="energy"),),
            "drain[0].name: 'energy' is already another kind of component",
        ),
    ],
    ids=["empty", "twice", "standing", "kind"],
)
def test_name_of_a_component_must_be_its_own(components: tuple[Component, ...], fault: str) -> None:
    rent = Standing("rent", Span.MONTH, Decimal(1))
    assert found(replace(FLAT, standing=(rent,), components=components)) == [fault]


def test_component_is_named_only_by_what_comes_after_it() -> None:
    late = Surcharge("late", percent=Decimal(1), applies_to=("drain",))
    assert found(replace(WITH_DRAIN, surcharges=(late,))) == []
    assert found(replace(FLAT, surcharges=(late,))) == [
        "surcharge[0].applies_to: 'drain' is no component before this one"
    ]


def test_settings_are_told_by_their_kind() -> None:
    settings = ComponentSettings((("price", Decimal(1)), ("count", 2), ("roof", "flat")))
    assert settings.decimal("price") == 1
    assert settings.integer("count") == 2
    assert settings.text("roof") == "flat"
    with pytest.raises(KeyError):
        settings.text("slope")


def test_demand_comes_before_components() -> None:
    seen: list[BillSoFar] = []

    def look(_: ComponentSettings, bill: BillSoFar) -> Sequence[ComponentLine]:
        seen.append(bill)
        return ()

    tariff = replace(charging(look), demand=(Demand("peak", 15, Decimal(1)),))
    only_bill(tariff, month_of("31"))
    (bill,) = seen
    assert [each.component for each in bill.lines] == ["energy", "peak"]
    assert [bill.units, bill.days, bill.months] == [31, 31, 1]
    assert (bill.utility, bill.currency) == (ELECTRICITY, "CNY")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(DRAIN, kind="Drain"), "component kind 'Drain': expected lower-case"),
        (lambda: replace(DRAIN, kind="energy"), "component kind 'energy': the core has it itself"),
        (lambda: replace(DRAIN, fields=cast("Any", ("price",))), "are not all fields"),
        (lambda: replace(DRAIN, fields=DRAIN.fields * 2), "a field is there twice: price, free"),
        (lambda: ComponentField("name", FieldKind.TEXT, "whose"), "field 'name': expected"),
        (lambda: ComponentField("Price", FieldKind.DECIMAL, "dear"), "field 'Price': expected"),
        (lambda: ComponentField("price", FieldKind.DECIMAL, "dear", 1), "default 1 is no decimal"),
        (lambda: ComponentField("count", FieldKind.INTEGER, "n", "1"), "default '1' is no integer"),
    ],
    ids=["kind", "core's kind", "no field", "twice", "reserved", "field", "decimal", "integer"],
)
def test_declaration_that_cannot_be_is_refused_at_once(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()

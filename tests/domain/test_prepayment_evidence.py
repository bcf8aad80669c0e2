from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from meterplex.domain.prepayment import (
    MOVES,
    STATE_AFTER,
    Arming,
    CountCapability,
    Direction,
    Evidence,
    Next,
    OrderId,
    OrderState,
    PurchaseRecord,
    RecordWindow,
    UseSince,
    Verdict,
    Wallet,
    judge,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOW = RecordWindow(NOON, NOON + timedelta(minutes=5))
INSIDE, OUTSIDE = NOON + timedelta(minutes=1), NOON - timedelta(seconds=1)
CHECKED = CountCapability(count_checked=True, count_max=65535)
BLIND = replace(CHECKED, count_checked=False)
ABSOLUTE = replace(CHECKED, withdraws_absolutely=True)

BEFORE = Wallet(500, 7, 9000, meter="M1", customer="C1")
SALE = Arming(OrderId(UUID(int=1)), Direction.DELIVER, 8, 1000, BEFORE, NOON)
MARKED = replace(SALE, mark="A")
REFUND = replace(SALE, direction=Direction.WITHDRAW, amount_units=300)

E1, E2, E3, E4, NONE = Evidence.E1, Evidence.E2, Evidence.E3, Evidence.E4, Evidence.NONE
CONFIRM, SEND_AGAIN, FENCE, CONFLICT, WAIT = (
    Next.CONFIRM,
    Next.SEND_AGAIN,
    Next.FENCE,
    Next.CONFLICT,
    Next.WAIT,
)


def record(count: int, amount_units: int = 1000, at: datetime | None = INSIDE) -> PurchaseRecord:
    return PurchaseRecord(count, amount_units, at)


def with_records(count: int, total: int | None, *records: PurchaseRecord) -> Wallet:
    return Wallet(1500, count, total, records=records)


def told(verdict: Verdict) -> tuple[Evidence, Next, int]:
    assert verdict.sentence
    return verdict.evidence, verdict.next, verdict.foreign_units


@pytest.mark.parametrize(
    ("wallet", "expected"),
    [
        (replace(BEFORE, meter="M2"), (E4, CONFLICT, 0)),
        (replace(BEFORE, customer="C2"), (E4, CONFLICT, 0)),
        (replace(BEFORE, purchase_count=None), (NONE, WAIT, 0)),
        (replace(BEFORE, purchase_count=6), (E4, CONFLICT, 0)),
        (BEFORE, (E2, SEND_AGAIN, 0)),
        (replace(BEFORE, remaining_units=-100), (E2, SEND_AGAIN, 0)),
        (Wallet(500, 7, 10000), (E4, CONFLICT, 0)),
        (Wallet(1500, 8, 9000), (E4, CONFLICT, 0)),
        (Wallet(1500, 8, 10000), (E1, CONFIRM, 0)),
        (Wallet(1200, 8, 9700), (E3, FENCE, 700)),
        (Wallet(500, 8, 8900), (E4, CONFLICT, 0)),
        (Wallet(2500, 9, 11000), (E4, CONFLICT, 0)),
        (Wallet(2500, 9, 10000), (E4, CONFLICT, 0)),
    ],
    ids=[
        "other meter",
        "other customer",
        "no count",
        "count fell",
        "nothing moved",
        "only use",
        "total alone moved",
        "count alone moved",
        "count and total moved by it",
        "count moved by another amount",
        "total fell",
        "two purchases",
        "two purchases, one of them empty",
    ],
)
def test_evidence_of_count_and_total(wallet: Wallet, expected: tuple[Evidence, Next, int]) -> None:
    assert told(judge(SALE, wallet, CHECKED, sole_seller=True)) == expected


@pytest.mark.parametrize(
    ("wallet", "expected"),
    [
        (BEFORE, (E2, WAIT, 0)),
        (Wallet(1500, 8, 10000), (E1, CONFIRM, 0)),
        (Wallet(1200, 8, 9700), (E3, CONFLICT, 700)),
        (Wallet(2500, 8, 11000), (E3, CONFLICT, 2000)),
    ],
    ids=["not taken", "taken once", "another purchase", "taken twice"],
)
def test_a_blind_meter_is_sent_nothing_twice(
    wallet: Wallet, expected: tuple[Evidence, Next, int]
) -> None:
    assert told(judge(SALE, wallet, BLIND, sole_seller=True)) == expected


@pytest.mark.parametrize("capability", [CHECKED, BLIND], ids=["checked", "blind"])
def test_a_meter_without_a_count_proves_nothing(capability: CountCapability) -> None:
    arming = replace(SALE, count=1, baseline=replace(BEFORE, purchase_count=None))
    verdict = judge(arming, Wallet(1500, 1, 10000), capability, sole_seller=True)
    assert told(verdict) == (NONE, WAIT, 0)


@pytest.mark.parametrize(
    ("wallet", "expected"),
    [
        (with_records(8, 10000, record(8)), (E1, CONFIRM, 0)),
        (with_records(9, 10250, record(9, 250), record(8)), (E1, CONFIRM, 250)),
        (with_records(8, 9700, record(8, 700)), (E3, FENCE, 700)),
        (with_records(9, 10700, record(8, 700), record(9)), (E3, FENCE, 1700)),
        (with_records(9, 9800, record(8, 700)), (E3, FENCE, 800)),
        (with_records(9, 10250, record(9, 250)), (E4, CONFLICT, 0)),
        (with_records(9, 10250, record(8)), (E4, CONFLICT, 0)),
        (with_records(8, 10001, record(8)), (E4, CONFLICT, 0)),
        (with_records(8, 9000, record(8)), (E4, CONFLICT, 0)),
        (with_records(9, 9600, record(8), record(9, -400)), (E4, CONFLICT, 0)),
        (with_records(8, 8600, record(8, -400)), (E4, CONFLICT, 0)),
        (with_records(8, None, record(8, 700)), (E3, FENCE, 700)),
        (with_records(9, None, record(8, 700)), (E4, CONFLICT, 0)),
        (with_records(9, None, record(8, 700), record(9, -700)), (E4, CONFLICT, 0)),
    ],
    ids=[
        "ours",
        "ours and a later one",
        "another amount",
        "another amount and a later one",
        "another amount, later record gone",
        "record n gone",
        "ours, later record gone",
        "total does not fit the record",
        "total did not move",
        "ours, later taken back elsewhere",
        "withdrawn elsewhere",
        "another amount, no total",
        "another amount, no total, later record gone",
        "another amount, taken back again",
    ],
)
def test_evidence_of_records(wallet: Wallet, expected: tuple[Evidence, Next, int]) -> None:
    assert told(judge(SALE, wallet, CHECKED, sole_seller=True)) == expected


@pytest.mark.parametrize(
    ("arming", "mark", "at", "sole_seller", "window", "expected"),
    [
        (SALE, None, INSIDE, False, WINDOW, (E1, CONFIRM, 0)),
        (SALE, None, WINDOW.since, False, WINDOW, (E1, CONFIRM, 0)),
        (SALE, None, WINDOW.until, False, WINDOW, (E1, CONFIRM, 0)),
        (SALE, None, OUTSIDE, False, WINDOW, (E3, FENCE, 1000)),
        (SALE, None, OUTSIDE, True, WINDOW, (E4, CONFLICT, 0)),
        (SALE, None, OUTSIDE, True, None, (E1, CONFIRM, 0)),
        (SALE, None, OUTSIDE, False, None, (NONE, WAIT, 0)),
        (SALE, None, None, True, WINDOW, (E1, CONFIRM, 0)),
        (SALE, None, None, False, WINDOW, (NONE, WAIT, 0)),
        (MARKED, "A", OUTSIDE, False, WINDOW, (E1, CONFIRM, 0)),
        (MARKED, "B", INSIDE, True, WINDOW, (E3, FENCE, 1000)),
        (MARKED, None, INSIDE, True, WINDOW, (E3, FENCE, 1000)),
    ],
    ids=[
        "time fits",
        "time of arming",
        "time of reading",
        "other time",
        "other time, but nobody else sells",
        "clock not trusted, nobody else sells",
        "clock not trusted: a twin",
        "no time, nobody else sells",
        "no time: a twin",
        "our mark",
        "other mark",
        "mark is missing",
    ],
)
def test_twins_are_told_apart_or_left_to_people(
    arming: Arming,
    mark: str | None,
    at: datetime | None,
    sole_seller: bool,
    window: RecordWindow | None,
    expected: tuple[Evidence, Next, int],
) -> None:
    wallet = with_records(8, 10000, PurchaseRecord(8, 1000, at, mark))
    verdict = judge(arming, wallet, CHECKED, sole_seller=sole_seller, record_window=window)
    assert told(verdict) == expected


def test_count_and_total_alone_do_not_tell_a_twin() -> None:
    assert told(judge(SALE, Wallet(1500, 8, 10000), CHECKED)) == (NONE, WAIT, 0)


BALANCE_ONLY = replace(SALE, baseline=Wallet(500, 7))
USE = UseSince(used_units=50, unit_price_units=6)


@pytest.mark.parametrize(
    ("wallet", "use", "expected"),
    [
        (Wallet(1450, 8), USE, (E1, CONFIRM, 0)),
        (Wallet(1460, 8), USE, (E1, CONFIRM, 0)),
        (Wallet(1440, 8), USE, (E1, CONFIRM, 0)),
        (Wallet(1461, 8), USE, (E4, CONFLICT, 0)),
        (Wallet(1439, 8), USE, (E4, CONFLICT, 0)),
        (Wallet(1420, 8), UseSince(50, 30), (E1, CONFIRM, 0)),
        (Wallet(1419, 8), UseSince(50, 30), (E4, CONFLICT, 0)),
        (Wallet(1450, 8), None, (NONE, WAIT, 0)),
        (Wallet(1450, 9), USE, (E4, CONFLICT, 0)),
        (Wallet(450, 7), USE, (E2, SEND_AGAIN, 0)),
        (Wallet(460, 7), USE, (E2, SEND_AGAIN, 0)),
        (Wallet(300, 7), USE, (E2, SEND_AGAIN, 0)),
        (Wallet(461, 7), USE, (E4, CONFLICT, 0)),
        (Wallet(500, 7), None, (E2, SEND_AGAIN, 0)),
        (Wallet(450, 7), None, (E2, SEND_AGAIN, 0)),
        (Wallet(501, 7), None, (E4, CONFLICT, 0)),
    ],
    ids=[
        "exact",
        "1 % more",
        "1 % less",
        "above 1 %",
        "below 1 %",
        "within the price of a unit",
        "beyond the price of a unit",
        "use not known",
        "two purchases",
        "not taken",
        "not taken, 1 % off",
        "not taken, used more than priced",
        "risen without a count",
        "not taken, use not known",
        "not taken, fell by use",
        "risen without a count, use not known",
    ],
)
def test_evidence_of_count_and_balance_only(
    wallet: Wallet, use: UseSince | None, expected: tuple[Evidence, Next, int]
) -> None:
    assert told(judge(BALANCE_ONLY, wallet, CHECKED, sole_seller=True, use=use)) == expected


def test_count_and_balance_alone_do_not_tell_a_twin() -> None:
    assert told(judge(BALANCE_ONLY, Wallet(1450, 8), CHECKED, use=USE)) == (NONE, WAIT, 0)


def test_records_without_a_total_are_borne_out_by_the_balance() -> None:
    wallet = Wallet(1700, 9, records=(record(8), record(9, 250)))
    verdict = judge(BALANCE_ONLY, wallet, CHECKED, sole_seller=True, use=USE)
    assert told(verdict) == (E1, CONFIRM, 250)
    poorer = replace(wallet, remaining_units=1400)
    verdict = judge(BALANCE_ONLY, poorer, CHECKED, sole_seller=True, use=USE)
    assert told(verdict) == (E4, CONFLICT, 0)


@pytest.mark.parametrize(
    ("wallet", "use", "expected"),
    [
        (Wallet(200, 8, 8700), None, (E1, CONFIRM, 0)),
        (Wallet(150, 8, 8700), None, (E1, CONFIRM, 0)),
        (Wallet(201, 8, 8700), None, (E4, CONFLICT, 0)),
        (Wallet(150, 8, 8700), USE, (E1, CONFIRM, 0)),
        (Wallet(140, 8, 8700), USE, (E4, CONFLICT, 0)),
        (Wallet(200, 8, 8700, records=(record(8, -300),)), None, (E1, CONFIRM, 0)),
        (Wallet(1500, 8, 10000), None, (E3, FENCE, 1000)),
        (Wallet(400, 8, 8900), None, (E4, CONFLICT, 0)),
        (Wallet(450, 7, 9000), None, (E2, SEND_AGAIN, 0)),
        (Wallet(200, 7, 8700), None, (E4, CONFLICT, 0)),
        (Wallet(200, 8, 9000), None, (E4, CONFLICT, 0)),
    ],
    ids=[
        "remaining, count and total",
        "some used since",
        "too little taken",
        "corrected by use",
        "fell beyond use",
        "by record",
        "count taken by a purchase",
        "another withdrawal",
        "not taken",
        "count did not move",
        "total did not move",
    ],
)
def test_evidence_of_a_withdrawal(
    wallet: Wallet, use: UseSince | None, expected: tuple[Evidence, Next, int]
) -> None:
    assert told(judge(REFUND, wallet, CHECKED, sole_seller=True, use=use)) == expected


@pytest.mark.parametrize(
    ("wallet", "expected"),
    [
        (Wallet(200, 8, 8700), (E1, CONFIRM, 0)),
        (Wallet(199, 8, 8700), (E4, CONFLICT, 0)),
        (Wallet(200, 8, None), (NONE, WAIT, 0)),
        (Wallet(1500, 8, 10000), (E3, CONFLICT, 1000)),
        (Wallet(500, 7, 9000), (E2, SEND_AGAIN, 0)),
        (Wallet(499, 7, 9000), (E2, WAIT, 0)),
    ],
    ids=[
        "all three",
        "remaining is another",
        "total not told",
        "a purchase is no fence",
        "as it was: writing twice is writing once",
        "use went between",
    ],
)
@pytest.mark.parametrize("count_checked", [True, False], ids=["checked", "blind"])
def test_evidence_of_a_withdrawal_written_absolutely(
    wallet: Wallet, expected: tuple[Evidence, Next, int], count_checked: bool
) -> None:
    capability = replace(ABSOLUTE, count_checked=count_checked)
    assert told(judge(REFUND, wallet, capability, sole_seller=True)) == expected


@pytest.mark.parametrize(
    ("wallet", "use", "expected"),
    [
        (Wallet(500, 7), None, (E2, SEND_AGAIN, 0)),
        (Wallet(200, 7), None, (NONE, WAIT, 0)),
        (Wallet(450, 7), USE, (E2, SEND_AGAIN, 0)),
        (Wallet(150, 7), USE, (E4, CONFLICT, 0)),
        (Wallet(200, 8), None, (NONE, WAIT, 0)),
        (Wallet(150, 8), USE, (E1, CONFIRM, 0)),
    ],
    ids=[
        "as it was",
        "fell, by use or not",
        "fell by use",
        "fell beyond use",
        "taken, use not known",
        "taken",
    ],
)
def test_evidence_of_a_withdrawal_by_balance_only(
    wallet: Wallet, use: UseSince | None, expected: tuple[Evidence, Next, int]
) -> None:
    arming = replace(REFUND, baseline=Wallet(500, 7))
    assert told(judge(arming, wallet, CHECKED, sole_seller=True, use=use)) == expected


@pytest.mark.parametrize("step", list(Next))
def test_evidence_leads_where_an_uncertain_order_may_go(step: Next) -> None:
    assert STATE_AFTER[step] in MOVES[OrderState.UNCERTAIN] | {OrderState.UNCERTAIN}


@pytest.mark.parametrize(
    ("wallet", "sentence"),
    [
        (replace(BEFORE, meter="M2"), "meter number M2, expected M1"),
        (Wallet(500, 7, 9100), "the count is still 7, but the total moved by 0.0100"),
        (
            Wallet(1200, 8, 9700),
            "count 8 was taken by another purchase; 0.0700 was bought elsewhere",
        ),
    ],
    ids=["meter", "total", "foreign"],
)
def test_a_verdict_says_what_was_seen(wallet: Wallet, sentence: str) -> None:
    assert judge(SALE, wallet, CHECKED).sentence == sentence

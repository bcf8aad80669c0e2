from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from meterplex.domain.prepayment import (
    MOVES,
    Answer,
    AnswerKind,
    AnswerStep,
    Arming,
    Direction,
    OrderId,
    OrderState,
    Wallet,
    after_answer,
    may_log_in,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BASELINE = Wallet(500, 7, 9000, meter="M1")
ARMING = Arming(OrderId(UUID(int=1)), Direction.DELIVER, 8, 100, BASELINE, NOON)
ACCEPTED = AnswerKind.ACCEPTED
UNCERTAIN = OrderState.UNCERTAIN


def test_a_positive_answer_that_names_meter_and_count_confirms() -> None:
    verdict = after_answer(ARMING, Answer(ACCEPTED, "M1", 8))
    assert (verdict.state, verdict.step) == (OrderState.CONFIRMED, AnswerStep.BOOK)


@pytest.mark.parametrize(
    "answer",
    [Answer(ACCEPTED), Answer(ACCEPTED, "M1"), Answer(ACCEPTED, count=8)],
    ids=["nothing", "no count", "no meter"],
)
def test_a_positive_answer_that_does_not_name_it_is_read_back(answer: Answer) -> None:
    verdict = after_answer(ARMING, answer)
    assert (verdict.state, verdict.step) == (OrderState.ARMED, AnswerStep.READ_BACK)


def test_a_meter_that_never_told_its_number_is_read_back() -> None:
    arming = replace(ARMING, baseline=replace(BASELINE, meter=None))
    assert after_answer(arming, Answer(ACCEPTED, "M1", 8)).step is AnswerStep.READ_BACK


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (Answer(ACCEPTED, "M1", 7), AnswerStep.READ_EVIDENCE),
        (Answer(ACCEPTED, "M2", 8), AnswerStep.READ_EVIDENCE),
        (Answer(ACCEPTED, "M2"), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.SILENCE), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.DAMAGED), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.DUPLICATE), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.COUNT_WRONG), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.OTHER_ERROR), AnswerStep.READ_EVIDENCE),
        (Answer(AnswerKind.OVER_HOARD), AnswerStep.HOLD),
        (Answer(AnswerKind.CUSTOMER_MISMATCH), AnswerStep.HOLD),
        (Answer(AnswerKind.AUTHENTICATION), AnswerStep.LOG_IN),
    ],
    ids=lambda value: str(getattr(value, "kind", value)),
)
def test_nothing_but_a_positive_answer_settles_anything(answer: Answer, step: AnswerStep) -> None:
    verdict = after_answer(ARMING, answer)
    assert (verdict.state, verdict.step) == (UNCERTAIN, step)
    assert verdict.sentence


def test_an_order_that_was_never_sent_waits_again() -> None:
    verdict = after_answer(ARMING, Answer(AnswerKind.NOT_SENT))
    assert (verdict.state, verdict.step) == (OrderState.PAID, AnswerStep.ARM_LATER)


def test_an_attempt_that_was_not_sent_leaves_the_earlier_ones_uncertain() -> None:
    verdict = after_answer(ARMING, Answer(AnswerKind.NOT_SENT), sent_before=True)
    assert (verdict.state, verdict.step) == (UNCERTAIN, AnswerStep.READ_EVIDENCE)


@pytest.mark.parametrize("kind", list(AnswerKind))
def test_every_answer_leads_where_an_armed_order_may_go(kind: AnswerKind) -> None:
    state = after_answer(ARMING, Answer(kind, "M1", 8)).state
    assert state in MOVES[OrderState.ARMED] | {OrderState.ARMED}


@pytest.mark.parametrize(
    ("minutes", "allowed"),
    [([], True), ([-1], True), ([-59, -1], False), ([-60, -1], True), ([5, 90], False)],
    ids=["none", "one", "two within the hour", "one is an hour old", "the clock jumped back"],
)
def test_two_failed_authentications_an_hour(minutes: list[int], allowed: bool) -> None:
    assert may_log_in([NOON + timedelta(minutes=each) for each in minutes], NOON) is allowed

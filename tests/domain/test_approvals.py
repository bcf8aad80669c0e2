from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from meterplex.domain.approvals import (
    ASKING,
    DECIDING,
    Approval,
    ApprovalError,
    ApprovalId,
    ApprovalKind,
    ApprovalState,
    check_decider,
    check_open,
    check_usable,
    content_hash,
    reason_text,
)
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import (
    ForbiddenError,
    Grant,
    Operator,
    OperatorId,
    OperatorInputError,
    Right,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ORGANISATION = OrganisationId(UUID(int=1))
EAST, WEST = SiteId(UUID(int=2)), SiteId(UUID(int=3))
CONTENT = {"action": "disconnect", "meters": ["a", "b"]}
HASH = content_hash(ApprovalKind.SUPPLY_BATCH, CONTENT)

APPROVAL = Approval(
    ApprovalId(UUID(int=9)),
    ORGANISATION,
    ApprovalKind.SUPPLY_BATCH,
    "disconnect 2 meters",
    EAST,
    HASH,
    CONTENT,
    "arrears",
    OperatorId(UUID(int=4)),
    NOW,
    NOW + timedelta(minutes=30),
)


def operator(number: int, *grants: Grant) -> Operator:
    return Operator(
        OperatorId(UUID(int=number)),
        ORGANISATION,
        f"operator-{number}",
        "en",
        NOW,
        grants=frozenset(grants),
    )


def test_every_kind_has_a_right_to_ask_and_a_right_to_decide() -> None:
    assert set(ASKING) == set(DECIDING) == set(ApprovalKind)
    assert set(DECIDING.values()) == {Right.MONEY_APPROVE, Right.SUPPLY_APPROVE}


def test_hash_is_that_of_the_canonical_text() -> None:
    # sha256 of {"content":{"a":1},"kind":"refund"}
    assert content_hash(ApprovalKind.REFUND, {"a": 1}) == (
        "8969cf46ef3f9ef7e3c1e25595e725c59b6d441d8058c6c6e10cb602a07459b6"
    )


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ApprovalKind.SUPPLY_BATCH, {"action": "disconnect", "meters": ["a", "b", "c"]}),
        (ApprovalKind.SUPPLY_BATCH, {"action": "disconnect", "meters": ["b", "a"]}),
        (ApprovalKind.SUPPLY_BATCH, {"action": "reconnect", "meters": ["a", "b"]}),
        (ApprovalKind.SUPPLY_BATCH, {"action": "disconnect", "meters": "ab"}),
        (ApprovalKind.BREAKER_CLOSE, CONTENT),
    ],
)
def test_another_content_or_kind_has_another_hash(
    kind: ApprovalKind, content: dict[str, Any]
) -> None:
    assert content_hash(kind, content) != HASH


def test_order_of_keys_does_not_matter() -> None:
    turned = dict(reversed(CONTENT.items()))
    assert content_hash(ApprovalKind.SUPPLY_BATCH, turned) == HASH


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"amount": 1.5}, "content.amount: a float"),
        ({"amount": Decimal(1)}, "content.amount: a Decimal"),
        ({"list": ["a", {"at": NOW}]}, r"content.list\[1\].at: a datetime"),
        ({1: "a"}, "key 1 is no text"),
    ],
)
def test_content_without_an_exact_text_is_refused(content: dict[str, Any], where: str) -> None:
    with pytest.raises(OperatorInputError, match=where):
        content_hash(ApprovalKind.REFUND, content)


@pytest.mark.parametrize(
    ("state", "after", "seen"),
    [
        (ApprovalState.OPEN, timedelta(minutes=29), ApprovalState.OPEN),
        (ApprovalState.OPEN, timedelta(minutes=30), ApprovalState.LAPSED),
        (ApprovalState.APPROVED, timedelta(minutes=29), ApprovalState.APPROVED),
        (ApprovalState.APPROVED, timedelta(minutes=30), ApprovalState.LAPSED),
        (ApprovalState.REFUSED, timedelta(days=1), ApprovalState.REFUSED),
        (ApprovalState.USED, timedelta(days=1), ApprovalState.USED),
    ],
)
def test_waiting_approval_lapses_by_the_clock(
    state: ApprovalState, after: timedelta, seen: ApprovalState
) -> None:
    assert replace(APPROVAL, state=state).state_at(NOW + after) is seen


def test_another_operator_with_the_right_decides() -> None:
    check_decider(APPROVAL, operator(5, Grant(Right.SUPPLY_APPROVE, EAST)))
    check_decider(APPROVAL, operator(5, Grant(Right.SUPPLY_APPROVE)))


@pytest.mark.parametrize(
    ("number", "grants", "why"),
    [
        pytest.param(4, [Grant(Right.SUPPLY_APPROVE)], "asked for it", id="who asked"),
        pytest.param(5, [Grant(Right.SUPPLY_APPROVE, WEST)], "no right", id="another site"),
        pytest.param(5, [Grant(Right.MONEY_APPROVE)], "no right", id="another right"),
        pytest.param(5, [], "no right", id="none"),
    ],
)
def test_nobody_else_decides(number: int, grants: list[Grant], why: str) -> None:
    with pytest.raises(ForbiddenError, match=why):
        check_decider(APPROVAL, operator(number, *grants))


def test_only_an_open_approval_can_be_decided() -> None:
    check_open(APPROVAL, NOW)
    for state in (ApprovalState.APPROVED, ApprovalState.REFUSED, ApprovalState.USED):
        with pytest.raises(ApprovalError, match=f"is {state}, expected open"):
            check_open(replace(APPROVAL, state=state), NOW)
    with pytest.raises(ApprovalError, match="is lapsed"):
        check_open(APPROVAL, APPROVAL.lapses_at)


def test_approved_content_is_allowed_and_no_other() -> None:
    approved = replace(APPROVAL, state=ApprovalState.APPROVED)
    check_usable(approved, HASH, NOW)
    with pytest.raises(ApprovalError, match="given for another supply_batch"):
        check_usable(approved, content_hash(ApprovalKind.SUPPLY_BATCH, {}), NOW)


@pytest.mark.parametrize(
    "state", [ApprovalState.OPEN, ApprovalState.REFUSED, ApprovalState.USED, ApprovalState.LAPSED]
)
def test_what_is_not_approved_allows_nothing(state: ApprovalState) -> None:
    with pytest.raises(ApprovalError, match=f"is {state}, expected approved"):
        check_usable(replace(APPROVAL, state=state), HASH, NOW)


@pytest.mark.parametrize("text", ["", "  ", "x" * 501])
def test_reason_is_needed(text: str) -> None:
    with pytest.raises(OperatorInputError, match=r"^reason"):
        reason_text(text)


def test_reason_comes_without_outer_space() -> None:
    assert reason_text(" leak \n") == "leak"

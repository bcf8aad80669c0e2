from datetime import UTC, datetime
from uuid import UUID

import pytest

from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.prepayment import Direction, OrderId, OrderKind, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, key_of


def order(state: OrderState) -> CreditOrder:
    return CreditOrder(
        id=OrderId(UUID(int=1)),
        organisation_id=OrganisationId(UUID(int=2)),
        site_id=SiteId(UUID(int=3)),
        account_id=AccountId(UUID(int=4)),
        binding_id=None,
        kind=OrderKind.VEND,
        direction=Direction.DELIVER,
        state=state,
        amount_units=10_000,
        deliver_units=10_000,
        currency="CNY",
        idempotency_key="k-1",
        method="cash",
        channel="desk",
        asked_by="anna",
        created_at=datetime(2026, 7, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("state", OrderState)
def test_only_confirmed_and_voided_orders_are_settled(state: OrderState) -> None:
    assert order(state).settled == (state in {OrderState.CONFIRMED, OrderState.VOIDED})


def test_key_of_a_rule_names_what_it_is_for() -> None:
    assert key_of("swap", UUID(int=5)) == "swap:00000000-0000-0000-0000-000000000005"

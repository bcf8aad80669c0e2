"""What must hold of the evidence for whatever a meter may show."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.prepayment import (
    Arming,
    Comparison,
    CountCapability,
    Direction,
    Evidence,
    Next,
    OrderId,
    PurchaseRecord,
    RecordWindow,
    UseSince,
    Wallet,
    compare_count,
    judge,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOW = RecordWindow(NOON, NOON + timedelta(minutes=5))

amounts = st.sampled_from([-300, -100, 0, 100, 300])
counts = st.integers(5, 10)
identities = st.sampled_from([None, "1", "2"])
records = st.lists(
    st.builds(
        PurchaseRecord,
        counts,
        amounts,
        st.none() | st.sampled_from([NOON, NOON - timedelta(days=1)]),
        st.sampled_from([None, "A", "B"]),
    ),
    max_size=4,
).map(tuple)
wallets = st.builds(
    Wallet,
    amounts.map(lambda moved: 1000 + moved),
    st.none() | counts,
    st.none() | amounts.map(lambda moved: 9000 + moved),
    identities,
    identities,
    st.none() | records,
)
capabilities = st.builds(CountCapability, st.booleans(), st.just(9999), st.booleans())
armings = st.builds(
    lambda direction, amount, baseline, mark: Arming(
        OrderId(UUID(int=1)),
        direction,
        (baseline.purchase_count or 0) + 1,
        amount,
        baseline,
        NOON,
        mark=mark,
    ),
    st.sampled_from(Direction),
    st.sampled_from([100, 300]),
    wallets,
    st.sampled_from([None, "A"]),
)


@settings(max_examples=1000, deadline=None)
@given(
    armings,
    wallets,
    capabilities,
    st.booleans(),
    st.none() | st.just(WINDOW),
    st.none() | st.builds(UseSince, st.sampled_from([0, 100]), st.just(5)),
)
def test_no_wallet_leads_to_a_move_without_its_proof(
    arming: Arming,
    wallet: Wallet,
    capability: CountCapability,
    sole_seller: bool,
    window: RecordWindow | None,
    use: UseSince | None,
) -> None:
    verdict = judge(
        arming, wallet, capability, sole_seller=sole_seller, record_window=window, use=use
    )
    assert verdict.sentence
    assert verdict.foreign_units >= 0
    assert (verdict.next is Next.CONFIRM) is (verdict.evidence is Evidence.E1)
    match verdict.next:
        case Next.CONFIRM:
            assert wallet.purchase_count is not None
            assert wallet.purchase_count >= arming.count
            assert sole_seller or (wallet.records and (arming.mark or window))
        case Next.SEND_AGAIN:
            assert wallet.purchase_count == arming.baseline.purchase_count
            assert capability.count_checked or capability.withdraws_absolutely
            assert verdict.evidence is Evidence.E2
        case Next.FENCE:
            assert capability.binds(arming.direction)
            assert verdict.evidence is Evidence.E3
            assert verdict.foreign_units > 0
        case Next.WAIT | Next.CONFLICT:
            assert verdict.evidence is not Evidence.E1


@given(wallets, wallets)
def test_a_purchase_elsewhere_always_has_an_amount(expected: Wallet, seen: Wallet) -> None:
    comparison = compare_count(expected, seen)
    assert (comparison.foreign_units > 0) is (comparison.outcome is Comparison.FOREIGN)


@given(wallets)
def test_a_wallet_is_as_expected_of_itself(wallet: Wallet) -> None:
    assert compare_count(wallet, wallet).outcome is Comparison.OK

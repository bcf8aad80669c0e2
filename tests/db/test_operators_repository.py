import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.errors import ConflictError, InvalidValueError, NotFoundError
from meterplex.domain.approvals import (
    Approval,
    ApprovalId,
    ApprovalKind,
    ApprovalState,
    content_hash,
)
from meterplex.domain.estate import OrganisationId
from meterplex.domain.operators import (
    Grant,
    Operator,
    OperatorId,
    OperatorState,
    OperatorToken,
    Right,
    TokenId,
)

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC)
CONTENT = {"action": "disconnect", "meters": ["a", "b"], "amount": 10**15, "none": None}


def make_operator(estate: "Estate", name: str = "anna") -> Operator:
    grants = {Grant(Right.MONEY_VEND), Grant(Right.SUPPLY_COMMAND, estate.site.id)}
    return Operator(
        OperatorId(uuid7()), estate.organisation.id, name, "zh", NOW, grants=frozenset(grants)
    )


async def store(database: Database, *operators: Operator) -> None:
    async with database.unit_of_work() as uow:
        for operator in operators:
            await uow.operators.add(operator, f"hash of {operator.name}")
        await uow.commit()


def make_token(operator: Operator, token_hash: str = "aa") -> OperatorToken:
    return OperatorToken(
        TokenId(uuid7()),
        operator.organisation_id,
        operator.id,
        token_hash,
        NOW,
        NOW + timedelta(hours=12),
    )


def make_approval(asked_by: Operator) -> Approval:
    return Approval(
        ApprovalId(uuid7()),
        asked_by.organisation_id,
        ApprovalKind.SUPPLY_BATCH,
        "disconnect 2 meters",
        None,
        content_hash(ApprovalKind.SUPPLY_BATCH, CONTENT),
        CONTENT,
        "arrears",
        asked_by.id,
        NOW,
        NOW + timedelta(minutes=30),
    )


async def test_operator_comes_back_as_it_was_stored(database: Database, estate: "Estate") -> None:
    anna, bert = make_operator(estate), replace(make_operator(estate, "bert"), grants=frozenset())
    await store(database, bert, anna)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.operators.all(anna.organisation_id) == (anna, bert)
        assert await uow.operators.get(anna.organisation_id, anna.id) == anna
        assert await uow.operators.by_name(anna.organisation_id, "anna") == anna
        assert await uow.operators.by_name(anna.organisation_id, "carl") is None
        credential = await uow.operators.credential(anna.organisation_id, anna.id)
    assert (credential.password_hash, credential.failed_sign_ins) == ("hash of anna", 0)


async def test_name_is_taken_once_in_an_organisation(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    await store(database, make_operator(estate), make_operator(other_estate))
    with pytest.raises(ConflictError) as caught:
        await store(database, make_operator(estate))
    assert caught.value.constraint == "uq_operator_organisation_id_name"


async def test_operators_are_unknown_to_other_organisations(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    anna = make_operator(estate)
    await store(database, anna)
    stranger = other_estate.organisation.id
    async with database.unit_of_work() as uow:
        await uow.operators.add_token(make_token(anna))
        assert await uow.operators.all(stranger) == ()
        assert await uow.operators.token(stranger, "aa") is None
        assert await uow.operators.revoke_tokens(stranger, anna.id, NOW) == 0
        for call in (
            uow.operators.get(stranger, anna.id),
            uow.operators.credential(stranger, anna.id),
            uow.operators.set_state(stranger, anna.id, OperatorState.LOCKED),
        ):
            with pytest.raises(NotFoundError):
                await call


async def test_rights_are_replaced_as_a_whole(database: Database, estate: "Estate") -> None:
    anna = make_operator(estate)
    await store(database, anna)
    grants = frozenset({Grant(Right.MONEY_VEND, estate.site.id), Grant(Right.AUDIT_READ)})
    async with database.unit_of_work() as uow:
        await uow.operators.set_grants(anna.organisation_id, anna.id, grants)
        found = await uow.operators.get(anna.organisation_id, anna.id)
    assert found.grants == grants


async def test_failures_are_counted_and_forgotten_only_as_they_were_read(
    database: Database, estate: "Estate"
) -> None:
    anna = make_operator(estate)
    await store(database, anna)
    place = anna.organisation_id
    async with database.unit_of_work() as uow:
        before = await uow.operators.credential(place, anna.id)
        assert await uow.operators.count_failure(place, anna.id) == 1
        assert await uow.operators.count_failure(place, anna.id) == 2
        await uow.operators.block(place, anna.id, NOW)
        assert not await uow.operators.forget_failures(place, before)
        seen = await uow.operators.credential(place, anna.id)
        assert (seen.failed_sign_ins, seen.blocked_until) == (2, NOW)
        assert await uow.operators.forget_failures(place, seen)
        after = await uow.operators.credential(place, anna.id)
        assert after == before
        await uow.operators.set_state(place, anna.id, OperatorState.LOCKED)
        assert not await uow.operators.forget_failures(place, after)


async def test_tokens_end_one_by_one_or_all(database: Database, estate: "Estate") -> None:
    anna = make_operator(estate)
    await store(database, anna)
    place = anna.organisation_id
    tokens = [make_token(anna, text) for text in ("aa", "bb", "cc")]
    tokens.append(replace(make_token(anna, "dd"), expires_at=NOW))
    async with database.unit_of_work() as uow:
        for token in tokens:
            await uow.operators.add_token(token)
        assert await uow.operators.token(place, "aa") == tokens[0]
        assert await uow.operators.revoke_token(place, tokens[0].id, NOW)
        assert not await uow.operators.revoke_token(place, tokens[0].id, NOW)
        await uow.operators.token_used(place, tokens[1].id, NOW)
        assert await uow.operators.revoke_tokens(place, anna.id, NOW) == 2
        found = await uow.operators.token(place, "bb")
    assert found == replace(tokens[1], last_used_at=NOW, revoked_at=NOW)


async def test_approval_comes_back_as_it_was_stored(database: Database, estate: "Estate") -> None:
    anna = make_operator(estate)
    await store(database, anna)
    first = make_approval(anna)
    second = replace(make_approval(anna), asked_at=NOW + timedelta(minutes=1))
    async with database.unit_of_work() as uow:
        await uow.approvals.add(second)
        await uow.approvals.add(first)
        place = anna.organisation_id
        found = await uow.approvals.get(place, first.id)
        assert found == first
        assert content_hash(found.kind, found.content) == found.content_hash
        assert await uow.approvals.newest(place) == (second, first)
        assert await uow.approvals.newest(place, limit=1) == (second,)
        assert await uow.approvals.waiting(place, NOW) == (first, second)
        assert await uow.approvals.waiting(place, first.lapses_at) == ()


async def test_approval_is_unknown_to_other_organisations(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    anna = make_operator(estate)
    await store(database, anna)
    approval, stranger = make_approval(anna), other_estate.organisation.id
    async with database.unit_of_work() as uow:
        await uow.approvals.add(replace(approval, state=ApprovalState.APPROVED))
        assert await uow.approvals.newest(stranger) == ()
        assert await uow.approvals.use(stranger, approval.id, approval.content_hash, NOW) is None
        with pytest.raises(NotFoundError):
            await uow.approvals.get(stranger, approval.id)


async def test_database_itself_refuses_that_one_person_is_two(
    database: Database, estate: "Estate"
) -> None:
    anna = make_operator(estate)
    await store(database, anna)
    with pytest.raises(InvalidValueError):
        async with database.unit_of_work() as uow:
            await uow.approvals.add(replace(make_approval(anna), decided_by=anna.id))


@pytest.mark.parametrize(
    ("state", "after", "content_hash_shown", "used"),
    [
        pytest.param(ApprovalState.APPROVED, timedelta(0), None, True, id="approved"),
        pytest.param(ApprovalState.OPEN, timedelta(0), None, False, id="open"),
        pytest.param(ApprovalState.REFUSED, timedelta(0), None, False, id="refused"),
        pytest.param(ApprovalState.USED, timedelta(0), None, False, id="used"),
        pytest.param(ApprovalState.APPROVED, timedelta(minutes=30), None, False, id="lapsed"),
        pytest.param(ApprovalState.APPROVED, timedelta(0), "00", False, id="other content"),
    ],
)
async def test_approval_is_used_only_while_it_allows_the_content(
    database: Database,
    estate: "Estate",
    state: ApprovalState,
    after: timedelta,
    content_hash_shown: str | None,
    used: bool,
) -> None:
    anna = make_operator(estate)
    await store(database, anna)
    approval = replace(make_approval(anna), state=state)
    async with database.unit_of_work() as uow:
        await uow.approvals.add(approval)
        shown = content_hash_shown or approval.content_hash
        found = await uow.approvals.use(approval.organisation_id, approval.id, shown, NOW + after)
    assert (found is not None) is used
    if found is not None:
        assert (found.state, found.used_at) == (ApprovalState.USED, NOW)


async def test_of_many_who_use_an_approval_at_once_one_does(
    database: Database, estate: "Estate"
) -> None:
    anna, bert = make_operator(estate), make_operator(estate, "bert")
    await store(database, anna, bert)
    approval = make_approval(anna)
    async with database.unit_of_work() as uow:
        await uow.approvals.add(approval)
        decided = await uow.approvals.decide(
            approval.organisation_id,
            approval.id,
            ApprovalState.APPROVED,
            decided_by=bert.id,
            at=NOW,
            remark="seen",
        )
        assert decided is not None
        assert (decided.decided_by, decided.remark) == (bert.id, "seen")
        await uow.commit()

    async def use() -> bool:
        async with database.unit_of_work() as uow:
            used = await uow.approvals.use(
                approval.organisation_id, approval.id, approval.content_hash, NOW
            )
            await uow.commit()
        return used is not None

    assert sorted(await asyncio.gather(*(use() for _ in range(6)))) == [False] * 5 + [True]


async def test_approval_is_decided_once(database: Database, estate: "Estate") -> None:
    anna, bert = make_operator(estate), make_operator(estate, "bert")
    await store(database, anna, bert)
    approval = make_approval(anna)

    async with database.unit_of_work() as uow:
        await uow.approvals.add(approval)
        place = OrganisationId(approval.organisation_id)
        answers = [
            await uow.approvals.decide(
                place, approval.id, state, decided_by=bert.id, at=at, remark=""
            )
            for state, at in (
                (ApprovalState.APPROVED, approval.lapses_at),
                (ApprovalState.REFUSED, NOW),
                (ApprovalState.APPROVED, NOW),
            )
        ]
    assert [answer and answer.state for answer in answers] == [None, ApprovalState.REFUSED, None]

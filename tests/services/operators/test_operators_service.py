import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import argon2
import pytest

from meterplex.db import Database
from meterplex.db.errors import ConflictError, NotFoundError
from meterplex.domain.operators import (
    ForbiddenError,
    Grant,
    NotSignedInError,
    Operator,
    OperatorInputError,
    OperatorRuleError,
    OperatorState,
    Right,
    Role,
    SignInRefusedError,
)
from meterplex.services.operators.manage_operators import (
    NewOperator,
    add_operator,
    change_rights,
    grants_of,
    refusals_noted,
    require_rights,
    revoke_tokens,
    set_operator_state,
    set_password,
)
from meterplex.services.operators.sign_in import PasswordHasher, session, sign_in

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PASSWORD = "correct horse"
HASHER = PasswordHasher(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
ADMIN = grants_of([Role.ADMIN], [], [])


async def add(
    database: Database,
    estate: "Estate",
    name: str,
    grants: frozenset[Grant],
    by: Operator | None,
    *,
    dry_run: bool = False,
) -> Operator:
    new = NewOperator(name, PASSWORD, "en", grants)
    return await add_operator(
        database, HASHER, estate.organisation.id, new, by=by, at=NOW, dry_run=dry_run
    )


@pytest.fixture
async def admin(database: Database, estate: "Estate") -> Operator:
    return await add(database, estate, "admin", ADMIN, None)


@pytest.fixture
async def manager(database: Database, estate: "Estate", admin: Operator) -> Operator:
    """Manages cashiers of one site."""
    grants = grants_of([Role.CASHIER], [Right.OPERATOR_MANAGE], [estate.site.id])
    return await add(database, estate, "manager", grants, admin)


async def known(database: Database, estate: "Estate") -> dict[str, Operator]:
    async with database.unit_of_work(read_only=True) as uow:
        return {each.name: each for each in await uow.operators.all(estate.organisation.id)}


async def last_action(database: Database, estate: "Estate") -> tuple[str, str]:
    async with database.unit_of_work(read_only=True) as uow:
        entry = await uow.audit.last(estate.organisation.id)
    assert entry is not None
    return entry.record.operator, entry.record.action


def test_rights_of_a_role_come_with_further_ones() -> None:
    assert grants_of([Role.CASHIER], [Right.AUDIT_READ], []) == {
        Grant(Right.ACCOUNT_READ),
        Grant(Right.MONEY_VEND),
        Grant(Right.AUDIT_READ),
    }


async def test_first_operator_is_added_by_the_owner_of_the_machine(
    database: Database, estate: "Estate"
) -> None:
    admin = await add(database, estate, " Admin", ADMIN, None)
    assert admin.name == "admin"
    assert await known(database, estate) == {"admin": admin}
    assert await last_action(database, estate) == ("owner of the machine", "operator.add")


async def test_second_operator_needs_somebody_signed_in(
    database: Database, estate: "Estate", admin: Operator
) -> None:
    with pytest.raises(NotSignedInError):
        await add(database, estate, "bert", ADMIN, None)
    assert list(await known(database, estate)) == ["admin"]


async def test_of_two_first_operators_at_once_one_is_added(
    database: Database, estate: "Estate"
) -> None:
    results = await asyncio.gather(
        *(add(database, estate, f"first-{number}", ADMIN, None) for number in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Operator) for result in results) == 1
    assert len(await known(database, estate)) == 1


@pytest.mark.parametrize(
    "grants",
    [grants_of([Role.FINANCE], [], []), grants_of([], [Right.REPORT_READ], [])],
    ids=["finance", "reader"],
)
async def test_first_operator_must_manage_the_others(
    database: Database, estate: "Estate", grants: frozenset[Grant]
) -> None:
    with pytest.raises(OperatorRuleError, match="--role admin"):
        await add(database, estate, "finance", grants, None)
    assert await known(database, estate) == {}


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewOperator("", PASSWORD, "en", ADMIN), "name"),
        (NewOperator("bert", "short", "en", ADMIN), "password"),
        (NewOperator("bert", PASSWORD, "fr", ADMIN), "language"),
        (NewOperator("bert", PASSWORD, "en", frozenset()), "rights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_field_that_cannot_be_is_named(
    database: Database, estate: "Estate", admin: Operator, new: NewOperator, field: str
) -> None:
    with pytest.raises(OperatorInputError, match=f"^{field}"):
        await add_operator(database, HASHER, estate.organisation.id, new, by=admin, at=NOW)
    assert list(await known(database, estate)) == ["admin"]


async def test_name_is_taken_whatever_its_case(
    database: Database, estate: "Estate", admin: Operator
) -> None:
    with pytest.raises(ConflictError, match="operator admin exists"):
        await add(database, estate, "ADMIN", ADMIN, admin)


async def test_nobody_gives_what_he_has_not(
    database: Database, estate: "Estate", manager: Operator
) -> None:
    here = [estate.site.id]
    await add(database, estate, "cashier", grants_of([Role.CASHIER], [], here), manager)
    for grants in (
        grants_of([Role.CASHIER], [], []),
        grants_of([], [Right.MONEY_APPROVE], here),
        ADMIN,
    ):
        with pytest.raises(ForbiddenError, match=r"manager needs operator\.manage"):
            await add(database, estate, "friend", grants, manager)
        assert await last_action(database, estate) == ("manager", "operator.add.refused")
        with pytest.raises(ForbiddenError):
            await change_rights(
                database,
                estate.organisation.id,
                "manager",
                give=grants,
                by=manager,
                at=NOW,
            )
    assert set(await known(database, estate)) == {"admin", "cashier", "manager"}


Try = Callable[[Database, Operator, Operator], Awaitable[object]]


async def lock(database: Database, by: Operator, target: Operator) -> object:
    return await set_operator_state(
        database, by.organisation_id, target.name, OperatorState.LOCKED, by=by, at=NOW
    )


async def replace_password(database: Database, by: Operator, target: Operator) -> object:
    return await set_password(
        database, HASHER, by.organisation_id, target.name, "another horse", by=by, at=NOW
    )


async def revoke(database: Database, by: Operator, target: Operator) -> object:
    return await revoke_tokens(database, by.organisation_id, target.name, by=by, at=NOW)


async def take(database: Database, by: Operator, target: Operator) -> object:
    return await change_rights(
        database, by.organisation_id, target.name, take=target.grants, by=by, at=NOW
    )


ON_OTHERS = pytest.mark.parametrize("attempt", [lock, replace_password, revoke, take])


@ON_OTHERS
async def test_nobody_touches_who_may_more(
    database: Database, estate: "Estate", admin: Operator, manager: Operator, attempt: Try
) -> None:
    before = await known(database, estate)
    with pytest.raises(ForbiddenError):
        await attempt(database, manager, admin)
    who, action = await last_action(database, estate)
    assert who == "manager"
    assert action.endswith(".refused")
    assert await known(database, estate) == before
    await sign_in(database, HASHER, admin.organisation_id, "admin", PASSWORD, at=NOW)


@ON_OTHERS
async def test_who_manages_no_operators_learns_no_names(
    database: Database, estate: "Estate", admin: Operator, attempt: Try
) -> None:
    cashier = await add(database, estate, "cashier", grants_of([Role.CASHIER], [], []), admin)
    texts = set()
    for target in (admin, Operator(admin.id, admin.organisation_id, "nobody", "en", NOW)):
        with pytest.raises(ForbiddenError) as caught:
            await attempt(database, cashier, target)
        texts.add(str(caught.value))
    assert len(texts) == 1


@ON_OTHERS
async def test_unknown_operator_is_told_to_who_manages(
    database: Database, admin: Operator, attempt: Try
) -> None:
    nobody = Operator(admin.id, admin.organisation_id, "nobody", "en", NOW)
    with pytest.raises(NotFoundError, match="no operator nobody"):
        await attempt(database, admin, nobody)


@pytest.mark.parametrize("attempt", [lock, take])
async def test_last_who_manages_operators_stays(
    database: Database, estate: "Estate", admin: Operator, attempt: Try
) -> None:
    with pytest.raises(OperatorRuleError):
        await attempt(database, admin, admin)
    assert await known(database, estate) == {"admin": admin}
    second = await add(database, estate, "second", ADMIN, admin)
    await attempt(database, second, admin)
    assert (await known(database, estate))["admin"] != admin


async def test_locked_operator_is_out_at_once_and_in_again_after_unlocking(
    database: Database, estate: "Estate", admin: Operator, manager: Operator
) -> None:
    place = estate.organisation.id
    token = (await sign_in(database, HASHER, place, "manager", PASSWORD, at=NOW)).token
    locked = await set_operator_state(
        database, place, "Manager", OperatorState.LOCKED, by=admin, at=NOW
    )
    assert locked.state is OperatorState.LOCKED
    with pytest.raises(SignInRefusedError):
        await sign_in(database, HASHER, place, "manager", PASSWORD, at=NOW)
    await set_operator_state(database, place, "manager", OperatorState.ACTIVE, by=admin, at=NOW)
    assert await last_action(database, estate) == ("admin", "operator.unlock")
    await sign_in(database, HASHER, place, "manager", PASSWORD, at=NOW)
    with pytest.raises(NotSignedInError):
        await session(database, place, token, NOW)


async def test_rights_are_given_and_taken(
    database: Database, estate: "Estate", admin: Operator, manager: Operator
) -> None:
    place, here = estate.organisation.id, estate.site.id
    given = await change_rights(
        database,
        place,
        "manager",
        give=[Grant(Right.MONEY_REFUND, here)],
        take=[Grant(Right.MONEY_VEND, here)],
        by=admin,
        at=NOW,
    )
    assert given.may(Right.MONEY_REFUND, here)
    assert not given.may(Right.MONEY_VEND, here)
    assert (await known(database, estate))["manager"] == given
    async with database.unit_of_work(read_only=True) as uow:
        entry = await uow.audit.last(place)
    assert entry is not None
    assert entry.record.detail == {
        "given": f"money.refund@{here}",
        "taken": f"money.vend@{here}",
    }


async def test_new_password_replaces_the_old_one_and_ends_all_tokens(
    database: Database, estate: "Estate", admin: Operator, manager: Operator
) -> None:
    place = estate.organisation.id
    token = (await sign_in(database, HASHER, place, "manager", PASSWORD, at=NOW)).token
    await replace_password(database, admin, manager)
    with pytest.raises(NotSignedInError):
        await session(database, place, token, NOW)
    with pytest.raises(SignInRefusedError):
        await sign_in(database, HASHER, place, "manager", PASSWORD, at=NOW)
    await sign_in(database, HASHER, place, "manager", "another horse", at=NOW)


async def test_own_password_needs_the_current_one_and_no_right(
    database: Database, estate: "Estate", admin: Operator
) -> None:
    cashier = await add(database, estate, "cashier", grants_of([Role.CASHIER], [], []), admin)
    with pytest.raises(SignInRefusedError):
        await replace_password(database, cashier, cashier)
    await set_password(
        database,
        HASHER,
        cashier.organisation_id,
        "cashier",
        "another horse",
        current=PASSWORD,
        by=cashier,
        at=NOW,
    )
    await sign_in(database, HASHER, cashier.organisation_id, "cashier", "another horse", at=NOW)


async def test_own_tokens_can_be_ended_without_a_right(
    database: Database, estate: "Estate", admin: Operator
) -> None:
    cashier = await add(database, estate, "cashier", grants_of([Role.CASHIER], [], []), admin)
    for _ in range(2):
        await sign_in(database, HASHER, cashier.organisation_id, "cashier", PASSWORD, at=NOW)
    assert await revoke(database, cashier, cashier) == 2
    assert await revoke(database, cashier, cashier) == 0


async def test_dry_run_checks_all_and_keeps_nothing(
    database: Database, estate: "Estate", admin: Operator, manager: Operator
) -> None:
    place, before = estate.organisation.id, await known(database, estate)
    last = await last_action(database, estate)
    await add(database, estate, "bert", ADMIN, admin, dry_run=True)
    await change_rights(database, place, "manager", give=ADMIN, by=admin, at=NOW, dry_run=True)
    state = OperatorState.LOCKED
    await set_operator_state(database, place, "manager", state, by=admin, at=NOW, dry_run=True)
    await set_password(
        database, HASHER, place, "manager", "another horse", by=admin, at=NOW, dry_run=True
    )
    await revoke_tokens(database, place, "manager", by=admin, at=NOW, dry_run=True)
    assert await known(database, estate) == before
    assert await last_action(database, estate) == last
    with pytest.raises(ConflictError):
        await add(database, estate, "manager", ADMIN, admin, dry_run=True)


async def test_right_is_required_at_every_site_and_a_refusal_noted(
    database: Database, estate: "Estate", manager: Operator
) -> None:
    here = estate.site.id

    async def require(*sites: None) -> None:
        await require_rights(
            database,
            manager,
            [Right.MONEY_VEND],
            [here, *sites],
            action="vend",
            subject="account 7",
            at=NOW + timedelta(seconds=1),
        )

    before = await last_action(database, estate)
    await require()
    assert await last_action(database, estate) == before
    with pytest.raises(ForbiddenError, match=r"no right money\.vend at the whole organisation"):
        await require(None)
    assert await last_action(database, estate) == ("manager", "vend.refused")


async def test_other_failures_are_no_refusals(
    database: Database, estate: "Estate", manager: Operator
) -> None:
    before = await last_action(database, estate)
    with pytest.raises(NotFoundError):
        async with refusals_noted(database, manager, "vend", "account 7", NOW):
            raise NotFoundError("no account 7")
    assert await last_action(database, estate) == before

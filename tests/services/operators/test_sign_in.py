import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import argon2
import pytest

from meterplex.db import Database
from meterplex.domain.operators import (
    FREE_TRIES,
    NotSignedInError,
    Operator,
    OperatorInputError,
    OperatorState,
    Role,
    SignInRefusedError,
)
from meterplex.services.operators.audit import verify
from meterplex.services.operators.manage_operators import (
    NewOperator,
    add_operator,
    grants_of,
    set_operator_state,
)
from meterplex.services.operators.sign_in import (
    LIFETIME,
    PasswordHasher,
    confirm_password,
    session,
    sign_in,
    sign_out,
    token_hash,
)

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PASSWORD = "correct horse"
HASHER = PasswordHasher(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
async def anna(database: Database, estate: "Estate") -> Operator:
    new = NewOperator("Anna", PASSWORD, "en", grants_of([Role.ADMIN], [], []))
    return await add_operator(database, HASHER, estate.organisation.id, new, by=None, at=NOW)


async def enter(database: Database, anna: Operator, password: str, at: datetime = NOW) -> str:
    signed_in = await sign_in(database, HASHER, anna.organisation_id, anna.name, password, at=at)
    return signed_in.token


async def actions(database: Database, anna: Operator) -> list[tuple[str, str, dict[str, str]]]:
    async with database.unit_of_work(read_only=True) as uow:
        entries = await uow.audit.entries(anna.organisation_id)
    assert await verify(database, anna.organisation_id) is None
    return [
        (entry.record.operator, entry.record.action, dict(entry.record.detail)) for entry in entries
    ]


async def test_right_password_gives_a_new_token_each_time(
    database: Database, anna: Operator
) -> None:
    tokens = {await enter(database, anna, PASSWORD) for _ in range(3)}
    assert len(tokens) == 3
    for token in tokens:
        assert len(token) == len("mplx_") + 43
        found = await session(database, anna.organisation_id, token, NOW)
        assert found.operator == anna
        assert found.token.expires_at == NOW + LIFETIME


async def test_token_is_made_of_the_random_bytes_and_stored_as_a_hash(
    database: Database, anna: Operator
) -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return b"\xff" * count

    signed_in = await sign_in(
        database,
        HASHER,
        anna.organisation_id,
        " ANNA ",
        PASSWORD,
        at=NOW,
        random_bytes=random_bytes,
    )
    assert asked == [32]
    assert signed_in.token == "mplx_" + "_" * 42 + "8"
    assert signed_in.token not in repr(signed_in)
    found = await session(database, anna.organisation_id, signed_in.token, NOW)
    assert found.token.hash == token_hash(signed_in.token)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("anna", "wrong horse", id="wrong password"),
        pytest.param("anna", "", id="no password"),
        pytest.param("anna", "x" * 100_000, id="endless password"),
        pytest.param("nobody.here", PASSWORD, id="unknown name"),
        pytest.param("no name: \x00", PASSWORD, id="name that cannot be"),
    ],
)
async def test_refusal_does_not_say_why(
    database: Database, anna: Operator, name: str, password: str
) -> None:
    with pytest.raises(SignInRefusedError) as caught:
        await sign_in(database, HASHER, anna.organisation_id, name, password, at=NOW)
    assert str(caught.value) == (
        "name or password is wrong, or signing in is locked or blocked for a while"
    )
    operator, action, detail = (await actions(database, anna))[-1]
    assert action == "operator.sign_in.refused"
    assert operator == ("anna" if name == "anna" else "nobody")
    assert PASSWORD not in str(detail)
    assert "here" not in str(detail)


class CountingHasher(PasswordHasher):
    """Counts how often a hash was verified."""

    def __init__(self) -> None:
        super().__init__(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.verified = 0

    def _verify(self, password_hash: str, password: str) -> bool:
        self.verified += 1
        return super()._verify(password_hash, password)


async def lock(database: Database, anna: Operator) -> None:
    async with database.unit_of_work() as uow:
        await uow.operators.set_state(anna.organisation_id, anna.id, OperatorState.LOCKED)
        await uow.commit()


async def block(database: Database, anna: Operator) -> None:
    async with database.unit_of_work() as uow:
        await uow.operators.block(anna.organisation_id, anna.id, NOW + timedelta(seconds=1))
        await uow.commit()


async def leave(database: Database, anna: Operator) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("prepare", "name", "password"),
    [
        pytest.param(leave, "anna", "wrong horse", id="wrong password"),
        pytest.param(leave, "bert", PASSWORD, id="unknown name"),
        pytest.param(lock, "anna", PASSWORD, id="locked"),
        pytest.param(block, "anna", PASSWORD, id="blocked"),
    ],
)
async def test_every_refusal_costs_one_verification(
    database: Database,
    anna: Operator,
    prepare: Callable[[Database, Operator], Awaitable[None]],
    name: str,
    password: str,
) -> None:
    await prepare(database, anna)
    hasher = CountingHasher()
    with pytest.raises(SignInRefusedError):
        await sign_in(database, hasher, anna.organisation_id, name, password, at=NOW)
    assert hasher.verified == 1


async def test_wrong_passwords_block_even_the_right_one_for_a_while(
    database: Database, anna: Operator
) -> None:
    for _ in range(FREE_TRIES + 1):
        with pytest.raises(SignInRefusedError):
            await enter(database, anna, "wrong horse")
    with pytest.raises(SignInRefusedError):
        await enter(database, anna, PASSWORD, NOW + timedelta(seconds=29))
    assert await enter(database, anna, PASSWORD, NOW + timedelta(seconds=30))
    last = [detail for _, action, detail in await actions(database, anna) if "refused" in action]
    assert last == [{"refused": "wrong password"}] * 5 + [{"refused": "blocked for a while"}]


async def test_right_password_forgets_the_wrong_ones(database: Database, anna: Operator) -> None:
    for _ in range(3):
        for _ in range(FREE_TRIES):
            with pytest.raises(SignInRefusedError):
                await enter(database, anna, "wrong horse")
        assert await enter(database, anna, PASSWORD)


class PatientHasher(PasswordHasher):
    """Finds no password right before all tries were verified and one of them was refused."""

    def __init__(self, tries: int) -> None:
        super().__init__(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self._tries = asyncio.Barrier(tries)
        self.refused = asyncio.Event()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        matches = await super().verify(password_hash, password)
        await self._tries.wait()
        if matches:
            await self.refused.wait()
        return matches


async def test_right_password_among_many_guesses_at_once_does_not_count(
    database: Database, anna: Operator
) -> None:
    guesses = [f"guess no {number}" for number in range(5)] + [PASSWORD]
    hasher = PatientHasher(len(guesses))

    async def refused(guess: str) -> bool:
        try:
            await sign_in(database, hasher, anna.organisation_id, "anna", guess, at=NOW)
        except SignInRefusedError:
            hasher.refused.set()
            return True
        return False

    assert all(await asyncio.gather(*(refused(guess) for guess in guesses)))
    async with database.unit_of_work(read_only=True) as uow:
        credential = await uow.operators.credential(anna.organisation_id, anna.id)
    assert credential.failed_sign_ins == 5


async def test_sign_ins_and_changes_at_once_do_not_wait_in_a_ring(
    database: Database, anna: Operator
) -> None:
    async def change() -> None:
        state = OperatorState.ACTIVE
        await set_operator_state(database, anna.organisation_id, "anna", state, by=anna, at=NOW)

    async def enter_and_leave() -> None:
        try:
            token = await enter(database, anna, PASSWORD)
            await sign_out(database, await session(database, anna.organisation_id, token, NOW), NOW)
        except (SignInRefusedError, NotSignedInError):
            pass  # overtaken by another one

    async def mistype() -> None:
        with pytest.raises(SignInRefusedError):
            await enter(database, anna, "wrong horse")

    await asyncio.gather(*(work() for _ in range(4) for work in (change, enter_and_leave, mistype)))
    assert await verify(database, anna.organisation_id) is None


async def test_password_is_hashed_anew_when_the_parameters_have_changed(
    database: Database, anna: Operator
) -> None:
    stronger = PasswordHasher(argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    await sign_in(database, stronger, anna.organisation_id, "anna", PASSWORD, at=NOW)
    async with database.unit_of_work(read_only=True) as uow:
        credential = await uow.operators.credential(anna.organisation_id, anna.id)
    assert "t=2" in credential.password_hash
    assert credential.password_hash.startswith("$argon2id$")
    await sign_in(database, stronger, anna.organisation_id, "anna", PASSWORD, at=NOW)


async def test_damaged_hash_lets_nobody_in(database: Database, anna: Operator) -> None:
    async with database.unit_of_work() as uow:
        await uow.operators.set_password_hash(anna.organisation_id, anna.id, "no hash")
        await uow.commit()
    with pytest.raises(SignInRefusedError):
        await enter(database, anna, PASSWORD)


async def test_token_ends_with_its_time_its_sign_out_and_its_operator(
    database: Database, anna: Operator
) -> None:
    place = anna.organisation_id
    first, second = await enter(database, anna, PASSWORD), await enter(database, anna, PASSWORD)
    await session(database, place, first, NOW + LIFETIME - timedelta(seconds=1))
    with pytest.raises(NotSignedInError):
        await session(database, place, first, NOW + LIFETIME)
    await sign_out(database, await session(database, place, first, NOW), NOW)
    with pytest.raises(NotSignedInError):
        await session(database, place, first, NOW)
    await session(database, place, second, NOW)
    await lock(database, anna)
    with pytest.raises(NotSignedInError):
        await session(database, place, second, NOW)


@pytest.mark.parametrize("token", ["", "mplx_", "mplx_" + "A" * 43, "\udc80"])
async def test_unknown_token_is_nobodys(database: Database, anna: Operator, token: str) -> None:
    with pytest.raises(NotSignedInError):
        await session(database, anna.organisation_id, token, NOW)


async def test_token_of_another_organisation_is_nobodys(
    database: Database, anna: Operator, other_estate: "Estate"
) -> None:
    token = await enter(database, anna, PASSWORD)
    with pytest.raises(NotSignedInError):
        await session(database, other_estate.organisation.id, token, NOW)


async def test_use_of_a_token_is_noted_once_a_minute(database: Database, anna: Operator) -> None:
    token = await enter(database, anna, PASSWORD)
    seen = []
    for seconds in (0, 59, 60, 61):
        at = NOW + timedelta(seconds=seconds)
        await session(database, anna.organisation_id, token, at)
        found = await session(database, anna.organisation_id, token, at)
        assert found.token.last_used_at is not None
        seen.append((found.token.last_used_at - NOW).total_seconds())
    assert seen == [0, 0, 60, 60]


async def test_current_password_is_confirmed(database: Database, anna: Operator) -> None:
    await confirm_password(database, HASHER, anna, PASSWORD, NOW)
    with pytest.raises(SignInRefusedError):
        await confirm_password(database, HASHER, anna, "wrong horse", NOW)


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=-1), timedelta(days=31)])
async def test_lifetime_has_bounds(database: Database, anna: Operator, lifetime: timedelta) -> None:
    with pytest.raises(OperatorInputError, match=r"^lifetime"):
        await sign_in(
            database,
            HASHER,
            anna.organisation_id,
            "anna",
            PASSWORD,
            at=NOW,
            lifetime=lifetime,
        )


async def test_no_secret_is_in_the_audit_log(database: Database, anna: Operator) -> None:
    token = await enter(database, anna, PASSWORD)
    with pytest.raises(SignInRefusedError):
        await enter(database, anna, "wrong horse")
    await sign_out(database, await session(database, anna.organisation_id, token, NOW), NOW)
    told = str(await actions(database, anna))
    assert "sign_out" in told
    for secret in (PASSWORD, "wrong horse", token, token_hash(token), "$argon2id$"):
        assert secret not in told

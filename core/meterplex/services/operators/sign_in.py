"""Signing in and out: a password once, then a token with each call.

Whoever tries names or passwords learns nothing: an unknown name, a wrong password, a locked
operator and a blocked one give the same answer, after the same work. A right password counts only
if no wrong one came between reading the count and setting it back, so that many guesses at once
are no more than one guess.
"""

import asyncio
import secrets
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import argon2
import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.estate import OrganisationId
from meterplex.domain.operators import (
    PASSWORD_LENGTH_MAX,
    Credential,
    NotSignedInError,
    Operator,
    OperatorInputError,
    OperatorState,
    OperatorToken,
    SignInRefusedError,
    TokenId,
    block_after,
    operator_name,
)
from meterplex.services.operators.audit import record

LIFETIME: Final = timedelta(hours=12)
LIFETIME_MAX: Final = timedelta(days=30)
TOKEN_BYTES: Final = 32
PREFIX: Final = "mplx_"
"""Every token begins with it, so that scanners find one that leaked."""
USE_NOTED_EVERY: Final = timedelta(minutes=1)

_REFUSED: Final = "name or password is wrong, or signing in is locked or blocked for a while"
_WRONG: Final = "wrong password"
_OVERTAKEN: Final = "another try, or a change, came between"
_NOT_SIGNED_IN: Final = "the token is unknown, revoked or over: run meterplex sign-in"


class PasswordHasher:
    """argon2id in a thread: it takes about a tenth of a second and 64 MiB, by intent."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        """Take the library's parameters where none are given."""
        self._hasher = argon2.PasswordHasher() if hasher is None else hasher
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """Return the hash of a password with its salt and parameters."""
        return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether a password is that of a hash; for no hash it takes as long and says no."""
        if password_hash is None:
            await asyncio.to_thread(self._verify, await self._dummy_hash(), password)
            return False
        return await asyncio.to_thread(self._verify, password_hash, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def prepare(self) -> None:
        """Make the hash of nobody, so that the first unknown name takes no longer than others."""
        await self._dummy_hash()

    async def _dummy_hash(self) -> str:
        if self._dummy is None:
            self._dummy = await self.hash("of nobody")
        return self._dummy

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in gives; the token is shown here and never again."""

    operator: Operator
    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in operator and the token that was shown."""

    operator: Operator
    token: OperatorToken


@dataclass(frozen=True, slots=True)
class _Candidate:
    operator: Operator
    credential: Credential


def token_hash(token: str) -> str:
    """Return what is stored of a token: it has 256 random bits, so a plain SHA-256 does."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


async def sign_in(
    database: Database,
    hasher: PasswordHasher,
    organisation_id: OrganisationId,
    name: str,
    password: str,
    *,
    at: datetime,
    lifetime: timedelta = LIFETIME,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> SignedIn:
    """Check a password and give a new token.

    Raises:
        SignInRefusedError: nobody was signed in; the audit log has the reason.
        OperatorInputError: the lifetime is not above 0 and at most :data:`LIFETIME_MAX`.
    """
    if not timedelta(0) < lifetime <= LIFETIME_MAX:
        raise OperatorInputError(f"lifetime {lifetime}: expected at most {LIFETIME_MAX.days} days")
    candidate = await _proven(database, hasher, organisation_id, name, password, at)
    rehashed = None
    if hasher.is_outdated(candidate.credential.password_hash):
        rehashed = await hasher.hash(_as_hashed(password))
    token = PREFIX + urlsafe_b64encode(random_bytes(TOKEN_BYTES)).decode().rstrip("=")
    if not await _let_in(database, candidate, token, at, at + lifetime, rehashed):
        await _note_refusal(database, organisation_id, candidate, _OVERTAKEN, at)
        raise SignInRefusedError(_REFUSED)
    return SignedIn(candidate.operator, token, at + lifetime)


async def confirm_password(
    database: Database, hasher: PasswordHasher, operator: Operator, password: str, at: datetime
) -> None:
    """Check the password of an operator who is signed in already.

    Raises:
        SignInRefusedError: it is wrong, or blocked for a while.
    """
    await _proven(database, hasher, operator.organisation_id, operator.name, password, at)


async def _proven(
    database: Database,
    hasher: PasswordHasher,
    organisation_id: OrganisationId,
    name: str,
    password: str,
    at: datetime,
) -> _Candidate:
    """Return whose password it is, or refuse."""
    await hasher.prepare()
    candidate = await _find(database, organisation_id, name)
    stored = None if candidate is None else candidate.credential.password_hash
    matches = await hasher.verify(stored, _as_hashed(password))
    obstacle = _obstacle(candidate, at, matches=matches)
    if candidate is None or obstacle:
        await _note_refusal(database, organisation_id, candidate, obstacle, at)
        raise SignInRefusedError(_REFUSED)
    return candidate


def _as_hashed(password: str) -> str:
    return unicodedata.normalize("NFC", password[: PASSWORD_LENGTH_MAX + 1])


async def _find(
    database: Database, organisation_id: OrganisationId, name: str
) -> _Candidate | None:
    try:
        name = operator_name(name)
    except OperatorInputError:
        return None
    async with database.unit_of_work(read_only=True) as uow:
        operator = await uow.operators.by_name(organisation_id, name)
        if operator is None:
            return None
        return _Candidate(operator, await uow.operators.credential(organisation_id, operator.id))


def _obstacle(candidate: _Candidate | None, at: datetime, *, matches: bool) -> str:
    """Say why nobody is signed in; empty when somebody may be."""
    if candidate is None:
        return "no such operator"
    if candidate.operator.state is OperatorState.LOCKED:
        return "locked"
    if candidate.credential.is_blocked(at):
        return "blocked for a while"
    return "" if matches else _WRONG


async def _let_in(
    database: Database,
    candidate: _Candidate,
    token: str,
    at: datetime,
    expires_at: datetime,
    rehashed: str | None,
) -> bool:
    """Keep the token; False when something came between the look at the credential and now."""
    operator = candidate.operator
    kept = OperatorToken(
        TokenId(uuid_utils.compat.uuid7()),
        operator.organisation_id,
        operator.id,
        token_hash(token),
        created_at=at,
        expires_at=expires_at,
    )
    detail = {"token": str(kept.id), "expires_at": expires_at.isoformat()}
    async with database.unit_of_work() as uow:
        await _record(uow, operator, "operator.sign_in", detail, at)
        if not await uow.operators.forget_failures(operator.organisation_id, candidate.credential):
            return False
        if rehashed is not None:
            await uow.operators.set_password_hash(operator.organisation_id, operator.id, rehashed)
        await uow.operators.add_token(kept)
        await uow.commit()
    return True


async def _note_refusal(
    database: Database,
    organisation_id: OrganisationId,
    candidate: _Candidate | None,
    obstacle: str,
    at: datetime,
) -> None:
    """Count a wrong password, and write the audit entry.

    An unknown name is not written down: people type passwords where a name belongs.
    """
    name, subject, detail = "nobody", "operator unknown", {"refused": obstacle}
    if candidate is not None:
        name, subject = candidate.operator.name, f"operator {candidate.operator.id}"
    async with database.unit_of_work() as uow:
        await record(uow, organisation_id, name, "operator.sign_in.refused", subject, detail, at)
        if candidate is not None and obstacle == _WRONG:
            operator_id = candidate.operator.id
            failures = await uow.operators.count_failure(organisation_id, operator_id)
            if block := block_after(failures):
                await uow.operators.block(organisation_id, operator_id, at + block)
        await uow.commit()


async def session(
    database: Database, organisation_id: OrganisationId, token: str, at: datetime
) -> Session:
    """Return whose token it is; about once a minute its use is noted.

    Raises:
        NotSignedInError: it is nobody's, revoked, over, or of a locked operator.
    """
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.operators.token(organisation_id, token_hash(token))
        if found is None or not found.is_valid(at):
            raise NotSignedInError(_NOT_SIGNED_IN)
        operator = await uow.operators.get(organisation_id, found.operator_id)
    if operator.state is not OperatorState.ACTIVE:
        raise NotSignedInError(_NOT_SIGNED_IN)
    if found.last_used_at is None or at - found.last_used_at >= USE_NOTED_EVERY:
        async with database.unit_of_work() as uow:
            await uow.operators.token_used(organisation_id, found.id, at)
            await uow.commit()
    return Session(operator, found)


async def sign_out(database: Database, ending: Session, at: datetime) -> None:
    """Revoke the token of a session."""
    operator, detail = ending.operator, {"token": str(ending.token.id)}
    async with database.unit_of_work() as uow:
        await _record(uow, operator, "operator.sign_out", detail, at)
        await uow.operators.revoke_token(operator.organisation_id, ending.token.id, at)
        await uow.commit()


async def _record(
    uow: UnitOfWork, operator: Operator, action: str, detail: Mapping[str, str], at: datetime
) -> None:
    """Write what an operator did with his own account.

    First of all, as every change of operators does: they follow each other, none waits in a ring.
    """
    place, subject = operator.organisation_id, f"operator {operator.id}"
    await record(uow, place, operator.name, action, subject, detail, at)

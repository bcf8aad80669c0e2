"""The same request again gets the first answer again; the same key for something else, a refusal.

The key is committed with what it answers for. Two requests of one key at once wait for each other
at the account they move (prepayment-protocol section 8); where they name two accounts, one of them
meets the other's key when it writes its own.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

import msgspec

from meterplex.db import UnitOfWork
from meterplex.db.errors import ConflictError, TransactionConflictError
from meterplex.db.idempotency import KeyRow
from meterplex.domain.estate import OrganisationId
from meterplex.services.books.errors import IdempotencyError, MoneyInputError

KEY_LENGTH_MAX: Final = 200


class RepeatableAnswer(Protocol):
    """What a request is answered: a dataclass that tells whether it answers a repetition."""

    @property
    def at(self) -> datetime:
        """When the request was answered first."""

    @property
    def repeated(self) -> bool:
        """Nothing was booked now."""


Answer = TypeVar("Answer", bound=RepeatableAnswer)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A request that must not happen twice.

    Attributes:
        caller: the operator's name, or the rule's.
        route: what is asked for: ``vend``, ``refund`` ...
        key: of the caller's choice, unique among what it asks for.
        body: all that makes the request what it is, as texts and whole numbers.
    """

    organisation_id: OrganisationId
    caller: str
    route: str
    key: str
    body: Mapping[str, Any]

    @property
    def body_hash(self) -> str:
        """SHA-256 of the body, in hex."""
        text = json.dumps(self.body, sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()


def check_key(key: str) -> str:
    """Return a key without outer space.

    Raises:
        MoneyInputError: it is empty, too long, or not printable.
    """
    clean = key.strip()
    if not (1 <= len(clean) <= KEY_LENGTH_MAX and clean.isprintable()):
        expected = f"expected 1 to {KEY_LENGTH_MAX} printable characters"
        raise MoneyInputError("idempotency_key", f"{key!r}: {expected}")
    return clean


async def first_answer(uow: UnitOfWork, request: RequestKey, kind: type[Answer]) -> Answer | None:
    """Return what this request was answered the first time; None when this is the first.

    Args:
        kind: the answer's; it is returned as ``repeated``.

    Raises:
        IdempotencyError: the key was used for something else.
    """
    found = await uow.idempotency_keys.find(
        request.organisation_id, request.caller, request.route, request.key
    )
    if found is None:
        if await uow.orders.by_key(request.organisation_id, request.key) is not None:
            raise IdempotencyError("idempotency_key", f"{request.key!r} belongs to another order")
        return None
    if found.body_hash != request.body_hash:
        raise IdempotencyError(
            "idempotency_key",
            f"{request.key!r} was used on {found.created_at.isoformat()} for something else",
        )
    return msgspec.convert({**found.answer, "repeated": True}, kind)


async def keep_answer(uow: UnitOfWork, request: RequestKey, answer: RepeatableAnswer) -> None:
    """Keep the first answer, in the transaction of what it tells.

    Raises:
        ConflictError: the key was used meanwhile; :func:`once` then looks again.
    """
    await uow.idempotency_keys.add(
        KeyRow(
            request.organisation_id,
            request.caller,
            request.route,
            request.key,
            request.body_hash,
            msgspec.to_builtins(answer),
            answer.at,
        )
    )


async def once(work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Do something under a key; try again where another request took the key, or was in the way.

    Args:
        work: a whole transaction, that begins with :func:`first_answer`.
    """
    try:
        return await work()
    except (ConflictError, TransactionConflictError):
        return await work()

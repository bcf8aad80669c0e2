"""Repositories of operators with their credentials and tokens, and of approvals."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from meterplex.db.errors import NotFoundError
from meterplex.db.operator_tables import approval, operator, operator_right, operator_token
from meterplex.db.repository import Repository
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalState
from meterplex.domain.estate import OrganisationId
from meterplex.domain.operators import (
    Credential,
    Grant,
    Operator,
    OperatorId,
    OperatorState,
    OperatorToken,
    TokenId,
)

_OPERATOR_COLUMNS: Final = tuple(
    operator.c[each.name] for each in fields(Operator) if each.name != "grants"
)


class Operators(Repository):
    """The operators of the organisations; lists come in the order of their names."""

    async def add(self, new: Operator, password_hash: str) -> None:
        """Add an operator with its rights.

        Raises:
            ConflictError: the name is taken.
            MissingReferenceError: a right at a site that the organisation has not.
        """
        row = {column.name: getattr(new, column.name) for column in _OPERATOR_COLUMNS}
        row |= {"password_hash": password_hash, "failed_sign_ins": 0}
        await self._insert(operator, [row])
        await self._insert_grants(new.organisation_id, new.id, new.grants)

    async def all(self, organisation_id: OrganisationId) -> tuple[Operator, ...]:
        """Return all of an organisation."""
        return await self._select(organisation_id)

    async def get(self, organisation_id: OrganisationId, operator_id: OperatorId) -> Operator:
        """Return one.

        Raises:
            NotFoundError: the organisation has no such operator.
        """
        found = await self._select(organisation_id, operator.c.id == operator_id)
        if not found:
            raise NotFoundError(f"no operator {operator_id} in this organisation")
        return found[0]

    async def by_name(self, organisation_id: OrganisationId, name: str) -> Operator | None:
        """Return the operator of a name, as :func:`~meterplex.domain.operators.operator_name`."""
        found = await self._select(organisation_id, operator.c.name == name)
        return found[0] if found else None

    async def set_grants(
        self, organisation_id: OrganisationId, operator_id: OperatorId, grants: Iterable[Grant]
    ) -> None:
        """Give an operator these rights and no others."""
        columns = operator_right.c
        await self._execute(
            sa.delete(operator_right).where(
                columns.organisation_id == organisation_id, columns.operator_id == operator_id
            )
        )
        await self._insert_grants(organisation_id, operator_id, grants)

    async def set_state(
        self, organisation_id: OrganisationId, operator_id: OperatorId, state: OperatorState
    ) -> None:
        """Lock or unlock an operator; unlocking forgets the wrong passwords."""
        values: dict[str, Any] = {"state": state}
        if state is OperatorState.ACTIVE:
            values |= {"failed_sign_ins": 0, "blocked_until": None}
        await self._update(organisation_id, operator_id, **values)

    # -- credentials ---------------------------------------------------------------------------

    async def credential(
        self, organisation_id: OrganisationId, operator_id: OperatorId
    ) -> Credential:
        """Return how an operator signs in.

        Raises:
            NotFoundError: the organisation has no such operator.
        """
        columns = operator.c
        row = await self._row(
            sa.select(
                columns.id.label("operator_id"),
                columns.password_hash,
                columns.failed_sign_ins,
                columns.blocked_until,
            ).where(columns.organisation_id == organisation_id, columns.id == operator_id)
        )
        if row is None:
            raise NotFoundError(f"no operator {operator_id} in this organisation")
        return Credential(**row)

    async def set_password_hash(
        self, organisation_id: OrganisationId, operator_id: OperatorId, password_hash: str
    ) -> None:
        """Give an operator another password; wrong ones of before are forgotten."""
        await self._update(
            organisation_id,
            operator_id,
            password_hash=password_hash,
            failed_sign_ins=0,
            blocked_until=None,
        )

    async def count_failure(self, organisation_id: OrganisationId, operator_id: OperatorId) -> int:
        """Count a wrong password; return how many there have been in a row."""
        columns = operator.c
        counted = await self._execute(
            sa.update(operator)
            .where(columns.organisation_id == organisation_id, columns.id == operator_id)
            .values(failed_sign_ins=columns.failed_sign_ins + 1)
            .returning(columns.failed_sign_ins)
        )
        count: int = counted.scalar_one()
        return count

    async def block(
        self, organisation_id: OrganisationId, operator_id: OperatorId, until: datetime
    ) -> None:
        """Let no password be right before a time."""
        await self._update(organisation_id, operator_id, blocked_until=until)

    async def forget_failures(
        self, organisation_id: OrganisationId, credential: Credential
    ) -> bool:
        """Set the count of wrong passwords back to 0, if nothing came since it was read.

        Returns:
            False when another wrong password, another password, a block or a lock came between:
            then the sign-in must not count, or many guesses at once would all be tried.
        """
        columns = operator.c
        changed = await self._execute(
            sa.update(operator)
            .where(
                columns.organisation_id == organisation_id,
                columns.id == credential.operator_id,
                columns.state == OperatorState.ACTIVE,
                columns.password_hash == credential.password_hash,
                columns.failed_sign_ins == credential.failed_sign_ins,
                columns.blocked_until.is_not_distinct_from(credential.blocked_until),
            )
            .values(failed_sign_ins=0, blocked_until=None)
        )
        return changed.rowcount == 1

    # -- tokens --------------------------------------------------------------------------------

    async def add_token(self, token: OperatorToken) -> None:
        """Add a token of a sign-in."""
        row = {each.name: getattr(token, each.name) for each in fields(token)}
        await self._insert(operator_token, [row])

    async def token(self, organisation_id: OrganisationId, token_hash: str) -> OperatorToken | None:
        """Return the token of a hash, valid or not."""
        columns = operator_token.c
        row = await self._row(
            sa.select(operator_token).where(
                columns.organisation_id == organisation_id, columns.hash == token_hash
            )
        )
        return None if row is None else OperatorToken(**row)

    async def token_used(
        self, organisation_id: OrganisationId, token_id: TokenId, at: datetime
    ) -> None:
        """Note when a token was last shown."""
        columns = operator_token.c
        await self._execute(
            sa.update(operator_token)
            .where(columns.organisation_id == organisation_id, columns.id == token_id)
            .values(last_used_at=at)
        )

    async def revoke_token(
        self, organisation_id: OrganisationId, token_id: TokenId, at: datetime
    ) -> bool:
        """End a token; False when it had been ended before."""
        return await self._revoke(organisation_id, operator_token.c.id == token_id, at) == 1

    async def revoke_tokens(
        self, organisation_id: OrganisationId, operator_id: OperatorId, at: datetime
    ) -> int:
        """End all tokens of an operator; return how many of them were still valid."""
        columns = operator_token.c
        return await self._revoke(
            organisation_id,
            sa.and_(columns.operator_id == operator_id, columns.expires_at > at),
            at,
        )

    async def _revoke(
        self, organisation_id: OrganisationId, which: sa.ColumnElement[bool], at: datetime
    ) -> int:
        columns = operator_token.c
        ended = await self._execute(
            sa.update(operator_token)
            .where(columns.organisation_id == organisation_id, which, columns.revoked_at.is_(None))
            .values(revoked_at=at)
        )
        return ended.rowcount

    # ------------------------------------------------------------------------------------------

    async def _update(
        self, organisation_id: OrganisationId, operator_id: OperatorId, **values: object
    ) -> None:
        columns = operator.c
        changed = await self._execute(
            sa.update(operator)
            .where(columns.organisation_id == organisation_id, columns.id == operator_id)
            .values(**values)
        )
        if changed.rowcount != 1:
            raise NotFoundError(f"no operator {operator_id} in this organisation")

    async def _insert_grants(
        self, organisation_id: OrganisationId, operator_id: OperatorId, grants: Iterable[Grant]
    ) -> None:
        ordered = sorted(grants, key=lambda grant: (grant.right, str(grant.site_id)))
        rows = [
            {
                "organisation_id": organisation_id,
                "operator_id": operator_id,
                "position": position,
                "right": grant.right,
                "site_id": grant.site_id,
            }
            for position, grant in enumerate(ordered)
        ]
        await self._insert(operator_right, rows)

    async def _select(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> tuple[Operator, ...]:
        rows = await self._rows(
            sa.select(*_OPERATOR_COLUMNS)
            .where(operator.c.organisation_id == organisation_id, *where)
            .order_by(operator.c.name)
        )
        grants = await self._grants(organisation_id, [row["id"] for row in rows])
        return tuple(Operator(**row, grants=frozenset(grants[row["id"]])) for row in rows)

    async def _grants(
        self, organisation_id: OrganisationId, operator_ids: list[OperatorId]
    ) -> defaultdict[OperatorId, set[Grant]]:
        columns = operator_right.c
        rows = await self._rows(
            sa.select(columns.operator_id, columns.right, columns.site_id).where(
                columns.organisation_id == organisation_id, columns.operator_id.in_(operator_ids)
            )
        )
        grants: defaultdict[OperatorId, set[Grant]] = defaultdict(set)
        for row in rows:
            grants[row["operator_id"]].add(Grant(row["right"], row["site_id"]))
        return grants


class Approvals(Repository):
    """What needs a second person; every move is a compare-and-set."""

    async def add(self, asked: Approval) -> None:
        """Add a request."""
        row = {each.name: getattr(asked, each.name) for each in fields(asked)}
        await self._insert(approval, [row | {"content": dict(asked.content)}])

    async def get(self, organisation_id: OrganisationId, approval_id: ApprovalId) -> Approval:
        """Return one.

        Raises:
            NotFoundError: the organisation has no such approval.
        """
        columns = approval.c
        row = await self._row(
            sa.select(approval).where(
                columns.organisation_id == organisation_id, columns.id == approval_id
            )
        )
        if row is None:
            raise NotFoundError(f"no approval {approval_id} in this organisation")
        return Approval(**row)

    async def newest(
        self, organisation_id: OrganisationId, *, limit: int = 100
    ) -> tuple[Approval, ...]:
        """Return the requests, newest first."""
        columns = approval.c
        rows = await self._rows(
            sa.select(approval)
            .where(columns.organisation_id == organisation_id)
            .order_by(columns.asked_at.desc(), columns.id.desc())
            .limit(limit)
        )
        return tuple(Approval(**row) for row in rows)

    async def waiting(self, organisation_id: OrganisationId, at: datetime) -> tuple[Approval, ...]:
        """Return the requests that can be decided at a time, oldest first."""
        columns = approval.c
        rows = await self._rows(
            sa.select(approval)
            .where(
                columns.organisation_id == organisation_id,
                columns.state == ApprovalState.OPEN,
                columns.lapses_at > at,
            )
            .order_by(columns.asked_at, columns.id)
        )
        return tuple(Approval(**row) for row in rows)

    async def decide(
        self,
        organisation_id: OrganisationId,
        approval_id: ApprovalId,
        state: ApprovalState,
        *,
        decided_by: OperatorId,
        at: datetime,
        remark: str,
    ) -> Approval | None:
        """Approve or refuse an open request; None when it is not open any more."""
        columns = approval.c
        return await self._move(
            sa.update(approval)
            .where(
                columns.organisation_id == organisation_id,
                columns.id == approval_id,
                columns.state == ApprovalState.OPEN,
                columns.lapses_at > at,
            )
            .values(state=state, decided_by=decided_by, decided_at=at, remark=remark)
        )

    async def use(
        self,
        organisation_id: OrganisationId,
        approval_id: ApprovalId,
        content_hash: str,
        at: datetime,
    ) -> Approval | None:
        """Take an approval, once, for exactly its content.

        To be called in the transaction of what it allows: both are kept, or neither.

        Returns:
            The used approval; None when it does not allow this content now.
        """
        columns = approval.c
        return await self._move(
            sa.update(approval)
            .where(
                columns.organisation_id == organisation_id,
                columns.id == approval_id,
                columns.state == ApprovalState.APPROVED,
                columns.content_hash == content_hash,
                columns.lapses_at > at,
            )
            .values(state=ApprovalState.USED, used_at=at)
        )

    async def _move(self, update: sa.Update) -> Approval | None:
        row = (await self._execute(update.returning(approval))).mappings().one_or_none()
        return None if row is None else Approval(**row)

"""Operators: who is added, what each may do, and what becomes of a try without the right.

Nobody can make anybody, himself included, more than he is: rights are given, and operators are
locked or get a new password, only by who holds all of those rights and manages operators there.
One active operator who manages all operators of the organisation always remains.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import ConflictError, NotFoundError
from meterplex.domain.approvals import ApprovalError
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import (
    ROLE_RIGHTS,
    ForbiddenError,
    Grant,
    NotSignedInError,
    Operator,
    OperatorId,
    OperatorInputError,
    OperatorRuleError,
    OperatorState,
    Right,
    Role,
    language_code,
    operator_name,
    password_text,
    require_right,
)
from meterplex.services.operators.audit import record
from meterplex.services.operators.sign_in import PasswordHasher, confirm_password

OWNER: Final = "owner of the machine"
"""Who adds the first operator: whoever can write the database needs no right from it."""


@dataclass(frozen=True, slots=True)
class NewOperator:
    """An operator as asked for."""

    name: str
    password: str = field(repr=False)
    language: str
    grants: frozenset[Grant]


def grants_of(
    roles: Iterable[Role], rights: Iterable[Right], site_ids: Collection[SiteId]
) -> frozenset[Grant]:
    """Return the rights of roles, and further ones, at each site; at the organisation if none."""
    held = frozenset(rights).union(*(ROLE_RIGHTS[role] for role in roles))
    nodes: Collection[SiteId | None] = site_ids or (None,)
    return frozenset(Grant(right, node) for right in held for node in nodes)


@asynccontextmanager
async def refusals_noted(
    database: Database, operator: Operator, action: str, subject: str, at: datetime
) -> AsyncIterator[None]:
    """Write an audit entry ``<action>.refused`` for what is refused inside, and let it go on.

    Enter it before the unit of work of the try, which has to be over when the entry is written.
    """
    try:
        yield
    except (ForbiddenError, OperatorRuleError, ApprovalError) as error:
        async with database.unit_of_work() as uow:
            await record(
                uow,
                operator.organisation_id,
                operator.name,
                f"{action}.refused",
                subject,
                {"refused": str(error)},
                at,
            )
            await uow.commit()
        raise


async def require_rights(
    database: Database,
    operator: Operator,
    rights: Iterable[Right],
    site_ids: Collection[SiteId | None] = (None,),
    *,
    action: str,
    subject: str,
    at: datetime,
) -> None:
    """See that an operator holds rights at some sites; a refusal goes into the audit log.

    Args:
        site_ids: None stands for the whole organisation.
        action: what was tried.
        subject: to what.

    Raises:
        ForbiddenError: one of the rights is not held at one of the sites.
    """
    async with refusals_noted(database, operator, action, subject, at):
        for right in rights:
            for site_id in site_ids:
                require_right(operator, right, site_id)


async def add_operator(
    database: Database,
    hasher: PasswordHasher,
    organisation_id: OrganisationId,
    new: NewOperator,
    *,
    by: Operator | None,
    at: datetime,
    dry_run: bool = False,
) -> Operator:
    """Add an operator.

    Args:
        by: who adds; None is right for the first operator of an organisation only.

    Raises:
        OperatorInputError: names the field.
        ConflictError: the name is taken.
        NotSignedInError: nobody adds, and there are operators.
        ForbiddenError: who adds may not give these rights.
        OperatorRuleError: the first operator could not manage the others.
    """
    name = operator_name(new.name)
    operator = Operator(
        OperatorId(uuid_utils.compat.uuid7()),
        organisation_id,
        name,
        language_code(new.language),
        created_at=at,
        grants=new.grants,
    )
    if not new.grants:
        raise OperatorInputError("rights: none given")
    password_hash = await hasher.hash(password_text(new.password, name))
    change = _Change(database, organisation_id, by, "operator.add", f"operator {name}", at, dry_run)
    async with change.begun({"rights": _listed(new.grants)}) as uow:
        if by is None and await uow.operators.all(organisation_id):
            raise NotSignedInError("there are operators: run meterplex sign-in")
        if by is not None:
            _check_may_manage(by, new.grants)
        if await uow.operators.by_name(organisation_id, name) is not None:
            raise ConflictError(f"operator {name} exists", "uq_operator_organisation_id_name")
        await uow.operators.add(operator, password_hash)
    return operator


async def change_rights(
    database: Database,
    organisation_id: OrganisationId,
    name: str,
    *,
    give: Collection[Grant] = (),
    take: Collection[Grant] = (),
    by: Operator,
    at: datetime,
    dry_run: bool = False,
) -> Operator:
    """Give an operator rights, or take some away; return the operator as it then is.

    Raises:
        NotFoundError: there is no such operator.
        ForbiddenError: the rights, or the operator, are not ``by``'s to manage.
        OperatorRuleError: nobody would be left who manages operators.
    """
    name = operator_name(name)
    detail = {"given": _listed(give), "taken": _listed(take)}
    change = _Change(
        database, organisation_id, by, "operator.rights", f"operator {name}", at, dry_run
    )
    async with change.begun(detail) as uow:
        operator = await _managed(uow, organisation_id, name, by)
        _check_may_manage(by, give)
        grants = (operator.grants | frozenset(give)) - frozenset(take)
        await uow.operators.set_grants(organisation_id, operator.id, grants)
    return replace(operator, grants=grants)


async def set_operator_state(
    database: Database,
    organisation_id: OrganisationId,
    name: str,
    state: OperatorState,
    *,
    by: Operator,
    at: datetime,
    dry_run: bool = False,
) -> Operator:
    """Lock an operator, which ends all its tokens, or let it in again.

    Raises:
        NotFoundError: there is no such operator.
        ForbiddenError: the operator is not ``by``'s to manage.
        OperatorRuleError: nobody would be left who manages operators.
    """
    name = operator_name(name)
    action = "operator.lock" if state is OperatorState.LOCKED else "operator.unlock"
    change = _Change(database, organisation_id, by, action, f"operator {name}", at, dry_run)
    async with change.begun({}) as uow:
        operator = await _managed(uow, organisation_id, name, by)
        await uow.operators.set_state(organisation_id, operator.id, state)
        if state is OperatorState.LOCKED:
            await uow.operators.revoke_tokens(organisation_id, operator.id, at)
    return replace(operator, state=state)


async def set_password(
    database: Database,
    hasher: PasswordHasher,
    organisation_id: OrganisationId,
    name: str,
    password: str,
    *,
    current: str | None = None,
    by: Operator,
    at: datetime,
    dry_run: bool = False,
) -> Operator:
    """Give an operator another password, which ends all its tokens.

    Args:
        current: the password so far, which one needs to change one's own.

    Raises:
        OperatorInputError: the password cannot be one.
        SignInRefusedError: the current password is wrong.
        NotFoundError: there is no such operator.
        ForbiddenError: the operator is not ``by``'s to manage.
    """
    name = operator_name(name)
    password_hash = await hasher.hash(password_text(password, name))
    if name == by.name:
        await confirm_password(database, hasher, by, current or "", at)
    change = _Change(
        database, organisation_id, by, "operator.password", f"operator {name}", at, dry_run
    )
    async with change.begun({}) as uow:
        operator = by if name == by.name else await _managed(uow, organisation_id, name, by)
        await uow.operators.set_password_hash(organisation_id, operator.id, password_hash)
        await uow.operators.revoke_tokens(organisation_id, operator.id, at)
    return operator


async def revoke_tokens(
    database: Database,
    organisation_id: OrganisationId,
    name: str,
    *,
    by: Operator,
    at: datetime,
    dry_run: bool = False,
) -> int:
    """End all tokens of an operator, one's own too; return how many were still valid.

    Raises:
        NotFoundError: there is no such operator.
        ForbiddenError: the operator is not ``by``'s to manage.
    """
    name = operator_name(name)
    change = _Change(
        database, organisation_id, by, "operator.revoke", f"operator {name}", at, dry_run
    )
    async with change.begun({}) as uow:
        operator = by if name == by.name else await _managed(uow, organisation_id, name, by)
        return await uow.operators.revoke_tokens(organisation_id, operator.id, at)


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of an organisation's operators; ``by`` is None for the owner of the machine."""

    database: Database
    organisation_id: OrganisationId
    by: Operator | None
    action: str
    subject: str
    at: datetime
    dry_run: bool

    @asynccontextmanager
    async def begun(self, detail: Mapping[str, str]) -> AsyncIterator[UnitOfWork]:
        """Begin; at the end see that somebody manages operators, and commit."""
        name = OWNER if self.by is None else self.by.name
        async with self._noted(), self.database.unit_of_work() as uow:
            # First, not last: it holds the organisation's chain, so that changes follow each other.
            await record(
                uow, self.organisation_id, name, self.action, self.subject, detail, self.at
            )
            yield uow
            await self._check_managed(uow)
            if not self.dry_run:
                await uow.commit()

    def _noted(self) -> AbstractAsyncContextManager[None]:
        if self.by is None:
            return nullcontext()
        return refusals_noted(self.database, self.by, self.action, self.subject, self.at)

    async def _check_managed(self, uow: UnitOfWork) -> None:
        if not any(
            each.state is OperatorState.ACTIVE and each.may(Right.OPERATOR_MANAGE)
            for each in await uow.operators.all(self.organisation_id)
        ):
            raise OperatorRuleError(
                "an active operator must have operator.manage at the whole organisation: "
                "give the first one --role admin"
            )


async def _managed(
    uow: UnitOfWork, organisation_id: OrganisationId, name: str, by: Operator
) -> Operator:
    """Return the operator of a name, if it is another one's to manage."""
    if not by.may_somewhere(Right.OPERATOR_MANAGE):
        raise ForbiddenError(f"operator {by.name} has no right {Right.OPERATOR_MANAGE}")
    operator = await uow.operators.by_name(organisation_id, name)
    if operator is None:
        raise NotFoundError(f"no operator {name}")
    _check_may_manage(by, operator.grants)
    return operator


def _check_may_manage(by: Operator, grants: Collection[Grant]) -> None:
    if not by.may_manage(grants):
        raise ForbiddenError(
            f"operator {by.name} needs {Right.OPERATOR_MANAGE} wherever these rights are held, "
            f"and each of them too: {_listed(grants) or 'none'}"
        )


def _listed(grants: Iterable[Grant]) -> str:
    """Return rights for the audit log: ``right`` or ``right@site``, in order."""
    return " ".join(
        sorted(
            grant.right if grant.site_id is None else f"{grant.right}@{grant.site_id}"
            for grant in grants
        )
    )

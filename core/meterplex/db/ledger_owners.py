"""Whose each ledger account is: the subjects of the ledger as keys of accounts, in SQL."""

from typing import Any, Final

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.tables import binding
from meterplex.domain.estate import OrganisationId
from meterplex.domain.ledger import LedgerKind

CREDIT: Final = (LedgerKind.CUSTOMER, LedgerKind.TRANSIT, LedgerKind.METER)
"""What an account has."""

OWED: Final = (LedgerKind.RECEIVABLE, LedgerKind.DEBT)
"""What an account owes; below zero."""

_UUID_LENGTH: Final = 36


def owned_ledger_accounts(organisation_id: OrganisationId, *, postgresql: bool) -> sa.Select[Any]:
    """Return what accounts have and owe, with the owner (``account_id``) and ``binding_id``.

    A subject begins with the identifier of an account, a binding or a debt plan.
    """
    ledger = tables.ledger_account.c
    key = _leading_uuid(ledger.subject, ledger.kind, postgresql=postgresql)
    bound, planned = binding.alias("bound"), tables.debt_plan.alias("planned")
    of_binding = ledger.kind.in_((LedgerKind.TRANSIT, LedgerKind.METER))
    owner = sa.case(
        (of_binding, bound.c.account_id),
        (ledger.kind == LedgerKind.DEBT, planned.c.account_id),
        else_=key,
    )
    return (
        sa.select(
            ledger.id,
            ledger.kind,
            ledger.subject,
            ledger.currency,
            ledger.balance_units,
            sa.type_coerce(owner, sa.Uuid).label("account_id"),
            bound.c.id.label("binding_id"),
        )
        .outerjoin(
            bound,
            sa.and_(of_binding, bound.c.organisation_id == organisation_id, bound.c.id == key),
        )
        .outerjoin(
            planned,
            sa.and_(
                ledger.kind == LedgerKind.DEBT,
                planned.c.organisation_id == organisation_id,
                planned.c.id == key,
            ),
        )
        .where(ledger.organisation_id == organisation_id, ledger.kind.in_((*CREDIT, *OWED)))
    )


def _leading_uuid(
    subject: sa.ColumnElement[Any], kind: sa.ColumnElement[Any], *, postgresql: bool
) -> sa.ColumnElement[Any]:
    text = sa.func.substr(subject, 1, _UUID_LENGTH)
    if not postgresql:
        return sa.type_coerce(sa.func.replace(text, "-", ""), sa.Uuid)
    # the other kinds have subjects that are no identifiers: a cast of them would fail
    return sa.case((kind.in_((*CREDIT, *OWED)), sa.cast(text, sa.Uuid)))

"""Operators: people who may do something, and where.

A right is held at a node of the property tree: at one site, or at the organisation, which is all
its sites. A role is a ready-made set of rights, given at once and then no more than those rights.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType
from uuid import UUID

from meterplex.domain.estate import OrganisationId, SiteId

OperatorId = NewType("OperatorId", UUID)
TokenId = NewType("TokenId", UUID)

LANGUAGES: Final = ("zh", "en")
NAME_LENGTH_MAX: Final = 64
PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_LENGTH_MAX: Final = 1024
"""A longer one would cost more time to hash than a sign-in is worth."""

FREE_TRIES: Final = 4
"""Wrong passwords in a row that cost nothing but the try."""
FIRST_BLOCK: Final = timedelta(seconds=30)
LONGEST_BLOCK: Final = timedelta(hours=1)

_NAME_MARKS: Final = frozenset("._-@+")


class OperatorError(Exception):
    """Root of what is wrong about operators, their sign-in, rights and approvals."""


class OperatorInputError(OperatorError):
    """A field of an operator has a value that cannot be; the text begins with the field."""


class OperatorRuleError(OperatorError):
    """A change of operators that would break a rule that holds for all of them."""


class NotSignedInError(OperatorError):
    """No token, or one that is unknown, revoked or over."""


class SignInRefusedError(OperatorError):
    """Nobody was signed in. It never says which of the reasons it was."""


class ForbiddenError(OperatorError):
    """A signed-in operator has not the right to do this here."""


class Right(StrEnum):
    """What an operator may do."""

    ACCOUNT_READ = "account.read"
    ACCOUNT_MANAGE = "account.manage"
    MONEY_VEND = "money.vend"
    MONEY_REFUND = "money.refund"
    MONEY_REVERSE = "money.reverse"
    MONEY_APPROVE = "money.approve"
    MONEY_PAYOUT = "money.payout"
    TARIFF_MANAGE = "tariff.manage"
    BILL_MANAGE = "bill.manage"
    SUPPLY_COMMAND = "supply.command"
    SUPPLY_FORCE = "supply.force"
    SUPPLY_APPROVE = "supply.approve"
    SUPPLY_HOLD = "supply.hold"
    LEDGER_CLOSE_PERIOD = "ledger.close_period"
    REPORT_READ = "report.read"
    OPERATOR_MANAGE = "operator.manage"
    ESTATE_MANAGE = "estate.manage"
    AUDIT_READ = "audit.read"


class Role(StrEnum):
    """Names of the ready-made sets of rights."""

    ADMIN = "admin"
    FINANCE = "finance"
    CASHIER = "cashier"
    SITE_MANAGER = "site_manager"
    OPERATOR = "operator"
    AUDITOR = "auditor"


ROLE_RIGHTS: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Right),
        Role.FINANCE: frozenset(
            {
                Right.ACCOUNT_READ,
                Right.ACCOUNT_MANAGE,
                Right.MONEY_VEND,
                Right.MONEY_REFUND,
                Right.MONEY_REVERSE,
                Right.MONEY_APPROVE,
                Right.MONEY_PAYOUT,
                Right.TARIFF_MANAGE,
                Right.BILL_MANAGE,
                Right.LEDGER_CLOSE_PERIOD,
                Right.REPORT_READ,
                Right.AUDIT_READ,
            }
        ),
        Role.CASHIER: frozenset({Right.ACCOUNT_READ, Right.MONEY_VEND}),
        Role.SITE_MANAGER: frozenset(
            {
                Right.ACCOUNT_READ,
                Right.ACCOUNT_MANAGE,
                Right.MONEY_VEND,
                Right.BILL_MANAGE,
                Right.SUPPLY_COMMAND,
                Right.SUPPLY_APPROVE,
                Right.SUPPLY_HOLD,
                Right.REPORT_READ,
                Right.ESTATE_MANAGE,
            }
        ),
        Role.OPERATOR: frozenset(
            {
                Right.ACCOUNT_READ,
                Right.SUPPLY_COMMAND,
                Right.SUPPLY_HOLD,
                Right.REPORT_READ,
                Right.ESTATE_MANAGE,
            }
        ),
        Role.AUDITOR: frozenset({Right.ACCOUNT_READ, Right.REPORT_READ, Right.AUDIT_READ}),
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A right at a node; ``site_id`` is None for the whole organisation."""

    right: Right
    site_id: SiteId | None = None


class OperatorState(StrEnum):
    """Whether an operator may sign in and act."""

    ACTIVE = "active"
    LOCKED = "locked"
    """By somebody who manages operators; a sign-in that is blocked for a while is not this."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who acts.

    Attributes:
        name: unique in the organisation, in the form of :func:`operator_name`.
        language: ``zh`` or ``en``.
    """

    id: OperatorId
    organisation_id: OrganisationId
    name: str
    language: str
    created_at: datetime
    state: OperatorState = OperatorState.ACTIVE
    grants: frozenset[Grant] = frozenset()

    def may(self, right: Right, site_id: SiteId | None = None) -> bool:
        """Whether the right is held at a site; without one, at the whole organisation."""
        return not self.grants.isdisjoint({Grant(right), Grant(right, site_id)})

    def may_somewhere(self, right: Right) -> bool:
        """Whether the right is held at the organisation or at any site."""
        return any(grant.right is right for grant in self.grants)

    def sites_with(self, right: Right) -> frozenset[SiteId] | None:
        """Return the sites at which the right is held; None for all sites."""
        if self.may(right):
            return None
        return frozenset(
            grant.site_id
            for grant in self.grants
            if grant.right is right and grant.site_id is not None
        )

    def may_manage(self, grants: Iterable[Grant]) -> bool:
        """Whether these rights are this operator's to give, and their holder's to look after.

        That takes the right to manage operators at every node, and each of the rights itself:
        otherwise who sets another one's password could become more than he is.
        """
        asked = frozenset(grants)
        if not asked:
            return self.may_somewhere(Right.OPERATOR_MANAGE)
        return all(
            self.may(Right.OPERATOR_MANAGE, each.site_id) and self.may(each.right, each.site_id)
            for each in asked
        )


def require_right(operator: Operator, right: Right, site_id: SiteId | None = None) -> None:
    """See that an operator may do something at a site, or at the whole organisation.

    Raises:
        ForbiddenError: the right is not held there.
    """
    if not operator.may(right, site_id):
        where = "the whole organisation" if site_id is None else f"site {site_id}"
        raise ForbiddenError(f"operator {operator.name} has no right {right} at {where}")


@dataclass(frozen=True, slots=True)
class Credential:
    """How an operator proves who he is; never printed.

    Attributes:
        password_hash: argon2id, with its parameters and salt.
        failed_sign_ins: wrong passwords since the last right one.
        blocked_until: before this no password is right.
    """

    operator_id: OperatorId
    password_hash: str = field(repr=False)
    failed_sign_ins: int = 0
    blocked_until: datetime | None = None

    def is_blocked(self, at: datetime) -> bool:
        """Whether signing in has to wait."""
        return self.blocked_until is not None and at < self.blocked_until


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """What a signed-in operator shows with each call.

    Attributes:
        hash: SHA-256 of the token in hex; the token itself is shown once and kept nowhere.
        last_used_at: to about a minute.
    """

    id: TokenId
    organisation_id: OrganisationId
    operator_id: OperatorId
    hash: str = field(repr=False)
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether it may still be shown."""
        return self.revoked_at is None and at < self.expires_at


def block_after(failed_sign_ins: int) -> timedelta:
    """Return how long signing in is blocked after so many wrong passwords in a row.

    Doubles with each one from :data:`FIRST_BLOCK` to :data:`LONGEST_BLOCK` (our own figures).
    """
    beyond = failed_sign_ins - FREE_TRIES
    if beyond <= 0:
        return timedelta(0)
    doublings = min(beyond - 1, (LONGEST_BLOCK // FIRST_BLOCK).bit_length())
    return min(FIRST_BLOCK * (1 << doublings), LONGEST_BLOCK)


def operator_name(text: str) -> str:
    """Return a name as it is stored and compared: NFKC, case folded, without outer space.

    Raises:
        OperatorInputError: empty, too long, or with other than letters, digits and ``._-@+``.
    """
    name = unicodedata.normalize("NFKC", text.strip()).casefold()
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise OperatorInputError(f"name: expected 1 to {NAME_LENGTH_MAX} characters")
    if bad := sorted({each for each in name if not (each.isalnum() or each in _NAME_MARKS)}):
        raise OperatorInputError(
            f"name {name!r}: {bad[0]!r} is neither letter nor digit nor one of ._-@+"
        )
    return name


def password_text(text: str, name: str) -> str:
    """Return a password as it is hashed (NFC); any characters may be in it.

    Raises:
        OperatorInputError: too short, too long, or the operator's name.
    """
    password = unicodedata.normalize("NFC", text)
    if len(password) < PASSWORD_LENGTH_MIN:
        raise OperatorInputError(f"password: expected at least {PASSWORD_LENGTH_MIN} characters")
    if len(password) > PASSWORD_LENGTH_MAX:
        raise OperatorInputError(f"password: expected at most {PASSWORD_LENGTH_MAX} characters")
    if password.casefold() == name:
        raise OperatorInputError("password: it must not be the name")
    return password


def language_code(text: str) -> str:
    """Return a language that notices and pages exist in.

    Raises:
        OperatorInputError: there is none.
    """
    if text not in LANGUAGES:
        raise OperatorInputError(f"language {text!r}: expected {' or '.join(LANGUAGES)}")
    return text

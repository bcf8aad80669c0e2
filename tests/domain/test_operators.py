from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import (
    FREE_TRIES,
    LONGEST_BLOCK,
    PASSWORD_LENGTH_MAX,
    ROLE_RIGHTS,
    Credential,
    ForbiddenError,
    Grant,
    Operator,
    OperatorId,
    OperatorInputError,
    OperatorToken,
    Right,
    Role,
    TokenId,
    block_after,
    language_code,
    operator_name,
    password_text,
    require_right,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ORGANISATION = OrganisationId(UUID(int=1))
EAST, WEST = SiteId(UUID(int=2)), SiteId(UUID(int=3))


def operator(*grants: Grant) -> Operator:
    return Operator(
        OperatorId(UUID(int=4)), ORGANISATION, "anna", "en", NOW, grants=frozenset(grants)
    )


@pytest.mark.parametrize(
    ("grant", "site", "may"),
    [
        pytest.param(Grant(Right.MONEY_VEND), None, True, id="everywhere"),
        pytest.param(Grant(Right.MONEY_VEND), EAST, True, id="everywhere is at each site too"),
        pytest.param(Grant(Right.MONEY_VEND, EAST), EAST, True, id="at its site"),
        pytest.param(Grant(Right.MONEY_VEND, EAST), WEST, False, id="not at another site"),
        pytest.param(Grant(Right.MONEY_VEND, EAST), None, False, id="a site is not everywhere"),
        pytest.param(Grant(Right.MONEY_REFUND), None, False, id="another right"),
    ],
)
def test_right_holds_at_its_node(grant: Grant, site: SiteId | None, may: bool) -> None:
    assert operator(grant).may(Right.MONEY_VEND, site) is may
    if may:
        require_right(operator(grant), Right.MONEY_VEND, site)
    else:
        with pytest.raises(ForbiddenError, match=r"anna has no right money\.vend at"):
            require_right(operator(grant), Right.MONEY_VEND, site)


def test_sites_with_a_right_are_told() -> None:
    someone = operator(Grant(Right.MONEY_VEND, EAST), Grant(Right.REPORT_READ))
    assert someone.sites_with(Right.MONEY_VEND) == frozenset({EAST})
    assert someone.sites_with(Right.REPORT_READ) is None
    assert someone.sites_with(Right.AUDIT_READ) == frozenset()
    assert someone.may_somewhere(Right.MONEY_VEND)
    assert not someone.may_somewhere(Right.AUDIT_READ)


@pytest.mark.parametrize(
    ("held", "asked", "may"),
    [
        ([Grant(Right.OPERATOR_MANAGE), Grant(Right.MONEY_VEND)], [Grant(Right.MONEY_VEND)], True),
        ([Grant(Right.OPERATOR_MANAGE)], [Grant(Right.MONEY_VEND)], False),
        ([Grant(Right.MONEY_VEND)], [Grant(Right.MONEY_VEND)], False),
        (
            [Grant(Right.OPERATOR_MANAGE, EAST), Grant(Right.MONEY_VEND)],
            [Grant(Right.MONEY_VEND, EAST)],
            True,
        ),
        (
            [Grant(Right.OPERATOR_MANAGE, EAST), Grant(Right.MONEY_VEND)],
            [Grant(Right.MONEY_VEND)],
            False,
        ),
        ([Grant(Right.OPERATOR_MANAGE, EAST)], [], True),
        ([Grant(Right.MONEY_VEND)], [], False),
    ],
    ids=[
        "both held",
        "cannot give what he has not",
        "does not manage",
        "manages the site",
        "manages one site only",
        "holder of nothing",
        "holder of nothing, but does not manage",
    ],
)
def test_rights_are_managed_by_who_holds_them_and_manages_there(
    held: list[Grant], asked: list[Grant], may: bool
) -> None:
    assert operator(*held).may_manage(asked) is may


def test_admin_has_every_right_and_forcing_and_managing_belong_to_no_other_role() -> None:
    assert ROLE_RIGHTS[Role.ADMIN] == frozenset(Right)
    assert set(ROLE_RIGHTS) == set(Role)
    others = frozenset().union(*(ROLE_RIGHTS[role] for role in Role if role is not Role.ADMIN))
    assert frozenset(Right) - others == {Right.SUPPLY_FORCE, Right.OPERATOR_MANAGE}


@pytest.mark.parametrize("role", [Role.CASHIER, Role.OPERATOR, Role.AUDITOR])
def test_no_small_role_can_be_the_second_person(role: Role) -> None:
    assert ROLE_RIGHTS[role].isdisjoint({Right.MONEY_APPROVE, Right.SUPPLY_APPROVE})


@pytest.mark.parametrize(
    ("failures", "block"),
    [
        (0, timedelta(0)),
        (FREE_TRIES, timedelta(0)),
        (FREE_TRIES + 1, timedelta(seconds=30)),
        (FREE_TRIES + 2, timedelta(minutes=1)),
        (FREE_TRIES + 7, timedelta(minutes=32)),
        (FREE_TRIES + 8, LONGEST_BLOCK),
        (10**9, LONGEST_BLOCK),
    ],
)
def test_wrong_passwords_block_for_longer_and_longer(failures: int, block: timedelta) -> None:
    assert block_after(failures) == block


def test_block_ends_at_its_time() -> None:
    credential = Credential(OperatorId(UUID(int=4)), "hash", 5, NOW)
    assert credential.is_blocked(NOW - timedelta(microseconds=1))
    assert not credential.is_blocked(NOW)
    assert not replace(credential, blocked_until=None).is_blocked(NOW)


def test_token_is_valid_until_it_expires_or_is_revoked() -> None:
    token = OperatorToken(
        TokenId(UUID(int=5)), ORGANISATION, OperatorId(UUID(int=4)), "hash", NOW, NOW
    )
    assert token.is_valid(NOW - timedelta(microseconds=1))
    assert not token.is_valid(NOW)
    revoked = replace(token, revoked_at=NOW - timedelta(hours=1))
    assert not revoked.is_valid(NOW - timedelta(minutes=1))


def test_secrets_are_not_shown() -> None:
    token = OperatorToken(
        TokenId(UUID(int=5)), ORGANISATION, OperatorId(UUID(int=4)), "5ec1e7", NOW, NOW
    )
    assert "5ec1e7" not in repr(token)
    assert "5ec1e7" not in repr(Credential(OperatorId(UUID(int=4)), "5ec1e7"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("anna", "anna"),
        (" Anna ", "anna"),
        ("STRASSE", "strasse"),
        ("\uff21nna", "anna"),
        ("陈", "陈"),
    ],
)
def test_names_that_look_alike_are_one_name(text: str, name: str) -> None:
    assert operator_name(text) == operator_name(name) == name


@pytest.mark.parametrize("text", ["", "  ", "x" * 65, "an na", "rule:gate", "a\x00b", "a/b"])
def test_name_that_cannot_be_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(OperatorInputError, match=r"^name"):
        operator_name(text)


def test_password_may_be_of_any_characters_and_is_composed() -> None:
    assert password_text("e\u0301tude no 1", "anna") == "\u00e9tude no 1"


@pytest.mark.parametrize(
    "text", ["", "123456789", "x" * (PASSWORD_LENGTH_MAX + 1), "Long.Operator"]
)
def test_password_that_cannot_be_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(OperatorInputError, match=r"^password: ") as caught:
        password_text(text, "long.operator")
    assert not text or text not in str(caught.value)


def test_language_is_one_that_exists() -> None:
    assert language_code("zh") == "zh"
    with pytest.raises(OperatorInputError, match=r"^language 'fr'"):
        language_code("fr")

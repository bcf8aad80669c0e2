"""Notices: rows of the log, written with what they tell of, sent afterwards by a notifier."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.notices import Notice, NoticeId, WarningId
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.accounts import Account
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import Operator, OperatorState, Right

NOTICE: Final = "notice"
"""Topic of the outbox: a notice is to be sent; the subject is its identifier."""

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "zh": {
        "alarm_1": "【{site}】账户{account}余额{balance}元,已低于{threshold}元,请及时充值。",
        "alarm_2": "【{site}】账户{account}余额仅{balance}元,已低于{threshold}元,请尽快充值。",
        "arrears": "【{site}】账户{account}已欠费(余额{balance}元),请立即充值,"
        "否则{lead} 后将停止供应。",
        "disconnected": "【{site}】账户{account}的表{meter}已停止供应。",
        "reconnected": "【{site}】账户{account}的表{meter}已恢复供应。",
    },
    "en": {
        "alarm_1": "{site}: account {account} has {balance} {currency} left, less than"
        " {threshold}. Please top up.",
        "alarm_2": "{site}: account {account} has only {balance} {currency} left, less than"
        " {threshold}. Please top up soon.",
        "arrears": "{site}: account {account} is in arrears (balance {balance} {currency})."
        " Please pay now, or supply may end after {lead}.",
        "disconnected": "{site}: account {account}, supply through meter {meter} has ended.",
        "reconnected": "{site}: account {account}, supply through meter {meter} is back.",
    },
}
"""What customers are told, by language and kind."""


async def queue_notice(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    kind: str,
    text: str,
    *,
    recipient: str,
    language: str,
    at: datetime,
    site_id: SiteId | None = None,
    account: Account | None = None,
    warning_id: WarningId | None = None,
) -> Notice:
    """Write a notice, and that it is to be sent, in the caller's transaction."""
    notice = Notice(
        NoticeId(uuid_utils.compat.uuid7()),
        organisation_id,
        site_id,
        None if account is None else account.id,
        warning_id,
        kind,
        recipient,
        language,
        text,
        at,
    )
    await uow.notices.add(notice)
    message = OutboxMessage(
        uuid_utils.compat.uuid7(), organisation_id, NOTICE, str(notice.id), at, at
    )
    await uow.outbox.add_all([message])
    return notice


async def tell_customer(
    uow: UnitOfWork,
    account: Account,
    kind: str,
    words: Mapping[str, str],
    at: datetime,
    warning_id: WarningId | None = None,
) -> Notice:
    """Queue a notice to the customer of an account, in the customer's language.

    Args:
        words: what the text of the kind names beside site, account and currency.
    """
    organisation = await uow.organisations.get(account.organisation_id)
    customer = await uow.customers.get(account.organisation_id, account.customer_id)
    site = await uow.sites.get(account.organisation_id, account.site_id)
    language = customer.language or organisation.language
    template = TEXTS.get(language, TEXTS["en"])[kind]
    text = template.format(
        site=site.name, account=account.number, currency=account.currency, **words
    )
    return await queue_notice(
        uow,
        account.organisation_id,
        kind,
        text,
        recipient=customer.phone or customer.email,
        language=language,
        at=at,
        site_id=site.id,
        account=account,
        warning_id=warning_id,
    )


async def tell_operators(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    kind: str,
    text: str,
    right: Right,
    at: datetime,
    site_id: SiteId | None = None,
) -> tuple[Notice, ...]:
    """Queue a notice to every operator who may do something about it."""
    told = _who_may(await uow.operators.all(organisation_id), right)
    return tuple(
        [
            await queue_notice(
                uow,
                organisation_id,
                kind,
                text,
                recipient=operator.name,
                language=operator.language,
                at=at,
                site_id=site_id,
            )
            for operator in told
        ]
    )


def _who_may(operators: Iterable[Operator], right: Right) -> list[Operator]:
    return [
        each
        for each in operators
        if each.state is OperatorState.ACTIVE and each.may_somewhere(right)
    ]

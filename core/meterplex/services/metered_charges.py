"""Charges where the meter itself counts the credit down."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import AccountId, Binding, OrganisationId
from meterplex.services.charge_drafts import Draft
from meterplex.services.tariff_book import TariffBook


async def draft_metered(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    accounts: Mapping[AccountId, Account],
    bindings: Sequence[Binding],
    book: TariffBook,
    at: datetime,
) -> list[Draft]:
    return []

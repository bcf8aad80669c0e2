"""Numbers and serials in place of identifiers, for what people read."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from uuid import UUID

from meterplex.db import UnitOfWork
from meterplex.domain.estate import OrganisationId
from meterplex.domain.ledger import Entry
from meterplex.domain.money import ledger_decimal

_IDENTIFIER: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AT_ONCE: Final = 1000
"""Identifiers asked for in one query; the databases take some ten thousand parameters."""
_UNITS: Final = "_units"


@dataclass(frozen=True, slots=True)
class SpokenNames:
    """What people call the things with some identifiers.

    An account is known by its number, a meter by its serial, a site by its code. A binding is the
    meter for an account, ``serial/number``; a debt plan is its account's ``number/name``.
    """

    by_id: Mapping[str, str]

    def said(self, value: object) -> str:
        """Return a value as text, with names for all identifiers in it that are known."""
        text = "" if value is None else str(value)
        return _IDENTIFIER.sub(lambda found: self.by_id.get(found[0], found[0]), text)

    def rows(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Return fields for people: ledger units as amounts, lists in a line, names for ids."""
        for field, value in fields.items():
            if field.endswith(_UNITS) and isinstance(value, int):
                yield field.removesuffix(_UNITS), f"{ledger_decimal(value):f}"
            elif isinstance(value, list | tuple):
                yield field, ", ".join(sorted(self.said(each) for each in value))
            else:
                yield field, self.said(value)


def told_of(*entries: Entry | None) -> Iterator[object]:
    """Yield what the lines of ledger entries say, for :func:`load_names`."""
    for entry in entries:
        if entry is not None:
            yield entry.memo
            yield from (each for line in entry.postings for each in (line.debit, line.credit))


async def load_names(
    uow: UnitOfWork, organisation_id: OrganisationId, values: Iterable[object]
) -> SpokenNames:
    """Return the names of the things whose identifiers occur in some values, as text."""
    wanted = iter(
        {UUID(found) for value in values for found in _IDENTIFIER.findall(str(value))}
        - {organisation_id}
    )
    names = {str(organisation_id): "organisation"}
    while some := tuple(islice(wanted, _AT_ONCE)):
        names |= await _names_of(uow, organisation_id, some)
    return SpokenNames(names)


async def _names_of(
    uow: UnitOfWork, organisation_id: OrganisationId, ids: Sequence[UUID]
) -> dict[str, str]:
    sites = await uow.sites.by_ids(organisation_id, ids)
    bindings = await uow.bindings.by_ids(organisation_id, ids)
    plans = await uow.debt_plans.by_ids(organisation_id, ids)
    payers = {each.account_id for each in bindings.values() if each.account_id is not None}
    payers |= {each.account_id for each in plans.values()}
    bound = {each.meter_id for each in bindings.values()}
    accounts = await uow.accounts.by_ids(organisation_id, {*ids, *payers})
    meters = await uow.meters.by_ids(organisation_id, {*ids, *bound})
    names: dict[UUID, str] = {each.id: each.code for each in sites.values()}
    names |= {each.id: each.number for each in accounts.values()}
    names |= {each.id: each.serial for each in meters.values()}
    for binding in bindings.values():
        serial = meters[binding.meter_id].serial
        payer = None if binding.account_id is None else accounts[binding.account_id].number
        names[binding.id] = serial if payer is None else f"{serial}/{payer}"
    for plan in plans.values():
        names[plan.id] = f"{accounts[plan.account_id].number}/{plan.name}"
    return {str(key): name for key, name in names.items()}

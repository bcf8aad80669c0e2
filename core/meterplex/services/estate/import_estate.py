"""Takes an estate file into the database: everything or nothing.

The file is laid over what stands, judged as a whole, and written in one transaction with one audit
entry. A file that was imported before changes nothing. What is not in the file stays as it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.audit import AuditRecord
from meterplex.domain.estate import Organisation, OrganisationId
from meterplex.plugin_manager import PluginManager
from meterplex.services.estate.checks import check_draft
from meterplex.services.estate.draft import EstateDraft, StandingEstate, TableCount
from meterplex.services.estate.draft_writing import write_draft
from meterplex.services.estate.file_format import TABLES, format_problems, nearest
from meterplex.services.estate.files import EstateFile, EstateProblem
from meterplex.services.estate.import_accounts import open_imported
from meterplex.services.estate.rows import EstateRows

Progress = Callable[[int, int], None]
"""Told how many steps of how many are done."""

ESTATE_CHANGED: Final = "estate.import"
"""Action of the audit entry that every change of the estate leaves."""

READING_INTERVAL: Final = timedelta(minutes=30)


class EstateRefusedError(Exception):
    """The file was not taken in; nothing of it was kept.

    Attributes:
        problems: everything that is wrong with it, in the order of the file.
        warnings: what would have been said about it otherwise.
    """

    def __init__(
        self, name: str, problems: Iterable[EstateProblem], warnings: Iterable[EstateProblem]
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        count = len(self.problems)
        super().__init__(f"{name}: {count} problem{'s' * (count != 1)}, nothing was imported")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or with ``dry_run`` would do.

    Attributes:
        tables: by name of the table; ``usage_point`` and ``binding`` come from rows of meters.
    """

    organisation: str
    tables: Mapping[str, TableCount]
    warnings: tuple[EstateProblem, ...]
    dry_run: bool

    @property
    def changes(self) -> int:
        """How many things were added or updated."""
        return sum(count.added + count.updated for count in self.tables.values())


async def import_estate(
    database: Database,
    plugins: PluginManager,
    file: EstateFile,
    *,
    operator: str,
    at: datetime,
    dry_run: bool = False,
    reading_interval: timedelta = READING_INTERVAL,
    progress: Progress = lambda done, total: None,
) -> ImportReport:
    """Take a file in.

    Args:
        at: now; changed bindings begin then.
        dry_run: judge the file and count, but write nothing.
        reading_interval: of sites that say nothing else.

    Raises:
        EstateRefusedError: there is a problem in the file.
        ConflictError: somebody else changed the estate meanwhile.
    """
    async with database.unit_of_work(read_only=dry_run) as uow:
        owner = await _owner(uow, file)
        standing = await _standing(uow, owner, file, hold=not dry_run)
        draft = EstateDraft.over(standing, uuid_utils.compat.uuid7)
        draft.problems += [*file.problems, *owner.problems, *format_problems(file)]
        draft.warnings += owner.warnings
        rows = EstateRows(draft, plugins, reading_interval=reading_interval, at=at)
        _lay(draft, rows, file, progress)
        check_draft(draft, plugins)
        if draft.problems:
            raise EstateRefusedError(
                file.name, _in_order(draft.problems), _in_order(draft.warnings)
            )
        report = _report(draft, dry_run=dry_run)
        if report.changes and not dry_run:
            await write_draft(uow, draft, at)
            await open_imported(uow, draft, at=at, operator=operator)
            await uow.audit.append(_audit_record(draft, report, file, operator, at))
            await uow.commit()
    return report


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose estate a file is, and what is to be said about that."""

    organisation: Organisation
    is_new: bool
    problems: Sequence[EstateProblem]
    warnings: Sequence[EstateProblem] = ()


async def _owner(uow: UnitOfWork, file: EstateFile) -> _Owner:
    known = await uow.organisations.all()
    rows = [row for row in file.rows if row.table == "organisation"]
    problems = [row.problem("", "one file describes one organisation") for row in rows[1:]]
    unnamed = Organisation(OrganisationId(uuid_utils.compat.uuid7()), "", "XXX", "en")
    if rows:
        name = rows[0].cells.get("name", "")
        standing = next((each for each in known if each.name == name), None)
        if standing is not None:
            return _Owner(standing, False, problems)
        others = ", ".join(repr(each.name) for each in known)
        reason = f"{name!r} is new here, beside {others}"
        warnings = [rows[0].problem("name", reason)] if known else []
        return _Owner(replace(unnamed, name=name), True, problems, warnings)
    if len(known) == 1:
        return _Owner(known[0], False, problems)
    reason = f"is missing{nearest('', [each.name for each in known])}"
    return _Owner(unnamed, True, [*problems, EstateProblem("organisation", 0, "", reason)])


async def _standing(
    uow: UnitOfWork, owner: _Owner, file: EstateFile, *, hold: bool
) -> StandingEstate:
    if owner.is_new:
        return StandingEstate(owner.organisation, is_new=True)
    whose = owner.organisation.id
    accounts = await _accounts(uow, whose, file, hold=hold)
    meters = await uow.meters.all(whose)
    installed = {meter.serial for meter in meters}
    named = {row.cells.get("serial", "") for row in file.rows if row.table == "meter"}
    removed = [await uow.meters.by_serial(whose, serial) for serial in sorted(named - installed)]
    return StandingEstate(
        organisation=owner.organisation,
        is_new=False,
        sites=await uow.sites.all(whose),
        buildings=await uow.buildings.all(whose),
        units=await uow.units.all(whose),
        gateways=await uow.gateways.all(whose),
        channels=await uow.channels.all(whose),
        meters=(*meters, *(meter for meter in removed if meter is not None)),
        usage_points=await uow.usage_points.all(whose),
        bindings=await uow.bindings.open(whose),
        customers=await uow.customers.all(whose),
        accounts=accounts,
        tariff_codes=await uow.tariff_versions.codes(whose),
    )


async def _accounts(
    uow: UnitOfWork, whose: OrganisationId, file: EstateFile, *, hold: bool
) -> tuple[Account, ...]:
    """Return all accounts; with ``hold`` nobody else changes those that the file names."""
    accounts = {account.id: account for account in await uow.accounts.all(whose)}
    if hold:
        named = {row.cells.get("number", "") for row in file.rows if row.table == "account"}
        chosen = [account.id for account in accounts.values() if account.number in named]
        held = await uow.accounts.lock_all(whose, chosen)
        accounts |= {account.id: account for account in held}
    return tuple(accounts.values())


def _lay(draft: EstateDraft, rows: EstateRows, file: EstateFile, progress: Progress) -> None:
    ordered = sorted(
        (row for row in file.rows if row.table in TABLES), key=lambda row: _TABLE_ORDER[row.table]
    )
    for done, row in enumerate(ordered, 1):
        rows.take(row)
        progress(done, len(ordered))


_TABLE_ORDER: Final = {table: index for index, table in enumerate(TABLES)}


def _in_order(problems: Iterable[EstateProblem]) -> list[EstateProblem]:
    return sorted(
        problems, key=lambda each: (_TABLE_ORDER.get(each.table, -1), each.table, each.row)
    )


def _report(draft: EstateDraft, *, dry_run: bool) -> ImportReport:
    return ImportReport(
        organisation=draft.organisation.name,
        tables=_counts(draft),
        warnings=tuple(_in_order(draft.warnings)),
        dry_run=dry_run,
    )


def _counts(draft: EstateDraft) -> dict[str, TableCount]:
    is_new = draft.organisation_is_new
    return {
        "organisation": TableCount(added=int(is_new), unchanged=int(not is_new)),
        "site": draft.sites.count(),
        "building": draft.buildings.count(),
        "unit": draft.units.count(),
        "gateway": draft.gateways.count(),
        "channel": draft.channels.count(),
        "meter": draft.meters.count(),
        "usage_point": draft.usage_points.count(),
        "binding": draft.bindings.count(),
        "customer": draft.customers.count(),
        "account": draft.accounts.count(),
    }


def _audit_record(
    draft: EstateDraft, report: ImportReport, file: EstateFile, operator: str, at: datetime
) -> AuditRecord:
    detail = {
        table: f"{count.added} added, {count.updated} updated"
        for table, count in report.tables.items()
        if count.added or count.updated
    }
    return AuditRecord(
        organisation_id=draft.organisation_id,
        at=at,
        operator=operator,
        action=ESTATE_CHANGED,
        subject=f"organisation {draft.organisation_id}",
        detail={"file": file.name, **detail},
    )

"""Repositories of warnings and of the log of notices."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.identified import IdentifiedRepository
from meterplex.domain.estate import AccountId, BindingId, OrganisationId, SiteId
from meterplex.domain.warnings import WarningLevel, WarningSent, WarningState

WarningId = NewType("WarningId", UUID)
NoticeId = NewType("NoticeId", UUID)


@dataclass(frozen=True, slots=True)
class StoredWarning:
    """A warning of one level of a low episode.

    Attributes:
        binding_id: whose meter keeps the balance; None where the server does.
        episode: when the episode of this level began.
        sent_at: when it counts from.
        sent_by: the notifier, or who brought it on paper.
        ended_at: when the balance rose again; it no longer counts.
    """

    id: WarningId
    organisation_id: OrganisationId
    account_id: AccountId
    binding_id: BindingId | None
    level: WarningLevel
    episode: datetime
    balance_units: int
    raised_at: datetime
    state: WarningState = WarningState.QUEUED
    sent_at: datetime | None = None
    sent_by: str = ""
    ended_at: datetime | None = None

    @property
    def sent(self) -> WarningSent:
        """What the gate looks at."""
        return WarningSent(self.level, self.sent_at or self.raised_at, self.state)


@dataclass(frozen=True, slots=True)
class Notice:
    """One line of the notice log: who is told what, by which way, and whether that is proven.

    Attributes:
        kind: a level of warnings, ``breaker``, ``quarantine`` ...
        recipient: phone or mail address, or an operator's name; empty where none is known.
        state: as of warnings.
        detail: what the notifier said.
    """

    id: NoticeId
    organisation_id: OrganisationId
    site_id: SiteId | None
    account_id: AccountId | None
    warning_id: WarningId | None
    kind: str
    recipient: str
    language: str
    text: str
    created_at: datetime
    state: WarningState = WarningState.QUEUED
    notifier: str = ""
    sent_at: datetime | None = None
    detail: str = ""


class Warnings(IdentifiedRepository[StoredWarning]):
    """The warnings; lists come in the order in which they were raised."""

    table = tables.warning
    order = "raised_at"

    def _from_row(self, row: sa.RowMapping) -> StoredWarning:
        levels = {"level": WarningLevel(row["level"]), "state": WarningState(row["state"])}
        return StoredWarning(**{**row, **levels})

    async def of_episode(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        binding_id: BindingId | None = None,
    ) -> tuple[StoredWarning, ...]:
        """Return the warnings of the present low episode of an account, or of its binding."""
        columns = tables.warning.c
        return await self._select(
            organisation_id,
            columns.account_id == account_id,
            columns.binding_id.is_not_distinct_from(binding_id),
            columns.ended_at.is_(None),
        )

    async def end(
        self,
        organisation_id: OrganisationId,
        identifiers: Collection[WarningId],
        at: datetime,
    ) -> None:
        """Note that the episodes of some warnings are over."""
        columns = tables.warning.c
        await self._execute(
            sa.update(tables.warning)
            .where(columns.organisation_id == organisation_id, columns.id.in_(identifiers))
            .values(ended_at=at)
        )

    async def count_by_state(self) -> Mapping[str, int]:
        """Return how many warnings of present episodes there are, of all organisations."""
        columns = tables.warning.c
        rows = await self._rows(
            sa.select(columns.state, sa.func.count().label("count"))
            .where(columns.ended_at.is_(None))
            .group_by(columns.state)
        )
        return {row["state"]: row["count"] for row in rows}

    async def note_state(
        self, warning: StoredWarning, state: WarningState, *, at: datetime, by: str
    ) -> bool:
        """Note how far a warning, and those raised with it, have come.

        What counts already stays as it is.
        """
        columns = tables.warning.c
        result = await self._execute(
            sa.update(tables.warning)
            .where(
                columns.organisation_id == warning.organisation_id,
                columns.account_id == warning.account_id,
                columns.binding_id.is_not_distinct_from(warning.binding_id),
                columns.raised_at == warning.raised_at,
                columns.state.in_([WarningState.QUEUED, WarningState.FAILED]),
            )
            .values(state=state, sent_at=at, sent_by=by)
        )
        return result.rowcount > 0


class Notices(IdentifiedRepository[Notice]):
    """The notice log; lists come in the order in which the notices were made."""

    table = tables.notice
    order = "created_at"

    def _from_row(self, row: sa.RowMapping) -> Notice:
        return Notice(**{**row, "state": WarningState(row["state"])})

    async def newest(
        self,
        organisation_id: OrganisationId,
        *,
        account_id: AccountId | None = None,
        states: Collection[WarningState] = frozenset(WarningState),
        limit: int = 100,
    ) -> tuple[Notice, ...]:
        """Return the newest notices, newest first."""
        columns = tables.notice.c
        where = [columns.organisation_id == organisation_id, columns.state.in_(sorted(states))]
        if account_id is not None:
            where.append(columns.account_id == account_id)
        rows = await self._rows(
            sa.select(tables.notice)
            .where(*where)
            .order_by(columns.created_at.desc(), columns.id.desc())
            .limit(limit)
        )
        return tuple(self._from_row(row) for row in rows)

    async def unreachable(self, organisation_id: OrganisationId) -> tuple[Notice, ...]:
        """Return the notices of live warnings that reached nobody, oldest first."""
        notice, warning = tables.notice.c, tables.warning
        rows = await self._rows(
            sa.select(tables.notice)
            .join(
                warning,
                sa.and_(
                    warning.c.organisation_id == notice.organisation_id,
                    warning.c.id == notice.warning_id,
                ),
            )
            .where(
                notice.organisation_id == organisation_id,
                notice.state == WarningState.FAILED,
                warning.c.state == WarningState.FAILED,
                warning.c.ended_at.is_(None),
            )
            .order_by(notice.created_at, notice.id)
        )
        return tuple(self._from_row(row) for row in rows)

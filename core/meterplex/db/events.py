"""Repositories of what happened: reading runs and device events."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.errors import NotFoundError
from meterplex.db.repository import Repository
from meterplex.domain.estate import ChannelId, OrganisationId
from meterplex.domain.readings import DeviceEventRecord, ReadFailure, ReadingRun, RunId


class ReadingRuns(Repository):
    """The reading runs with their success and failure lists."""

    async def add(self, run: ReadingRun) -> None:
        """Add one.

        Raises:
            MissingReferenceError: the organisation has no such channel or meter.
            ConflictError: the run is stored already.
        """
        lists = ("succeeded", "failed")
        row = {field.name: getattr(run, field.name) for field in fields(run)}
        await self._insert(
            tables.reading_run, [{name: row[name] for name in row if name not in lists}]
        )
        results: list[tuple[UUID, str | None]] = [
            *((meter_id, None) for meter_id in run.succeeded),
            *((failure.meter_id, failure.reason) for failure in run.failed),
        ]
        key = {"organisation_id": run.organisation_id, "run_id": run.id}
        await self._insert(
            tables.reading_run_meter,
            [
                key | {"position": position, "meter_id": meter_id, "failure": failure}
                for position, (meter_id, failure) in enumerate(results)
            ],
        )

    async def get(self, organisation_id: OrganisationId, run_id: RunId) -> ReadingRun:
        """Return one.

        Raises:
            NotFoundError: the organisation has no such run.
        """
        run = await self.find(organisation_id, run_id)
        if run is None:
            raise NotFoundError(f"no reading run {run_id} in this organisation")
        return run

    async def find(self, organisation_id: OrganisationId, run_id: RunId) -> ReadingRun | None:
        """Return one, or None when the organisation has no such run."""
        columns = tables.reading_run.c
        runs = await self._select(
            sa.select(tables.reading_run).where(
                columns.organisation_id == organisation_id, columns.id == run_id
            )
        )
        return runs[0] if runs else None

    async def newest(
        self, organisation_id: OrganisationId, channel_id: ChannelId | None = None, limit: int = 20
    ) -> tuple[ReadingRun, ...]:
        """Return the last runs of a channel, or of all, newest first."""
        columns = tables.reading_run.c
        query = sa.select(tables.reading_run).where(columns.organisation_id == organisation_id)
        if channel_id is not None:
            query = query.where(columns.channel_id == channel_id)
        order = (columns.ended_at.desc(), columns.id.desc())
        return await self._select(query.order_by(*order).limit(limit))

    async def _select(self, query: sa.Select[Any]) -> tuple[ReadingRun, ...]:
        rows = await self._rows(query)
        if not rows:
            return ()
        columns = tables.reading_run_meter.c
        results = await self._rows(
            sa.select(columns.run_id, columns.meter_id, columns.failure)
            .where(
                columns.organisation_id == rows[0]["organisation_id"],
                columns.run_id.in_([row["id"] for row in rows]),
            )
            .order_by(columns.run_id, columns.position)
        )
        return tuple(
            _run(row, [each for each in results if each["run_id"] == row["id"]]) for row in rows
        )


def _run(row: sa.RowMapping, results: Sequence[sa.RowMapping]) -> ReadingRun:
    return ReadingRun(
        **row,
        succeeded=tuple(each["meter_id"] for each in results if each["failure"] is None),
        failed=tuple(
            ReadFailure(each["meter_id"], each["failure"])
            for each in results
            if each["failure"] is not None
        ),
    )


class DeviceEvents(Repository):
    """What happened to meters, gateways and channels."""

    async def add_all(self, events: Iterable[DeviceEventRecord]) -> None:
        """Add events."""
        rows = [
            {field.name: getattr(event, field.name) for field in fields(event)} for event in events
        ]
        await self._insert(tables.device_event, rows)

    async def newest(
        self, organisation_id: OrganisationId, subject_id: UUID | None = None, limit: int = 100
    ) -> tuple[DeviceEventRecord, ...]:
        """Return the last events of a subject, or of all, newest first."""
        columns = tables.device_event.c
        query = sa.select(tables.device_event).where(columns.organisation_id == organisation_id)
        if subject_id is not None:
            query = query.where(columns.subject_id == subject_id)
        rows = await self._rows(query.order_by(columns.at.desc(), columns.id.desc()).limit(limit))
        return tuple(DeviceEventRecord(**row) for row in rows)

    async def between(
        self, organisation_id: OrganisationId, start: datetime, end: datetime
    ) -> tuple[DeviceEventRecord, ...]:
        """Return the events of ``[start, end)``, oldest first."""
        columns = tables.device_event.c
        rows = await self._rows(
            sa.select(tables.device_event)
            .where(
                columns.organisation_id == organisation_id, columns.at >= start, columns.at < end
            )
            .order_by(columns.at, columns.id)
        )
        return tuple(DeviceEventRecord(**row) for row in rows)

"""Repository of commands to devices: every move is a compare-and-set."""

from collections.abc import Collection, Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.errors import IllegalMoveError, NotFoundError
from meterplex.db.repository import Repository
from meterplex.domain.commands import (
    MOVES,
    SETTLED,
    SUPPLY_ACTIONS,
    Command,
    CommandId,
    CommandKind,
    CommandState,
)
from meterplex.domain.estate import MeterId, OrganisationId


class Commands(Repository):
    """The commands; lists come oldest first."""

    async def add(self, command: Command) -> None:
        """Add one; see :meth:`add_all`."""
        await self.add_all([command])

    async def add_all(self, commands: Iterable[Command]) -> None:
        """Add commands.

        Raises:
            MissingReferenceError: the organisation has no such meter.
        """
        await self._insert(tables.command, [_to_row(command) for command in commands])

    async def get(self, organisation_id: OrganisationId, command_id: CommandId) -> Command:
        """Return one.

        Raises:
            NotFoundError: the organisation has no such command.
        """
        columns = tables.command.c
        found = await self._select(
            columns.organisation_id == organisation_id, columns.id == command_id
        )
        if not found:
            raise NotFoundError(f"no command {command_id} in this organisation")
        return found[0]

    async def in_states(
        self, states: Collection[CommandState], organisation_id: OrganisationId | None = None
    ) -> tuple[Command, ...]:
        """Return all commands in some states, of one organisation or of all."""
        columns = tables.command.c
        where: list[sa.ColumnElement[bool]] = [columns.state.in_(sorted(states))]
        if organisation_id is not None:
            where.append(columns.organisation_id == organisation_id)
        return await self._select(*where)

    async def overruled(self) -> frozenset[CommandId]:
        """Return the unsettled supply commands for whose meter there is a newer supply command.

        The newer one's state does not matter: who asks for supply after an older disconnect must
        not be cut off by that one's repetition.
        """
        columns = tables.command.c
        rows = await self._rows(
            sa.select(columns.id).where(columns.state.not_in(sorted(SETTLED)), _is_overruled())
        )
        return frozenset(row["id"] for row in rows)

    async def of_meter(
        self, organisation_id: OrganisationId, meter_id: MeterId
    ) -> tuple[Command, ...]:
        """Return all commands that a meter ever got."""
        columns = tables.command.c
        return await self._select(
            columns.organisation_id == organisation_id, columns.meter_id == meter_id
        )

    async def confirmed_before(self, command: Command) -> Command | None:
        """Return the supply command of the same meter that was confirmed last, of others."""
        columns = tables.command.c
        rows = await self._rows(
            sa.select(tables.command)
            .where(
                columns.organisation_id == command.organisation_id,
                columns.meter_id == command.meter_id,
                columns.kind.in_(sorted(SUPPLY_ACTIONS)),
                columns.state == CommandState.CONFIRMED,
                columns.id != command.id,
            )
            .order_by(columns.settled_at.desc(), columns.id.desc())
            .limit(1)
        )
        return Command(**rows[0]) if rows else None

    async def of_batch(
        self, organisation_id: OrganisationId, batch_id: UUID
    ) -> tuple[Command, ...]:
        """Return the commands that were asked for together."""
        columns = tables.command.c
        return await self._select(
            columns.organisation_id == organisation_id, columns.batch_id == batch_id
        )

    async def has_quarantined(self, organisation_id: OrganisationId, meter_id: MeterId) -> bool:
        """Whether a command of a meter waits in quarantine."""
        columns = tables.command.c
        result = await self._execute(
            sa.select(
                sa.exists().where(
                    columns.organisation_id == organisation_id,
                    columns.meter_id == meter_id,
                    columns.state == CommandState.QUARANTINED,
                )
            )
        )
        return bool(result.scalar_one())

    async def newest_of_supply(
        self, organisation_id: OrganisationId, meter_id: MeterId
    ) -> Command | None:
        """Return the supply command that a meter was asked last."""
        columns = tables.command.c
        rows = await self._rows(
            sa.select(tables.command)
            .where(
                columns.organisation_id == organisation_id,
                columns.meter_id == meter_id,
                columns.kind.in_(sorted(SUPPLY_ACTIONS)),
            )
            .order_by(columns.created_at.desc(), columns.id.desc())
            .limit(1)
        )
        return Command(**rows[0]) if rows else None

    async def standing_disconnects(
        self, organisation_id: OrganisationId, cause: str
    ) -> tuple[Command, ...]:
        """Return the confirmed disconnects of a cause that no newer supply command has ended."""
        columns = tables.command.c
        return await self._select(
            columns.organisation_id == organisation_id,
            columns.state == CommandState.CONFIRMED,
            columns.kind == CommandKind.DISCONNECT,
            columns.cause == cause,
            ~_is_overruled(),
        )

    async def count(self, state: CommandState, kind: CommandKind | None = None) -> int:
        """Return how many commands are in a state, of all organisations."""
        columns = tables.command.c
        where = [columns.state == state] + ([] if kind is None else [columns.kind == kind])
        result = await self._execute(
            sa.select(sa.func.count()).select_from(tables.command).where(*where)
        )
        return int(result.scalar_one())

    async def move(
        self,
        organisation_id: OrganisationId,
        command_id: CommandId,
        from_states: Collection[CommandState],
        to_state: CommandState,
        *,
        at: datetime,
        outcome: str = "",
    ) -> Command | None:
        """Move a command on, if it is in one of ``from_states``; of several callers one wins.

        A move to SENT counts an attempt; it is made only before ``not_after``, and while no newer
        supply command overrules this one. A move from SENT to QUEUED or EXPIRED takes the attempt
        back: no byte had left. A move to a last state sets ``settled_at``.

        Returns:
            The command after the move; None when it is in another state, is not there, or may no
            longer be sent.

        Raises:
            IllegalMoveError: no command may go this way.
        """
        _check_move(from_states, to_state)
        columns = tables.command.c
        where = [
            columns.organisation_id == organisation_id,
            columns.id == command_id,
            columns.state.in_(sorted(from_states)),
        ]
        if to_state is CommandState.SENT:
            where += [columns.not_after > at, ~_is_overruled()]
        result = await self._execute(
            sa.update(tables.command)
            .where(*where)
            .values(state=to_state, outcome=outcome, **_consequences(to_state, at))
            .returning(tables.command)
        )
        row = result.mappings().one_or_none()
        return None if row is None else Command(**row)

    async def _select(self, *where: sa.ColumnElement[bool]) -> tuple[Command, ...]:
        columns = tables.command.c
        rows = await self._rows(
            sa.select(tables.command).where(*where).order_by(columns.created_at, columns.id)
        )
        return tuple(Command(**row) for row in rows)


def _is_overruled() -> sa.ColumnElement[bool]:
    this, newer = tables.command.c, tables.command.alias("newer")
    supply = sorted(SUPPLY_ACTIONS)
    younger = sa.or_(
        newer.c.created_at > this.created_at,
        sa.and_(newer.c.created_at == this.created_at, newer.c.id > this.id),
    )
    return sa.and_(
        this.kind.in_(supply),
        sa.exists().where(
            newer.c.organisation_id == this.organisation_id,
            newer.c.meter_id == this.meter_id,
            newer.c.kind.in_(supply),
            younger,
        ),
    )


def _check_move(from_states: Collection[CommandState], to_state: CommandState) -> None:
    for state in from_states:
        if to_state not in MOVES[state]:
            raise IllegalMoveError(f"a command cannot go from {state} to {to_state}")


def _consequences(to_state: CommandState, at: datetime) -> dict[str, Any]:
    columns = tables.command.c
    consequences: dict[str, Any] = {}
    if to_state is CommandState.SENT:
        consequences |= {"sent_at": at, "attempts": columns.attempts + 1}
    if to_state in {CommandState.QUEUED, CommandState.EXPIRED}:
        unsent = sa.case((columns.state == CommandState.SENT, 1), else_=0)
        consequences["attempts"] = columns.attempts - unsent
    if to_state in SETTLED:
        consequences["settled_at"] = at
    return consequences


def _to_row(command: Command) -> dict[str, Any]:
    row = {field.name: getattr(command, field.name) for field in fields(command)}
    return row | {"arguments": dict(command.arguments)}

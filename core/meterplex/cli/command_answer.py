"""What ``meterplex command`` answers: a batch as it is now, or as it was settled."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from meterplex.cli.errors import ExitCode, UnknownNameError
from meterplex.cli.output import format_time, print_json, print_table, tell
from meterplex.cli.program import now
from meterplex.db import Database
from meterplex.domain.commands import MOVES, Command, CommandState
from meterplex.domain.estate import MeterId, OrganisationId

POLL_S: Final = 0.2
GRACE: Final = timedelta(seconds=30)
"""How long after ``not_after`` a read-back may still settle a command that was sent."""

_UNSETTLED: Final = {
    CommandState.QUARANTINED,
    CommandState.QUEUED,
    CommandState.SENT,
    CommandState.UNKNOWN,
}
_CODES: Final = (
    (CommandState.REFUSED, ExitCode.REFUSED),
    (CommandState.UNKNOWN, ExitCode.TIMEOUT),
    (CommandState.SENT, ExitCode.TIMEOUT),
    (CommandState.QUEUED, ExitCode.TIMEOUT),
    (CommandState.QUARANTINED, ExitCode.TIMEOUT),
    (CommandState.EXPIRED, ExitCode.TIMEOUT),
    (CommandState.FAILED, ExitCode.ERROR),
)
"""The exit code of a batch is that of its worst command, in this order."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """A batch as it is now, with the serials of its meters."""

    batch_id: UUID
    commands: tuple[Command, ...]
    serials: Mapping[MeterId, str]


async def find_answer(
    database: Database, organisation_id: OrganisationId, batch_id: UUID
) -> BatchAnswer:
    """Return a batch as it is now.

    Raises:
        UnknownNameError: there is none.
    """
    async with database.unit_of_work(read_only=True) as uow:
        commands = await uow.commands.of_batch(organisation_id, batch_id)
        meters = await uow.meters.all(organisation_id)
    if not commands:
        raise UnknownNameError(f"no batch {batch_id}")
    return BatchAnswer(batch_id, commands, {meter.id: meter.serial for meter in meters})


async def wait_settled(
    database: Database, organisation_id: OrganisationId, batch_id: UUID
) -> BatchAnswer:
    """Wait until no command of a batch can change any more, or until it is too late for that."""
    while True:
        answer = await find_answer(database, organisation_id, batch_id)
        last = max(each.not_after for each in answer.commands) + GRACE
        if now() > last or not any(MOVES[each.state] for each in answer.commands):
            return answer
        await asyncio.sleep(POLL_S)


def exit_code(commands: Collection[Command]) -> ExitCode:
    """Return the exit code of a batch."""
    states = {each.state for each in commands}
    return next((code for state, code in _CODES if state in states), ExitCode.OK)


def show_answer(answer: BatchAnswer, *, as_json: bool) -> None:
    """Print a batch, a command a line."""
    if as_json:
        print_json(
            {
                "batch": answer.batch_id,
                "settled": not any(each.state in _UNSETTLED for each in answer.commands),
                "commands": [_fields(each, answer.serials) for each in answer.commands],
            }
        )
        return
    print_table(
        ("meter", "command", "state", "sent", "settled", "outcome"),
        (
            (
                answer.serials.get(each.meter_id, each.meter_id),
                each.kind,
                each.state,
                format_time(each.sent_at),
                format_time(each.settled_at),
                each.outcome,
            )
            for each in answer.commands
        ),
    )
    counts = Counter(each.state for each in answer.commands)
    tell(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


def _fields(each: Command, serials: Mapping[MeterId, str]) -> dict[str, object]:
    return {
        "id": each.id,
        "meter": serials.get(each.meter_id, str(each.meter_id)),
        "kind": each.kind,
        "state": each.state,
        "asked_by": each.asked_by,
        "created_at": each.created_at,
        "not_after": each.not_after,
        "attempts": each.attempts,
        "sent_at": each.sent_at,
        "settled_at": each.settled_at,
        "outcome": each.outcome,
    }

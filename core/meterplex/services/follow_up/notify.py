"""Sends notices: by the first notifier that can reach their recipient.

A notifier that fails is tried again a few times; then, as where nobody can be reached at all, the
notice has failed, and a person has to bring it. It may be sent twice: a crash between sending and
noting is not seen.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from meterplex.db import Database
from meterplex.db.notices import Notice, NoticeId
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.warnings import WarningState
from meterplex.services.follow_up.outbox_worker import Handler
from meterplex.services.supply.send_warnings import note_told

TRIES_MAX: Final = 5
_NO_NOTIFIER: Final = "no notifier is configured: see the setting notices.file"


class NotifierError(Exception):
    """A notice could not be handed over; trying again may help."""


class Notifier(Protocol):
    """A way to reach a person."""

    @property
    def name(self) -> str:
        """Stands in the notice log."""
        ...

    def reaches(self, notice: Notice) -> bool:
        """Whether it can reach the recipient of a notice at all."""
        ...

    async def send(self, notice: Notice) -> WarningState:
        """Send it; return SENT, or DELIVERED where that is proven.

        Raises:
            NotifierError: it did not leave.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileNotifier:
    """Writes one line of JSON for each notice, for a program that sends them on."""

    path: Path
    name: str = "file"

    def reaches(self, notice: Notice) -> bool:
        """Everybody of whom there is an address."""
        return bool(notice.recipient)

    async def send(self, notice: Notice) -> WarningState:
        """Append the notice; it is on disk when this returns."""
        line = json.dumps(
            {
                "id": str(notice.id),
                "kind": notice.kind,
                "recipient": notice.recipient,
                "language": notice.language,
                "text": notice.text,
                "created_at": notice.created_at.isoformat(),
            },
            ensure_ascii=False,
        )
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise NotifierError(f"{self.path}: {error.strerror or error}") from error
        return WarningState.SENT

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def notice_handler(
    database: Database, notifiers: Sequence[Notifier], wall: Callable[[], datetime]
) -> Handler:
    """Return what handles the topic ``notice`` of the outbox."""

    async def handle(message: OutboxMessage) -> None:
        notice_id = NoticeId(UUID(message.subject))
        async with database.unit_of_work(read_only=True) as uow:
            notice = await uow.notices.get(message.organisation_id, notice_id)
        if notice.state is not WarningState.QUEUED:
            return
        await _note(database, await _sent(notice, notifiers, message.attempts, wall()), wall())

    return handle


async def _sent(
    notice: Notice, notifiers: Sequence[Notifier], attempts: int, at: datetime
) -> Notice:
    """Send a notice; return it as it is then."""
    failed = WarningState.FAILED
    if not notice.recipient:
        return replace(notice, state=failed, detail="neither phone nor mail address is known")
    if not notifiers:
        return replace(notice, state=failed, detail=_NO_NOTIFIER)
    notifier = next((each for each in notifiers if each.reaches(notice)), None)
    if notifier is None:
        return replace(notice, state=failed, detail="no notifier reaches the recipient")
    try:
        state = await notifier.send(notice)
    except NotifierError as error:
        if attempts + 1 < TRIES_MAX:
            raise
        return replace(notice, state=failed, notifier=notifier.name, detail=str(error))
    return replace(notice, state=state, notifier=notifier.name, sent_at=at)


async def _note(database: Database, notice: Notice, at: datetime) -> None:
    async with database.unit_of_work() as uow:
        if notice.account_id is not None:
            await uow.accounts.lock(notice.organisation_id, notice.account_id)
        await uow.notices.replace(notice)
        if notice.warning_id is not None:
            await note_told(uow, notice, notice.warning_id, at, notice.notifier)
        await uow.commit()

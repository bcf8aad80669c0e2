import json
from datetime import timedelta
from pathlib import Path

import pytest
from tests.services.supply_town import Town, build_town

from meterplex.db import Database
from meterplex.db.notices import Notice
from meterplex.domain.commands import CommandKind
from meterplex.domain.warnings import WarningState
from meterplex.plugin_manager import PluginManager
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.follow_up.notices import NOTICE
from meterplex.services.follow_up.notify import TRIES_MAX, FileNotifier, Notifier, notice_handler
from meterplex.services.follow_up.outbox_worker import OutboxWorker
from meterplex.services.supply.send_warnings import note_on_paper


def worker(town: Town, *notifiers: Notifier) -> OutboxWorker:
    handlers = {NOTICE: notice_handler(town.database, notifiers, lambda: town.at)}
    return OutboxWorker(town.database, handlers, lambda: town.at)


async def warned_town(
    database: Database, plugins: PluginManager, phone: str = "13800138000"
) -> Town:
    """An account was just found in arrears."""
    town = await build_town(database, plugins, phone=phone)
    await town.use(30)
    await town.decide()
    return town


async def states(town: Town) -> tuple[Notice, set[WarningState]]:
    async with town.database.unit_of_work(read_only=True) as uow:
        (notice,) = await uow.notices.newest(town.organisation.id)
        warnings = await uow.warnings.of_episode(town.organisation.id, town.accounts[0].id)
    return notice, {each.state for each in warnings}


async def test_notice_is_written_to_the_file_and_its_warnings_count(
    database: Database, plugins: PluginManager, tmp_path: Path
) -> None:
    town = await warned_town(database, plugins)
    file = tmp_path / "notices.jsonl"
    assert await worker(town, FileNotifier(file)).run_due() == 1
    (line,) = [json.loads(each) for each in file.read_text("utf-8").splitlines()]
    assert (line["kind"], line["recipient"], line["language"]) == ("arrears", "13800138000", "zh")
    assert "-30.00" in line["text"]
    notice, warnings = await states(town)
    assert (notice.state, notice.notifier, notice.sent_at) == (WarningState.SENT, "file", town.at)
    assert warnings == {WarningState.SENT}


async def test_notifier_that_fails_is_tried_again_and_then_given_up(
    database: Database, plugins: PluginManager, tmp_path: Path
) -> None:
    town = await warned_town(database, plugins)
    broken = worker(town, FileNotifier(tmp_path / "missing" / "notices.jsonl"))
    for _ in range(TRIES_MAX):
        assert (await states(town))[0].state is WarningState.QUEUED
        assert await broken.run_due() == 1
        town.at += timedelta(minutes=10)
    notice, warnings = await states(town)
    assert notice.state is WarningState.FAILED
    assert "No such file" in notice.detail
    assert warnings == {WarningState.FAILED}


@pytest.mark.parametrize(
    ("phone", "detail"),
    [
        pytest.param("", "neither phone nor mail address is known", id="no address"),
        pytest.param(
            "13800138000",
            "no notifier is configured: see the setting notices.file",
            id="no notifier",
        ),
    ],
)
async def test_who_cannot_be_reached_is_listed_until_told_on_paper(
    database: Database, plugins: PluginManager, phone: str, detail: str
) -> None:
    town = await warned_town(database, plugins, phone)
    await worker(town).run_due()
    async with database.unit_of_work(read_only=True) as uow:
        (notice,) = await uow.notices.unreachable(town.organisation.id)
    assert notice.detail == detail
    await note_on_paper(
        database, town.organisation.id, notice.id, at=town.at, operator="anna", dry_run=True
    )
    assert (await states(town))[1] == {WarningState.FAILED}
    await note_on_paper(database, town.organisation.id, notice.id, at=town.at, operator="anna")
    assert (await states(town))[1] == {WarningState.ON_PAPER}
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.notices.unreachable(town.organisation.id) == ()
    with pytest.raises(MoneyConflictError, match="notice: it is on_paper already"):
        await note_on_paper(database, town.organisation.id, notice.id, at=town.at, operator="anna")


class DeafNotifier(FileNotifier):
    """Reaches nobody."""

    def reaches(self, notice: Notice) -> bool:
        return False


async def test_notice_that_no_notifier_can_bring_has_failed(
    database: Database, plugins: PluginManager, tmp_path: Path
) -> None:
    town = await warned_town(database, plugins, "13800138000")
    await worker(town, DeafNotifier(tmp_path / "notices.jsonl")).run_due()
    notice, _ = await states(town)
    assert (notice.state, notice.detail) == (
        WarningState.FAILED,
        "no notifier reaches the recipient",
    )


async def test_customer_told_of_disconnect_and_reconnect(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.person("anna")
    await town.confirm(await town.ask(by="anna", cause="safety"))
    town.at += timedelta(minutes=1)
    await town.confirm(await town.ask(CommandKind.RECONNECT, by="anna", cause=""))
    async with database.unit_of_work(read_only=True) as uow:
        told = await uow.notices.newest(town.organisation.id)
        messages = await uow.outbox.due(["account_event"], town.at)
    assert [each.kind for each in told] == ["reconnected", "disconnected"]
    assert [each.payload["kind"] for each in messages] == ["disconnected", "reconnected"]

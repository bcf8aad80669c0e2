from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint
from types import ModuleType
from uuid import UUID

from meterplex import hookimpl
from meterplex.plugin_manager import EventFailure, PluginManager
from meterplex.sdk import AccountEvent, AccountEventKind

OPENED = AccountEvent(
    id=UUID(int=1),
    kind=AccountEventKind.OPENED,
    organisation_id=UUID(int=2),
    organisation="Harbour",
    site_id=UUID(int=3),
    site="east",
    account_id=UUID(int=4),
    account_number="A-1",
    balance=Decimal("0.0000"),
    currency="CNY",
    at=datetime(2026, 7, 1, tzinfo=UTC),
)


class Listener(EntryPoint):
    """A plugin that notes what it is told; ``deaf`` raises instead."""

    def load(self) -> object:
        made, name = ModuleType(self.name), self.name

        @hookimpl
        def meterplex_account_event(event: AccountEvent) -> str:
            HEARD.append((name, event))
            if name == "deaf":
                raise OSError("no space left")
            if name == "leaves":
                raise SystemExit("good bye")
            return "not looked at"

        setattr(made, meterplex_account_event.__name__, meterplex_account_event)
        return made


HEARD: list[tuple[str, AccountEvent]] = []


def load(*names: str) -> PluginManager:
    HEARD.clear()
    return PluginManager.load(
        entry_points=[Listener(name, f"made_{name}", "meterplex") for name in names]
    )


def test_hook_meterplex_account_event() -> None:
    plugins = load("ear")
    assert plugins.tell_account_event(OPENED) == ()
    assert HEARD == [("ear", OPENED)]
    (ear,) = plugins.plugins
    assert (ear.hears_accounts, ear.failures) == (True, 0)


def test_plugin_that_raises_is_named_and_the_others_are_told() -> None:
    plugins = load("deaf", "ear", "leaves")
    assert plugins.tell_account_event(OPENED) == (
        EventFailure("deaf", "hook meterplex_account_event: OSError: no space left"),
        EventFailure("leaves", "hook meterplex_account_event: SystemExit: good bye"),
    )
    assert [name for name, _ in HEARD] == ["deaf", "ear", "leaves"]
    deaf, ear, _ = plugins.plugins
    assert (deaf.failures, ear.failures) == (1, 0)
    assert deaf.last_failure == "hook meterplex_account_event: OSError: no space left"


def test_event_is_told_again_to_those_that_failed_alone() -> None:
    plugins = load("deaf", "ear")
    failures = plugins.tell_account_event(OPENED)
    plugins.tell_account_event(OPENED, only=[failure.plugin for failure in failures])
    assert [name for name, _ in HEARD] == ["deaf", "ear", "deaf"]


def test_disabled_plugin_is_not_told() -> None:
    plugins = load("ear")
    plugins.disable("ear", "it talks too much")
    assert plugins.tell_account_event(OPENED) == ()
    assert HEARD == []

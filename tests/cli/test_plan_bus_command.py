from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from meterplex.plugin_manager import PluginManager

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]


def test_bus_of_a_known_model_is_predicted(cli: Cli, answer: Answer) -> None:
    plan = answer(cli("plan-bus", "--device", "acrel_dtsy1352=27", "--dead", "3", "--json"))
    model = PluginManager.load(()).models["acrel_dtsy1352"]
    characters = sum(size.request + size.reply + 7 for size in model.poll)
    live_s = 24 * (characters * 10 / 9600 + len(model.poll) * 0.02)
    assert (plan["devices"], plan["dead"]) == (27, 3)
    assert live_s < plan["round_s"] < live_s * 1.1
    assert plan["warnings"] == []


def test_frames_may_be_given_instead_of_a_model(cli: Cli, answer: Answer) -> None:
    plan = answer(
        cli("plan-bus", "--frames", "10:8/45,8/13", "--baud", "2400", "--parity", "E", "--json")
    )
    assert plan["exchanges"] == 20
    assert plan["round_s"] == pytest.approx(10 * ((53 + 21 + 14) * 11 / 2400 + 2 * 0.02))


def test_people_get_lines_and_warnings_on_stderr(cli: Cli) -> None:
    result = cli("plan-bus", "--device", "acrel_dtsy1352=33", "--interval", "3s")
    assert result.exit_code == 0
    assert "bus load" in result.stdout
    assert "warning: overload" in result.stderr
    assert "warning: 33 devices on one bus, it carries 32" in result.stderr


def test_bus_made_for_more_devices_is_not_warned_of(cli: Cli) -> None:
    result = cli("plan-bus", "--device", "acrel_dtsy1352=33", "--devices-max", "64")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "acrel_dtsy1352"), "expected MODEL=COUNT"),
        (("--device", "acrel_dtsy1352=-1"), "expected MODEL=COUNT"),
        (("--frames", "8/45"), "expected COUNT:REQUEST/REPLY"),
        (("--frames", "2:8/45", "--dead", "3"), "--dead: 1 more than there are devices"),
        (("--frames", "2:8/45", "--baud", "0"), "baud 0: expected 1 or more"),
        (("--frames", "2:8/45", "--interval", "soon"), "expected a time such as"),
        (("--frames", "2:8/45", "--latency", "-1"), "latency"),
    ],
)
def test_plan_that_cannot_be_is_refused(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    result = cli("plan-bus", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr

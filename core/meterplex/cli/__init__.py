"""The terminal's door to meterplex: parse, call one service, print."""

from pathlib import Path
from typing import Final

import click

from meterplex import __version__
from meterplex.cli.group import LazyGroup

COMMANDS: Final = {
    "account": "meterplex.cli.account:account",
    "approval": "meterplex.cli.approval:approval",
    "audit": "meterplex.cli.audit:audit",
    "bench-check": "meterplex.cli.bench_check:bench_check",
    "bill": "meterplex.cli.bill:bill",
    "channels": "meterplex.cli.channels:channels",
    "charge": "meterplex.cli.charge:charge",
    "command": "meterplex.cli.command:command",
    "config": "meterplex.cli.config:config",
    "customer": "meterplex.cli.customer:customer",
    "db": "meterplex.cli.db:db",
    "debt": "meterplex.cli.debt:debt",
    "demo": "meterplex.cli.demo:demo",
    "events": "meterplex.cli.history:events",
    "export": "meterplex.cli.estate:export",
    "fee": "meterplex.cli.fee:fee",
    "gateways": "meterplex.cli.meters:gateways",
    "hold": "meterplex.cli.hold:hold",
    "import": "meterplex.cli.estate:import_",
    "ledger": "meterplex.cli.ledger:ledger",
    "meters": "meterplex.cli.meters:meters",
    "models": "meterplex.cli.plugins:models",
    "notice": "meterplex.cli.notice:notice",
    "operator": "meterplex.cli.operator:operator",
    "order": "meterplex.cli.order:order",
    "payout": "meterplex.cli.vend:payout",
    "plan-bus": "meterplex.cli.plan_bus:plan_bus",
    "plugins": "meterplex.cli.plugins:plugins",
    "read": "meterplex.cli.read:read",
    "reading": "meterplex.cli.hold:reading",
    "readings": "meterplex.cli.history:readings",
    "refund": "meterplex.cli.vend:refund",
    "reverse": "meterplex.cli.vend:reverse",
    "receipt": "meterplex.cli.receipt:receipt",
    "report": "meterplex.cli.report:report",
    "runs": "meterplex.cli.history:runs",
    "scan": "meterplex.cli.scan:scan",
    "serve": "meterplex.cli.serve:serve",
    "share": "meterplex.cli.share:share",
    "sign-in": "meterplex.cli.sign_in:sign_in",
    "sign-out": "meterplex.cli.sign_in:sign_out",
    "simulate": "meterplex.cli.simulate:simulate",
    "site": "meterplex.cli.site:site",
    "supply": "meterplex.cli.supply:supply",
    "tariff": "meterplex.cli.tariff:tariff",
    "vend": "meterplex.cli.vend:vend",
    "whoami": "meterplex.cli.sign_in:whoami",
}
"""Where each command is; its module is imported when the command is called."""


class _Commands(LazyGroup):
    commands_at = COMMANDS


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file; otherwise METERPLEX_CONFIG, otherwise ./meterplex.toml if it is there.",
)
@click.option("--organisation", metavar="NAME", help="Whose estate, where there are several.")
@click.version_option(__version__, prog_name="meterplex")
@click.pass_context
def main(context: click.Context, config: Path | None, organisation: str | None) -> None:
    """Meter, prepay and bill electricity, water, gas and heat.

    Data goes to stdout, talk to stderr. Exit codes: 0 ok, 1 error, 2 wrong use, 3 not found,
    4 conflict, 5 device refused, 6 time-out.
    """
    from meterplex.cli.program import Program

    context.obj = Program(config, organisation)

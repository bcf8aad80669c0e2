"""``meterplex bench-check``: does a meter on the bench compare purchase counts?"""

from decimal import Decimal, InvalidOperation

import click

from meterplex.cli.device_options import (
    device_options,
    naming_silence,
    parse_settings,
    refuse_in_service,
    show_burst,
)
from meterplex.cli.errors import ExitCode
from meterplex.cli.output import json_option, print_json, print_lines, print_table
from meterplex.cli.program import Program, pass_program, run
from meterplex.headend.direct import open_driver
from meterplex.services.metering.bench_check import (
    SMALLEST_AMOUNT,
    BenchReport,
    Verdict,
    check_purchase_count,
)


@click.command
@device_options
@click.option("--amount", default=str(SMALLEST_AMOUNT), show_default=True, help="Of each purchase.")
@click.option("--commissioning", is_flag=True, help="The meter is on a bench, not in service.")
@json_option
@pass_program
@click.pass_context
def bench_check(
    context: click.Context,
    program: Program,
    model_id: str,
    channel_url: str,
    address: str,
    assignments: tuple[str, ...],
    trace: bool,
    amount: str,
    commissioning: bool,
    as_json: bool,
) -> None:
    """Buy small amounts on a meter on the bench to prove that it compares purchase counts.

    Only a meter for which this is proven may be given the setting that lets an uncertain purchase
    be sent again. Exit code 0 only if it is proven.
    """
    if not commissioning:
        raise click.UsageError("bench-check needs --commissioning: it moves money in the meter")
    program.model(model_id)
    normal_address = program.plugins.check_address(model_id, address)

    async def check() -> BenchReport:
        await refuse_in_service(program, channel_url, normal_address)
        async with open_driver(
            program.plugins,
            model_id,
            channel_url,
            address,
            parse_settings(assignments),
            trace=show_burst if trace else None,
        ) as driver:
            return await check_purchase_count(driver, amount=_amount(amount))

    with naming_silence(channel_url, normal_address):
        report = run(check())
    if as_json:
        print_json({"verdict": report.verdict, **_fields(report)})
    else:
        print_table(
            ("step", "verdict", "count ", "amount ", "note"),
            ((s.name, s.verdict, s.count, s.amount, s.note) for s in report.steps),
        )
        print_lines("", f"purchase count compared: {report.verdict}")
    context.exit(ExitCode.OK if report.verdict is Verdict.PROVEN else ExitCode.ERROR)


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise click.UsageError(f"--amount {text!r}: expected a number above 0")
    return amount


def _fields(report: BenchReport) -> dict[str, object]:
    return {"found": report.found, "left": report.left, "steps": report.steps}

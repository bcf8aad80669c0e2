"""``meterplex meters`` and ``meterplex gateways``: what there is, and what is lost."""

import click

from meterplex.cli.estate import load_states, status_fields
from meterplex.cli.output import format_age, format_time, json_option, print_json, print_table, tell
from meterplex.cli.program import Program, pass_program, run
from meterplex.db import UnitOfWork
from meterplex.domain.estate import Gateway, LinkState, Organisation, SiteId


@click.command
@click.option("--site", metavar="CODE", help="Only this site.")
@click.option("--lost", is_flag=True, help="Only meters that lost contact.")
@json_option
@pass_program
def meters(program: Program, site: str | None, lost: bool, as_json: bool) -> None:
    """List the meters with their state and the age of their last good reading."""
    found = run(load_states(program, site))
    if lost:
        found = tuple(status for status in found if status.meter.state is LinkState.LOST)
    if as_json:
        print_json([status_fields(status) for status in found])
        return
    print_table(
        (
            "site",
            "serial",
            "model",
            "channel",
            "address ",
            "usage point",
            "state",
            "since",
            "reason",
            "last reading",
            "flags",
        ),
        (
            (
                status.site.code,
                status.meter.serial,
                status.meter.model,
                status.channel.code,
                status.meter.address,
                "" if status.usage_point is None else status.usage_point.code,
                status.meter.state,
                format_time(status.meter.state_since),
                status.meter.lost_reason,
                format_age(status.age) + ("" if status.is_fresh else " (late)"),
                " ".join(sorted(status.meter.flags)),
            )
            for status in found
        ),
    )
    tell(f"{len(found)} meters")


@click.command
@click.option("--lost", is_flag=True, help="Only gateways that lost contact.")
@json_option
@pass_program
def gateways(program: Program, lost: bool, as_json: bool) -> None:
    """List the gateways with their state."""

    async def look(
        uow: UnitOfWork, organisation: Organisation
    ) -> tuple[tuple[Gateway, ...], dict[SiteId, str]]:
        codes = {site.id: site.code for site in await uow.sites.all(organisation.id)}
        return await uow.gateways.all(organisation.id), codes

    found, codes = run(program.in_estate(look))
    if lost:
        found = tuple(gateway for gateway in found if gateway.state is LinkState.LOST)
    if as_json:
        print_json(
            [
                {
                    "site": codes[gateway.site_id],
                    "code": gateway.code,
                    "dialect": gateway.dialect,
                    "registration": gateway.registration,
                    "state": gateway.state,
                    "state_since": gateway.state_since,
                    "lost_reason": gateway.lost_reason,
                }
                for gateway in found
            ]
        )
        return
    print_table(
        ("site", "gateway", "dialect", "registration", "state", "since", "reason"),
        (
            (
                codes[gateway.site_id],
                gateway.code,
                gateway.dialect,
                gateway.registration,
                gateway.state,
                format_time(gateway.state_since),
                gateway.lost_reason,
            )
            for gateway in found
        ),
    )
    tell(f"{len(found)} gateways")

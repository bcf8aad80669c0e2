"""``meterplex audit``: the log of who did what."""

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, tell
from meterplex.cli.program import Program, pass_program, run
from meterplex.db import UnitOfWork
from meterplex.domain.audit import AuditFault
from meterplex.domain.audit import verify as verify_chain
from meterplex.domain.estate import Organisation


@click.group(cls=FailingGroup)
def audit() -> None:
    """Look at the audit log."""


@audit.command
@json_option
@pass_program
@click.pass_context
def verify(context: click.Context, program: Program, as_json: bool) -> None:
    """Check the whole chain of hashes; exit code 1 when an entry is not what was written."""
    count, newest, fault = run(program.in_estate(_verify))
    if as_json:
        found = None if fault is None else {"sequence": fault.sequence, "reason": fault.reason}
        print_json({"entries": count, "newest_hash": newest, "fault": found})
    elif fault is None:
        tell(f"{count} entries hold; the newest hash is {newest or 'none'}")
    else:
        tell(f"entry {fault.sequence}: {fault.reason}")
    context.exit(ExitCode.OK if fault is None else ExitCode.ERROR)


async def _verify(
    uow: UnitOfWork, organisation: Organisation
) -> tuple[int, str, AuditFault | None]:
    """Return how many entries hold, the last good hash, and the first that does not."""
    last = None
    count = 0
    while entries := await uow.audit.entries(organisation.id, count):
        fault = verify_chain(entries, last)
        if fault is not None:
            return count, "" if last is None else last.hash, fault
        last, count = entries[-1], entries[-1].sequence
    return count, "" if last is None else last.hash, None

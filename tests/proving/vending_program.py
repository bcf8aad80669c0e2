"""Many desks at once: each a process of its own, each with many sales under way.

Told by one JSON object on its command line; every desk writes what it was answered to a file.
"""

import asyncio
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg  # noqa: F401 - imported before the fork, not after each
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401 - the same

from meterplex.db import Database
from meterplex.db.errors import TransactionConflictError
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit

AT_ONCE = 8


async def sell(told: dict[str, Any], desk: int) -> list[list[Any]]:
    """Sell with keys of its own, and with keys that all desks use; return what was answered."""
    requests = [
        VendRequest(
            OrganisationId(UUID(told["organisation"])),
            AccountId(UUID(told["accounts"][number % len(told["accounts"])])),
            (100 + number) * 100,
            f"shared-{number}" if number < told["shared"] else f"{desk}-{number}",
        )
        for number in range(told["sales"] + told["shared"])
    ]
    turn = asyncio.Semaphore(AT_ONCE)
    async with await Database.open(told["url"], connections_max=5) as database:

        async def one(request: VendRequest) -> tuple[VendRequest, Sale]:
            async with turn:
                while True:
                    try:
                        at = datetime.now(UTC)
                        return request, await vend_credit(
                            database, request, at=at, operator="cashier"
                        )
                    except TransactionConflictError:
                        continue  # told to the caller, who asks again with the same key

        answers = await asyncio.gather(*map(one, requests))
    return [
        [request.idempotency_key, str(sale.order_id), sale.wallet_units, sale.amount_units]
        for request, sale in answers
    ]


def main() -> None:
    told = json.loads(sys.argv[1])
    children = []
    for desk in range(told["desks"]):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                answers = asyncio.run(sell(told, desk))
                Path(told["folder"], f"{desk}.json").write_text(json.dumps(answers))
                status = 0
            except BaseException:  # noqa: BLE001 - told to the test, whatever it is
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(statuses))


if __name__ == "__main__":
    main()

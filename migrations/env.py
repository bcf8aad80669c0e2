"""Where Alembic enters.

`meterplex db` hands its own open connection over; `alembic -x url=postgresql://... <command>` works
on its own. One transaction holds the whole upgrade, on both databases.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection

from meterplex.db.database import driver_url
from meterplex.db.migrations import SCHEMA_OPTIONS, transaction
from meterplex.db.tables import metadata


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, **SCHEMA_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


async def run_alone(url: str) -> None:
    async with transaction(url) as connection:
        await connection.run_sync(run)


def url_argument() -> str:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not isinstance(url, str):
        raise SystemExit("which database? give -x url=sqlite:///path or -x url=postgresql://...")
    return url


handed_over = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(
        url=driver_url(url_argument()),
        target_metadata=metadata,
        literal_binds=True,
        **SCHEMA_OPTIONS,
    )
    with context.begin_transaction():
        context.run_migrations()
elif handed_over is not None:
    run(handed_over)
else:
    asyncio.run(run_alone(url_argument()))

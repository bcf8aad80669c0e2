from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from tests.conftest import Estate
from tests.services.prepaid_desk import NOON, open_desk
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.readings import ReadingRun, ReadingSource, RunId
from meterplex.sdk import CreditState, MeterSnapshot
from meterplex.services.metering.reading_messages import READINGS
from meterplex.services.metering.take_readings import TakenSnapshot, compare_wallets, store_run


async def test_readings_are_charged_where_somebody_pays(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    snapshot = MeterSnapshot((), credit=CreditState(Decimal("7.00"), 1, Decimal("7.00")))
    taken = [TakenSnapshot(meter, NOON, snapshot) for meter in estate.meters]
    run = ReadingRun(
        RunId(uuid4()),
        estate.organisation.id,
        estate.channel.id,
        ReadingSource.SCHEDULED,
        NOON - timedelta(seconds=5),
        NOON,
        tuple(meter.id for meter in estate.meters),
        (),
    )
    for _ in range(2):  # a repetition tells nothing twice
        await store_run(database, run, taken, (), uuid7)
    await compare_wallets(database, run, taken)
    async with database.unit_of_work() as uow:
        messages = await uow.outbox.due({READINGS}, NOON + timedelta(minutes=1))
        row = await uow.wallets.find(estate.organisation.id, desk.binding.id)
    assert [message.payload for message in messages] == [
        {"meters": [str(desk.meter.id)], "since": NOON.isoformat()}
    ] * 2  # one at once, one when the wallet is known
    assert row is not None
    assert row.purchase_count == 1

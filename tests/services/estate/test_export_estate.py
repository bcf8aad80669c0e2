import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TextIO
from uuid import UUID

import pytest

from meterplex.domain.estate import (
    Binding,
    BindingId,
    Channel,
    ChannelId,
    LinkState,
    LostReason,
    Meter,
    MeterId,
    OrganisationId,
    Site,
    SiteId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, CREDIT_REMAINING, ELECTRICITY
from meterplex.services.estate.export_estate import as_text, write_meters, write_states
from meterplex.services.metering.meter_states import MeterStatus

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
ID = UUID(int=1)
OWNER = OrganisationId(ID)
SITE = Site(SiteId(ID), OWNER, "east", "East", "UTC", frozenset({ELECTRICITY}))
CHANNEL = Channel(ChannelId(ID), OWNER, SITE.id, "bus-1", "tcp://10.0.0.5:502")
METER = Meter(MeterId(ID), OWNER, SITE.id, CHANNEL.id, "m1", "power_meter", "7")
POINT = UsagePoint(UsagePointId(ID), OWNER, SITE.id, "B1/main", ELECTRICITY)
STATUS = MeterStatus(
    site=SITE,
    channel=CHANNEL,
    meter=METER,
    binding=Binding(BindingId(ID), OWNER, METER.id, POINT.id, AT, ct=Decimal(40)),
    usage_point=POINT,
    readings=(
        Reading(METER.id, ACTIVE_ENERGY_IMPORT, AT, Decimal("1234.500")),
        Reading(METER.id, CREDIT_REMAINING, AT, Decimal("-5.0000")),
    ),
    last_good_at=AT,
    age=timedelta(minutes=10),
    interval=timedelta(minutes=30),
)


def written(
    write: Callable[[Sequence[MeterStatus], TextIO], None], *statuses: MeterStatus
) -> list[dict[str, str]]:
    out = io.StringIO()
    write(statuses, out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_states_have_a_column_for_each_register_of_any_meter() -> None:
    bare = replace(
        STATUS,
        meter=replace(METER, serial="m2"),
        readings=(),
        binding=None,
        usage_point=None,
        last_good_at=None,
        age=None,
    )
    first, second = written(write_states, STATUS, bare)
    assert (first["active_energy_import"], first["credit_remaining"]) == ("1234.500", "-5.0000")
    assert (first["fresh"], first["age_s"], first["usage_point"]) == ("yes", "600", "B1/main")
    assert (second["active_energy_import"], second["fresh"], second["age_s"]) == ("", "no", "")


def test_lost_meter_has_its_time_and_reason() -> None:
    lost = replace(
        METER,
        state=LinkState.LOST,
        state_since=AT,
        lost_reason=LostReason.GATEWAY,
        flags=frozenset({"arrears", "alarm_1"}),
    )
    (row,) = written(write_states, replace(STATUS, meter=lost))
    assert (row["state"], row["state_since"], row["lost_reason"], row["flags"]) == (
        "lost",
        "2026-03-01T08:00:00+00:00",
        "gateway",
        "alarm_1 arrears",
    )


def test_meters_have_the_columns_of_an_estate_file() -> None:
    (row,) = written(
        write_meters, replace(STATUS, meter=replace(METER, reading_interval=timedelta(hours=1)))
    )
    assert row == {
        "site": "east",
        "serial": "m1",
        "model": "power_meter",
        "channel": "bus-1",
        "address": "7",
        "ct": "40",
        "pt": "1",
        "usage_point": "B1/main",
        "reading_interval": "1h",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_would_be_a_formula_stays_text(start: str) -> None:
    serial = f"{start}HYPERLINK(1)"
    (row,) = written(write_meters, replace(STATUS, meter=replace(METER, serial=serial)))
    assert row["serial"] == f"'{serial}"
    assert as_text("plain") == "plain"


@pytest.mark.parametrize(
    ("age", "fresh"),
    [
        (timedelta(minutes=60), True),
        (timedelta(minutes=61), False),
        (None, False),
    ],
)
def test_reading_is_fresh_for_two_intervals(age: timedelta | None, fresh: bool) -> None:
    assert replace(STATUS, age=age).is_fresh is fresh

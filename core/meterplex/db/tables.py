"""All tables. Every key carries its organisation, so that no foreign key can cross organisations.

Register types alone are global to the program. The column names are the field names of the domain
dataclasses.
"""

from typing import Any, Final

import sqlalchemy as sa

from meterplex.db.types import (
    JSON_OBJECT,
    EnumText,
    ExactDecimal,
    Seconds,
    TextSet,
    UtcDateTime,
)
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.estate import LinkState, LostReason
from meterplex.domain.readings import EventKind, ReadingQuality, ReadingSource

metadata: Final = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _organisation() -> sa.Column[Any]:
    return sa.Column(
        "organisation_id",
        sa.Uuid,
        sa.ForeignKey("organisation.id"),
        primary_key=True,
    )


def _identified(name: str, *rest: sa.schema.SchemaItem) -> sa.Table:
    """Return a table keyed by (organisation_id, id)."""
    return sa.Table(
        name, metadata, _organisation(), sa.Column("id", sa.Uuid, primary_key=True), *rest
    )


def _of(target: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key of the column ``<target>_id``."""
    return _reference(f"{target}_id", target)


def _reference(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id", column], [f"{target}.organisation_id", f"{target}.id"]
    )


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, nullable=nullable)


def _link_state() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("state", EnumText(LinkState), nullable=False),
        sa.Column("state_since", UtcDateTime),
        sa.Column("lost_reason", EnumText(LostReason)),
    )


organisation: Final = sa.Table(
    "organisation",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    _text("name"),
    _text("currency"),
    _text("language"),
)

site: Final = _identified(
    "site",
    _text("code"),
    _text("name"),
    _text("time_zone"),
    sa.Column("utilities", TextSet, nullable=False),
    sa.Column("reading_interval", Seconds, nullable=False),
    sa.UniqueConstraint("organisation_id", "code"),
)

building: Final = _identified(
    "building",
    _id("site_id"),
    _text("code"),
    _text("name"),
    _of("site"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

unit: Final = _identified(
    "unit",
    _id("site_id"),
    _id("building_id"),
    _text("code"),
    _text("floor"),
    sa.Column("area_m2", ExactDecimal),
    _of("site"),
    _of("building"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

gateway: Final = _identified(
    "gateway",
    _id("site_id"),
    _text("code"),
    _text("dialect"),
    _text("registration"),
    _text("secret_file"),
    *_link_state(),
    _of("site"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

channel: Final = _identified(
    "channel",
    _id("site_id"),
    _text("code"),
    _text("url"),
    _id("gateway_id", nullable=True),
    sa.Column("window_start", sa.Time, nullable=False),
    sa.Column("window_end", sa.Time, nullable=False),
    sa.Column("devices_max", sa.Integer),
    *_link_state(),
    _of("site"),
    _of("gateway"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

meter: Final = _identified(
    "meter",
    _id("site_id"),
    _id("channel_id"),
    _text("serial"),
    _text("model"),
    _text("address"),
    sa.Column("reading_interval", Seconds),
    sa.Column("settings", JSON_OBJECT, nullable=False),
    *_link_state(),
    sa.Column("flags", TextSet, nullable=False),
    sa.Column("removed_at", UtcDateTime),
    _of("site"),
    _of("channel"),
    sa.UniqueConstraint("organisation_id", "serial"),
)
sa.Index(
    "uq_meter_installed_address",
    meter.c.organisation_id,
    meter.c.channel_id,
    meter.c.address,
    unique=True,
    sqlite_where=meter.c.removed_at.is_(None),
    postgresql_where=meter.c.removed_at.is_(None),
)

usage_point: Final = _identified(
    "usage_point",
    _id("site_id"),
    _text("code"),
    _text("utility"),
    _id("unit_id", nullable=True),
    _id("parent_id", nullable=True),
    _of("site"),
    _of("unit"),
    _reference("parent_id", "usage_point"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
    sa.CheckConstraint("parent_id <> id", name="not_its_own_parent"),
)

binding: Final = _identified(
    "binding",
    _id("meter_id"),
    _id("usage_point_id"),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("ct", ExactDecimal, nullable=False),
    sa.Column("pt", ExactDecimal, nullable=False),
    _of("meter"),
    _of("usage_point"),
    sa.CheckConstraint("until >= since", name="ends_after_start"),
)
for _name, _column in (("meter", "meter_id"), ("usage_point", "usage_point_id")):
    sa.Index(
        f"uq_binding_open_{_name}",
        binding.c.organisation_id,
        binding.c[_column],
        unique=True,
        sqlite_where=binding.c.until.is_(None),
        postgresql_where=binding.c.until.is_(None),
    )
sa.Index("ix_binding_usage_point", binding.c.organisation_id, binding.c.usage_point_id)
sa.Index("ix_binding_meter", binding.c.organisation_id, binding.c.meter_id)

register_type: Final = sa.Table(
    "register_type",
    metadata,
    sa.Column("id", sa.SmallInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    _text("slug"),
    _text("obis"),
    _text("unit"),
    sa.Column("resolution_exponent", sa.SmallInteger, nullable=False),
    sa.Column("cumulative", sa.Boolean, nullable=False),
    sa.UniqueConstraint("slug"),
)

reading: Final = sa.Table(
    "reading",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("meter_id", sa.Uuid, primary_key=True),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), primary_key=True),
    sa.Column("read_at", UtcDateTime, primary_key=True),
    sa.Column("revision", sa.SmallInteger, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column("quality", EnumText(ReadingQuality), nullable=False),
    sa.Column("source", EnumText(ReadingSource), nullable=False),
    _text("reason"),
    sa.Column("received_at", UtcDateTime, nullable=False),
    _of("meter"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (read_at)",
)
"""``value`` counts steps of the register's resolution. Monthly partitions on PostgreSQL."""

reading_run: Final = _identified(
    "reading_run",
    _id("channel_id"),
    sa.Column("source", EnumText(ReadingSource), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    _of("channel"),
)
sa.Index(
    "ix_reading_run_channel_time",
    reading_run.c.organisation_id,
    reading_run.c.channel_id,
    reading_run.c.ended_at,
)

reading_run_meter: Final = sa.Table(
    "reading_run_meter",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("run_id", sa.Uuid, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    _id("meter_id"),
    sa.Column("failure", sa.Text),
    _reference("run_id", "reading_run"),
    _of("meter"),
)
"""The meters of a run in order; ``failure`` is NULL for the ones that were read."""

device_event: Final = _identified(
    "device_event",
    _text("subject"),
    _id("subject_id"),
    sa.Column("kind", EnumText(EventKind), nullable=False),
    _text("code"),
    sa.Column("at", UtcDateTime, nullable=False),
    _text("detail"),
)
sa.Index(
    "ix_device_event_subject_time",
    device_event.c.organisation_id,
    device_event.c.subject_id,
    device_event.c.at,
)
sa.Index("ix_device_event_time", device_event.c.organisation_id, device_event.c.at)

command: Final = _identified(
    "command",
    _id("meter_id"),
    sa.Column("kind", EnumText(CommandKind), nullable=False),
    _text("asked_by"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("not_after", UtcDateTime, nullable=False),
    sa.Column("arguments", JSON_OBJECT, nullable=False),
    _id("batch_id", nullable=True),
    sa.Column("state", EnumText(CommandState), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("settled_at", UtcDateTime),
    _text("outcome"),
    _of("meter"),
)
_unsettled: Final = sa.text("state IN ('queued', 'sent', 'unknown')")
sa.Index(
    "ix_command_unsettled",
    command.c.state,
    command.c.created_at,
    sqlite_where=_unsettled,
    postgresql_where=_unsettled,
)
sa.Index(
    "ix_command_meter_time", command.c.organisation_id, command.c.meter_id, command.c.created_at
)
sa.Index("ix_command_batch", command.c.organisation_id, command.c.batch_id)

audit_entry: Final = sa.Table(
    "audit_entry",
    metadata,
    _organisation(),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", UtcDateTime, nullable=False),
    _text("operator"),
    _text("action"),
    _text("subject"),
    sa.Column("detail", JSON_OBJECT, nullable=False),
    _text("previous_hash"),
    _text("hash"),
    sa.Index(None, "organisation_id", "action", "sequence"),
)

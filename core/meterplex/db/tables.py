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
from meterplex.domain.account_mode import AccountMode
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


def organisation_key() -> sa.Column[Any]:
    return sa.Column(
        "organisation_id",
        sa.Uuid,
        sa.ForeignKey("organisation.id"),
        primary_key=True,
    )


def identified(name: str, *rest: sa.schema.SchemaItem) -> sa.Table:
    """Return a table keyed by (organisation_id, id)."""
    return sa.Table(
        name, metadata, organisation_key(), sa.Column("id", sa.Uuid, primary_key=True), *rest
    )


def of(target: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key of the column ``<target>_id``."""
    return reference(f"{target}_id", target)


def reference(column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key into the same organisation."""
    return sa.ForeignKeyConstraint(
        ["organisation_id", column], [f"{target}.organisation_id", f"{target}.id"]
    )


def text(name: str, *, default: str | None = None) -> sa.Column[Any]:
    """Return a column of text; ``default`` is what rows got that are older than the column."""
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def id_column(name: str, *, nullable: bool = False) -> sa.Column[Any]:
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
    text("name"),
    text("currency"),
    text("language"),
)

site: Final = identified(
    "site",
    text("code"),
    text("name"),
    text("time_zone"),
    sa.Column("utilities", TextSet, nullable=False),
    sa.Column("reading_interval", Seconds, nullable=False),
    sa.UniqueConstraint("organisation_id", "code"),
)

building: Final = identified(
    "building",
    id_column("site_id"),
    text("code"),
    text("name"),
    of("site"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

unit: Final = identified(
    "unit",
    id_column("site_id"),
    id_column("building_id"),
    text("code"),
    text("floor"),
    sa.Column("area_m2", ExactDecimal),
    of("site"),
    of("building"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

gateway: Final = identified(
    "gateway",
    id_column("site_id"),
    text("code"),
    text("dialect"),
    text("registration"),
    text("secret_file"),
    *_link_state(),
    of("site"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

channel: Final = identified(
    "channel",
    id_column("site_id"),
    text("code"),
    text("url"),
    id_column("gateway_id", nullable=True),
    sa.Column("window_start", sa.Time, nullable=False),
    sa.Column("window_end", sa.Time, nullable=False),
    sa.Column("devices_max", sa.Integer),
    *_link_state(),
    of("site"),
    of("gateway"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
)

meter: Final = identified(
    "meter",
    id_column("site_id"),
    id_column("channel_id"),
    text("serial"),
    text("model"),
    text("address"),
    sa.Column("reading_interval", Seconds),
    sa.Column("settings", JSON_OBJECT, nullable=False),
    *_link_state(),
    sa.Column("flags", TextSet, nullable=False),
    sa.Column("removed_at", UtcDateTime),
    of("site"),
    of("channel"),
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

usage_point: Final = identified(
    "usage_point",
    id_column("site_id"),
    text("code"),
    text("utility"),
    id_column("unit_id", nullable=True),
    id_column("parent_id", nullable=True),
    of("site"),
    of("unit"),
    reference("parent_id", "usage_point"),
    sa.UniqueConstraint("organisation_id", "site_id", "code"),
    sa.CheckConstraint("parent_id <> id", name="not_its_own_parent"),
)

binding: Final = identified(
    "binding",
    id_column("meter_id"),
    id_column("usage_point_id"),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("ct", ExactDecimal, nullable=False),
    sa.Column("pt", ExactDecimal, nullable=False),
    id_column("account_id", nullable=True),
    sa.Column("mode", EnumText(AccountMode)),
    text("tariff", default=""),
    sa.Column("price_override", JSON_OBJECT),
    sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("sole_seller", sa.Boolean, nullable=False, server_default=sa.true()),
    of("meter"),
    of("usage_point"),
    of("account"),
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
sa.Index("ix_binding_account", binding.c.organisation_id, binding.c.account_id)

register_type: Final = sa.Table(
    "register_type",
    metadata,
    sa.Column("id", sa.SmallInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    text("slug"),
    text("obis"),
    text("unit"),
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
    text("reason"),
    sa.Column("received_at", UtcDateTime, nullable=False),
    of("meter"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (read_at)",
)
"""``value`` counts steps of the register's resolution. Monthly partitions on PostgreSQL."""

reading_run: Final = identified(
    "reading_run",
    id_column("channel_id"),
    sa.Column("source", EnumText(ReadingSource), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    of("channel"),
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
    id_column("meter_id"),
    sa.Column("failure", sa.Text),
    reference("run_id", "reading_run"),
    of("meter"),
)
"""The meters of a run in order; ``failure`` is NULL for the ones that were read."""

device_event: Final = identified(
    "device_event",
    text("subject"),
    id_column("subject_id"),
    sa.Column("kind", EnumText(EventKind), nullable=False),
    text("code"),
    sa.Column("at", UtcDateTime, nullable=False),
    text("detail"),
)
sa.Index(
    "ix_device_event_subject_time",
    device_event.c.organisation_id,
    device_event.c.subject_id,
    device_event.c.at,
)
sa.Index("ix_device_event_time", device_event.c.organisation_id, device_event.c.at)

command: Final = identified(
    "command",
    id_column("meter_id"),
    sa.Column("kind", EnumText(CommandKind), nullable=False),
    text("asked_by"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("not_after", UtcDateTime, nullable=False),
    sa.Column("arguments", JSON_OBJECT, nullable=False),
    id_column("batch_id", nullable=True),
    sa.Column("state", EnumText(CommandState), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("settled_at", UtcDateTime),
    text("outcome"),
    text("cause", default=""),
    id_column("approval_id", nullable=True),
    of("meter"),
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
    organisation_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", UtcDateTime, nullable=False),
    text("operator"),
    text("action"),
    text("subject"),
    sa.Column("detail", JSON_OBJECT, nullable=False),
    text("previous_hash"),
    text("hash"),
    sa.Index(None, "organisation_id", "action", "sequence"),
)

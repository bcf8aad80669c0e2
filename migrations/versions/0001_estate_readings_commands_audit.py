"""The estate, readings, commands and the audit log.

Runs before the code is deployed: there is nothing older that could mind.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")
DECIMAL = sa.Numeric().with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
NUMBER = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_estate()
    create_readings()
    create_events()
    create_commands()
    create_audit_log()


def downgrade() -> None:
    for table in (
        "audit_entry",
        "command",
        "device_event",
        "reading_run_meter",
        "reading_run",
        "reading",
        "register_type",
        "binding",
        "usage_point",
        "meter",
        "channel",
        "gateway",
        "unit",
        "building",
        "site",
        "organisation",
    ):
        op.drop_table(table)
    if on_postgresql():
        op.execute("DROP FUNCTION refuse_change()")


def create_estate() -> None:
    op.create_table(
        "organisation",
        uuid("id"),
        text("name"),
        text("currency"),
        text("language"),
        sa.PrimaryKeyConstraint("id", name="pk_organisation"),
    )
    create_identified(
        "site",
        text("code"),
        text("name"),
        text("time_zone"),
        sa.Column("utilities", JSON, nullable=False),
        sa.Column("reading_interval", sa.Integer, nullable=False),
        unique("site", "code"),
    )
    create_identified(
        "building",
        uuid("site_id"),
        text("code"),
        text("name"),
        refers("building", "site_id", "site"),
        unique("building", "site_id", "code"),
    )
    create_identified(
        "unit",
        uuid("site_id"),
        uuid("building_id"),
        text("code"),
        text("floor"),
        sa.Column("area_m2", DECIMAL),
        refers("unit", "site_id", "site"),
        refers("unit", "building_id", "building"),
        unique("unit", "site_id", "code"),
    )
    create_identified(
        "gateway",
        uuid("site_id"),
        text("code"),
        text("dialect"),
        text("registration"),
        text("secret_file"),
        *link_state(),
        refers("gateway", "site_id", "site"),
        unique("gateway", "site_id", "code"),
    )
    create_identified(
        "channel",
        uuid("site_id"),
        text("code"),
        text("url"),
        sa.Column("gateway_id", sa.Uuid),
        sa.Column("window_start", sa.Time, nullable=False),
        sa.Column("window_end", sa.Time, nullable=False),
        sa.Column("devices_max", sa.Integer),
        *link_state(),
        refers("channel", "site_id", "site"),
        refers("channel", "gateway_id", "gateway"),
        unique("channel", "site_id", "code"),
    )
    create_identified(
        "meter",
        uuid("site_id"),
        uuid("channel_id"),
        text("serial"),
        text("model"),
        text("address"),
        sa.Column("reading_interval", sa.Integer),
        sa.Column("settings", JSON, nullable=False),
        *link_state(),
        sa.Column("flags", JSON, nullable=False),
        sa.Column("removed_at", TIME),
        refers("meter", "site_id", "site"),
        refers("meter", "channel_id", "channel"),
        unique("meter", "serial"),
    )
    create_partial_unique(
        "uq_meter_installed_address",
        "meter",
        ["organisation_id", "channel_id", "address"],
        "removed_at IS NULL",
    )
    create_identified(
        "usage_point",
        uuid("site_id"),
        text("code"),
        text("utility"),
        sa.Column("unit_id", sa.Uuid),
        sa.Column("parent_id", sa.Uuid),
        refers("usage_point", "site_id", "site"),
        refers("usage_point", "unit_id", "unit"),
        refers("usage_point", "parent_id", "usage_point"),
        unique("usage_point", "site_id", "code"),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_usage_point_not_its_own_parent")),
    )
    create_identified(
        "binding",
        uuid("meter_id"),
        uuid("usage_point_id"),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME),
        sa.Column("ct", DECIMAL, nullable=False),
        sa.Column("pt", DECIMAL, nullable=False),
        refers("binding", "meter_id", "meter"),
        refers("binding", "usage_point_id", "usage_point"),
        sa.CheckConstraint("until >= since", name=op.f("ck_binding_ends_after_start")),
    )
    for thing in ("meter", "usage_point"):
        columns = ["organisation_id", f"{thing}_id"]
        create_partial_unique(f"uq_binding_open_{thing}", "binding", columns, "until IS NULL")
        op.create_index(f"ix_binding_{thing}", "binding", columns)


def create_readings() -> None:
    op.create_table(
        "register_type",
        sa.Column("id", NUMBER, nullable=False),
        text("slug"),
        text("obis"),
        text("unit"),
        sa.Column("resolution_exponent", sa.SmallInteger, nullable=False),
        sa.Column("cumulative", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_register_type"),
        sa.UniqueConstraint("slug", name="uq_register_type_slug"),
    )
    key = ("organisation_id", "meter_id", "register_id", "read_at", "revision")
    op.create_table(
        "reading",
        uuid("organisation_id"),
        uuid("meter_id"),
        sa.Column("register_id", sa.SmallInteger, nullable=False),
        sa.Column("read_at", TIME, nullable=False),
        sa.Column("revision", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        text("quality"),
        text("source"),
        text("reason"),
        sa.Column("received_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_reading"),
        refers("reading", "meter_id", "meter"),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_reading_register_id"
        ),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (read_at)",
    )
    if on_postgresql():
        op.execute("CREATE TABLE reading_default PARTITION OF reading DEFAULT")


def create_events() -> None:
    create_identified(
        "reading_run",
        uuid("channel_id"),
        text("source"),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        refers("reading_run", "channel_id", "channel"),
    )
    op.create_index(
        "ix_reading_run_channel_time", "reading_run", ["organisation_id", "channel_id", "ended_at"]
    )
    op.create_table(
        "reading_run_meter",
        uuid("organisation_id"),
        uuid("run_id"),
        sa.Column("position", sa.Integer, nullable=False),
        uuid("meter_id"),
        sa.Column("failure", sa.Text),
        sa.PrimaryKeyConstraint(
            "organisation_id", "run_id", "position", name="pk_reading_run_meter"
        ),
        refers("reading_run_meter", "run_id", "reading_run"),
        refers("reading_run_meter", "meter_id", "meter"),
    )
    create_identified(
        "device_event",
        text("subject"),
        uuid("subject_id"),
        text("kind"),
        text("code"),
        sa.Column("at", TIME, nullable=False),
        text("detail"),
    )
    op.create_index(
        "ix_device_event_subject_time", "device_event", ["organisation_id", "subject_id", "at"]
    )
    op.create_index("ix_device_event_time", "device_event", ["organisation_id", "at"])


def create_commands() -> None:
    create_identified(
        "command",
        uuid("meter_id"),
        text("kind"),
        text("asked_by"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("not_after", TIME, nullable=False),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("batch_id", sa.Uuid),
        text("state"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("settled_at", TIME),
        text("outcome"),
        refers("command", "meter_id", "meter"),
    )
    unsettled = sa.text("state IN ('queued', 'sent', 'unknown')")
    op.create_index(
        "ix_command_unsettled",
        "command",
        ["state", "created_at"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    op.create_index(
        "ix_command_meter_time", "command", ["organisation_id", "meter_id", "created_at"]
    )
    op.create_index("ix_command_batch", "command", ["organisation_id", "batch_id"])


def create_audit_log() -> None:
    op.create_table(
        "audit_entry",
        uuid("organisation_id"),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("at", TIME, nullable=False),
        text("operator"),
        text("action"),
        text("subject"),
        sa.Column("detail", JSON, nullable=False),
        text("previous_hash"),
        text("hash"),
        sa.PrimaryKeyConstraint("organisation_id", "sequence", name="pk_audit_entry"),
        of_organisation("audit_entry"),
    )
    op.create_index(
        "ix_audit_entry_organisation_id_action_sequence",
        "audit_entry",
        ["organisation_id", "action", "sequence"],
    )
    refuse("UPDATE", "audit_entry")
    refuse("DELETE", "audit_entry")
    refuse("UPDATE", "register_type")


def refuse(change: str, table: str) -> None:
    """Let the database itself refuse to change what is kept for ever."""
    name = f"{table}_refuses_{change.lower()}"
    if on_postgresql():
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'append-only: % of %', TG_OP, TG_TABLE_NAME; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    else:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {change} of {table}'); END"
        )


def create_identified(name: str, *rest: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        uuid("organisation_id"),
        uuid("id"),
        *rest,
        sa.PrimaryKeyConstraint("organisation_id", "id", name=f"pk_{name}"),
        of_organisation(name),
    )


def create_partial_unique(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def uuid(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, nullable=False)


def link_state() -> tuple[sa.Column[Any], ...]:
    return (text("state"), sa.Column("state_since", TIME), sa.Column("lost_reason", sa.Text))


def of_organisation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id"], ["organisation.id"], name=f"fk_{table}_organisation_id"
    )


def refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id", column],
        [f"{target}.organisation_id", f"{target}.id"],
        name=f"fk_{table}_organisation_id_{column}",
    )


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    name = "_".join(("uq", table, "organisation_id", *columns))
    return sa.UniqueConstraint("organisation_id", *columns, name=name)


def on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"

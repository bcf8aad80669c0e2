"""Operators with their rights and tokens, and approvals by a second one.

Runs before the code is deployed: older code does not look at these tables.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    create_operator()
    create_operator_right()
    create_operator_token()
    create_approval()


def downgrade() -> None:
    for table in ("approval", "operator_token", "operator_right", "operator"):
        op.drop_table(table)


def create_operator() -> None:
    create_identified(
        "operator",
        text("name"),
        text("language"),
        sa.Column("created_at", TIME, nullable=False),
        text("state"),
        text("password_hash"),
        sa.Column("failed_sign_ins", sa.Integer, nullable=False),
        sa.Column("blocked_until", TIME),
        sa.UniqueConstraint("organisation_id", "name", name="uq_operator_organisation_id_name"),
    )


def create_operator_right() -> None:
    op.create_table(
        "operator_right",
        uuid("organisation_id"),
        uuid("operator_id"),
        sa.Column("position", sa.Integer, nullable=False),
        text("right"),
        sa.Column("site_id", sa.Uuid),
        sa.PrimaryKeyConstraint(
            "organisation_id", "operator_id", "position", name="pk_operator_right"
        ),
        of_organisation("operator_right"),
        refers("operator_right", "operator_id", "operator"),
        refers("operator_right", "site_id", "site"),
        sa.UniqueConstraint(
            "organisation_id",
            "operator_id",
            "right",
            "site_id",
            name="uq_operator_right_organisation_id_operator_id_right_site_id",
        ),
    )


def create_operator_token() -> None:
    create_identified(
        "operator_token",
        uuid("operator_id"),
        text("hash"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        refers("operator_token", "operator_id", "operator"),
        sa.UniqueConstraint("hash", name="uq_operator_token_hash"),
    )
    op.create_index(
        "ix_operator_token_operator", "operator_token", ["organisation_id", "operator_id"]
    )


def create_approval() -> None:
    create_identified(
        "approval",
        text("kind"),
        text("subject"),
        sa.Column("site_id", sa.Uuid),
        text("content_hash"),
        sa.Column("content", JSON, nullable=False),
        text("reason"),
        uuid("asked_by"),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("lapses_at", TIME, nullable=False),
        text("state"),
        sa.Column("decided_by", sa.Uuid),
        sa.Column("decided_at", TIME),
        text("remark"),
        sa.Column("used_at", TIME),
        refers("approval", "site_id", "site"),
        refers("approval", "asked_by", "operator"),
        refers("approval", "decided_by", "operator"),
        sa.CheckConstraint("decided_by <> asked_by", name=op.f("ck_approval_decided_by_another")),
    )
    op.create_index("ix_approval_time", "approval", ["organisation_id", "asked_at"])


def create_identified(name: str, *rest: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        uuid("organisation_id"),
        uuid("id"),
        *rest,
        sa.PrimaryKeyConstraint("organisation_id", "id", name=f"pk_{name}"),
        of_organisation(name),
    )


def text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def uuid(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, nullable=False)


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

"""Tables of operators, what they show to be let in, and what two of them decide."""

from typing import Final

import sqlalchemy as sa

from meterplex.db.tables import identified, metadata, of, organisation_key, reference, text
from meterplex.db.types import JSON_OBJECT, EnumText, UtcDateTime
from meterplex.domain.approvals import ApprovalKind, ApprovalState
from meterplex.domain.operators import OperatorState, Right

operator: Final = identified(
    "operator",
    text("name"),
    text("language"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("state", EnumText(OperatorState), nullable=False),
    text("password_hash"),
    sa.Column("failed_sign_ins", sa.Integer, nullable=False),
    sa.Column("blocked_until", UtcDateTime),
    sa.UniqueConstraint("organisation_id", "name"),
)

operator_right: Final = sa.Table(
    "operator_right",
    metadata,
    organisation_key(),
    sa.Column("operator_id", sa.Uuid, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("right", EnumText(Right), nullable=False),
    sa.Column("site_id", sa.Uuid),
    of("operator"),
    of("site"),
    sa.UniqueConstraint("organisation_id", "operator_id", "right", "site_id"),
)
"""``site_id`` is NULL for the whole organisation. A set is always written as a whole."""

operator_token: Final = identified(
    "operator_token",
    sa.Column("operator_id", sa.Uuid, nullable=False),
    text("hash"),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    of("operator"),
    sa.UniqueConstraint("hash"),
)
sa.Index(
    "ix_operator_token_operator",
    operator_token.c.organisation_id,
    operator_token.c.operator_id,
)

approval: Final = identified(
    "approval",
    sa.Column("kind", EnumText(ApprovalKind), nullable=False),
    text("subject"),
    sa.Column("site_id", sa.Uuid),
    text("content_hash"),
    sa.Column("content", JSON_OBJECT, nullable=False),
    text("reason"),
    sa.Column("asked_by", sa.Uuid, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("lapses_at", UtcDateTime, nullable=False),
    sa.Column("state", EnumText(ApprovalState), nullable=False),
    sa.Column("decided_by", sa.Uuid),
    sa.Column("decided_at", UtcDateTime),
    text("remark"),
    sa.Column("used_at", UtcDateTime),
    of("site"),
    reference("asked_by", "operator"),
    reference("decided_by", "operator"),
    sa.CheckConstraint("decided_by <> asked_by", name="decided_by_another"),
)
sa.Index("ix_approval_time", approval.c.organisation_id, approval.c.asked_at)

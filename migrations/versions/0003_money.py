"""Accounts, tariffs, the ledger, orders, charges, bills, receipts, supply decisions, the outbox.

Runs before the code is deployed: what it adds to older tables has values for their rows.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")
DECIMAL = sa.Numeric().with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")

APPEND_ONLY = (
    "tariff_version",
    "ledger_period",
    "credit_order_step",
    "ledger_entry",
    "ledger_posting",
    "charge",
    "disconnect_sent",
    "share_run",
    "receipt",
    "receipt_copy",
)


def upgrade() -> None:
    create_breaker()
    create_customer()
    create_idempotency_key()
    create_ledger_account()
    create_ledger_period()
    create_outbox()
    create_tariff_version()
    create_account()
    create_holiday()
    create_number_sequence()
    create_share_run()
    create_site_policy()
    create_debt_plan()
    create_fee()
    create_supply_hold()
    create_bypass()
    create_binding_opening()
    create_charged_period()
    create_charged_register()
    create_credit_order()
    create_disconnect_sent()
    create_reading_hold()
    create_supply_state()
    create_wallet()
    create_warning()
    create_credit_order_step()
    create_ledger_entry()
    create_notice()
    create_bill()
    create_charge()
    create_ledger_posting()
    create_receipt()
    create_receipt_copy()
    widen_bindings()
    widen_commands()
    for table in APPEND_ONLY:
        refuse("UPDATE", table)
        refuse("DELETE", table)
    refuse_closed_periods()


def downgrade() -> None:
    narrow_commands()
    narrow_bindings()
    for table in (
        "receipt_copy",
        "receipt",
        "ledger_posting",
        "charge",
        "bill",
        "notice",
        "ledger_entry",
        "credit_order_step",
        "warning",
        "wallet",
        "supply_state",
        "reading_hold",
        "disconnect_sent",
        "credit_order",
        "charged_register",
        "charged_period",
        "binding_opening",
        "bypass",
        "supply_hold",
        "fee",
        "debt_plan",
        "site_policy",
        "share_run",
        "number_sequence",
        "holiday",
        "account",
        "tariff_version",
        "outbox",
        "ledger_period",
        "ledger_account",
        "idempotency_key",
        "customer",
        "breaker",
    ):
        op.drop_table(table)
    if on_postgresql():
        op.execute("DROP FUNCTION refuse_closed_entry()")
        op.execute("DROP FUNCTION refuse_closed_posting()")


def widen_bindings() -> None:
    with op.batch_alter_table("binding") as batch:
        batch.add_column(sa.Column("account_id", sa.Uuid))
        batch.add_column(sa.Column("mode", sa.Text))
        batch.add_column(sa.Column("tariff", sa.Text, nullable=False, server_default=""))
        batch.add_column(sa.Column("price_override", JSON))
        batch.add_column(sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()))
        batch.add_column(
            sa.Column("sole_seller", sa.Boolean, nullable=False, server_default=sa.true())
        )
        batch.create_foreign_key(
            "fk_binding_organisation_id_account_id",
            "account",
            ["organisation_id", "account_id"],
            ["organisation_id", "id"],
        )
        batch.create_index("ix_binding_account", ["organisation_id", "account_id"])


def narrow_bindings() -> None:
    with op.batch_alter_table("binding") as batch:
        batch.drop_index("ix_binding_account")
        batch.drop_constraint("fk_binding_organisation_id_account_id", type_="foreignkey")
        for column in (
            "account_id",
            "mode",
            "tariff",
            "price_override",
            "frozen",
            "sole_seller",
        ):
            batch.drop_column(column)


def widen_commands() -> None:
    with op.batch_alter_table("command") as batch:
        batch.add_column(sa.Column("cause", sa.Text, nullable=False, server_default=""))
        batch.add_column(sa.Column("approval_id", sa.Uuid))


def narrow_commands() -> None:
    with op.batch_alter_table("command") as batch:
        batch.drop_column("cause")
        batch.drop_column("approval_id")


def refuse(change: str, table: str) -> None:
    """Let the database itself refuse to change what is kept for ever."""
    name = f"{table}_refuses_{change.lower()}"
    if on_postgresql():
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    else:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {change} of {table}'); END"
        )


def refuse_closed_periods() -> None:
    """Let the database itself refuse entries and postings of a closed period."""
    if not on_postgresql():
        op.execute(
            "CREATE TRIGGER ledger_entry_refuses_closed_period BEFORE INSERT ON ledger_entry "
            "WHEN EXISTS (SELECT 1 FROM ledger_period WHERE organisation_id = "
            "NEW.organisation_id AND period = NEW.period) "
            "BEGIN SELECT RAISE(ABORT, 'append-only: the period is closed'); END"
        )
        op.execute(
            "CREATE TRIGGER ledger_posting_refuses_closed_period BEFORE INSERT ON ledger_posting "
            "WHEN EXISTS (SELECT 1 FROM ledger_period JOIN ledger_entry USING "
            "(organisation_id, period) WHERE ledger_entry.organisation_id = NEW.organisation_id "
            "AND ledger_entry.id = NEW.entry_id) "
            "BEGIN SELECT RAISE(ABORT, 'append-only: the period is closed'); END"
        )
        return
    refuse_inserted(
        "refuse_closed_entry",
        "ledger_entry",
        """
        CREATE FUNCTION refuse_closed_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (
                SELECT 1 FROM added JOIN ledger_period USING (organisation_id, period)
            ) THEN RAISE EXCEPTION 'append-only: the period is closed'; END IF;
            RETURN NULL;
        END $$
        """,
    )
    refuse_inserted(
        "refuse_closed_posting",
        "ledger_posting",
        """
        CREATE FUNCTION refuse_closed_posting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (
                SELECT 1 FROM added
                JOIN ledger_entry e
                  ON e.organisation_id = added.organisation_id AND e.id = added.entry_id
                JOIN ledger_period p
                  ON p.organisation_id = e.organisation_id AND p.period = e.period
            ) THEN RAISE EXCEPTION 'append-only: the period is closed'; END IF;
            RETURN NULL;
        END $$
        """,
    )


def refuse_inserted(name: str, table: str, function: str) -> None:
    """Have a function look at all rows that a statement has inserted."""
    op.execute(function)
    op.execute(
        f"CREATE TRIGGER {table}_refuses_closed_period AFTER INSERT ON {table} "
        f"REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def create_breaker() -> None:
    op.create_table(
        "breaker",
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("opened_at", TIME),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outage_ended_at", TIME),
        sa.Column("seen_at", TIME),
        sa.PrimaryKeyConstraint("scope", name="pk_breaker"),
    )


def create_customer() -> None:
    op.create_table(
        "customer",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_customer"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_customer_organisation_id"
        ),
        sa.UniqueConstraint("organisation_id", "number", name="uq_customer_organisation_id_number"),
    )


def create_idempotency_key() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id", "caller", "route", "key", name="pk_idempotency_key"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_idempotency_key_organisation_id"
        ),
    )


def create_ledger_account() -> None:
    op.create_table(
        "ledger_account",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("balance_units", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_ledger_account"),
        sa.CheckConstraint(
            "kind NOT IN ('transit', 'refund_payable') OR balance_units >= 0",
            name=op.f("ck_ledger_account_not_below_zero"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_ledger_account_organisation_id"
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "id",
            "currency",
            name="uq_ledger_account_organisation_id_id_currency",
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "kind",
            "subject",
            "currency",
            name="uq_ledger_account_organisation_id_kind_subject_currency",
        ),
    )


def create_ledger_period() -> None:
    op.create_table(
        "ledger_period",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("period", sa.Date, nullable=False),
        sa.Column("closed_at", TIME, nullable=False),
        sa.Column("closed_by", sa.Text, nullable=False),
        sa.Column("trial_balance", JSON, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "period", name="pk_ledger_period"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_ledger_period_organisation_id"
        ),
    )


def create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("done_at", TIME),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_outbox"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_outbox_organisation_id"
        ),
    )
    op.create_index(
        "ix_outbox_open",
        "outbox",
        ["due_at", "id"],
        unique=False,
        sqlite_where=sa.text("done_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL"),
    )


def create_tariff_version() -> None:
    op.create_table(
        "tariff_version",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("utility", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("valid_from", sa.Date, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("published_at", TIME, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_tariff_version"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_tariff_version_organisation_id"
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "code",
            "valid_from",
            name="uq_tariff_version_organisation_id_code_valid_from",
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "code",
            "version",
            name="uq_tariff_version_organisation_id_code_version",
        ),
    )


def create_account() -> None:
    op.create_table(
        "account",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("customer_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("tariff", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("alarm_1_units", sa.BigInteger),
        sa.Column("alarm_2_units", sa.BigInteger),
        sa.Column("overdraft_units", sa.BigInteger, nullable=False),
        sa.Column("emergency_units", sa.BigInteger, nullable=False),
        sa.Column("hoard_units", sa.BigInteger),
        sa.Column("deduction_order", sa.Text, nullable=False),
        sa.Column("head_count", sa.Integer),
        sa.Column("closing_step", sa.Text),
        sa.Column("closed_at", TIME),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_account"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_account_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "customer_id"],
            ["customer.organisation_id", "customer.id"],
            name="fk_account_organisation_id_customer_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_account_organisation_id_site_id",
        ),
        sa.UniqueConstraint("organisation_id", "number", name="uq_account_organisation_id_number"),
    )
    op.create_index(
        "ix_account_customer", "account", ["organisation_id", "customer_id"], unique=False
    )
    op.create_index("ix_account_site", "account", ["organisation_id", "site_id"], unique=False)


def create_holiday() -> None:
    op.create_table(
        "holiday",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("working", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "site_id", "day", name="pk_holiday"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_holiday_organisation_id_site_id",
        ),
    )


def create_number_sequence() -> None:
    op.create_table(
        "number_sequence",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "site_id", "name", name="pk_number_sequence"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_number_sequence_organisation_id_site_id",
        ),
    )


def create_share_run() -> None:
    op.create_table(
        "share_run",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("since", sa.Date, nullable=False),
        sa.Column("until", sa.Date, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("statement", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_share_run"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_share_run_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_share_run_organisation_id_site_id",
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "site_id",
            "name",
            "since",
            name="uq_share_run_organisation_id_site_id_name_since",
        ),
    )


def create_site_policy() -> None:
    op.create_table(
        "site_policy",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "site_id", name="pk_site_policy"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_site_policy_organisation_id_site_id",
        ),
    )


def create_debt_plan() -> None:
    op.create_table(
        "debt_plan",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("rule", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_debt_plan"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_debt_plan_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_debt_plan_organisation_id_account_id",
        ),
    )


def create_fee() -> None:
    op.create_table(
        "fee",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("rule", JSON, nullable=False),
        sa.Column("since", sa.Date, nullable=False),
        sa.Column("until", sa.Date),
        sa.Column("charged_until", sa.Date, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_fee"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_fee_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_fee_organisation_id_account_id",
        ),
    )


def create_supply_hold() -> None:
    op.create_table(
        "supply_hold",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("ended_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_supply_hold"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_supply_hold_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_supply_hold_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_supply_hold_organisation_id_site_id",
        ),
    )


def create_bypass() -> None:
    op.create_table(
        "bypass",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("meter_id", sa.Uuid, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column("approval_id", sa.Uuid, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("ended_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_bypass"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_bypass_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "meter_id"],
            ["meter.organisation_id", "meter.id"],
            name="fk_bypass_organisation_id_meter_id",
        ),
    )
    op.create_index(
        "uq_bypass_of_meter",
        "bypass",
        ["organisation_id", "meter_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def create_binding_opening() -> None:
    op.create_table(
        "binding_opening",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("register_id", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("opening_value", DECIMAL, nullable=False),
        sa.Column("closing_value", DECIMAL),
        sa.PrimaryKeyConstraint(
            "organisation_id", "binding_id", "register_id", name="pk_binding_opening"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_binding_opening_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_binding_opening_register_id"
        ),
    )


def create_charged_period() -> None:
    op.create_table(
        "charged_period",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("register_id", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("tariff_version_id", sa.Uuid, nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("lines", JSON, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("anchor_at", TIME, nullable=False),
        sa.Column("anchor_value", DECIMAL, nullable=False),
        sa.Column("anchor_units", DECIMAL, nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id",
            "binding_id",
            "register_id",
            "tariff_version_id",
            "start",
            name="pk_charged_period",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_charged_period_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "tariff_version_id"],
            ["tariff_version.organisation_id", "tariff_version.id"],
            name="fk_charged_period_organisation_id_tariff_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_charged_period_register_id"
        ),
    )


def create_charged_register() -> None:
    op.create_table(
        "charged_register",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("register_id", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("value", DECIMAL, nullable=False),
        sa.Column("units", DECIMAL, nullable=False),
        sa.Column("booked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id", "binding_id", "register_id", name="pk_charged_register"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_charged_register_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_charged_register_register_id"
        ),
    )


def create_credit_order() -> None:
    op.create_table(
        "credit_order",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("deliver_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("approval_id", sa.Uuid),
        sa.Column("reverses_id", sa.Uuid),
        sa.Column("count", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("arming", JSON),
        sa.Column("armed_at", TIME),
        sa.Column("sent_at", TIME),
        sa.Column("uncertain_at", TIME),
        sa.Column("due_at", TIME),
        sa.Column("settled_at", TIME),
        sa.Column("ever_sent", sa.Boolean, nullable=False),
        sa.Column("fence", sa.Text, nullable=False),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_credit_order"),
        sa.CheckConstraint("amount_units > 0", name=op.f("ck_credit_order_above_zero")),
        sa.CheckConstraint(
            "deliver_units >= 0", name=op.f("ck_credit_order_delivers_no_less_than_zero")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_credit_order_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_credit_order_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_credit_order_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "reverses_id"],
            ["credit_order.organisation_id", "credit_order.id"],
            name="fk_credit_order_organisation_id_reverses_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_credit_order_organisation_id_site_id",
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "idempotency_key",
            name="uq_credit_order_organisation_id_idempotency_key",
        ),
    )
    op.create_index(
        "ix_credit_order_account",
        "credit_order",
        ["organisation_id", "account_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "ix_credit_order_open",
        "credit_order",
        ["organisation_id", "binding_id", "created_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('paid', 'armed', 'uncertain', 'conflict')"),
        postgresql_where=sa.text("state IN ('paid', 'armed', 'uncertain', 'conflict')"),
    )
    op.create_index(
        "ix_credit_order_time",
        "credit_order",
        ["organisation_id", "site_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "uq_credit_order_in_flight",
        "credit_order",
        ["organisation_id", "binding_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('armed', 'uncertain') AND binding_id IS NOT NULL"),
        postgresql_where=sa.text("state IN ('armed', 'uncertain') AND binding_id IS NOT NULL"),
    )
    op.create_index(
        "uq_credit_order_reversed_once",
        "credit_order",
        ["organisation_id", "reverses_id"],
        unique=True,
        sqlite_where=sa.text("reverses_id IS NOT NULL AND state <> 'voided'"),
        postgresql_where=sa.text("reverses_id IS NOT NULL AND state <> 'voided'"),
    )


def create_disconnect_sent() -> None:
    op.create_table(
        "disconnect_sent",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("meter_id", sa.Uuid, nullable=False),
        sa.Column("command_id", sa.Uuid, nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_disconnect_sent"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_disconnect_sent_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "command_id"],
            ["command.organisation_id", "command.id"],
            name="fk_disconnect_sent_organisation_id_command_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "meter_id"],
            ["meter.organisation_id", "meter.id"],
            name="fk_disconnect_sent_organisation_id_meter_id",
        ),
    )
    op.create_index("ix_disconnect_sent_system", "disconnect_sent", ["sent_at"], unique=False)
    op.create_index(
        "ix_disconnect_sent_tenant", "disconnect_sent", ["organisation_id", "sent_at"], unique=False
    )


def create_reading_hold() -> None:
    op.create_table(
        "reading_hold",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("register_id", sa.SmallInteger, nullable=False),
        sa.Column("read_at", TIME, nullable=False),
        sa.Column("value", DECIMAL, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("raised_at", TIME, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("closing_value", DECIMAL),
        sa.Column("opening_value", DECIMAL),
        sa.Column("settled_at", TIME),
        sa.Column("settled_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_reading_hold"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_reading_hold_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_reading_hold_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_reading_hold_register_id"
        ),
        sa.UniqueConstraint(
            "organisation_id",
            "binding_id",
            "register_id",
            "read_at",
            name="uq_reading_hold_organisation_id_binding_id_register_id_read_at",
        ),
    )


def create_supply_state() -> None:
    op.create_table(
        "supply_state",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("wanted", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("not_before", TIME),
        sa.Column("command_id", sa.Uuid),
        sa.PrimaryKeyConstraint("organisation_id", "binding_id", name="pk_supply_state"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_supply_state_organisation_id_binding_id",
        ),
    )


def create_wallet() -> None:
    op.create_table(
        "wallet",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("purchase_count", sa.BigInteger, nullable=False),
        sa.Column("total_purchased_units", sa.BigInteger),
        sa.Column("remaining_units", sa.BigInteger, nullable=False),
        sa.Column("read_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "binding_id", name="pk_wallet"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_wallet_organisation_id_binding_id",
        ),
    )


def create_warning() -> None:
    op.create_table(
        "warning",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("episode", TIME, nullable=False),
        sa.Column("balance_units", sa.BigInteger, nullable=False),
        sa.Column("raised_at", TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("sent_by", sa.Text, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_warning"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_warning_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_warning_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_warning_organisation_id_binding_id",
        ),
    )
    op.create_index(
        "ix_warning_account",
        "warning",
        ["organisation_id", "account_id", "raised_at"],
        unique=False,
    )
    op.create_index(
        "ix_warning_low",
        "warning",
        ["organisation_id", "account_id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def create_credit_order_step() -> None:
    op.create_table(
        "credit_order_step",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("done_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id", "order_id", "number", name="pk_credit_order_step"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "order_id"],
            ["credit_order.organisation_id", "credit_order.id"],
            name="fk_credit_order_step_organisation_id_order_id",
        ),
    )


def create_ledger_entry() -> None:
    op.create_table(
        "ledger_entry",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("booked_at", TIME, nullable=False),
        sa.Column("period", sa.Date, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("account_id", sa.Uuid),
        sa.Column("order_id", sa.Uuid),
        sa.Column("reverses_id", sa.Uuid),
        sa.Column("memo", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_ledger_entry"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_ledger_entry_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_ledger_entry_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "order_id"],
            ["credit_order.organisation_id", "credit_order.id"],
            name="fk_ledger_entry_organisation_id_order_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "reverses_id"],
            ["ledger_entry.organisation_id", "ledger_entry.id"],
            name="fk_ledger_entry_organisation_id_reverses_id",
        ),
    )
    op.create_index(
        "ix_ledger_entry_account",
        "ledger_entry",
        ["organisation_id", "account_id", "booked_at"],
        unique=False,
    )
    op.create_index(
        "ix_ledger_entry_order",
        "ledger_entry",
        ["organisation_id", "order_id"],
        unique=False,
        sqlite_where=sa.text("order_id IS NOT NULL"),
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_entry_period", "ledger_entry", ["organisation_id", "period"], unique=False
    )
    op.create_index(
        "ix_ledger_entry_time", "ledger_entry", ["organisation_id", "booked_at"], unique=False
    )
    op.create_index(
        "uq_ledger_entry_reverses",
        "ledger_entry",
        ["organisation_id", "reverses_id"],
        unique=True,
        sqlite_where=sa.text("reverses_id IS NOT NULL"),
        postgresql_where=sa.text("reverses_id IS NOT NULL"),
    )


def create_notice() -> None:
    op.create_table(
        "notice",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid),
        sa.Column("account_id", sa.Uuid),
        sa.Column("warning_id", sa.Uuid),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("notifier", sa.Text, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_notice"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_notice_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_notice_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_notice_organisation_id_site_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "warning_id"],
            ["warning.organisation_id", "warning.id"],
            name="fk_notice_organisation_id_warning_id",
        ),
    )
    op.create_index(
        "ix_notice_waiting",
        "notice",
        ["organisation_id", "created_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'failed')"),
        postgresql_where=sa.text("state IN ('queued', 'failed')"),
    )


def create_bill() -> None:
    op.create_table(
        "bill",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("since", sa.Date, nullable=False),
        sa.Column("until", sa.Date, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("due_on", sa.Date, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("paid_units", sa.BigInteger, nullable=False),
        sa.Column("lines", JSON, nullable=False),
        sa.Column("fee_id", sa.Uuid),
        sa.Column("share_run_id", sa.Uuid),
        sa.Column("entry_id", sa.Uuid),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_bill"),
        sa.CheckConstraint(
            "paid_units >= 0 AND paid_units <= amount_units", name=op.f("ck_bill_paid_within")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_bill_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_bill_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "entry_id"],
            ["ledger_entry.organisation_id", "ledger_entry.id"],
            name="fk_bill_organisation_id_entry_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "fee_id"],
            ["fee.organisation_id", "fee.id"],
            name="fk_bill_organisation_id_fee_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "share_run_id"],
            ["share_run.organisation_id", "share_run.id"],
            name="fk_bill_organisation_id_share_run_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_bill_organisation_id_site_id",
        ),
        sa.UniqueConstraint(
            "organisation_id", "site_id", "number", name="uq_bill_organisation_id_site_id_number"
        ),
    )
    op.create_index(
        "ix_bill_account", "bill", ["organisation_id", "account_id", "since"], unique=False
    )
    op.create_index(
        "ix_bill_unpaid",
        "bill",
        ["organisation_id", "due_on"],
        unique=False,
        sqlite_where=sa.text("paid_units < amount_units"),
        postgresql_where=sa.text("paid_units < amount_units"),
    )


def create_charge() -> None:
    op.create_table(
        "charge",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("binding_id", sa.Uuid, nullable=False),
        sa.Column("register_id", sa.SmallInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("from_at", TIME, nullable=False),
        sa.Column("to_at", TIME, nullable=False),
        sa.Column("from_value", DECIMAL, nullable=False),
        sa.Column("to_value", DECIMAL, nullable=False),
        sa.Column("units", DECIMAL, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.Column("booked_at", TIME, nullable=False),
        sa.Column("tariff_version_id", sa.Uuid),
        sa.Column("lines", JSON, nullable=False),
        sa.Column("adjusts_id", sa.Uuid),
        sa.Column("entry_id", sa.Uuid),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_charge"),
        sa.CheckConstraint("to_at > from_at", name=op.f("ck_charge_ends_after_start")),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_charge_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "adjusts_id"],
            ["charge.organisation_id", "charge.id"],
            name="fk_charge_organisation_id_adjusts_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "binding_id"],
            ["binding.organisation_id", "binding.id"],
            name="fk_charge_organisation_id_binding_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "entry_id"],
            ["ledger_entry.organisation_id", "ledger_entry.id"],
            name="fk_charge_organisation_id_entry_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "tariff_version_id"],
            ["tariff_version.organisation_id", "tariff_version.id"],
            name="fk_charge_organisation_id_tariff_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["register_id"], ["register_type.id"], name="fk_charge_register_id"
        ),
    )
    op.create_index(
        "ix_charge_account_time", "charge", ["organisation_id", "account_id", "to_at"], unique=False
    )
    op.create_index(
        "ix_charge_binding_time",
        "charge",
        ["organisation_id", "binding_id", "register_id", "to_at"],
        unique=False,
    )
    op.create_index(
        "uq_charge_tile_start",
        "charge",
        ["organisation_id", "binding_id", "register_id", "from_at"],
        unique=True,
        sqlite_where=sa.text("kind <> 'adjustment'"),
        postgresql_where=sa.text("kind <> 'adjustment'"),
    )


def create_ledger_posting() -> None:
    op.create_table(
        "ledger_posting",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("entry_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("debit_id", sa.Uuid, nullable=False),
        sa.Column("credit_id", sa.Uuid, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount_units", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id", "entry_id", "position", name="pk_ledger_posting"
        ),
        sa.CheckConstraint("amount_units > 0", name=op.f("ck_ledger_posting_above_zero")),
        sa.CheckConstraint("debit_id <> credit_id", name=op.f("ck_ledger_posting_two_accounts")),
        sa.ForeignKeyConstraint(
            ["organisation_id", "credit_id", "currency"],
            ["ledger_account.organisation_id", "ledger_account.id", "ledger_account.currency"],
            name="fk_ledger_posting_credit",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "debit_id", "currency"],
            ["ledger_account.organisation_id", "ledger_account.id", "ledger_account.currency"],
            name="fk_ledger_posting_debit",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "entry_id"],
            ["ledger_entry.organisation_id", "ledger_entry.id"],
            name="fk_ledger_posting_organisation_id_entry_id",
        ),
    )
    op.create_index(
        "ix_ledger_posting_credit", "ledger_posting", ["organisation_id", "credit_id"], unique=False
    )
    op.create_index(
        "ix_ledger_posting_debit", "ledger_posting", ["organisation_id", "debit_id"], unique=False
    )


def create_receipt() -> None:
    op.create_table(
        "receipt",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("site_id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("entry_id", sa.Uuid, nullable=False),
        sa.Column("order_id", sa.Uuid),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name="pk_receipt"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_receipt_organisation_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_receipt_organisation_id_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "entry_id"],
            ["ledger_entry.organisation_id", "ledger_entry.id"],
            name="fk_receipt_organisation_id_entry_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "order_id"],
            ["credit_order.organisation_id", "credit_order.id"],
            name="fk_receipt_organisation_id_order_id",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id", "site_id"],
            ["site.organisation_id", "site.id"],
            name="fk_receipt_organisation_id_site_id",
        ),
        sa.UniqueConstraint(
            "organisation_id", "entry_id", name="uq_receipt_organisation_id_entry_id"
        ),
        sa.UniqueConstraint(
            "organisation_id", "site_id", "number", name="uq_receipt_organisation_id_site_id_number"
        ),
    )
    op.create_index("ix_receipt_number", "receipt", ["organisation_id", "number"], unique=False)
    op.create_index("ix_receipt_order", "receipt", ["organisation_id", "order_id"], unique=False)
    op.create_index(
        "ix_receipt_time", "receipt", ["organisation_id", "site_id", "issued_at"], unique=False
    )


def create_receipt_copy() -> None:
    op.create_table(
        "receipt_copy",
        sa.Column("organisation_id", sa.Uuid, nullable=False),
        sa.Column("receipt_id", sa.Uuid, nullable=False),
        sa.Column("copy", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("printed_at", TIME, nullable=False),
        sa.Column("printed_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "receipt_id", "copy", name="pk_receipt_copy"),
        sa.ForeignKeyConstraint(
            ["organisation_id", "receipt_id"],
            ["receipt.organisation_id", "receipt.id"],
            name="fk_receipt_copy_organisation_id_receipt_id",
        ),
    )

"""Tables of accounts, tariffs, the ledger, charges, orders, bills and supply decisions.

Amounts are ledger units in whole numbers. What may never change is refused by triggers that the
migration makes: tariff versions, ledger entries and postings, charges, steps of orders, receipts.
"""

from typing import Any, Final

import sqlalchemy as sa

from meterplex.db.tables import identified, metadata, of, reference, text
from meterplex.db.types import JSON_OBJECT, EnumText, ExactDecimal, UtcDateTime
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState, Category, ClosingStep
from meterplex.domain.charges import ChargeKind, HoldReason, HoldState
from meterplex.domain.ledger import EntryKind, LedgerKind
from meterplex.domain.prepayment.orders import Direction, OrderKind, OrderState

JSON_ANY: Final = JSON_OBJECT
"""A document of the program's own making."""


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid, nullable=nullable)


def _units(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, JSON_ANY, nullable=nullable)


def _partial_unique(name: str, where: str, *columns: sa.Column[Any]) -> None:
    condition = sa.text(where)
    sa.Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


def _partial_index(name: str, where: str, *columns: sa.Column[Any]) -> None:
    condition = sa.text(where)
    sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


# -- customers, accounts, tariffs --------------------------------------------------------------

customer: Final = identified(
    "customer",
    text("number"),
    text("name"),
    text("phone"),
    text("email"),
    text("language"),
    sa.UniqueConstraint("organisation_id", "number"),
)

account: Final = identified(
    "account",
    _id("site_id"),
    _id("customer_id"),
    text("number"),
    sa.Column("mode", EnumText(AccountMode), nullable=False),
    text("currency"),
    _time("opened_at"),
    text("tariff"),
    sa.Column("state", EnumText(AccountState), nullable=False),
    _units("alarm_1_units", nullable=True),
    _units("alarm_2_units", nullable=True),
    _units("overdraft_units"),
    _units("emergency_units"),
    _units("hoard_units", nullable=True),
    text("deduction_order"),
    sa.Column("head_count", sa.Integer),
    sa.Column("closing_step", EnumText(ClosingStep)),
    _time("closed_at", nullable=True),
    of("site"),
    of("customer"),
    sa.UniqueConstraint("organisation_id", "number"),
)
sa.Index("ix_account_customer", account.c.organisation_id, account.c.customer_id)
sa.Index("ix_account_site", account.c.organisation_id, account.c.site_id)

binding_opening: Final = sa.Table(
    "binding_opening",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("binding_id", sa.Uuid, primary_key=True),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), primary_key=True),
    sa.Column("opening_value", ExactDecimal, nullable=False),
    sa.Column("closing_value", ExactDecimal),
    of("binding"),
)
"""Registers at the start and end of a binding, as the meter showed them."""

wallet: Final = sa.Table(
    "wallet",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("binding_id", sa.Uuid, primary_key=True),
    sa.Column("purchase_count", sa.BigInteger, nullable=False),
    _units("total_purchased_units", nullable=True),
    _units("remaining_units"),
    _time("read_at"),
    of("binding"),
)
"""The credit in the meter of a binding as it was read last, and as it is expected to be next."""

tariff_version: Final = identified(
    "tariff_version",
    text("code"),
    sa.Column("version", sa.Integer, nullable=False),
    text("utility"),
    text("currency"),
    sa.Column("valid_from", sa.Date, nullable=False),
    text("document"),
    text("sha256"),
    _time("published_at"),
    text("published_by"),
    sa.UniqueConstraint("organisation_id", "code", "version"),
    sa.UniqueConstraint("organisation_id", "code", "valid_from"),
)

site_policy: Final = sa.Table(
    "site_policy",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("site_id", sa.Uuid, primary_key=True),
    _json("document"),
    of("site"),
)
"""Default parameters of a site: thresholds, hoard limit, friendly hours, warnings (F90)."""

holiday: Final = sa.Table(
    "holiday",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("site_id", sa.Uuid, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    text("name"),
    sa.Column("working", sa.Boolean, nullable=False),
    of("site"),
)
"""Days that are no working days; ``working`` ones are weekend days that are worked."""

number_sequence: Final = sa.Table(
    "number_sequence",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("site_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
    of("site"),
)
"""Numbers without gaps: taken in the transaction that uses them."""

# -- ledger ------------------------------------------------------------------------------------

ledger_account: Final = identified(
    "ledger_account",
    sa.Column("kind", EnumText(LedgerKind), nullable=False),
    text("subject"),
    text("currency"),
    _units("balance_units"),
    sa.UniqueConstraint("organisation_id", "kind", "subject", "currency"),
    sa.UniqueConstraint("organisation_id", "id", "currency"),
    sa.CheckConstraint(
        "kind NOT IN ('transit', 'refund_payable') OR balance_units >= 0", name="not_below_zero"
    ),
)
"""``balance_units`` is the sum of its postings, kept with them in the same transaction."""

ledger_period: Final = sa.Table(
    "ledger_period",
    metadata,
    sa.Column("organisation_id", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    sa.Column("period", sa.Date, primary_key=True),
    _time("closed_at"),
    text("closed_by"),
    _json("trial_balance"),
)
"""The closed periods, each with the balances it was closed with."""

# -- orders ------------------------------------------------------------------------------------

credit_order: Final = identified(
    "credit_order",
    _id("site_id"),
    _id("account_id"),
    _id("binding_id", nullable=True),
    sa.Column("kind", EnumText(OrderKind), nullable=False),
    sa.Column("direction", EnumText(Direction), nullable=False),
    sa.Column("state", EnumText(OrderState), nullable=False),
    _units("amount_units"),
    _units("deliver_units"),
    text("currency"),
    text("idempotency_key"),
    text("method"),
    text("channel"),
    text("asked_by"),
    _time("created_at"),
    _id("approval_id", nullable=True),
    _id("reverses_id", nullable=True),
    sa.Column("count", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False),
    _json("arming", nullable=True),
    _time("armed_at", nullable=True),
    _time("sent_at", nullable=True),
    _time("uncertain_at", nullable=True),
    _time("due_at", nullable=True),
    _time("settled_at", nullable=True),
    sa.Column("ever_sent", sa.Boolean, nullable=False),
    text("fence"),
    text("held"),
    text("outcome"),
    of("site"),
    of("account"),
    of("binding"),
    reference("reverses_id", "credit_order"),
    sa.UniqueConstraint("organisation_id", "idempotency_key"),
    sa.CheckConstraint("amount_units > 0", name="above_zero"),
    sa.CheckConstraint("deliver_units >= 0", name="delivers_no_less_than_zero"),
)
"""``amount_units``: paid, or asked back; ``deliver_units``: what of it goes through the meter.

``due_at``: when the delivery looks at it next; ``held``: why it waits for a person.
"""
_order = credit_order.c
_partial_unique(
    "uq_credit_order_in_flight",
    "state IN ('armed', 'uncertain') AND binding_id IS NOT NULL",
    _order.organisation_id,
    _order.binding_id,
)
_partial_unique(
    "uq_credit_order_reversed_once",
    "reverses_id IS NOT NULL AND state <> 'voided'",
    _order.organisation_id,
    _order.reverses_id,
)
_partial_index(
    "ix_credit_order_open",
    "state IN ('paid', 'armed', 'uncertain', 'conflict')",
    _order.organisation_id,
    _order.binding_id,
    _order.created_at,
)
sa.Index("ix_credit_order_account", _order.organisation_id, _order.account_id, _order.created_at)
sa.Index("ix_credit_order_time", _order.organisation_id, _order.site_id, _order.created_at)

credit_order_step: Final = sa.Table(
    "credit_order_step",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("order_id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    _time("at"),
    sa.Column("state", EnumText(OrderState), nullable=False),
    text("code"),
    text("sentence"),
    _json("detail"),
    text("done_by"),
    reference("order_id", "credit_order"),
)
"""All that ever happened to an order; ``code`` is the evidence (E1-E4), fence (F1-F4) or word."""

idempotency_key: Final = sa.Table(
    "idempotency_key",
    metadata,
    sa.Column("organisation_id", sa.Uuid, sa.ForeignKey("organisation.id"), primary_key=True),
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    text("body_hash"),
    _json("answer"),
    _time("created_at"),
)
"""First answers to requests that move money or a switch; committed with what they answer for."""

# -- ledger entries ----------------------------------------------------------------------------

ledger_entry: Final = identified(
    "ledger_entry",
    sa.Column("kind", EnumText(EntryKind), nullable=False),
    text("currency"),
    _time("booked_at"),
    sa.Column("period", sa.Date, nullable=False),
    text("operator"),
    _id("account_id", nullable=True),
    _id("order_id", nullable=True),
    _id("reverses_id", nullable=True),
    text("memo"),
    of("account"),
    reference("order_id", "credit_order"),
    reference("reverses_id", "ledger_entry"),
)
_partial_unique(
    "uq_ledger_entry_reverses",
    "reverses_id IS NOT NULL",
    ledger_entry.c.organisation_id,
    ledger_entry.c.reverses_id,
)
sa.Index(
    "ix_ledger_entry_account",
    ledger_entry.c.organisation_id,
    ledger_entry.c.account_id,
    ledger_entry.c.booked_at,
)
sa.Index("ix_ledger_entry_time", ledger_entry.c.organisation_id, ledger_entry.c.booked_at)
sa.Index("ix_ledger_entry_period", ledger_entry.c.organisation_id, ledger_entry.c.period)
_partial_index(
    "ix_ledger_entry_order",
    "order_id IS NOT NULL",
    ledger_entry.c.organisation_id,
    ledger_entry.c.order_id,
)

ledger_posting: Final = sa.Table(
    "ledger_posting",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("entry_id", sa.Uuid, primary_key=True),
    sa.Column("position", sa.SmallInteger, primary_key=True),
    _id("debit_id"),
    _id("credit_id"),
    text("currency"),
    _units("amount_units"),
    reference("entry_id", "ledger_entry"),
    sa.ForeignKeyConstraint(
        ["organisation_id", "debit_id", "currency"],
        [f"ledger_account.{name}" for name in ("organisation_id", "id", "currency")],
        name="fk_ledger_posting_debit",
    ),
    sa.ForeignKeyConstraint(
        ["organisation_id", "credit_id", "currency"],
        [f"ledger_account.{name}" for name in ("organisation_id", "id", "currency")],
        name="fk_ledger_posting_credit",
    ),
    sa.CheckConstraint("amount_units > 0", name="above_zero"),
    sa.CheckConstraint("debit_id <> credit_id", name="two_accounts"),
)
"""Debit and credit of one amount in one row: no entry can fail to sum to zero."""
sa.Index("ix_ledger_posting_debit", ledger_posting.c.organisation_id, ledger_posting.c.debit_id)
sa.Index("ix_ledger_posting_credit", ledger_posting.c.organisation_id, ledger_posting.c.credit_id)

# -- charges -----------------------------------------------------------------------------------

charge: Final = sa.Table(
    "charge",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    _id("account_id"),
    _id("binding_id"),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), nullable=False),
    sa.Column("kind", EnumText(ChargeKind), nullable=False),
    _time("from_at"),
    _time("to_at"),
    sa.Column("from_value", ExactDecimal, nullable=False),
    sa.Column("to_value", ExactDecimal, nullable=False),
    sa.Column("units", ExactDecimal, nullable=False),
    _units("amount_units"),
    _time("booked_at"),
    _id("tariff_version_id", nullable=True),
    _json("lines"),
    _id("adjusts_id", nullable=True),
    _id("entry_id", nullable=True),
    text("reason"),
    of("account"),
    of("binding"),
    of("tariff_version"),
    reference("adjusts_id", "charge"),
    reference("entry_id", "ledger_entry"),
    sa.CheckConstraint("to_at > from_at", name="ends_after_start"),
)
_partial_unique(
    "uq_charge_tile_start",
    "kind <> 'adjustment'",
    charge.c.organisation_id,
    charge.c.binding_id,
    charge.c.register_id,
    charge.c.from_at,
)
sa.Index(
    "ix_charge_binding_time",
    charge.c.organisation_id,
    charge.c.binding_id,
    charge.c.register_id,
    charge.c.to_at,
)
sa.Index("ix_charge_account_time", charge.c.organisation_id, charge.c.account_id, charge.c.to_at)

charged_period: Final = sa.Table(
    "charged_period",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("binding_id", sa.Uuid, primary_key=True),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), primary_key=True),
    sa.Column("tariff_version_id", sa.Uuid, primary_key=True),
    sa.Column("start", UtcDateTime, primary_key=True),
    _json("lines"),
    _units("amount_units"),
    _time("anchor_at"),
    sa.Column("anchor_value", ExactDecimal, nullable=False),
    sa.Column("anchor_units", ExactDecimal, nullable=False),
    of("binding"),
    of("tariff_version"),
)
"""What a billing period of a binding was charged so far: the sum of its charges, line by line.

The anchor is the last sure reading not after its start: what is charged again from the start of
the period on begins there. ``anchor_units`` were used before it since the binding began.
"""

charged_register: Final = sa.Table(
    "charged_register",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("binding_id", sa.Uuid, primary_key=True),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), primary_key=True),
    _time("until"),
    sa.Column("value", ExactDecimal, nullable=False),
    sa.Column("units", ExactDecimal, nullable=False),
    _time("booked_at"),
    of("binding"),
)
"""How far a register is charged: where its next tile starts, and the units of all its charges."""

reading_hold: Final = identified(
    "reading_hold",
    _id("binding_id"),
    sa.Column("register_id", sa.SmallInteger, sa.ForeignKey("register_type.id"), nullable=False),
    _time("read_at"),
    sa.Column("value", ExactDecimal, nullable=False),
    sa.Column("reason", EnumText(HoldReason), nullable=False),
    _time("raised_at"),
    text("detail"),
    sa.Column("state", EnumText(HoldState), nullable=False),
    sa.Column("closing_value", ExactDecimal),
    sa.Column("opening_value", ExactDecimal),
    _time("settled_at", nullable=True),
    text("settled_by"),
    of("binding"),
    sa.UniqueConstraint("organisation_id", "binding_id", "register_id", "read_at"),
)

# -- fees, bills, debts, shares, receipts ------------------------------------------------------

debt_plan: Final = identified(
    "debt_plan",
    _id("account_id"),
    text("name"),
    _units("amount_units"),
    text("currency"),
    _json("rule"),
    _time("created_at"),
    text("created_by"),
    _time("ended_at", nullable=True),
    of("account"),
)

fee: Final = identified(
    "fee",
    _id("account_id"),
    sa.Column("category", EnumText(Category), nullable=False),
    text("name"),
    _json("rule"),
    sa.Column("since", sa.Date, nullable=False),
    sa.Column("until", sa.Date),
    sa.Column("charged_until", sa.Date, nullable=False),
    text("created_by"),
    of("account"),
)
"""What an account owes each month; booked up to ``charged_until``, exclusive."""

share_run: Final = identified(
    "share_run",
    _id("site_id"),
    text("name"),
    text("basis"),
    sa.Column("since", sa.Date, nullable=False),
    sa.Column("until", sa.Date, nullable=False),
    _units("amount_units"),
    text("currency"),
    _json("statement"),
    _time("created_at"),
    text("created_by"),
    of("site"),
    sa.UniqueConstraint("organisation_id", "site_id", "name", "since"),
)

bill: Final = identified(
    "bill",
    _id("site_id"),
    _id("account_id"),
    text("number"),
    sa.Column("category", EnumText(Category), nullable=False),
    text("title"),
    sa.Column("since", sa.Date, nullable=False),
    sa.Column("until", sa.Date, nullable=False),
    _time("issued_at"),
    sa.Column("due_on", sa.Date, nullable=False),
    text("currency"),
    _units("amount_units"),
    _units("paid_units"),
    _json("lines"),
    _id("fee_id", nullable=True),
    _id("share_run_id", nullable=True),
    _id("entry_id", nullable=True),
    of("site"),
    of("account"),
    of("fee"),
    of("share_run"),
    reference("entry_id", "ledger_entry"),
    sa.UniqueConstraint("organisation_id", "site_id", "number"),
    sa.CheckConstraint("paid_units >= 0 AND paid_units <= amount_units", name="paid_within"),
)
sa.Index("ix_bill_account", bill.c.organisation_id, bill.c.account_id, bill.c.since)
_partial_index("ix_bill_unpaid", "paid_units < amount_units", bill.c.organisation_id, bill.c.due_on)

receipt: Final = identified(
    "receipt",
    _id("site_id"),
    _id("account_id"),
    _id("entry_id"),
    _id("order_id", nullable=True),
    text("number"),
    _time("issued_at"),
    _json("document"),
    of("site"),
    of("account"),
    reference("entry_id", "ledger_entry"),
    reference("order_id", "credit_order"),
    sa.UniqueConstraint("organisation_id", "site_id", "number"),
    sa.UniqueConstraint("organisation_id", "entry_id"),
)
"""The proof of one movement of money: an entry. See ``services.receipts.issue_receipt``."""
sa.Index("ix_receipt_order", receipt.c.organisation_id, receipt.c.order_id)
sa.Index("ix_receipt_number", receipt.c.organisation_id, receipt.c.number)
sa.Index("ix_receipt_time", receipt.c.organisation_id, receipt.c.site_id, receipt.c.issued_at)

receipt_copy: Final = sa.Table(
    "receipt_copy",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("receipt_id", sa.Uuid, primary_key=True),
    sa.Column("copy", sa.Integer, primary_key=True),
    _time("printed_at"),
    text("printed_by"),
    reference("receipt_id", "receipt"),
)
"""Each print; copy 0 is the original."""

# -- supply decisions, notices -----------------------------------------------------------------

supply_hold: Final = identified(
    "supply_hold",
    _id("site_id"),
    _id("account_id", nullable=True),
    text("owner"),
    text("reason"),
    _time("since"),
    _time("until", nullable=True),
    text("set_by"),
    _time("ended_at", nullable=True),
    text("ended_by"),
    of("site"),
    of("account"),
)
"""Why supply stays on: of one account, or of all of a site (``owner``: operator, care, ...)."""

bypass: Final = identified(
    "bypass",
    _id("meter_id"),
    text("reason"),
    _time("since"),
    _time("until"),
    text("asked_by"),
    text("approved_by"),
    _id("approval_id"),
    _time("ended_at", nullable=True),
    text("ended_by"),
    of("meter"),
)
"""A meter whose controller is out of the trip circuit: no automatic commands (F75)."""
_partial_unique(
    "uq_bypass_of_meter", "ended_at IS NULL", bypass.c.organisation_id, bypass.c.meter_id
)

breaker: Final = sa.Table(
    "breaker",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("opened_at", UtcDateTime),
    text("reason"),
    _time("outage_ended_at", nullable=True),
    _time("seen_at", nullable=True),
)
"""Mass-disconnect breakers: ``system`` and one an organisation; open while ``opened_at`` is set.

Their rows are what every disconnect is counted under. That of the system also tells when the
program was last seen at work, and when the last outage or jump of the clock ended.
"""

disconnect_sent: Final = identified(
    "disconnect_sent",
    _id("meter_id"),
    _id("command_id"),
    _time("sent_at"),
    of("meter"),
    of("command"),
)
"""Each time that what takes supply away was marked sent; what the limiter counts."""
sa.Index("ix_disconnect_sent_tenant", disconnect_sent.c.organisation_id, disconnect_sent.c.sent_at)
sa.Index("ix_disconnect_sent_system", disconnect_sent.c.sent_at)

supply_state: Final = sa.Table(
    "supply_state",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("binding_id", sa.Uuid, primary_key=True),
    text("wanted"),
    text("reason"),
    sa.Column("generation", sa.Integer, nullable=False),
    _time("decided_at"),
    _time("not_before", nullable=True),
    _id("command_id", nullable=True),
    of("binding"),
)
"""What was decided last for the supply of a binding."""

warning: Final = identified(
    "warning",
    _id("account_id"),
    _id("binding_id", nullable=True),
    text("level"),
    _time("episode"),
    _units("balance_units"),
    _time("raised_at"),
    text("state"),
    _time("sent_at", nullable=True),
    text("sent_by"),
    _time("ended_at", nullable=True),
    of("account"),
    of("binding"),
)
"""One for each level of a low episode, which ends with ``ended_at``.

Only what was sent, delivered or told on paper counts.
"""
sa.Index("ix_warning_account", warning.c.organisation_id, warning.c.account_id, warning.c.raised_at)
_partial_index(
    "ix_warning_low", "ended_at IS NULL", warning.c.organisation_id, warning.c.account_id
)

notice: Final = identified(
    "notice",
    _id("site_id", nullable=True),
    _id("account_id", nullable=True),
    _id("warning_id", nullable=True),
    text("kind"),
    text("recipient"),
    text("language"),
    text("text"),
    _time("created_at"),
    text("state"),
    text("notifier"),
    _time("sent_at", nullable=True),
    text("detail"),
    of("site"),
    of("account"),
    of("warning"),
)
"""The notice log: who was told what, when, by which way, and whether it is proven."""

outbox: Final = identified(
    "outbox",
    text("topic"),
    text("subject"),
    _json("payload"),
    _time("created_at"),
    _time("due_at"),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("done_at", nullable=True),
    text("last_error"),
)
"""What is to follow from a committed fact, at least once."""
_partial_index("ix_outbox_open", "done_at IS NULL", outbox.c.due_at, outbox.c.id)
_partial_index(
    "ix_notice_waiting",
    "state IN ('queued', 'failed')",
    notice.c.organisation_id,
    notice.c.created_at,
)

APPEND_ONLY: Final = (
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
"""Tables whose rows are never changed or deleted."""

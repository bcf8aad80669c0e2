"""What drivers can do."""

from enum import StrEnum


class Capability(StrEnum):
    """What a driver can do beyond ``identify`` and ``read``; code asks for these, not models."""

    SUPPLY = "supply"
    """``read_supply`` and ``set_supply`` for DISCONNECT, RECONNECT and AUTOMATIC."""
    HOLD_SUPPLY = "hold_supply"
    """``set_supply(HOLD)``."""
    CREDIT = "credit"
    """``read_credit``: the meter keeps its customer's money."""
    DELIVER_CREDIT = "deliver_credit"
    """``deliver_credit``."""
    WITHDRAW_CREDIT = "withdraw_credit"
    """``withdraw_credit``."""
    COUNT_CHECKED = "count_checked"
    """The meter takes a purchase only if its count is the stored one + 1, proven on this make and
    firmware. Without it a purchase is never sent twice."""
    PRICES = "prices"
    """``read_prices`` and ``write_prices``."""
    LIMITS = "limits"
    """``read_limits`` and ``write_limits``."""
    CALENDAR = "calendar"
    """``read_calendar`` and ``write_calendar``."""
    CLOCK = "clock"
    """``read_clock`` and ``sync_clock``."""
    EVENTS = "events"
    """``read_events``: the meter keeps an event log."""
    FROZEN = "frozen"
    """``read_frozen``: the meter keeps daily or monthly values."""

"""The database room: tables, repositories that speak domain values, one unit of work a transaction.

Runs alike on SQLite and PostgreSQL. Nothing above this room sees a session, a row or an engine.
"""

from meterplex.db.database import Database
from meterplex.db.unit_of_work import UnitOfWork

__all__ = ["Database", "UnitOfWork"]

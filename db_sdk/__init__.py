"""db_sdk: a small async ORM on aiosqlite.

`Model` and `Field` declare tables, `Database` opens a file, and `Database.run` does a whole unit of work in
one transaction and one hop to the database's thread.
"""

from db_sdk.database import Database
from db_sdk.errors import (
    BadValue,
    CannotOpen,
    CheckViolation,
    Closed,
    Corrupt,
    DatabaseError,
    ForeignKeyViolation,
    Full,
    FutureVersion,
    IntegrityError,
    Locked,
    NotNullViolation,
    ReadOnly,
    SchemaError,
    UniqueViolation,
    UsageError,
)
from db_sdk.fields import Field
from db_sdk.migrations import Migration
from db_sdk.model import Model
from db_sdk.session import Row, Session

__all__ = [
    "BadValue",
    "CannotOpen",
    "CheckViolation",
    "Closed",
    "Corrupt",
    "Database",
    "DatabaseError",
    "Field",
    "ForeignKeyViolation",
    "Full",
    "FutureVersion",
    "IntegrityError",
    "Locked",
    "Migration",
    "Model",
    "NotNullViolation",
    "ReadOnly",
    "Row",
    "SchemaError",
    "Session",
    "UniqueViolation",
    "UsageError",
]

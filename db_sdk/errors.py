"""What can go wrong, in one small tree. A text names tables and columns, never the values of a row.

SQLite's own messages are passed on only where they are known to speak of the schema and nothing else: a
function of SQLite may quote its argument, and an argument may be anything (`JSON path error near '…'`).
"""

import re
import sqlite3


class DatabaseError(Exception):
    """Root of every error of this package.

    Attributes:
        code: SQLite's name for it (`"SQLITE_BUSY"`), None where SQLite was not asked.
    """

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code


class UsageError(DatabaseError):
    """The caller's mistake: an unknown field, a wrong operator, a statement that cannot be meant."""


class Closed(UsageError):
    """The database is not open: not yet, or no longer."""


class BadValue(UsageError):
    """A value that its field cannot hold without changing it."""


class IntegrityError(DatabaseError):
    """A constraint of the schema refused the row."""


class UniqueViolation(IntegrityError):
    """The row is there already: a UNIQUE index or a primary key."""


class CheckViolation(IntegrityError):
    """A CHECK refused the row."""


class NotNullViolation(IntegrityError):
    """A value is missing that must be there."""


class ForeignKeyViolation(IntegrityError):
    """The row points to one that is not there, or another row still points to it."""


class Locked(DatabaseError):
    """Another connection held the lock for longer than the busy timeout."""


class Full(DatabaseError):
    """No room left, on the disk or within `max_page_count`."""


class ReadOnly(DatabaseError):
    """A write to a database that may only be read."""


class CannotOpen(DatabaseError):
    """There is no such file, or it may not be opened."""


class Corrupt(DatabaseError):
    """The file is damaged or no database, or a stored value is none of its field's type."""


class SchemaError(DatabaseError):
    """The statement does not fit the tables that are there."""


class FutureVersion(SchemaError):
    """The database was written by a newer version of the program."""


# By the beginning of SQLite's error name, the first that fits; an empty text: SQLite's own message speaks of
# names only.
_KINDS: tuple[tuple[str, type[DatabaseError], str], ...] = (
    ("SQLITE_CONSTRAINT_UNIQUE", UniqueViolation, ""),
    ("SQLITE_CONSTRAINT_PRIMARYKEY", UniqueViolation, ""),
    ("SQLITE_CONSTRAINT_ROWID", UniqueViolation, ""),
    ("SQLITE_CONSTRAINT_CHECK", CheckViolation, ""),
    ("SQLITE_CONSTRAINT_NOTNULL", NotNullViolation, ""),
    ("SQLITE_CONSTRAINT_FOREIGNKEY", ForeignKeyViolation, ""),
    ("SQLITE_CONSTRAINT", IntegrityError, "a constraint refused the row"),
    ("SQLITE_MISMATCH", IntegrityError, "the row's key is of the wrong type"),
    ("SQLITE_BUSY", Locked, "the database is locked by another connection"),
    ("SQLITE_LOCKED", Locked, "the table is locked by another connection"),
    ("SQLITE_FULL", Full, "the database or its disk is full"),
    ("SQLITE_READONLY", ReadOnly, "the database is read-only"),
    ("SQLITE_CANTOPEN", CannotOpen, "the database file cannot be opened"),
    ("SQLITE_CORRUPT", Corrupt, "the database file is damaged"),
    ("SQLITE_NOTADB", Corrupt, "the file is not a database"),
    ("SQLITE_SCHEMA", SchemaError, "the tables changed meanwhile"),
    ("SQLITE_IOERR", DatabaseError, "the file cannot be read or written"),
    ("SQLITE_TOOBIG", BadValue, "a value is too big for SQLite"),
    ("", DatabaseError, "SQLite failed; the code says of what"),
)

# What `sqlite3` raises; the last two where a value does not fit.
REFUSALS = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError)

_SPEAKS_OF_THE_SCHEMA = re.compile(
    r'no such (table|column|index|function|savepoint)\b|(table|index|view) \S+ |near "|unrecognized token'
    r"|duplicate column|incomplete input|\d+ values for \d+ columns|too many SQL variables"
    r"|Cannot add a |ON CONFLICT clause"
)


def translated(error: Exception) -> DatabaseError:
    """What SQLite or `sqlite3` said, as one of ours; to be raised `from None`, because theirs may quote."""
    code = getattr(error, "sqlite_errorname", None)
    if code == "SQLITE_ERROR":
        if _SPEAKS_OF_THE_SCHEMA.match(str(error)):
            return SchemaError(str(error), code)
        return DatabaseError("SQLite refused the statement", code)
    if code is not None:
        kind, text = next((kind, text) for start, kind, text in _KINDS if code.startswith(start))
        return kind(text or str(error), code)
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.Warning):
        return UsageError(str(error))  # the binding's own words: counts, types and names of parameters
    if isinstance(error, OverflowError):
        return BadValue("an integer is beyond 64 bits")
    if isinstance(error, ValueError):
        return BadValue("a text holds lone surrogates or, where SQLite takes none, NUL")
    return DatabaseError("a stored value cannot be read")  # theirs: "Could not decode ... with text ..."

"""Session: every verb, synchronous, on the database's thread. What reads or writes rows stands here, once.

The async verbs of `Model` and the calls of `Database` are faces of this class. It knows no threads and no
event loop.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from db_sdk.errors import REFUSALS, DatabaseError, UsageError, translated
from db_sdk.fields import Field, Stored
from db_sdk.table import Order, Table, Values, Where

Row = dict[str, Any]
T = TypeVar("T")


class Declared:
    """A class whose `Field` attributes declare the table that `__tablename__` names; base of `Model`.

    Raises:
        UsageError: when a subclass is made, about its names.
    """

    __tablename__: str
    __table__: Table

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields: dict[str, Field] = {}
        for base in reversed(cls.__mro__):
            fields |= {name: value for name, value in vars(base).items() if isinstance(value, Field)}
        for name in fields:
            if "__" in name or any(
                not isinstance(vars(base).get(name, fields[name]), Field) for base in cls.__mro__
            ):
                raise UsageError(f"{cls.__name__}.{name}: the name is taken, by an operator or a method")
        if fields or hasattr(cls, "__tablename__"):
            cls.__table__ = Table(getattr(cls, "__tablename__", ""), fields)


class Scope:
    """One level of a transaction, as a context manager; kept when left without an error, undone otherwise.

    The outermost level is a transaction and takes the write lock at once, unless it only reads; inside it, a
    level is a savepoint.
    """

    def __init__(self, session: "Session", write: bool) -> None:
        self._session = session
        self._write = write
        self._level: int | None = None

    def __enter__(self) -> None:
        session = self._session
        level = session.depth
        if level:
            session.execute(f"SAVEPOINT level_{level}")
        else:
            session.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        self._changes = session.connection.total_changes
        self._level, session.depth = level, level + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, level = self._session, self._level
        if level is None:
            return  # it never began
        self._level = None
        wrote = session.connection.total_changes != self._changes
        try:
            if kind is None:
                if wrote and not self._write:
                    raise UsageError("a work that only reads has written; that was undone")
                session.execute(f"RELEASE level_{level}" if level else "COMMIT")
                session.depth = level
        finally:
            session.undo(level)


class Session:
    """The verbs. Handed to the function that `Database.run` runs; not to be kept or used elsewhere.

    Every verb raises a `DatabaseError`: `UsageError` before any SQL where a name, an operator or a value
    cannot be meant, the other ones where SQLite refused.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.depth = 0

    def undo(self, level: int) -> None:
        """Undo every level of a transaction from `level` on, 0 being the outermost; none may be open."""
        if self.depth <= level:
            return
        try:
            if self.connection.in_transaction:  # not so where SQLite rolled back by itself, as of a full disk
                if level:
                    self.execute(f"ROLLBACK TO level_{level}")
                self.execute(f"RELEASE level_{level}" if level else "ROLLBACK")
        finally:
            self.depth = level

    def perform(self, work: "Callable[[Session], T]") -> T:
        """Run `work`, and leave no transaction open that only SQL text knows of."""
        try:
            result = work(self)
        finally:
            stray = not self.depth and self.connection.in_transaction
            if stray:
                self.execute("ROLLBACK")
        if stray:
            raise UsageError("SQL text began a transaction; that is what transaction() is for")
        return result

    def run(self, work: "Callable[[Session], T]", write: bool = True) -> T:
        """Run `work` in a transaction."""
        with Scope(self, write):
            result = work(self)
            if isinstance(result, CoroutineType):
                result.close()
                raise UsageError("work must be a plain function: it runs on the database's thread")
            return result

    def transaction(self) -> Scope:
        """`with session.transaction():` undoes a part of the work on an error, and the error goes on."""
        return Scope(self, write=True)

    def execute(self, sql: str, parameters: "Sequence[Stored] | Mapping[str, Stored]" = ()) -> list[Row]:
        """Run one statement of SQL text; values go into `parameters`, never into the text.

        Returns:
            Its rows, with values as SQLite stores them.
        """
        cursor, rows = self._execute(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def create_table(self, model: type[Declared], /) -> None:
        """Create the model's table if there is none of its name; one that is there stays as it is."""
        self._execute(model.__table__.create())

    def create_index(
        self, model: type[Declared], /, name: str, columns: Sequence[str], unique: bool = False
    ) -> None:
        """Create an index on the model's table if there is none of its name.

        Raises:
            UniqueViolation: `unique`, and rows are there that contradict it.
        """
        self._execute(model.__table__.create_index(name, columns, unique))

    def insert(self, model: type[Declared], /, **values: object) -> int:
        """Insert a row; fields without a value get their default.

        Returns:
            The rowid, which is the value of an INTEGER primary key.
        """
        return self._execute(*model.__table__.insert(values))[0].lastrowid or 0

    def insert_or_ignore(self, model: type[Declared], /, **values: object) -> bool:
        """Insert a row unless a UNIQUE index or the primary key holds it already; other constraints raise.

        Returns:
            Whether it was inserted.
        """
        return self._execute(*model.__table__.insert(values, "DO NOTHING"))[0].rowcount > 0

    def upsert(self, model: type[Declared], key: Sequence[str], /, **values: object) -> None:
        """Insert a row, or update the one that has the same values in `key`.

        Args:
            model: of which table.
            key: the columns of a UNIQUE index or of the primary key, each with its value among `values`.
            values: the row.
        """
        self._execute(*model.__table__.upsert(key, values))

    def find(
        self,
        model: type[Declared],
        /,
        where: Where = None,
        fields: Sequence[str] | None = None,
        order_by: Order = None,
        limit: int | None = None,
    ) -> list[Row]:
        """The rows that meet every condition of `where`.

        Args:
            model: of which table.
            where: values by field name, or by name and operator: `__ne __gt __gte __lt __lte __in __not_in
                __is_null`. They mean what they mean in Python: None equals NULL, and `__ne` is the opposite
                of equal.
            fields: which fields the rows have; by default all.
            order_by: a name or several, in descending order with `-` before it. NULL comes first.
            limit: at most so many rows.
        """
        table = model.__table__
        names = table.columns
        if fields is not None:
            names = tuple(fields)
            for name in names:
                table.field(name)
        statement = table.select(names, where, order_by, limit)
        rows = [dict(zip(names, values, strict=True)) for values in self._execute(*statement)[1]]
        for name, field in table.decoded.items():
            if name in names:
                for row in rows:
                    row[name] = field.decode(row[name])
        return rows

    def first(
        self,
        model: type[Declared],
        /,
        where: Where = None,
        fields: Sequence[str] | None = None,
        order_by: Order = None,
    ) -> Row | None:
        """The first row that `find` finds, or None."""
        rows = self.find(model, where, fields, order_by, 1)
        return rows[0] if rows else None

    def update(
        self, model: type[Declared], values: Values, /, where: Where = None, all_rows: bool = False
    ) -> int:
        """Set `values` in the rows that meet `where`.

        Args:
            model: of which table.
            values: by field name; a field with `on_update` that is not among them is set to that.
            where: as of `find`.
            all_rows: must be True where `where` is left out, and False where it is not.

        Returns:
            How many rows were met.
        """
        _ask_for_all(where, all_rows)
        return self._execute(*model.__table__.update(values, where))[0].rowcount

    def delete(self, model: type[Declared], /, where: Where = None, all_rows: bool = False) -> int:
        """Delete the rows that meet `where`; `all_rows` as of `update`.

        Returns:
            How many rows were met.
        """
        _ask_for_all(where, all_rows)
        return self._execute(*model.__table__.delete(where))[0].rowcount

    def get_or_create(
        self, model: type[Declared], key: Values, /, defaults: Values | None = None
    ) -> tuple[Row, bool]:
        """The row whose fields equal `key`; where there is none, one made of `key` and `defaults`.

        Returns:
            The row, and whether it was made.
        """
        insertion = model.__table__.insert({**(defaults or {}), **key})
        with self.transaction():
            row = self.first(model, key)
            if row is not None:
                return row, False
            self._execute(*insertion)
            row = self.first(model, key)
        if row is None:
            raise UsageError(f"{model.__name__}: a trigger changed the key of the row that was made")
        return row, True

    def exists(self, model: type[Declared], /, where: Where = None) -> bool:
        """Whether a row meets `where`."""
        return bool(self._execute(*model.__table__.select("1", where, limit=1))[1])

    def count(self, model: type[Declared], /, where: Where = None) -> int:
        """How many rows meet `where`."""
        return int(self._execute(*model.__table__.select("count(*)", where))[1][0][0])

    def _execute(
        self, sql: str, parameters: "Sequence[Stored] | Mapping[str, Stored]" = ()
    ) -> tuple[sqlite3.Cursor, list[tuple[Any, ...]]]:
        if self.depth and not self.connection.in_transaction:
            raise DatabaseError("the transaction is gone: SQLite rolled it back, or SQL text ended it")
        try:
            cursor = self.connection.execute(sql, parameters)
            return cursor, cursor.fetchall()
        except REFUSALS as error:
            raise translated(error) from None


def _ask_for_all(where: Where, all_rows: bool) -> None:
    if bool(where) == all_rows:
        raise UsageError("either a where, or all_rows=True; not both, and not neither")

"""Table: a model's fields as SQL text. Every name is checked here, and no value ever becomes part of a text.

Texts are made once per shape (the verb, the columns, the conditions) and kept; nothing here touches a
connection.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from db_sdk.errors import UsageError
from db_sdk.fields import Field, Stored, quoted

Values = Mapping[str, object]
Where = Mapping[str, object] | None
Order = str | Sequence[str] | None
Statement = tuple[str, list[Stored]]

_Shape = tuple[object, ...]

_KEPT_TEXTS = 512
_LONGEST_LIST = 30_000  # SQLite binds at most 32766 values to a statement
_ORDERINGS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

# Makes of one value of a `where` its SQL text, and appends what is to be bound.
_Condition = Callable[[object, list[Stored]], str]


class Table:
    """The SQL of one model."""

    def __init__(self, name: str, fields: Mapping[str, Field]) -> None:
        if not fields:
            raise UsageError(f"{name}: a table without fields")
        self.name = name
        self.columns = tuple(fields)
        self.decoded = {name: field for name, field in fields.items() if field.decodes}
        self._fields = dict(fields)
        self._quoted = quoted(name)
        self._quoted_names = {name: quoted(name) for name in fields}
        self._touched = {
            name: field.on_update for name, field in fields.items() if field.on_update is not None
        }
        self._conditions: dict[str, _Condition] = {}
        self._texts: dict[_Shape, str] = {}

    def field(self, name: object) -> Field:
        """The field of that name.

        Raises:
            UsageError: there is none.
        """
        field = self._fields.get(name) if isinstance(name, str) else None
        if field is None:
            raise UsageError(f"{self.name} has no such field; it has {', '.join(self.columns)}")
        return field

    def create(self) -> str:
        """CREATE TABLE IF NOT EXISTS."""
        lines = [field.declaration() for field in self._fields.values()]
        if key := [name for name, field in self._fields.items() if field.primary_key]:
            lines.append(f"PRIMARY KEY ({self._list(key)})")
        return f"CREATE TABLE IF NOT EXISTS {self._quoted} ({', '.join(lines)})"

    def create_index(self, name: str, columns: Sequence[str], unique: bool) -> str:
        """CREATE [UNIQUE] INDEX IF NOT EXISTS."""
        kind = "UNIQUE INDEX" if unique else "INDEX"
        return f"CREATE {kind} IF NOT EXISTS {quoted(name)} ON {self._quoted} ({self._list(columns)})"

    def insert(self, values: Values, conflict: str = "") -> Statement:
        """INSERT; `conflict` is "" or "DO NOTHING"."""
        return self._insert(
            values, ("insert", conflict), lambda: f"ON CONFLICT {conflict}" if conflict else ""
        )

    def upsert(self, key: Sequence[str], values: Values) -> Statement:
        """INSERT that updates the row of the same `key`, the columns of a UNIQUE index or the primary key."""
        if isinstance(key, str) or not key or any(name not in values for name in key):
            raise UsageError(
                f"upsert into {self.name}: the key must be a sequence of fields that have a value"
            )

        def clause() -> str:
            others = [self._column(name) for name in values if name not in key]
            changes = [f"{column} = excluded.{column}" for column in others] + self._touch(values)
            action = f"UPDATE SET {', '.join(changes)}" if others else "NOTHING"
            return f"ON CONFLICT ({self._list(key)}) DO {action}"

        return self._insert(values, ("upsert", *key, ""), clause)

    def update(self, values: Values, where: Where) -> Statement:
        """UPDATE."""
        if not values:
            raise UsageError(f"update of {self.name}: no values")
        bound = self._encoded(values)
        conditions = self._where(where, bound)
        shape = ("update", *values, "", *conditions)
        text = self._texts.get(shape)
        if text is None:
            changes = [f"{self._column(name)} = ?" for name in values] + self._touch(values)
            assigned = ", ".join(changes)
            text = f"UPDATE {self._quoted} SET {assigned} {_clause(conditions)}"  # noqa: S608 - names
            self._keep(shape, text)
        return text, bound

    def delete(self, where: Where) -> Statement:
        """DELETE."""
        bound: list[Stored] = []
        text = f"DELETE FROM {self._quoted} {_clause(self._where(where, bound))}"  # noqa: S608 - names
        return text, bound

    def select(
        self, columns: str | tuple[str, ...], where: Where, order_by: Order = None, limit: int | None = None
    ) -> Statement:
        """SELECT of some columns, or of an SQL expression of ours; a `limit` of None is none."""
        if limit is not None and (type(limit) is not int or not 0 <= limit < 2**63):
            raise UsageError("limit must be an int from 0")
        sorting = ", ".join(map(self._sorted, (order_by,) if isinstance(order_by, str) else order_by or ()))
        bound: list[Stored] = []
        conditions = self._where(where, bound)
        bound.append(-1 if limit is None else limit)
        shape = ("select", columns, sorting, *conditions)
        text = self._texts.get(shape)
        if text is None:
            wanted = columns if isinstance(columns, str) else self._list(columns)
            order = f"ORDER BY {sorting}" if sorting else ""
            rest = f"{_clause(conditions)} {order} LIMIT ?"
            text = f"SELECT {wanted} FROM {self._quoted} {rest}"  # noqa: S608 - names
            self._keep(shape, text)
        return text, bound

    def _insert(self, values: Values, shape: _Shape, clause: Callable[[], str]) -> Statement:
        bound = self._encoded(values)
        shape = (*shape, *values)
        text = self._texts.get(shape)
        if text is None:
            marks = ", ".join("?" * len(values))
            row = f"({self._list(values)}) VALUES ({marks})" if values else "DEFAULT VALUES"
            text = f"INSERT INTO {self._quoted} {row} {clause()}"
            self._keep(shape, text)
        return text, bound

    def _encoded(self, values: Values) -> list[Stored]:
        known = self._fields.get
        return [(known(name) or self.field(name)).encode(value) for name, value in values.items()]

    def _column(self, name: str) -> str:
        self.field(name)
        return self._quoted_names[name]

    def _list(self, names: Iterable[str]) -> str:
        listed = ", ".join(map(self._column, names))
        if not listed:
            raise UsageError(f"{self.name}: no fields are named")
        return listed

    def _sorted(self, name: object) -> str:
        if isinstance(name, str) and name.startswith("-"):
            return f"{self._column(name[1:])} DESC"
        return self._column(str(name))

    def _touch(self, values: Values) -> list[str]:
        return [
            f"{self._column(name)} = {text}" for name, text in self._touched.items() if name not in values
        ]

    def _keep(self, shape: _Shape, text: str) -> None:
        if len(self._texts) >= _KEPT_TEXTS:
            self._texts.clear()
        self._texts[shape] = text

    def _where(self, where: Where, bound: list[Stored]) -> list[str]:
        if where is None:
            return []
        if not isinstance(where, Mapping):
            raise UsageError("where must be a mapping of fields to values")
        return [
            (self._conditions.get(key) or self._condition(key))(value, bound) for key, value in where.items()
        ]

    def _condition(self, key: object) -> _Condition:
        name, _, operator = str(key).partition("__")
        field, column = self.field(name), self._column(name)
        match operator:
            case "" if name == key:
                condition = _equals(field, f"{column} IS ?")
            case "ne":
                condition = _equals(field, f"{column} IS NOT ?")
            case "gt" | "gte" | "lt" | "lte" if field.type != "JSON":
                condition = _compares(field, f"{column} {_ORDERINGS[operator]} ?")
            case "in" | "not_in":
                condition = _belongs(field, column, operator == "not_in")
            case "is_null":
                condition = _is_null(field, column)
            case _:
                raise UsageError(
                    f"{name} of {self.name}: no such operator; known are __ne, __in, __not_in, __is_null, "
                    "and except for JSON __gt, __gte, __lt, __lte"
                )
        self._conditions[str(key)] = condition
        return condition


def _clause(conditions: Iterable[str]) -> str:
    text = " AND ".join(conditions)
    return f"WHERE {text}" if text else ""


def _equals(field: Field, text: str) -> _Condition:
    """IS and IS NOT are `=` and `!=` for values, use the same indexes, and know what NULL equals."""

    def condition(value: object, bound: list[Stored]) -> str:
        bound.append(field.encode(value))
        return text

    return condition


def _compares(field: Field, text: str) -> _Condition:
    def condition(value: object, bound: list[Stored]) -> str:
        if value is None:
            raise UsageError(f"{field.name}: nothing is more or less than None")
        bound.append(field.encode(value))
        return text

    return condition


def _belongs(field: Field, column: str, negated: bool) -> _Condition:
    """As Python's `in`: a NULL belongs to a list with None in it and to no other."""

    def condition(value: object, bound: list[Stored]) -> str:
        if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
            raise UsageError(f"{field.name}: __in and __not_in take a list, a tuple or a set")
        if len(value) > _LONGEST_LIST:
            raise UsageError(f"{field.name}: a list may hold at most {_LONGEST_LIST} values")
        listed = [field.encode(item) for item in value if item is not None]
        bound.extend(listed)
        takes_null = negated != (len(listed) < len(value))
        marks = ", ".join("?" * len(listed))
        null = f"OR {column} IS NULL" if takes_null else f"AND {column} IS NOT NULL"
        return f"({column} {'NOT ' if negated else ''}IN ({marks}) {null})"

    return condition


def _is_null(field: Field, column: str) -> _Condition:
    def condition(value: object, _bound: list[Stored]) -> str:
        if not isinstance(value, bool):
            raise UsageError(f"{field.name}: __is_null takes True or False")
        return f"{column} IS NULL" if value else f"{column} IS NOT NULL"

    return condition

"""Field: what a column is called, what it may hold, and how its values go to SQLite and come back unchanged.

No statement is made here, and nothing knows of a connection.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from db_sdk.errors import BadValue, Corrupt, UsageError

NOW = "CURRENT_TIMESTAMP"

Stored = int | float | str | bytes | None

_ENCODER = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":"))

_NAME = re.compile(r"(?!sqlite_)[A-Za-z_][A-Za-z0-9_]{0,62}")


def quoted(name: object) -> str:
    """`name` as an identifier in SQL text.

    In brackets, because SQLite takes an unknown name in double quotes for a text: a misspelt column would be
    its own value.

    Raises:
        UsageError: not a plain name of letters, digits and underscores.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            "a name must be letters, digits and underscores, at most 63, and not begin with sqlite_"
        )
    return f"[{name}]"


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def _real(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError
    number = float(value)
    if number != value:  # NaN, which SQLite would turn into NULL, or an int that no float holds
        raise ValueError
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii():
        value.encode()  # a lone surrogate has no bytes
    return value


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return bytes(value)


def _boolean(value: object) -> int:
    if not isinstance(value, bool):
        raise TypeError
    return int(value)


def _read_boolean(stored: Any) -> bool:
    return bool((False, True).index(stored))


def _datetime(value: object) -> str:
    """UTC as CURRENT_TIMESTAMP writes it, with a fraction only where there is one: texts sort as times."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise TypeError
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def _read_datetime(stored: Any) -> datetime:
    moment = datetime.fromisoformat(stored)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _json(value: object) -> str:
    """Canonical, so that equal values are equal texts; ASCII, so that a lone surrogate survives."""
    return _ENCODER.encode(value)


class _Kind(NamedTuple):
    declared: str
    takes: str
    encode: Callable[[object], Stored]
    decode: Callable[[Any], object] | None = None


_KINDS = {
    "INTEGER": _Kind("INTEGER", "an int of at most 64 bits", _integer),
    "REAL": _Kind("REAL", "a float, and not NaN", _real),
    "TEXT": _Kind("TEXT", "a str without lone surrogates", _text),
    "BLOB": _Kind("BLOB", "bytes", _blob),
    "BOOLEAN": _Kind("BOOLEAN", "a bool", _boolean, _read_boolean),
    "DATETIME": _Kind("DATETIME", "a datetime with a time zone", _datetime, _read_datetime),
    # Declared TEXT: under any other name SQLite would read the JSON text '1e2' as a number and keep 100.
    "JSON": _Kind("TEXT", "a JSON value", _json, json.loads),
}


class Field:
    """One column of a `Model`.

    Args:
        type: INTEGER (int of 64 bits), REAL (float), TEXT (str), BLOB (bytes), BOOLEAN (bool), DATETIME (a
            datetime with a zone goes in, one in UTC comes out) or JSON (whatever `json` writes; None is NULL,
            tuples come back as lists, and the keys of objects as texts).
        primary_key: several fields with it make one composite key.
        default: what SQLite fills in; for the time of the insert "CURRENT_TIMESTAMP"; None: no default.
        nullable: whether None may be stored.
        check: an SQL condition, written by the programmer, never made from data.
        on_update: what `update` and `upsert` set when they are not told otherwise; as `default`.

    Raises:
        UsageError: an unknown type, or a default that the type cannot hold.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the word of SQL and of the interface
        *,
        primary_key: bool = False,
        default: object = None,
        nullable: bool = True,
        check: str | None = None,
        on_update: object = None,
    ) -> None:
        if type not in _KINDS:
            raise UsageError(f"unknown field type; known are {', '.join(_KINDS)}")
        self.type = type
        self.primary_key = primary_key
        self.nullable = nullable and not primary_key
        self.check = check
        self.name = type  # until the class names it
        self._kind = _KINDS[type]
        self._encode = self._kind.encode
        self.decodes = self._kind.decode is not None
        self.default = None if default is None else self._literal(default)
        self.on_update = None if on_update is None else self._literal(on_update)

    def __set_name__(self, owner: object, name: str) -> None:
        self.name = name

    def encode(self, value: object) -> Stored:
        """`value` as SQLite stores it.

        Raises:
            BadValue: SQLite could not give it back as it is.
        """
        if value is None:
            return None
        try:
            return self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise BadValue(f"{self.name}: the value is not {self._kind.takes}") from None

    def decode(self, stored: Stored) -> object:
        """What `encode` was given.

        Raises:
            Corrupt: somebody else stored what no value of this type looks like.
        """
        if stored is None or self._kind.decode is None:
            return stored
        try:
            return self._kind.decode(stored)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise Corrupt(f"{self.name}: what is stored is not {self._kind.takes}") from None

    def declaration(self) -> str:
        """The column in CREATE TABLE, without its key."""
        parts = [quoted(self.name), self._kind.declared]
        if not self.nullable:
            parts.append("NOT NULL")
        if self.default is not None:
            parts.append(f"DEFAULT {self.default}")
        if self.check is not None:
            parts.append(f"CHECK ({self.check})")
        return " ".join(parts)

    def _literal(self, value: object) -> str:
        if value == NOW:
            return NOW
        match self.encode(value):
            case str(text) if "\0" not in text:
                return "'" + text.replace("'", "''") + "'"
            case bytes(data):
                return f"X'{data.hex()}'"
            case int(number):
                return str(number)
            case float(number) if abs(number) != float("inf"):
                return repr(number)
        raise BadValue("a default must be finite and without NUL")

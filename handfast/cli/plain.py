"""What stands in a database as JSON and people can have it, whatever somebody wrote into the column."""

import math
from datetime import UTC, datetime
from typing import Any

from db_sdk import Row
from handfast.identity.names import fingerprint
from handfast.wire.text import EncodingError, b64decode, strict_json


def plain_row(row: Row) -> dict[str, Any]:
    """A row as JSON can hold it."""
    return {name: plain_value(value) for name, value in row.items()}


def plain_value(value: Any) -> Any:
    """A stored value as JSON can hold it."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def parsed(text: object) -> object:
    """JSON text, parsed; anything else as JSON can hold it."""
    try:
        return strict_json(text.encode()) if isinstance(text, str) else plain_value(text)
    except EncodingError:
        return text


def fingerprint_of(public: object) -> str | None:
    """The fingerprint of a key in base64, or "damaged"."""
    if public is None:
        return None
    try:
        return fingerprint(b64decode(str(public), 32))
    except EncodingError:
        return "damaged"


def moment(value: object) -> str | None:
    """Seconds since 1970, or ISO 8601 text which is UTC where it names no zone, as ISO 8601 text in UTC."""
    try:
        if isinstance(value, int | float):
            found = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str):
            found = datetime.fromisoformat(value)
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return str(plain_value(value))
    return found.isoformat(timespec="milliseconds")

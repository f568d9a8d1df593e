"""What an agent's database holds at one moment, read without ever writing to it.

Works while the agent runs, and on a database of the first generation, where tables and columns of ours are absent.
Sealed secrets are not read.
"""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db_sdk import Database, DatabaseError, Model, Row, Session
from handfast.adapters.tables import Audit, HalfOpen, NonceEvent, Outbox, Pin, RoleState
from handfast.audit import AuditRow, first_broken
from handfast.errors import StorageError, UsageError
from handfast.identity.identity import fingerprint
from handfast.wire.text import EncodingError, b64decode, strict_json

# A person reads no more, and a crowd of peers must not fill the memory; `totals` tells how many there are.
LISTED = 500
_AUDIT_PAGE = 2_000

_COUNTED: dict[str, type[Model]] = {
    "conversations": RoleState,
    "nonces": NonceEvent,
    "pins": Pin,
    "outbox": Outbox,
    "half_open": HalfOpen,
    "audit": Audit,
}
_SAME_IN_ROW = (
    "self_id",
    "role",
    "peer_id",
    "state",
    "exchange_count",
    "finalize_retry_count",
    "local_nonce",
    "peer_nonce",
    "local_reference",
    "peer_reference",
    "peer_address",
    "reconnect_tries",
)
_TIMES_IN_ROW = ("hs_derived_at", "last_secure_at", "reconnect_at", "created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One role towards one peer; times are ISO 8601 text in UTC, and None stands for what is absent."""

    self_id: str | None
    role: str | None
    peer_id: str | None
    state: str | None
    exchange_count: int | None
    finalize_retry_count: int | None
    local_nonce: str | None
    peer_nonce: str | None
    local_reference: str | None
    peer_reference: str | None
    nonces_sent: int
    nonces_received: int
    peer_address: str | None
    peer_key: str | None
    hs_derived_at: str | None
    last_secure_at: str | None
    reconnect_at: str | None
    reconnect_tries: int | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """The key that alone may speak for a peer."""

    self_id: str | None
    peer_id: str | None
    fingerprint: str | None
    sign_pub: str | None
    source: str | None
    first_seen: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is being repeated until it is answered; what it says is not shown."""

    role: str | None
    peer_id: str | None
    intent: str | None
    sends: int | None
    due_at: str | None
    since: str | None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A half-open conversation, with somebody who has proven nothing yet."""

    role: str | None
    peer_id: str | None
    state: str | None
    last_sent_at: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit log; `detail` is its JSON, or the text as it stands where that is none."""

    seq: int | None
    at: str | None
    event: str | None
    role: str | None
    peer_id: str | None
    detail: object


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The end of the audit log, and the number of the first row that breaks the chain, if any."""

    first_broken: int | None
    tail: list[Entry]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database at one moment; as a dictionary, the object that `handfast inspect --json` prints.

    Attributes:
        database: its path.
        version: of its tables; 0 for the first generation.
        self_ids: the agents whose rows it holds, of which there should be one.
        totals: how many rows there are of each kind; of all but the audit log, the first `LISTED` are listed.
    """

    database: str
    version: int
    self_ids: list[str]
    totals: dict[str, int]
    conversations: list[Conversation]
    pins: list[PinnedKey]
    outbox: list[Waiting]
    half_open: list[Stranger]
    audit: AuditLog


@asynccontextmanager
async def opened(path: Path, *, read_only: bool = True) -> AsyncIterator[Database]:
    """An existing agent's database, open.

    Raises:
        UsageError: there is no such file.
        StorageError: the database failed, inside the block as well.
    """
    if not path.is_file():  # noqa: ASYNC240  # one stat, before anything runs beside it
        raise UsageError(f"{path}: no such database")
    try:
        async with Database(path, read_only=read_only) as database:
            yield database
    except DatabaseError as error:
        raise StorageError(f"{path}: {error}") from None


def pinned_keys(session: Session, prefix: str = "") -> list[PinnedKey]:
    """The first `LISTED` pins of peers whose ids begin with `prefix`; none in a database of the first generation."""
    sql = "SELECT * FROM pin WHERE substr(peer_id, 1, length(?)) = ? ORDER BY peer_id LIMIT ?"
    return [_pin(row) for row in _rows(session, "pin", sql, prefix, prefix)]


class Reader:
    """Takes snapshots of one database, one after the other.

    The audit chain is verified from its start once, and after that from where it was verified last.

    Args:
        database: open.
        audit_entries: how many of the last audit entries a snapshot lists.
    """

    def __init__(self, database: Database, audit_entries: int) -> None:
        self._database = database
        self._audit_entries = audit_entries
        self._verified_to = 0
        self._first_broken: int | None = None

    async def read(self) -> Snapshot:
        """The database now, all tables at the same moment.

        Raises:
            DatabaseError: it failed, or is none of an agent.
        """
        return await self._database.read(self._snapshot)

    def _snapshot(self, session: Session) -> Snapshot:
        if "role_state" not in _tables(session):
            raise DatabaseError("this is not the database of an agent")
        roles = _rows(session, "role_state", "SELECT * FROM role_state ORDER BY peer_id, role LIMIT ?")
        outbox = _rows(session, "outbox", "SELECT * FROM outbox ORDER BY due_at LIMIT ?")
        half_open = _rows(session, "half_open", "SELECT * FROM half_open ORDER BY id LIMIT ?")
        pins = pinned_keys(session)
        nonces = _nonce_counts(session)
        return Snapshot(
            database=self._database.path,
            version=schema_version(session),
            self_ids=sorted({str(row.get("self_id")) for row in [*roles, *half_open]}),
            totals=_totals(session),
            conversations=[_conversation(row, nonces) for row in roles],
            pins=pins,
            outbox=[_waiting(row) for row in outbox],
            half_open=[_stranger(row) for row in half_open],
            audit=self._audit_log(session),
        )

    def _audit_log(self, session: Session) -> AuditLog:
        if "audit" not in _tables(session):
            return AuditLog(None, [])
        if self._first_broken is None:
            self._first_broken = first_broken(self._unverified(session))
        tail = session.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT ?", (self._audit_entries,))
        return AuditLog(self._first_broken, [_entry(row) for row in reversed(tail)])

    def _unverified(self, session: Session) -> Iterator[AuditRow]:
        sql = "SELECT seq, at, event, role, peer_id, detail, digest FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
        # the row verified last comes first again: the next one must follow from it
        after = self._verified_to - 1
        while page := session.execute(sql, (after, _AUDIT_PAGE)):
            for row in page:
                yield AuditRow(**{name: _plain(value) for name, value in row.items()})
                self._verified_to = after = row["seq"]


def schema_version(session: Session) -> int:
    """How many migrations the database has seen."""
    return int(session.execute("PRAGMA user_version")[0]["user_version"])


def _tables(session: Session) -> set[str]:
    return {row["name"] for row in session.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _rows(session: Session, table: str, sql: str, *parameters: str) -> list[Row]:
    return session.execute(sql, (*parameters, LISTED)) if table in _tables(session) else []


def _totals(session: Session) -> dict[str, int]:
    tables = _tables(session)
    return {
        name: session.count(model) if model.__tablename__ in tables else 0 for name, model in _COUNTED.items()
    }


_Pair = tuple[object, object, object]


def _pair_of(row: Row) -> _Pair:
    return row.get("self_id"), row.get("role"), row.get("peer_id")


def _nonce_counts(session: Session) -> dict[tuple[_Pair, str], int]:
    sql = (
        "SELECT self_id, role, peer_id, flow, count(*) AS n FROM nonce_event "
        "GROUP BY self_id, role, peer_id, flow LIMIT ?"
    )
    return {(_pair_of(row), row["flow"]): row["n"] for row in _rows(session, "nonce_event", sql)}


def _conversation(row: Row, nonces: dict[tuple[_Pair, str], int]) -> Conversation:
    present: dict[str, Any] = {name: _plain(row.get(name)) for name in _SAME_IN_ROW}
    present |= {name: _time(row.get(name)) for name in _TIMES_IN_ROW}
    return Conversation(
        **present,
        nonces_sent=nonces.get((_pair_of(row), "sent"), 0),
        nonces_received=nonces.get((_pair_of(row), "received"), 0),
        peer_key=_fingerprint(row.get("peer_sign_pub")),
    )


def _pin(row: Row) -> PinnedKey:
    return PinnedKey(
        self_id=_plain(row.get("self_id")),
        peer_id=_plain(row.get("peer_id")),
        fingerprint=_fingerprint(row.get("sign_pub")),
        sign_pub=_plain(row.get("sign_pub")),
        source=_plain(row.get("source")),
        first_seen=_time(row.get("first_seen")),
    )


def _waiting(row: Row) -> Waiting:
    payload = _json(row.get("payload"))
    return Waiting(
        role=_plain(row.get("role")),
        peer_id=_plain(row.get("peer_id")),
        intent=_plain(payload.get("intent")) if isinstance(payload, dict) else None,
        sends=_plain(row.get("sends")),
        due_at=_time(row.get("due_at")),
        since=_time(row.get("since")),
    )


def _stranger(row: Row) -> Stranger:
    return Stranger(
        _plain(row.get("role")),
        _plain(row.get("peer_id")),
        _plain(row.get("state")),
        _time(row.get("last_sent_at")),
    )


def _entry(row: Row) -> Entry:
    return Entry(
        seq=row.get("seq"),
        at=_time(row.get("at")),
        event=_plain(row.get("event")),
        role=_plain(row.get("role")),
        peer_id=_plain(row.get("peer_id")),
        detail=_json(row.get("detail")),
    )


def _plain(value: Any) -> Any:
    """A stored value as JSON can hold it, whatever somebody wrote into the column."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _json(text: object) -> object:
    try:
        return strict_json(text.encode()) if isinstance(text, str) else _plain(text)
    except EncodingError:
        return text


def _fingerprint(sign_pub: object) -> str | None:
    if sign_pub is None:
        return None
    try:
        return fingerprint(b64decode(str(sign_pub), 32))
    except EncodingError:
        return "damaged"


def _time(value: object) -> str | None:
    """Seconds since 1970, or ISO 8601 text which is UTC where it names no zone, as ISO 8601 text in UTC."""
    try:
        if isinstance(value, int | float):
            moment = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return str(_plain(value))
    return moment.isoformat(timespec="milliseconds")

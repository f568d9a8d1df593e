"""What an agent's database holds at one moment, read without ever writing to it.

Works while the agent runs, and on a database of the first generation, where tables and columns of ours are absent.
Sealed secrets are not read.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db_sdk import Database, DatabaseError, Model, ReadOnly, Row, Session
from handfast.adapters.tables import (
    MIGRATIONS,
    Audit,
    HalfOpen,
    IdentityPin,
    NonceEvent,
    Outbox,
    Pin,
    RoleState,
)
from handfast.cli.audit_keys import LogVerifier
from handfast.cli.openings import Openings, Ticket
from handfast.cli.plain import fingerprint_of, moment, parsed, plain_value
from handfast.errors import StorageError, UsageError

# A person reads no more, and a crowd of peers must not fill the memory; `totals` tells how many there are.
LISTED = 500
_AUDIT_PAGE = 2_000
# below every number that SQLite can hold: an entry 0 or -1 that somebody put in is not passed over
_BEFORE_ALL = -(2**63)

_COUNTED: tuple[tuple[str, type[Model]], ...] = (
    ("conversations", RoleState),
    ("nonces", NonceEvent),
    ("pins", Pin),
    ("pins", IdentityPin),
    ("outbox", Outbox),
    ("half_open", HalfOpen),
    ("audit", Audit),
)
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
    """One role towards one peer; times are ISO 8601 text in UTC, and None stands for what is absent.

    Attributes:
        version: of the protocol that was spoken last.
        security: how sure it was who the peer of the last session was, as the `session` events call it.
        ticket: what the next session can be resumed with.
    """

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
    version: int | None
    security: str | None
    ticket: Ticket | None
    hs_derived_at: str | None
    last_secure_at: str | None
    reconnect_at: str | None
    reconnect_tries: int | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """The key that alone may speak for a peer: in version 1 its signing key, in version 2 its identity key."""

    version: int
    self_id: str | None
    peer_id: str | None
    fingerprint: str | None
    sign_pub: str | None
    source: str | None
    first_seen: str | None
    last_seen: str | None = None
    rotations: int | None = None
    certificate: str | None = None


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
    """The end of the audit log, and the number of the first bad entry, if any (`handfast audit verify` says why)."""

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
        UsageError: there is no such file, or it is not an agent's.
        StorageError: the database failed, inside the block as well.
    """
    if path.is_dir():  # noqa: ASYNC240  # one stat, before anything runs beside it
        raise UsageError(f"{path}: this is a directory; give the file HSAgent-….db in it")
    if not path.is_file():  # noqa: ASYNC240
        raise UsageError(f"{path}: no such database")
    try:
        async with Database(path, read_only=True) as database:
            # before it is opened for writing, which leaves traces in a file of somebody else
            if RoleState.__tablename__ not in await database.read(table_names):
                raise UsageError(f"{path}: this is not the database of an agent")
            if read_only:
                yield database
        if not read_only:
            async with Database(path) as database:
                yield database
    except ReadOnly as error:
        reason = f"{error}; beside it, SQLite must be able to write" if read_only else str(error)
        raise StorageError(f"{path}: {reason}") from None
    except DatabaseError as error:
        raise StorageError(f"{path}: {error}") from None


def pinned_keys(session: Session, prefix: str = "") -> list[PinnedKey]:
    """The first `LISTED` pins of peers whose ids begin with `prefix`; none in a database of the first generation."""
    pins = [_pinned_key(row, 1, "sign_pub") for row in _begin_with(session, Pin, prefix)]
    identities = [_pinned_key(row, 2, "identity_public") for row in _begin_with(session, IdentityPin, prefix)]
    return sorted([*pins, *identities], key=lambda pin: (str(pin.peer_id), pin.version))[:LISTED]


def _begin_with(session: Session, model: type[Model], prefix: str) -> list[Row]:
    table = model.__tablename__
    sql = f"SELECT * FROM {table} WHERE substr(peer_id, 1, length(?)) = ? ORDER BY peer_id LIMIT ?"  # noqa: S608
    return _rows(session, table, sql, prefix, prefix)


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
        self._verifier = LogVerifier()
        self._openings = Openings()
        self._verified_to = _BEFORE_ALL

    async def read(self) -> Snapshot:
        """The database now, all tables at the same moment.

        Raises:
            DatabaseError: it failed.
        """
        return await self._database.read(self._snapshot)

    def _snapshot(self, session: Session) -> Snapshot:
        roles = _rows(session, "role_state", "SELECT * FROM role_state ORDER BY peer_id, role LIMIT ?")
        outbox = _rows(session, "outbox", "SELECT * FROM outbox ORDER BY due_at LIMIT ?")
        half_open = _rows(session, "half_open", "SELECT * FROM half_open ORDER BY id LIMIT ?")
        pins = pinned_keys(session)
        nonces = _nonce_counts(session)
        audit = self._audit_log(session)  # before the conversations: it tells how they began
        return Snapshot(
            database=self._database.path,
            version=schema_version(session),
            self_ids=sorted({str(row.get("self_id")) for row in [*roles, *half_open]}),
            totals=_totals(session),
            conversations=[_conversation(row, nonces, self._openings) for row in roles],
            pins=pins,
            outbox=[_waiting(row) for row in outbox],
            half_open=[_stranger(row) for row in half_open],
            audit=audit,
        )

    def _audit_log(self, session: Session) -> AuditLog:
        if "audit" not in table_names(session):
            return AuditLog(None, [])
        for row in audit_rows(session, self._verified_to):
            self._verifier.add(row)
            self._openings.add(row)
            self._verified_to = row["seq"]
        fault = self._verifier.report().fault
        tail = session.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT ?", (self._audit_entries,))
        return AuditLog(None if fault is None else fault.seq, [audit_entry(row) for row in reversed(tail)])


def audit_rows(session: Session, after: int = _BEFORE_ALL) -> Iterator[Row]:
    """The rows of the audit log behind number `after`, as they stand."""
    sql = "SELECT seq, at, event, role, peer_id, detail, digest FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
    while page := session.execute(sql, (after, _AUDIT_PAGE)):
        yield from page
        after = page[-1]["seq"]


def schema_version(session: Session) -> int:
    """How many migrations the database has seen."""
    return int(session.execute("PRAGMA user_version")[0]["user_version"])


def require_present_version(session: Session) -> None:
    """Refuse to change a database that another version has made.

    Raises:
        UsageError: it is another one's; an older database is carried over by the agent itself.
    """
    if schema_version(session) != len(MIGRATIONS):
        raise UsageError(
            "the database was written by another version of handfast; nothing was changed "
            "(running the agent carries an older one over)"
        )


def table_names(session: Session) -> set[str]:
    """The tables that the database has."""
    return {row["name"] for row in session.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _rows(session: Session, table: str, sql: str, *parameters: str) -> list[Row]:
    return session.execute(sql, (*parameters, LISTED)) if table in table_names(session) else []


def _totals(session: Session) -> dict[str, int]:
    tables = table_names(session)
    totals = dict.fromkeys((name for name, _ in _COUNTED), 0)
    for name, model in _COUNTED:
        totals[name] += session.count(model) if model.__tablename__ in tables else 0
    return totals


_Pair = tuple[object, object, object]


def _pair_of(row: Row) -> _Pair:
    return row.get("self_id"), row.get("role"), row.get("peer_id")


def _nonce_counts(session: Session) -> dict[tuple[_Pair, str], int]:
    sql = (
        "SELECT self_id, role, peer_id, flow, count(*) AS n FROM nonce_event "
        "GROUP BY self_id, role, peer_id, flow LIMIT ?"
    )
    return {(_pair_of(row), row["flow"]): row["n"] for row in _rows(session, "nonce_event", sql)}


def _conversation(row: Row, nonces: dict[tuple[_Pair, str], int], openings: Openings) -> Conversation:
    present: dict[str, Any] = {name: plain_value(row.get(name)) for name in _SAME_IN_ROW}
    present |= {name: moment(row.get(name)) for name in _TIMES_IN_ROW}
    return Conversation(
        **present,
        nonces_sent=nonces.get((_pair_of(row), "sent"), 0),
        nonces_received=nonces.get((_pair_of(row), "received"), 0),
        peer_key=fingerprint_of(row.get("peer_sign_pub")),
        version=plain_value(row.get("version")),
        security=openings.security(row),
        ticket=openings.ticket(row),
    )


def _pinned_key(row: Row, version: int, key: str) -> PinnedKey:
    return PinnedKey(
        version=version,
        self_id=plain_value(row.get("self_id")),
        peer_id=plain_value(row.get("peer_id")),
        fingerprint=fingerprint_of(row.get(key)),
        sign_pub=plain_value(row.get(key)),
        source=plain_value(row.get("source")),
        first_seen=moment(row.get("first_seen")),
        last_seen=moment(row.get("last_seen")),
        rotations=plain_value(row.get("rotation_sequence")),
        certificate=plain_value(row.get("certificate_serial")),
    )


def _waiting(row: Row) -> Waiting:
    payload = parsed(row.get("payload"))
    return Waiting(
        role=plain_value(row.get("role")),
        peer_id=plain_value(row.get("peer_id")),
        intent=plain_value(payload.get("intent")) if isinstance(payload, dict) else None,
        sends=plain_value(row.get("sends")),
        due_at=moment(row.get("due_at")),
        since=moment(row.get("since")),
    )


def _stranger(row: Row) -> Stranger:
    return Stranger(
        plain_value(row.get("role")),
        plain_value(row.get("peer_id")),
        plain_value(row.get("state")),
        moment(row.get("last_sent_at")),
    )


def audit_entry(row: Mapping[str, Any]) -> Entry:
    """A row of the audit log, as it is shown."""
    return Entry(
        seq=row.get("seq"),
        at=moment(row.get("at")),
        event=plain_value(row.get("event")),
        role=plain_value(row.get("role")),
        peer_id=plain_value(row.get("peer_id")),
        detail=parsed(row.get("detail")),
    )

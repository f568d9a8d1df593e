"""The store in SQLite: one message, one hop to the database thread, one transaction.

Secrets are sealed with AES-256-GCM under a key of the identity before they reach a row, and bound to the pair they
belong to, so that a row moved elsewhere does not open.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from db_sdk import Database, DatabaseError, Row, Session
from handfast.adapters.tables import (
    MIGRATIONS,
    PAIR,
    Audit,
    HalfOpen,
    NonceEvent,
    OpenedEnvelope,
    Outbox,
    Pin,
    RoleState,
    SeenHandshake,
)
from handfast.audit import FIRST_DIGEST, chain_digest
from handfast.conversation.model import (
    READY,
    Effect,
    Facts,
    ForgetNonces,
    Outgoing,
    PeerState,
    PinKey,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    Role,
    State,
)
from handfast.crypto import labels
from handfast.crypto.aead import NONCE_BYTES, DoesNotOpen, aes_open, aes_seal
from handfast.crypto.keys import Secret
from handfast.errors import PeerError, Reason, StorageError
from handfast.identity import Identity
from handfast.ports import HALF_OPEN_LIMIT
from handfast.wire.text import EncodingError, b64decode, b64encode
from handfast.wire.v1 import Message, claimed_nonce, claimed_sign_pub

T = TypeVar("T")

# So many rows of the audit log are kept, and so often the older ones are pruned.
AUDIT_ROWS_KEPT = 100_000
AUDIT_PRUNED_EVERY = 1_000

_SAME_IN_ROW = (
    "local_nonce",
    "peer_nonce",
    "local_reference",
    "peer_reference",
    "exchange_count",
    "finalize_retry_count",
    "peer_address",
    "peer_sign_pub",
    "peer_kx_pub",
    "pin_pending",
    "waiting_since",
    "reconnect_at",
    "reconnect_tries",
    "last_sent_at",
)
_FIELDS_READ = [*_SAME_IN_ROW, "state", "hs_derived_at", "last_secure_at", "sealed_secret"]


class SqliteStore:
    """An agent's database.

    Args:
        path: the file; made, with mode 0600, where there is none.
        identity: whose database it is; seals the secrets in it.
        half_open_limit: how many half-open conversations with strangers are kept; the oldest makes room.
    """

    def __init__(self, path: Path, identity: Identity, half_open_limit: int = HALF_OPEN_LIMIT) -> None:
        self.path = path
        self.self_id = identity.agent_id
        self.half_open_limit = half_open_limit
        self.vault = Vault(identity)
        # a second of patience with another process's lock: ending must not take longer than two
        self._database = Database(path, busy_timeout=1.0)

    async def open(self) -> None:
        """Open the database, and carry it over where it is of the first generation.

        Raises:
            StorageError: it cannot be opened, is damaged, or was written by a later version.
        """
        try:
            # SQLite would make the file readable for everybody
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            await self._database.open()
            # what is deleted is overwritten, whatever SQLite was built with: sealed keys end with their conversation
            await self._database.execute("PRAGMA secure_delete = ON")
            await self._database.migrate(MIGRATIONS)
        except (DatabaseError, OSError) as error:
            self._database.close_sync()
            raise StorageError(f"{self.path}: {_words(error)}") from None

    async def run(self, work: Callable[["SqliteTransaction"], T]) -> T:
        """Run `work` in one transaction on the database thread.

        Raises:
            StorageError: the database refused; nothing was kept.
        """
        try:
            return await self._database.run(lambda session: work(SqliteTransaction(self, session)))
        except DatabaseError as error:
            raise StorageError(_words(error)) from None

    async def load(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        return await self._read(lambda transaction: transaction.load(role, peer_id))

    async def unfinished(self) -> list[PeerState]:
        """Every pair that is not in its ready state, half-open conversations included."""
        return await self._read(lambda transaction: transaction.unfinished())

    async def _read(self, work: Callable[["SqliteTransaction"], T]) -> T:
        try:
            return await self._database.read(lambda session: work(SqliteTransaction(self, session)))
        except DatabaseError as error:
            raise StorageError(_words(error)) from None

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    def close_sync(self) -> None:
        """Close the database where no event loop runs any more."""
        self._database.close_sync()


class Vault:
    """Seals secrets for one identity's database."""

    def __init__(self, identity: Identity) -> None:
        self._key = identity.database_key()

    def seal(self, pair: tuple[str, str], secret: Secret) -> bytes:
        """What may be written to the disk: 12 bytes of nonce and the ciphertext."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + aes_seal(self._key.reveal(), nonce, secret.reveal(), _associated(pair))

    def open(self, pair: tuple[str, str], sealed: bytes) -> Secret | None:
        """The secret; None where it does not open, as after a change of the identity's keys."""
        try:
            nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return Secret(aes_open(self._key.reveal(), nonce, ciphertext, _associated(pair)))
        except DoesNotOpen:
            return None


@dataclass(slots=True)
class _Loaded:
    state: PeerState
    sealed: bytes | None
    has_row: bool


class SqliteTransaction:
    """One open transaction on the database thread."""

    def __init__(self, store: SqliteStore, session: Session) -> None:
        self._store = store
        self._session = session
        self._loaded: dict[tuple[Role, str], _Loaded] = {}

    def load(self, role: Role, peer_id: str) -> PeerState:
        """The pair's state, or a stranger's."""
        where = self._where(role, peer_id)
        row = self._session.first(RoleState, where=where, fields=_FIELDS_READ)
        if row is not None:
            return self._remember(role, peer_id, row, has_row=True)
        row = self._session.first(HalfOpen, where=where, fields=_FIELDS_READ)
        if row is not None:
            return self._remember(role, peer_id, row, has_row=False)
        state = PeerState.of_stranger(self._store.self_id, role, peer_id)
        self._loaded[role, peer_id] = _Loaded(state, None, has_row=False)
        return state

    def unfinished(self) -> list[PeerState]:
        """Every pair that is not in its ready state."""
        ready = [str(state) for state in READY.values()]
        where: dict[str, object] = {"self_id": self._store.self_id}
        not_ready = where | {"state__not_in": ready, "state__is_null": False}
        rows = [
            *self._session.find(RoleState, where=not_ready, fields=PAIR),
            *self._session.find(HalfOpen, where=where, fields=PAIR),
        ]
        states = [self.load(Role(row["role"]), row["peer_id"]) for row in rows]
        return [state for state in states if not state.is_ready]

    def facts(self, role: Role, message: Message | None) -> Facts:
        """What else bears on this message."""
        nonce = None if message is None else claimed_nonce(message)
        if message is None or nonce is None:
            return Facts()
        session, peer_id = self._session, message.sender
        nonce_seen = session.exists(
            NonceEvent, where=self._where(role, peer_id) | {"flow": "received", "nonce": nonce}
        )
        sign_pub = claimed_sign_pub(message)
        loaded = self._loaded.get((role, peer_id))
        if sign_pub is None and not (loaded is not None and loaded.state.pin_pending):
            return Facts(nonce_seen=nonce_seen)
        own = {"self_id": self._store.self_id}
        pin = session.first(Pin, where=own | {"peer_id": peer_id})
        holder = (
            None if sign_pub is None else session.first(Pin, where=own | {"sign_pub": b64encode(sign_pub)})
        )
        return Facts(
            nonce_seen=nonce_seen,
            handshake_seen=session.exists(SeenHandshake, where=own | {"peer_id": peer_id, "nonce": nonce}),
            pinned=None if pin is None else _decode_pin(pin["sign_pub"]),
            key_held_by_another=holder is not None and holder["peer_id"] != peer_id,
        )

    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        """Write the state and what the effects leave behind."""
        pair = after.role, after.peer_id
        if pair not in self._loaded:
            self.load(*pair)
        loaded = self._loaded[pair]
        if loaded.has_row or not after.is_of_stranger:
            self._save(RoleState, after, loaded)
            if not loaded.has_row:
                self._session.delete(HalfOpen, where=self._where(*pair))
        elif after.is_ready:
            self._session.delete(HalfOpen, where=self._where(*pair))
        else:
            self._save(HalfOpen, after, loaded)
            self._make_room()
        if after.outgoing != loaded.state.outgoing:
            self._save_outgoing(after)
        for effect in effects:
            self._apply(after, effect, now)

    def audit(
        self, event: str, role: Role | None, peer_id: str, detail: dict[str, object], now: float
    ) -> None:
        """Append one row to the audit log."""
        append_audit(self._session, event, role, peer_id, detail, now)

    def _where(self, role: Role, peer_id: str) -> dict[str, object]:
        return {"self_id": self._store.self_id, "role": str(role), "peer_id": peer_id}

    def _remember(self, role: Role, peer_id: str, row: Row, *, has_row: bool) -> PeerState:
        sealed = row["sealed_secret"]
        common = {name: row[name] for name in _SAME_IN_ROW}
        state = PeerState(
            self_id=self._store.self_id,
            role=role,
            peer_id=peer_id,
            state=_state_of(role, row["state"]),
            hs_derived_at=_from_iso(row["hs_derived_at"]),
            last_secure_at=_from_iso(row["last_secure_at"]),
            secret=None if sealed is None else self._store.vault.open((role, peer_id), sealed),
            outgoing=None if row["state"] in READY.values() else self._load_outgoing(role, peer_id),
            **common,
        )
        self._loaded[role, peer_id] = _Loaded(state, sealed, has_row)
        return state

    def _load_outgoing(self, role: Role, peer_id: str) -> Outgoing | None:
        row = self._session.first(Outbox, where=self._where(role, peer_id))
        return None if row is None else Outgoing(row["payload"], row["sends"], row["due_at"], row["since"])

    def _sealed(self, after: PeerState, loaded: _Loaded) -> bytes | None:
        if after.secret is None:
            return None
        unchanged = loaded.sealed is not None and after.secret == loaded.state.secret
        return (
            loaded.sealed if unchanged else self._store.vault.seal((after.role, after.peer_id), after.secret)
        )

    def _save(self, table: type[RoleState], after: PeerState, loaded: _Loaded) -> None:
        self._session.upsert(
            table,
            PAIR,
            **self._where(after.role, after.peer_id),
            **{name: getattr(after, name) for name in _SAME_IN_ROW},
            state=str(after.state),
            hs_derived_at=_to_iso(after.hs_derived_at),
            last_secure_at=_to_iso(after.last_secure_at),
            sealed_secret=self._sealed(after, loaded),
        )

    def _make_room(self) -> None:
        surplus = self._session.count(HalfOpen) - self._store.half_open_limit
        if surplus > 0:
            for row in self._session.find(HalfOpen, fields=["id", *PAIR], order_by="id", limit=surplus):
                pair = {name: row[name] for name in PAIR}
                for table in (Outbox, NonceEvent, OpenedEnvelope):
                    self._session.delete(table, where=pair)
                self._session.delete(HalfOpen, where={"id": row["id"]})

    def _save_outgoing(self, after: PeerState) -> None:
        where, outgoing = self._where(after.role, after.peer_id), after.outgoing
        if outgoing is None:
            self._session.delete(Outbox, where=where)
        else:
            self._session.upsert(
                Outbox,
                PAIR,
                **where,
                payload=outgoing.payload,
                sends=outgoing.sends,
                due_at=outgoing.due_at,
                since=outgoing.since,
            )

    def _apply(self, after: PeerState, effect: Effect, now: float) -> None:
        session, pair = self._session, self._where(after.role, after.peer_id)
        peer = {"self_id": pair["self_id"], "peer_id": pair["peer_id"]}
        match effect:
            case RecordNonce(flow, nonce):
                if (
                    not session.insert_or_ignore(NonceEvent, **pair, flow=flow, nonce=nonce)
                    and flow == "received"
                ):
                    raise PeerError(Reason.NONCE_REPLAYED)
            case RecordEnvelope(nonce):
                if not session.insert_or_ignore(OpenedEnvelope, **pair, nonce=nonce):
                    raise PeerError(Reason.SEC_REPLAYED)
            case RememberHandshake(nonce, until):
                session.delete(SeenHandshake, where={"expires_at__lt": now})
                if not session.insert_or_ignore(SeenHandshake, **peer, nonce=nonce, expires_at=until):
                    raise PeerError(Reason.HS_REPLAYED)
            case ForgetNonces():
                session.delete(NonceEvent, where=pair)
                session.delete(OpenedEnvelope, where=pair)
            case PinKey(sign_pub):
                row = {"sign_pub": b64encode(sign_pub), "source": "first sight", "first_seen": now}
                if not session.insert_or_ignore(Pin, **peer, **row):
                    raise PeerError(Reason.KEY_UNDER_TWO_IDS)
            case _:
                pass  # what is released after the commit leaves no row


def append_audit(
    session: Session, event: str, role: Role | None, peer_id: str, detail: dict[str, object], now: float
) -> None:
    """Append one row to the hash-chained audit log, and prune it now and then.

    Args:
        session: in a transaction that writes.
        event: what happened, a stable word.
        role: our role in it.
        peer_id: the peer.
        detail: a JSON object without any secret.
        now: seconds since 1970 UTC.
    """
    text = json.dumps(detail, sort_keys=True)
    last = session.first(Audit, fields=["digest"], order_by="-seq")
    digest = chain_digest(last["digest"] if last else FIRST_DIGEST, now, event, role, peer_id, text)
    seq = session.insert(
        Audit,
        at=now,
        event=event,
        role=None if role is None else str(role),
        peer_id=peer_id,
        detail=text,
        digest=digest,
    )
    if seq % AUDIT_PRUNED_EVERY == 0:
        session.delete(Audit, where={"seq__lte": seq - AUDIT_ROWS_KEPT})


def _associated(pair: tuple[str, str]) -> bytes:
    return labels.DATABASE_SECRET_AAD + f"{pair[0]}:{pair[1]}".encode()


def _state_of(role: Role, text: str | None) -> State:
    # a row that names no state of its role, whoever wrote it, is taken as ready: nothing is under way
    try:
        state = State(text or "")
    except ValueError:
        return READY[role]
    return state if state.startswith(role[:4]) else READY[role]


def _decode_pin(text: str) -> bytes:
    try:
        return b64decode(text, 32)
    except EncodingError:
        return b""  # a damaged pin matches no key: closed, not open


def _to_iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _from_iso(text: str | None) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None  # shown to people only


def _words(error: Exception) -> str:
    return error.strerror or "cannot be used" if isinstance(error, OSError) else str(error)

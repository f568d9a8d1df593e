"""The store in SQLite: one message, one hop to the database thread, one transaction.

Secrets are sealed with AES-256-GCM under a key of the identity before they reach a row, and bound to the pair they
belong to, so that a row moved elsewhere does not open.

Rows are the truth. What a commit has just left of a known pair is remembered, so that the next message of the same
conversation neither reads nor unseals it again, and writes only the columns that change; after any failure it is read.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from db_sdk import Database, DatabaseError, Session
from handfast.adapters import trust_store
from handfast.adapters.audit_rows import append_audit, keep_witness, last_signed_head
from handfast.adapters.mail_rows import MailRows
from handfast.adapters.rows import (
    FIELDS_READ,
    OUTBOX_NAMES,
    Kept,
    Pair,
    Vault,
    columns,
    outbox_columns,
    state_of_row,
)
from handfast.adapters.tables import (
    MIGRATIONS,
    PAIR,
    HalfOpen,
    NonceEvent,
    OpenedEnvelope,
    Outbox,
    Pin,
    RoleState,
    SeenHandshake,
)
from handfast.audit import SignedHead
from handfast.conversation.effects import (
    Effect,
    ForgetNonces,
    Learned,
    PinKey,
    PinPeer,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    Witnessed,
)
from handfast.conversation.model import READY, Facts, Outgoing, PeerState, Role
from handfast.crypto.keys import Secret
from handfast.errors import PeerError, Reason, StorageError
from handfast.identity import Identity
from handfast.mail import Arrived, LettersDelivered, LettersGivenUp, LettersSent, StreamLost, Took
from handfast.ports import HALF_OPEN_LIMIT
from handfast.trust.decision import Facts as TrustFacts
from handfast.trust.decision import Pin as IdentityPin
from handfast.trust.decision import Proven
from handfast.wire.messages import Message
from handfast.wire.text import b64encode
from handfast.wire.v1 import claimed_nonce, claimed_sign_pub

T = TypeVar("T")

# What is remembered of committed rows: more pairs than talk within a few seconds, and a few kilobytes each.
PAIRS_REMEMBERED = 1_024


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
        self.identity_key = identity.identity_key
        # touched on the database's thread only; nobody else writes these rows, because one process owns an identity
        self._remembered: dict[Pair, Kept] = {}
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
            self._remembered.clear()
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
            return await self._database.call(lambda session: self.perform(session, work))
        except DatabaseError as error:
            raise StorageError(_words(error)) from None

    def perform(self, session: Session, work: Callable[["SqliteTransaction"], T]) -> T:
        """`run`, on the database's thread."""
        transaction = SqliteTransaction(self, session, self._remembered)
        result = session.run(lambda _: work(transaction))
        self._remembered |= transaction.known_pairs()
        while len(self._remembered) > PAIRS_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return result

    async def load(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        return await self._read(lambda transaction: transaction.load(role, peer_id))

    async def unfinished(self) -> list[PeerState]:
        """Every pair that is not in its ready state, half-open conversations included."""
        return await self._read(lambda transaction: transaction.unfinished())

    async def _read(self, work: Callable[["SqliteTransaction"], T]) -> T:
        try:
            return await self._database.read(lambda session: work(SqliteTransaction(self, session, {})))
        except DatabaseError as error:
            raise StorageError(_words(error)) from None

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    def close_sync(self) -> None:
        """Close the database where no event loop runs any more."""
        self._database.close_sync()


class SqliteTransaction:
    """One open transaction on the database thread.

    Args:
        store: whose.
        session: how to read and write.
        remembered: pairs that need not be read. What is used of it is taken out, and stays out if this transaction fails.
    """

    def __init__(self, store: SqliteStore, session: Session, remembered: dict[Pair, Kept]) -> None:
        self._store = store
        self._session = session
        self._remembered = remembered
        self._kept: dict[Pair, Kept] = {}
        self.mail = MailRows(session, store.self_id, store.vault)

    def known_pairs(self) -> dict[Pair, Kept]:
        """What may be remembered once this is committed; not strangers, of whom anybody can make up any number."""
        return {pair: kept for pair, kept in self._kept.items() if kept.table is RoleState}

    def load(self, role: Role, peer_id: str) -> PeerState:
        """The pair's state, or a stranger's."""
        return self._kept_of((role, peer_id)).state

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
        kept = self._kept.get((role, peer_id))
        if sign_pub is None and not (kept is not None and kept.state.pin_pending):
            return Facts(nonce_seen=nonce_seen)
        own = {"self_id": self._store.self_id}
        holder = None if sign_pub is None else trust_store.key_holder(session, self._store.self_id, sign_pub)
        return Facts(
            nonce_seen=nonce_seen,
            handshake_seen=session.exists(SeenHandshake, where=own | {"peer_id": peer_id, "nonce": nonce}),
            pinned=trust_store.signing_key_of(session, self._store.self_id, peer_id),
            key_held_by_another=holder not in (None, peer_id),
            met_in_version_2=self.pin_of(peer_id) is not None,
        )

    def about(self, proven: Proven) -> TrustFacts:
        """What bears on whether a peer that has proven these keys is believed."""
        return trust_store.facts_about(self._session, self._store.self_id, proven)

    def pin_of(self, peer_id: str) -> IdentityPin | None:
        """The pin of a peer that was met in version 2."""
        return trust_store.find_pin(self._session, self._store.self_id, peer_id)

    def is_revoked(self, pin: IdentityPin) -> bool:
        """Whether the peer's key or certificate was revoked, or its pin removed."""
        return trust_store.is_revoked(self._session, self._store.self_id, pin)

    def newest_crl(self) -> tuple[int, bytes] | None:
        """The revocation list to pass on to peers, with its sequence."""
        return trust_store.newest_crl(self._session)

    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        """Write the state and what the effects leave behind."""
        pair = after.role, after.peer_id
        kept = self._kept_of(pair)
        table: type[RoleState] | None = RoleState
        if kept.table is not RoleState and after.is_of_stranger:
            table = None if after.is_ready else HalfOpen
        if kept.table is HalfOpen and table is not HalfOpen:
            self._session.delete(HalfOpen, where=self._where(*pair))
        if table is None:
            del self._kept[pair]
        else:
            self._save(table, after, kept)
        if after.outgoing != kept.state.outgoing:
            self._save_outgoing(after, kept.state.outgoing)
        for effect in effects:
            self._apply(after, effect, now)

    def audit(
        self, event: str, role: Role | None, peer_id: str, detail: dict[str, object], now: float
    ) -> None:
        """Append one row to the audit log."""
        append_audit(self._session, event, role, peer_id, detail, now, self._store.identity_key)

    def signed_head(self) -> SignedHead | None:
        """The end of the audit log as it was signed last."""
        return last_signed_head(self._session)

    def keep_witness(self, peer_id: str, head: SignedHead, now: float) -> bool:
        """Keep the end of a peer's audit log."""
        return keep_witness(self._session, self._store.self_id, peer_id, head, now)

    def _where(self, role: Role, peer_id: str) -> dict[str, object]:
        return {"self_id": self._store.self_id, "role": str(role), "peer_id": peer_id}

    def _kept_of(self, pair: Pair) -> Kept:
        kept = self._kept.get(pair) or self._remembered.pop(pair, None) or self._read(pair)
        self._kept[pair] = kept
        return kept

    def _read(self, pair: Pair) -> Kept:
        where = self._where(*pair)
        for table in (RoleState, HalfOpen):
            row = self._session.first(table, where=where, fields=FIELDS_READ)
            if row is not None:
                vault, self_id = self._store.vault, self._store.self_id
                state = state_of_row(self_id, pair, row, vault, lambda: self._outgoing(where))
                return Kept(state, table, row["sealed_secret"], row["sealed_ticket"])
        return Kept(PeerState.of_stranger(self._store.self_id, *pair))

    def _outgoing(self, where: dict[str, object]) -> Outgoing | None:
        row = self._session.first(Outbox, where=where, fields=OUTBOX_NAMES)
        return None if row is None else Outgoing(**row)

    def _save(self, table: type[RoleState], after: PeerState, kept: Kept) -> None:
        """Write the pair's row: what changed of one that is there, all of one that is not, or not where it should be."""
        pair = after.role, after.peer_id
        where, sealed, ticket = (
            self._where(*pair),
            self._sealed(after, kept),
            self._sealed_ticket(after, kept),
        )
        changes = columns(after, kept.state)
        if sealed != kept.sealed:
            changes["sealed_secret"] = sealed
        if ticket != kept.sealed_ticket:
            changes["sealed_ticket"] = ticket
        if kept.table is not table or not self._session.update(table, changes, where):
            everything = columns(after) | {"sealed_secret": sealed, "sealed_ticket": ticket}
            self._session.upsert(table, PAIR, **where, **everything)
            if table is HalfOpen:
                self._make_room()
        self._kept[pair] = Kept(after, table, sealed, ticket)

    def _sealed(self, after: PeerState, kept: Kept) -> bytes | None:
        if after.secret is None:
            return None
        if kept.sealed is not None and after.secret == kept.state.secret:
            return kept.sealed
        return self._store.vault.seal((after.role, after.peer_id), after.secret)

    def _sealed_ticket(self, after: PeerState, kept: Kept) -> bytes | None:
        if after.ticket is None:
            return None
        if kept.sealed_ticket is not None and after.ticket == kept.state.ticket:
            return kept.sealed_ticket
        return self._store.vault.seal((after.role, after.peer_id), Secret(after.ticket.to_bytes()))

    def _make_room(self) -> None:
        surplus = self._session.count(HalfOpen) - self._store.half_open_limit
        if surplus > 0:
            for row in self._session.find(HalfOpen, fields=["id", *PAIR], order_by="id", limit=surplus):
                pair = {name: row[name] for name in PAIR}
                for table in (Outbox, NonceEvent, OpenedEnvelope):
                    self._session.delete(table, where=pair)
                self._session.delete(HalfOpen, where={"id": row["id"]})
                self._kept.pop((Role(row["role"]), row["peer_id"]), None)

    def _save_outgoing(self, after: PeerState, before: Outgoing | None) -> None:
        where, outgoing = self._where(after.role, after.peer_id), after.outgoing
        if outgoing is None:
            self._session.delete(Outbox, where=where)
        elif before is None or not self._session.update(Outbox, outbox_columns(outgoing, before), where):
            self._session.upsert(Outbox, PAIR, **where, **outbox_columns(outgoing))

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
            case PinPeer(decision):
                trust_store.write_pin(session, self._store.self_id, decision.pin)
            case Witnessed(head):
                if not self.keep_witness(after.peer_id, head, now):
                    self.audit("witness_conflict", after.role, after.peer_id, {"n": head.seq}, now)
            case Learned(revocations):
                self._learn(after, revocations, now)
            case Arrived() | Took() | LettersSent() | LettersDelivered() | LettersGivenUp() | StreamLost():
                self.mail.apply(after.peer_id, effect, now)
            case _:
                pass  # what is released after the commit leaves no row

    def _learn(self, after: PeerState, revocations: bytes, now: float) -> None:
        try:
            crl = trust_store.accept_crl(self._session, revocations)
        except PeerError:
            return  # of somebody whom we do not trust, or not newer than ours: no reason to refuse what the peer says
        detail: dict[str, object] = {"issuer": crl.issuer, "sequence": crl.sequence}
        self.audit("revocations", after.role, after.peer_id, detail, now)


def _words(error: Exception) -> str:
    return error.strerror or "cannot be used" if isinstance(error, OSError) else str(error)

"""A store in memory, for tests and for conversations that need no yesterday; the same contract as the SQLite store."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from handfast.adapters.memory_mail import MemoryMail, MemoryMailbox
from handfast.audit import CHECKPOINT, WITNESSES_KEPT, AuditRow, SignedHead, next_rows, signed_head
from handfast.conversation.effects import (
    Effect,
    ForgetNonces,
    PinKey,
    PinPeer,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    Witnessed,
)
from handfast.conversation.model import Facts, PeerState, Role
from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError, Reason
from handfast.mail import Arrived, LettersDelivered, LettersGivenUp, LettersSent, StreamLost, Took
from handfast.ports import HALF_OPEN_LIMIT
from handfast.trust.decision import Facts as TrustFacts
from handfast.trust.decision import Pin, Proven
from handfast.wire.messages import Message
from handfast.wire.v1 import claimed_nonce, claimed_sign_pub

T = TypeVar("T")
Pair = tuple[Role, str]


class MemoryStore:
    """Everything in dictionaries.

    Args:
        self_id: our agent id.
        half_open_limit: how many half-open conversations with strangers are kept; the oldest makes room.
        identity_key: signs the audit log, if given.
    """

    def __init__(
        self,
        self_id: str,
        half_open_limit: int = HALF_OPEN_LIMIT,
        identity_key: SigningKey | None = None,
    ) -> None:
        self.self_id = self_id
        self.half_open_limit = half_open_limit
        self.identity_key = identity_key
        self.rows: dict[Pair, PeerState] = {}
        self.half_open: dict[Pair, PeerState] = {}
        self.nonces: set[tuple[Pair, str, str]] = set()
        self.envelopes: set[tuple[Pair, str]] = set()
        self.handshakes: dict[tuple[str, str], float] = {}
        self.pins: dict[str, bytes] = {}
        self.identity_pins: dict[str, Pin] = {}
        self.audit_rows: list[AuditRow] = []
        self.witnesses: dict[str, tuple[SignedHead, float]] = {}
        self.mail = MemoryMail()

    async def run(self, work: Callable[["MemoryTransaction"], T]) -> T:
        """Run `work` in one transaction."""
        transaction = MemoryTransaction(self)
        result = work(transaction)
        for write in transaction.writes:
            write()
        return result

    async def load(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        return MemoryTransaction(self).load(role, peer_id)

    async def unfinished(self) -> list[PeerState]:
        """Every pair that is not in its ready state."""
        return [
            state for table in (self.rows, self.half_open) for state in table.values() if not state.is_ready
        ]

    async def close(self) -> None:
        """Nothing to close."""


class MemoryTransaction:
    """Reads what is committed, checks at once, and writes only when the work is done."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.writes: list[Callable[[], object]] = []
        self.mail = MemoryMailbox(store.mail, self.writes)

    def load(self, role: Role, peer_id: str) -> PeerState:
        """The pair's state, or a stranger's."""
        pair = role, peer_id
        known = self._store.rows.get(pair) or self._store.half_open.get(pair)
        return known or PeerState.of_stranger(self._store.self_id, role, peer_id)

    def facts(self, role: Role, message: Message | None) -> Facts:
        """What else bears on this message."""
        if message is None:
            return Facts()
        store, peer = self._store, message.sender
        nonce, sign_pub = claimed_nonce(message), claimed_sign_pub(message)
        return Facts(
            nonce_seen=((role, peer), "received", nonce) in store.nonces,
            handshake_seen=(peer, nonce) in store.handshakes,
            pinned=store.pins.get(peer),
            key_held_by_another=any(key == sign_pub and who != peer for who, key in store.pins.items()),
            met_in_version_2=peer in store.identity_pins,
        )

    def about(self, proven: Proven) -> TrustFacts:
        """What bears on whether a peer that has proven these keys is believed; nobody is revoked or certified here."""
        store, peer_id, key = self._store, proven.agent_id, proven.identity_public
        holders = {who for who, pin in store.identity_pins.items() if pin.identity_public == key}
        holders |= {who for who, pinned in store.pins.items() if pinned == key}
        return TrustFacts(
            pin=store.identity_pins.get(peer_id),
            v1_key=store.pins.get(peer_id),
            held_by_another=bool(holders - {peer_id}),
        )

    def pin_of(self, peer_id: str) -> Pin | None:
        """The pin of a peer that was met in version 2."""
        return self._store.identity_pins.get(peer_id)

    def is_revoked(self, pin: Pin) -> bool:
        """Whether the pin was removed; nothing else is revoked here."""
        kept = self.pin_of(pin.peer_id)
        return kept is None or kept.identity_public != pin.identity_public

    def newest_crl(self) -> tuple[int, bytes] | None:
        """No list is kept here."""
        return None

    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        """Write the state and what the effects leave behind."""
        store, pair = self._store, (after.role, after.peer_id)
        if pair in store.rows or not after.is_of_stranger:
            self.writes.append(lambda: store.rows.__setitem__(pair, after))
            self.writes.append(lambda: store.half_open.pop(pair, None))
        elif after.is_ready:
            self.writes.append(lambda: store.half_open.pop(pair, None))
        else:
            self.writes.append(lambda: self._keep_half_open(pair, after))
        for effect in effects:
            self._apply(pair, effect, now)

    def audit(
        self, event: str, role: Role | None, peer_id: str, detail: dict[str, object], now: float
    ) -> None:
        """Append one row to the audit log."""
        store, checkpoint = self._store, self._checkpoint

        def write() -> None:
            rows = store.audit_rows
            rows += next_rows(
                rows[-1] if rows else None,
                checkpoint(),
                store.identity_key,
                at=now,
                event=event,
                role=role,
                peer_id=peer_id,
                detail=detail,
            )

        self.writes.append(write)

    def signed_head(self) -> SignedHead | None:
        """The end of the audit log as it was signed last."""
        checkpoint = self._checkpoint()
        return None if checkpoint is None else signed_head(checkpoint)

    def keep_witness(self, peer_id: str, head: SignedHead, now: float) -> bool:
        """Keep the end of a peer's audit log."""
        witnesses = self._store.witnesses
        if peer_id in witnesses and head.contradicts(witnesses[peer_id][0]):
            return False

        def write() -> None:
            witnesses.pop(peer_id, None)
            witnesses[peer_id] = head, now
            if len(witnesses) > WITNESSES_KEPT:
                del witnesses[next(iter(witnesses))]

        self.writes.append(write)
        return True

    def _checkpoint(self) -> AuditRow | None:
        return next((row for row in reversed(self._store.audit_rows) if row.event == CHECKPOINT), None)

    def _keep_half_open(self, pair: Pair, state: PeerState) -> None:
        table = self._store.half_open
        table[pair] = state
        while len(table) > self._store.half_open_limit:
            oldest = next(iter(table))
            del table[oldest]
            self._forget(oldest)

    def _apply(self, pair: Pair, effect: Effect, now: float) -> None:
        store = self._store
        match effect:
            case RecordNonce(flow, nonce):
                if flow == "received" and (pair, flow, nonce) in store.nonces:
                    raise PeerError(Reason.NONCE_REPLAYED)
                self.writes.append(lambda: store.nonces.add((pair, flow, nonce)))
            case RecordEnvelope(nonce):
                if (pair, nonce) in store.envelopes:
                    raise PeerError(Reason.SEC_REPLAYED)
                self.writes.append(lambda: store.envelopes.add((pair, nonce)))
            case RememberHandshake(nonce, until):
                if (pair[1], nonce) in store.handshakes:
                    raise PeerError(Reason.HS_REPLAYED)
                self.writes.append(lambda: self._remember(pair[1], nonce, until, now))
            case ForgetNonces():
                self.writes.append(lambda: self._forget(pair))
            case PinKey(sign_pub):
                if pair[1] in store.pins or sign_pub in store.pins.values():
                    raise PeerError(Reason.KEY_UNDER_TWO_IDS)
                self.writes.append(lambda: store.pins.__setitem__(pair[1], sign_pub))
            case Witnessed(head):
                self.keep_witness(pair[1], head, now)
            case Arrived() | Took() | LettersSent() | LettersDelivered() | LettersGivenUp() | StreamLost():
                self.mail.apply(pair[1], effect, now)
            case PinPeer(decision):
                self.writes.append(lambda: store.identity_pins.__setitem__(pair[1], decision.pin))
            case _:
                pass  # what is released after the commit leaves no row here

    def _remember(self, peer_id: str, nonce: str, until: float, now: float) -> None:
        store = self._store
        store.handshakes = {key: kept for key, kept in store.handshakes.items() if kept > now}
        store.handshakes[peer_id, nonce] = until

    def _forget(self, pair: Pair) -> None:
        store = self._store
        store.nonces = {entry for entry in store.nonces if entry[0] != pair}
        store.envelopes = {entry for entry in store.envelopes if entry[0] != pair}

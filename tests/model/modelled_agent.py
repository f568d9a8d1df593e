"""One side of the modelled pair: what it keeps, and what the shipped `step()` and memory store make of an event.

A snapshot determines everything the agent will ever do, so each (snapshot, event) is computed once.
"""

from dataclasses import dataclass, fields
from datetime import UTC
from operator import attrgetter
from typing import NamedTuple

from symbolic import CountedEntropy, NumberedDialogue, SymbolicExchangeKey, SymbolicSigningKey

from handfast.adapters.memory import MemoryStore, MemoryTransaction
from handfast.conversation.model import (
    Closed,
    Delivered,
    Event,
    Party,
    PeerState,
    Restarted,
    Role,
    Send,
    Settings,
    State,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import step, would_ignore
from handfast.errors import PeerError, Reason
from handfast.identity import Identity
from handfast.wire.text import Json

NOW = 1_800_000_000.0

_ROW_FIELDS = attrgetter(*(field.name for field in fields(PeerState) if field.name != "outgoing"))
_SESSION_KEY_IS_HELD = (State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE, State.RESP_EXCHANGE)


class Session(NamedTuple):
    """What an observer inside the agent notes of one session; never read by the conversation.

    `said` holds what was put into messages, in order, and `heard` what was delivered; `peer_key` is the X25519 key of
    the peer's handshake.
    """

    key: bytes
    peer_key: str
    said: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    closed: bool = False


class Snapshot(NamedTuple):
    """An agent between two steps: its committed rows, its armed timer, and the observer's notes."""

    row: PeerState
    half_open: bool = False
    nonces: frozenset[tuple[str, str]] = frozenset()
    envelopes: frozenset[str] = frozenset()
    handshakes: frozenset[tuple[str, float]] = frozenset()
    pins: frozenset[tuple[str, bytes]] = frozenset()
    armed: bool = False
    drawn: int = 0
    begun: int = 0
    sessions: tuple[Session, ...] = ()

    def key(self) -> tuple[object, ...]:
        """Equal for equal snapshots, and hashable."""
        outgoing = self.row.outgoing
        sending = outgoing and (repr(outgoing.payload), outgoing.sends, outgoing.due_at)
        return (_ROW_FIELDS(self.row), sending, *self[1:])


@dataclass(frozen=True, slots=True)
class Taken:
    """What one event did to one snapshot."""

    after: Snapshot
    verdict: Verdict
    reason: Reason | None
    sent: tuple[dict[str, Json], ...]


class ModelledAgent:
    """One agent in one role towards one peer.

    Args:
        letter: "a" or "b".
        role: the role it plays here.
        peer_id: whom it talks to.
        settings: as shipped.
        transaction: the store's transaction, for tests that break it.
    """

    def __init__(
        self,
        letter: str,
        role: Role,
        agent_id: str,
        peer_id: str,
        settings: Settings,
        transaction: type[MemoryTransaction] = MemoryTransaction,
    ) -> None:
        self.letter = letter
        self.role = role
        self.peer_id = peer_id
        self.settings = settings
        self.identity = symbolic_identity(letter, agent_id)
        self._transaction = transaction

    def stranger(self, pins: frozenset[tuple[str, bytes]]) -> Snapshot:
        """Before anything happened; `pins` may know the peer already."""
        return Snapshot(PeerState.of_stranger(self.identity.agent_id, self.role, self.peer_id), pins=pins)

    def take(self, before: Snapshot, event: Event) -> Taken:
        """Load, step, commit: what the driver does, in one synchronous piece."""
        entropy = CountedEntropy(self.letter, before.drawn)
        dialogue = NumberedDialogue(self.letter, entropy)
        party = Party(self.identity, self.settings, dialogue)
        if isinstance(event, Restarted):
            before = before._replace(armed=False)  # timers are in memory only
        if would_ignore(before.row, event, NOW, entropy, party):
            return self._unmoved(before, event, Verdict.IGNORED)
        store = self._store_of(before)
        transaction = self._transaction(store)
        row = transaction.load(self.role, self.peer_id)
        message = None if isinstance(event, TimerFired | Restarted) else event
        taken = step(row, event, transaction.facts(self.role, message), NOW, entropy, party)
        if taken.verdict is not Verdict.ACCEPTED:
            return self._unmoved(before, event, taken.verdict, taken.reason)
        try:
            transaction.commit(taken.state, taken.effects, NOW)
        except PeerError as refusal:
            return self._unmoved(before, event, Verdict.REFUSED, refusal.reason)
        for write in transaction.writes:
            write()
        heard = [effect.message for effect in taken.effects if isinstance(effect, Delivered)]
        closed = any(isinstance(effect, Closed) for effect in taken.effects)
        after = self._snapshot_of(store)._replace(
            armed=_is_armed(before, event, taken.state),
            drawn=entropy.drawn,
            begun=before.begun + (before.row.is_ready and not taken.state.is_ready),
            sessions=_noted(before.sessions, taken.state, dialogue.said, heard, closed),
        )
        sent = tuple(effect.payload for effect in taken.effects if isinstance(effect, Send))
        return Taken(after, taken.verdict, None, sent)

    def evicted(self, before: Snapshot, stranger_id: str) -> Snapshot:
        """After so many strangers that this half-open conversation had to make room; its timer runs on."""
        store = self._store_of(before)
        store.half_open_limit = 1
        transaction = self._transaction(store)
        stranger = PeerState(self.identity.agent_id, self.role, stranger_id, before.row.state)
        transaction.commit(stranger, (), NOW)
        for write in transaction.writes:
            write()
        return self._snapshot_of(store)._replace(
            half_open=False,
            armed=before.armed,
            drawn=before.drawn,
            begun=before.begun,
            sessions=before.sessions,
        )

    @staticmethod
    def _unmoved(before: Snapshot, event: Event, verdict: Verdict, reason: Reason | None = None) -> Taken:
        # a timer that fires and finds nothing to do is not set again
        after = before._replace(armed=False) if isinstance(event, TimerFired) else before
        return Taken(after, verdict, reason, ())

    def _store_of(self, snapshot: Snapshot) -> MemoryStore:
        store, pair = MemoryStore(self.identity.agent_id), (self.role, self.peer_id)
        (store.half_open if snapshot.half_open else store.rows)[pair] = snapshot.row
        if snapshot.row == PeerState.of_stranger(self.identity.agent_id, self.role, self.peer_id):
            store.rows.clear()
        store.nonces = {(pair, *entry) for entry in snapshot.nonces}
        store.envelopes = {(pair, nonce) for nonce in snapshot.envelopes}
        store.handshakes = {(self.peer_id, nonce): until for nonce, until in snapshot.handshakes}
        store.pins = dict(snapshot.pins)
        return store

    def _snapshot_of(self, store: MemoryStore) -> Snapshot:
        pair = self.role, self.peer_id
        return Snapshot(
            row=MemoryTransaction(store).load(self.role, self.peer_id),
            half_open=pair in store.half_open,
            nonces=frozenset((flow, nonce) for _, flow, nonce in store.nonces),
            envelopes=frozenset(nonce for _, nonce in store.envelopes),
            handshakes=frozenset((nonce, until) for (_, nonce), until in store.handshakes.items()),
            pins=frozenset(store.pins.items()),
        )


def symbolic_identity(letter: str, agent_id: str) -> Identity:
    """An identity of symbolic keys."""
    exchange_key = SymbolicExchangeKey(letter.encode().ljust(32, b"."))
    return Identity(agent_id, "", exchange_key, SymbolicSigningKey(letter))  # type: ignore[arg-type]


def model_settings(turns: int, tries: int, patience: float = -1.0) -> Settings:
    """Settings under which every guard that looks at the clock holds whenever it may hold at some time.

    A `register` that finds a reference starts the wait of `lost_memory_after`, the next one ends it; a reconnect is due
    at once; gaps are always over. With a great `patience`, that wait never ends.
    """
    return Settings(
        zone=UTC,
        retry_delays=(0.0,) * tries,
        close_delays=(0.0,) * tries,
        jitter=0.0,
        repeat_gap=0.0,
        reconnect_every=0.0,
        lost_memory_after=patience,
        exchanges=turns,
    )


def _is_armed(before: Snapshot, event: Event, after: PeerState) -> bool:
    # as the driver has it: a timer that fired is gone, and each change of what is being sent sets it anew
    if after.outgoing != before.row.outgoing:
        return after.outgoing is not None
    return before.armed and not isinstance(event, TimerFired)


def _noted(
    sessions: tuple[Session, ...], row: PeerState, said: list[str], heard: list[Json], closed: bool
) -> tuple[Session, ...]:
    if row.state in _SESSION_KEY_IS_HELD and row.secret is not None:
        key = row.secret.reveal()
        if not sessions or sessions[-1].key != key:
            sessions = (*sessions, Session(key, row.peer_kx_pub or ""))
    if not (said or heard or closed):
        return sessions
    last = sessions[-1]
    last = last._replace(
        said=(*last.said, *said), heard=(*last.heard, *map(str, heard)), closed=last.closed or closed
    )
    return (*sessions[:-1], last)

"""One side of the modelled pair: what it keeps, and what the shipped `step()` and memory store make of an event.

A snapshot determines everything the agent will ever do, so each (snapshot, event) is computed once.
"""

from dataclasses import replace
from datetime import UTC

from snapshots import Session, Snapshot, Taken
from symbolic import CountedEntropy, NumberedDialogue, SymbolicExchangeKey, SymbolicSigningKey

from handfast.adapters.memory import MemoryStore, MemoryTransaction
from handfast.conversation.effects import Closed, Delivered, RecordNonce, Send, SessionOpened
from handfast.conversation.live import RENEWED_EVERY_SECONDS, Announcements, Live, announce
from handfast.conversation.model import (
    Event,
    Facts,
    Party,
    PeerState,
    Restarted,
    Role,
    Settings,
    State,
    Step,
    Submitted,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import firing_row, step
from handfast.crypto.keys import ExchangeKey
from handfast.errors import PeerError, Reason
from handfast.identity import Identity
from handfast.identity.binding import bind
from handfast.identity.identity import STATIC_KEY_LIFE, StaticKey
from handfast.outcomes import durable
from handfast.session.v2.parties import Myself
from handfast.session.v2.suites import CHACHA
from handfast.trust.decision import Pin
from handfast.wire.text import Json
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, N2, Offered

NOW = 1_800_000_000.0
_INSTANT = 1e-6  # far less than any wait

_SESSION_KEY_IS_HELD = (State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE, State.RESP_EXCHANGE)


class ModelledAgent:
    """One agent in one role towards one peer.

    Args:
        letter: "a" or "b".
        role: the role it plays here.
        identity: with a static key it speaks version 2.
        peer_id: whom it talks to.
        settings: as shipped.
        transaction: the store's transaction, for tests that break it.
        suite: of version 2, the one that is offered.
    """

    def __init__(
        self,
        letter: str,
        role: Role,
        identity: Identity,
        peer_id: str,
        settings: Settings,
        transaction: type[MemoryTransaction] = MemoryTransaction,
        suite: int = CHACHA,
    ) -> None:
        self.letter = letter
        self.role = role
        self.peer_id = peer_id
        self.settings = settings
        self.identity = identity
        self._transaction = transaction
        self._suite = suite
        self._announced: dict[tuple[int, int], Announcements] = {}

    def stranger(
        self, pins: frozenset[tuple[str, bytes]], identity_pins: frozenset[Pin] = frozenset()
    ) -> Snapshot:
        """Before anything happened; `pins` may know the peer already."""
        row = PeerState.of_stranger(self.identity.agent_id, self.role, self.peer_id)
        return Snapshot(row, pins=pins, identity_pins=identity_pins)

    def offered(self, snapshot: Snapshot) -> Offered:
        """The present announcement in version 2, as the peer reads it."""
        announced = self._announcements(snapshot)
        if announced is None:
            raise ValueError("speaks version 1 only")
        return Offered(Header(self.identity.agent_id, None, "register"), announced.offers[0])

    def take(self, before: Snapshot, event: Event) -> Taken:
        """Load, step, commit: what the driver does, in one synchronous piece."""
        entropy, now = CountedEntropy(self.letter, before.drawn), self._now(before)
        dialogue = NumberedDialogue(self.letter, entropy)
        party = self._party(dialogue)
        if isinstance(event, Restarted):
            before = before._replace(armed=False)  # timers are in memory only
        in_memory = self._facts_in_memory(before)
        row = firing_row(before.row, event, in_memory, now, entropy, party)
        if row is None:
            return self._unmoved(before, event, Verdict.IGNORED)
        if row.volatile:
            taken = step(before.row, event, in_memory, now, entropy, party)
            after = before
        else:
            store = self._store_of(before)
            transaction = self._transaction(store)
            try:
                taken = self._committed(transaction, before, event, in_memory, entropy, party)
            except PeerError as refusal:
                return self._unmoved(before, event, Verdict.REFUSED, refusal.reason)
            after = self._snapshot_of(store)
        if taken.verdict is not Verdict.ACCEPTED:
            return self._unmoved(before, event, taken.verdict, taken.reason)
        heard = [effect.message for effect in taken.effects if isinstance(effect, Delivered)]
        used_up = None if row.volatile else _used_up(event)
        after = self._remembered(after, taken.state, is_volatile=row.volatile)._replace(
            armed=_is_armed(before, event, taken.state),
            drawn=entropy.drawn,
            life=before.life,
            renewed=before.renewed,
            minute=before.minute,
            begun=before.begun + self._begins(before.row, taken.state),
            used_up=before.used_up if used_up is None else before.used_up | {used_up},
            sessions=_noted(before.sessions, taken, dialogue.said, heard),
        )
        sent = tuple(effect.payload for effect in taken.effects if isinstance(effect, Send))
        took = {
            (e.flow, e.nonce) for e in taken.effects if isinstance(e, RecordNonce) and e.flow == "received"
        }
        return Taken(
            after,
            taken.verdict,
            None,
            sent,
            bool(took & before.nonces) or used_up in before.used_up,
            taken.effects,
        )

    def restarted(self, before: Snapshot) -> Snapshot:
        """Its process ended and started again: what was not committed is gone."""
        return before._replace(
            row=before.stored or before.row, stored=None, armed=False, life=before.life + 1, renewed=0
        )

    def later(self, before: Snapshot) -> Snapshot:
        """When its announcements are renewed next."""
        return before._replace(minute=before.minute + 1, renewed=before.renewed + 1)

    def without_room(self, before: Snapshot) -> Snapshot:
        """After so many pairs that what nothing depends on was let go."""
        live = before.row.live
        if live is None or not live.is_spent(self._announcements(before)):
            return before
        return self._remembered(before, replace(before.row, live=None), is_volatile=True)

    def evicted(self, before: Snapshot, stranger_id: str) -> Snapshot:
        """After so many strangers that this half-open conversation had to make room; its timer runs on."""
        store = self._store_of(before)
        store.half_open_limit = 1
        transaction = self._transaction(store)
        stranger = PeerState(
            self.identity.agent_id, self.role, stranger_id, (before.stored or before.row).state
        )
        transaction.commit(stranger, (), NOW)
        for write in transaction.writes:
            write()
        return self._remembered(self._snapshot_of(store), before.row, is_volatile=False)._replace(
            half_open=False,
            armed=before.armed,
            drawn=before.drawn,
            life=before.life,
            renewed=before.renewed,
            minute=before.minute,
            begun=before.begun,
            used_up=before.used_up,
            sessions=before.sessions,
        )

    def _party(self, dialogue: NumberedDialogue) -> Party:
        return Party(self.identity, self.settings, dialogue)

    def _facts_in_memory(self, before: Snapshot) -> Facts:
        return Facts(announcements=self._announcements(before))

    def _now(self, snapshot: Snapshot) -> float:
        if not self.identity.static_keys:
            return NOW
        # version 2 tells messages apart by when they were made
        return NOW + snapshot.minute * RENEWED_EVERY_SECONDS + snapshot.drawn * _INSTANT

    def _committed(
        self,
        transaction: MemoryTransaction,
        before: Snapshot,
        event: Event,
        in_memory: Facts,
        entropy: CountedEntropy,
        party: Party,
    ) -> Step:
        # Driver._commit: what lives in memory is ahead of what is stored
        stored, now = transaction.load(self.role, self.peer_id), self._now(before)
        known = stored if before.row.live is None else before.row
        message = None if isinstance(event, TimerFired | Restarted | Submitted) else event
        facts = replace(
            transaction.facts(self.role, message),
            announcements=in_memory.announcements,
            wanted=in_memory.wanted,
            book=transaction,
            mail=transaction.mail,
        )
        taken = step(known, event, facts, now, entropy, party)
        if taken.verdict is Verdict.ACCEPTED:
            transaction.commit(durable(taken.state, stored), taken.effects, now)
            for write in transaction.writes:
                write()
        return taken

    def _remembered(self, after: Snapshot, row: PeerState, *, is_volatile: bool) -> Snapshot:
        """With what the process remembers; `after.row` is what is stored, or has `after.stored` beside it."""
        stored = after.stored or after.row
        if self.identity.static_keys:
            row, stored = replace(row, last_sent_at=None), replace(stored, last_sent_at=None)
        if row.live is None and not is_volatile:
            row = stored
        return after._replace(row=row, stored=None if row == stored else stored)

    def _announcements(self, snapshot: Snapshot) -> Announcements | None:
        if not self.identity.static_keys:
            return None
        key = snapshot.life, snapshot.renewed
        if key not in self._announced:
            entropy = CountedEntropy(f"{self.letter}/{snapshot.life}/", 0)
            myself = Myself.from_identity(self.identity, (self._suite,), NOW)
            announced = None
            for minute in range(snapshot.minute - snapshot.renewed, snapshot.minute + 1):
                at = NOW + minute * RENEWED_EVERY_SECONDS
                announced = announce(announced, myself, entropy, offering=True, now=at, monotonic=at)
            if announced is not None:
                self._announced[key] = announced
        return self._announced[key]

    def _begins(self, before: PeerState, after: PeerState) -> bool:
        if not self.identity.static_keys:
            return before.is_ready and not after.is_ready
        old, new = before.live or Live(), after.live or Live()
        return (
            len(new.halves) > len(old.halves)
            or (new.resuming is not None and new.resuming is not old.resuming)
            or len(new.attempts) > len(old.attempts)
        )

    @staticmethod
    def _unmoved(before: Snapshot, event: Event, verdict: Verdict, reason: Reason | None = None) -> Taken:
        # a timer that fires and finds nothing to do is not set again
        after = before._replace(armed=False) if isinstance(event, TimerFired) else before
        return Taken(after, verdict, reason, ())

    def _empty_store(self) -> MemoryStore:
        return MemoryStore(self.identity.agent_id)

    def _store_of(self, snapshot: Snapshot) -> MemoryStore:
        store, pair = self._empty_store(), (self.role, self.peer_id)
        stored = snapshot.stored or snapshot.row
        (store.half_open if snapshot.half_open else store.rows)[pair] = stored
        if stored == PeerState.of_stranger(self.identity.agent_id, self.role, self.peer_id):
            store.rows.clear()
        store.nonces = {(pair, *entry) for entry in snapshot.nonces}
        store.envelopes = {(pair, nonce) for nonce in snapshot.envelopes}
        store.handshakes = {(self.peer_id, nonce): until for nonce, until in snapshot.handshakes}
        store.pins = dict(snapshot.pins)
        store.identity_pins = {pin.peer_id: pin for pin in snapshot.identity_pins}
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
            identity_pins=frozenset(store.identity_pins.values()),
        )


def symbolic_identity(letter: str, agent_id: str, *, version: int = 1) -> Identity:
    """An identity of symbolic keys."""
    exchange_key, signing_key = (
        SymbolicExchangeKey(letter.encode().ljust(32, b".")),
        SymbolicSigningKey(letter),
    )
    identity = Identity(agent_id, "", exchange_key, signing_key)  # type: ignore[arg-type]
    if version == 1:
        return identity
    key: ExchangeKey = SymbolicExchangeKey(f"static-{letter}".encode().ljust(32, b"."))  # type: ignore[assignment]
    start = int(NOW)
    binding = bind(identity.identity_key, agent_id, key.public, start, start + STATIC_KEY_LIFE)
    return replace(identity, static_keys=(StaticKey(key, binding),))


def model_settings(turns: int, tries: int, patience: float = -1.0, wait: float = 0.0) -> Settings:
    """Settings under which every guard that looks at the clock holds whenever it may hold at some time.

    A `register` that finds a reference starts the wait of `lost_memory_after`, the next one ends it; a reconnect is due
    at once; gaps are always over. With a great `patience`, that wait never ends. `wait` is for an answer; with less than
    none a peer is always taken to have fallen silent.
    """
    # without what our own agents add, which makes it harder for the forger
    return Settings(
        hardened=False,
        zone=UTC,
        retry_delays=(wait,) * tries,
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


def _used_up(event: Event) -> str | None:
    if isinstance(event, N2):
        return event.header.your_nonce
    return event.ticket.hex() if isinstance(event, K1) else None


def _noted(
    sessions: tuple[Session, ...], taken: Step, said: list[str], heard: list[Json]
) -> tuple[Session, ...]:
    row = taken.state
    if row.state in _SESSION_KEY_IS_HELD and row.secret is not None:
        key = row.secret.reveal()
        if not sessions or sessions[-1].key != key:
            sessions = (*sessions, Session(key, row.peer_kx_pub or ""))
    running = None if row.live is None else row.live.session
    opened = next((effect for effect in taken.effects if isinstance(effect, SessionOpened)), None)
    if running is not None and opened is not None:
        key = running.session_id
        sessions = (*sessions, Session(key, key.hex(), version=2, resumed=opened.resumed))
    closed = any(isinstance(effect, Closed) for effect in taken.effects)
    if not (said or heard or closed):
        return sessions
    last = sessions[-1]
    last = last._replace(
        said=(*last.said, *said), heard=(*last.heard, *map(str, heard)), closed=last.closed or closed
    )
    return (*sessions[:-1], last)

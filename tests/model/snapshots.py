"""What is kept of one side of the modelled pair between two steps, and what makes two such snapshots equal."""

from collections.abc import Hashable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import NamedTuple

from handfast.conversation.effects import Effect
from handfast.conversation.live import Live
from handfast.conversation.model import PeerState, Verdict
from handfast.conversation.v2 import initiator
from handfast.errors import Reason
from handfast.session.v2 import session as transport
from handfast.trust.decision import Pin
from handfast.wire.text import Json

_ROW_FIELDS = attrgetter(
    *(field.name for field in fields(PeerState) if field.name not in ("outgoing", "live"))
)


class Session(NamedTuple):
    """What an observer inside the agent notes of one session; never read by the conversation.

    `said` holds what was put into messages, in order, and `heard` what was delivered; `peer_key` is the X25519 key of
    the peer's handshake, in version 2 the name of the session, which follows from both sides' keys; `resumed` is whether
    it came from a ticket.
    """

    key: bytes
    peer_key: str
    version: int = 1
    resumed: bool = False
    said: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    closed: bool = False


class Snapshot(NamedTuple):
    """An agent between two steps, and the observer's notes.

    Attributes:
        row: the pair's state as the process has it.
        stored: what is committed of it, where that is not the same.
        half_open, nonces, envelopes, handshakes, pins, identity_pins: the other rows.
        armed: whether the timer is set.
        drawn: how many random values were drawn.
        life, renewed: how often the process was started, and since then its announcements renewed.
        minute: how late it is.
        begun: conversations, and in version 2 handshakes, that were begun.
        used_up: nonces and tickets of ours that brought a handshake of the peer's about.
        sessions: see `Session`.
        mail, revoked: what only agents of version 2 know of (`agent_v2.py`): their letters, and whether the peer may no
            longer be believed.
    """

    row: PeerState
    stored: PeerState | None = None
    half_open: bool = False
    nonces: frozenset[tuple[str, str]] = frozenset()
    envelopes: frozenset[str] = frozenset()
    handshakes: frozenset[tuple[str, float]] = frozenset()
    pins: frozenset[tuple[str, bytes]] = frozenset()
    identity_pins: frozenset[Pin] = frozenset()
    armed: bool = False
    drawn: int = 0
    life: int = 0
    renewed: int = 0
    minute: int = 0
    begun: int = 0
    used_up: frozenset[str] = frozenset()
    sessions: tuple[Session, ...] = ()
    mail: Hashable = None
    revoked: tuple[Session, ...] | None = None

    def key(self) -> tuple[object, ...]:
        """Equal for equal snapshots, and hashable."""
        stored = None if self.stored is None else _row_key(self.stored)
        return (_row_key(self.row), stored, *self[2:])


@dataclass(frozen=True, slots=True)
class Taken:
    """What one event did to one snapshot.

    Attributes:
        took_twice: whether it took a nonce of the peer's that it had taken before in this conversation, or let a nonce
            or a ticket of its own bring about a second handshake.
        effects: what the step has led to.
    """

    after: Snapshot
    verdict: Verdict
    reason: Reason | None
    sent: tuple[dict[str, Json], ...]
    took_twice: bool = False
    effects: tuple[Effect, ...] = ()


def _row_key(row: PeerState) -> tuple[object, ...]:
    outgoing = row.outgoing
    sending = outgoing and (repr(outgoing.payload), outgoing.sends, outgoing.due_at)
    return _ROW_FIELDS(row), sending, row.live and _live_key(row.live)


def _live_key(live: Live) -> tuple[object, ...]:
    resuming, farewell = live.resuming, live.farewell
    return (
        _session_key(live.session),
        live.pin,
        live.transcript,
        tuple((attempt.handshake.nonce, attempt.answers) for attempt in live.attempts),
        resuming and resuming._noise._unfinished().symmetric.handshake_hash(),
        live.nudge and min(live.nudge[2], initiator._NUDGES),  # more of them make no difference
        tuple(
            (_session_key(half.session), half.peer, half.resumed, repr(half.payload)) for half in live.halves
        ),
        tuple((entry.nonce, entry.digest, entry.newest) for entry in live.consumed),
        farewell and (farewell.digest, repr(farewell.payload)),
        live.carried,
        live.refusals,
    )


def _session_key(session: transport.Session | None) -> tuple[object, ...] | None:
    if session is None:
        return None
    other = session._other
    return (
        session._current.receive_kid,
        session._sent,
        (session._window.top, session._window._bits),
        other and (other.receive_kid, session._other_window.top, session._other_window._bits),
        session._pending and session._pending[1],
        session._answered,
    )

"""The nouns of the conversation: roles, states, what is kept for a pair, events that come in, effects that go out."""

from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum

from handfast.crypto.keys import Secret
from handfast.dialogue import Dialogue
from handfast.errors import Reason
from handfast.identity.identity import Identity
from handfast.wire.text import Json
from handfast.wire.v1 import FOR_RESPONDER, Message


class Role(StrEnum):
    """Every agent plays both roles with every peer, independently."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class State(StrEnum):
    """The states, named as on the wire of the Summoner flow (hsagent-v1.md, section 2)."""

    INIT_READY = "init_ready"
    INIT_EXCHANGE = "init_exchange"
    INIT_FINALIZE_PROPOSE = "init_finalize_propose"
    INIT_FINALIZE_CLOSE = "init_finalize_close"
    RESP_READY = "resp_ready"
    RESP_CONFIRM = "resp_confirm"
    RESP_EXCHANGE = "resp_exchange"
    RESP_FINALIZE = "resp_finalize"


READY = {Role.INITIATOR: State.INIT_READY, Role.RESPONDER: State.RESP_READY}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The message that is sent again on a timer until its state is left; one outbox row.

    Attributes:
        payload: the message, `from` not yet stamped; every sending repeats it unchanged.
        sends: how often it was sent.
        due_at: when it is to be sent (again), or, after the last try, when to give up; seconds since 1970 UTC.
        since: when it was made; seconds since 1970 UTC.
    """

    payload: dict[str, Json]
    sends: int
    due_at: float
    since: float


@dataclass(frozen=True, slots=True)
class PeerState:
    """All that is kept about one role of ours towards one peer; one `role_state` row and its outbox row.

    Times are seconds since 1970 UTC. Names up to `last_secure_at` are those of the first generation's table.

    Attributes:
        local_nonce: the last nonce we sent, which the peer must echo; None once it did.
        peer_nonce: the last nonce the peer sent, which we echo.
        local_reference, peer_reference: ours and the peer's reference of the conversation that is ending or ended.
        exchange_count: turns of this conversation.
        finalize_retry_count: how often `finish` or `close` was sent.
        peer_address: where the relay claims that the peer's last accepted message came from; never used.
        peer_sign_pub, peer_kx_pub: base64 of the keys captured from the peer's handshake.
        pin_pending: whether that signing key is new for this peer and is to be pinned when a first envelope opens: an
            `hs` alone may be somebody else's, repeated under another id.
        secret: our X25519 private key in `resp_confirm`, the session key afterwards; sealed wherever it is stored.
        waiting_since: when a responder holding a reference first heard `register` instead of `reconnect`.
        reconnect_at: when an initiator holding a reference may ask for the next conversation.
        reconnect_tries: how often it asked without an answer.
        last_sent_at: when anything was last sent to the peer in this role.
        outgoing: what is being repeated now.
    """

    self_id: str
    role: Role
    peer_id: str
    state: State
    local_nonce: str | None = None
    peer_nonce: str | None = None
    local_reference: str | None = None
    peer_reference: str | None = None
    exchange_count: int = 0
    finalize_retry_count: int = 0
    peer_address: str | None = None
    peer_sign_pub: str | None = None
    peer_kx_pub: str | None = None
    pin_pending: bool = False
    hs_derived_at: float | None = None
    last_secure_at: float | None = None
    secret: Secret | None = None
    waiting_since: float | None = None
    reconnect_at: float | None = None
    reconnect_tries: int = 0
    last_sent_at: float | None = None
    outgoing: Outgoing | None = None

    @classmethod
    def of_stranger(cls, self_id: str, role: Role, peer_id: str) -> "PeerState":
        """The state towards somebody of whom nothing is kept."""
        return cls(self_id, role, peer_id, READY[role])

    @property
    def is_ready(self) -> bool:
        """Whether no conversation is under way."""
        return self.state is READY[self.role]

    @property
    def is_of_stranger(self) -> bool:
        """Whether the peer has proven nothing yet; what is kept of strangers is bounded."""
        return self.peer_sign_pub is None or self.pin_pending


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows beyond the pair's own row.

    Attributes:
        nonce_seen: the message's `my_nonce` was received before, in the present conversation.
        handshake_seen: a handshake of this peer with this nonce was accepted before and could still pass as fresh.
        pinned: the signing key pinned for the peer's id, 32 raw bytes.
        key_held_by_another: the signing key in the message's `hs` is pinned for another id.
    """

    nonce_seen: bool = False
    handshake_seen: bool = False
    pinned: bytes | None = None
    key_held_by_another: bool = False


@dataclass(frozen=True, slots=True)
class TimerFired:
    """`outgoing` is due."""

    intent = "timer"


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process has just started and found this pair in the middle of a conversation."""

    intent = "restart"


Event = Message | TimerFired | Restarted


@dataclass(frozen=True, slots=True)
class Send:
    """Hand `payload` to the sender, after the commit."""

    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class RecordNonce:
    """One NonceEvent row; a `received` nonce that is already there refuses the whole message."""

    flow: str
    nonce: str


@dataclass(frozen=True, slots=True)
class ForgetNonces:
    """Delete the NonceEvent rows and the opened envelopes of this role and peer."""


@dataclass(frozen=True, slots=True)
class RememberHandshake:
    """Remember that a handshake with this nonce was accepted, until it would be refused as stale anyway."""

    nonce: str
    until: float


@dataclass(frozen=True, slots=True)
class RecordEnvelope:
    """Remember that this envelope was opened; one that is already there refuses the whole message."""

    nonce: str


@dataclass(frozen=True, slots=True)
class PinKey:
    """Pin this signing key (32 raw bytes) for the peer's id."""

    sign_pub: bytes


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The peer's handshake verified, and a first envelope under the session key derived from it has opened."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """An authenticated message for the application."""

    message: Json


@dataclass(frozen=True, slots=True)
class Closed:
    """The conversation ended as both sides wished."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The conversation was abandoned, and why."""

    why: str


Effect = (
    Send
    | RecordNonce
    | ForgetNonces
    | RememberHandshake
    | RecordEnvelope
    | PinKey
    | SessionOpened
    | Delivered
    | Closed
    | GaveUp
)


class Verdict(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"  # a row of the table fired
    IGNORED = "ignored"  # it does not fit the state: late, repeated, or for another time
    REFUSED = "refused"  # it fits, but its proof fails


@dataclass(frozen=True, slots=True)
class Step:
    """What one event leads to.

    Attributes:
        state: the state after it; the same object as before unless the verdict is `ACCEPTED`.
        effects: in order; empty unless the verdict is `ACCEPTED`.
        verdict, reason: what became of the event; a reason only with `REFUSED`.
        failure: what the user's dialogue raised, where that was the reason.
    """

    state: PeerState
    effects: tuple[Effect, ...]
    verdict: Verdict
    reason: Reason | None = None
    failure: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may tune; times in seconds.

    Attributes:
        zone: the zone of v1 timestamps that name none; the system's if None.
        pace: how long a reply waits before it is sent; for an audience.
        retry_delays: waits after each sending of a message; after the last one the pair returns to ready.
        close_delays: the same for `close`, which v1 never acknowledges; short, because a late `finish` is answered with
            `close` afterwards, too.
        jitter: each wait is longer or shorter by up to this share.
        repeat_gap: a repeated message is answered again at most this often.
        reconnect_every: how long after a conversation the initiator asks for the next one; None: never.
        lost_memory_after: how long a responder insists on its reference before it takes `register` for an answer.
        exchanges: how many turns a conversation has.
    """

    zone: tzinfo | None = None
    pace: float = 0.0
    retry_delays: tuple[float, ...] = (2.0, 3.0, 4.5, 6.75, 10.0)
    close_delays: tuple[float, ...] = (0.25, 0.25, 0.5, 0.5)
    jitter: float = 0.1
    repeat_gap: float = 0.5
    reconnect_every: float | None = 10.0
    lost_memory_after: float = 60.0
    exchanges: int = 4


@dataclass(frozen=True, slots=True)
class Party:
    """Our side of every conversation: who we are, how we behave, what we say."""

    identity: Identity
    settings: Settings = field(default_factory=Settings)
    dialogue: Dialogue = field(default_factory=Dialogue)


def role_of(message: Message) -> Role:
    """The role of ours that a directed message is for; `register` concerns both, its answer is the responder's."""
    return Role.RESPONDER if message.intent in FOR_RESPONDER else Role.INITIATOR

"""The nouns of the conversation: roles, states, what is kept for a pair, events that come in, and what a step yields."""

from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from typing import Protocol, TypeGuard

from handfast.audit import SignedHead
from handfast.conversation.effects import Effect
from handfast.conversation.live import Announcements, Live
from handfast.crypto.keys import Secret
from handfast.dialogue import Dialogue
from handfast.errors import Reason
from handfast.identity.identity import Identity
from handfast.mail import Mailbox
from handfast.session.v2.resumption import Ticket
from handfast.session.v2.suites import PostQuantum
from handfast.trust.decision import Facts as TrustFacts
from handfast.trust.decision import Pin, Policy, Proven
from handfast.wire import v1
from handfast.wire.messages import Message
from handfast.wire.text import Json
from handfast.wire.v2 import messages as v2


class Role(StrEnum):
    """Every agent plays both roles with every peer, independently."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class State(StrEnum):
    """The states, named as on the wire of the Summoner flow (hsagent-v1.md, section 2; v2-handshake.md, section 9)."""

    INIT_READY = "init_ready"
    INIT_HS = "init_hs"
    INIT_EXCHANGE = "init_exchange"
    INIT_FINALIZE_PROPOSE = "init_finalize_propose"
    INIT_FINALIZE_CLOSE = "init_finalize_close"
    RESP_READY = "resp_ready"
    RESP_CONFIRM = "resp_confirm"
    RESP_HALF = "resp_half"
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

    @property
    def is_pause(self) -> bool:
        """Whether nothing is sent: what is due is the end of a pause."""
        return not self.payload


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
        version: of the protocol that is, or was last, spoken in this role.
        ticket: what the next session of version 2 resumes with; sealed wherever it is stored.
        ticket_used: SHA-256 of the one message that has used it, 32 bytes; None while it is good.
        live: what version 2 keeps in memory only; never stored.
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
    version: int = 1
    ticket: Ticket | None = None
    ticket_used: bytes | None = None
    live: Live | None = None

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


class TrustBook(Protocol):
    """Pins, certificates and revocations, as they stand in the transaction of this step."""

    def about(self, proven: Proven) -> TrustFacts:
        """What bears on a peer that has proven these keys."""
        ...

    def pin_of(self, peer_id: str) -> Pin | None:
        """The pin of a peer that was met in version 2."""
        ...

    def is_revoked(self, pin: Pin) -> bool:
        """Whether a key or a certificate of this peer was revoked, or this pin removed or replaced."""
        ...

    def newest_crl(self) -> tuple[int, bytes] | None:
        """The revocation list to pass on, with its sequence."""
        ...

    def signed_head(self) -> SignedHead | None:
        """The end of our audit log as it was signed last."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows beyond the pair's own row.

    Attributes:
        nonce_seen: the message's `my_nonce` was received before, in the present conversation.
        handshake_seen: a handshake of this peer with this nonce was accepted before and could still pass as fresh.
        pinned: the signing key pinned for the peer's id, 32 raw bytes.
        key_held_by_another: the signing key in the message's `hs` is pinned for another id.
        met_in_version_2: the peer has proven itself in version 2 before.
        announcements: what this process announces.
        book: whom we trust, to be asked once a handshake of version 2 has shown a key.
        mail: the letters for peers and from them.
        wanted: where mail is carried: letters wait for the peer, or somebody wishes to meet it.
    """

    nonce_seen: bool = False
    handshake_seen: bool = False
    pinned: bytes | None = None
    key_held_by_another: bool = False
    met_in_version_2: bool = False
    announcements: Announcements | None = None
    book: TrustBook | None = None
    mail: Mailbox | None = None
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class TimerFired:
    """`outgoing` is due."""

    intent = "timer"


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process has just started and found this pair in the middle of a conversation."""

    intent = "restart"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A letter for the peer was posted, or somebody wishes to meet it."""

    intent = "submit"


Event = Message | TimerFired | Restarted | Submitted


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
        exchanges: how many turns a conversation has; one that carries mail has as many as it takes.
        hardened: whether what version 1 seals holds a salt and its header, too (v2-handshake.md, section 13, H2 and H8);
            without, it is byte for byte that of the first generation.
        linger: how long a conversation that carries mail is kept open when nothing is left to say.
    """

    zone: tzinfo | None = None
    pace: float = 0.0
    retry_delays: tuple[float, ...] = (2.0, 3.0, 4.5, 6.75, 10.0)
    close_delays: tuple[float, ...] = (0.25, 0.25, 0.5, 0.5)
    jitter: float = 0.1
    repeat_gap: float = 1.5
    reconnect_every: float | None = 10.0
    lost_memory_after: float = 60.0
    exchanges: int = 4
    hardened: bool = True
    linger: float = 20.0


@dataclass(frozen=True, slots=True)
class Party:
    """Our side of every conversation.

    Attributes:
        identity, settings, dialogue: who we are, how we behave, what we say.
        policy: whom we talk to.
        network: the name of the deployment; version 2 talks to peers with the same only.
        psk: 32 bytes that peers of version 2 must know, too.
        mail: whether conversations carry the letters of the mailbox, in version 2 only, instead of the dialogue.
        post_quantum: whether suites with ML-KEM are offered first, alone, or not at all.
    """

    identity: Identity
    settings: Settings = field(default_factory=Settings)
    dialogue: Dialogue = field(default_factory=Dialogue)
    policy: Policy = field(default_factory=Policy)
    network: str = ""
    psk: Secret | None = None
    mail: bool = False
    post_quantum: PostQuantum = "prefer"


_FOR_RESPONDER = v1.FOR_RESPONDER | v2.FOR_RESPONDER
_MESSAGES_OF_2 = v2.Offered | v2.N1 | v2.N2 | v2.N3 | v2.K1 | v2.K2 | v2.Packet


def role_of(message: Message) -> Role:
    """The role of ours that a directed message is for; `register` concerns both, its answer is the responder's."""
    return Role.RESPONDER if message.intent in _FOR_RESPONDER else Role.INITIATOR


def is_message(event: Event) -> TypeGuard[Message]:
    """Whether a peer, rather than a clock of ours, caused it."""
    return not isinstance(event, TimerFired | Restarted | Submitted)


def is_of_version_2(event: Event) -> bool:
    """Whether it is a message of version 2."""
    return isinstance(event, _MESSAGES_OF_2)

"""Tickets, and the short handshake that uses one up (v2-handshake.md, section 8.4)."""

from dataclasses import dataclass, field

from handfast.crypto import labels
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.handshakestate import HandshakeState
from handfast.session.v2.negotiation import prologue_of, role_names
from handfast.session.v2.parties import Myself, Peer, check_header
from handfast.session.v2.session import Session
from handfast.session.v2.suites import SUITES, Suite
from handfast.wire import limits
from handfast.wire.text import EncodingError, b64url_decode, b64url_encode, canonical_json, strict_json
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, K2
from handfast.wire.v2.offers import Offer
from handfast.wire.v2.payloads import Renewal

_BLOBS = ("ticket_id", "identity_key", "static_key", "own_static_key")


@dataclass(frozen=True, slots=True)
class Ticket:
    """All that is stored of a session, sealed: it opens nothing that was sent, and makes one new session.

    Attributes:
        ticket_id: 16 bytes, which name it.
        resumption: the secret, 32 bytes.
        peer_id: text.
        identity_key, static_key: the peer's, 32 bytes each.
        own_static_key: the public half of ours in that session, 32 bytes.
        suite: of the full handshake that the session goes back to.
        generation: of the session.
        full_at: when that full handshake was; seconds since 1970 UTC.
        mode: how far the peer was trusted.
    """

    ticket_id: bytes = field(repr=False)
    resumption: Secret
    peer_id: str
    identity_key: bytes
    static_key: bytes
    own_static_key: bytes
    suite: int
    generation: int
    full_at: float
    mode: str

    @classmethod
    def of(cls, session: Session) -> "Ticket":
        """The ticket of a session's present generation, the same on both sides up to whose key is whose."""
        return cls(
            ticket_id=session.ticket_id,
            resumption=session.resumption,
            peer_id=session.peer.agent_id,
            identity_key=session.peer.identity_key,
            static_key=session.peer.static_key,
            own_static_key=session.own_static.public,
            suite=session.suite.number,
            generation=session.generation,
            full_at=session.full_at,
            mode=session.mode,
        )

    @property
    def expires_at(self) -> float:
        """From when on the responder refuses it; seconds since 1970 UTC."""
        return self.full_at + limits.SESSION_SECONDS

    def is_usable(self, me: Myself, now: float) -> bool:
        """Whether it is worth trying for an initiator, who leaves some time for clocks that differ."""
        return now < self.full_at + limits.SESSION_SECONDS_SOFT and self._own_static(me) is not None

    def require_usable(self, me: Myself, now: float) -> ExchangeKey:
        """The static key that it was made under.

        Raises:
            PeerError: with EXPIRED; its time is over, or that key is not kept any more.
        """
        key = self._own_static(me)
        if now >= self.expires_at or key is None:
            raise PeerError(Reason.EXPIRED, "the ticket")
        return key

    def to_bytes(self) -> bytes:
        """For sealing; nothing but `from_bytes` reads it."""
        members = {name: getattr(self, name) for name in self.__slots__}
        members |= {name: b64url_encode(members[name]) for name in _BLOBS}
        members["resumption"] = b64url_encode(self.resumption.reveal())
        return canonical_json(members)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Ticket":
        """The inverse of `to_bytes`.

        Raises:
            UsageError: the bytes are of another version of this package.
        """
        try:
            members = strict_json(raw)
            if not isinstance(members, dict) or set(members) != set(cls.__slots__):
                raise UsageError("a stored ticket cannot be read")
            members |= {name: b64url_decode(members[name]) for name in _BLOBS}
            members["resumption"] = Secret(b64url_decode(members["resumption"]))
        except (EncodingError, AttributeError):
            raise UsageError("a stored ticket cannot be read") from None
        return cls(**members)

    def _own_static(self, me: Myself) -> ExchangeKey | None:
        return me.static_key_of(self.own_static_key)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session made from a ticket; half until the first packet opens.

    Attributes:
        session: with `mode` as it was.
        peer: ids and keys as before, and what it says anew.
        reply: the answer that makes the peer's half.
    """

    session: Session
    peer: Peer
    reply: K2


@dataclass(frozen=True, slots=True)
class ResumptionAttempt:
    """A short handshake that waits for k2. It never changes: whatever comes is tried on a copy."""

    ticket: Ticket
    _noise: HandshakeState = field(repr=False)
    _own_static: ExchangeKey = field(repr=False)

    def read_k2(self, k2: K2, now: float) -> tuple[Session, Peer]:
        """The session, and the peer, for trust to look at again.

        Args:
            k2: of any sender.
            now: seconds since 1970 UTC.

        Raises:
            PeerError: it is not the answer that is waited for.
        """
        if k2.sender != self.ticket.peer_id:
            raise PeerError(Reason.NO_SESSION, "an answer to nothing of ours")
        noise = self._noise.copy()
        renewal = Renewal.parse(noise.read_message(k2.message))
        check_header(renewal, k2.header)
        peer = _peer(self.ticket, renewal)
        return _session(self.ticket, noise, self._own_static, peer, is_initiator=True, now=now), peer


def make_k1(
    me: Myself, ticket: Ticket, offer: bytes, *, ephemeral: bytes, now: float
) -> tuple[ResumptionAttempt, K1]:
    """Ask for a new session under a ticket.

    Args:
        me: ourselves.
        ticket: of ours.
        offer: of ours, any.
        ephemeral: 32 random bytes.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: with EXPIRED; `is_usable` says so beforehand.
    """
    own_static = ticket.require_usable(me, now)
    noise = _handshake(
        ticket, own_static, _prologue(ticket, me.agent_id, ticket.peer_id, offer, me.network), initiator=True
    )
    header = Header(me.agent_id, ticket.peer_id, "reconnect", your_ref=b64url_encode(ticket.ticket_id))
    message = noise.write_message(me.renewal(header), ephemeral=ExchangeKey(ephemeral), psk=ticket.resumption)
    attempt = ResumptionAttempt(ticket, noise, own_static)
    return attempt, K1(header, offer, ticket.ticket_id, ticket.generation, message)


def read_k1(me: Myself, ticket: Ticket, k1: K1, *, ephemeral: bytes, nonce: str, now: float) -> Resumed:
    """Make the session that the peer asks for.

    The caller notes the ticket as used by this very message (`digest_of`) before the reply leaves.

    Args:
        me: ourselves.
        ticket: the one that `k1.ticket` names, unused.
        k1: of any sender.
        ephemeral: 32 random bytes.
        nonce: `my_nonce` of the reply: B(16 random bytes).
        now: seconds since 1970 UTC.

    Raises:
        PeerError: with EXPIRED, ID_MISMATCH, or whatever else is wrong with it.
    """
    own_static = ticket.require_usable(me, now)
    if k1.sender != ticket.peer_id:
        raise PeerError(Reason.ID_MISMATCH)
    if (k1.ticket, k1.generation) != (ticket.ticket_id, ticket.generation):
        raise PeerError(Reason.NO_SESSION, "another ticket")
    Offer.parse(k1.offer)
    noise = _handshake(
        ticket, own_static, _prologue(ticket, k1.sender, me.agent_id, k1.offer, me.network), initiator=False
    )
    renewal = Renewal.parse(noise.read_message(k1.message, psk=ticket.resumption))
    check_header(renewal, k1.header)
    header = Header(me.agent_id, k1.sender, "confirm", my_nonce=nonce)
    message = noise.write_message(me.renewal(header), ephemeral=ExchangeKey(ephemeral))
    peer = _peer(ticket, renewal, k1.offer)
    session = _session(ticket, noise, own_static, peer, is_initiator=False, now=now)
    return Resumed(session, peer, K2(header, message))


def _prologue(ticket: Ticket, initiator: str, responder: str, offer: bytes, network: str) -> bytes:
    return prologue_of(
        labels.V2_PROLOGUE_RESUMPTION,
        *role_names(initiator, responder),
        offer,
        ticket.ticket_id,
        ticket.generation.to_bytes(4, "big"),
        network.encode(),
    )


def _handshake(
    ticket: Ticket, own_static: ExchangeKey, prologue: bytes, *, initiator: bool
) -> HandshakeState:
    return HandshakeState(
        _suite(ticket).short,
        initiator=initiator,
        prologue=prologue,
        static=own_static,
        remote_static=ticket.static_key,
    )


def _suite(ticket: Ticket) -> Suite:
    return SUITES[ticket.suite]


def _peer(ticket: Ticket, renewal: Renewal, offer: bytes | None = None) -> Peer:
    return Peer(
        ticket.peer_id,
        ticket.identity_key,
        ticket.static_key,
        crl_sequence=renewal.crl_sequence,
        offer=offer,
    )


def _session(
    ticket: Ticket,
    noise: HandshakeState,
    own_static: ExchangeKey,
    peer: Peer,
    *,
    is_initiator: bool,
    now: float,
) -> Session:
    return Session.found(
        noise.finish(),
        suite=_suite(ticket),
        is_initiator=is_initiator,
        wrote_first=is_initiator,
        own_static=own_static,
        peer=peer,
        now=now,
        full_at=ticket.full_at,
        generation=ticket.generation + 1,
        mode=ticket.mode,
    )

"""The effects of a step: what is to be committed, sent and told beside the next state."""

from dataclasses import dataclass

from handfast.audit import SignedHead
from handfast.mail import MailEffect
from handfast.trust.decision import Decision
from handfast.wire.text import Json


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
class PinPeer:
    """Write down what trust decided about a peer of version 2, whose session is confirmed."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The peer's handshake verified, and a first message under the keys derived from it has opened.

    Attributes:
        version: of the protocol.
        security: how sure it is who the peer is: "v1", "v2-cert", "v2-selfcert", "v2-pin" or "v2-tofu".
        suite: the name of the suite and what it mixes in, of version 2.
        resumed: whether it came from a ticket.
    """

    version: int = 1
    security: str = "v1"
    suite: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """The session has new keys."""

    generation: int


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The peer has shown the end of its audit log, signed."""

    head: SignedHead


@dataclass(frozen=True, slots=True)
class Learned:
    """The peer has passed on a revocation list, of which nothing is checked yet."""

    revocations: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """An authenticated message for the application."""

    message: Json


@dataclass(frozen=True, slots=True)
class Paused:
    """Nothing is left to be said to the peer, of what was posted up to this number."""

    posted: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The conversation ended as both sides wished.

    Attributes:
        messages: how many were delivered, both ways; of version 2.
        transcript: hex digits that both sides can compare, and nobody else can make anything of; of version 2.
    """

    messages: int | None = None
    transcript: str = ""


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
    | PinPeer
    | SessionOpened
    | Rekeyed
    | Witnessed
    | Learned
    | Delivered
    | MailEffect
    | Paused
    | Closed
    | GaveUp
)

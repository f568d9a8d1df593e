"""Certificates: a controller's signed word that an identity key speaks for an agent id (v2-handshake.md, section 10.3).

Depth one: a controller signs for agents and for nobody else. An agent asks with a request that it signs itself, which
proves that it holds the key, over a challenge of the controller's, which proves that it holds it now.
"""

import hashlib
import re
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.crypto.keys import SigningKey, WeakKeyError, require_strong_signing_key
from handfast.errors import PeerError, Reason, UsageError
from handfast.identity.agent_ids import is_self_certifying, self_certifying_id
from handfast.identity.binding import CLOCK_SKEW
from handfast.identity.identity import Identity
from handfast.trust.statement import Members, Statement, read_statement, sign_statement
from handfast.wire import limits
from handfast.wire.text import b64url_encode

LONGEST_LIFE = 30 * 86_400
CAPABILITIES = 16
NAME_CHARACTERS = 64
CHALLENGE_BYTES = 16

SERIAL = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Request:
    """What an agent asks to be certified; `raw` is the signed statement."""

    raw: bytes
    agent_id: str
    identity_public: bytes
    name: str
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; whether a trusted controller signed it is asked with `check`.

    Attributes:
        statement: the bytes that the signature is over.
        serial: 32 hex digits.
        issuer: `issuer_of` the controller's key, in base64url.
        agent_id, identity_public: who, and the Ed25519 key (32 raw bytes) that speaks for it.
        not_before, not_after: whole seconds since 1970 UTC.
        capabilities: what the controller says the agent may do; words that only applications read.
        name: for people; proves nothing by itself.
    """

    statement: Statement
    serial: str
    issuer: str
    agent_id: str
    identity_public: bytes
    not_before: int
    not_after: int
    capabilities: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller whose certificates are believed.

    Attributes:
        public: its Ed25519 key, 32 raw bytes.
        crl_next: until when its newest revocation list is to be current, seconds since 1970 UTC; None without a list.
    """

    public: bytes
    crl_next: int | None = None

    @property
    def issuer(self) -> str:
        """How its certificates and lists name it."""
        return issuer_of(self.public)


def issuer_of(public: bytes) -> str:
    """The short name of a controller's key (32 raw bytes): the first half of its SHA-256, in base64url."""
    return b64url_encode(hashlib.sha256(public).digest()[:16])


def request_certificate(identity: Identity, name: str, challenge: bytes, now: float) -> bytes:
    """The signed request of an agent.

    Args:
        identity: who asks.
        name: for people, at most 64 characters.
        challenge: what the controller gave out, 16 bytes.
        now: seconds since 1970 UTC.
    """
    members = {
        "v": 2,
        "sub": identity.agent_id,
        "ik": b64url_encode(identity.identity_key.public),
        "iat": int(now),
        "nonce": b64url_encode(challenge),
        "name": name,
    }
    return sign_statement(labels.V2_CERTIFICATE_REQUEST, members, identity.identity_key)


def read_request(raw: bytes) -> Request:
    """A request whose signature proves that the asker holds the key.

    Whether the key may speak for a self-certifying id is checked where it can be: a key that was never rotated is the
    id's own.

    Raises:
        PeerError: `CERT`, it is none, or was signed with another key; `WEAK_KEY`.
    """
    statement = read_statement(
        raw, labels.V2_CERTIFICATE_REQUEST, Reason.CERT, bytes_at_most=limits.CERTIFICATE_BYTES
    )
    members = statement.members()
    members.time("iat")
    public = _strong_key(members)
    if not statement.is_signed_by(public):
        raise PeerError(Reason.CERT, "the request is not signed with the key that it names")
    return Request(
        raw,
        members.agent_id("sub"),
        public,
        members.text("name", NAME_CHARACTERS),
        members.raw("nonce", CHALLENGE_BYTES),
    )


def names_its_own_key(request: Request) -> bool:
    """Whether a self-certifying id is the digest of the key that asks; True for every other id."""
    return (
        not is_self_certifying(request.agent_id)
        or self_certifying_id(request.identity_public) == request.agent_id
    )


def issue_certificate(
    request: Request,
    controller: SigningKey,
    *,
    serial: str,
    now: float,
    life: int = LONGEST_LIFE,
    capabilities: tuple[str, ...] = (),
) -> bytes:
    """A certificate.

    Args:
        request: what was asked for, already checked.
        controller: the controller's key.
        serial: 32 fresh random hex digits.
        now: seconds since 1970 UTC, from when it holds.
        life: for how many seconds; at most 30 days.
        capabilities: words for applications.

    Raises:
        UsageError: the life is too long, or the whole is too large.
    """
    if not 0 < life <= LONGEST_LIFE:
        raise UsageError(f"a certificate lives for at most {LONGEST_LIFE // 86_400} days")
    if len(capabilities) > CAPABILITIES or any(len(word) > NAME_CHARACTERS for word in capabilities):
        raise UsageError(f"at most {CAPABILITIES} capabilities of {NAME_CHARACTERS} characters each")
    members = {
        "v": 2,
        "ser": serial,
        "iss": issuer_of(controller.public),
        "sub": request.agent_id,
        "ik": b64url_encode(request.identity_public),
        "nbf": int(now),
        "exp": int(now) + life,
        "caps": list(capabilities),
        "name": request.name,
    }
    raw = sign_statement(labels.V2_CERTIFICATE, members, controller)
    if len(raw) > limits.CERTIFICATE_BYTES:
        raise UsageError(f"the certificate would have more than {limits.CERTIFICATE_BYTES} bytes")
    return raw


def read_certificate(raw: bytes) -> Certificate:
    """What a certificate says, nothing of it believed yet.

    Raises:
        PeerError: `CERT`, it is none.
    """
    statement = read_statement(
        raw, labels.V2_CERTIFICATE, Reason.CERT, bytes_at_most=limits.CERTIFICATE_BYTES
    )
    members = statement.members()
    serial = members.text("ser", 32)
    if not SERIAL.fullmatch(serial):
        raise PeerError(Reason.CERT, "the serial is not 32 hex digits")
    words = members.items("caps", CAPABILITIES)
    capabilities = tuple(word for word in words if isinstance(word, str) and len(word) <= NAME_CHARACTERS)
    if len(capabilities) != len(words):
        raise PeerError(Reason.CERT, "a capability is no short text")
    return Certificate(
        statement=statement,
        serial=serial,
        issuer=b64url_encode(members.raw("iss", 16)),
        agent_id=members.agent_id("sub"),
        identity_public=_strong_key(members),
        not_before=members.time("nbf"),
        not_after=members.time("exp"),
        capabilities=capabilities,
        name=members.text("name", NAME_CHARACTERS),
    )


def check_certificate(certificate: Certificate, controller: Controller, now: float) -> None:
    """Refuse a certificate that this controller did not sign, or that does not hold now.

    Raises:
        PeerError: `CERT`; its text tells what is wrong.
    """
    life = certificate.not_after - certificate.not_before
    if not 0 < life <= LONGEST_LIFE:
        raise PeerError(Reason.CERT, "the certificate is for too long a time")
    if not certificate.not_before - CLOCK_SKEW <= now <= certificate.not_after + CLOCK_SKEW:
        raise PeerError(Reason.CERT, "the certificate has expired or does not hold yet")
    if certificate.issuer != controller.issuer or not certificate.statement.is_signed_by(controller.public):
        raise PeerError(Reason.CERT, "the certificate is not signed by its controller")


def presentable(identity: Identity, now: float) -> bytes | None:
    """The identity's own certificate as it is shown to peers; None without one, or where it has expired.

    Peers refuse an expired certificate, and may well know us by other means.
    """
    own = identity.certificate
    return own if own is not None and now < read_certificate(own).not_after else None


def _strong_key(members: Members) -> bytes:
    public = members.raw("ik", 32)
    try:
        require_strong_signing_key(public)
    except WeakKeyError:
        raise PeerError(Reason.WEAK_KEY) from None
    return public

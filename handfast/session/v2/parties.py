"""Who takes part in a handshake: what it needs of us, and what it proves of the peer (v2-handshake.md, section 6.6).

Whether the peer's key may speak for its id (pins, certificates, revocation) is decided in trust.
"""

from dataclasses import dataclass

from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason
from handfast.identity.binding import Binding, check_binding
from handfast.identity.identity import Identity, StaticKey
from handfast.wire.v2.header import Header
from handfast.wire.v2.offers import (
    DEMANDS_CERTIFICATE,
    DEMANDS_PSK,
    HAS_CERTIFICATE,
    RESUMPTION,
    TRANSCRIPT_AGREEMENT,
    VERSION,
    Offer,
)
from handfast.wire.v2.payloads import Credentials, Renewal


@dataclass(frozen=True, slots=True)
class Myself:
    """What a handshake needs of us.

    Attributes:
        agent_id: text.
        identity_key: our Ed25519 public key, 32 bytes.
        static: our Noise static key and its binding.
        suites: what we offer and accept, best first.
        resumable: all static keys under which sessions may be resumed.
        network: the name of the deployment; peers must have the same.
        psk: the configured key, 32 bytes; if there is one it is demanded.
        certificate, rotations: as they are sent.
        demands_certificate: whether our offers say so.
        crl_sequence: the newest revocation list that we know.
    """

    agent_id: str
    identity_key: bytes
    static: StaticKey
    suites: tuple[int, ...]
    resumable: tuple[StaticKey, ...] = ()
    network: str = ""
    psk: Secret | None = None
    certificate: bytes | None = None
    rotations: bytes = b""
    demands_certificate: bool = False
    crl_sequence: int | None = None

    @classmethod
    def from_identity(cls, identity: Identity, suites: tuple[int, ...], now: float) -> "Myself":
        """Ourselves with the defaults for everything that is not in the identity; `now` in seconds since 1970 UTC."""
        return cls(
            agent_id=identity.agent_id,
            identity_key=identity.identity_key.public,
            static=identity.static_key,
            suites=suites,
            resumable=identity.usable_static_keys(now),
            certificate=identity.certificate,
            rotations=identity.rotations,
        )

    def offer(self, nonce: bytes, versions: tuple[int, ...] = (VERSION,)) -> bytes:
        """A new offer; `nonce` is 16 random bytes, `versions` are descending."""
        flags = RESUMPTION | TRANSCRIPT_AGREEMENT
        flags |= DEMANDS_CERTIFICATE * self.demands_certificate
        flags |= HAS_CERTIFICATE * (self.certificate is not None)
        flags |= DEMANDS_PSK * (self.psk is not None)
        return Offer(versions, self.suites, flags, nonce).encode()

    def credentials(self, header: Header, kem_ciphertext: bytes | None = None) -> bytes:
        """The payload of our n2 or n3, which goes into the message with this header."""
        return Credentials(
            agent_id=self.agent_id,
            identity_key=self.identity_key,
            binding=self.static.binding.encode(),
            header_digest=header.digest(),
            certificate=self.certificate,
            rotations=self.rotations,
            crl_sequence=self.crl_sequence,
            kem_ciphertext=kem_ciphertext,
        ).encode()

    def renewal(self, header: Header) -> bytes:
        """The payload of our k1 or k2, which goes into the message with this header."""
        return Renewal(self.agent_id, header.digest(), self.crl_sequence).encode()

    def static_key_of(self, public: bytes) -> ExchangeKey | None:
        """The private half of a static key of ours, if it is still kept."""
        for static in (self.static, *self.resumable):
            if static.key.public == public:
                return static.key
        return None


@dataclass(frozen=True, slots=True)
class Peer:
    """What a handshake proved of the peer.

    Attributes:
        agent_id: text.
        identity_key, static_key: Ed25519 and X25519 public keys, 32 bytes each.
        binding: of the static key; None after a resumption, as what follows.
        certificate, rotations: as they came, unchecked.
        crl_sequence: the newest revocation list that the peer knows.
        offer: what the peer can do; None where its offer was not part of the handshake.
    """

    agent_id: str
    identity_key: bytes
    static_key: bytes
    binding: Binding | None = None
    certificate: bytes | None = None
    rotations: bytes = b""
    crl_sequence: int | None = None
    offer: bytes | None = None


def check_header(said: Credentials | Renewal, header: Header) -> None:
    """What a handshake message says must fit the message that it came in.

    Raises:
        PeerError: with ID_MISMATCH or HDR_BINDING.
    """
    if said.agent_id != header.sender:
        raise PeerError(Reason.ID_MISMATCH)
    if said.header_digest != header.digest():
        raise PeerError(Reason.HDR_BINDING)


def check_credentials(
    credentials: Credentials, header: Header, static_key: bytes, me: Myself, offer: bytes, now: float
) -> Peer:
    """The peer that a full handshake proves, if all of section 6.6 up to trust holds.

    Args:
        credentials: the payload of the message.
        header: of the same message.
        static_key: that the handshake authenticated, 32 bytes.
        me: ourselves, whom nobody else may claim to be.
        offer: the peer's.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: with ID_MISMATCH, HDR_BINDING, SELF, BINDING_EXPIRED, WEAK_KEY or STATIC_SIG.
    """
    check_header(credentials, header)
    if credentials.identity_key == me.identity_key or me.static_key_of(static_key) is not None:
        raise PeerError(Reason.SELF)
    binding = Binding.parse(credentials.binding)
    check_binding(binding, credentials.agent_id, credentials.identity_key, static_key, now)
    return Peer(
        agent_id=credentials.agent_id,
        identity_key=credentials.identity_key,
        static_key=static_key,
        binding=binding,
        certificate=credentials.certificate,
        rotations=credentials.rotations,
        crl_sequence=credentials.crl_sequence,
        offer=offer,
    )

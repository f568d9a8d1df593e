"""From the end of a handshake to the keys of a generation (v2-handshake.md, sections 6.7 and 6.8)."""

import hashlib
from dataclasses import dataclass, field, replace

from handfast.crypto import labels
from handfast.crypto.kdf import hkdf, hkdf_expand
from handfast.crypto.keys import Secret
from handfast.noise.handshakestate import Split

KID_BYTES = 8
TICKET_BYTES = 16
SESSION_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one generation, as one side holds them; what is seldom asked for is derived when it is.

    Attributes:
        send, receive: transport keys, 32 bytes each.
        send_kid, receive_kid: what names them in packets, 8 bytes each.
    """

    send: Secret
    receive: Secret
    send_kid: bytes
    receive_kid: bytes
    _exported: Secret
    _digest: bytes = field(repr=False)

    @classmethod
    def derive(cls, split: Split, *, wrote_first: bool, is_initiator: bool) -> "Keys":
        """All that follows from a finished handshake.

        Args:
            split: what the handshake yielded.
            wrote_first: whether we wrote its first message (in XX the responder does, in KK the initiator).
            is_initiator: our role in the conversation.
        """
        first, second = split.initiator_to_responder, split.responder_to_initiator
        own, other = (b"kid i2r", b"kid r2i") if is_initiator else (b"kid r2i", b"kid i2r")
        exported, digest = split.exported, split.handshake_hash
        return cls(
            send=first if wrote_first else second,
            receive=second if wrote_first else first,
            send_kid=_expand(exported, digest, own, KID_BYTES),
            receive_kid=_expand(exported, digest, other, KID_BYTES),
            _exported=exported,
            _digest=digest,
        )

    def only_receiving(self) -> "Keys":
        """What is left of them when newer ones are in use."""
        return replace(self, send=Secret(b""), _exported=Secret(b""))

    @property
    def session_id(self) -> bytes:
        """16 bytes, the same on both sides."""
        return self._digest[:SESSION_ID_BYTES]

    @property
    def resumption(self) -> Secret:
        """The secret of the next short handshake, 32 bytes."""
        return Secret(self._derived(b"resumption", 32))

    @property
    def ticket(self) -> bytes:
        """What names that secret, 16 bytes."""
        return self._derived(b"ticket", TICKET_BYTES)

    @property
    def audit(self) -> Secret:
        """Keys the digests of messages in the audit log, 32 bytes."""
        return Secret(self._derived(b"audit", 32))

    def _derived(self, label: bytes, size: int) -> bytes:
        return _expand(self._exported, self._digest, label, size)


def _expand(exported: Secret, digest: bytes, label: bytes, size: int) -> bytes:
    """X(l, n)."""
    return hkdf_expand(exported.reveal(), labels.V2_SCHEDULE_PREFIX + label + b"\0" + digest, size)


def mixed_psk(
    suite_number: int,
    psk: Secret | None,
    shared: Secret | None = None,
    public: bytes = b"",
    ciphertext: bytes = b"",
) -> Secret:
    """What a suite with a PSK, an ML-KEM secret or both puts into Noise: 32 bytes.

    Args:
        suite_number: 2 bytes of it are bound.
        psk: the configured key, or None.
        shared: the ML-KEM secret, or None.
        public, ciphertext: the ML-KEM encapsulation key and ciphertext, which are bound, too.
    """
    material = b""
    if shared is not None:
        material = shared.reveal() + hashlib.sha256(public).digest() + hashlib.sha256(ciphertext).digest()
    salt = bytes(32) if psk is None else psk.reveal()
    return Secret(hkdf(material, labels.V2_PSK_INFO + suite_number.to_bytes(2, "big"), salt))

"""Self-certifying agent ids: a UUID of version 8 that is a digest of the first identity key (v2-handshake.md, section 3).

Such an id proves which key may speak for it, so the first contact needs no trust. Every other id needs a pin or a
certificate.
"""

import hashlib

from handfast.crypto import labels
from handfast.errors import PeerError, Reason


def self_certifying_id(identity_public: bytes) -> str:
    """The id of an agent whose first identity key is `identity_public` (Ed25519, 32 raw bytes): 122 bits of SHA-256.

    Written as a lower-case UUID (RFC 9562, section 5.8), so that agents that know nothing of it take it for any other.
    """
    digest = bytearray(hashlib.sha256(labels.V2_AGENT_ID + identity_public).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # version 8
    digest[8] = digest[8] & 0x3F | 0x80  # variant 10
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def is_self_certifying(agent_id: str) -> bool:
    """Whether `agent_id`, a UUID in its canonical text, claims to be the digest of a key."""
    return agent_id[14] == "8" and agent_id[19] in "89ab"


def require_self_certified(agent_id: str, first_public: bytes) -> None:
    """Refuse a self-certifying id whose holder's first identity key is another one; other ids are left to pins.

    Args:
        agent_id: the peer's id, a UUID in its canonical text.
        first_public: the oldest key of the peer's rotation chain, or its only one; 32 raw bytes.

    Raises:
        PeerError: the id does not belong to this key.
    """
    if is_self_certifying(agent_id) and self_certifying_id(first_public) != agent_id:
        raise PeerError(Reason.ID_NOT_SELF_CERTIFIED)

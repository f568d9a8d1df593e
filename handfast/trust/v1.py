"""Whether a signing key may speak for an agent id in version 1. One pure decision, closed by default.

v1 names neither party in its handshake, so the pair (id, key) is pinned at first sight (hsagent-v1.md, section 3).
"""

from handfast.errors import PeerError, Reason


def decide(sign_pub: bytes, *, own: bytes, pinned: bytes | None, held_by_another: bool) -> bool:
    """Whether this key is new for this peer and is to be pinned; False where it is the pinned one.

    Args:
        sign_pub: the Ed25519 key that signed the peer's handshake, 32 raw bytes.
        own: our own.
        pinned: the key pinned for the peer's id, if any.
        held_by_another: whether this key is pinned for another id.

    Raises:
        PeerError: the key must not speak for this id.
    """
    if sign_pub == own:
        raise PeerError(Reason.OWN_KEY_REFLECTED)
    if pinned is not None and pinned != sign_pub:
        raise PeerError(Reason.KEY_CHANGED)
    if held_by_another:
        raise PeerError(Reason.KEY_UNDER_TWO_IDS)
    return pinned is None

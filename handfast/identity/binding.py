"""The signed statement that a Noise static key speaks for an agent id (v2-handshake.md, sections 6.3 and 6.6).

It is made once for each static key and not for each handshake: it proves whose key that is, and not that any particular
conversation took place.
"""

import functools
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.crypto.keys import (
    SIGNATURE_BYTES,
    SigningKey,
    WeakKeyError,
    require_strong_signing_key,
    signature_holds,
)
from handfast.errors import PeerError, Reason
from handfast.wire.v2.header import length_prefixed

# Some 600 bytes each.
BINDINGS_REMEMBERED = 2_048
BINDING_BYTES = 8 + 8 + SIGNATURE_BYTES

# A binding for longer is refused, and clocks may differ by so much (v2-handshake.md, section 6.3); seconds.
LONGEST_LIFE = 90 * 86_400
CLOCK_SKEW = 300


@dataclass(frozen=True, slots=True)
class Binding:
    """From when until when a static key speaks for its agent (whole seconds since 1970 UTC), and the signature."""

    not_before: int
    not_after: int
    signature: bytes

    def encode(self) -> bytes:
        """The 80 bytes in which it travels: nbf(8) || exp(8) || sig(64)."""
        return self.not_before.to_bytes(8, "big") + self.not_after.to_bytes(8, "big") + self.signature

    @classmethod
    def parse(cls, raw: bytes) -> "Binding":
        """The inverse of `encode`.

        Raises:
            PeerError: not 80 bytes.
        """
        if len(raw) != BINDING_BYTES:
            raise PeerError(Reason.FORMAT, "a static key binding has 80 bytes")
        return cls(int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:16], "big"), raw[16:])


def binding_text(
    agent_id: str, identity_public: bytes, static_public: bytes, not_before: int, not_after: int
) -> bytes:
    """What is signed: the label, LP(agent id), both public keys (32 raw bytes each), nbf(8) and exp(8)."""
    return b"".join(
        (
            labels.V2_STATIC_KEY_BINDING,
            length_prefixed(agent_id.encode()),
            identity_public,
            static_public,
            not_before.to_bytes(8, "big"),
            not_after.to_bytes(8, "big"),
        )
    )


def bind(
    identity_key: SigningKey, agent_id: str, static_public: bytes, not_before: int, not_after: int
) -> Binding:
    """Sign that `static_public` (X25519, 32 raw bytes) speaks for `agent_id` between two moments."""
    text = binding_text(agent_id, identity_key.public, static_public, not_before, not_after)
    return Binding(not_before, not_after, identity_key.sign(text))


def check_binding(
    binding: Binding, agent_id: str, identity_public: bytes, static_public: bytes, now: float
) -> None:
    """Refuse a static key that does not speak for this agent now.

    Whether `agent_id` is who the message says it is from, and whether `identity_public` may speak for that id, is for the
    caller to ask.

    Args:
        binding: what the peer showed.
        agent_id: the peer's id.
        identity_public: the Ed25519 key that is to have signed it, 32 raw bytes.
        static_public: the X25519 key that the handshake authenticated, 32 raw bytes.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: `BINDING_EXPIRED` (over, not begun, or for too long a life), `WEAK_KEY` or `STATIC_SIG`.
    """
    life = binding.not_after - binding.not_before
    # whichever check costs least comes first; none of them tells the peer anything
    if not 0 <= life <= LONGEST_LIFE or not (
        binding.not_before - CLOCK_SKEW <= now <= binding.not_after + CLOCK_SKEW
    ):
        raise PeerError(Reason.BINDING_EXPIRED)
    text = binding_text(agent_id, identity_public, static_public, binding.not_before, binding.not_after)
    _require_signature(identity_public, binding.signature, text)


def forget_bindings() -> None:
    """Forget whose bindings were found good; for benchmarks of first contacts."""
    _require_signature.cache_clear()


# A binding is the same in all handshakes of a month: that of a peer who comes again is known. All of it is public.
@functools.lru_cache(maxsize=BINDINGS_REMEMBERED)
def _require_signature(identity_public: bytes, signature: bytes, text: bytes) -> None:
    try:
        require_strong_signing_key(identity_public)
    except WeakKeyError:
        raise PeerError(Reason.WEAK_KEY) from None
    if not signature_holds(identity_public, signature, text):  # what raises is not remembered
        raise PeerError(Reason.STATIC_SIG)

"""Offers and selections: what two agents say about what they can do (v2-handshake.md, sections 5.1 and 5.3).

Bytes only; which suite follows from two offers is decided in session/v2/negotiation.py.
"""

import hashlib
from dataclasses import dataclass
from struct import unpack_from

from handfast.errors import PeerError, Reason
from handfast.wire import limits

VERSION = 2

# flags of an offer
DEMANDS_CERTIFICATE = 0x0001
HAS_CERTIFICATE = 0x0002
RESUMPTION = 0x0004
DEMANDS_PSK = 0x0008
TRANSCRIPT_AGREEMENT = 0x0010

NONCE_BYTES = 16
DIGEST_BYTES = 16
SELECTION_BYTES = 22
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """What one agent can do.

    Attributes:
        versions: protocol versions, strictly descending, 0 to 255.
        suites: suite ids, best first, none twice.
        flags: see the constants above; unknown ones are kept.
        nonce: 16 random bytes.
    """

    versions: tuple[int, ...]
    suites: tuple[int, ...]
    flags: int
    nonce: bytes

    def encode(self) -> bytes:
        """The one encoding of this offer."""
        return b"".join(
            (
                bytes([_FORMAT, len(self.versions), *self.versions, len(self.suites)]),
                *(suite.to_bytes(2, "big") for suite in self.suites),
                self.flags.to_bytes(2, "big"),
                self.nonce,
            )
        )

    @classmethod
    def parse(cls, raw: bytes) -> "Offer":
        """The inverse of `encode`.

        Raises:
            PeerError: with OFFER; no other bytes are accepted than those that `encode` gives.
        """
        if len(raw) < 2 or raw[0] != _FORMAT:
            raise PeerError(Reason.OFFER)
        version_end = 2 + raw[1]
        if len(raw) <= version_end:
            raise PeerError(Reason.OFFER)
        suite_end = version_end + 1 + 2 * raw[version_end]
        if len(raw) != suite_end + 2 + NONCE_BYTES:
            raise PeerError(Reason.OFFER)
        versions = tuple(raw[2:version_end])
        suites = unpack_from(f">{raw[version_end]}H", raw, version_end + 1)
        flags, nonce = int.from_bytes(raw[suite_end : suite_end + 2], "big"), raw[suite_end + 2 :]
        if not 0 < len(versions) <= limits.OFFER_VERSIONS or not 0 < len(suites) <= limits.OFFER_SUITES:
            raise PeerError(Reason.OFFER)
        if list(versions) != sorted(set(versions), reverse=True) or len(set(suites)) != len(suites):
            raise PeerError(Reason.OFFER)
        return cls(versions, suites, flags, nonce)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the responder chose.

    Attributes:
        version: the protocol version.
        suite: the suite id.
        offer_digest: SHA-256 of the initiator's offer, its first 16 bytes.
    """

    version: int
    suite: int
    offer_digest: bytes

    def encode(self) -> bytes:
        """The one encoding: 22 bytes; the flags are always zero."""
        return bytes([_FORMAT, self.version]) + self.suite.to_bytes(2, "big") + b"\0\0" + self.offer_digest

    @classmethod
    def parse(cls, raw: bytes) -> "Selection":
        """The inverse of `encode`.

        Raises:
            PeerError: with OFFER.
        """
        if len(raw) != SELECTION_BYTES or raw[0] != _FORMAT or raw[4:6] != b"\0\0":
            raise PeerError(Reason.OFFER)
        return cls(raw[1], int.from_bytes(raw[2:4], "big"), raw[6:])


def offer_digest(offer: bytes) -> bytes:
    """How a selection names the offer it answers: 16 bytes."""
    return hashlib.sha256(offer).digest()[:DIGEST_BYTES]

"""Signed JSON that is carried verbatim: LP(body), then the signatures over its label and the body as it stands.

The form of every certificate, request, revocation list, rotation statement and tombstone (v2-handshake.md, section 10).
What is checked is the bytes that came; they are never put into another order or spelling first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from handfast.crypto.keys import SIGNATURE_BYTES, SigningKey, signature_holds
from handfast.errors import PeerError, Reason
from handfast.wire.text import EncodingError, Json, b64url_decode, canonical_json, strict_json
from handfast.wire.v1 import is_agent_id
from handfast.wire.v2.header import length_prefixed

_LENGTH_BYTES = 4
_LATEST = 2**53  # seconds since 1970 UTC that every JSON reader keeps exact


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, its signatures not checked yet.

    Attributes:
        label: what kind of statement it is to be; part of what is signed.
        body: the JSON bytes as they came.
        signatures: 64 bytes each.
        reason: what a damaged one is called.
    """

    label: bytes
    body: bytes
    signatures: tuple[bytes, ...]
    reason: Reason

    def is_signed_by(self, *publics: bytes) -> bool:
        """Whether the signatures are those of these Ed25519 keys (32 raw bytes each), in this order."""
        return len(publics) == len(self.signatures) and all(
            signature_holds(public, signature, self.label + self.body)
            for public, signature in zip(publics, self.signatures, strict=True)
        )

    def members(self) -> "Members":
        """The body's members.

        Raises:
            PeerError: the body is no JSON object of version 2.
        """
        try:
            parsed = strict_json(self.body)
        except EncodingError:
            parsed = None
        if not isinstance(parsed, dict) or parsed.get("v") != 2:
            raise PeerError(self.reason, "no statement of version 2")
        return Members(parsed, self.reason)


@dataclass(frozen=True, slots=True)
class Members:
    """A statement's JSON object; every access checks what it takes out, and raises a PeerError if it is not there."""

    values: dict[str, Json]
    reason: Reason

    def time(self, name: str) -> int:
        """Whole seconds since 1970 UTC."""
        return self.number(name, _LATEST)

    def number(self, name: str, at_most: int) -> int:
        """A whole number from 0."""
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= at_most:
            raise PeerError(self.reason, f"{name} is no whole number in range")
        return value

    def text(self, name: str, at_most: int) -> str:
        """Text of bounded length."""
        value = self.values.get(name)
        if not isinstance(value, str) or len(value) > at_most:
            raise PeerError(self.reason, f"{name} is no text of a fitting length")
        return value

    def raw(self, name: str, size: int) -> bytes:
        """Bytes in base64url."""
        try:
            return b64url_decode(self.text(name, 4 * size), size)
        except EncodingError:
            raise PeerError(self.reason, f"{name} is not {size} bytes in base64url") from None

    def agent_id(self, name: str) -> str:
        """The id of an agent."""
        value = self.values.get(name)
        if not is_agent_id(value):
            raise PeerError(self.reason, f"{name} is no agent id")
        return str(value)

    def items(self, name: str, at_most: int) -> list[Json]:
        """A list of bounded length."""
        value = self.values.get(name)
        if not isinstance(value, list) or len(value) > at_most:
            raise PeerError(self.reason, f"{name} is no list of a fitting length")
        return value


def sign_statement(label: bytes, members: dict[str, Json], *keys: SigningKey) -> bytes:
    """The bytes of a statement, signed by each key in turn."""
    body = canonical_json(members)
    return length_prefixed(body) + b"".join(key.sign(label + body) for key in keys)


def read_statements(
    raw: bytes, label: bytes, reason: Reason, *, signatures: int = 1, at_most: int = 1, bytes_at_most: int
) -> Sequence[Statement]:
    """The statements that stand one after another in `raw`, with nothing between or after them.

    Args:
        raw: bytes from a peer or a file.
        label: the kind that they are to be.
        reason: what to call anything that is wrong with them.
        signatures: how many each carries.
        at_most: how many may stand there.
        bytes_at_most: how long all of them together may be.

    Raises:
        PeerError: too long, too many, cut off, or none.
    """
    found: list[Statement] = []
    at = 0
    while at < len(raw) <= bytes_at_most and len(found) < at_most:
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(raw[at:start], "big")
        at = end + signatures * SIGNATURE_BYTES
        parts = tuple(raw[cut : cut + SIGNATURE_BYTES] for cut in range(end, at, SIGNATURE_BYTES))
        found.append(Statement(label, raw[start:end], parts, reason))
    if not found or at != len(raw):
        raise PeerError(reason, "not the statement that belongs here")
    return found


def read_statement(raw: bytes, label: bytes, reason: Reason, *, bytes_at_most: int) -> Statement:
    """The one statement that `raw` is.

    Raises:
        PeerError: it is not.
    """
    return read_statements(raw, label, reason, bytes_at_most=bytes_at_most)[0]

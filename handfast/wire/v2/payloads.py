"""What handshake messages carry inside: type, length, value (v2-handshake.md, section 6.3).

Types ascend and none stands twice. Unknown types below 0x80 end the attempt, others are skipped.
"""

from dataclasses import dataclass
from struct import Struct

from handfast.errors import PeerError, Reason
from handfast.wire import limits

_AGENT_ID = 0x01
_IDENTITY_KEY = 0x02
_BINDING = 0x03
_HEADER_DIGEST = 0x04
_CERTIFICATE = 0x05
_ROTATIONS = 0x06
_CRL_SEQUENCE = 0x07
_EARLY_DATA = 0x10
_KEM_PUBLIC = 0x20
_KEM_CIPHERTEXT = 0x21

_FIRST_SKIPPED = 0x80

# the fewest and the most bytes of each value
_SIZES = {
    _AGENT_ID: (limits.ID_CHARACTERS, limits.ID_CHARACTERS),
    _IDENTITY_KEY: (32, 32),
    _BINDING: (80, 80),
    _HEADER_DIGEST: (32, 32),
    _CERTIFICATE: (1, limits.CERTIFICATE_BYTES),
    _ROTATIONS: (1, limits.ROTATIONS_BYTES),
    _CRL_SEQUENCE: (8, 8),
    _KEM_PUBLIC: (1184, 1184),
    _KEM_CIPHERTEXT: (1088, 1088),
}

_Values = dict[int, bytes]

_HEAD = Struct(">BH")  # type and length


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which types a payload has and may have."""

    mandatory: frozenset[int]
    optional: frozenset[int]


_CREDENTIALS = _Kind(
    frozenset({_AGENT_ID, _IDENTITY_KEY, _BINDING, _HEADER_DIGEST}),
    frozenset({_CERTIFICATE, _ROTATIONS, _CRL_SEQUENCE, _KEM_CIPHERTEXT}),
)
_RENEWAL = _Kind(frozenset({_AGENT_ID, _HEADER_DIGEST}), frozenset({_CRL_SEQUENCE}))
_KEM = _Kind(frozenset(), frozenset({_KEM_PUBLIC}))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The payload of n2 and n3: who is speaking, unchecked.

    Attributes:
        agent_id: text.
        identity_key: Ed25519 public key, 32 bytes.
        binding: that the static key of this handshake is this identity's, 80 bytes.
        header_digest: SHA-256(HDR) of the message that carries this, 32 bytes.
        certificate, rotations: as they stand; section 10.
        crl_sequence: the newest revocation list that the speaker knows.
        kem_ciphertext: ML-KEM-768, 1088 bytes; only in n2.
    """

    agent_id: str
    identity_key: bytes
    binding: bytes
    header_digest: bytes
    certificate: bytes | None = None
    rotations: bytes = b""
    crl_sequence: int | None = None
    kem_ciphertext: bytes | None = None

    def encode(self) -> bytes:
        """The payload; what is None is left out."""
        return _join(
            {
                _AGENT_ID: self.agent_id.encode(),
                _IDENTITY_KEY: self.identity_key,
                _BINDING: self.binding,
                _HEADER_DIGEST: self.header_digest,
                _CERTIFICATE: self.certificate,
                _ROTATIONS: self.rotations or None,
                _CRL_SEQUENCE: _sequence(self.crl_sequence),
                _KEM_CIPHERTEXT: self.kem_ciphertext,
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> "Credentials":
        """The inverse of `encode`.

        Raises:
            PeerError: with FORMAT, or EARLY_DATA.
        """
        values = _split(raw, _CREDENTIALS)
        return cls(
            agent_id=_id(values[_AGENT_ID]),
            identity_key=values[_IDENTITY_KEY],
            binding=values[_BINDING],
            header_digest=values[_HEADER_DIGEST],
            certificate=values.get(_CERTIFICATE),
            rotations=values.get(_ROTATIONS, b""),
            crl_sequence=_number(values.get(_CRL_SEQUENCE)),
            kem_ciphertext=values.get(_KEM_CIPHERTEXT),
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """The payload of k1 and k2: the keys are known, so the id and the header are all there is to say.

    Attributes:
        agent_id: text.
        header_digest: SHA-256(HDR) of the message that carries this, 32 bytes.
        crl_sequence: the newest revocation list that the speaker knows.
    """

    agent_id: str
    header_digest: bytes
    crl_sequence: int | None = None

    def encode(self) -> bytes:
        """The payload; what is None is left out."""
        return _join(
            {
                _AGENT_ID: self.agent_id.encode(),
                _HEADER_DIGEST: self.header_digest,
                _CRL_SEQUENCE: _sequence(self.crl_sequence),
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> "Renewal":
        """The inverse of `encode`.

        Raises:
            PeerError: with FORMAT, or EARLY_DATA.
        """
        values = _split(raw, _RENEWAL)
        return cls(_id(values[_AGENT_ID]), values[_HEADER_DIGEST], _number(values.get(_CRL_SEQUENCE)))


def encode_kem_public(public: bytes | None) -> bytes:
    """The payload of n1: an ML-KEM-768 encapsulation key of 1184 bytes, or nothing."""
    return _join({_KEM_PUBLIC: public})


def parse_kem_public(raw: bytes) -> bytes | None:
    """The inverse of `encode_kem_public`.

    Raises:
        PeerError: with FORMAT, or EARLY_DATA.
    """
    return _split(raw, _KEM).get(_KEM_PUBLIC)


def _join(values: dict[int, bytes | None]) -> bytes:
    """Types ascend as they stand in the dictionary."""
    parts: list[bytes] = []
    for kind, value in values.items():
        if value is not None:
            parts += _HEAD.pack(kind, len(value)), value
    return b"".join(parts)


def _split(raw: bytes, payload: _Kind) -> _Values:
    values: _Values = {}
    at, last = 0, -1
    while at < len(raw):
        begin = at + _HEAD.size
        if begin > len(raw):
            raise PeerError(Reason.FORMAT, "a handshake payload")
        kind, size = _HEAD.unpack_from(raw, at)
        at = begin + size
        if at > len(raw) or kind <= last:
            raise PeerError(Reason.FORMAT, "a handshake payload")
        last = kind
        if kind >= _FIRST_SKIPPED:
            continue
        if kind == _EARLY_DATA:
            raise PeerError(Reason.EARLY_DATA)
        if kind not in payload.mandatory and kind not in payload.optional:
            raise PeerError(Reason.FORMAT, f"type {kind:#04x} in a handshake payload")
        fewest, most = _SIZES[kind]
        if not fewest <= size <= most:
            raise PeerError(Reason.FORMAT, f"type {kind:#04x} of {size} bytes")
        values[kind] = raw[begin:at]
    if not payload.mandatory <= values.keys():
        raise PeerError(Reason.FORMAT, "a handshake payload lacks a type")
    return values


def _id(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise PeerError(Reason.FORMAT, "an agent id") from None


def _sequence(number: int | None) -> bytes | None:
    return None if number is None else number.to_bytes(8, "big")


def _number(raw: bytes | None) -> int | None:
    return None if raw is None else int.from_bytes(raw, "big")

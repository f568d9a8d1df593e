"""Key types that never show what they hold: their `repr` is redacted and they refuse to be pickled or copied out."""

from collections import OrderedDict
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_BYTES = 32
SIGNATURE_BYTES = 64
EXCHANGES_REMEMBERED = 1_000  # some 300 bytes each

_FIELD_PRIME = 2**255 - 19
# The y coordinates of the points of order 1, 2, 4 and 8 on edwards25519 (RFC 8032, section 5.1): a signature under
# such a key proves nothing, because one signature can be valid for many messages.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
        ),
    }
)


class WeakKeyError(ValueError):
    """A public key that must not be used: not canonical, of small order, or agreeing on an all-zero secret."""


class Secret:
    """Secret bytes with a redacted `repr`.

    Python cannot promise to erase memory; this type only promises that the bytes do not slip into a log.
    """

    __slots__ = ("_bytes",)

    def __init__(self, secret: bytes) -> None:
        self._bytes = secret

    def reveal(self) -> bytes:
        """The bytes themselves; call it where they are used and nowhere else."""
        return self._bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._bytes == self._bytes

    def __hash__(self) -> int:
        return hash(Secret)  # equal secrets hash alike, and the hash says nothing about the bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class SigningKey:
    """An Ed25519 private key (RFC 8032).

    Args:
        private: the 32 raw private bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, text: bytes) -> bytes:
        """The 64-byte signature over `text`; the same key and text always give the same one."""
        return self._key.sign(text)

    def private_bytes(self) -> bytes:
        """The 32 raw private bytes, for sealing into an identity file."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return "SigningKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


class ExchangeKey:
    """An X25519 private key (RFC 7748).

    Args:
        private: the 32 raw private bytes.
    """

    __slots__ = ("_key", "_remembered", "public")

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)
        self._remembered: OrderedDict[bytes, bytes] | None = None
        self.public = self._key.public_key().public_bytes_raw()

    def exchange(self, peer_public: bytes) -> bytes:
        """The 32-byte shared secret with the holder of `peer_public` (32 raw bytes).

        Raises:
            WeakKeyError: the result would be all zero bytes (RFC 7748, section 6.1).
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            # OpenSSL refuses the all-zero result itself; a key of a wrong length is our caller's mistake and cannot
            # come from a peer, whose keys are parsed to 32 bytes first
            raise WeakKeyError("the peer's X25519 key is of small order") from None

    def exchange_once(self, peer_public: bytes) -> bytes:
        """As `exchange`, computed once for each of up to `EXCHANGES_REMEMBERED` peers: for two static keys only.

        What two static keys agree on is the same for as long as both are in use. Whoever reads it in this process's memory
        reads the private key beside it, which makes it and all others, so that remembering gives nothing away; it goes
        when the key goes. What an ephemeral key agrees on has to be gone before that, and is never remembered.

        Raises:
            WeakKeyError: as `exchange`.
        """
        if self._remembered is None:
            self._remembered = OrderedDict()
        shared = self._remembered.get(peer_public)
        if shared is None:
            shared = self._remembered[peer_public] = self.exchange(peer_public)
            if len(self._remembered) > EXCHANGES_REMEMBERED:
                self._remembered.popitem(last=False)
        return shared

    def private_bytes(self) -> bytes:
        """The 32 raw private bytes, for sealing."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return "ExchangeKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


def require_strong_signing_key(public: bytes) -> None:
    """Refuse an Ed25519 public key (32 raw bytes) that is not canonical or is of small order.

    Raises:
        WeakKeyError: the key must not be used.
    """
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        raise WeakKeyError("the Ed25519 key is of small order or not canonical")


def signature_holds(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether `signature` (64 bytes) over `text` was made with the private half of `public` (32 raw bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):  # ValueError: the bytes are no point of the curve
        return False
    return True

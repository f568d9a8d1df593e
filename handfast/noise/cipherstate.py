"""The cipher functions, and a CipherState as a handshake uses it (Noise, sections 5.1, 12.3 and 12.4).

Transport messages are not sealed here: they come out of order and carry their counter, which this object does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from handfast.crypto.aead import aes_open, aes_seal, chacha_open, chacha_seal

_Sealing = Callable[[bytes, bytes, bytes, bytes], bytes]


@dataclass(frozen=True, slots=True)
class CipherFunctions:
    """What the name of a cipher stands for in a protocol name.

    Attributes:
        name: as in a protocol name.
        seal: ENCRYPT(k, nonce, plaintext, ad).
        open: DECRYPT(k, nonce, ciphertext, ad); raises `DoesNotOpen`.
        nonce: the cipher's 12 bytes for the number n.
    """

    name: str
    seal: _Sealing
    open: _Sealing
    nonce: Callable[[int], bytes]


# both nonces are four zero bytes and n in eight: little-endian for the one, big-endian for the other
CHACHAPOLY = CipherFunctions("ChaChaPoly", chacha_seal, chacha_open, Struct("<4xQ").pack)
AESGCM = CipherFunctions("AESGCM", aes_seal, aes_open, Struct(">4xQ").pack)


class CipherState:
    """A key k, empty at first, and the number n of the next nonce.

    No handshake seals so much that n could run out, so that the exhaustion of section 5.1 needs no check here.
    """

    __slots__ = ("_functions", "_key", "_nonce")

    def __init__(self, functions: CipherFunctions, key: bytes | None = None, nonce: int = 0) -> None:
        self._functions = functions
        self._key = key
        self._nonce = nonce

    def copy(self) -> "CipherState":
        """Another object in the same state."""
        return CipherState(self._functions, self._key, self._nonce)

    def initialize_key(self, key: bytes) -> None:
        """Use `key` (32 bytes) from now on, with n from zero."""
        self._key = key
        self._nonce = 0

    def has_key(self) -> bool:
        """Whether there is a key, and so whether texts are sealed."""
        return self._key is not None

    def encrypt_with_ad(self, associated: bytes, plaintext: bytes) -> bytes:
        """The ciphertext with its 16-byte tag; the plaintext itself while there is no key."""
        if self._key is None:
            return plaintext
        nonce = self._functions.nonce(self._nonce)
        self._nonce += 1
        return self._functions.seal(self._key, nonce, plaintext, associated)

    def decrypt_with_ad(self, associated: bytes, ciphertext: bytes) -> bytes:
        """The plaintext; the ciphertext itself while there is no key.

        Raises:
            DoesNotOpen: anything at all is not as it was sealed; n stays as it was.
        """
        if self._key is None:
            return ciphertext
        plaintext = self._functions.open(
            self._key, self._functions.nonce(self._nonce), ciphertext, associated
        )
        self._nonce += 1
        return plaintext

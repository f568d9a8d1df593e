"""The SymmetricState: the chaining key, the hash of all that passed, and the key in use (Noise, section 5.2)."""

import hashlib

from handfast.crypto.kdf import hkdf_chain
from handfast.noise.cipherstate import CipherState


class SymmetricState:
    """ck, h and a CipherState.

    Args:
        initial_hash: h and ck at the beginning, 32 bytes made of the protocol name.
        cipher_state: without a key.
    """

    __slots__ = ("_chaining_key", "_cipher_state", "_hash")

    def __init__(self, initial_hash: bytes, cipher_state: CipherState) -> None:
        self._hash = initial_hash
        self._chaining_key = initial_hash
        self._cipher_state = cipher_state

    def copy(self) -> "SymmetricState":
        """Another object in the same state."""
        other = SymmetricState(self._hash, self._cipher_state.copy())
        other._chaining_key = self._chaining_key
        return other

    def has_key(self) -> bool:
        """Whether what is hashed next is sealed, too."""
        return self._cipher_state.has_key()

    def mix_key(self, material: bytes) -> None:
        """Take `material` into ck, and a new key from both."""
        self._chaining_key, key = hkdf_chain(self._chaining_key, material, 2)
        self._cipher_state.initialize_key(key)

    def mix_hash(self, data: bytes) -> None:
        """Take `data` into h."""
        self._hash = hashlib.sha256(self._hash + data).digest()

    def mix_key_and_hash(self, material: bytes) -> None:
        """Take `material` into ck and h, and a new key from ck and it: what a PSK is for."""
        self._chaining_key, digest, key = hkdf_chain(self._chaining_key, material, 3)
        self.mix_hash(digest)
        self._cipher_state.initialize_key(key)

    def handshake_hash(self) -> bytes:
        """h: 32 bytes that both sides agree on exactly when they agree on all that passed."""
        return self._hash

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """The ciphertext, or the plaintext while there is no key, taken into h."""
        ciphertext = self._cipher_state.encrypt_with_ad(self._hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """The plaintext; the ciphertext is taken into h.

        Raises:
            DoesNotOpen: it was not sealed in this state.
        """
        plaintext = self._cipher_state.decrypt_with_ad(self._hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> list[bytes]:
        """The two keys of Split(), and a third output of the same HKDF (v2-handshake.md, section 6.7): 32 bytes each."""
        return hkdf_chain(self._chaining_key, b"", 3)

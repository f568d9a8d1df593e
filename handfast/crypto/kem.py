"""ML-KEM-768 (FIPS 203), where the installed `cryptography` and its OpenSSL have it.

`encapsulate` is the one function of the core that draws random bytes itself: the library offers no other way. Whoever
uses it takes it as an argument, so that a test can put another in its place.
"""

from functools import cache
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm

from handfast.crypto.keys import Secret
from handfast.errors import PeerError, Reason, UsageError

try:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
except ImportError:  # an older `cryptography`
    _HAS_MODULE = False
else:
    _HAS_MODULE = True

SEED_BYTES = 64
PUBLIC_BYTES = 1184
CIPHERTEXT_BYTES = 1088


@cache
def available() -> bool:
    """Whether this module can be used here."""
    if not _HAS_MODULE:
        return False
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(SEED_BYTES))
    except UnsupportedAlgorithm:
        return False
    return True


class DecapsulationKey:
    """A private key.

    Args:
        seed: d and z of FIPS 203, 64 bytes, from which the key is always the same.

    Attributes:
        public: the encapsulation key, 1184 bytes.

    Raises:
        UsageError: the seed has another length, or ML-KEM is not available.
    """

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        _require_available()
        if len(seed) != SEED_BYTES:
            raise UsageError(f"a seed of ML-KEM-768 has {SEED_BYTES} bytes")
        self._key = MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> Secret:
        """The shared secret, 32 bytes; one that nobody else has, if the ciphertext was not made for this key.

        Raises:
            PeerError: with KEM; the ciphertext does not have its 1088 bytes.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise PeerError(Reason.KEM, "the ciphertext has a wrong length")
        return Secret(self._key.decapsulate(ciphertext))

    def __repr__(self) -> str:
        return "DecapsulationKey(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


def encapsulate(public: bytes) -> tuple[bytes, Secret]:
    """A ciphertext (1088 bytes) for the holder of `public` (1184 bytes), and the secret (32 bytes) it carries.

    Raises:
        PeerError: with KEM; the key has a wrong length or fails the check of FIPS 203, section 7.2.
        UsageError: ML-KEM is not available.
    """
    _require_available()
    try:
        secret, ciphertext = MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise PeerError(Reason.KEM, "the encapsulation key is not valid") from None
    return ciphertext, Secret(secret)


def _require_available() -> None:
    if not available():
        raise UsageError("the installed `cryptography` has no ML-KEM-768")

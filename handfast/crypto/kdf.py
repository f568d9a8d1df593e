"""Key derivation: HKDF-SHA256 (RFC 5869) for keys from keys, scrypt (RFC 7914) for keys from passphrases."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt


def hkdf(secret: bytes, info: bytes) -> bytes:
    """32 bytes from `secret`, without a salt, bound to the use that `info` names."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def scrypt(passphrase: bytes, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    """32 bytes from a passphrase; needs 128 * n * r bytes of memory, so check foreign parameters before the call."""
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase)

"""Key derivation: HKDF-SHA256 (RFC 5869) for keys from keys, scrypt (RFC 7914) for keys from passphrases."""

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_SHA256 = SHA256()  # names the hash, holds no state
_BYTES = 32


def hkdf(secret: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes from `secret` and, where there is one, `salt`, bound to the use that `info` names."""
    return HKDF(algorithm=_SHA256, length=_BYTES, salt=salt, info=info).derive(secret)


def hkdf_expand(secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3): `size` bytes, at most 32, from a uniform `secret` of 32 bytes."""
    return hmac.digest(secret, info + b"\x01", "sha256")[:size]


def hkdf_chain(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    """Noise's HKDF (Noise, section 4.3): `count` outputs of 32 bytes from a chaining key of 32 bytes and any material."""
    output = HKDF(_SHA256, _BYTES * count, chaining_key, b"").derive(material)
    return [output[start : start + _BYTES] for start in range(0, len(output), _BYTES)]


def scrypt(passphrase: bytes, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    """32 bytes from a passphrase; needs 128 * n * r bytes of memory, so check foreign parameters before the call."""
    return Scrypt(salt=salt, length=_BYTES, n=n, r=r, p=p).derive(passphrase)

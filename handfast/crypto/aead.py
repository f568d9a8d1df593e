"""Authenticated encryption: AES-256-GCM and ChaCha20-Poly1305."""

from cryptography.exceptions import InvalidTag as InvalidTag  # noqa: PLC0414 - part of what a loaded key is
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

NONCE_BYTES = 12
TAG_BYTES = 16


class DoesNotOpen(ValueError):
    """Wrong key, wrong nonce, wrong associated data, or altered ciphertext: which one cannot be told apart."""


# A key in the library's own form: quicker than the functions below where one key seals or opens many texts, and some
# 2 KiB of memory as long as it is held. Its `decrypt` raises the library's InvalidTag.
LoadedKey = ChaCha20Poly1305 | AESGCM
load_chacha_key = ChaCha20Poly1305
load_aes_key = AESGCM


def aes_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Ciphertext with its 16-byte tag at the end; `key` is 32 bytes, `nonce` 12 bytes never used before with it."""
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def aes_open(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """The plaintext.

    Raises:
        DoesNotOpen: anything at all is not as it was sealed.
    """
    return _open(AESGCM(key), nonce, ciphertext, associated)


def chacha_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """As `aes_seal`, with ChaCha20-Poly1305 (RFC 8439)."""
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated)


def chacha_open(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """As `aes_open`, with ChaCha20-Poly1305 (RFC 8439)."""
    return _open(ChaCha20Poly1305(key), nonce, ciphertext, associated)


def _open(key: LoadedKey, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES or len(ciphertext) < TAG_BYTES:
        raise DoesNotOpen("too short to be a sealed text")
    try:
        return key.decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        raise DoesNotOpen("the sealed text does not open") from None

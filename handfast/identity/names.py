"""A public identity key as people and other systems write it: fingerprint, did:key, JWK thumbprint."""

import base64
import hashlib

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519_PUBLIC = b"\xed\x01"  # multicodec 0xed as an unsigned varint


def fingerprint(public: bytes) -> str:
    """A public key (32 raw bytes) as people compare it: SHA-256 in hex, the first 128 bits in groups of four."""
    digest = hashlib.sha256(public).hexdigest()[:32]
    return " ".join(digest[start : start + 4] for start in range(0, 32, 4))


def did_key(public: bytes) -> str:
    """The did:key of an Ed25519 public key (32 raw bytes): multicodec prefix, then multibase base58btc."""
    return "did:key:z" + _base58(_ED25519_PUBLIC + public)


def jwk_thumbprint(public: bytes) -> str:
    """The JWK thumbprint of an Ed25519 public key (32 raw bytes): RFC 7638, with the members that RFC 8037 names."""
    members = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(public)}"}}'
    return _base64url(hashlib.sha256(members.encode("ascii")).digest())


def _base58(raw: bytes) -> str:
    number, digits = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    zeros = len(raw) - len(raw.lstrip(b"\0"))  # a leading zero byte is written as a leading zero digit
    return _BASE58[0] * zeros + digits


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

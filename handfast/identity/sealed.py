"""JSON sealed under a passphrase, for files: scrypt with its parameters in the file, ChaCha20-Poly1305.

The container of v2-handshake.md, section 2. What lies in it, and which label keeps one kind of file from being taken for
another, is the caller's matter.
"""

import json

from handfast.crypto.aead import chacha_open, chacha_seal
from handfast.crypto.kdf import scrypt
from handfast.errors import IdentityError
from handfast.wire.text import EncodingError, Json, b64url_decode, b64url_encode, canonical_json

SALT_BYTES = 16
NONCE_BYTES = 12

_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_MEMORY_BYTES = 256 * 1024 * 1024


def seal_document(
    version: str, body: bytes, passphrase: bytes, *, salt: bytes, nonce: bytes, label: bytes
) -> bytes:
    """The bytes of a file that names its `version` and holds `body` under `passphrase`.

    Args:
        version: the member `v`.
        body: what to seal.
        passphrase: any bytes; their strength is the strength of the file.
        salt: 16 fresh random bytes.
        nonce: 12 fresh random bytes.
        label: what kind of file this is, authenticated together with every member but the ciphertext.
    """
    head: dict[str, Json] = {
        "v": version,
        "kdf": {"name": "scrypt", **_SCRYPT, "salt": b64url_encode(salt)},
        "nonce": b64url_encode(nonce),
    }
    sealed = chacha_seal(scrypt(passphrase, salt, **_SCRYPT), nonce, body, label + canonical_json(head))
    return file_bytes(head | {"ct": b64url_encode(sealed)})


def open_document(document: dict[str, Json], passphrase: bytes, *, label: bytes) -> bytes:
    """The body of such a file, given as its parsed JSON.

    Raises:
        IdentityError: it asks for a derivation that is not known here, or for one out of bounds.
        EncodingError: a member is missing or damaged.
        DoesNotOpen: another passphrase, another label, or altered.
    """
    kdf = document.get("kdf")
    if not isinstance(kdf, dict) or kdf.get("name") != "scrypt":
        raise IdentityError("the file names a key derivation that is not known here")
    n, r, p = (_whole_number(kdf, name) for name in ("n", "r", "p"))
    # bounds before deriving: a file must not make us spend a gigabyte or an hour
    if not (
        2**14 <= n <= 2**17
        and n & (n - 1) == 0
        and 8 <= r <= 16
        and 1 <= p <= 4
        and 128 * n * r <= _MEMORY_BYTES
    ):
        raise IdentityError("the file asks for scrypt parameters out of bounds")
    salt = b64url_decode(text_member(kdf, "salt"), SALT_BYTES)
    nonce = b64url_decode(text_member(document, "nonce"), NONCE_BYTES)
    sealed = b64url_decode(text_member(document, "ct"))
    head = {name: value for name, value in document.items() if name != "ct"}
    return chacha_open(scrypt(passphrase, salt, n=n, r=r, p=p), nonce, sealed, label + canonical_json(head))


def file_bytes(document: dict[str, Json]) -> bytes:
    """A JSON document as it is written to a file."""
    return json.dumps(document, indent=2).encode("ascii") + b"\n"


def text_member(document: dict[str, Json], name: str) -> str:
    """A member that must be text.

    Raises:
        EncodingError: it is absent or something else.
    """
    value = document.get(name)
    if not isinstance(value, str):
        raise EncodingError(f"{name} is missing")
    return value


def _whole_number(document: dict[str, Json], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EncodingError(f"{name} is missing")
    return value

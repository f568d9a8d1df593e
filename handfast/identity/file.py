"""The sealed identity file, bytes to `Identity` and back; reading and writing the disk is done elsewhere.

`id.v1` is the format of first-generation agents (hsagent-v1.md, section 5). `id.v2` carries its scrypt parameters and
is stronger by default (v2-handshake.md, section 2).
"""

import json
import re

from handfast.crypto import labels
from handfast.crypto.aead import DoesNotOpen, aes_open, aes_seal, chacha_open, chacha_seal
from handfast.crypto.kdf import scrypt
from handfast.crypto.keys import ExchangeKey, SigningKey
from handfast.errors import IdentityError, UsageError
from handfast.identity.identity import Identity
from handfast.wire.text import (
    EncodingError,
    Json,
    b64decode,
    b64encode,
    b64url_decode,
    b64url_encode,
    canonical_json,
    strict_json,
)
from handfast.wire.v1 import is_agent_id

FORMATS = ("id.v1", "id.v2")
SALT_BYTES = 16
NONCE_BYTES = 12

# An identity is a few hundred bytes; a file of more is something else, and is not read into memory.
FILE_BYTES = 16 * 1024

_V1_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_V2_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_V2_MEMORY_BYTES = 256 * 1024 * 1024
_ISO_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9T:.+Z-]{5,29}")


def seal_identity(
    identity: Identity, passphrase: bytes, *, salt: bytes, nonce: bytes, version: str = "id.v1"
) -> bytes:
    """The bytes of an identity file.

    Args:
        identity: what to seal.
        passphrase: any bytes; their strength is the strength of the file.
        salt: 16 fresh random bytes.
        nonce: 12 fresh random bytes.
        version: "id.v1", which first-generation agents load, or "id.v2" with a stronger scrypt.

    Raises:
        UsageError: an unknown version.
    """
    body = canonical_json(
        {
            "my_id": identity.agent_id,
            "created_at": identity.created_at,
            "kx_priv_b64": b64encode(identity.exchange_key.private_bytes()),
            "kx_pub_b64": b64encode(identity.exchange_key.public),
            "sign_priv_b64": b64encode(identity.signing_key.private_bytes()),
            "sign_pub_b64": b64encode(identity.signing_key.public),
        }
    )
    if version == "id.v1":
        sealed = aes_seal(scrypt(passphrase, salt, **_V1_SCRYPT), nonce, body, labels.V1_IDENTITY_AAD)
        return _file_bytes(
            {
                "v": "id.v1",
                "kdf": "scrypt",
                "salt": b64encode(salt),
                "nonce": b64encode(nonce),
                "aad": b64encode(labels.V1_IDENTITY_AAD),
                "ciphertext": b64encode(sealed),
            }
        )
    if version == "id.v2":
        head: dict[str, Json] = {
            "v": "id.v2",
            "kdf": {"name": "scrypt", **_V2_SCRYPT, "salt": b64url_encode(salt)},
            "nonce": b64url_encode(nonce),
        }
        sealed = chacha_seal(scrypt(passphrase, salt, **_V2_SCRYPT), nonce, body, _v2_associated(head))
        return _file_bytes(head | {"ct": b64url_encode(sealed)})
    raise UsageError(f"unknown identity format {version!r}: choose one of {', '.join(FORMATS)}")


def open_identity(raw: bytes, passphrase: bytes) -> Identity:
    """The identity that the bytes of an identity file hold.

    Raises:
        IdentityError: no identity file, a damaged one, or the wrong passphrase; the text says which of them, as far as
            it can be known, and shows nothing of the content.
    """
    try:
        document = strict_json(raw) if len(raw) <= FILE_BYTES else None
    except EncodingError:
        document = None
    if not isinstance(document, dict):
        raise IdentityError("this is not an identity file")
    try:
        if document.get("v") == "id.v1":
            body = _open_v1(document, passphrase)
        elif document.get("v") == "id.v2":
            body = _open_v2(document, passphrase)
        else:
            raise IdentityError("this identity file has a format that is not known here")
    except EncodingError:
        raise IdentityError("the identity file is damaged") from None
    except DoesNotOpen:
        raise IdentityError("wrong passphrase, or the identity file is damaged") from None
    return _parse_body(body)


def _open_v1(document: dict[str, Json], passphrase: bytes) -> bytes:
    if document.get("kdf") != "scrypt":
        raise IdentityError("the identity file names a key derivation that is not known here")
    # the aad in the file is a claim; what is used is the constant
    if b64decode(_text(document, "aad")) != labels.V1_IDENTITY_AAD:
        raise IdentityError("the identity file is damaged: it carries another label")
    salt = b64decode(_text(document, "salt"), SALT_BYTES)
    nonce = b64decode(_text(document, "nonce"), NONCE_BYTES)
    sealed = b64decode(_text(document, "ciphertext"))
    return aes_open(scrypt(passphrase, salt, **_V1_SCRYPT), nonce, sealed, labels.V1_IDENTITY_AAD)


def _open_v2(document: dict[str, Json], passphrase: bytes) -> bytes:
    kdf = document.get("kdf")
    if not isinstance(kdf, dict) or kdf.get("name") != "scrypt":
        raise IdentityError("the identity file names a key derivation that is not known here")
    n, r, p = (_whole_number(kdf, name) for name in ("n", "r", "p"))
    # bounds before deriving: a file must not make us spend a gigabyte or an hour
    if not (
        2**14 <= n <= 2**17
        and n & (n - 1) == 0
        and 8 <= r <= 16
        and 1 <= p <= 4
        and 128 * n * r <= _V2_MEMORY_BYTES
    ):
        raise IdentityError("the identity file asks for scrypt parameters out of bounds")
    salt = b64url_decode(_text(kdf, "salt"), SALT_BYTES)
    nonce = b64url_decode(_text(document, "nonce"), NONCE_BYTES)
    sealed = b64url_decode(_text(document, "ct"))
    head = {name: value for name, value in document.items() if name != "ct"}
    return chacha_open(scrypt(passphrase, salt, n=n, r=r, p=p), nonce, sealed, _v2_associated(head))


def _parse_body(body: bytes) -> Identity:
    try:
        members = strict_json(body)
        if not isinstance(members, dict):
            raise EncodingError("no object")
        agent_id, created_at = members.get("my_id"), members.get("created_at")
        if not is_agent_id(agent_id) or not isinstance(created_at, str) or not _ISO_UTC.fullmatch(created_at):
            raise EncodingError("no id or time")
        identity = Identity(
            agent_id=str(agent_id),
            created_at=created_at,
            exchange_key=ExchangeKey(b64decode(_text(members, "kx_priv_b64"), 32)),
            signing_key=SigningKey(b64decode(_text(members, "sign_priv_b64"), 32)),
        )
        publics = b64decode(_text(members, "kx_pub_b64"), 32), b64decode(_text(members, "sign_pub_b64"), 32)
    except EncodingError:
        raise IdentityError("the identity file opens, but does not hold an identity") from None
    if publics != (identity.exchange_key.public, identity.signing_key.public):
        raise IdentityError("the public keys in the identity file do not belong to its private keys")
    return identity


def _file_bytes(document: dict[str, Json]) -> bytes:
    return json.dumps(document, indent=2).encode("ascii") + b"\n"


def _v2_associated(head: dict[str, Json]) -> bytes:
    return labels.V2_IDENTITY_AAD_PREFIX + canonical_json(head)


def _text(document: dict[str, Json], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise EncodingError(f"{name} is missing")
    return value


def _whole_number(document: dict[str, Json], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EncodingError(f"{name} is missing")
    return value

"""The sealed identity file, bytes to `Identity` and back; reading and writing the disk is done elsewhere.

`id.v1` is the format of first-generation agents (hsagent-v1.md, section 5). `id.v2` carries its scrypt parameters, is
stronger, and holds what version 2 needs beside the same members (v2-handshake.md, section 2); one without that part was
written by an earlier release, or by hand, and is read as well.
"""

import re

from handfast.crypto import labels
from handfast.crypto.aead import DoesNotOpen, aes_open, aes_seal
from handfast.crypto.kdf import scrypt
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import IdentityError, PeerError, UsageError
from handfast.identity.binding import Binding
from handfast.identity.identity import Identity, StaticKey
from handfast.identity.sealed import (
    NONCE_BYTES,
    SALT_BYTES,
    file_bytes,
    open_document,
    seal_document,
    text_member,
)
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

# An identity is a few hundred bytes, and a few thousand with a certificate and a full rotation chain; a file of more is
# something else, and is not read into memory.
FILE_BYTES = 32 * 1024

_V1_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_ISO_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9T:.+Z-]{5,29}")


def seal_identity(
    identity: Identity, passphrase: bytes, *, salt: bytes, nonce: bytes, version: str = "id.v2"
) -> bytes:
    """The bytes of an identity file.

    Args:
        identity: what to seal.
        passphrase: any bytes; their strength is the strength of the file.
        salt: 16 fresh random bytes.
        nonce: 12 fresh random bytes.
        version: "id.v2", or "id.v1", which first-generation agents load and which has no place for keys of version 2.

    Raises:
        UsageError: an unknown version, or one in which the identity would lose keys.
    """
    if version == "id.v2":
        body = canonical_json(_v1_members(identity) | _v2_members(identity))
        return seal_document(
            version, body, passphrase, salt=salt, nonce=nonce, label=labels.V2_IDENTITY_AAD_PREFIX
        )
    if version != "id.v1":
        raise UsageError(f"unknown identity format {version!r}: choose one of {', '.join(FORMATS)}")
    if _v2_members(identity):
        raise UsageError("an identity with keys of version 2 does not fit into a file of format id.v1")
    body = canonical_json(_v1_members(identity))
    sealed = aes_seal(scrypt(passphrase, salt, **_V1_SCRYPT), nonce, body, labels.V1_IDENTITY_AAD)
    return file_bytes(
        {
            "v": "id.v1",
            "kdf": "scrypt",
            "salt": b64encode(salt),
            "nonce": b64encode(nonce),
            "aad": b64encode(labels.V1_IDENTITY_AAD),
            "ciphertext": b64encode(sealed),
        }
    )


def open_identity(raw: bytes, passphrase: bytes) -> Identity:
    """The identity that the bytes of an identity file hold.

    Raises:
        IdentityError: no identity file, a damaged one, or the wrong passphrase; the text says which of them, as far as
            it can be known, and shows nothing of the content.
    """
    document = _document(raw)
    try:
        if document.get("v") == "id.v1":
            return _parse_body(_open_v1(document, passphrase), has_second_part=False)
        if document.get("v") == "id.v2":
            body = open_document(document, passphrase, label=labels.V2_IDENTITY_AAD_PREFIX)
            return _parse_body(body, has_second_part=True)
    except EncodingError:
        raise IdentityError("the identity file is damaged") from None
    except DoesNotOpen:
        raise IdentityError("wrong passphrase, or the identity file is damaged") from None
    raise IdentityError("this identity file has a format that is not known here")


def identity_format(raw: bytes) -> str:
    """The format that the bytes of an identity file claim to have.

    Raises:
        IdentityError: no identity file.
    """
    return str(_document(raw).get("v"))


def _document(raw: bytes) -> dict[str, Json]:
    try:
        document = strict_json(raw) if len(raw) <= FILE_BYTES else None
    except EncodingError:
        document = None
    if not isinstance(document, dict):
        raise IdentityError("this is not an identity file")
    return document


def _open_v1(document: dict[str, Json], passphrase: bytes) -> bytes:
    if document.get("kdf") != "scrypt":
        raise IdentityError("the identity file names a key derivation that is not known here")
    # the aad in the file is a claim; what is used is the constant
    if b64decode(text_member(document, "aad")) != labels.V1_IDENTITY_AAD:
        raise IdentityError("the identity file is damaged: it carries another label")
    salt = b64decode(text_member(document, "salt"), SALT_BYTES)
    nonce = b64decode(text_member(document, "nonce"), NONCE_BYTES)
    sealed = b64decode(text_member(document, "ciphertext"))
    return aes_open(scrypt(passphrase, salt, **_V1_SCRYPT), nonce, sealed, labels.V1_IDENTITY_AAD)


def _v1_members(identity: Identity) -> dict[str, Json]:
    return {
        "my_id": identity.agent_id,
        "created_at": identity.created_at,
        "kx_priv_b64": b64encode(identity.exchange_key.private_bytes()),
        "kx_pub_b64": b64encode(identity.exchange_key.public),
        "sign_priv_b64": b64encode(identity.signing_key.private_bytes()),
        "sign_pub_b64": b64encode(identity.signing_key.public),
    }


def _v2_members(identity: Identity) -> dict[str, Json]:
    """The member `v2`; absent where the identity has nothing to put into it."""
    members: dict[str, Json] = {}
    if identity.rotated_key is not None:
        members["ik"] = b64url_encode(identity.rotated_key.private_bytes())
    if identity.static_keys:
        members["ns"] = [
            [b64url_encode(one.key.private_bytes()), b64url_encode(one.binding.encode())]
            for one in identity.static_keys
        ]
    if identity.rotations:
        members["rot"] = b64url_encode(identity.rotations)
    if identity.certificate is not None:
        members["cert"] = b64url_encode(identity.certificate)
    if identity.stored_database_key is not None:
        members["dbk"] = b64url_encode(identity.stored_database_key.reveal())
    return {"v2": members} if members else {}


def _parse_body(body: bytes, *, has_second_part: bool) -> Identity:
    try:
        members = strict_json(body)
        if not isinstance(members, dict):
            raise EncodingError("no object")
        agent_id, created_at = members.get("my_id"), members.get("created_at")
        if not is_agent_id(agent_id) or not isinstance(created_at, str) or not _ISO_UTC.fullmatch(created_at):
            raise EncodingError("no id or time")
        second = members.get("v2", {}) if has_second_part else {}
        if not isinstance(second, dict):
            raise EncodingError("no object")
        rotated, database_key = _optional(second, "ik", 32), _optional(second, "dbk", 32)
        identity = Identity(
            agent_id=str(agent_id),
            created_at=created_at,
            exchange_key=ExchangeKey(b64decode(text_member(members, "kx_priv_b64"), 32)),
            signing_key=SigningKey(b64decode(text_member(members, "sign_priv_b64"), 32)),
            rotated_key=None if rotated is None else SigningKey(rotated),
            static_keys=_static_keys(second.get("ns", [])),
            rotations=_optional(second, "rot") or b"",
            certificate=_optional(second, "cert"),
            stored_database_key=None if database_key is None else Secret(database_key),
        )
        publics = tuple(b64decode(text_member(members, name), 32) for name in ("kx_pub_b64", "sign_pub_b64"))
    except (EncodingError, PeerError):
        raise IdentityError("the identity file opens, but does not hold an identity") from None
    if publics != (identity.exchange_key.public, identity.signing_key.public):
        raise IdentityError("the public keys in the identity file do not belong to its private keys")
    return identity


def _static_keys(listed: Json) -> tuple[StaticKey, ...]:
    if not isinstance(listed, list) or len(listed) > 2:
        raise EncodingError("no list of at most two static keys")
    return tuple(_static_key(pair) for pair in listed)


def _static_key(pair: Json) -> StaticKey:
    match pair:
        case [str(private), str(binding)]:
            return StaticKey(ExchangeKey(b64url_decode(private, 32)), Binding.parse(b64url_decode(binding)))
    raise EncodingError("no static key")


def _optional(members: dict[str, Json], name: str, size: int | None = None) -> bytes | None:
    return b64url_decode(text_member(members, name), size) if name in members else None

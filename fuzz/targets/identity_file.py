"""Any bytes are an identity file that opens, or `IdentityError` in one line that shows nothing of it.

An identity that opens is one: sealed again it opens again as the same. The fuzzer also writes what is inside files whose
passphrase it knows. The slow key derivation is replaced by a fast one; what it may be asked for is checked.
"""

import hashlib
import json
from unittest import mock

from handfast.crypto import labels
from handfast.crypto.aead import aes_seal
from handfast.errors import IdentityError
from handfast.identity import file, sealed
from handfast.wire.text import b64encode

PASSPHRASE = b"correct horse"
SALT, NONCE = bytes(sealed.SALT_BYTES), bytes(sealed.NONCE_BYTES)
IS_JSON = True
WORDS = (
    *(
        "v",
        "id.v1",
        "id.v2",
        "kdf",
        "scrypt",
        "name",
        "salt",
        "nonce",
        "aad",
        "ciphertext",
        "ct",
        "n",
        "r",
        "p",
    ),
    *("my_id", "created_at", "kx_priv_b64", "kx_pub_b64", "sign_priv_b64", "sign_pub_b64"),
    *("v2", "ik", "ns", "rot", "cert", "dbk", "u" + "A" * 43),
    *("32768", "16384", "131072", "2026-01-01T00:00:00+00:00", "11111111-1111-4111-8111-111111111111"),
    *(b64encode(SALT), b64encode(NONCE), b64encode(labels.V1_IDENTITY_AAD), b64encode(bytes(32))),
)


def _derived(passphrase: bytes, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    assert len(salt) == sealed.SALT_BYTES
    assert 128 * n * r <= 256 * 1024 * 1024, "asked for too much memory"
    assert n * r * p <= 2**17 * 16 * 4, "asked for too much time"
    return hashlib.sha256(b"|".join((passphrase, salt, b"%d %d %d" % (n, r, p)))).digest()


def check(data: bytes) -> None:
    """Open `data` as a file, and as the body of a file of either kind."""
    with mock.patch.object(file, "scrypt", _derived), mock.patch.object(sealed, "scrypt", _derived):
        _check_file(data)
        _check_file(_first_kind(data))
        _check_file(
            sealed.seal_document(
                "id.v2", data, PASSPHRASE, salt=SALT, nonce=NONCE, label=labels.V2_IDENTITY_AAD_PREFIX
            )
        )


def _first_kind(body: bytes) -> bytes:
    key = _derived(PASSPHRASE, SALT, n=2**14, r=8, p=1)
    ciphertext = aes_seal(key, NONCE, body, labels.V1_IDENTITY_AAD)
    texts = {"salt": SALT, "nonce": NONCE, "aad": labels.V1_IDENTITY_AAD, "ciphertext": ciphertext}
    members = {name: b64encode(value) for name, value in texts.items()}
    return json.dumps({"v": "id.v1", "kdf": "scrypt", **members}).encode("ascii")


def _check_file(raw: bytes) -> None:
    try:
        identity = file.open_identity(raw, PASSPHRASE)
    except IdentityError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 100
        return
    once = file.seal_identity(identity, PASSPHRASE, salt=SALT, nonce=NONCE, version="id.v2")
    again = file.open_identity(once, PASSPHRASE)
    assert file.seal_identity(again, PASSPHRASE, salt=SALT, nonce=NONCE, version="id.v2") == once
    assert (again.agent_id, again.signing_key.public) == (identity.agent_id, identity.signing_key.public)

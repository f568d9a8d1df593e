"""Any JSON value as `hs` or `sec`, as it is and signed by somebody who has keys: proven, or refused for its own reason.

What is accepted is what the specification allows: the type and nonce asked for, at most a minute old or ahead; a `sec`
gives exactly the JSON value that was sealed.
"""

import contextlib
import hashlib
import json
from datetime import UTC
from typing import Any

from handfast.crypto.aead import aes_seal
from handfast.crypto.keys import Secret, SigningKey
from handfast.errors import PeerError, Reason
from handfast.session.v1 import HS_LIFETIME_SECONDS, check_hs, fresh_until, open_sec
from handfast.wire.text import EncodingError, b64encode, canonical_json, strict_json
from handfast.wire.v1 import encode_hs, parse_hs, parse_sec

NOW = 1_800_000_000.5
NONCE = "0123456789abcdef" * 2
PEER = SigningKey(bytes(range(32)))
KEY = Secret(bytes(range(32, 64)))
PUBLIC = b64encode(PEER.public)
IS_JSON = True
WORDS = (
    *(
        "type",
        "nonce",
        "timestamp",
        "kx_pub",
        "sign_pub",
        "sig",
        "envelope",
        "ciphertext",
        "hash",
        "ts",
        "message",
    ),
    *("init", "response", NONCE, PUBLIC, b64encode(bytes(64)), b64encode(bytes(12)), b64encode(bytes(32))),
    *("2027-01-15T08:00:00", "Z", "+05:45", ".5", "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59"),
)

_OF_HS = {reason for reason in Reason if reason.startswith("hs_")} | {Reason.WEAK_KEY}
_OF_SEC = {reason for reason in Reason if reason.startswith("sec_")}


def check(data: bytes) -> None:
    """Take `data` as a block, and as the plaintext of one."""
    _check_sealed(data)
    try:
        block = json.loads(data)
    except (ValueError, RecursionError):
        return
    _check_hs(block)
    _check_sec(block)


def _check_hs(block: Any) -> None:
    try:
        hs = parse_hs(block)
    except PeerError as refusal:
        assert refusal.reason is Reason.HS_MALFORMED
        return
    assert encode_hs(hs) == {name: block[name] for name in encode_hs(hs)}
    signed = f"{hs.nonce}|{hs.kx_pub_text}|{hs.timestamp}".encode("utf-8", "surrogatepass")
    for candidate in (block, block | {"sign_pub": PUBLIC, "sig": b64encode(PEER.sign(signed))}):
        try:
            proven = check_hs(candidate, "init", NONCE, seen=False, now=NOW, zone=UTC)
        except PeerError as refusal:
            assert refusal.reason in _OF_HS
        else:
            assert (proven.type, proven.nonce) == ("init", NONCE)
            assert NOW - 1 <= fresh_until(proven, UTC) <= NOW + 2 * HS_LIFETIME_SECONDS


def _check_sec(block: Any) -> None:
    try:
        sec = parse_sec(block)
    except PeerError as refusal:
        assert refusal.reason is Reason.SEC_MALFORMED
        return
    texts = (sec.nonce_text, sec.ciphertext_text, sec.hash_text)
    assert texts == tuple(map(b64encode, (sec.nonce, sec.ciphertext, sec.hash)))
    signature = bytes(64)
    with contextlib.suppress(EncodingError):
        signature = PEER.sign(canonical_json(sec.envelope))
    for candidate in (block, block | {"sig": b64encode(signature)}):
        try:
            open_sec(candidate, KEY, PEER.public)
        except PeerError as refusal:
            assert refusal.reason in _OF_SEC


def _check_sealed(plaintext: bytes) -> None:
    """A peer with all keys seals anything he likes."""
    nonce, digest = bytes(12), hashlib.sha256(plaintext).digest()
    ciphertext = b64encode(aes_seal(KEY.reveal(), nonce, plaintext, digest))
    envelope = {"nonce": b64encode(nonce), "ciphertext": ciphertext, "hash": b64encode(digest), "ts": ""}
    block = {"envelope": envelope, "sig": b64encode(PEER.sign(canonical_json(envelope)))}
    try:
        value, envelope_nonce = open_sec(block, KEY, PEER.public)
    except PeerError as refusal:
        assert refusal.reason is Reason.SEC_NOT_JSON
        return
    assert envelope_nonce == envelope["nonce"]
    assert value == strict_json(plaintext)

"""The v1 handshake and envelope: build and check `hs`, derive the session key, seal and open `sec`.

hsagent-v1.md, sections 3 and 4. Bytes and values in, bytes and values out; time and random bytes are arguments.
"""

import hashlib
from datetime import UTC, datetime, tzinfo

from handfast.crypto import labels
from handfast.crypto.aead import DoesNotOpen, aes_open, aes_seal
from handfast.crypto.kdf import hkdf
from handfast.crypto.keys import (
    ExchangeKey,
    Secret,
    SigningKey,
    WeakKeyError,
    require_strong_signing_key,
    signature_holds,
)
from handfast.errors import PeerError, Reason, UsageError
from handfast.wire import limits
from handfast.wire.text import EncodingError, Json, b64encode, canonical_json, depth_exceeds, strict_json
from handfast.wire.v1 import HsBlock, HsType, SecBlock, encode_hs, is_timestamp, parse_hs, parse_sec

# how old, and how far ahead of our clock, an `hs` may be (hsagent-v1.md, section 3)
HS_LIFETIME_SECONDS = 60

_ENVELOPE_MEMBERS = 4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_hs(
    kind: HsType, nonce: str, exchange_public: bytes, signing_key: SigningKey, now: float, zone: tzinfo | None
) -> dict[str, Json]:
    """An `hs` block for the message whose `my_nonce` is `nonce`.

    Args:
        kind: "response" in a `confirm`, "init" in the first `request`.
        nonce: 32 hex digits.
        exchange_public: our X25519 public key for this conversation, 32 raw bytes.
        signing_key: our identity.
        now: seconds since 1970 UTC.
        zone: the zone of the timestamp; the system's if None.
    """
    timestamp, exchange_text = local_timestamp(now, zone), b64encode(exchange_public)
    return encode_hs(
        HsBlock(
            type=kind,
            nonce=nonce,
            timestamp=timestamp,
            kx_pub_text=exchange_text,
            kx_pub=exchange_public,
            sign_pub=signing_key.public,
            sig=signing_key.sign(_signed_text(nonce, exchange_text, timestamp)),
        )
    )


def check_hs(
    block: Json, expected: HsType, my_nonce: str, *, seen: bool, now: float, zone: tzinfo | None
) -> HsBlock:
    """The `hs` block, proven, in the order of hsagent-v1.md, section 3.

    Args:
        block: what stood in the message, any JSON value; None where it was absent.
        expected: the type it must have.
        my_nonce: the message's own `my_nonce`.
        seen: whether this peer's handshake with this nonce was accepted before.
        now: seconds since 1970 UTC.
        zone: the zone of timestamps that name none; the system's if None.

    Raises:
        PeerError: with the reason of the first check that fails.
    """
    if block is None:
        raise PeerError(Reason.HS_MISSING)
    hs = parse_hs(block)
    if hs.type != expected:
        raise PeerError(Reason.HS_WRONG_TYPE)
    age = min((int(now) - instant for instant in _instants(hs.timestamp, zone)), key=abs)
    if hs.nonce != my_nonce:
        raise PeerError(Reason.HS_NONCE_MISMATCH)
    if seen:
        raise PeerError(Reason.HS_REPLAYED)
    if age > HS_LIFETIME_SECONDS:
        raise PeerError(Reason.HS_STALE)
    if age < -HS_LIFETIME_SECONDS:
        raise PeerError(Reason.HS_FROM_THE_FUTURE)
    try:
        require_strong_signing_key(hs.sign_pub)
    except WeakKeyError:
        raise PeerError(Reason.WEAK_KEY) from None
    if not signature_holds(hs.sign_pub, hs.sig, _signed_text(hs.nonce, hs.kx_pub_text, hs.timestamp)):
        raise PeerError(Reason.HS_BAD_SIGNATURE)
    return hs


def derive_key(own: ExchangeKey, peer_public: bytes) -> Secret:
    """The 32-byte session key of this conversation.

    Raises:
        PeerError: `weak_key`, the peer's key forces a known result.
    """
    try:
        return Secret(hkdf(own.exchange(peer_public), labels.V1_SESSION_KEY_INFO))
    except WeakKeyError:
        raise PeerError(Reason.WEAK_KEY) from None


def seal(
    content: Json, key: Secret, signing_key: SigningKey, nonce: bytes, now: float, zone: tzinfo | None
) -> dict[str, Json]:
    """A `sec` block holding `content`, a JSON object.

    Args:
        content: what to seal; at most `limits.PLAINTEXT_BYTES` as canonical JSON.
        key: the session key.
        signing_key: our identity.
        nonce: 12 bytes never used before with `key`.
        now: seconds since 1970 UTC.
        zone: the zone of the timestamp; the system's if None.

    Raises:
        UsageError: the content is not JSON, or too large for one line.
    """
    try:
        plaintext = canonical_json(content)
    except EncodingError as error:
        raise UsageError(f"the message cannot be sent: {error}") from None
    if depth_exceeds(content, limits.MESSAGE_DEPTH):
        raise UsageError(f"the message cannot be sent: nested more than {limits.MESSAGE_DEPTH - 1} deep")
    if len(plaintext) > limits.PLAINTEXT_BYTES:
        raise UsageError(
            f"the message is too large: {len(plaintext)} bytes, at most {limits.PLAINTEXT_BYTES} fit"
        )
    digest = hashlib.sha256(plaintext).digest()
    nonce_text, hash_text, timestamp = b64encode(nonce), b64encode(digest), local_timestamp(now, zone)
    ciphertext = b64encode(aes_seal(key.reveal(), nonce, plaintext, digest))
    envelope = {"nonce": nonce_text, "ciphertext": ciphertext, "hash": hash_text, "ts": timestamp}
    signature = signing_key.sign(_signed_envelope(nonce_text, ciphertext, hash_text, timestamp))
    return {"envelope": envelope, "sig": b64encode(signature)}


def open_sec(block: Json, key: Secret, peer_signing_public: bytes) -> tuple[Json, str]:
    """What a `sec` block holds, and the envelope's nonce as text, which the caller must never have seen before.

    Args:
        block: what stood in the message, any JSON value.
        key: the session key.
        peer_signing_public: the key captured from the peer's `hs`, 32 raw bytes.

    Raises:
        PeerError: with the reason of the first check that fails; nothing of the content is usable then.
    """
    sec = parse_sec(block)
    if not signature_holds(peer_signing_public, sec.sig, _signed_bytes_of(sec)):
        raise PeerError(Reason.SEC_BAD_SIGNATURE)
    try:
        plaintext = aes_open(key.reveal(), sec.nonce, sec.ciphertext, sec.hash)
    except DoesNotOpen:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN) from None
    if hashlib.sha256(plaintext).digest() != sec.hash:
        raise PeerError(Reason.SEC_HASH_MISMATCH)
    try:
        return strict_json(plaintext), sec.nonce_text
    except EncodingError:
        raise PeerError(Reason.SEC_NOT_JSON) from None


def local_timestamp(now: float, zone: tzinfo | None) -> str:
    """`now` as v1 writes it: local time, whole seconds, no zone (hsagent-v1.md, section 3)."""
    return datetime.fromtimestamp(now, zone).replace(tzinfo=None).isoformat(timespec="seconds")


def fresh_until(hs: HsBlock, zone: tzinfo | None) -> float:
    """Until when an `hs` that was proven could pass as fresh again, and must therefore be remembered.

    Args:
        hs: what `check_hs` returned.
        zone: as for `check_hs`.

    Returns:
        Seconds since 1970 UTC.
    """
    return max(_instants(hs.timestamp, zone)) + HS_LIFETIME_SECONDS


def _instants(timestamp: str, zone: tzinfo | None) -> list[float]:
    """The moments, in seconds since 1970 UTC, that a timestamp can mean: two where the clocks were set back that hour.

    The first generation subtracts clock faces; meaning moments instead lets a handshake through that is under way while
    the clocks change, and makes no other difference.
    """
    if not is_timestamp(timestamp):
        raise PeerError(Reason.HS_TIMESTAMP_UNREADABLE)
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:  # the 31st of February, an offset of 99 hours
        raise PeerError(Reason.HS_TIMESTAMP_UNREADABLE) from None
    if then.tzinfo is not None:
        return [(then - _EPOCH).total_seconds()]
    try:
        return [_local(then.replace(fold=fold), zone) for fold in (0, 1)]
    except (
        ValueError,
        OverflowError,
        OSError,
    ):  # the system's calendar does not reach to the years 1 and 9999
        return [(then.replace(tzinfo=UTC) - _EPOCH).total_seconds()]


def _local(then: datetime, zone: tzinfo | None) -> float:
    return then.timestamp() if zone is None else (then.replace(tzinfo=zone) - _EPOCH).total_seconds()


def _signed_bytes_of(sec: SecBlock) -> bytes:
    if len(sec.envelope) == _ENVELOPE_MEMBERS:
        return _signed_envelope(sec.nonce_text, sec.ciphertext_text, sec.hash_text, sec.timestamp)
    try:  # the signature covers members that v1 does not name, too
        return canonical_json(sec.envelope)
    except EncodingError:
        raise PeerError(Reason.SEC_MALFORMED) from None


def _signed_envelope(nonce: str, ciphertext: str, digest: str, timestamp: str) -> bytes:
    """`canonical_json` of an envelope with just these members; the first three are base64, which needs no escapes."""
    head = f'{{"ciphertext":"{ciphertext}","hash":"{digest}","nonce":"{nonce}","ts":'.encode("ascii")
    return head + canonical_json(timestamp) + b"}"


def _signed_text(nonce: str, exchange_text: str, timestamp: str) -> bytes:
    # lone surrogates cannot occur: the nonce equals a checked one, the others are base64 and digits
    return f"{nonce}|{exchange_text}|{timestamp}".encode()

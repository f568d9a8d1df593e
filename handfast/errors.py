"""Everything that can go wrong, in one tree: our misuse, the peer's fault, the world's failure.

No text in here ever carries a key, a passphrase or a plaintext. What a peer did wrong is a `Reason`, a short stable
word that stands unchanged in audit rows, in events and in logs.
"""

from enum import StrEnum


class HandfastError(Exception):
    """Root of every error this package raises on purpose."""


class UsageError(HandfastError):
    """Our own misuse: an argument, a flag or a configuration that cannot be meant."""


class WorldError(HandfastError):
    """The world's failure: a file, a disk, a clock, a database."""


class IdentityError(WorldError):
    """An identity file that cannot be used: missing, damaged, of another kind, or sealed with another passphrase."""


class StorageError(WorldError):
    """The database refused, is full, is locked by somebody else, or is damaged."""


class Reason(StrEnum):
    """Why a peer's message was refused; the text is stable and appears in audit rows and events."""

    MALFORMED = "malformed"

    HS_MISSING = "hs_missing"
    HS_MALFORMED = "hs_malformed"
    HS_WRONG_TYPE = "hs_wrong_type"
    HS_TIMESTAMP_UNREADABLE = "hs_timestamp_unreadable"
    HS_NONCE_MISMATCH = "hs_nonce_mismatch"
    HS_REPLAYED = "hs_replayed"
    HS_STALE = "hs_stale"
    HS_FROM_THE_FUTURE = "hs_from_the_future"
    HS_BAD_SIGNATURE = "hs_bad_signature"
    WEAK_KEY = "weak_key"

    OWN_KEY_REFLECTED = "own_key_reflected"
    KEY_CHANGED = "key_changed"
    KEY_UNDER_TWO_IDS = "key_under_two_ids"

    PLAINTEXT = "plaintext"
    SEC_MISSING = "sec_missing"
    SEC_MALFORMED = "sec_malformed"
    SEC_BAD_SIGNATURE = "sec_bad_signature"
    SEC_DOES_NOT_OPEN = "sec_does_not_open"
    SEC_HASH_MISMATCH = "sec_hash_mismatch"
    SEC_NOT_JSON = "sec_not_json"
    SEC_REPLAYED = "sec_replayed"

    NONCE_REPLAYED = "nonce_replayed"
    DIALOGUE_FAILED = "dialogue_failed"

    # version 2: the names of v2-handshake.md, section 14 (WEAK_KEY stands above)
    FORMAT = "format"
    ENCODING = "encoding"
    VERSION = "version"
    SELF = "self"
    TOO_LARGE = "too_large"

    OFFER = "offer"
    DOWNGRADE = "downgrade"
    NONCE_USED = "nonce_used"
    HDR_BINDING = "hdr_binding"
    STATIC_SIG = "static_sig"
    BINDING_EXPIRED = "binding_expired"
    ID_MISMATCH = "id_mismatch"
    ID_NOT_SELF_CERTIFIED = "id_not_self_certified"
    PIN_CONFLICT = "pin_conflict"
    PSK = "psk"
    KEM = "kem"
    POLICY = "policy"

    AEAD = "aead"
    REPLAY = "replay"
    NO_SESSION = "no_session"
    REKEY_REQUIRED = "rekey_required"
    EXPIRED = "expired"
    STATE = "state"
    TRANSCRIPT = "transcript"
    EARLY_DATA = "early_data"

    BUSY = "busy"
    QUOTA = "quota"
    CERT = "cert"
    REVOKED = "revoked"
    CRL_ROLLBACK = "crl_rollback"
    ROTATION = "rotation"


class PeerError(HandfastError):
    """The peer's fault: the message is dropped, and the conversation stays where it was.

    Attributes:
        reason: what was wrong, as a stable word.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason

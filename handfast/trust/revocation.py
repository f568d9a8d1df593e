"""Taking trust back: a controller's revocation lists, and the tombstone by which a key declares itself dead.

v2-handshake.md, sections 10.3 and 10.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError, Reason, UsageError
from handfast.trust.certificate import SERIAL, Controller, issuer_of
from handfast.trust.statement import Members, Statement, read_statement, sign_statement
from handfast.wire.text import Json, b64url_encode

# Over the wire a list is at most so long; an entry takes about a hundred bytes.
CRL_BYTES = 64 * 1024
WHY_CHARACTERS = 64

# So long a list still counts as current after the moment at which the next one was due; seconds.
STALE_AFTER = 86_400

TOMBSTONE_BYTES = 512

_LARGEST_SEQUENCE = 2**53


@dataclass(frozen=True, slots=True)
class Revoked:
    """One entry of a list: a certificate by its serial, or a key; the other one is None.

    Attributes:
        serial: 32 hex digits.
        identity_public: 32 raw bytes.
        at: since when, whole seconds since 1970 UTC.
        why: a few words.
    """

    serial: str | None
    identity_public: bytes | None
    at: int
    why: str


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list as it says of itself; `raw` is the statement as it came."""

    statement: Statement
    raw: bytes
    issuer: str
    sequence: int
    issued_at: int
    next_due: int
    entries: tuple[Revoked, ...]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key's own statement that it is dead; `raw` is the statement as it came."""

    raw: bytes
    identity_public: bytes
    at: int


def sign_revocation_list(
    controller: SigningKey, entries: Sequence[Revoked], *, sequence: int, now: float, life: int
) -> bytes:
    """A list.

    Args:
        controller: the controller's key.
        entries: everything that is revoked, the entries of earlier lists included.
        sequence: greater than that of every list before.
        now: seconds since 1970 UTC.
        life: after how many seconds the next list is due.

    Raises:
        UsageError: the list is too long for the wire.
    """
    members = {
        "v": 2,
        "iss": issuer_of(controller.public),
        "seq": sequence,
        "iat": int(now),
        "next": int(now) + life,
        "rev": [_entry_members(entry) for entry in entries],
    }
    raw = sign_statement(labels.V2_REVOCATION_LIST, members, controller)
    if len(raw) > CRL_BYTES:
        raise UsageError(
            f"a revocation list of {len(entries)} entries is longer than {CRL_BYTES} bytes; nothing was signed"
        )
    return raw


def read_revocation_list(raw: bytes) -> RevocationList:
    """What a list says; whether it is to be believed is asked with `check_revocation_list`.

    Raises:
        PeerError: `CERT`, it is none.
    """
    statement = read_statement(raw, labels.V2_REVOCATION_LIST, Reason.CERT, bytes_at_most=CRL_BYTES)
    members = statement.members()
    return RevocationList(
        statement=statement,
        raw=raw,
        issuer=b64url_encode(members.raw("iss", 16)),
        sequence=members.number("seq", _LARGEST_SEQUENCE),
        issued_at=members.time("iat"),
        next_due=members.time("next"),
        entries=tuple(_entry(value) for value in members.items("rev", CRL_BYTES)),
    )


def check_revocation_list(crl: RevocationList, controller: Controller, known_sequence: int | None) -> None:
    """Refuse a list that is not this controller's, or no newer than the one that is known.

    Args:
        crl: the list.
        controller: the one that it names.
        known_sequence: of the list that is kept of this controller, if any.

    Raises:
        PeerError: `CERT`, not signed by the controller; `CRL_ROLLBACK`, not newer.
    """
    if crl.issuer != controller.issuer or not crl.statement.is_signed_by(controller.public):
        raise PeerError(Reason.CERT, "the revocation list is not signed by its controller")
    if known_sequence is not None and crl.sequence <= known_sequence:
        raise PeerError(Reason.CRL_ROLLBACK, "a list as new as this one, or newer, is known")


def is_stale(controller: Controller, now: float) -> bool:
    """Whether the controller's newest list should have been followed by another one long ago."""
    return controller.crl_next is not None and now > controller.crl_next + STALE_AFTER


def sign_tombstone(key: SigningKey, now: float) -> bytes:
    """The statement that this key is dead, for good; `now` in seconds since 1970 UTC."""
    members: dict[str, Json] = {"v": 2, "ik": b64url_encode(key.public), "iat": int(now)}
    return sign_statement(labels.V2_TOMBSTONE, members, key)


def read_tombstone(raw: bytes) -> Tombstone:
    """A tombstone, signed by the key that it is about.

    Raises:
        PeerError: `FORMAT`, it is none.
    """
    statement = read_statement(raw, labels.V2_TOMBSTONE, Reason.FORMAT, bytes_at_most=TOMBSTONE_BYTES)
    members = statement.members()
    public = members.raw("ik", 32)
    if not statement.is_signed_by(public):
        raise PeerError(Reason.FORMAT, "not signed by the key that it is about")
    return Tombstone(raw, public, members.time("iat"))


def _entry_members(entry: Revoked) -> dict[str, Json]:
    which: dict[str, Json] = {} if entry.serial is None else {"ser": entry.serial}
    if entry.identity_public is not None:
        which["ik"] = b64url_encode(entry.identity_public)
    return which | {"t": entry.at, "why": entry.why}


def _entry(value: Json) -> Revoked:
    if not isinstance(value, dict) or ("ser" in value) == ("ik" in value):
        raise PeerError(Reason.CERT, "an entry names neither a serial nor a key, or both")
    members = Members(value, Reason.CERT)
    serial = members.text("ser", 32) if "ser" in value else None
    if serial is not None and not SERIAL.fullmatch(serial):
        raise PeerError(Reason.CERT, "a serial is not 32 hex digits")
    public = members.raw("ik", 32) if serial is None else None
    return Revoked(serial, public, members.time("t"), members.text("why", WHY_CHARACTERS))

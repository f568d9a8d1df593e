"""Pins of version 2, trusted controllers, revocations and dead keys, as rows of an agent's database.

Every function works in a transaction that somebody else has opened, so that what a message changes here is committed
together with everything else that it changes. Rows carry no MAC: whoever can write this file can also take a row away
or put an older file in its place, which a MAC would not show (docs/trust.md).
"""

from collections.abc import Collection

from db_sdk import Row, Session, UniqueViolation
from handfast.adapters.tables import DeadKey, IdentityPin, RemovedPin, Revocation, TrustedController
from handfast.adapters.tables import Pin as SigningKeyPin
from handfast.errors import PeerError, Reason, UsageError
from handfast.trust.certificate import Controller
from handfast.trust.decision import Facts, Pin, Proven, Source
from handfast.trust.revocation import (
    RevocationList,
    check_revocation_list,
    read_revocation_list,
    read_tombstone,
)
from handfast.wire.text import EncodingError, b64decode, b64encode

# So many pins of each kind that a stranger can cause are kept; a newcomer takes the place of one that loses least: a
# self-certifying id proves its key anew, and of the others the one that was not seen for longest goes.
STRANGERS_PINS_KEPT = 10_000
_CAUSED_BY_STRANGERS = (Source.SELFCERT, Source.TOFU)

# People add controllers and dead keys by hand.
CONTROLLERS = 64
DEAD_KEYS = 10_000


# asked for every message of a session, so in one statement; NULL equals nothing
_IS_REVOKED = """
    SELECT EXISTS (SELECT 1 FROM removed_pin WHERE self_id = ?4 AND peer_id = ?5 AND identity_public = ?1)
        OR EXISTS (SELECT 1 FROM identity_pin WHERE self_id = ?4 AND peer_id = ?5 AND identity_public <> ?1)
        OR EXISTS (SELECT 1 FROM dead_key WHERE identity_public = ?1)
        OR EXISTS (SELECT 1 FROM revocation WHERE identity_public = ?1)
        OR EXISTS (SELECT 1 FROM revocation WHERE serial = ?2 AND issuer = ?3) AS revoked
"""


def facts_about(session: Session, self_id: str, proven: Proven) -> Facts:
    """All that is known and bears on whether a peer is believed.

    Args:
        session: in a transaction.
        self_id: our agent id.
        proven: what the peer has proven.
    """
    pin = find_pin(session, self_id, proven.agent_id)
    holder = key_holder(session, self_id, proven.identity_public)
    certificate = proven.certificate
    serials = set() if certificate is None else {(certificate.issuer, certificate.serial)}
    if pin is not None and pin.certificate_issuer is not None and pin.certificate_serial is not None:
        serials.add((pin.certificate_issuer, pin.certificate_serial))
    return Facts(
        pin=pin,
        v1_key=signing_key_of(session, self_id, proven.agent_id),
        held_by_another=holder is not None and holder != proven.agent_id,
        dead_keys=_dead_among(session, proven.keys),
        revoked_serials=frozenset(one for one in serials if _is_serial_revoked(session, *one)),
        controllers=controllers(session),
    )


def find_pin(session: Session, self_id: str, peer_id: str) -> Pin | None:
    """The pin of a peer; None for who was never met in version 2."""
    row = session.first(IdentityPin, where={"self_id": self_id, "peer_id": peer_id})
    return None if row is None else _pin_of(row)


def is_revoked(session: Session, self_id: str, pin: Pin) -> bool:
    """Whether the peer's key or the certificate that it showed last has been revoked or declared dead since, or the pin
    was removed by hand or another key put in its place. A pin that had to make room revokes nobody."""
    key = b64encode(pin.identity_public)
    asked = key, pin.certificate_serial, pin.certificate_issuer, self_id, pin.peer_id
    return bool(session.execute(_IS_REVOKED, asked)[0]["revoked"])


def key_holder(session: Session, self_id: str, public: bytes) -> str | None:
    """The id that a key (32 raw bytes) is pinned for, in either version."""
    key = b64encode(public)
    row = session.first(IdentityPin, where={"self_id": self_id, "identity_public": key}, fields=["peer_id"])
    row = row or session.first(SigningKeyPin, where={"self_id": self_id, "sign_pub": key}, fields=["peer_id"])
    return None if row is None else str(row["peer_id"])


def write_pin(session: Session, self_id: str, pin: Pin) -> None:
    """Keep a pin, in the place of the one that is kept of this peer.

    Raises:
        PeerError: `KEY_UNDER_TWO_IDS`, the key is pinned for another id.
    """
    is_new = not session.exists(IdentityPin, where={"self_id": self_id, "peer_id": pin.peer_id})
    try:
        session.upsert(
            IdentityPin,
            ["self_id", "peer_id"],
            self_id=self_id,
            peer_id=pin.peer_id,
            identity_public=b64encode(pin.identity_public),
            source=str(pin.source),
            first_seen=pin.first_seen,
            last_seen=pin.last_seen,
            rotation_sequence=pin.rotation_sequence,
            certificate_issuer=pin.certificate_issuer,
            certificate_serial=pin.certificate_serial,
        )
    except UniqueViolation:
        raise PeerError(Reason.KEY_UNDER_TWO_IDS) from None
    if is_new:
        session.delete(RemovedPin, where={"self_id": self_id, "peer_id": pin.peer_id})
    if is_new and pin.source in _CAUSED_BY_STRANGERS:
        _make_room(session, self_id, pin.source)


def remove_pin(session: Session, self_id: str, peer_id: str, public: str) -> bool:
    """Take back the trust in a key (as its row has it): what it is used for ends with the peer's next message.

    Returns:
        Whether that key was pinned for the peer.
    """
    peer = {"self_id": self_id, "peer_id": peer_id}
    key = {"identity_public": public}
    if not session.delete(IdentityPin, where=peer | key):
        return False
    session.upsert(RemovedPin, ["self_id", "peer_id"], **peer, **key)
    return True


def controllers(session: Session) -> tuple[Controller, ...]:
    """The controllers whose certificates are believed."""
    rows = session.find(TrustedController, fields=["public", "crl_next"], order_by="id", limit=CONTROLLERS)
    return tuple(Controller(_key(row["public"]), row["crl_next"]) for row in rows)


def trust_controller(session: Session, public: bytes, name: str, now: float) -> Controller:
    """Believe the certificates of a controller from now on.

    Args:
        session: in a transaction that writes.
        public: the controller's Ed25519 key, 32 raw bytes.
        name: for people.
        now: seconds since 1970 UTC.

    Raises:
        UsageError: it is trusted already, or there are too many.
    """
    controller = Controller(public)
    if session.count(TrustedController) >= CONTROLLERS:
        raise UsageError(f"{CONTROLLERS} controllers are trusted already; remove one first")
    if not session.insert_or_ignore(
        TrustedController,
        issuer=controller.issuer,
        public=b64encode(public),
        name=name,
        added_at=now,
    ):
        raise UsageError("this controller is trusted already")
    return controller


def distrust_controller(session: Session, issuer: str) -> None:
    """Believe a controller no more; its revocation list goes with it. Pins that its certificates led to stay."""
    session.delete(TrustedController, where={"issuer": issuer})
    session.delete(Revocation, where={"issuer": issuer})


def accept_crl(session: Session, raw: bytes) -> RevocationList:
    """Keep a revocation list of a trusted controller in the place of its former one.

    Raises:
        PeerError: `CERT`, it is none, or not of a trusted controller; `CRL_ROLLBACK`, it is no newer than the kept one.
    """
    crl = read_revocation_list(raw)
    row = session.first(
        TrustedController, where={"issuer": crl.issuer}, fields=["public", "crl_sequence", "crl_next"]
    )
    if row is None:
        raise PeerError(Reason.CERT, "the revocation list is of a controller that is not trusted")
    check_revocation_list(crl, Controller(_key(row["public"]), row["crl_next"]), row["crl_sequence"])
    session.update(
        TrustedController,
        {"crl": raw, "crl_sequence": crl.sequence, "crl_next": crl.next_due},
        where={"issuer": crl.issuer},
    )
    session.delete(Revocation, where={"issuer": crl.issuer})
    for entry in crl.entries:
        session.insert(
            Revocation,
            issuer=crl.issuer,
            serial=entry.serial,
            identity_public=None if entry.identity_public is None else b64encode(entry.identity_public),
            revoked_at=entry.at,
            why=entry.why,
        )
    return crl


def newest_crl(session: Session) -> tuple[int, bytes] | None:
    """The revocation list to pass on to peers, with its sequence; None without one.

    The sequence in a handshake names no controller, so with several of them only the first one's list is passed on.
    """
    row = session.first(
        TrustedController,
        where={"crl__is_null": False},
        fields=["crl_sequence", "crl"],
        order_by="id",
    )
    return None if row is None else (row["crl_sequence"], row["crl"])


def bury(session: Session, raw: bytes) -> bytes:
    """Keep a tombstone: its key is believed no more, whoever it speaks for.

    Returns:
        The key, 32 raw bytes.

    Raises:
        PeerError: `FORMAT`, it is no tombstone.
        UsageError: there are too many.
    """
    tombstone = read_tombstone(raw)
    if session.count(DeadKey) >= DEAD_KEYS:
        raise UsageError(f"{DEAD_KEYS} dead keys are known; no more are kept")
    session.insert_or_ignore(
        DeadKey,
        identity_public=b64encode(tombstone.identity_public),
        declared_at=tombstone.at,
        statement=raw,
    )
    return tombstone.identity_public


def _pin_of(row: Row) -> Pin:
    return Pin(
        peer_id=row["peer_id"],
        identity_public=_key(row["identity_public"]),
        source=Source(row["source"]),
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        rotation_sequence=row["rotation_sequence"],
        certificate_issuer=row["certificate_issuer"],
        certificate_serial=row["certificate_serial"],
    )


def signing_key_of(session: Session, self_id: str, peer_id: str) -> bytes | None:
    """The key (32 raw bytes) that is pinned for a peer in version 1."""
    row = session.first(SigningKeyPin, where={"self_id": self_id, "peer_id": peer_id}, fields=["sign_pub"])
    return None if row is None else _key(row["sign_pub"])


def _dead_among(session: Session, keys: Collection[bytes]) -> frozenset[bytes]:
    by_text = {b64encode(key): key for key in keys}
    where = {"identity_public__in": list(by_text)}
    rows = [
        *session.find(DeadKey, where=where, fields=["identity_public"]),
        *session.find(Revocation, where=where, fields=["identity_public"]),
    ]
    return frozenset(by_text[row["identity_public"]] for row in rows)


def _is_serial_revoked(session: Session, issuer: str, serial: str) -> bool:
    return session.exists(Revocation, where={"serial": serial, "issuer": issuer})


def _make_room(session: Session, self_id: str, source: Source) -> None:
    where = {"self_id": self_id, "source": str(source)}
    surplus = session.count(IdentityPin, where=where) - STRANGERS_PINS_KEPT
    if surplus > 0:
        order = ("rotation_sequence", "last_seen")
        for row in session.find(IdentityPin, where=where, fields=["id"], order_by=order, limit=surplus):
            session.delete(IdentityPin, where={"id": row["id"]})


def _key(text: str) -> bytes:
    try:
        return b64decode(text, 32)
    except EncodingError:
        return b""  # a damaged key matches no other one: closed, not open

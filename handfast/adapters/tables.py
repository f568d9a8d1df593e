"""The tables of an agent's database, and how a database of the first generation becomes one of ours.

`role_state` and `nonce_event` are the first generation's tables (hsagent-v1.md, section 6) with columns added; the others
are ours. Secrets stand in none of them unsealed.
"""

from db_sdk import Field, Migration, Model, Session
from handfast.wire.text import EncodingError, b64decode
from handfast.wire.v1 import is_agent_id

_ROLE_CHECK = "role IN ('initiator','responder')"
_FLOW_CHECK = "flow IN ('sent','received')"


class RoleState(Model):
    """Where one role of ours stands towards one peer."""

    __tablename__ = "role_state"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check=_ROLE_CHECK)
    peer_id = Field("TEXT", nullable=False)
    state = Field("TEXT")
    local_nonce = Field("TEXT")
    peer_nonce = Field("TEXT")
    local_reference = Field("TEXT")
    peer_reference = Field("TEXT")
    exchange_count = Field("INTEGER", nullable=False, default=0)
    finalize_retry_count = Field("INTEGER", nullable=False, default=0)
    peer_address = Field("TEXT")
    peer_sign_pub = Field("TEXT")
    peer_kx_pub = Field("TEXT")
    hs_derived_at = Field("TEXT")
    last_secure_at = Field("TEXT")
    created_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP")
    updated_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP", on_update="CURRENT_TIMESTAMP")
    # ours: the sealed X25519 or session key, whether the signing key is not pinned yet, and times since 1970 UTC
    sealed_secret = Field("BLOB")
    pin_pending = Field("BOOLEAN", nullable=False, default=False)
    waiting_since = Field("REAL")
    reconnect_at = Field("REAL")
    reconnect_tries = Field("INTEGER", nullable=False, default=0)
    last_sent_at = Field("REAL")
    # of version 2: the protocol spoken last, the sealed ticket to resume with, and what has used it (SHA-256)
    version = Field("INTEGER", nullable=False, default=1)
    sealed_ticket = Field("BLOB")
    ticket_used = Field("BLOB")


class HalfOpen(RoleState):
    """The same towards a stranger who has proven nothing yet; bounded in number."""

    __tablename__ = "half_open"


class NonceEvent(Model):
    """One nonce of the present conversation, sent or received."""

    __tablename__ = "nonce_event"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check=_ROLE_CHECK)
    peer_id = Field("TEXT", nullable=False)
    flow = Field("TEXT", nullable=False, check=_FLOW_CHECK)
    nonce = Field("TEXT", nullable=False)
    created_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP")


class Outbox(Model):
    """The message that is being sent to a peer until its state is left; times in seconds since 1970 UTC."""

    __tablename__ = "outbox"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check=_ROLE_CHECK)
    peer_id = Field("TEXT", nullable=False)
    payload = Field("JSON", nullable=False)
    sends = Field("INTEGER", nullable=False)
    due_at = Field("REAL", nullable=False)
    since = Field("REAL", nullable=False)


class SeenHandshake(Model):
    """The nonce of an accepted `hs`, kept until the block would be refused as stale anyway."""

    __tablename__ = "seen_handshake"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    nonce = Field("TEXT", nullable=False)
    expires_at = Field("REAL", nullable=False)


class OpenedEnvelope(Model):
    """The nonce of a `sec` envelope that was opened in the present conversation."""

    __tablename__ = "opened_envelope"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check=_ROLE_CHECK)
    peer_id = Field("TEXT", nullable=False)
    nonce = Field("TEXT", nullable=False)


class Pin(Model):
    """The signing key (base64) that alone may speak for a peer's id."""

    __tablename__ = "pin"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    sign_pub = Field("TEXT", nullable=False)
    source = Field("TEXT", nullable=False)
    first_seen = Field("REAL", nullable=False)


class IdentityPin(Model):
    """The identity key (base64) that alone may speak for a peer in version 2; who has a row never speaks v1 again."""

    __tablename__ = "identity_pin"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    identity_public = Field("TEXT", nullable=False)
    source = Field("TEXT", nullable=False, check="source IN ('manual','cert','selfcert','tofu')")
    first_seen = Field("REAL", nullable=False)
    last_seen = Field("REAL", nullable=False)
    rotation_sequence = Field("INTEGER", nullable=False, default=0)
    certificate_issuer = Field("TEXT")
    certificate_serial = Field("TEXT")


class RemovedPin(Model):
    """The key (base64) of a pin that somebody removed by hand, until a key is pinned for that peer again.

    A pin that had to make room has no such row: its peer has lost nothing but its acquaintance.
    """

    __tablename__ = "removed_pin"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    identity_public = Field("TEXT", nullable=False)


class TrustedController(Model):
    """A controller whose certificates are believed, and its newest revocation list; the key in base64."""

    __tablename__ = "trusted_controller"
    id = Field("INTEGER", primary_key=True)
    issuer = Field("TEXT", nullable=False)
    public = Field("TEXT", nullable=False)
    name = Field("TEXT", nullable=False)
    added_at = Field("REAL", nullable=False)
    crl_sequence = Field("INTEGER")
    crl_next = Field("INTEGER")
    crl = Field("BLOB")


class Revocation(Model):
    """One entry of a trusted controller's newest list: a certificate's serial, or a key (base64)."""

    __tablename__ = "revocation"
    id = Field("INTEGER", primary_key=True)
    issuer = Field("TEXT", nullable=False)
    serial = Field("TEXT")
    identity_public = Field("TEXT")
    revoked_at = Field("INTEGER", nullable=False)
    why = Field("TEXT", nullable=False)


class DeadKey(Model):
    """An identity key (base64) that has declared itself dead, and its statement."""

    __tablename__ = "dead_key"
    id = Field("INTEGER", primary_key=True)
    identity_public = Field("TEXT", nullable=False)
    declared_at = Field("INTEGER", nullable=False)
    statement = Field("BLOB", nullable=False)


class Audit(Model):
    """One entry of the hash-chained log; see `handfast.audit`."""

    __tablename__ = "audit"
    seq = Field("INTEGER", primary_key=True)
    at = Field("REAL", nullable=False)
    event = Field("TEXT", nullable=False)
    role = Field("TEXT")
    peer_id = Field("TEXT", nullable=False)
    detail = Field("TEXT", nullable=False)
    digest = Field("TEXT", nullable=False)


class Witness(Model):
    """The end of a peer's audit log as the peer signed it and gave it to us; see `handfast.audit.SignedHead`."""

    __tablename__ = "witness"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    n = Field("INTEGER", nullable=False)
    head = Field("TEXT", nullable=False)
    identity_key = Field("BLOB", nullable=False)
    signature = Field("BLOB", nullable=False)
    at = Field("REAL", nullable=False)


class MailPeer(Model):
    """How far the streams of letters with a peer have come; see `handfast.mail.Marks`."""

    __tablename__ = "mail_peer"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    stream = Field("BLOB", nullable=False)
    posted = Field("INTEGER", nullable=False, default=0)
    sent = Field("INTEGER", nullable=False, default=0)
    their_stream = Field("BLOB", nullable=False)
    taken = Field("INTEGER", nullable=False, default=0)


class MailOut(Model):
    """A letter for a peer: sealed while it waits; afterwards what became of it, for a while."""

    __tablename__ = "mail_out"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    number = Field("INTEGER", nullable=False)
    fate = Field("TEXT", nullable=False, check="fate IN ('waiting','delivered','unknown','expired')")
    body = Field("BLOB")
    posted_at = Field("REAL", nullable=False)
    expires_at = Field("REAL")


class MailIn(Model):
    """A message from a peer, sealed, until the application takes it; the oldest first."""

    __tablename__ = "mail_in"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    peer_id = Field("TEXT", nullable=False)
    body = Field("BLOB", nullable=False)
    security = Field("TEXT", nullable=False)
    kept_at = Field("REAL", nullable=False)


PAIR = ["self_id", "role", "peer_id"]

_ADDED_COLUMNS = {
    "sealed_secret": "BLOB",
    "pin_pending": "BOOLEAN NOT NULL DEFAULT 0",
    "waiting_since": "REAL",
    "reconnect_at": "REAL",
    "reconnect_tries": "INTEGER NOT NULL DEFAULT 0",
    "last_sent_at": "REAL",
}


def _carry_over(session: Session) -> None:
    """Make our database of an empty one or of one of the first generation; no row of the latter is lost."""
    session.create_table(RoleState)
    session.create_table(NonceEvent)
    _add_columns(session, RoleState.__tablename__, _ADDED_COLUMNS)
    session.create_index(RoleState, "uq_role_peer", PAIR, unique=True)
    session.create_index(RoleState, "ix_role_scan", ["self_id", "role"])
    session.create_index(NonceEvent, "ix_nonce_triplet", PAIR)
    _set_repeated_nonces_aside(session)
    session.execute("DROP INDEX IF EXISTS ix_nonce_exists")
    session.create_index(NonceEvent, "uq_nonce", [*PAIR, "flow", "nonce"], unique=True)
    for model in (HalfOpen, Outbox):
        session.create_table(model)
        session.create_index(model, f"uq_{model.__tablename__}", PAIR, unique=True)
    session.create_table(SeenHandshake)
    session.create_index(SeenHandshake, "uq_seen_handshake", ["self_id", "peer_id", "nonce"], unique=True)
    session.create_index(SeenHandshake, "ix_seen_handshake_expiry", ["expires_at"])
    session.create_table(OpenedEnvelope)
    session.create_index(OpenedEnvelope, "uq_opened_envelope", [*PAIR, "nonce"], unique=True)
    session.create_table(Pin)
    session.create_index(Pin, "uq_pin_peer", ["self_id", "peer_id"], unique=True)
    session.create_index(Pin, "uq_pin_key", ["self_id", "sign_pub"], unique=True)
    session.create_table(Audit)
    _pin_what_the_first_generation_saw(session)


def _set_repeated_nonces_aside(session: Session) -> None:
    # the first generation logged a nonce anew each time it sent the same message again; ours keeps one row of each, and
    # the repetitions in a table of their own, where there are any
    session.execute(
        "CREATE TABLE nonce_event_repeated AS SELECT * FROM nonce_event WHERE id NOT IN "
        "(SELECT min(id) FROM nonce_event GROUP BY self_id, role, peer_id, flow, nonce)"
    )
    session.execute("DELETE FROM nonce_event WHERE id IN (SELECT id FROM nonce_event_repeated)")
    if not session.execute("SELECT 1 FROM nonce_event_repeated LIMIT 1"):
        session.execute("DROP TABLE nonce_event_repeated")


def _pin_what_the_first_generation_saw(session: Session) -> None:
    seen = session.execute(
        "SELECT self_id, peer_id, peer_sign_pub, CAST(strftime('%s', created_at) AS REAL) AS at FROM role_state "
        "WHERE peer_sign_pub IS NOT NULL ORDER BY id"
    )
    for row in seen:
        try:
            b64decode(row["peer_sign_pub"], 32)
        except (EncodingError, TypeError):
            continue
        if is_agent_id(row["peer_id"]):
            session.insert_or_ignore(
                Pin,
                self_id=row["self_id"],
                peer_id=row["peer_id"],
                sign_pub=row["peer_sign_pub"],
                source="first generation",
                first_seen=row["at"] or 0.0,
            )


def _audit_tables(session: Session) -> None:
    session.create_table(Witness)
    session.create_index(Witness, "uq_witness_peer", ["self_id", "peer_id"], unique=True)


def _trust_tables(session: Session) -> None:
    session.create_table(IdentityPin)
    session.create_index(IdentityPin, "uq_identity_pin_peer", ["self_id", "peer_id"], unique=True)
    session.create_index(IdentityPin, "uq_identity_pin_key", ["self_id", "identity_public"], unique=True)
    age = ["self_id", "source", "rotation_sequence", "last_seen"]
    session.create_index(IdentityPin, "ix_identity_pin_age", age)
    session.create_table(RemovedPin)
    session.create_index(RemovedPin, "uq_removed_pin", ["self_id", "peer_id"], unique=True)
    session.create_table(TrustedController)
    session.create_index(TrustedController, "uq_trusted_controller", ["issuer"], unique=True)
    session.create_table(Revocation)
    session.create_index(Revocation, "ix_revocation_serial", ["serial"])
    session.create_index(Revocation, "ix_revocation_key", ["identity_public"])
    session.create_table(DeadKey)
    session.create_index(DeadKey, "uq_dead_key", ["identity_public"], unique=True)


def _mail_tables(session: Session) -> None:
    session.create_table(MailPeer)
    session.create_index(MailPeer, "uq_mail_peer", ["self_id", "peer_id"], unique=True)
    session.create_table(MailOut)
    session.create_index(MailOut, "uq_mail_out", ["self_id", "peer_id", "number"], unique=True)
    session.create_index(MailOut, "ix_mail_out_waiting", ["self_id", "fate", "peer_id", "number"])
    session.create_table(MailIn)
    session.create_index(MailIn, "ix_mail_in", ["self_id", "peer_id"])


_COLUMNS_OF_VERSION_2 = {
    "version": "INTEGER NOT NULL DEFAULT 1",
    "sealed_ticket": "BLOB",
    "ticket_used": "BLOB",
}


def _add_columns(session: Session, table: str, columns: dict[str, str]) -> None:
    present = {row["name"] for row in session.execute(f"PRAGMA table_info({table})")}
    for column, kind in columns.items():
        if column not in present:
            session.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def _version_two(session: Session) -> None:
    for table in (RoleState.__tablename__, HalfOpen.__tablename__):
        _add_columns(session, table, _COLUMNS_OF_VERSION_2)
    _trust_tables(session)
    _audit_tables(session)
    _mail_tables(session)


MIGRATIONS = [
    Migration(1, "tables of the v1 conversation", _carry_over),
    Migration(2, "tables of version 2", _version_two),
]

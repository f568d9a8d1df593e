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
    present = {row["name"] for row in session.execute("PRAGMA table_info(role_state)")}
    for column, kind in _ADDED_COLUMNS.items():
        if column not in present:
            session.execute(f"ALTER TABLE role_state ADD COLUMN {column} {kind}")
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


MIGRATIONS = [Migration(1, "tables of the v1 conversation", _carry_over)]

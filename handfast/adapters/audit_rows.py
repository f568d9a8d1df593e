"""The audit log and the witnessed ends of peers' logs as rows; what the entries mean, `handfast.audit` knows.

Each function works inside a transaction that somebody else has begun: an entry stays or goes with what it tells of.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields

from db_sdk import Session
from handfast.adapters.tables import Audit, Witness
from handfast.audit import (
    BY_COMMAND,
    CHECKPOINT,
    WITNESSES_KEPT,
    AuditRow,
    SignedHead,
    audit_row,
    next_rows,
    oldest_needed,
    signed_head,
)
from handfast.crypto.keys import SigningKey
from handfast.errors import StorageError
from handfast.wire.text import EncodingError

_NAMES = tuple(field.name for field in fields(AuditRow))


def append_audit(
    session: Session,
    event: str,
    role: str | None,
    peer_id: str,
    detail: dict[str, object],
    now: float,
    key: SigningKey | None = None,
) -> None:
    """Append one entry to the audit log, and a checkpoint where one is due, at which old entries are pruned.

    Args:
        session: in a transaction that writes.
        event: what happened, a stable word.
        role: our role in it.
        peer_id: the peer.
        detail: a JSON object without any secret.
        now: seconds since 1970 UTC.
        key: the agent's identity key; None for a command, which has none at hand.

    Raises:
        StorageError: the end of the log is damaged.
    """
    last = _last_entry(session)
    checkpoint = None if key is None else _last_entry(session, event=CHECKPOINT)
    rows = next_rows(
        last,
        checkpoint,
        key,
        at=now,
        event=event,
        role=None if role is None else str(role),
        peer_id=peer_id,
        detail=detail | BY_COMMAND if key is None else detail,
    )
    for row in rows:
        session.insert(Audit, **asdict(row))
    if len(rows) > 1:
        _prune(session, rows[-1].seq)


def last_signed_head(session: Session) -> SignedHead | None:
    """The end of the audit log as it was signed last.

    Raises:
        StorageError: that entry is damaged.
    """
    checkpoint = _last_entry(session, event=CHECKPOINT)
    return None if checkpoint is None else signed_head(checkpoint)


def keep_witness(session: Session, self_id: str, peer_id: str, head: SignedHead, now: float) -> bool:
    """Keep the end of a peer's audit log; False where it contradicts the one that is kept, which then stays."""
    where = {"self_id": self_id, "peer_id": peer_id}
    row = session.first(Witness, where=where)
    known = None if row is None else witnessed_head(row)
    if known is not None and head.contradicts(known):
        return False
    session.upsert(
        Witness,
        tuple(where),
        **where,
        n=head.seq,
        head=head.digest,
        identity_key=head.key,
        signature=head.signature,
        at=now,
    )
    if row is None and session.count(Witness) > WITNESSES_KEPT:
        session.execute("DELETE FROM witness WHERE id = (SELECT id FROM witness ORDER BY at, id LIMIT 1)")
    return True


def witnessed_head(row: Mapping[str, object]) -> SignedHead | None:
    """The head in a row of `Witness`; None where the row is damaged."""
    match dict(row):
        case {"n": int(seq), "head": str(digest), "identity_key": bytes(key), "signature": bytes(signature)}:
            return SignedHead(seq, digest, key, signature)
    return None


def _last_entry(session: Session, **where: str) -> AuditRow | None:
    row = session.first(Audit, where, _NAMES, "-seq")
    try:
        return None if row is None else audit_row(row)
    except EncodingError:
        raise StorageError("the audit log is damaged; handfast audit verify names the entry") from None


def _prune(session: Session, last_seq: int) -> None:
    oldest = oldest_needed(last_seq)
    if oldest <= 1:
        return
    # what is left begins with a checkpoint, which proves itself
    anchor = session.first(Audit, {"event": CHECKPOINT, "seq__lte": oldest}, ("seq",), "-seq")
    if anchor is not None:
        session.delete(Audit, {"seq__lt": anchor["seq"]})

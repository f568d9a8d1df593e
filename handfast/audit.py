"""The audit log's chain: each row carries a digest over itself and the row before it.

A row that was changed, removed or moved breaks the chain at its place. Where the rows are kept is the store's matter.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.wire.text import Json, canonical_json

FIRST_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row.

    Attributes:
        seq: its number.
        at: seconds since 1970 UTC.
        event: what happened, a stable word.
        role: our role in it, or None.
        peer_id: the peer, or "".
        detail: JSON text of an object; never a secret, never a message.
        digest: 64 hex digits.
    """

    seq: int
    at: float
    event: str
    role: str | None
    peer_id: str
    detail: str
    digest: str


def chain_digest(previous: str, at: float, event: str, role: str | None, peer_id: str, detail: str) -> str:
    """The digest of a row that follows the row with digest `previous`."""
    members: list[Json] = [previous, at, event, role, peer_id, detail]
    return hashlib.sha256(labels.AUDIT_CHAIN + canonical_json(members)).hexdigest()


def first_broken(rows: Iterable[AuditRow]) -> int | None:
    """The `seq` of the first row that does not follow from the one before it, or None where the chain holds.

    A first row that is not number 1 is taken as it is: the rows before it were pruned. Rows cut off at the end leave no
    trace in the chain.
    """
    seq, digest = 0, FIRST_DIGEST
    for number, row in enumerate(rows):
        was_pruned = number == 0 and row.seq > 1
        expected = chain_digest(digest, row.at, row.event, row.role, row.peer_id, row.detail)
        if not was_pruned and (row.seq != seq + 1 or row.digest != expected):
            return row.seq
        seq, digest = row.seq, row.digest
    return None

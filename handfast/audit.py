"""The audit log: entries in a chain, whose end the agent signs now and then; written, verified and pruned by these rules.

Each entry carries a digest over itself and the entry before it: one that was changed, removed or moved breaks the chain at
its place. The chain needs no key, so whoever can write the rows could make it anew; therefore entries of a kind of their
own, checkpoints, carry a signature of the identity key over the end that they found (v2-handshake.md, section 12). What
stands after the last checkpoint is chained, but not signed yet; and that a log was cut off at a checkpoint shows only
against a later signed head, which peers keep for each other.

Where the rows are kept is the store's matter. Details never hold a secret or a message; an entry about a message holds
the session's keyed digest of it (`audit_digest`), since a bare hash would confirm a guess.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from handfast.crypto import labels
from handfast.crypto.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey, signature_holds
from handfast.wire.text import EncodingError, Json, b64decode, b64encode, canonical_json, strict_json

FIRST_DIGEST = "0" * 64

# Events that the rules below know; a log that is to be signed begins with the first one.
STARTED = "started"
STOPPED = "stopped"
CHECKPOINT = "checkpoint"

# The entry that stands so many entries, or so many seconds, after the last checkpoint is followed by the next one.
CHECKPOINT_ENTRIES = 64
CHECKPOINT_SECONDS = 60.0

# So many entries at least are kept when the older ones are pruned, a few dozen megabytes.
ENTRIES_KEPT = 100_000

# The heads of so many peers' logs are kept; the one that was given longest ago makes room.
WITNESSES_KEPT = 10_000

# What commands write says so in its detail: they have no key at hand, and the agent's next entry brings the signature.
BY_COMMAND: dict[str, object] = {"by": "command"}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry.

    Attributes:
        seq: its number, from 1.
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


@dataclass(frozen=True, slots=True)
class SignedHead:
    """The end of a log at one moment, as its agent signed it.

    Attributes:
        seq: the number of its last entry.
        digest: of that entry.
        key: the agent's public identity key, 32 bytes.
        signature: 64 bytes.
    """

    seq: int
    digest: str
    key: bytes
    signature: bytes

    def holds(self) -> bool:
        """Whether the signature is one of the key over number and digest."""
        try:
            return signature_holds(self.key, self.signature, _head_text(self.seq, self.digest))
        except (ValueError, OverflowError):  # no hex digits, or a number that 8 bytes do not hold
            return False

    def contradicts(self, earlier: "SignedHead") -> bool:
        """Whether no honest log had `earlier` as its end first and this one afterwards."""
        return self.seq < earlier.seq or (self.seq == earlier.seq and self.digest != earlier.digest)


def sign_head(seq: int, digest: str, key: SigningKey) -> SignedHead:
    """Sign the end of our own log: the number and the digest of its last entry."""
    return SignedHead(seq, digest, key.public, key.sign(_head_text(seq, digest)))


def _head_text(seq: int, digest: str) -> bytes:
    return labels.V2_AUDIT_HEAD + seq.to_bytes(8, "big") + bytes.fromhex(digest)


def chain_digest(previous: str, at: float, event: str, role: str | None, peer_id: str, detail: str) -> str:
    """The digest of an entry that follows the one with digest `previous`."""
    members: list[Json] = [previous, at, event, role, peer_id, detail]
    return hashlib.sha256(labels.AUDIT_CHAIN + canonical_json(members)).hexdigest()


# ---- writing ------------------------------------------------------------------------------------------------------


def next_rows(
    last: AuditRow | None,
    checkpoint: AuditRow | None,
    key: SigningKey | None,
    *,
    at: float,
    event: str,
    role: str | None,
    peer_id: str,
    detail: dict[str, object],
) -> list[AuditRow]:
    """A new entry, and the checkpoint after it where one is due; to be written in one transaction.

    Args:
        last: the last entry so far, None in an empty log.
        checkpoint: the last checkpoint so far, if any.
        key: our identity key; None where it is not at hand, and then nothing is signed.
        at, event, role, peer_id, detail: the entry, as in `AuditRow`; the detail as an object.
    """
    row = _row_after(last, at, event, role, peer_id, detail)
    if key is None or not _asks_for_checkpoint(row, checkpoint):
        return [row]
    head = sign_head(row.seq, row.digest, key)
    signed: dict[str, object] = {
        "head": head.digest,
        "key": b64encode(head.key),
        "signature": b64encode(head.signature),
    }
    return [row, _row_after(row, at, CHECKPOINT, None, "", signed)]


def _row_after(
    last: AuditRow | None, at: float, event: str, role: str | None, peer_id: str, detail: dict[str, object]
) -> AuditRow:
    seq, previous = (last.seq, last.digest) if last else (0, FIRST_DIGEST)
    text = json.dumps(detail, sort_keys=True)
    return AuditRow(
        seq + 1, at, event, role, peer_id, text, chain_digest(previous, at, event, role, peer_id, text)
    )


def _asks_for_checkpoint(row: AuditRow, checkpoint: AuditRow | None) -> bool:
    if row.event in (STARTED, STOPPED):
        return True
    # a log of version 1 has none; its first one comes when the agent starts
    return checkpoint is not None and (
        row.seq - checkpoint.seq >= CHECKPOINT_ENTRIES or abs(row.at - checkpoint.at) >= CHECKPOINT_SECONDS
    )


def oldest_needed(last_seq: int) -> int:
    """The number of the oldest entry that must be kept; what stands before the last checkpoint up to it may go."""
    return last_seq - ENTRIES_KEPT + 1


# ---- reading ------------------------------------------------------------------------------------------------------


def audit_row(members: Mapping[str, object]) -> AuditRow:
    """An entry from a row of a database or from a JSON object.

    Raises:
        EncodingError: a member is missing or of another type.
    """
    match dict(members):
        case {
            "seq": int(seq),
            "at": int() | float() as at,
            "event": str(event),
            "role": None | str() as role,
            "peer_id": str(peer_id),
            "detail": str(detail),
            "digest": str(digest),
        }:
            return AuditRow(seq, at, event, role, peer_id, detail, digest)
    raise EncodingError("not an entry of an audit log")


def signed_head(checkpoint: AuditRow) -> SignedHead | None:
    """What a checkpoint signs; None where it is none or is damaged. Whether the signature holds is not asked."""
    if checkpoint.event != CHECKPOINT:
        return None
    try:
        match _detail(checkpoint):
            case {"head": str(digest), "key": str(key), "signature": str(signature)}:
                public, signed = b64decode(key, KEY_BYTES), b64decode(signature, SIGNATURE_BYTES)
                return SignedHead(checkpoint.seq - 1, digest, public, signed)
            case _:
                return None
    except EncodingError:
        return None


def _detail(row: AuditRow) -> dict[str, object]:
    try:
        # a lone surrogate is no Unicode text, and refused as such
        detail = strict_json(row.detail.encode("utf-8", "surrogatepass"))
    except EncodingError:
        return {}
    return detail if isinstance(detail, dict) else {}


# ---- verifying ----------------------------------------------------------------------------------------------------


class Why(StrEnum):
    """What is wrong with the first bad entry; stable words."""

    DAMAGED = "damaged"  # no entry at all
    CHANGED = "changed"  # its digest does not follow from the entry before it
    ORDER = "order"  # its number was there already
    MISSING = "missing"  # the entries before it are not there
    SIGNATURE = "signature"  # a checkpoint that signs another end, or whose signature does not hold
    KEY = "key"  # a checkpoint signed with another key
    OVERDUE = "overdue"  # an agent would have written a checkpoint after it
    REWRITTEN = "rewritten"  # its agent has signed another entry of this number
    CUT_OFF = "cut_off"  # its agent has signed it, and the log ends before it


@dataclass(frozen=True, slots=True)
class Fault:
    """The first bad entry, by its number, and what is wrong with it."""

    seq: int
    why: Why


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Attributes:
        fault: the first bad entry; None where there is none, and only then does the rest speak of the whole log.
        first, last: the numbers of the first and the last entry; 0 of an empty log.
        signed_to: the number of the last entry that is signed; 0 where none is.
        key: the key that signed it, 32 bytes.
        is_anchored: the first entry is number 1 or a checkpoint; otherwise what it says is proven by nothing.
    """

    fault: Fault | None
    first: int
    last: int
    signed_to: int
    key: bytes | None
    is_anchored: bool


class Verifier:
    """Verifies a log entry by entry, in any number of portions.

    Args:
        is_agents_key: whether a public key (32 bytes) is one of the agent's; if None, the first key that signs is.
        witness: a head of this log that somebody else keeps, and whose signature holds.
        kept: a log that begins later than with entry 1 was pruned, and pruning leaves at least so many entries.
    """

    def __init__(
        self,
        is_agents_key: Callable[[bytes], bool] | None = None,
        witness: SignedHead | None = None,
        kept: int = ENTRIES_KEPT,
    ) -> None:
        self._is_agents_key = is_agents_key
        self._witness = witness
        self._kept = kept
        self._first: AuditRow | None = None
        self._last: AuditRow | None = None
        self._checkpoint: AuditRow | None = None
        self._first_checkpoint = 0
        self._key: bytes | None = None
        self._overdue: int | None = None
        self._fault: Fault | None = None

    def add(self, members: Mapping[str, object]) -> None:
        """Take the next entry, whatever it is; after a fault, nothing more is looked at."""
        if self._fault is not None:
            return
        try:
            row = audit_row(members)
            why = self._fault_of(row)
        except EncodingError:
            self._fault = Fault(self._last.seq + 1 if self._last else 1, Why.DAMAGED)
            return
        if why is not None:
            self._fault = Fault(row.seq, why)
            return
        self._first, self._last = self._first or row, row
        if row.event == CHECKPOINT:
            self._checkpoint, self._overdue = row, None
            self._first_checkpoint = self._first_checkpoint or row.seq
        elif self._overdue is None and _asks_for_checkpoint(row, self._checkpoint) and not _by_command(row):
            self._overdue = row.seq

    def report(self) -> Report:
        """What was found so far, taking what was added as the whole log."""
        first, last, checkpoint = self._first, self._last, self._checkpoint
        return Report(
            fault=self._fault or self._fault_of_whole(),
            first=first.seq if first else 0,
            last=last.seq if last else 0,
            signed_to=checkpoint.seq - 1 if checkpoint else 0,
            key=self._key,
            is_anchored=self._is_anchored(),
        )

    def _is_anchored(self) -> bool:
        return self._first is None or self._first.seq == 1 or self._first.event == CHECKPOINT

    def _fault_of(self, row: AuditRow) -> Why | None:
        last = self._last
        if row.seq < 1 or (last is not None and row.seq <= last.seq):
            return Why.ORDER
        if last is not None and row.seq > last.seq + 1:
            return Why.MISSING
        signed = signed_head(row) if row.event == CHECKPOINT else None
        if last is not None:
            previous: str | None = last.digest
        elif row.seq == 1:
            previous = FIRST_DIGEST
        else:
            # after pruning a checkpoint comes first; version 1 left any entry, which is taken as it is
            previous = None if signed is None else signed.digest
        if previous is not None and row.digest != _digest_after(previous, row):
            return Why.CHANGED
        if row.event == CHECKPOINT and (why := self._fault_of_signature(signed, previous)) is not None:
            return why
        witness = self._witness
        if witness is not None and row.seq == witness.seq and row.digest != witness.digest:
            return Why.REWRITTEN
        return None

    def _fault_of_signature(self, signed: SignedHead | None, previous: str | None) -> Why | None:
        if signed is None or signed.digest != previous:
            return Why.SIGNATURE
        is_agents = self._is_agents_key or (lambda key: self._key in (None, key))
        if not is_agents(signed.key):
            return Why.KEY
        if not signed.holds():
            return Why.SIGNATURE
        self._key = signed.key
        return None

    def _fault_of_whole(self) -> Fault | None:
        first, last = (self._first.seq, self._last.seq) if self._first and self._last else (0, 0)
        # a log that begins otherwise than with a checkpoint was pruned by version 1, which has written all up to the first
        end = last + 1 if self._is_anchored() or not self._first_checkpoint else self._first_checkpoint
        if first > 1 and end - first < self._kept:
            return Fault(first, Why.MISSING)
        if self._overdue is not None:
            return Fault(self._overdue, Why.OVERDUE)
        if self._witness is not None and last < self._witness.seq:
            return Fault(last + 1, Why.CUT_OFF)
        return None


def verify(entries: Iterable[Mapping[str, object]], verifier: Verifier | None = None) -> Report:
    """Verify a whole log, its entries as mappings with the members of `AuditRow`."""
    verifier = verifier or Verifier()
    for entry in entries:
        verifier.add(entry)
    return verifier.report()


def _digest_after(previous: str, row: AuditRow) -> str:
    return chain_digest(previous, row.at, row.event, row.role, row.peer_id, row.detail)


def _by_command(row: AuditRow) -> bool:
    return _detail(row).items() >= BY_COMMAND.items()

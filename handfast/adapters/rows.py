"""One pair's state as the columns of a row, and back; and the vault that seals the secret in it.

No statement is made here, and nothing knows of a connection.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter

from handfast.adapters.tables import RoleState
from handfast.conversation.model import READY, Outgoing, PeerState, Role, State
from handfast.crypto import labels
from handfast.crypto.aead import NONCE_BYTES, DoesNotOpen, aes_open, aes_seal
from handfast.crypto.keys import Secret
from handfast.errors import UsageError
from handfast.identity import Identity
from handfast.session.v2.resumption import Ticket

Pair = tuple[Role, str]

_SAME_IN_ROW = (
    "local_nonce",
    "peer_nonce",
    "local_reference",
    "peer_reference",
    "exchange_count",
    "finalize_retry_count",
    "peer_address",
    "peer_sign_pub",
    "peer_kx_pub",
    "pin_pending",
    "waiting_since",
    "reconnect_at",
    "reconnect_tries",
    "last_sent_at",
    "version",
    "ticket_used",
)
_NAMES = (*_SAME_IN_ROW, "state", "hs_derived_at", "last_secure_at")
FIELDS_READ = (*_NAMES, "sealed_secret", "sealed_ticket")
OUTBOX_NAMES = ("payload", "sends", "due_at", "since")

_values = attrgetter(*_NAMES)
_outbox_values = attrgetter(*OUTBOX_NAMES)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database holds of a pair.

    Attributes:
        state: the pair's state; a stranger's where there is no row.
        table: the table that its row is in; None where there is no row.
        sealed, sealed_ticket: the secret and the ticket as they stand in that row.
    """

    state: PeerState
    table: type[RoleState] | None = None
    sealed: bytes | None = None
    sealed_ticket: bytes | None = None


class Vault:
    """Seals secrets for one identity's database."""

    def __init__(self, identity: Identity) -> None:
        self._key = identity.database_key()

    def seal(self, place: tuple[str, ...], secret: Secret) -> bytes:
        """What may be written to the disk: 12 bytes of nonce and the ciphertext."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + aes_seal(self._key.reveal(), nonce, secret.reveal(), _associated(place))

    def open(self, place: tuple[str, ...], sealed: bytes) -> Secret | None:
        """The secret; None where it does not open, as after a change of the identity's keys."""
        try:
            nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return Secret(aes_open(self._key.reveal(), nonce, ciphertext, _associated(place)))
        except DoesNotOpen:
            return None


def state_of_row(
    self_id: str, pair: Pair, row: Mapping[str, object], vault: Vault, outgoing: Callable[[], Outgoing | None]
) -> PeerState:
    """The state that a row of `FIELDS_READ` holds.

    Args:
        self_id: our agent id.
        pair: whose row it is.
        row: the columns.
        vault: opens the secret.
        outgoing: reads the outbox row; asked where a conversation is under way only.
    """
    role, peer_id = pair
    state, sealed, ticket = _state_of(role, row["state"]), row["sealed_secret"], row["sealed_ticket"]
    common: dict[str, object] = {name: row[name] for name in _SAME_IN_ROW}
    return PeerState(
        self_id=self_id,
        role=role,
        peer_id=peer_id,
        state=state,
        hs_derived_at=_from_iso(row["hs_derived_at"]),
        last_secure_at=_from_iso(row["last_secure_at"]),
        secret=vault.open(pair, sealed) if isinstance(sealed, bytes) else None,
        ticket=_open_ticket(vault, pair, ticket) if isinstance(ticket, bytes) else None,
        outgoing=None if state is READY[role] else outgoing(),
        **common,  # type: ignore[arg-type]
    )


def _open_ticket(vault: Vault, pair: Pair, sealed: bytes) -> Ticket | None:
    opened = vault.open(pair, sealed)
    try:
        return None if opened is None else Ticket.from_bytes(opened.reveal())
    except UsageError:  # written by another version of this package: a full handshake takes its place
        return None


def columns(after: PeerState, before: PeerState | None = None) -> dict[str, object]:
    """The columns of a row that holds `after`, all but the secret; with `before`, `state` and those that differ."""
    values = dict(zip(_NAMES, _values(after), strict=True))
    if before is not None:
        old = _values(before)
        values = {name: value for (name, value), was in zip(values.items(), old, strict=True) if value != was}
    values["state"] = str(after.state)
    for name in ("hs_derived_at", "last_secure_at"):
        if name in values:
            values[name] = _to_iso(getattr(after, name))
    return values


def outbox_columns(after: Outgoing, before: Outgoing | None = None) -> dict[str, object]:
    """The columns of an outbox row; with `before`, those that differ."""
    values = dict(zip(OUTBOX_NAMES, _outbox_values(after), strict=True))
    if before is None:
        return values
    old = _outbox_values(before)
    return {name: value for (name, value), was in zip(values.items(), old, strict=True) if value != was}


def _associated(place: tuple[str, ...]) -> bytes:
    # where in the database it stands: the pair, or more
    return labels.DATABASE_SECRET_AAD + ":".join(place).encode()


def _state_of(role: Role, text: object) -> State:
    # a row that names no state of its role, whoever wrote it, is taken as ready: nothing is under way
    try:
        state = State(str(text))
    except ValueError:
        return READY[role]
    return state if state.startswith(role[:4]) else READY[role]


def _to_iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _from_iso(text: object) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None  # shown to people only

"""What the audit log tells of how sessions began; a database keeps a ticket sealed, and of a session nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

from handfast.cli.plain import moment, parsed, plain_value
from handfast.conversation.model import Role
from handfast.wire import limits

_LIFE = {Role.INITIATOR: limits.SESSION_SECONDS_SOFT, Role.RESPONDER: limits.SESSION_SECONDS}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a session can be resumed with, once; its bytes are never shown.

    Attributes:
        until: until when our role would use or take it, as ISO 8601 text in UTC; None where the log does not tell.
        used: whether it was shown to us already.
    """

    until: str | None
    used: bool


class Openings:
    """Remembers of each role and peer how the last session began, and when the last full handshake was."""

    def __init__(self) -> None:
        self._security: dict[tuple[object, object], str] = {}
        self._full_at: dict[tuple[object, object], float] = {}

    def add(self, entry: Mapping[str, object]) -> None:
        """Take the next row of the audit log, whatever it holds."""
        detail = parsed(entry.get("detail")) if entry.get("event") == "session" else None
        if not isinstance(detail, dict):
            return
        pair, at = _pair_of(entry), entry.get("at")
        self._security[pair] = str(detail.get("security", f"v{detail.get('version')}"))
        if detail.get("resumed") is False and isinstance(at, float):
            self._full_at[pair] = at

    def security(self, row: Mapping[str, object]) -> str | None:
        """How sure it was who the peer of the last session was, for a row of the conversations."""
        return self._security.get(_pair_of(row))

    def ticket(self, row: Mapping[str, object]) -> Ticket | None:
        """The ticket that a row of the conversations holds, if any."""
        if row.get("sealed_ticket") is None:
            return None
        full_at = self._full_at.get(_pair_of(row))
        life = next((seconds for role, seconds in _LIFE.items() if role == row.get("role")), None)
        until = None if full_at is None or life is None else moment(full_at + life)
        return Ticket(until, row.get("ticket_used") is not None)


def _pair_of(row: Mapping[str, object]) -> tuple[object, object]:
    return plain_value(row.get("role")), plain_value(row.get("peer_id"))

"""Snapshots as tables for people: readable in 80 columns, on dark and on light, and without colours.

Everything that came from a database is shown with its control characters escaped.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from handfast.audit import CHECKPOINT
from handfast.cli.openings import Ticket
from handfast.cli.snapshot import AuditLog, Conversation, Entry, PinnedKey, Snapshot, Stranger, Waiting
from handfast.conversation.model import READY
from handfast.wire.text import printable

# What everything here is made for. In fewer columns every word is folded, and whole columns disappear: a narrower
# terminal wraps the lines itself instead.
_COLUMNS = 80
_NOTHING = "–"
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_RESTING = frozenset(str(state) for state in READY.values())


def table_console() -> Console:
    """Where tables are printed, never narrower than they can be read."""
    console = Console(highlight=False)
    console.width = max(console.width, _COLUMNS)
    return console


def snapshot_view(snapshot: Snapshot, now: datetime) -> RenderableType:
    """All that a snapshot holds.

    Args:
        snapshot: what to show.
        now: an aware datetime, from which ages are counted.
    """
    totals = snapshot.totals
    parts: list[RenderableType] = [_head(snapshot)]

    def section(title: str, key: str, table: Table) -> None:
        if totals[key]:
            more = f", the first {table.row_count} are shown" if table.row_count < totals[key] else ""
            parts.extend(["", Text.assemble((title, "bold"), f" · {totals[key]}{more}"), table])

    if not totals["conversations"]:
        parts.extend(["", Text("No conversations yet.")])
    section("Conversations", "conversations", _conversation_table(snapshot.conversations, now))
    met = [one for one in snapshot.conversations if one.hs_derived_at is not None]
    if met:
        parts.extend(
            ["", Text("Sessions: how sure it was whose they were", "bold"), _session_table(met, now)]
        )
    section("Pinned keys", "pins", pin_table(snapshot.pins, now))
    section("Outbox: sent again until answered", "outbox", _outbox_table(snapshot.outbox, now))
    section("Half-open: with strangers", "half_open", _half_open_table(snapshot.half_open, now))
    if totals["audit"]:
        parts.extend(["", _audit_title(snapshot.audit, totals["audit"])])
        parts.extend([audit_table(snapshot.audit.tail, now)] if snapshot.audit.tail else [])
    return Group(*parts)


def pin_table(pins: Sequence[PinnedKey], now: datetime) -> Table:
    """Pinned keys with all that is needed to compare them; `now` is an aware datetime."""
    table = plain_table("Peer, and its key's fingerprint", "For", "Source", "Since")
    for pin in pins:
        who = Text.assemble(_text(pin.peer_id), "\n", _text(pin.fingerprint, "bold"))
        if pin.certificate:
            who.append_text(Text.assemble("\ncertificate ", _text(pin.certificate)))
        source = f"{pin.source}, rotated {pin.rotations}x" if pin.rotations else pin.source
        table.add_row(who, f"v{pin.version}", _text(source), _local(pin.first_seen, now))
    return table


def audit_verdict(audit: AuditLog) -> Text:
    """Whether the audit log's chain holds, in a few words."""
    if audit.first_broken is None:
        return Text("chain holds", "green")
    return Text(f"CHAIN BROKEN at entry {audit.first_broken}", "bold red")


def start_of(fingerprint: object) -> str:
    """Enough of a fingerprint to tell keys apart in a text; not enough to compare them for certain."""
    return str(fingerprint)[:19]


def age(moment: str | None, now: datetime) -> str:
    """How long ago an ISO 8601 moment was, or how far ahead it is, in a few characters."""
    try:
        seconds = (now - datetime.fromisoformat(moment or "")).total_seconds()
    except ValueError:
        return _NOTHING
    unit, length = next((pair for pair in _UNITS if abs(seconds) >= pair[1]), _UNITS[-1])
    text = f"{abs(seconds) // length:.0f} {unit}"
    return f"in {text}" if seconds < 0 else f"{text} ago"


def _head(snapshot: Snapshot) -> Text:
    # before the first conversation, only the name of the file tells whose it is
    self_ids = snapshot.self_ids or [Path(snapshot.database).stem.removeprefix("HSAgent-")]
    agents = " and ".join(printable(self_id) for self_id in self_ids)
    kind = "" if snapshot.version else "\nof the first generation; it is carried over when an agent opens it"
    # a path that is broken into lines cannot be copied
    return Text.assemble(
        "Agent ",
        (agents, "bold"),
        "\n",
        (printable(snapshot.database, 1000), "dim"),
        kind,
        overflow="ignore",
    )


def _conversation_table(conversations: Sequence[Conversation], now: datetime) -> Table:
    table = plain_table("Peer", "Our role", "State", "Turns", "Retries", "Nonces", "Last sealed")
    above: str | None = ""
    for one in conversations:
        table.add_row(
            "" if one.peer_id == above else _short(one.peer_id),
            _text(one.role),
            _text(one.state, "" if one.state in _RESTING else "bold green"),
            _number(one.exchange_count),
            _number(one.finalize_retry_count),
            f"{one.nonces_sent} + {one.nonces_received}",
            age(one.last_secure_at, now),
        )
        above = one.peer_id
    return table


def _session_table(conversations: Sequence[Conversation], now: datetime) -> Table:
    table = plain_table("Peer", "Our role", "Version", "Security", "Begun", "Ticket good for")
    above: str | None = ""
    for one in conversations:
        table.add_row(
            "" if one.peer_id == above else _short(one.peer_id),
            _text(one.role),
            _number(one.version),
            _text(one.security),
            age(one.hs_derived_at, now),
            _ticket(one.ticket, now),
        )
        above = one.peer_id
    return table


def _ticket(ticket: Ticket | None, now: datetime) -> str:
    if ticket is None:
        return _NOTHING
    if ticket.used:
        return "used up"
    left = age(ticket.until, now)
    return "over" if left.endswith("ago") else left.removeprefix("in ").replace(_NOTHING, "?")


def _outbox_table(outbox: Sequence[Waiting], now: datetime) -> Table:
    table = plain_table("Peer", "Our role", "Message", "Sendings", "Made", "Due")
    for one in outbox:
        table.add_row(
            _short(one.peer_id),
            _text(one.role),
            _text(one.intent),
            _number(one.sends),
            age(one.since, now),
            age(one.due_at, now),
        )
    return table


def _half_open_table(half_open: Sequence[Stranger], now: datetime) -> Table:
    table = plain_table("Peer", "Our role", "State", "Last sent")
    for one in half_open:
        table.add_row(_short(one.peer_id), _text(one.role), _text(one.state), age(one.last_sent_at, now))
    return table


def _audit_title(audit: AuditLog, total: int) -> Text:
    shown = f", the last {len(audit.tail)}" if len(audit.tail) < total else ""
    return Text.assemble(("Audit log", "bold"), f" · {total}{shown}, ", audit_verdict(audit))


def audit_table(tail: Sequence[Entry], now: datetime) -> Table:
    """Entries of an audit log; `now` is an aware datetime."""
    table = plain_table("Entry", "When", "Event", "Our role", "Peer", "Detail")
    for entry in tail:
        table.add_row(
            _number(entry.seq),
            _local(entry.at, now),
            _text(entry.event, "bold red" if entry.event == "refused" else ""),
            _text(entry.role),
            _short(entry.peer_id),
            _detail(entry),
        )
    return table


def plain_table(*headings: str) -> Table:
    """An empty table with these headings, in the style of all of them."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(
            heading, overflow="fold", no_wrap=heading in {"Entry", "When", "Peer", "Our role", "State"}
        )
    return table


def _text(value: object, style: str = "") -> Text:
    return Text(_NOTHING if value is None or value == "" else printable(str(value)), style)


def _short(peer_id: str | None) -> Text:
    return _text(None if peer_id is None else str(peer_id)[:8])


def _number(value: object) -> str:
    return _text(value).plain


def _detail(entry: Entry) -> Text:
    """What a person wants to know of an entry; `--json` has all of it."""
    detail = entry.detail
    match entry.event, detail:
        case (event, _) if event == CHECKPOINT:
            return _text("signs all before it")
        case "session", {"security": security, "resumed": bool(resumed)}:
            return _text(f"{security}, resumed" if resumed else security)
        case "closed", {"messages": messages, "transcript": str(transcript)}:
            return _text(f"{messages} messages, {transcript[:8]}…")
        case _, dict():
            shown = {
                name: f"{start_of(value)}…" if name == "key" else value for name, value in detail.items()
            }
            return _text(", ".join(f"{name} {value}" for name, value in shown.items()))
    return _text(detail)


def _local(moment: str | None, now: datetime) -> str:
    """A moment in the zone of the reader; its date only where it is not today's."""
    try:
        local = datetime.fromisoformat(moment or "").astimezone()
        today = now.astimezone().date()
    except (ValueError, OverflowError):
        return _NOTHING
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"

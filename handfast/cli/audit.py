"""`handfast audit`: an agent's audit log, shown, verified, and written out for others to verify; never changed."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from db_sdk import DatabaseError, Session
from handfast.adapters.audit_rows import witnessed_head
from handfast.audit import Report, SignedHead, Why
from handfast.cli.audit_keys import verify_log
from handfast.cli.drawing import audit_table, table_console
from handfast.cli.groups import Group
from handfast.cli.options import WORDS, database_options
from handfast.cli.plain import plain_row
from handfast.cli.snapshot import Entry, audit_entry, audit_rows, opened, table_names
from handfast.errors import UsageError
from handfast.identity.names import fingerprint
from handfast.wire.text import EncodingError, b64decode, printable, strict_json

# An entry is a few hundred bytes; a longer line is none.
_LINE_BYTES = 64 * 1024

_SENTENCES = {
    Why.DAMAGED: "it is no entry of an audit log",
    Why.CHANGED: "its digest does not follow from the entry before it; one of the two was changed",
    Why.ORDER: "its number was there already, or is none",
    Why.MISSING: "the entries before it are missing",
    Why.SIGNATURE: "it is a checkpoint whose signature does not hold",
    Why.KEY: "it is signed with another key, and no rotation leads to that one",
    Why.OVERDUE: "the agent would have signed the log here, and no signature follows",
    Why.REWRITTEN: "the agent has signed another entry of this number, as the head that is kept here shows",
    Why.CUT_OFF: "it is missing, although the agent has signed it, as the head that is kept here shows",
}


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def audit(context: click.Context) -> None:
    """The audit log: what an agent did and refused, in a chain of entries whose end it signs now and then."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@audit.command()
@database_options
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many entries to show, the newest ones of those asked for.",
)
@click.option(
    "--event", "events", type=WORDS, multiple=True, help="Only entries of this event; may be repeated."
)
@click.option("--peer", type=WORDS, default="", help="Only entries about a peer whose id begins so.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line instead of a table.")
def show(database: Path, last: int, events: tuple[str, ...], peer: str, as_json: bool) -> None:
    """Show the end of the audit log; whether it can be believed, `handfast audit verify` tells.

    \b
    Examples:
      handfast audit show --name alice
      handfast audit show --name alice --event refused --peer 9c4195c8 --last 100
    """
    found = asyncio.run(_read(database, lambda session: _entries(session, last, events, peer)))
    if as_json:
        for entry in found:
            click.echo(json.dumps(asdict(entry)))
    elif found:
        table_console().print(audit_table(found, datetime.now(UTC)))
    else:
        click.echo("No such entry.")


@audit.command()
@database_options
def export(database: Path) -> None:
    """Write the whole audit log to standard output, one JSON object a line, for somebody else to verify.

    \b
    Example:
      handfast audit export --name alice > alice.jsonl
    """

    def write(session: Session) -> None:
        for row in audit_rows(session):
            click.echo(json.dumps(plain_row(row)))

    asyncio.run(_read(database, write))


@audit.command("verify")
@database_options
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="The agent's identity key or its fingerprint, as handfast identity show tells; may be repeated.",
)
@click.option(
    "--peer-log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Verify the log that a peer exported, against the signed head that this agent was given by the peer.",
)
def verify_(database: Path, keys: tuple[str, ...], peer_log: Path | None) -> None:
    """Verify the audit log, and name the first bad entry; the status is 1 where there is one.

    The log itself needs no passphrase; finding it by --name may, where several agents share a home. Without --key, the
    key that signed the log is taken from the log and shown.

    \b
    Examples:
      handfast audit verify --name alice
      handfast audit verify --name bob --peer-log alice.jsonl
    """
    trusted = frozenset(_key_id(key) for key in keys)
    if peer_log is not None:
        lines = _verify_peer_log(database, peer_log, trusted)
    else:
        report = asyncio.run(_read(database, lambda session: verify_log(audit_rows(session), trusted)))
        _refuse_bad(report, must_be_signed=bool(trusted))
        lines = _verdict(report)
        if report.signed_to and not trusted:
            lines.append(
                "Compare this key with the one that handfast identity show tells, or give it as --key."
            )
        lines.append(
            "An end that was cut off shows only to a peer who keeps a later signed head (--peer-log)."
        )
    for line in lines:
        click.echo(line)


def _verify_peer_log(database: Path, peer_log: Path, trusted: frozenset[str]) -> list[str]:
    alone = verify_log(_lines(peer_log), trusted)
    _refuse_bad(alone, must_be_signed=True)
    kept = asyncio.run(_read(database, lambda session: _witnessed(session, alone.key)))
    if kept is None:
        return [
            *_verdict(alone),
            "No head that this key has signed is kept here: an end cut off would not show.",
        ]
    peer_id, head, at = kept
    _refuse_bad(verify_log(_lines(peer_log), trusted, head), must_be_signed=True)
    given = f"the head of entry {head.seq} that {printable(peer_id)} gave us on {at}"
    if head.seq < alone.first:
        return [*_verdict(alone), f"It begins behind {given}; the two were not compared."]
    return [*_verdict(alone), f"It agrees with {given}."]


def _refuse_bad(report: Report, *, must_be_signed: bool) -> None:
    if report.fault is not None:
        raise click.ClickException(
            f"entry {report.fault.seq} of the audit log is bad: {_SENTENCES[report.fault.why]}"
        )
    if not report.last:
        raise click.ClickException("the audit log is empty: there is nothing to verify")
    if must_be_signed and not report.signed_to:
        raise click.ClickException("nothing in the audit log is signed, and a chain alone anybody can make")


def _verdict(report: Report) -> list[str]:
    lines = [f"The audit log holds: entries {report.first} to {report.last} follow from each other."]
    if report.key is None:
        lines.append("Nothing in it is signed, as in logs of version 1: anybody could have made it anew.")
    else:
        lines.append(f"It is signed up to entry {report.signed_to}, by the key {fingerprint(report.key)}.")
        if report.last > report.signed_to + 1:
            lines.append(f"What follows entry {report.signed_to + 1} is chained, but not signed yet.")
    if report.first > 1:
        lines.append(f"What came before entry {report.first} was pruned.")
    if not report.is_anchored:
        lines.append(f"What entry {report.first} itself says could not be verified.")
    return lines


def _key_id(text: str) -> str:
    """A fingerprint, of a public key or as it was typed."""
    try:
        return fingerprint(b64decode(text.strip(), 32))
    except EncodingError:
        digits = "".join(text.split()).lower()
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        raise UsageError(f"{printable(text)!r} is neither a public key nor a fingerprint")
    return " ".join(digits[start : start + 4] for start in range(0, 32, 4))


def _entries(session: Session, last: int, events: tuple[str, ...], peer: str) -> list[Entry]:
    chosen = f"event IN ({', '.join('?' * len(events))})" if events else "TRUE"
    sql = (
        f"SELECT * FROM audit WHERE {chosen} AND substr(peer_id, 1, length(?)) = ? ORDER BY seq DESC LIMIT ?"  # noqa: S608  # question marks only
    )
    return [audit_entry(row) for row in reversed(session.execute(sql, (*events, peer, peer, last)))]


def _witnessed(session: Session, key: bytes | None) -> tuple[str, SignedHead, str] | None:
    """The latest head that `key` has signed: who gave it, the head, and when."""
    if "witness" not in table_names(session):
        return None
    rows = session.execute("SELECT * FROM witness WHERE identity_key = ? ORDER BY n DESC LIMIT 1", (key,))
    head = witnessed_head(rows[0]) if rows else None
    if head is None or not head.holds():
        return None
    return (
        str(rows[0]["peer_id"]),
        head,
        f"{datetime.fromtimestamp(rows[0]['at']).astimezone():%Y-%m-%d %H:%M}",
    )


def _lines(path: Path) -> Iterator[Mapping[str, object]]:
    """The objects of a file of JSON lines, which is read more than once; an empty one for what is none."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file, or no regular one")
    with path.open("rb") as file:
        while line := file.readline(_LINE_BYTES):
            try:
                value = strict_json(line)
            except EncodingError:
                value = None
            yield value if isinstance(value, dict) else {}


async def _read(path: Path, work: Callable[[Session], Any]) -> Any:
    def checked(session: Session) -> Any:
        if "audit" not in table_names(session):
            raise DatabaseError("it holds no audit log, because it is of the first generation")
        return work(session)

    async with opened(path) as database:
        return await database.read(checked)

"""`handfast trust`: whose certificates an agent believes, and which keys it believes no more."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.table import Table
from rich.text import Text

from db_sdk import Row, Session
from handfast.adapters.audit_rows import append_audit
from handfast.adapters.tables import DeadKey, Revocation, TrustedController
from handfast.adapters.trust_store import accept_crl, bury, distrust_controller, trust_controller
from handfast.cli.documents import CONTROLLER, REVOCATION_LIST, TOMBSTONE, read_document, refusal
from handfast.cli.drawing import plain_table, table_console
from handfast.cli.groups import Group
from handfast.cli.options import WORDS, database_options
from handfast.cli.snapshot import opened, require_present_version, table_names
from handfast.crypto.keys import KEY_BYTES, WeakKeyError, require_strong_signing_key
from handfast.errors import PeerError, UsageError
from handfast.identity.names import fingerprint
from handfast.wire.text import EncodingError, b64decode, printable

T = TypeVar("T")


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def trust(context: click.Context) -> None:
    """Controllers whose certificates an agent believes, and what has been revoked.

    An agent believes a peer whose id is made of its key, whose key it has pinned (handfast pins), or who shows a
    certificate of a trusted controller (handfast authority makes one). The agent may be running.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@trust.command()
@click.argument("controller", type=click.Path(path_type=Path))
@database_options
@click.option("--label", type=WORDS, default="", help="What to call it in lists.  [default: the file's name]")
def add(controller: Path, database: Path, label: str) -> None:
    """Believe the certificates of CONTROLLER, a file from `handfast authority init`.

    It may then say which key speaks for any agent that is met for the first time. Compare its fingerprint first.

    \b
    Example:
      handfast trust add acme.controller --name alice
    """
    public = read_document(controller, CONTROLLER)
    try:
        if len(public) != KEY_BYTES:
            raise WeakKeyError
        require_strong_signing_key(public)
    except WeakKeyError:
        raise UsageError(f"{controller}: this is no key of a controller") from None
    name = (label or controller.stem)[:64]

    def work(session: Session, now: float) -> None:
        trust_controller(session, public, name, now)
        append_audit(session, "controller_trusted", None, "", {"key": fingerprint(public)}, now)

    _write(database, work)
    click.echo(f"Trusted: {printable(name)}, {fingerprint(public)}")


@trust.command("list")
@database_options
def list_(database: Path) -> None:
    """List the trusted controllers, how current their revocation lists are, and the keys declared dead.

    \b
    Example:
      handfast trust list --name alice
    """
    rows, dead = asyncio.run(_read(database))
    table_console().print(_controller_table(rows) if rows else "No controller is trusted.")
    if dead:
        click.echo(f"Keys declared dead: {dead}.")


@trust.command()
@click.argument("issuer", type=WORDS)
@database_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(issuer: str, database: Path, yes: bool) -> None:
    """Believe the controller ISSUER no more: its short name, or the beginning of it, as the list shows it.

    Its revocation list goes, too. Keys that were pinned on its word stay pinned: handfast pins remove.

    \b
    Example:
      handfast trust remove uX5W5e8c --name alice
    """
    rows, _ = asyncio.run(_read(database))
    found = [row["issuer"] for row in rows if issuer and row["issuer"].startswith(issuer.rstrip("…"))]
    if len(found) != 1:
        raise UsageError(f"{len(found) or 'no'} trusted controllers have a name that begins with {issuer!r}")
    if not yes and not click.confirm(f"Believe {found[0]} no more?", err=True):
        raise click.ClickException("nothing was removed")

    def work(session: Session, now: float) -> None:
        distrust_controller(session, found[0])
        append_audit(session, "controller_removed", None, "", {"issuer": found[0]}, now)

    _write(database, work)
    click.echo("The controller is removed.")


@trust.command("import-crl")
@click.argument("file", type=click.Path(path_type=Path))
@database_options
def import_crl(file: Path, database: Path) -> None:
    """Keep the revocation list in FILE, of a trusted controller and newer than the one that is kept.

    Sessions with peers that it revokes end with their next message.

    \b
    Example:
      handfast trust import-crl authority_acme.crl --name alice
    """
    raw = read_document(file, REVOCATION_LIST)

    def work(session: Session, now: float) -> int:
        crl = accept_crl(session, raw)
        append_audit(session, "crl", None, "", {"issuer": crl.issuer, "sequence": crl.sequence}, now)
        return len(crl.entries)

    try:
        entries = _write(database, work)
    except PeerError as error:
        raise UsageError(f"{file}: the list is refused: {refusal(error)}") from None
    click.echo(f"The list is kept; it revokes {entries}.")


@trust.command("bury")
@click.argument("file", type=click.Path(path_type=Path))
@database_options
def bury_(file: Path, database: Path) -> None:
    """Believe the key in FILE no more, a tombstone from `handfast identity tombstone`; for good.

    \b
    Example:
      handfast trust bury bob.tombstone --name alice
    """
    raw = read_document(file, TOMBSTONE)

    def work(session: Session, now: float) -> bytes:
        public = bury(session, raw)
        append_audit(session, "key_dead", None, "", {"key": fingerprint(public)}, now)
        return public

    try:
        public = _write(database, work)
    except PeerError as error:
        raise UsageError(f"{file}: the tombstone is refused: {refusal(error)}") from None
    click.echo(f"Dead: {fingerprint(public)}")


def _write(path: Path, work: Callable[[Session, float], T]) -> T:
    def checked(session: Session) -> T:
        require_present_version(session)
        return work(session, time.time())

    async def run() -> T:
        async with opened(path, read_only=False) as database:
            return await database.run(checked)

    return asyncio.run(run())


async def _read(path: Path) -> tuple[list[Row], int]:
    def read(session: Session) -> tuple[list[Row], int]:
        if TrustedController.__tablename__ not in table_names(session):
            return [], 0  # of an earlier version; nobody is trusted in it
        rows = session.find(TrustedController, order_by="id")
        for row in rows:
            row["entries"] = session.count(Revocation, where={"issuer": row["issuer"]})
        return rows, session.count(DeadKey)

    async with opened(path) as database:
        return await database.read(read)


def _controller_table(rows: list[Row]) -> Table:
    table = plain_table("Controller, and its key's fingerprint", "Issuer", "Revocation list")
    for row in rows:
        who = Text.assemble(printable(str(row["name"])), "\n", (_fingerprint(str(row["public"])), "bold"))
        table.add_row(who, printable(str(row["issuer"])[:12]) + "…", _list_state(row))
    return table


def _fingerprint(key: str) -> str:
    try:
        return fingerprint(b64decode(key, KEY_BYTES))
    except EncodingError:
        return "damaged"


def _list_state(row: Row) -> Text:
    if row["crl_sequence"] is None:
        return Text("none")
    text = Text(f"number {row['crl_sequence']}, revokes {row['entries']}")
    if time.time() > row["crl_next"]:
        text.append("\nthe next one is overdue", "bold red")
    return text

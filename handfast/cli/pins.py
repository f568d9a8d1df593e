"""`handfast pins`: list and remove the keys that alone may speak for peers."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from db_sdk import Session
from handfast.adapters.sqlite import append_audit
from handfast.adapters.tables import MIGRATIONS, Pin
from handfast.cli.drawing import pin_table
from handfast.cli.options import database_options
from handfast.cli.snapshot import PinnedKey, opened, pinned_keys, schema_version
from handfast.errors import UsageError
from handfast.wire.text import printable


@click.group(invoke_without_command=True)
@click.pass_context
def pins(context: click.Context) -> None:
    """The keys that alone may speak for peers.

    An agent pins the signing key that a peer first proves to hold. Another key under the same id is refused from then
    on, until a person has removed the pin.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@pins.command("list")
@database_options
def list_(database: Path) -> None:
    """List the pinned keys with their fingerprints, to be compared with what peers say on another way.

    \b
    Example:
      handfast pins list --name alice
    """
    found = asyncio.run(_read(database, ""))
    Console(highlight=False).print(pin_table(found, datetime.now(UTC)) if found else "No key is pinned.")


@pins.command()
@click.argument("peer")
@database_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(peer: str, database: Path, yes: bool) -> None:
    """Remove the pin of PEER, a peer's id or the beginning of it; the agent may be running.

    The next key that the peer proves to hold is pinned instead. Do this when a peer you know says that it has a new
    identity, never because an agent reports `key_changed`.

    \b
    Examples:
      handfast pins remove 9c4195c8 --name alice
      handfast pins remove 9c4195c8 HSAgent-8181bf86-….db
    """
    pin = _the_one(peer, asyncio.run(_read(database, peer)))
    click.echo(f"peer         {printable(str(pin.peer_id))}\nfingerprint  {pin.fingerprint}", err=True)
    if not yes and not click.confirm("Remove this pin?", err=True):
        raise click.ClickException("nothing was removed")
    asyncio.run(_remove(database, pin))
    click.echo("The pin is removed.")


def _the_one(prefix: str, found: list[PinnedKey]) -> PinnedKey:
    if not prefix or not found:
        raise UsageError(f"no key is pinned for a peer whose id begins with {prefix!r}")
    if len(found) > 1:
        raise UsageError(
            f"keys are pinned for {len(found)} peers whose ids begin with {prefix!r}; give more of it"
        )
    return found[0]


async def _read(path: Path, prefix: str) -> list[PinnedKey]:
    async with opened(path) as database:
        return await database.read(lambda session: pinned_keys(session, prefix))


async def _remove(path: Path, pin: PinnedKey) -> None:
    async with opened(path, read_only=False) as database:
        await database.run(lambda session: _unpin(session, pin, time.time()))


def _unpin(session: Session, pin: PinnedKey, now: float) -> None:
    if schema_version(session) != len(MIGRATIONS):
        raise UsageError("the database was written by another version of handfast; nothing was changed")
    where = {"self_id": pin.self_id, "peer_id": pin.peer_id, "sign_pub": pin.sign_pub}
    if not session.delete(Pin, where=where):
        raise UsageError("the pin has changed meanwhile; nothing was removed")
    append_audit(session, "unpinned", None, str(pin.peer_id), {"key": pin.fingerprint}, now)

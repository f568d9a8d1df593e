"""`handfast pins`: list, add and remove the keys that alone may speak for peers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from db_sdk import Session
from handfast.adapters.audit_rows import append_audit
from handfast.adapters.files import read_regular_file
from handfast.adapters.tables import Pin as SigningKeyPin
from handfast.adapters.trust_store import find_pin, remove_pin, write_pin
from handfast.cli.drawing import pin_table, table_console
from handfast.cli.groups import Group
from handfast.cli.options import WORDS, database_options
from handfast.cli.snapshot import PinnedKey, opened, pinned_keys, require_present_version
from handfast.crypto.keys import KEY_BYTES, WeakKeyError, require_strong_signing_key
from handfast.errors import IdentityError, PeerError, UsageError
from handfast.identity.names import fingerprint
from handfast.trust.decision import Pin, Source
from handfast.wire.text import EncodingError, b64decode, printable, strict_json
from handfast.wire.v1 import is_agent_id

_EXPORT_BYTES = 16 * 1024


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def pins(context: click.Context) -> None:
    """The keys that alone may speak for peers.

    An agent pins the key that a peer first proves to hold, for version 1 and for version 2 by itself. Another key under
    the same id is refused from then on, until a person has removed the pin.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@pins.command("list")
@database_options
def list_(database: Path) -> None:
    """List the pinned keys with their fingerprints, to be compared with what peers say on another way.

    The source tells why a key is believed: `manual`, a person pinned it; `cert`, a trusted controller certified it;
    `selfcert`, the id is made of the key; `tofu` and `first sight`, it was the first to claim the id.

    \b
    Example:
      handfast pins list --name alice
    """
    found = asyncio.run(_read(database, ""))
    table_console().print(pin_table(found, datetime.now(UTC)) if found else "No key is pinned.")


@pins.command()
@click.argument("file", type=click.Path(path_type=Path))
@database_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def add(file: Path, database: Path, yes: bool) -> None:
    """Pin the identity key in FILE, which a peer made with `handfast identity export-public`.

    It must have come on a way that you trust. The peer is then believed at the first contact, with this key only and in
    version 2 only. The agent may be running.

    \b
    Example:
      handfast pins add bob.json --name alice
    """
    peer_id, public = _exported(file)
    click.echo(f"peer         {peer_id}\nfingerprint  {fingerprint(public)}", err=True)
    if not yes and not click.confirm("Pin this key?", err=True):
        raise click.ClickException("nothing was pinned")
    asyncio.run(_change(database, lambda session: _pin(session, database, peer_id, public, time.time())))
    click.echo("The key is pinned.")


@pins.command()
@click.argument("peer", type=WORDS)
@database_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(peer: str, database: Path, yes: bool) -> None:
    """Remove the pins of PEER, a peer's id or the beginning of it; the agent may be running.

    A session of version 2 with it ends at its next message; a conversation of version 1 is led to its end. The next key
    that the peer proves to hold is pinned instead. Do this when a peer you know says that it has a new identity, never
    because an agent reports `key_changed` or `pin_conflict`.

    \b
    Examples:
      handfast pins remove 9c4195c8 --name alice
      handfast pins remove 9c4195c8 HSAgent-8181bf86-….db
    """
    found = _of_one_peer(peer, asyncio.run(_read(database, peer)))
    click.echo(f"peer         {printable(str(found[0].peer_id))}", err=True)
    for pin in found:
        click.echo(f"fingerprint  {pin.fingerprint}  (version {pin.version})", err=True)
    question = "Remove this pin?" if len(found) == 1 else "Remove these pins?"
    if not yes and not click.confirm(question, err=True):
        raise click.ClickException("nothing was removed")
    asyncio.run(_change(database, lambda session: _unpin(session, found, time.time())))
    click.echo("The pin is removed." if len(found) == 1 else "The pins are removed.")


def _of_one_peer(prefix: str, found: list[PinnedKey]) -> list[PinnedKey]:
    peers = {pin.peer_id for pin in found}
    if not prefix or not peers:
        raise UsageError(f"no key is pinned for a peer whose id begins with {prefix!r}")
    if len(peers) > 1:
        raise UsageError(
            f"keys are pinned for {len(peers)} peers whose ids begin with {prefix!r}; give more of it"
        )
    return found


async def _read(path: Path, prefix: str) -> list[PinnedKey]:
    async with opened(path) as database:
        return await database.read(lambda session: pinned_keys(session, prefix))


async def _change(path: Path, work: Callable[[Session], None]) -> None:
    def checked(session: Session) -> None:
        require_present_version(session)
        work(session)

    async with opened(path, read_only=False) as database:
        await database.run(checked)


def _unpin(session: Session, found: list[PinnedKey], now: float) -> None:
    for pin in found:
        key = str(pin.self_id), str(pin.peer_id), str(pin.sign_pub)
        is_gone = remove_pin(session, *key) if pin.version == 2 else _remove_signing_key(session, *key)
        if not is_gone:
            raise UsageError("the pin has changed meanwhile; nothing was removed")
        append_audit(session, "unpinned", None, str(pin.peer_id), {"key": pin.fingerprint}, now)


def _remove_signing_key(session: Session, self_id: str, peer_id: str, sign_pub: str) -> bool:
    where = {"self_id": self_id, "peer_id": peer_id, "sign_pub": sign_pub}
    return bool(session.delete(SigningKeyPin, where=where))


def _pin(session: Session, database: Path, peer_id: str, public: bytes, now: float) -> None:
    self_id = database.stem.removeprefix("HSAgent-")
    if not is_agent_id(self_id):
        raise UsageError(f"{database}: its name does not tell whose database it is")
    if peer_id == self_id:
        raise UsageError("that is the agent itself")
    known = find_pin(session, self_id, peer_id)
    if known is not None and known.identity_public != public:
        raise UsageError("another key is pinned for this peer; remove that pin first")
    pin = known or Pin(peer_id, public, Source.MANUAL, first_seen=now, last_seen=now)
    try:
        write_pin(session, self_id, replace(pin, source=Source.MANUAL))
    except PeerError:
        raise UsageError("this key is pinned for another peer") from None
    append_audit(session, "pinned", None, peer_id, {"key": fingerprint(public)}, now)


def _exported(path: Path) -> tuple[str, bytes]:
    try:
        members = strict_json(read_regular_file(path, _EXPORT_BYTES))
        if not isinstance(members, dict) or not is_agent_id(members.get("id")):
            raise EncodingError("no id")
        public = b64decode(str(members.get("identity_key")), KEY_BYTES)
        require_strong_signing_key(public)
    except IdentityError as error:
        raise UsageError(f"{path}: {error}") from None
    except (EncodingError, WeakKeyError):
        raise UsageError(f"{path}: this is nothing that `handfast identity export-public` made") from None
    return str(members["id"]), public

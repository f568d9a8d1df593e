"""`handfast identity`: show, make, re-seal and export identity files; nothing private is ever shown."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import GetPassWarning
from pathlib import Path

import click

from handfast.adapters.files import (
    database_path,
    lock_identity,
    new_identity,
    read_passphrase,
    save_identity,
)
from handfast.cli.options import IdentityFile, identity_options
from handfast.errors import UsageError
from handfast.identity import FORMATS
from handfast.identity.identity import fingerprint
from handfast.wire.text import b64encode


@click.group(invoke_without_command=True)
@click.pass_context
def identity(context: click.Context) -> None:
    """Identity files: who an agent is, sealed under a passphrase."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@identity.command()
@identity_options
def show(file: IdentityFile) -> None:
    """Show the public side of an identity.

    \b
    Example:
      handfast identity show --name alice
    """
    found = file.load(_warn)
    database = database_path(file.home, found.agent_id)
    _show("id", found.agent_id)
    _show("fingerprint", fingerprint(found.signing_key.public))
    _show("signing key", b64encode(found.signing_key.public))
    _show("made", found.created_at)
    _show("file", f"{file.path} ({file.version})")
    _show("database", f"{database}{'' if database.exists() else ' (none yet)'}")


@identity.command()
@identity_options
@click.option("--stronger", is_flag=True, help=f"Write format {FORMATS[-1]}, which is slower to guess.")
def new(file: IdentityFile, stronger: bool) -> None:
    """Make a new identity; a file that is there already is never overwritten.

    \b
    Example:
      handfast identity new --name alice --passphrase-file secret.txt
    """
    version = FORMATS[-1] if stronger else FORMATS[0]
    to_tell: list[str] = []
    with _locked(file):
        made = new_identity()
        save_identity(file.path, made, file.source.find(to_tell.append), version=version)
    for warning in to_tell:
        _warn(warning)
    _show("id", made.agent_id)
    _show("fingerprint", fingerprint(made.signing_key.public))
    _show("file", str(file.path))


@identity.command()
@identity_options
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its first line is the new passphrase. Default: asked for, hidden, twice.",
)
@click.option("--stronger", is_flag=True, help=f"Write format {FORMATS[-1]}, which is slower to guess.")
def passwd(file: IdentityFile, new_passphrase_file: Path | None, stronger: bool) -> None:
    """Seal an identity under another passphrase; the id and the keys stay.

    After a crash there is the old file or the new one, never half of one. The agent must not be running.

    \b
    Example:
      HANDFAST_PASSPHRASE=old handfast identity passwd --name alice
    """
    file.must_exist()
    with _locked(file):
        found = file.load(lambda _: None)
        passphrase = _new_passphrase(new_passphrase_file)
        version = FORMATS[-1] if stronger else file.version
        # through a link, the file itself is replaced and not the link
        path = file.path.resolve()
        save_identity(path, found, passphrase, version=version, replace=True)
    click.echo(f"{file.path} is sealed under the new passphrase ({version}).")


@identity.command("export-public")
@identity_options
def export_public(file: IdentityFile) -> None:
    """Print the id and the public signing key as JSON, to be given to peers on another way than the relay.

    \b
    Example:
      handfast identity export-public --name alice > alice.json
    """
    found = file.load(_warn)
    public = found.signing_key.public
    members = {"id": found.agent_id, "sign_pub": b64encode(public), "fingerprint": fingerprint(public)}
    click.echo(json.dumps(members, indent=2))


@contextmanager
def _locked(file: IdentityFile) -> Iterator[None]:
    try:
        lock = lock_identity(file.path)
    except UsageError:
        raise UsageError(f"{file.path} is in use by a running agent; stop it first") from None
    try:
        yield
    finally:
        lock.release()


def _new_passphrase(file: Path | None) -> bytes:
    if file is not None:
        return read_passphrase(file)
    try:
        with warnings.catch_warnings():
            # where there is no terminal, getpass would warn and then read, and perhaps show, what is typed
            warnings.simplefilter("error", GetPassWarning)
            typed: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    except GetPassWarning:
        raise UsageError("there is no terminal to ask on: give --new-passphrase-file") from None
    return typed.encode()


def _show(what: str, value: str) -> None:
    click.echo(f"{what:<12} {value}")


def _warn(text: str) -> None:
    click.echo(f"WARNING: {text}", err=True)

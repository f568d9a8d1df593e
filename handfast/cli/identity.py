"""`handfast identity`: show, make, renew, certify and export identities; nothing private is ever shown."""

import json
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from getpass import GetPassWarning
from pathlib import Path

import click

from handfast.adapters.files import (
    bring_up_to_date,
    database_path,
    former_identity_path,
    lock_identity,
    new_identity,
    read_passphrase,
    save_identity,
)
from handfast.cli.documents import (
    CERTIFICATE,
    REQUEST,
    TOMBSTONE,
    hand_out,
    out_option,
    read_document,
    refusal,
)
from handfast.cli.groups import Group
from handfast.cli.options import WORDS, IdentityFile, identity_options
from handfast.errors import PeerError, UsageError
from handfast.identity import Identity
from handfast.identity.agent_ids import is_self_certifying
from handfast.identity.names import did_key, fingerprint, jwk_thumbprint
from handfast.trust.certificate import CHALLENGE_BYTES, NAME_CHARACTERS, read_certificate, request_certificate
from handfast.trust.decision import examine
from handfast.trust.revocation import sign_tombstone
from handfast.trust.rotation import rotated_identity
from handfast.wire.text import EncodingError, b64encode, b64url_decode


@click.group(cls=Group, invoke_without_command=True)
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
    public = found.identity_key.public
    _show("id", found.agent_id)
    _show("", "made of the first identity key" if is_self_certifying(found.agent_id) else "chosen by chance")
    _show("fingerprint", fingerprint(public))
    _show("identity key", b64encode(public))
    _show("did", did_key(public))
    _show("thumbprint", jwk_thumbprint(public))
    if found.rotated_key is not None:
        _show("v1 key", f"{b64encode(found.signing_key.public)} (v1 peers know the first key)")
    _show("static key", _static_key_words(found))
    if found.certificate is not None:
        _show("certificate", _certificate_words(found.certificate))
    _show("made", found.created_at)
    _show("file", f"{file.path} ({file.version})")
    _show("database", f"{database}{'' if database.exists() else ' (none yet)'}")


@identity.command()
@identity_options
def new(file: IdentityFile) -> None:
    """Make a new identity; a file that is there already is never overwritten.

    Its id is made of its key, so that peers of version 2 need not trust anybody to know that the two belong together.

    \b
    Example:
      handfast identity new --name alice --passphrase-file secret.txt
    """
    to_tell: list[str] = []
    with _locked(file):
        made = new_identity()
        save_identity(file.path, made, file.source.find(to_tell.append))
    for warning in to_tell:
        _warn(warning)
    _show("id", made.agent_id)
    _show("fingerprint", fingerprint(made.identity_key.public))
    _show("file", str(file.path))


@identity.command()
@identity_options
def migrate(file: IdentityFile) -> None:
    """Give an identity file of the first generation what version 2 needs; an agent does the same when it starts.

    The id and the keys stay, and v1 peers notice nothing. The former file is kept beside the new one, with `.v1` at the
    end of its name: agents of the first generation can still use it. A static key that is due for renewal is renewed.

    \b
    Example:
      handfast identity migrate --name alice
    """
    file.must_exist()
    with _locked(file):
        found, passphrase = file.unsealed(_warn)
        _, done = bring_up_to_date(file.path, found, passphrase, time.time())
    click.echo("\n".join(done) if done else f"{file.path.name} is up to date.")


@identity.command()
@identity_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def rotate(file: IdentityFile, yes: bool) -> None:
    """Take a new identity key; the old one signs that the new one takes over, and the id stays.

    Peers of version 2 follow by themselves, at most eight times. v1 peers go on knowing the first key. A certificate
    names the old key, so ask for a new one. If the old key was stolen, make its tombstone first (handfast identity
    tombstone), and give it to peers once they know the new key: a thief can sign a rotation as well.

    \b
    Example:
      handfast identity rotate --name alice
    """
    file.must_exist()
    with _locked(file):
        found, passphrase = file.unsealed(_warn)
        if not yes and not click.confirm("Give up this identity key for a new one?", err=True):
            raise click.ClickException("nothing was changed")
        found, _ = bring_up_to_date(file.path, found, passphrase, time.time())
        fresh, static = secrets.token_bytes(32), secrets.token_bytes(32)
        rotated = rotated_identity(found, fresh, static, time.time())
        save_identity(file.path.resolve(), rotated, passphrase, replace=True)
    _show("id", rotated.agent_id)
    _show("fingerprint", fingerprint(rotated.identity_key.public))
    if found.certificate is not None:
        _warn("the certificate named the former key and is gone; ask for a new one")


@identity.command()
@click.argument("challenge")
@identity_options
@click.option(
    "--display-name", type=WORDS, default="", help="A name for people, to stand in the certificate."
)
@out_option
def request(challenge: str, file: IdentityFile, display_name: str, out: Path | None) -> None:
    """Ask a controller for a certificate, over the CHALLENGE that it gave out; proves that the key is held.

    \b
    Example:
      handfast identity request CHALLENGE --name alice --out alice.request
    """
    try:
        wanted = b64url_decode(challenge, CHALLENGE_BYTES)
    except EncodingError:
        raise UsageError("that is no challenge of `handfast authority challenge`") from None
    if len(display_name) > NAME_CHARACTERS:
        raise UsageError(f"--display-name takes at most {NAME_CHARACTERS} characters")
    found = file.load(_warn)
    hand_out(out, REQUEST, request_certificate(found, display_name, wanted, time.time()))


@identity.command()
@click.argument("certificate", type=click.Path(path_type=Path))
@identity_options
def install(certificate: Path, file: IdentityFile) -> None:
    """Keep CERTIFICATE, a file from a controller, and show it to peers from the next start on.

    \b
    Example:
      handfast identity install alice.certificate --name alice
    """
    raw = read_document(certificate, CERTIFICATE)
    file.must_exist()
    with _locked(file):
        found, passphrase = file.unsealed(_warn)
        try:
            shown = examine(found.agent_id, found.identity_key.public, found.rotations, raw).certificate
        except PeerError as error:
            raise UsageError(
                f"{certificate}: the certificate does not fit this identity: {refusal(error)}"
            ) from None
        if shown is not None and shown.not_after < time.time():
            raise UsageError(f"{certificate}: the certificate has expired")
        found, _ = bring_up_to_date(file.path, found, passphrase, time.time())
        save_identity(file.path.resolve(), replace(found, certificate=raw), passphrase, replace=True)
    _show("certificate", _certificate_words(raw))


@identity.command()
@identity_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@out_option
def tombstone(file: IdentityFile, yes: bool, out: Path | None) -> None:
    """Declare the identity key dead, for good: everybody who buries it believes it no more.

    The statement takes effect where it is given to people (handfast trust bury). The identity file stays as it is.

    \b
    Example:
      handfast identity tombstone --name alice --out alice.tombstone
    """
    found = file.load(_warn)
    click.echo(f"fingerprint  {fingerprint(found.identity_key.public)}", err=True)
    if not yes and not click.confirm("Declare this key dead?", err=True):
        raise click.ClickException("nothing was declared")
    hand_out(out, TOMBSTONE, sign_tombstone(found.identity_key, time.time()))


@identity.command()
@identity_options
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its first line is the new passphrase. Default: asked for, hidden, twice.",
)
def passwd(file: IdentityFile, new_passphrase_file: Path | None) -> None:
    """Seal an identity under another passphrase; the id, the keys and the file's format stay.

    After a crash there is the old file or the new one, never half of one. The agent must not be running.

    \b
    Example:
      HANDFAST_PASSPHRASE=old handfast identity passwd --name alice
    """
    file.must_exist()
    with _locked(file):
        found = file.load(lambda _: None)
        passphrase = _new_passphrase(new_passphrase_file)
        version = file.version
        # through a link, the file itself is replaced and not the link
        path = file.path.resolve()
        save_identity(path, found, passphrase, version=version, replace=True)
    click.echo(f"{file.path} is sealed under the new passphrase ({version}).")
    former = former_identity_path(path)
    if former.exists():
        _warn(
            f"{former} holds the same keys, still under the former passphrase: remove it when nobody needs it"
        )


@identity.command("export-public")
@identity_options
def export_public(file: IdentityFile) -> None:
    """Print the id and the public keys as JSON, to be given to peers on another way than the relay.

    A peer pins what is in it with `handfast pins add`.

    \b
    Example:
      handfast identity export-public --name alice > alice.json
    """
    found = file.load(_warn)
    public = found.identity_key.public
    members = {
        "id": found.agent_id,
        "identity_key": b64encode(public),
        "fingerprint": fingerprint(public),
        "did": did_key(public),
        "sign_pub": b64encode(found.signing_key.public),
    }
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


def _static_key_words(found: Identity) -> str:
    if not found.static_keys:
        return "none yet; handfast identity migrate makes one"
    return f"until {_day(found.static_key.binding.not_after)}, renewed at a start before then"


def _certificate_words(raw: bytes) -> str:
    shown = read_certificate(raw)
    return f"{shown.serial} of {shown.issuer}, until {_day(shown.not_after)}"


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def _show(what: str, value: str) -> None:
    click.echo(f"{what:<12} {value}")


def _warn(text: str) -> None:
    click.echo(f"WARNING: {text}", err=True)

"""`handfast authority`: a controller in files, which certifies agents and takes certificates back."""

import functools
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from handfast.adapters.authority_files import AuthorityFiles
from handfast.adapters.files import lock_identity, write_atomically
from handfast.cli.documents import (
    CERTIFICATE,
    CONTROLLER,
    REQUEST,
    REVOCATION_LIST,
    document,
    hand_out,
    out_option,
    read_document,
    refusal,
)
from handfast.cli.drawing import plain_table, table_console
from handfast.cli.groups import Group
from handfast.cli.options import WORDS, Command, PassphraseSource, passphrase_options
from handfast.crypto.keys import SigningKey
from handfast.errors import IdentityError, PeerError, UsageError
from handfast.identity.names import did_key, fingerprint
from handfast.trust.authority import Issued, Ledger, challenge_entry, crl_entry, issued_entry, revoked_entry
from handfast.trust.certificate import (
    CHALLENGE_BYTES,
    LONGEST_LIFE,
    Request,
    issue_certificate,
    issuer_of,
    names_its_own_key,
    read_certificate,
    read_request,
)
from handfast.trust.revocation import WHY_CHARACTERS, Revoked, sign_revocation_list
from handfast.wire.text import b64url_encode, printable

_DAY = 86_400
_CHALLENGE_LIFE = 7 * _DAY
_CRL_DAYS = 7


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def authority(context: click.Context) -> None:
    """A controller: its key says which identity key speaks for which agent.

    \b
    To certify alice, and to have her believed:
      handfast authority init --name acme --out acme.controller
      handfast authority challenge --name acme
      handfast identity request CHALLENGE --name alice --out alice.request
      handfast authority issue alice.request --name acme --out alice.certificate
      handfast identity install alice.certificate --name alice
      handfast trust add acme.controller --name bob
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _authority_options(command: Command) -> Command:
    @click.option("--name", required=True, help="The authority's name tag.")
    @click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        metavar="DIR",
        help="Where the authority's files are. Default: here.",
    )
    @passphrase_options
    @functools.wraps(command)
    def wrapper(name: str, home: Path, source: PassphraseSource, **rest: Any) -> Any:
        return command(files=AuthorityFiles(home, name), source=source, **rest)

    return wrapper


@authority.command()
@_authority_options
@out_option
def init(files: AuthorityFiles, source: PassphraseSource, out: Path | None) -> None:
    """Make a new controller: a sealed key, never written over another one.

    What is printed, or written to the file named by --out, is its public key: give it to everybody who is to believe
    its certificates (handfast trust add).

    \b
    Example:
      handfast authority init --name acme --out acme.controller
    """
    with _locked(files, is_new=True):
        key = files.create(source.find(_warn))
    click.echo(f"The controller {fingerprint(key.public)} is made: {files.key_path}", err=True)
    hand_out(out, CONTROLLER, key.public)


@authority.command()
@_authority_options
def show(files: AuthorityFiles, source: PassphraseSource) -> None:
    """Show the public side of a controller, and print its public key again.

    \b
    Example:
      handfast authority show --name acme
    """
    key, ledger = _load(files, source), files.ledger()
    _show("issuer", issuer_of(key.public))
    _show("fingerprint", fingerprint(key.public))
    _show("did", did_key(key.public))
    _show("issued", str(len(ledger.issued)))
    _show("revoked", str(len(ledger.revoked)))
    _show("last list", str(ledger.sequence or "none yet"))
    click.echo(document(CONTROLLER, key.public), nl=False)


@authority.command()
@_authority_options
def challenge(files: AuthorityFiles, source: PassphraseSource) -> None:
    """Print a challenge, which an agent's request must be signed over; needs no passphrase.

    It is good for one certificate within seven days.

    \b
    Example:
      handfast authority challenge --name acme
    """
    del source
    with _locked(files):
        fresh = secrets.token_bytes(CHALLENGE_BYTES)
        files.write_down(challenge_entry(fresh, time.time()))
    click.echo(b64url_encode(fresh))


@authority.command()
@click.argument("request", type=click.Path(path_type=Path))
@_authority_options
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST_LIFE // _DAY),
    default=30,
    show_default=True,
    help="How long it is good for.",
)
@click.option(
    "--cap",
    "capabilities",
    type=WORDS,
    multiple=True,
    metavar="WORD",
    help="A capability; may be given again.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@out_option
def issue(
    request: Path,
    files: AuthorityFiles,
    source: PassphraseSource,
    days: int,
    capabilities: tuple[str, ...],
    yes: bool,
    out: Path | None,
) -> None:
    """Certify the agent that made REQUEST, a file from `handfast identity request`.

    The request proves that whoever made it holds the key. That the agent is who you think it is, you must know: compare
    the fingerprint on another way first.

    \b
    Example:
      handfast authority issue alice.request --name acme --out alice.certificate
    """
    asked = _read_request(request)
    if out is not None and out.exists():
        raise UsageError(f"{out}: there is a file already, and it is not overwritten")
    with _locked(files):
        key, ledger = _load(files, source), files.ledger()
        now = time.time()
        given_out = ledger.challenges.get(b64url_encode(asked.challenge))
        if given_out is None or not given_out <= now <= given_out + _CHALLENGE_LIFE:
            raise UsageError(f"{request}: it answers no challenge of this authority that is still open")
        _ask_about(asked, yes=yes)
        raw = issue_certificate(
            asked,
            key,
            serial=secrets.token_hex(16),
            now=now,
            life=days * _DAY,
            capabilities=capabilities,
        )
        files.write_down(issued_entry(read_certificate(raw), asked.challenge))
    hand_out(out, CERTIFICATE, raw)


@authority.command()
@click.argument("what")
@_authority_options
@click.option("--why", type=WORDS, default="", help="A few words, for everybody who reads the list.")
@click.option(
    "--key", "with_key", is_flag=True, help="Revoke the key, too: it is refused also where it is pinned."
)
@click.option(
    "--days", type=click.IntRange(1, 365), default=_CRL_DAYS, show_default=True, help="Next list due."
)
def revoke(
    what: str, files: AuthorityFiles, source: PassphraseSource, why: str, with_key: bool, days: int
) -> None:
    """Take back WHAT, a certificate's serial or an agent's id with all its certificates, and sign a new list.

    Give the list to everybody who believes this authority (handfast trust import-crl): before they have it, they know
    nothing of the revocation.

    \b
    Examples:
      handfast authority revoke 3f0c0a6a1c4e4ed2a1b0c5d6e7f80912 --name acme
      handfast authority revoke AGENT_ID --key --why "key stolen" --name acme
    """
    if len(why) > WHY_CHARACTERS:
        raise UsageError(f"--why takes at most {WHY_CHARACTERS} characters")
    with _locked(files):
        key, ledger = _load(files, source), files.ledger()
        now = int(time.time())
        found = [one for one in ledger.issued.values() if what in (one.serial, one.agent_id)]
        if not found:
            raise UsageError(f"no certificate was issued with the serial, or for the agent, {what!r}")
        fresh = _not_yet_revoked(found, ledger, now, why, with_key=with_key)
        if not fresh:
            raise UsageError("that has been revoked already; handfast authority crl signs the list again")
        _sign_list(files, key, ledger, days, fresh)
    click.echo(f"{len(fresh)} revoked; the new list is {files.crl_path}.")


@authority.command()
@_authority_options
@click.option(
    "--days", type=click.IntRange(1, 365), default=_CRL_DAYS, show_default=True, help="Next list due."
)
def crl(files: AuthorityFiles, source: PassphraseSource, days: int) -> None:
    """Sign the revocation list again, so that it is current; with a higher number, whatever it holds.

    \b
    Example:
      handfast authority crl --name acme
    """
    with _locked(files):
        key, ledger = _load(files, source), files.ledger()
        _sign_list(files, key, ledger, days)
    click.echo(f"List {ledger.sequence}, which revokes {len(ledger.revoked)}, is {files.crl_path}.")


@authority.command("list")
@_authority_options
def list_(files: AuthorityFiles, source: PassphraseSource) -> None:
    """List the certificates that were issued; needs no passphrase.

    \b
    Example:
      handfast authority list --name acme
    """
    del source
    _must_exist(files)
    ledger = files.ledger()
    if not ledger.issued:
        click.echo("No certificate was issued.")
        return
    table = plain_table("Serial and agent", "Name", "Until", "")
    for one in ledger.issued.values():
        who = Text.assemble((one.serial, "bold"), "\n", printable(one.agent_id))
        until = f"{datetime.fromtimestamp(one.not_after, UTC):%Y-%m-%d}"
        state = "revoked" if ledger.is_revoked(one) else "expired" if one.not_after < time.time() else ""
        table.add_row(who, printable(one.name), until, state)
    table_console().print(table)


def _not_yet_revoked(
    found: list[Issued], ledger: Ledger, at: int, why: str, *, with_key: bool
) -> list[Revoked]:
    serials = {one.serial for one in ledger.revoked}
    keys = {one.identity_public for one in ledger.revoked}
    fresh = [Revoked(one.serial, None, at, why) for one in found if one.serial not in serials]
    if with_key:
        wanted = dict.fromkeys(one.identity_public for one in found if one.identity_public not in keys)
        fresh.extend(Revoked(None, public, at, why) for public in wanted)
    return fresh


def _sign_list(
    files: AuthorityFiles, key: SigningKey, ledger: Ledger, days: int, fresh: Sequence[Revoked] = ()
) -> None:
    """Take back what is fresh, and hand out the next list."""
    now = time.time()
    ledger.revoked.extend(fresh)
    ledger.sequence += 1
    # first, since a list may be too long: then nothing was revoked
    raw = sign_revocation_list(key, ledger.revoked, sequence=ledger.sequence, now=now, life=days * _DAY)
    files.write_down(*(revoked_entry(entry) for entry in fresh), crl_entry(ledger.sequence, now))
    line = document(REVOCATION_LIST, raw).encode("ascii")
    write_atomically(files.crl_path, line, replace=True, mode=0o644)


def _read_request(path: Path) -> Request:
    raw = read_document(path, REQUEST)
    try:
        asked = read_request(raw)
    except PeerError as error:
        raise UsageError(f"{path}: the request is refused: {refusal(error)}") from None
    return asked


def _ask_about(asked: Request, *, yes: bool) -> None:
    click.echo(
        f"agent        {asked.agent_id}\n"
        f"name         {printable(asked.name) or '–'}\n"
        f"fingerprint  {fingerprint(asked.identity_public)}",
        err=True,
    )
    if not names_its_own_key(asked):
        click.echo("The id is of another key, from which this one must have been rotated.", err=True)
    if not yes and not click.confirm("Certify that this key speaks for this agent?", err=True):
        raise click.ClickException("nothing was issued")


def _load(files: AuthorityFiles, source: PassphraseSource) -> SigningKey:
    _must_exist(files)
    return files.load(source.find(_warn))


def _must_exist(files: AuthorityFiles) -> None:
    if not files.key_path.exists():
        raise IdentityError(f"{files.key_path}: no such authority; handfast authority init makes one")


@contextmanager
def _locked(files: AuthorityFiles, *, is_new: bool = False) -> Iterator[None]:
    if not is_new:
        _must_exist(files)
    lock = lock_identity(files.key_path)
    try:
        yield
    finally:
        lock.release()


def _show(what: str, value: str) -> None:
    click.echo(f"{what:<12} {value}")


def _warn(text: str) -> None:
    click.echo(f"WARNING: {text}", err=True)

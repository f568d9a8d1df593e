"""Signed statements as files that people hand to each other: one line, its kind and its bytes in base64url."""

from pathlib import Path

import click

from handfast.adapters.files import read_regular_file, write_atomically
from handfast.errors import IdentityError, PeerError, UsageError
from handfast.trust.revocation import CRL_BYTES
from handfast.wire.text import EncodingError, b64url_decode, b64url_encode

REQUEST = "handfast-request"
CERTIFICATE = "handfast-certificate"
CONTROLLER = "handfast-controller"
REVOCATION_LIST = "handfast-crl"
TOMBSTONE = "handfast-tombstone"

_KINDS = {
    REQUEST: "a request",
    CERTIFICATE: "a certificate",
    CONTROLLER: "a controller's key",
    REVOCATION_LIST: "a revocation list",
    TOMBSTONE: "a tombstone",
}
_FILE_BYTES = 2 * CRL_BYTES  # the longest statement, in base64url


def document(kind: str, raw: bytes) -> str:
    """The line."""
    return f"{kind} {b64url_encode(raw)}\n"


def read_document(path: Path, kind: str) -> bytes:
    """The bytes of a statement in a file.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        words = read_regular_file(path, _FILE_BYTES).decode("ascii").split()
        if len(words) != 2 or words[0] != kind:
            raise UsageError(
                f"{path}: this is not {_KINDS[kind]}: such a file is one line that begins with {kind}"
            )
        return b64url_decode(words[1])
    except IdentityError as error:
        raise UsageError(f"{path}: {error}") from None
    except (UnicodeDecodeError, EncodingError):
        raise UsageError(f"{path}: this is not {_KINDS[kind]}, or a damaged one") from None


def refusal(error: PeerError) -> str:
    """Why a statement is refused, in words for people: without the stable word that programs read."""
    return str(error).removeprefix(f"{error.reason}: ")


def hand_out(path: Path | None, kind: str, raw: bytes) -> None:
    """Write a statement to a file, never over another one, or to standard output where none is named.

    Raises:
        IdentityError: there is a file already, or it cannot be written.
    """
    if path is None:
        click.echo(document(kind, raw), nl=False)
    else:
        # anybody may read what is signed; it holds no secret
        write_atomically(path, document(kind, raw).encode("ascii"), mode=0o644)
        click.echo(f"{path} is written.", err=True)


out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to FILE, which must not exist yet. Default: standard output.",
)

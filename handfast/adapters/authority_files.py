"""A file-based controller on disk: a sealed key, a ledger that only grows, and the newest revocation list."""

import os
import secrets
from pathlib import Path

from handfast.adapters.files import check_name, read_regular_file, write_atomically
from handfast.crypto.keys import SigningKey
from handfast.errors import IdentityError
from handfast.identity.sealed import NONCE_BYTES, SALT_BYTES
from handfast.trust.authority import AUTHORITY_BYTES, Ledger, open_authority, seal_authority
from handfast.wire.text import Json, canonical_json

# Some hundred thousand certificates; a ledger of more belongs into a service.
_LEDGER_BYTES = 64 * 1024 * 1024


class AuthorityFiles:
    """The files of the controller called `name`; at most one process may use them at a time.

    Args:
        home: the directory.
        name: its name tag.

    Raises:
        UsageError: the name does not belong into file names.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.key_path = home / f"authority_{check_name(name)}.json"
        self.ledger_path = self.key_path.with_suffix(".ledger")
        self.crl_path = self.key_path.with_suffix(".crl")

    def create(self, passphrase: bytes) -> SigningKey:
        """Make a new key and an empty ledger.

        Raises:
            IdentityError: there is one already, or the disk refused.
        """
        if self.key_path.exists():
            raise IdentityError(f"{self.key_path}: there is a file already, and it is not overwritten")
        if self.ledger_path.exists() and self.ledger_path.stat().st_size:
            raise IdentityError(f"{self.ledger_path}: this is the ledger of a key that is gone")
        # before the key, so that a ledger that is missing beside its key was lost
        write_atomically(self.ledger_path, b"", replace=True)
        key = SigningKey(secrets.token_bytes(32))
        salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
        write_atomically(self.key_path, seal_authority(key, passphrase, salt=salt, nonce=nonce))
        return key

    def load(self, passphrase: bytes) -> SigningKey:
        """The key.

        Raises:
            IdentityError: it cannot be read, is damaged, or is sealed with another passphrase.
        """
        try:
            return open_authority(read_regular_file(self.key_path, AUTHORITY_BYTES), passphrase)
        except IdentityError as error:
            raise IdentityError(f"{self.key_path}: {error}") from None

    def ledger(self) -> Ledger:
        """What was given out and taken back so far.

        Raises:
            IdentityError: the ledger is missing, cannot be read, or is damaged.
        """
        self._must_have_a_ledger()
        try:
            raw = read_regular_file(self.ledger_path, _LEDGER_BYTES)
            # a line without its end was cut off by a crash; nothing that it speaks of has left the house
            return Ledger.read([line for line in raw.split(b"\n")[:-1] if line])
        except IdentityError as error:
            raise IdentityError(f"{self.ledger_path}: {error}") from None

    def write_down(self, *entries: dict[str, Json]) -> None:
        """Add to the ledger, and make sure that it is on the disk.

        Raises:
            IdentityError: the ledger is missing, or the disk refused.
        """
        self._must_have_a_ledger()
        lines = b"".join(canonical_json(entry) + b"\n" for entry in entries)
        try:
            descriptor = os.open(self.ledger_path, os.O_RDWR | os.O_APPEND)
            with os.fdopen(descriptor, "rb+", buffering=0) as file:
                _drop_torn_line(file.fileno())
                file.write(lines)
                os.fsync(file.fileno())
        except OSError as error:
            raise IdentityError(f"{self.ledger_path}: cannot be written: {error.strerror}") from None

    def _must_have_a_ledger(self) -> None:
        if not self.ledger_path.exists():
            raise IdentityError(
                f"{self.ledger_path}: the ledger is missing, and with it what was issued and revoked; "
                "put it back from a copy"
            )


def _drop_torn_line(descriptor: int) -> None:
    """Cut off what a crash has left of a line; it would otherwise grow together with the next one."""
    end = size = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    if end != size:
        os.ftruncate(descriptor, end)

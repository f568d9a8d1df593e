"""Identity files on disk: read with bounds, written atomically and never over another by accident, one process each."""

import os
import re
import secrets
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import IdentityError, UsageError
from handfast.identity import Identity, identity_format, open_identity, seal_identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.file import FILE_BYTES
from handfast.identity.sealed import NONCE_BYTES, SALT_BYTES

PASSPHRASE_VARIABLE = "HANDFAST_PASSPHRASE"  # noqa: S105  # the name of a variable, not a secret
DEMO_PASSPHRASE = b"handfast-demonstration-only"

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_PASSPHRASE_BYTES = 4096


def check_name(name: str) -> str:
    """The name tag of an agent, which becomes part of file names.

    Raises:
        UsageError: it is empty, too long, or holds a character that does not belong into a file name.
    """
    if not name or len(name) > 64 or not set(name) <= _NAME_CHARACTERS or name.startswith("."):
        raise UsageError(
            "a name has 1 to 64 letters, digits, dots, dashes or underscores, and begins with no dot"
        )
    return name


def identity_path(home: Path, name: str) -> Path:
    """Where the identity of the agent called `name` lies."""
    return home / f"id_agent_{check_name(name)}.json"


def database_path(home: Path, agent_id: str) -> Path:
    """Where the database of the agent with this id lies."""
    return home / f"HSAgent-{agent_id}.db"


def former_identity_path(path: Path) -> Path:
    """Where the file of an identity is kept that was migrated: beside it, under a name that no agent's identity has."""
    return path.with_name(f"{path.name}.v1")


def new_identity() -> Identity:
    """A new self-certifying agent id with new keys, from the system's randomness and clock."""
    now = datetime.now(UTC)
    signing_key = SigningKey(secrets.token_bytes(32))
    return Identity(
        agent_id=self_certifying_id(signing_key.public),
        created_at=now.isoformat(timespec="seconds"),
        exchange_key=ExchangeKey(secrets.token_bytes(32)),
        signing_key=signing_key,
        stored_database_key=Secret(secrets.token_bytes(32)),
    ).with_static_key(secrets.token_bytes(32), now.timestamp())


def load_identity(path: Path, passphrase: bytes) -> Identity:
    """The identity in the file at `path`, which stays as it is.

    Raises:
        IdentityError: it cannot be read, is none, is damaged, or is sealed with another passphrase.
    """
    try:
        return open_identity(read_regular_file(path, FILE_BYTES), passphrase)
    except IdentityError as error:
        raise IdentityError(f"{path}: {error}") from None


def save_identity(
    path: Path, identity: Identity, passphrase: bytes, *, version: str = "id.v2", replace: bool = False
) -> None:
    """Write an identity file, mode 0600, atomically: after a crash there is the old file or the new one.

    Args:
        path: where.
        identity: what.
        passphrase: what it is sealed with.
        version: the file's format.
        replace: whether a file that is there already may be replaced.

    Raises:
        IdentityError: there is a file already, or the disk refused.
        UsageError: the format has no place for all of the identity's keys.
    """
    raw = seal_identity(
        identity,
        passphrase,
        salt=secrets.token_bytes(SALT_BYTES),
        nonce=secrets.token_bytes(NONCE_BYTES),
        version=version,
    )
    write_atomically(path, raw, replace=replace)


def write_atomically(path: Path, raw: bytes, *, replace: bool = False, mode: int = 0o600) -> None:
    """Write a whole file and make sure that it is on the disk.

    Args:
        path: where.
        raw: what.
        replace: whether a file that is there already may be replaced.
        mode: who may read it.

    Raises:
        IdentityError: there is a file already, or the disk refused.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                _name_exclusively(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError:
        raise IdentityError(f"{path}: there is a file already, and it is not overwritten") from None
    except OSError as error:
        raise IdentityError(f"{path}: cannot be written: {error.strerror}") from None


def load_or_create_identity(path: Path, passphrase: bytes) -> tuple[Identity, bool]:
    """The identity at `path`, and whether it was made just now because there was none.

    Raises:
        IdentityError: as `load_identity` and `save_identity`.
    """
    # a dangling link is no missing file: creating through it would put keys somewhere unexpected
    if path.exists() or path.is_symlink():
        return load_identity(path, passphrase), False
    identity = new_identity()
    save_identity(path, identity, passphrase)
    return identity, True


def bring_up_to_date(
    path: Path, identity: Identity, passphrase: bytes, now: float
) -> tuple[Identity, list[str]]:
    """Give an identity what it lacks for version 2, and a new static key when that is due; the file follows.

    Call it while the identity is locked. The id and the keys stay. A file of format id.v1 is kept beside the new one,
    under `former_identity_path`; at every moment of a crash a whole file holds the keys.

    Args:
        path: the file that `identity` was loaded from.
        identity: what it holds.
        passphrase: what it is sealed with.
        now: seconds since 1970 UTC.

    Returns:
        The identity as it is in the file now, and what was done, in words for a log.

    Raises:
        IdentityError: the disk refused; the file is as it was.
    """
    path = path.resolve()  # through a link, the file itself is replaced and not the link
    current = identity if identity.is_current(now) else identity.with_static_key(secrets.token_bytes(32), now)
    current = current.with_database_key()
    if current == identity:
        return identity, []
    done = [f"made a new static key for {path.name}"]
    former = read_regular_file(path, FILE_BYTES)
    if identity_format(former) == "id.v1":
        done = [f"{path.name} has format id.v2 now; the former file is kept as {_keep(path, former).name}"]
    save_identity(path, current, passphrase, replace=True)
    return current, done


def is_readable_by_others(path: Path) -> bool:
    """Whether other users of this machine can read the file at `path`; first-generation agents leave it so."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file: its first line, without the line end.

    Raises:
        UsageError: the file cannot be read, or its first line is empty.
    """
    try:
        first_line = read_regular_file(path, _PASSPHRASE_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
    except IdentityError as error:
        raise UsageError(f"passphrase file {path}: {error}") from None
    if not first_line:
        raise UsageError(f"passphrase file {path}: its first line is empty")
    return first_line


def read_psk(path: Path) -> Secret:
    """A pre-shared key: 32 bytes as 64 hex digits, in the first line of a file.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        first_line = read_regular_file(path, _PASSPHRASE_BYTES).split(b"\n", 1)[0].strip()
    except IdentityError as error:
        raise UsageError(f"pre-shared key {path}: {error}") from None
    if re.fullmatch(rb"[0-9A-Fa-f]{64}", first_line) is None:
        raise UsageError(f"pre-shared key {path}: its first line must be 64 hex digits, 32 random bytes")
    return Secret(bytes.fromhex(first_line.decode("ascii")))


def find_passphrase(
    passphrase_file: Path | None, keychain_entry: str | None, *, demo: bool, warn: Callable[[str], None]
) -> bytes:
    """The passphrase from the first source that was named: a file, the system's keychain, the environment, the demo.

    Args:
        passphrase_file: a file that holds it.
        keychain_entry: the account under service "handfast" in the system's keychain.
        demo: whether the demonstration passphrase was asked for by name.
        warn: told, loudly, when the demonstration passphrase is used.

    Raises:
        UsageError: the source that was named has none.
    """
    if passphrase_file is not None:
        return read_passphrase(passphrase_file)
    if keychain_entry is not None:
        return _from_keychain(keychain_entry)
    from_environment = os.environ.get(PASSPHRASE_VARIABLE)
    if from_environment is not None and not demo:
        if not from_environment:
            raise UsageError(f"{PASSPHRASE_VARIABLE} is set, but empty")
        return os.fsencode(from_environment)
    warn(
        "the identity file is sealed with the public DEMONSTRATION passphrase: anybody who reads the file has the keys. "
        f"Set {PASSPHRASE_VARIABLE} or give --passphrase-file for anything but a demonstration."
    )
    return DEMO_PASSPHRASE


def lock_identity(path: Path) -> FileLock:
    """Make sure that this process is the only one that uses the identity at `path`; released when the process ends.

    Raises:
        UsageError: another process uses it.
        IdentityError: the lock file cannot be made.
    """
    lock = FileLock(path.with_suffix(".lock"), thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"{path.name} in {path.parent} is in use by another process: give this one another --name or --home"
        ) from None
    except OSError as error:
        raise IdentityError(f"{path.parent}: cannot be used as a home: {error.strerror}") from None
    return lock


def read_regular_file(path: Path, at_most: int) -> bytes:
    """The bytes of a file, never waiting for a pipe and never reading more than `at_most`.

    Raises:
        IdentityError: it cannot be read, is no regular file, or is longer; the text does not name it.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IdentityError("not a regular file")
            raw = file.read(at_most + 1)
    except OSError as error:
        raise IdentityError(f"cannot be read: {error.strerror}") from None
    if len(raw) > at_most:
        raise IdentityError("too large")
    return raw


def _from_keychain(entry: str) -> bytes:
    try:
        import keyring  # noqa: PLC0415  # an optional extra, needed by this function alone
    except ImportError:
        raise UsageError(
            "the system's keychain needs one more package: pip install 'handfast[keychain]'"
        ) from None
    try:
        found = keyring.get_password("handfast", entry)
    except keyring.errors.KeyringError as error:
        raise UsageError(f"the system's keychain refused: {type(error).__name__}") from None
    if not found:
        raise UsageError(
            f"the system's keychain has no passphrase for {entry!r} under the service 'handfast'"
        )
    return str(found).encode()


def _keep(path: Path, raw: bytes) -> Path:
    """A copy of the former file; one that is there with other content, from an earlier migration, stays as well."""
    first = former_identity_path(path)
    for kept in (first, *(first.with_name(f"{first.name}.{number}") for number in range(2, 100))):
        if not (kept.exists() or kept.is_symlink()):
            write_atomically(kept, raw)
            return kept
        if read_regular_file(kept, FILE_BYTES) == raw:  # a crash came between the copy and the new file
            return kept
    raise IdentityError(f"{first}: there are too many former files beside it")


def _name_exclusively(temporary: Path, path: Path) -> None:
    try:
        # a link, unlike a rename, fails where the name is taken, even if it was taken just now
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (
        OSError
    ):  # a file system without links, such as exFAT; the identity's lock keeps other processes out
        if path.exists() or path.is_symlink():
            raise FileExistsError from None
        temporary.replace(path)


def _sync_directory(path: Path) -> None:
    if os.name != "posix":  # elsewhere a directory cannot be opened for this
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

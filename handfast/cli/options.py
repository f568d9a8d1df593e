"""Flags that several commands share: whose identity, which database, and where the passphrase comes from."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from handfast.adapters.files import (
    PASSPHRASE_VARIABLE,
    database_path,
    find_passphrase,
    identity_path,
    load_identity,
)
from handfast.agent_script import default_home
from handfast.errors import IdentityError, UsageError
from handfast.identity import Identity, identity_format

Command = Callable[..., Any]


class _Words(click.types.StringParamType):
    """Text that can be written down: what a terminal sends in another encoding than its own cannot."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("this is not text in the terminal's encoding", param, ctx)
        return text


WORDS = _Words()


@dataclass(frozen=True)
class PassphraseSource:
    """Where the passphrase of an identity file is to come from; the first that was named.

    Attributes:
        file: a file whose first line it is.
        keychain: the entry in the system's keychain.
        demo: the public demonstration passphrase was asked for by name.
    """

    file: Path | None
    keychain: str | None
    demo: bool

    def find(self, warn: Callable[[str], None]) -> bytes:
        """The passphrase.

        Args:
            warn: told when it is the demonstration passphrase.

        Raises:
            UsageError: the source that was named has none.
        """
        return find_passphrase(self.file, self.keychain, demo=self.demo, warn=warn)


@dataclass(frozen=True)
class IdentityFile:
    """The identity file that a command is about.

    Attributes:
        home: the directory.
        name: the agent's name tag.
        source: where its passphrase comes from.
    """

    home: Path
    name: str
    source: PassphraseSource

    @property
    def path(self) -> Path:
        """The file."""
        return identity_path(self.home, self.name)

    @property
    def version(self) -> str:
        """The format of a file that was loaded just before."""
        return identity_format(self.path.read_bytes())

    def load(self, warn: Callable[[str], None]) -> Identity:
        """The identity in the file; see `unsealed`."""
        return self.unsealed(warn)[0]

    def unsealed(self, warn: Callable[[str], None]) -> tuple[Identity, bytes]:
        """The identity in the file, and the passphrase that opened it.

        Args:
            warn: told when it is sealed with the demonstration passphrase.

        Raises:
            IdentityError: there is none, or it does not open.
            UsageError: the passphrase source that was named has none.
        """
        self.must_exist()
        warnings: list[str] = []
        passphrase = self.source.find(warnings.append)
        try:
            identity = load_identity(self.path, passphrase)
        except IdentityError as error:
            if not warnings or self.source.demo:
                raise
            hint = f"set {PASSPHRASE_VARIABLE} or give --passphrase-file"
            raise IdentityError(f"{error} (tried the demonstration passphrase: {hint} for another)") from None
        for warning in warnings:
            warn(warning)
        return identity, passphrase

    def must_exist(self) -> None:
        """Raise an IdentityError unless there is such a file."""
        if not self.path.exists():
            raise IdentityError(f"{self.path}: no such identity; handfast identity new makes one")

    def database(self) -> Path:
        """The database of this agent, found without the passphrase where only one can be meant.

        Raises:
            IdentityError: as `load`.
            UsageError: the agent has no database yet.
        """
        self.must_exist()
        databases = list(self.home.glob("HSAgent-*.db"))
        alone = len(databases) == 1 and len(list(self.home.glob("id_agent_*.json"))) == 1
        path = databases[0] if alone else database_path(self.home, self.load(lambda _: None).agent_id)
        if not path.exists():
            raise UsageError(f"{self.name} has no database in {self.home} yet; its first run makes one")
        return path


def identity_options(command: Command) -> Command:
    """--name, --home and the passphrase's source, as one argument `file`."""

    @click.option("--name", required=True, help="The agent's name tag.")
    @_home_option
    @passphrase_options
    @functools.wraps(command)
    def wrapper(name: str, home: Path | None, source: PassphraseSource, **rest: Any) -> Any:
        return command(file=IdentityFile(home or default_home(), name, source), **rest)

    return wrapper


def database_options(command: Command) -> Command:
    """[DATABASE], or --name with --home and the passphrase's source, as one argument `database`."""

    @click.argument("database", type=click.Path(path_type=Path), required=False)
    @click.option("--name", help="The agent's name tag, instead of the DATABASE's path.")
    @_home_option
    @passphrase_options
    @functools.wraps(command)
    def wrapper(
        database: Path | None, name: str | None, home: Path | None, source: PassphraseSource, **rest: Any
    ) -> Any:
        if (database is None) == (name is None):
            raise click.UsageError("give either the path of a DATABASE or --name NAME")
        if name is not None:
            database = IdentityFile(home or default_home(), name, source).database()
        return command(database=database, **rest)

    return wrapper


_home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the agent's files are. Default: beside the agent's script in a checkout, else here.",
)


def passphrase_options(command: Command) -> Command:
    """Where a passphrase comes from, as one argument `source`."""

    @click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Its first line is the passphrase. Default: ${PASSPHRASE_VARIABLE}, else the demonstration's.",
    )
    @click.option("--keychain", metavar="ENTRY", help="Take the passphrase from the system's keychain.")
    @click.option("--demo-passphrase", is_flag=True, help="Use the public demonstration passphrase.")
    @functools.wraps(command)
    def wrapper(
        passphrase_file: Path | None, keychain: str | None, demo_passphrase: bool, **rest: Any
    ) -> Any:
        return command(source=PassphraseSource(passphrase_file, keychain, demo_passphrase), **rest)

    return wrapper

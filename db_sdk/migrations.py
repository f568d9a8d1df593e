"""Migrations: numbered steps that bring a database's tables from any earlier form to the present one.

SQLite keeps the number of the last step in the file's header (`user_version`); a file that never saw a step
has 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db_sdk.errors import FutureVersion, UsageError
from db_sdk.session import Session


@dataclass(frozen=True, slots=True)
class Migration:
    """One step.

    Attributes:
        number: 1 for the first; the next one is one higher.
        name: what it does, for the reader and for the errors.
        step: one statement of SQL text, several of them, or a function of the session.
    """

    number: int
    name: str
    step: str | Sequence[str] | Callable[[Session], object]


def check(migrations: Sequence[Migration]) -> None:
    """Raise a UsageError unless the numbers are 1, 2, 3 and so on."""
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise UsageError("migrations are numbered 1, 2, 3 and so on, without a gap")


def migrate(session: Session, migrations: Sequence[Migration]) -> list[int]:
    """Apply what was not yet applied, each in a transaction of its own.

    Returns:
        The numbers of those applied now.

    Raises:
        FutureVersion: the file knows of steps that are not among these; nothing was touched.
    """
    if _version(session) > len(migrations):
        raise FutureVersion(
            f"the database has version {_version(session)}, this program knows {len(migrations)}: "
            "it was written by a newer one"
        )
    return [migration.number for migration in migrations[_version(session) :] if _apply(session, migration)]


def _apply(session: Session, migration: Migration) -> bool:
    with session.transaction():
        if _version(session) >= migration.number:
            return False  # another process was faster
        try:
            if callable(migration.step):
                migration.step(session)
            else:
                for statement in [migration.step] if isinstance(migration.step, str) else migration.step:
                    session.execute(statement)
        except Exception as error:
            error.add_note(f"in migration {migration.number}, {migration.name}")
            raise
        session.execute(f"PRAGMA user_version = {migration.number:d}")
    return True


def _version(session: Session) -> int:
    return int(session.execute("PRAGMA user_version")[0]["user_version"])

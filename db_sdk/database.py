"""Database: the way in. One SQLite file, one connection, safe to use from many tasks of one event loop."""

import math
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from db_sdk import migrations
from db_sdk.connection import Connection
from db_sdk.errors import Closed, UsageError
from db_sdk.fields import Stored
from db_sdk.session import Row, Session

T = TypeVar("T")

Location = str | os.PathLike[str]


class Database:
    """One SQLite database.

    It is in WAL mode, with foreign keys, and a commit survives the process but not of necessity a loss of
    power (`synchronous = NORMAL`). Every call below is made for one task at a time, first come, first served.
    A task that is cancelled while it waits for its turn leaves no trace; one whose statement is running is
    cancelled when that has ended. Every error is a `DatabaseError`.

    Args:
        path: the file, made if it is not there; ":memory:" keeps everything in memory.
        busy_timeout: for how many seconds to wait for the lock of another connection.
        read_only: open a file that is there, and never write to it.

    Raises:
        UsageError: a path or a timeout that cannot be meant.
    """

    def __init__(self, path: Location, *, busy_timeout: float = 5.0, read_only: bool = False) -> None:
        location = os.fspath(path)
        if not isinstance(location, str) or not location or "\0" in location:
            raise UsageError("the path must be a text, not empty and without NUL")
        if not (math.isfinite(busy_timeout) and 0 <= busy_timeout <= 3600):
            raise UsageError("busy_timeout must be from 0 to 3600 seconds")
        self.path = location
        self._location = f"{Path(location).absolute().as_uri()}?mode=ro" if read_only else location
        self._read_only = read_only
        self._busy_timeout = busy_timeout
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        return f"Database({self.path!r})"

    async def open(self) -> Self:
        """Open the file.

        Raises:
            CannotOpen: no such directory, no permission, or `read_only` and no such file.
            Corrupt: the file is no database.
            Locked: another connection holds it.
            UsageError: it is open already.
        """
        if self._connection is not None and not self._connection.closed:
            raise UsageError("the database is open already")
        self._connection = Connection(
            self._location, read_only=self._read_only, busy_timeout=self._busy_timeout
        )
        try:
            await self._connection.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close the file: what is running ends first, what waits is refused, an open transaction is undone.

        A second call does nothing. The call may come from another event loop than those before, whose loop
        may be closed.
        """
        if self._connection is not None and not self._connection.closed:
            await self._connection.close()

    def close_sync(self) -> None:
        """`close` for code that cannot await; blocks until what is running has ended."""
        if self._connection is not None and not self._connection.closed:
            self._connection.close_sync()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        """Run a plain function on the database's thread, in one transaction and one hop.

        It begins IMMEDIATE, so that nothing which `work` reads can change before it writes. It is committed
        when `work` returns and undone when it raises. Inside `transaction()` of the same task it is a
        savepoint.

        Args:
            work: gets the `Session`; it must not use the event loop, and while it runs all others wait.
            write: False as for `read`.

        Returns:
            What `work` returned; what it raised is raised.
        """
        return await self.call(lambda session: session.run(work, write))

    async def read(self, work: Callable[[Session], T]) -> T:
        """`run` for a `work` that only reads: it sees one state of the database and holds up no other writer.

        Raises:
            UsageError: it wrote; that was undone.
        """
        return await self.run(work, write=False)

    async def call(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one hop without a transaction around it: each of its statements is one of its own."""
        return await self._opened().call(work)

    async def execute(
        self, sql: str, parameters: "Sequence[Stored] | Mapping[str, Stored]" = ()
    ) -> list[Row]:
        """Run one statement of SQL text; see `Session.execute`."""
        return await self.call(lambda session: session.execute(sql, parameters))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction of several awaited calls of this task; those of all other tasks wait until it ends.

        It begins IMMEDIATE, is committed at the end of the block and undone when the block raises or is
        cancelled. Inside another one of the same task it is a savepoint. Prefer `run`, which is one hop where
        this is two and one for every call. Await no other task inside the block that uses the database: it
        would wait for this one (`asyncio.wait_for` makes such a task before Python 3.12; `asyncio.timeout`
        never does).
        """
        async with self._opened().transaction():
            yield

    async def migrate(self, steps: Sequence[migrations.Migration]) -> list[int]:
        """Apply the steps that this file has not seen yet, each once and in a transaction of its own.

        Returns:
            The numbers of those applied now.

        Raises:
            FutureVersion: the file was written by a newer program; nothing was touched.
            UsageError: the steps are not numbered 1, 2, 3 and so on.
        """
        migrations.check(steps)
        return await self.call(lambda session: migrations.migrate(session, steps))

    def _opened(self) -> Connection:
        if self._connection is None:
            raise Closed("the database is not open")
        return self._connection

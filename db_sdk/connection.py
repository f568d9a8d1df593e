"""Connection: the database's thread, the way of a function to it and back, and whose turn it is.

All that knows aiosqlite or threads stands here. aiosqlite makes the thread and its queue, opens the
connection and closes it; what runs there is ours, so that a whole unit of work is one hop and not one hop per
statement.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import aiosqlite

from db_sdk.errors import REFUSALS, Closed, UsageError, translated
from db_sdk.session import Session

T = TypeVar("T")

_KEPT_STATEMENTS = 256


class Hop(Generic[T]):
    """One call of a function on another thread, and the task that waits for its outcome.

    Args:
        function: what to call.
        opens_for: the task whose transaction it begins, None where it begins none.
    """

    def __init__(self, function: Callable[[], T], opens_for: "asyncio.Task[Any] | None" = None) -> None:
        self.opens_for = opens_for
        self.sent = False
        self._function = function
        self.loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[None] = self.loop.create_future()
        self._done = False
        self._value: T
        self._error: BaseException | None = None

    def __call__(self) -> None:
        """Call the function; on the other thread. Never raises."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - it travels to the task that waits
            self._error = error
        self._answer()

    def refuse(self, error: Exception) -> None:
        """End a hop that is not going to be sent; from any thread."""
        self._error = error
        self._answer()

    async def outcome(self) -> T:
        """What the function returned or raised.

        A task that is cancelled takes a hop with it that was not yet sent. One that was sent ends first: only
        then is it known that nothing of it is still running.
        """
        cancelled = False
        while not self._done:
            try:
                await self._reply
            except asyncio.CancelledError:
                if not self.sent:
                    raise
                cancelled = True
                self._reply = self.loop.create_future()  # the old one was cancelled along with the task
        if cancelled:
            raise asyncio.CancelledError
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            self._error = None  # else the error, its traceback, this frame and the hop hold each other

    def _answer(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._arrive)

    def _arrive(self) -> None:
        self._done = True
        if not self._reply.done():
            self._reply.set_result(None)


class _NoReply:
    """Stands where aiosqlite expects the future to answer.

    A `Hop` answers by itself. aiosqlite's own way ends its thread, with a traceback and with every later
    caller waiting for ever, when the loop of a future is closed before the answer comes.
    """

    def get_loop(self) -> "_NoReply":
        return self

    def call_soon_threadsafe(self, *_answer: object) -> None:
        """There is nobody to tell."""


_NO_REPLY = _NoReply()


class Connection:
    """One open database: a thread, a session on it, and the order in which tasks get at it.

    What needs no transaction of several hops goes straight to the thread's queue, first come, first served.
    While a task has such a transaction open, the hops of all others wait here, in the same order.
    """

    def __init__(self, location: str, *, read_only: bool, busy_timeout: float) -> None:
        self._location = location
        self._read_only = read_only
        self._busy_timeout = busy_timeout
        self.closed = False
        self._ready = False
        self._owner: asyncio.Task[Any] | None = None
        self._waiting: dict[Hop[Any], None] = {}
        self._gate = threading.RLock()  # close may come from another thread, garbage collection at any moment
        self._at_the_door = threading.Lock()  # one opening or closing at a time
        self._aiosqlite: aiosqlite.Connection | None = None
        self._queue: SimpleQueue[tuple[Any, Callable[[], object]]]
        self._thread: threading.Thread | None = None
        self._session: Session

    async def open(self) -> None:
        """Make the thread, open the file and set it up."""
        await _aside(self._open)

    async def close(self) -> None:
        """Finish what was sent, refuse what waits, undo an open transaction, end the thread."""
        self._refuse_all()
        await _aside(self._close)

    def close_sync(self) -> None:
        """`close`, where no loop runs or none may be waited for."""
        self._refuse_all()
        if threading.current_thread() is self._thread:
            raise UsageError("the database's own thread cannot close it")
        helper = threading.Thread(target=self._close, daemon=True)
        try:
            helper.start()
        except RuntimeError:  # no more threads, as when Python 3.12 exits
            self._close()
        else:
            helper.join()

    async def call(self, work: Callable[[Session], T], opens_for: "asyncio.Task[Any] | None" = None) -> T:
        """Run `work` on the database's thread when it is this task's turn.

        Raises:
            Closed: the database is not open, or was closed before the turn came.
        """
        hop = Hop(lambda: self._session.perform(work), opens_for)
        with self._gate:
            if not self._ready:
                raise Closed("the database is not open")
            if self._owner is not None and self._owner.get_loop().is_closed():
                self._post(partial(self._session.undo, 0))  # its transaction was abandoned with the loop
                self._pass_on()
            if self._owner is None or self._owner is asyncio.current_task():
                self._send(hop)
            else:
                self._waiting[hop] = None
        try:
            return await hop.outcome()
        finally:
            if not hop.sent:
                with self._gate:
                    self._waiting.pop(hop, None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction of several hops, or a level inside the one that this task has open already."""
        task = asyncio.current_task()
        if task is None:
            raise UsageError("a transaction belongs to a task, and here is none")
        if not self._ready:
            raise Closed("the database is not open")
        outermost = self._owner is not task
        scope = self._session.transaction()
        try:
            await self.call(lambda _: scope.__enter__(), opens_for=task)
            yield
            await self.call(lambda _: scope.__exit__(None, None, None))
        except GeneratorExit:  # the task was abandoned; nothing can be awaited any more
            if self._owner is task:
                self._post(partial(scope.__exit__, GeneratorExit, None, None))
            raise
        except BaseException as error:
            kind = type(error)
            if self._owner is task:
                with suppress(Closed):
                    await self.call(lambda _: scope.__exit__(kind, None, None))
            raise
        finally:
            if outermost and self._owner is task:
                with self._gate:
                    self._pass_on()

    def _send(self, hop: Hop[Any]) -> None:
        hop.sent = True
        if hop.opens_for is not None:
            self._owner = hop.opens_for
        self._post(hop)

    def _post(self, function: Callable[[], object]) -> None:
        self._queue.put_nowait((_NO_REPLY, function))

    def _pass_on(self) -> None:
        """The turn goes to whoever waits longest, and to all behind up to the next transaction."""
        self._owner = None
        while self._waiting and self._owner is None:
            hop = next(iter(self._waiting))
            self._waiting.pop(hop, None)
            if not hop.loop.is_closed():
                self._send(hop)

    def _refuse_all(self) -> None:
        with self._gate:
            self._ready = False
            waiting, self._waiting = self._waiting, {}
        for hop in waiting:
            hop.refuse(Closed("the database was closed"))

    def _open(self) -> None:
        with self._at_the_door, asyncio.Runner() as runner:
            try:
                runner.run(self._connect())
            except REFUSALS as error:
                self._join()  # it still answers to the runner's loop
                raise translated(error) from None
            self._ready = True

    async def _connect(self) -> None:
        # Made on a daemon thread, aiosqlite's thread is one as well: a process that forgets to close can
        # still exit.
        self._aiosqlite = aiosqlite.connect(
            self._location,
            uri=self._read_only,
            timeout=self._busy_timeout,
            isolation_level=None,
            cached_statements=_KEPT_STATEMENTS,
            factory=self._set_up,
        )
        # The one private attribute of aiosqlite that is used here: it has no public way to its thread by
        # which a call outlives the loop that it came from.
        self._queue = self._aiosqlite._tx  # noqa: SLF001
        await self._aiosqlite

    def _set_up(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Make the connection that aiosqlite opens; on the database's thread."""
        self._thread = threading.current_thread()
        connection = sqlite3.Connection(*arguments, **options)
        try:
            connection.execute("PRAGMA user_version").fetchone()  # reads the file: is it a database at all?
            connection.execute("PRAGMA foreign_keys = ON")
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        self._session = Session(connection)
        return connection

    def _close(self) -> None:
        with self._at_the_door, asyncio.Runner() as runner:
            self._ready = False
            if self._aiosqlite is not None:
                runner.run(self._aiosqlite.close())
                self._join()
            self.closed = True

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()


async def _aside(function: Callable[[], None]) -> None:
    """Call a blocking function on a short-lived thread of its own.

    Opening and closing go this way, each with a loop of its own, because the caller's loop may end while
    aiosqlite still has to answer to it.
    """
    hop = Hop(function)
    hop.sent = True
    helper = threading.Thread(target=hop, daemon=True)
    helper.start()
    try:
        await hop.outcome()
    finally:
        helper.join(1)  # it has answered, or nobody waits

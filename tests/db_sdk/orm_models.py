"""What the ORM's tests share: a model with every type, a session without a thread, a work that waits."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from db_sdk import Field, Model, Session


class Item(Model):
    """One field of every type; `name` is unique once `with_items` made the index."""

    __tablename__ = "item"
    id = Field("INTEGER", primary_key=True)
    name = Field("TEXT", nullable=False)
    number = Field("INTEGER")
    weight = Field("REAL")
    data = Field("BLOB")
    flag = Field("BOOLEAN")
    at = Field("DATETIME")
    order = Field("JSON")  # also a reserved word of SQL


class Recorder(sqlite3.Connection):
    """Keeps every SQL text that it is given."""

    texts: list[str]

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        """Keep the text and run it."""
        self.texts.append(sql)
        return super().execute(sql, parameters)  # type: ignore[arg-type]


@contextmanager
def session_in_memory() -> Iterator[tuple[Session, list[str]]]:
    """A session on this thread, with the tables of `Item`, and the SQL texts that it runs from now on."""
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=Recorder)
    connection.texts = []
    try:
        session = Session(connection)
        session.create_table(Item)
        session.create_index(Item, "uq_item_name", ["name"], unique=True)
        connection.texts.clear()
        yield session, connection.texts
    finally:
        connection.close()


class Gate:
    """A work that stands still on the database's thread until it is let go, then inserts a row named "gate".

    Made on the event loop of the test.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._let_go = threading.Event()

    def __call__(self, session: Session) -> None:
        self.stand_still()
        session.insert(Item, name="gate")

    def stand_still(self) -> None:
        """Tell the test, and wait for it."""
        self._loop.call_soon_threadsafe(self._reached.set)
        if not self._let_go.wait(20):
            raise TimeoutError

    async def reached(self) -> None:
        """Wait until the database's thread stands here."""
        await asyncio.wait_for(self._reached.wait(), 20)

    def let_go(self) -> None:
        """Let the database's thread go on."""
        self._let_go.set()

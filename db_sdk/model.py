"""Model: a table as a class, with the verbs of `Session` as coroutines; no logic but the way to it."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from db_sdk.database import Database, Location
from db_sdk.session import Declared, Session

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    verb: Callable[Concatenate[Session, type[Declared], P], T],
) -> Callable[Concatenate[type[Declared], Database | Location, P], Coroutine[Any, Any, T]]:
    """The verb with a database, or the path of one to be opened for this call, in place of the session."""

    @wraps(verb)
    async def face(
        model: type[Declared], database: Database | Location, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def work(session: Session) -> T:
            return verb(session, model, *args, **kwargs)

        if isinstance(database, Database):
            return await database.call(work)
        async with Database(database) as opened:
            return await opened.call(work)

    return face


class Model(Declared):
    """Base of the classes that stand for tables.

    ```
    class Peer(Model):
        __tablename__ = "peer"
        id = Field("INTEGER", primary_key=True)
        name = Field("TEXT", nullable=False)
        seen_at = Field("DATETIME", default="CURRENT_TIMESTAMP", on_update="CURRENT_TIMESTAMP")

    async with Database("peers.db") as db:
        await Peer.create_table(db)
        await Peer.insert(db, name="alice")
        await Peer.find(db, where={"name__in": ["alice", "bob"]}, order_by="-seen_at", limit=10)
    ```

    A row is a plain dict. Each verb takes the `Database`, or a path, and then what the verb of `Session`
    takes; what they do and raise is written there.
    """

    create_table = classmethod(_awaited(Session.create_table))
    create_index = classmethod(_awaited(Session.create_index))
    insert = classmethod(_awaited(Session.insert))
    insert_or_ignore = classmethod(_awaited(Session.insert_or_ignore))
    upsert = classmethod(_awaited(Session.upsert))
    find = classmethod(_awaited(Session.find))
    first = classmethod(_awaited(Session.first))
    update = classmethod(_awaited(Session.update))
    delete = classmethod(_awaited(Session.delete))
    get_or_create = classmethod(_awaited(Session.get_or_create))
    exists = classmethod(_awaited(Session.exists))
    count = classmethod(_awaited(Session.count))

"""What the ORM costs: the same rows written by plain `sqlite3`, by `Database.run`, and verb by awaited verb.

Two loads. `rows`: many rows in one transaction, where only the making of statements counts. `messages`: what
one inbound message of a conversation needs, a row read, one updated and two inserted, each message in a
transaction of its own.

    python -m benchmarks.orm
"""

import asyncio
import itertools
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from benchmarks.measure import Result, print_table, ratio
from db_sdk import Database, Field, Model, Session

Load = Callable[[Database, int], Coroutine[Any, Any, None]]


class Pair(Model):
    """The state of a conversation."""

    __tablename__ = "pair"
    id = Field("INTEGER", primary_key=True)
    peer_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False)
    state = Field("TEXT")
    exchanges = Field("INTEGER", nullable=False, default=0)


class Nonce(Model):
    """A nonce that was seen."""

    __tablename__ = "nonce"
    id = Field("INTEGER", primary_key=True)
    peer_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False)
    nonce = Field("TEXT", nullable=False)


WHO = {"peer_id": "9c4195c8-dc41-4f4d-8cc4-6cd0fb5436ef", "role": "initiator"}
WHO_SQL = "peer_id = ? AND role = ?"
WHO_VALUES = tuple(WHO.values())
INSERT_NONCE = "INSERT INTO nonce (peer_id, role, nonce) VALUES (?, ?, ?)"


def nonce(number: int) -> str:
    """A nonce of the usual length."""
    return f"{number:032x}"


async def prepare(db: Database) -> None:
    """The tables, an index and the one pair."""
    for model in (Pair, Nonce):
        await model.create_table(db)
    await Pair.create_index(db, "uq_pair", list(WHO), unique=True)
    await Pair.insert(db, **WHO)


def rows_plain(path: str, rows: int) -> float:
    """All rows in one transaction of `sqlite3`."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    start = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    for number in range(rows):
        connection.execute(INSERT_NONCE, (*WHO_VALUES, nonce(number)))
    connection.execute("COMMIT")
    taken = time.perf_counter() - start
    connection.close()
    return taken


def messages_plain(path: str, messages: int) -> float:
    """Every message in a transaction of `sqlite3`, on this thread."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    start = time.perf_counter()
    for number in range(messages):
        connection.execute("BEGIN IMMEDIATE")
        count = connection.execute(f"SELECT * FROM pair WHERE {WHO_SQL}", WHO_VALUES).fetchone()[4]
        connection.execute(
            f"UPDATE pair SET state = ?, exchanges = ? WHERE {WHO_SQL}",
            ("init_exchange", count + 1, *WHO_VALUES),
        )
        connection.execute(INSERT_NONCE, (*WHO_VALUES, nonce(number)))
        connection.execute(INSERT_NONCE, (*WHO_VALUES, nonce(number + messages)))
        connection.execute("COMMIT")
    taken = time.perf_counter() - start
    connection.close()
    return taken


async def rows_run(db: Database, rows: int) -> None:
    """All rows in one hop."""

    def work(session: Session) -> None:
        for number in range(rows):
            session.insert(Nonce, **WHO, nonce=nonce(number))

    await db.run(work)


async def rows_verbs(db: Database, rows: int) -> None:
    """All rows in one transaction, a hop for each."""
    async with db.transaction():
        for number in range(rows):
            await Nonce.insert(db, **WHO, nonce=nonce(number))


async def messages_run(db: Database, messages: int) -> None:
    """Every message in one hop."""
    for number in range(messages):

        def work(session: Session, number: int = number) -> None:
            pair = session.first(Pair, WHO)
            count = pair["exchanges"] if pair else 0
            session.update(Pair, {"state": "init_exchange", "exchanges": count + 1}, WHO)
            session.insert(Nonce, **WHO, nonce=nonce(number))
            session.insert(Nonce, **WHO, nonce=nonce(number + messages))

        await db.run(work)


async def messages_verbs(db: Database, messages: int) -> None:
    """Every message in a transaction of awaited verbs: six hops."""
    for number in range(messages):
        async with db.transaction():
            pair = await Pair.first(db, WHO)
            count = pair["exchanges"] if pair else 0
            await Pair.update(db, {"state": "init_exchange", "exchanges": count + 1}, WHO)
            await Nonce.insert(db, **WHO, nonce=nonce(number))
            await Nonce.insert(db, **WHO, nonce=nonce(number + messages))


async def measured(load: Load, size: int, path: str) -> float:
    """Seconds that `load` takes."""
    async with Database(path) as db:
        start = time.perf_counter()
        await load(db, size)
        return time.perf_counter() - start


async def compare(
    title: str,
    size: int,
    plain: Callable[[str, int], float],
    loads: Mapping[str, Load],
    rounds: int,
) -> list[Result]:
    """Run each way in turns, on fresh databases; seconds are per row or message."""
    seconds: dict[str, list[float]] = {"plain": [], **{name: [] for name in loads}}
    with tempfile.TemporaryDirectory() as home:
        paths = (f"{home}/{number}.db" for number in itertools.count())

        async def fresh() -> str:
            async with Database(path := next(paths)) as db:
                await prepare(db)
            return path

        for _ in range(rounds):
            seconds["plain"].append(plain(await fresh(), size) / size)
            for name, load in loads.items():
                seconds[name].append(await measured(load, size, await fresh()) / size)
    return [
        Result(
            f"db_sdk, {title}, {name} / plain sqlite3",
            1e6 * statistics.median(seconds[name]),
            "us each",
            ratio(seconds[name], seconds["plain"]),
        )
        for name in loads
    ]


async def everything(rows: int, messages: int, rounds: int) -> list[Result]:
    """Both loads."""
    return [
        *await compare(
            "rows in one transaction",
            rows,
            rows_plain,
            {"Database.run": rows_run, "awaited verbs": rows_verbs},
            rounds,
        ),
        *await compare(
            "messages, a transaction each",
            messages,
            messages_plain,
            {"Database.run": messages_run, "awaited verbs": messages_verbs},
            rounds,
        ),
    ]


def run(rows: int = 5_000, messages: int = 500, rounds: int = 5) -> list[Result]:
    """Both loads, each against plain `sqlite3`."""
    return asyncio.run(everything(rows, messages, rounds))


if __name__ == "__main__":
    print_table(run())

"""Opening and closing: whatever happens, no call hangs, no thread is left, and the process can exit."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import threading

import aiosqlite
import pytest
from orm_models import Gate, Item

from db_sdk import CannotOpen, Closed, Corrupt, Database, DatabaseError, Locked, UsageError


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def path(tmp_path):
    return tmp_path / "items.db"


async def opened(path):
    db = await Database(path).open()
    await Item.create_table(db)
    return db


def rows(path):
    connection = sqlite3.connect(path)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]
    finally:
        connection.close()


def bounded(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def test_the_settings_are_those_that_are_promised(path):
    async with Database(path, busy_timeout=1.5) as db:
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 1),
            ("foreign_keys", 1),
            ("busy_timeout", 1500),
        ):
            row = (await db.execute(f"PRAGMA {pragma}"))[0]
            assert next(iter(row.values())) == value


async def test_a_database_may_live_in_memory():
    async with Database(":memory:") as db:
        await Item.create_table(db)
        await Item.insert(db, name="a")
        assert await Item.count(db) == 1


async def test_a_verb_takes_a_path_and_leaves_nothing_open(path):
    await Item.create_table(path)
    assert await Item.insert(str(path), name="a") == 1
    assert await Item.find(path, fields=["name"]) == [{"name": "a"}]
    with pytest.raises(UsageError):
        await Item.find(path, {"nme": 1})


async def test_what_is_not_open_says_so(path):
    db = Database(path)
    for _ in range(2):
        with pytest.raises(Closed):
            await Item.count(db)
        with pytest.raises(Closed):
            await db.run(lambda session: None)
        with pytest.raises(Closed):
            async with db.transaction():
                pass
        await db.open()
        await db.close()


async def test_a_database_is_opened_once_at_a_time_and_again_after_it_was_closed(path):
    db = await opened(path)
    with pytest.raises(UsageError):
        await db.open()
    await Item.insert(db, name="a")
    await db.close()
    async with db:
        assert await Item.count(db) == 1


async def test_closing_twice_or_without_opening_does_nothing(path):
    db = Database(path)
    await db.close()
    db.close_sync()
    await db.open()
    await asyncio.gather(db.close(), db.close())
    await db.close()
    db.close_sync()


async def test_closing_waits_for_what_runs_and_refuses_what_waits(path):
    db, gate = await opened(path), Gate()
    running = asyncio.create_task(db.run(gate))
    await gate.reached()
    queued = asyncio.create_task(Item.insert(db, name="queued"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    with pytest.raises(Closed):
        await Item.insert(db, name="late")
    gate.let_go()
    async with asyncio.timeout(20):
        await asyncio.gather(running, queued, closing)
    assert rows(path) == ["gate", "queued"]


async def test_closing_undoes_an_open_transaction_and_refuses_its_task_and_those_behind_it(path):
    db, inside, go_on = await opened(path), asyncio.Event(), asyncio.Event()

    async def holder():
        async with db.transaction():
            await Item.insert(db, name="undone")
            inside.set()
            await go_on.wait()

    held = asyncio.create_task(holder())
    await inside.wait()
    waiting = asyncio.create_task(Item.insert(db, name="never"))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await db.close()
        go_on.set()
        for task in (held, waiting):
            with pytest.raises(Closed):
                await task
    assert rows(path) == []


async def test_a_task_that_is_cancelled_after_the_close_ends_as_cancelled(path):
    db, inside = await opened(path), asyncio.Event()

    async def holder():
        async with db.transaction():
            inside.set()
            await asyncio.Event().wait()

    held = asyncio.create_task(holder())
    await inside.wait()
    await db.close()
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(held, 20)


async def test_closing_inside_of_an_own_transaction_undoes_it(path):
    db = await opened(path)
    with pytest.raises(Closed):
        async with asyncio.timeout(20), db.transaction():
            await Item.insert(db, name="undone")
            await db.close()
    assert rows(path) == []


async def test_closing_after_a_task_was_cancelled_in_mid_statement(path):
    db, gate = await opened(path), Gate()
    running = asyncio.create_task(db.run(gate))
    await gate.reached()
    running.cancel()
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    closing.cancel()
    gate.let_go()
    for task in (running, closing):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
    with pytest.raises(Closed):
        await Item.count(db)
    assert rows(path) == ["gate"]


async def test_close_sync_works_while_a_loop_runs(path):
    db = await opened(path)
    running = asyncio.create_task(Item.insert(db, name="sent"))
    await asyncio.sleep(0)
    db.close_sync()
    await asyncio.wait_for(running, 20)
    assert rows(path) == ["sent"]


async def test_the_databases_own_thread_cannot_close_it(path):
    db = await opened(path)
    with pytest.raises(UsageError):
        await db.call(lambda session: db.close_sync())
    await db.close()


@pytest.mark.parametrize("way", ["close_sync", "close on another loop", "close_sync from another thread"])
@pytest.mark.parametrize("left", ["idle", "transaction", "statement"])
def test_closing_when_the_loop_is_closed_already(path, way, left):
    async def use():
        db, gate = await opened(path), Gate()
        tasks = []
        if left == "transaction":
            context = db.transaction()
            await context.__aenter__()
            await Item.insert(db, name="undone")
            tasks.append(context)
        if left == "statement":
            tasks.append(asyncio.ensure_future(db.run(gate)))
            await gate.reached()
        return db, gate, tasks

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # the Summoner runtime leaves its closed loop as the current one
    db, gate, _tasks = loop.run_until_complete(asyncio.wait_for(use(), 20))
    loop.close()
    gate.let_go()
    try:
        if way == "close_sync":
            db.close_sync()
        elif way == "close on another loop":
            bounded(db.close())
        else:
            closer = threading.Thread(target=db.close_sync)
            closer.start()
            closer.join(20)
    finally:
        asyncio.set_event_loop(None)
    assert rows(path) == (["gate"] if left == "statement" else [])
    with pytest.raises(Closed):
        bounded(Item.count(db))


def test_a_close_that_was_abandoned_with_its_loop_is_finished_by_the_next_one(path):
    async def use():
        db, gate = await opened(path), Gate()
        tasks = [asyncio.ensure_future(db.run(gate))]
        await gate.reached()
        tasks.append(asyncio.ensure_future(db.close()))
        await asyncio.sleep(0)
        return db, gate, tasks

    loop = asyncio.new_event_loop()
    db, gate, _tasks = loop.run_until_complete(asyncio.wait_for(use(), 20))
    loop.close()
    gate.let_go()
    db.close_sync()
    assert rows(path) == ["gate"]


async def test_an_open_that_is_cancelled_leaves_nothing_open(path):
    db = Database(path)
    opening = asyncio.create_task(db.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(opening, 20)
    with pytest.raises(Closed):
        await Item.count(db)
    async with db:
        await Item.create_table(db)


async def test_a_close_that_meets_an_open_leaves_nothing_open(path):
    db = Database(path)
    opening = asyncio.create_task(db.open())
    await asyncio.sleep(0)
    await asyncio.wait_for(db.close(), 20)
    await asyncio.wait_for(opening, 20)
    with pytest.raises(Closed):
        await Item.count(db)


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_file_that_cannot_be_opened_is_an_error_and_leaves_nothing_open(tmp_path, read_only):
    (tmp_path / "garbage").write_bytes(b"no database" * 1000)
    locked = sqlite3.connect(tmp_path / "locked", isolation_level=None)
    locked.execute("CREATE TABLE t (x)")
    locked.execute("BEGIN EXCLUSIVE")
    for name, kind in (
        (".", DatabaseError),
        ("none/x.db", CannotOpen),
        ("garbage", Corrupt),
        ("locked", Locked),
    ):
        db = Database(tmp_path / name, read_only=read_only, busy_timeout=0)
        with pytest.raises(kind):
            await db.open()
        with pytest.raises(Closed):
            await Item.count(db)
    locked.close()
    with pytest.raises(CannotOpen):
        await Database(tmp_path / "missing.db", read_only=True).open()
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes"])
def test_a_path_that_cannot_be_meant_is_refused(path):
    with pytest.raises(UsageError):
        Database(path)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 10**9])
def test_a_timeout_that_cannot_be_meant_is_refused(path, seconds):
    with pytest.raises(UsageError):
        Database(path, busy_timeout=seconds)


async def test_a_path_is_a_path_and_never_a_uri(tmp_path):
    odd = tmp_path / "file:a?mode=memory#b%20.db"
    async with Database(odd) as db:
        await Item.create_table(db)
    assert odd.exists()
    async with Database(odd, read_only=True) as db:
        assert await Item.count(db) == 0


async def test_the_one_private_thing_of_aiosqlite_that_is_relied_on_is_still_there():
    class Nobody:
        def get_loop(self):
            return self

        def call_soon_threadsafe(self, *_):
            answered.set()

    answered, threads = threading.Event(), []
    connection = aiosqlite.connect(":memory:")
    try:
        await connection
        connection._tx.put_nowait((Nobody(), lambda: threads.append(threading.current_thread())))
        assert answered.wait(20), "aiosqlite no longer calls what db_sdk.connection puts into its queue"
        assert threads != [threading.main_thread()]
    finally:
        await connection.close()
    threads[0].join(20)


ENDINGS = {
    "forgotten while open": "",
    "forgotten in a transaction": (
        "await db.transaction().__aenter__(); await db.execute('INSERT INTO t VALUES (2)')"
    ),
    "closed at exit": "atexit.register(db.close_sync)",
    "exit from inside of a statement": (
        "inside = threading.Event(); "
        "asyncio.ensure_future(db.call(lambda session: (inside.set(), time.sleep(3600)))); "
        "await asyncio.sleep(0); inside.wait(10)"
    ),
    "an error that nobody catches": "raise SystemExit(0)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_forgets_to_close_still_exits(path, ending):
    program = f"""
        import asyncio, atexit, threading, time
        from db_sdk import Database

        async def main():
            global db
            db = await Database({str(path)!r}).open()
            await db.execute("CREATE TABLE t (x)")
            await db.execute("INSERT INTO t VALUES (1)")
            {ENDINGS[ending]}

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        timeout=20,
        check=False,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "Traceback" not in ended.stderr
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    connection.close()


def test_every_error_is_of_one_tree():
    assert issubclass(Closed, UsageError)
    assert issubclass(UsageError, DatabaseError)

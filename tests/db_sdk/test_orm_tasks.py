"""Many tasks on one database: transactions, turns, cancellation, abandoned event loops."""

import asyncio
import contextlib
import gc
import sqlite3

import pytest
from orm_models import Gate, Item

from db_sdk import Database, UniqueViolation, UsageError


@pytest.fixture
async def db(tmp_path):
    async with asyncio.timeout(30), Database(tmp_path / "items.db", busy_timeout=0.1) as db:
        await Item.create_table(db)
        await Item.create_index(db, "uq_item_name", ["name"], unique=True)
        yield db


async def names(db):
    return [row["name"] for row in await Item.find(db, order_by="id")]


async def turns(count=20):
    """Let everything else that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_run_commits_what_returns_and_undoes_what_raises(db):
    def kept(session):
        session.insert(Item, name="a")
        return session.count(Item)

    def undone(session):
        session.insert(Item, name="b")
        raise KeyError("why")

    assert await db.run(kept) == 1
    with pytest.raises(KeyError, match="why"):
        await db.run(undone)
    assert await names(db) == ["a"]


async def test_run_holds_the_write_lock_from_its_beginning(db):
    other = sqlite3.connect(db.path, timeout=0, isolation_level=None)

    def work(session):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other_in_this_thread = sqlite3.connect(db.path, timeout=0, isolation_level=None)
            try:
                other_in_this_thread.execute("BEGIN IMMEDIATE")
            finally:
                other_in_this_thread.close()

    with contextlib.closing(other):
        await db.run(work)
        other.execute("BEGIN IMMEDIATE")
        await db.read(lambda session: session.count(Item))


async def test_a_read_sees_one_state_even_while_another_connection_writes(db):
    other = sqlite3.connect(db.path, timeout=0, isolation_level=None, check_same_thread=False)

    def work(session):
        before = session.count(Item)
        other.execute("INSERT INTO item (name) VALUES ('x')")
        return before, session.count(Item)

    with contextlib.closing(other):
        assert await db.read(work) == (0, 0)
        assert await names(db) == ["x"]


@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.insert(Item, name="a"),
        lambda session: session.execute("INSERT INTO item (name) VALUES ('a')"),
    ],
)
async def test_a_read_that_writes_is_refused_and_undone(db, write):
    with pytest.raises(UsageError):
        await db.read(write)
    async with db.transaction():
        await Item.insert(db, name="b")
        with pytest.raises(UsageError):
            await db.run(write, write=False)
    assert await names(db) == ["b"]


async def test_work_must_be_a_plain_function(db):
    async def work(session):
        session.insert(Item, name="a")

    with pytest.raises(UsageError, match="plain function"):
        await db.run(work)


async def test_a_transaction_that_only_sql_text_began_is_refused_and_undone(db):
    with pytest.raises(UsageError, match="transaction"):
        await db.execute("BEGIN IMMEDIATE")

    def work(session):
        session.execute("BEGIN IMMEDIATE")
        session.insert(Item, name="a")
        raise KeyError

    with pytest.raises(KeyError):
        await db.call(work)
    await Item.insert(db, name="b")
    assert await names(db) == ["b"]


async def test_what_a_work_raises_arrives_whatever_it_is(db):
    for error in (StopIteration("x"), GeneratorExit("x"), SystemExit("x"), asyncio.CancelledError("x")):

        def work(session, error=error):
            session.insert(Item, name="a")
            raise error

        with pytest.raises((type(error), RuntimeError)):
            await db.run(work)
    assert await names(db) == []


async def test_transactions_nest(db):
    async with db.transaction():
        await Item.insert(db, name="outer")
        with pytest.raises(KeyError):
            async with db.transaction():
                await Item.insert(db, name="undone")
                await db.run(lambda session: session.insert(Item, name="undone too"))
                raise KeyError
        async with db.transaction():
            await db.run(lambda session: session.insert(Item, name="inner"))
        with pytest.raises(UniqueViolation):
            await Item.insert(db, name="inner")
    assert await names(db) == ["outer", "inner"]
    with pytest.raises(KeyError):
        async with db.transaction():
            async with db.transaction():
                await Item.insert(db, name="undone")
            raise KeyError
    assert await names(db) == ["outer", "inner"]


async def test_tasks_get_their_turn_in_the_order_in_which_they_came(db):
    order = []
    inside, finish = asyncio.Event(), asyncio.Event()

    async def holder():
        async with db.transaction():
            inside.set()
            await finish.wait()
            await Item.insert(db, name="holder")

    async def single(name):
        await db.run(lambda session: order.append((name, session.count(Item))))

    async def several(name):
        async with db.transaction():
            await single(name)
            await turns()
            await Item.insert(db, name=name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(holder())
        await inside.wait()
        for coroutine in (single("1"), several("2"), single("3"), several("4"), single("5")):
            tasks.create_task(coroutine)
            await turns(1)
        await turns()
        assert order == []
        finish.set()
    assert order == [("1", 1), ("2", 1), ("3", 2), ("4", 2), ("5", 3)]


async def test_no_task_ever_joins_the_transaction_of_another(db):
    inside, finish = asyncio.Event(), asyncio.Event()

    async def undone():
        async with db.transaction():
            await Item.insert(db, name="undone")
            inside.set()
            await finish.wait()
            raise KeyError

    holder = asyncio.create_task(undone())
    await inside.wait()
    others = [
        asyncio.create_task(coroutine)
        for coroutine in (
            Item.count(db),
            Item.insert(db, name="kept"),
            db.read(lambda session: session.count(Item)),
            db.execute("SELECT name FROM item"),
            db.run(lambda session: session.insert(Item, name="kept too")),
        )
    ]
    await turns()
    assert not any(task.done() for task in others)
    finish.set()
    with pytest.raises(KeyError):
        await holder
    assert await asyncio.gather(*others) == [0, 1, 1, [{"name": "kept"}], 2]


async def test_a_task_that_is_cancelled_while_it_waits_for_its_turn_leaves_no_trace(db):
    inside, finish = asyncio.Event(), asyncio.Event()

    async def holder():
        async with db.transaction():
            inside.set()
            await finish.wait()

    async def several():
        async with db.transaction():
            await Item.insert(db, name="never")

    held = asyncio.create_task(holder())
    await inside.wait()
    waiting = [asyncio.create_task(several()), asyncio.create_task(Item.insert(db, name="never"))]
    await turns()
    for task in waiting:
        task.cancel()
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
    finish.set()
    await held
    assert await names(db) == []


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_task_that_is_cancelled_while_its_work_runs_is_cancelled_when_that_has_ended(
    db, cancellations
):
    gate = Gate()
    task = asyncio.create_task(db.run(gate))
    await gate.reached()
    for _ in range(cancellations):
        task.cancel()
        await turns()
    assert not task.done()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(db) == ["gate"]


async def test_a_work_that_raises_after_its_task_was_cancelled_is_undone(db):
    gate = Gate()

    def work(session):
        gate(session)
        raise KeyError

    task = asyncio.create_task(db.run(work))
    await gate.reached()
    task.cancel()
    await turns()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(db) == []


@pytest.mark.parametrize("nested", [False, True])
async def test_a_cancelled_transaction_is_undone_and_passes_the_turn_on(db, nested):
    inside = asyncio.Event()

    async def holder():
        async with db.transaction():
            await Item.insert(db, name="undone")
            async with db.transaction() if nested else contextlib.nullcontext():
                await Item.insert(db, name="undone too")
                inside.set()
                await asyncio.Event().wait()

    held = asyncio.create_task(holder())
    await inside.wait()
    waiting = asyncio.create_task(Item.insert(db, name="kept"))
    await turns()
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    await waiting
    assert await names(db) == ["kept"]


async def test_a_transaction_that_is_cancelled_in_mid_statement_is_undone(db):
    gate = Gate()

    async def holder():
        async with db.transaction():
            await Item.insert(db, name="undone")
            await db.run(gate)

    held = asyncio.create_task(holder())
    await gate.reached()
    held.cancel()
    await turns()
    held.cancel()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await held
    assert await names(db) == []


async def test_a_transaction_that_is_cancelled_while_it_begins_is_undone(db):
    gate = Gate()
    running = asyncio.create_task(db.run(gate))
    await gate.reached()

    async def several():
        async with db.transaction():
            await Item.insert(db, name="never")

    beginning = asyncio.create_task(several())
    await turns()
    beginning.cancel()
    await turns()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    await running
    assert await names(db) == ["gate"]


async def test_a_transaction_that_is_cancelled_while_it_commits_is_kept(db):
    gate = Gate()

    async def several():
        async with db.transaction():
            await Item.insert(db, name="kept")

    def trace(sql):
        if sql == "COMMIT":
            gate.stand_still()

    await db.call(lambda session: session.connection.set_trace_callback(trace))
    task = asyncio.create_task(several())
    await gate.reached()
    task.cancel()
    await turns()
    assert not task.done()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(db) == ["kept"]


async def test_a_generator_that_is_closed_inside_of_a_transaction_undoes_it(db):
    async def generator():
        async with db.transaction():
            await Item.insert(db, name="undone")
            yield

    async with contextlib.aclosing(generator()) as opened:
        await anext(opened)
    await asyncio.create_task(Item.insert(db, name="kept"))
    assert await names(db) == ["kept"]


async def test_a_timeout_inside_a_transaction_undoes_it(db):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), db.transaction():
            await Item.insert(db, name="undone")
            await asyncio.Event().wait()
    assert await names(db) == []


async def test_many_tasks_lose_no_update(db):
    await Item.insert(db, name="counter", number=0)

    def add(session):
        number = session.first(Item, {"name": "counter"})["number"]
        session.update(Item, {"number": number + 1}, {"name": "counter"})

    async def several():
        async with db.transaction():
            row = await Item.first(db, {"name": "counter"})
            await asyncio.sleep(0)
            await Item.update(db, {"number": row["number"] + 1}, {"name": "counter"})

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(several() if number % 3 else db.run(add))
    assert (await Item.first(db, {"name": "counter"}))["number"] == 50


@pytest.mark.parametrize("collected", [False, True])
def test_a_transaction_that_was_abandoned_with_its_loop_is_undone_for_the_next_one(tmp_path, collected):
    db = Database(tmp_path / "items.db")

    async def holder(inside):
        async with db.transaction():
            await Item.insert(db, name="undone")
            async with db.transaction():
                await Item.insert(db, name="undone too")
                inside.set()
                await asyncio.Event().wait()

    async def until_inside():
        await db.open()
        await Item.create_table(db)
        inside = asyncio.Event()
        tasks = [asyncio.ensure_future(holder(inside))]
        await inside.wait()
        tasks.append(asyncio.ensure_future(Item.insert(db, name="never")))
        await turns()
        for task in tasks:
            task._log_destroy_pending = False  # that is what this test is about
        return tasks

    async def next_one(expected):
        async with asyncio.timeout(20):
            assert await names(db) == expected
            async with db.transaction():
                await Item.insert(db, name="kept")

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(asyncio.wait_for(until_inside(), 20))
    loop.close()
    try:
        if not collected:
            asyncio.run(next_one([]))
        del tasks
        gc.collect()
        asyncio.run(next_one([] if collected else ["kept"]))
    finally:
        db.close_sync()

"""The world's failures, on real files: locked, read-only, full, damaged; and what the errors may say."""

import asyncio
import contextlib
import sqlite3
import traceback

import pytest
from orm_models import Item, session_in_memory

from db_sdk import (
    BadValue,
    Corrupt,
    Database,
    DatabaseError,
    Field,
    Full,
    IntegrityError,
    Locked,
    Model,
    ReadOnly,
    SchemaError,
    UniqueViolation,
    UsageError,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "items.db"


@pytest.fixture
async def db(path):
    async with asyncio.timeout(30), Database(path, busy_timeout=0.01) as db:
        await Item.create_table(db)
        await Item.create_index(db, "uq_item_name", ["name"], unique=True)
        yield db


async def test_a_database_that_another_connection_locks_can_be_read_and_written_again_later(db):
    await Item.insert(db, name="a")
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for attempt in (
            Item.insert(db, name="b"),
            db.run(lambda session: session.insert(Item, name="b")),
            Item.get_or_create(db, {"name": "b"}),
        ):
            with pytest.raises(Locked) as raised:
                await attempt
            assert raised.value.code == "SQLITE_BUSY"
        with pytest.raises(Locked):
            async with db.transaction():
                pytest.fail("the transaction did not begin")
        assert await Item.count(db) == 1
        assert await db.read(lambda session: session.count(Item)) == 1
    async with db.transaction():
        await Item.insert(db, name="b")
    assert await Item.count(db) == 2


async def test_a_lock_that_is_released_in_time_is_waited_for(db, path):
    async with Database(path, busy_timeout=20) as patient:
        async with db.transaction():
            await Item.insert(db, name="a")
            waiting = asyncio.create_task(Item.insert(patient, name="b"))
            await asyncio.sleep(0)
            await Item.insert(db, name="c")
        await asyncio.wait_for(waiting, 20)
        assert await Item.count(patient) == 3


async def test_a_read_only_database_follows_its_writer_and_refuses_to_write(db, path):
    async with Database(path, read_only=True) as reader:
        await Item.insert(db, name="a")
        assert await Item.count(reader) == 1
        for attempt in (
            Item.insert(reader, name="b"),
            Item.update(reader, {"number": 1}, {"name": "a"}),
            Item.delete(reader, all_rows=True),
            reader.run(lambda session: session.insert(Item, name="b")),
            reader.execute("DROP TABLE item"),
        ):
            with pytest.raises(ReadOnly):
                await attempt
        await Item.insert(db, name="b")
        assert await reader.read(lambda session: session.count(Item)) == 2


async def test_a_full_database_undoes_the_work_and_goes_on(db):
    await Item.insert(db, name="a")
    pages = (await db.execute("PRAGMA page_count"))[0]["page_count"]
    await db.execute(f"PRAGMA max_page_count = {pages + 5}")

    def fill(session):
        for number in range(1000):
            session.insert(Item, name=f"fill {number}", data=bytes(1000))

    with pytest.raises(Full):
        await db.run(fill)
    with pytest.raises(Full):
        async with db.transaction():
            for number in range(1000):
                await Item.insert(db, name=f"fill {number}", data=bytes(1000))

    def fill_and_ignore(session):
        with contextlib.suppress(Full):
            fill(session)
        session.insert(Item, name="half of the work")

    with pytest.raises(DatabaseError, match="gone"):
        await db.run(fill_and_ignore)
    assert await Item.find(db, fields=["name"]) == [{"name": "a"}]
    assert await Item.delete(db, {"name": "a"}) == 1
    await Item.insert(db, name="b")


async def test_a_damaged_file_is_an_error_and_not_a_crash(path):
    async with Database(path) as db:
        await Item.create_table(db)
        await db.run(lambda session: [session.insert(Item, name=f"{n}", data=bytes(500)) for n in range(200)])
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    async with Database(path) as db:
        for attempt in (
            Item.find(db),
            Item.insert(db, name="x"),
            db.run(lambda session: session.count(Item)),
        ):
            with pytest.raises(Corrupt):
                await attempt
        assert (await db.execute("SELECT 1 AS one")) == [{"one": 1}]


async def test_a_missing_table_is_an_error_that_names_it(db):
    other = type("Other", (Model,), {"__tablename__": "other", "id": Field("INTEGER")})
    with pytest.raises(SchemaError, match="no such table: other"):
        await other.find(db)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELEC", SchemaError),
        ("SELECT nothing FROM item", SchemaError),
        ("SELECT no_function()", SchemaError),
        ("CREATE TABLE item (x)", SchemaError),
        ("INSERT INTO item VALUES (1)", SchemaError),
        ("SELECT 1; SELECT 2", UsageError),
        ("SELECT ?", UsageError),
        ("SELECT '\0'", DatabaseError),
        ("SELECT '\ud800'", BadValue),
    ],
)
def test_sql_text_that_cannot_be_meant_is_one_of_our_errors(sql, kind):
    with session_in_memory() as (session, _), pytest.raises(kind):
        session.execute(sql)


def test_no_error_tells_the_values_of_a_row():
    secret = "5ec237"

    def broken_text(session):
        session.execute("INSERT INTO item (name) VALUES (CAST(? AS TEXT))", (b"\xff" + secret.encode(),))
        session.find(Item)

    def raising_trigger(session):
        session.execute(
            "CREATE TRIGGER told BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'holds 5ec237'); END"
        )
        session.delete(Item, all_rows=True)

    attempts = (
        (UniqueViolation, lambda session: session.insert(Item, name=secret)),
        (BadValue, lambda session: session.insert(Item, name=f"{secret}\ud800")),
        (BadValue, lambda session: session.insert(Item, name=secret, number=secret)),
        (BadValue, lambda session: session.find(Item, {"at": secret})),
        (BadValue, lambda session: session.execute("SELECT ?", (f"{secret}\ud800",))),
        (UsageError, lambda session: session.find(Item, {"name__in": secret})),
        (UsageError, lambda session: session.find(Item, {"name__is_null": secret})),
        (DatabaseError, lambda session: session.execute("SELECT json_extract('{}', ?)", (secret,))),
        (DatabaseError, broken_text),
        (IntegrityError, raising_trigger),
    )
    for kind, attempt in attempts:
        with session_in_memory() as (session, _):
            session.insert(Item, name=secret)
            with pytest.raises(kind) as raised:
                attempt(session)
            assert secret not in str(raised.value)
            told = traceback.TracebackException.from_exception(raised.value)
            assert secret not in "".join(told.format_exception_only())
            assert told.__cause__ is None
            assert told.__suppress_context__ or told.__context__ is None

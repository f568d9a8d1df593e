"""Migrations, and a database of the first generation carried over."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from orm_models import Item

from db_sdk import (
    BadValue,
    Database,
    DatabaseError,
    Field,
    FutureVersion,
    Migration,
    Model,
    SchemaError,
    UniqueViolation,
    UsageError,
)

FIRST_GENERATION = Path(__file__).parent.parent / "vectors" / "first-generation"


class RoleState(Model):
    """As the first generation has it, and two columns more."""

    __tablename__ = "role_state"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check="role IN ('initiator','responder')")
    peer_id = Field("TEXT", nullable=False)
    state = Field("TEXT")
    local_nonce = Field("TEXT")
    peer_nonce = Field("TEXT")
    local_reference = Field("TEXT")
    peer_reference = Field("TEXT")
    exchange_count = Field("INTEGER", nullable=False, default=0)
    finalize_retry_count = Field("INTEGER", nullable=False, default=0)
    peer_address = Field("TEXT")
    peer_sign_pub = Field("TEXT")
    peer_kx_pub = Field("TEXT")
    hs_derived_at = Field("DATETIME")
    last_secure_at = Field("DATETIME")
    created_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP")
    updated_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP", on_update="CURRENT_TIMESTAMP")


class NonceEvent(Model):
    """As the first generation has it."""

    __tablename__ = "nonce_event"
    id = Field("INTEGER", primary_key=True)
    self_id = Field("TEXT", nullable=False)
    role = Field("TEXT", nullable=False, check="role IN ('initiator','responder')")
    peer_id = Field("TEXT", nullable=False)
    flow = Field("TEXT", nullable=False, check="flow IN ('sent','received')")
    nonce = Field("TEXT", nullable=False)
    created_at = Field("DATETIME", nullable=False, default="CURRENT_TIMESTAMP")


WHO = ["self_id", "role", "peer_id"]


def tables_of_today(session):
    for model in (RoleState, NonceEvent):
        session.create_table(model)
    session.create_index(RoleState, "uq_role_peer", WHO, unique=True)
    session.create_index(RoleState, "ix_role_scan", WHO[:2])
    session.create_index(NonceEvent, "ix_nonce_triplet", WHO)


def unique_nonces(session):
    session.execute("DROP INDEX IF EXISTS ix_nonce_exists")
    session.create_index(NonceEvent, "uq_nonce", [*WHO, "flow", "nonce"], unique=True)


STEPS = [
    Migration(1, "the tables of the first generation", tables_of_today),
    Migration(2, "a nonce is there once", unique_nonces),
    Migration(
        3,
        "what a conversation has to remember",
        [
            "ALTER TABLE role_state ADD COLUMN last_line TEXT",
            "ALTER TABLE role_state ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
        ],
    ),
]


def content(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]
            for table in ("role_state", "nonce_event")
        }


@pytest.fixture
def first_generation(tmp_path):
    path = tmp_path / "agent.db"
    shutil.copyfile(FIRST_GENERATION / "agent_db_example.sqlite3", path)
    return path


async def test_a_database_of_the_first_generation_is_carried_over_with_every_row(first_generation):
    before = content(first_generation)
    assert [len(rows) for rows in before.values()] == [2, 4]
    async with Database(first_generation) as db:
        assert await db.migrate(STEPS) == [1, 2, 3]
        assert await db.migrate(STEPS) == []
        pairs = await RoleState.find(db, order_by="id")
        nonces = await NonceEvent.find(db, order_by="id")
        assert pairs[0]["hs_derived_at"].isoformat() == "2026-11-21T08:18:54.142453+00:00"
        assert pairs[0]["created_at"].isoformat() == "2026-11-21T08:15:46+00:00"
        with pytest.raises(UniqueViolation):
            await NonceEvent.insert(db, **{name: nonces[0][name] for name in [*WHO, "flow", "nonce"]})
        assert not await NonceEvent.insert_or_ignore(
            db, **{name: nonces[0][name] for name in [*WHO, "flow", "nonce"]}
        )
        pair, created = await RoleState.get_or_create(db, {name: pairs[1][name] for name in WHO})
        assert (pair, created) == (pairs[1], False)
    after = content(first_generation)
    added = {"last_line": None, "tries": 0}
    assert after["role_state"] == [row | added for row in before["role_state"]]
    assert after["nonce_event"] == before["nonce_event"]


async def test_the_models_make_the_tables_that_the_first_generation_made(tmp_path):
    def columns(connection, table):
        return [tuple(row)[1:] for row in connection.execute(f"PRAGMA table_info({table})")]

    async with Database(tmp_path / "ours.db") as db:
        await db.migrate(STEPS[:1])
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "ours.db")) as ours,
        contextlib.closing(sqlite3.connect(":memory:")) as theirs,
    ):
        theirs.executescript((FIRST_GENERATION / "agent_db_schema.sql").read_text())
        for table in ("role_state", "nonce_event"):
            here, there = columns(ours, table), columns(theirs, table)
            # a primary key of ours is NOT NULL, which an INTEGER one is anyway
            assert here[0] == ("id", "INTEGER", 1, None, 1)
            assert there[0] == ("id", "INTEGER", 0, None, 1)
            assert here[1:] == there[1:]


async def test_a_step_that_fails_leaves_the_database_at_the_step_before_it(tmp_path):
    def fails(session):
        session.insert(Item, name="undone")
        session.execute("CREATE TABLE undone (x)")
        raise KeyError("why")

    steps = [
        Migration(1, "items", lambda session: session.create_table(Item)),
        Migration(2, "breaks", fails),
        Migration(3, "never reached", "CREATE TABLE never (x)"),
    ]
    async with Database(tmp_path / "x.db") as db:
        for _ in range(2):
            with pytest.raises(KeyError, match="why") as raised:
                await db.migrate(steps)
            assert raised.value.__notes__ == ["in migration 2, breaks"]
            assert await db.execute("PRAGMA user_version") == [{"user_version": 1}]
            assert await Item.count(db) == 0
        repaired = [steps[0], Migration(2, "repaired", "CREATE TABLE undone (x)"), steps[2]]
        assert await db.migrate(repaired) == [2, 3]


async def test_a_step_of_several_statements_is_one_transaction(tmp_path):
    async with Database(tmp_path / "x.db") as db:
        with pytest.raises(SchemaError):
            await db.migrate([Migration(1, "half", ("CREATE TABLE a (x)", "CREATE TABLE a (x)"))])
        assert await db.migrate([Migration(1, "whole", ("CREATE TABLE a (x)", "CREATE TABLE b (x)"))]) == [1]


async def test_a_database_from_the_future_is_refused_and_left_alone(tmp_path):
    async with Database(tmp_path / "x.db") as db:
        await db.migrate([Migration(number, "step", f"CREATE TABLE t{number} (x)") for number in (1, 2, 3)])
        with pytest.raises(FutureVersion, match="version 3, this program knows 2"):
            await db.migrate([Migration(number, "step", f"DROP TABLE t{number}") for number in (1, 2)])
        assert await db.execute("SELECT count(*) AS n FROM sqlite_schema") == [{"n": 3}]


@pytest.mark.parametrize("numbers", [[0], [2], [1, 1], [1, 3], [2, 1], [-1]])
async def test_steps_must_be_numbered_without_a_gap(tmp_path, numbers):
    async with Database(tmp_path / "x.db") as db:
        with pytest.raises(UsageError):
            await db.migrate([Migration(number, "step", "CREATE TABLE t (x)") for number in numbers])
        assert await db.execute("SELECT * FROM sqlite_schema") == []


async def test_two_that_migrate_at_the_same_time_apply_each_step_once(tmp_path):
    steps = [Migration(1, "table", "CREATE TABLE t (x)")]
    steps += [Migration(number, "row", f"INSERT INTO t VALUES ({number})") for number in range(2, 20)]
    async with Database(tmp_path / "x.db") as one, Database(tmp_path / "x.db") as other:
        applied = await asyncio.gather(one.migrate(steps), other.migrate(steps))
        assert sorted(applied[0] + applied[1]) == [step.number for step in steps]
        assert await one.execute("SELECT x FROM t ORDER BY x") == [{"x": number} for number in range(2, 20)]


async def test_a_database_that_is_up_to_date_is_only_read(tmp_path):
    steps = [Migration(1, "table", "CREATE TABLE t (x)")]
    async with Database(tmp_path / "x.db") as writer:
        await writer.migrate(steps)
        async with Database(tmp_path / "x.db", read_only=True) as reader:
            assert await reader.migrate(steps) == []


async def test_a_step_can_carry_rows_from_one_form_to_another(tmp_path):
    class Note(Model):
        __tablename__ = "note"
        id = Field("INTEGER", primary_key=True)
        tags = Field("JSON")

    def carry(session):
        for row in session.execute("SELECT id, words FROM old_note"):
            session.insert(Note, id=row["id"], tags=row["words"].split())

    steps = [
        Migration(
            1,
            "as it was",
            ["CREATE TABLE old_note (id INTEGER, words TEXT)", "INSERT INTO old_note VALUES (7, 'a b')"],
        ),
        Migration(2, "as it is", lambda session: (session.create_table(Note), carry(session))),
    ]
    async with Database(tmp_path / "x.db") as db:
        await db.migrate(steps)
        assert await Note.find(db) == [{"id": 7, "tags": ["a", "b"]}]
        with pytest.raises(BadValue):
            await Note.insert(db, tags=b"")


async def test_a_unique_index_over_rows_that_contradict_it_is_refused_and_nothing_is_lost(first_generation):
    with contextlib.closing(sqlite3.connect(first_generation)) as connection:
        connection.execute(
            "INSERT INTO nonce_event (self_id, role, peer_id, flow, nonce) "
            "SELECT self_id, role, peer_id, flow, nonce FROM nonce_event LIMIT 1"
        )
        connection.commit()
    before = content(first_generation)
    async with Database(first_generation) as db:
        with pytest.raises(DatabaseError):
            await db.migrate(STEPS)
        assert await db.execute("PRAGMA user_version") == [{"user_version": 1}]
    assert content(first_generation) == before

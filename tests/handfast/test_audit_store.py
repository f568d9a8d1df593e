"""The audit log in both stores and in the driver: one transaction, one chain, signed, pruned, and continued after anything."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fake_world import START, End, FakeClock, make_identity

import handfast.audit
from db_sdk import Database
from handfast.adapters import audit_rows, memory
from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore
from handfast.adapters.tables import MIGRATIONS, Audit
from handfast.audit import (
    CHECKPOINT,
    STARTED,
    STOPPED,
    AuditRow,
    SignedHead,
    Verifier,
    chain_digest,
    sign_head,
    verify,
)
from handfast.conversation.model import Role
from handfast.errors import StorageError
from handfast.wire.text import b64encode

ALICE, BOB = make_identity("alice"), make_identity("bob")
KEY = ALICE.identity_key
INIT = Role.INITIATOR

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(ALICE.agent_id, identity_key=KEY)
        return
    opened = SqliteStore(tmp_path / "a.db", ALICE)
    await opened.open()
    yield opened
    await opened.close()


async def entries(store: Store) -> list[dict[str, Any]]:
    if isinstance(store, MemoryStore):
        return [asdict(row) for row in store.audit_rows]
    return await store._database.execute("SELECT * FROM audit ORDER BY seq")


async def write(store: Store, *events: str, at: float = START) -> None:
    for event in events:
        await store.run(lambda t, event=event: t.audit(event, INIT, BOB.agent_id, {"n": 1}, at))  # type: ignore[misc]


# ---- entries ------------------------------------------------------------------------------------------------------


async def test_both_stores_write_the_same_log(tmp_path: Path) -> None:
    in_file = SqliteStore(tmp_path / "a.db", ALICE)
    await in_file.open()
    in_memory = MemoryStore(ALICE.agent_id, identity_key=KEY)
    for store in (in_file, in_memory):
        await write(store, STARTED, *["closed"] * 70)
        await write(store, "closed", at=START + 100)
    found = await entries(in_file)
    await in_file.close()
    assert found == await entries(in_memory)
    assert [row["seq"] for row in found if row["event"] == CHECKPOINT] == [2, 67, 75]
    report = verify(found)
    assert (report.fault, report.signed_to, report.key) == (None, 74, KEY.public)


async def test_an_entry_and_the_signature_it_makes_due_stay_or_go_with_their_transaction(
    store: Store,
) -> None:
    await write(store, STARTED)
    before = await entries(store)

    def fails(transaction: Any) -> None:
        transaction.audit(STOPPED, None, "", {}, START)
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(fails)
    assert await entries(store) == before
    await write(store, "closed", STOPPED)
    assert verify(await entries(store)).fault is None
    assert len(await entries(store)) == 5


async def test_the_head_that_was_signed_last_is_told(store: Store) -> None:
    assert await store.run(lambda t: t.signed_head()) is None
    await write(store, STARTED, "closed")
    head = await store.run(lambda t: t.signed_head())
    first = AuditRow(**(await entries(store))[0])
    assert head == sign_head(1, first.digest, KEY)
    assert head.holds()


async def test_a_damaged_end_of_the_log_is_told_in_one_sentence_and_nothing_is_added(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await write(store, STARTED)
    await store._database.execute("UPDATE audit SET digest = x'00' WHERE seq = 2")
    for work in (lambda t: t.audit("closed", INIT, "", {}, START), lambda t: t.signed_head()):
        with pytest.raises(StorageError, match="handfast audit verify"):
            await store.run(work)  # type: ignore[arg-type]
    assert len(await entries(store)) == 2
    await store.close()


# ---- bounds -------------------------------------------------------------------------------------------------------


async def test_old_entries_are_pruned_up_to_a_checkpoint_that_proves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handfast.audit, "ENTRIES_KEPT", 100)
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await write(store, STARTED)

    def many(transaction: Any) -> None:
        for _ in range(50):
            transaction.audit("closed", INIT, "", {}, START)

    for _ in range(10):
        await store.run(many)
        found = await entries(store)
        report = verify(found, Verifier(kept=100))
        assert (report.fault, report.is_anchored) == (None, True)
        assert len(found) <= 100 + 2 * 65
    assert found[0]["event"] == CHECKPOINT
    assert report.first > 300
    await store.close()


async def test_what_version_1_wrote_is_pruned_when_enough_was_signed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handfast.audit, "ENTRIES_KEPT", 100)
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await write(store, *["closed"] * 150)
    assert len(await entries(store)) == 150
    await write(store, STARTED, *["closed"] * 98)
    assert (await entries(store))[0]["seq"] == 1
    await write(store, *["closed"] * 80)
    assert (await entries(store))[0]["event"] == CHECKPOINT
    assert verify(await entries(store), Verifier(kept=100)).fault is None
    await store.close()


async def test_one_signature_serves_64_entries(store: Store) -> None:
    signed: list[bytes] = []

    class Counting:
        public = KEY.public

        def sign(self, text: bytes) -> bytes:
            signed.append(text)
            return KEY.sign(text)

    store.identity_key = Counting()  # type: ignore[assignment]
    await write(store, STARTED, *["closed"] * 200)
    assert len(signed) == 4
    assert verify(await entries(store)).fault is None


# ---- what peers keep ----------------------------------------------------------------------------------------------


def head_at(seq: int, text: str = "a") -> SignedHead:
    return sign_head(seq, text * 64, BOB.identity_key)


async def keep(store: Store, head: SignedHead, peer: str = BOB.agent_id, at: float = START) -> bool:
    return await store.run(lambda t: t.keep_witness(peer, head, at))


async def kept(store: Store) -> dict[str, tuple[SignedHead | None, float]]:
    if isinstance(store, MemoryStore):
        return dict(store.witnesses)
    rows = await store._database.execute("SELECT * FROM witness ORDER BY at, id")
    return {row["peer_id"]: (audit_rows.witnessed_head(row), row["at"]) for row in rows}


async def test_the_latest_head_of_each_peer_is_kept_and_no_earlier_or_other_one_replaces_it(
    store: Store,
) -> None:
    assert await keep(store, head_at(10))
    assert await keep(store, head_at(10), at=START + 1)
    assert await keep(store, head_at(20), at=START + 2)
    for contradiction in (head_at(19), head_at(20, "b")):
        assert not await keep(store, contradiction, at=START + 3)
    assert await keep(store, head_at(1), "another peer")
    assert await kept(store) == {
        "another peer": (head_at(1), START),
        BOB.agent_id: (head_at(20), START + 2),
    }


async def test_the_head_given_longest_ago_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (audit_rows, memory):
        monkeypatch.setattr(module, "WITNESSES_KEPT", 3)
    for at, peer in enumerate(["one", "two", "three", "one", "four"]):
        await keep(store, head_at(at), peer, START + at)
    assert set(await kept(store)) == {"one", "three", "four"}


async def test_a_damaged_row_of_a_head_is_replaced(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await keep(store, head_at(10))
    await store._database.execute("UPDATE witness SET identity_key = 'text'")
    assert await keep(store, head_at(5))
    assert await kept(store) == {BOB.agent_id: (head_at(5), START)}
    await store.close()


# ---- databases that were there already, and processes that were killed ---------------------------------------------


async def test_the_log_of_a_database_of_version_1_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with Database(path) as database:
        await database.migrate(MIGRATIONS[:1])
        digest = handfast.audit.FIRST_DIGEST
        for seq in range(1, 21):
            members = (START, "closed", "initiator", BOB.agent_id, '{"n": 1}')
            digest = chain_digest(digest, *members)
            row = asdict(AuditRow(seq, *members, digest))
            await database.call(lambda session, row=row: session.insert(Audit, **row))  # type: ignore[misc]
    end = End("alice", FakeClock(), store=SqliteStore(path, ALICE))
    await end.store.open()  # type: ignore[attr-defined]
    await end.driver.start()
    found = await entries(end.store)  # type: ignore[arg-type]
    report = verify(found)
    assert (report.fault, report.last, report.signed_to) == (None, 22, 21)
    found[3]["event"] = "another"
    fault = verify(found).fault
    assert fault is not None
    assert fault.seq == 4
    await end.store.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from fake_world import End, FakeClock, make_identity
from handfast.adapters.sqlite import SqliteStore

async def main():
    identity = make_identity("alice")
    end = End("alice", FakeClock(), store=SqliteStore(Path(sys.argv[1]), identity))
    await end.store.open()
    await end.driver.start()
    while True:
        await end.store.run(lambda t: [t.audit("closed", None, "", {"n": n}, 0.0) for n in range(7)])
        print("written", flush=True)

asyncio.run(main())
"""


def test_a_process_killed_while_it_writes_leaves_a_log_that_holds_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    last = 0
    for _ in range(2):
        command = [sys.executable, "-c", _WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            for _line in range(30):
                assert writer.stdout.readline() == "written\n"
            writer.send_signal(signal.SIGKILL)
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            found = [dict(row) for row in connection.execute("SELECT * FROM audit ORDER BY seq")]
        report = verify(found)
        assert report.fault is None
        assert report.last >= last + 30 * 7
        assert report.signed_to >= report.last - 65
        last = report.last
    assert [row["event"] for row in found].count(STARTED) == 2


# ---- the driver ---------------------------------------------------------------------------------------------------


async def test_the_log_says_who_started_with_which_software_and_that_it_stopped() -> None:
    end = End("alice", FakeClock(), store=MemoryStore(ALICE.agent_id, identity_key=KEY))
    await end.driver.start()
    await end.driver.stop()
    rows = end.store.audit_rows  # type: ignore[attr-defined]
    assert [row.event for row in rows] == [STARTED, CHECKPOINT, STOPPED, CHECKPOINT]
    assert json.loads(rows[0].detail) == {
        "agent": ALICE.agent_id,
        "key": b64encode(KEY.public),
        "software": "handfast",
    }
    assert (rows[0].at, rows[0].role, rows[0].peer_id) == (START, None, "")


async def test_the_key_that_was_rotated_last_signs(tmp_path: Path) -> None:
    rotated = replace(ALICE, rotated_key=make_identity("alice's next").signing_key)
    store = SqliteStore(tmp_path / "a.db", rotated)
    await store.open()
    await write(store, STARTED)
    assert verify(await entries(store)).key == rotated.identity_key.public != KEY.public
    await store.close()


async def test_a_clock_that_is_set_is_noted_once_and_one_that_runs_is_not() -> None:
    clock = FakeClock()
    end = End("alice", clock)
    for step in (0.0, 0.0, 1.9, -3600.0, 0.0, 7.25):
        clock.seconds += 0.25
        clock.offset += step
        await end.driver.tick()
    rows = end.store.audit_rows  # type: ignore[attr-defined]
    assert [(row.event, json.loads(row.detail)["seconds"]) for row in rows] == [
        ("clock_step", -3600.0),
        ("clock_step", 7.25),
    ]

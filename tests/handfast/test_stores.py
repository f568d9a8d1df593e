"""What every store promises, held against each of them; and what the SQLite store alone does."""

import asyncio
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_world import START, End, FakeClock, Link, make_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.adapters import sqlite
from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore
from handfast.audit import AuditRow
from handfast.conversation.effects import ForgetNonces, PinKey, RecordEnvelope, RecordNonce, RememberHandshake
from handfast.conversation.model import Facts, Outgoing, PeerState, Role, Settings, State
from handfast.crypto.keys import Secret
from handfast.errors import PeerError, Reason, StorageError
from handfast.wire.text import b64encode
from handfast.wire.v1 import Confirm, Request

FIRST_GENERATION = Path(__file__).parent.parent / "vectors" / "first-generation" / "agent_db_example.sqlite3"
ALICE, BOB, CAROL = (make_identity(name) for name in ("alice", "bob", "carol"))
INIT, RESP = Role.INITIATOR, Role.RESPONDER
KEY = b64encode(BOB.signing_key.public)

Store = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(ALICE.agent_id, half_open_limit=3)
        return
    opened = SqliteStore(tmp_path / "a.db", ALICE, half_open_limit=3)
    await opened.open()
    yield opened
    await opened.close()


def full_state(role: Role = INIT, peer: str = BOB.agent_id) -> PeerState:
    return PeerState(
        ALICE.agent_id,
        role,
        peer,
        State.INIT_EXCHANGE if role is INIT else State.RESP_EXCHANGE,
        local_nonce="a" * 32,
        peer_nonce="b" * 32,
        local_reference="1",
        peer_reference="2",
        exchange_count=3,
        finalize_retry_count=1,
        peer_address="127.0.0.1:5",
        peer_sign_pub=KEY,
        peer_kx_pub="kx",
        hs_derived_at=START,
        last_secure_at=START + 0.25,
        secret=Secret(bytes(range(32))),
        waiting_since=START + 1,
        reconnect_at=START + 2,
        reconnect_tries=2,
        last_sent_at=START + 3,
        outgoing=Outgoing({"to": peer, "intent": "request", "n": [1, "é", None]}, 2, START + 5, START),
    )


async def commit(store: Store, state: PeerState, *effects: Any) -> None:
    await store.run(lambda transaction: transaction.commit(state, effects, START))


async def load(store: Store, role: Role = INIT, peer: str = BOB.agent_id) -> PeerState:
    return await store.run(lambda transaction: transaction.load(role, peer))


async def test_a_stranger_is_ready_and_leaves_nothing_by_being_looked_at(store: Store) -> None:
    assert await load(store) == PeerState.of_stranger(ALICE.agent_id, INIT, BOB.agent_id)
    assert await store.unfinished() == []


async def test_every_member_of_a_state_comes_back(store: Store) -> None:
    await commit(store, full_state())
    assert await load(store) == full_state()
    assert await store.unfinished() == [full_state()]


async def test_a_state_is_changed_as_a_whole(store: Store) -> None:
    await commit(store, full_state())
    changed = replace(
        PeerState.of_stranger(ALICE.agent_id, INIT, BOB.agent_id), peer_sign_pub=KEY, local_reference="9"
    )
    await commit(store, changed)
    assert await load(store) == changed
    assert await store.unfinished() == []


async def test_roles_and_peers_are_kept_apart(store: Store) -> None:
    await commit(store, full_state(INIT))
    await commit(store, full_state(RESP, CAROL.agent_id))
    assert (await load(store, RESP, BOB.agent_id)).is_ready
    assert (await load(store, RESP, CAROL.agent_id)) == full_state(RESP, CAROL.agent_id)


async def test_what_raises_leaves_no_trace(store: Store) -> None:
    def work(transaction: Any) -> None:
        transaction.commit(
            full_state(), [RecordNonce("received", "n"), PinKey(BOB.signing_key.public)], START
        )
        transaction.audit("x", INIT, BOB.agent_id, {}, START)
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(work)
    assert (await load(store)).is_ready
    facts = await facts_of(store, Request(BOB.agent_id, "", "n", None, None))
    assert facts == Facts()
    assert await audit_rows(store) == []


async def facts_of(store: Store, message: Any, role: Role = INIT) -> Facts:
    return await store.run(lambda transaction: transaction.facts(role, message))


async def audit_rows(store: Store) -> list[AuditRow]:
    if isinstance(store, MemoryStore):
        return store.audit_rows
    rows = await store._database.execute("SELECT * FROM audit ORDER BY seq")
    return [AuditRow(**row) for row in rows]


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (RecordNonce("received", "n"), Reason.NONCE_REPLAYED),
        (RecordEnvelope("n"), Reason.SEC_REPLAYED),
        (RememberHandshake("n", START + 100), Reason.HS_REPLAYED),
        (PinKey(BOB.signing_key.public), Reason.KEY_UNDER_TWO_IDS),
    ],
)
async def test_what_must_be_unique_refuses_the_whole_message_the_second_time(
    store: Store, effect: Any, reason: Reason
) -> None:
    before = replace(full_state(), exchange_count=1)
    await commit(store, before, effect)
    with pytest.raises(PeerError) as refused:
        await commit(store, replace(full_state(), exchange_count=2), RecordNonce("sent", "other"), effect)
    assert refused.value.reason is reason
    assert await load(store) == before


async def test_a_sent_nonce_may_be_recorded_again(store: Store) -> None:
    for _ in range(2):
        await commit(store, full_state(), RecordNonce("sent", "n"))


async def test_nonces_and_envelopes_belong_to_one_role_and_peer_and_are_forgotten_with_it(
    store: Store,
) -> None:
    for role, peer in ((INIT, BOB), (RESP, BOB), (INIT, CAROL)):
        await commit(
            store, full_state(role, peer.agent_id), RecordNonce("received", "n"), RecordEnvelope("e")
        )
    await commit(store, full_state(), ForgetNonces())
    assert not (await facts_of(store, Request(BOB.agent_id, "", "n", None, None))).nonce_seen
    assert (await facts_of(store, Request(BOB.agent_id, "", "n", None, None), RESP)).nonce_seen
    assert (await facts_of(store, Request(CAROL.agent_id, "", "n", None, None))).nonce_seen
    await commit(store, full_state(), RecordNonce("received", "n"), RecordEnvelope("e"))


async def test_an_accepted_handshake_outlives_its_conversation_but_not_its_time(store: Store) -> None:
    await commit(store, full_state(), RememberHandshake("n", START + 100))
    await commit(store, full_state(), ForgetNonces())
    hs = {"sign_pub": KEY}
    assert (await facts_of(store, Confirm(BOB.agent_id, "n", hs))).handshake_seen
    assert not (await facts_of(store, Confirm(CAROL.agent_id, "n", hs))).handshake_seen
    later = RememberHandshake("m", START + 300)
    await store.run(lambda transaction: transaction.commit(full_state(), [later], START + 101))
    assert not (await facts_of(store, Confirm(BOB.agent_id, "n", hs))).handshake_seen


async def test_pins_are_known_by_peer_and_by_key(store: Store) -> None:
    await commit(store, full_state(), PinKey(BOB.signing_key.public))
    known = await facts_of(store, Confirm(BOB.agent_id, "n", {"sign_pub": KEY}))
    assert known.pinned == BOB.signing_key.public
    assert not known.key_held_by_another
    assert (await facts_of(store, Confirm(CAROL.agent_id, "n", {"sign_pub": KEY}))).key_held_by_another
    with pytest.raises(PeerError):
        await commit(store, full_state(), PinKey(CAROL.signing_key.public))


async def test_half_open_conversations_make_room_for_the_newest(store: Store) -> None:
    peers = [make_identity(f"stranger {number}").agent_id for number in range(5)]
    for peer in peers:
        half = replace(
            PeerState.of_stranger(ALICE.agent_id, RESP, peer),
            state=State.RESP_CONFIRM,
            local_nonce="a" * 32,
            secret=Secret(b"s" * 32),
            last_sent_at=START,
            outgoing=Outgoing({"intent": "confirm"}, 1, START + 2, START),
        )
        await commit(store, half)
        assert await load(store, RESP, peer) == half
    assert {state.peer_id for state in await store.unfinished()} == set(peers[2:])
    assert (await load(store, RESP, peers[0])).is_ready
    await commit(store, replace(full_state(RESP, peers[4])))
    assert {state.peer_id for state in await store.unfinished()} == set(peers[2:])
    await commit(store, PeerState.of_stranger(ALICE.agent_id, RESP, peers[3]))
    assert {state.peer_id for state in await store.unfinished()} == {peers[2], peers[4]}


# ---- the SQLite store alone ------------------------------------------------------------------------------------------


async def reopen(store: SqliteStore) -> None:
    await store.close()
    await store.open()


async def execute(store: SqliteStore, sql: str) -> None:
    """Change the database behind the store's back."""
    await store._database.execute(sql)


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "a.db", ALICE)
    await opened.open()
    yield opened
    await opened.close()


async def test_a_pair_whose_row_was_just_written_is_not_read_again_and_only_changes_are_written(
    sqlite_store: SqliteStore,
) -> None:
    statements: list[str] = []
    await commit(sqlite_store, full_state())
    await sqlite_store._database.call(
        lambda session: session.connection.set_trace_callback(statements.append)
    )
    later = replace(full_state(), exchange_count=4, local_nonce="c" * 32)
    await commit(sqlite_store, later, RecordNonce("sent", "n"))
    await sqlite_store._database.call(lambda session: session.connection.set_trace_callback(None))
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]
    assert "exchange_count" in statements[1]
    for unchanged in ("peer_reference", "sealed_secret", "hs_derived_at"):
        assert unchanged not in statements[1]
    await reopen(sqlite_store)
    assert await load(sqlite_store) == later


@pytest.mark.parametrize("table", ["role_state", "outbox"])
async def test_a_row_that_somebody_removed_is_written_whole_again(
    sqlite_store: SqliteStore, table: str
) -> None:
    await commit(sqlite_store, full_state())
    await reopen(sqlite_store)
    secret = Secret(b"n" * 32)
    await commit(sqlite_store, replace(full_state(), secret=secret))
    await execute(sqlite_store, f"DELETE FROM {table}")
    outgoing = replace(full_state().outgoing or Outgoing({}, 0, 0, 0), sends=3)
    changed = replace(full_state(), exchange_count=4, secret=secret, outgoing=outgoing)
    await commit(sqlite_store, changed)
    await reopen(sqlite_store)
    assert await load(sqlite_store) == changed


async def test_after_a_transaction_that_failed_the_rows_are_read(sqlite_store: SqliteStore) -> None:
    await commit(sqlite_store, full_state(), RecordEnvelope("e"))
    with pytest.raises(PeerError):
        await commit(sqlite_store, replace(full_state(), exchange_count=9), RecordEnvelope("e"))
    await execute(sqlite_store, "UPDATE role_state SET exchange_count = 5")
    assert (await load(sqlite_store)).exchange_count == 5


async def test_what_is_remembered_is_bounded_and_holds_no_strangers(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PAIRS_REMEMBERED", 2)
    stranger = make_identity("stranger").agent_id
    half = replace(
        PeerState.of_stranger(ALICE.agent_id, RESP, stranger), state=State.RESP_CONFIRM, local_nonce="a" * 32
    )
    await commit(sqlite_store, half)
    await load(sqlite_store, INIT, stranger)
    assert sqlite_store._remembered == {}
    for peer in (BOB, CAROL, make_identity("dave")):
        await commit(sqlite_store, full_state(INIT, peer.agent_id))
    assert len(sqlite_store._remembered) == 2
    await execute(sqlite_store, "UPDATE role_state SET exchange_count = 7")
    assert (await load(sqlite_store, INIT, CAROL.agent_id)).exchange_count == 3
    assert (await load(sqlite_store)).exchange_count == 7


async def test_a_transaction_sees_what_it_has_written_itself(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE, half_open_limit=1)
    await store.open()
    strangers = [PeerState.of_stranger(ALICE.agent_id, RESP, peer.agent_id) for peer in (BOB, CAROL)]

    def work(transaction: Any) -> list[PeerState]:
        for stranger in strangers:  # the second takes the place of the first
            transaction.commit(replace(stranger, state=State.RESP_CONFIRM), [], START)
        seen = [transaction.load(RESP, stranger.peer_id) for stranger in strangers]
        transaction.commit(replace(strangers[1], last_sent_at=START), [], START)
        return [*seen, transaction.load(RESP, CAROL.agent_id)]

    half_open = replace(strangers[1], state=State.RESP_CONFIRM)
    assert await store.run(work) == [strangers[0], half_open, strangers[1]]
    await store.close()


async def test_what_is_asked_for_outside_a_conversation_is_read(sqlite_store: SqliteStore) -> None:
    await commit(sqlite_store, full_state())
    await execute(sqlite_store, "UPDATE role_state SET exchange_count = 5")
    assert (await sqlite_store.load(INIT, BOB.agent_id)).exchange_count == 5
    assert [state.exchange_count for state in await sqlite_store.unfinished()] == [5]


async def test_a_pin_that_another_process_removes_is_gone_at_once(sqlite_store: SqliteStore) -> None:
    await commit(sqlite_store, full_state(), PinKey(BOB.signing_key.public))
    hello = Confirm(BOB.agent_id, "n", {"sign_pub": KEY})
    assert (await facts_of(sqlite_store, hello)).pinned == BOB.signing_key.public
    with sqlite3.connect(sqlite_store.path) as other:
        other.execute("DELETE FROM pin")
    other.close()
    assert (await facts_of(sqlite_store, hello)).pinned is None


_FIELDS = {
    "state": st.sampled_from([State.RESP_READY, State.RESP_CONFIRM, State.RESP_EXCHANGE]),
    "peer_sign_pub": st.sampled_from([None, KEY]),
    "pin_pending": st.booleans(),
    "exchange_count": st.integers(0, 3),
    "local_nonce": st.sampled_from([None, "a" * 32, "b" * 32]),
    "secret": st.sampled_from([None, Secret(b"x" * 32), Secret(b"y" * 32)]),
    "hs_derived_at": st.sampled_from([None, START, START + 0.5]),
    "outgoing": st.builds(
        Outgoing,
        st.sampled_from([{"intent": "confirm"}, {"intent": "respond", "n": ["é"]}]),
        st.integers(1, 2),
        st.just(START),
        st.just(START),
    ),
}
_DOINGS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "commit", "commit", "fail", "reopen"]),
        st.sampled_from([BOB.agent_id, CAROL.agent_id]),
        st.fixed_dictionaries({}, optional=_FIELDS),
    ),
    max_size=10,
)


@settings(deadline=None, max_examples=25)
@given(_DOINGS)
def test_whatever_is_remembered_the_store_holds_what_the_store_in_memory_holds(
    doings: list[tuple[str, str, dict[str, Any]]],
) -> None:
    async def follow(path: Path) -> None:
        model, store = MemoryStore(ALICE.agent_id), SqliteStore(path, ALICE)
        await store.open()
        for what, peer, changes in doings:
            before = await load(model, RESP, peer)
            assert await load(store, RESP, peer) == before
            after = replace(before, **changes)
            if after.is_ready:
                after = replace(after, outgoing=None)
            if what == "commit":
                for each in (model, store):
                    await commit(each, after)
            elif what == "fail":
                with pytest.raises(PeerError):
                    await commit(store, after, RecordEnvelope("e"), RecordEnvelope("e"))
            else:
                await reopen(store)
        assert sorted(map(repr, await store.unfinished())) == sorted(map(repr, await model.unfinished()))
        await store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(follow(Path(directory) / "a.db"))


async def test_no_secret_stands_in_the_file_and_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = SqliteStore(path, ALICE)
    await store.open()
    await commit(store, full_state())
    await store.close()
    raw = path.read_bytes()
    secret = bytes(range(32))
    for form in (secret, secret.hex().encode(), b64encode(secret).encode()):
        assert form not in raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_sealed_secret_moved_to_another_row_does_not_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await commit(store, full_state())
    await commit(store, replace(full_state(INIT, CAROL.agent_id), secret=Secret(b"x" * 32)))
    await store._database.execute(
        "UPDATE role_state SET sealed_secret = (SELECT sealed_secret FROM role_state WHERE peer_id = ?)",
        (CAROL.agent_id,),
    )
    await reopen(store)
    assert (await load(store)).secret is None
    assert (await load(store, peer=CAROL.agent_id)).secret == Secret(b"x" * 32)
    await store.close()


async def test_a_database_of_the_first_generation_is_carried_over_without_losing_a_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIRST_GENERATION, path)

    def rows(table: str) -> list[dict[str, Any]]:
        with sqlite3.connect(path) as database:
            database.row_factory = sqlite3.Row
            found = [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY id")]
        database.close()
        return found

    with sqlite3.connect(path) as database:  # the first generation logged a nonce again with each repetition
        database.execute(
            "INSERT INTO nonce_event SELECT NULL, self_id, role, peer_id, flow, nonce, created_at FROM nonce_event"
        )
    database.close()
    before = {table: rows(table) for table in ("role_state", "nonce_event")}
    me = before["role_state"][0]["self_id"]
    owner = replace(ALICE, agent_id=me)
    for _ in range(2):  # the second time there is nothing left to do
        store = SqliteStore(path, owner)
        await store.open()
        await store.close()
    after = rows("role_state")
    assert [
        {key: row[key] for key in old} for row, old in zip(after, before["role_state"], strict=True)
    ] == before["role_state"]
    assert (
        sorted(rows("nonce_event") + rows("nonce_event_repeated"), key=lambda row: row["id"])
        == before["nonce_event"]
    )
    pins = rows("pin")
    assert [(pin["peer_id"], pin["sign_pub"]) for pin in pins] == [
        (after[0]["peer_id"], after[0]["peer_sign_pub"])
    ]


async def test_conversations_of_the_first_generation_start_afresh_with_references_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.db"
    shutil.copy(FIRST_GENERATION, path)
    with sqlite3.connect(path) as database:
        me, peer = database.execute("SELECT self_id, peer_id FROM role_state").fetchone()
    database.close()
    store = SqliteStore(path, replace(ALICE, agent_id=me))
    await store.open()
    end = End("alice", FakeClock(), store=store)
    await end.driver.start()
    assert (await end.driver.state(INIT, peer)).state is State.INIT_READY, "its key died with the old process"
    assert (await end.driver.state(RESP, peer)).local_reference == "2349185512"
    await store.close()


async def test_a_row_that_names_no_state_of_its_role_counts_as_ready(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await commit(store, full_state())
    for nonsense in (None, "", "resp_exchange", "x\x00"):
        await store._database.execute("UPDATE role_state SET state = ?, hs_derived_at = 'then'", (nonsense,))
        await reopen(store)
        assert (await load(store)).is_ready
        assert (await load(store)).outgoing is None
        assert await store.unfinished() == []
    await store.close()


async def test_whole_conversations_with_restarts_run_over_sqlite_as_over_memory(tmp_path: Path) -> None:
    clock = FakeClock()
    ends = []
    for name in ("alice", "bob"):
        identity = make_identity(name)
        store = SqliteStore(tmp_path / f"{name}.db", identity)
        await store.open()
        ends.append(End(name, clock, Settings(), store=store))
    link = Link(*ends)
    link.fate = lambda line: 0 if line["intent"] == "respond" else 1
    await link.register()
    for end in ends:
        await end.store.close()
        end.store = SqliteStore(tmp_path / f"{end.name}.db", end.identity)
        await end.store.open()
        await end.restart()
    link.fate = lambda line: 1
    await link.advance(clock, 20)
    for end, other in (ends, ends[::-1]):
        assert end.closed(INIT) == other.closed(RESP) >= 2
        heard = [str(message) for message in end.delivered()]
        assert len(heard) == len(set(heard))
        assert end.refusals() == []
        await end.store.close()


async def test_a_full_disk_changes_nothing_and_the_conversation_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    store = SqliteStore(tmp_path / "a.db", make_identity("alice"))
    await store.open()
    alice, bob = End("alice", clock, store=store), End("bob", clock)
    pages = (await store._database.execute("PRAGMA page_count"))[0]["page_count"]
    await store._database.execute(f"PRAGMA max_page_count = {pages}")
    link = Link(alice, bob)
    with pytest.raises(StorageError):
        for _ in range(200):
            await alice.receive(
                {"to": None, "intent": "register", "from": make_identity(str(clock.seconds)).agent_id}
            )
            clock.seconds += 1
    await store._database.execute("PRAGMA max_page_count = 100000")
    await link.register()
    assert alice.closed(INIT) == bob.closed(RESP) == 1
    await store.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_damaged_database_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(StorageError, match=r"a\.db"):
        await SqliteStore(tmp_path / "a.db", ALICE).open()


async def test_a_database_from_the_future_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StorageError):
        await SqliteStore(tmp_path / "a.db", ALICE).open()


async def test_a_store_that_was_closed_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StorageError):
        await load(store)


def test_a_store_is_closed_without_its_event_loop(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db", ALICE)
    asyncio.run(store.open())
    store.close_sync()
    assert not (tmp_path / "a.db-wal").exists()

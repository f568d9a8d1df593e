"""`handfast audit`: shown and exported without being changed, verified with the first bad entry in one sentence."""

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fake_world import START, End, FakeClock, make_identity
from test_cli_inspect import FIRST_GENERATION, altered
from test_cli_main import one_line, run

from handfast.adapters.files import PASSPHRASE_VARIABLE, database_path, identity_path, save_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.audit import SignedHead, Verifier, sign_head
from handfast.conversation.model import Role
from handfast.identity import Identity
from handfast.identity.names import fingerprint
from handfast.trust.rotation import rotated_identity
from handfast.wire.text import b64encode

ALICE, BOB = make_identity("alice"), make_identity("bob")
KEY = ALICE.identity_key


async def live(home: Path, entries: int = 70, identity: Identity = ALICE) -> None:
    """Let alice run once."""
    store = SqliteStore(database_path(home, ALICE.agent_id), identity)
    await store.open()
    end = End("alice", FakeClock(), store=store)
    end.identity = identity
    end.driver = end.new_driver()
    await end.driver.start()
    for number in range(entries):
        event, peer = ("refused", BOB.agent_id) if number % 10 == 0 else ("closed", f"peer {number}")
        await store.run(
            lambda t, event=event, peer=peer, n=number: t.audit(  # type: ignore[misc]
                event, Role.INITIATOR, peer, {"n": n}, START
            )
        )
    await end.driver.stop()
    await store.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    asyncio.run(live(tmp_path))
    return database_path(tmp_path, ALICE.agent_id)


def keep(home: Path, head: SignedHead | None) -> Path:
    """Let bob keep a head of alice's log; his database."""

    async def work() -> None:
        store = SqliteStore(database_path(home, BOB.agent_id), BOB)
        await store.open()
        if head is not None:
            await store.run(lambda t: t.keep_witness(ALICE.agent_id, head, START))
        await store.close()

    asyncio.run(work())
    return database_path(home, BOB.agent_id)


def exported(database: Path) -> Path:
    path = database.with_suffix(".jsonl")
    result = run("audit", "export", database)
    assert result.status == 0
    path.write_text(result.out)
    return path


# ---- show ---------------------------------------------------------------------------------------------------------


def test_the_end_of_the_log_is_shown_as_a_table(database: Path) -> None:
    result = run("audit", "show", database, "--last", 3)
    assert result.status == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[0] for line in lines] == ["Entry", "73", "74", "75"]
    assert "stopped" in result.out
    assert "signs all before it" in result.out
    assert max(map(len, map(str.rstrip, result.out.splitlines()))) <= 80


def test_entries_are_chosen_by_event_and_by_peer_and_their_order_stays(database: Path) -> None:
    result = run("audit", "show", database, "--json", "--event", "refused", "--event", "started", "--last", 3)
    shown = [json.loads(line) for line in result.out.splitlines()]
    assert [entry["detail"]["n"] for entry in shown] == [40, 50, 60]
    assert shown[0] == {
        "seq": shown[0]["seq"],
        "at": "2027-01-15T08:00:00.000+00:00",
        "event": "refused",
        "role": "initiator",
        "peer_id": BOB.agent_id,
        "detail": {"n": 40},
    }
    of_bob = run("audit", "show", database, "--json", "--peer", BOB.agent_id[:6]).out.splitlines()
    assert len(of_bob) == 7
    assert run("audit", "show", database, "--peer", "%").out == "No such entry.\n"


def test_what_stands_in_the_log_reaches_the_terminal_escaped(database: Path) -> None:
    altered(
        database, "UPDATE audit SET event = char(27) || '[2J', detail = char(7), at = x'00' WHERE seq > 70"
    )
    for command in ("show", "export"):
        result = run("audit", command, database)
        assert result.status == 0
        assert not any(character in result.out for character in "\x1b\x07")


# ---- verify -------------------------------------------------------------------------------------------------------


def test_a_good_log_is_told_with_what_could_not_be_verified(database: Path) -> None:
    before = database.read_bytes()
    result = run("audit", "verify", database)
    assert (result.status, result.err) == (0, "")
    assert "entries 1 to 75" in result.out
    assert f"signed up to entry 74, by the key {fingerprint(KEY.public)}" in result.out
    assert "Compare this key" in result.out
    assert "cut off" in result.out
    assert "not signed yet" not in result.out
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "key", [b64encode(KEY.public), fingerprint(KEY.public), fingerprint(KEY.public).upper().replace(" ", "")]
)
def test_the_key_may_be_given_in_each_form_that_is_shown(database: Path, key: str) -> None:
    result = run("audit", "verify", database, "--key", key)
    assert result.status == 0
    assert "Compare" not in result.out
    assert "another key" in one_line(
        run("audit", "verify", database, "--key", b64encode(BOB.identity_key.public))
    )
    both = run("audit", "verify", database, "--key", b64encode(BOB.identity_key.public), "--key", key)
    assert both.status == 0


@pytest.mark.parametrize("key", ["", "0378", "z" * 32, "\x1b[2J"])
def test_what_is_no_key_is_one_line(database: Path, key: str) -> None:
    result = run("audit", "verify", database, "--key", key)
    assert result.status == 2
    assert "neither a public key nor a fingerprint" in one_line(result)


@pytest.mark.parametrize(
    ("statement", "entry", "why"),
    [
        ("UPDATE audit SET event = 'nothing' WHERE seq = 3", 3, "changed"),
        ("UPDATE audit SET detail = '{}' WHERE seq = 2", 2, "changed"),
        ("UPDATE audit SET peer_id = x'00ff' WHERE seq = 4", 4, "no entry"),
        ("UPDATE audit SET at = 9e999 WHERE seq = 5", 5, "no entry"),
        ("UPDATE audit SET seq = -1 WHERE seq = 5", -1, "number"),
        ("DELETE FROM audit WHERE seq = 7", 8, "missing"),
        ("DELETE FROM audit WHERE seq < 10", 10, "missing"),
        ("DELETE FROM audit WHERE seq = 75", 74, "no signature follows"),
    ],
)
def test_the_first_bad_entry_is_named_in_one_sentence(
    database: Path, statement: str, entry: int, why: str
) -> None:
    altered(database, statement)
    result = run("audit", "verify", database)
    assert result.status == 1
    assert f"entry {entry} of the audit log is bad" in one_line(result)
    assert why in result.err
    assert json.loads(run("inspect", database, "--json").out)["audit"]["first_broken"] == entry


def test_entries_that_are_not_signed_yet_are_told(database: Path) -> None:
    altered(database, "DELETE FROM audit WHERE seq > 70")
    out = run("audit", "verify", database).out
    assert "signed up to entry 66" in out
    assert "What follows entry 67 is chained, but not signed yet." in out


def test_a_log_without_any_signature_holds_as_a_chain_and_fails_where_a_key_is_asked_for(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        store = SqliteStore(tmp_path / "a.db", ALICE)
        await store.open()
        await store.run(lambda t: t.audit("closed", None, "", {}, START))
        await store.close()

    asyncio.run(work())
    result = run("audit", "verify", tmp_path / "a.db")
    assert result.status == 0
    assert "Nothing in it is signed" in result.out
    asked = run("audit", "verify", tmp_path / "a.db", "--key", b64encode(KEY.public))
    assert asked.status == 1
    assert "nothing in the audit log is signed" in one_line(asked)
    altered(tmp_path / "a.db", "DELETE FROM audit")
    assert "empty" in one_line(run("audit", "verify", tmp_path / "a.db"))


def test_the_log_is_found_by_the_agents_name_without_its_passphrase(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = database.parent
    save_identity(identity_path(home, "alice"), ALICE, b"nobody knows")
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    assert run("audit", "verify", "--name", "alice", "--home", home).status == 0


@pytest.mark.parametrize("command", ["show", "verify", "export"])
def test_a_database_without_a_log_is_one_line(tmp_path: Path, command: str) -> None:
    database = tmp_path / "old.db"
    database.write_bytes(FIRST_GENERATION.read_bytes())
    result = run("audit", command, database)
    assert result.status == 2
    assert "no audit log" in one_line(result)
    assert "no such database" in one_line(run("audit", command, tmp_path / "none.db"))


# ---- a peer's log -------------------------------------------------------------------------------------------------


def test_a_peers_log_is_verified_against_the_head_that_the_peer_gave_us(
    database: Path, tmp_path: Path
) -> None:
    path = exported(database)
    of_bob = keep(tmp_path, None)
    alone = run("audit", "verify", of_bob, "--peer-log", path)
    assert alone.status == 0
    assert "No head" in alone.out
    lines = path.read_text().splitlines(keepends=True)
    digest = json.loads(lines[65])["digest"]
    keep(tmp_path, sign_head(66, digest, KEY))
    agrees = run("audit", "verify", of_bob, "--peer-log", path)
    assert agrees.status == 0
    assert f"agrees with the head of entry 66 that {ALICE.agent_id} gave us" in agrees.out

    path.write_text("".join(lines[:40]))
    cut = run("audit", "verify", of_bob, "--peer-log", path)
    assert cut.status == 1
    assert "entry 41 of the audit log is bad: it is missing" in one_line(cut)


def test_a_peers_log_that_differs_from_the_head_that_the_peer_gave_us_is_refused(
    database: Path, tmp_path: Path
) -> None:
    path = exported(database)
    of_bob = keep(tmp_path, sign_head(30, "ab" * 32, KEY))
    result = run("audit", "verify", of_bob, "--peer-log", path)
    assert result.status == 1
    assert "entry 30 of the audit log is bad: the agent has signed another" in one_line(result)


def test_a_head_whose_signature_does_not_hold_is_none(database: Path, tmp_path: Path) -> None:
    of_bob = keep(tmp_path, sign_head(30, "ab" * 32, KEY))
    altered(of_bob, "UPDATE witness SET n = 31")
    result = run("audit", "verify", of_bob, "--peer-log", exported(database))
    assert (result.status, "No head" in result.out) == (0, True)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no JSON", "no entry"),
        ("[]", "no entry"),
        ('{"seq": 4}', "no entry"),
        ("", "missing"),
        ('{"x": "' + "x" * 100_000 + '"}', "no entry"),
    ],
    ids=["text", "list", "part", "nothing", "long"],
)
def test_a_peers_log_is_refused_at_the_first_line_that_is_no_entry(
    database: Path, tmp_path: Path, line: str, why: str
) -> None:
    path = exported(database)
    lines = path.read_text().splitlines()
    lines[3:4] = [line] if line else []
    path.write_text("\n".join(lines))
    result = run("audit", "verify", keep(tmp_path, None), "--peer-log", path)
    assert result.status == 1
    assert f"entry {4 if line else 5} of the audit log is bad" in one_line(result)
    assert why in result.err


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "pipe"])
def test_a_peers_log_that_cannot_be_read_is_one_line(database: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log.jsonl"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # nobody writes: opening it would wait for ever
    result = run("audit", "verify", database, "--peer-log", path)
    assert result.status == (1 if kind == "empty" else 2)
    one_line(result)


def test_of_several_heads_the_latest_counts(database: Path, tmp_path: Path) -> None:
    path = exported(database)
    digest = json.loads(path.read_text().splitlines()[29])["digest"]
    of_bob = keep(tmp_path, sign_head(30, digest, KEY))
    altered(
        of_bob,
        "INSERT INTO witness (self_id, peer_id, n, head, identity_key, signature, at) "
        "SELECT self_id, 'before', 1, head, identity_key, signature, at FROM witness",
    )
    assert "the head of entry 30" in run("audit", "verify", of_bob, "--peer-log", path).out


def test_a_head_of_entries_that_a_peer_has_pruned_since_is_not_compared(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(database)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[66:]))
    of_bob = keep(tmp_path, sign_head(30, "ab" * 32, KEY))
    assert "missing" in one_line(run("audit", "verify", of_bob, "--peer-log", path))
    monkeypatch.setattr("handfast.cli.audit_keys.Verifier", partial(Verifier, kept=5))
    result = run("audit", "verify", of_bob, "--peer-log", path)
    assert result.status == 0
    assert "What came before entry 67 was pruned." in result.out
    assert "the two were not compared" in result.out


def test_no_more_of_a_line_is_read_than_an_entry_has(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handfast.cli.audit._LINE_BYTES", 100)
    result = run("audit", "verify", keep(tmp_path, None), "--peer-log", exported(database))
    assert "entry 1 of the audit log is bad: it is no entry" in one_line(result)


# ---- rotation -----------------------------------------------------------------------------------------------------


def rotated(identity: Identity, number: int) -> Identity:
    private = [hashlib.sha256(f"{use} {number}".encode()).digest() for use in ("identity", "static")]
    return rotated_identity(identity, private[0], private[1], START)


def test_a_log_goes_on_under_the_keys_that_the_identity_key_was_rotated_to(tmp_path: Path) -> None:
    once = rotated(ALICE, 1)
    twice = rotated(once, 2)
    for identity in (ALICE, once, twice):
        asyncio.run(live(tmp_path, 3, identity))
    database = database_path(tmp_path, ALICE.agent_id)
    assert json.loads(run("inspect", database, "--json").out)["audit"]["first_broken"] is None
    result = run("audit", "verify", database)
    assert result.status == 0
    assert fingerprint(twice.identity_key.public) in result.out
    for identity in (ALICE, once, twice):
        given = run("audit", "verify", database, "--key", fingerprint(identity.identity_key.public))
        assert given.status == 0
    assert run("audit", "verify", database, "--key", fingerprint(BOB.identity_key.public)).status == 1


def test_a_key_that_was_rotated_away_signs_no_more(tmp_path: Path) -> None:
    once = rotated(ALICE, 1)
    for identity in (once, ALICE):
        asyncio.run(live(tmp_path, 3, identity))
    database = database_path(tmp_path, ALICE.agent_id)
    result = run("audit", "verify", database)
    assert result.status == 1
    assert "another key, and no rotation leads" in one_line(result)


def test_who_holds_a_key_that_was_rotated_away_makes_no_log_that_the_present_key_vouches_for(
    tmp_path: Path,
) -> None:
    once = rotated(ALICE, 1)
    asyncio.run(live(tmp_path, 3, replace(once, rotated_key=ALICE.signing_key)))
    database = database_path(tmp_path, ALICE.agent_id)
    present = fingerprint(once.identity_key.public)
    assert run("audit", "verify", database, "--key", present).status == 1


def test_statements_of_rotation_that_do_not_hold_lead_nowhere(tmp_path: Path) -> None:
    once = rotated(ALICE, 1)
    forged = replace(rotated(BOB, 1), agent_id=ALICE.agent_id)
    asyncio.run(live(tmp_path, 3, ALICE))
    asyncio.run(live(tmp_path, 3, forged))
    database = database_path(tmp_path, ALICE.agent_id)
    assert "no rotation leads" in one_line(run("audit", "verify", database))
    broken = replace(once, rotations=once.rotations[:-1] + b"x")
    other = tmp_path / "other"
    other.mkdir()
    for identity in (ALICE, broken):
        asyncio.run(live(other, 3, identity))
    assert run("audit", "verify", database_path(other, ALICE.agent_id)).status == 1

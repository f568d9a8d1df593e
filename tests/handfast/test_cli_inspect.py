"""`handfast inspect`: tables and JSON from databases of both generations, read and never written."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fake_world import START, End, FakeClock, Link, make_identity
from test_cli_main import one_line, run

from handfast.adapters.files import PASSPHRASE_VARIABLE, database_path, identity_path, save_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.dialogue import Dialogue
from handfast.identity import Identity
from handfast.identity.names import fingerprint

FIRST_GENERATION = Path(__file__).parent.parent / "vectors" / "first-generation" / "agent_db_example.sqlite3"
ALICE, BOB = make_identity("alice"), make_identity("bob")


def identity_of(name: str, version: int) -> Identity:
    """One that speaks this version at most."""
    static = hashlib.sha256(f"{name} static".encode()).digest()
    return make_identity(name) if version == 1 else make_identity(name).with_static_key(static, START)


async def talk(home: Path, clock: FakeClock, turns: int, version: int = 1, seconds: float = 0.0) -> None:
    """Let alice and bob carry so many lines between them, for so long; both databases are in `home`."""
    stores = [SqliteStore(database_path(home, one.agent_id), one) for one in (ALICE, BOB)]
    for store in stores:
        await store.open()
    ends = [
        End(name, clock, dialogue=Dialogue(), store=store)
        for name, store in zip(("alice", "bob"), stores, strict=True)
    ]
    left = [turns]

    def fate(_line: object) -> int:
        left[0] -= 1
        return int(left[0] >= 0)

    for end in ends:
        end.identity = identity_of(end.name, version)
        end.driver = end.new_driver()
    link = Link(*ends, fate=fate)
    try:
        await link.register()
        await link.advance(clock, seconds)
    finally:
        for store in stores:
            await store.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    asyncio.run(talk(tmp_path, FakeClock(), turns=1_000))
    return tmp_path


@pytest.fixture
def database(home: Path) -> Path:
    return database_path(home, ALICE.agent_id)


def altered(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_json_holds_every_part_under_stable_names(database: Path) -> None:
    result = run("inspect", database, "--json")
    assert result.status == 0
    shown = json.loads(result.out)
    assert list(shown) == [
        "database", "version", "self_ids", "totals", "conversations", "pins", "outbox", "half_open", "audit",
    ]  # fmt: skip
    assert shown["self_ids"] == [ALICE.agent_id]
    assert shown["totals"] == {
        "conversations": 2, "nonces": 0, "pins": 1, "outbox": 1, "half_open": 0, "audit": 5,
    }  # fmt: skip
    initiator, responder = shown["conversations"]
    assert set(initiator) == {
        "self_id", "role", "peer_id", "state", "exchange_count", "finalize_retry_count", "local_nonce", "peer_nonce",
        "local_reference", "peer_reference", "nonces_sent", "nonces_received", "peer_address", "peer_key",
        "version", "security", "ticket", "hs_derived_at", "last_secure_at", "reconnect_at", "reconnect_tries", "created_at", "updated_at",
    }  # fmt: skip
    assert (initiator["role"], initiator["state"]) == ("initiator", "init_finalize_close")
    assert (responder["role"], responder["state"]) == ("responder", "resp_ready")
    assert [(one["version"], one["security"], one["ticket"]) for one in shown["conversations"]] == [
        (1, "v1", None),
        (1, "v1", None),
    ]
    assert initiator["last_secure_at"] == "2027-01-15T08:00:00.000+00:00"
    assert [pin["fingerprint"] for pin in shown["pins"]] == [fingerprint(BOB.signing_key.public)]
    assert shown["pins"][0]["peer_id"] == BOB.agent_id
    assert (shown["outbox"][0]["intent"], shown["outbox"][0]["sends"]) == ("close", 1)
    assert shown["audit"]["first_broken"] is None
    assert [entry["event"] for entry in shown["audit"]["tail"]] == [
        "pinned",
        "session",
        "closed",
        "session",
        "closed",
    ]
    assert shown["audit"]["tail"][1]["detail"] == {"version": 1}


def test_the_tables_show_peers_states_pins_outbox_and_audit_in_80_columns(database: Path) -> None:
    result = run("inspect", database)
    assert result.status == 0
    for shown in (
        ALICE.agent_id, BOB.agent_id, "init_finalize_close", "resp_ready", fingerprint(BOB.signing_key.public),
        "first sight", "close", "Audit log · 5, chain holds",
    ):  # fmt: skip
        assert shown in result.out
    assert "\x1b" not in result.out
    short = [line.rstrip() for line in result.out.splitlines() if str(database) not in line]
    assert max(map(len, short)) <= 80


def test_in_a_narrow_terminal_no_column_disappears_and_the_path_can_be_copied(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    shown = run("inspect", database).out
    assert f"\n{database}\n" in shown
    assert fingerprint(BOB.signing_key.public) in shown
    for heading in ("Our role", "State", "Nonces", "Source", "Event"):
        assert heading in shown


@pytest.fixture
def second_version(tmp_path: Path) -> Path:
    """Alice's database after a conversation of version 2 in either direction."""
    asyncio.run(talk(tmp_path, FakeClock(), turns=1_000, version=2))
    return database_path(tmp_path, ALICE.agent_id)


def test_a_session_of_version_2_is_shown_with_how_sure_its_peer_is_and_until_when_its_ticket_is_good(
    second_version: Path,
) -> None:
    initiator, responder = json.loads(run("inspect", second_version, "--json").out)["conversations"]
    assert (initiator["version"], initiator["security"]) == (2, "v2-tofu")
    assert (responder["version"], responder["security"]) == (2, "v2-pin")
    # 20 hours for the one who shows it, 24 for the one who takes it
    assert initiator["ticket"] == {"until": "2027-01-16T04:00:00.000+00:00", "used": False}
    assert responder["ticket"] == {"until": "2027-01-16T08:00:00.000+00:00", "used": False}
    shown = run("inspect", second_version).out
    for words in ("Sessions: how sure", "v2-tofu", "v2-pin", "Ticket good for", "8 messages, "):
        assert words in shown
    assert max(len(line.rstrip()) for line in shown.splitlines() if str(second_version) not in line) <= 80


def test_a_ticket_is_as_old_as_the_full_handshake_however_often_it_was_renewed(tmp_path: Path) -> None:
    asyncio.run(talk(tmp_path, FakeClock(), turns=1_000, version=2, seconds=60.0))
    shown = json.loads(run("inspect", database_path(tmp_path, ALICE.agent_id), "--json", "--audit", 100).out)
    sessions = [entry for entry in shown["audit"]["tail"] if entry["event"] == "session"]
    assert {entry["detail"]["resumed"] for entry in sessions} == {True, False}
    initiator, responder = shown["conversations"]
    assert initiator["hs_derived_at"] > "2027-01-15T08:00:10"
    assert initiator["ticket"]["until"] == "2027-01-16T04:00:00.000+00:00"
    assert responder["ticket"]["until"] == "2027-01-16T08:00:00.000+00:00"
    assert "v2-pin, resumed" in run("inspect", database_path(tmp_path, ALICE.agent_id)).out


@pytest.mark.parametrize(
    ("statement", "ticket", "words"),
    [
        ("UPDATE role_state SET ticket_used = x'00'", {"used": True}, "used up"),
        ("UPDATE audit SET detail = replace(detail, 'false', 'true')", {"until": None}, "?"),
        ("UPDATE audit SET at = at - 86401", {"used": False}, "over"),
        ("UPDATE role_state SET sealed_ticket = NULL", None, "–"),
    ],
)
def test_a_ticket_that_is_good_for_nothing_is_not_shown_as_good(
    second_version: Path, statement: str, ticket: dict[str, object] | None, words: str
) -> None:
    altered(
        second_version,
        statement,
        "UPDATE audit SET at = at + (SELECT julianday() - 2440587.5) * 86400 - 1800000000",
    )
    for one in json.loads(run("inspect", second_version, "--json").out)["conversations"]:
        assert one["ticket"] is None if ticket is None else ticket.items() <= one["ticket"].items()
    table = run("inspect", second_version).out.split("Ticket good for")[1]
    rows = [line.rstrip() for line in table.splitlines()[1:3]]
    assert [row.endswith(words) for row in rows] == [True, True]


def test_who_never_had_a_session_is_not_among_the_sessions(second_version: Path) -> None:
    altered(second_version, "UPDATE role_state SET hs_derived_at = NULL WHERE role = 'initiator'")
    table = run("inspect", second_version).out.split("Ticket good for")[1].split("Pinned keys")[0]
    assert ("initiator" in table, "responder" in table) == (False, True)
    altered(second_version, "UPDATE role_state SET hs_derived_at = NULL")
    assert "Sessions" not in run("inspect", second_version).out


def test_the_bytes_of_a_ticket_are_never_shown(second_version: Path) -> None:
    with closing(sqlite3.connect(second_version)) as connection:
        sealed = [row[0] for row in connection.execute("SELECT sealed_ticket FROM role_state")]
    assert len(sealed) == 2
    for result in (run("inspect", second_version), run("inspect", second_version, "--json")):
        assert not any(ticket.hex() in result.out.lower() for ticket in sealed)
        assert "sealed_ticket" not in result.out


def test_pins_of_both_versions_stand_side_by_side(second_version: Path) -> None:
    key = base64.b64encode(BOB.signing_key.public).decode()
    altered(
        second_version,
        "INSERT INTO pin (self_id, peer_id, sign_pub, source, first_seen)"
        f" VALUES ('{ALICE.agent_id}', '{BOB.agent_id}', '{key}', 'first sight', 1800000000)",
    )
    shown = json.loads(run("inspect", second_version, "--json").out)
    assert shown["totals"]["pins"] == 2
    assert [(pin["version"], pin["source"], pin["fingerprint"]) for pin in shown["pins"]] == [
        (1, "first sight", fingerprint(BOB.signing_key.public)),
        (2, "tofu", fingerprint(BOB.identity_key.public)),
    ]


def test_nonces_of_a_conversation_under_way_are_counted(tmp_path: Path) -> None:
    asyncio.run(talk(tmp_path, FakeClock(), turns=5))
    shown = json.loads(run("inspect", database_path(tmp_path, ALICE.agent_id), "--json").out)
    counts = {one["role"]: (one["nonces_sent"], one["nonces_received"]) for one in shown["conversations"]}
    assert sum(map(sum, counts.values())) == shown["totals"]["nonces"] > 0
    assert any(sent and received for sent, received in counts.values())


def test_sealed_secrets_are_never_shown(tmp_path: Path) -> None:
    asyncio.run(talk(tmp_path, FakeClock(), turns=4))
    database = database_path(tmp_path, ALICE.agent_id)
    with closing(sqlite3.connect(database)) as connection:
        sealed = [
            row[0]
            for table in ("role_state", "half_open")
            for row in connection.execute(
                f"SELECT sealed_secret FROM {table} WHERE sealed_secret IS NOT NULL"
            )
        ]
        payloads = [row[0] for row in connection.execute("SELECT payload FROM outbox")]
    assert sealed
    assert payloads
    for result in (run("inspect", database, "--json"), run("inspect", database)):
        assert '"sealed_secret"' not in result.out
        assert not any(secret.hex() in result.out for secret in sealed)
        assert '"kx_pub"' not in result.out
        assert "ciphertext" not in result.out


def test_a_database_of_the_first_generation_is_shown_and_left_as_it_is(tmp_path: Path) -> None:
    database = tmp_path / "HSAgent-old.db"
    shutil.copy(FIRST_GENERATION, database)
    before = database.read_bytes()
    shown = json.loads(run("inspect", database, "--json").out)
    assert shown["version"] == 0
    assert [one["state"] for one in shown["conversations"]] == ["init_exchange", "resp_ready"]
    assert shown["conversations"][0]["hs_derived_at"] == "2026-11-21T08:19:00.180+00:00"
    assert shown["conversations"][0]["created_at"] == "2026-11-21T08:15:47.000+00:00"
    assert shown["conversations"][0]["nonces_sent"] + shown["conversations"][0]["nonces_received"] == 4
    assert shown["conversations"][0]["reconnect_tries"] is None
    assert (shown["pins"], shown["audit"]) == ([], {"first_broken": None, "tail": []})
    assert "first generation" in run("inspect", database).out
    assert database.read_bytes() == before
    assert os.listdir(tmp_path) == [database.name]


def test_a_database_that_is_being_written_to_is_shown(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM pin")
        shown = json.loads(run("inspect", database, "--json").out)
        writer.execute("ROLLBACK")
    assert shown["totals"]["pins"] == 1


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET event = 'nothing' WHERE seq = 3", 3),
        ("UPDATE audit SET peer_id = x'00ff' WHERE seq = 4", 4),
        ("UPDATE audit SET at = 9e999 WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 3),
    ],
)
def test_a_broken_audit_chain_is_told_with_its_place(database: Path, statement: str, broken: int) -> None:
    altered(database, statement)
    assert json.loads(run("inspect", database, "--json").out)["audit"]["first_broken"] == broken
    assert f"CHAIN BROKEN at entry {broken}" in run("inspect", database).out


def test_a_long_chain_is_verified_from_its_first_entry_on_and_only_its_end_is_listed(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handfast.cli.snapshot._AUDIT_PAGE", 2)
    shown = json.loads(run("inspect", database, "--json", "--audit", 1).out)["audit"]
    assert shown["first_broken"] is None
    assert [entry["seq"] for entry in shown["tail"]] == [5]
    altered(database, "UPDATE audit SET detail = '{}' WHERE seq = 2")
    assert json.loads(run("inspect", database, "--json", "--audit", 0).out)["audit"] == {
        "first_broken": 2,
        "tail": [],
    }


def test_whatever_stands_in_a_database_nothing_of_it_reaches_the_terminal_as_a_command(
    database: Path,
) -> None:
    evil = "char(27) || '[2J' || char(7)"
    altered(
        database,
        f"UPDATE role_state SET version = {evil}, sealed_ticket = {evil}, state = {evil}, peer_address = {evil}, hs_derived_at = {evil}, last_secure_at = {evil}",
        f"UPDATE pin SET source = {evil}, sign_pub = {evil}, peer_id = {evil}",
        f"UPDATE outbox SET payload = '[\"' || {evil}, due_at = 9e999",
        f"UPDATE audit SET event = {evil}, detail = {evil}, at = x'00' WHERE seq > 3",
        "UPDATE role_state SET exchange_count = x'ff00', peer_sign_pub = x'00'",
    )
    for result in (
        run("inspect", database),
        run("inspect", database, "--json"),
        run("pins", "list", database),
    ):
        assert (result.status, result.err) == (0, "")
        assert not any(character in result.out for character in "\x1b\x07")


def test_many_peers_are_counted_and_the_first_are_listed(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handfast.cli.snapshot.LISTED", 1)
    shown = json.loads(run("inspect", database, "--json").out)
    assert (len(shown["conversations"]), shown["totals"]["conversations"]) == (1, 2)
    assert "Conversations · 2, the first 1 are shown" in run("inspect", database).out


def test_a_database_before_the_first_conversation_is_named_by_its_file(tmp_path: Path) -> None:
    asyncio.run(talk(tmp_path, FakeClock(), turns=0))
    path = database_path(tmp_path, ALICE.agent_id)
    altered(path, "DELETE FROM half_open")
    result = run("inspect", path)
    assert result.out.startswith(f"Agent {ALICE.agent_id}\n")
    assert "No conversations yet." in result.out


@pytest.mark.parametrize("columns", ["id", "self_id, role, peer_id", "peer_id, role, state"])
def test_tables_with_other_columns_are_shown_as_far_as_they_go(tmp_path: Path, columns: str) -> None:
    path = tmp_path / "other.db"
    tables = ("role_state", "nonce_event", "pin", "outbox", "half_open", "audit")
    altered(path, *(f"CREATE TABLE {table} ({columns})" for table in tables))
    altered(path, *(f"INSERT INTO {table} DEFAULT VALUES" for table in tables))
    result = run("inspect", path)
    assert (result.status, result.err.count("\n")) in [(0, 0), (2, 1)]


@pytest.mark.parametrize("content", [b"", b"no database at all, only text that is long enough" * 50])
def test_a_file_that_is_no_agents_database_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(content)
    result = run("inspect", path)
    assert result.status == 2
    assert "other.db" in one_line(result)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "words", ["inspect", "audit show", "audit verify", "pins list", "pins remove 9c41 --yes", "trust list"]
)
def test_a_database_of_another_program_is_one_line_and_stays_as_it_is(tmp_path: Path, words: str) -> None:
    path = tmp_path / "other.db"
    altered(path, "CREATE TABLE recipe (name TEXT)")
    before = path.read_bytes()
    result = run(*words.split(), path)
    assert result.status == 2
    assert "not the database of an agent" in one_line(result)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["other.db"]


def test_a_directory_is_not_called_missing(home: Path) -> None:
    result = run("inspect", home)
    assert result.status == 2
    assert "this is a directory" in one_line(result)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_is_told_as_the_reason(home: Path, database: Path) -> None:
    home.chmod(0o500)
    try:
        result = run("inspect", database)
    finally:
        home.chmod(0o700)
    assert result.status == 2
    assert "SQLite must be able to write" in one_line(result)


def test_a_file_that_is_not_there_is_one_line_and_is_not_made(tmp_path: Path) -> None:
    result = run("inspect", tmp_path / "none.db")
    assert result.status == 2
    assert "no such database" in one_line(result)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def named(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the identities of both, whose passphrases are their names."""
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    for name, identity in (("alice", ALICE), ("bob", BOB)):
        save_identity(identity_path(home, name), identity, name.encode())
    return home


def test_a_name_finds_the_only_database_without_a_passphrase(named: Path) -> None:
    database_path(named, BOB.agent_id).unlink()
    identity_path(named, "bob").unlink()
    result = run("inspect", "--name", "alice", "--home", named, "--json")
    assert json.loads(result.out)["self_ids"] == [ALICE.agent_id]


def test_a_name_finds_its_own_database_among_several_with_the_passphrase(
    named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "bob")
    result = run("inspect", "--name", "bob", "--home", named, "--json")
    assert json.loads(result.out)["self_ids"] == [BOB.agent_id]
    secret = named / "passphrase"
    secret.write_text("alice\n")
    result = run("inspect", "--name", "alice", "--home", named, "--json", "--passphrase-file", secret)
    assert json.loads(result.out)["self_ids"] == [ALICE.agent_id]


def test_a_name_never_shows_the_database_of_another(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database_path(named, BOB.agent_id).unlink()
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "bob")
    result = run("inspect", "--name", "bob", "--home", named)
    assert result.status == 2
    assert "no database" in one_line(result)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--name", "carol"], "no such identity"),
        (["--name", "../alice"], "a name has"),
        (["--name", "alice"], "demonstration passphrase"),
        (["--name", "alice", "--passphrase-file", "nowhere"], "nowhere"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(named: Path, arguments: list[str], says: str) -> None:
    result = run("inspect", "--home", named, *arguments)
    assert result.status == 2
    assert says in one_line(result)


def test_watching_needs_a_terminal_or_json(database: Path) -> None:
    result = run("inspect", database, "--watch")
    assert result.status == 2
    assert "--json" in one_line(result)


def test_watching_goes_on_until_ctrl_c_and_sees_what_is_new(database: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "handfast.cli",
        "inspect",
        str(database),
        "--watch",
        "--json",
        "--audit",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["totals"]["audit"] == 5
            altered(database, "UPDATE audit SET event = 'changed' WHERE seq = 5", "DELETE FROM pin")
            altered(
                database,
                "INSERT INTO audit SELECT 6, at, event, role, peer_id, detail, digest FROM audit WHERE seq = 5",
            )
            for line in watching.stdout:  # pragma: no branch
                shown = json.loads(line)
                if shown["totals"]["audit"] == 6:
                    break
            assert shown["totals"]["pins"] == 0
            assert shown["audit"]["first_broken"] == 6
            watching.send_signal(signal.SIGINT)
            _, err = watching.communicate(timeout=20)
        finally:
            watching.kill()
    assert (watching.returncode, err) == (0, "")

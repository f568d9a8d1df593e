"""`handfast pins`: listed with their fingerprints, removed with a trace."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fake_world import make_identity
from test_cli_inspect import ALICE, BOB, FIRST_GENERATION, altered, database, home
from test_cli_main import one_line, run

from handfast.identity.names import fingerprint

__all__ = ["database", "home"]  # fixtures

CAROL = make_identity("carol")


def pinned(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT peer_id FROM pin ORDER BY peer_id")]


def add_pin(path: Path, peer_id: str, key: str) -> None:
    altered(
        path,
        "INSERT INTO pin (self_id, peer_id, sign_pub, source, first_seen) "
        f"VALUES ('{ALICE.agent_id}', '{peer_id}', '{key}', 'first sight', 0)",
    )


def audit(path: Path) -> dict[str, object]:
    shown: dict[str, object] = json.loads(run("inspect", path, "--json").out)["audit"]
    return shown


def test_pins_are_listed_with_the_whole_id_and_fingerprint(database: Path) -> None:
    result = run("pins", "list", database)
    assert result.status == 0
    assert BOB.agent_id in result.out
    assert fingerprint(BOB.signing_key.public) in result.out


def test_no_pins_is_said(database: Path) -> None:
    altered(database, "DELETE FROM pin")
    assert run("pins", "list", database).out == "No key is pinned.\n"


@pytest.mark.parametrize("given", [BOB.agent_id, BOB.agent_id[:5]])
def test_removing_a_pin_leaves_an_audit_entry_in_an_unbroken_chain(database: Path, given: str) -> None:
    result = run("pins", "remove", given, database, "--yes")
    assert result.status == 0
    assert pinned(database) == []
    log = audit(database)
    assert log["first_broken"] is None
    assert isinstance(log["tail"], list)
    entry = log["tail"][-1]
    assert (entry["event"], entry["peer_id"]) == ("unpinned", BOB.agent_id)
    assert entry["detail"] == {"by": "command", "key": fingerprint(BOB.signing_key.public)}


def test_the_first_entry_of_an_empty_audit_log_is_a_beginning(database: Path) -> None:
    altered(database, "DELETE FROM audit")
    run("pins", "remove", BOB.agent_id, database, "--yes")
    add_pin(database, CAROL.agent_id, "key of carol")
    run("pins", "remove", CAROL.agent_id, database, "--yes")
    assert audit(database)["first_broken"] is None


@pytest.mark.parametrize(
    ("typed", "status", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1), ("", 1, 1)]
)
def test_a_person_is_asked_and_silence_means_no(database: Path, typed: str, status: int, left: int) -> None:
    result = run("pins", "remove", BOB.agent_id, database, typed=typed)
    assert result.status == status
    assert len(pinned(database)) == left
    assert fingerprint(BOB.signing_key.public) in result.err


def test_a_beginning_that_fits_several_peers_removes_none(database: Path) -> None:
    add_pin(database, BOB.agent_id[:-4] + "0000", "another key")
    result = run("pins", "remove", BOB.agent_id[:6], database, "--yes")
    assert result.status == 2
    assert "give more" in one_line(result)
    assert len(pinned(database)) == 2


@pytest.mark.parametrize("given", ["ffff", "", "%", "_", "' OR 1 --"])
def test_a_beginning_that_fits_nobody_is_one_line(database: Path, given: str) -> None:
    result = run("pins", "remove", given, database, "--yes")
    assert result.status == 2
    assert "no key is pinned" in one_line(result)
    assert len(pinned(database)) == 1


def test_a_pin_is_removed_while_another_process_reads(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as agent:
        agent.execute("BEGIN")
        agent.execute("SELECT count(*) FROM pin").fetchone()
        assert run("pins", "remove", BOB.agent_id, database, "--yes").status == 0
        agent.execute("COMMIT")
    assert pinned(database) == []


def test_a_pin_that_cannot_be_audited_stays(database: Path) -> None:
    altered(database, "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
    result = run("pins", "remove", BOB.agent_id, database, "--yes")
    assert result.status == 2
    assert len(pinned(database)) == 1


def test_a_database_of_another_version_is_only_read(database: Path, tmp_path: Path) -> None:
    altered(database, "PRAGMA user_version = 99")
    result = run("pins", "remove", BOB.agent_id, database, "--yes")
    assert result.status == 2
    assert "another version" in result.err
    assert len(pinned(database)) == 1
    old = tmp_path / "old.db"
    shutil.copy(FIRST_GENERATION, old)
    before = old.read_bytes()
    assert run("pins", "list", old).out == "No key is pinned.\n"
    assert run("pins", "remove", "9c41", old, "--yes").status == 2
    assert old.read_bytes() == before

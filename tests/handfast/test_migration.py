"""An identity file of the first generation becomes one of version 2, and no crash on the way loses a key."""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_world import START, make_identity

from handfast.adapters import files
from handfast.adapters.files import (
    bring_up_to_date,
    former_identity_path,
    identity_path,
    load_identity,
    new_identity,
    save_identity,
)
from handfast.errors import IdentityError
from handfast.identity import Identity, file, sealed
from handfast.identity.agent_ids import is_self_certifying, self_certifying_id
from handfast.identity.identity import STATIC_KEY_LIFE

ALICE = make_identity("alice")
WORDS = b"words"
FIRST_GENERATION = Path(__file__).parent.parent / "vectors" / "first-generation"


@pytest.fixture(autouse=True)
def quick_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys from passphrases without scrypt, whose slowness is not what is tried here."""
    for module in (file, sealed):
        monkeypatch.setattr(module, "scrypt", lambda words, salt, **_: hashlib.sha256(salt + words).digest())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The identity of alice, in the first generation's format."""
    path = identity_path(tmp_path, "alice")
    save_identity(path, ALICE, WORDS, version="id.v1")
    return path


def version(path: Path) -> str:
    return str(json.loads(path.read_bytes())["v"])


def migrate(path: Path, now: float = START) -> tuple[Identity, list[str]]:
    return bring_up_to_date(path, load_identity(path, WORDS), WORDS, now)


def test_a_new_identity_is_complete_and_its_id_is_made_of_its_key() -> None:
    made = new_identity()
    assert made.agent_id == self_certifying_id(made.identity_key.public)
    assert made.static_key.binding.not_after - made.static_key.binding.not_before == STATIC_KEY_LIFE
    assert (
        made.database_key()
        != Identity(made.agent_id, made.created_at, made.exchange_key, made.signing_key).database_key()
    )


def test_a_migrated_identity_keeps_its_id_its_keys_and_its_database_key(path: Path) -> None:
    former = path.read_bytes()
    migrated, done = migrate(path)
    assert len(done) == 1
    assert version(path) == "id.v2"
    loaded = load_identity(path, WORDS)
    for identity in (migrated, loaded):
        assert identity.agent_id == ALICE.agent_id
        assert not is_self_certifying(identity.agent_id)
        assert identity.signing_key.public == ALICE.signing_key.public == identity.identity_key.public
        assert identity.exchange_key.private_bytes() == ALICE.exchange_key.private_bytes()
        assert identity.stored_database_key == ALICE.database_key()
        assert identity.is_current(START)
    assert loaded.static_key.key.public == migrated.static_key.key.public
    kept = former_identity_path(path)
    assert kept.read_bytes() == former
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept.name in done[0]
    assert sorted(os.listdir(path.parent)) == sorted([path.name, kept.name])


def test_what_is_up_to_date_is_left_alone(path: Path) -> None:
    migrate(path)
    before = path.read_bytes()
    identity, done = migrate(path, START + 26 * 86_400)
    assert done == []
    assert path.read_bytes() == before
    assert len(identity.static_keys) == 1


def test_a_static_key_is_renewed_when_it_is_due_and_the_file_follows(path: Path) -> None:
    first, _ = migrate(path)
    second, done = migrate(path, START + 28 * 86_400)
    assert done == [f"made a new static key for {path.name}"]
    publics = [one.key.public for one in load_identity(path, WORDS).static_keys]
    assert publics == [second.static_key.key.public, first.static_key.key.public]
    assert sorted(os.listdir(path.parent)) == [path.name, former_identity_path(path).name]


def test_a_file_of_version_2_that_an_earlier_release_wrote_is_completed(tmp_path: Path) -> None:
    path = identity_path(tmp_path, "alice")
    save_identity(path, ALICE, WORDS)  # format id.v2 with the members of id.v1 only
    migrated, done = migrate(path)
    assert done
    assert migrated.database_key() == ALICE.database_key()
    assert load_identity(path, WORDS).is_current(START)
    assert os.listdir(tmp_path) == [path.name], "nothing is lost that would have to be kept"


def test_a_file_of_the_first_generation_itself_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # that file was sealed with scrypt
    path = tmp_path / "id_agent_1.json"
    shutil.copy(FIRST_GENERATION / "id_agent_1.json", path)
    known = json.loads((FIRST_GENERATION / "id_agent_passphrases.json").read_text())[path.name]
    words = known["passphrase"].encode()
    migrated, _ = bring_up_to_date(path, load_identity(path, words), words, START)
    assert migrated.agent_id == load_identity(path, words).agent_id == known["my_id"]
    assert load_identity(former_identity_path(path), words).agent_id == known["my_id"]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere.json"
    link.symlink_to(path)
    bring_up_to_date(link, load_identity(link, WORDS), WORDS, START)
    assert link.is_symlink()
    assert version(path) == "id.v2"


def test_a_former_file_of_an_earlier_migration_is_kept_as_well(path: Path) -> None:
    earlier = former_identity_path(path)
    earlier.write_bytes(b"somebody's only copy")
    migrate(path)
    assert earlier.read_bytes() == b"somebody's only copy"
    second = earlier.with_name(f"{earlier.name}.2")
    assert load_identity(second, WORDS).agent_id == ALICE.agent_id


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


def count_disk_calls(monkeypatch: pytest.MonkeyPatch, die_at: int | None) -> Callable[[], int]:
    """Let the process die before the `die_at`-th call that changes the disk; tells how many there were."""
    calls = 0

    def dying(original: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == die_at:
                raise Killed
            return original(*arguments, **keywords)

        return call

    monkeypatch.setattr(files.os, "open", dying(os.open))
    monkeypatch.setattr(files.os, "fsync", dying(os.fsync))
    monkeypatch.setattr(files.os, "link", dying(os.link))
    monkeypatch.setattr(Path, "replace", dying(Path.replace))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # who is dead tidies nothing up
    return lambda: calls


def test_a_crash_at_any_point_loses_no_key_and_the_next_start_ends_the_migration(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = identity_path(tmp_path / "counted", "alice")
        save_identity(path, ALICE, WORDS, version="id.v1")
        count = count_disk_calls(monkeypatch, None)
        migrate(path)
    assert count() > 8
    for die_at in range(1, count() + 1):
        path = identity_path(tmp_path / str(die_at), "alice")
        save_identity(path, ALICE, WORDS, version="id.v1")
        with pytest.MonkeyPatch.context() as monkeypatch:
            count_disk_calls(monkeypatch, die_at)
            with pytest.raises(Killed):
                migrate(path)
        survivor = load_identity(path, WORDS)
        assert survivor.agent_id == ALICE.agent_id, die_at
        assert survivor.database_key() == ALICE.database_key(), die_at
        migrated, _ = migrate(path)
        assert migrated.is_current(START)
        assert version(path) == "id.v2"
        assert load_identity(former_identity_path(path), WORDS).signing_key.public == ALICE.signing_key.public
        assert [one for one in os.listdir(path.parent) if one.endswith(".2")] == [], "one copy is enough"


def test_a_disk_that_refuses_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(IdentityError, match="No space left"):
        migrate(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]

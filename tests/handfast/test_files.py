"""Identity files, passphrases and locks on a real disk, and the system's randomness."""

import json
import os
import re
import stat
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from handfast.adapters import files, system
from handfast.adapters.files import (
    check_name,
    find_passphrase,
    load_identity,
    load_or_create_identity,
    lock_identity,
    new_identity,
    read_passphrase,
    save_identity,
)
from handfast.errors import IdentityError, UsageError
from handfast.wire.v1 import is_from_version_2

IDENTITY = new_identity()
WORDS = b"correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "id_agent_alice.json"


def test_an_identity_is_made_once_and_loaded_ever_after(path: Path) -> None:
    made, is_new = load_or_create_identity(path, WORDS)
    assert is_new
    again, is_new = load_or_create_identity(path, WORDS)
    assert not is_new
    assert (again.agent_id, again.signing_key.public) == (made.agent_id, made.signing_key.public)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_a_file_that_is_there_is_never_overwritten_by_accident(path: Path) -> None:
    save_identity(path, IDENTITY, WORDS)
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="not overwritten"):
        save_identity(path, new_identity(), WORDS)
    assert path.read_bytes() == before
    save_identity(path, IDENTITY, b"other words", version="id.v2", replace=True)
    assert load_identity(path, b"other words").agent_id == IDENTITY.agent_id
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("is_taken", [False, True])
def test_where_the_file_system_knows_no_links_the_same_holds(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    if is_taken:
        path.parent.mkdir()
        path.write_bytes(b"mine")
        with pytest.raises(IdentityError, match="not overwritten"):
            save_identity(path, IDENTITY, WORDS)
        assert path.read_bytes() == b"mine"
    else:
        save_identity(path, IDENTITY, WORDS)
        assert load_identity(path, WORDS).agent_id == IDENTITY.agent_id
    assert len(list(path.parent.iterdir())) == 1


def test_a_disk_that_refuses_is_one_clear_error_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityError, match="cannot be written: No space left"):
        save_identity(path, IDENTITY, WORDS)
    assert list(path.parent.iterdir()) == []


def test_a_file_that_others_can_read_is_noticed(path: Path) -> None:
    save_identity(path, IDENTITY, WORDS)
    assert not files.is_readable_by_others(path)
    path.chmod(0o644)
    assert files.is_readable_by_others(path)
    assert not files.is_readable_by_others(path.with_name("nowhere"))


def test_a_dangling_link_is_no_missing_file(path: Path) -> None:
    path.parent.mkdir()
    target = path.parent / "elsewhere"
    path.symlink_to(target)
    with pytest.raises(IdentityError, match="cannot be read"):
        load_or_create_identity(path, WORDS)
    assert not target.exists()


@pytest.mark.parametrize("kind", ["directory", "pipe", "large", "empty", "noise"])
def test_what_is_no_identity_file_is_one_clear_error(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes({"large": b" " * 20_000, "empty": b"", "noise": b"\x00\xff"}[kind])
    with pytest.raises(IdentityError, match=re.escape(str(path))):
        load_or_create_identity(path, WORDS)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a b", "é", "x" * 65, "a\n", "\x00", ".hidden"]
)
def test_a_name_that_does_not_belong_into_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("name", ["alice", "1", "a.b-c_D", "x" * 64])
def test_other_names_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"secret\n", b"secret"), (b"secret\r\nmore", b"secret"), (b" s p \n", b" s p "), (b"\xff", b"\xff")],
)
def test_a_passphrase_file_gives_its_first_line(tmp_path: Path, content: bytes, words: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_passphrase(tmp_path / "file") == words


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\nsecond", b"x" * 5000])
def test_a_passphrase_file_without_a_first_line_is_refused_without_showing_it(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_passphrase(tmp_path / "file")
    assert "xxx" not in str(refused.value)


def find(
    tmp_path: Path, *, file: bool = False, keychain: str | None = None, demo: bool = False
) -> tuple[bytes, list[str]]:
    warnings: list[str] = []
    if file:
        (tmp_path / "file").write_bytes(b"from the file")
    found = find_passphrase(tmp_path / "file" if file else None, keychain, demo=demo, warn=warnings.append)
    return found, warnings


def test_the_first_source_that_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFAST_PASSPHRASE", "from the environment")
    assert find(tmp_path, file=True, demo=True) == (b"from the file", [])
    assert find(tmp_path) == (b"from the environment", [])
    demo, (warning,) = find(tmp_path, demo=True)
    assert demo == files.DEMO_PASSPHRASE
    assert "DEMONSTRATION" in warning
    monkeypatch.delenv("HANDFAST_PASSPHRASE")
    assert find(tmp_path)[0] == files.DEMO_PASSPHRASE
    assert len(find(tmp_path)[1]) == 1


def test_an_empty_passphrase_in_the_environment_is_a_mistake_and_not_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_PASSPHRASE", "")
    with pytest.raises(UsageError, match="empty"):
        find(tmp_path)


class FakeKeyring(types.ModuleType):
    class errors:
        class KeyringError(Exception):
            pass

    def __init__(self, kept: dict[str, str], broken: bool = False) -> None:
        super().__init__("keyring")
        self.kept, self.broken = kept, broken

    def get_password(self, service: str, entry: str) -> str | None:
        assert service == "handfast"
        if self.broken:
            raise self.errors.KeyringError("secret detail")
        return self.kept.get(entry)


def test_a_passphrase_comes_from_the_system_s_keychain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", FakeKeyring({"alice": "from the keychain"}))
    assert find(tmp_path, keychain="alice") == (b"from the keychain", [])
    with pytest.raises(UsageError, match="no passphrase for 'bob'"):
        find(tmp_path, keychain="bob")
    monkeypatch.setitem(sys.modules, "keyring", FakeKeyring({}, broken=True))
    with pytest.raises(UsageError, match="refused") as refused:
        find(tmp_path, keychain="alice")
    assert "secret detail" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match="handfast\\[keychain\\]"):
        find(tmp_path, keychain="alice")


def test_a_second_process_does_not_get_the_lock_until_the_first_has_ended(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from handfast.adapters.files import lock_identity;"
        "lock = lock_identity(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="in use by another process"):
            lock_identity(path)
        other.kill()
        other.wait(timeout=10)
    lock_identity(path).release()


def test_a_home_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IdentityError, match="cannot be used as a home"):
        lock_identity(tmp_path / "file" / "id_agent_alice.json")


def test_a_reference_is_never_readable_as_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["1" * 32, "1" * 20 + "e" + "1" * 11, "0" * 31 + "a"])
    monkeypatch.setattr(system.secrets, "token_hex", lambda _: next(drawn))
    assert system.SystemEntropy().reference() == "0" * 31 + "a"


def test_a_nonce_says_that_its_author_speaks_version_2_and_is_never_readable_as_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(system.secrets, "token_hex", lambda size: "1" * 2 * size)
    nonce = system.SystemEntropy().nonce()
    assert is_from_version_2(nonce)
    for read in (json.loads, float, int):
        with pytest.raises(ValueError, match=r"."):
            read(nonce)


def test_the_system_s_randomness_has_the_promised_shapes() -> None:
    entropy = system.SystemEntropy()
    for text in (entropy.nonce(), entropy.reference()):
        assert re.fullmatch(r"[0-9a-f]{32}", text)
    assert len(entropy.exchange_key()) == 32
    assert len(entropy.aead_nonce()) == 12
    assert all(0 <= entropy.fraction() < 1 for _ in range(100))
    assert len({entropy.nonce() for _ in range(100)}) == 100

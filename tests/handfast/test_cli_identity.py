"""`handfast identity`: files are made, shown and sealed anew, and nothing private is ever shown."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_world import make_identity
from test_cli_main import Result, one_line, run

from handfast.adapters.files import (
    DEMO_PASSPHRASE,
    PASSPHRASE_VARIABLE,
    identity_path,
    load_identity,
    lock_identity,
    save_identity,
)
from handfast.identity import FORMATS
from handfast.identity.names import did_key, fingerprint
from handfast.wire.text import b64decode, b64encode

ALICE = make_identity("alice")
COMMANDS = ("show", "passwd", "export-public")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The identity of alice, sealed with "old", which the environment knows."""
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "old")
    path = identity_path(tmp_path, "alice")
    save_identity(path, ALICE, b"old", version="id.v1")
    return path


def identity(command: str, home: Path, *arguments: object, typed: str = "", name: str = "alice") -> Result:
    return run("identity", command, "--name", name, "--home", home, *arguments, typed=typed)


def version(path: Path) -> str:
    return str(json.loads(path.read_bytes())["v"])


def test_showing_tells_the_public_side_only(file: Path) -> None:
    result = identity("show", file.parent)
    assert (result.status, result.err) == (0, "")
    for shown in (ALICE.agent_id, fingerprint(ALICE.signing_key.public), "id.v1", str(file), "none yet"):
        assert shown in result.out
    for key in (ALICE.signing_key, ALICE.exchange_key):
        private = key.private_bytes()
        assert not any(text in result.out for text in (private.hex(), b64encode(private), repr(private)))


def test_exporting_gives_json_that_a_peer_can_compare(file: Path) -> None:
    exported = json.loads(identity("export-public", file.parent).out)
    public = ALICE.signing_key.public
    assert exported == {
        "id": ALICE.agent_id,
        "identity_key": b64encode(public),
        "fingerprint": fingerprint(public),
        "did": did_key(public),
        "sign_pub": b64encode(public),
    }


def test_a_new_identity_opens_with_its_passphrase_and_is_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "secret")
    result = identity("new", tmp_path / "home")
    path = identity_path(tmp_path / "home", "alice")
    made = load_identity(path, b"secret")
    assert (result.status, result.err) == (0, "")
    assert made.agent_id in result.out
    assert fingerprint(made.signing_key.public) in result.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_identity_never_replaces_one(file: Path) -> None:
    before = file.read_bytes()
    result = identity("new", file.parent)
    assert result.status == 2
    assert "not overwritten" in one_line(result)
    assert file.read_bytes() == before


def test_the_demonstration_passphrase_is_used_with_a_loud_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    made = identity("new", tmp_path)
    assert made.status == 0
    assert made.err.startswith("WARNING: ")
    path = identity_path(tmp_path, "alice")
    assert version(path) == "id.v2"
    load_identity(path, DEMO_PASSPHRASE)
    assert identity("show", tmp_path).err.startswith("WARNING: ")


@pytest.mark.parametrize("expected", FORMATS)
def test_another_passphrase_keeps_the_id_the_keys_the_format_and_the_mode(
    file: Path, tmp_path: Path, expected: str
) -> None:
    save_identity(file, ALICE, b"old", version=expected, replace=True)
    secret = tmp_path / "new passphrase"
    secret.write_text("new\n")
    result = identity("passwd", file.parent, "--new-passphrase-file", secret)
    assert result.status == 0
    again = load_identity(file, b"new")
    assert (again.agent_id, again.signing_key.public) == (ALICE.agent_id, ALICE.signing_key.public)
    assert again.exchange_key.private_bytes() == ALICE.exchange_key.private_bytes()
    assert version(file) == expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == [file.name, file.with_suffix(".lock").name, secret.name]


def test_the_new_passphrase_is_asked_for_twice_and_not_shown(file: Path) -> None:
    result = identity("passwd", file.parent, typed="whispered\nmistyped\nwhispered\nwhispered\n")
    assert result.status == 0
    load_identity(file, b"whispered")
    assert "whispered" not in result.out + result.err


def test_a_symbolic_link_to_an_identity_stays_one(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    identity_path(elsewhere, "alice").symlink_to(file)
    assert identity("passwd", elsewhere, typed="new\nnew\n").status == 0
    assert identity_path(elsewhere, "alice").is_symlink()
    load_identity(file, b"new")


@pytest.fixture
def running_agent(file: Path) -> Iterator[None]:
    lock = lock_identity(file)
    yield
    lock.release()


@pytest.mark.usefixtures("running_agent")
def test_the_passphrase_of_a_running_agent_stays(file: Path) -> None:
    before = file.read_bytes()
    result = identity("passwd", file.parent, typed="new\nnew\n")
    assert result.status == 2
    assert "running agent" in one_line(result)
    assert file.read_bytes() == before


@pytest.mark.usefixtures("running_agent")
def test_a_running_agent_can_be_shown(file: Path) -> None:
    assert identity("show", file.parent).status == 0
    assert identity("export-public", file.parent).status == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_passphrase_is_one_line_and_leaves_the_file(
    command: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    result = identity(command, file.parent)
    assert result.status == 2
    assert "wrong passphrase" in one_line(result)
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_identity_that_is_not_there_is_one_line_and_nothing_is_made(command: str, tmp_path: Path) -> None:
    result = identity(command, tmp_path / "home")
    assert result.status == 2
    assert "no such identity" in one_line(result)
    assert os.listdir(tmp_path) == []


def test_an_identity_of_the_first_generation_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(__file__).parent.parent / "vectors" / "first-generation"
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "my_id_pw_1")
    result = identity("export-public", home, name="1")
    exported = json.loads(result.out)
    assert exported["id"] == "8181bf86-0131-422d-b903-8f152bf7cd31"
    assert len(b64decode(exported["sign_pub"])) == 32
    assert not list(home.glob("*.lock"))

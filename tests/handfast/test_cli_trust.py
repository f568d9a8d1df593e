"""`handfast authority`, `handfast trust`, and what goes between them and identities: asked for, signed, believed, revoked."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_world import make_identity
from test_cli_main import Result, one_line, run

from db_sdk import Database
from handfast.adapters import files
from handfast.adapters.authority_files import AuthorityFiles
from handfast.adapters.files import (
    PASSPHRASE_VARIABLE,
    database_path,
    former_identity_path,
    identity_path,
    load_identity,
    lock_identity,
    save_identity,
)
from handfast.adapters.tables import MIGRATIONS
from handfast.adapters.trust_store import facts_about, find_pin
from handfast.crypto.keys import SigningKey
from handfast.identity import Identity, file, sealed
from handfast.identity.names import did_key, fingerprint
from handfast.trust import revocation
from handfast.trust.certificate import issuer_of, read_certificate
from handfast.trust.decision import Facts, Pin, Policy, Security, Source, decide, examine
from handfast.trust.rotation import verify_chain
from handfast.wire.text import b64decode, b64encode, b64url_decode, b64url_encode

ALICE, BOB = make_identity("alice"), make_identity("bob")


@pytest.fixture(autouse=True)
def quick_derivation() -> Iterator[None]:
    """Keys from passphrases without scrypt, whose slowness is not what is tried here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (file, sealed):
            patch.setattr(module, "scrypt", lambda words, salt, **_: hashlib.sha256(salt + words).digest())
        patch.setenv(PASSPHRASE_VARIABLE, "words")
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory, the present one, with the identities of alice and bob and the database of bob."""
    monkeypatch.chdir(tmp_path)
    for name, identity in (("alice", ALICE), ("bob", BOB)):
        save_identity(identity_path(tmp_path, name), identity, b"words")
    asyncio.run(migrated(database_path(tmp_path, BOB.agent_id)))
    return tmp_path


async def migrated(path: Path, steps: int = len(MIGRATIONS)) -> None:
    async with Database(path) as database:
        await database.migrate(MIGRATIONS[:steps])


def done(*arguments: object, typed: str = "") -> Result:
    """Run a command that must succeed."""
    result = run(*arguments, typed=typed)
    assert result.status == 0, result.err
    return result


def refused(*arguments: object) -> str:
    """The one line of a command that must fail."""
    result = run(*arguments)
    assert result.status == 2
    return one_line(result)


def certified(name: str = "alice", *options: object) -> Path:
    """Have the authority acme certify an agent; the certificate's file."""
    if not Path("acme.controller").exists():
        done("authority", "init", "--name", "acme", "--out", "acme.controller")
    challenge = done("authority", "challenge", "--name", "acme").out.strip()
    number = len(os.listdir())
    asked, given = Path(f"{number}.request"), Path(f"{number}.certificate")
    done("identity", "request", challenge, "--name", name, "--home", ".", "--out", asked)
    done("authority", "issue", asked, "--name", "acme", "--yes", "--out", given, *options)
    return given


def statement(path: Path | str) -> bytes:
    return b64url_decode(Path(path).read_text().split()[1])


def serial(path: Path) -> str:
    return read_certificate(statement(path)).serial


def known_to_bob(identity: Identity, certificate: bytes | None = None) -> Facts:
    proven = examine(identity.agent_id, identity.identity_key.public, identity.rotations, certificate)

    async def ask() -> Facts:
        async with Database(database_path(Path(), BOB.agent_id)) as database:
            return await database.read(lambda session: facts_about(session, BOB.agent_id, proven))

    return asyncio.run(ask())


def pin_of(identity: Identity) -> Pin | None:
    async def ask() -> Pin | None:
        async with Database(database_path(Path(), BOB.agent_id)) as database:
            return await database.read(lambda session: find_pin(session, BOB.agent_id, identity.agent_id))

    return asyncio.run(ask())


# ---- the whole way ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("place")
def test_a_certified_agent_is_believed_until_it_is_revoked() -> None:
    certificate = certified()
    done("identity", "install", certificate, "--name", "alice", "--home", ".")
    alice = load_identity(identity_path(Path(), "alice"), b"words")
    assert alice.certificate == statement(certificate)
    added = done("trust", "add", "acme.controller", "--name", "bob", "--home", ".")
    assert fingerprint(statement("acme.controller")) in added.out
    proven = examine(alice.agent_id, alice.identity_key.public, b"", alice.certificate)
    now = datetime.now(UTC).timestamp()
    decision = decide(
        proven, known_to_bob(alice, alice.certificate), Policy(require_certificate=True), own_keys=(), now=now
    )
    assert decision.security is Security.CERT
    done("authority", "revoke", alice.agent_id, "--name", "acme", "--key", "--why", "stolen")
    done("trust", "import-crl", "authority_acme.crl", "--name", "bob", "--home", ".")
    facts = known_to_bob(alice, alice.certificate)
    assert facts.revoked_serials == {(issuer_of(statement("acme.controller")), serial(certificate))}
    assert facts.dead_keys == {alice.identity_key.public}


# ---- authority ----------------------------------------------------------------------------------------------------


def test_a_new_authority_is_sealed_and_shows_its_public_side_only(place: Path) -> None:
    made = done("authority", "init", "--name", "acme", "--out", "acme.controller")
    key = AuthorityFiles(place, "acme").load(b"words")
    assert fingerprint(key.public) in made.err
    assert statement("acme.controller") == key.public
    path = place / "authority_acme.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = done("authority", "show", "--name", "acme")
    for words in (
        issuer_of(key.public),
        fingerprint(key.public),
        did_key(key.public),
        b64url_encode(key.public),
    ):
        assert words in shown.out
    private = key.private_bytes()
    for text in (made.out, made.err, shown.out, path.read_text()):
        assert not any(
            secret in text for secret in (private.hex(), b64encode(private), b64url_encode(private))
        )
    before = path.read_bytes()
    assert "not overwritten" in refused("authority", "init", "--name", "acme")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [["show"], ["challenge"], ["crl"], ["list"], ["revoke", "x"], ["issue", "alice.request"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("place")
def test_an_authority_that_is_not_there_is_one_line_and_nothing_is_made(command: list[str]) -> None:
    done(
        "identity",
        "request",
        b64url_encode(bytes(16)),
        "--name",
        "alice",
        "--home",
        ".",
        "--out",
        "alice.request",
    )
    before = sorted(os.listdir())
    assert "no such authority" in refused("authority", *command, "--name", "acme")
    assert sorted(os.listdir()) == before


def test_a_wrong_passphrase_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified()
    before = sorted(os.listdir())
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "other words")
    for command in (["show"], ["crl"], ["revoke", ALICE.agent_id]):
        assert "wrong passphrase" in refused("authority", *command, "--name", "acme")
    assert sorted(os.listdir()) == before
    (place / "authority_acme.json").write_text("{}")
    assert "no authority file" in refused("authority", "show", "--name", "acme")


@pytest.mark.parametrize(
    "command", [["show"], ["challenge"], ["list"], ["crl"], ["revoke", ALICE.agent_id]], ids=" ".join
)
def test_an_authority_that_lost_its_ledger_signs_nothing_that_forgets_what_it_revoked(
    command: list[str], place: Path
) -> None:
    certified()
    done("authority", "revoke", ALICE.agent_id, "--name", "acme")
    signed = statement("authority_acme.crl")
    (place / "authority_acme.ledger").unlink()
    assert "the ledger is missing" in refused("authority", *command, "--name", "acme")
    assert statement("authority_acme.crl") == signed
    assert not (place / "authority_acme.ledger").exists()


@pytest.mark.usefixtures("place")
def test_a_ledger_is_there_from_the_first_moment_on() -> None:
    done("authority", "init", "--name", "acme")
    assert done("authority", "list", "--name", "acme").out == "No certificate was issued.\n"


def test_a_revocation_that_fits_into_no_list_revokes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified()
    ledger = (place / "authority_acme.ledger").read_bytes()
    monkeypatch.setattr(revocation, "CRL_BYTES", 100)
    assert "nothing was signed" in refused("authority", "revoke", ALICE.agent_id, "--name", "acme")
    assert (place / "authority_acme.ledger").read_bytes() == ledger


def test_a_new_authority_does_not_take_over_the_ledger_of_one_that_lost_its_key(place: Path) -> None:
    certified()
    (place / "authority_acme.json").unlink()
    assert "of a key that is gone" in refused("authority", "init", "--name", "acme")


@pytest.mark.usefixtures("place")
def test_a_refusal_is_told_in_words_and_another_kind_of_file_by_its_name() -> None:
    certificate = certified()
    done("authority", "crl", "--name", "acme")
    in_bob = ("--name", "bob", "--home", ".")
    assert "the list is refused: the revocation list is of" in refused(
        "trust", "import-crl", "authority_acme.crl", *in_bob
    )
    assert "does not fit this identity: the certificate is somebody else's" in refused(
        "identity", "install", certificate, *in_bob
    )
    assert "this is not a revocation list" in refused("trust", "import-crl", certificate, *in_bob)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "words",
    [
        ("identity", "request", b64url_encode(bytes(16)), "--display-name", "\udcff"),
        ("trust", "remove", "\udcff"),
        ("pins", "remove", "\udcff"),
        ("audit", "show", "--peer", "\udcff"),
    ],
    ids=lambda words: f"{words[0]} {words[1]}",
)
def test_what_is_no_text_in_the_terminals_encoding_is_one_line(words: tuple[str, ...]) -> None:
    assert "not text" in refused(*words, "--name", "bob", "--home", ".")


def test_an_identity_file_is_no_authority_and_the_other_way_round(place: Path) -> None:
    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    shutil.copy(identity_path(place, "alice"), place / "authority_other.json")
    (place / "authority_other.ledger").touch()
    shutil.copy(place / "authority_acme.json", identity_path(place, "other"))
    refused("authority", "show", "--name", "other")
    refused("identity", "show", "--name", "other", "--home", ".")
    # what tells them apart is authenticated and not only written outside
    for path, kind in (
        (place / "authority_other.json", "authority.v1"),
        (identity_path(place, "other"), "id.v2"),
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"v": kind}))
    assert "wrong passphrase" in refused("authority", "show", "--name", "other")
    assert "wrong passphrase" in refused("identity", "show", "--name", "other", "--home", ".")


@pytest.mark.usefixtures("place")
def test_a_challenge_is_good_for_one_certificate() -> None:
    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    foreign = b64url_encode(b"f" * 16)
    done("identity", "request", foreign, "--name", "alice", "--home", ".", "--out", "foreign.request")
    issue = ("authority", "issue", "--name", "acme", "--yes")
    assert "no challenge" in refused(*issue, "foreign.request")
    challenge = done("authority", "challenge", "--name", "acme").out.strip()
    done("identity", "request", challenge, "--name", "alice", "--home", ".", "--out", "alice.request")
    assert "handfast-certificate " in done(*issue, "alice.request").out
    assert "no challenge" in refused(*issue, "alice.request")


@pytest.mark.parametrize(
    ("moved", "is_open"), [(7 * 86_400 - 60, True), (7 * 86_400 + 60, False), (-60, False)]
)
@pytest.mark.usefixtures("place")
def test_a_challenge_is_open_for_seven_days(
    moved: int, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handfast.cli import authority

    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    challenge = done("authority", "challenge", "--name", "acme").out.strip()
    done("identity", "request", challenge, "--name", "alice", "--home", ".", "--out", "alice.request")
    now = authority.time.time()
    monkeypatch.setattr(authority.time, "time", lambda: now + moved)
    result = run("authority", "issue", "alice.request", "--name", "acme", "--yes")
    assert (result.status == 0) is is_open


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
@pytest.mark.usefixtures("place")
def test_a_person_is_asked_before_a_certificate_is_issued(typed: str, status: int) -> None:
    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    challenge = done("authority", "challenge", "--name", "acme").out.strip()
    done("identity", "request", challenge, "--name", "alice", "--home", ".", "--out", "alice.request")
    result = run("authority", "issue", "alice.request", "--name", "acme", "--out", "given", typed=typed)
    assert result.status == status
    assert fingerprint(ALICE.identity_key.public) in result.err
    assert Path("given").exists() == (status == 0)


@pytest.mark.usefixtures("place")
def test_a_certificate_holds_what_was_asked_for() -> None:
    certificate = read_certificate(
        statement(certified("alice", "--days", 3, "--cap", "talk", "--cap", "trade"))
    )
    assert (certificate.agent_id, certificate.identity_public) == (ALICE.agent_id, ALICE.identity_key.public)
    assert certificate.not_after - certificate.not_before == 3 * 86_400
    assert certificate.capabilities == ("talk", "trade")


def test_a_damaged_or_another_file_is_no_request(place: Path) -> None:
    certificate = certified()
    good = next(place.glob("*.request")).read_text()
    raw = bytearray(statement(next(place.glob("*.request"))))
    raw[-1] ^= 1
    texts = {
        "another kind": certificate.read_text(),
        "altered": f"handfast-request {b64url_encode(bytes(raw))}\n",
        "cut": good[: len(good) // 2],
        "binary": "\x00é",
        "empty": "",
        "long": "handfast-request u" + "A" * 200_000,
    }
    for name, text in texts.items():
        Path("bad").write_text(text)
        assert "bad:" in refused("authority", "issue", "bad", "--name", "acme", "--yes"), name
    assert "no such file" in refused("authority", "issue", "absent", "--name", "acme").lower()


@pytest.mark.usefixtures("place")
def test_the_list_tells_what_became_of_each_certificate() -> None:
    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    assert done("authority", "list", "--name", "acme").out == "No certificate was issued.\n"
    alice, bob = certified("alice"), certified("bob")
    done("authority", "revoke", serial(alice), "--name", "acme")
    shown = done("authority", "list", "--name", "acme").out
    assert re.search(rf"{serial(alice)} .*revoked", shown)
    assert re.search(rf"{serial(bob)} (?!.*revoked)", shown)


@pytest.mark.usefixtures("place")
def test_each_list_has_a_higher_number_and_holds_every_revocation() -> None:
    from handfast.trust.revocation import read_revocation_list

    first, second, other = certified(), certified(), certified("bob")
    done("authority", "crl", "--name", "acme")
    assert read_revocation_list(statement("authority_acme.crl")).entries == ()
    done("authority", "revoke", serial(first), "--name", "acme", "--why", "superseded")
    done("authority", "revoke", ALICE.agent_id, "--name", "acme")
    crl = read_revocation_list(statement("authority_acme.crl"))
    assert crl.sequence == 3
    assert [(one.serial, one.why) for one in crl.entries] == [
        (serial(first), "superseded"),
        (serial(second), ""),
    ]
    assert "already" in refused("authority", "revoke", ALICE.agent_id, "--name", "acme")
    assert "no certificate" in refused("authority", "revoke", "x", "--name", "acme")
    assert "64 characters" in refused(
        "authority", "revoke", serial(other), "--name", "acme", "--why", "x" * 65
    )
    assert read_revocation_list(statement("authority_acme.crl")).sequence == 3


def test_a_torn_line_of_the_ledger_is_dropped_and_a_damaged_one_is_named(place: Path) -> None:
    certified()
    ledger = place / "authority_acme.ledger"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"event":"iss')
    assert ALICE.agent_id in done("authority", "list", "--name", "acme").out
    certified("bob")
    assert ledger.read_bytes().startswith(whole)
    assert len(AuthorityFiles(place, "acme").ledger().issued) == 2
    ledger.write_bytes(whole.replace(b'"issued"', b'"issues"'))
    assert "line 2 of the ledger is damaged" in refused("authority", "list", "--name", "acme")


def test_a_full_disk_gives_out_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("authority", "init", "--name", "acme", "--out", "acme.controller")
    challenge = done("authority", "challenge", "--name", "acme").out.strip()
    done("identity", "request", challenge, "--name", "alice", "--home", ".", "--out", "alice.request")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", refuse)
    text = run("authority", "issue", "alice.request", "--name", "acme", "--yes", "--out", "given")
    assert text.status == 2
    assert "No space left" in text.err
    assert not (place / "given").exists()


# ---- identities ---------------------------------------------------------------------------------------------------


def test_migrating_says_where_the_former_file_is(place: Path) -> None:
    path = identity_path(place, "alice")
    save_identity(path, ALICE, b"words", version="id.v1", replace=True)
    kept = former_identity_path(path)
    assert kept.name in done("identity", "migrate", "--name", "alice", "--home", ".").out
    assert "up to date" in done("identity", "migrate", "--name", "alice", "--home", ".").out
    secret = place / "new words"
    secret.write_text("new words\n")
    warned = done("identity", "passwd", "--name", "alice", "--home", ".", "--new-passphrase-file", secret)
    assert str(kept.name) in warned.err
    assert load_identity(path, b"new words").is_current(datetime.now(UTC).timestamp())


def test_a_rotated_identity_keeps_its_id_and_shows_its_new_key(place: Path) -> None:
    done("identity", "install", certified(), "--name", "alice", "--home", ".")
    result = done("identity", "rotate", "--name", "alice", "--home", ".", "--yes")
    assert "certificate" in result.err
    alice = load_identity(identity_path(place, "alice"), b"words")
    assert alice.agent_id == ALICE.agent_id
    assert alice.certificate is None
    assert len(verify_chain(alice.rotations, alice.agent_id, alice.identity_key.public)) == 2
    shown = done("identity", "show", "--name", "alice", "--home", ".").out
    for words in (fingerprint(alice.identity_key.public), b64encode(alice.signing_key.public)):
        assert words in shown
    exported = json.loads(done("identity", "export-public", "--name", "alice", "--home", ".").out)
    assert b64decode(exported["identity_key"]) == alice.identity_key.public
    assert b64decode(exported["sign_pub"]) == ALICE.signing_key.public


@pytest.mark.parametrize("command", ["rotate", "tombstone"])
def test_a_person_is_asked_before_a_key_is_given_up(command: str, place: Path) -> None:
    before = identity_path(place, "alice").read_bytes()
    result = run("identity", command, "--name", "alice", "--home", ".", typed="n\n")
    assert result.status == 1
    assert "handfast-tombstone" not in result.out
    assert identity_path(place, "alice").read_bytes() == before


@pytest.mark.parametrize("command", [["migrate"], ["rotate", "--yes"], ["install", "given"]], ids=" ".join)
def test_the_identity_of_a_running_agent_stays(command: list[str], place: Path) -> None:
    certified().rename("given")
    path = identity_path(place, "alice")
    before = path.read_bytes()
    lock = lock_identity(path)
    try:
        assert "running agent" in refused("identity", *command, "--name", "alice", "--home", ".")
    finally:
        lock.release()
    assert path.read_bytes() == before


def test_a_certificate_of_somebody_else_or_of_the_past_is_not_installed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handfast.cli import identity

    certificate = certified("bob")
    install = ("identity", "install", certificate, "--name", "alice", "--home", ".")
    assert "does not fit" in refused(*install)
    now = identity.time.time()
    own = certified("alice")
    monkeypatch.setattr(identity.time, "time", lambda: now + 31 * 86_400)
    assert "expired" in refused("identity", "install", own, "--name", "alice", "--home", ".")
    assert load_identity(identity_path(place, "alice"), b"words").certificate is None


@pytest.mark.parametrize("challenge", ["", "x", "uAAAA", b64encode(bytes(16))])
@pytest.mark.usefixtures("place")
def test_what_is_no_challenge_is_one_line(challenge: str) -> None:
    assert "no challenge" in refused("identity", "request", challenge, "--name", "alice", "--home", ".")


@pytest.mark.usefixtures("place")
def test_a_file_that_is_there_is_not_overwritten_by_a_statement() -> None:
    Path("taken").write_text("mine")
    challenge = b64url_encode(bytes(16))
    text = refused("identity", "request", challenge, "--name", "alice", "--home", ".", "--out", "taken")
    assert "not overwritten" in text
    assert Path("taken").read_text() == "mine"


# ---- trust --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("place")
def test_controllers_are_listed_and_removed() -> None:
    in_bob = ("--name", "bob", "--home", ".")
    assert done("trust", "list", *in_bob).out == "No controller is trusted.\n"
    certified()
    done("trust", "add", "acme.controller", *in_bob, "--label", "acme works")
    assert "already" in refused("trust", "add", "acme.controller", *in_bob)
    shown = done("trust", "list", *in_bob).out
    issuer = issuer_of(statement("acme.controller"))
    for words in ("acme works", fingerprint(statement("acme.controller")), issuer[:12], "none"):
        assert words in shown
    done("authority", "crl", "--name", "acme")
    done("trust", "import-crl", "authority_acme.crl", *in_bob)
    assert "number 1, revokes 0" in done("trust", "list", *in_bob).out
    assert "a list as new as this one" in refused("trust", "import-crl", "authority_acme.crl", *in_bob)
    for given in ("", "u0000", "x"):
        assert "trusted controllers" in refused("trust", "remove", given, *in_bob, "--yes")
    assert run("trust", "remove", issuer[:6], *in_bob, typed="n\n").status == 1
    done("trust", "remove", f"{issuer[:12]}…", *in_bob, "--yes")
    assert "No controller" in done("trust", "list", *in_bob).out
    assert "not trusted" in refused("trust", "import-crl", "authority_acme.crl", *in_bob)
    inspected = json.loads(done("inspect", *in_bob, "--json").out)["audit"]
    assert inspected["first_broken"] is None
    assert [entry["event"] for entry in inspected["tail"]] == [
        "controller_trusted",
        "crl",
        "controller_removed",
    ]


@pytest.mark.usefixtures("place")
def test_an_overdue_list_is_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from handfast.cli import trust

    in_bob = ("--name", "bob", "--home", ".")
    certified()
    done("trust", "add", "acme.controller", *in_bob)
    done("authority", "crl", "--name", "acme", "--days", 1)
    done("trust", "import-crl", "authority_acme.crl", *in_bob)
    assert "overdue" not in done("trust", "list", *in_bob).out
    now = trust.time.time()
    monkeypatch.setattr(trust.time, "time", lambda: now + 2 * 86_400)
    assert "overdue" in done("trust", "list", *in_bob).out


@pytest.mark.usefixtures("place")
def test_a_buried_key_is_believed_no_more() -> None:
    in_bob = ("--name", "bob", "--home", ".")
    done("identity", "tombstone", "--name", "alice", "--home", ".", "--yes", "--out", "alice.tombstone")
    result = done("trust", "bury", "alice.tombstone", *in_bob)
    assert fingerprint(ALICE.identity_key.public) in result.out
    assert known_to_bob(ALICE).dead_keys == {ALICE.identity_key.public}
    assert "declared dead: 1" in done("trust", "list", *in_bob).out
    raw = bytearray(statement("alice.tombstone"))
    raw[-1] ^= 1
    Path("forged").write_text(f"handfast-tombstone {b64url_encode(bytes(raw))}")
    assert "refused" in refused("trust", "bury", "forged", *in_bob)


@pytest.mark.parametrize(
    "public", [bytes(32), b"\x01" + bytes(31), bytes(31), b""], ids=["zero", "one", "short", "none"]
)
@pytest.mark.usefixtures("place")
def test_a_weak_or_damaged_key_is_no_controller(public: bytes) -> None:
    Path("bad").write_text(f"handfast-controller {b64url_encode(public)}")
    assert "no key of a controller" in refused("trust", "add", "bad", "--name", "bob", "--home", ".")


def test_a_database_of_another_program_is_not_even_opened_for_writing(place: Path) -> None:
    certified()
    other = place / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")
    before = other.read_bytes()
    assert "not the database of an agent" in refused("trust", "add", "acme.controller", other)
    assert other.read_bytes() == before


def test_a_database_of_another_version_is_not_changed(place: Path) -> None:
    certified()
    old = place / f"HSAgent-{ALICE.agent_id}.db"
    asyncio.run(migrated(old, 1))
    before = old.read_bytes()
    assert done("trust", "list", old).out == "No controller is trusted.\n"
    assert "another version" in refused("trust", "add", "acme.controller", old)
    assert old.read_bytes() == before
    assert "no such database" in refused("trust", "list", place / "absent.db")


# ---- pins of version 2 --------------------------------------------------------------------------------------------


def exported(name: str) -> Path:
    path = Path(f"{name}.json")
    path.write_text(done("identity", "export-public", "--name", name, "--home", ".").out)
    return path


@pytest.mark.usefixtures("place")
def test_a_pin_that_a_person_adds_is_shown_believed_and_removed() -> None:
    in_bob = ("--name", "bob", "--home", ".")
    result = done("pins", "add", exported("alice"), *in_bob, typed="y\n")
    assert fingerprint(ALICE.identity_key.public) in result.err
    pin = pin_of(ALICE)
    assert pin is not None
    assert (pin.identity_public, pin.source) == (ALICE.identity_key.public, Source.MANUAL)
    shown = done("pins", "list", *in_bob).out
    for words in (ALICE.agent_id, fingerprint(ALICE.identity_key.public), "manual", "v2"):
        assert words in shown
    (listed,) = json.loads(done("inspect", *in_bob, "--json").out)["pins"]
    assert (listed["version"], listed["source"], listed["rotations"]) == (2, "manual", 0)
    done("pins", "remove", ALICE.agent_id[:6], *in_bob, "--yes")
    assert pin_of(ALICE) is None


@pytest.mark.usefixtures("place")
def test_no_is_an_answer_and_another_key_is_never_pinned_over_one() -> None:
    in_bob = ("--name", "bob", "--home", ".")
    assert run("pins", "add", exported("alice"), *in_bob, typed="n\n").status == 1
    assert pin_of(ALICE) is None
    done("pins", "add", "alice.json", *in_bob, "--yes")
    for changes, words in (
        ({"identity_key": b64encode(SigningKey(b"x" * 32).public)}, "another key"),
        ({"id": "00000000-0000-4000-8000-000000000000"}, "another peer"),
        ({"id": BOB.agent_id}, "the agent itself"),
        ({"identity_key": b64encode(bytes(32))}, "nothing that"),
        ({"identity_key": None}, "nothing that"),
        ({"id": "x"}, "nothing that"),
    ):
        Path("changed.json").write_text(json.dumps(json.loads(Path("alice.json").read_text()) | changes))
        result = run("pins", "add", "changed.json", *in_bob, "--yes")
        assert result.status == 2
        assert words in result.err
    pin = pin_of(ALICE)
    assert pin is not None
    assert pin.identity_public == ALICE.identity_key.public


def test_a_database_whose_name_tells_nobody_gets_no_pin(place: Path) -> None:
    shutil.copy(database_path(place, BOB.agent_id), place / "copy.db")
    result = run("pins", "add", exported("alice"), place / "copy.db", "--yes")
    assert result.status == 2
    assert "whose database" in result.err

"""A controller's own books: the file that seals its key, and what its ledger's lines come to."""

import hashlib
from collections.abc import Iterator

import pytest
from fake_world import START, make_identity

from handfast.crypto import labels
from handfast.crypto.keys import SigningKey
from handfast.errors import IdentityError
from handfast.identity import sealed
from handfast.identity.sealed import seal_document
from handfast.trust.authority import (
    Issued,
    Ledger,
    challenge_entry,
    crl_entry,
    issued_entry,
    open_authority,
    revoked_entry,
    seal_authority,
)
from handfast.trust.certificate import issue_certificate, read_certificate, read_request, request_certificate
from handfast.trust.revocation import Revoked
from handfast.wire.text import Json, b64url_encode, canonical_json

ALICE, BOB = make_identity("alice"), make_identity("bob")
NOW = int(START)
KEY = SigningKey(b"c" * 32)
SERIAL, CHALLENGE = "0123456789abcdef" * 2, b"n" * 16
SALT, NONCE = b"s" * 16, b"n" * 12
WHOLE = canonical_json({"key": b64url_encode(bytes(32))})


@pytest.fixture(scope="module", autouse=True)
def quick_derivation() -> Iterator[None]:
    """Keys from passphrases without scrypt, whose slowness is not what is tried here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "scrypt", lambda words, salt, **_: hashlib.sha256(salt + words).digest())
        yield


# ---- the file -----------------------------------------------------------------------------------------------------


def document(body: bytes, version: str = "authority.v1", label: bytes = labels.AUTHORITY_AAD_PREFIX) -> bytes:
    return seal_document(version, body, b"words", salt=SALT, nonce=NONCE, label=label)


def test_a_controllers_key_comes_back_from_its_file_under_its_passphrase_alone() -> None:
    raw = seal_authority(KEY, b"words", salt=SALT, nonce=NONCE)
    assert open_authority(raw, b"words").public == KEY.public
    with pytest.raises(IdentityError, match="wrong passphrase"):
        open_authority(raw, b"other words")


def test_a_file_that_is_nothing_of_the_kind_is_one_clear_error() -> None:
    for raw in (b"[]", b"{}", document(WHOLE, version="id.v2")):
        with pytest.raises(IdentityError, match=r"this is no authority file$"):
            open_authority(raw, b"words")
    with pytest.raises(IdentityError, match="this is no authority file, or a damaged one"):
        open_authority(b"no JSON", b"words")


@pytest.mark.parametrize(
    "body", [b"[]", b"no JSON", b"{}", b'{"key":5}', canonical_json({"key": b64url_encode(bytes(31))})]
)
def test_a_file_without_a_key_in_it_is_one_clear_error(body: bytes) -> None:
    assert open_authority(document(WHOLE), b"words")
    with pytest.raises(IdentityError, match="this is no authority file, or a damaged one"):
        open_authority(document(body), b"words")


def test_a_file_sealed_for_anything_else_is_no_controllers() -> None:
    raw = document(WHOLE, label=b"another label\0")
    with pytest.raises(IdentityError, match="damaged"):
        open_authority(raw, b"words")


# ---- the ledger ---------------------------------------------------------------------------------------------------


def ledger(*entries: dict[str, Json]) -> Ledger:
    return Ledger.read([canonical_json(entry) for entry in entries])


def issued(serial: str = SERIAL) -> dict[str, Json]:
    asked = read_request(request_certificate(ALICE, "Alice", CHALLENGE, START))
    certificate = issue_certificate(asked, KEY, serial=serial, now=START, life=60)
    return issued_entry(read_certificate(certificate), CHALLENGE)


def test_a_challenge_is_open_until_a_certificate_uses_it_up() -> None:
    other = challenge_entry(b"o" * 16, START + 1)
    open_ones = ledger(challenge_entry(CHALLENGE, START), other).challenges
    assert open_ones == {b64url_encode(CHALLENGE): NOW, b64url_encode(b"o" * 16): NOW + 1}
    used = ledger(challenge_entry(CHALLENGE, START), other, issued())
    assert used.challenges == {b64url_encode(b"o" * 16): NOW + 1}
    public = ALICE.identity_key.public
    assert used.issued == {SERIAL: Issued(SERIAL, ALICE.agent_id, public, "Alice", NOW, NOW + 60)}
    assert ledger(issued()).issued == used.issued


def test_what_was_taken_back_is_known_by_its_serial_or_by_its_key() -> None:
    by_serial = Revoked(SERIAL, None, NOW, "superseded")
    by_key = Revoked(None, ALICE.identity_key.public, NOW + 1, "stolen")
    others = Revoked("f" * 32, None, NOW, ""), Revoked(None, BOB.identity_key.public, NOW, "")
    for entry, is_revoked in ((by_serial, True), (by_key, True), (others[0], False), (others[1], False)):
        books = ledger(issued(), revoked_entry(entry))
        assert books.revoked == [entry]
        assert books.is_revoked(books.issued[SERIAL]) is is_revoked
    assert ledger(revoked_entry(by_serial), revoked_entry(by_key)).revoked == [by_serial, by_key]


def test_a_list_has_the_next_number_after_the_last_one() -> None:
    assert ledger().sequence == 0
    assert ledger(crl_entry(1, START), crl_entry(2, START + 1)).sequence == 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"event":"challenge","nonce":5,"at":1}',
        b'{"event":"crl","seq":"1"}',
        b'{"event":"revoked","ik":"uAAAA","at":1,"why":""}',
        canonical_json(issued() | {"ik": "uAAAA"}),
    ],
)
def test_a_damaged_line_is_named_by_its_number(line: bytes) -> None:
    with pytest.raises(IdentityError, match="line 2 of the ledger is damaged"):
        Ledger.read([canonical_json(crl_entry(1, START)), line])

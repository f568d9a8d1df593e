"""The sealed identity file: both formats round-trip, everything altered is refused, and no error shows a key."""

import base64
import copy
import functools
import json
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fake_world import make_identity

from handfast.crypto import kdf, labels
from handfast.crypto.aead import aes_seal, chacha_seal
from handfast.crypto.keys import ExchangeKey, SigningKey
from handfast.errors import IdentityError, UsageError
from handfast.identity import FORMATS, Identity, file, open_identity, seal_identity
from handfast.identity import sealed as container
from handfast.identity.names import fingerprint
from handfast.wire.text import b64decode, b64encode, b64url_decode, b64url_encode, canonical_json

DATA = Path(__file__).parent.parent / "vectors" / "first-generation"
PASSPHRASE = "correct horse, bätterie".encode()
SALT, NONCE = bytes(range(16)), bytes(range(12))
ALICE, BOB = make_identity("alice"), make_identity("bob")
FIRST_GENERATION_MEMBERS = ["v", "kdf", "salt", "nonce", "aad", "ciphertext"]

_derive = functools.lru_cache(maxsize=None)(kdf.scrypt)


@pytest.fixture(autouse=True)
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """The true scrypt, computed once for the same arguments; the parameters of every call."""
    calls: list[dict[str, int]] = []

    def derive(passphrase: bytes, salt: bytes, **parameters: int) -> bytes:
        calls.append(parameters)
        return _derive(passphrase, salt, **parameters)

    for module in (file, container):
        monkeypatch.setattr(module, "scrypt", derive)
    return calls


def sealed(version: str = "id.v1") -> dict[str, Any]:
    """Alice's file, as a document that a test may alter."""
    raw = seal_identity(ALICE, PASSPHRASE, salt=SALT, nonce=NONCE, version=version)
    return json.loads(raw)  # type: ignore[no-any-return]


def refusal(document: Any, passphrase: bytes = PASSPHRASE) -> str:
    """The text of the error with which a file is refused, which shows nothing of what is secret."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(IdentityError) as caught:
        open_identity(raw, passphrase)
    shows_no_secret("".join(traceback.format_exception(caught.value)) + repr(caught.value))
    return str(caught.value)


def shows_no_secret(text: str) -> None:
    privates = (ALICE.signing_key.private_bytes(), ALICE.exchange_key.private_bytes())
    for secret in (*privates, PASSPHRASE, ALICE.database_key().reveal()):
        forms = [secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1]]
        forms += [
            encode(secret).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode)
        ]
        assert not [form for form in forms if form.lower() in text.lower()]
    assert PASSPHRASE.decode() not in text


def same(one: Identity, other: Identity) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in ("agent_id", "created_at")
    ) and private_keys(one) == private_keys(other)


def private_keys(identity: Identity) -> tuple[bytes, bytes]:
    return identity.signing_key.private_bytes(), identity.exchange_key.private_bytes()


# ---- what opens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id_agent_1.json", "id_agent_2.json"])
def test_a_file_of_the_first_generation_loads(name: str) -> None:
    known = json.loads((DATA / "id_agent_passphrases.json").read_text())[name]
    identity = open_identity((DATA / name).read_bytes(), known["passphrase"].encode())
    assert identity.agent_id == known["my_id"]


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("passphrase", [PASSPHRASE, b"", b"\0\xff"], ids=["usual", "empty", "not text"])
def test_an_identity_survives_its_file(version: str, passphrase: bytes) -> None:
    raw = seal_identity(ALICE, passphrase, salt=SALT, nonce=NONCE, version=version)
    assert same(open_identity(raw, passphrase), ALICE)
    assert raw.isascii()
    assert raw.endswith(b"\n")
    assert len(raw) < file.FILE_BYTES
    shows_no_secret(raw.decode())


def test_a_file_for_the_first_generation_has_exactly_its_members() -> None:
    document = sealed()
    assert (
        list(document) == FIRST_GENERATION_MEMBERS == list(json.loads((DATA / "id_agent_1.json").read_text()))
    )
    assert (document["v"], document["kdf"]) == ("id.v1", "scrypt")
    assert b64decode(document["aad"]) == b"HSAgent.identity.v1"
    assert (b64decode(document["salt"]), b64decode(document["nonce"])) == (SALT, NONCE)


def test_the_first_generation_opens_our_file_with_its_own_steps() -> None:
    document = sealed()
    key = _derive(PASSPHRASE, base64.b64decode(document["salt"]), n=2**14, r=8, p=1)
    associated = base64.b64decode(document["aad"])
    plaintext = AESGCM(key).decrypt(NONCE, base64.b64decode(document["ciphertext"]), associated)
    members = json.loads(plaintext)
    assert plaintext == json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    assert set(members) == {
        "my_id",
        "created_at",
        "kx_priv_b64",
        "kx_pub_b64",
        "sign_priv_b64",
        "sign_pub_b64",
    }


def test_a_file_of_the_second_kind_carries_stronger_parameters() -> None:
    document = sealed("id.v2")
    assert list(document) == ["v", "kdf", "nonce", "ct"]
    assert document["kdf"] == {"name": "scrypt", "n": 2**15, "r": 8, "p": 1, "salt": b64url_encode(SALT)}


def test_an_unknown_format_is_our_own_mistake() -> None:
    with pytest.raises(UsageError, match=re.escape("'id.v3'")):
        seal_identity(ALICE, PASSPHRASE, salt=SALT, nonce=NONCE, version="id.v3")


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [(2**14, 8, 1), (2**15, 9, 1), (2**14, 16, 1), (2**14, 8, 4)],
)
def test_a_file_of_the_second_kind_opens_with_any_parameters_within_the_bounds(
    n: int, r: int, p: int
) -> None:
    document = with_parameters(n=n, r=r, p=p)
    head = {name: value for name, value in document.items() if name != "ct"}
    body = canonical_json(body_of(ALICE))
    associated = labels.V2_IDENTITY_AAD_PREFIX + canonical_json(head)
    document["ct"] = b64url_encode(
        chacha_seal(_derive(PASSPHRASE, SALT, n=n, r=r, p=p), NONCE, body, associated)
    )
    assert same(open_identity(json.dumps(document).encode(), PASSPHRASE), ALICE)


# ---- what does not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE + b" ", PASSPHRASE[:-1], PASSPHRASE.upper()])
def test_a_wrong_passphrase_is_one_clear_line(version: str, passphrase: bytes) -> None:
    text = refusal(sealed(version), passphrase)
    assert text == "wrong passphrase, or the identity file is damaged"


def flipped(text: str) -> str:
    """The same base64 with the first bit of its value changed; a leading `u` of base64url stays."""
    if text.startswith("u"):
        raw = b64url_decode(text)
        return b64url_encode(bytes([raw[0] ^ 0x80]) + raw[1:])
    raw = b64decode(text)
    return b64encode(bytes([raw[0] ^ 0x80]) + raw[1:])


WRONG_VALUES: list[Any] = [
    None,
    5,
    True,
    [],
    {},
    "",
    "\ud800",
    "\0",
    "x" * 8000,
    "AAA",
    "uAAA",
    "AAAA",
    "uAAAA",
]


@pytest.mark.parametrize("member", FIRST_GENERATION_MEMBERS)
def test_a_file_with_any_member_altered_is_refused(member: str) -> None:
    document = sealed()
    for value in [
        *WRONG_VALUES,
        "id.v2",
        "id.v3",
        "pbkdf2",
        *([flipped(document[member])] if member not in ("v", "kdf") else []),
    ]:
        refusal(document | {member: value})
    refusal({name: value for name, value in document.items() if name != member})


@pytest.mark.parametrize("member", ["v", "kdf", "nonce", "ct"])
def test_a_file_of_the_second_kind_with_any_member_altered_is_refused(member: str) -> None:
    document = sealed("id.v2")
    for value in [
        *WRONG_VALUES,
        "id.v1",
        "id.v3",
        "scrypt",
        *([flipped(document[member])] if member in ("nonce", "ct") else []),
    ]:
        refusal(document | {member: value})
    refusal({name: value for name, value in document.items() if name != member})


@pytest.mark.parametrize("member", ["name", "n", "r", "p", "salt"])
def test_a_file_of_the_second_kind_with_its_derivation_altered_is_refused(member: str) -> None:
    document = sealed("id.v2")
    for value in [
        *WRONG_VALUES,
        "pbkdf2",
        2**14,
        9,
        2,
        b64url_encode(bytes(16)),
        b64url_encode(bytes(15)),
        b64encode(SALT),
    ]:
        refusal(document | {"kdf": document["kdf"] | {member: value}})
    refusal(document | {"kdf": {name: value for name, value in document["kdf"].items() if name != member}})


def test_every_member_of_the_head_of_the_second_kind_is_authenticated() -> None:
    document = sealed("id.v2")
    refusal(document | {"extra": 1})
    refusal(document | {"kdf": document["kdf"] | {"extra": 1}})


@pytest.mark.parametrize("version", FORMATS)
def test_no_bit_of_the_ciphertext_can_be_changed(version: str) -> None:
    document = sealed(version)
    member, decode, encode = (
        ("ciphertext", b64decode, b64encode) if version == "id.v1" else ("ct", b64url_decode, b64url_encode)
    )
    raw = decode(document[member])
    for at in (*range(0, len(raw), 16), len(raw) - 1):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert (
            refusal(document | {member: encode(changed)})
            == "wrong passphrase, or the identity file is damaged"
        )
    for cut in (0, 15, 16, len(raw) - 1):
        refusal(document | {member: encode(raw[:cut])})


def test_a_file_sealed_under_another_label_is_refused_even_where_it_names_it() -> None:
    document = sealed()
    other = b"HSAgent.identity.v2"
    key = _derive(PASSPHRASE, SALT, n=2**14, r=8, p=1)
    document["aad"] = b64encode(other)
    document["ciphertext"] = b64encode(aes_seal(key, NONCE, canonical_json(body_of(ALICE)), other))
    assert "another label" in refusal(document)
    document["aad"] = b64encode(labels.V1_IDENTITY_AAD)
    assert "wrong passphrase" in refusal(document)


@pytest.mark.parametrize("version", FORMATS)
def test_a_file_of_one_kind_is_not_taken_for_the_other(version: str) -> None:
    other = next(name for name in FORMATS if name != version)
    refusal(sealed(version) | {"v": other})
    refusal(sealed(version) | sealed(other) | {"v": version, "kdf": sealed(other)["kdf"]})


def with_parameters(**parameters: Any) -> dict[str, Any]:
    document = sealed("id.v2")
    document["kdf"] |= parameters
    return document


@pytest.mark.parametrize(
    "parameters",
    [
        {"n": 2**40},
        {"n": 2**18},
        {"n": 2**13},
        {"n": 1},
        {"n": 0},
        {"n": -1},
        {"n": -(2**15)},
        {"n": 2**15 + 1},
        {"n": 2**15 - 1},
        {"n": 3 * 2**14},
        {"n": 10**4000},
        {"n": True},
        {"n": 32768.0},
        {"n": "32768"},
        {"n": None},
        {"n": [32768]},
        {"r": 0},
        {"r": -8},
        {"r": 7},
        {"r": 17},
        {"r": 2**30},
        {"r": True},
        {"r": 8.0},
        {"p": 0},
        {"p": -1},
        {"p": 5},
        {"p": 2**30},
        {"p": True},
        {"p": False},
        {"p": 1.0},
        {"name": "SCRYPT"},
        {"name": ["scrypt"]},
    ],
    ids=lambda parameters: str(parameters)[:30],
)
def test_foreign_scrypt_parameters_are_refused_before_anything_is_derived(
    parameters: dict[str, Any], derivations: list[dict[str, int]]
) -> None:
    document = with_parameters(**parameters)
    derivations.clear()
    refusal(document)
    assert derivations == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"5",
        b'"id.v1"',
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"\0" * 100,
        b"-----BEGIN PRIVATE KEY-----",
        b"[" * 10_000,
        b'{"v":"id.v1"}',
        b'{"v":"\\ud800"}',
        b'{"v":NaN}',
        b'{"v":1e999}',
        b'{"v":' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_identity_file_is_refused(raw: bytes) -> None:
    refusal(raw)


def test_a_file_that_is_too_large_is_refused_without_a_look_into_it(
    derivations: list[dict[str, int]],
) -> None:
    raw = seal_identity(ALICE, PASSPHRASE, salt=SALT, nonce=NONCE)
    assert same(open_identity(raw.ljust(file.FILE_BYTES), PASSPHRASE), ALICE)
    derivations.clear()
    assert refusal(raw.ljust(file.FILE_BYTES + 1)) == "this is not an identity file"
    assert derivations == []


@pytest.mark.parametrize("member", FIRST_GENERATION_MEMBERS)
def test_a_file_that_names_a_member_twice_is_refused(member: str) -> None:
    document = sealed()
    twice = json.dumps(document).replace("{", "{" + json.dumps({member: document[member]})[1:-1] + ",", 1)
    assert refusal(twice.encode()) == "this is not an identity file"


# ---- what was sealed by somebody who knew the passphrase ----------------------------------------------------------


def body_of(identity: Identity) -> dict[str, Any]:
    return {
        "my_id": identity.agent_id,
        "created_at": identity.created_at,
        "kx_priv_b64": b64encode(identity.exchange_key.private_bytes()),
        "kx_pub_b64": b64encode(identity.exchange_key.public),
        "sign_priv_b64": b64encode(identity.signing_key.private_bytes()),
        "sign_pub_b64": b64encode(identity.signing_key.public),
    }


def resealed(body: Any) -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = _derive(PASSPHRASE, SALT, n=2**14, r=8, p=1)
    return sealed() | {"ciphertext": b64encode(aes_seal(key, NONCE, raw, labels.V1_IDENTITY_AAD))}


def test_a_body_sealed_by_hand_opens() -> None:
    document = resealed(body_of(ALICE) | {"extra": "a later version may add members"})
    assert same(open_identity(json.dumps(document).encode(), PASSPHRASE), ALICE)


@pytest.mark.parametrize(
    "changes",
    [
        {"kx_pub_b64": body_of(BOB)["kx_pub_b64"]},
        {"sign_pub_b64": body_of(BOB)["sign_pub_b64"]},
        {"kx_pub_b64": body_of(ALICE)["sign_pub_b64"], "sign_pub_b64": body_of(ALICE)["kx_pub_b64"]},
        {"kx_priv_b64": body_of(BOB)["kx_priv_b64"]},
        {"sign_priv_b64": body_of(BOB)["sign_priv_b64"]},
        {"kx_priv_b64": body_of(ALICE)["sign_priv_b64"], "sign_priv_b64": body_of(ALICE)["kx_priv_b64"]},
    ],
    ids=lambda changes: " and ".join(changes),
)
def test_public_keys_that_do_not_belong_to_the_private_ones_are_refused(changes: dict[str, str]) -> None:
    assert "do not belong" in refusal(resealed(body_of(ALICE) | changes))


@pytest.mark.parametrize("member", body_of(ALICE))
def test_a_body_with_a_bad_member_is_refused(member: str) -> None:
    body = body_of(ALICE)
    for value in [*WRONG_VALUES, "x", b64encode(bytes(31)), b64encode(bytes(33)), body["my_id"].upper()]:
        assert "does not hold an identity" in refusal(resealed(body | {member: value}))
    without = {name: value for name, value in body.items() if name != member}
    assert "does not hold an identity" in refusal(resealed(without))


@pytest.mark.parametrize("damage", ["not JSON", "cut", "twice", "list", "bytes"])
def test_a_body_that_is_no_object_is_refused_without_showing_it(damage: str) -> None:
    text = json.dumps(body_of(ALICE))
    damaged: dict[str, bytes] = {
        "not JSON": (text + "}").encode(),
        "cut": text[:-1].encode(),
        "twice": (text[:-1] + ',"my_id":"x"}').encode(),
        "list": f"[{text}]".encode(),
        "bytes": text.encode() + b"\xff",
    }
    assert "does not hold an identity" in refusal(resealed(damaged[damage]))


# ---- the identity itself ------------------------------------------------------------------------------------------


def test_an_identity_shows_its_id_and_nothing_else() -> None:
    shown = f"{ALICE!r} {ALICE} {[ALICE]} {ALICE.database_key()!r}"
    assert ALICE.agent_id in shown
    shows_no_secret(shown)


@pytest.mark.parametrize("copying", [pickle.dumps, copy.deepcopy], ids=["pickle", "copy"])
def test_an_identity_is_not_copied_out(copying: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        copying(ALICE)


def test_the_database_key_belongs_to_both_private_keys_and_is_neither() -> None:
    keys = {
        identity.database_key().reveal()
        for identity in (
            ALICE,
            BOB,
            Identity(ALICE.agent_id, ALICE.created_at, BOB.exchange_key, ALICE.signing_key),
            Identity(ALICE.agent_id, ALICE.created_at, ALICE.exchange_key, BOB.signing_key),
        )
    }
    assert len(keys) == 4
    assert keys.isdisjoint({*private_keys(ALICE), *private_keys(BOB)})
    again = Identity("", "", ExchangeKey(private_keys(ALICE)[1]), SigningKey(private_keys(ALICE)[0]))
    assert again.database_key() == ALICE.database_key()


def test_a_fingerprint_is_eight_groups_that_a_person_can_compare() -> None:
    assert re.fullmatch(r"([0-9a-f]{4} ){7}[0-9a-f]{4}", fingerprint(ALICE.signing_key.public))
    assert fingerprint(b"").replace(" ", "") == "e3b0c44298fc1c149afbf4c8996fb924"
    assert fingerprint(ALICE.signing_key.public) != fingerprint(BOB.signing_key.public)

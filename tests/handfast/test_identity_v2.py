"""What version 2 adds to an identity: self-certifying ids, bound static keys, and a file that holds all of it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from fake_world import START, make_identity
from hypothesis import given
from hypothesis import strategies as st

from handfast.crypto.keys import ExchangeKey, Secret, SigningKey, signature_holds
from handfast.errors import IdentityError, PeerError, Reason, UsageError
from handfast.identity import Identity, binding, file, open_identity, seal_identity
from handfast.identity import sealed as container
from handfast.identity.agent_ids import is_self_certifying, require_self_certified, self_certifying_id
from handfast.identity.binding import BINDING_BYTES, Binding, bind, binding_text, check_binding
from handfast.identity.identity import PREVIOUS_STATIC_KEY_LIFE, STATIC_KEY_LIFE, STATIC_KEY_RENEWED_BEFORE
from handfast.identity.names import did_key, jwk_thumbprint
from handfast.wire.v1 import is_agent_id

DESIGN = json.loads((Path(__file__).parent.parent / "vectors" / "v2" / "v2_vectors.json").read_text())["xx"]
ALICE, BOB = make_identity("alice"), make_identity("bob")
DAY = 86_400
NS = ExchangeKey(b"n" * 32).public
NOW = int(START)

# RFC 8032, section 7.1, test 1
RFC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def refused(reason: Reason, *arguments: object) -> None:
    with pytest.raises(PeerError) as caught:
        check_binding(*arguments)  # type: ignore[arg-type]
    assert caught.value.reason is reason


# ---- ids and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["i", "r"])
def test_an_id_is_the_one_of_the_design_s_vectors(side: str) -> None:
    public = SigningKey(bytes.fromhex(DESIGN["keys"][f"ik {side}"])).public
    assert self_certifying_id(public) == DESIGN[f"id_{side}"]


@given(st.binary(min_size=32, max_size=32))
def test_all_bits_of_an_id_but_its_version_and_variant_are_of_the_digest(key: bytes) -> None:
    raw, digest = UUID(self_certifying_id(key)).bytes, hashlib.sha256(b"SMNR2 agent id\0" + key).digest()
    differing = [one ^ other for one, other in zip(raw, digest[:16], strict=True)]
    assert (differing.pop(8) & 0x3F, differing.pop(6) & 0x0F) == (0, 0)
    assert not any(differing)
    assert (raw[6] >> 4, raw[8] >> 6) == (8, 0b10)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_self_certifying_id_is_an_agent_id_that_no_other_key_has(key: bytes, other: bytes) -> None:
    agent_id = self_certifying_id(key)
    assert is_agent_id(agent_id)
    assert is_self_certifying(agent_id)
    require_self_certified(agent_id, key)
    if other != key:
        with pytest.raises(PeerError) as caught:
            require_self_certified(agent_id, other)
        assert caught.value.reason is Reason.ID_NOT_SELF_CERTIFIED


@pytest.mark.parametrize(
    "agent_id",
    [
        ALICE.agent_id,
        "9c42f311-24ea-4fac-8a85-95e11d0d55c1",  # version 4
        "9c42f311-24ea-8fac-ca85-95e11d0d55c1",  # another variant
        "8c82f388-8888-7888-8a85-95e11d0d55c1",
    ],
)
def test_another_id_promises_nothing_about_a_key(agent_id: str) -> None:
    assert not is_self_certifying(agent_id)
    require_self_certified(agent_id, b"any key")


def test_a_key_is_named_as_the_standards_name_it() -> None:
    assert jwk_thumbprint(RFC_KEY) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, appendix A.3
    # the did:key specification's example for Ed25519
    public = bytes.fromhex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6")
    assert did_key(public) == "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


# ---- the binding --------------------------------------------------------------------------------------------------


def test_a_binding_is_signed_over_exactly_what_the_design_says() -> None:
    text = (
        b"SMNR2 static key binding\0"
        b"\0\0\0\x24"
        + ALICE.agent_id.encode()
        + ALICE.signing_key.public
        + NS
        + NOW.to_bytes(8, "big")
        + (NOW + DAY).to_bytes(8, "big")
    )
    assert binding_text(ALICE.agent_id, ALICE.signing_key.public, NS, NOW, NOW + DAY) == text
    binding = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + DAY)
    assert signature_holds(ALICE.signing_key.public, binding.signature, text)
    assert binding.encode() == text[-16:] + binding.signature


@given(st.binary(min_size=BINDING_BYTES, max_size=BINDING_BYTES))
def test_eighty_bytes_are_one_binding_and_back(raw: bytes) -> None:
    assert Binding.parse(raw).encode() == raw


@pytest.mark.parametrize("size", [0, 79, 81])
def test_no_other_number_of_bytes_is_a_binding(size: int) -> None:
    with pytest.raises(PeerError) as caught:
        Binding.parse(bytes(size))
    assert caught.value.reason is Reason.FORMAT


@pytest.mark.parametrize("now", [NOW - 300, NOW, NOW + 0.5, NOW + 90 * DAY, NOW + 90 * DAY + 300])
def test_a_binding_holds_for_its_time_and_what_clocks_may_differ(now: float) -> None:
    binding = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + 90 * DAY)
    check_binding(binding, ALICE.agent_id, ALICE.signing_key.public, NS, now)


@pytest.mark.parametrize("life", [0, 1])
def test_a_binding_may_be_for_a_moment(life: int) -> None:
    binding = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + life)
    check_binding(binding, ALICE.agent_id, ALICE.signing_key.public, NS, NOW)


def test_a_binding_that_was_found_good_is_not_verified_again_and_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + DAY)
    binding.forget_bindings()
    check_binding(shown, ALICE.agent_id, ALICE.signing_key.public, NS, NOW)
    verified: list[bytes] = []
    monkeypatch.setattr(binding, "signature_holds", lambda *arguments: verified.append(arguments[0]))
    check_binding(shown, ALICE.agent_id, ALICE.signing_key.public, NS, NOW + 1)
    refused(Reason.BINDING_EXPIRED, shown, ALICE.agent_id, ALICE.signing_key.public, NS, NOW + DAY + 301)
    assert verified == []
    for differs in (
        (shown, BOB.agent_id, ALICE.signing_key.public, NS),
        (shown, ALICE.agent_id, BOB.signing_key.public, NS),
        (shown, ALICE.agent_id, ALICE.signing_key.public, ALICE.exchange_key.public),
        (replace(shown, signature=bytes(64)), ALICE.agent_id, ALICE.signing_key.public, NS),
        (replace(shown, not_after=NOW + DAY + 1), ALICE.agent_id, ALICE.signing_key.public, NS),
        (replace(shown, not_before=NOW - 1), ALICE.agent_id, ALICE.signing_key.public, NS),
    ):
        for _ in range(2):  # what was refused is not remembered
            refused(Reason.STATIC_SIG, *differs, NOW)
    assert len(verified) == 12
    binding.forget_bindings()
    refused(Reason.STATIC_SIG, shown, ALICE.agent_id, ALICE.signing_key.public, NS, NOW)  # asked again


@pytest.mark.parametrize(
    ("start", "end", "now"),
    [
        (NOW, NOW + DAY, NOW - 301),
        (NOW, NOW + DAY, NOW + DAY + 301),
        (NOW, NOW + 90 * DAY + 1, NOW),
        (NOW + 1, NOW, NOW),
        (0, 2**64 - 1, NOW),
    ],
    ids=["not begun", "over", "too long", "turned round", "for ever"],
)
def test_a_binding_for_another_time_is_refused(start: int, end: int, now: float) -> None:
    binding = bind(ALICE.signing_key, ALICE.agent_id, NS, start, end)
    refused(Reason.BINDING_EXPIRED, binding, ALICE.agent_id, ALICE.signing_key.public, NS, now)


def test_a_binding_of_anything_else_is_refused() -> None:
    good = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + DAY)
    key = ALICE.signing_key.public
    refused(Reason.STATIC_SIG, good, BOB.agent_id, key, NS, NOW)
    refused(Reason.STATIC_SIG, good, ALICE.agent_id, BOB.signing_key.public, NS, NOW)
    refused(Reason.STATIC_SIG, good, ALICE.agent_id, key, bytes(32), NOW)
    refused(Reason.STATIC_SIG, replace(good, not_before=NOW - 1), ALICE.agent_id, key, NS, NOW)
    refused(Reason.STATIC_SIG, replace(good, not_after=NOW + DAY + 1), ALICE.agent_id, key, NS, NOW)
    refused(Reason.STATIC_SIG, replace(good, signature=bytes(64)), ALICE.agent_id, key, NS, NOW)


@pytest.mark.parametrize("weak", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_a_binding_by_a_weak_key_is_refused(weak: bytes) -> None:
    good = bind(ALICE.signing_key, ALICE.agent_id, NS, NOW, NOW + DAY)
    refused(Reason.WEAK_KEY, good, ALICE.agent_id, weak, NS, NOW)


# ---- static keys --------------------------------------------------------------------------------------------------


def test_a_static_key_comes_with_a_binding_that_peers_accept() -> None:
    identity = ALICE.with_static_key(b"s" * 32, START)
    assert identity.static_key.key.public == ExchangeKey(b"s" * 32).public
    for now in (START, START + STATIC_KEY_LIFE):
        check_binding(
            identity.static_key.binding,
            identity.agent_id,
            identity.identity_key.public,
            identity.static_key.key.public,
            now,
        )


def test_a_static_key_is_current_until_three_days_before_its_end() -> None:
    assert not ALICE.is_current(START)
    identity = ALICE.with_static_key(b"s" * 32, START)
    end = NOW + STATIC_KEY_LIFE - STATIC_KEY_RENEWED_BEFORE
    assert [identity.is_current(now) for now in (START, end, end + 1)] == [True, True, False]
    # a clock that was set back by more than peers forgive needs another key, too
    assert [identity.is_current(now) for now in (NOW - 300, NOW - 301)] == [True, False]


def test_the_key_before_serves_for_one_more_day_and_no_third_is_kept() -> None:
    first = ALICE.with_static_key(b"1" * 32, START)
    second = first.with_static_key(b"2" * 32, START + 28 * DAY)
    third = second.with_static_key(b"3" * 32, START + 56 * DAY)
    assert second.static_keys == (second.static_key, first.static_key)
    assert third.static_keys == (third.static_key, second.static_key)
    renewed = NOW + 56 * DAY
    assert third.usable_static_keys(renewed + PREVIOUS_STATIC_KEY_LIFE - 1) == third.static_keys
    assert third.usable_static_keys(renewed + PREVIOUS_STATIC_KEY_LIFE) == (third.static_key,)
    assert ALICE.usable_static_keys(START) == ()


def test_an_identity_without_a_static_key_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="handfast identity migrate"):
        _ = ALICE.static_key


# ---- the file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def quick_derivation() -> Iterator[None]:
    """Keys from passphrases without scrypt, whose slowness is not what is tried here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (file, container):
            patch.setattr(module, "scrypt", lambda words, salt, **_: hashlib.sha256(salt + words).digest())
        yield


def whole() -> Identity:
    """An identity with every member that version 2 knows."""
    identity = ALICE.with_static_key(b"1" * 32, START).with_static_key(b"2" * 32, START + DAY)
    return replace(
        identity,
        rotated_key=SigningKey(b"r" * 32),
        rotations=b"rotations",
        certificate=b"certificate",
        stored_database_key=Secret(b"d" * 32),
    )


def sealed(identity: Identity, version: str = "id.v2") -> bytes:
    return seal_identity(identity, b"words", salt=bytes(16), nonce=bytes(12), version=version)


def parts(identity: Identity) -> tuple[object, ...]:
    return (
        identity.agent_id,
        identity.created_at,
        identity.exchange_key.private_bytes(),
        identity.signing_key.private_bytes(),
        identity.rotated_key and identity.rotated_key.private_bytes(),
        [(one.key.private_bytes(), one.binding) for one in identity.static_keys],
        identity.rotations,
        identity.certificate,
        identity.stored_database_key,
    )


@pytest.mark.parametrize("identity", [ALICE, ALICE.with_static_key(b"1" * 32, START), whole()])
def test_everything_comes_back_from_the_file(identity: Identity) -> None:
    assert parts(open_identity(sealed(identity), b"words")) == parts(identity)


def test_keys_of_version_2_are_never_lost_in_a_file_without_a_place_for_them() -> None:
    for identity in (whole(), ALICE.with_static_key(b"1" * 32, START), ALICE.with_database_key()):
        with pytest.raises(UsageError, match=r"does not fit into a file of format id\.v1"):
            sealed(identity, "id.v1")


def test_a_file_of_the_first_format_gives_no_keys_of_version_2_whatever_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = file._v1_members(whole()) | file._v2_members(whole())
    monkeypatch.setattr(file, "_v1_members", lambda _: members)
    assert parts(open_identity(sealed(ALICE, "id.v1"), b"words")) == parts(ALICE)


@pytest.mark.parametrize(
    "second",
    [
        [],
        {"ik": "u"},
        {"ik": None},
        {"dbk": "uAAAA"},
        {"ns": {}},
        {"ns": ["u"]},
        {"ns": [["u", "u"]]},
        {"ns": [["uAAAA"]]},
        {"rot": 5},
        {"cert": "not base64url"},
    ],
    ids=str,
)
def test_a_damaged_second_part_is_one_clear_error(second: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_v2_members", lambda _: {"v2": second})
    with pytest.raises(IdentityError, match="does not hold an identity"):
        open_identity(sealed(ALICE), b"words")


def test_a_file_holds_at_most_two_static_keys() -> None:
    third = replace(whole(), static_keys=(*whole().static_keys, whole().static_key))
    with pytest.raises(IdentityError, match="does not hold an identity"):
        open_identity(sealed(third), b"words")


def test_the_database_key_stays_when_it_is_written_down_and_whatever_else_changes() -> None:
    former = ALICE.database_key()
    migrated = ALICE.with_database_key().with_static_key(b"1" * 32, START)
    assert migrated.database_key() == former
    assert open_identity(sealed(migrated), b"words").database_key() == former
    assert replace(migrated, signing_key=BOB.signing_key).database_key() == former


def test_an_identity_with_everything_still_shows_its_id_only() -> None:
    assert repr(whole()) == f"Identity({ALICE.agent_id})"
    assert "<redacted>" in repr(whole().static_key)
    assert (b"2" * 32).hex() not in repr(whole().static_key)

"""Every vector recorded from first-generation agents, treated as hsagent-v1.md demands.

The tables say what ours does with each vector; a vector that is missing, or that has no line here, fails.
"""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import IdentityError, PeerError, Reason
from handfast.identity import Identity, open_identity, seal_identity
from handfast.session.v1 import check_hs, derive_key, make_hs, open_sec, seal
from handfast.trust import v1 as trust
from handfast.wire.text import b64decode, b64encode, canonical_json
from handfast.wire.v1 import HsBlock

DATA = Path(__file__).parent.parent / "vectors" / "first-generation"
VECTORS: dict[str, Any] = json.loads((DATA / "vectors.json").read_text())
PARTIES: dict[str, dict[str, str]] = VECTORS["parties"]
PASSPHRASES = json.loads((DATA / "id_agent_passphrases.json").read_text())

# None: accepted
HANDSHAKES: dict[str, Reason | None] = {
    "valid_response": None,
    "valid_ttl_edge_60s": None,
    "valid_extra_fields": None,
    "resigned_by_third_party": None,  # the block is sound; what it may speak for is the pin's matter, below
    "sig_base64_with_junk": Reason.HS_MALFORMED,
    "signature_of_other_nonce": Reason.HS_BAD_SIGNATURE,
    "nonce_mismatch": Reason.HS_NONCE_MISMATCH,
    "replayed_nonce": Reason.HS_REPLAYED,
    "tampered_kx_pub": Reason.HS_BAD_SIGNATURE,
    "timestamp_garbage": Reason.HS_TIMESTAMP_UNREADABLE,
    "timestamp_tz_aware": None,
    "missing_nonce": Reason.HS_MALFORMED,
    "missing_sign_pub": Reason.HS_MALFORMED,
    "missing_sig": Reason.HS_MALFORMED,
    "short_kx_pub": Reason.HS_MALFORMED,
    "number_sign_pub": Reason.HS_MALFORMED,
    "bad_b64_sign_pub": Reason.HS_MALFORMED,
    "short_sig": Reason.HS_MALFORMED,
    "nonce_number": Reason.HS_MALFORMED,
    "hs_is_list": Reason.HS_MALFORMED,
    "hs_is_string": Reason.HS_MALFORMED,
    "number_kx_pub_resigned": Reason.HS_MALFORMED,
    "bad_b64_kx_pub_resigned": Reason.HS_MALFORMED,
}

ENVELOPES: dict[str, Reason | None] = {
    "ascii_message": None,
    "empty_object": None,
    "unicode": None,
    "nested": None,
    "lone_surrogate": None,
    "large_10KB_message": None,
    "bad_signature": Reason.SEC_BAD_SIGNATURE,
    "wrong_key": Reason.SEC_DOES_NOT_OPEN,
    "tampered_ciphertext_resigned": Reason.SEC_DOES_NOT_OPEN,
    "tampered_hash_resigned": Reason.SEC_DOES_NOT_OPEN,
    "hash_not_of_plaintext_but_valid_aead": Reason.SEC_HASH_MISMATCH,
    "plaintext_not_utf8": Reason.SEC_NOT_JSON,
    "extra_envelope_field_accepted": None,
    "missing_nonce": Reason.SEC_MALFORMED,
    "missing_hash": Reason.SEC_MALFORMED,
    "missing_sig": Reason.SEC_MALFORMED,
    "envelope_is_string": Reason.SEC_MALFORMED,
    "empty_ciphertext": Reason.SEC_DOES_NOT_OPEN,
    "signed_is_string": Reason.SEC_MALFORMED,
}

# the text that a person reads; None: opens
IDENTITIES: dict[str, str | None] = {
    "id_A": None,
    "id_M_empty_passphrase": None,
    "wrong_version": "names a key derivation that is not known here",  # an id.v1 that calls itself id.v2
    "tampered_ciphertext": "wrong passphrase, or the identity file is damaged",
    "tampered_aad": "it carries another label",
    "missing_salt": "the identity file is damaged",
    "missing_aad": "the identity file is damaged",
}

# where ours and the first generation differ: stricter base64, and a zone in the timestamp is understood
DEVIATIONS = {"sig_base64_with_junk", "timestamp_tz_aware"}


def vector(kind: str, name: str) -> dict[str, Any]:
    (found,) = [entry for entry in VECTORS[kind] if entry["name"] == name]
    return found  # type: ignore[no-any-return]


def epoch(naive: str) -> float:
    return datetime.fromisoformat(naive).replace(tzinfo=UTC).timestamp()


def key_of(party: str, use: str) -> bytes:
    return b64decode(PARTIES[party][f"{use}_b64"], 32)


def check(case: dict[str, Any]) -> HsBlock:
    return check_hs(
        case["hs"],
        case["expected_type"],
        case["expected_nonce"],
        seen=case["expected_nonce"] in case.get("seen_nonces", ()),
        now=epoch(case["assume_now"]),
        zone=UTC,
    )


@pytest.mark.parametrize(
    ("kind", "expectations", "count"),
    [("handshake", HANDSHAKES, 23), ("envelope", ENVELOPES, 19), ("identity", IDENTITIES, 7)],
)
def test_every_vector_has_an_expectation_and_every_expectation_a_vector(
    kind: str, expectations: dict[str, Any], count: int
) -> None:
    assert [entry["name"] for entry in VECTORS[kind]] == list(expectations)
    assert len(expectations) == count


@pytest.mark.parametrize(
    ("kind", "expectations"),
    [("handshake", HANDSHAKES), ("envelope", ENVELOPES), ("identity", IDENTITIES)],
)
def test_ours_differs_from_the_first_generation_only_where_the_specification_says_so(
    kind: str, expectations: dict[str, Any]
) -> None:
    accepted_then = {entry["name"] for entry in VECTORS[kind] if entry["expected"]["result"] == "ok"}
    accepted_now = {name for name, refusal in expectations.items() if refusal is None}
    assert accepted_then ^ accepted_now == (DEVIATIONS if kind == "handshake" else set())


@pytest.mark.parametrize(("name", "reason"), HANDSHAKES.items())
def test_a_handshake_vector_is_accepted_or_refused_for_its_own_reason(
    name: str, reason: Reason | None
) -> None:
    case = vector("handshake", name)
    if reason is not None:
        with pytest.raises(PeerError) as caught:
            check(case)
        assert caught.value.reason is reason
        return
    hs = check(case)
    key = derive_key(ExchangeKey(key_of(case["validator"], "kx_priv")), hs.kx_pub)
    between_a_and_b = VECTORS["derived_key"][0]["sym_key_b64"]
    assert b64encode(key.reveal()) == case["expected"].get("sym_key_b64", between_a_and_b)


def test_a_handshake_signed_anew_by_a_third_party_is_refused_by_the_pin_alone() -> None:
    hs = check(vector("handshake", "resigned_by_third_party"))
    own, peer, third = (key_of(party, "sign_pub") for party in "ABM")
    assert hs.sign_pub == third
    with pytest.raises(PeerError) as caught:
        trust.decide(hs.sign_pub, own=own, pinned=peer, held_by_another=False)
    assert caught.value.reason is Reason.KEY_CHANGED
    with pytest.raises(PeerError) as caught:
        trust.decide(hs.sign_pub, own=own, pinned=None, held_by_another=True)
    assert caught.value.reason is Reason.KEY_UNDER_TWO_IDS


@pytest.mark.parametrize("name", ["valid_response", "valid_ttl_edge_60s"])
def test_our_handshake_is_byte_for_byte_that_of_the_first_generation(name: str) -> None:
    expected = vector("handshake", name)["hs"]
    signing_key = SigningKey(key_of("B", "sign_priv"))
    made = make_hs(
        "response", expected["nonce"], key_of("B", "kx_pub"), signing_key, epoch(expected["timestamp"]), UTC
    )
    assert json.dumps(made) == json.dumps(expected), "values and the order of the members"


@pytest.mark.parametrize("case", VECTORS["derived_key"], ids=lambda case: case["priv_of"] + case["pub_of"])
def test_the_session_key_is_that_of_the_first_generation(case: dict[str, str]) -> None:
    own = ExchangeKey(key_of(case["priv_of"], "kx_priv"))
    peer_public = key_of(case["pub_of"], "kx_pub")
    assert b64encode(own.exchange(peer_public)) == case["x25519_shared_b64"]
    assert b64encode(derive_key(own, peer_public).reveal()) == case["sym_key_b64"]


def open_envelope(case: dict[str, Any]) -> tuple[Any, str]:
    return open_sec(
        case["signed"], Secret(b64decode(case["sym_key_b64"], 32)), b64decode(case["sign_pub_b64"], 32)
    )


@pytest.mark.parametrize(("name", "reason"), ENVELOPES.items())
def test_an_envelope_vector_opens_or_is_refused_for_its_own_reason(name: str, reason: Reason | None) -> None:
    case = vector("envelope", name)
    if reason is not None:
        with pytest.raises(PeerError) as caught:
            open_envelope(case)
        assert caught.value.reason is reason
        return
    content, nonce = open_envelope(case)
    assert content == case["expected"]["object"]
    assert nonce == case["signed"]["envelope"]["nonce"]


# sealed by `seal` itself; the others were altered by hand
SEALED_AS_IS = [
    name for name, reason in ENVELOPES.items() if reason is None and not name.startswith("extra_")
]


@pytest.mark.parametrize("name", SEALED_AS_IS)
def test_our_envelope_is_byte_for_byte_that_of_the_first_generation(name: str) -> None:
    case = vector("envelope", name)
    envelope = case["signed"]["envelope"]
    made = seal(
        case["expected"]["object"],
        Secret(b64decode(case["sym_key_b64"], 32)),
        SigningKey(key_of(case["sealed_by"], "sign_priv")),
        b64decode(envelope["nonce"], 12),
        epoch(envelope["ts"]),
        UTC,
    )
    assert json.dumps(made) == json.dumps(case["signed"]), "values and the order of the members"
    if "signed_text" in case:
        assert canonical_json(made["envelope"]).decode() == case["signed_text"]
    if "plaintext_b64" in case:
        assert canonical_json(case["expected"]["object"]) == b64decode(case["plaintext_b64"])


def open_vector(case: dict[str, Any]) -> Identity:
    return open_identity(json.dumps(case["file"]).encode(), base64.b64decode(case["passphrase_b64"]))


@pytest.mark.parametrize(("name", "text"), IDENTITIES.items())
def test_an_identity_vector_opens_or_is_refused_in_its_own_words(name: str, text: str | None) -> None:
    case = vector("identity", name)
    if text is not None:
        with pytest.raises(IdentityError, match=text):
            open_vector(case)
        return
    identity, expected = open_vector(case), case["expected"]["identity"]
    assert members_of(identity) == expected


def members_of(identity: Identity) -> dict[str, str]:
    return {
        "my_id": identity.agent_id,
        "kx_priv_b64": b64encode(identity.exchange_key.private_bytes()),
        "sign_priv_b64": b64encode(identity.signing_key.private_bytes()),
        "kx_pub_b64": b64encode(identity.exchange_key.public),
        "sign_pub_b64": b64encode(identity.signing_key.public),
    }


def test_the_plaintext_of_our_identity_file_is_that_of_the_first_generation() -> None:
    case = vector("identity", "id_A")
    identity = open_vector(case)
    body = members_of(identity) | {"created_at": identity.created_at}
    assert canonical_json(body).decode() == VECTORS["identity_plaintext_example_utf8"]


@pytest.mark.parametrize("name", PASSPHRASES)
def test_an_identity_file_sealed_again_is_byte_for_byte_the_recorded_one(name: str) -> None:
    recorded = (DATA / name).read_bytes()
    document = json.loads(recorded)
    passphrase = PASSPHRASES[name]["passphrase"].encode()
    identity = open_identity(recorded, passphrase)
    assert identity.agent_id == PASSPHRASES[name]["my_id"]
    salt, nonce = b64decode(document["salt"], 16), b64decode(document["nonce"], 12)
    again = seal_identity(identity, passphrase, salt=salt, nonce=nonce, version="id.v1")
    assert again.rstrip() == recorded.rstrip()

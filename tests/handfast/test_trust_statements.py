"""Certificates, requests, revocation lists, rotation statements and tombstones: what holds, and each way not to."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_world import START, make_identity
from hypothesis import given
from hypothesis import strategies as st

from handfast.crypto import labels
from handfast.crypto.keys import SigningKey
from handfast.errors import PeerError, Reason, UsageError
from handfast.identity import Identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.identity.binding import check_binding
from handfast.trust.certificate import (
    LONGEST_LIFE,
    Certificate,
    Controller,
    check_certificate,
    issue_certificate,
    issuer_of,
    names_its_own_key,
    presentable,
    read_certificate,
    read_request,
    request_certificate,
)
from handfast.trust.revocation import (
    CRL_BYTES,
    STALE_AFTER,
    Revoked,
    check_revocation_list,
    is_stale,
    read_revocation_list,
    read_tombstone,
    sign_revocation_list,
    sign_tombstone,
)
from handfast.trust.rotation import LONGEST_CHAIN, rotated_identity, verify_chain
from handfast.trust.statement import read_statements, sign_statement
from handfast.wire import limits
from handfast.wire.text import b64url_encode, canonical_json

ALICE, BOB = make_identity("alice"), make_identity("bob")
NOW = int(START)
DAY = 86_400
CONTROLLER, ANOTHER = SigningKey(b"c" * 32), SigningKey(b"d" * 32)
SERIAL = "0123456789abcdef" * 2
CHALLENGE = b"n" * 16
WEAK = [bytes(32), b"\x01" + bytes(31), b"\xff" * 32]


def reason_of(work: Callable[[], object]) -> Reason:
    with pytest.raises(PeerError) as caught:
        work()
    return caught.value.reason


def body_of(raw: bytes) -> dict[str, Any]:
    """The JSON body of one statement."""
    return json.loads(raw[4 : 4 + int.from_bytes(raw[:4], "big")])  # type: ignore[no-any-return]


def signed_again(raw: bytes, label: bytes, *keys: SigningKey, **changes: object) -> bytes:
    """The same statement with members changed or, where the value is ..., left out, and good signatures."""
    members = body_of(raw) | changes
    return sign_statement(label, {name: value for name, value in members.items() if value is not ...}, *keys)


def certificate(identity: Identity = ALICE, controller: SigningKey = CONTROLLER, **options: Any) -> bytes:
    asked = read_request(request_certificate(identity, "Alice", CHALLENGE, START))
    return issue_certificate(asked, controller, **({"serial": SERIAL, "now": START} | options))


# ---- the form of all of them --------------------------------------------------------------------------------------


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3), min_size=1, max_size=4))
def test_statements_stand_one_after_another_and_are_found_again(bodies: list[dict[str, object]]) -> None:
    raw = b"".join(sign_statement(b"label\0", body, CONTROLLER, ANOTHER) for body in bodies)
    found = read_statements(raw, b"label\0", Reason.CERT, signatures=2, at_most=4, bytes_at_most=len(raw))
    assert [one.body for one in found] == [canonical_json(body) for body in bodies]
    assert all(one.is_signed_by(CONTROLLER.public, ANOTHER.public) for one in found)
    assert not any(one.is_signed_by(ANOTHER.public, CONTROLLER.public) for one in found)
    assert not any(one.is_signed_by(CONTROLLER.public) for one in found)


@given(st.binary(max_size=300))
def test_any_bytes_are_statements_or_one_reason(raw: bytes) -> None:
    readers: list[tuple[Callable[[bytes], object], Reason]] = [
        (read_certificate, Reason.CERT),
        (read_request, Reason.CERT),
        (read_revocation_list, Reason.CERT),
        (read_tombstone, Reason.FORMAT),
    ]
    for read, reason in readers:
        assert reason_of(lambda read=read: read(raw)) is reason  # type: ignore[misc]
    if raw:
        assert (
            reason_of(lambda: verify_chain(raw, ALICE.agent_id, ALICE.signing_key.public)) is Reason.ROTATION
        )


def test_a_signature_under_one_label_is_none_under_another() -> None:
    found = read_statements(
        sign_statement(b"one\0", {}, CONTROLLER), b"another\0", Reason.CERT, bytes_at_most=1000
    )
    assert not found[0].is_signed_by(CONTROLLER.public)


def test_a_body_is_checked_as_it_came_and_not_as_we_would_write_it() -> None:
    raw = certificate()
    body = json.dumps(body_of(raw), indent=1).encode()
    spaced = len(body).to_bytes(4, "big") + body + CONTROLLER.sign(labels.V2_CERTIFICATE + body)
    check_certificate(read_certificate(spaced), Controller(CONTROLLER.public), START)
    with_former_signature = len(body).to_bytes(4, "big") + body + raw[-64:]
    again = read_certificate(with_former_signature)
    assert reason_of(lambda: check_certificate(again, Controller(CONTROLLER.public), START)) is Reason.CERT


# ---- certificates -------------------------------------------------------------------------------------------------


def test_a_certificate_says_what_was_asked_for_and_for_how_long() -> None:
    read = read_certificate(certificate(life=7 * DAY, capabilities=("talk", "trade")))
    assert (read.agent_id, read.identity_public) == (ALICE.agent_id, ALICE.identity_key.public)
    assert (read.serial, read.issuer, read.name) == (SERIAL, issuer_of(CONTROLLER.public), "Alice")
    assert (read.not_before, read.not_after) == (NOW, NOW + 7 * DAY)
    assert read.capabilities == ("talk", "trade")
    for now in (NOW - 300, NOW, NOW + 7 * DAY + 300):
        check_certificate(read, Controller(CONTROLLER.public), now)
    check_certificate(read_certificate(certificate(life=1)), Controller(CONTROLLER.public), NOW)


@pytest.mark.parametrize("now", [NOW - 301, NOW + LONGEST_LIFE + 301])
def test_a_certificate_for_another_time_is_refused(now: float) -> None:
    read = read_certificate(certificate())
    assert reason_of(lambda: check_certificate(read, Controller(CONTROLLER.public), now)) is Reason.CERT


def test_a_certificate_of_another_controller_is_refused() -> None:
    read = read_certificate(certificate(controller=ANOTHER))
    assert reason_of(lambda: check_certificate(read, Controller(CONTROLLER.public), NOW)) is Reason.CERT
    claiming = signed_again(certificate(), labels.V2_CERTIFICATE, ANOTHER, iss=issuer_of(CONTROLLER.public))
    read = read_certificate(claiming)
    assert reason_of(lambda: check_certificate(read, Controller(CONTROLLER.public), NOW)) is Reason.CERT


def test_a_certificate_that_names_another_controller_than_signed_it_is_refused() -> None:
    raw = signed_again(certificate(), labels.V2_CERTIFICATE, CONTROLLER, iss=issuer_of(ANOTHER.public))
    read = read_certificate(raw)
    assert reason_of(lambda: check_certificate(read, Controller(CONTROLLER.public), NOW)) is Reason.CERT


@pytest.mark.parametrize("life", [LONGEST_LIFE + 1, 0, -1])
def test_a_certificate_for_too_long_or_no_time_is_refused(life: int) -> None:
    read = read_certificate(signed_again(certificate(), labels.V2_CERTIFICATE, CONTROLLER, exp=NOW + life))
    assert reason_of(lambda: check_certificate(read, Controller(CONTROLLER.public), NOW)) is Reason.CERT


def test_no_byte_of_a_certificate_can_be_changed() -> None:
    raw = certificate()

    def believed(altered: bytes) -> Certificate:
        read = read_certificate(altered)
        check_certificate(read, Controller(CONTROLLER.public), NOW)
        return read

    for at in range(len(raw)):
        altered = bytearray(raw)
        altered[at] ^= 1
        assert reason_of(lambda altered=altered: believed(bytes(altered))) in {  # type: ignore[misc]
            Reason.CERT,
            Reason.WEAK_KEY,
        }
    for altered in (raw[:-1], raw + b"\0", raw + raw, b""):
        assert reason_of(lambda altered=altered: believed(altered)) is Reason.CERT  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in ("v", "ser", "iss", "sub", "ik", "nbf", "exp", "caps", "name")),
        {"v": 1},
        {"v": True},
        {"v": "2"},
        {"ser": SERIAL.upper()},
        {"ser": SERIAL[1:]},
        {"ser": 5},
        {"iss": "uAAAA"},
        {"sub": ALICE.agent_id.upper()},
        {"ik": b64url_encode(bytes(31))},
        {"ik": "A" * 43},
        {"nbf": -1},
        {"nbf": 1.5},
        {"nbf": True},
        {"exp": 2**53 + 1},
        {"exp": "1"},
        {"caps": "talk"},
        {"caps": [1]},
        {"caps": ["x" * 65]},
        {"caps": ["x"] * 17},
        {"name": "x" * 65},
        {"name": None},
    ],
    ids=str,
)
def test_a_certificate_with_a_wrong_member_is_none(changes: dict[str, object]) -> None:
    raw = signed_again(certificate(), labels.V2_CERTIFICATE, CONTROLLER, **changes)
    assert reason_of(lambda: read_certificate(raw)) is Reason.CERT


def test_a_member_may_be_as_large_as_its_limit() -> None:
    raw = signed_again(
        certificate(capabilities=("x" * 64,) * 16), labels.V2_CERTIFICATE, CONTROLLER, name="x" * 64
    )
    read = read_certificate(raw)
    assert (read.capabilities, read.name) == (("x" * 64,) * 16, "x" * 64)
    for at in (0, 2**53):
        tombstone = signed_again(
            sign_tombstone(ALICE.identity_key, START), labels.V2_TOMBSTONE, ALICE.identity_key, iat=at
        )
        assert read_tombstone(tombstone).at == at


@pytest.mark.parametrize("weak", WEAK)
def test_a_certificate_for_a_weak_key_is_refused(weak: bytes) -> None:
    raw = signed_again(certificate(), labels.V2_CERTIFICATE, CONTROLLER, ik=b64url_encode(weak))
    assert reason_of(lambda: read_certificate(raw)) is Reason.WEAK_KEY


def test_a_certificate_that_is_too_large_is_neither_made_nor_read() -> None:
    wide = "\U0001f600" * 64  # 12 bytes a character in JSON
    with pytest.raises(UsageError, match="bytes"):
        certificate(capabilities=(wide,) * 8)
    raw = signed_again(certificate(), labels.V2_CERTIFICATE, CONTROLLER, more="x" * limits.CERTIFICATE_BYTES)
    assert reason_of(lambda: read_certificate(raw)) is Reason.CERT
    spare = limits.CERTIFICATE_BYTES - len(certificate(capabilities=("",) * 16))
    filling = wide[0] * (spare // 12) + "x" * (spare % 12)
    words = [filling[start : start + 64] for start in range(0, 1024, 64)]
    largest = certificate(capabilities=tuple(words))
    assert len(largest) == limits.CERTIFICATE_BYTES
    assert read_certificate(largest).capabilities == tuple(words)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"life": LONGEST_LIFE + 1}, "at most 30 days"),
        ({"life": 0}, "at most 30 days"),
        ({"capabilities": ("x",) * 17}, "at most 16 capabilities"),
        ({"capabilities": ("x" * 65,)}, "of 64 characters"),
    ],
)
def test_a_certificate_that_peers_would_refuse_is_not_made(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        certificate(**options)


def test_a_request_proves_that_the_asker_holds_the_key() -> None:
    raw = request_certificate(ALICE, "Alice", CHALLENGE, START)
    asked = read_request(raw)
    assert (asked.agent_id, asked.identity_public) == (ALICE.agent_id, ALICE.identity_key.public)
    assert (asked.name, asked.challenge) == ("Alice", CHALLENGE)
    for forged in (
        signed_again(raw, labels.V2_CERTIFICATE_REQUEST, BOB.signing_key),
        signed_again(raw, labels.V2_CERTIFICATE, ALICE.signing_key),
        signed_again(raw, labels.V2_CERTIFICATE_REQUEST, ALICE.signing_key, nonce="uAAAA"),
        signed_again(raw, labels.V2_CERTIFICATE_REQUEST, ALICE.signing_key, iat=...),
        raw[:-1] + bytes([raw[-1] ^ 1]),
    ):
        assert reason_of(lambda forged=forged: read_request(forged)) is Reason.CERT  # type: ignore[misc]


def test_a_request_whose_id_is_of_another_key_is_noticed() -> None:
    own = replace(ALICE, agent_id=self_certifying_id(ALICE.signing_key.public))
    for identity, fits in ((own, True), (ALICE, True), (replace(own, signing_key=BOB.signing_key), False)):
        assert names_its_own_key(read_request(request_certificate(identity, "", CHALLENGE, START))) is fits


def test_an_expired_certificate_is_not_shown_to_peers() -> None:
    assert presentable(ALICE, START) is None
    certified = replace(ALICE, certificate=certificate())
    assert presentable(certified, START) == certified.certificate
    assert presentable(certified, START + LONGEST_LIFE) is None


# ---- revocation ---------------------------------------------------------------------------------------------------

ENTRIES = (
    Revoked(SERIAL, None, NOW, "superseded"),
    Revoked(None, BOB.identity_key.public, NOW, ""),
)


def crl(sequence: int = 1, entries: tuple[Revoked, ...] = ENTRIES, key: SigningKey = CONTROLLER) -> bytes:
    return sign_revocation_list(key, entries, sequence=sequence, now=START, life=7 * DAY)


def test_a_revocation_list_comes_back_as_it_was_signed() -> None:
    read = read_revocation_list(crl(5))
    assert (read.issuer, read.sequence) == (issuer_of(CONTROLLER.public), 5)
    assert (read.issued_at, read.next_due, read.entries) == (NOW, NOW + 7 * DAY, ENTRIES)
    check_revocation_list(read, Controller(CONTROLLER.public), None)
    check_revocation_list(read, Controller(CONTROLLER.public), 4)


@pytest.mark.parametrize("known", [5, 6, 2**53])
def test_a_list_that_is_no_newer_is_refused(known: int) -> None:
    read = read_revocation_list(crl(5))
    assert (
        reason_of(lambda: check_revocation_list(read, Controller(CONTROLLER.public), known))
        is Reason.CRL_ROLLBACK
    )


def test_a_list_of_another_controller_is_refused() -> None:
    claiming = signed_again(crl(), labels.V2_REVOCATION_LIST, ANOTHER)
    for_another = signed_again(crl(), labels.V2_REVOCATION_LIST, CONTROLLER, iss=issuer_of(ANOTHER.public))
    for raw in (crl(key=ANOTHER), claiming, for_another):
        read = read_revocation_list(raw)
        assert (
            reason_of(lambda read=read: check_revocation_list(read, Controller(CONTROLLER.public), None))  # type: ignore[misc]
            is Reason.CERT
        )


@pytest.mark.parametrize(
    "entry",
    [
        5,
        {},
        {"ser": SERIAL, "ik": b64url_encode(bytes(32)), "t": 1, "why": ""},
        {"t": 1, "why": ""},
        {"ser": "x", "t": 1, "why": ""},
        {"ik": "x", "t": 1, "why": ""},
        {"ser": SERIAL, "why": ""},
        {"ser": SERIAL, "t": 1},
        {"ser": SERIAL, "t": 1, "why": "x" * 65},
    ],
    ids=str,
)
def test_a_list_with_a_wrong_entry_is_none(entry: object) -> None:
    raw = signed_again(crl(), labels.V2_REVOCATION_LIST, CONTROLLER, rev=[entry])
    assert reason_of(lambda: read_revocation_list(raw)) is Reason.CERT


def test_a_list_that_is_too_long_is_neither_made_nor_read() -> None:
    many = tuple(Revoked(f"{number:032x}", None, NOW, "") for number in range(CRL_BYTES // 60))
    with pytest.raises(UsageError, match="bytes"):
        crl(entries=many)
    raw = signed_again(crl(), labels.V2_REVOCATION_LIST, CONTROLLER, more="x" * CRL_BYTES)
    assert reason_of(lambda: read_revocation_list(raw)) is Reason.CERT
    spare = CRL_BYTES - len(crl(entries=(Revoked(SERIAL, None, NOW, ""),)))
    assert len(crl(entries=(Revoked(SERIAL, None, NOW, "x" * spare),))) == CRL_BYTES


def test_a_list_is_stale_a_day_after_the_next_one_was_due() -> None:
    assert not is_stale(Controller(CONTROLLER.public), START)
    controller = Controller(CONTROLLER.public, crl_next=NOW)
    assert [is_stale(controller, NOW + late) for late in (0, STALE_AFTER, STALE_AFTER + 1)] == [
        False,
        False,
        True,
    ]


def test_a_tombstone_is_signed_by_the_key_that_it_is_about() -> None:
    raw = sign_tombstone(ALICE.identity_key, START)
    read = read_tombstone(raw)
    assert (read.identity_public, read.at, read.raw) == (ALICE.identity_key.public, NOW, raw)
    for forged in (
        signed_again(raw, labels.V2_TOMBSTONE, BOB.signing_key),
        signed_again(raw, labels.V2_ROTATION, ALICE.signing_key),
        signed_again(raw, labels.V2_TOMBSTONE, ALICE.signing_key, iat=...),
        raw + b"\0",
    ):
        assert reason_of(lambda forged=forged: read_tombstone(forged)) is Reason.FORMAT  # type: ignore[misc]


# ---- rotation -----------------------------------------------------------------------------------------------------


def rotated(times: int, identity: Identity = ALICE) -> Identity:
    for number in range(times):
        identity = rotated_identity(
            identity, bytes([number + 1]) * 32, bytes([number + 101]) * 32, START + number
        )
    return identity


@pytest.mark.parametrize("times", range(LONGEST_CHAIN + 1))
def test_a_chain_leads_from_the_first_key_to_the_present_one(times: int) -> None:
    identity = rotated(times)
    keys = verify_chain(identity.rotations, ALICE.agent_id, identity.identity_key.public)
    assert len(keys) == times + 1
    assert (keys[0], keys[-1]) == (ALICE.signing_key.public, identity.identity_key.public)
    assert len(identity.rotations) <= limits.ROTATIONS_BYTES


def test_a_rotated_identity_keeps_its_id_and_its_v1_key_and_gives_up_what_the_former_key_made() -> None:
    before = replace(ALICE.with_static_key(b"s" * 32, START), certificate=certificate())
    after = rotated(1, before)
    assert (after.agent_id, after.signing_key) == (before.agent_id, before.signing_key)
    assert after.identity_key.public != before.identity_key.public
    assert after.certificate is None
    assert len(after.static_keys) == 1
    assert after.static_key.key.public != before.static_key.key.public
    assert after.database_key() == before.database_key()
    check_binding(
        after.static_key.binding,
        after.agent_id,
        after.identity_key.public,
        after.static_key.key.public,
        START,
    )


def test_a_ninth_rotation_is_not_made() -> None:
    with pytest.raises(UsageError, match="8 times"):
        rotated(LONGEST_CHAIN + 1)


def statements(identity: Identity) -> list[bytes]:
    """The statements of a chain, each for itself."""
    raw, found = identity.rotations, []
    while raw:
        size = 4 + int.from_bytes(raw[:4], "big") + 128
        found.append(raw[:size])
        raw = raw[size:]
    return found


def test_a_chain_that_is_cut_swapped_repeated_or_of_another_agent_is_refused() -> None:
    identity = rotated(3)
    key = identity.identity_key.public
    first, second, third = statements(identity)
    chains = {
        "the first cut off": second + third,
        "the last cut off": first + second,
        "swapped": second + first + third,
        "one twice": first + first + second + third,
        "one left out": first + third,
        "half a statement": identity.rotations[:-1],
        "more after it": identity.rotations + b"\0",
    }
    for name, chain in chains.items():
        assert reason_of(lambda chain=chain: verify_chain(chain, ALICE.agent_id, key)) is Reason.ROTATION, (
            name
        )  # type: ignore[misc]
    for agent_id, public in ((BOB.agent_id, key), (ALICE.agent_id, BOB.signing_key.public)):
        assert (
            reason_of(lambda a=agent_id, p=public: verify_chain(identity.rotations, a, p)) is Reason.ROTATION  # type: ignore[misc]
        )


def test_both_keys_must_sign_a_rotation() -> None:
    old, new = ALICE.signing_key, SigningKey(bytes([1]) * 32)
    (statement,) = statements(rotated(1))
    assert verify_chain(statement, ALICE.agent_id, new.public) == (old.public, new.public)
    for keys in ((old, old), (new, new), (new, old), (old, BOB.signing_key), (BOB.signing_key, new)):
        forged = signed_again(statement, labels.V2_ROTATION, *keys)
        assert (
            reason_of(lambda forged=forged: verify_chain(forged, ALICE.agent_id, new.public))  # type: ignore[misc]
            is Reason.ROTATION
        )


@pytest.mark.parametrize(
    "changes", [{"seq": 2}, {"seq": 0}, {"seq": True}, {"sub": 5}, {"old": "u"}, {"iat": ...}]
)
def test_a_rotation_with_a_wrong_member_is_refused(changes: dict[str, object]) -> None:
    (statement,) = statements(rotated(1))
    new = SigningKey(bytes([1]) * 32)
    forged = signed_again(statement, labels.V2_ROTATION, ALICE.signing_key, new, **changes)
    assert reason_of(lambda: verify_chain(forged, ALICE.agent_id, new.public)) is Reason.ROTATION


def test_a_statement_of_a_key_that_was_never_reached_leads_nowhere() -> None:
    stranger, new = SigningKey(b"x" * 32), SigningKey(b"y" * 32)
    identity = rotated(1)
    changes = {"old": b64url_encode(stranger.public), "new": b64url_encode(new.public), "seq": 2}
    jump = signed_again(identity.rotations, labels.V2_ROTATION, stranger, new, **changes)
    chain = identity.rotations + jump
    assert reason_of(lambda: verify_chain(chain, ALICE.agent_id, new.public)) is Reason.ROTATION


def test_a_key_that_was_left_behind_does_not_come_back() -> None:
    identity = rotated(1)
    back = sign_statement(
        labels.V2_ROTATION,
        body_of(statements(identity)[0])
        | {
            "old": b64url_encode(identity.identity_key.public),
            "new": b64url_encode(ALICE.signing_key.public),
            "seq": 2,
        },
        identity.identity_key,
        ALICE.signing_key,
    )
    chain = identity.rotations + back
    assert reason_of(lambda: verify_chain(chain, ALICE.agent_id, ALICE.signing_key.public)) is Reason.ROTATION


@pytest.mark.parametrize("weak", WEAK)
@pytest.mark.parametrize("member", ["old", "new"])
def test_a_rotation_from_or_to_a_weak_key_is_refused(weak: bytes, member: str) -> None:
    (statement,) = statements(rotated(1))
    new = SigningKey(bytes([1]) * 32)
    forged = signed_again(
        statement, labels.V2_ROTATION, ALICE.signing_key, new, **{member: b64url_encode(weak)}
    )
    assert reason_of(lambda: verify_chain(forged, ALICE.agent_id, new.public)) is Reason.WEAK_KEY

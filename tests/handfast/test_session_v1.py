"""The v1 handshake and envelope: what is made is accepted, what is altered is refused for its own reason."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fake_world import START, SeededEntropy, make_identity
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from handfast.conversation.effects import RememberHandshake
from handfast.conversation.model import Facts, Party, PeerState, Role, Settings
from handfast.conversation.step import step
from handfast.crypto.aead import aes_seal
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.session.v1 import (
    HS_LIFETIME_SECONDS,
    check_hs,
    derive_key,
    local_timestamp,
    make_hs,
    open_sec,
    seal,
)
from handfast.wire import limits
from handfast.wire.text import Json, b64decode, b64encode, canonical_json
from handfast.wire.v1 import Confirm, HsBlock, HsType

law = hypothesis_settings(deadline=None, max_examples=60)

ALICE, BOB, MALLORY = make_identity("alice"), make_identity("bob"), make_identity("mallory")
NONCE, OTHER_NONCE = "0123456789abcdef" * 2, "f" * 32
KEY = derive_key(ALICE.exchange_key, BOB.exchange_key.public)
ENVELOPE_NONCE = bytes(range(12))
NEW_YORK, BERLIN, KATHMANDU, LORD_HOWE = (
    ZoneInfo(name) for name in ("America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
)
ZONES: list[tzinfo] = [
    UTC,
    NEW_YORK,
    BERLIN,
    KATHMANDU,
    LORD_HOWE,
    timezone(timedelta(hours=-12)),
    timezone(timedelta(hours=14)),
]

nonces = st.binary(min_size=16, max_size=16).map(bytes.hex)
times = st.floats(0, 2_500_000_000)  # 1970 to 2049


def make(now: float = START, zone: tzinfo | None = UTC, kind: HsType = "init") -> dict[str, Any]:
    return make_hs(kind, NONCE, BOB.exchange_key.public, BOB.signing_key, now, zone)


def check(
    hs: Any, now: float = START, zone: tzinfo | None = UTC, seen: bool = False, kind: HsType = "init"
) -> HsBlock:
    return check_hs(hs, kind, NONCE, seen=seen, now=now, zone=zone)


def refusal(hs: Any, **arguments: Any) -> Reason:
    with pytest.raises(PeerError) as caught:
        check(hs, **arguments)
    return caught.value.reason


def resigned(hs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The block with other members, signed by Bob as it then stands."""
    changed = hs | changes
    text = f"{changed['nonce']}|{changed['kx_pub']}|{changed['timestamp']}"
    return changed | {"sig": b64encode(BOB.signing_key.sign(text.encode()))}


# ---- hs -----------------------------------------------------------------------------------------------------------


@law
@given(
    st.sampled_from(["init", "response"]),
    nonces,
    st.binary(min_size=32, max_size=32),
    times,
    st.sampled_from(ZONES),
)
def test_a_handshake_that_we_make_is_one_that_we_accept(
    kind: HsType, nonce: str, exchange_public: bytes, now: float, zone: tzinfo
) -> None:
    made = make_hs(kind, nonce, exchange_public, BOB.signing_key, now, zone)
    hs = check_hs(json.loads(json.dumps(made)), kind, nonce, seen=False, now=now, zone=zone)
    assert (hs.type, hs.nonce, hs.kx_pub, hs.sign_pub) == (
        kind,
        nonce,
        exchange_public,
        BOB.signing_key.public,
    )


def test_both_sides_derive_the_same_key_and_another_for_every_exchange_key() -> None:
    hs = check(make())
    assert (
        derive_key(ALICE.exchange_key, hs.kx_pub)
        == derive_key(BOB.exchange_key, ALICE.exchange_key.public)
        == KEY
    )
    fresh = ExchangeKey(bytes(range(32)))
    assert derive_key(fresh, BOB.exchange_key.public) != KEY


def test_a_handshake_that_is_absent_is_missing() -> None:
    assert refusal(None) is Reason.HS_MISSING


@pytest.mark.parametrize("block", [0, 5, True, "", "text", [], [None], {}, {"type": "init"}], ids=repr)
def test_a_handshake_that_is_no_block_is_malformed(block: Any) -> None:
    assert refusal(block) is Reason.HS_MALFORMED


BAD_KEY = b64encode(MALLORY.signing_key.public)
ALTERED: list[tuple[str, Any, Reason]] = [
    ("type", "response", Reason.HS_WRONG_TYPE),
    ("type", "", Reason.HS_WRONG_TYPE),
    ("type", "INIT", Reason.HS_WRONG_TYPE),
    ("type", "\ud800", Reason.HS_WRONG_TYPE),
    ("type", "x" * 50_000, Reason.HS_WRONG_TYPE),
    ("type", None, Reason.HS_MALFORMED),
    ("nonce", OTHER_NONCE, Reason.HS_NONCE_MISMATCH),
    ("nonce", NONCE.upper(), Reason.HS_NONCE_MISMATCH),
    ("nonce", NONCE + "\n", Reason.HS_NONCE_MISMATCH),
    ("nonce", "\ud800", Reason.HS_NONCE_MISMATCH),
    ("nonce", "", Reason.HS_NONCE_MISMATCH),
    ("nonce", 7, Reason.HS_MALFORMED),
    ("kx_pub", b64encode(ALICE.exchange_key.public), Reason.HS_BAD_SIGNATURE),
    ("kx_pub", "", Reason.HS_MALFORMED),
    ("kx_pub", b64encode(bytes(31)), Reason.HS_MALFORMED),
    ("kx_pub", [], Reason.HS_MALFORMED),
    ("sign_pub", BAD_KEY, Reason.HS_BAD_SIGNATURE),
    ("sign_pub", b64encode(b"\x02" + bytes(31)), Reason.HS_BAD_SIGNATURE),  # no point of the curve
    ("sign_pub", b64encode(bytes(32)), Reason.WEAK_KEY),
    ("sign_pub", b64encode(b"\x01" + bytes(31)), Reason.WEAK_KEY),
    ("sign_pub", b64encode(b"\xff" * 32), Reason.WEAK_KEY),
    ("sign_pub", {}, Reason.HS_MALFORMED),
    ("timestamp", local_timestamp(START + 1, UTC), Reason.HS_BAD_SIGNATURE),
    ("timestamp", local_timestamp(START, UTC) + "Z", Reason.HS_BAD_SIGNATURE),
    ("timestamp", "yesterday", Reason.HS_TIMESTAMP_UNREADABLE),
    ("timestamp", "", Reason.HS_TIMESTAMP_UNREADABLE),
    ("timestamp", "\ud800", Reason.HS_TIMESTAMP_UNREADABLE),
    ("timestamp", 1_800_000_000, Reason.HS_MALFORMED),
    ("sig", b64encode(bytes(64)), Reason.HS_BAD_SIGNATURE),
    ("sig", b64encode(MALLORY.signing_key.sign(b"")), Reason.HS_BAD_SIGNATURE),
    ("sig", b64encode(bytes(63)), Reason.HS_MALFORMED),
    ("sig", False, Reason.HS_MALFORMED),
]


@pytest.mark.parametrize(("member", "value", "reason"), ALTERED)
def test_a_handshake_with_a_member_altered_is_refused(member: str, value: Any, reason: Reason) -> None:
    assert refusal(make() | {member: value}) is reason


@pytest.mark.parametrize("member", make())
def test_a_handshake_without_a_member_is_refused(member: str) -> None:
    assert refusal({name: value for name, value in make().items() if name != member}) is Reason.HS_MALFORMED


@law
@given(st.integers(0, 511))
def test_no_bit_of_a_handshake_signature_can_be_changed(bit: int) -> None:
    hs = make()
    changed = int.from_bytes(b64decode(hs["sig"]), "big") ^ 1 << bit
    assert refusal(hs | {"sig": b64encode(changed.to_bytes(64, "big"))}) is Reason.HS_BAD_SIGNATURE


def test_a_handshake_is_accepted_for_its_own_message_and_once_only() -> None:
    with pytest.raises(PeerError) as caught:
        check_hs(make(), "init", OTHER_NONCE, seen=False, now=START, zone=UTC)
    assert caught.value.reason is Reason.HS_NONCE_MISMATCH
    assert refusal(make(), seen=True) is Reason.HS_REPLAYED
    assert refusal(make(), kind="response") is Reason.HS_WRONG_TYPE
    assert refusal(make(kind="response")) is Reason.HS_WRONG_TYPE


def test_a_signature_that_holds_for_every_text_is_refused_with_its_weak_key() -> None:
    everything = {"sign_pub": b64encode(b"\x01" + bytes(31)), "sig": b64encode(b"\x01" + bytes(63))}
    assert refusal(make() | everything) is Reason.WEAK_KEY


def test_an_exchange_key_of_small_order_is_refused_when_the_key_is_derived() -> None:
    for point in (bytes(32), b"\x01" + bytes(31)):
        hs = check(resigned(make(), kx_pub=b64encode(point)))
        with pytest.raises(PeerError) as caught:
            derive_key(ALICE.exchange_key, hs.kx_pub)
        assert caught.value.reason is Reason.WEAK_KEY


def test_the_checks_come_in_the_order_of_the_specification() -> None:
    failing: list[tuple[Reason, dict[str, Any]]] = [
        (Reason.HS_MALFORMED, {"sig": "AAAA"}),
        (Reason.HS_WRONG_TYPE, {"type": "response", "sig": b64encode(bytes(64))}),
        (Reason.HS_TIMESTAMP_UNREADABLE, {"timestamp": "yesterday"}),
        (Reason.HS_NONCE_MISMATCH, {"nonce": OTHER_NONCE}),
    ]
    block = make(START - 1000) | {"sig": b64encode(bytes(64))}
    assert refusal(block) is Reason.HS_STALE, "staleness before the signature"
    assert refusal(block, seen=True) is Reason.HS_REPLAYED, "replay before staleness"
    for reason, change in reversed(failing):
        block = block | change
        assert refusal(block, seen=True) is reason


# ---- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (60, None),
        (61, Reason.HS_STALE),
        (3600, Reason.HS_STALE),
        (86_400 * 365, Reason.HS_STALE),
        (-60, None),
        (-61, Reason.HS_FROM_THE_FUTURE),
        (-3600, Reason.HS_FROM_THE_FUTURE),
        (0, None),
    ],
)
def test_a_handshake_is_fresh_for_sixty_seconds_either_way_in_every_zone(
    age: int, reason: Reason | None
) -> None:
    made_at = START - age
    for zone in ZONES:
        naive = make(made_at, zone)
        aware = [
            resigned(naive, timestamp=local_timestamp(made_at, written_in) + suffix)
            for suffix, written_in in (("Z", UTC), ("+05:45", KATHMANDU), ("-12:00", ZONES[-2]))
        ]
        for hs in (naive, *aware):
            if reason is None:
                check(hs, zone=zone)
            else:
                assert refusal(hs, zone=zone) is reason


def test_the_window_is_that_of_the_specification() -> None:
    assert HS_LIFETIME_SECONDS == 60


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.999])
def test_fractions_of_a_second_of_our_clock_do_not_narrow_the_window(fraction: float) -> None:
    check(make(START), now=START + 60 + fraction)
    check(make(START + fraction), now=START + 60)
    assert refusal(make(START), now=START + 61 + fraction) is Reason.HS_STALE
    assert refusal(make(START + 61 + fraction), now=START) is Reason.HS_FROM_THE_FUTURE


def test_a_timestamp_without_a_zone_is_read_in_our_zone_and_one_with_a_zone_in_its_own() -> None:
    eastern = make(START, NEW_YORK)
    assert refusal(eastern, zone=BERLIN) is Reason.HS_STALE
    assert refusal(make(START, BERLIN), zone=NEW_YORK) is Reason.HS_FROM_THE_FUTURE
    aware = resigned(eastern, timestamp=datetime.fromtimestamp(START, NEW_YORK).isoformat())
    check(aware, zone=BERLIN)


def test_our_timestamps_are_what_the_first_generation_reads() -> None:
    assert make(START, UTC)["timestamp"] == "2027-01-15T08:00:00"
    assert make(START + 0.999, KATHMANDU)["timestamp"] == "2027-01-15T13:45:00"
    assert datetime.fromisoformat(make(START, NEW_YORK)["timestamp"]).tzinfo is None


@pytest.fixture
def system_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[tzinfo]:
    """The system's zone, set to New York's for one test."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield NEW_YORK
    monkeypatch.undo()
    time.tzset()


def test_without_a_zone_the_system_s_is_meant(system_zone: tzinfo) -> None:
    assert make(START, None) == make(START, system_zone)
    check(make(START, system_zone), now=START + 60, zone=None)
    assert refusal(make(START, system_zone), now=START + 61, zone=None) is Reason.HS_STALE


# the clocks of New York: 2:00 to 3:00 on the 8th of March, 2:00 to 1:00 on the 1st of November 2026
SPRING = datetime(2026, 3, 8, 7, tzinfo=UTC).timestamp()
AUTUMN = datetime(2026, 11, 1, 6, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("day", [SPRING, AUTUMN], ids=["spring", "autumn"])
@pytest.mark.parametrize("moment", [-7200, -3601, -62, 0, 1, 1800, 3600, 7200])
def test_up_to_a_change_of_the_clocks_and_after_it_the_window_is_as_ever(day: float, moment: int) -> None:
    made_at = day + moment
    hs = make(made_at, NEW_YORK)
    check(hs, now=made_at + 60, zone=NEW_YORK)
    assert refusal(hs, now=made_at + 61, zone=NEW_YORK) is Reason.HS_STALE


@pytest.mark.parametrize("day", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_handshake_under_way_while_the_clocks_change_is_ten_seconds_old_and_not_an_hour(day: float) -> None:
    check(make(day - 5, NEW_YORK), now=day + 5, zone=NEW_YORK)


@pytest.mark.parametrize("ahead", [-60, 0, 60])
@pytest.mark.parametrize(
    ("accepted_at", "zone"),
    [(START, UTC), (SPRING - 1800, NEW_YORK), (AUTUMN - 1800, NEW_YORK)],
    ids=["usual", "spring", "autumn"],
)
def test_an_accepted_handshake_is_remembered_for_as_long_as_it_could_pass_as_fresh(
    accepted_at: float, zone: tzinfo, ahead: int
) -> None:
    hs = make(accepted_at + ahead, zone, "response")
    party = Party(ALICE, Settings(zone=zone))
    before = PeerState.of_stranger(ALICE.agent_id, Role.INITIATOR, BOB.agent_id)
    confirm = Confirm(BOB.agent_id, NONCE, hs)
    accepted = step(before, confirm, Facts(), accepted_at, SeededEntropy("any"), party)
    (remembered,) = [effect for effect in accepted.effects if isinstance(effect, RememberHandshake)]
    assert remembered.nonce == NONCE
    assert remembered.until <= accepted_at + 3600 + 2 * HS_LIFETIME_SECONDS + 1, "and not much longer"
    for later in range(0, 7200, 30):
        refusal(hs, now=remembered.until + later, zone=zone, kind="response")


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        ("0001-01-01T00:00:00", Reason.HS_STALE),
        ("0001-01-01T00:00:00+14:00", Reason.HS_STALE),
        ("0001-01-01T00:00:00-23:59", Reason.HS_STALE),
        ("9999-12-31T23:59:59", Reason.HS_FROM_THE_FUTURE),
        ("9999-12-31T23:59:59-23:59", Reason.HS_FROM_THE_FUTURE),
        ("9999-12-31T23:59:59+23:59", Reason.HS_FROM_THE_FUTURE),
        ("0000-01-01T00:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-02-30T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-02-29T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-13-01T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-00-15T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T25:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:60:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:00:60", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:00:00+99:99", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:00:00-24:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:00:00\n", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-01-15T08:00:00|", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2027-W02-5T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("1800000000", Reason.HS_TIMESTAMP_UNREADABLE),
        ("\u0662\u0660\u0662\u0667-01-15T08:00:00", Reason.HS_TIMESTAMP_UNREADABLE),
        ("2" * 50_000, Reason.HS_TIMESTAMP_UNREADABLE),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_timestamp_that_cannot_be_or_lies_far_off_is_refused(timestamp: str, reason: Reason) -> None:
    for zone in (*ZONES, None):
        assert refusal(resigned(make(), timestamp=timestamp), zone=zone) is reason


@law
@given(
    st.text(st.characters(), max_size=40)
    | st.from_regex(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?",
        fullmatch=True,
    )
)
def test_any_timestamp_is_refused_or_fresh_and_nothing_else(timestamp: str) -> None:
    try:
        check(make() | {"timestamp": timestamp}, zone=NEW_YORK)
    except PeerError:
        return
    assert timestamp == make()["timestamp"], "the signature holds for one timestamp only"


# ---- sec ----------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=10)
contents = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
        max_leaves=10,
    ),
    max_size=4,
)


def sealed(content: Json = None, key: Secret = KEY, nonce: bytes = ENVELOPE_NONCE) -> dict[str, Any]:
    return seal(
        {"message": "How are you?"} if content is None else content, key, BOB.signing_key, nonce, START, UTC
    )


def sealed_by_hand(plaintext: bytes, digest: bytes | None = None) -> dict[str, Any]:
    """An envelope by somebody who has the keys and does not keep to the rules."""
    digest = hashlib.sha256(plaintext).digest() if digest is None else digest
    ciphertext = aes_seal(KEY.reveal(), ENVELOPE_NONCE, plaintext, digest)
    parts = {"nonce": ENVELOPE_NONCE, "ciphertext": ciphertext, "hash": digest}
    return signed({name: b64encode(part) for name, part in parts.items()} | {"ts": "2027-01-15T08:00:00"})


def signed(envelope: Any) -> dict[str, Any]:
    return {"envelope": envelope, "sig": b64encode(BOB.signing_key.sign(canonical_json(envelope)))}


def unseal(block: Any, key: Secret = KEY, signer: bytes = BOB.signing_key.public) -> Json:
    return open_sec(block, key, signer)[0]


def does_not_open(block: Any, **arguments: Any) -> Reason:
    with pytest.raises(PeerError) as caught:
        unseal(block, **arguments)
    return caught.value.reason


@law
@given(contents, st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_and_is_named_by_its_nonce(content: dict[str, Any], nonce: bytes) -> None:
    block = json.loads(json.dumps(sealed(content, nonce=nonce)))
    assert open_sec(block, KEY, BOB.signing_key.public) == (content, b64encode(nonce))


def test_no_part_of_the_content_or_the_key_stands_in_the_block() -> None:
    text = json.dumps(sealed({"message": "a secret message"}))
    assert "secret" not in text
    for secret in (b"a secret message", KEY.reveal(), BOB.signing_key.private_bytes()):
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode().rstrip("=") not in text


@pytest.mark.parametrize("block", [None, 5, True, "", "abc", [], {}, {"envelope": {}}, {"sig": ""}], ids=repr)
def test_an_envelope_that_is_no_block_is_malformed(block: Any) -> None:
    assert does_not_open(block) is Reason.SEC_MALFORMED


ENVELOPE_CHANGES: list[tuple[str, Any, Reason]] = [
    ("nonce", b64encode(bytes(12)), Reason.SEC_DOES_NOT_OPEN),
    ("nonce", b64encode(bytes(11)), Reason.SEC_MALFORMED),
    ("nonce", "", Reason.SEC_MALFORMED),
    ("nonce", None, Reason.SEC_MALFORMED),
    ("ciphertext", b64encode(bytes(60)), Reason.SEC_DOES_NOT_OPEN),
    ("ciphertext", b64encode(bytes(15)), Reason.SEC_DOES_NOT_OPEN),
    ("ciphertext", "", Reason.SEC_DOES_NOT_OPEN),
    ("ciphertext", "no base64", Reason.SEC_MALFORMED),
    ("ciphertext", b64encode(bytes(limits.CIPHERTEXT_BYTES + 1)), Reason.SEC_MALFORMED),
    ("ciphertext", [], Reason.SEC_MALFORMED),
    ("hash", b64encode(bytes(32)), Reason.SEC_DOES_NOT_OPEN),
    ("hash", b64encode(bytes(31)), Reason.SEC_MALFORMED),
    ("hash", {}, Reason.SEC_MALFORMED),
    ("ts", 1_800_000_000, Reason.SEC_MALFORMED),
    ("ts", None, Reason.SEC_MALFORMED),
]


@pytest.mark.parametrize(("member", "value", "reason"), ENVELOPE_CHANGES, ids=lambda value: str(value)[:20])
def test_an_envelope_with_a_member_altered_is_refused_with_or_without_a_new_signature(
    member: str, value: Any, reason: Reason
) -> None:
    block = sealed()
    envelope = block["envelope"] | {member: value}
    assert does_not_open(signed(envelope)) is reason
    unsigned = Reason.SEC_MALFORMED if reason is Reason.SEC_MALFORMED else Reason.SEC_BAD_SIGNATURE
    assert does_not_open(block | {"envelope": envelope}) is unsigned


@pytest.mark.parametrize("member", ["nonce", "ciphertext", "hash", "ts"])
def test_an_envelope_without_a_member_is_malformed(member: str) -> None:
    envelope = {name: value for name, value in sealed()["envelope"].items() if name != member}
    assert does_not_open(signed(envelope)) is Reason.SEC_MALFORMED


@pytest.mark.parametrize(
    ("sig", "reason"),
    [
        (b64encode(bytes(64)), Reason.SEC_BAD_SIGNATURE),
        (sealed({"message": "another"})["sig"], Reason.SEC_BAD_SIGNATURE),
        (b64encode(bytes(63)), Reason.SEC_MALFORMED),
        ("", Reason.SEC_MALFORMED),
        (None, Reason.SEC_MALFORMED),
        (7, Reason.SEC_MALFORMED),
    ],
)
def test_an_envelope_with_another_signature_is_refused(sig: Any, reason: Reason) -> None:
    assert does_not_open(sealed() | {"sig": sig}) is reason


@law
@given(st.sampled_from(["nonce", "ciphertext", "hash", "sig"]), st.data())
def test_no_bit_of_an_envelope_can_be_changed(member: str, data: st.DataObject) -> None:
    block = sealed()
    place = block if member == "sig" else block["envelope"]
    raw = bytearray(b64decode(place[member]))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    place[member] = b64encode(bytes(raw))
    assert does_not_open(block) is Reason.SEC_BAD_SIGNATURE
    if member != "sig":
        assert does_not_open(signed(block["envelope"])) is Reason.SEC_DOES_NOT_OPEN


def test_the_time_of_an_envelope_and_every_unknown_member_are_signed() -> None:
    block = sealed()
    for change in ({"ts": "2027-01-15T08:00:01"}, {"extra": 1}):
        envelope = block["envelope"] | change
        assert does_not_open(block | {"envelope": envelope}) is Reason.SEC_BAD_SIGNATURE
        assert unseal(signed(envelope)) == {"message": "How are you?"}


def test_a_wrong_key_or_signer_opens_nothing() -> None:
    assert does_not_open(sealed(), key=Secret(bytes(32))) is Reason.SEC_DOES_NOT_OPEN
    assert does_not_open(sealed(key=Secret(bytes(32)))) is Reason.SEC_DOES_NOT_OPEN
    assert does_not_open(sealed(), signer=MALLORY.signing_key.public) is Reason.SEC_BAD_SIGNATURE


def test_an_envelope_of_our_own_that_comes_back_does_not_open() -> None:
    # one key serves both directions in v1: only the signature tells them apart
    own = seal({"message": "How are you?"}, KEY, ALICE.signing_key, ENVELOPE_NONCE, START, UTC)
    assert does_not_open(own) is Reason.SEC_BAD_SIGNATURE


def test_a_hash_that_is_not_the_plaintext_s_is_refused() -> None:
    assert does_not_open(sealed_by_hand(b'{"message":1}', digest=bytes(32))) is Reason.SEC_HASH_MISMATCH
    assert unseal(sealed_by_hand(b'{ "message" : 1 }')) == {"message": 1}, (
        "v1 agents may space their JSON as they like"
    )


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"text",
        b"{",
        b"\xff",
        b'{"message":NaN}',
        b'{"message":Infinity}',
        b'{"message":1e400}',
        b'{"message":' + b"9" * 5000 + b"}",
        b'{"message":1,"message":2}',
        b'{"message":{"a":1,"a":2}}',
        b'{"message":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"message":' + b"[" * limits.MESSAGE_DEPTH + b"1" + b"]" * limits.MESSAGE_DEPTH + b"}",
    ],
    ids=lambda plaintext: repr(plaintext[:25]),
)
def test_a_plaintext_that_is_no_strict_json_is_refused(plaintext: bytes) -> None:
    assert does_not_open(sealed_by_hand(plaintext)) is Reason.SEC_NOT_JSON


def test_an_envelope_that_cannot_be_written_as_json_is_malformed() -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    for value in (float("nan"), float("inf"), deep):
        block = sealed()
        assert (
            does_not_open(block | {"envelope": block["envelope"] | {"extra": value}}) is Reason.SEC_MALFORMED
        )


def of_size(size: int) -> dict[str, str]:
    return {"message": "x" * (size - len(canonical_json({"message": ""})))}


def test_the_largest_message_opens_and_fits_into_a_relayed_line() -> None:
    block = sealed(of_size(limits.PLAINTEXT_BYTES))
    assert unseal(block) == of_size(limits.PLAINTEXT_BYTES)
    request = {
        "to": ALICE.agent_id,
        "intent": "request",
        "from": BOB.agent_id,
        "your_nonce": NONCE,
        "my_nonce": NONCE,
    }
    relayed = {"remote_addr": "255.255.255.255:65535", "content": request | {"hs": make(), "sec": block}}
    assert len(json.dumps(relayed)) < 65_535


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (of_size(limits.PLAINTEXT_BYTES + 1), "too large: 40961 bytes"),
        ({"message": "é" * 10_000}, "too large"),
        ({"message": float("nan")}, "cannot be sent"),
        ({"message": b"bytes"}, "cannot be sent"),
        ({"message": {1, 2}}, "cannot be sent"),
    ],
    ids=["large", "large once escaped", "NaN", "bytes", "set"],
)
def test_what_cannot_be_sealed_is_our_own_mistake_and_is_not_shown(content: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        sealed(content)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("depth", [limits.MESSAGE_DEPTH - 1, limits.MESSAGE_DEPTH, 500])
@pytest.mark.parametrize(
    "wrap",
    [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)],
    ids=["lists", "objects", "tuples"],
)
def test_what_we_seal_is_never_too_deep_for_the_peer_to_open(wrap: Callable[[Any], Any], depth: int) -> None:
    message: Any = 1
    for _ in range(depth):
        message = wrap(message)
    if depth < limits.MESSAGE_DEPTH:
        assert unseal(sealed({"message": message})) == {"message": json.loads(json.dumps(message))}
    else:
        with pytest.raises(UsageError, match="deep"):
            sealed({"message": message})


@law
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(st.characters()),
        lambda c: (
            st.lists(c)
            | st.dictionaries(st.sampled_from(["envelope", "sig", "nonce", "ciphertext", "hash", "ts"]), c)
        ),
        max_leaves=10,
    )
)
def test_any_value_in_place_of_an_envelope_is_refused_and_nothing_else(block: Any) -> None:
    assert isinstance(does_not_open(block), Reason)

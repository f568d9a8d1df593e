"""The eight messages and their two blocks: what fits is parsed, everything else is a `PeerError` and nothing else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.errors import PeerError, Reason
from handfast.wire import limits
from handfast.wire.text import b64encode
from handfast.wire.v1 import (
    FOR_INITIATOR,
    FOR_RESPONDER,
    Close,
    Conclude,
    Confirm,
    Finish,
    HsBlock,
    Message,
    Reconnect,
    Register,
    Request,
    Respond,
    SecBlock,
    claimed_nonce,
    claimed_sign_pub,
    encode_hs,
    encode_message,
    is_agent_id,
    is_timestamp,
    parse_hs,
    parse_message,
    parse_sec,
)

law = settings(deadline=None, max_examples=60)

ME = "0d623073-72c1-44dd-90fa-8132d1543764"
PEER = "d8e27204-9c86-4554-b34a-ae70db754d01"
OTHER = "69214286-91c2-4909-b022-a6a5569a5379"
NONCE, NONCE_2 = "0123456789abcdef" * 2, "f" * 32
REF, REF_2 = "4711922318", "r" * 32
KEY, SIGNATURE = b64encode(bytes(range(32))), b64encode(bytes(range(64)))

HS: dict[str, Any] = {
    "type": "init",
    "nonce": NONCE,
    "kx_pub": KEY,
    "sign_pub": KEY,
    "timestamp": "2026-02-19T13:58:28",
    "sig": SIGNATURE,
}
SEC: dict[str, Any] = {
    "envelope": {
        "nonce": b64encode(bytes(12)),
        "ciphertext": b64encode(bytes(20)),
        "hash": KEY,
        "ts": "2026-02-19T13:58:28",
    },
    "sig": SIGNATURE,
}

# every intent: its members, and what it is parsed to
MESSAGES: dict[str, tuple[dict[str, Any], Message]] = {
    "register": ({}, Register(PEER)),
    "reconnect": ({"your_ref": REF}, Reconnect(PEER, REF)),
    "confirm": ({"my_nonce": NONCE, "hs": HS}, Confirm(PEER, NONCE, HS)),
    "request": (
        {"your_nonce": NONCE_2, "my_nonce": NONCE, "hs": HS, "sec": SEC},
        Request(PEER, NONCE_2, NONCE, HS, SEC),
    ),
    "respond": ({"your_nonce": NONCE_2, "my_nonce": NONCE, "sec": SEC}, Respond(PEER, NONCE_2, NONCE, SEC)),
    "conclude": ({"your_nonce": NONCE, "my_ref": REF}, Conclude(PEER, NONCE, REF)),
    "finish": ({"your_ref": REF_2, "my_ref": REF}, Finish(PEER, REF_2, REF)),
    "close": ({"your_ref": REF_2, "my_ref": REF}, Close(PEER, REF_2, REF)),
}
CHECKED_AT_ONCE = ("from", "intent", "your_nonce", "my_nonce", "your_ref", "my_ref")

MISSING = object()
HOSTILE: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "number": 5,
    "fraction": 1.5,
    "true": True,
    "list": [],
    "nested list": [NONCE],
    "object": {},
    "empty": "",
    "50 kB": "x" * 50_000,
    "50 kB of hex": "a" * 50_000,
    "lone surrogate": "\ud800",
    "NUL": "\0",
    "ANSI": "\x1b[31m",
    "newline at the end": NONCE + "\n",
}

TEXTS = [value for value in HOSTILE.values() if isinstance(value, str)]
NO_TEXTS = [value for value in HOSTILE.values() if not isinstance(value, str)]


def content_of(intent: str, /, **changes: Any) -> dict[str, Any]:
    members = (
        {"from": PEER, "to": None if intent == "register" else ME, "intent": intent}
        | MESSAGES[intent][0]
        | changes
    )
    return {name: value for name, value in members.items() if value is not MISSING}


def reason_of(content: Any) -> Reason:
    with pytest.raises(PeerError) as caught:
        parse_message(content, ME)
    return caught.value.reason


# ---- messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intent", MESSAGES)
def test_every_message_is_parsed(intent: str) -> None:
    assert parse_message(content_of(intent), ME) == MESSAGES[intent][1]


def test_every_intent_is_for_one_of_the_roles() -> None:
    assert set(MESSAGES) == FOR_INITIATOR | FOR_RESPONDER
    assert not FOR_INITIATOR & FOR_RESPONDER
    assert {message.intent for _, message in MESSAGES.values()} == set(MESSAGES)


@pytest.mark.parametrize("intent", MESSAGES)
def test_members_that_v1_does_not_name_are_ignored(intent: str) -> None:
    assert parse_message(content_of(intent, extra={"x": [1]}, message="hello"), ME) == MESSAGES[intent][1]


@pytest.mark.parametrize("intent", MESSAGES)
def test_a_message_that_we_encode_is_parsed_by_the_peer(intent: str) -> None:
    fields, parsed = MESSAGES[intent]
    encoded = encode_message(None if intent == "register" else ME, intent, **fields)
    on_the_wire = json.loads(json.dumps(encoded | {"from": PEER}))
    assert parse_message(on_the_wire, ME) == parsed


def test_a_member_without_a_value_is_left_out_of_a_message() -> None:
    assert encode_message(PEER, "request", hs=None, sec=SEC) == {"to": PEER, "intent": "request", "sec": SEC}
    assert encode_message(None, "register") == {"to": None, "intent": "register"}


@pytest.mark.parametrize(
    ("intent", "member"),
    [(intent, name) for intent in MESSAGES for name in CHECKED_AT_ONCE if name in content_of(intent)],
)
def test_a_message_with_a_bad_member_is_refused(intent: str, member: str) -> None:
    for hostile in HOSTILE.values():
        assert reason_of(content_of(intent, **{member: hostile})) is Reason.MALFORMED


@pytest.mark.parametrize("intent", ["request", "respond"])
def test_a_turn_that_is_not_sealed_is_refused(intent: str) -> None:
    assert reason_of(content_of(intent, sec=MISSING)) is Reason.SEC_MISSING
    assert reason_of(content_of(intent, sec=MISSING, message="hello")) is Reason.PLAINTEXT
    assert reason_of(content_of(intent, sec=MISSING, message=None)) is Reason.PLAINTEXT


@pytest.mark.parametrize("intent", ["request", "respond"])
def test_a_sec_that_is_no_block_is_handed_on_and_refused_when_it_is_opened(intent: str) -> None:
    for hostile in HOSTILE.values():
        if hostile is not MISSING:
            message = parse_message(content_of(intent, sec=hostile, message="hello"), ME)
            assert isinstance(message, Request | Respond)
            refuses_sec(message.sec)


@pytest.mark.parametrize("intent", ["confirm", "request"])
def test_an_hs_that_is_no_block_is_handed_on_and_refused_when_it_is_checked(intent: str) -> None:
    for hostile in HOSTILE.values():
        message = parse_message(content_of(intent, hs=hostile), ME)
        assert isinstance(message, Confirm | Request)
        refuses_hs(message.hs)
        assert claimed_sign_pub(message) is None


@pytest.mark.parametrize(
    "content", [None, 5, 1.5, True, [], "", "from to intent", {}, [content_of("close")]], ids=repr
)
def test_what_is_no_object_with_the_three_header_members_is_refused(content: Any) -> None:
    assert reason_of(content) is Reason.MALFORMED


@pytest.mark.parametrize("intent", MESSAGES)
def test_a_message_for_somebody_else_or_from_myself_is_none_of_our_business(intent: str) -> None:
    assert parse_message(content_of(intent, to=OTHER), ME) is None
    assert parse_message(content_of(intent, **{"from": ME}), ME) is None
    assert parse_message(content_of(intent, **{"from": ME, "to": OTHER}), ME) is None
    assert parse_message(content_of(intent, to=PEER), ME) is None


@pytest.mark.parametrize(
    "to", [value for value in HOSTILE.values() if value is not None and value is not MISSING]
)
def test_a_message_whose_to_is_nobody_is_none_of_our_business(to: Any) -> None:
    assert parse_message(content_of("close", to=to), ME) is None


@pytest.mark.parametrize("intent", MESSAGES)
def test_only_register_is_a_broadcast(intent: str) -> None:
    assert reason_of(content_of(intent, to=MISSING)) is Reason.MALFORMED
    wrong = ME if intent == "register" else None
    assert reason_of(content_of(intent, to=wrong)) is Reason.MALFORMED


@pytest.mark.parametrize(
    "intent", ["Register", "REGISTER", "register ", " register", "hello", "timer", "restart", "__class__"]
)
def test_an_unknown_intent_is_refused(intent: str) -> None:
    for to in (None, ME):
        assert reason_of({"from": PEER, "to": to, "intent": intent}) is Reason.MALFORMED


@pytest.mark.parametrize(
    "value",
    [
        PEER.upper(),
        PEER.replace("-", ""),
        "{" + PEER + "}",
        "urn:uuid:" + PEER,
        PEER + "\n",
        " " + PEER,
        PEER[:-1],
        PEER + "0",
        PEER.replace("d", "\uff44"),  # fullwidth
        PEER.replace("0", "\u0660"),  # a digit, but Arabic
        PEER.replace("d", "g", 1),
        5,
        None,
        [PEER],
    ],
    ids=repr,
)
def test_an_agent_id_has_one_form(value: Any) -> None:
    assert is_agent_id(PEER)
    assert not is_agent_id(value)
    assert reason_of(content_of("close", **{"from": value})) is Reason.MALFORMED


@pytest.mark.parametrize(
    "nonce", ["a" * 31, "a" * 33, "A" * 32, "g" * 32, "\uff41" * 32, " " + "a" * 31, "0x" + "a" * 30]
)
def test_a_nonce_is_32_lower_case_hex_digits(nonce: str) -> None:
    assert reason_of(content_of("confirm", my_nonce=nonce)) is Reason.MALFORMED


@pytest.mark.parametrize("length", [1, 10, limits.REFERENCE_CHARACTERS])
def test_a_reference_may_be_as_long_as_the_limit(length: int) -> None:
    assert parse_message(content_of("reconnect", your_ref="7" * length), ME) == Reconnect(PEER, "7" * length)


@pytest.mark.parametrize(
    "reference", ["", "7" * (limits.REFERENCE_CHARACTERS + 1), "a b", "é", "a\n", "'; --", "a/b"]
)
def test_a_reference_is_short_and_of_plain_characters(reference: str) -> None:
    assert reason_of(content_of("reconnect", your_ref=reference)) is Reason.MALFORMED


def test_a_refusal_never_repeats_what_the_peer_wrote() -> None:
    for intent in MESSAGES:
        for member in set(CHECKED_AT_ONCE) & set(content_of(intent)):
            with pytest.raises(PeerError) as caught:
                parse_message(content_of(intent) | {member: "\x1b[31m<script>"}, ME)
            assert "script" not in str(caught.value) + repr(caught.value)


# ---- blocks -------------------------------------------------------------------------------------------------------


def test_an_hs_block_is_parsed_and_encoded_again() -> None:
    assert parse_hs(HS) == HsBlock(
        "init", NONCE, "2026-02-19T13:58:28", KEY, bytes(range(32)), bytes(range(32)), bytes(range(64))
    )
    assert encode_hs(parse_hs(HS | {"extra": 1})) == HS


@pytest.mark.parametrize("member", HS)
def test_an_hs_block_without_one_of_its_six_texts_is_refused(member: str) -> None:
    for value in NO_TEXTS:
        refuses_hs({name: part for name, part in (HS | {member: value}).items() if part is not MISSING})


@pytest.mark.parametrize("member", ["kx_pub", "sign_pub", "sig"])
def test_an_hs_block_with_a_key_that_is_no_key_is_refused(member: str) -> None:
    for text in TEXTS:
        refuses_hs(HS | {member: text})


@pytest.mark.parametrize(("member", "size"), [("kx_pub", 32), ("sign_pub", 32), ("sig", 64)])
def test_an_hs_block_with_a_key_of_another_length_is_refused(member: str, size: int) -> None:
    for other in (0, size - 1, size + 1, 2 * size):
        refuses_hs(HS | {member: b64encode(bytes(other))})


def refuses_hs(block: Any) -> None:
    with pytest.raises(PeerError) as caught:
        parse_hs(block)
    assert caught.value.reason is Reason.HS_MALFORMED


def test_a_sec_block_is_parsed_with_its_whole_envelope() -> None:
    envelope = SEC["envelope"] | {"extra": 1}
    sec = parse_sec({"envelope": envelope, "sig": SIGNATURE, "more": 2})
    assert sec.envelope == envelope, "the signature covers every member"
    assert (sec.nonce_text, sec.nonce, sec.ciphertext) == (envelope["nonce"], bytes(12), bytes(20))
    assert (sec.hash, sec.sig) == (bytes(range(32)), bytes(range(64)))


def altered_sec(member: str, value: Any) -> dict[str, Any]:
    """`SEC` with another value for one of the members of either level, or without it."""
    place = "envelope" if member in SEC["envelope"] else None
    members = {
        name: part
        for name, part in ((SEC[place] if place else SEC) | {member: value}).items()
        if part is not MISSING
    }
    return SEC | {place: members} if place else members


@pytest.mark.parametrize("member", ["envelope", "sig", "nonce", "ciphertext", "hash", "ts"])
def test_a_sec_block_without_one_of_its_members_is_refused(member: str) -> None:
    for value in NO_TEXTS:
        refuses_sec(altered_sec(member, value))


@pytest.mark.parametrize("member", ["envelope", "sig", "nonce", "ciphertext", "hash"])
def test_a_sec_block_with_hostile_text_is_refused(member: str) -> None:
    for text in TEXTS:
        refuses_sec(altered_sec(member, text + "!" if member == "ciphertext" else text))


@pytest.mark.parametrize(("member", "size"), [("nonce", 12), ("hash", 32), ("sig", 64)])
def test_a_sec_block_with_a_part_of_another_length_is_refused(member: str, size: int) -> None:
    for other in (0, size - 1, size + 1, 2 * size):
        refuses_sec(altered_sec(member, b64encode(bytes(other))))


def refuses_sec(block: Any) -> None:
    with pytest.raises(PeerError) as caught:
        parse_sec(block)
    assert caught.value.reason is Reason.SEC_MALFORMED


@pytest.mark.parametrize(
    "text", ["2026-02-19T13:58:28", "2026-02-19T13:58:28.5", "2026-02-19T13:58:28.123456+05:30"]
)
def test_a_timestamp_may_have_a_fraction_and_a_zone(text: str) -> None:
    assert is_timestamp(text)
    assert is_timestamp(text[:19] + "Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-19",
        "2026-02-19T13:58",
        "2026-02-19 13:58:28",
        "20260219T135828",
        "2026-W08-4T13:58:28",
        "+2026-02-19T13:58:28",
        "\u0662026-02-19T13:58:28",
        "2026-02-19T13:58:28\n",
        "2026-02-19T13:58:28z",
        "2026-02-19T13:58:28,5",
        "2026-02-19T13:58:28.1234567",
        "2026-02-19T13:58:28+0530",
        "2026-02-19T13:58:28+05:30:15",
        "x" * 50_000,
        "\ud800",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_timestamp_in_any_other_form_is_none(text: str) -> None:
    assert not is_timestamp(text)


def test_what_a_message_claims_is_found_without_being_believed() -> None:
    claimed = {intent: claimed_nonce(message) for intent, (_, message) in MESSAGES.items()}
    assert {intent for intent, nonce in claimed.items() if nonce == NONCE} == {
        "confirm",
        "request",
        "respond",
    }
    assert {nonce for intent, nonce in claimed.items() if nonce != NONCE} == {None}
    keys = {intent: claimed_sign_pub(message) for intent, (_, message) in MESSAGES.items()}
    assert {intent for intent, key in keys.items() if key == bytes(range(32))} == {"confirm", "request"}
    assert claimed_sign_pub(Confirm(PEER, NONCE, {"sign_pub": b64encode(bytes(31))})) is None


# ---- anything at all ----------------------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    [ME, PEER, OTHER, NONCE, NONCE_2, REF, KEY, SIGNATURE, *MESSAGES]
)
names = (
    st.sampled_from(
        ["from", "to", *CHECKED_AT_ONCE, "hs", "sec", "message", "envelope", *HS, *SEC["envelope"]]
    )
    | texts
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=6),
    max_leaves=15,
)


def outcome(parse: Callable[[Any], Any], value: Any) -> Any:
    """What parsing yields, or the reason of the refusal; anything else that it raises fails the test."""
    try:
        return parse(value)
    except PeerError as refusal:
        return refusal.reason


def is_message_none_or_refused(content: Any) -> None:
    message = outcome(lambda value: parse_message(value, ME), content)
    assert message is None or isinstance(message, Message | Reason)


@law
@given(anything)
def test_any_value_is_a_message_or_nobodys_or_refused(content: Any) -> None:
    is_message_none_or_refused(content)


@law
@given(st.sampled_from(list(MESSAGES)), st.dictionaries(names, anything, min_size=1, max_size=3))
def test_any_message_with_any_members_replaced_is_a_message_or_nobodys_or_refused(
    intent: str, changes: dict[str, Any]
) -> None:
    is_message_none_or_refused(content_of(intent) | changes)


@law
@given(anything | st.dictionaries(names, anything, max_size=3).map(lambda changes: HS | changes))
def test_any_value_is_an_hs_block_or_refused(block: Any) -> None:
    hs = outcome(parse_hs, block)
    if hs is not Reason.HS_MALFORMED:
        assert isinstance(hs, HsBlock)
        assert encode_hs(hs) == {name: block[name] for name in HS}


@law
@given(
    anything
    | st.tuples(st.sampled_from(["envelope", "sig", *SEC["envelope"]]), anything).map(
        lambda change: altered_sec(*change)
    )
)
def test_any_value_is_a_sec_block_or_refused(block: Any) -> None:
    sec = outcome(parse_sec, block)
    if sec is not Reason.SEC_MALFORMED:
        assert isinstance(sec, SecBlock)
        assert b64encode(sec.ciphertext) == block["envelope"]["ciphertext"]

"""wire/v2: every codec gives back what it was given, has one encoding for one value, and takes any bytes at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.errors import PeerError, Reason, UsageError
from handfast.wire import limits
from handfast.wire.text import b64url_encode
from handfast.wire.v2 import frames, messages, payloads
from handfast.wire.v2.frames import Close, Frame, encode_frames, padded_size, parse_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, K2, N1, N2, N3, Offered, Packet, encode_message, parse_message
from handfast.wire.v2.offers import Offer, Selection
from handfast.wire.v2.payloads import Credentials, Renewal

law = settings(deadline=None, max_examples=50)

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors/v2/v2_vectors.json").read_text())
HANNA = "82589a38-0ca3-8d89-a287-c5c832bba23d"
RALF = "9c42f311-24ea-8fac-8a85-95e11d0d55c1"

ids = st.uuids().map(str).filter(lambda text: text not in (HANNA, RALF))
tokens = st.binary(min_size=16, max_size=16).map(b64url_encode)
offers_of_any_kind = st.builds(
    Offer,
    versions=st.sets(st.integers(0, 255), min_size=1, max_size=16).map(
        lambda s: tuple(sorted(s, reverse=True))
    ),
    suites=st.lists(st.integers(0, 65535), min_size=1, max_size=32, unique=True).map(tuple),
    flags=st.integers(0, 65535),
    nonce=st.binary(min_size=16, max_size=16),
)
selections = st.builds(
    Selection, st.integers(0, 255), st.integers(0, 65535), st.binary(min_size=16, max_size=16)
)
offer_bytes = offers_of_any_kind.map(Offer.encode)
selection_bytes = selections.map(Selection.encode)
handshake_bytes = st.binary(min_size=32, max_size=200)
sequences = st.none() | st.integers(0, 2**64 - 1)
digests = st.binary(min_size=32, max_size=32)
credentials = st.builds(
    Credentials,
    agent_id=ids,
    identity_key=digests,
    binding=st.binary(min_size=80, max_size=80),
    header_digest=digests,
    certificate=st.none() | st.binary(min_size=1, max_size=300),
    rotations=st.binary(max_size=300),
    crl_sequence=sequences,
    kem_ciphertext=st.none() | st.binary(min_size=1088, max_size=1088),
)
renewals = st.builds(Renewal, agent_id=ids, header_digest=digests, crl_sequence=sequences)


def header(intent: str, *members: str) -> st.SearchStrategy[Header]:
    to = None if intent == "register" else HANNA
    return st.builds(
        Header, sender=ids, to=st.just(to), intent=st.just(intent), **dict.fromkeys(members, tokens)
    )


packets = st.binary(min_size=34, max_size=200).map(lambda body: b"\x02\x00" + body[2:])
any_message = st.one_of(
    st.builds(Offered, header("register"), offer_bytes),
    st.builds(N1, header("confirm", "my_nonce"), offer_bytes, selection_bytes, handshake_bytes),
    st.builds(N2, header("request", "my_nonce", "your_nonce"), offer_bytes, selection_bytes, handshake_bytes),
    st.builds(N3, header("respond", "my_nonce", "your_nonce"), handshake_bytes),
    st.builds(
        K1,
        header("reconnect", "your_ref"),
        offer_bytes,
        st.binary(min_size=16, max_size=16),
        st.integers(1, 2**32 - 1),
        handshake_bytes,
    ),
    st.builds(K2, header("confirm", "my_nonce"), handshake_bytes),
    st.builds(Packet, header("request", "my_nonce", "your_nonce"), packets),
    st.builds(Packet, header("respond", "my_nonce", "your_nonce"), packets),
    st.builds(Packet, header("conclude", "my_ref", "your_nonce"), packets),
    st.builds(Packet, header("finish", "my_ref", "your_ref"), packets),
    st.builds(Packet, header("close", "my_ref", "your_ref"), packets),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | tokens | st.just(HANNA) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def on_the_wire(message: messages.Message) -> dict[str, Any]:
    """As a receiver sees it, after JSON has been written and read."""
    return json.loads(json.dumps(encode_message(message) | {"from": message.sender}))


# --- messages --------------------------------------------------------------------------------------------------------


@law
@given(any_message)
def test_a_message_comes_back_as_it_was_sent(message: messages.Message) -> None:
    payload = on_the_wire(message)
    assert messages.is_v2(payload)
    parsed = parse_message(payload, HANNA)
    assert parsed == message
    assert parsed is not None
    assert (type(parsed), parsed.intent, parsed.sender) == (type(message), message.intent, message.sender)


@law
@given(any_message, st.data())
def test_a_message_with_one_member_replaced_gives_a_message_or_a_peer_error(
    message: messages.Message, data: st.DataObject
) -> None:
    payload = on_the_wire(message)
    block = "hs" if "hs" in payload else "sec"
    place = data.draw(st.sampled_from([payload, payload[block]]))
    place[data.draw(st.sampled_from([*place, "my_ref", "sec", "g"]))] = data.draw(json_values)
    try:
        parsed = parse_message(payload, HANNA)
    except PeerError:
        return
    assert parsed is None or parse_message(on_the_wire(parsed), HANNA) == parsed


@law
@given(json_values)
def test_any_json_value_is_refused_and_nothing_else(value: object) -> None:
    with pytest.raises(PeerError):
        parse_message(value, HANNA)
    assert not messages.is_v2(value)


@pytest.mark.parametrize(
    ("block", "claims"),
    [
        ({"v": 2}, True),
        ({}, False),
        ({"v": 1}, False),
        ({"v": 3}, False),
        ({"v": 2.0}, False),
        ({"v": "2"}, False),
        ([2], False),
        (None, False),
    ],
)
def test_a_message_claims_to_be_of_version_2_by_either_of_its_blocks(block: object, claims: bool) -> None:
    for payload in (
        {"hs": block},
        {"sec": block},
        {"hs": None, "sec": block},
        {"hs": block, "sec": {"v": 1}},
    ):
        assert messages.is_v2(payload) is claims
    assert not messages.is_v2([block])


@law
@given(any_message)
def test_members_that_version_2_does_not_name_change_nothing(message: messages.Message) -> None:
    payload = on_the_wire(message)
    payload["hs" if "hs" in payload else "sec"]["extra"] = 1
    assert parse_message(payload | {"extra": {"a": []}}, HANNA) == message


@law
@given(any_message)
def test_a_message_of_our_own_or_for_somebody_else_is_not_for_us(message: messages.Message) -> None:
    payload = on_the_wire(message)
    assert parse_message(payload, message.sender) is None
    if message.header.to is not None:
        assert parse_message(payload, RALF) is None


@law
@given(any_message, st.sampled_from(["my_nonce", "your_nonce", "my_ref", "your_ref"]), tokens)
def test_a_message_with_a_routing_member_too_much_or_too_few_is_refused(
    message: messages.Message, name: str, token: str
) -> None:
    payload = on_the_wire(message)
    if name in payload:
        del payload[name]
    else:
        payload[name] = token
    with pytest.raises(PeerError) as refusal:
        parse_message(payload, HANNA)
    assert refusal.value.reason == Reason.FORMAT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hs": None}, Reason.FORMAT),
        ({"hs": {"v": 1, "t": "n3", "m": "uAAAA"}}, Reason.VERSION),
        ({"hs": {"v": 2.0, "t": "n3", "m": "uAAAA"}}, Reason.VERSION),
        ({"hs": {"v": True, "t": "n3", "m": "uAAAA"}}, Reason.VERSION),
        ({"hs": {"v": 2, "t": "n9", "m": "uAAAA"}}, Reason.FORMAT),
        ({"hs": {"v": 2, "t": ["n3"], "m": "uAAAA"}}, Reason.FORMAT),
        ({"hs": {"v": 2, "t": "n3"}}, Reason.FORMAT),
        ({"hs": {"v": 2, "t": "n3", "m": "uAAAA"}}, Reason.FORMAT),
        ({"hs": {"v": 2, "t": "n3", "m": "AAAA" * 20}}, Reason.ENCODING),
        (
            {"hs": {"v": 2, "t": "n3", "m": b64url_encode(bytes(limits.HANDSHAKE_BYTES + 1))}},
            Reason.TOO_LARGE,
        ),
        ({"sec": {"v": 2, "b": b64url_encode(bytes(34))}}, Reason.FORMAT),
        ({"intent": "request"}, Reason.FORMAT),
        ({"intent": None}, Reason.FORMAT),
        ({"to": None}, Reason.FORMAT),
        ({"from": "ralf"}, Reason.FORMAT),
        ({"from": None}, Reason.FORMAT),
        ({"my_nonce": None}, Reason.ENCODING),
        ({"my_nonce": "u" + "A" * 21 + "B"}, Reason.ENCODING),
        ({"my_nonce": "u" + "A" * 22 + "\n"}, Reason.ENCODING),
        ({"my_ref": None}, Reason.FORMAT),
    ],
)
def test_each_thing_that_can_be_wrong_with_a_message_has_its_reason(
    change: dict[str, object], reason: Reason
) -> None:
    token = b64url_encode(bytes(16))
    right = on_the_wire(N3(Header(RALF, HANNA, "respond", my_nonce=token, your_nonce=token), bytes(64)))
    assert parse_message(right, HANNA) is not None
    with pytest.raises(PeerError) as refusal:
        parse_message(right | change, HANNA)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("generation", [0, -1, 2**32, True, 1.0, "1", None])
def test_a_generation_is_a_number_from_one_on(generation: object) -> None:
    token = b64url_encode(bytes(16))
    offer = Offer((2,), (1,), 0, bytes(16)).encode()
    payload = on_the_wire(
        K1(Header(RALF, HANNA, "reconnect", your_ref=token), offer, bytes(16), 1, bytes(64))
    )
    payload["hs"]["g"] = generation
    with pytest.raises(PeerError):
        parse_message(payload, HANNA)


def test_a_counter_is_all_of_its_eight_bytes_and_no_others() -> None:
    head, counter = b"\xff" * 10, bytes(range(1, 9))
    assert messages.packet_counter(head + counter + b"\xff") == int.from_bytes(counter, "big")


def test_a_digest_names_a_k1_by_all_of_it_that_is_protected() -> None:
    k1 = K1(Header(RALF, HANNA, "reconnect", your_ref="u" + "A" * 22), b"offer", b"t" * 16, 1, b"message")
    others = [
        replace(k1, header=replace(k1.header, sender=HANNA)),
        replace(k1, offer=b"another"),
        replace(k1, ticket=b"T" * 16),
        replace(k1, message=b"another"),
        replace(k1, offer=b"offert", ticket=b"t" * 15),
    ]
    assert len({messages.digest_of(one) for one in (k1, *others)}) == 6


def test_a_header_to_everybody_and_what_it_lacks_are_written_out() -> None:
    named = b"\x01\x02\0\0\0\x24" + RALF.encode()
    written = b"\0\0\0\x09SMNR2/hdr" + named + b"\x02\x01" + b"\x03\x02\0\0\0\x08register"
    assert Header(RALF, None, "register").encoded() == written + bytes([4, 0, 5, 0, 6, 0, 7, 0])


@law
@given(st.lists(st.tuples(any_message, st.booleans()), min_size=2, max_size=2))
def test_only_equal_messages_have_equal_headers(pair: list[tuple[messages.Message, bool]]) -> None:
    (one, _), (other, _) = pair
    assert (one.header == other.header) == (one.header.encoded() == other.header.encoded())


def test_the_packet_of_the_largest_plaintext_fits_and_one_byte_more_does_not() -> None:
    token = b64url_encode(bytes(16))
    head = Header(RALF, HANNA, "request", my_nonce=token, your_nonce=token)
    largest = 18 + limits.PLAINTEXT_BYTES + 16
    payload = on_the_wire(Packet(head, b"\x02\x00" + bytes(largest - 2)))
    assert parse_message(payload, HANNA) is not None
    assert len(json.dumps(payload)) < 65_535 - 1024
    payload["sec"]["b"] = b64url_encode(b"\x02\x00" + bytes(largest - 1))
    with pytest.raises(PeerError) as refusal:
        parse_message(payload, HANNA)
    assert refusal.value.reason == Reason.TOO_LARGE


def test_the_header_of_the_vectors_is_met_byte_by_byte() -> None:
    for name in ("xx", "xxpsk3"):
        message = parse_message(VECTORS[name]["request2"], RALF)
        assert message is not None
        assert message.header.encoded().hex() == VECTORS[name]["hdr_request2"]


# --- offers and selections -------------------------------------------------------------------------------------------


@law
@given(offers_of_any_kind)
def test_an_offer_comes_back_as_it_was(offer: Offer) -> None:
    assert Offer.parse(offer.encode()) == offer


@law
@given(selections)
def test_a_selection_comes_back_as_it_was(selection: Selection) -> None:
    assert Selection.parse(selection.encode()) == selection


@law
@given(
    st.binary(max_size=130) | offer_bytes.flatmap(lambda raw: st.sampled_from([raw[:-1], raw + b"\0", raw]))
)
def test_bytes_are_refused_or_are_the_one_encoding_of_an_offer(raw: bytes) -> None:
    try:
        offer = Offer.parse(raw)
    except PeerError as refusal:
        assert refusal.reason == Reason.OFFER  # noqa: PT017
    else:
        assert offer.encode() == raw


@law
@given(st.binary(max_size=30) | selection_bytes.map(lambda raw: raw[:5] + b"\1" + raw[6:]))
def test_bytes_are_refused_or_are_the_one_encoding_of_a_selection(raw: bytes) -> None:
    try:
        selection = Selection.parse(raw)
    except PeerError as refusal:
        assert refusal.reason == Reason.OFFER  # noqa: PT017
    else:
        assert selection.encode() == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\x01\x01",  # cut off within the versions, right after them, and within the suites
        b"\x01\x01\x02",
        b"\x01\x01\x02\x01",
        b"\x02\x01\x02\x01\x00\x01\x00\x00" + bytes(16),  # another format
        b"\x01\x00\x01\x00\x01\x00\x00" + bytes(16),  # no version
        b"\x01\x01\x02\x00\x00\x00" + bytes(16),  # no suite
        b"\x01\x02\x01\x02\x01\x00\x01\x00\x00" + bytes(16),  # versions ascend
        b"\x01\x02\x02\x02\x01\x00\x01\x00\x00" + bytes(16),  # a version twice
        b"\x01\x01\x02\x02\x00\x01\x00\x01\x00\x00" + bytes(16),  # a suite twice
        b"\x01\x01\x02\x01\x00\x01\x00\x00" + bytes(15),  # short
        bytes([1, 17, *range(17, 0, -1), 1, 0, 1, 0, 0]) + bytes(16),  # too many versions
        Offer((2,), tuple(range(limits.OFFER_SUITES + 1)), 0, bytes(16)).encode(),
    ],
)
def test_an_offer_that_is_not_one_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerError):
        Offer.parse(raw)


def test_an_offer_may_be_as_long_as_its_limits() -> None:
    versions, suites = tuple(range(limits.OFFER_VERSIONS, 0, -1)), tuple(range(limits.OFFER_SUITES))
    offer = Offer(versions, suites, 0xFFFF, bytes(16))
    assert Offer.parse(offer.encode()) == offer


def test_a_selection_that_is_not_one_is_refused() -> None:
    raw = Selection(2, 1, bytes(16)).encode()
    for wrong in (
        b"\x02" + raw[1:],
        raw[:4] + b"\1" + raw[5:],
        raw[:5] + b"\1" + raw[6:],
        raw[:-1],
        raw + b"\0",
    ):
        with pytest.raises(PeerError) as refusal:
            Selection.parse(wrong)
        assert refusal.value.reason == Reason.OFFER


# --- handshake payloads ----------------------------------------------------------------------------------------------


@law
@given(credentials)
def test_credentials_come_back_as_they_were(given: Credentials) -> None:
    assert Credentials.parse(given.encode()) == given


@law
@given(renewals)
def test_a_renewal_comes_back_as_it_was(given: Renewal) -> None:
    assert Renewal.parse(given.encode()) == given


def test_an_encapsulation_key_comes_back_as_it_was_and_so_does_none() -> None:
    key = bytes(range(256)) * 4 + bytes(160)
    assert payloads.parse_kem_public(payloads.encode_kem_public(key)) == key
    assert payloads.parse_kem_public(payloads.encode_kem_public(None)) is None


@law
@given(st.binary(max_size=80) | credentials.map(Credentials.encode) | renewals.map(Renewal.encode), st.data())
def test_a_payload_is_refused_or_is_the_one_encoding_of_what_is_read(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
    raw = raw[:at] + data.draw(st.binary(max_size=2)) + raw[at + 1 :]
    for parse in (Credentials.parse, Renewal.parse):
        try:
            value = parse(raw)
        except PeerError as refusal:
            assert refusal.reason in (Reason.FORMAT, Reason.EARLY_DATA)  # noqa: PT017
        else:
            assert value.encode() == raw


def test_an_encapsulation_key_has_no_place_in_credentials() -> None:
    raw = Credentials(HANNA, bytes(32), bytes(80), bytes(32)).encode()
    with pytest.raises(PeerError) as refusal:
        Credentials.parse(raw + payloads.encode_kem_public(bytes(1184)))
    assert refusal.value.reason == Reason.FORMAT


RENEWAL = Renewal(HANNA, bytes(32)).encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (RENEWAL[:-1], Reason.FORMAT),
        (RENEWAL + b"\x04\x00", Reason.FORMAT),  # cut within its head
        (RENEWAL[39:] + RENEWAL[:39], Reason.FORMAT),  # types descend
        (RENEWAL + RENEWAL[39:], Reason.FORMAT),  # a type twice
        (RENEWAL[:39], Reason.FORMAT),  # a mandatory type is missing
        (RENEWAL + b"\x07\x00\x07" + bytes(7), Reason.FORMAT),  # a size that the type does not have
        (RENEWAL + b"\x0f\x00\x00", Reason.FORMAT),  # unknown, and not to be skipped
        (RENEWAL + b"\x20\x04\xa0" + bytes(1184), Reason.FORMAT),  # known, but not here
        (RENEWAL + b"\x10\x00\x00", Reason.EARLY_DATA),
        (RENEWAL.replace(b"8", b"\xff"), Reason.FORMAT),  # an id that is not ASCII
    ],
)
def test_each_thing_that_can_be_wrong_with_a_payload_has_its_reason(raw: bytes, reason: Reason) -> None:
    with pytest.raises(PeerError) as refusal:
        Renewal.parse(raw)
    assert refusal.value.reason == reason


def test_types_from_0x80_on_are_skipped() -> None:
    assert Renewal.parse(RENEWAL + b"\x80\x00\x03abc" + b"\xff\x00\x00") == Renewal(HANNA, bytes(32))
    with pytest.raises(PeerError):
        Renewal.parse(RENEWAL + b"\xff\x00\x00" + b"\x80\x00\x00")  # even these ascend


# --- frames ----------------------------------------------------------------------------------------------------------

some_frames = st.lists(
    st.builds(Frame, st.integers(frames.DATA, frames.RECEIPT), st.binary(max_size=1500)),
    max_size=limits.FRAMES,
)


@law
@given(some_frames)
def test_frames_come_back_as_they_were_from_a_padded_plaintext(given: list[Frame]) -> None:
    plaintext = encode_frames(given)
    bare = sum(4 + len(frame.body) for frame in given)
    assert parse_frames(plaintext) == tuple(given)
    assert len(plaintext) == padded_size(bare) >= bare
    assert len(plaintext) % 64 == 0


@law
@given(st.integers(0, limits.PLAINTEXT_BYTES))
def test_padding_hides_the_length_and_costs_little(size: int) -> None:
    padded = padded_size(size)
    assert padded == size or padded >= size + 4
    assert padded <= max(size + 67, (size + 4) * 1.12)
    assert padded_size(padded) == padded


def test_no_more_than_a_few_lengths_are_ever_seen() -> None:
    seen = {padded_size(size) for size in range(1, limits.PLAINTEXT_BYTES - 3)}
    assert len(seen) < 110
    assert max(seen) == limits.PLAINTEXT_BYTES
    assert padded_size(0) == 0


@law
@given(st.binary(max_size=300) | some_frames.map(encode_frames), st.data())
def test_any_plaintext_gives_frames_or_a_peer_error(plaintext: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, max(len(plaintext) - 1, 0)))
    plaintext = plaintext[:at] + data.draw(st.binary(max_size=2)) + plaintext[at + 1 :]
    try:
        parsed = parse_frames(plaintext)
    except PeerError as refusal:
        assert refusal.reason == Reason.FORMAT  # noqa: PT017
    else:
        assert parse_frames(encode_frames(parsed)) == parsed


@pytest.mark.parametrize(
    "plaintext",
    [
        b"\x01",
        b"\x01\x00\x00",
        b"\x01\x00\x00\x02a",
        b"\x01\x01\x00\x01a",  # the highest of the three bytes of a length counts, too
        b"\x0c\x00\x00\x00",  # unknown, and not to be skipped
        b"\x00\x00\x00\x01\x01",  # padding that says something
        b"\x00\x00\x00\x00\x01\x00\x00\x00",  # padding that is not at the end
        b"\x04\x00\x00\x00" * (limits.FRAMES + 1),
    ],
)
def test_frames_that_are_none_are_refused(plaintext: bytes) -> None:
    with pytest.raises(PeerError):
        parse_frames(plaintext)


def test_as_many_frames_as_are_allowed_may_be_padded() -> None:
    given = [Frame(frames.CLOSED)] * (limits.FRAMES - 1) + [Frame(frames.DATA, b"{}")]
    assert parse_frames(encode_frames(given)) == tuple(given)


@pytest.mark.parametrize("kind", [0x04, 0x06, 0x09])
def test_reserved_frame_types_are_no_reason_to_refuse_a_packet(kind: int) -> None:
    assert parse_frames(bytes([kind]) + b"\x00\x00\x01a") == (Frame(kind, b"a"),)


def test_frame_types_from_0x80_on_are_skipped() -> None:
    assert parse_frames(b"\x80\x00\x00\x01a\x01\x00\x00\x02{}") == (Frame(frames.DATA, b"{}"),)


def test_what_fits_into_no_line_is_our_own_mistake() -> None:
    assert (
        len(encode_frames([Frame(frames.DATA, bytes(limits.PLAINTEXT_BYTES - 4))])) == limits.PLAINTEXT_BYTES
    )
    with pytest.raises(UsageError):
        encode_frames([Frame(frames.DATA, bytes(limits.PLAINTEXT_BYTES - 3))])


@law
@given(st.integers(0, 65535), st.integers(0, 2**32 - 1), digests)
def test_a_close_comes_back_as_it_was(code: int, count: int, transcript: bytes) -> None:
    body = Close(code, count, transcript).encode()
    assert Close.parse(body) == Close(code, count, transcript)
    for wrong in (body[:-1], body + b"\0"):
        with pytest.raises(PeerError):
            Close.parse(wrong)

"""The encodings under every message: each value has one text, and hostile bytes yield a value or `EncodingError`."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handfast.wire import limits
from handfast.wire.text import (
    EncodingError,
    b64decode,
    b64encode,
    b64url_decode,
    b64url_encode,
    canonical_json,
    depth_exceeds,
    printable,
    strict_json,
)

law = settings(deadline=None, max_examples=60)

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# `characters()` holds lone surrogates; a high one before a low one is, in JSON, another text for one character
texts = st.text(st.characters()).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(texts, children, max_size=5),
    max_leaves=20,
)


def nested(depth: int, innermost: Any) -> Any:
    """`innermost` inside `depth` lists."""
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


# ---- base64 -------------------------------------------------------------------------------------------------------


@law
@given(st.binary(max_size=100))
def test_base64_round_trips_in_both_alphabets(raw: bytes) -> None:
    assert b64decode(b64encode(raw)) == raw
    assert b64decode(b64encode(raw), len(raw)) == raw
    assert b64url_decode(b64url_encode(raw)) == raw
    assert b64url_decode(b64url_encode(raw), len(raw)) == raw


@law
@given(st.text(BASE64 + "-_=u\n !é\ud800", max_size=12))
def test_a_text_that_decodes_is_the_only_text_of_its_value(text: str) -> None:
    for decode, encode in ((b64decode, b64encode), (b64url_decode, b64url_encode)):
        try:
            raw = decode(text)
        except EncodingError:
            continue
        assert encode(raw) == text


@law
@given(st.binary(min_size=1, max_size=40), st.data())
def test_base64_with_any_one_character_changed_is_refused_or_another_value(
    raw: bytes, data: st.DataObject
) -> None:
    text = b64encode(raw)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([char for char in BASE64 + "=" if char != text[at]]))
    changed = text[:at] + other + text[at + 1 :]
    with contextlib.suppress(EncodingError):
        assert b64decode(changed) != raw


@pytest.mark.parametrize(
    "text",
    [
        "AAA",  # no padding
        "AAAA=",
        "AA==AAAA",  # padding in the middle
        "AB==",  # trailing bits that are not zero
        "AAB=",
        "A-_A",  # the other alphabet
        " AAAA",
        "AAAA\n",
        "AA\nAA",
        "AAAA!",
        "ААAA",  # Cyrillic
        "\ud800AAA",
        "\0AAA",
        "=",
        "====",
    ],
)
def test_base64_that_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(EncodingError):
        b64decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "uA",
        "uAAA=",
        "uAA==",
        "uAB",
        "uAAB",
        "uA+/A",
        "u AAAA",
        "uAAAA\n",
        "UAAAA",
        "uAAA\ud800",
        "u=",
        "u====",
    ],
)
def test_base64url_that_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(EncodingError):
        b64url_decode(text)


def test_base64_of_an_unexpected_size_is_refused() -> None:
    for size in (0, 31, 33):
        with pytest.raises(EncodingError):
            b64decode(b64encode(bytes(32)), size)
        with pytest.raises(EncodingError):
            b64url_decode(b64url_encode(bytes(32)), size)


@pytest.mark.parametrize("most", [1, 2, 3, 31, 32, 33])
def test_base64_holds_at_most_what_it_may(most: int) -> None:
    assert b64decode(b64encode(bytes(most)), at_most=most) == bytes(most)
    for more in (most + 1, most + 2, most + 3):
        with pytest.raises(EncodingError):
            b64decode(b64encode(bytes(more)), at_most=most)


def test_base64_holds_a_ciphertext_of_the_limit_and_no_byte_more() -> None:
    assert len(b64decode(b64encode(bytes(limits.CIPHERTEXT_BYTES)))) == limits.CIPHERTEXT_BYTES
    with pytest.raises(EncodingError):
        b64decode(b64encode(bytes(limits.CIPHERTEXT_BYTES + 1)))


# ---- JSON ---------------------------------------------------------------------------------------------------------


@law
@given(json_values)
def test_a_json_value_survives_canonical_and_strict_json(value: Any) -> None:
    text = canonical_json(value)
    again = strict_json(text)
    assert again == value
    assert canonical_json(again) == text


@law
@given(st.dictionaries(texts, st.integers(), max_size=6), st.randoms())
def test_the_order_of_members_does_not_matter_to_canonical_json(members: dict[str, int], chance: Any) -> None:
    shuffled = list(members.items())
    chance.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(members)


def test_canonical_json_is_sorted_and_without_spaces_and_ascii() -> None:
    value = {"b": [1, 2.5, None, True], "a": "é\u2028\U0001f91d\x00\ud800", "": {}}
    assert (
        canonical_json(value) == rb'{"":{},"a":"\u00e9\u2028\ud83e\udd1d\u0000\ud800","b":[1,2.5,null,true]}'
    )


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        {"a": [float("nan")]},
        b"bytes",
        {1, 2},
        1j,
        object(),
        {(1, 2): 3},
        {"a": 1, 2: 3},
        10**5000,
        endless(),
        nested(100_000, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_value_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(EncodingError):
        canonical_json(value)


@law
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()), st.data())
def test_arbitrary_bytes_yield_a_value_or_an_encoding_error_and_nothing_else(
    raw: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(raw)))
    damage = data.draw(
        st.sampled_from([b"", b"\xff", b"{", b"]", b",", b'"', b"\\", b"1e999", b"NaN", b"\0", b'"a":1,'])
    )
    try:
        value = strict_json(raw[:at] + damage + raw[at:])
    except EncodingError:
        return
    assert strict_json(canonical_json(value)) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        b"{} {}",
        b"[1,]",
        b"{'a':1}",
        b'{"a":1,"a":1}',
        b'[{"x":{"a":1,"b":2,"a":3}}]',
        b'{"a":1,"\\u0061":2}',  # the same key, once escaped
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"1e400",
        b"-1e400",
        b"[1" + b"0" * 5000 + b"]",
        b"\xff",
        b'"\xed\xa0\x80"',  # a lone surrogate as UTF-8
        b"\xef\xbb\xbf{}",  # a byte order mark
        '{"a":1}'.encode("utf-16"),
        b'"a\nb"',
        b'"\x00"',
        b'"\\x41"',
        b"[" * 20_000,
        b"[" * 20_000 + b"]" * 20_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b"[" * 65 + b"1" + b"]" * 65,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_strict_json_refuses(raw: bytes) -> None:
    with pytest.raises(EncodingError):
        strict_json(raw)


@pytest.mark.parametrize("innermost", [b"", b"1"], ids=["empty", "full"])
def test_strict_json_takes_what_is_as_deep_as_the_limit(innermost: bytes) -> None:
    depth = limits.MESSAGE_DEPTH
    strict_json(b"[" * depth + innermost + b"]" * depth)


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_strict_json_refuses_one_level_more_than_the_limit_also_where_the_innermost_is_empty(
    pair: tuple[bytes, bytes],
) -> None:
    opening, closing = pair
    depth = limits.MESSAGE_DEPTH
    with pytest.raises(EncodingError):
        strict_json(opening * depth + b"[]" + closing * depth)


def depth_of(value: Any) -> int:
    """The model: how many lists and objects stand in each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@law
@given(json_values, st.integers(0, 6))
@example([], 0)
@example([[]], 1)
@example({"a": {}}, 1)
@example([5], 0)
@example([5], 1)
@example([{"a": [1]}], 2)
@example([{"a": [1]}], 3)
def test_depth_is_counted_as_by_a_recursive_model(value: Any, limit: int) -> None:
    assert depth_exceeds(value, limit) == (depth_of(value) > limit)


def test_depth_is_counted_without_recursion() -> None:
    assert depth_exceeds(nested(200_000, 0), 64)
    assert not depth_exceeds([[0]] * 200_000, 64)


# ---- text for people ----------------------------------------------------------------------------------------------


@law
@given(st.text(st.characters()), st.integers(1, 50))
def test_shown_text_has_no_control_characters_no_surrogates_and_a_bounded_length(
    text: str, most: int
) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert len(shown) <= most * len("\\U0010ffff")
    if text.isprintable() and len(text) <= most:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 日本", "Grüße, 日本"),
        ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
        ("two\r\nlines", "two\\r\\nlines"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnol", "\\u202egnol"),
        ("\ud800", "\\ud800"),
        ("\0", "\\x00"),
        ("x" * 5, "x" * 5),
        ("x" * 6, "xxxx…"),
    ],
)
def test_shown_text_escapes_what_a_terminal_would_obey_and_cuts_what_is_long(text: str, shown: str) -> None:
    assert printable(text, 5 if set(text) == {"x"} else 200) == shown

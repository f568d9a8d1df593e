"""Sections 2.2, 2.4 and 2.5: the frame a client writes, and the payload another one recovers from it."""

import json
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.protocol.payload import (
    DEFAULT_VERSION,
    RecoveryError,
    recover_with_types,
    register_envelope_version,
    wrap_with_types,
)
from summoner.utils import fully_recover_json

ADDRESS = "127.0.0.1:51742"


def native_relay(line: str) -> str:
    wrapper = {"content": line.removesuffix("\n"), "remote_addr": ADDRESS}
    return json.dumps(wrapper, separators=(",", ":"), ensure_ascii=False) + "\n"


def python_relay(line: str) -> str:
    return json.dumps({"remote_addr": ADDRESS, "content": line.removesuffix("\n")}) + "\n"


def envelope(payload: Any, types: Any, **changes: Any) -> str:
    return json.dumps({"_version": "1.3.0", "_payload": payload, "_type": types} | changes)


def received(payload: Any, types: Any, **changes: Any) -> Any:
    """The content that arrives of an envelope with this payload and this tree of types."""
    payload = recover_with_types(python_relay(envelope(payload, types, **changes)))
    assert list(payload) == ["remote_addr", "content"]
    assert payload["remote_addr"] == ADDRESS
    return payload["content"]


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 7


class Text(str):
    __slots__ = ()


class Ratio(float):
    pass


class Thing:
    def __str__(self) -> str:
        return "a thing"


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        ("hello", '{"_version": "1.3.0", "_payload": "hello", "_type": "str"}'),
        ({"a": 1}, '{"_version": "1.3.0", "_payload": {"a": 1}, "_type": {"a": "int"}}'),
        ("café ☕", r'{"_version": "1.3.0", "_payload": "caf\u00e9 \u2615", "_type": "str"}'),
        (
            [1, "a", None, [True]],
            '{"_version": "1.3.0", "_payload": [1, "a", null, [true]], "_type": ["int", "str", "null", ["bool"]]}',
        ),
        (
            {"a": {"b": [1.0]}},
            '{"_version": "1.3.0", "_payload": {"a": {"b": [1.0]}}, "_type": {"a": {"b": ["float"]}}}',
        ),
        ({}, '{"_version": "1.3.0", "_payload": {}, "_type": {}}'),
        ((1, 2), '{"_version": "1.3.0", "_payload": "(1, 2)", "_type": "str"}'),
        (
            {1: "z", None: "y"},
            '{"_version": "1.3.0", "_payload": {"1": "z", "null": "y"}, "_type": {"1": "str", "null": "str"}}',
        ),
        (b"xy", """{"_version": "1.3.0", "_payload": "b'xy'", "_type": "str"}"""),
        (float("nan"), '{"_version": "1.3.0", "_payload": NaN, "_type": "float"}'),
        (float("-inf"), '{"_version": "1.3.0", "_payload": -Infinity, "_type": "float"}'),
        ("two\nlines", r'{"_version": "1.3.0", "_payload": "two\nlines", "_type": "str"}'),
        ([(1,), {2}], '{"_version": "1.3.0", "_payload": ["(1,)", "{2}"], "_type": ["str", "str"]}'),
        ({"t": Thing()}, '{"_version": "1.3.0", "_payload": {"t": "a thing"}, "_type": {"t": "str"}}'),
        (Text("x"), '{"_version": "1.3.0", "_payload": "x", "_type": "str"}'),
        (Ratio(0.5), '{"_version": "1.3.0", "_payload": 0.5, "_type": "float"}'),
        ([Colour.RED, Level.HIGH], '{"_version": "1.3.0", "_payload": ["red", 7], "_type": ["str", "int"]}'),
        ("\ud800", r'{"_version": "1.3.0", "_payload": "\ud800", "_type": "str"}'),
    ],
)
def test_a_payload_becomes_the_frame_of_the_official_client(payload: Any, frame: str) -> None:
    assert wrap_with_types(payload, "1.3.0") == frame + "\n"


def test_the_library_default_is_the_first_version() -> None:
    assert DEFAULT_VERSION == "0.0.1"
    assert wrap_with_types(1) == '{"_version": "0.0.1", "_payload": 1, "_type": "int"}\n'


@pytest.mark.parametrize("version", ["0.0.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "1.3.0"])
def test_every_registered_version_means_the_same(version: str) -> None:
    assert recover_with_types(python_relay(wrap_with_types({"a": "1"}, version)))["content"] == {"a": "1"}


def test_an_unregistered_version_is_not_sent() -> None:
    with pytest.raises(ValueError, match=r"9\.9\.9"):
        wrap_with_types("x", "9.9.9")


@pytest.mark.parametrize("key", [(1, 2), b"k"])
def test_keys_that_json_does_not_know_are_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        wrap_with_types({key: 1})


@pytest.mark.parametrize("relay", [native_relay, python_relay])
def test_both_relays_forms_carry_the_same_message(relay: Any) -> None:
    line = relay('{"_version": "1.3.0", "_payload": "café", "_type": "str"}')
    assert recover_with_types(line) == {"remote_addr": ADDRESS, "content": "café"}


WRAPPED = '{"remote_addr":"a:1","content":%s}'


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        ("Warning: slow\n", "Warning: slow"),
        ("Warning: Server disconnected.", "Warning: Server disconnected."),
        ("two\n\n", "two\n"),
        ("\n", ""),
        ("", ""),
        ('"hello\\n"\n', "hello"),
        ('"js"\n', "js"),
        ("5\n", 5),
        ("true", True),
        ("[1,2]", [1, 2]),
        ("null\n", None),
        ('{"a":"5"}', {"a": 5}),
        (WRAPPED % '"plain"', {"remote_addr": "a:1", "content": "plain"}),
        (WRAPPED % '"12"', {"remote_addr": "a:1", "content": 12}),
        (WRAPPED % '""', {"remote_addr": "a:1", "content": ""}),
        (WRAPPED % "null", {"remote_addr": "a:1", "content": None}),
        (WRAPPED % '{"x":"1"}', {"remote_addr": "a:1", "content": {"x": 1}}),
        (WRAPPED % '"[\\"1\\", {\\"a\\": \\"null\\"}]"', {"remote_addr": "a:1", "content": [1, {"a": None}]}),
        ('{"remote_addr":"7","content":"x","more":"1"}', {"remote_addr": 7, "content": "x", "more": 1}),
        ('{"remote_addr":"a:1"}', {"remote_addr": "a:1"}),
        ('{"content":"12"}', {"content": 12}),
        (
            '{"_version":"1.3.0","_payload":"1","_type":"str"}',
            {"_version": "1.3.0", "_payload": 1, "_type": "str"},
        ),
        (
            WRAPPED % '{"_version":"1.3.0","_payload":"1"}',
            {"remote_addr": "a:1", "content": {"_version": "1.3.0", "_payload": 1}},
        ),
        (
            WRAPPED % '{"_payload":"1","_type":"str"}',
            {"remote_addr": "a:1", "content": {"_payload": 1, "_type": "str"}},
        ),
        (
            WRAPPED % '{"_version":"1","_type":"str"}',
            {"remote_addr": "a:1", "content": {"_version": 1, "_type": "str"}},
        ),
        (
            '{"content":{"_version":"1","_payload":"2","_type":"str"}}',
            {"content": {"_version": 1, "_payload": 2, "_type": "str"}},
        ),
        (
            '{"remote_addr":"a:1","more":1,"content":{"_version":"1.3.0","_payload":"1","_type":"str","_x":1}}',
            {"remote_addr": "a:1", "content": "1"},
        ),
        (
            '{"remote_addr":"7","content":{"_version":1,"_payload":1,"_type":"int"}}',
            {"remote_addr": 7, "content": 1},
        ),
        (json.dumps(WRAPPED % '"12"'), {"remote_addr": "a:1", "content": 12}),
        (json.dumps([WRAPPED % '"12"']), [{"remote_addr": "a:1", "content": 12}]),
        ('{"a":1,"a":"2"}', {"a": 2}),
    ],
)
def test_a_line_is_recovered_as_the_tables_say(line: str, payload: Any) -> None:
    recovered = recover_with_types(line)
    assert recovered == payload
    assert type(recovered) is type(payload)


@pytest.mark.parametrize(
    ("payload", "types", "content"),
    [
        ({"a": 1}, {"a": "str", "b": "int"}, {"a": "1"}),
        ([1, 2, 3], ["str"], ["1", 2, 3]),
        ([1], ["str", "str"], ["1"]),
        ("2.7", "int", 2),
        ({"z": 1, "a": 2}, {"a": "str"}, {"a": "2", "z": 1}),
        ("x", "weird", "x"),
        ("5", "weird", 5),
        ("5", None, 5),
        ("5", "null", 5),
        (None, "null", None),
        (5, "str", "5"),
        (None, "str", "None"),
        ({"a": "1"}, "str", "{'a': 1}"),
        (0, "bool", False),
        ("x", "bool", True),
        ("false", "bool", False),
        (True, "int", 1),
        ("007", "int", 7),
        ("seven", "int", "seven"),
        ([1], "int", [1]),
        (None, "int", None),
        (3, "float", 3.0),
        ("1e3", "float", 1000.0),
        ("x", "float", "x"),
        ({}, "float", {}),
        ({"a": ["1", {"b": "2"}]}, {"a": ["str", {"b": "int"}]}, {"a": ["1", {"b": 2}]}),
        ({"a": "1"}, ["str"], {"a": 1}),
        (["1"], {"a": "str"}, [1]),
        (5, ["str"], 5),
        ({"a": "1", "b": "2"}, {"b": "str"}, {"b": "2", "a": 1}),
        ({"a": [{}]}, {"a": "null"}, {"a": [{}]}),
        ({"a": ["1"]}, {"a": None}, {"a": [1]}),
        (["1"], 5, [1]),
        # encoded twice
        ('{"a": "1.10"}', {"a": "str"}, {"a": "1.10"}),
        ('["1"]', {"a": "str"}, [1]),
        ({"a": 1}, '{"a": "str"}', {"a": "1"}),
        ("1.10", '"str"', "1.10"),
        (["1"], ['"null"'], [1]),
    ],
)
def test_a_payload_is_cast_along_its_types(payload: Any, types: Any, content: Any) -> None:
    arrived = received(payload, types)
    assert arrived == content
    assert json.dumps(arrived) == json.dumps(content)  # the same types, in the same order


@pytest.mark.parametrize("version", [None, "7.7.7", 5, 1.5, True, "1.0", ""])
def test_an_envelope_of_any_version_is_opened(version: Any) -> None:
    assert received(["1.10", 2], ["str", "float"], _version=version) == ["1.10", 2.0]


SURVIVORS = [
    "true", "null", "NaN", '{"a": 1}', "1.10", "1e3", "-0", " 5 ", '"q"', "123", "007", "[1, 2]", "0x10", "", "line\n",
    "[" * 600, "9" * 5000, "1e400", '{"_version": 1, "_payload": 2, "_type": "int"}', "\ud800", "\x00\x1b[0m",
]  # fmt: skip


@pytest.mark.parametrize("relay", [native_relay, python_relay])
@pytest.mark.parametrize("text", SURVIVORS, ids=[text[:12] or "empty" for text in map(ascii, SURVIVORS)])
def test_scenario_29_a_string_survives_a_typed_round_trip(text: str, relay: Any) -> None:
    for payload in (text, [text], {"a": {text: text}}):
        assert recover_with_types(relay(wrap_with_types(payload, "1.3.0")))["content"] == payload


@pytest.mark.parametrize("version", ["x.1", "2.0"])
def test_a_version_of_ones_own_is_wrapped_and_recovered_by_its_functions(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("summoner.protocol.payload._registered", {})
    register_envelope_version(
        version, lambda value: ([value], "listed"), lambda payload, types: (payload, types)
    )
    frame = wrap_with_types("12", version)
    assert frame == f'{{"_version": "{version}", "_payload": ["12"], "_type": "listed"}}\n'
    assert recover_with_types(python_relay(frame))["content"] == ([12], "listed")


def test_a_caster_that_fails_costs_the_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("summoner.protocol.payload._registered", {})
    register_envelope_version("x.1", lambda value: (value, None), lambda payload, types: payload["absent"])
    with pytest.raises(RecoveryError, match="caster"):
        recover_with_types(python_relay(wrap_with_types({}, "x.1")))


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.sampled_from(SURVIVORS),
    ),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_one_client_wraps_another_recovers_unchanged(payload: Any) -> None:
    frame = wrap_with_types(payload, "1.3.0")
    assert frame.count("\n") == 1
    for relay in (native_relay, python_relay):
        content = recover_with_types(relay(frame))["content"]
        assert content == payload
        assert json.dumps(content) == json.dumps(payload)


addresses = (
    st.sampled_from([ADDRESS, "[::1]:5", "5", '"a:1"', "[1]", '{"a": "2"}', "null", "", "1" * 70])
    | st.text()
    | st.lists(st.integers(), max_size=2)
)


@given(addresses, json_values, st.sampled_from(["", "\n", " \t"]))
def test_the_short_way_through_a_line_leads_where_the_long_one_does(
    address: Any, payload: Any, end: str
) -> None:
    line = json.dumps({"remote_addr": address, "content": wrap_with_types(payload, "1.3.0").strip()})
    long_way = recover_with_types(" " + line)  # the pattern for JSON is asked only where no brace comes first
    for _ in range(2):  # the second time, the address may be known
        assert json.dumps(recover_with_types(line + end)) == json.dumps(long_way)
    assert json.dumps(long_way["remote_addr"]) == json.dumps(fully_recover_json(address))

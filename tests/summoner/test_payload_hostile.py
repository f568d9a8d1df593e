"""Sections 2.5 and 2.6: lines made to harm. Each has a value or one documented error, at bounded cost."""

import contextlib
import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types
from summoner.utils import fully_recover_json, json_recovery
from summoner.utils.json_recovery import MAX_DEPTH, MAX_ENCODINGS


def wrapped(content: str) -> str:
    return json.dumps({"remote_addr": "a:1", "content": content})


def enveloped(payload: str, types: str = '"int"', version: str = '"1.3.0"') -> str:
    return wrapped(f'{{"_version": {version}, "_payload": {payload}, "_type": {types}}}')


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def value_nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


POISON = {
    "an array of 20 000 levels": nested(20_000),
    "20 000 opening brackets": "[" * 20_000,
    "objects of 20 000 levels": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "20 000 levels in content": wrapped(nested(20_000)),
    "5 000 opening brackets in content": wrapped("[" * 5_000),
    "20 000 levels in a payload": enveloped(nested(20_000)),
    "20 000 levels in a type": enveloped("1", nested(20_000)),
    "20 000 levels in a version": enveloped("1", '"int"', nested(20_000)),
    "20 000 levels encoded in an untyped payload": enveloped(json.dumps(nested(20_000)), '"null"'),
    "5 000 digits": "9" * 5_000,
    "5 000 digits in content": wrapped("9" * 5_000),
    "5 000 digits in a payload": enveloped("9" * 5_000),
    "5 000 digits as a string typed as a number": enveloped(f'"{"9" * 5_000}"'),
    "infinity typed as an integer": enveloped("1e400"),
    "bare infinity typed as an integer": enveloped("-Infinity"),
    "infinity as a string typed as an integer": enveloped('"1e400"'),
    "an integer too large for a float": enveloped("1" + "0" * 400, '"float"'),
    "a version that is a list": enveloped("1", '"int"', "[]"),
    "a version that is an object": enveloped("1", '"int"', '{"1.3.0": 1}'),
    "a version that is an encoded list": enveloped("1", '"int"', '"[1]"'),
}


@pytest.mark.parametrize("line", POISON.values(), ids=POISON)
def test_poison_raises_the_documented_error_which_repeats_nothing_of_it(line: str) -> None:
    with pytest.raises(RecoveryError) as caught:
        recover_with_types(line)
    message = str(caught.value)
    assert len(message) < 80
    assert "\n" not in message
    assert "999" not in message


def test_odd_numbers_have_values() -> None:
    assert recover_with_types("1e400") == float("inf")
    assert repr(recover_with_types("[NaN, -Infinity, Infinity]")) == "[nan, -inf, inf]"
    assert repr(recover_with_types(enveloped("NaN"))["content"]) == "nan"
    assert recover_with_types(enveloped("1e400", '"float"'))["content"] == float("inf")
    assert recover_with_types(enveloped("1e400", '"str"'))["content"] == "inf"


@pytest.mark.parametrize(
    "text",
    [
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "0x10",
        "1_000",
        "--1",
        "tru",
        "nul",
        "-NaN",
        "'a'",
        "\ufeff1",
        "\x0b1",
        "1 2",
        "{},",
        "٣",
    ],
)
def test_text_that_is_nearly_json_stays_text(text: str) -> None:
    assert recover_with_types(text + "\n") == text
    assert fully_recover_json([text]) == [text]


def test_a_value_of_the_greatest_depth_is_recovered_and_one_level_more_is_not() -> None:
    assert recover_with_types(nested(MAX_DEPTH)) == value_nested(MAX_DEPTH)
    with pytest.raises(RecoveryError, match="deep"):
        recover_with_types(nested(MAX_DEPTH + 1))


def test_what_may_be_sent_may_be_received_and_the_rest_is_refused_when_sent() -> None:
    deepest_object = json.loads('{"a":' * (MAX_DEPTH - 1) + "1" + "}" * (MAX_DEPTH - 1))
    for deepest in (value_nested(MAX_DEPTH - 1), deepest_object):  # the envelope is one level
        assert recover_with_types(wrapped(wrap_with_types(deepest)))["content"] == deepest
    with pytest.raises(ValueError, match="deep"):
        wrap_with_types(value_nested(MAX_DEPTH))
    with pytest.raises(ValueError, match="deep"):
        wrap_with_types(json.loads('{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH))


def test_the_wrapper_is_one_level_around_untyped_content() -> None:
    assert depth_of(recover_with_types(wrapped(nested(MAX_DEPTH - 1)))) == MAX_DEPTH
    with pytest.raises(RecoveryError, match="deep"):
        recover_with_types(wrapped(nested(MAX_DEPTH)))


@pytest.mark.parametrize("leaf", ["5", '"x"', "null"])
def test_a_leaf_at_the_greatest_depth_needs_no_type(leaf: str) -> None:
    payload, types = (("[" * (MAX_DEPTH - 1) + text + "]" * (MAX_DEPTH - 1)) for text in (leaf, ""))
    for tree in (types, types.replace("[]", "[5]"), "null"):
        content = recover_with_types(enveloped(payload, tree))["content"]
        assert json.dumps(content) == payload


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="deep"):
        wrap_with_types(endless)
    with pytest.raises(RecoveryError, match="deep"):
        fully_recover_json(endless)


def nested_through_a_string(opening: str, depth: int) -> str:
    """A JSON text of the given depth, half of it encoded in a string."""
    inner, outer = depth // 2, depth - depth // 2
    closing = {"[": "]", "{": "}"}[opening[0]]
    inner_text = opening * inner + "null" + closing * inner
    return opening * outer + json.dumps(inner_text) + closing * outer


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_counts_through_strings(opening: str) -> None:
    text = nested_through_a_string(opening, MAX_DEPTH)
    assert depth_of(recover_with_types(text)) == MAX_DEPTH
    with pytest.raises(RecoveryError, match="deep"):
        recover_with_types(nested_through_a_string(opening, MAX_DEPTH + 1))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("typed", [True, False])
def test_depth_counts_through_strings_of_a_payload(opening: str, typed: bool) -> None:
    deepest, too_deep = (nested_through_a_string(opening, MAX_DEPTH - 1 + more) for more in (0, 1))
    assert depth_of(recover_with_types(enveloped(deepest, deepest if typed else "{}"))) == MAX_DEPTH
    with pytest.raises(RecoveryError, match="deep"):
        recover_with_types(enveloped(too_deep, too_deep if typed else "{}"))


def test_a_python_value_of_the_greatest_depth_is_recovered_and_one_level_more_is_not() -> None:
    assert fully_recover_json(value_nested(MAX_DEPTH)) == value_nested(MAX_DEPTH)
    with pytest.raises(RecoveryError, match="deep"):
        fully_recover_json(value_nested(MAX_DEPTH + 1))


def test_wide_values_and_brackets_in_strings_are_not_deep() -> None:
    wide = [[{"a": i}, []] for i in range(2 * MAX_DEPTH)]
    brackets = '[{"' * MAX_DEPTH + "\\"
    payload = {"wide": wide, brackets: brackets}
    assert recover_with_types(wrapped(wrap_with_types(payload)))["content"] == payload


def test_nesting_cannot_overflow_the_stack_even_without_a_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**9)
    try:
        enveloped_ones = enveloped(nested(500_000), nested(500_000))
        for line in (nested(3_000_000), '[{"a":' * 1_000_000, '{"a":' * 1_000_000, enveloped_ones):
            with pytest.raises(RecoveryError, match="deep"):
                recover_with_types(line)
    finally:
        sys.setrecursionlimit(limit)


def test_a_caller_that_stands_deep_gets_the_documented_error() -> None:
    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            with pytest.raises(RecoveryError):
                recover_with_types(nested(MAX_DEPTH))
            with pytest.raises(RecoveryError):
                fully_recover_json(value_nested(MAX_DEPTH))
            with pytest.raises(ValueError, match="deep"):
                wrap_with_types(value_nested(MAX_DEPTH - 1))

    depth = 0
    frame: Any = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    descend(sys.getrecursionlimit() - depth - 200)


def encoded(text: str, times: int) -> str:
    """JSON in a string in a string, written so that each time adds a few characters per quote only."""
    for _ in range(times):
        text = '"' + text.replace("\\", r"\u005c").replace('"', r"\u0022") + '"'
    return text


def test_json_encoded_as_often_as_allowed_is_opened_and_once_more_is_not() -> None:
    assert recover_with_types(encoded("[5]", MAX_ENCODINGS - 1)) == [5]
    with pytest.raises(RecoveryError, match="too many times"):
        recover_with_types(encoded("[5]", MAX_ENCODINGS))


@pytest.mark.parametrize(
    "line",
    [
        encoded("x" * 20_000, 100),
        wrapped(encoded("[5]", 100)),
        json.dumps([encoded("5", 60)] * 5),
        json.dumps(["[" + "x" * 2_000] * 20),
        enveloped(encoded('["a"]', 30), '["str"]'),
        enveloped("[" + ",".join([encoded("5", 10)] * 50) + "]", "[" + ",".join(['"int"'] * 50) + "]"),
    ],
    ids=["string", "content", "list", "broken", "typed", "typed leaves"],
)
def test_the_parser_reads_a_hostile_line_a_bounded_number_of_times(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    characters = 0
    decode_at = json_recovery._decode_at

    def counting(text: str, start: int) -> Any:
        nonlocal characters
        characters += len(text)
        return decode_at(text, start)

    monkeypatch.setattr(json_recovery, "_decode_at", counting)
    with contextlib.suppress(RecoveryError):
        recover_with_types(line)
    assert 0 < characters <= (MAX_ENCODINGS + 1) * len(line)


def depth_of(value: Any) -> int:
    depth, level = 0, [value]
    while containers := [each for each in level if isinstance(each, list | dict)]:
        level = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth


texts = st.text() | st.text(alphabet='"\\[]{},:u0059 \n')
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["str", "int", "null", "float"]),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(texts, below, max_size=4)
        | below.map(json.dumps)
        | st.fixed_dictionaries({"remote_addr": below, "content": below})
        | st.fixed_dictionaries({"_version": below, "_payload": below, "_type": below})
    ),
    max_leaves=25,
)


def test_the_depth_of_a_text_is_that_of_its_deepest_part() -> None:
    text = "[" + ",".join([nested(10), '{"a": ' * 30 + "1" + "}" * 30, nested(20)]) + "]"
    assert json_recovery._depth(text) == 31


@given(values)
def test_the_depth_of_a_text_is_found_without_parsing_it(value: Any) -> None:
    assert max(json_recovery._depth(json.dumps(value)), 2) == max(depth_of(value), 2)


@given(texts | values.map(json.dumps))
@example('{"remote_addr": 1, "content": "{\\"_version\\": {}, \\"_payload\\": 1, \\"_type\\": 1}"}')
def test_any_text_has_a_value_or_raises_the_documented_error(text: str) -> None:
    try:
        value = recover_with_types(text)
    except RecoveryError:
        return
    json.dumps(value)


@given(values, values, values)
def test_any_envelope_has_a_value_or_raises_the_documented_error(
    version: Any, payload: Any, types: Any
) -> None:
    try:
        message = recover_with_types(enveloped(*map(json.dumps, (payload, types, version))))
    except RecoveryError:
        return
    assert list(message) == ["remote_addr", "content"]


def naively_recovered(value: Any) -> Any:
    """Nested recovery as section 2.5 words it."""
    if isinstance(value, str):
        try:
            return naively_recovered(json.loads(value))
        except json.JSONDecodeError:
            return value
    if isinstance(value, list):
        return [naively_recovered(item) for item in value]
    if isinstance(value, dict):
        return {key: naively_recovered(item) for key, item in value.items()}
    return value


@given(values)
def test_nested_recovery_does_what_its_definition_says_and_is_idempotent(value: Any) -> None:
    before = json.dumps(value)
    recovered = fully_recover_json(value)
    assert repr(recovered) == repr(naively_recovered(value))
    assert repr(fully_recover_json(recovered)) == repr(recovered)
    assert json.dumps(value) == before


def test_nested_recovery_leaves_tuples_and_keys_alone() -> None:
    assert fully_recover_json({"1": ("2", ["3"])}) == {"1": ("2", ["3"])}

"""`summoner.config`: defaults, one clear line for a wrong value, a warning for an unknown key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summoner.config import ConfigError, Field, Schema, check

SCHEMA: Schema = {
    "host": Field(str, None, nullable=True),
    "port": Field(int, None, minimum=0, maximum=65535, nullable=True),
    "hyper_parameters": {
        "sender": {
            "concurrency_limit": Field(int, 50, minimum=1),
            "batch_drain": Field(object, True),
            "retry_delay_seconds": Field(float, 3, minimum=0),
        },
        "overflow": Field(str, "drop", choices=("drop", "disconnect")),
        "ratio": Field(float, 0.5, maximum=1),
        "enabled": Field(bool, False),
        "keys": Field(list, None, nullable=True),
    },
}

DEFAULTS: dict[str, Any] = {
    "host": None,
    "port": None,
    "hyper_parameters": {
        "sender": {"concurrency_limit": 50, "batch_drain": True, "retry_delay_seconds": 3},
        "overflow": "drop",
        "ratio": 0.5,
        "enabled": False,
        "keys": None,
    },
}


@pytest.mark.parametrize(
    "config",
    [None, {}, {"hyper_parameters": None}, {"hyper_parameters": {}}, {"hyper_parameters": {"sender": None}}],
)
def test_missing_and_null_sections_yield_the_defaults(config: Any) -> None:
    assert check(SCHEMA, config) == (DEFAULTS, [])


def test_given_values_replace_defaults_and_the_input_stays_as_it_was() -> None:
    sender = {"concurrency_limit": 1, "batch_drain": 0, "retry_delay_seconds": 0.5}
    config = {
        "host": "::1",
        "port": 65535,
        "hyper_parameters": {"sender": sender, "keys": ["a"], "enabled": True, "ratio": 1},
    }
    values, warnings = check(SCHEMA, config)
    assert values == {
        "host": "::1",
        "port": 65535,
        "hyper_parameters": {
            "sender": sender,
            "overflow": "drop",
            "ratio": 1,
            "enabled": True,
            "keys": ["a"],
        },
    }
    assert warnings == []
    values["hyper_parameters"]["sender"].clear()
    assert sender["concurrency_limit"] == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"hyper_parameters": {"sender": {"concurrency_limit": "many"}}},
            'hyper_parameters.sender.concurrency_limit: must be a whole number of at least 1, got "many"',
        ),
        (
            {"hyper_parameters": {"sender": {"concurrency_limit": 0}}},
            "hyper_parameters.sender.concurrency_limit: must be a whole number of at least 1, got 0",
        ),
        (
            {"hyper_parameters": {"sender": {"concurrency_limit": None}}},
            "hyper_parameters.sender.concurrency_limit: must be a whole number of at least 1, got null",
        ),
        (
            {"hyper_parameters": {"sender": {"concurrency_limit": True}}},
            "hyper_parameters.sender.concurrency_limit: must be a whole number of at least 1, got true",
        ),
        (
            {"hyper_parameters": {"sender": {"concurrency_limit": 1.0}}},
            "hyper_parameters.sender.concurrency_limit: must be a whole number of at least 1, got 1.0",
        ),
        ({"port": 65536}, "port: must be a whole number from 0 to 65535 or null, got 65536"),
        ({"port": "8888"}, 'port: must be a whole number from 0 to 65535 or null, got "8888"'),
        ({"host": 5}, "host: must be a string or null, got 5"),
        (
            {"hyper_parameters": {"ratio": 1.5}},
            "hyper_parameters.ratio: must be a number of at most 1, got 1.5",
        ),
        (
            {"hyper_parameters": {"ratio": float("-inf")}},
            "hyper_parameters.ratio: must be a number of at most 1, got -Infinity",
        ),
        (
            {"hyper_parameters": {"ratio": float("nan")}},
            "hyper_parameters.ratio: must be a number of at most 1, got NaN",
        ),
        (
            {"hyper_parameters": {"overflow": "wait"}},
            'hyper_parameters.overflow: must be "drop" or "disconnect", got "wait"',
        ),
        ({"hyper_parameters": {"enabled": 1}}, "hyper_parameters.enabled: must be true or false, got 1"),
        (
            {"hyper_parameters": {"keys": ["a", 1]}},
            'hyper_parameters.keys: must be a list of strings or null, got ["a", 1]',
        ),
        (
            {"hyper_parameters": {"keys": "a"}},
            'hyper_parameters.keys: must be a list of strings or null, got "a"',
        ),
        ({"hyper_parameters": {"sender": [1]}}, "hyper_parameters.sender: must be an object, got [1]"),
        ({"hyper_parameters": 0}, "hyper_parameters: must be an object, got 0"),
        ([1], "configuration: must be an object, got [1]"),
        ({"host": {1, 2}}, "host: must be a string or null, got a value of type set"),
        ({"host": 10**5000}, "host: must be a string or null, got a value of type int"),
        ({"host": ["x" * 100]}, 'host: must be a string or null, got ["' + "x" * 55 + "..."),
    ],
)
def test_a_wrong_value_is_one_line_with_its_full_key(config: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(SCHEMA, config)
    assert str(caught.value) == message


def test_a_config_error_is_a_value_error() -> None:
    assert issubclass(ConfigError, ValueError)


def test_unknown_keys_are_warnings_with_a_suggestion() -> None:
    config = {"hots": "x", 7: "y", "hyper_parameters": {"sender": {"zzz": 1}, "overflows": {"a": "b"}}}
    values, warnings = check(SCHEMA, config)
    assert values == DEFAULTS
    assert sorted(warnings) == [
        "7: unknown key, ignored",
        'hots: unknown key, ignored, did you mean "host"?',
        'hyper_parameters.overflows: unknown key, ignored, did you mean "overflow"?',
        "hyper_parameters.sender.zzz: unknown key, ignored",
    ]


def test_a_part_of_a_configuration_can_be_checked_under_its_full_name() -> None:
    with pytest.raises(ConfigError, match=r"^logger\.level: must be a string, got 5$"):
        check({"level": Field(str, "")}, {"level": 5}, "logger")
    with pytest.raises(ConfigError, match=r"^logger: must be an object, got 5$"):
        check({"level": Field(str, "")}, 5, "logger")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["host", "port", "hyper_parameters", "sender", "ratio", "keys", "x"]),
            below,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_json_value_is_accepted_completely_or_refused_in_one_line(config: Any) -> None:
    try:
        values, warnings = check(SCHEMA, config)
    except ConfigError as error:
        problem = str(error)
    else:
        problem = ""
    assert "\n" not in problem
    if problem:
        return
    assert values.keys() == DEFAULTS.keys()
    assert values["hyper_parameters"].keys() == DEFAULTS["hyper_parameters"].keys()
    assert all("unknown key" in warning for warning in warnings)
    assert check(SCHEMA, values) == (values, [])

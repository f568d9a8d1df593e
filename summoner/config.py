"""Checking a JSON configuration against a declared schema.

A schema is a plain dict whose values are `Field`s or further schemas. `check` applies the defaults, refuses a wrong
value in one line that names its full key, and reports unknown keys without refusing them. This module knows no
key of anybody's configuration: the client, the relay and the logger each declare their own.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN_LENGTH = 60  # characters of a refused value worth repeating to its author

_KIND_NAMES: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of strings",
}


class ConfigError(ValueError):
    """A configuration holds an invalid value. The text is one line: key, expectation, what was given."""


@dataclass(frozen=True)
class Field:
    """One configuration key.

    `kind` is `str`, `bool`, `int`, `float` (whole numbers pass too), `list` (of strings), or `object` for a value
    taken as it is. `minimum` and `maximum` are inclusive. `nullable` lets an explicit `null` through as `None`;
    a missing key yields `default`, which is not checked.
    """

    kind: type
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False

    def accepts(self, value: Any) -> bool:
        """Whether a value given for this key is of the kind and in the range declared."""
        if value is None and self.nullable:
            return True
        if self.kind is object:
            return True
        if self.kind in (int, float):
            return self._accepts_number(value)
        if self.kind is list:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        return isinstance(value, self.kind) and (not self.choices or value in self.choices)

    def _accepts_number(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else (int, float)):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (self.minimum is None or value >= self.minimum) and (
            self.maximum is None or value <= self.maximum
        )

    def expectation(self) -> str:
        """What a valid value is, in words that follow "must be"."""
        words = " or ".join(json.dumps(choice) for choice in self.choices) or _KIND_NAMES[self.kind]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum} to {self.maximum}"
        elif self.minimum is not None:
            words += f" of at least {self.minimum}"
        elif self.maximum is not None:
            words += f" of at most {self.maximum}"
        return words + (" or null" if self.nullable else "")


Schema = Mapping[str, "Field | Schema"]


def check(schema: Schema, config: Any, path: str = "") -> tuple[dict[str, Any], list[str]]:
    """Apply `schema` to a user's configuration.

    Returns the values, complete with defaults and with exactly the keys of the schema, and one warning per unknown
    key. `None` in place of an object counts as an empty one (C2). `path` is the dotted name of `config` itself.
    Raises `ConfigError` for the first invalid value.
    """
    given = {} if config is None else config
    if not isinstance(given, Mapping):
        raise ConfigError(f"{path or 'configuration'}: must be an object, got {_shown(config)}")
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for key, declared in schema.items():
        name = _dotted(path, key)
        if not isinstance(declared, Field):
            values[key], below = check(declared, given.get(key), name)
            warnings += below
        elif key not in given:
            values[key] = declared.default
        elif declared.accepts(given[key]):
            values[key] = given[key]
        else:
            raise ConfigError(f"{name}: must be {declared.expectation()}, got {_shown(given[key])}")
    warnings += [_unknown_key(key, schema, path) for key in given if key not in schema]
    return values, warnings


def _dotted(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _unknown_key(key: object, schema: Schema, path: str) -> str:
    similar = difflib.get_close_matches(str(key), schema, n=1)
    hint = f', did you mean "{similar[0]}"?' if similar else ""
    return f"{_dotted(path, key)}: unknown key, ignored{hint}"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # no JSON value, or an integer too long to print
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."

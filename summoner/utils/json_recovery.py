"""Turning text back into JSON values, however often it was encoded: the nested recovery of section 2.5.

Everything that parses JSON of peers goes through `parse` here, so this module owns the limits that keep a hostile
line cheap: how deep a value may nest, and how many times a string may turn out to be JSON inside JSON. Without the
second limit a line of n bytes, each escape written `\\u005c`, holds about √n encodings and costs n·√n to open.
"""

import json
import re
from itertools import accumulate
from typing import Any

MAX_DEPTH = 500
"""Lists and objects inside each other, JSON in strings counted in. One stack frame each while walking a value, so
that half of the interpreter's default 1000 remains for the caller."""

MAX_ENCODINGS = 16
"""How often a string inside a value may prove to be JSON again. Ordinary encoders double the escapes each time, so
that 16 encodings of the shortest string already fill 64 KiB."""

_decode_at = json.JSONDecoder().raw_decode
_WHITESPACE = " \t\n\r"

# What must stand after leading whitespace for an attempt to parse a text to be worthwhile: the beginning of a
# container or string, or the whole of a scalar. Spares ordinary words, addresses and times the cost of an exception.
_START_OF_JSON = re.compile(
    r"""[ \t\n\r]*+ (?= [\[{"] | (?:
        -?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?
        | true | false | null | NaN | -?Infinity
    ) [ \t\n\r]*+ \Z )""",
    re.VERBOSE,
)
_NOT_A_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")
_UNCHANGED = frozenset({int, float, bool, type(None)})
_STEP = {ord("["): 1, ord("]"): -1}


class RecoveryError(ValueError):
    """A text is JSON beyond the limits of this runtime, or contradicts its own types. Holds no part of the text."""


def parse(text: str) -> Any:
    """The value of a JSON text, or `text` itself, the very object, if it is not JSON.

    Raises `RecoveryError` if it nests deeper than `MAX_DEPTH` or holds an integer of too many digits.
    """
    begin = 0
    if not text.startswith("{"):  # nearly every line
        start = _START_OF_JSON.match(text)
        if start is None:
            return text
        begin = start.end()
    # whether there is any list is found out ten times as fast as how many
    brackets = text.count("{") + (text.count("[") if "[" in text else 0)
    if brackets > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise too_deep()
    try:
        value, end = _decode_at(text, begin)
    except json.JSONDecodeError:
        return text
    except ValueError:  # the interpreter's limit on digits, see sys.set_int_max_str_digits
        raise RecoveryError("an integer has too many digits") from None
    return value if end == len(text) or not text[end:].strip(_WHITESPACE) else text


def unwrap(text: str, encodings: int = MAX_ENCODINGS) -> tuple[Any, int]:
    """Parse a text, and again while the result is a string that parses.

    Returns the value, a string only if that is not JSON, and how many of the allowed `encodings` are left.
    """
    value = parse(text)
    while value is not text:
        if not encodings:
            raise RecoveryError("JSON is encoded in JSON too many times")
        encodings -= 1
        if not isinstance(value, str):
            break
        text = value
        value = parse(text)
    return value, encodings


def fully_recover_json(data: Any) -> Any:
    """`data` with every string that is JSON replaced by its value, through lists, dict values and strings therein.

    Lists and dicts are built anew, dict keys, tuples and everything else left alone. Raises `RecoveryError` beyond
    the limits of this module.
    """
    try:
        return recover(data, 0, MAX_ENCODINGS)
    except RecursionError:  # the caller itself stands deep
        raise too_deep() from None


def recover(value: Any, depth: int, encodings: int) -> Any:
    """`fully_recover_json` for a value that lies `depth` containers deep, with so many `encodings` left."""
    if isinstance(value, str):
        value, encodings = unwrap(value, encodings)
    if not isinstance(value, list | dict):
        return value
    if depth >= MAX_DEPTH:
        raise too_deep()
    if isinstance(value, list):
        items = []
        for item in value:  # no comprehension: it would cost a second frame per level
            items.append(item if type(item) in _UNCHANGED else recover(item, depth + 1, encodings))  # noqa: PERF401
        return items
    members = {}
    for key, item in value.items():
        members[key] = item if type(item) in _UNCHANGED else recover(item, depth + 1, encodings)
    return members


def too_deep() -> RecoveryError:
    """The error for a value beyond `MAX_DEPTH`."""
    return RecoveryError(f"JSON is nested more than {MAX_DEPTH} levels deep")


def _depth(text: str) -> int:
    """The depth of a JSON text in linear time and without recursion; some number if it is not JSON.

    The parser would find out itself, but within the interpreter's recursion limit only, which a program may raise
    beyond what the C stack of its threads can bear.
    """
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    outside_strings = "".join(unescaped.split('"')[::2])
    brackets = outside_strings.encode("ascii", "replace").translate(_SQUARE, _NOT_A_BRACKET)
    # Dropping the innermost pairs takes one level off and leaves little of a wide text.
    brackets = brackets.replace(b"[]", b"").replace(b"[]", b"")
    return 2 + max(accumulate(map(_STEP.__getitem__, brackets)), default=0)

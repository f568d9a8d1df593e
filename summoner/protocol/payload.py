"""The typed envelope around a payload: building it for the wire and opening it again (sections 2.2 to 2.6).

Both directions run once per message. Nothing here reads, writes or logs; recovering raises one kind of error only.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from itertools import zip_longest
from typing import Any, TypedDict

from summoner.utils.json_recovery import MAX_DEPTH, RecoveryError, parse, recover, too_deep, unwrap

__all__ = [
    "DEFAULT_VERSION",
    "RecoveryError",
    "RelayedMessage",
    "recover_with_types",
    "register_envelope_version",
    "wrap_with_types",
]

DEFAULT_VERSION = "0.0.1"

_SAME_FORMAT = frozenset({DEFAULT_VERSION, "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "1.3.0"})

Parser = Callable[[Any], tuple[Any, Any]]
Caster = Callable[[Any, Any], Any]

_registered: dict[str, tuple[Parser, Caster]] = {}

_LEAF_NAMES: dict[type, str] = {str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}
_NO_LEAF = object()
_LONGEST_ADDRESS = 64
_CASTS = {"str": str, "bool": bool, "int": int, "float": float}


class RelayedMessage(TypedDict):
    """What a receiver gets for a typed message: its author's `ip:port` as the relay sees it, and the payload."""

    remote_addr: str
    content: Any


def register_envelope_version(version: str, parser: Parser, caster: Caster) -> None:
    """Add an envelope version of one's own.

    `parser` maps a value to `(payload, type_tree)`, both JSON values; `caster` maps a received `(payload, type_tree)`,
    nested recovery done, back to a value.
    """
    _registered[version] = (parser, caster)


def wrap_with_types(payload: Any, version: str = DEFAULT_VERSION) -> str:
    """The frame for a payload: one line of JSON with its newline, byte for byte that of the official client.

    Raises `ValueError` for an unregistered version or a payload nested too deep for a receiver, and `TypeError` for
    dict keys that JSON does not allow.
    """
    custom = _registered.get(version)
    if custom is None and version not in _SAME_FORMAT:
        raise ValueError(f"envelope version {version!r} is not registered")
    try:
        content, types = custom[0](payload) if custom else _describe(payload, 1)
        return json.dumps({"_version": version, "_payload": content, "_type": types}) + "\n"
    except RecursionError:
        raise too_deep() from None


def recover_with_types(text: str) -> Any:
    """The payload that a received line carries, as hooks and receivers see it.

    A `RelayedMessage` if the line is a relay's wrapper around a typed envelope; else whatever the line is with nested
    recovery applied, which for text that is not JSON is that text without a trailing newline. Strings that their
    sender typed as such arrive verbatim (W1). Raises `RecoveryError`, and nothing else, for a line that has no value
    here (W2): nested too deep, a number out of range, a version that is a list or an object.
    """
    try:
        return _recover_line(text)
    except OverflowError:  # an infinite number typed "int", or a huge integer typed "float"
        raise RecoveryError("a number is out of the range of its type") from None
    except RecursionError:  # the caller itself stands deep
        raise too_deep() from None


def _recover_line(text: str) -> Any:
    value, encodings = unwrap(text)
    if isinstance(value, str):
        return value.removesuffix("\n")
    if not (isinstance(value, dict) and "remote_addr" in value and "content" in value):
        return recover(value, 0, encodings)
    content = value["content"]
    left = encodings
    if isinstance(content, str):
        content, left = unwrap(content, encodings)
        value["content"] = content
    if isinstance(content, dict) and "_version" in content and "_payload" in content and "_type" in content:
        address = value["remote_addr"]
        if not (isinstance(address, str) and len(address) <= _LONGEST_ADDRESS and _is_no_json(address)):
            address = recover(address, 1, encodings)
        return {"remote_addr": address, "content": _open_envelope(content, left)}
    return recover(value, 0, encodings)


@lru_cache(maxsize=256)  # the same few peers write nearly every line
def _is_no_json(address: str) -> bool:
    return parse(address) is address


def _open_envelope(envelope: dict[str, Any], encodings: int) -> Any:
    version = envelope["_version"]
    if not (isinstance(version, str) and (version in _SAME_FORMAT or version in _registered)):
        version = recover(version, 1, encodings)
        if isinstance(version, list | dict):
            raise RecoveryError("the envelope's version is a list or an object")
    custom = _registered.get(version)
    if custom is None:  # W6: an unknown version is read like the default one
        return _cast(envelope["_payload"], envelope["_type"], 1, encodings)
    payload = recover(envelope["_payload"], 1, encodings)
    types = recover(envelope["_type"], 1, encodings)
    try:
        return custom[1](payload, types)
    except Exception as error:  # code of others, run on a peer's data: its failures cost the line only
        raise RecoveryError(f"the caster of envelope version {version} failed") from error


def _describe(value: Any, depth: int) -> tuple[Any, Any]:
    """The JSON form of a payload and the tree of its types. `depth` counts the containers around it."""
    name = _LEAF_NAMES.get(type(value))
    if name is not None:
        return value, name
    if not isinstance(value, list | dict):
        return _describe_unusual(value)
    if depth >= MAX_DEPTH:
        raise too_deep()
    if isinstance(value, list):
        items, item_types = [], []
        for item in value:
            name = _LEAF_NAMES.get(type(item))
            content, types = (item, name) if name is not None else _describe(item, depth + 1)
            items.append(content)
            item_types.append(types)
        return items, item_types
    members, member_types = {}, {}
    for key, item in value.items():
        name = _LEAF_NAMES.get(type(item))
        members[key], member_types[key] = (item, name) if name is not None else _describe(item, depth + 1)
    return members, member_types


def _describe_unusual(value: Any) -> tuple[Any, str]:
    for kind in (str, int, float):  # bool and None cannot be subclassed
        if isinstance(value, kind):
            return value, _LEAF_NAMES[kind]
    return str(value), "str"  # W4


def _cast(value: Any, types: Any, depth: int, encodings: int) -> Any:
    """`value` recovered and cast along its tree of types, from the outside in (W1).

    Values already of the type they should have, strings included, are not looked into; containers test for that
    themselves, which spares a call for nearly every leaf. The depth is bounded where it grows: in `recover`, and by the
    tree of types, which parsing has bounded.
    """
    if isinstance(types, str) and types not in _CASTS:
        types = recover(types, depth, encodings)  # "null", or a tree that was itself encoded
    if isinstance(types, str):
        exact = _LEAF_NAMES.get(type(value), _NO_LEAF) == types
        return value if exact else _cast_leaf(recover(value, depth, encodings), types)
    if isinstance(value, str) and isinstance(types, list | dict):
        value, encodings = unwrap(value, encodings)
    if isinstance(value, dict) and isinstance(types, dict):
        members = {}
        for key, name in types.items():
            if key in value:
                member = value[key]
                exact = _LEAF_NAMES.get(type(member), _NO_LEAF) == name
                members[key] = member if exact else _cast(member, name, depth + 1, encodings)
        if len(members) < len(value):
            for key, member in value.items():
                if key not in members:
                    members[key] = recover(member, depth + 1, encodings)
        return members
    if isinstance(value, list) and isinstance(types, list):
        names = types[: len(value)]  # an element beyond them has the type None, that is, stays unchanged
        items = []
        for item, name in zip_longest(value, names):
            exact = _LEAF_NAMES.get(type(item), _NO_LEAF) == name
            items.append(item if exact else _cast(item, name, depth + 1, encodings))
        return items
    return recover(value, depth, encodings)


def _cast_leaf(value: Any, name: str) -> Any:
    try:
        return _CASTS[name](value) if name in _CASTS else value
    except (ValueError, TypeError):  # text or a container typed as a number
        return value

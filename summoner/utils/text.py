"""Small conversions between values, lines of text and files."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any


def remove_last_newline(s: str) -> str:
    """`s` without one trailing newline, if it has one."""
    return s.removesuffix("\n")


def ensure_trailing_newline(s: str) -> str:
    """`s` with a newline at its end, added only if absent."""
    return s if s.endswith("\n") else s + "\n"


def is_jsonable(x: Any) -> bool:
    """Whether Python's JSON encoder accepts the value."""
    try:
        json.dumps(x)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def load_config(path: str | Path | None, debug: bool = False) -> dict[str, Any]:
    """The object in a JSON file; `{}` for no path, no readable file, invalid JSON, or JSON that is no object.

    With `debug` one line beginning `[DEBUG]` on standard output says what happened.
    """
    config, outcome = _read_object(path)
    if debug:
        print(f"[DEBUG] {outcome}")  # noqa: T201 - runs before any logger is configured
    return config


def _read_object(path: str | Path | None) -> tuple[dict[str, Any], str]:
    if path is None:
        return {}, "No config file given, defaults are used"
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        return {}, f"Config file {path} cannot be read ({error.strerror}), defaults are used"
    except (ValueError, RecursionError) as error:
        return {}, f"Config file {path} is not valid JSON ({error}), defaults are used"
    if not isinstance(config, dict):
        return {}, f"Config file {path} does not hold a JSON object, defaults are used"
    return config, f"Config loaded from {path}"


def format_addr(addr: Any, max_items: int = 10) -> str:
    """A socket address as text (`1.2.3.4:5`, `[::1]:5`, `[fe80::1%2]:5`); other values in a short readable form.

    Mappings become `{a=2, b=1}`, other iterables `[1,2,3]`; beyond `max_items` the rest is shown as `...`.
    """
    if isinstance(addr, str):
        return addr
    if isinstance(addr, bytes | bytearray):
        return addr.decode("utf-8", "replace")
    if (
        isinstance(addr, tuple)
        and len(addr) in (2, 4)
        and isinstance(addr[0], str)
        and isinstance(addr[1], int)
    ):
        return _socket_address(*addr)
    if isinstance(addr, Mapping):
        pairs = sorted((str(key), item) for key, item in addr.items())
        return "{" + ", ".join(_shortened((f"{key}={item}" for key, item in pairs), max_items)) + "}"
    if isinstance(addr, Iterable):
        return "[" + ",".join(_shortened(map(str, addr), max_items)) + "]"
    return str(addr)


def _socket_address(host: str, port: int, _flow_info: int = 0, scope_id: int = 0) -> str:
    if ":" not in host:
        return f"{host}:{port}"
    scope = f"%{scope_id}" if scope_id and "%" not in host else ""
    return f"[{host}{scope}]:{port}"


def _shortened(items: Iterable[str], most: int) -> list[str]:
    shown = list(islice(items, most + 1))
    return shown if len(shown) <= most else [*shown[:most], "..."]

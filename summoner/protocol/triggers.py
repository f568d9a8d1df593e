"""Reading a tree of signals from text, a file or a dict, as the class `Trigger` whose attributes are the signals (5.6).

The signals and events themselves are defined in a private module and importable from here.
"""

import keyword
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from summoner.protocol._signals import Action, Event, Move, Signal, Stay, Test, extract_signal

__all__ = [
    "WORKING_DIR",
    "Action",
    "Event",
    "Move",
    "Signal",
    "Stay",
    "Test",
    "build_triggers",
    "extract_signal",
    "is_valid_varname",
    "load_triggers",
    "parse_signal_tree",
    "parse_signal_tree_lines",
    "preprocess_line",
    "simplify_leaves",
    "update_hierarchy",
]

WORKING_DIR = Path(sys.argv[0] if sys.argv else "").resolve().parent
"""The directory of the running script, fixed when this module is imported; trigger files are looked up there."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_logger = logging.getLogger(__name__)


def load_triggers(
    triggers_file: str | Path | None = "TRIGGERS",
    text: str | None = None,
    json_dict: Mapping[str, Any] | None = None,
) -> type:
    """The class `Trigger` for a tree of signals given as `text`, else as `json_dict`, else in a file.

    A relative file name is looked up in `WORKING_DIR`. Raises `FileNotFoundError` naming the path if there is no such
    file, and `ValueError` for anything but a well-formed tree of usable names.
    """
    try:
        if text is not None:
            return build_triggers(parse_signal_tree_lines(text.splitlines()))
        if json_dict is not None:
            return build_triggers(json_dict)
        return build_triggers(parse_signal_tree(WORKING_DIR / (triggers_file or "TRIGGERS")))
    except RecursionError:
        raise ValueError("the tree of signals is nested too deep") from None


def parse_signal_tree(path: str | Path, tabsize: int = 8) -> dict[str, Any]:
    """`parse_signal_tree_lines` for the lines of a file; errors name it."""
    try:
        return parse_signal_tree_lines(Path(path).read_text(encoding="utf-8-sig").splitlines(), tabsize)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_signal_tree_lines(lines: Iterable[str], tabsize: int = 8) -> dict[str, Any]:
    """The tree that indented lines describe: a nested dict whose leaves are `None`. `ValueError` names the line."""
    tree: dict[str, Any] = {}
    open_branches = [tree]  # the dict that takes names at each depth
    levels = [0]
    for lineno, raw in enumerate(lines, start=1):
        entry = preprocess_line(raw, lineno, tabsize)
        if entry is None:
            continue
        _, indent, name = entry
        try:
            depth = update_hierarchy(indent, levels)
        except ValueError as error:
            raise ValueError(f"line {lineno}: {error}") from None
        if not is_valid_varname(name):
            raise ValueError(f"line {lineno}: invalid name {name!r}")
        if depth >= len(open_branches):  # T1
            raise ValueError(f"line {lineno}: Inconsistent indent, the first name must not be indented")
        if name in open_branches[depth]:
            raise ValueError(f"line {lineno}: duplicate signal name {name!r}")
        open_branches[depth][name] = {}
        open_branches[depth + 1 :] = [open_branches[depth][name]]
    simplify_leaves(tree)
    return tree


def preprocess_line(raw: str, lineno: int, tabsize: int) -> tuple[int, int, str] | None:
    """Line number, indent in columns and name of a line; `None` for one that is blank or a comment."""
    content = raw.partition("#")[0].expandtabs(tabsize).rstrip()
    name = content.lstrip()
    return (lineno, len(content) - len(name), name) if name else None


def update_hierarchy(indent: int, levels: list[int]) -> int:
    """The depth of a line with this indent. `levels` holds the indents open so far and is brought up to date."""
    if not levels or indent > levels[-1]:
        levels.append(indent)
    while levels[-1] > indent:
        levels.pop()
        if not levels or levels[-1] < indent:
            raise ValueError("Inconsistent indent, it matches no enclosing level")
    return len(levels) - 1


def simplify_leaves(tree: dict[str, Any]) -> None:
    """Replace, in place, every empty branch by `None`."""
    for name, branch in tree.items():
        if not branch:
            tree[name] = None
        elif isinstance(branch, dict):
            simplify_leaves(branch)


def is_valid_varname(name: str) -> bool:
    """Whether a name consists of ASCII letters, digits and underscores and does not begin with a digit."""
    return _NAME.fullmatch(name) is not None


def build_triggers(tree: Mapping[str, Any]) -> type:
    """The class `Trigger`: a `Signal` per name as attribute, and the static method `name_of(*path)`.

    What is no dict in the tree counts as a leaf. A name used in two branches stands for the one that comes last (T3).
    `ValueError` for a name that cannot be an attribute.
    """
    signals = list(_signals(tree, ()))
    names = {signal.path: signal.name for signal in signals}
    attributes: dict[str, Any] = {}
    for signal in signals:
        if signal.name in attributes:
            _logger.warning("the signal name %r is used twice, it stands for its last use", signal.name)
        attributes[signal.name] = signal

    def name_of(*path: int) -> str | None:
        return names.get(path)

    return type("Trigger", (), attributes | {"name_of": staticmethod(name_of)})


def _signals(tree: Mapping[str, Any], path: tuple[int, ...]) -> Iterator[Signal]:
    for index, (name, branch) in enumerate(tree.items()):
        if not _is_usable(name):
            raise ValueError(f"the signal name {name!r} is reserved or invalid")
        yield Signal((*path, index), name)
        if isinstance(branch, Mapping):
            yield from _signals(branch, (*path, index))


def _is_usable(name: Any) -> bool:
    """Whether a name can be an attribute of its own; those of every object begin with an underscore."""
    return (
        isinstance(name, str)
        and name not in ("", "name_of")
        and not name.startswith("_")
        and not keyword.iskeyword(name)
    )

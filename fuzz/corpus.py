"""The kept corpus: replaying it, and deciding what is worth keeping. Needs no atheris."""

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz import CORPUS

Arc = tuple[str, int, int]
_REPOSITORY = CORPUS.parent.parent
_OURS = tuple(str(_REPOSITORY / package) for package in ("handfast", "summoner"))


def replay(name: str) -> int:
    """Run the target `name` on every input kept for it.

    Returns:
        How many there were.

    Raises:
        AssertionError: an input does not hold what the target promises.
    """
    inputs = sorted((CORPUS / name).iterdir())
    check = _check_of(name)
    for path in inputs:
        try:
            check(path.read_bytes())
        except Exception as error:
            error.add_note(f"input: {path}")
            raise
    return len(inputs)


def keep(name: str, found: Path) -> int:
    """Keep, of the corpus of target `name` and the inputs in `found`, the smallest that reach all that they reach.

    Returns:
        How many are kept now.
    """
    kept = CORPUS / name
    check = _check_of(name)
    texts = sorted(
        {path.read_bytes() for path in (*kept.iterdir(), *found.iterdir())},
        key=lambda text: (len(text), text),
    )
    reached: set[Arc] = set()
    chosen: dict[str, bytes] = {}
    for text in texts:
        arcs = _arcs(check, text)
        if not arcs <= reached:
            reached |= arcs
            chosen[hashlib.sha1(text, usedforsecurity=False).hexdigest()] = text
    for path in kept.iterdir():
        if path.name not in chosen:
            path.unlink()
    for digest, text in chosen.items():
        (kept / digest).write_bytes(text)
    return len(chosen)


def _check_of(name: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.targets.{name}").check
    return check


def _arcs(check: Callable[[bytes], None], data: bytes) -> set[Arc]:
    """Which line of ours follows which while `data` is checked."""
    arcs: set[Arc] = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(_OURS):
            return None
        last = 0

        def follow(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event in ("line", "return"):
                arcs.add((path, last, frame.f_lineno))
                last = frame.f_lineno
            return follow

        return follow

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return arcs

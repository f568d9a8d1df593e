"""A tree of signals is a class of signals or `ValueError`; the signals stand in the order of the tree."""

import json
import logging
from collections.abc import Callable

from summoner.protocol import Signal
from summoner.protocol.triggers import load_triggers

IS_JSON = False
WORDS = ("\n", "\n  ", "\n\t", "#", "OK", "acceptable", "name_of", "class", "_x", '{"a":', "null", "}")

# a name used twice is a warning, which goes to standard error where nobody listens
logging.getLogger("summoner.protocol.triggers").addHandler(logging.NullHandler())


def check(data: bytes) -> None:
    """Read `data` as indented text, and as JSON."""
    text = data.decode("utf-8", "replace")
    _check(lambda: load_triggers(text=text))
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(tree, dict):
        _check(lambda: load_triggers(json_dict=tree))


def _check(load: Callable[[], type]) -> None:
    try:
        trigger = load()
    except ValueError:
        return
    for name, signal in vars(trigger).items():
        if isinstance(signal, Signal):
            assert signal.name == name == trigger.name_of(*signal.path)  # type: ignore[attr-defined]
            for depth in range(1, len(signal.path)):
                assert Signal(signal.path[:depth], "above") > signal

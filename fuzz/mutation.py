"""Mutations that keep JSON what it is, for targets that would otherwise spend their time on broken brackets."""

import json
import random
from collections.abc import Callable
from typing import Any

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    2**63,
    10**30,
    float("nan"),
    "",
    [],
    {},
    "\ud800",
    "\0",
)


def mutate_json(
    data: bytes, max_size: int, seed: int, words: tuple[str, ...], otherwise: Callable[[bytes, int], bytes]
) -> bytes:
    """`data` with one value or name in it changed; by `otherwise`, where it is no JSON and now and then.

    Args:
        data: what to mutate.
        max_size: how many bytes may come of it.
        seed: decides what is changed; the same seed changes the same.
        words: texts that mean something to the target.
        otherwise: libFuzzer's own mutation.
    """
    chance = random.Random(seed)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if value is None or chance.random() < 0.2:
        return otherwise(data, max_size)
    mutated = json.dumps(_mutated(value, chance, words, otherwise)).encode("ascii")
    return mutated if len(mutated) <= max_size else otherwise(data, max_size)


def _mutated(
    value: Any, chance: random.Random, words: tuple[str, ...], otherwise: Callable[[bytes, int], bytes]
) -> Any:
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        what = chance.random()
        if what < 0.1:
            del value[key]
        elif what < 0.2 and isinstance(value, dict):
            value[chance.choice(words)] = value[key]
        else:
            value[key] = _mutated(value[key], chance, words, otherwise)
        return value
    what = chance.random()
    if isinstance(value, str) and what < 0.5:
        return otherwise(value.encode("utf-8", "surrogatepass"), len(value) + 8).decode("utf-8", "replace")
    if what < 0.75:
        return chance.choice(words)
    return [value] if what < 0.8 else {chance.choice(words): value} if what < 0.85 else chance.choice(_ODD)

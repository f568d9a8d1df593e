"""Every input that fuzzing kept still holds what its target promises; on every platform, atheris or not."""

import random

import pytest

from fuzz import TARGETS
from fuzz.corpus import replay
from fuzz.mutation import mutate_json


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_inputs_hold_what_the_target_promises(name: str) -> None:
    assert replay(name) >= 5


def test_a_mutation_of_json_is_bounded_and_the_same_for_the_same_seed() -> None:
    def otherwise(data: bytes, max_size: int) -> bytes:
        return data[:max_size] or b"x"

    text = b'{"a":[1,"two",{"three":null}],"b":"","c":true}'
    made = set()
    for seed in range(300):
        once, twice = (mutate_json(text, 200, seed, ("word",), otherwise) for _ in range(2))
        assert once == twice
        assert len(once) <= 200
        made.add(once)
    assert len(made) > 50
    assert mutate_json(b"[", 200, 1, ("word",), otherwise) == b"["
    assert mutate_json(text, 5, random.Random(2).randrange(10), ("word",), otherwise) == text[:5]

"""One target under libFuzzer, in a process of its own: `python -m fuzz.engine TARGET [libFuzzer's arguments]`.

With the name of a file as argument it runs the target once on that file, which is how a find is looked at.
"""

import importlib
import sys

import atheris

from fuzz.mutation import mutate_json


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["handfast", "summoner"]):
        target = importlib.import_module(f"fuzz.targets.{name}")

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate_json(data, max_size, seed, target.WORDS, atheris.Mutate)

    atheris.Setup(sys.argv, target.check, custom_mutator=mutate if target.IS_JSON else None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

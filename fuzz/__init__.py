"""Coverage-guided fuzzing of everything that reads what others wrote: `make fuzz`.

A target in `targets/` is one function, `check(data)`, that feeds any bytes to one parser and asserts what must hold of the
outcome. atheris (libFuzzer) searches for bytes that reach new code; what it found worth keeping is in `corpus/`, and
`test_corpus.py` replays that with the test suite, on every platform and without atheris.
"""

from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent
CORPUS = DIRECTORY / "corpus"
TARGETS = sorted(path.stem for path in (DIRECTORY / "targets").glob("[!_]*.py"))

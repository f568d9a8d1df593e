"""`make mutants`: does a test fail for every small wrong change to a guard, a check or an action?

Each mutant is put into a copy of the repository, where the tests that concern its file run until one fails. Those that
survive must be in `survivors.txt` with the reason; any other survivor, and any reason for a mutant that no longer
survives, is an error. Takes 1 to 2 s for each of some 1,600 mutants: 20 minutes on two cores. Files that are not in
`TESTS` are not mutated: of the core that is, above all, the conversation of version 2.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mutants import Mutant, mutants_of
from survivors import read_survivors

ROOT = Path(__file__).resolve().parent.parent.parent
_CORE = "tests/handfast/"


def _files(room: str, *names: str, tests: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The same tests for several files."""
    return {f"handfast/{room}/{name}.py": tuple(f"{_CORE}test_{test}.py" for test in tests) for name in names}


_WIRE_2 = _files("wire/v2", "frames", "header", "messages", "offers", "payloads", tests=("wire_v2",))
_NOISE = _files("noise", "cipherstate", "symmetricstate", "handshakestate", "patterns", tests=("noise",))
_SESSION_2 = {
    **_files(
        "session/v2",
        *("initiator", "responder", "parties", "negotiation", "suites"),
        tests=("session_v2_negotiation", "session_v2", "session_v2_resumption"),
    ),
    **_files("session/v2", "resumption", "transcript", tests=("session_v2_vectors", "session_v2_resumption")),
    **_files(
        "session/v2",
        *("session", "generation", "schedule", "window"),
        tests=("session_v2_vectors", "session_v2_packets"),
    ),
}
_TRUST_2 = {
    **_files(
        "trust",
        "statement",
        "certificate",
        "revocation",
        "rotation",
        tests=("trust_vectors", "trust_statements"),
    ),
    **_files("trust", "authority", tests=("authority",)),
    **_files("trust", "decision", tests=("trust_decision",)),
    **_files("identity", "agent_ids", "binding", tests=("identity_v2",)),
}

_STEPS_1 = ("steps_v1", "table", "conversation", "v2_review", "lossy_link")
_CONVERSATION_1 = {
    path: (*tests, "tests/model/test_model.py::test_the_table_keeps_its_promises_within_small_bounds")
    for path, tests in {
        **_files("conversation", "shared", tests=_STEPS_1),
        **_files("conversation/v1", "responder", "initiator", "parts", "messages", tests=_STEPS_1),
    }.items()
}

# which tests stand for a file: quick ones, the likeliest to fail first
TESTS = {
    **_CONVERSATION_1,
    "handfast/session/v1.py": (f"{_CORE}test_session_v1.py", f"{_CORE}test_steps_v1.py"),
    "handfast/trust/v1.py": (f"{_CORE}test_trust_and_audit.py", f"{_CORE}test_steps_v1.py"),
    "handfast/wire/v1.py": (f"{_CORE}test_wire_messages.py", f"{_CORE}test_steps_v1.py"),
    "handfast/wire/text.py": (f"{_CORE}test_wire_text.py", f"{_CORE}test_wire_messages.py"),
    **_WIRE_2,
    **_NOISE,
    **_SESSION_2,
    **_TRUST_2,
    "handfast/crypto/keys.py": (f"{_CORE}test_keys.py", f"{_CORE}test_session_v1.py"),
    "summoner/server/policies.py": (
        "tests/summoner/test_server_core.py",
        "tests/summoner/test_server_policies.py",
    ),
}
# a mutant that makes a loop endless is found out by this
_SECONDS = 180


def main() -> int:
    """0 where exactly the survivors that are explained survive."""
    parser = argparse.ArgumentParser(prog="tests/mutation", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose name holds this text")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn by chance")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (one per core)")
    arguments = parser.parse_args()
    every = all_mutants()
    chosen = [mutant for mutant in every if arguments.only in mutant.name]
    if arguments.sample is not None:
        chosen = random.sample(chosen, min(arguments.sample, len(chosen)))
    explained = read_survivors()
    wrong = sorted(explained.keys() - {mutant.name for mutant in every})
    for name in wrong:
        print(f"EXPLAINED, BUT THERE IS NO SUCH MUTANT  {name}")
    surviving: set[str] = set()
    for number, (mutant, survives) in enumerate(_judge(chosen, arguments.jobs), start=1):
        if survives:
            surviving.add(mutant.name)
        if survives != (mutant.name in explained):
            wrong.append(mutant.name)
            print(f"{'SURVIVES' if survives else 'EXPLAINED, BUT KILLED'}  {mutant.name}", flush=True)
        if number % 50 == 0:
            print(f"{number} of {len(chosen)}", flush=True)
    as_explained = len(surviving & explained.keys())
    print(
        f"{len(chosen)} mutants: {len(chosen) - len(surviving)} killed, {as_explained} survive as explained, "
        f"{len(surviving) - as_explained} without a reason"
    )
    return 1 if wrong else 0


def all_mutants() -> list[Mutant]:
    """Every mutant of every file that has tests here."""
    return [
        mutant for path in TESTS for mutant in mutants_of(path, (ROOT / path).read_text(encoding="utf-8"))
    ]


def _judge(mutants: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant with whether it survives its tests."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(_copy(Path(place) / str(number)))
        for path in {TESTS[mutant.path]: mutant.path for mutant in mutants}.values():
            copy = copies.get()
            if not _passes(copy, path):
                sys.exit(f"the tests of {path} fail without any mutant")
            copies.put(copy)

        def judge(mutant: Mutant) -> tuple[Mutant, bool]:
            copy = copies.get()
            try:
                return mutant, _survives(copy, mutant)
            finally:
                copies.put(copy)

        yield from pool.map(judge, mutants)


def _survives(copy: Path, mutant: Mutant) -> bool:
    file = copy / mutant.path
    original = file.read_bytes()
    try:
        file.write_text(mutant.source, encoding="utf-8")
        return _passes(copy, mutant.path)
    finally:
        file.write_bytes(original)


def _passes(copy: Path, path: str) -> bool:
    # compiled files are told by size and whole seconds, which a mutant may share with the one before it
    shutil.rmtree((copy / path).parent / "__pycache__", ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "--hypothesis-profile=mutants",
        *TESTS[path],
    ]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    try:
        run = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def _copy(to: Path) -> Path:
    wanted = ("handfast", "summoner", "db_sdk", "tests", "pyproject.toml")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in wanted:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, to / name)
    return to


if __name__ == "__main__":
    sys.exit(main())

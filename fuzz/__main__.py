"""`python -m fuzz`: run the targets for some seconds each, or replay their corpus where atheris is not to be had.

New inputs and finds stay in `.fuzz/`, which no commit takes; `--keep` lets those into the corpus that reach code which
no smaller one does.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz import CORPUS, DIRECTORY, TARGETS
from fuzz.corpus import keep, replay

WORK = DIRECTORY.parent / ".fuzz"
_LIMITS = ("-max_len=2048", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1")


def main() -> int:
    """0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads what others wrote.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if none is given"
    )
    parser.add_argument("--seconds", type=int, default=20, help="for each target (20)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="targets at once (one per core)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="let what was found to reach new code into the corpus"
    )
    arguments = parser.parse_args()
    names = arguments.targets or TARGETS
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not to be had on this platform: the corpus is replayed, nothing is searched")
        for name in names:
            print(f"{name:<16} {replay(name):>5} inputs replayed")
        return 0
    with ThreadPoolExecutor(max_workers=arguments.jobs) as pool:
        passed = list(pool.map(lambda name: _fuzz(name, arguments.seconds), names))
    if arguments.keep:
        for name in names:
            print(f"{name:<16} {keep(name, WORK / name):>5} inputs kept")
    return 0 if all(passed) else 1


def _fuzz(name: str, seconds: int) -> bool:
    """Whether `seconds` passed without a find; prints one line, or what was found."""
    kept, new = CORPUS / name, WORK / name
    for directory in (kept, new):
        directory.mkdir(parents=True, exist_ok=True)
    words = WORK / f"{name}.words"
    words.write_text(_dictionary(name), encoding="ascii")
    run = _engine(
        name, f"-max_total_time={seconds}", f"-dict={words}", f"-artifact_prefix={WORK}/{name}-", *_LIMITS,
        str(new), str(kept),
    )  # fmt: skip
    if run.returncode != 0:
        _, _, report = run.stdout.partition(" === Uncaught")
        print(f"{name:<16} FOUND SOMETHING\n{report or run.stdout[-4000:]}")
        if found := re.search(r"Test unit written to (\S+)", run.stdout):
            print(f"Look at it with: {Path(sys.executable)} -m fuzz.engine {name} {found[1]}")
        return False
    executed = re.search(r"number_of_executed_units: (\d+)", run.stdout)
    reached = re.findall(r"cov: (\d+)", run.stdout)
    print(
        f"{name:<16} {int(executed[1]) if executed else 0:>9,} inputs in {seconds} s, "
        f"{reached[-1] if reached else 0:>4} edges reached, {len(list(kept.iterdir()))} inputs kept: nothing found",
        flush=True,
    )
    return True


def _engine(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuzz.engine", name, *arguments],
        cwd=DIRECTORY.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip


def _dictionary(name: str) -> str:
    """The target's words in libFuzzer's form: quoted, everything unusual as `\\xNN`."""
    words = importlib.import_module(f"fuzz.targets.{name}").WORDS
    return "".join(
        '"'
        + "".join(
            chr(byte) if byte < 128 and chr(byte).isalnum() else f"\\x{byte:02x}" for byte in word.encode()
        )
        + '"\n'
        for word in words
    )


if __name__ == "__main__":
    sys.exit(main())

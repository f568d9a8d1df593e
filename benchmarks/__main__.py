"""`make bench`: every measurement, one after the other, as one table.

python -m benchmarks [--json FILE] [--only PART]...
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import client, conversation, noise, one_process, orm, relay, sealing, session_v2, step
from benchmarks.measure import Result, print_table, write_json

PARTS: dict[str, Callable[[], list[Result]]] = {
    "sealing": sealing.run,
    "noise": noise.run,
    "session_v2": session_v2.run,
    "step": step.run,
    "one_process": one_process.run,
    "orm": orm.run,
    "relay": relay.run,
    "client": client.run,
    "conversation": conversation.run,
}


def main() -> None:
    """Read what is asked for, measure it, tell it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, side by side, as ratios."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}"
    )
    chosen = parser.parse_args()
    if chosen.json is not None and not chosen.json.absolute().parent.is_dir():
        parser.error(f"no such directory: {chosen.json.absolute().parent}")
    results: list[Result] = []
    for name in chosen.only or PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        results.extend(PARTS[name]())
    print_table(results)
    if chosen.json is not None:
        write_json(chosen.json, results)


if __name__ == "__main__":
    main()

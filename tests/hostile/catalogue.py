"""The catalogue of hostile cases: what is sent, what must come of it, and the check; `docs/hostile-cases.md` is made of it.

    python tests/hostile/catalogue.py

Cases stand in the `cases_*` modules; `test_hostile_cases.py` runs them.
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "hostile-cases.md"

MODULES = (
    *("parsing", "identity", "handshake", "transport", "conversation", "resources", "storage", "time"),
    *("v2_handshake", "v2_sessions", "v2_keys", "v2_trust", "v2_versions", "v2_running"),
)
GROUPS = (
    "Framing and parsing",
    "Identity and keys",
    "Handshake",
    "Transport",
    "Conversation",
    "Resources",
    "Storage",
    "Time",
    "Version 2: handshake",
    "Version 2: sessions",
    "Version 2: trust",
    "Version 2: versions",
    "Version 2: resources",
)

# where a case runs, as the page explains it
SHARED, FRESH, OWN, WORLD = "running agent", "agent of its own", "agents it starts", "fake world"
SHARED_2, FRESH_2, WORLD_2 = "running agent, v2", "agent of its own, v2", "fake world, v2"

Check = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """One hostile case.

    Attributes:
        id: its name, unique and stable.
        group: the chapter of the page.
        sends: what the attacker, the relay or the machine does.
        outcome: what must come of it.
        where: what it runs against.
        slow: whether it is left to the long runs.
        check: does it, and raises where the outcome is another.
    """

    id: str
    group: str
    sends: str
    outcome: str
    where: str
    slow: bool
    check: Check


CASES: dict[str, Case] = {}


def chapter(group: str, default_where: str = SHARED) -> Callable[..., Callable[[Check], Check]]:
    """A decorator factory that adds cases to one group."""

    def case(
        name: str, sends: str, outcome: str, where: str = default_where, *, slow: bool = False
    ) -> Callable[[Check], Check]:
        def add(check: Check) -> Check:
            if name in CASES:
                raise ValueError(f"two cases are called {name}")
            CASES[name] = Case(name, group, sends, outcome, where, slow, check)
            return check

        return add

    return case


def all_cases() -> list[Case]:
    """Every case, in the order of the page."""
    for name in MODULES:
        importlib.import_module(f"cases_{name}")
    return sorted(CASES.values(), key=lambda case: GROUPS.index(case.group))


HEAD = """\
# Hostile cases

<!-- generated from tests/hostile by `python tests/hostile/catalogue.py` -->

What a relay, a participant or the machine can do to an agent, and what comes of it. Every row is a test
(`pytest tests/hostile -k ID`; those marked *long* run with `make test-slow`). Where it runs:

* **running agent**: a victim and an honest peer as real processes on a real relay, with an attacker on a socket of his own;
  dozens of cases meet the same victim, one after the other.
* **agent of its own**: the same, started for this case alone, because what it does to memory or budgets would disturb others.
* **agents it starts**: processes started with the files or in the surroundings that the case is about.
* **fake world**: the same driver and table with a clock that the test moves, for what needs days or exact moments.
* **v2**: the same with agents of version 2; the other cases are about version 1, spoken between ids of the first generation. In
  the fake world of version 2, each message can be met at the exact moment when it matters, before or instead of the true one;
  "at once" means there that the conversation closes with the same messages, and no timer had to help.

After every case the victim is alive, its log holds no traceback and no control character, and it completes a new conversation
with the honest peer in both directions; nothing was delivered twice.

Beside these, `test_chaos_runs.py` leads up to 200 conversations of either version over a relay that does all of this at random,
`tests/handfast/test_v2_forward_secrecy.py` gives every long-term key away and opens nothing that was recorded, and
`test_relay_restarts.py` restarts the relay ten times in a row under conversations, `kill -9` among it: none is lost.
`test_shares.py` holds the [caps](#caps) to what they promise to known peers.
"""


def markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    cases = all_cases()
    for group in dict.fromkeys(case.group for case in cases):
        parts.append(
            f"\n## {group}\n\n| id | what is sent or done | safe outcome | where |\n|---|---|---|---|\n"
        )
        parts += [
            f"| `{case.id}` | {case.sends} | {case.outcome} | {case.where}{', *long*' if case.slow else ''} |\n"
            for case in cases
            if case.group == group
        ]
    return "".join(parts) + importlib.import_module("caps").markdown()


if __name__ == "__main__":
    importlib.import_module("conftest")  # whose paths pytest would have taken in
    # run as a script this module has another name than the one that the cases import
    catalogue = importlib.import_module("catalogue")
    PAGE.write_text(catalogue.markdown(), encoding="utf-8")

"""Tables with one row or one guard taken away, each of which a checker must tell from the shipped one."""

from dataclasses import replace

import pytest

from handfast.conversation import step as stepping
from handfast.conversation.turn import Transition

Table = tuple[Transition, ...]

_REMOVED, _ALWAYS = "without the row", "without its guard"


def mutants_of(table: Table) -> dict[str, Table]:
    """All of them, by name."""
    mutants: dict[str, Table] = {}
    for number, row in enumerate(table):
        guard = row.guard.__name__.strip("_")
        name = f"{row.state}, {row.on}, {guard}"
        before, after = table[:number], table[number + 1 :]
        mutants[f"{name}: {_REMOVED}"] = (*before, *after)
        if guard != "always":
            mutants[f"{name}: {_ALWAYS}"] = (*before, replace(row, guard=lambda turn: True), *after)
    return mutants


def put(monkeypatch: pytest.MonkeyPatch, version: int, table: Table) -> None:
    """Let conversations of this version run over another table."""
    monkeypatch.setitem(stepping._ROWS, version, stepping._by_event(table))

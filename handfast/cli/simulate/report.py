"""What is told of finished runs: a table for people, JSON for programs, and the progress of a run under way."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from handfast.cli.simulate.known_peers import Cost
from handfast.cli.simulate.results import Ledger, Result

_NOTHING = "–"
_MEBI = 1024 * 1024


@contextmanager
def progress(console: Console, agents: int) -> Iterator[Callable[[Ledger], None]]:
    """A live bar of the pairs that have closed, where there is a terminal to show it on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{agents} agents start")

        def show(ledger: Ledger) -> None:
            started = len(ledger.started)
            text = f"{agents} agents" if started >= agents else f"{started} of {agents} agents"
            told = f"{text}, {ledger.conversations} conversations"
            bar.update(task, description=told, completed=len(ledger.closed), total=ledger.pairs_expected)

        yield show


def table_of(results: Sequence[Result]) -> Table:
    """One column for each run."""
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    table.add_column("agents", no_wrap=True)
    for result in results:
        table.add_column(str(result.agents), justify="right", no_wrap=True)

    def row(what: str, show: Callable[[Result], str]) -> None:
        table.add_row(what, *map(show, results))

    row("directed pairs closed", lambda one: f"{one.pairs}/{one.pairs_expected}")
    row("seconds, from the beginning", lambda one: f"{one.seconds:.1f}")
    row("seconds, from all started", lambda one: _number(one.seconds_after_start))
    row("conversations", lambda one: str(one.conversations))
    row("conversations per second", lambda one: f"{one.conversations_per_second:.1f}")
    for name in ("p50", "p90", "p99", "max"):
        row(f"first confirm to close, {name}, ms", lambda one, name=name: _ms(one.latency.get(name)))  # type: ignore[misc]
    row("CPU seconds, an agent at most", lambda one: _number(one.agent_cpu))
    row("CPU seconds, all agents", lambda one: _number(one.fleet_cpu))
    row("CPU seconds, relay", lambda one: _number(one.relay_cpu))
    row("memory, an agent at most, MiB", lambda one: _mebibytes(one.agent_memory_bytes))
    row("memory, an agent's peak, MiB", lambda one: _mebibytes(one.agent_peak_bytes))
    row("memory, relay, MiB", lambda one: _mebibytes(one.relay_memory_bytes))
    row("lines said", lambda one: str(one.lines))
    row("lines delivered", lambda one: str(one.deliveries))
    row("MB delivered", lambda one: f"{one.bytes / 1e6:.1f}")
    row("lines lost on purpose", lambda one: str(one.lost))
    row("messages refused", lambda one: str(sum(one.refused.values())))
    row("lines in plain text", lambda one: str(one.plaintext))
    return table


def cost_table(costs: Sequence[Cost]) -> Table:
    """One row for each number of known peers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (
        "known peers",
        "µs per message of a conversation",
        "µs per first register",
        "per later register",
    ):
        table.add_column(title, justify="right")
    for cost in costs:
        times = (cost.message, cost.first_register, cost.later_register)
        table.add_row(str(cost.peers), *map(_microseconds, times))
    return table


def as_json(flags: Mapping[str, object], results: Sequence[Result], costs: Sequence[Cost]) -> str:
    """What was asked for, and all that came of it, with the members of `Result` and `Cost`."""
    members = {
        "flags": dict(flags),
        "runs": [asdict(one) for one in results],
        "known_peers": [asdict(one) for one in costs],
    }
    return json.dumps(members, indent=1) + "\n"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1f}"


def _ms(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds * 1000:.0f}"


def _microseconds(seconds: float | None) -> str:
    return _NOTHING if seconds is None else f"{seconds * 1e6:.0f}"


def _mebibytes(value: int | None) -> str:
    return _NOTHING if value is None else f"{value / _MEBI:.0f}"

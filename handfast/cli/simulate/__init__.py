"""`handfast simulate`: fleets of agents on a relay, how far they get, and what it costs."""

import asyncio
import math
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console

from handfast.cli.simulate.chart import check_plot, write_plot
from handfast.cli.simulate.fleet import Fleet, Plan
from handfast.cli.simulate.known_peers import MOST_PEERS, Cost, cost_with
from handfast.cli.simulate.report import as_json, cost_table, progress, table_of
from handfast.cli.simulate.results import Result
from handfast.errors import UsageError

# A process each, and every line reaches all of them: more is beyond any machine this runs on.
_MOST_AGENTS = 200
_TERMINATED = 128 + signal.SIGTERM
_TEMPORARY = "handfast-simulate-"


def _numbers(low: int, high: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...]]:
    """A flag's callback that takes whole numbers with commas between them."""

    def convert(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
        parts = [] if text is None else text.split(",")
        if not all(part.isdecimal() and len(part) < 10 and low <= int(part) <= high for part in parts):
            wanted = f"must be whole numbers from {low} to {high}, such as {low + 2},{low + 6}"
            raise click.BadParameter(f"{wanted}; got {str(text)[:40]!r}", context, parameter)
        return tuple(map(int, parts))

    return convert


class _Between(click.FloatRange):
    """A range that holds numbers only: `nan` is neither below nor above any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


@click.command()
@click.option(
    "--agents",
    metavar="N[,N…]",
    callback=_numbers(2, _MOST_AGENTS),
    help="How many agents; a list: one run each.",
)
@click.option("--minutes", type=_Between(0.01, 1440), default=10.0, help="A run's longest time. Default: 10.")
@click.option(
    "--in-one-process", is_flag=True, help="All agents in one process, without the Summoner client."
)
@click.option("--directed", is_flag=True, help="The relay delivers a line to its addressee alone.")
@click.option("--loss", type=_Between(0, 0.95), default=0.0, help="The share of deliveries that is lost.")
@click.option("--seed", type=int, default=0, help="Of the losses. Keys and nonces are always random.")
@click.option(
    "--reconnect-every",
    type=_Between(0.1, 86_400),
    default=10.0,
    help="Seconds until two that know each other talk again. Default: 10, as agents do.",
)
@click.option(
    "--known-peers",
    metavar="N[,N…]",
    callback=_numbers(0, MOST_PEERS),
    help="Measure a message's cost with so many.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here."
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the runs: FILE.svg or FILE.png."
)
def simulate(
    agents: Sequence[int],
    known_peers: Sequence[int],
    json_file: Path | None,
    plot: Path | None,
    minutes: float,
    **plan: Any,
) -> int:
    """Run fleets of agents until everybody has closed a conversation with everybody else, in both directions.

    A relay and N agents are started as processes on this machine, with identities and databases in a temporary
    directory that is removed afterwards, and somebody listens and checks that no line is readable. The exit status is
    0 only if all pairs closed in time, nothing was in plain text and no agent ended.

    \b
    Examples:
      handfast simulate --agents 16
      handfast simulate --agents 4,8,16,25 --json scale.json --plot scale.svg
      handfast simulate --agents 50 --directed
      handfast simulate --agents 8 --loss 0.3 --seed 7
      handfast simulate --known-peers 0,100,10000
    """
    if not agents and not known_peers:
        raise click.UsageError("give --agents N, or --known-peers N, or both")
    if plot is not None:
        if not agents:
            raise click.UsageError("--plot draws runs: give --agents N as well")
        check_plot(plot)
    for file in filter(None, (json_file, plot)):
        _check_writable(file)
    basis = Plan(agents=0, seconds=minutes * 60, **plan)
    try:
        results, costs = asyncio.run(_run([replace(basis, agents=number) for number in agents], known_peers))
    except asyncio.CancelledError:  # by SIGTERM; everything is cleaned up
        return _TERMINATED
    if json_file is not None:
        json_file.write_text(as_json({"minutes": minutes} | plan, results, costs), encoding="utf-8")
    if plot is not None:
        write_plot(plot, results)
    problems = [f"{one.agents} agents: {problem}" for one in results for problem in one.problems]
    if problems:
        raise click.ClickException("; ".join(problems))
    return 0


def _check_writable(path: Path) -> None:
    """Raise a UsageError if a file could not be written after all runs, as far as that can be told before them."""
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path}: cannot be written there")


async def _run(plans: Sequence[Plan], known_peers: Sequence[int]) -> tuple[list[Result], list[Cost]]:
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError):  # event loops on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    out, bars = Console(), Console(stderr=True)
    results, costs = [], []
    for plan in plans:
        with (
            TemporaryDirectory(prefix=_TEMPORARY, ignore_cleanup_errors=True) as directory,
            progress(bars, plan.agents) as show,
        ):
            results.append(await Fleet(plan, Path(directory), show).run())
    if results:
        out.print(table_of(results))
    for number in known_peers:
        with TemporaryDirectory(prefix=_TEMPORARY, ignore_cleanup_errors=True) as directory:
            costs.append(await cost_with(number, Path(directory)))
    if costs:
        out.print(cost_table(costs))
    return results, costs

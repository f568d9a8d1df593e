"""One run: a relay, its agents as processes, and a listening participant; started, watched, measured, ended in any case."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handfast.adapters.files import PASSPHRASE_VARIABLE
from handfast.cli.agent import agent_command
from handfast.cli.demo.processes import Child, RelayProcess
from handfast.cli.simulate.listener import Listener
from handfast.cli.simulate.resources import Use, use_of
from handfast.cli.simulate.results import Ledger, Result, percentiles
from handfast.errors import HandfastError

# How long the relay may take to start, and any child between its end and the last of what it wrote.
_PATIENCE_SECONDS = 30.0
# So many agents are told to stop at a time: each then has a share of the processor in which to do it.
_STOPPED_AT_ONCE = 8
_MISSING_SHOWN = 3
_HERE = Path(__file__).resolve().parent

# The agent's own defaults, but for a log that nobody reads here.
_AGENT_CONFIG = {
    "logger": {"log_level": "WARNING"},
    "hyper_parameters": {"reconnection": {"retry_delay_seconds": 1, "primary_retry_limit": None}},
}


class SimulationFailed(HandfastError):
    """A run could not be made at all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        agents: how many.
        seconds: how long at most.
        in_one_process: all of them in one process, without the Summoner client.
        directed: the relay delivers a line to its addressee alone.
        loss: the probability that a line does not reach one of its recipients.
        seed: of the faults.
        reconnect_every: the pause before the next conversation with a known peer, in seconds.
    """

    agents: int
    seconds: float
    in_one_process: bool = False
    directed: bool = False
    loss: float = 0.0
    seed: int = 0
    reconnect_every: float = 10.0


class _Measured(Child):
    """A child whose use of the machine can be asked for."""

    grace_seconds = _PATIENCE_SECONDS  # among fifty busy ones, ending takes its time

    @property
    def use(self) -> Use | None:
        """What it has used so far; None where that cannot be told."""
        return None if self._process is None else use_of(self._process.pid)


class _Relay(_Measured, RelayProcess):
    """The relay."""


class AgentsProcess(_Measured):
    """A process with one agent in it, or with all of them.

    Args:
        name: as messages call it.
        take: gets each event, and the id of the agent that it is from.
    """

    def __init__(self, name: str, take: Callable[[str, Mapping[str, Any]], None]) -> None:
        super().__init__(name)
        self.has_started = asyncio.Event()
        self._take = take
        self._id = ""

    def line(self, text: str) -> None:
        """Take one line of its standard output: an event, or something else."""
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            super().line(text)
            return
        if event["event"] == "started":
            self._id = str(event.get("id", ""))
            self.has_started.set()
        self._take(str(event.get("agent", self._id)), event)


class Fleet:
    """One run.

    Args:
        plan: what is to be run.
        directory: an empty one, for homes and databases; whoever made it removes it.
        progress: told of the ledger whenever something has happened.
    """

    def __init__(self, plan: Plan, directory: Path, progress: Callable[[Ledger], None]) -> None:
        self.plan = plan
        self.ledger = Ledger(plan.agents)
        self._directory = directory
        self._progress = progress
        self._secret = f"fleet-secret-{secrets.token_hex(8)}"
        self._listener = Listener(self._secret, self.ledger.confirmed)
        self._relay = _Relay()
        self._agents: list[AgentsProcess] = []
        self._news = asyncio.Event()
        self._failed_starts: list[str] = []
        self._is_over = False

    async def run(self) -> Result:
        """Run it to its end.

        Raises:
            SimulationFailed: the relay did not start.
            OSError: a process or a connection could not be made.
        """
        began = time.time()
        starting: asyncio.Task[None] | None = None
        try:
            await self._start_relay()
            await self._listener.connect(self._relay.port or 0)
            starting = asyncio.create_task(self._start_agents())
            problems = await self._until_complete(began + self.plan.seconds)
            ended = time.time()
            self._is_over = True
            await _cancelled(starting)
            agents, relay = [agent.use for agent in self._agents], self._relay.use
            problems += await self._stop_agents()
            await self._listener.until_silence()
        finally:
            if starting is not None:
                await _cancelled(starting)
            await asyncio.gather(*(agent.stop() for agent in self._agents))
            await self._relay.stop()
            await self._listener.close(_PATIENCE_SECONDS)
        uses = [use for use in agents if use is not None]
        return self._result(began, ended, [*dict.fromkeys(problems)], uses, relay)

    async def _start_relay(self) -> None:
        command = [sys.executable, "-P", str(_HERE / "relay.py"), str(self.plan.loss), str(self.plan.seed)]
        command += ["directed"] if self.plan.directed else []
        await self._relay.start(command, {}, self._tell)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self._relay.port is None and self._relay.status is None:
                    await self._next_news()
        if self._relay.port is None:
            raise SimulationFailed("the relay did not start: " + " ".join(self._relay.output))

    async def _start_agents(self) -> None:
        if self.plan.in_one_process:
            await self._start(AgentsProcess("the crowd", self._take), self._crowd_command())
            return
        config = self._directory / "agent.json"
        config.write_text(json.dumps(_AGENT_CONFIG))
        # a process start is a second of computing: more of them at once than processors only delays all
        at_once = asyncio.Semaphore(os.cpu_count() or 1)

        async def start(number: int) -> None:
            async with at_once:
                await self._start(
                    AgentsProcess(f"agent {number}", self._take), self._agent_command(number, config)
                )

        async with asyncio.TaskGroup() as starts:
            for number in range(1, self.plan.agents + 1):
                starts.create_task(start(number))

    async def _start(self, agent: AgentsProcess, command: Sequence[str]) -> None:
        self._agents.append(agent)
        try:
            await agent.start(command, {PASSPHRASE_VARIABLE: secrets.token_urlsafe(24)}, self._tell)
        except OSError as error:
            self._failed_starts.append(f"{agent.name} could not be started: {error.strerror}")
            self._tell()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await agent.has_started.wait()

    def _agent_command(self, number: int, config: Path) -> list[str]:
        who = ["--name", f"agent{number}", "--home", str(self._directory / f"home{number}")]
        where = ["--host", "127.0.0.1", "--port", str(self._relay.port), "--config", str(config)]
        what = ["--say", self._secret, "--reply", self._secret]
        return agent_command(
            [*who, *where, *what, "--reconnect-every", str(self.plan.reconnect_every), "--events"]
        )

    def _crowd_command(self) -> list[str]:
        what = [str(self.plan.agents), str(self._relay.port), str(self._directory), self._secret]
        return [sys.executable, "-P", str(_HERE / "crowd.py"), *what, str(self.plan.reconnect_every)]

    async def _until_complete(self, deadline: float) -> list[str]:
        """Wait until all pairs have closed, patience ends or a child does; what went wrong."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.time())):
                while not self.ledger.is_complete:
                    ended = [child for child in (self._relay, *self._agents) if child.status is not None]
                    if ended or self._failed_starts:
                        return [*self._failed_starts, *map(_obituary, ended)]
                    await self._next_news()
        except TimeoutError:
            return [self._missing()]
        return []

    async def _stop_agents(self) -> list[str]:
        """End all agents; what went wrong with those that did not end as told."""
        at_once = asyncio.Semaphore(_STOPPED_AT_ONCE)

        async def stop(agent: AgentsProcess) -> int:
            async with at_once:
                return await agent.stop()

        ended_already = [_obituary(agent) for agent in self._agents if agent.status is not None]
        told = [agent for agent in self._agents if agent.status is None]
        statuses = Counter(await asyncio.gather(*map(stop, told)))
        badly = [
            f"{count} of {len(told)} ended with status {status} when they were told to stop"
            for status, count in statuses.items()
            if status
        ]
        return ended_already + badly

    def _missing(self) -> str:
        ledger, missing = self.ledger, self.ledger.missing()
        names = ", ".join(f"{a[:8]} → {b[:8]}" for a, b in missing[:_MISSING_SHOWN])
        count = ledger.pairs_expected - len(ledger.closed)
        return f"{count} of {ledger.pairs_expected} pairs did not close" + (
            f": {names}{', …' if len(missing) > _MISSING_SHOWN else ''}" if names else ""
        )

    def _take(self, agent: str, event: Mapping[str, Any]) -> None:
        if not self._is_over:
            self.ledger.event(agent, event)
            self._progress(self.ledger)

    def _tell(self) -> None:
        self._news.set()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _result(
        self, began: float, ended: float, problems: list[str], agents: Sequence[Use], relay: Use | None
    ) -> Result:
        ledger, listener = self.ledger, self._listener
        counts = self._carried()
        if listener.plaintext:
            problems.append(f"{listener.plaintext} lines went over the relay in plain text")
        if counts is None:
            problems.append("the relay did not say what it carried")
        elif counts["lines"] != listener.lines:
            problems.append(f"of {counts['lines']} lines only {listener.lines} were checked for plain text")
        counts = counts or dict.fromkeys(("lines", "deliveries", "bytes", "lost"), 0)
        last = max(ledger.closed.values(), default=ended) if ledger.is_complete else ended
        starts = sorted(ledger.started.values())
        all_started = starts[-1] if len(starts) == self.plan.agents else None
        talking = max(0.001, last - starts[1]) if len(starts) > 1 else None
        return Result(
            agents=self.plan.agents,
            problems=problems,
            pairs=len(ledger.closed),
            pairs_expected=ledger.pairs_expected,
            seconds=last - began,
            seconds_after_start=None if all_started is None else max(0.0, last - all_started),
            start_seconds=None if all_started is None else all_started - began,
            conversations=ledger.conversations,
            conversations_per_second=0.0 if talking is None else ledger.conversations / talking,
            latency=percentiles(ledger.latencies()),
            agent_cpu=max((use.cpu_seconds for use in agents), default=None),
            agent_memory_bytes=max((use.memory_bytes for use in agents), default=None),
            agent_peak_bytes=max((use.peak_bytes for use in agents), default=None),
            fleet_cpu=sum(use.cpu_seconds for use in agents) if agents else None,
            relay_cpu=None if relay is None else relay.cpu_seconds,
            relay_memory_bytes=None if relay is None else relay.memory_bytes,
            **counts,
            intents=dict(listener.intents.most_common()),
            refused=dict(ledger.refused.most_common()),
            plaintext=listener.plaintext,
            closings=sorted(round(at - began, 3) for at in ledger.closed.values()),
        )

    def _carried(self) -> dict[str, int] | None:
        try:
            counts: dict[str, int] = json.loads(self._relay.output[-1])
        except (IndexError, ValueError):
            return None
        return counts


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _obituary(child: Child) -> str:
    last_words = f": {child.output[-1]}" if child.output else ""
    return f"{child.name} ended with status {child.status}{last_words}"

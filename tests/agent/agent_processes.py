"""Real agents as real processes, watched through their `--events`."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "agents" / "agent_HSAgent_1" / "agent.py"
PATIENCE = 30.0

Event = dict[str, Any]


class AgentProcess:
    """One running agent.

    Attributes:
        events: everything it reported so far, over all its lives.
        log: what it wrote on stderr in this life.
    """

    def __init__(self, name: str, home: Path, port: int, *flags: str, script: Path = SCRIPT) -> None:
        self.script = script
        self.name = name
        self.home = home
        self.port = port
        self.flags = flags
        self.events: list[Event] = []
        self.log = ""
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()

    async def start(self) -> "AgentProcess":
        self.log = ""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.script),
            *("--name", self.name, "--home", str(self.home), "--host", "127.0.0.1", "--port", str(self.port)),
            *("--events", *self.flags),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HANDFAST_PASSPHRASE": f"passphrase of {self.name}"},
        )
        self._readers = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_log())]
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def id(self) -> str:
        return str(next(event["id"] for event in self.events if event["event"] == "started"))

    def database(self) -> Path:
        return self.home / f"HSAgent-{self.id}.db"

    def count(self, event: str, **members: Any) -> int:
        return len(self.find(event, **members))

    def find(self, event: str, **members: Any) -> list[Event]:
        return [e for e in self.events if e["event"] == event and members.items() <= e.items()]

    async def wait_for(
        self, event: str, count: int = 1, patience: float = PATIENCE, **members: Any
    ) -> list[Event]:
        """Wait until so many such events were reported."""
        await self.wait_until(
            lambda: self.count(event, **members) >= count, patience, f"{count} × {event} {members}"
        )
        return self.find(event, **members)

    async def wait_until(
        self, condition: Callable[[], bool], patience: float = PATIENCE, what: str = "it"
    ) -> None:
        try:
            async with asyncio.timeout(patience), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            seen = "\n".join(json.dumps(event) for event in self.events[-20:])
            raise AssertionError(f"{self.name}: {what} did not happen\n{seen}\n{self.log[-3000:]}") from None

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end of the process; its exit status."""
        assert self._process is not None
        async with asyncio.timeout(patience):
            status = await self._process.wait()
            await asyncio.gather(*self._readers)
        return status

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._process is not None:
            await self.ended()

    async def _read_events(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.events.append(json.loads(line))
            async with self._news:
                self._news.notify_all()

    async def _read_log(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.log += line.decode(errors="replace")


@asynccontextmanager
async def agents(
    tmp_path: Path, port: int, *names: str, flags: tuple[str, ...] = (), script: Path = SCRIPT
) -> AsyncIterator[list[AgentProcess]]:
    """Started agents, each with a home of its own, ended in any case."""
    started = [AgentProcess(name, tmp_path / name, port, *flags, script=script) for name in names]
    try:
        for agent in started:
            await agent.start()
            await agent.wait_for("started")
        yield started
    finally:
        for agent in started:
            await agent.stop()

"""The demo's child processes: started, listened to, and ended in any case."""

import asyncio
import json
import os
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handfast.errors import HandfastError

# How long anything may take before the demo gives up; what is waited for takes a second or two.
PATIENCE_SECONDS = 20.0
_KEPT_LINES = 20
_LINE_BYTES = 1024 * 1024

Event = dict[str, Any]


class DemoFailed(HandfastError):
    """Something did not happen as it should have; the text says what."""


class Child:
    """One child process.

    Attributes:
        name: as the story calls it.
        output: the last lines it wrote, but for events.
        grace_seconds: how long it has for ending when it is told to.
    """

    grace_seconds = 3.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.output: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._tell: Callable[[], None] = lambda: None

    async def start(
        self, command: Sequence[str], environment: Mapping[str, str], tell: Callable[[], None]
    ) -> None:
        """Start the process.

        Args:
            command: the command line.
            environment: variables to add to ours.
            tell: called after each line of output, and when the process has ended.

        Raises:
            OSError: it cannot be started.
        """
        self._tell = tell
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
            limit=_LINE_BYTES,
        )
        self._watching = asyncio.create_task(self._watch(self._process))

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return None if self._process is None else self._process.returncode

    async def stop(self) -> int:
        """End the process, kindly first; its exit status."""
        if self._process is None or self._watching is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(self.grace_seconds):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._watching
        return await self._process.wait()

    def line(self, text: str) -> None:
        """Take one line of its standard output."""
        self.output.append(text)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await asyncio.gather(
            self._read(process.stdout, self.line), self._read(process.stderr, self.output.append)
        )
        await process.wait()
        self._tell()

    async def _read(self, stream: asyncio.StreamReader | None, take: Callable[[str], None]) -> None:
        if stream is not None:
            async for line in stream:
                take(line.decode(errors="replace").rstrip())
                self._tell()


class RelayProcess(Child):
    """The relay.

    Attributes:
        port: where it listens, once it has said so.
    """

    def __init__(self) -> None:
        super().__init__("relay")
        self.port: int | None = None

    def line(self, text: str) -> None:
        super().line(text)
        found = re.search(r"listens on 127\.0\.0\.1:(\d+)", text)
        if found:
            self.port = int(found[1])


class AgentProcess(Child):
    """One agent, and what it reported.

    Attributes:
        events: oldest first.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.events: list[Event] = []

    @property
    def id(self) -> str:
        """The agent's id, once it has started."""
        return str(self.find("started")[0]["id"])

    def line(self, text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            super().line(text)
        else:
            self.events.append(event)

    def find(self, event: str, **members: object) -> list[Event]:
        """The events of this kind that have these members."""
        return [one for one in self.events if one["event"] == event and members.items() <= one.items()]


class Stage:
    """All children, and somebody who waits for something to happen among them."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Something has happened."""
        self._news.set()

    async def start(self, child: Child, command: Sequence[str], **environment: str) -> None:
        """Start a child that `close` will end."""
        self.children.append(child)
        await child.start(command, environment, self.tell)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition` holds; it is looked at whenever something has happened.

        Args:
            condition: what to wait for.
            what: the same as a noun.

        Raises:
            DemoFailed: it took too long, or a child has ended.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    self.must_run(what)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DemoFailed(f"{what} did not come within {PATIENCE_SECONDS:g} seconds") from None

    def must_run(self, what: str) -> None:
        """Raise a DemoFailed if a child has ended while `what` was waited for."""
        for child in self.children:
            if child.status is not None:
                raise DemoFailed(f"{child.name} ended with status {child.status} before {what}")

    async def close(self) -> dict[str, int]:
        """End all children, the last one first; their exit statuses by name."""
        return {child.name: await child.stop() for child in reversed(self.children)}

"""What a node needs of the world: something that moves JSON objects to everybody else. And one in memory.

A connection may lose, repeat and reorder what it carries, and need not know who hears it: nothing is trusted to it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from handfast.errors import WorldError
from handfast.wire.text import Json

# A listener that is behind by more loses what comes then, as on any relay.
_BACKLOG_LINES = 1_024


class TransportError(WorldError):
    """There is no connection, or it has ended."""


class Connection(Protocol):
    """An open connection."""

    async def send(self, line: dict[str, Json]) -> None:
        """Give `line` to everybody else, or to its `to`; returns when there is room for the next one.

        Raises:
            TransportError: the connection has ended.
        """
        ...

    def __aiter__(self) -> AsyncIterator[Json]:
        """What others said, any JSON value; ends with the connection."""
        ...


# Opened by `async with`, which also closes it; `contextlib.nullcontext(connection)` where somebody else does that.
Transport = AbstractAsyncContextManager[Connection]


class Hub:
    """A relay in memory: every line reaches everybody else who is connected."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[Json]] = []

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """A transport."""
        queue: asyncio.Queue[Json] = asyncio.Queue(_BACKLOG_LINES)
        self._queues.append(queue)
        try:
            yield _Port(queue, self._queues)
        finally:
            self._queues.remove(queue)


class _Port:
    def __init__(self, own: asyncio.Queue[Json], queues: list[asyncio.Queue[Json]]) -> None:
        self._own = own
        self._queues = queues

    async def send(self, line: dict[str, Json]) -> None:
        for queue in self._queues:
            if queue is not self._own:
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(line)
        await asyncio.sleep(0)  # nobody is kept from listening

    async def __aiter__(self) -> AsyncIterator[Json]:
        while True:
            yield await self._own.get()

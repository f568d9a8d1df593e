"""`Session`: one TCP connection of a client, with a receive side and a send side (section 4.5)."""

import asyncio
from typing import Any

from summoner.client._bridge import Bridge, BridgeEntry
from summoner.client._context import ClientContext
from summoner.client._cycle import SenderCycle
from summoner.client._delivery import Delivery
from summoner.client._receiving import ReceivePipeline
from summoner.client._tasks import end_tasks
from summoner.client._timed import TimedScheduler
from summoner.client._workers import WorkerPool
from summoner.protocol.process import ClientIntent

GRACE_SECONDS = 0.2  # for calls under way when the end was asked for (C8)
_UNWIND_SECONDS = 0.5  # for cancelled handlers to clean up
_CLOSE_SECONDS = 0.2  # for bytes already written to leave


class Session:
    """The parts that belong to one connection; nothing of them outlives it."""

    def __init__(self, context: ClientContext) -> None:
        self._context = context
        self._bridge = Bridge(context.settings.event_bridge_maxsize, context.registry, self._on_entry)
        self._pipeline = ReceivePipeline(context, self._bridge)
        self._cycle = SenderCycle(context, self._bridge)
        self._timed = TimedScheduler(context)

    async def receive(self, reader: asyncio.StreamReader, stop_event: asyncio.Event) -> None:
        """Receive until `stop_event` is set and the line at hand is done with. Raises `ServerDisconnected`."""
        lines = asyncio.create_task(self._pipeline.run(reader, stop_event), name="the receive loop")
        stop = asyncio.create_task(stop_event.wait())
        try:
            await asyncio.wait({lines, stop}, return_when=asyncio.FIRST_COMPLETED)
            self._bridge.close()
            if self._pipeline.reading:
                lines.cancel()
            await asyncio.wait({lines})
        finally:
            await self._end({lines, stop})
        if not lines.cancelled():
            lines.result()

    async def send(self, writer: asyncio.StreamWriter, stop_event: asyncio.Event) -> None:
        """Send until `stop_event` is set and the calls under way are over. Raises `ServerDisconnected`."""
        delivery = Delivery(self._context, writer)
        pool = WorkerPool(self._context, delivery)
        workers = pool.start()  # before the first call, so that calls go round all of them
        cycle = asyncio.create_task(self._cycle.run(pool, delivery, stop_event), name="the sender cycle")
        timed = asyncio.create_task(self._timed.run(pool), name="the timed scheduler")
        stop = asyncio.create_task(stop_event.wait())
        tasks = {cycle, timed, *workers}
        self._context.registry.on_change = self._wake
        try:
            done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop_event.is_set():
                timed.cancel()
                await self._let_calls_finish(pool, cycle)
            for task in done & tasks:
                task.result()
        finally:
            await self._end({*tasks, stop})

    async def _let_calls_finish(self, pool: WorkerPool, cycle: asyncio.Task[None]) -> None:
        if self._context.intent.pending in (ClientIntent.QUIT, ClientIntent.ABORT):
            cycle.cancel()
            await pool.finish_deliveries()
        else:
            self._cycle.wake()
            await asyncio.wait({cycle})
            await pool.finish()

    async def _end(self, tasks: set[asyncio.Task[Any]]) -> None:
        await end_tasks(tasks, _UNWIND_SECONDS, self._context.log)

    def _on_entry(self, entry: BridgeEntry) -> None:
        self._timed.notice(entry)
        self._cycle.wake()

    def _wake(self) -> None:
        self._timed.wake()
        self._cycle.wake()


async def run_both_sides(
    receive: asyncio.Task[None], send: asyncio.Task[None], stop_event: asyncio.Event, context: ClientContext
) -> None:
    """Await the sides of a session until one of them ends, and end the other with it.

    When `stop_event` is set both have a moment to end by themselves. Raises what ended the session, if anything.
    """
    sides = {receive, send}
    stop = asyncio.create_task(stop_event.wait())
    try:
        done, _ = await asyncio.wait({*sides, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop_event.is_set():
            await asyncio.wait(sides, timeout=GRACE_SECONDS)
    finally:
        await end_tasks({*sides, stop}, _UNWIND_SECONDS + _CLOSE_SECONDS, context.log)
    if not stop_event.is_set():
        for side in done & sides:
            if not side.cancelled():
                side.result()


async def close_connection(writer: asyncio.StreamWriter) -> None:
    """Close the client's side of a connection, what is written already included, in bounded time (C4)."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()
    except OSError:  # it broke before, or does not take the rest; TimeoutError is one
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise

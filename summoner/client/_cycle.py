"""`SenderCycle`: the loop over all senders without `every` (section 4.8)."""

import asyncio
from collections.abc import Iterable
from typing import Any

from summoner.client._bridge import SKIP, Bridge, BridgeEntry
from summoner.client._context import ClientContext
from summoner.client._delivery import Delivery
from summoner.client._registry import RoutedSender
from summoner.client._workers import Call, WorkerPool


class SenderCycle:
    """One cycle takes all events, calls the senders due, and waits for these calls; a cycle with nothing to call
    waits for `wake`."""

    def __init__(self, context: ClientContext, bridge: Bridge) -> None:
        self._registry = context.registry
        self._flow = context.flow
        self._log = context.log
        self._batch_drain = context.settings.batch_drain
        self._bridge = bridge
        self._woken = asyncio.Event()
        self._unfinished = 0
        self._finished = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do: an event, a new sender, the flow switched, the session ending."""
        self._woken.set()

    async def run(self, pool: WorkerPool, delivery: Delivery, stop_event: asyncio.Event) -> None:
        """Cycle until `stop_event` is set; whoever sets it calls `wake`. Raises `ServerDisconnected`."""
        while not stop_event.is_set():
            self._woken.clear()
            due = self._due(self._bridge.take_all())
            if not due:
                await self._woken.wait()
                continue
            await self._call(due, pool)
            if self._batch_drain:
                await delivery.drain()

    async def _call(self, due: list[tuple[RoutedSender, Any]], pool: WorkerPool) -> None:
        pool.warn_if_crowded(len(due))
        self._unfinished = len(due)
        self._finished.clear()
        for routed, data in due:
            await pool.submit(Call(routed.sender, data, not self._batch_drain, self._on_done))
        await self._finished.wait()

    def _on_done(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._finished.set()

    def _due(self, entries: list[BridgeEntry]) -> list[tuple[RoutedSender, Any]]:
        """The calls of this cycle: sender and data."""
        flow_in_use = self._flow.in_use
        due: list[tuple[RoutedSender, Any]] = []
        for routed in self._registry.untimed_senders:
            if not (routed.reactive and flow_in_use):  # C19: without the flow, filters are ignored
                due.append((routed, None))
            elif entries:
                due += [(routed, data) for data in self._reactions(routed, entries)]
        return due

    def _reactions(self, routed: RoutedSender, entries: Iterable[BridgeEntry]) -> list[Any]:
        """The data of each call that the entries ask of a reactive sender; one call at most if it takes no data."""
        answered = (entry for entry in entries if routed.answers(entry.route, entry.event))
        if not routed.sender.use_data:
            return [] if next(answered, None) is None else [None]
        data = (entry.data_for(routed.sender, self._log) for entry in answered)
        return [each for each in data if each is not SKIP]

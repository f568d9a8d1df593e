"""`ReceivePipeline`: from bytes of the relay to calls of hooks and receivers (section 4.7).

One line is done with before the next one begins; that is the agent's protection against a flood.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NoReturn

from summoner.client._bridge import Bridge
from summoner.client._context import ClientContext
from summoner.client._delivery import ServerDisconnected
from summoner.client._line_splitter import LineSplitter
from summoner.client._registry import Priority
from summoner.client._user_code import Handler, call_handler, name_of
from summoner.protocol.payload import recover_with_types
from summoner.protocol.process import ParsedRoute, StateTape, TapeActivation
from summoner.protocol.triggers import Event, Signal
from summoner.protocol.validation import hook_priority_order

_CHUNK_BYTES = 65_536
_LINES_PER_TURN = (
    16  # then senders, timers and signals have their turn, which costs about as much as one line
)

_FAILED = object()

_BridgeItem = tuple[Priority, ParsedRoute, Any]


class ReceivePipeline:
    """The receive side of one session. `reading` tells that no line is being worked on."""

    def __init__(self, context: ClientContext, bridge: Bridge) -> None:
        self.reading = False
        self._registry = context.registry
        self._flow = context.flow
        self._log = context.log
        self._max_bytes = context.settings.max_bytes_per_line
        self._bridge = bridge

    async def run(self, reader: asyncio.StreamReader, stop_event: asyncio.Event) -> None:
        """Work through the relay's lines until `stop_event` is set. Raises `ServerDisconnected` at their end."""
        splitter = LineSplitter(self._max_bytes, self._on_too_long)
        this_task = asyncio.current_task()
        since_turn = 0
        while not stop_event.is_set():
            self.reading = True
            chunk = await reader.read(_CHUNK_BYTES)
            self.reading = False
            if not chunk:
                await self._finish(splitter)
            for line in splitter.feed(chunk):
                handed_over = await self.process(line)
                since_turn += 1
                if handed_over or since_turn >= _LINES_PER_TURN or self._registry.pending:
                    since_turn = 0
                    await asyncio.sleep(0)
                if stop_event.is_set() or (this_task is not None and this_task.cancelling()):
                    return

    async def _finish(self, splitter: LineSplitter) -> NoReturn:
        tail = splitter.finish()
        if tail is not None:
            await self.process(tail)
        raise ServerDisconnected("the server closed the connection")

    async def process(self, line: bytes) -> bool:
        """Take one line, without its newline, through the pipeline. Tells whether there is an event for the senders."""
        if not self._registry.receivers:
            return False
        try:
            payload = recover_with_types(line.decode())
        except Exception as error:  # noqa: BLE001 - W2: whatever is wrong with a line costs that line only
            self._log.report("Dropped a line that cannot be decoded", f"{len(line)} bytes, {error}")
            return False
        for hook in self._registry.receive_hooks:
            payload = await call_handler(self._log, "RECEIVE hook", hook, payload, otherwise=payload)
            if payload is None:
                return False
        if payload is None:
            return False
        if self._flow.in_use:
            return await self._activate(payload)
        for batch in self._registry.receiver_batches:
            await self._call_together([receiver.fn for receiver in batch], payload)
        return False

    async def _activate(self, payload: Any) -> bool:
        """Let the flow choose the receivers, and hand what they return to `download_states` and to the senders."""
        tape = await self._uploaded_tape(payload)
        if tape is None:
            return False
        batches = tape.collect_activations(self._registry.receivers, self._registry.parsed_routes)
        items: list[_BridgeItem] = []
        for priority in sorted(batches, key=hook_priority_order) if len(batches) > 1 else batches:
            activations = batches[priority]
            returned = await self._call_together([each.fn for each in activations], payload)
            events = list(map(self._checked_event, activations, returned))
            await self._download(tape, activations, events)
            items += [
                (priority, activation.route, event)
                for activation, event in zip(activations, events, strict=True)
                if event is not None  # nothing answers it
            ]
        for item in items:
            await self._bridge.put(*item)
        return bool(items)

    async def _uploaded_tape(self, payload: Any) -> StateTape | None:
        upload = self._registry.upload_states
        states = None
        if upload is not None:
            states = await call_handler(
                self._log, "upload_states handler", upload, payload, otherwise=_FAILED
            )
            if states is _FAILED:
                return None
        try:
            return StateTape(states)
        except ValueError as error:
            self._log.report("upload_states returned an invalid state", error, level=logging.ERROR)
            return None

    async def _download(
        self, tape: StateTape, activations: Iterable[TapeActivation], events: Iterable[Any]
    ) -> None:
        """Report the nodes that a batch activated (C21: once per batch)."""
        download = self._registry.download_states
        if download is None:
            return
        contribution = tape.refresh()
        for activation, event in zip(activations, events, strict=True):
            nodes = contribution.states.setdefault(activation.key, [])
            nodes += activation.route.activated_nodes(event)
        await call_handler(self._log, "download_states handler", download, contribution.revert())

    async def _call_together(self, handlers: list[Handler], payload: Any) -> list[Any]:
        """Call all handlers concurrently; what they return, in their order."""
        calls = [call_handler(self._log, "Receiver", handler, payload) for handler in handlers]
        if len(calls) == 1:
            return [await calls[0]]
        return await asyncio.gather(*calls)

    def _checked_event(self, activation: TapeActivation, returned: Any) -> Event | Signal | None:
        if returned is None or isinstance(returned, Event | Signal):
            return returned
        self._log.report(
            f"Receiver {name_of(activation.fn)} returned neither an event nor None", type(returned).__name__
        )
        return None  # C14

    def _on_too_long(self) -> None:
        self._log.report(f"Skipped a line longer than max_bytes_per_line ({self._max_bytes} bytes)")

"""`WorkerPool`: the workers that call an agent's senders, and the bounded queue in front of them (section 4.8)."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from summoner.client._context import ClientContext
from summoner.client._delivery import Delivery, ServerDisconnected
from summoner.client._user_code import is_being_cancelled, name_of
from summoner.protocol.process import ClientIntent, Sender

# A sender that returns very many payloads waits for the socket in between, and lets others have their turn.
_DRAINED_EVERY_BYTES = 256 * 1024


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One call of a sender. `on_done` is told when it is over, however it ended.

    `drains` says that the call itself waits for the socket afterwards, rather than the cycle it belongs to.
    """

    sender: Sender
    data: Any
    drains: bool
    on_done: Callable[[], None]


@dataclass(eq=False, slots=True)
class _Worker:
    delivering: bool = False


class WorkerPool:
    """`concurrency_limit` workers that take calls in turn.

    A worker that fails `max_worker_errors` times in a row ends the session and the client.
    """

    def __init__(self, context: ClientContext, delivery: Delivery) -> None:
        self._settings = context.settings
        self._intent = context.intent
        self._log = context.log
        self._delivery = delivery
        self._queue: asyncio.Queue[Call] = asyncio.Queue(context.settings.queue_maxsize)
        self._workers: dict[asyncio.Task[None], _Worker] = {}
        self._stopping = False
        self._has_warned = False

    def start(self) -> Iterable[asyncio.Task[None]]:
        """Start the workers. A task of them that ends before it is cancelled, ends the session."""
        for _ in range(self._settings.concurrency_limit):
            worker = _Worker()
            self._workers[asyncio.create_task(self._work(worker))] = worker
        return self._workers.keys()

    async def submit(self, call: Call) -> None:
        """Queue a call; waits while the queue is full."""
        await self._queue.put(call)

    def warn_if_crowded(self, new_calls: int) -> None:
        """Log, once a session, that queued and new calls together take up more than 80 % of the queue, if they do."""
        total = self._queue.qsize() + new_calls
        if total > 0.8 * self._queue.maxsize and not self._has_warned:
            self._has_warned = True  # small queues are always that full
            self._log.report("Sender queue under pressure", f"{total} calls for {self._queue.maxsize} places")

    async def finish(self) -> None:
        """Wait until every call queued is over."""
        await self._queue.join()

    async def finish_deliveries(self) -> None:
        """Cancel all calls but those whose payloads are on their way, and the one that asked for the end; await these.

        For the end by `quit`: what other senders return would be discarded (C8).
        """
        self._stopping = True
        spared = []
        for task, worker in self._workers.items():
            if worker.delivering or task is self._intent.asked_by:
                spared.append(task)
            else:
                task.cancel()
        if spared:
            await asyncio.wait(spared)

    async def _work(self, worker: _Worker) -> None:
        this_task = asyncio.current_task()
        failures = 0
        while failures < self._settings.max_worker_errors:
            call = await self._queue.get()
            try:
                await self._perform(call, worker)
            except ServerDisconnected:
                raise
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                failures += 1
                self._report(call, "something it awaited was cancelled")
            except Exception:  # noqa: BLE001 - the agent's code may raise anything; `failures` counts
                failures += 1
                self._report(call, "failed", with_traceback=True)
            else:
                failures = 0
            finally:
                worker.delivering = False
                self._queue.task_done()
                call.on_done()
            if self._stopping or (this_task is not None and this_task.cancelling()):
                return
        self._log.logger.critical("A worker failed %d times in a row: the client gives up", failures)
        self._intent.request(ClientIntent.ABORT)

    def _report(self, call: Call, failure: str, *, with_traceback: bool = False) -> None:
        kind = f"Sender {name_of(call.sender.fn)}: {failure}"
        self._log.report(kind, level=logging.ERROR, with_traceback=with_traceback)

    async def _perform(self, call: Call, worker: _Worker) -> None:
        sender = call.sender
        result = await (sender.fn(call.data) if sender.use_data else sender.fn())
        if self._intent.pending is ClientIntent.QUIT:
            return  # what a sender returns after `quit` is discarded (section 4.5)
        worker.delivering = True
        if sender.multi:
            for payload in _several(result):
                await self._delivery.deliver(payload)
                if self._delivery.collected_bytes >= _DRAINED_EVERY_BYTES:
                    await self._delivery.drain()
        else:
            await self._delivery.deliver(result)
        if call.drains:
            await self._delivery.drain()
        else:
            self._delivery.flush()


def _several(result: Any) -> Iterable[Any]:
    if not isinstance(result, Iterable):
        raise TypeError(f"a sender with multi=True must return a list, not {type(result).__name__}")
    return result

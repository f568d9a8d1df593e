"""`DaemonExecutor`: threads for blocking calls that cannot keep a finished program alive.

The standard thread pool is joined when the interpreter exits, so an agent with a thread in `input()` would not end
before somebody presses Enter (C25).
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")

_MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)  # as in the standard pool


class DaemonExecutor(ThreadPoolExecutor):
    """A pool of daemon threads. It inherits for its type only, which event loops insist on: no code is shared."""

    def __init__(self) -> None:
        super().__init__(_MAX_THREADS)
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._free_threads = threading.Semaphore(0)
        self._daemons: list[threading.Thread] = []
        self._closing = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Run `fn` in a thread. `RuntimeError` after `shutdown`."""
        future: Future[Result] = Future()
        with self._closing:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.put((future, partial(fn, *args, **kwargs)))
            if not self._free_threads.acquire(blocking=False) and len(self._daemons) < _MAX_THREADS:
                daemon = threading.Thread(target=self._work, name="summoner-executor", daemon=True)
                self._daemons.append(daemon)
                daemon.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Waits for those under way without bound; see `close`."""
        with self._closing:
            self._closed = True
        if cancel_futures:
            while not self._calls.empty():
                call = self._calls.get()
                if call is not None:
                    call[0].cancel()
        for _ in self._daemons:
            self._calls.put(None)
        if wait:
            for daemon in self._daemons:
                daemon.join()

    def close(self, seconds: float) -> bool:
        """Drop calls not yet begun and wait at most so long for the others. Tells whether all threads have ended."""
        self.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + seconds
        for daemon in self._daemons:
            daemon.join(max(0.0, deadline - time.monotonic()))
        return not any(daemon.is_alive() for daemon in self._daemons)

    def _work(self) -> None:
        # Held for as long as the thread is stuck in it: an interpreter that frees a standard input in use aborts.
        standard_input = sys.stdin  # noqa: F841
        while (call := self._calls.get()) is not None:
            publish = _outcome(*call)
            self._free_threads.release()  # first, so that whoever sees the result can have this thread
            publish()
            del call, publish  # not to be kept alive while waiting


def _outcome(future: Future[Any], function: Callable[[], Any]) -> Callable[[], None]:
    """Call the function, unless its future was cancelled; what is to be done with the result."""
    if not future.set_running_or_notify_cancel():
        return lambda: None
    try:
        return partial(future.set_result, function())
    except BaseException as error:  # noqa: BLE001 - the future is where it belongs
        return partial(future.set_exception, error)

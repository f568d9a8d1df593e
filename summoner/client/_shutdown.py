"""Signals, and closing the client's loop so that nothing of it is left and nothing can hold it up (C25)."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable

from summoner.client._executor import DaemonExecutor
from summoner.client._logging import LimitedLog

_GENTLE_SECONDS = 0.6  # for cancelled tasks to clean up
_FIRM_SECONDS = 0.2  # for those that ignored it, cancelled once more
_GENERATORS_SECONDS = 0.2
_EXECUTOR_SECONDS = 0.2


def install_signal_handlers(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Let SIGINT and SIGTERM call `callback` on the loop. Does nothing off the main thread (C1)."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def close_loop(loop: asyncio.AbstractEventLoop, executor: DaemonExecutor, log: LimitedLog) -> None:
    """Cancel and await what is left on the loop, shut down its generators and its executor, close it."""
    try:
        loop.run_until_complete(_unwind(log))
    finally:
        if not executor.close(_EXECUTOR_SECONDS):
            log.logger.warning("A blocking call is still running in a thread, it is left behind")
        loop.close()


async def _unwind(log: LimitedLog) -> None:
    await _end_all_tasks(log)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GENERATORS_SECONDS):
            await asyncio.get_running_loop().shutdown_asyncgens()


async def _end_all_tasks(log: LimitedLog) -> None:
    """Cancel every task but the current one, in two rounds.

    The first leaves those alone that are being cancelled already, and may be cleaning up.
    """
    loop = asyncio.get_running_loop()
    for seconds, firmly in ((_GENTLE_SECONDS, False), (_FIRM_SECONDS, True)):
        deadline = loop.time() + seconds
        cancelled: set[asyncio.Task[object]] = set()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks - cancelled:  # tasks that others started while cleaning up included
                if firmly or not task.cancelling():
                    task.cancel()
            cancelled |= tasks
            done, _ = await asyncio.wait(
                tasks, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.logger.error("%s failed while it was being cancelled: %r", task.get_name(), error)
            if not done:
                break
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        log.logger.warning("%s does not end when cancelled, it is left behind", task.get_name())
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - said already

"""Ending tasks: once cancelled, never hurried, and never waited for without end."""

import asyncio
from collections.abc import Collection
from typing import Any

from summoner.client._logging import LimitedLog


async def end_tasks(tasks: Collection[asyncio.Task[Any]], seconds: float, log: LimitedLog) -> None:
    """Cancel the tasks and wait for them, at most so many seconds; those that go on are left behind with a warning.

    A task that is being cancelled already is not cancelled again, which would cut its cleaning up short.
    """
    for task in tasks:
        if not task.done() and not task.cancelling():
            task.cancel()
    if not tasks:
        return
    done, stubborn = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        if not task.cancelled():
            task.exception()  # seen: whoever ended the tasks knows why
    for task in stubborn:
        log.report(f"{task.get_name()} does not end when cancelled, it is left behind")

"""Calling the agent's own functions so that nothing they raise reaches the client's loops (section 4.13)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from summoner.client._logging import LimitedLog

Handler = Callable[..., Awaitable[Any]]


def name_of(function: Callable[..., Any]) -> str:
    """A function's name for the log."""
    return getattr(function, "__qualname__", None) or repr(function)


def is_being_cancelled() -> bool:
    """Whether a `CancelledError` in the current task is meant for that task, and not a leak from something it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def call_handler(
    log: LimitedLog, role: str, handler: Handler, *arguments: Any, otherwise: Any = None
) -> Any:
    """What `handler` returns, or `otherwise` if it raises; the failure is logged with its traceback (C17)."""
    try:
        return await handler(*arguments)
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        log.report(f"{role} {name_of(handler)}: something it awaited was cancelled", level=logging.ERROR)
    except BlockingIOError:
        log.report(f"{role} {name_of(handler)} would block")
    except Exception:  # noqa: BLE001 - the agent's code may raise anything, and costs this call only
        log.report(f"{role} {name_of(handler)} failed", level=logging.ERROR, with_traceback=True)
    return otherwise

"""`ConnectionMachine`: connecting, trying again, failing over, giving up (section 4.4)."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from summoner.client._context import ClientContext
from summoner.client._delivery import ServerDisconnected
from summoner.logger import printable
from summoner.protocol.process import ClientIntent
from summoner.utils import format_addr

_JITTER = 0.1  # of the retry delay, either way: agents that lost one relay do not come back in one instant
_SHORTEST_LIFE_SECONDS = 0.1  # what counts as a life of a session when the retry delay is zero

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectionMachine:
    """Counts failures in two stages, `primary` and `default`; the second uses the failover target.

    A session that was established and outlived the retry delay clears its stage's count (C3).
    """

    def __init__(self, context: ClientContext) -> None:
        self._settings = context.settings
        self._intent = context.intent
        self._logger = context.log.logger
        self._established_at: float | None = None

    async def run(self, try_sessions: Callable[[], Awaitable[None]], fail_over: Callable[[], None]) -> None:
        """Call `try_sessions` until it returns, or until it has failed as often as both stages allow.

        It fails by raising `OSError` or `ServerDisconnected`. `fail_over` changes the target between the stages.
        """
        settings = self._settings
        if await self._run_stage(try_sessions, settings.primary_retry_limit):
            return
        fail_over()
        self._logger.warning("Failing over to the default target")
        if not await self._run_stage(try_sessions, settings.default_retry_limit):
            self._logger.critical("No connection: the retry limits are exhausted")

    async def _run_stage(self, try_sessions: Callable[[], Awaitable[None]], limit: int | None) -> bool:
        """Whether the client came to an orderly end; `False` when the limit is reached."""
        failures = 0
        while True:
            error = await self._attempt(try_sessions)
            if error is None:
                return True
            failures = 1 if self._has_lived() else failures + 1
            delay = self._settings.retry_delay_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
            attempt = str(failures) if limit is None else f"{failures} of {limit}"
            self._logger.error("No connection (attempt %s): %s", attempt, printable(str(error)))
            await self._sleep(delay)
            if self._intent.pending is ClientIntent.TRAVEL:
                continue
            if self._intent.pending is not None:
                return True
            if limit is not None and failures >= limit:
                return False

    async def _attempt(self, try_sessions: Callable[[], Awaitable[None]]) -> Exception | None:
        self._established_at = None
        try:
            await try_sessions()
        except (OSError, ServerDisconnected) as error:
            return error
        return None

    async def connect(self, host: str, port: int) -> Streams | None:
        """Open a connection; `None` if the user asks for something else meanwhile. `OSError` if it fails."""
        attempt = asyncio.create_task(_open(host, port))
        stop = asyncio.create_task(self._intent.event.wait())
        streams: Streams | None = None
        try:
            await asyncio.wait({attempt, stop}, return_when=asyncio.FIRST_COMPLETED)
            if attempt.done() and not self._intent.event.is_set():
                streams = attempt.result()
        finally:
            stop.cancel()
            if streams is None:
                attempt.cancel()
                attempt.add_done_callback(_discard)
        if streams is not None:
            self._established_at = asyncio.get_running_loop().time()
            self._logger.info("Connected to %s", printable(format_addr((host, port))))
        return streams

    def _has_lived(self) -> bool:
        if self._established_at is None:
            return False
        lifetime = asyncio.get_running_loop().time() - self._established_at
        return lifetime > max(self._settings.retry_delay_seconds, _SHORTEST_LIFE_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless and until the user asks for something (C5)."""
        try:
            async with asyncio.timeout(seconds):
                await self._intent.event.wait()
        except TimeoutError:
            pass


async def _open(host: str, port: int) -> Streams:
    try:
        return await asyncio.open_connection(host, port)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConnectionError(f"{format_addr((host, port))} is no address: {error}") from error


def _discard(attempt: asyncio.Task[Streams]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[1].close()

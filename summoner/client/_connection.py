"""`ConnectionMachine`: connecting, trying again, failing over, giving up (section 4.4).

How long it waits between two attempts, and how often it says so.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from summoner.client._context import ClientContext
from summoner.client._delivery import ServerDisconnected
from summoner.logger import printable
from summoner.protocol.process import ClientIntent
from summoner.utils import format_addr

# Of each delay, either way: a crowd that lost one relay comes back over half of the delay, not in one instant.
_JITTER = 0.25
# Where nothing ends the attempts, each one in a row that finds no relay doubles the delay, up to this, or up to
# `retry_delay_seconds` where that is longer. An attempt costs little, and peers who are back already wait for less than
# half a minute for an answer: nobody may sleep through that.
_LONGEST_DELAY_SECONDS = 10.0
# A relay that accepts and drops at once is met more slowly, too, but not by much: it may just be restarted once more.
_DOUBLINGS_WHERE_ACCEPTED = 2
# An outage is told when it begins and once in so long while it lasts; a night without a relay is some hundred lines.
_TOLD_EVERY_SECONDS = 60.0
_MOST_DOUBLINGS = 32  # from any delay worth writing down to the longest; keeps the power small
_SHORTEST_LIFE_SECONDS = 0.1  # what counts as a life of a session when the retry delay is zero

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ConnectionMachine:
    """Counts failures in two stages, `primary` and `default`; the second uses the failover target.

    A session that was established and outlived the retry delay clears its stage's count (C3). A stage with a limit waits
    `retry_delay_seconds` after each failure, so that whoever sets both knows when it ends; one without backs off.
    """

    def __init__(self, context: ClientContext) -> None:
        self._settings = context.settings
        self._intent = context.intent
        self._log = context.log
        self._logger = context.log.logger
        self._established_at: float | None = None
        self._failures = 0
        self._refused = 0
        self._told_at = 0.0

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
        self._failures = self._refused = 0
        while True:
            error = await self._attempt(try_sessions)
            if error is None:
                return True
            self._failures = 1 if self._has_lived() else self._failures + 1
            self._refused = self._refused + 1 if self._established_at is None else 0
            self._tell(error, limit)
            await self._sleep(self._delay(backing_off=limit is None))
            if self._intent.pending is ClientIntent.TRAVEL:
                continue
            if self._intent.pending is not None:
                return True
            if limit is not None and self._failures >= limit:
                return False

    def _delay(self, *, backing_off: bool) -> float:
        delay = self._settings.retry_delay_seconds
        if backing_off:
            accepted = min(self._failures - 1, _DOUBLINGS_WHERE_ACCEPTED)
            doublings = min(self._refused - 1, _MOST_DOUBLINGS) if self._refused else accepted
            delay = min(delay * 2**doublings, max(delay, _LONGEST_DELAY_SECONDS))
        return delay * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311

    def _tell(self, error: Exception, limit: int | None) -> None:
        now = asyncio.get_running_loop().time()
        if limit is None and self._failures > 1 and now - self._told_at < _TOLD_EVERY_SECONDS:
            return
        self._told_at = now
        attempt = str(self._failures) if limit is None else f"{self._failures} of {limit}"
        self._logger.error("No connection (attempt %s): %s", attempt, printable(str(error)))

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
            where = printable(format_addr((host, port)))
            failures = f"after {self._failures} failed attempts" if self._failures > 1 else ""
            # within limits: a relay may accept and drop without end
            self._log.report(f"Connected to {where}", failures, level=logging.INFO)
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

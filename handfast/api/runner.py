"""What runs all the time while a node is open: what is heard goes to the driver, what it wants to say goes out, what is due
is done; and the end of it. What is made of all this is the node's matter.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine

from handfast.api.transport import Connection, TransportError
from handfast.congestion import RegisterPace
from handfast.conversation.model import Role, role_of
from handfast.driver import Driver
from handfast.errors import PeerError, StorageError
from handfast.ports import Clock
from handfast.wire.messages import parse_message
from handfast.wire.text import Json

_log = logging.getLogger("handfast")

_TICK_SECONDS = 0.25
# Who looks for somebody is heard often, and so is who has just come: somebody may wait, and has to hear a process that is
# new several times before it takes it for one. Others are there all the same.
_SEEKING_SECONDS, _RESTING_SECONDS, _GAP_SECONDS = 1.0, 10.0, 0.25
_ARRIVING_SECONDS = 15.0
# So long the conversations under way may take to end: a round trip. A peer that has gone before us is waited for in vain.
_PARTING_SECONDS = 1.0
_LAST_WORDS_SECONDS = 1.0
# Nothing more is read from the relay while more than that is on its way to it.
_LINES_WAITING = 64


class Runner:
    """Keeps a driver running on a connection.

    Args:
        own_id: our agent id.
        driver: whose conversations are run.
        clock: what deadlines are read on.
        is_idle: whether nobody is wanted.
        at_tick: called several times a second.
        at_failure: told why the connection cannot be used any more.
    """

    def __init__(
        self,
        own_id: str,
        driver: Driver,
        clock: Clock,
        *,
        is_idle: Callable[[], bool],
        at_tick: Callable[[], Awaitable[None]],
        at_failure: Callable[[BaseException], None],
    ) -> None:
        self._id = own_id
        self._driver = driver
        self._clock = clock
        self._is_idle = is_idle
        self._at_tick = at_tick
        self._at_failure = at_failure
        self._seeking = RegisterPace(_SEEKING_SECONDS, _GAP_SECONDS)
        self._resting = RegisterPace(_RESTING_SECONDS, _GAP_SECONDS)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_ending = False
        self._hurry = asyncio.Event()
        self._stirred = asyncio.Event()
        self._to_send = asyncio.Event()
        self._drained = asyncio.Event()

    def start(self, connection: Connection) -> None:
        """Begin, on a connection that is open; whoever opened it closes it after `end`."""
        for work in (self._speak(connection), self._listen(connection), self._keep_time()):
            self._tasks.append(self._forever(work))

    def hurry(self) -> None:
        """Somebody is wanted who was not before."""
        self._hurry.set()

    def stir(self) -> None:
        """Something has come of an event."""
        self._stirred.set()

    async def reach(self, peer_id: str) -> None:
        """Talk to a peer that is wanted, as soon as that can be."""
        try:
            await self._driver.submit(peer_id)
        except StorageError as error:
            _log.warning("the database failed: %s", error)  # the next message of the peer does the same
        self._flush()
        self._hurry.set()

    async def part(self) -> None:
        """Begin nothing more, and let the conversations under way end, for a moment."""
        while not self._driver.wind_down(_PARTING_SECONDS) and not any(task.done() for task in self._tasks):
            self._stirred.clear()
            self._hurry.set()  # for what is due now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stirred.wait()

    async def end(self) -> None:
        """End everything; what has begun in the driver is ended, and what it wants to say leaves, if that can be."""
        speaking, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._driver.settle()
        # somebody may wait for our last answers, and would ask for them again
        self._is_ending = True
        self._to_send.set()
        await asyncio.wait({speaking}, timeout=_LAST_WORDS_SECONDS)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)

    def cancel(self) -> None:
        """End in a hurry, where nobody waits for `end`."""
        for task in self._tasks:
            task.cancel()

    def _forever(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._at_failure(error)

    async def _listen(self, connection: Connection) -> None:
        async for content in connection:
            try:
                await self._hear(content)
            except StorageError as error:
                _log.warning("the database failed: %s", error)  # the peer will say it again
            self._flush()
            await self._drained.wait()
        raise TransportError("the connection has ended")

    async def _hear(self, content: Json) -> None:
        try:
            message = parse_message(content, self._id)
        except PeerError as refusal:
            await self._driver.refuse(content, refusal.reason)
            return
        if message is None:
            return
        now = self._clock.monotonic()
        for pace in (self._seeking, self._resting):
            pace.heard(message.sender, now, is_newcomer=False)
        for role in Role if message.intent == "register" else (role_of(message),):
            await self._driver.receive(role, message)

    async def _speak(self, connection: Connection) -> None:
        while not self._is_ending:
            await self._to_send.wait()
            self._to_send.clear()
            while self._driver.outgoing:
                await connection.send(self._driver.outgoing.popleft() | {"from": self._id})
                if len(self._driver.outgoing) <= _LINES_WAITING:
                    self._drained.set()

    async def _keep_time(self) -> None:
        arrived_at = self._clock.monotonic() + _ARRIVING_SECONDS
        was_idle = True
        while True:
            try:
                await self._driver.tick()
                await self._at_tick()
            except StorageError as error:
                _log.warning("the database failed: %s", error)
            now = self._clock.monotonic()
            pace = self._resting if self._is_idle() and now > arrived_at else self._seeking
            if not self._driver.winding_down and pace.is_due(now):
                self._driver.outgoing.append(self._driver.register(anew=was_idle and not self._is_idle()))
                was_idle = self._is_idle()
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._hurry.wait()
                    self._hurry.clear()
                    self._seeking.heard(self._id, now, is_newcomer=True)
            await self._drained.wait()

    def _flush(self) -> None:
        if self._driver.outgoing:
            self._to_send.set()
        if len(self._driver.outgoing) > _LINES_WAITING:
            self._drained.clear()
        else:
            self._drained.set()

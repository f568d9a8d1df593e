"""`TimedScheduler`: the senders with `every` (section 4.10).

Sleeps until the next sender is due. What else can matter wakes it: an event, the end of a call, a guard's answer, a
new sender. Only guards that are functions have to be asked again and again.
"""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from summoner.client._bridge import SKIP, BridgeEntry
from summoner.client._context import ClientContext
from summoner.client._registry import RoutedSender
from summoner.client._user_code import is_being_cancelled, name_of
from summoner.client._workers import Call, WorkerPool
from summoner.protocol.process import Sender

_GUARD_INTERVAL_SECONDS = 0.1
# The loop's timers may fire this much early.
_CLOCK_RESOLUTION_SECONDS = time.get_clock_info("monotonic").resolution


@dataclass(eq=False, slots=True)
class _Timer:
    """One timed sender in one session. Times are the loop's clock."""

    routed: RoutedSender
    due: float
    armed: bool  # a reactive sender is, from its first matching event on
    entries: deque[BridgeEntry] = field(default_factory=deque)  # for the next tick of a sender with data
    in_flight: int = 0
    allowed: bool = True  # what `run_while` said last
    ask_again_at: float = 0.0
    answer: asyncio.Task[bool] | None = None  # of an asynchronous `run_while`
    guard_is_asynchronous: bool = False

    @property
    def sender(self) -> Sender:
        return self.routed.sender

    @property
    def waits_for_something_else(self) -> bool:
        """Whether no point in time matters: a call or a guard is running, or an event is missing."""
        return (
            bool(self.in_flight)
            or self.answer is not None
            or not self.armed
            or self.sender.run_while is False
        )

    def is_due(self, now: float) -> bool:
        """Whether nothing but `run_while` can keep it from being called."""
        return self.armed and now + _CLOCK_RESOLUTION_SECONDS >= self.due

    def next_visit(self) -> float:
        """When to look at it again, if nothing happens before."""
        if not callable(self.sender.run_while):
            return self.due
        return min(self.due, self.ask_again_at) if self.allowed else self.ask_again_at


class TimedScheduler:
    """Calls each timed sender at its own cadence, never twice at the same time. Lives as long as a session (C16)."""

    def __init__(self, context: ClientContext) -> None:
        self._registry = context.registry
        self._log = context.log
        self._max_entries = context.settings.event_bridge_maxsize
        self._timers: dict[RoutedSender, _Timer] = {}
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Something other than time has changed."""
        self._woken.set()

    def notice(self, entry: BridgeEntry) -> None:
        """Arm the reactive senders that an event calls for, and keep the event for those that take its data."""
        for routed in self._registry.timed_senders:
            if not (routed.reactive and routed.answers(entry.route, entry.event)):
                continue
            timer = self._timer(routed)
            if not timer.armed:
                timer.armed = True
                timer.due = self._loop.time()
            if routed.sender.use_data:
                self._keep(entry, timer)
            self.wake()

    def _keep(self, entry: BridgeEntry, timer: _Timer) -> None:
        if len(timer.entries) < self._max_entries:
            timer.entries.append(entry)
        else:
            self._log.report(
                f"Timed sender {name_of(timer.sender.fn)}: too many events wait for its next call, dropped one",
                f"{self._max_entries} are waiting",
            )

    async def run(self, pool: WorkerPool) -> None:
        """Schedule until cancelled."""
        try:
            while True:
                self._woken.clear()
                for routed in self._registry.timed_senders:
                    await self._visit(self._timer(routed), pool)
                await self._sleep()
        finally:
            for timer in self._timers.values():
                if timer.answer is not None:
                    timer.answer.cancel()

    def _timer(self, routed: RoutedSender) -> _Timer:
        timer = self._timers.get(routed)
        if timer is None:
            timer = _Timer(routed, due=self._loop.time(), armed=not routed.reactive)
            self._timers[routed] = timer
        return timer

    async def _sleep(self) -> None:
        times = [timer.next_visit() for timer in self._timers.values() if not timer.waits_for_something_else]
        alarm = self._loop.call_at(min(times), self.wake) if times else None
        try:
            await self._woken.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _visit(self, timer: _Timer, pool: WorkerPool) -> None:
        if timer.in_flight:
            return  # C15: its end wakes the scheduler
        now = self._loop.time()
        if not self._knows_whether_allowed(timer, now):
            return
        if not timer.allowed:
            if timer.routed.reactive:
                timer.armed = False
                timer.entries.clear()
        elif timer.is_due(now):
            timer.due = now + (timer.sender.every or 0.0)
            await self._dispatch(timer, pool)

    async def _dispatch(self, timer: _Timer, pool: WorkerPool) -> None:
        sender = timer.sender
        calls = [None]
        if sender.use_data:
            data = [entry.data_for(sender, self._log) for entry in timer.entries]
            timer.entries.clear()
            calls = [each for each in data if each is not SKIP]
        timer.in_flight = len(calls)
        for each in calls:
            await pool.submit(Call(sender, each, True, partial(self._on_done, timer)))

    def _on_done(self, timer: _Timer) -> None:
        timer.in_flight -= 1
        if not timer.in_flight:
            self.wake()

    def _knows_whether_allowed(self, timer: _Timer, now: float) -> bool:
        """Bring `timer.allowed` up to date. `False` if the answer of `run_while` has to be waited for."""
        guard = timer.sender.run_while
        if not callable(guard):
            timer.allowed = guard is not False
            return True
        if timer.answer is not None:
            if not timer.answer.done():
                return False
            timer.allowed = timer.answer.result()
            timer.answer = None
            timer.ask_again_at = now + _GUARD_INTERVAL_SECONDS
            return True
        # An answer wakes the scheduler. Asked at every visit, two asynchronous guards would keep each other busy.
        if (
            timer.guard_is_asynchronous
            and now < timer.ask_again_at
            and not (timer.allowed and timer.is_due(now))
        ):
            return False
        timer.ask_again_at = now + _GUARD_INTERVAL_SECONDS
        try:
            verdict = guard()
            if not inspect.isawaitable(verdict):
                timer.allowed = bool(verdict)
                return True
        except Exception:  # noqa: BLE001 - the agent's guard may raise anything, which counts as false
            self._report_guard(timer.sender)
            timer.allowed = False
            return True
        timer.guard_is_asynchronous = True
        timer.answer = self._loop.create_task(self._answer(timer.sender, verdict))
        timer.answer.add_done_callback(lambda _: self.wake())
        return False

    async def _answer(self, sender: Sender, verdict: Awaitable[Any]) -> bool:
        try:
            return bool(await verdict)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            self._report_guard(sender)
            return False
        except Exception:  # noqa: BLE001 - as for a synchronous guard
            self._report_guard(sender)
            return False

    def _report_guard(self, sender: Sender) -> None:
        self._log.report(f"run_while of timed sender {name_of(sender.fn)} failed", with_traceback=True)

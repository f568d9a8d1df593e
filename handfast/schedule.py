"""Whose turn it is, and when: the events of one pair wait for each other, and each pair has at most one deadline."""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Iterable

from handfast.conversation.model import Role

Pair = tuple[Role, str]


class Turns:
    """Lets the events of one pair wait for each other."""

    def __init__(self) -> None:
        self._locks: dict[Pair, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, pair: Pair) -> AsyncIterator[None]:
        """The pair's turn."""
        lock, waiting = self._locks.get(pair) or (asyncio.Lock(), 0)
        self._locks[pair] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            waiting = self._locks[pair][1] - 1
            self._locks[pair] = lock, waiting
            if not waiting:
                del self._locks[pair]


_STALE_AT_LEAST = 64


class Timers:
    """One deadline for each pair, on the monotonic clock; a heap whose stale entries are skipped, and never most of it."""

    def __init__(self) -> None:
        self._deadlines: dict[Pair, float] = {}
        self._heap: list[tuple[float, Pair]] = []

    def pairs(self) -> Iterable[Pair]:
        """Every pair that has a deadline."""
        return self._deadlines

    def set(self, pair: Pair, deadline: float | None) -> None:
        """Give a pair another deadline, in seconds on the monotonic clock, or none."""
        if deadline is None:
            self._deadlines.pop(pair, None)
        else:
            self._deadlines[pair] = deadline
            heapq.heappush(self._heap, (deadline, pair))
            # deadlines that were moved wait below an earlier one until they surface, which may be minutes
            if len(self._heap) > 2 * len(self._deadlines) + _STALE_AT_LEAST:
                self._heap = [(at, one) for one, at in self._deadlines.items()]
                heapq.heapify(self._heap)

    def _next(self) -> float | None:
        while self._heap and self._deadlines.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, at_most: int) -> list[Pair]:
        """The pairs whose deadline has passed, so many of them at most; they have none then."""
        pairs: list[Pair] = []
        while len(pairs) < at_most and (deadline := self._next()) is not None and deadline <= now:
            pair = heapq.heappop(self._heap)[1]
            del self._deadlines[pair]
            pairs.append(pair)
        return pairs

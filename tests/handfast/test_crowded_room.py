"""A room in virtual time that carries only so many lines a second: everybody closes with everybody however slow it is.

Real drivers and the real pace of `register`; the relay is a queue that takes a fixed time for each line, as broadcast on a busy
machine does. Without the bounds of `handfast.congestion` such a room comes to a standstill that lasts for ever.
"""

import heapq

import pytest
from fake_world import End, FakeClock

from handfast.congestion import Admission, RegisterPace
from handfast.conversation.effects import Closed
from handfast.conversation.model import Role
from handfast.wire.text import Json

TICK_SECONDS = 0.25
STARTS_EVERY_SECONDS = 0.5


class SlowRoom:
    """Agents, and the lines on their way.

    Args:
        agents: how many; one starts every half second.
        lines_per_second: how many the room carries.

    Attributes:
        closed: directed pairs of which both sides have seen a conversation close.
    """

    def __init__(self, agents: int, lines_per_second: float) -> None:
        self.closed: set[tuple[str, str]] = set()
        self._clock = FakeClock()
        self._ends = [End(f"agent {number}", self._clock) for number in range(agents)]
        self._numbers = {end.id: number for number, end in enumerate(self._ends)}
        self._paces = [RegisterPace(1.0, 0.25) for _ in self._ends]
        self._met: list[set[str]] = [set() for _ in self._ends]
        self._started: set[int] = set()
        self._seconds_per_line = 1 / lines_per_second
        self._busy_until = 0.0
        self._sides: dict[tuple[str, str], set[Role]] = {}
        # what happens when: an agent's tick, or the arrival of a line of its
        self._events: list[tuple[float, int, int, dict[str, Json] | None]] = []
        self._count = 0
        for number in range(agents):
            self._plan(number * STARTS_EVERY_SECONDS, number, None)

    async def run(self, seconds: float) -> None:
        """Go on until everybody has closed with everybody, or so many seconds after the beginning."""
        pairs = len(self._ends) * (len(self._ends) - 1)
        while len(self.closed) < pairs and self._events[0][0] <= seconds:
            self._clock.seconds, _, number, line = heapq.heappop(self._events)
            if line is None:
                await self._tick(number)
            else:
                await self._arrive(number, line)

    def _plan(self, at: float, number: int, line: dict[str, Json] | None) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, number, line))

    async def _tick(self, number: int) -> None:
        end, now = self._ends[number], self._clock.seconds
        self._started.add(number)
        await end.driver.tick()
        if self._paces[number].is_due(now):
            end.driver.outgoing.append({"to": None, "intent": "register"})
        self._say(number)
        self._plan(now + TICK_SECONDS, number, None)

    async def _arrive(self, author: int, line: dict[str, Json]) -> None:
        to, sender = line["to"], str(line["from"])
        for number in self._started if to is None else {self._numbers[str(to)]}:
            if number != author:
                is_newcomer = sender not in self._met[number]
                self._met[number].add(sender)
                self._paces[number].heard(sender, self._clock.seconds, is_newcomer=is_newcomer)
                await self._ends[number].receive(line)
                self._say(number)

    def _say(self, number: int) -> None:
        end = self._ends[number]
        for line in end.take():
            self._busy_until = max(self._busy_until, self._clock.seconds) + self._seconds_per_line
            self._plan(self._busy_until, number, line)
        for outcome in end.outcomes:
            if any(isinstance(effect, Closed) for effect in outcome.effects):
                is_initiator = outcome.role is Role.INITIATOR
                pair = (end.id, outcome.peer_id) if is_initiator else (outcome.peer_id, end.id)
                self._sides.setdefault(pair, set()).add(outcome.role)
                if len(self._sides[pair]) == len(Role):
                    self.closed.add(pair)
        end.outcomes.clear()


@pytest.mark.parametrize("lines_per_second", [400.0, 16.0])
async def test_everybody_closes_with_everybody_however_little_the_room_carries(
    lines_per_second: float,
) -> None:
    room = SlowRoom(8, lines_per_second)
    await room.run(600)
    assert len(room.closed) == 8 * 7


async def test_without_a_bound_on_what_is_under_way_a_slow_room_comes_to_a_standstill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Admission, "admits", lambda *_: True)
    monkeypatch.setattr(Admission, "slowness", 1.0)
    room = SlowRoom(8, 16.0)
    await room.run(120)
    closed = len(room.closed)
    await room.run(240)
    assert len(room.closed) == closed < 8 * 7

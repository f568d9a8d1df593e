"""Clocks that are set, and clocks that are wrong, in a world whose clock the case moves."""

import json
from typing import Any

from catalogue import WORLD, chapter
from fake_world import End, FakeClock, Link

from handfast.conversation.model import Role, State

case = chapter("Time", WORLD)

YEAR = 365 * 86_400.0
FOURTEEN_HOURS = 14 * 3_600.0
INTENTS = ("confirm", "request", "respond", "conclude", "finish", "close")


class World:
    """Alice and Bob, with a clock each, over a fake relay."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bobs_clock = _Beside(self.clock)
        self.alice, self.bob = End("alice", self.clock), End("bob", self.bobs_clock)
        self.link = Link(self.alice, self.bob)

    async def begin(self) -> None:
        """The first conversations, up to their end."""
        await self.link.register()
        await self.link.advance(self.clock, 3)

    async def ready(self) -> None:
        """No conversation is under way."""
        for _ in range(240):
            states = [await end.driver.state(role, other.id) for end, other in self.pairs() for role in Role]
            if all(state.is_ready for state in states):
                return
            await self.link.advance(self.clock, 0.5, register_every=None)
        raise AssertionError("the conversations never end")

    async def cut_at(self, intent: str) -> None:
        """A conversation is under way in which no message of this kind arrives any more."""
        self.link.fate = lambda line: 0 if line["intent"] == intent else 1
        await self.link.advance(self.clock, 14)
        self.link.fate = lambda line: 1

    def pairs(self) -> tuple[tuple[End, End], tuple[End, End]]:
        return (self.alice, self.bob), (self.bob, self.alice)

    def unique_deliveries(self) -> set[str]:
        return {
            f"{end.name} {json.dumps(message)}"
            for end in (self.alice, self.bob)
            for message in end.delivered()
        }

    async def assert_unharmed(self) -> None:
        """Within two minutes a new conversation closes in each direction, and nothing was ever delivered twice."""
        before = [(end.closed(role), end, role) for end in (self.alice, self.bob) for role in Role]
        await self.link.advance(self.clock, 120)
        for count, end, role in before:
            assert end.closed(role) > count, f"{end.name} as {role}"
        assert len(self.alice.delivered()) + len(self.bob.delivered()) == len(self.unique_deliveries())


class _Beside(FakeClock):
    """Another machine's clock: the same time passes, but it may show another hour."""

    def __init__(self, first: FakeClock) -> None:
        self._first = first
        self.offset = first.offset

    @property
    def seconds(self) -> float:  # type: ignore[override]
        return self._first.seconds


async def step_in_each_state(world: World, seconds: float, *clocks: Any) -> None:
    for intent in INTENTS:
        await world.cut_at(intent)
        for clock in clocks:
            clock.offset += seconds
        await world.link.advance(world.clock, 40)
        for clock in clocks:
            clock.offset -= seconds
        await world.link.advance(world.clock, 40)


@case(
    "clock-year-ahead",
    "both clocks are set a year ahead, and back, with each kind of message under way",
    "no timer is lost or fires for ever",
)
async def _(world: World) -> None:
    await step_in_each_state(world, YEAR, world.clock, world.bobs_clock)


@case(
    "clock-year-back",
    "both clocks are set a year back, and ahead, with each kind of message under way",
    "no timer is lost or fires for ever",
)
async def _(world: World) -> None:
    await step_in_each_state(world, -YEAR, world.clock, world.bobs_clock)


@case(
    "clock-one-year-ahead",
    "one of the two clocks is set a year ahead, and back",
    "handshakes are refused meanwhile: `hs_stale`, `hs_from_the_future`",
)
async def _(world: World) -> None:
    await step_in_each_state(world, YEAR, world.clock)
    assert {"hs_stale", "hs_from_the_future"} & set(world.alice.refusals() + world.bob.refusals())


@case(
    "clock-one-year-back",
    "one of the two clocks is set a year back, and ahead",
    "handshakes are refused meanwhile: `hs_stale`, `hs_from_the_future`",
)
async def _(world: World) -> None:
    await step_in_each_state(world, -YEAR, world.clock)
    assert {"hs_stale", "hs_from_the_future"} & set(world.alice.refusals() + world.bob.refusals())


@case(
    "clock-14-hours-off",
    "the peer's clock is 14 hours off, either way, as in another zone",
    "no session and no plaintext; it works when the clock is right",
)
async def _(world: World) -> None:
    for offset in (FOURTEEN_HOURS, -FOURTEEN_HOURS):
        await world.ready()
        world.bobs_clock.offset += offset
        closed = [end.closed(role) for end in (world.alice, world.bob) for role in Role]
        await world.link.advance(world.clock, 60)
        assert [end.closed(role) for end in (world.alice, world.bob) for role in Role] == closed
        world.bobs_clock.offset -= offset
        await world.assert_unharmed()
    assert not any("message" in line for line in world.link.recorded)


@case(
    "clock-61-seconds-off",
    "the peer's clock is 59, then 61 seconds off",
    "the first is tolerated, the second refused",
)
async def _(world: World) -> None:
    await world.ready()
    world.bobs_clock.offset += 59
    await world.assert_unharmed()
    world.bobs_clock.offset += 4
    refused = len(world.alice.refusals())
    await world.link.advance(world.clock, 60)
    assert "hs_from_the_future" in world.alice.refusals()[refused:]
    world.bobs_clock.offset -= 63


@case("clock-stepping", "the clock is set by an hour every second, back and forth, for a minute", "no wedge")
async def _(world: World) -> None:
    for number in range(60):
        world.clock.offset += 3_600 if number % 2 else -3_600
        await world.link.advance(world.clock, 1)


@case(
    "clock-restart-year",
    "the process is killed in each state, and started again by a clock that is a year off",
    "it begins afresh",
)
async def _(world: World) -> None:
    for intent in INTENTS:
        for step in (YEAR, -YEAR):
            await world.cut_at(intent)
            world.alice.take()
            world.clock.offset += step
            world.bobs_clock.offset += step
            await world.alice.restart()
            await world.link.advance(world.clock, 60)
    for end, other in world.pairs():
        assert await end.state(Role.RESPONDER, other) in State

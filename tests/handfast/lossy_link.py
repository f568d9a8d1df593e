"""What may happen on a link between two agents, as the rules of a state machine: lines are lost, repeated, overtaken and
replayed, time passes, agents are killed. What else may happen, and what must hold, is the cases' matter.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fake_world import End
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

E = TypeVar("E", bound=End)

whose = st.integers(0, 1)
_positions = st.integers(0, 1000)
fates_of_lines = st.lists(
    st.sampled_from([*["arrives"] * 6, "is lost", "arrives twice", "is late"]), min_size=3
)


@dataclass
class Line:
    """One line on its way."""

    to: End
    content: dict[str, Any]


class LossyLink(RuleBasedStateMachine, Generic[E]):
    """The link; every rule is one thing that may happen on it.

    Args:
        ends: the two agents; each has a clock of its own.
    """

    def __init__(self, *ends: E) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.ends = ends
        self.on_their_way: list[Line] = []
        self.ever_sent: list[Line] = []

    def teardown(self) -> None:
        try:
            self.all_ends_well()
        finally:
            self.loop.close()

    def all_ends_well(self) -> None:
        """What must come about whatever has happened."""

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def collect(self) -> None:
        for end, other in (self.ends, reversed(self.ends)):
            for content in end.take():
                self.ever_sent.append(Line(other, content))
                self.on_their_way.append(Line(other, content))

    def hand_over(self, line: Line) -> None:
        self.run(line.to.receive(line.content))
        self.collect()

    def registers(self, who: int) -> None:
        end = self.ends[who]
        self.on_their_way.append(Line(self.ends[1 - who], end.driver.register() | {"from": end.id}))

    async def tick(self, end: E) -> None:
        await end.driver.tick()

    @rule(fates=fates_of_lines)
    def talk(self, fates: list[str]) -> None:
        """One line after the other meets its fate, beginning with a `register` where nobody says anything."""
        if not self.on_their_way:
            self.registers(0)
            self.registers(1)
        for fate in fates:
            if not self.on_their_way:
                return
            line = self.on_their_way.pop(0)
            if fate == "is late":
                self.on_their_way.append(line)
            for _ in range({"arrives": 1, "arrives twice": 2}.get(fate, 0)):
                self.hand_over(line)

    @rule()
    def all_arrive_in_order(self) -> None:
        while self.on_their_way:
            self.hand_over(self.on_their_way.pop(0))

    @precondition(lambda self: self.on_their_way)
    @rule(at=_positions)
    def overtakes(self, at: int) -> None:
        self.hand_over(self.on_their_way.pop(at % len(self.on_their_way)))

    @precondition(lambda self: self.on_their_way)
    @rule(at=_positions)
    def arrives_and_will_again(self, at: int) -> None:
        self.hand_over(self.on_their_way[at % len(self.on_their_way)])

    @precondition(lambda self: self.on_their_way)
    @rule(at=_positions)
    def is_lost(self, at: int) -> None:
        self.on_their_way.pop(at % len(self.on_their_way))

    @precondition(lambda self: self.ever_sent)
    @rule(at=_positions)
    def is_replayed(self, at: int) -> None:
        self.hand_over(self.ever_sent[at % len(self.ever_sent)])

    @rule(seconds=st.sampled_from([0.3, 2.5, 12.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        for end in self.ends:
            end.clock.seconds += seconds
            self.run(self.tick(end))
        self.collect()

    @rule(who=whose)
    def is_killed_and_restarted(self, who: int) -> None:
        self.ends[who].take()  # what had not left is lost with the process
        self.run(self.ends[who].restart())
        self.collect()

"""Breadth-first search through all states of two agents and what was ever said between them.

Every state that can be reached is visited once, and the trace to a violation is as short as can be.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from book import IDS, A, Book, Move, bits, read
from modelled_agent import ModelledAgent
from snapshots import Session, Snapshot
from symbolic import symbolic_cryptography

from handfast.wire.messages import Message

_MOST_MESSAGES = 100  # of an honest conversation; it takes far fewer

BookT = TypeVar("BookT", bound=Book)
Agents = tuple[ModelledAgent, ModelledAgent]
Successor = tuple["World", str, tuple[str, ...]]


class World(NamedTuple):
    """A state: numbers of both snapshots, the set of all messages ever sent as bits, and what was used of the bounds."""

    a: int
    b: int
    sent: int
    crashes: int = 0
    forgeries: int = 0
    minutes: int = 0
    control_forged: bool = False


@dataclass(slots=True)
class Result:
    """What an exploration found.

    Attributes:
        states, transitions: how many were visited.
        violations: by property, the shortest trace to the first state that violates it.
        exceptions: which of the forgeries that are let through were seen to happen.
        both_closed: how often both sides had closed the same session; a check that proves nothing has none.
    """

    states: int = 0
    transitions: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)
    exceptions: set[str] = field(default_factory=set)
    both_closed: int = 0

    def __str__(self) -> str:
        found = ", ".join(sorted(self.violations)) or "none"
        return f"{self.states} states, {self.transitions} transitions, violations: {found}"


class Search(ABC, Generic[BookT]):
    """Explores once.

    Args:
        book: what can happen.
        agents: A and B.
        stop_early: end with the first violation.
        stop_at: end with the first violation of this property.
    """

    def __init__(self, book: BookT, agents: Agents, stop_early: bool, stop_at: str = "") -> None:
        self.result = Result()
        self._moves = book
        self._agents = agents
        self._stop_early = stop_early
        self._stop_at = stop_at
        self._parents: dict[World, tuple[World, str] | None] = {}

    def run(self) -> Result:
        """Visit everything; call it within nothing else that patches the session's primitives."""
        with symbolic_cryptography():
            self._explore()
        self.result.states = len(self._parents)
        return self.result

    @abstractmethod
    def _start(self) -> World:
        """Where everything begins."""

    @abstractmethod
    def _successors(self, world: World) -> Iterator[Successor]:
        """What can happen next: the state, what happened in words, what it violates."""

    @abstractmethod
    def _broken_in(self, world: World) -> tuple[str, ...]:
        """What this state violates."""

    def _explore(self) -> None:
        start = self._start()
        self._parents[start] = None
        waiting = deque([start])
        while waiting:
            world = waiting.popleft()
            for name in self._broken_in(world):
                self._violated(name, world)
            for number in bits(world.sent & self._moves.all_improper):
                self._violated(self._moves.improper[number], world)
            for following, label, broken in self._successors(world):
                self.result.transitions += 1
                if following not in self._parents:
                    self._parents[following] = world, label
                    waiting.append(following)
                for name in broken:
                    self._violated(name, following, (world, label))
            if (self._stop_early and self.result.violations) or self._stop_at in self.result.violations:
                return

    @staticmethod
    def _moved(world: World, side: int, move: Move) -> World:
        if side == A:
            return world._replace(a=move.after, sent=world.sent | move.sent)
        return world._replace(b=move.after, sent=world.sent | move.sent)

    def _violated(self, name: str, world: World, last: tuple[World, str] | None = None) -> None:
        if name in self.result.violations:
            return
        trace = [last[1]] if last else []
        step = self._parents[last[0] if last else world]
        while step is not None:
            trace.append(step[1])
            step = self._parents[step[0]]
        self.result.violations[name] = trace[::-1]


def honest_run(
    agents: Agents, snapshots: list[Snapshot], registers: Callable[[], tuple[Message, ...]]
) -> Session | None:
    """The first session that these two close over a network that loses nothing; None if they never do.

    Args:
        agents: A and B.
        snapshots: of both; changed.
        registers: what each side hears whenever nobody has anything to say.
    """
    on_the_way: deque[tuple[int, Message]] = deque()
    for _ in range(_MOST_MESSAGES):
        if not on_the_way:
            on_the_way.extend(enumerate(registers()))
        side, message = on_the_way.popleft()
        taken = agents[side].take(snapshots[side], message)
        snapshots[side] = taken.after
        for payload in taken.sent:
            answer = read({**payload, "from": IDS[side]}, IDS[1 - side])
            if answer is not None:
                on_the_way.append((1 - side, answer))
        a, b = (snapshot.sessions[-1:] for snapshot in snapshots)
        if a and b and a[0].closed and b[0].closed and a[0].key == b[0].key:
            return a[0]
    return None


def broken_for_one(snapshot: Snapshot) -> Iterator[str]:
    """What one agent's notes violate by themselves."""
    heard = [text for session in snapshot.sessions for text in session.heard]
    if len(heard) != len(set(heard)):
        yield "delivery"
    peer_keys = [session.peer_key for session in snapshot.sessions]
    if len(peer_keys) != len(set(peer_keys)):
        yield "freshness"

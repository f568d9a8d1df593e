"""`Signal`, `Event` and its three actions: what a handler may return (sections 5.6 and 5.7)."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, repr=False)
class Signal:
    """A named position in a tree of signals. Equality, hash and order regard the path only.

    `a > b` means that `a` is a strict ancestor of `b`. Unrelated signals are in no order.
    """

    path: tuple[int, ...]
    name: str = field(compare=False)

    def __gt__(self, other: object) -> bool:
        return other._is_below(self) if isinstance(other, Signal) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self._is_below(other) if isinstance(other, Signal) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self == other or other._is_below(self) if isinstance(other, Signal) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self == other or self._is_below(other) if isinstance(other, Signal) else NotImplemented

    def _is_below(self, other: "Signal") -> bool:
        depth = len(other.path)
        return len(self.path) > depth and self.path[:depth] == other.path

    def __repr__(self) -> str:
        return f"<Signal {self.name!r}>"


class Event:
    """What a receiver reports to the flow: a signal, and data for the senders that answer it."""

    def __init__(self, signal: Signal, data: Any = None) -> None:
        self.signal = signal
        self.data = data

    def __repr__(self) -> str:
        data = "" if self.data is None else f", data={self.data!r}"
        return f"{type(self).__name__}({self.signal!r}{data})"


class Move(Event):
    """The route was taken: its label and target are activated."""


class Stay(Event):
    """The route was not taken: its source remains."""


class Test(Event):
    """The route was tried: its label is activated."""

    __test__ = False  # not a test case, whatever pytest thinks of the name


class Action:
    """The three actions by name. `Action.MOVE(signal)` is `Move(signal)`."""

    MOVE = Move
    STAY = Stay
    TEST = Test


def extract_signal(x: Any) -> Signal | None:
    """The signal of an event, a signal itself, `None` for `None`. `TypeError` for anything else."""
    if isinstance(x, Event):
        return x.signal
    if x is None or isinstance(x, Signal):
        return x
    raise TypeError(f"expected an event, a signal or None, got {type(x).__name__}")

"""The records of registered handlers, and the small enumerations around them (section 5.7)."""

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from summoner.protocol._signals import Event, Signal


class Direction(Enum):
    """Which way the payloads pass that a hook sees."""

    SEND = auto()
    RECEIVE = auto()


class ClientIntent(Enum):
    """Why a client wants its session to end."""

    QUIT = auto()
    TRAVEL = auto()
    ABORT = auto()


@dataclass(frozen=True)
class Receiver:
    """A registered receiver."""

    fn: Callable[..., Awaitable[Any]]
    priority: tuple[int, ...]


@dataclass(frozen=True, eq=False)  # C13: two registrations are two senders, however alike
class Sender:
    """A registered sender with the options of its decorator (section 4.6.1)."""

    fn: Callable[..., Awaitable[Any]]
    multi: bool
    actions: AbstractSet[type[Event]] | None
    triggers: AbstractSet[Signal] | None
    use_data: bool = False
    data_mode: Literal["live", "snapshot"] | None = None
    when_data: Callable[[Any], Any] | None = None
    every: float | None = None
    run_while: bool | Callable[[], Any] | None = None
    registration_id: int | None = None

    def responds_to(self, event: Any) -> bool:
        """Whether what a receiver returned passes both filters, of which `None` is no constraint (section 4.8).

        A bare `Signal` passes a filter of triggers; what is neither that nor an event passes no filter (C14).
        """
        if self.actions is not None and not isinstance(event, tuple(self.actions)):
            return False
        if self.triggers is None:
            return True
        signal = event.signal if isinstance(event, Event) else event
        return isinstance(signal, Signal) and signal in self.triggers

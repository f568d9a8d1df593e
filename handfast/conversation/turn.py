"""One step in the making: what the guards and actions of a table look at and write to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from handfast.conversation.model import (
    Effect,
    Event,
    Facts,
    Outgoing,
    Party,
    PeerState,
    Role,
    Send,
    Settings,
    State,
)
from handfast.errors import PeerError, Reason
from handfast.ports import Entropy
from handfast.wire.text import Json
from handfast.wire.v1 import encode_message


class Turn:
    """The state before, the event, and what the action makes of them.

    Guards only read; actions call `change`, `emit` and the sending methods. An action that raises `PeerError` leaves no
    trace, because nobody looks at a turn that was not finished.
    """

    __slots__ = ("_after", "_changes", "before", "effects", "entropy", "event", "facts", "now", "party")

    def __init__(
        self, before: PeerState, event: Event, facts: Facts, now: float, entropy: Entropy, party: Party
    ) -> None:
        self.before = before
        self._after = before
        self._changes: dict[str, Any] = {}
        # which event it is, is a matter of the row: its action knows the members, the type checker cannot
        self.event: Any = event
        self.facts = facts
        self.now = now
        self.entropy = entropy
        self.party = party
        self.effects: list[Effect] = []

    @property
    def settings(self) -> Settings:
        """The user's settings."""
        return self.party.settings

    @property
    def after(self) -> PeerState:
        """The state after this step, as far as it is known."""
        if self._changes:  # several changes, one copy of the twenty-odd fields
            self._after = replace(self._after, **self._changes)
            self._changes = {}
        return self._after

    def change(self, **fields: Any) -> None:
        """Set fields of the state after this step."""
        self._changes.update(fields)

    def emit(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self.effects.extend(effects)

    def say(self, intent: str, **fields: Json) -> None:
        """Make a message and start sending it: now, or after the pace, and again on the timer."""
        payload = encode_message(self.before.peer_id, intent, **fields)
        pace = self.settings.pace
        self.change(outgoing=Outgoing(payload, sends=0, due_at=self.now + pace, since=self.now))
        if pace <= 0:
            self.send_outgoing()

    def send_once(self, intent: str, **fields: Json) -> None:
        """Send a message that no timer repeats."""
        self.emit(Send(encode_message(self.before.peer_id, intent, **fields)))
        self.change(last_sent_at=self.now)

    def send_outgoing(self) -> None:
        """Send what is being repeated, and set the timer for the next time; counts against the limit of tries."""
        outgoing = self.after.outgoing
        if outgoing is None:
            return
        delays = delays_of(outgoing, self.settings)
        wait = self.jittered(delays[min(outgoing.sends, len(delays) - 1)])
        self.change(
            outgoing=replace(outgoing, sends=outgoing.sends + 1, due_at=self.now + wait),
            last_sent_at=self.now,
        )
        self.emit(Send(outgoing.payload))

    def repeat_answer(self) -> None:
        """Send what is being repeated because the peer asked again; counts against nothing, moves no timer."""
        if self.before.outgoing is not None:
            self.emit(Send(self.before.outgoing.payload))
            self.change(last_sent_at=self.now)

    def jittered(self, seconds: float) -> float:
        """`seconds`, longer or shorter by up to the jitter."""
        return seconds * (1 + self.settings.jitter * (2 * self.entropy.fraction() - 1))

    def ask(self, question: Callable[[], Json]) -> Json:
        """What the user's dialogue says.

        Raises:
            PeerError: it raised; the cause is kept for the user's log.
        """
        try:
            return question()
        except Exception as error:
            # the user's code may raise anything; rule 4 of the architecture: the message is refused, nothing moves
            raise PeerError(Reason.DIALOGUE_FAILED) from error


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a table.

    Attributes:
        role, state, on: where it applies; `on` is an intent, "timer" or "restart".
        when: the guard in words, for the documentation.
        does: the effects in words.
        goes_to: the state afterwards.
        guard: whether the row fires; reads only, and costs no cryptography.
        act: does it, or raises `PeerError` to refuse the message.
    """

    role: Role
    state: State
    on: str
    when: str
    does: str
    goes_to: State
    guard: Callable[[Turn], bool]
    act: Callable[[Turn], None]


def delays_of(outgoing: Outgoing, settings: Settings) -> tuple[float, ...]:
    """The waits after each sending; `close` has its own, because nothing ever answers it."""
    return settings.close_delays if outgoing.payload["intent"] == "close" else settings.retry_delays

"""One step in the making: what the guards and actions of a table look at and write to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from handfast.conversation.effects import Effect, Send
from handfast.conversation.live import Announcements, Live
from handfast.conversation.model import (
    Event,
    Facts,
    Outgoing,
    Party,
    PeerState,
    Role,
    Settings,
    State,
    TrustBook,
)
from handfast.errors import PeerError, Reason
from handfast.ports import Entropy
from handfast.wire.text import Json, b64url_encode
from handfast.wire.v1 import encode_message

T = TypeVar("T")

_NOTHING_LIVE = Live()


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

    @property
    def live(self) -> Live:
        """What version 2 keeps in memory of the state before."""
        return self.before.live or _NOTHING_LIVE

    @property
    def live_after(self) -> Live:
        """The same of the state after this step, as far as it is known."""
        live: Live | None = self._changes.get("live", self._after.live)
        return live or _NOTHING_LIVE

    @property
    def announcements(self) -> Announcements:
        """What this process announces.

        Raises:
            PeerError: `policy`, it speaks version 1 only.
        """
        if self.facts.announcements is None:
            raise PeerError(Reason.POLICY)
        return self.facts.announcements

    @property
    def book(self) -> TrustBook:
        """Whom we trust.

        Raises:
            PeerError: `policy`, nobody is to be asked.
        """
        if self.facts.book is None:
            raise PeerError(Reason.POLICY)
        return self.facts.book

    def token(self) -> str:
        """A new nonce or reference of version 2: B(16 random bytes)."""
        return b64url_encode(self.entropy.octets(16))

    def change(self, **fields: Any) -> None:
        """Set fields of the state after this step."""
        self._changes.update(fields)

    def emit(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self.effects.extend(effects)

    def say(self, intent: str, **fields: Json) -> None:
        """Make a message and start sending it: now, or after the pace, and again on the timer."""
        self.start_sending(encode_message(self.before.peer_id, intent, **fields))

    def start_sending(self, payload: dict[str, Json], wait: float | None = None) -> None:
        """Start sending a message, as `say` does; `wait` as for `send_outgoing`."""
        pace = self.settings.pace
        self.change(outgoing=Outgoing(payload, sends=0, due_at=self.now + pace, since=self.now))
        if pace <= 0:
            self.send_outgoing(wait)

    def send_once(self, intent: str, **fields: Json) -> None:
        """Send a message that no timer repeats."""
        self.send_payload(encode_message(self.before.peer_id, intent, **fields))

    def send_payload(self, payload: dict[str, Json]) -> None:
        """Send a message that no timer repeats, as it is."""
        self.emit(Send(payload))
        self.change(last_sent_at=self.now)

    def send_outgoing(self, wait: float | None = None) -> None:
        """Send what is being repeated, and set the timer for the next time; counts against the limit of tries.

        Args:
            wait: seconds until the timer fires; that of the settings if None.
        """
        outgoing: Outgoing | None = self._changes.get("outgoing", self._after.outgoing)
        if outgoing is None:
            return
        delays = delays_of(outgoing, self.settings)
        wait = self.jittered(delays[min(outgoing.sends, len(delays) - 1)] if wait is None else wait)
        self.change(
            outgoing=Outgoing(outgoing.payload, outgoing.sends + 1, self.now + wait, outgoing.since),
            last_sent_at=self.now,
        )
        self.emit(Send(outgoing.payload))

    def repeat_answer(self) -> None:
        """Send what is being repeated because the peer asked again; counts against nothing, moves no timer."""
        if self.before.outgoing is not None:
            self.send_payload(self.before.outgoing.payload)

    def jittered(self, seconds: float) -> float:
        """`seconds`, longer or shorter by up to the jitter."""
        return seconds * (1 + self.settings.jitter * (2 * self.entropy.fraction() - 1))

    def ask(self, question: Callable[[], T]) -> T:
        """What the user's dialogue says.

        Raises:
            PeerError: it raised; the cause is kept for the user's log.
        """
        try:
            return question()
        except Exception as error:
            # the user's code may raise anything; rule 4 of the architecture: the message is refused, nothing moves
            raise PeerError(Reason.DIALOGUE_FAILED) from error


Guard = Callable[[Turn], bool]
Action = Callable[[Turn], None]


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a table.

    Attributes:
        role, state, on: where it applies; `on` is an intent, "timer", "restart" or "submit".
        when: the guard in words, for the documentation.
        does: the effects in words.
        goes_to: the state afterwards.
        guard: whether the row fires; reads only, and costs no cryptography.
        act: does it, or raises `PeerError` to refuse the message.
        volatile: whether it neither asks the store nor leaves anything to be stored.
    """

    role: Role
    state: State
    on: str
    when: str
    does: str
    goes_to: State
    guard: Guard
    act: Action
    volatile: bool = False


def row(
    state: State,
    on: str,
    when: str,
    guard: Guard,
    does: str,
    act: Action,
    goes_to: State | None = None,
    *,
    volatile: bool = False,
) -> Transition:
    """One row; it stays in its state where no other is named."""
    role = Role.INITIATOR if state.startswith("init") else Role.RESPONDER
    return Transition(role, state, on, when, does, goes_to or state, guard, act, volatile)


def delays_of(outgoing: Outgoing, settings: Settings) -> tuple[float, ...]:
    """The waits after each sending; the `close` of version 1 has its own, because nothing ever answers it."""
    is_unanswered = outgoing.payload["intent"] == "close" and "sec" not in outgoing.payload
    return settings.close_delays if is_unanswered else settings.retry_delays

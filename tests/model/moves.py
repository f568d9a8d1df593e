"""What each event makes of each agent, computed once: snapshots, messages and moves under numbers.

Sets of messages are bits of an integer. What a move breaks by itself is noted with it; see explorer.py for the words.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from forgery import EXCEPTIONS, Forger, asks_for_the_last_answer, is_control
from modelled_agent import ModelledAgent, Snapshot, Taken, symbolic_identity
from symbolic import UTTERANCE

from handfast.conversation.model import Restarted, State, TimerFired, Verdict
from handfast.errors import PeerError
from handfast.wire.text import Json, canonical_json
from handfast.wire.v1 import Message, Register, parse_message

A, B = 0, 1
LETTERS = "ab"
IDS = tuple(f"{letter * 8}-0000-4000-8000-{letter * 12}" for letter in LETTERS)
THIRD_ID = "cccccccc-0000-4000-8000-cccccccccccc"

T = TypeVar("T")

_MEMBERS = {"from", "to", "intent", "my_nonce", "your_nonce", "my_ref", "your_ref", "hs", "sec"}
_MOST_TIMERS = 100  # until ready; it takes far fewer
_TRIES_FOR_STRANGERS = 2  # what anybody can have us say by inventing a `register`


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to look.

    Attributes:
        conversations: how often the responder confirms.
        turns: requests of a conversation.
        tries: sendings of a message until its sender gives up.
        crashes: restarts of either process, together.
        forgeries: forged messages that move somebody, and evictions.
        acquainted: whether both have pinned each other (and the third agent) beforehand.
        pins_from_elsewhere: whether the other direction may pin the peer at any moment.
    """

    conversations: int = 1
    turns: int = 2
    tries: int = 2
    crashes: int = 0
    forgeries: int = 0
    acquainted: bool = False
    pins_from_elsewhere: bool = False


class Letter(NamedTuple):
    """A message as the peer reads it, None where it cannot, and the session its author was in."""

    message: Message | None
    said_in: bytes | None


class Move(NamedTuple):
    """What an event leads an agent to: the number of its next snapshot, and the messages sent, as bits."""

    after: int
    sent: int
    label: str
    broken: tuple[str, ...] = ()


class Forgery(NamedTuple):
    """A forged message that moved somebody; whether v1 gives it no proof at all, and which exception allows it."""

    move: Move
    is_control: bool
    exception: str | None


class Moves:
    """Everything that two agents can do, as far as it was asked for.

    Args:
        bounds: how far to look.
        agents: A and B.

    Attributes:
        snapshots: of each agent, by number.
        letters: every message ever sent, by number.
        improper, all_improper: the messages that nobody may send, and the property they violate; the same as bits.
        registers: the broadcasts that reach each side.
    """

    def __init__(self, bounds: Bounds, agents: tuple[ModelledAgent, ModelledAgent]) -> None:
        self.bounds = bounds
        self.snapshots: tuple[list[Snapshot], list[Snapshot]] = ([], [])
        self.letters: list[Letter] = []
        self.improper: dict[int, str] = {}
        self.all_improper = 0
        self.registers = tuple(Register(IDS[1 - side]) for side in (A, B))
        self._agents = agents
        self._numbers: tuple[dict[object, int], dict[object, int]] = ({}, {})
        self._letter_numbers: dict[tuple[bytes, bytes | None], int] = {}
        self._deliverable = [0, 0]
        strangers = (symbolic_identity("e", ""), symbolic_identity("c", THIRD_ID))
        self._forger = Forger(IDS, tuple(identity.signing_key for identity in strangers))
        self._known: dict[tuple[int, int, str], Move | None] = {}
        self._delivered: dict[tuple[int, int], _Tried[Move]] = {}
        self._forged: dict[tuple[int, int], _Tried[Forgery]] = {}

    def number(self, side: int, snapshot: Snapshot) -> int:
        """The number of a snapshot; equal ones have the same."""
        snapshots = self.snapshots[side]
        number = self._numbers[side].setdefault(snapshot.key(), len(snapshots))
        if number == len(snapshots):
            snapshots.append(snapshot)
        return number

    # ---- what an agent does by itself, or what happens to it -----------------------------------------------------

    def timer(self, side: int, agent: int) -> Move | None:
        """What its timer makes of it, if it is armed."""
        return self._once(side, agent, "timer", self._timer)

    def restart(self, side: int, agent: int) -> Move | None:
        """Its process ends and starts again; None where it has nothing under way."""
        return self._once(side, agent, "restart", self._restart)

    def register(self, side: int, agent: int) -> Move | None:
        """It hears the peer's broadcast."""
        return self._once(side, agent, "register", self._register)

    def eviction(self, side: int, agent: int) -> Move | None:
        """Strangers begin so many conversations that this half-open one has to make room."""
        return self._once(side, agent, "eviction", self._eviction)

    def pin(self, side: int, agent: int) -> Move | None:
        """The other direction, which shares the pins, has met the peer in the meantime."""
        return self._once(side, agent, "pin", self._pin) if self.bounds.pins_from_elsewhere else None

    def after_timers(self, side: int, agent: int) -> int | None:
        """Where its timers alone lead it, once it is ready; None if they never do."""
        for _ in range(_MOST_TIMERS):
            if self.snapshots[side][agent].row.is_ready:
                return agent
            move = self.timer(side, agent)
            if move is None:
                return None
            agent = move.after
        return None

    def _once(
        self, side: int, agent: int, what: str, happen: Callable[[int, Snapshot], Move | None]
    ) -> Move | None:
        key = side, agent, what
        if key not in self._known:
            self._known[key] = happen(side, self.snapshots[side][agent])
        return self._known[key]

    def _timer(self, side: int, before: Snapshot) -> Move | None:
        return self._repetition(side, before, TimerFired()) if before.armed else None

    def _restart(self, side: int, before: Snapshot) -> Move | None:
        return None if before.row.is_ready else self._repetition(side, before, Restarted())

    def _repetition(self, side: int, before: Snapshot, event: TimerFired | Restarted) -> Move:
        taken, outgoing = self._agents[side].take(before, event), before.row.outgoing
        move = self._move(side, taken, event.intent)
        if outgoing is None:  # evicted: the timer finds nothing to do
            return move
        tries = self.bounds.tries
        if before.row.state is State.RESP_CONFIRM and before.row.is_of_stranger:
            tries = min(tries, _TRIES_FOR_STRANGERS)
        tries_are_left = outgoing.sends < tries
        stays = taken.after.row.state is before.row.state
        return move if bool(taken.sent) == stays == tries_are_left else move._replace(broken=("retry",))

    def _register(self, side: int, before: Snapshot) -> Move | None:
        taken = self._agents[side].take(before, self.registers[side])
        return self._move(side, taken, "register") if self._is_within(side, taken.after) else None

    def _eviction(self, side: int, before: Snapshot) -> Move | None:
        if not before.half_open:
            return None
        after = self._agents[side].evicted(before, THIRD_ID)
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: evicted")

    def _pin(self, side: int, before: Snapshot) -> Move | None:
        peer = self._agents[1 - side].identity
        if peer.agent_id in dict(before.pins):
            return None
        after = before._replace(pins=before.pins | {(peer.agent_id, peer.signing_key.public)})
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: pins the peer in its other role")

    # ---- what the network does -----------------------------------------------------------------------------------

    def deliveries(self, side: int, agent: int, sent: int) -> Iterator[Move]:
        """The moves by messages of `sent`."""
        tried = self._delivered.setdefault((side, agent), _Tried())
        deliverable = sent & self._deliverable[side]
        for number in bits(deliverable & ~tried.all):
            tried.all |= 1 << number
            move = self._delivery(side, agent, self.letters[number])
            if move is not None:
                tried.moving[1 << number] = move
        return (move for bit, move in tried.moving.items() if sent & bit)

    def forgeries(self, side: int, agent: int, sent: int) -> Iterator[Forgery]:
        """The moves by messages that an attacker can make who has seen `sent`."""
        tried = self._forged.setdefault((side, agent), _Tried())
        seen = (message for number in bits(sent) if (message := self.letters[number].message) is not None)
        candidates = self._forger.candidates(sent, seen)[side]
        for number in bits(candidates & ~tried.all):
            tried.all |= 1 << number
            forgery = self._forgery(side, agent, self._forger.messages[number])
            if forgery is not None:
                tried.moving[1 << number] = forgery
        return (forgery for bit, forgery in tried.moving.items() if candidates & bit)

    def _delivery(self, side: int, agent: int, letter: Letter) -> Move | None:
        if letter.message is None:
            return None
        taken = self._agents[side].take(self.snapshots[side][agent], letter.message)
        if taken.verdict is not Verdict.ACCEPTED or not self._is_within(side, taken.after):
            return None
        move = self._move(side, taken, letter.message.intent)
        if move.after == agent:
            return move
        sessions = taken.after.sessions
        broken = list(self._broken_by_repeating(side, taken, move.after, letter.message))
        if letter.said_in is not None and (not sessions or sessions[-1].key != letter.said_in):
            broken.append("correspondence")
        return move._replace(broken=tuple(broken))

    def _broken_by_repeating(self, side: int, taken: Taken, after: int, message: Message) -> Iterator[str]:
        if message.intent in ("request", "respond", "conclude", "finish"):
            again = self._agents[side].take(taken.after, message)
            if again.sent != taken.sent or again.after != taken.after:
                yield "answer"
        if message.intent == "finish" and (ready := self.after_timers(side, after)) is not None:
            late = self._agents[side].take(self.snapshots[side][ready], message)
            if late.sent != taken.sent:
                yield "answer"

    def _forgery(self, side: int, agent: int, message: Message) -> Forgery | None:
        before = self.snapshots[side][agent]
        taken = self._agents[side].take(before, message)
        if taken.verdict is not Verdict.ACCEPTED:
            return None
        move = self._move(side, taken, f"forged {message.intent}")
        if move.after == agent:
            is_allowed = asks_for_the_last_answer(message, before)
            return None if is_allowed else Forgery(move._replace(broken=("forgery",)), False, None)
        exception = next((name for name, holds in EXCEPTIONS.items() if holds(message, before)), None)
        if exception is None:
            move = move._replace(broken=("forgery",))
        return Forgery(move, is_control(message), exception)

    def _is_within(self, side: int, after: Snapshot) -> bool:
        limit = self.bounds.conversations + self.bounds.forgeries * (side == A)
        # the network repeats a `reconnect` anyway
        return after.begun <= limit and after.row.reconnect_tries <= 1

    def _move(self, side: int, taken: Taken, what: str) -> Move:
        sent = 0
        for payload in taken.sent:
            sent |= 1 << self._post(side, payload, taken.after)
        label = f"{LETTERS[side].upper()}: {what} -> {taken.after.row.state}"
        return Move(self.number(side, taken.after), sent, label)

    def _post(self, author: int, payload: dict[str, Json], after: Snapshot) -> int:
        content: dict[str, Json] = {**payload, "from": IDS[author]}
        text = canonical_json(content)
        # a `confirm` belongs to no session yet, a `reconnect` to the last
        in_session = after.sessions and payload["intent"] != "confirm"
        said_in = after.sessions[-1].key if in_session else None
        number = self._letter_numbers.setdefault((text, said_in), len(self.letters))
        if number == len(self.letters):
            message = read(content, IDS[1 - author])
            if message is None:
                self.improper[number] = "wire"
            elif UTTERANCE.encode() in text or not content.keys() <= _MEMBERS:
                self.improper[number] = "plaintext"
            self.all_improper |= (number in self.improper) << number
            self.letters.append(Letter(message, said_in))
            self._deliverable[1 - author] |= 1 << number
        return number


class _Tried(Generic[T]):
    """Of one snapshot: which messages were tried, as bits, and what those did that moved it."""

    def __init__(self) -> None:
        self.all = 0
        self.moving: dict[int, T] = {}


def read(content: Json, reader_id: str) -> Message | None:
    """The message as its addressee reads it; None where it cannot."""
    try:
        return parse_message(content, reader_id)
    except PeerError:
        return None


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set."""
    while mask:
        low = mask & -mask
        mask ^= low
        yield low.bit_length() - 1

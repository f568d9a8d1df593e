"""What each event makes of each agent, computed once: snapshots, messages and moves under numbers.

Sets of messages are bits of an integer. What a move breaks by itself is noted with it; the explorers have the words.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from modelled_agent import ModelledAgent
from snapshots import Snapshot, Taken
from symbolic import UTTERANCE

from handfast.conversation.model import Restarted, TimerFired, Verdict
from handfast.errors import PeerError
from handfast.wire.messages import Message, parse_message
from handfast.wire.text import Json, canonical_json

SIDES = A, B = 0, 1
LETTERS = "ab"
IDS = tuple(f"{letter * 8}-0000-4000-8000-{letter * 12}" for letter in LETTERS)
THIRD_ID = "cccccccc-0000-4000-8000-cccccccccccc"

T = TypeVar("T")

_MEMBERS = {"from", "to", "intent", "my_nonce", "your_nonce", "my_ref", "your_ref", "hs", "sec"}
_MOST_TIMERS = 100  # until ready; it takes far fewer


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


class Forger(Protocol):
    """Makes messages of parts seen.

    Attributes:
        messages: everything forged so far, numbered.
    """

    messages: list[Message]

    def candidates(self, sent: int, letters: dict[int, Message]) -> tuple[int, int]:
        """What can be said to the initiator and to the responder, as bits over `messages`.

        Args:
            sent: the bits of `letters`.
            letters: everything that was sent, by number.
        """
        ...


class Book(ABC):
    """Everything that two agents can do, as far as it was asked for.

    Args:
        agents: A and B.
        forger: who invents messages.

    Attributes:
        snapshots: of each agent, by number.
        letters: every message ever sent, by number.
        improper, all_improper: the messages that nobody may send, and the property they violate; the same as bits.
    """

    def __init__(self, agents: tuple[ModelledAgent, ModelledAgent], forger: Forger) -> None:
        self.snapshots: tuple[list[Snapshot], list[Snapshot]] = ([], [])
        self.letters: list[Letter] = []
        self.improper: dict[int, str] = {}
        self.all_improper = 0
        self._agents = agents
        self._forger = forger
        self._numbers: tuple[dict[object, int], dict[object, int]] = ({}, {})
        self._letter_numbers: dict[tuple[bytes, bytes | None], int] = {}
        self._deliverable = [0, 0]
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

    # ---- what happens to an agent by itself ----------------------------------------------------------------------

    def timer(self, side: int, agent: int) -> Move | None:
        """What its timer makes of it, if it is armed."""
        return self._once(side, agent, "timer", self._timer)

    def restart(self, side: int, agent: int) -> Move | None:
        """Its process ends and starts again; None where that changes nothing."""
        return self._once(side, agent, "restart", self._restart)

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

    @abstractmethod
    def _restart(self, side: int, before: Snapshot) -> Move | None: ...

    def _repetition(self, side: int, before: Snapshot, event: TimerFired | Restarted) -> Move:
        taken, outgoing = self._agents[side].take(before, event), before.row.outgoing
        move = self._move(side, taken, event.intent)
        if outgoing is None or outgoing.is_pause:  # evicted, or in a pause: there is nothing to be sent again
            return move
        tries_are_left = outgoing.sends < self._tries(before)
        stays = taken.after.row.state is before.row.state
        return move if bool(taken.sent) == stays == tries_are_left else move._replace(broken=("retry",))

    @abstractmethod
    def _tries(self, before: Snapshot) -> int:
        """How often what is being repeated may be sent."""

    def _evicted(self, side: int, before: Snapshot) -> Move | None:
        if not before.half_open:
            return None
        after = self._agents[side].evicted(before, THIRD_ID)
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: evicted")

    # ---- what the network does -----------------------------------------------------------------------------------

    def deliveries(self, side: int, agent: int, sent: int) -> Iterator[Move]:
        """The moves by messages of `sent`."""
        return (move for _, move in self._moving(side, agent, sent))

    def _moving(self, side: int, agent: int, sent: int) -> list[tuple[int, Move]]:
        """The same, with the messages' numbers as bits."""
        tried = self._delivered.setdefault((side, agent), _Tried())
        deliverable = sent & self._deliverable[side]
        for number in bits(deliverable & ~tried.all):
            tried.all |= 1 << number
            move = self._delivery(side, agent, self.letters[number])
            if move is not None:
                tried.moving[1 << number] = move
        return [(bit, move) for bit, move in tried.moving.items() if sent & bit]

    def forgeries(self, side: int, agent: int, sent: int) -> Iterator[Forgery]:
        """The moves by messages that an attacker can make who has seen `sent`."""
        tried = self._forged.setdefault((side, agent), _Tried())
        seen = {
            number: message for number in bits(sent) if (message := self.letters[number].message) is not None
        }
        candidates = self._forger.candidates(sent, seen)[side]
        for number in bits(candidates & ~tried.all):
            tried.all |= 1 << number
            forgery = self._forgery(side, agent, number)
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
        broken = [*move.broken, *self._broken_by(side, agent, letter.message, taken, move.after)]
        is_of_its_session = sessions != () and sessions[-1].key == letter.said_in
        if letter.said_in is not None and not is_of_its_session and taken.after.revoked is None:
            broken.append("correspondence")
        return move._replace(broken=tuple(broken))

    @abstractmethod
    def _broken_by(self, side: int, agent: int, message: Message, taken: Taken, after: int) -> Iterator[str]:
        """What a genuine message that changed something has broken."""

    @abstractmethod
    def _forgery(self, side: int, agent: int, number: int) -> Forgery | None:
        """The move by a forged message, if any."""

    @abstractmethod
    def _is_within(self, side: int, after: Snapshot) -> bool:
        """Whether that is not farther than we look."""

    # ---- what is sent --------------------------------------------------------------------------------------------

    def _move(self, side: int, taken: Taken, what: str) -> Move:
        sent = 0
        for payload in taken.sent:
            sent |= 1 << self._post(side, payload, taken.after)
        label = f"{LETTERS[side].upper()}: {what} -> {taken.after.row.state}"
        return Move(self.number(side, taken.after), sent, label, ("nonce",) if taken.took_twice else ())

    def _post(self, author: int, payload: dict[str, Json], after: Snapshot) -> int:
        content: dict[str, Json] = {**payload, "from": IDS[author]}
        text = canonical_json(content)
        said_in = after.sessions[-1].key if after.sessions and self._is_said_in_session(payload) else None
        number = self._letter_numbers.setdefault((text, said_in), len(self.letters))
        if number == len(self.letters):
            message = read(content, IDS[1 - author])
            if message is None:
                self.improper[number] = "wire"
            elif not content.keys() <= _MEMBERS or any(
                UTTERANCE.encode() in part for part in (text, *_blobs(message))
            ):
                self.improper[number] = "plaintext"
            self.all_improper |= (number in self.improper) << number
            self.letters.append(Letter(message, said_in))
            self._deliverable[1 - author] |= 1 << number
        return number

    @abstractmethod
    def _is_said_in_session(self, payload: dict[str, Json]) -> bool:
        """Whether a message belongs to the session of its author."""


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


def _blobs(message: Message) -> Iterator[bytes]:
    for name in ("message", "packet"):  # in the text they are base64
        blob = getattr(message, name, b"")
        if isinstance(blob, bytes):
            yield blob


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set."""
    while mask:
        low = mask & -mask
        mask ^= low
        yield low.bit_length() - 1

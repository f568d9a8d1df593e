"""The moves of version 1: what its two agents, its network and its forger can do."""

from collections.abc import Iterator
from dataclasses import dataclass

from book import IDS, LETTERS, SIDES, THIRD_ID, A, Book, Forgery, Move
from forgery import EXCEPTIONS, Forger, asks_for_the_last_answer, is_control
from modelled_agent import ModelledAgent, symbolic_identity
from snapshots import Snapshot, Taken

from handfast.conversation.model import Restarted, State, Verdict
from handfast.wire.messages import Message
from handfast.wire.text import Json
from handfast.wire.v1 import Register

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


class Moves(Book):
    """As `Book`, for version 1.

    Args:
        bounds: how far to look.
        agents: A and B.

    Attributes:
        registers: the broadcasts that reach each side.
    """

    def __init__(self, bounds: Bounds, agents: tuple[ModelledAgent, ModelledAgent]) -> None:
        strangers = (symbolic_identity("e", ""), symbolic_identity("c", THIRD_ID))
        super().__init__(agents, Forger(IDS, tuple(identity.signing_key for identity in strangers)))
        self.bounds = bounds
        self.registers = tuple(Register(IDS[1 - side]) for side in SIDES)

    def register(self, side: int, agent: int) -> Move | None:
        """It hears the peer's broadcast."""
        return self._once(side, agent, "register", self._register)

    def eviction(self, side: int, agent: int) -> Move | None:
        """Strangers begin so many conversations that this half-open one has to make room."""
        return self._once(side, agent, "eviction", self._evicted)

    def pin(self, side: int, agent: int) -> Move | None:
        """The other direction, which shares the pins, has met the peer in the meantime."""
        return self._once(side, agent, "pin", self._pin) if self.bounds.pins_from_elsewhere else None

    def _restart(self, side: int, before: Snapshot) -> Move | None:
        return None if before.row.is_ready else self._repetition(side, before, Restarted())

    def _tries(self, before: Snapshot) -> int:
        is_strangers = before.row.state is State.RESP_CONFIRM and before.row.is_of_stranger
        return min(self.bounds.tries, _TRIES_FOR_STRANGERS) if is_strangers else self.bounds.tries

    def _register(self, side: int, before: Snapshot) -> Move | None:
        taken = self._agents[side].take(before, self.registers[side])
        return self._move(side, taken, "register") if self._is_within(side, taken.after) else None

    def _pin(self, side: int, before: Snapshot) -> Move | None:
        peer = self._agents[1 - side].identity
        if peer.agent_id in dict(before.pins):
            return None
        after = before._replace(pins=before.pins | {(peer.agent_id, peer.signing_key.public)})
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: pins the peer in its other role")

    def _broken_by(self, side: int, agent: int, message: Message, taken: Taken, after: int) -> Iterator[str]:
        if message.intent in ("request", "respond", "conclude", "finish"):
            again = self._agents[side].take(taken.after, message)
            if again.sent != taken.sent or again.after != taken.after:
                yield "answer"
        if message.intent == "finish" and (ready := self.after_timers(side, after)) is not None:
            late = self._agents[side].take(self.snapshots[side][ready], message)
            if late.sent != taken.sent:
                yield "answer"

    def _forgery(self, side: int, agent: int, number: int) -> Forgery | None:
        before, message = self.snapshots[side][agent], self._forger.messages[number]
        taken = self._agents[side].take(before, message)
        if taken.verdict is not Verdict.ACCEPTED:
            return None
        move = self._move(side, taken, f"forged {message.intent}")
        if move.after == agent:
            is_allowed = asks_for_the_last_answer(message, before)
            return (
                None if is_allowed else Forgery(move._replace(broken=(*move.broken, "forgery")), False, None)
            )
        exception = next((name for name, holds in EXCEPTIONS.items() if holds(message, before)), None)
        if exception is None:
            move = move._replace(broken=(*move.broken, "forgery"))
        return Forgery(move, is_control(message), exception)

    def _is_within(self, side: int, after: Snapshot) -> bool:
        limit = self.bounds.conversations + self.bounds.forgeries * (side == A)
        # the network repeats a `reconnect` anyway
        return after.begun <= limit and after.row.reconnect_tries <= 1

    def _is_said_in_session(self, payload: dict[str, Json]) -> bool:
        # a `confirm` belongs to no session yet, a `reconnect` to the last
        return payload["intent"] != "confirm"

"""The moves of version 2: what its two agents, its network and its forger can do."""

from collections.abc import Iterator
from dataclasses import dataclass

from book import LETTERS, A, Book, Forgery, Move
from forgery_v2 import EXCEPTIONS, Forger, is_harmless
from modelled_agent import NOW, ModelledAgent
from snapshots import Snapshot, Taken

from handfast.conversation.live import Live
from handfast.conversation.model import Restarted, State, Verdict
from handfast.session.v1 import HS_LIFETIME_SECONDS
from handfast.trust.decision import Pin, Source
from handfast.wire.messages import Message
from handfast.wire.text import Json
from handfast.wire.v2.messages import K1, N2, Offered, Packet, encode_message

_TRIES_FOR_STRANGERS = 2  # of version 1: what anybody can have us say by inventing a `register`
_TRIES_TO_RESUME = 3
_OF_VERSION_1 = (State.INIT_EXCHANGE, State.RESP_CONFIRM, State.RESP_EXCHANGE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to look.

    Attributes:
        handshakes: how often either side begins one, full or from a ticket.
        turns: requests of a conversation.
        tries: sendings of a message until its sender gives up.
        crashes: restarts of either process, together.
        forgeries: forged messages that move somebody, and whatever else strangers do.
        minutes: how often either side's clock goes on until its announcements are renewed, together.
        acquainted: whether both have met in version 2 before, in other roles.
        pins_from_elsewhere: whether the other direction may meet the peer at any moment.
        rekeyed_after: messages of a generation until the initiator asks for new keys.
        nudges: how often what is being sent is repeated because the peer was heard, until it is taken for another process.
        post_quantum: whether the suite is the one with ML-KEM, which mixes a secret into the third message.
        revocable: whether either may learn at any moment that the other is revoked.
        letters: how many the initiator's application posts; with any, conversations carry them instead of dialogues, and
            have as many turns as it takes.
        room: how many messages the responder's inbox holds.
        overdue: whether the time of a letter may be over at any moment.
    """

    handshakes: int = 1
    turns: int = 2
    tries: int = 2
    crashes: int = 0
    forgeries: int = 0
    minutes: int = 0
    acquainted: bool = False
    pins_from_elsewhere: bool = False
    rekeyed_after: int = 1_000
    nudges: int = 1
    post_quantum: bool = False
    revocable: bool = False
    letters: int = 0
    room: int = 100
    overdue: bool = False


class Moves(Book):
    """As `Book`, for version 2.

    Args:
        bounds: how far to look.
        agents: A and B.
        suite: what they speak.
    """

    def __init__(self, bounds: Bounds, agents: tuple[ModelledAgent, ModelledAgent], suite: int) -> None:
        self._inventor = Forger(suite)
        super().__init__(agents, self._inventor)
        self.bounds = bounds
        self._costs: dict[tuple[int, int, int, int], bool] = {}

    def announcement(self, side: int, snapshot: Snapshot) -> int:
        """Its present `register`, as bits."""
        return 1 << self._post(side, encode_message(self._agents[side].offered(snapshot)), snapshot)

    def minute(self, side: int, agent: int) -> Move:
        """Time passes, and it announces something new."""
        return self._always(side, agent, "a minute later")

    def eviction(self, side: int, agent: int) -> Move | None:
        """Strangers begin so many conversations of version 1 that this half-open one has to make room."""
        return self._once(side, agent, "eviction", self._evicted)

    def lack_of_room(self, side: int, agent: int) -> Move | None:
        """So many others are kept in memory that what nothing depends on has to make room."""
        return self._once(side, agent, "room", self._without_room)

    def pin(self, side: int, agent: int) -> Move | None:
        """The other direction, which shares the pins, has met the peer in the meantime."""
        return self._once(side, agent, "pin", self._pin) if self.bounds.pins_from_elsewhere else None

    def revocation(self, side: int, agent: int) -> Move | None:
        """A list has arrived, from whomever, on which the peer stands."""
        return self._once(side, agent, "revocation", self._revocation) if self.bounds.revocable else None

    def costs(self, side: int, agent: int, forged: int, sent: int) -> bool:
        """Whether a forgery that led `agent` to `forged` has cost a genuine message that would have been taken."""
        if self.snapshots[side][agent].revoked is not None:
            return False  # nothing of what it says would be taken
        return any(
            self._is_lost(side, agent, forged, bit.bit_length() - 1)
            for bit, _ in self._moving(side, agent, sent)
        )

    # ---- what happens to an agent --------------------------------------------------------------------------------

    def _always(self, side: int, agent: int, what: str) -> Move:
        move = self._once(side, agent, what, self._later)
        if move is None:
            raise ValueError(what)
        return move

    def _later(self, side: int, before: Snapshot) -> Move:
        after = self._agents[side].later(before)
        return self._renewed(side, after, "a minute later", 0)

    def _restart(self, side: int, before: Snapshot) -> Move:
        after, sent = self._agents[side].restarted(before), 0
        if not after.row.is_ready:
            taken = self._agents[side].take(after, Restarted())
            sent, after = self._move(side, taken, "restart").sent, taken.after
        move = self._renewed(side, after, "restart", sent)
        goes_on = after.row.version == 2 and not after.row.is_ready
        return move._replace(broken=("restart",)) if goes_on or after.row.live is not None else move

    def _renewed(self, side: int, after: Snapshot, what: str, sent: int) -> Move:
        if side == A:  # what the responder offers is never answered in this direction
            sent |= self.announcement(side, after)
        label = f"{LETTERS[side].upper()}: {what} -> {after.row.state}"
        return Move(self.number(side, after), sent, label)

    def _tries(self, before: Snapshot) -> int:
        row = before.row
        if row.state is State.RESP_EXCHANGE and row.version == 2:
            return 0  # the initiator repeats what it misses
        if row.state is State.INIT_HS and _is_resuming(before):
            return _TRIES_TO_RESUME
        if _carries_a_stale_hs(before):
            return 0  # the peer would refuse it
        is_strangers = row.state is State.RESP_CONFIRM and row.is_of_stranger
        return min(self.bounds.tries, _TRIES_FOR_STRANGERS) if is_strangers else self.bounds.tries

    def _without_room(self, side: int, before: Snapshot) -> Move | None:
        after = self._agents[side].without_room(before)
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: makes room in memory")

    def _pin(self, side: int, before: Snapshot) -> Move | None:
        if before.identity_pins:
            return None
        after = before._replace(identity_pins=frozenset({pin_of(self._agents[1 - side])}))
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: meets the peer in its other role")

    def _revocation(self, side: int, before: Snapshot) -> Move | None:
        if before.revoked is not None:
            return None
        after = before._replace(revoked=before.sessions)
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: learns that the peer is revoked")

    # ---- what messages do ----------------------------------------------------------------------------------------

    def _broken_by(self, side: int, agent: int, message: Message, taken: Taken, after: int) -> Iterator[str]:
        before = self.snapshots[side][agent]
        if not isinstance(message, Offered | Packet | N2 | K1) and message.intent not in ("n1", "n3", "k2"):
            yield "downgrade"  # none of the two begins with version 1
        if before.revoked is not None:
            if isinstance(message, Packet) and _session_of(taken.after):
                yield "revoked"  # what it says next ends the session
            return
        if isinstance(message, N2 | K1) and _session_of(before) is not _session_of(taken.after):
            yield "confirmation"
        if _has_lost_a_half(before, taken.after):
            yield "cost"
        is_answered = isinstance(message, N2 | K1 | Packet) and taken.sent != ()
        if is_answered:
            again = self._agents[side].take(taken.after, message)
            is_answer = again.sent != () and all(payload in taken.sent for payload in again.sent)
            if not is_answer or again.after != taken.after:
                yield "answer"

    def _forgery(self, side: int, agent: int, number: int) -> Forgery | None:
        before, message = self.snapshots[side][agent], self._inventor.messages[number]
        if number in self._inventor.proven_by_another and not before.identity_pins:
            return None  # he is believed at first sight: trust on first use
        taken = self._agents[side].take(before, message)
        if taken.verdict is not Verdict.ACCEPTED:
            return None
        move = self._move(side, taken, f"forged {message.intent}")
        if move.after == agent:
            is_allowed = isinstance(message, Offered | K1) or _repeats(before, taken)
            return Forgery(
                move if is_allowed else move._replace(broken=(*move.broken, "forgery")), False, None
            )
        exception = next((name for name, holds in EXCEPTIONS.items() if holds(message, before)), None)
        if before.revoked is not None and taken.after.sessions == before.sessions:
            return Forgery(
                move, False, None
            )  # whatever comes in its name ends the session of one who is revoked
        if exception is None or not is_harmless(before, taken.after):
            move = move._replace(broken=(*move.broken, "forgery"))
        return Forgery(move, False, exception)

    def _is_lost(self, side: int, agent: int, forged: int, letter: int) -> bool:
        key = side, agent, forged, letter
        if key not in self._costs:
            self._costs[key] = self._is_refused_after(*key)
        return self._costs[key]

    def _is_refused_after(self, side: int, agent: int, forged: int, letter: int) -> bool:
        message = self.letters[letter].message
        if message is None or (side == A and isinstance(message, Offered)):
            return False  # it carries nothing but that the peer is there
        before, after = self.snapshots[side][agent], self.snapshots[side][forged]
        without, taken = (self._agents[side].take(snapshot, message) for snapshot in (before, after))
        if _is_resuming(without.after) and _is_resuming(after):
            return False  # nor does an n1 to one who would rather resume
        if taken.verdict is not Verdict.ACCEPTED:
            return True
        stays = without.after.row.state is before.row.state and taken.after.row.state is after.row.state
        return not stays and without.after.row.state is not taken.after.row.state

    def _is_within(self, side: int, after: Snapshot) -> bool:
        return after.begun <= self.bounds.handshakes + self.bounds.forgeries * (side == A)

    def _is_said_in_session(self, payload: dict[str, Json]) -> bool:
        return payload.get("sec") is not None


def pin_of(agent: ModelledAgent) -> Pin:
    """What others pin of it."""
    identity = agent.identity
    return Pin(identity.agent_id, identity.identity_key.public, Source.TOFU, NOW, NOW)


def _carries_a_stale_hs(before: Snapshot) -> bool:
    row, outgoing = before.row, before.row.outgoing
    if row.version != 1 or row.state not in _OF_VERSION_1 or outgoing is None or "hs" not in outgoing.payload:
        return False
    return outgoing.since < NOW + before.minute * HS_LIFETIME_SECONDS


def _session_of(snapshot: Snapshot) -> object:
    return snapshot.row.live and snapshot.row.live.session


def _has_lost_a_half(before: Snapshot, after: Snapshot) -> bool:
    """Whether a half-open session is gone that was not there before the one that was confirmed, if one was."""
    old, new = before.row.live or Live(), after.row.live or Live()
    kept = [half.session for half in new.halves]
    later = [half.session for half in old.halves]
    if len(after.sessions) > len(before.sessions):
        names = [session.session_id for session in later]
        later = later[names.index(after.sessions[-1].key) + 1 :] if after.sessions[-1].key in names else []
    return any(session not in kept for session in later)


def _is_resuming(snapshot: Snapshot) -> bool:
    return snapshot.row.live is not None and snapshot.row.live.resuming is not None


def _repeats(before: Snapshot, taken: Taken) -> bool:
    """Whether all that was sent is what was sent before."""
    outgoing, live = before.row.outgoing, before.row.live or Live()
    said = [part.payload for part in (outgoing, live.farewell) if part is not None]
    said += [part.payload for part in (*live.attempts, *live.halves, *live.consumed)]
    return all(payload in said for payload in taken.sent)

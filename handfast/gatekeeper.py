"""Who is served now: what a message may have us compute, say and keep at this moment. Pure; time is an argument.

Ids come for free, and whoever can write to the relay can use any of them. So what strangers share, no known peer depends on,
and what the peer of a session has proven to have said depends on nobody else. Whoever is turned away is heard again: honest
peers repeat what they say.
"""

import hashlib
from collections import OrderedDict

from handfast.announcer import GREETED_AGAIN_AFTER_SECONDS
from handfast.budget import Budget
from handfast.congestion import Admission
from handfast.conversation.effects import GaveUp
from handfast.conversation.model import Event, PeerState, Role, State, Step, TimerFired
from handfast.conversation.turn import Transition
from handfast.conversation.v2.responder import greet
from handfast.outcomes import is_a_first_pin
from handfast.proofs import SHARES, FailedProofs, Standing
from handfast.wire.messages import Message
from handfast.wire.v2.messages import K1, N1, Offered, Packet

# Each is a burst, then so many a second.
# A handshake with a stranger costs us key pairs, a signature and rows; who is not served now registers again in a second.
HANDSHAKES_WITH_STRANGERS = (100, 20.0)

# Each peer who proves a key leaves rows for good: its pin, its two states, its history, about a kilobyte. Keys and ids come
# for free, so after a fleet larger than one machine can serve, those who were never heard of wait: less than 9 MB a day.
NEWCOMERS = (1_000, 0.1)

# Greeting costs a curve multiplication: v2-handshake.md, section 11. So many answers to offers of strangers, and as many to
# those of known peers; the same offer of the same peer is answered once in a while.
GREETINGS = (40, 20.0)
_GREETINGS_REMEMBERED = 4_096

# Anybody can send an n1 in a peer's name. The first is answered as any beginning of a conversation; others, each of which
# costs a key pair, two agreements and a line, so many, again for strangers and for known peers.
FURTHER_ANSWERS = (40, 20.0)

# A packet that opens and is refused, perhaps for a reason that passes, costs a transaction each time it is said again.
REFUSED_AGAIN_AFTER_SECONDS = 1.0

# Each turn of a conversation leaves rows until it ends, and v1 leaves the end to the initiator. Four are usual.
TURNS_OF_A_CONVERSATION = 1_000

_PROVING = frozenset({"confirm", "request", "respond", "n1", "n2", "n3", "k1", "k2"})
_BEGINNING = frozenset({"register", "reconnect", "confirm", "n1", "n2", "k1"})


def would_begin(known: PeerState, message: Message) -> bool:
    """Whether a message, for which a row fires, would begin a conversation rather than go on with one."""
    return known.is_ready and message.intent in _BEGINNING


class Gatekeeper:
    """What one agent still does for whom.

    All moments are seconds on a clock that never jumps.

    Args:
        now: the present moment.
    """

    def __init__(self, now: float) -> None:
        self._admission = Admission()
        self._strangers = Budget(*HANDSHAKES_WITH_STRANGERS, now)
        self._newcomers = Budget(*NEWCOMERS, now)
        self._greetings = _Apart(GREETINGS, now)
        self._greeted: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self._further_answers = _Apart(FURTHER_ANSWERS, now)
        self._failed = FailedProofs(now)
        self._refused = _LastRefused()

    @property
    def slowness(self) -> float:
        """How many times as long as usual an answer should be waited for."""
        return self._admission.slowness

    def has_room(self, known: PeerState, now: float, *, is_stranger: bool) -> bool:
        """Whether one more conversation may begin, in the role of `known` and with its peer.

        Args:
            known: the pair's state.
            now: the present moment.
            is_stranger: whether the peer has proven a key in neither role.
        """
        if self._admission.admits(known.role, known.is_of_stranger, now):
            return True
        # whoever has proven a key in the other role only may also take the place that strangers cannot take
        return not is_stranger and self._admission.admits(known.role, False, now)

    def serves(
        self, known: PeerState, message: Message, row: Transition, now: float, *, is_stranger: bool
    ) -> bool:
        """Whether the row that fires for a message is worth a turn now; if so, what it may cost is counted.

        Args:
            known: the pair's state.
            message: what the peer said, or somebody in its name.
            row: of the table, which fires for it.
            now: the present moment.
            is_stranger: whether the peer has proven a key in neither role.
        """
        if would_begin(known, message) and not self._may_begin(known, message, is_stranger, now):
            return False
        if isinstance(message, Packet):
            # what does not open costs next to nothing, and what is repeated proves nothing
            return row.volatile or not (
                self._refused.has_just_been(known.role, message, now)
                or self._failed.are_too_many(known.peer_id, _standing(message, is_stranger), now)
            )
        if (
            isinstance(message, Offered | K1)
            and row.act is greet
            and not self._may_greet(message, is_stranger, now)
        ):
            return False
        is_further = isinstance(message, N1) and not known.is_ready
        if is_further and not self._further_answers.take(is_stranger, now):
            return False
        if message.intent == "request" and known.exchange_count >= TURNS_OF_A_CONVERSATION:
            return False
        standing = _standing(message, is_stranger)
        return message.intent not in _PROVING or not self._failed.are_too_many(known.peer_id, standing, now)

    def note_refusal(self, role: Role, message: Message, now: float, *, is_stranger: bool) -> None:
        """A message was served, and refused; where it is a packet, it did open."""
        if isinstance(message, Packet) and self._refused.is_repeated(role, message, now):
            return  # by the peer, or by anybody else who has heard it
        self._failed.count(message.sender, _standing(message, is_stranger), now)

    def note_step(self, before: PeerState, event: Event, taken: Step, now: float) -> None:
        """A step is committed: who is new is counted, and which conversations are under way."""
        after = taken.state
        if any(is_a_first_pin(effect) for effect in taken.effects):
            self._newcomers.take(now)
        if any(isinstance(effect, GaveUp) for effect in taken.effects):
            # an unanswered `confirm` is no sign: anybody can make us send one
            if before.state is not State.RESP_CONFIRM:
                self._admission.given_up()
        elif after.reconnect_tries > before.reconnect_tries or (before.is_ready and not after.is_ready):
            self._admission.began(after.role, after.peer_id, before.is_of_stranger, now)
        elif after.is_ready or after.state is State.INIT_FINALIZE_CLOSE:  # nothing answers a `close`
            self._admission.ended(after.role, after.peer_id)
        elif after.outgoing != before.outgoing and not isinstance(event, TimerFired):
            self._admission.answered(after.role, after.peer_id, now)

    def _may_begin(self, known: PeerState, message: Message, is_stranger: bool, now: float) -> bool:
        # n2 answers an n1 of ours: there was room then; a `confirm` answers a `register`
        if message.intent not in ("confirm", "n2") and not self.has_room(known, now, is_stranger=is_stranger):
            return False
        if is_stranger and self._newcomers.is_spent(now):
            return False
        # greeting has a budget of its own
        return not is_stranger or isinstance(message, Offered) or self._strangers.take(now) is not None

    def _may_greet(self, message: Offered | K1, is_stranger: bool, now: float) -> bool:
        key = message.sender, hashlib.sha256(message.offer).digest()
        last = self._greeted.get(key)
        # a ticket is shown because an offer was answered, and at a rate of its own
        is_repeated = last is not None and now - last < GREETED_AGAIN_AFTER_SECONDS
        if is_repeated and isinstance(message, Offered):
            return False
        if not self._greetings.take(is_stranger, now):
            return False
        self._greeted[key] = now
        self._greeted.move_to_end(key)
        if len(self._greeted) > _GREETINGS_REMEMBERED:
            self._greeted.popitem(last=False)
        return True


class _Apart:
    """One budget for all strangers, and as much again for those who are known."""

    def __init__(self, budget: tuple[float, float], now: float) -> None:
        self._strangers = Budget(*budget, now)
        self._known = Budget(*budget, now)

    def take(self, is_stranger: bool, now: float) -> bool:
        return (self._strangers if is_stranger else self._known).take(now) is not None


class _LastRefused:
    """The packet of each conversation that was refused last: anybody who has heard it can say it again."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[Role, str], tuple[bytes, float]] = OrderedDict()

    def has_just_been(self, role: Role, message: Packet, now: float) -> bool:
        """Whether this very packet was refused a moment ago; what it was refused for may pass later."""
        digest, at = self._of.get((role, message.sender), (b"", 0.0))
        return now - at < REFUSED_AGAIN_AFTER_SECONDS and digest == _digest(message)

    def is_repeated(self, role: Role, message: Packet, now: float) -> bool:
        """Note a refusal; whether it is of the same packet as the last one."""
        pair = role, message.sender
        before, _ = self._of.pop(pair, (b"", 0.0))
        self._of[pair] = _digest(message), now
        if len(self._of) > SHARES:
            self._of.popitem(last=False)
        return before == self._of[pair][0]


def _digest(message: Packet) -> bytes:
    return hashlib.sha256(message.packet).digest()


def _standing(message: Message, is_stranger: bool) -> Standing:
    if is_stranger:
        return Standing.STRANGER
    return Standing.IN_SESSION if isinstance(message, Packet) else Standing.KNOWN

"""What keeps a crowd from choking on itself: a bound on the conversations under way, and how often to register. Pure.

Everybody hears every line, so what is under way anywhere slows down everybody. Where all answer all at once, answers take
longer than their authors wait for them, what is repeated takes the place of what is new, and nothing closes any more. So
each agent takes up a few conversations at a time and leaves the rest for the next `register`. Time is an argument, in
seconds on a clock that never jumps.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

# An agent has so many conversations under way at once in a role. Fifty agents then have some hundred and fifty lines in
# flight, which is half a second of work for two cores, well below the two seconds after which a line is repeated.
AT_ONCE = 2
# While newcomers are served, acquaintances have one place of their own: they do not crowd newcomers out, and invented
# newcomers do not keep them out.
KNOWN_BESIDE_STRANGERS = 1

# A conversation holds its place for as long as four answers take at present, and at least and at most so long. Who never
# answers holds one for a moment only: where answers are quick, eight strangers a second are answered, invented or not.
ANSWERS_WAITED_FOR = 4
SHORTEST_PATIENCE, LONGEST_PATIENCE = 0.25, 60.0
# Nor does a conversation that goes on and on keep others out for longer than this, unless answers are slow.
LONGEST_PLACE = 30.0
# Where answers take over a second, all waits for them grow in proportion, to at most so many times what they were: what is
# repeated before its answer can have come is the surest way to make it come later.
MOST_SLOWNESS = 5.0
_FIRST_GUESS = 0.25
_GAIN = 0.125
_REMEMBERED_SECONDS = 60.0

# With more than ten around, the wait before the next `register` grows with their number: all of them together then send as
# many as ten would. From fifty on it grows no more, so that nobody can silence us by inventing others.
FEW = 10
MOST_COUNTED = 50
# Who was not heard for so long is not around.
PRESENCE_SECONDS = 30.0


class Admission:
    """Whether one more conversation may begin, by what is under way.

    A conversation that has not moved for a while holds no place: its peer is gone, or never was. How long that while is
    follows from how long answers take, so that a slow room is not taken for a deserted one. What was given up holds its place
    for that while, too: where nothing arrives in time, beginning anew at once is what makes everything late.
    """

    __slots__ = ("_answer_seconds", "_places")

    def __init__(self) -> None:
        self._answer_seconds = _FIRST_GUESS
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()  # the one that moved last is at the end

    def admits(self, lane: Hashable, is_stranger: bool, now: float) -> bool:
        """Whether a conversation may begin with a peer, who has proven nothing yet or has; each lane has its own bound."""
        patience = min(LONGEST_PATIENCE, max(SHORTEST_PATIENCE, ANSWERS_WAITED_FOR * self._answer_seconds))
        strangers = known = 0
        for place in reversed(self._places.values()):
            if now - place.moved_at > patience:
                break
            if place.lane == lane and now - place.began_at <= LONGEST_PLACE * self.slowness:
                strangers += place.is_strangers
                known += not place.is_strangers
        if is_stranger:
            return strangers < AT_ONCE
        return known < (KNOWN_BESIDE_STRANGERS if strangers else AT_ONCE)

    @property
    def slowness(self) -> float:
        """How many times as long as usual an answer should be waited for: more than one where they take over a second."""
        return min(MOST_SLOWNESS, max(1.0, self._answer_seconds))

    def began(self, lane: Hashable, peer_id: str, is_stranger: bool, now: float) -> None:
        """A conversation with a peer was asked for, or has begun."""
        self._put((lane, peer_id), _Place(lane, is_stranger, now, now))

    def answered(self, lane: Hashable, peer_id: str, now: float) -> None:
        """The peer has answered, and the conversation goes on."""
        place = self._places.get((lane, peer_id))
        if place is None:
            return
        sample = min(LONGEST_PATIENCE, now - place.moved_at)
        # quick answers count at once, slow ones little by little: who dawdles does not make us wait for everybody
        self._answer_seconds = min(sample, self._answer_seconds + _GAIN * (sample - self._answer_seconds))
        self._put((lane, peer_id), replace(place, moved_at=now))

    def given_up(self) -> None:
        """An answer that somebody had every reason to give has not come in time."""
        self._answer_seconds += _GAIN * (LONGEST_PATIENCE - self._answer_seconds)

    def ended(self, lane: Hashable, peer_id: str) -> None:
        """The conversation was closed."""
        self._places.pop((lane, peer_id), None)

    def _put(self, pair: Hashable, place: "_Place") -> None:
        self._places[pair] = place
        self._places.move_to_end(pair)
        while place.moved_at - next(iter(self._places.values())).moved_at > _REMEMBERED_SECONDS:
            self._places.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Place:
    lane: Hashable
    is_strangers: bool
    began_at: float
    moved_at: float


class RegisterPace:
    """When to broadcast `register`: often among few, and less often the more are around.

    Args:
        every: the wait among few.
        gap: the wait before a newcomer is greeted, counted from the last `register`, among few: at once, but a crowd of
            newcomers not with a storm.
    """

    __slots__ = ("_around", "_due_at", "_every", "_gap", "_last_at")

    def __init__(self, every: float, gap: float) -> None:
        self._every = every
        self._gap = gap
        self._due_at = self._last_at = float("-inf")
        self._around: OrderedDict[str, float] = OrderedDict()  # who was heard last is at the end

    def heard(self, peer_id: str, now: float, *, is_newcomer: bool) -> None:
        """Note that a peer spoke."""
        self._around[peer_id] = now
        self._around.move_to_end(peer_id)
        if len(self._around) > MOST_COUNTED:
            self._around.popitem(last=False)
        if is_newcomer:
            self._due_at = min(self._due_at, self._last_at + self._gap * self._crowding(now))

    def is_due(self, now: float) -> bool:
        """Whether to register now; if so, the next time is planned."""
        if now < self._due_at:
            return False
        self._last_at = now
        self._due_at = now + self._every * self._crowding(now)
        return True

    def _crowding(self, now: float) -> float:
        while self._around and now - next(iter(self._around.values())) > PRESENCE_SECONDS:
            self._around.popitem(last=False)
        return max(1.0, len(self._around) / FEW)

"""Letters in the model of version 2: the initiator's application posts some, the responder's application reads them.

The responder posts none, because only requests carry letters: its own travel in the conversations that it begins itself,
over the same rows with the names exchanged. Moves beside those of `moves_v2`: a letter is posted, at any moment; the driver
is told so; a letter's time is over, which either the next step or the mailbox's own round finds out; the application reads
a message. The inbox holds `Bounds.room` messages. Checked in every state:

1. `delivery`: no letter is delivered twice; `order`: what is delivered was posted, and comes in the order of posting.
2. `receipt`: what is said to be delivered was delivered, and what is said to have expired unsent was not.
3. `told`: the application is told one thing of each letter, which is what is written down.
4. `inbox`: what was delivered and not yet read is in the inbox, and nothing else.
5. `agreement`: the responder closes only what the initiator has closed.
6. `liveness`: from both ready, an honest network without loss ends with no letter waiting, and the pair in ready.
"""

from collections import deque
from collections.abc import Iterator

from agent_v2 import Correspondent, Mail, mail_of
from book import IDS, LETTERS, SIDES, A, B, Move, read
from explorer_v2 import Explorer
from moves_v2 import Bounds, Moves
from search import Agents, Successor, World
from snapshots import Snapshot

from handfast.conversation.model import Event, Submitted, TimerFired, Verdict
from handfast.mail import Fate

_MOST_EVENTS = 200  # of an honest exchange of letters; it takes far fewer


class LetterMoves(Moves):
    """As `Moves`, with letters."""

    def __init__(self, bounds: Bounds, agents: Agents, suite: int) -> None:
        super().__init__(bounds, agents, suite)
        self._by_themselves: dict[tuple[int, int], tuple[Move, ...]] = {}

    def by_themselves(self, side: int, agent: int) -> tuple[Move, ...]:
        """What applications and mailboxes do by themselves."""
        key = side, agent
        if key not in self._by_themselves:
            self._by_themselves[key] = tuple(self._correspondence(side, agent))
        return self._by_themselves[key]

    def _correspondence(self, side: int, agent: int) -> Iterator[Move]:
        before = self.snapshots[side][agent]
        mail, correspondent = mail_of(before), self._agents[side]
        if not isinstance(correspondent, Correspondent):
            return
        if side == B:
            if mail.inbox and self.bounds.room < self.bounds.letters:
                yield self._changed(side, correspondent.read(before), "reads a message")
            return
        if len(mail.rows) < self.bounds.letters:
            yield self._changed(side, correspondent.posted(before), "posts a letter")
        if self.bounds.overdue:
            for number in mail.waiting:
                yield self._changed(side, correspondent.out_of_time(before, number), f"{number} is overdue")
        if mail.overdue:
            yield self._changed(side, correspondent.expired(before), "gives up what is overdue")
        # the driver says so where letters wait; the guards, which ask for that, are asked here
        taken = correspondent.take(before, Submitted())
        if taken.verdict is Verdict.ACCEPTED and self._is_within(side, taken.after):
            yield self._move(side, taken, "submit")

    def _is_within(self, side: int, after: Snapshot) -> bool:
        return super()._is_within(side, after) and after.row.exchange_count <= self.bounds.turns

    def _changed(self, side: int, after: Snapshot, what: str) -> Move:
        return Move(self.number(side, after), 0, f"{LETTERS[side].upper()}: {what}")


class LetterExplorer(Explorer):
    """As `Explorer`, with letters."""

    moves_type = LetterMoves

    def _stranger(self, side: int) -> Snapshot:
        return super()._stranger(side)._replace(mail=Mail())

    def _successors(self, world: World) -> Iterator[Successor]:
        yield from super()._successors(world)
        for side in SIDES:
            for move in self._moves.by_themselves(side, world[side]):
                yield self._moved(world, side, move), move.label, move.broken

    def _broken_between(self, snapshots: tuple[Snapshot, Snapshot]) -> Iterator[str]:
        a, b = (mail_of(snapshot) for snapshot in snapshots)
        heard = [text for session in snapshots[B].sessions for text in session.heard]
        numbers = [int(text.rpartition("-")[2]) for text in heard]
        if numbers != sorted(numbers) or not set(numbers) <= a.fates.keys():
            yield "order"
        for number, fate in a.fates.items():
            if (fate is Fate.DELIVERED and number not in numbers) or (
                fate is Fate.EXPIRED and number in numbers
            ):
                yield "receipt"
        if any(a.fates[number] is not fate for number, fate in a.told):
            yield "told"
        if [arrival.message for arrival in b.inbox] != heard[b.read :]:
            yield "inbox"
        closed = [{s.key for s in snapshot.sessions if s.closed} for snapshot in snapshots]
        self.result.both_closed += len(closed[B])
        if not closed[B] <= closed[A]:
            yield "agreement"

    def _can_begin_anew(
        self, a: Snapshot, b: Snapshot, ready_a: Snapshot, ready_b: Snapshot
    ) -> Iterator[bool]:
        return iter(())  # whether there is a reason to is a matter of what waits

    def _can_close(self, a: Snapshot, b: Snapshot) -> bool:
        snapshots = [self._later(side, snapshot) for side, snapshot in ((A, a), (B, b))]
        key = snapshots[A].key(), snapshots[B].key()
        if key not in self._lively:
            self._lively[key] = deliver_all(self._agents, snapshots)
        return self._lively[key]


def deliver_all(agents: Agents, snapshots: list[Snapshot]) -> bool:
    """Whether no letter waits and both are ready, in the end, over a network that loses nothing.

    Whenever nobody has anything to say, applications read, what is overdue is given up, a pause ends, the driver is told what
    waits, and both register.

    Args:
        agents: A and B.
        snapshots: of both; changed.
    """
    on_the_way: deque[tuple[int, Event]] = deque()
    for _ in range(_MOST_EVENTS):
        if not on_the_way:
            _rest(agents, snapshots)
            a, b = (mail_of(snapshot) for snapshot in snapshots)
            if not a.waiting and all(snapshot.row.is_ready for snapshot in snapshots):
                return all(fate is not Fate.DELIVERED or n <= b.marks.taken for n, fate in a.fates.items())
            on_the_way.extend(_what_comes_by_itself(agents, snapshots))
        side, event = on_the_way.popleft()
        taken = agents[side].take(snapshots[side], event)
        snapshots[side] = taken.after
        for payload in taken.sent:
            answer = read({**payload, "from": IDS[side]}, IDS[1 - side])
            if answer is not None:
                on_the_way.append((1 - side, answer))
    return False


def _rest(agents: Agents, snapshots: list[Snapshot]) -> None:
    for side, agent in enumerate(agents):
        if isinstance(agent, Correspondent):
            snapshots[side] = agent.expired(snapshots[side])
            while mail_of(snapshots[side]).inbox:
                snapshots[side] = agent.read(snapshots[side])


def _what_comes_by_itself(agents: Agents, snapshots: list[Snapshot]) -> Iterator[tuple[int, Event]]:
    if is_pausing(snapshots[A]):
        yield A, TimerFired()
        return
    if snapshots[A].row.is_ready and not mail_of(snapshots[A]).waiting:
        yield B, TimerFired()  # a handshake that nobody needed any more is left
        return
    yield A, Submitted()
    for side in (A, B):
        yield side, agents[1 - side].offered(snapshots[1 - side])


def is_pausing(snapshot: Snapshot) -> bool:
    """Whether nothing is being asked."""
    return snapshot.row.outgoing is not None and snapshot.row.outgoing.is_pause

"""An explicit-state model checker over the shipped table of version 2, and that of version 1 beside it.

Two agents, one conversation direction (A initiates, B responds), both of version 2 under the policy `prefer`, with ids of
version 4, so that whatever version 1 lets in is let in. Every state that can be reached within the `Bounds` is visited.
With `Bounds.letters` conversations carry letters: letters_v2.py has what happens then, and the properties that it adds.

**Network and attacker.** Whatever was ever sent may be delivered at any time, any number of times, or never: that is loss,
delay, reordering, duplication and an attacker who replays everything, also to another process of the same agent. Within
`Bounds.forgeries` he also invents: offers; n1, n2, n3 and k1 with keys of his own, in either's name; every message seen
with other bytes, offers, tickets, generations, nonces and references (his own and all others seen); packets under another
intent, in the other direction, in another conversation; `register`, `confirm`, `reconnect`, `respond`, `conclude`,
`finish` and `close` of version 1 over all nonces and references. For the same price strangers fill the memory or the
table of half-open conversations. What he invents is not kept by the network: to repeat it costs him another forgery.

**Crashes.** A process may end between any two steps and starts again from what `Driver` had written: no session, no
handshake, no used nonce; the ticket, and whether it is used up.

**Suites.** One stands for all, because no row of the table looks at the suite; a test reads the rows' code to see that they
still do not, and explores bounds without a forger also with the suite that mixes an ML-KEM secret into the third message:
they have the same states. With a forger there are fewer, as an n1 whose key was altered is no n1 there.

**Revocation.** With `Bounds.revocable` either may learn at any moment, by a list from whomever, that the other is revoked; and
the attacker's key is revoked from the beginning.

**Time** stands still but for minutes in which announcements are renewed; what is kept for some time is forgotten then.

**Properties**, checked in every state:

1. `trap`: timers alone lead both sides to ready. `restart`: a new process goes on with nothing of version 2.
2. `agreement`: who has closed a session heard exactly what the other said, and the other what it said, in order; the
   responder closes only what the initiator has closed. `authenticity`: what one side heard in a session is a prefix of
   what the other said in it. `correspondence`: a packet moves only the session it was said in.
3. `delivery`: nothing is delivered twice. `freshness`: no session begins twice, so that no counter of a key does.
4. `nonce`: no nonce and no ticket of the responder brings two handshakes about, across crashes.
5. `confirmation`: a handshake replaces no session; only a packet under the new keys does.
6. `forgery`: no forged message changes anything, but for `EXCEPTIONS`, which leave all that was proven as it was.
   `cost`: what would have been taken before a forged message is taken after it, too; and no message that was on its way
   for long costs the responder a handshake that has begun since.
7. `downgrade`: nothing of version 1 that one of the two says moves the other; no session of version 1 is confirmed.
8. `plaintext`: no message carries an utterance, or a member that is not named; `wire`: the peer can read each.
   `revoked`: from the moment on that a peer is revoked no session with it begins, delivers or says anything, and the next
   message of its session ends that, whoever was first to send it; another's dead key in its name ends nothing (`forgery`).
9. `liveness`: from both ready (1.), minutes later, an honest network without loss closes a conversation on both sides,
   and one from a ticket if both hold the same;
   `promptness`: so it does if only one of them is ready, and no timer of the other fires.
   `register`: a responder that holds an unused ticket, or hears from its peer, is not satisfied by `register`.
10. `answer`: what was answered and comes again is answered the same, and changes nothing. `retry`: while tries are left,
    and no longer, timers send the same message again. `memory`: what a process remembers of a pair without anything
    live is what is stored, as far as it matters.

**Not covered**: more than one peer; the driver's budgets; more than four answers to one peer (`ATTEMPTS`); what certificates,
lists and rotation chains hold, and that they are checked; a configured PSK; sessions that grow too old; answers held back for
an audience; databases of which an old copy was put back; broken cryptography; the SQLite store (the memory store keeps the
same contract); an attacker who is believed at first sight (trust on first use), in either version.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from agent_v2 import Correspondent, Transaction
from book import IDS, SIDES, A, B
from forgery_v2 import ATTACKERS_KEY
from modelled_agent import model_settings, symbolic_identity
from moves_v2 import Bounds, Moves, pin_of
from search import Agents, Search, Successor, World, broken_for_one, honest_run
from snapshots import Snapshot

from handfast.conversation.model import PeerState, Role, Settings, State
from handfast.session.v2.suites import CHACHA, CHACHA_KEM

_FOR_EVER = 1e9
_MINUTES_UNTIL_FORGOTTEN = 4


class Explorer(Search[Any]):
    """Explores once.

    Args:
        bounds: how far.
        stop_early: end with the first violation.
        stop_at: end with the first violation of this property.
    """

    moves_type: ClassVar[type[Moves]] = Moves

    def __init__(self, bounds: Bounds, stop_early: bool = False, stop_at: str = "") -> None:
        suite = CHACHA_KEM if bounds.post_quantum else CHACHA

        def agents(settings: Settings) -> Agents:
            a, b = (
                symbolic_identity(letter, agent_id, version=2)
                for letter, agent_id in zip("ab", IDS, strict=True)
            )
            both = (
                Correspondent("a", Role.INITIATOR, a, IDS[B], settings, Transaction, suite),
                Correspondent("b", Role.RESPONDER, b, IDS[A], settings, Transaction, suite),
            )
            for agent in both:
                agent.carries_mail = bounds.letters > 0
                agent.dead_keys = frozenset({ATTACKERS_KEY} if bounds.revocable else ())
            return both

        honest = agents(model_settings(bounds.turns, bounds.tries, wait=-1.0))
        super().__init__(self.moves_type(bounds, honest, suite), honest, stop_early, stop_at)
        self.bounds = bounds
        self._patient_agents = agents(
            model_settings(bounds.turns, bounds.tries, patience=_FOR_EVER, wait=_FOR_EVER)
        )
        self._checked_pairs: dict[tuple[int, int], tuple[str, ...]] = {}
        self._lively: dict[tuple[object, object], bool] = {}

    def _start(self) -> World:
        a, b = (self._stranger(side) for side in SIDES)
        sent = self._moves.announcement(A, a) | self._moves.announcement(B, b)
        return World(self._moves.number(A, a), self._moves.number(B, b), sent)

    def _stranger(self, side: int) -> Snapshot:
        pins = frozenset({pin_of(self._agents[1 - side])} if self.bounds.acquainted else ())
        return self._agents[side].stranger(frozenset(), pins)

    # ---- what can happen next ------------------------------------------------------------------------------------

    def _successors(self, world: World) -> Iterator[Successor]:
        moves, bounds = self._moves, self.bounds
        for side in SIDES:
            agent = world[side]
            for move in (
                moves.timer(side, agent),
                moves.pin(side, agent),
                moves.revocation(side, agent),
            ):
                if move is not None:
                    yield self._moved(world, side, move), move.label, move.broken
            for move in moves.deliveries(side, agent, world.sent):
                following = self._moved(world, side, move)
                if following != world:
                    yield following, move.label, move.broken
            if world.crashes < bounds.crashes and (move := moves.restart(side, agent)):
                after = self._moved(world, side, move)._replace(crashes=world.crashes + 1)
                yield after, move.label, move.broken
            if world.minutes < bounds.minutes:
                move = moves.minute(side, agent)
                yield self._moved(world, side, move)._replace(minutes=world.minutes + 1), move.label, ()
            if world.forgeries < bounds.forgeries:
                yield from self._hostile_successors(world, side)

    def _hostile_successors(self, world: World, side: int) -> Iterator[Successor]:
        used, agent, moves = world.forgeries + 1, world[side], self._moves
        for move in (moves.eviction(side, agent), moves.lack_of_room(side, agent)):
            if move is not None and move.after != agent:
                yield self._moved(world, side, move)._replace(forgeries=used), move.label, ()
        for move, _, exception in moves.forgeries(side, agent, world.sent):
            following = self._moved(world, side, move)
            broken = move.broken
            if move.after != agent and moves.costs(side, agent, move.after, world.sent):
                broken = (*broken, "cost")
            if exception is not None:
                self.result.exceptions.add(exception)
            if following != world or broken:
                yield following._replace(forgeries=used), move.label, broken

    # ---- properties ----------------------------------------------------------------------------------------------

    def _broken_in(self, world: World) -> tuple[str, ...]:
        key = world.a, world.b
        if key not in self._checked_pairs:
            self._checked_pairs[key] = tuple(self._broken_in_pair(*key))
        return self._checked_pairs[key]

    def _broken_in_pair(self, agent_a: int, agent_b: int) -> Iterator[str]:
        snapshots = a, b = self._moves.snapshots[A][agent_a], self._moves.snapshots[B][agent_b]
        for snapshot in snapshots:
            yield from broken_for_one(snapshot)
            if any(session.version == 1 and session.heard for session in snapshot.sessions):
                yield "downgrade"
            if snapshot.revoked is not None and snapshot.sessions != snapshot.revoked:
                yield "revoked"
            if snapshot.row.live is None and _essence(snapshot.row) != _essence(
                snapshot.stored or snapshot.row
            ):
                yield "memory"
        yield from self._broken_between(snapshots)
        home_a, home_b = self._moves.after_timers(A, agent_a), self._moves.after_timers(B, agent_b)
        if home_a is None or home_b is None:
            yield "trap"
            return
        if a.revoked is not None or b.revoked is not None:
            return  # they are not to meet again
        ready_a, ready_b = self._moves.snapshots[A][home_a], self._moves.snapshots[B][home_b]
        if not self._can_close(ready_a, ready_b):
            yield "liveness"
        if not all(self._can_begin_anew(a, b, ready_a, ready_b)):
            yield "promptness"
        if self._greets_who_should_know_better(a, b):
            yield "register"

    def _broken_between(self, snapshots: tuple[Snapshot, Snapshot]) -> Iterator[str]:
        sessions = [{s.key: s for s in snapshot.sessions} for snapshot in snapshots]
        for side in SIDES:
            for key, mine in sessions[side].items():
                theirs = sessions[1 - side].get(key)
                said = theirs.said if theirs else ()
                if mine.heard != said[: len(mine.heard)]:
                    yield "authenticity"
                if not mine.closed:
                    continue
                is_agreed = theirs is not None and (mine.heard, theirs.heard) == (said, mine.said)
                if not is_agreed or len(said) != self.bounds.turns:
                    yield "agreement"
                elif side == B and theirs is not None:
                    self.result.both_closed += 1
                    if not theirs.closed:
                        yield "agreement"

    def _can_begin_anew(
        self, a: Snapshot, b: Snapshot, ready_a: Snapshot, ready_b: Snapshot
    ) -> Iterator[bool]:
        """Whether one who has come home meets the other, who has not, without waiting for the other's timers."""
        if not b.row.is_ready:
            yield self._can_close(ready_a, b)
        is_repeating = a.row.outgoing is not None and a.row.outgoing.sends > 1
        if is_repeating and a.row.version == 2 and a.row.state is not State.INIT_FINALIZE_CLOSE:
            yield self._can_close(a, ready_b)

    def _can_close(self, a: Snapshot, b: Snapshot) -> bool:
        """Whether two can meet again, over a network that loses nothing, in some minutes; by a ticket if they have one."""
        snapshots = [self._later(side, snapshot) for side, snapshot in ((A, a), (B, b))]
        key = snapshots[A].key(), snapshots[B].key()
        if key not in self._lively:
            # whoever can show a ticket need not wait until it is forgotten
            are_ready = a.row.is_ready and b.row.is_ready
            agents = self._patient_agents if are_ready and a.row.ticket is not None else self._agents
            registers = tuple(self._agents[1 - side].offered(snapshots[1 - side]) for side in SIDES)
            resumes = a.row.is_ready and _hold_the_same_ticket(a.row, b.row)
            closed = honest_run(agents, snapshots, lambda: registers)
            self._lively[key] = closed is not None and closed.resumed >= resumes
        return self._lively[key]

    def _later(self, side: int, snapshot: Snapshot) -> Snapshot:
        """Without most notes, and drawing new values: the same rows go on in the same way."""
        later = snapshot._replace(
            sessions=snapshot.sessions[-1:] if snapshot.row.live and snapshot.row.live.session else (),
            begun=0,
            used_up=frozenset(),
            drawn=1_000_000,
        )
        for _ in range(_MINUTES_UNTIL_FORGOTTEN):
            later = self._agents[side].later(later)
        return self._agents[side].without_room(later)

    def _greets_who_should_know_better(self, a: Snapshot, b: Snapshot) -> bool:
        has_ticket = b.row.ticket is not None and b.row.ticket_used is None
        holds_ticket = b.row.state is State.RESP_READY and has_ticket
        is_talking = b.row.version == 2 and b.row.state in (State.RESP_EXCHANGE, State.RESP_FINALIZE)
        if not holds_ticket and not is_talking:
            return False
        return self._patient_agents[B].take(b, self._agents[A].offered(a)).sent != ()


def _hold_the_same_ticket(a: PeerState, b: PeerState) -> bool:
    if a.ticket is None or b.ticket is None or b.ticket_used is not None:
        return False
    return a.ticket.ticket_id == b.ticket.ticket_id


def _essence(row: PeerState) -> tuple[object, ...]:
    return row.state, row.version, row.outgoing, row.ticket, row.ticket_used

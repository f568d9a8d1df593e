"""An explicit-state model checker over the shipped conversation table.

Two agents, one conversation direction (A initiates, B responds; directions share nothing but pins). Every state that can
be reached within the `Bounds` is visited, breadth first, so that the trace of a violation is as short as can be.

**Network and attacker.** Whatever was ever sent may be delivered at any time, any number of times, or never: that is loss,
delay, reordering, duplication and an attacker who replays everything. `register` of either side may arrive at any time.
Within `Bounds.forgeries` he also invents: every control message (`reconnect`, `conclude`, `finish`, `close`) over every
nonce and reference seen so far and his own; every `request` and `respond` that carries a genuine `sec` under other nonces
or another `hs`; every seen `hs` in a `confirm`, and `hs` of his own key or a third agent's under B's or A's id. For the
same price he has a half-open conversation evicted by strangers. What he invents is not kept by the network: to repeat it
costs him another forgery.

**Crashes.** A process may end between any two steps and starts again from its committed rows, without its timers. Ending
before a commit equals losing the message; ending between commit and sending equals losing what was sent.

**Properties**, checked in every state:

1. `trap`: timers alone lead both sides to ready.
2. `agreement`: unless a control message was forged, two sides that closed the same session heard exactly what the other
   said, in order; a message moves only the session it was said in (`correspondence`). Always, whatever was forged: what
   one side heard in a session is a prefix of what the other said in it (`authenticity`), and no two sessions of an agent
   rest on one handshake of the peer (`freshness`).
3. `delivery`: nothing is delivered twice.
4. `forgery`: no forged message changes anything, but for what v1 cannot defend; see `EXCEPTIONS`.
5. `plaintext`: no message carries an utterance, or a member that v1 does not name; `wire`: the peer can read each.
6. `liveness`: from both ready (1.) an honest network without loss closes a conversation on both sides, and at once if the
   initiator holds the responder's reference; `reconnect`: a responder that holds one is not satisfied by `register`.
7. `nonce`: no nonce of the peer is taken twice in one conversation.
8. `answer`: what was answered and comes again is answered the same, and changes nothing. `retry`: while tries are left,
   and no longer, timers and restarts send the same message again.

**Bounds**: `Bounds`; and an initiator asks once for each reconnect, because the network repeats it anyway.

**Not covered**: the passing of time (`now` stands still, so that no `hs` ever grows stale; see `model_settings` for the
guards that look at the clock); more than one peer; the driver's caches and budgets; broken cryptography; the SQLite store
(the memory store keeps the same contract); an attacker who is believed at first sight and goes on with sealed messages of
his own (trust on first use).
"""

from collections.abc import Iterator

from book import IDS, SIDES, THIRD_ID, A, B
from modelled_agent import ModelledAgent, model_settings, symbolic_identity
from moves import Bounds, Moves
from search import Agents, Result, Search, Successor, World, broken_for_one, honest_run
from snapshots import Snapshot

from handfast.adapters.memory import MemoryTransaction
from handfast.conversation.model import Role, Settings

_FOR_EVER = 1e9


class Explorer(Search[Moves]):
    """Explores once.

    Args:
        bounds: how far.
        transaction: the store's transaction, for tests that break it.
        stop_early: end with the first violation.
    """

    def __init__(
        self,
        bounds: Bounds,
        transaction: type[MemoryTransaction] = MemoryTransaction,
        stop_early: bool = False,
    ) -> None:
        def agents(settings: Settings) -> Agents:
            a, b = (symbolic_identity(letter, agent_id) for letter, agent_id in zip("ab", IDS, strict=True))
            return (
                ModelledAgent("a", Role.INITIATOR, a, IDS[B], settings, transaction),
                ModelledAgent("b", Role.RESPONDER, b, IDS[A], settings, transaction),
            )

        honest = agents(model_settings(bounds.turns, bounds.tries))
        super().__init__(Moves(bounds, honest), honest, stop_early)
        self.bounds = bounds
        self._patient_agents = agents(model_settings(bounds.turns, bounds.tries, patience=_FOR_EVER))
        self._checked_pairs: dict[tuple[int, int, bool], tuple[str, ...]] = {}
        self._lively: dict[tuple[object, object], bool] = {}

    def _start(self) -> World:
        a, b = (self._moves.number(side, self._agents[side].stranger(self._pins(side))) for side in SIDES)
        return World(a, b, sent=0)

    def _pins(self, side: int) -> frozenset[tuple[str, bytes]]:
        if not self.bounds.acquainted:
            return frozenset()
        peer = self._agents[1 - side].identity
        third = symbolic_identity("c", THIRD_ID).signing_key.public
        return frozenset({(peer.agent_id, peer.signing_key.public), (THIRD_ID, third)})

    # ---- what can happen next ------------------------------------------------------------------------------------

    def _successors(self, world: World) -> Iterator[Successor]:
        moves = self._moves
        for side in SIDES:
            agent = world[side]
            for move in (moves.timer(side, agent), moves.register(side, agent), moves.pin(side, agent)):
                if move is not None and (following := self._moved(world, side, move)) != world:
                    yield following, move.label, move.broken
            for move in moves.deliveries(side, agent, world.sent):
                following = self._moved(world, side, move)
                if following != world:
                    yield following, move.label, () if world.control_forged else move.broken
            if world.crashes < self.bounds.crashes and (move := moves.restart(side, agent)):
                yield (
                    self._moved(world, side, move)._replace(crashes=world.crashes + 1),
                    move.label,
                    move.broken,
                )
            if world.forgeries < self.bounds.forgeries:
                yield from self._hostile_successors(world, side)

    def _hostile_successors(self, world: World, side: int) -> Iterator[Successor]:
        used, agent = world.forgeries + 1, world[side]
        eviction = self._moves.eviction(side, agent)
        if eviction is not None:
            yield self._moved(world, side, eviction)._replace(forgeries=used), eviction.label, ()
        for move, is_control, exception in self._moves.forgeries(side, agent, world.sent):
            if exception is not None:
                self.result.exceptions.add(exception)
            control_forged = world.control_forged or is_control
            following = self._moved(world, side, move)._replace(forgeries=used, control_forged=control_forged)
            yield following, move.label, move.broken

    # ---- properties ----------------------------------------------------------------------------------------------

    def _broken_in(self, world: World) -> tuple[str, ...]:
        key = world.a, world.b, world.control_forged
        if key not in self._checked_pairs:
            self._checked_pairs[key] = tuple(self._broken_in_pair(*key))
        return self._checked_pairs[key]

    def _broken_in_pair(self, agent_a: int, agent_b: int, control_forged: bool) -> Iterator[str]:
        a, b = self._moves.snapshots[A][agent_a], self._moves.snapshots[B][agent_b]
        yield from broken_for_one(a)
        yield from broken_for_one(b)
        yield from self._broken_between(a, b, control_forged)
        ready_a, ready_b = self._moves.after_timers(A, agent_a), self._moves.after_timers(B, agent_b)
        if ready_a is None or ready_b is None:
            yield "trap"
        elif not self._can_close(ready_a, ready_b):
            yield "liveness"
        if self._takes_register_for_a_reconnect(b):
            yield "reconnect"

    def _broken_between(self, a: Snapshot, b: Snapshot, control_forged: bool) -> Iterator[str]:
        sessions = {side: {s.key: s for s in snapshot.sessions} for side, snapshot in ((A, a), (B, b))}
        for side in SIDES:
            for key, mine in sessions[side].items():
                theirs = sessions[1 - side].get(key)
                said = theirs.said if theirs else ()
                if mine.heard != said[: len(mine.heard)]:
                    yield "authenticity"
                if theirs and mine.closed and theirs.closed:
                    self.result.both_closed += 1
                    if not control_forged and (mine.heard != said or len(said) != self.bounds.turns):
                        yield "agreement"

    def _can_close(self, a: int, b: int) -> bool:
        """Whether two who are ready can meet again, over a network that loses nothing."""
        snapshots = [
            # without the notes, and drawing new values: the same rows go on in the same way
            self._moves.snapshots[side][agent]._replace(sessions=(), begun=0, drawn=1_000_000)
            for side, agent in ((A, a), (B, b))
        ]
        key = snapshots[A].key(), snapshots[B].key()
        if key not in self._lively:
            # whoever can show the reference of the last conversation need not wait until it is forgotten
            shown, held = snapshots[A].row.peer_reference, snapshots[B].row.local_reference
            agents = self._patient_agents if held is not None and shown == held else self._agents
            self._lively[key] = honest_run(agents, snapshots, lambda: self._moves.registers) is not None
        return self._lively[key]

    def _takes_register_for_a_reconnect(self, before: Snapshot) -> bool:
        if not before.row.is_ready or before.row.local_reference is None:
            return False
        return not self._patient_agents[B].take(before, self._moves.registers[B]).after.row.is_ready


def explore(
    bounds: Bounds, transaction: type[MemoryTransaction] = MemoryTransaction, stop_early: bool = False
) -> Result:
    """Explore everything within the bounds."""
    return Explorer(bounds, transaction, stop_early).run()

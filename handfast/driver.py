"""load -> step -> commit -> release: the only async part of the core, and nothing in it decides anything.

One event is one step is one transaction (architecture.md, rules 1 and 2). What a step wants to send waits in `outgoing`
until the transaction that decided it is committed; the agent takes it from there.
"""

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from handfast.budget import Budget
from handfast.conversation.model import (
    Closed,
    Effect,
    Event,
    GaveUp,
    Outgoing,
    Party,
    PeerState,
    PinKey,
    Restarted,
    Role,
    Send,
    SessionOpened,
    State,
    Step,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import step, would_ignore
from handfast.errors import PeerError, Reason, StorageError
from handfast.identity.identity import fingerprint
from handfast.ports import Clock, Entropy, Store, Transaction
from handfast.wire.text import Json
from handfast.wire.v1 import FOR_RESPONDER, Message, is_agent_id

Pair = tuple[Role, str]

# States are read for every line of the relay; this many pairs are answered without asking the database.
CACHED_PAIRS = 16_384

# A hostile peer can be refused as fast as it can write; what is kept and told of that is bounded: a burst, then so many a
# second. Refusals over who a key belongs to are counted apart: noise must not hide that somebody poses as a known peer.
REFUSALS_TOLD = (50, 2.0)
_ABOUT_WHO = frozenset({Reason.KEY_CHANGED, Reason.KEY_UNDER_TWO_IDS, Reason.OWN_KEY_REFLECTED})

# Each handshake with a stranger costs us key pairs, a signature and rows; who is not served now registers again in a second.
HANDSHAKES_WITH_STRANGERS = (100, 20.0)

# So many timers are served before others get their turn.
TIMERS_PER_TICK = 32

_UNDER_WAY = frozenset(
    {State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE, State.RESP_EXCHANGE, State.RESP_FINALIZE}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event, told after its commit.

    Attributes:
        peer_id, role: the pair it concerned.
        event: what it was: an intent, "timer" or "restart".
        before, after: the pair's state.
        effects: what was committed; empty unless the verdict is `ACCEPTED`.
        verdict, reason: as in `Step`.
        failure: what the user's dialogue raised, where that was the reason.
    """

    peer_id: str
    role: Role
    event: str
    before: State
    after: State
    effects: tuple[Effect, ...]
    verdict: Verdict
    reason: Reason | None = None
    failure: BaseException | None = None


class Driver:
    """Runs the conversations of one agent.

    Args:
        store: where their state lives.
        clock, entropy: time and chance.
        party: who we are, our settings, what we say.
        on_outcome: told of every event that was accepted or refused, after its commit.

    Attributes:
        outgoing: messages to be handed to the sender, oldest first; whoever sends them takes them out.
        winding_down: when true, no new conversation is begun; those under way go on.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        party: Party,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.outgoing: deque[dict[str, Json]] = deque()
        self.winding_down = False
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._party = party
        self._on_outcome = on_outcome
        self._states: OrderedDict[Pair, PeerState] = OrderedDict()
        self._timers = _Timers()
        self._refusals = Budget(*REFUSALS_TOLD, clock.monotonic())
        self._refusals_about_who = Budget(*REFUSALS_TOLD, clock.monotonic())
        self._strangers = Budget(*HANDSHAKES_WITH_STRANGERS, clock.monotonic())
        self._running: set[asyncio.Task[Outcome]] = set()

    async def start(self) -> None:
        """Pick up every conversation that was under way when the process ended."""
        for state in await self._store.unfinished():
            await self._handle(state.role, state.peer_id, Restarted())

    async def state(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        pair = role, peer_id
        known = self._states.get(pair)
        if known is None:
            known = await self._store.load(role, peer_id)
            self._remember(pair, known)
        else:
            self._states.move_to_end(pair)
        return known

    async def receive(self, role: Role, message: Message, address: str | None = None) -> Outcome:
        """Handle a message of a peer as `role`.

        Args:
            role: the role of ours that it is for.
            message: what the peer said.
            address: where the relay claims that it came from; kept for people to look at, never used.

        Raises:
            StorageError: the database failed; nothing was changed, and the peer will repeat what it said.
        """
        known = await self.state(role, message.sender)
        begins = (
            self.winding_down and known.is_ready and message.intent in ("register", "reconnect", "confirm")
        )
        if begins or would_ignore(known, message, self._clock.now(), self._entropy, self._party):
            return _outcome(known, message.intent, Step(known, (), Verdict.IGNORED))
        if known.is_of_stranger and known.is_ready and self._strangers.take(self._clock.monotonic()) is None:
            return _outcome(known, message.intent, Step(known, (), Verdict.IGNORED))
        return await self._handle(role, message.sender, message, address)

    async def tick(self) -> None:
        """Do what is due: send again, or give up.

        Raises:
            StorageError: the database failed; what was due is tried again in a second.
        """
        now = self._clock.monotonic()
        failure: StorageError | None = None
        for pair in self._timers.due(now, TIMERS_PER_TICK):
            try:
                await self._handle(*pair, TimerFired())
            except StorageError as error:
                # the others have their turn all the same
                failure = failure or error
                self._timers.set(pair, now + 1.0)
        if failure is not None:
            raise failure

    async def refuse(self, content: Json, reason: Reason) -> None:
        """Note a message that was refused before it reached a conversation, such as one in plain text.

        Args:
            content: the line's content, any JSON value; one that names no sender is passed over.
            reason: why it was refused.

        Raises:
            StorageError: the database failed.
        """
        if not isinstance(content, dict) or not is_agent_id(content.get("from")):
            return
        role = Role.RESPONDER if content.get("intent") in FOR_RESPONDER else Role.INITIATOR
        known = await self.state(role, content["from"])
        await self._report(known, str(content.get("intent")), Step(known, (), Verdict.REFUSED, reason))

    def under_way(self) -> int:
        """How many conversations are under way with a peer that has proven who it is, and are not closed yet."""
        return sum(
            state.state in _UNDER_WAY
            for pair in self._timers.pairs()
            if (state := self._states.get(pair)) is not None
        )

    async def _handle(self, role: Role, peer_id: str, event: Event, address: str | None = None) -> Outcome:
        # a handler may be cancelled at any moment, when the relay is lost; what it has begun is then ended all the same,
        # or the rows would know more than the timers and the sender
        task = asyncio.ensure_future(self._commit(role, peer_id, event, address))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _commit(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        now = self._clock.now()

        def work(transaction: Transaction) -> tuple[PeerState, Step]:
            before = transaction.load(role, peer_id)
            message = None if isinstance(event, TimerFired | Restarted) else event
            taken = step(before, event, transaction.facts(role, message), now, self._entropy, self._party)
            if taken.verdict is Verdict.ACCEPTED:
                if address not in (None, taken.state.peer_address):
                    taken = replace(taken, state=replace(taken.state, peer_address=address))
                transaction.commit(taken.state, taken.effects, now)
                for name, detail in _audit_entries(before, taken.effects):
                    transaction.audit(name, role, peer_id, detail, now)
            return before, taken

        try:
            before, taken = await self._store.run(work)
        except PeerError as refusal:
            # a UNIQUE row was there already: the whole transaction is undone, and the message counts as refused
            before = await self.state(role, peer_id)
            taken = Step(before, (), Verdict.REFUSED, refusal.reason)
        self._remember((role, peer_id), taken.state)
        if taken.state.outgoing != before.outgoing:
            self._timers.set((role, peer_id), self._deadline(taken.state.outgoing, now))
        self.outgoing.extend(effect.payload for effect in taken.effects if isinstance(effect, Send))
        return await self._report(before, event.intent, taken)

    async def _report(self, before: PeerState, event: str, taken: Step) -> Outcome:
        """Tell whoever listens, and the audit log of refusals, of which both get a bounded number."""
        outcome = _outcome(before, event, taken)
        suppressed: int | None = 0
        if taken.reason is not None:
            budget = self._refusals_about_who if taken.reason in _ABOUT_WHO else self._refusals
            suppressed = budget.take(self._clock.monotonic())
            if suppressed is not None:
                detail: dict[str, object] = {"reason": str(taken.reason), "intent": event}
                if suppressed:
                    detail["refusals_not_listed_before"] = suppressed
                role, peer_id, now = before.role, before.peer_id, self._clock.now()
                await self._store.run(
                    lambda transaction: transaction.audit("refused", role, peer_id, detail, now)
                )
        if self._on_outcome is not None and taken.verdict is not Verdict.IGNORED and suppressed is not None:
            self._on_outcome(outcome)
        return outcome

    def _remember(self, pair: Pair, state: PeerState) -> None:
        self._states[pair] = state
        self._states.move_to_end(pair)
        if len(self._states) > CACHED_PAIRS:
            self._states.popitem(last=False)

    def _deadline(self, outgoing: Outgoing | None, now: float) -> float | None:
        # kept on the monotonic clock: setting the machine's clock must neither fire nor stop a timer
        return None if outgoing is None else self._clock.monotonic() + max(0.0, outgoing.due_at - now)


def _outcome(before: PeerState, event: str, taken: Step) -> Outcome:
    return Outcome(
        before.peer_id,
        before.role,
        event,
        before.state,
        taken.state.state,
        taken.effects,
        taken.verdict,
        taken.reason,
        taken.failure,
    )


def _audit_entries(before: PeerState, effects: tuple[Effect, ...]) -> list[tuple[str, dict[str, object]]]:
    entries: list[tuple[str, dict[str, object]]] = []
    for effect in effects:
        match effect:
            case PinKey(sign_pub):
                entries.append(("pinned", {"key": fingerprint(sign_pub), "source": "first sight"}))
            case SessionOpened():
                entries.append(("session", {"version": 1}))
            case Closed():
                entries.append(("closed", {}))
            case GaveUp(why) if before.state is not State.RESP_CONFIRM and not before.is_of_stranger:
                # a `confirm` that nobody answers is no event: anybody can make us send one
                entries.append(("gave_up", {"why": why, "state": str(before.state)}))
            case _:
                pass
    return entries


class _Timers:
    """One deadline for each pair, on the monotonic clock; a heap whose stale entries are skipped when they surface."""

    def __init__(self) -> None:
        self._deadlines: dict[Pair, float] = {}
        self._heap: list[tuple[float, Pair]] = []

    def pairs(self) -> Iterable[Pair]:
        return self._deadlines

    def set(self, pair: Pair, deadline: float | None) -> None:
        if deadline is None:
            self._deadlines.pop(pair, None)
        else:
            self._deadlines[pair] = deadline
            heapq.heappush(self._heap, (deadline, pair))

    def _next(self) -> float | None:
        while self._heap and self._deadlines.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, at_most: int) -> list[Pair]:
        pairs: list[Pair] = []
        while len(pairs) < at_most and (deadline := self._next()) is not None and deadline <= now:
            pair = heapq.heappop(self._heap)[1]
            del self._deadlines[pair]
            pairs.append(pair)
        return pairs

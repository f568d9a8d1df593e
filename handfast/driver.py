"""load -> step -> commit -> release: the only async part of the core, and nothing in it decides anything.

One event is one step is one transaction (architecture.md, rules 1 and 2). What a step wants to send waits in `outgoing`
until the transaction that decided it is committed; the agent takes it from there.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

from handfast.announcer import Announcer
from handfast.audit import STARTED, STOPPED
from handfast.budget import Budget
from handfast.congestion import Admission
from handfast.conversation.model import (
    Event,
    Facts,
    GaveUp,
    Learned,
    Outgoing,
    Party,
    PeerState,
    Restarted,
    Role,
    Send,
    State,
    Step,
    Submitted,
    TimerFired,
    Verdict,
    is_of_version_2,
)
from handfast.conversation.step import firing_row, step
from handfast.conversation.turn import Transition
from handfast.conversation.v2.responder import greet
from handfast.errors import PeerError, Reason, StorageError
from handfast.outcomes import Outcome, audit_entries, durable, is_a_first_pin, outcome_of
from handfast.ports import Clock, Entropy, Store, Transaction
from handfast.proofs import FailedProofs
from handfast.schedule import Pair, Timers, Turns
from handfast.wire.messages import Message
from handfast.wire.text import Json, b64encode
from handfast.wire.v1 import FOR_RESPONDER, is_agent_id
from handfast.wire.v2.messages import K1, N1, Offered

# States are read for every line of the relay; this many pairs are answered without asking the database.
CACHED_PAIRS = 16_384

# Sessions of version 2, and what keeps an old handshake from being used again, are kept in memory only: so many pairs, of a
# few kilobytes each. What nothing depends on any more makes room; then the pairs that are there are served first.
PAIRS_LIVE = 16_384

# A hostile peer can be refused as fast as it can write; what is kept and told of that is bounded: a burst, then so many a
# second. Refusals over who a key belongs to are counted apart: noise must not hide that somebody poses as a known peer.
REFUSALS_TOLD = (50, 2.0)
_ABOUT_WHO = frozenset({Reason.KEY_CHANGED, Reason.KEY_UNDER_TWO_IDS, Reason.OWN_KEY_REFLECTED})

# Each handshake with a stranger costs us key pairs, a signature and rows; who is not served now registers again in a second.
HANDSHAKES_WITH_STRANGERS = (100, 20.0)

# Each peer who proves a key leaves rows for good: its pin, its two states, its history, about a kilobyte. Keys and ids come
# for free, so after a fleet larger than one machine can serve, those who were never heard of wait: less than 9 MB a day.
NEWCOMERS = (1_000, 0.1)

# Each turn of a conversation leaves rows until it ends, and v1 leaves the end to the initiator. Four are usual.
TURNS_OF_A_CONVERSATION = 1_000

# The wall clock's distance from the monotonic one is looked at in each tick; so many seconds at once are an event.
CLOCK_STEP_NOTED = 2.0

# So many timers are served before others get their turn.
TIMERS_PER_TICK = 32

_PROVING = frozenset({"confirm", "request", "respond", "n1", "n2", "n3", "k1", "k2"})
_BEGINNING = frozenset({"register", "reconnect", "confirm", "n1", "n2", "k1"})
_OTHER = {Role.INITIATOR: Role.RESPONDER, Role.RESPONDER: Role.INITIATOR}
_UNDER_WAY = frozenset(
    {State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE, State.RESP_EXCHANGE, State.RESP_FINALIZE}
)


class Driver:
    """Runs the conversations of one agent.

    Args:
        store: where their state lives.
        clock, entropy: time and chance.
        party: who we are, our settings, what we say.
        on_outcome: told of every event that was accepted or refused, after its commit.
        software: name and version, for the audit log.
        wants: where mail is carried, whether letters wait for a peer, or somebody wishes to meet it.

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
        software: str = "handfast",
        wants: Callable[[str], bool] = lambda _peer_id: False,
    ) -> None:
        self.outgoing: deque[dict[str, Json]] = deque()
        self.winding_down = False
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._party = party
        self._on_outcome = on_outcome
        self._software = software
        self._wants = wants
        self._clock_ahead = clock.now() - clock.monotonic()
        self._states: OrderedDict[Pair, PeerState] = OrderedDict()
        self._timers = Timers()
        self._refusals = Budget(*REFUSALS_TOLD, clock.monotonic())
        self._refusals_about_who = Budget(*REFUSALS_TOLD, clock.monotonic())
        self._strangers = Budget(*HANDSHAKES_WITH_STRANGERS, clock.monotonic())
        self._newcomers = Budget(*NEWCOMERS, clock.monotonic())
        self._failed_proofs = FailedProofs(clock.monotonic())
        self._admission = Admission()
        self._announcer = Announcer(party, entropy, clock.monotonic())
        self._live: dict[Pair, PeerState] = {}
        self._turns = Turns()
        self._running: set[asyncio.Task[Outcome]] = set()

    async def start(self) -> None:
        """Note in the audit log who starts, and pick up every conversation that was under way when the process ended.

        Raises:
            StorageError: the database failed.
        """
        identity = self._party.identity
        who: dict[str, object] = {
            "agent": identity.agent_id,
            "key": b64encode(identity.identity_key.public),
            "software": self._software,
        }
        if identity.rotations:  # they lead from the key that has signed the log so far to this one
            who["rotations"] = b64encode(identity.rotations)
        await self._note(STARTED, who)
        await self._look_at_revocations()
        for state in await self._store.unfinished():
            await self._handle(state.role, state.peer_id, Restarted())

    async def settle(self) -> None:
        """Wait for the end of every step that was begun, also of those whose callers were cancelled."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def stop(self) -> None:
        """Note in the audit log that nothing more will come; to be called last, where there is time for it.

        Raises:
            StorageError: the database failed.
        """
        await self._note(STOPPED, {})

    async def state(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        pair = role, peer_id
        known = self._in_memory(pair)
        if known is None:
            stored = await self._store.load(role, peer_id)
            # an event may have had its turn meanwhile; what it left in memory must not be lost
            known = self._in_memory(pair) or stored
            if known is stored:
                self._remember(pair, known)
        elif known.live is None:
            self._states.move_to_end(pair)
        return known

    def register(self, *, anew: bool = False) -> dict[str, Json]:
        """The broadcast "I am here", as it is handed to the sender; to be made anew each time.

        Args:
            anew: whether somebody is wanted who was not before, so that an answer is worth more than a moment ago.
        """
        return self._announcer.register(self._clock.now(), self._clock.monotonic(), anew=anew)

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
        ignored = outcome_of(known, message.intent, Step(known, (), Verdict.IGNORED))
        row = self._row_for(known, message)
        if row is None:
            return ignored
        # whoever has proven a key in the other role is known
        is_stranger = known.is_of_stranger and (await self.state(_OTHER[role], message.sender)).is_of_stranger
        if known.is_ready and not self._may_begin(known, message, is_stranger):
            return ignored
        if self._is_too_much(known, row, message, is_stranger):
            return ignored
        outcome = await self._handle(role, message.sender, message, address)
        if outcome.verdict is Verdict.REFUSED:
            self._failed_proofs.count(message.sender, is_stranger, self._clock.monotonic())
        return outcome

    async def submit(self, peer_id: str) -> None:
        """Talk to a peer that is wanted, if that can be now: go on, or begin by a ticket. Otherwise its next message does it.

        Raises:
            StorageError: the database failed; what was posted before stays where it is.
        """
        known = await self.state(Role.INITIATOR, peer_id)
        has_room = self._has_room(known, known.is_of_stranger, self._clock.monotonic())
        if not known.is_ready or (has_room and not self.winding_down):
            await self._handle(Role.INITIATOR, peer_id, Submitted())

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
        await self._note_clock_step()

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
            if (state := self._in_memory(pair)) is not None
        )

    def _in_memory(self, pair: Pair) -> PeerState | None:
        return self._live.get(pair) or self._states.get(pair)

    def _row_for(self, known: PeerState, event: Event) -> Transition | None:
        now = self._clock.now()
        facts = self._facts_in_memory(known.peer_id, now)
        return firing_row(known, event, facts, now, self._entropy, self._party)

    def _facts_in_memory(self, peer_id: str, now: float) -> Facts:
        announcements = self._announcer.present(now, self._clock.monotonic())
        return Facts(announcements=announcements, wanted=self._wants(peer_id))

    def _is_too_much(self, known: PeerState, row: Transition, message: Message, is_stranger: bool) -> bool:
        """Whether a message asks for more than its sender may have us compute or keep."""
        now = self._clock.monotonic()
        if isinstance(message, Offered):
            return known.role is Role.RESPONDER and not self._announcer.may_greet(message, now)
        if isinstance(message, K1) and row.act is greet and not self._announcer.may_greet(message, now):
            return True
        if isinstance(message, N1) and not known.is_ready and not self._announcer.may_answer_another(now):
            return True
        if is_of_version_2(message):
            if known.live is None and self._memory_is_full():
                return True
        elif message.intent == "request" and known.exchange_count >= TURNS_OF_A_CONVERSATION:
            return True
        return message.intent in _PROVING and self._failed_proofs.are_too_many(
            message.sender, is_stranger, now
        )

    def _may_begin(self, known: PeerState, message: Message, is_stranger: bool) -> bool:
        """Whether a message that would begin a conversation may; who is turned away now is heard again in a moment."""
        if self.winding_down and message.intent in _BEGINNING:
            return False
        now = self._clock.monotonic()
        # n2 answers an n1 of ours: there was room then
        if message.intent not in ("confirm", "n2") and not self._has_room(known, is_stranger, now):
            return False
        if is_stranger and self._newcomers.is_spent(now):
            return False
        # greeting has a budget of its own
        return not is_stranger or isinstance(message, Offered) or self._strangers.take(now) is not None

    def _has_room(self, known: PeerState, is_stranger: bool, now: float) -> bool:
        if self._admission.admits(known.role, known.is_of_stranger, now):
            return True
        # whoever has proven a key in the other role only may also take the place that strangers cannot take
        return not is_stranger and self._admission.admits(known.role, False, now)

    async def _handle(self, role: Role, peer_id: str, event: Event, address: str | None = None) -> Outcome:
        # a handler may be cancelled at any moment, when the relay is lost; what it has begun is then ended all the same,
        # or the rows would know more than the timers and the sender
        task = asyncio.ensure_future(self._take_turn(role, peer_id, event, address))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _take_turn(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        # one after the other: what is kept in memory only is no part of a transaction
        async with self._turns.of((role, peer_id)):
            outcome = await self._run(role, peer_id, event, address)
            has_ended = outcome.before is not outcome.after is State.INIT_READY
            if has_ended and self._wants(peer_id) and not self.winding_down:
                await self._run(role, peer_id, Submitted(), None)
            return outcome

    async def _run(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        known = await self.state(role, peer_id)
        row = self._row_for(known, event)
        if row is None and isinstance(event, Submitted):
            return outcome_of(known, event.intent, Step(known, (), Verdict.IGNORED))
        if row is None or not row.volatile:
            return await self._commit(role, peer_id, event, address)
        now = self._clock.now()
        taken = step(known, event, self._facts_in_memory(peer_id, now), now, self._entropy, self._party)
        return await self._release(known, event, taken, now)

    async def _commit(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        now, in_memory = self._clock.now(), self._live.get((role, peer_id))
        known = self._facts_in_memory(peer_id, now)

        def work(transaction: Transaction) -> tuple[PeerState, Step]:
            stored = transaction.load(role, peer_id)
            before = stored if in_memory is None else in_memory
            message = None if isinstance(event, TimerFired | Restarted | Submitted) else event
            facts = replace(
                transaction.facts(role, message),
                announcements=known.announcements,
                wanted=known.wanted,
                book=transaction,
                mail=transaction.mail,
            )
            taken = step(before, event, facts, now, self._entropy, self._party)
            if taken.verdict is Verdict.ACCEPTED:
                if address not in (None, taken.state.peer_address):
                    taken = replace(taken, state=replace(taken.state, peer_address=address))
                transaction.commit(durable(taken.state, stored), taken.effects, now)
                for name, detail in audit_entries(before, taken.effects):
                    transaction.audit(name, role, peer_id, detail, now)
            return before, taken

        try:
            before, taken = await self._store.run(work)
        except PeerError as refusal:
            # a UNIQUE row was there already: the whole transaction is undone, and the message counts as refused
            before = await self.state(role, peer_id)
            taken = Step(before, (), Verdict.REFUSED, refusal.reason)
        return await self._release(before, event, taken, now)

    async def _release(self, before: PeerState, event: Event, taken: Step, now: float) -> Outcome:
        """What follows from a step that is committed: the timers, the messages, the report."""
        role, peer_id = before.role, before.peer_id
        if taken.state.live is not None:
            taken.state.live.rest()
        self._remember((role, peer_id), taken.state)
        if taken.state.outgoing != before.outgoing:
            self._timers.set((role, peer_id), self._deadline(taken.state.outgoing, now))
        if any(isinstance(effect, Learned) for effect in taken.effects):
            await self._look_at_revocations()
        if any(is_a_first_pin(effect) for effect in taken.effects):
            self._newcomers.take(self._clock.monotonic())
        self._note_progress(before, event, taken)
        self.outgoing.extend(effect.payload for effect in taken.effects if isinstance(effect, Send))
        return await self._report(before, event.intent, taken)

    def _note_progress(self, before: PeerState, event: Event, taken: Step) -> None:
        after, now = taken.state, self._clock.monotonic()
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

    async def _report(self, before: PeerState, event: str, taken: Step) -> Outcome:
        """Tell whoever listens, and the audit log of refusals, of which both get a bounded number."""
        outcome = outcome_of(before, event, taken)
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

    async def _look_at_revocations(self) -> None:
        newest = await self._store.run(lambda transaction: transaction.newest_crl())
        self._announcer.crl_sequence = None if newest is None else newest[0]

    async def _note_clock_step(self) -> None:
        ahead = self._clock.now() - self._clock.monotonic()
        step, self._clock_ahead = ahead - self._clock_ahead, ahead
        if abs(step) >= CLOCK_STEP_NOTED:
            await self._note("clock_step", {"seconds": round(step, 3)})

    async def _note(self, event: str, detail: dict[str, object]) -> None:
        """An entry in the audit log that concerns no peer."""
        now = self._clock.now()
        await self._store.run(lambda transaction: transaction.audit(event, None, "", detail, now))

    def _remember(self, pair: Pair, state: PeerState) -> None:
        if state.live is not None:
            self._live[pair] = state
            return
        self._live.pop(pair, None)
        self._states[pair] = state
        self._states.move_to_end(pair)
        if len(self._states) > CACHED_PAIRS:
            self._states.popitem(last=False)

    def _memory_is_full(self) -> bool:
        """Whether no more pairs can be kept in memory, after those were let go that nothing depends on."""
        if len(self._live) < PAIRS_LIVE:
            return False
        ours = self._announcer.present(self._clock.now(), self._clock.monotonic())
        spent = [pair for pair, state in self._live.items() if state.live and state.live.is_spent(ours)]
        for pair in spent:
            self._remember(pair, replace(self._live[pair], live=None))
        return not spent

    def _deadline(self, outgoing: Outgoing | None, now: float) -> float | None:
        # kept on the monotonic clock: setting the machine's clock must neither fire nor stop a timer
        if outgoing is None:
            return None
        # in a slow room answers come later, and so does what is sent for want of one
        return self._clock.monotonic() + max(0.0, outgoing.due_at - now) * self._admission.slowness

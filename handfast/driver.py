"""load -> step -> commit -> release: the only async part of the core, and nothing in it decides anything.

One event is one step is one transaction (architecture.md, rules 1 and 2). What a step wants to send waits in `outgoing`
until the transaction that decided it is committed; the agent takes it from there.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from handfast.announcer import Announcer
from handfast.audit import STARTED, STOPPED
from handfast.conversation.effects import Learned, Send
from handfast.conversation.model import (
    Event,
    Facts,
    Outgoing,
    Party,
    PeerState,
    Restarted,
    Role,
    State,
    Step,
    Submitted,
    TimerFired,
    Verdict,
    is_message,
)
from handfast.conversation.packets import require_genuine
from handfast.conversation.step import firing_row, step
from handfast.conversation.turn import Transition
from handfast.errors import PeerError, Reason, StorageError
from handfast.gatekeeper import Gatekeeper, would_begin
from handfast.outcomes import Outcome, Refusals, audit_entries, durable, outcome_of
from handfast.pairs import Pairs
from handfast.ports import Clock, Entropy, Store, Transaction
from handfast.schedule import Timers, Turns
from handfast.wire.messages import Message
from handfast.wire.text import Json, b64encode
from handfast.wire.v1 import FOR_RESPONDER, is_agent_id
from handfast.wire.v2.messages import N1, Packet

# The wall clock's distance from the monotonic one is looked at in each tick; so many seconds at once are an event.
CLOCK_STEP_NOTED = 2.0

# So many timers are served before others get their turn.
TIMERS_PER_TICK = 32

_OTHER = {Role.INITIATOR: Role.RESPONDER, Role.RESPONDER: Role.INITIATOR}
_UNDER_WAY = frozenset(
    {State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE, State.RESP_EXCHANGE, State.RESP_FINALIZE}
)
# who writes letters pauses as long as it likes, and its reader cannot end the conversation
_ENDS_SOON = _UNDER_WAY - {State.RESP_EXCHANGE}


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
        winding_down: when true, no new conversation is begun, and nobody is wanted; those under way go on.
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
        self._leave_at = 0.0
        self._is_leaving = False
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._party = party
        self._on_outcome = on_outcome
        self._software = software
        self._wants = wants
        self._clock_ahead = clock.now() - clock.monotonic()
        self._pairs = Pairs()
        self._timers = Timers()
        self._refusals = Refusals(clock.monotonic())
        self._gatekeeper = Gatekeeper(clock.monotonic())
        self._announcer = Announcer(party, entropy)
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
        """Wait for the end of every step that was begun, also of those whose callers were cancelled; none begins any more.

        Whoever does not wait for the end cancels none of them.
        """
        self._is_leaving = True
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Note in the audit log that nothing more will come; to be called last, where there is time for it.

        Raises:
            StorageError: the database failed.
        """
        await self._note(STOPPED, {})

    async def state(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        known = self._pairs.get((role, peer_id))
        if known is None:
            stored = await self._store.load(role, peer_id)
            # an event may have had its turn meanwhile; what it left in memory must not be lost
            known = self._pairs.get((role, peer_id)) or stored
            if known is stored:
                self._pairs.put(known)
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
        if row is None or self._is_leaving or (self.winding_down and would_begin(known, message)):
            return ignored
        # whoever has proven a key in the other role is known
        is_stranger = known.is_of_stranger and (await self.state(_OTHER[role], message.sender)).is_of_stranger
        now = self._clock.monotonic()
        if not self._gatekeeper.serves(known, message, row, now, is_stranger=is_stranger):
            # where answers are slow, more of them would come of it than anybody has room for
            if isinstance(message, N1) and self._gatekeeper.slowness <= 1:
                self._announcer.renew_offer()
            return ignored
        if not self._pairs.has_room_for(known, message, self._announcer.present(self._clock.now(), now)):
            return ignored
        if isinstance(message, Packet) and not row.volatile:
            try:
                require_genuine(known, message, self._clock.now())
            except PeerError as refusal:
                # it has cost no turn and no transaction, and is not held against the peer
                if known.live is not None:
                    known.live.rest()
                taken = Step(known, (), Verdict.REFUSED, refusal.reason)
                return await self._report(known, message.intent, taken)
        outcome = await self._handle(role, message.sender, message, address, needs_store=not row.volatile)
        if outcome.verdict is Verdict.REFUSED:
            now = self._clock.monotonic()
            self._gatekeeper.note_refusal(role, message, now, is_stranger=is_stranger)
        return outcome

    async def submit(self, peer_id: str) -> None:
        """Talk to a peer that is wanted, if that can be now: go on, or begin by a ticket. Otherwise its next message does it.

        Raises:
            StorageError: the database failed; what was posted before stays where it is.
        """
        known = await self.state(Role.INITIATOR, peer_id)
        now = self._clock.monotonic()
        has_room = self._gatekeeper.has_room(known, now, is_stranger=known.is_of_stranger)
        if not self._is_leaving and (not known.is_ready or (has_room and not self.winding_down)):
            await self._handle(Role.INITIATOR, peer_id, Submitted())

    async def tick(self) -> None:
        """Do what is due: send again, or give up.

        Raises:
            StorageError: the database failed; what was due is tried again in a second.
        """
        if self._is_leaving:
            return
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
        """How many conversations are under way with a peer that has proven who it is, and are not closed yet; without those
        that a peer may keep open as long as it likes."""
        states = _ENDS_SOON if self._party.mail else _UNDER_WAY
        return sum(
            state.state in states
            for pair in self._timers.pairs()
            if (state := self._pairs.get(pair)) is not None
        )

    def wind_down(self, seconds: float) -> bool:
        """Begin nothing any more, and end what is in a pause; to be asked until it is time to leave, ticks in between.

        Args:
            seconds: how long what is under way may take to end, from the first time on.

        Returns:
            Whether nothing is left to wait for, or the time is over.
        """
        now = self._clock.monotonic()
        if not self.winding_down:
            self.winding_down, self._leave_at = True, now + seconds
        for pair in list(self._timers.pairs()):
            state = self._pairs.get(pair)
            if state is not None and state.outgoing is not None and state.outgoing.is_pause:
                self._timers.set(pair, now)
        return now >= self._leave_at or not self.under_way()

    def _row_for(self, known: PeerState, event: Event) -> Transition | None:
        now = self._clock.now()
        facts = self._facts_in_memory(known.peer_id, now)
        return firing_row(known, event, facts, now, self._entropy, self._party)

    def _facts_in_memory(self, peer_id: str, now: float) -> Facts:
        announcements = self._announcer.present(now, self._clock.monotonic())
        return Facts(announcements=announcements, wanted=not self.winding_down and self._wants(peer_id))

    async def _handle(
        self, role: Role, peer_id: str, event: Event, address: str | None = None, needs_store: bool = False
    ) -> Outcome:
        # a handler may be cancelled at any moment, when the relay is lost; what it has begun is then ended all the same,
        # or the rows would know more than the timers and the sender
        task = asyncio.ensure_future(self._take_turn(role, peer_id, event, address, needs_store))
        self._running.add(task)
        task.add_done_callback(self._has_run)
        return await asyncio.shield(task)

    def _has_run(self, task: asyncio.Task[Outcome]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # for whoever waits; where nobody does any more, it was the peer's to repeat

    async def _take_turn(
        self, role: Role, peer_id: str, event: Event, address: str | None, needs_store: bool
    ) -> Outcome:
        # one after the other: what is kept in memory only is no part of a transaction
        async with self._turns.of((role, peer_id)):
            run = self._commit if needs_store else self._run
            outcome = await run(role, peer_id, event, address)
            has_ended = outcome.before is not outcome.after is State.INIT_READY
            if has_ended and self._wants(peer_id) and not self.winding_down:
                await self._run(role, peer_id, Submitted(), None)
            return outcome

    async def _run(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        known = await self.state(role, peer_id)
        row = self._row_for(known, event)
        if row is None:
            return outcome_of(known, event.intent, Step(known, (), Verdict.IGNORED))
        if not row.volatile:
            return await self._commit(role, peer_id, event, address)
        now = self._clock.now()
        taken = step(known, event, self._facts_in_memory(peer_id, now), now, self._entropy, self._party)
        return await self._release(known, event, taken, now)

    async def _commit(self, role: Role, peer_id: str, event: Event, address: str | None) -> Outcome:
        now, in_memory = self._clock.now(), self._pairs.live.get((role, peer_id))
        known = self._facts_in_memory(peer_id, now)

        def work(transaction: Transaction) -> tuple[PeerState, Step]:
            stored = transaction.load(role, peer_id)
            before = stored if in_memory is None else in_memory
            message = event if is_message(event) else None
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
        self._pairs.put(taken.state)
        if taken.state.outgoing != before.outgoing:
            self._timers.set((role, peer_id), self._deadline(taken.state.outgoing, now))
        if any(isinstance(effect, Learned) for effect in taken.effects):
            await self._look_at_revocations()
        has_no_answer = isinstance(event, TimerFired) and taken.state.is_ready
        if role is Role.INITIATOR and has_no_answer and not before.is_ready:
            self._announcer.renew_offer()
        self._gatekeeper.note_step(before, event, taken, self._clock.monotonic())
        self.outgoing.extend(effect.payload for effect in taken.effects if isinstance(effect, Send))
        return await self._report(before, event.intent, taken)

    async def _report(self, before: PeerState, event: str, taken: Step) -> Outcome:
        """Tell whoever listens, and the audit log of refusals, of which both get a bounded number."""
        outcome, is_told = outcome_of(before, event, taken), taken.verdict is not Verdict.IGNORED
        if taken.reason is not None:
            entry = self._refusals.entry(taken.reason, event, self._clock.monotonic())
            is_told = entry is not None
            if entry is not None:
                await self._note("refused", entry, before.role, before.peer_id)
        if is_told and self._on_outcome is not None:
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

    async def _note(
        self, event: str, detail: dict[str, object], role: Role | None = None, peer_id: str = ""
    ) -> None:
        """An entry in the audit log that belongs to no step; most concern no peer."""
        now = self._clock.now()
        await self._store.run(lambda transaction: transaction.audit(event, role, peer_id, detail, now))

    def _deadline(self, outgoing: Outgoing | None, now: float) -> float | None:
        # kept on the monotonic clock: setting the machine's clock must neither fire nor stop a timer
        if outgoing is None:
            return None
        # in a slow room answers come later, and so does what is sent for want of one
        return self._clock.monotonic() + max(0.0, outgoing.due_at - now) * self._gatekeeper.slowness

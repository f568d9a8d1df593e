"""`step`: one event in, the next state and its effects out. A pure function, and the only way a state changes."""

from handfast.conversation.model import (
    READY,
    Event,
    Facts,
    Party,
    PeerState,
    Role,
    State,
    Step,
    Verdict,
    is_message,
    is_of_version_2,
)
from handfast.conversation.turn import Transition, Turn
from handfast.conversation.v1.table import TABLE as TABLE_1
from handfast.conversation.v2.parts import drop_the_revoked, talks_to_the_revoked
from handfast.conversation.v2.table import TABLE as TABLE_2
from handfast.errors import PeerError, Reason
from handfast.ports import Entropy
from handfast.trust.decision import v1_is_allowed

_Rows = dict[tuple[Role, State, str], tuple[Transition, ...]]


def _by_event(table: tuple[Transition, ...]) -> _Rows:
    index: _Rows = {}
    for row in table:
        key = row.role, row.state, row.on
        index[key] = (*index.get(key, ()), row)
    return index


_ROWS = {1: _by_event(TABLE_1), 2: _by_event(TABLE_2)}
_ONLY_IN_2 = (State.INIT_HS, State.RESP_HALF)


def step(before: PeerState, event: Event, facts: Facts, now: float, entropy: Entropy, party: Party) -> Step:
    """What `event` does to the pair whose state is `before`.

    Args:
        before: the pair's state.
        event: a message from this peer for this role, or a timer, or the restart of the process.
        facts: what else is known that bears on the event.
        now: seconds since 1970 UTC.
        entropy: where random values come from.
        party: who we are, our settings, what we say.

    Returns:
        The next state and the effects, to be committed together; with any other verdict than `ACCEPTED` the state
        stays as it was and there are no effects.
    """
    turn = Turn(before, event, facts, now, entropy, party)
    row = _first_that_fires(turn)
    if row is None:
        return Step(before, (), Verdict.IGNORED)
    try:
        row.act(turn)
    except PeerError as refusal:
        if refusal.reason is Reason.REVOKED and talks_to_the_revoked(turn):
            return _without_the_revoked(Turn(before, event, facts, now, entropy, party))
        return Step(before, (), Verdict.REFUSED, refusal.reason, refusal.__cause__)
    return _accepted(turn, row.goes_to)


def _without_the_revoked(turn: Turn) -> Step:
    drop_the_revoked(turn)
    return _accepted(turn, READY[turn.before.role])


def _accepted(turn: Turn, state: State) -> Step:
    turn.change(state=state)
    if state is READY[turn.before.role] and turn.after.live is not None:
        # also after a conversation of version 1, whose table knows nothing of handshakes begun beside it
        turn.change(live=turn.after.live.at_rest())
    return Step(turn.after, tuple(turn.effects), Verdict.ACCEPTED)


def firing_row(
    before: PeerState, event: Event, facts: Facts, now: float, entropy: Entropy, party: Party
) -> Transition | None:
    """The row of the table that fires, asked without cryptography; None where the event is ignored.

    Lets broadcasts that concern nobody be dropped before they cost a transaction; `facts` need not be from the store.
    """
    return _first_that_fires(Turn(before, event, facts, now, entropy, party))


def _first_that_fires(turn: Turn) -> Transition | None:
    before, event = turn.before, turn.event
    version = _version(before, event)
    if version == 2 and is_message(event) and turn.facts.announcements is None:
        return None  # this process does not speak version 2
    if version == 1 and before.version == 2 and not before.is_ready:
        return None  # a conversation of version 2 does not go on in version 1
    if version == 1 and is_message(event) and not _speaks_version_1(turn):
        return None
    # an n1 may be a forgery: who is waiting for the rest of it still takes a `confirm` of version 1
    is_waiting = version == 1 and before.version == 1 and before.state is State.INIT_HS
    state = State.INIT_READY if is_waiting and is_message(event) else before.state
    rows = _ROWS[version].get((before.role, state, event.intent), ())
    return next((row for row in rows if row.guard(turn)), None)


def _speaks_version_1(turn: Turn) -> bool:
    before, party = turn.before, turn.party
    # it knows neither letters, nor certificates, nor pre-shared keys
    if party.mail or party.policy.require_certificate or party.psk is not None:
        return False
    if before.peer_id in party.policy.deny:
        return False
    return v1_is_allowed(before.peer_id, has_pin=before.version == 2, mode=turn.party.policy.mode)


def _version(before: PeerState, event: Event) -> int:
    if is_message(event):
        return 2 if is_of_version_2(event) else 1
    return 2 if before.state in _ONLY_IN_2 else before.version

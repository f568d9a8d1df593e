"""`step`: one event in, the next state and its effects out. A pure function, and the only way a state changes."""

from handfast.conversation.model import Event, Facts, Party, PeerState, Role, State, Step, Verdict
from handfast.conversation.turn import Transition, Turn
from handfast.conversation.v1 import TABLE
from handfast.errors import PeerError
from handfast.ports import Entropy


def _by_event(table: tuple[Transition, ...]) -> dict[tuple[Role, State, str], tuple[Transition, ...]]:
    index: dict[tuple[Role, State, str], tuple[Transition, ...]] = {}
    for row in table:
        key = row.role, row.state, row.on
        index[key] = (*index.get(key, ()), row)
    return index


_ROWS = _by_event(TABLE)


def step(before: PeerState, event: Event, facts: Facts, now: float, entropy: Entropy, party: Party) -> Step:
    """What `event` does to the pair whose state is `before`.

    Args:
        before: the pair's state.
        event: a message from this peer for this role, or a timer, or the restart of the process.
        facts: what else the store knows that bears on the event.
        now: seconds since 1970 UTC.
        entropy: where random values come from.
        party: who we are, our settings, what we say.

    Returns:
        The next state and the effects, to be committed together; with any other verdict than `ACCEPTED` the state
        stays as it was and there are no effects.
    """
    turn = Turn(before, event, facts, now, entropy, party)
    for row in _ROWS.get((before.role, before.state, event.intent), ()):
        if not row.guard(turn):
            continue
        try:
            row.act(turn)
        except PeerError as refusal:
            return Step(before, (), Verdict.REFUSED, refusal.reason, refusal.__cause__)
        turn.change(state=row.goes_to)
        return Step(turn.after, tuple(turn.effects), Verdict.ACCEPTED)
    return Step(before, (), Verdict.IGNORED)


def would_ignore(before: PeerState, event: Event, now: float, entropy: Entropy, party: Party) -> bool:
    """Whether no row of the table fires, asked without facts and without cryptography.

    Lets broadcasts that concern nobody be dropped before they cost a transaction.
    """
    turn = Turn(before, event, Facts(), now, entropy, party)
    return not any(row.guard(turn) for row in _ROWS.get((before.role, before.state, event.intent), ()))

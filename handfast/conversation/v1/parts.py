"""What both roles of the version 1 conversation share: guards, giving up, going on after a restart."""

from dataclasses import replace

from handfast.conversation.effects import ForgetNonces, GaveUp
from handfast.conversation.model import State
from handfast.conversation.shared import gap_has_passed, send_again
from handfast.conversation.turn import Turn, delays_of
from handfast.session import v1 as session

CLEARED = {
    "local_nonce": None,
    "peer_nonce": None,
    "exchange_count": 0,
    "finalize_retry_count": 0,
    "secret": None,
    "outgoing": None,
}
NO_REFERENCES = {"local_reference": None, "peer_reference": None}

# Anybody can have us say a `confirm`: it is said so often to whoever has proven nothing.
TRIES_FOR_STRANGERS = 2
_PATIENCE_AFTER_RESTART_SECONDS = 3.0


# ---- guards ---------------------------------------------------------------------------------------------------------


def echoes_our_nonce(turn: Turn) -> bool:
    """Whether the message answers what we said last; a nonce that is absent never matches."""
    return turn.before.local_nonce is not None and turn.event.your_nonce == turn.before.local_nonce


def shows_our_reference(turn: Turn) -> bool:
    """Whether the message names our reference; one that is absent never matches, whatever the message says."""
    return turn.before.local_reference is not None and turn.event.your_ref == turn.before.local_reference


def matches_both_references(turn: Turn) -> bool:
    """Whether the message names both references of the conversation that is ending or ended."""
    return shows_our_reference(turn) and _repeats_the_conclude(turn)


def asks_again(turn: Turn) -> bool:
    """Whether the peer repeats what we answered last."""
    return _repeats_the_last_nonce(turn) and _was_sent_already(turn)


def concludes_again(turn: Turn) -> bool:
    """Whether our `finish` was lost."""
    return _repeats_the_conclude(turn) and _was_sent_already(turn)


def finishes_again(turn: Turn) -> bool:
    """Whether our `close` was lost."""
    return matches_both_references(turn) and _was_sent_already(turn)


def tries_are_left(turn: Turn) -> bool:
    """Whether what is being sent may be sent once more."""
    outgoing = turn.before.outgoing
    if outgoing is None or _carries_a_stale_hs(turn):
        return False
    return outgoing.sends < _tries_of(turn)


def can_go_on(turn: Turn) -> bool:
    """Whether what was being sent when the process ended may be sent again."""
    outgoing = turn.before.outgoing
    needs_secret = turn.before.state in (State.INIT_EXCHANGE, State.RESP_CONFIRM, State.RESP_EXCHANGE)
    if outgoing is None or _carries_a_stale_hs(turn) or (needs_secret and turn.before.secret is None):
        return False
    return outgoing.sends < _tries_of(turn)


# ---- actions --------------------------------------------------------------------------------------------------------


def give_up(turn: Turn) -> None:
    """Nobody answers: forget everything of the conversation."""
    turn.change(**CLEARED, **NO_REFERENCES)
    turn.emit(ForgetNonces(), GaveUp("no answer"))


def go_on(turn: Turn) -> None:
    """Go on after a restart."""
    outgoing = turn.before.outgoing
    window = sum(turn.settings.retry_delays) + turn.settings.pace
    if outgoing is not None and not 0 <= turn.now - outgoing.since <= window:
        # a peer of ours has given up by now, one of the first generation never does: ask once whether it still waits
        last = max(outgoing.sends, _tries_of(turn) - 1)
        turn.change(outgoing=replace(outgoing, sends=last))
    send_again(turn)
    resumed = turn.after.outgoing
    if resumed is not None:
        wait = turn.jittered(min(resumed.due_at - turn.now, _PATIENCE_AFTER_RESTART_SECONDS))
        turn.change(outgoing=replace(resumed, due_at=turn.now + wait))


def start_afresh(turn: Turn) -> None:
    """It is too late to go on after the restart: forget everything of the conversation."""
    turn.change(**CLEARED, **NO_REFERENCES)
    turn.emit(ForgetNonces(), GaveUp("restarted too late to go on"))


# ---- parts ----------------------------------------------------------------------------------------------------------


def _repeats_the_last_nonce(turn: Turn) -> bool:
    return turn.before.peer_nonce is not None and turn.event.my_nonce == turn.before.peer_nonce


def _repeats_the_conclude(turn: Turn) -> bool:
    return turn.before.peer_reference is not None and turn.event.my_ref == turn.before.peer_reference


def _was_sent_already(turn: Turn) -> bool:
    return turn.before.outgoing is not None and turn.before.outgoing.sends > 0 and gap_has_passed(turn)


def _tries_of(turn: Turn) -> int:
    if turn.before.state is State.RESP_CONFIRM and turn.before.is_of_stranger:
        # whoever is there registers once a second anyway; an invented `register` must not make us say much
        return TRIES_FOR_STRANGERS
    outgoing = turn.before.outgoing
    return 0 if outgoing is None else len(delays_of(outgoing, turn.settings))


def _carries_a_stale_hs(turn: Turn) -> bool:
    # after an outage: the peer would refuse it as stale, a new handshake it will take
    outgoing = turn.before.outgoing
    age = 0.0 if outgoing is None else abs(turn.now - outgoing.since)
    return outgoing is not None and "hs" in outgoing.payload and age > session.HS_LIFETIME_SECONDS

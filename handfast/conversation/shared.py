"""What the tables of both versions share: the guard that always holds, and saying the same again, not too often."""

from handfast.conversation.model import State
from handfast.conversation.turn import Turn

# ---- guards ---------------------------------------------------------------------------------------------------------


def always(turn: Turn) -> bool:
    """Whatever the state."""
    del turn
    return True


def gap_has_passed(turn: Turn) -> bool:
    """Whether something may be repeated for the peer again."""
    last = turn.before.last_sent_at
    return last is None or abs(turn.now - last) >= turn.settings.repeat_gap


# ---- actions --------------------------------------------------------------------------------------------------------


def repeat_answer(turn: Turn) -> None:
    """Send the same answer again."""
    turn.repeat_answer()


def send_again(turn: Turn) -> None:
    """Send the same message again, on the timer."""
    if turn.before.state in (State.RESP_FINALIZE, State.INIT_FINALIZE_CLOSE):
        turn.change(finalize_retry_count=turn.before.finalize_retry_count + 1)
    turn.send_outgoing()

"""The initiator's guards and actions of version 1, in the order of the table."""

from handfast.conversation.effects import Closed, ForgetNonces, RecordNonce
from handfast.conversation.shared import gap_has_passed
from handfast.conversation.turn import Turn
from handfast.conversation.v1.messages import (
    check_hs,
    install_session,
    make_hs,
    open_in_session,
    refuse_a_seen_nonce,
    seal,
    session_is_proven,
    take_nonce,
    take_nonce_and_deliver,
)
from handfast.conversation.v1.parts import CLEARED, echoes_our_nonce, matches_both_references
from handfast.crypto.keys import ExchangeKey
from handfast.session import v1 as session

# An unanswered `reconnect` is repeated after the first wait for any answer, then after twice as long, and so on so many
# times: a peer that is there and does not answer has others to serve first.
_RECONNECT_DOUBLINGS = 5


# ---- guards ---------------------------------------------------------------------------------------------------------


def may_reconnect(turn: Turn) -> bool:
    """Whether it is time for the next conversation, and the peer's reference is there to ask for it with."""
    every, at = turn.settings.reconnect_every, turn.before.reconnect_at
    if every is None or turn.before.peer_reference is None:
        return False
    # the last test: the clock was set back, and the time written down would never come
    longest = max(every, _reconnect_wait(turn, _RECONNECT_DOUBLINGS))
    return at is None or turn.now >= at or at - turn.now > 2 * longest


def is_the_finish_once_more(turn: Turn) -> bool:
    """Whether our `close` was lost, and the conversation is over for us."""
    return matches_both_references(turn) and gap_has_passed(turn)


def answers_the_last_turn(turn: Turn) -> bool:
    """Whether nothing more is to be said after this answer."""
    return echoes_our_nonce(turn) and turn.before.exchange_count >= turn.settings.exchanges


# ---- actions --------------------------------------------------------------------------------------------------------


def ask_to_reconnect(turn: Turn) -> None:
    """Show the peer's reference; an answer is waited for ever longer."""
    tries = turn.before.reconnect_tries
    wait = turn.jittered(_reconnect_wait(turn, tries))
    turn.change(reconnect_at=turn.now + wait, reconnect_tries=tries + 1)
    turn.send_once("reconnect", your_ref=turn.before.peer_reference)


def accept_confirm(turn: Turn) -> None:
    """The peer has proven a key: derive that of the session, and say something."""
    refuse_a_seen_nonce(turn)
    hs = check_hs(turn, "response")
    own = ExchangeKey(turn.entropy.exchange_key())
    install_session(turn, hs, session.derive_key(own, hs.kx_pub))
    take_nonce(turn)
    turn.change(exchange_count=0, reconnect_at=None, reconnect_tries=0, version=1)
    _request(turn, own)


def close_once_more(turn: Turn) -> None:
    """Send our `close` again."""
    turn.send_once("close", your_ref=turn.before.peer_reference, my_ref=turn.before.local_reference)


def conclude(turn: Turn) -> None:
    """Deliver, and wish to end."""
    _accept_respond(turn)
    reference = turn.entropy.reference()
    turn.change(local_reference=reference)
    turn.say("conclude", your_nonce=turn.event.my_nonce, my_ref=reference)


def continue_talking(turn: Turn) -> None:
    """Deliver, and send the next request."""
    _accept_respond(turn)
    _request(turn)


def accept_finish(turn: Turn) -> None:
    """Closed, as both sides wish; say so."""
    every = turn.settings.reconnect_every
    turn.change(
        peer_reference=turn.event.my_ref,
        finalize_retry_count=0,
        secret=None,
        reconnect_at=None if every is None else turn.now + turn.jittered(every),
        reconnect_tries=0,
    )
    turn.emit(ForgetNonces(), Closed())
    turn.say("close", your_ref=turn.event.my_ref, my_ref=turn.before.local_reference)


def forget_conversation(turn: Turn) -> None:
    """Back to ready; the references are kept for the reconnect."""
    turn.change(**CLEARED)


# ---- parts ----------------------------------------------------------------------------------------------------------


def _reconnect_wait(turn: Turn, tries: int) -> float:
    return turn.settings.retry_delays[0] * 2.0 ** min(tries, _RECONNECT_DOUBLINGS)


def _request(turn: Turn, own: ExchangeKey | None = None) -> None:
    count = turn.after.exchange_count + 1
    nonce = turn.entropy.nonce()
    hs = None if own is None else make_hs(turn, "init", nonce, own)
    said = turn.ask(lambda: turn.party.dialogue.opening(turn.before.peer_id, count))
    sec = seal(turn, said, "request", nonce)
    turn.change(local_nonce=nonce, exchange_count=count)
    turn.emit(RecordNonce("sent", nonce))
    turn.say("request", your_nonce=turn.event.my_nonce, my_nonce=nonce, hs=hs, sec=sec)


def _accept_respond(turn: Turn) -> None:
    refuse_a_seen_nonce(turn)
    message = open_in_session(turn)
    if turn.before.exchange_count == 1:
        session_is_proven(turn)
    take_nonce_and_deliver(turn, message)

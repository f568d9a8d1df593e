"""The responder's guards and actions of version 1, in the order of the table."""

from handfast.conversation.effects import Closed, ForgetNonces, RecordNonce
from handfast.conversation.turn import Turn
from handfast.conversation.v1.messages import (
    check_hs,
    install_session,
    make_hs,
    open_in_session,
    open_sec,
    refuse_a_seen_nonce,
    seal,
    session_is_proven,
    take_nonce_and_deliver,
)
from handfast.conversation.v1.parts import CLEARED, NO_REFERENCES
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason
from handfast.session import v1 as session
from handfast.wire.text import Json

# ---- guards ---------------------------------------------------------------------------------------------------------


def holds_no_reference(turn: Turn) -> bool:
    """Whether no conversation has left a reference."""
    return turn.before.local_reference is None


def has_waited_for_a_reconnect(turn: Turn) -> bool:
    """Whether the peer, who should know our reference, has not shown it for long."""
    since = turn.before.waiting_since
    return since is not None and turn.now - since > turn.settings.lost_memory_after


def hears_register_for_the_first_time(turn: Turn) -> bool:
    """Whether the peer may still show our reference."""
    since = turn.before.waiting_since
    return since is None or since > turn.now  # the latter: the clock was set back


# ---- actions --------------------------------------------------------------------------------------------------------


def confirm(turn: Turn) -> None:
    """Answer somebody who may be the peer."""
    own = ExchangeKey(turn.entropy.exchange_key())
    nonce = turn.entropy.nonce()
    turn.change(**(CLEARED | NO_REFERENCES), version=1, waiting_since=None)
    turn.change(local_nonce=nonce, secret=Secret(own.private_bytes()))
    turn.say("confirm", my_nonce=nonce, hs=make_hs(turn, "response", nonce, own))


def start_waiting(turn: Turn) -> None:
    """Wait for a `reconnect`."""
    turn.change(waiting_since=turn.now)


def accept_first_request(turn: Turn) -> None:
    """The peer has proven who it is, and that it has the key: deliver, and answer."""
    refuse_a_seen_nonce(turn)
    hs = check_hs(turn, "init")
    if turn.before.secret is None:
        raise PeerError(Reason.SEC_DOES_NOT_OPEN)
    key = session.derive_key(ExchangeKey(turn.before.secret.reveal()), hs.kx_pub)
    message = open_sec(turn, key, hs.sign_pub)
    # our own nonce is logged only now, so that a stranger cannot make us keep a row for each of his broadcasts
    turn.emit(RecordNonce("sent", turn.before.local_nonce or ""))
    install_session(turn, hs, key)
    turn.change(exchange_count=1)
    session_is_proven(turn)
    _respond(turn, message)


def accept_request(turn: Turn) -> None:
    """Deliver, and answer."""
    refuse_a_seen_nonce(turn)
    message = open_in_session(turn)
    turn.change(exchange_count=turn.before.exchange_count + 1)
    _respond(turn, message)


def accept_conclude(turn: Turn) -> None:
    """The initiator wishes to end; so do we."""
    reference = turn.entropy.reference()
    turn.change(
        local_reference=reference,
        peer_reference=turn.event.my_ref,
        exchange_count=0,
        finalize_retry_count=0,
        secret=None,
    )
    turn.say("finish", your_ref=turn.event.my_ref, my_ref=reference)


def accept_close(turn: Turn) -> None:
    """Closed; our reference is kept for the reconnect."""
    turn.change(**CLEARED, waiting_since=None)
    turn.emit(ForgetNonces(), Closed())


# ---- parts ----------------------------------------------------------------------------------------------------------


def _respond(turn: Turn, message: Json) -> None:
    take_nonce_and_deliver(turn, message)
    nonce = turn.entropy.nonce()
    answer = turn.ask(lambda: turn.party.dialogue.reply(turn.before.peer_id, message))
    sec = seal(turn, answer, "respond", nonce)
    turn.change(local_nonce=nonce)
    turn.emit(RecordNonce("sent", nonce))
    turn.say("respond", your_nonce=turn.event.my_nonce, my_nonce=nonce, sec=sec)

"""The initiator's guards and actions, in the order of the table."""

import contextlib
from dataclasses import replace

from handfast.conversation import gossip
from handfast.conversation.effects import GaveUp
from handfast.conversation.live import ATTEMPTS, Attempt
from handfast.conversation.model import State
from handfast.conversation.packets import Received, closed, data_frame, message_of, receive, send_packet
from handfast.conversation.shared import gap_has_passed
from handfast.conversation.turn import Turn
from handfast.conversation.v2 import mail
from handfast.conversation.v2.parts import (
    CLEARED,
    begin_session,
    decide,
    decide_again,
    echoes_our_nonce,
    is_a_repeat,
    is_new,
    matches_both_references,
    note_new_keys,
    running_session,
    say_close,
    tries_are_left,
)
from handfast.errors import PeerError, Reason
from handfast.session.v2 import initiator as handshake
from handfast.session.v2 import resumption
from handfast.session.v2.negotiation import own_offer_of
from handfast.session.v2.session import Session
from handfast.wire.limits import GENERATION_MESSAGES
from handfast.wire.text import Json
from handfast.wire.v2 import frames
from handfast.wire.v2.messages import digest_of, encode_message

_TRIES_TO_RESUME = 3
# So long after it was asked for the last time, a peer that is heard and does not answer is taken for another process.
_PATIENCE_WITH_THE_SILENT_SECONDS = 1.0
# The answer to one may be lost: a relay that comes and goes must not end a conversation that both remember.
_NUDGES = 3
# `conclude` and `close` are sent under keys that are good for no request any more.
_KEPT_FOR_THE_END = 2


# ---- guards -------------------------------------------------------------------------------------------------------


def may_resume(turn: Turn) -> bool:
    """Whether it is time for the next conversation, and a ticket is there to begin it with."""
    ticket = turn.before.ticket
    return ticket is not None and _may_begin(turn) and ticket.is_usable(turn.announcements.myself, turn.now)


def may_begin(turn: Turn) -> bool:
    """Whether the `n1` answers an offer of ours, and it is time for a conversation."""
    return _may_begin(turn) and _answers_an_offer(turn)


def is_the_n1_once_more(turn: Turn) -> bool:
    """Whether our `n2` was lost."""
    return _attempt_after_n1(turn) is not None and gap_has_passed(turn)


def is_another_n1(turn: Turn) -> bool:
    """Whether the `n1` answers an offer of ours, and was not answered."""
    return _attempt_after_n1(turn) is None and _answers_an_offer(turn)


def is_unproven(turn: Turn) -> bool:
    """Whether somebody who may be anybody has begun a conversation of version 1 in the peer's name."""
    return turn.before.version == 1 and turn.before.is_of_stranger and _answers_an_offer(turn)


def is_waited_for(turn: Turn) -> bool:
    """Whether the peer is there again, and what we said last was repeated in vain: the relay may have been away."""
    outgoing = turn.before.outgoing
    is_repeated = outgoing is not None and outgoing.sends > 1
    return is_repeated and _nudges(turn) < _NUDGES and gap_has_passed(turn)


def may_resume_with_the_silent(turn: Turn) -> bool:
    """Whether the peer is there and does not answer: its process may be another one, and know our ticket."""
    ticket = turn.before.ticket
    if ticket is None or turn.live.resuming is not None or not _is_silent(turn):
        return False
    return ticket.is_usable(turn.announcements.myself, turn.now)


def is_n1_of_the_silent(turn: Turn) -> bool:
    """Whether the peer, who does not answer, greets us: it may have lost its memory."""
    return _is_silent(turn) and is_another_n1(turn)


def answers_an_attempt(turn: Turn) -> bool:
    """Whether the `n3` answers an `n2` of ours."""
    return _attempt_before_n3(turn) is not None


def is_resuming(turn: Turn) -> bool:
    """Whether a `k1` of ours waits for an answer."""
    return turn.live.resuming is not None


def ends_the_conversation(turn: Turn) -> bool:
    """Whether the answer is to the last turn, or the session is too old for another."""
    is_last = not mail.is_carried(turn) and turn.before.exchange_count >= turn.settings.exchanges
    return echoes_our_nonce(turn) and (is_last or _is_exhausted(turn))


def continues_with_letters(turn: Turn) -> bool:
    """Whether the answer is to a turn of a conversation that carries letters."""
    return mail.is_carried(turn) and echoes_our_nonce(turn)


def is_pausing(turn: Turn) -> bool:
    """Whether nothing is being asked."""
    outgoing = turn.before.outgoing
    return outgoing is not None and outgoing.is_pause


def may_go_on(turn: Turn) -> bool:
    """Whether the pause is over: letters wait, and the session is good for more."""
    return is_pausing(turn) and turn.facts.wanted and not _is_exhausted(turn)


def may_go_on_at_once(turn: Turn) -> bool:
    """The same, where the peer did not say that it has no room."""
    return may_go_on(turn) and turn.live.refusals == 0


def is_exhausted_pausing(turn: Turn) -> bool:
    """Whether nothing is being asked, nor can be."""
    return is_pausing(turn) and _is_exhausted(turn)


def shows_our_reference(turn: Turn) -> bool:
    """Whether a new `finish` names the conversation that we wish to end."""
    ours = turn.before.local_reference
    return ours is not None and turn.event.header.your_ref == ours and is_new(turn)


def finishes_again(turn: Turn) -> bool:
    """Whether our `close` was lost."""
    return matches_both_references(turn) and is_a_repeat(turn) and gap_has_passed(turn)


def has_closed(turn: Turn) -> bool:
    """Whether a new `finish` names both references."""
    return matches_both_references(turn) and is_new(turn)


def tries_to_resume_are_left(turn: Turn) -> bool:
    """Whether `k1` may be sent once more."""
    outgoing = turn.before.outgoing
    return is_resuming(turn) and outgoing is not None and outgoing.sends < _TRIES_TO_RESUME


def tries_to_begin_are_left(turn: Turn) -> bool:
    """Whether `n2` may be sent once more."""
    return not is_resuming(turn) and tries_are_left(turn)


# ---- actions ------------------------------------------------------------------------------------------------------


def ask_to_resume(turn: Turn) -> None:
    """Show the ticket."""
    ours, ticket = turn.announcements, turn.before.ticket
    if ticket is None:
        raise PeerError(Reason.NO_SESSION)
    # whoever is not asked for conversations by a broadcast may still be asked by a ticket: any offer of ours will do
    offer = ours.offers[0] if ours.offers else ours.secrets[0].offer
    attempt, message = resumption.make_k1(
        ours.myself, ticket, offer, ephemeral=turn.entropy.exchange_key(), now=turn.now
    )
    turn.change(live=replace(turn.live, resuming=attempt))
    _send_handshake(turn, encode_message(message), is_first=turn.before.state is State.INIT_READY)


def nudge(turn: Turn) -> None:
    """Say it once more, now that somebody hears it."""
    outgoing = turn.before.outgoing
    if outgoing is not None:
        turn.change(live=replace(turn.live, nudge=(outgoing.since, turn.now, _nudges(turn) + 1)))
        turn.repeat_answer()


def repeat_n2(turn: Turn) -> None:
    """Send the same `n2` again."""
    attempt = _attempt_after_n1(turn)
    if attempt is not None:
        turn.send_payload(attempt.payload)


def accept_n1(turn: Turn) -> None:
    """Answer somebody who may be the peer; a ticket that he does not know is given up only when he has proven it."""
    ours, live = turn.announcements, turn.live
    begun, answer = handshake.read_n1(
        ours.myself, ours.offers, turn.event, ephemeral=turn.entropy.exchange_key(), nonce=turn.token()
    )
    payload = encode_message(answer)
    attempts = list(live.attempts)
    if len(attempts) >= ATTEMPTS:
        attempts.pop(int(turn.entropy.fraction() * len(attempts)))
    attempts.append(Attempt(begun, digest_of(turn.event), payload))
    turn.change(live=replace(live, attempts=tuple(attempts)))
    _send_handshake(turn, payload, is_first=turn.before.state is State.INIT_READY or is_unproven(turn))


def accept_n3(turn: Turn) -> None:
    """The peer has proven who it is, and that it knows who we are: the session begins."""
    attempt = _attempt_before_n3(turn)
    if attempt is None:
        raise PeerError(Reason.NO_SESSION)
    session, peer = attempt.handshake.read_n3(turn.event, turn.now)
    begin_session(turn, session, decide(turn, peer), resumed=False)
    _begin(turn, session)


def accept_k2(turn: Turn) -> None:
    """The ticket is good: the session begins."""
    resuming = turn.live.resuming
    if resuming is None:
        raise PeerError(Reason.NO_SESSION)
    session, peer = resuming.read_k2(turn.event, turn.now)
    begin_session(turn, session, decide_again(turn, peer), resumed=True)
    _begin(turn, session)


def continue_talking(turn: Turn) -> None:
    """Deliver, and send the next request."""
    session, _ = _accept_respond(turn)
    _request(turn, session, [_opening(turn)])


def continue_with_letters(turn: Turn) -> None:
    """Learn what has arrived, and send the next letters; say nothing where none wait, or the peer has no room."""
    session, received = _accept_respond(turn)
    stand = mail.read_receipt(turn, received)
    letters = mail.write_letters(turn, stand) if stand.has_room else []
    if letters:
        turn.change(live=replace(turn.live_after, refusals=0))
        _request(turn, session, letters)
    else:
        mail.pause(turn, stand)


def go_on(turn: Turn) -> None:
    """Send the next letters after a pause."""
    session = running_session(turn)
    _request(turn, session, mail.write_letters(turn, mail.standing(turn)))


def conclude(turn: Turn) -> None:
    """Deliver, and wish to end."""
    session, received = _accept_respond(turn)
    if mail.is_carried(turn):
        mail.read_receipt(turn, received)
    _conclude(turn, session)


def conclude_the_pause(turn: Turn) -> None:
    """Nothing was left to say: wish to end."""
    _conclude(turn, running_session(turn))


def accept_finish(turn: Turn) -> None:
    """Closed, as both sides wish; say so."""
    session, every = running_session(turn), turn.settings.reconnect_every
    receive(turn, session, closes=True)
    reference = turn.event.header.my_ref
    turn.change(
        peer_reference=reference,
        finalize_retry_count=0,
        reconnect_at=None if every is None else turn.now + turn.jittered(every),
        reconnect_tries=0,
    )
    turn.emit(closed(turn, session))
    say_close(turn, session, "close", your_ref=reference, my_ref=turn.before.local_reference)


def accept_closed(turn: Turn) -> None:
    """The peer has heard it: erase the session."""
    if not receive(turn, running_session(turn)).closed:
        raise PeerError(Reason.STATE)
    end_quietly(turn)


def forget_the_attempts(turn: Turn) -> None:
    """Back to ready; what was kept of the peer before stays, for the `n1` may have been anybody's."""
    turn.change(outgoing=None, live=None)


def end_quietly(turn: Turn) -> None:
    """Back to ready; the ticket is kept."""
    turn.change(**CLEARED, live=None)


def give_the_ticket_up(turn: Turn) -> None:
    """Nobody answers: the ticket may be used up at the other end. A full handshake needs no memory."""
    turn.change(**CLEARED, live=None, ticket=None, ticket_used=None)


# ---- parts --------------------------------------------------------------------------------------------------------


def _may_begin(turn: Turn) -> bool:
    if mail.is_carried(turn):
        return turn.facts.wanted
    at, every = turn.before.reconnect_at, turn.settings.reconnect_every
    if at is None:
        return every is not None or turn.before.last_secure_at is None
    # the second test: the clock was set back, and the time written down would never come
    return turn.now >= at or at - turn.now > 2 * max(every or 0.0, *turn.settings.retry_delays)


def _answers_an_offer(turn: Turn) -> bool:
    try:
        own_offer_of(turn.announcements.offers, turn.event.selection)
    except PeerError:
        return False
    return True


def _attempt_after_n1(turn: Turn) -> Attempt | None:
    digest = digest_of(turn.event)
    return next((attempt for attempt in turn.live.attempts if attempt.answers == digest), None)


def _attempt_before_n3(turn: Turn) -> Attempt | None:
    nonce = turn.event.header.your_nonce
    return next((attempt for attempt in turn.live.attempts if attempt.handshake.nonce == nonce), None)


def _nudges(turn: Turn) -> int:
    """How often what we are saying was repeated because the peer was heard again."""
    nudge, outgoing = turn.live.nudge, turn.before.outgoing
    return nudge[2] if nudge is not None and outgoing is not None and nudge[0] == outgoing.since else 0


def _is_silent(turn: Turn) -> bool:
    nudge = turn.live.nudge
    if nudge is None or _nudges(turn) < _NUDGES:
        return False
    return abs(turn.now - nudge[1]) >= _PATIENCE_WITH_THE_SILENT_SECONDS


def _send_handshake(turn: Turn, payload: dict[str, Json], *, is_first: bool) -> None:
    if is_first:
        if turn.before.state is State.INIT_EXCHANGE:
            turn.change(**CLEARED, secret=None)
        turn.start_sending(payload)
    else:  # the timer goes on with what it repeats: what this answers may be a forgery
        turn.send_payload(payload)


def _begin(turn: Turn, session: Session) -> None:
    if not turn.before.is_ready and turn.before.state is not State.INIT_HS:
        turn.emit(GaveUp("the peer began anew"))
    turn.change(peer_nonce=turn.event.header.my_nonce, reconnect_at=None, reconnect_tries=0)
    _request(turn, session, [] if mail.is_carried(turn) else [_opening(turn)])


def _opening(turn: Turn) -> frames.Frame:
    count, peer_id = turn.after.exchange_count + 1, turn.before.peer_id
    return data_frame(turn, lambda: turn.party.dialogue.opening(peer_id, count))


def _is_exhausted(turn: Turn) -> bool:
    session = turn.live.session
    if session is None:
        return False
    return session.is_exhausted(turn.now) or session.next_counter >= GENERATION_MESSAGES - _KEPT_FOR_THE_END


def _conclude(turn: Turn, session: Session) -> None:
    reference = turn.token()
    turn.change(local_reference=reference)
    say_close(turn, session, "conclude", your_nonce=turn.after.peer_nonce, my_ref=reference)


def _request(turn: Turn, session: Session, said: list[frames.Frame]) -> None:
    content, count = list(said), turn.after.exchange_count + 1
    if count == 1:
        content += gossip.news(turn, session, content)
    if session.needs_rekey(turn.now):
        content.append(frames.Frame(frames.REKEY_INIT, session.start_rekey(turn.entropy.exchange_key())))
    nonce, theirs = turn.token(), turn.after.peer_nonce
    turn.change(local_nonce=nonce, exchange_count=count)
    turn.start_sending(send_packet(turn, session, "request", content, your_nonce=theirs, my_nonce=nonce))


def _accept_respond(turn: Turn) -> tuple[Session, Received]:
    session = running_session(turn)
    received = receive(turn, session)
    generation = session.generation
    if received.rekey_resp is not None:
        # a failure concerns this frame only: what else the packet says is authentic
        with contextlib.suppress(PeerError):
            session.finish_rekey(received.rekey_resp, turn.now)
    note_new_keys(turn, session, generation)
    turn.change(peer_nonce=turn.event.header.my_nonce, local_nonce=None)
    mail.require_room(turn, len(received.data))
    mail.hand_over(turn, [message_of(data) for data in received.data])
    return session, received

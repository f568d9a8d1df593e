"""The responder's guards and actions, in the order of the table."""

import contextlib
import hashlib
from dataclasses import replace

from handfast.conversation import gossip
from handfast.conversation.effects import GaveUp, Send
from handfast.conversation.live import CONSUMED, HALVES, Consumed, Farewell, Half, Live
from handfast.conversation.model import State
from handfast.conversation.packets import Received, closed, data_frame, receive, send_packet
from handfast.conversation.shared import gap_has_passed
from handfast.conversation.turn import Turn
from handfast.conversation.v2 import mail
from handfast.conversation.v2.parts import (
    CLEARED,
    begin_session,
    decide,
    decide_again,
    forget,
    is_a_repeat,
    is_new,
    matches_both_references,
    note_new_keys,
    running_session,
    say_close,
)
from handfast.errors import PeerError, Reason
from handfast.session.v2 import responder as handshake
from handfast.session.v2 import resumption
from handfast.session.v2.session import Session
from handfast.wire.text import Json
from handfast.wire.v2 import frames
from handfast.wire.v2.messages import digest_of, encode_message

# The initiator drives: it repeats what was lost. One that says nothing for so long has gone.
_IDLE_SECONDS = 600.0
# What the initiator sent while its session was good may arrive so much later.
_LATE_SECONDS = 30.0


# ---- guards -------------------------------------------------------------------------------------------------------


def greets_strangers(turn: Turn) -> bool:
    """Whether an offer is answered in `resp_ready`."""
    if turn.before.ticket is None or turn.before.ticket_used is not None:
        return True
    # the peer has a ticket, too, and will show it; one that does not for long has lost its memory
    heard = turn.before.last_secure_at
    return heard is None or abs(turn.now - heard) > turn.settings.lost_memory_after


def has_fallen_silent(turn: Turn) -> bool:
    """Whether the peer had time to repeat all it could, and did not: its process is another one."""
    heard = turn.before.last_secure_at
    return heard is None or abs(turn.now - heard) > sum(turn.settings.retry_delays)


def uses_a_consumed_nonce(turn: Turn) -> bool:
    """Whether the `n2` names a nonce that was used up."""
    return _consumed(turn) is not None


def carries_our_nonce(turn: Turn) -> bool:
    """Whether the nonce in `n2` is one that we made; costs two hashes and no curve operation."""
    return handshake.nonce_matches(turn.announcements.secrets, turn.event)


def repeats_the_k1(turn: Turn) -> bool:
    """Whether this `k1` was answered, and the session waits for its first packet."""
    return _resumed_half(turn) is not None and turn.before.ticket_used == digest_of(turn.event)


def shows_our_ticket(turn: Turn) -> bool:
    """Whether a good ticket is shown."""
    ticket, shown = turn.before.ticket, turn.event
    if ticket is None or turn.before.ticket_used is not None or turn.now >= ticket.expires_at:
        return False
    return (ticket.ticket_id, ticket.generation) == (shown.ticket, shown.generation)


def confirms_the_half(turn: Turn) -> bool:
    """Whether the packet is under the keys of a session that waits for its first one."""
    return _half_of_the_packet(turn) is not None


def concludes_again(turn: Turn) -> bool:
    """Whether our `finish` was lost."""
    is_same = turn.event.header.my_ref == turn.before.peer_reference
    return is_same and is_a_repeat(turn) and turn.before.outgoing is not None and gap_has_passed(turn)


def closes(turn: Turn) -> bool:
    """Whether the peer closes."""
    return matches_both_references(turn) and is_new(turn)


def closes_before_another(turn: Turn) -> bool:
    """Whether the peer closes, and a half-open session waits already."""
    return closes(turn) and turn.live.halves != ()


def closes_again(turn: Turn) -> bool:
    """Whether our last word was lost."""
    farewell = turn.live.farewell
    is_same = farewell is not None and farewell.digest == _packet_digest(turn)
    return is_same and gap_has_passed(turn)


def waits_to_answer(turn: Turn) -> bool:
    """Whether the answer was not sent yet, for the audience's sake."""
    return turn.before.outgoing is not None and turn.before.outgoing.sends == 0


# ---- actions ------------------------------------------------------------------------------------------------------


def greet(turn: Turn) -> None:
    """Answer an offer, or a ticket that is good for nothing, with an `n1` of which we keep nothing."""
    ours, event = turn.announcements, turn.event
    answer = handshake.make_n1(ours.secrets[0], ours.myself, event.sender, event.offer)
    # not `send_payload`: anybody can ask for this, and must not delay what is repeated for the peer
    turn.emit(Send(encode_message(answer)))


def repeat_n3(turn: Turn) -> None:
    """Send the same `n3` again for the same `n2`; a nonce is good for one."""
    consumed = _consumed(turn)
    if consumed is None or consumed.digest != digest_of(turn.event):
        raise PeerError(Reason.NONCE_USED)
    if gap_has_passed(turn):
        turn.send_payload(consumed.payload)


def accept_n2(turn: Turn) -> None:
    """The peer has proven who it is: keep the session until its first packet, and answer."""
    ours, live = turn.announcements, turn.live
    before = live.fresh_consumed(ours)
    if len(before) >= CONSUMED:
        raise PeerError(Reason.QUOTA)
    accepted = handshake.read_n2(ours.secrets, ours.myself, turn.event, nonce=turn.token(), now=turn.now)
    decide(turn, accepted.peer)
    payload = encode_message(accepted.reply)
    nonce = turn.event.header.your_nonce or ""
    consumed = Consumed(nonce, digest_of(turn.event), payload, ours.secrets[0].offer)
    half = Half(accepted.session, accepted.peer, resumed=False, payload=payload)
    turn.change(live=replace(live, halves=_with(live, half), consumed=(*before, consumed)))
    _answer_handshake(turn, payload)


def repeat_k2(turn: Turn) -> None:
    """Send the same `k2` again."""
    half = _resumed_half(turn)
    if half is not None and gap_has_passed(turn):
        turn.send_payload(half.payload)


def accept_k1(turn: Turn) -> None:
    """Resume: the ticket is used up by this very message, which is committed before the answer leaves."""
    ticket = turn.before.ticket
    if ticket is None:
        raise PeerError(Reason.NO_SESSION)
    resumed = resumption.read_k1(
        turn.announcements.myself,
        ticket,
        turn.event,
        ephemeral=turn.entropy.exchange_key(),
        nonce=turn.token(),
        now=turn.now,
    )
    decide_again(turn, resumed.peer)
    half = Half(resumed.session, resumed.peer, resumed=True, payload=encode_message(resumed.reply))
    turn.change(live=replace(turn.live, halves=_with(turn.live, half)), ticket_used=digest_of(turn.event))
    _answer_handshake(turn, half.payload)


def open_first_packet(turn: Turn) -> None:
    """Key confirmation: only now does the new session replace an older one."""
    half = _half_of_the_packet(turn)
    if half is None:
        raise PeerError(Reason.NO_SESSION)
    session = half.session.copy()
    # asked again: since the handshake the peer may have been revoked, or met under another key
    decision = decide_again(turn, half.peer) if half.resumed else decide(turn, half.peer)
    begin_session(turn, session, decision, resumed=half.resumed)
    received = receive(turn, session)
    # what confirms this one may have been on its way for long: the peer may have begun anew since
    later = turn.live.halves[turn.live.halves.index(half) + 1 :]
    turn.change(live=replace(turn.live_after, halves=later), exchange_count=1)
    _respond(turn, session, received)


def accept_request(turn: Turn) -> None:
    """Deliver, and answer."""
    session, received = _receive(turn)
    if session.is_exhausted(turn.now - _LATE_SECONDS):
        raise PeerError(Reason.EXPIRED)
    turn.change(exchange_count=turn.before.exchange_count + 1)
    _respond(turn, session, received)


def accept_conclude(turn: Turn) -> None:
    """The initiator wishes to end; so do we, if both remember the same conversation."""
    session, _ = _receive(turn, closes=True)
    reference, theirs = turn.token(), turn.event.header.my_ref
    turn.change(
        local_reference=reference,
        peer_reference=theirs,
        local_nonce=None,
        exchange_count=0,
        finalize_retry_count=0,
    )
    say_close(turn, session, "finish", your_ref=theirs, my_ref=reference)


def accept_close(turn: Turn) -> None:
    """Closed: erase the session, and keep our last word for a peer that asks again."""
    session, before = running_session(turn), turn.before
    receive(turn, session, closes=True)
    last = [frames.Frame(frames.CLOSED)]
    turn.emit(closed(turn, session))
    payload = send_packet(
        turn, session, "finish", last, your_ref=before.peer_reference, my_ref=before.local_reference
    )
    farewell = Farewell(_packet_digest(turn), payload)
    consumed, halves = turn.live.fresh_consumed(turn.facts.announcements), turn.live.halves
    turn.change(**CLEARED, live=Live(halves=halves, consumed=consumed, farewell=farewell))
    turn.send_payload(payload)
    if halves:  # the peer has begun anew: this `close` was on its way for long
        turn.start_sending(halves[-1].payload)


def say_farewell_again(turn: Turn) -> None:
    """Send our last word again."""
    if turn.live.farewell is not None:
        turn.send_payload(turn.live.farewell.payload)


def send_the_answer(turn: Turn) -> None:
    """Send what waited for the audience's sake."""
    turn.send_outgoing(_IDLE_SECONDS)


def forget_the_idle(turn: Turn) -> None:
    """The initiator has gone without a word."""
    forget(turn)
    turn.emit(GaveUp("idle"))


# ---- parts --------------------------------------------------------------------------------------------------------


def _consumed(turn: Turn) -> Consumed | None:
    nonce = turn.event.header.your_nonce
    return next((entry for entry in turn.live.consumed if entry.nonce == nonce), None)


def _half_of_the_packet(turn: Turn) -> Half | None:
    return next((half for half in turn.live.halves if half.session.has(turn.event.packet)), None)


def _resumed_half(turn: Turn) -> Half | None:
    return next((half for half in turn.live.halves if half.resumed), None)


def _with(live: Live, half: Half) -> tuple[Half, ...]:
    return (*live.halves, half)[-HALVES:]


def _packet_digest(turn: Turn) -> bytes:
    return hashlib.sha256(turn.event.packet).digest()


def _answer_handshake(turn: Turn, payload: dict[str, Json]) -> None:
    if turn.before.state in (State.RESP_READY, State.RESP_CONFIRM, State.RESP_HALF):
        turn.change(**CLEARED, secret=None)
        turn.start_sending(payload)
    else:  # the conversation before it goes on until the new session is confirmed; the peer repeats what it misses
        turn.send_payload(payload)


def _receive(turn: Turn, *, closes: bool = False) -> tuple[Session, Received]:
    session = running_session(turn)
    generation = session.generation
    received = receive(turn, session, closes=closes)
    note_new_keys(turn, session, generation)  # the peer has shown that it has them
    return session, received


def _respond(turn: Turn, session: Session, received: Received) -> None:
    messages, answer = mail.accept(turn, received)
    mail.hand_over(turn, messages)
    peer_id = turn.before.peer_id
    if messages and not mail.is_carried(turn):
        answer.append(data_frame(turn, lambda: turn.party.dialogue.reply(peer_id, messages[-1])))
    if turn.after.exchange_count == 1:
        answer += gossip.news(turn, session, answer)
    if received.rekey_init is not None:
        with contextlib.suppress(
            PeerError
        ):  # it concerns this frame only: what else the packet says is authentic
            body = session.answer_rekey(received.rekey_init, turn.entropy.exchange_key(), turn.now)
            answer.append(frames.Frame(frames.REKEY_RESP, body))
    nonce, theirs = turn.token(), turn.event.header.my_nonce
    turn.change(peer_nonce=theirs, local_nonce=nonce)
    payload = send_packet(turn, session, "respond", answer, your_nonce=theirs, my_nonce=nonce)
    turn.start_sending(payload, _IDLE_SECONDS)

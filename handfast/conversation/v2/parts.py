"""What both roles of the version 2 conversation share: guards, trust, opening a session, giving up."""

from dataclasses import replace

from handfast.conversation import gossip
from handfast.conversation.effects import GaveUp, PinPeer, Rekeyed, SessionOpened
from handfast.conversation.live import Live
from handfast.conversation.packets import close_frame, send_packet
from handfast.conversation.shared import gap_has_passed
from handfast.conversation.turn import Turn
from handfast.errors import PeerError, Reason
from handfast.session.v2.parties import Peer
from handfast.session.v2.resumption import Ticket
from handfast.session.v2.session import Session
from handfast.session.v2.transcript import Transcript
from handfast.trust import decision as trust
from handfast.wire.text import b64encode

CLEARED = {
    "local_nonce": None,
    "peer_nonce": None,
    "local_reference": None,
    "peer_reference": None,
    "exchange_count": 0,
    "finalize_retry_count": 0,
    "outgoing": None,
}


# ---- guards -------------------------------------------------------------------------------------------------------


def talks_to_the_revoked(turn: Turn) -> bool:
    """Whether the peer of the running session is revoked; whoever shows a dead key in its name may be somebody else."""
    live = turn.live
    return live.session is not None and live.pin is not None and turn.book.is_revoked(live.pin)


def is_new(turn: Turn) -> bool:
    """Whether the packet is of the running session and was not opened before."""
    session, packet = turn.live.session, turn.event.packet
    return session is not None and session.has(packet) and not session.is_repeat(packet)


def is_a_repeat(turn: Turn) -> bool:
    """Whether the packet is of the running session and was opened before."""
    session, packet = turn.live.session, turn.event.packet
    return session is not None and session.has(packet) and session.is_repeat(packet)


def echoes_our_nonce(turn: Turn) -> bool:
    """Whether a new packet answers what we said last; a nonce that is absent never matches."""
    expected = turn.before.local_nonce
    return expected is not None and turn.event.header.your_nonce == expected and is_new(turn)


def asks_again(turn: Turn) -> bool:
    """Whether the peer repeats what we answered last."""
    nonce = turn.before.peer_nonce
    is_last = nonce is not None and turn.event.header.my_nonce == nonce
    outgoing = turn.before.outgoing
    has_answer = outgoing is not None and not outgoing.is_pause
    return is_last and is_a_repeat(turn) and has_answer and gap_has_passed(turn)


def matches_both_references(turn: Turn) -> bool:
    """Whether the message names both references of the conversation that is ending."""
    header, ours, theirs = turn.event.header, turn.before.local_reference, turn.before.peer_reference
    return ours is not None and theirs is not None and (header.your_ref, header.my_ref) == (ours, theirs)


def tries_are_left(turn: Turn) -> bool:
    """Whether what is being sent may be sent once more."""
    outgoing = turn.before.outgoing
    return outgoing is not None and outgoing.sends < len(turn.settings.retry_delays)


# ---- actions ------------------------------------------------------------------------------------------------------


def give_up(turn: Turn) -> None:
    """Forget the conversation; a ticket of its session is kept."""
    forget(turn)
    turn.emit(GaveUp("no answer"))


def start_afresh(turn: Turn) -> None:
    """The process is new: its sessions are gone, their tickets are not."""
    forget(turn)
    turn.emit(GaveUp("restarted"))


def drop_the_revoked(turn: Turn) -> None:
    """End the session with a peer that is not to be believed any more, whatever it has just said (section 10.3)."""
    forget(turn)
    turn.change(ticket=None, ticket_used=None)
    turn.emit(GaveUp("revoked"))


def forget(turn: Turn) -> None:
    """Back to ready without a word; used nonces are remembered as long as they could be used again."""
    consumed = turn.live.fresh_consumed(turn.facts.announcements)
    turn.change(**CLEARED, live=Live(consumed=consumed) if consumed else None)


# ---- parts of actions ---------------------------------------------------------------------------------------------


def running_session(turn: Turn) -> Session:
    """A copy to work on, which is the next state's; a step that fails leaves the one before untouched."""
    if turn.live.session is None or turn.live.pin is None:
        raise PeerError(Reason.NO_SESSION)
    if turn.book.is_revoked(turn.live.pin):
        raise PeerError(Reason.REVOKED)
    session = turn.live.session.copy()
    turn.change(live=replace(turn.live, session=session))
    return session


def decide(turn: Turn, peer: Peer) -> trust.Decision:
    """What trust says about the peer of a full handshake.

    Raises:
        PeerError: it must not be talked to.
    """
    identity = turn.party.identity
    proven = trust.examine(peer.agent_id, peer.identity_key, peer.rotations, peer.certificate)
    own = {identity.identity_key.public, identity.signing_key.public}
    return trust.decide(proven, turn.book.about(proven), turn.party.policy, own_keys=own, now=turn.now)


def decide_again(turn: Turn, peer: Peer) -> trust.Decision:
    """What trust says today about the peer of a resumed session.

    Raises:
        PeerError: it must not be talked to any more.
    """
    pin = turn.book.pin_of(peer.agent_id)
    is_revoked = pin is not None and turn.book.is_revoked(pin)
    return trust.decide_again(
        peer.agent_id,
        peer.identity_key,
        pin,
        is_revoked=is_revoked,
        policy=turn.party.policy,
        now=turn.now,
    )


def begin_session(turn: Turn, session: Session, decision: trust.Decision, *, resumed: bool) -> None:
    """Put a confirmed session in the place of whatever was before it."""
    turn.change(
        **CLEARED,
        version=2,
        secret=None,
        waiting_since=None,
        peer_sign_pub=b64encode(session.peer.identity_key),
        peer_kx_pub=b64encode(session.peer.static_key),
        pin_pending=False,
        hs_derived_at=turn.now,
        ticket=Ticket.of(session),
        ticket_used=None,
        live=Live(
            session=session,
            pin=decision.pin,
            transcript=Transcript.start(session.session_id),
            consumed=turn.live.fresh_consumed(turn.facts.announcements),
            security=str(decision.security),
        ),
    )
    opened = SessionOpened(2, str(decision.security), session.suite.name, resumed)
    turn.emit(PinPeer(decision), opened)


def note_new_keys(turn: Turn, session: Session, before: int) -> None:
    """A ticket of the keys that were agreed on since generation `before`, if there are any."""
    if session.generation != before:
        turn.change(ticket=Ticket.of(session), ticket_used=None)
        turn.emit(Rekeyed(session.generation))


def say_close(turn: Turn, session: Session, intent: str, **members: str | None) -> None:
    """Start sending a message of the closing, with what we remember of the conversation."""
    content = [close_frame(turn), *gossip.witness(turn)]
    turn.start_sending(send_packet(turn, session, intent, content, **members))

"""What a turn of version 2 puts into packets and takes out of them: DATA, rekeying, and the closing of a conversation.

Every delivered DATA frame goes into the conversation's transcript on both sides, in the order of the exchanges
(v2-handshake.md, section 8.3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from handfast.conversation import gossip
from handfast.conversation.effects import Closed
from handfast.conversation.live import Live
from handfast.conversation.model import PeerState, Role
from handfast.conversation.turn import Turn
from handfast.errors import PeerError, Reason, UsageError
from handfast.session.v2.session import Session
from handfast.session.v2.transcript import Transcript
from handfast.wire import limits
from handfast.wire.text import EncodingError, Json, canonical_json, strict_json
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Close, Frame
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import Packet, encode_message, packet_counter


@dataclass(frozen=True, slots=True)
class Received:
    """What one packet held.

    Attributes:
        data: the objects of its DATA frames, each with a member `message`.
        rekey_init, rekey_resp: the bodies of these frames.
        receipt: the body of this frame.
        closed: whether the peer has closed the conversation.
    """

    data: tuple[dict[str, Json], ...] = ()
    rekey_init: bytes | None = None
    rekey_resp: bytes | None = None
    receipt: bytes | None = None
    closed: bool = False


def receive(turn: Turn, session: Session, *, closes: bool = False) -> Received:
    """Open the packet of this turn and read its frames.

    Args:
        turn: its state after gets the transcript with what was delivered.
        session: a copy to work on.
        closes: whether a CLOSE frame must be there, which must agree with our transcript.

    Raises:
        PeerError: the packet does not open, holds something else, or remembers another conversation.
    """
    header, packet = turn.event.header, turn.event.packet
    content = frames.parse_frames(session.open(header.encoded(), packet, turn.now))
    said = [frame.body for frame in content if frame.type == frames.DATA]
    bodies = {frame.type: frame.body for frame in content}  # of these types one counts, the last
    closings = [Close.parse(frame.body) for frame in content if frame.type == frames.CLOSE]
    close = closings[-1] if closings else None
    if closes and (close is None or said):
        raise PeerError(Reason.FORMAT, "no CLOSE frame")
    received = Received(
        data=tuple(_read_data(body) for body in said),
        rekey_init=bodies.get(frames.REKEY_INIT),
        rekey_resp=bodies.get(frames.REKEY_RESP),
        receipt=bodies.get(frames.RECEIPT),
        closed=frames.CLOSED in bodies,
    )
    transcript, by_initiator = _transcript(turn), turn.before.role is Role.RESPONDER
    for body in said:
        transcript = transcript.add(packet_counter(packet), body, by_initiator=by_initiator)
    if close is not None:
        transcript.require_agreement(close)
    for frame in content:
        if frame.type in (frames.WITNESS, frames.CRL):
            gossip.take(turn, session, frame)
    turn.change(live=replace(turn.live_after, transcript=transcript), last_secure_at=turn.now)
    return received


def require_genuine(before: PeerState, event: Packet, now: float) -> None:
    """Nothing, where the packet opens under the keys that it names; costs some microseconds and asks no store.

    Anybody can copy the name of a key. A packet that does not open now will not do so later, whatever happens meanwhile.

    Args:
        before: the state of a pair; a row of the table fires for the packet.
        event: the packet.
        now: seconds since 1970 UTC.

    Raises:
        PeerError: as `Session.open`.
    """
    live = before.live or Live()
    for session in (live.session, *(half.session for half in live.halves)):
        if session is not None and session.has(event.packet):
            session.copy().open(event.header.encoded(), event.packet, now)


def send_packet(
    turn: Turn, session: Session, intent: str, content: Iterable[Frame], **members: str | None
) -> dict[str, Json]:
    """A sealed message, as it is handed to the sender.

    Args:
        turn: its state after gets the transcript with what is said.
        session: a copy to work on.
        intent: of the message.
        content: its frames.
        members: nonces and references of its header.

    Raises:
        PeerError: the message does not fit into a line, or the keys are used up.
    """
    content = list(content)
    header = Header(turn.before.self_id, turn.before.peer_id, intent, **members)
    # what does not fit into a line is the dialogue's failure
    plaintext = turn.ask(lambda: frames.encode_frames(content))
    if session.next_counter >= limits.GENERATION_MESSAGES:
        raise PeerError(Reason.EXPIRED)
    packet = session.seal(header.encoded(), plaintext)
    transcript = _transcript(turn)
    for frame in content:
        if frame.type == frames.DATA:
            by_initiator = turn.before.role is Role.INITIATOR
            transcript = transcript.add(packet_counter(packet), frame.body, by_initiator=by_initiator)
    turn.change(live=replace(turn.live_after, transcript=transcript))
    return encode_message(Packet(header, packet))


def close_frame(turn: Turn) -> Frame:
    """The CLOSE frame that says what was said."""
    return Frame(frames.CLOSE, _transcript(turn).close(frames.CLOSE_NORMAL).encode())


def closed(turn: Turn, session: Session) -> Closed:
    """What is noted of a conversation that ended well."""
    transcript = _transcript(turn)
    return Closed(transcript.count, session.audit_digest(transcript.digest).hex())


def data_frame(turn: Turn, question: Callable[[], Json]) -> Frame:
    """A DATA frame with what the user's dialogue says.

    Raises:
        PeerError: the dialogue failed, or what it says is not JSON or too large.
    """
    return Frame(frames.DATA, turn.ask(lambda: _data(question())))


def _data(message: Json) -> bytes:
    body = canonical_json({"message": message})
    if len(body) > limits.DATA_BYTES:
        raise UsageError(f"the message is too large: {len(body)} bytes, at most {limits.DATA_BYTES} fit")
    return body


def message_of(data: dict[str, Json]) -> Json:
    """What a DATA frame says."""
    return data["message"]


def _transcript(turn: Turn) -> Transcript:
    transcript = turn.live_after.transcript
    if transcript is None:
        raise PeerError(Reason.NO_SESSION)
    return transcript


def _read_data(body: bytes) -> dict[str, Json]:
    try:
        value = strict_json(body)
    except EncodingError:
        raise PeerError(Reason.FORMAT, "DATA is not JSON") from None
    if not isinstance(value, dict) or "message" not in value:
        raise PeerError(Reason.FORMAT, "DATA holds no message")
    return value

"""What a turn of version 2 puts into packets and takes out of them: DATA, rekeying, and the closing of a conversation.

Every delivered DATA frame goes into the conversation's transcript on both sides, in the order of the exchanges
(v2-handshake.md, section 8.3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from handfast.conversation import gossip
from handfast.conversation.model import Closed, Role
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
    received = Received()
    transcript, close = _transcript(turn), None
    for frame in frames.parse_frames(session.open(header.encoded(), packet, turn.now)):
        match frame.type:
            case frames.DATA:
                received = replace(received, data=(*received.data, _read_data(frame.body)))
                by_initiator = turn.before.role is Role.RESPONDER
                transcript = transcript.add(packet_counter(packet), frame.body, by_initiator=by_initiator)
            case frames.REKEY_INIT:
                received = replace(received, rekey_init=frame.body)
            case frames.REKEY_RESP:
                received = replace(received, rekey_resp=frame.body)
            case frames.RECEIPT:
                received = replace(received, receipt=frame.body)
            case frames.CLOSE:
                close = Close.parse(frame.body)
            case frames.WITNESS | frames.CRL:
                gossip.take(turn, session, frame)
            case frames.CLOSED:
                received = replace(received, closed=True)
            case _:
                pass
    if closes and (close is None or received.data):
        raise PeerError(Reason.FORMAT, "no CLOSE frame")
    if close is not None:
        transcript.require_agreement(close)
    turn.change(live=replace(turn.live_after, transcript=transcript), last_secure_at=turn.now)
    return received


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

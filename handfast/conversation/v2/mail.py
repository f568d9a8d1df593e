"""Letters in packets: what a request carries of the mailbox, what a respond says of it, and the pause when all is said.

Only requests carry letters, so their order is given. A letter is a DATA frame with two members beside `message`: `n`, its
number, and `s`, the stream's name; a RECEIPT frame in the respond says how far the receiver has come. A peer that has lost
its database begins another stream. The first request of a session carries no letters: whoever writes in an old copy of its
database, which only a new process and so a new session can, learns by the answer that the receiver has more of its stream
than it ever wrote, before any new letter is taken for one of those (docs/api.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from handfast.conversation.effects import Delivered, Paused
from handfast.conversation.model import Outgoing
from handfast.conversation.packets import Received, message_of
from handfast.conversation.turn import Turn
from handfast.errors import PeerError, Reason
from handfast.mail import (
    STREAM_BYTES,
    Arrived,
    Letter,
    LettersDelivered,
    LettersGivenUp,
    LettersSent,
    Mailbox,
    Marks,
    Receipt,
    StreamLost,
    Took,
)
from handfast.wire.text import EncodingError, Json, b64url_decode, b64url_encode
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame

# A peer whose inbox is full is asked again after a quarter of a second, then after twice that, and so on up to this.
_FIRST_WAIT_FOR_ROOM_SECONDS = 0.25
_LONGEST_WAIT_FOR_ROOM_SECONDS = 32.0

_NUMBERS = range(1, 2**53)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where our letters stand.

    Attributes:
        marks: as they will be after this step.
        done: no letter up to this number is to be sent any more.
        delivered: what this step has found to be there.
        has_room: whether the peer took all that it was sent.
    """

    marks: Marks
    done: int = 0
    delivered: tuple[int, ...] = ()
    has_room: bool = True


def is_carried(turn: Turn) -> bool:
    """Whether our conversations carry letters."""
    return turn.party.mail


def standing(turn: Turn) -> Standing:
    """After a pause: what was sent in earlier conversations may or may not be there."""
    return Standing(_mailbox(turn).marks(turn.before.peer_id))


def read_receipt(turn: Turn, received: Received) -> Standing:
    """Learn from an answer what became of the letters in the request."""
    marks, carried = _mailbox(turn).marks(turn.before.peer_id), turn.live.carried
    receipt = None if received.receipt is None else Receipt.parse(received.receipt)
    if receipt is not None and (up_to := _lost_up_to(marks, receipt, carried)):
        stream = turn.entropy.octets(STREAM_BYTES)
        turn.emit(StreamLost(stream, up_to))
        return Standing(replace(marks, stream=stream, sent=0), done=up_to)
    if receipt is None or receipt.stream != marks.stream:
        return Standing(marks, has_room=not carried)
    delivered = tuple(number for number in carried if number <= receipt.taken)
    if delivered:
        turn.emit(LettersDelivered(delivered))
    return Standing(marks, max(delivered, default=0), delivered, has_room=delivered == carried)


def write_letters(turn: Turn, stand: Standing) -> list[Frame]:
    """The next letters for the peer, as frames of a request."""
    marks, box, peer_id = stand.marks, _mailbox(turn), turn.before.peer_id
    # what is passed over now must not follow later: the peer would take it for a repetition
    overdue = [number for number in box.overdue(peer_id, turn.now) if number not in stand.delivered]
    if overdue:
        expired, unknown = _split(overdue, marks.sent)
        turn.emit(LettersGivenUp(expired, unknown))
    letters = box.letters(peer_id, turn.now, stand.done)
    carried = tuple(letter.number for letter in letters)
    turn.change(live=replace(turn.live_after, carried=carried))
    if letters and letters[-1].number > marks.sent:
        turn.emit(LettersSent(letters[-1].number))
    return [_frame(marks.stream, letter) for letter in letters]


def pause(turn: Turn, stand: Standing) -> None:
    """Say nothing for a while."""
    if stand.has_room:
        seconds, refusals = turn.settings.linger, 0
        turn.emit(Paused(stand.marks.posted))
    else:
        refusals = turn.live.refusals
        seconds = min(_FIRST_WAIT_FOR_ROOM_SECONDS * 2**refusals, _LONGEST_WAIT_FOR_ROOM_SECONDS)
        refusals += 1
    turn.change(
        live=replace(turn.live_after, carried=(), refusals=refusals),
        outgoing=Outgoing({}, sends=0, due_at=turn.now + turn.jittered(seconds), since=turn.now),
    )


def accept(turn: Turn, received: Received) -> tuple[list[Json], list[Frame]]:
    """Deliver what a request says, each letter once.

    Returns:
        What is new in it, and a RECEIPT, if the peer has ever written letters.

    Raises:
        PeerError: with FORMAT, the numbers make no sense; with QUOTA, there is no room for a message without one.
    """
    messages: list[Json] = []
    numbered = [_numbers_of(data) for data in received.data]
    streams = {stream for stream, _ in filter(None, numbered)}
    peer_id, box = turn.before.peer_id, _mailbox(turn)
    marks = box.marks(peer_id)
    if not streams:
        require_room(turn, len(received.data))
        return [message_of(data) for data in received.data], _receipt(marks.their_stream, marks.taken)
    if len(streams) > 1:
        raise PeerError(Reason.FORMAT, "two streams of letters")
    stream = streams.pop()
    taken = marks.taken if marks.their_stream == stream else 0
    room = box.room(peer_id) if is_carried(turn) else len(numbered)
    last = 0
    for data, place in zip(received.data, numbered, strict=True):
        if place is None or place[1] <= last:
            raise PeerError(Reason.FORMAT, "letters without an order")
        last = place[1]
        if last > taken and len(messages) < room:
            messages.append(message_of(data))
            taken = last
        elif last > taken:
            break
    if messages:
        turn.emit(Took(stream, taken))
    return messages, _receipt(stream, taken)


def hand_over(turn: Turn, messages: Iterable[Json]) -> None:
    """To the application; by way of the inbox, where there is one."""
    for message in messages:
        turn.emit(Delivered(message))
        if is_carried(turn):
            turn.emit(Arrived(message, turn.live_after.security))


def require_room(turn: Turn, messages: int) -> None:
    """Refuse messages without a number that the inbox has no room for.

    Raises:
        PeerError: with QUOTA.
    """
    if is_carried(turn) and messages and _mailbox(turn).room(turn.before.peer_id) < messages:
        raise PeerError(Reason.QUOTA)


def _mailbox(turn: Turn) -> Mailbox:
    if turn.facts.mail is None:
        raise PeerError(Reason.POLICY)
    return turn.facts.mail


def _split(numbers: list[int], sent: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(n for n in numbers if n > sent), tuple(n for n in numbers if n <= sent)


def _lost_up_to(marks: Marks, receipt: Receipt, carried: tuple[int, ...]) -> int:
    """The highest number that a former self of ours may have used for a letter that the peer has; 0: there was none."""
    if receipt.stream == marks.stream:
        return min(receipt.taken, marks.posted) if receipt.taken > marks.sent else 0
    # after ours the peer was written another stream; before ours is what it shows to one who has lost her database
    return marks.posted if marks.sent and not carried else 0


def _receipt(stream: bytes, taken: int) -> list[Frame]:
    return [Frame(frames.RECEIPT, Receipt(stream, taken).encode())] if stream else []


def _frame(stream: bytes, letter: Letter) -> Frame:
    # canonical JSON, of a part that is canonical already
    end = f',"n":{letter.number},"s":"{b64url_encode(stream)}"}}'
    return Frame(frames.DATA, b'{"message":' + letter.body + end.encode())


def _numbers_of(data: dict[str, Json]) -> tuple[bytes, int] | None:
    if "n" not in data and "s" not in data:
        return None
    number, stream = data.get("n"), data.get("s")
    if type(number) is not int or number not in _NUMBERS or not isinstance(stream, str):
        raise PeerError(Reason.FORMAT, "a letter without a number")
    try:
        return b64url_decode(stream, STREAM_BYTES), number
    except EncodingError:
        raise PeerError(Reason.FORMAT, "a letter without a number") from None

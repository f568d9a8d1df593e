"""What peers tell each other beside the conversation: the end of their audit logs, and revocation lists.

A witness makes it visible that somebody cut off the end of a log (v2-handshake.md, section 12); a list that one peer has
spreads to all (section 10.3). Neither is believed for the peer's sake: the one is signed by its key, the other by a
controller's.
"""

from collections.abc import Iterable

from handfast.audit import SignedHead
from handfast.conversation.effects import Learned, Witnessed
from handfast.conversation.turn import Turn
from handfast.errors import PeerError, Reason
from handfast.session.v2.session import Session
from handfast.wire import limits
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame

_WITNESS_BYTES = 8 + 32 + 64
# A longer list goes by file: it would take the place of what is said.
_LIST_BYTES = 8 * 1024


def witness(turn: Turn) -> list[Frame]:
    """The end of our audit log, for the peer to keep; nothing where nothing is signed yet."""
    head = turn.book.signed_head()
    if head is None:
        return []
    body = head.seq.to_bytes(8, "big") + bytes.fromhex(head.digest) + head.signature
    return [Frame(frames.WITNESS, body)]


def news(turn: Turn, session: Session, content: Iterable[Frame]) -> list[Frame]:
    """Our revocation list, for a peer that has an older one, where there is room beside `content`."""
    newest, known = turn.book.newest_crl(), session.peer.crl_sequence or 0
    if newest is None or newest[0] <= known:
        return []
    if len(newest[1]) > _LIST_BYTES or sum(len(frame.body) for frame in content) > limits.DATA_BYTES // 2:
        return []
    return [Frame(frames.CRL, newest[1])]


def take(turn: Turn, session: Session, frame: Frame) -> None:
    """Keep what a WITNESS or a CRL frame says; whether a list is to be believed, the store finds out.

    Raises:
        PeerError: `format`, the end of the peer's log is not signed by the peer.
    """
    if frame.type == frames.CRL:
        turn.emit(Learned(frame.body))
        return
    body, key = frame.body, session.peer.identity_key
    if len(body) != _WITNESS_BYTES:
        raise PeerError(Reason.FORMAT, "a WITNESS frame")
    head = SignedHead(int.from_bytes(body[:8], "big"), body[8:40].hex(), key, body[40:])
    if not head.holds():
        raise PeerError(Reason.FORMAT, "a WITNESS frame")
    turn.emit(Witnessed(head))

"""What was said in one conversation, as one digest that both sides can compare (v2-handshake.md, section 8.3)."""

import hashlib
from dataclasses import dataclass

from handfast.crypto import labels
from handfast.errors import PeerError, Reason
from handfast.wire.v2.frames import Close


@dataclass(frozen=True, slots=True)
class Transcript:
    """The delivered messages of a conversation, in order.

    Attributes:
        count: how many.
        digest: over all of them, 32 bytes.
    """

    count: int
    digest: bytes

    @classmethod
    def start(cls, session_id: bytes) -> "Transcript":
        """Of a conversation in which nothing was said yet."""
        return cls(0, hashlib.sha256(labels.V2_TRANSCRIPT + session_id).digest())

    def add(self, counter: int, data: bytes, *, by_initiator: bool) -> "Transcript":
        """With one more message.

        Args:
            counter: of its packet.
            data: the body of its DATA frame.
            by_initiator: whether the conversation's initiator sent it.
        """
        direction = b"\0" if by_initiator else b"\1"
        said = b"".join((self.digest, direction, counter.to_bytes(8, "big"), hashlib.sha256(data).digest()))
        return Transcript(self.count + 1, hashlib.sha256(said).digest())

    def close(self, code: int) -> Close:
        """What a CLOSE frame says about it."""
        return Close(code, self.count, self.digest)

    def require_agreement(self, close: Close) -> None:
        """Refuse a peer that remembers another conversation.

        Raises:
            PeerError: with TRANSCRIPT.
        """
        if (close.count, close.transcript) != (self.count, self.digest):
            raise PeerError(Reason.TRANSCRIPT)

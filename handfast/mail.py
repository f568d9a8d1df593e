"""Application messages on their way: what a mailbox keeps, until what became of each is known (docs/api.md).

Letters for a peer are numbered in a stream; the receiver keeps the highest number that it took, drops what is not higher,
and says in a RECEIPT how far it has come. So a letter is sent again, after any loss, until it is known to be there, and is
taken once. Nothing in here does anything; a step decides, and a store writes it down in the step's transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from handfast.errors import PeerError, Reason
from handfast.wire.text import Json

STREAM_BYTES = 8

# So many letters wait for a peer, and so many of a peer wait for the application; then whoever writes more has to wait.
OUTBOX_LETTERS = 256
INBOX_LETTERS = 128
# A packet holds up to 16 frames, of which rekeying and revocation lists need a few, and 40 KiB, of which a list takes 8.
LETTERS_IN_A_PACKET = 12
LETTERS_BYTES = 30 * 1024
# What became of a letter is kept until so many later ones of the same peer are done with, too.
SETTLED_KEPT = 256

_RECEIPT_BYTES = STREAM_BYTES + 8


class Fate(StrEnum):
    """What became of a letter."""

    WAITING = "waiting"  # it will be sent, or sent again
    DELIVERED = "delivered"  # the peer has it in its database
    UNKNOWN = "unknown"  # it was sent, and given up before an answer came: the peer has it, or has not
    EXPIRED = "expired"  # its time was over before it was sent


@dataclass(frozen=True, slots=True)
class Letter:
    """One application message.

    Attributes:
        number: its place in the stream.
        body: canonical JSON.
    """

    number: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Marks:
    """How far the two streams with a peer have come.

    Attributes:
        stream: names ours, 8 bytes; empty where nothing was written yet. Chance makes it, so that whoever has lost its
            database begins another one.
        posted: the highest number that was ever given to a letter.
        sent: the highest number that was ever sent in this stream.
        their_stream: names the peer's, 8 bytes; empty where nothing has come yet.
        taken: the highest number in the peer's that we took.
    """

    stream: bytes = b""
    posted: int = 0
    sent: int = 0
    their_stream: bytes = b""
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The body of a RECEIPT frame: how far the receiver of a request has come.

    Attributes:
        stream: of the letters that it took last.
        taken: the highest number among them.
    """

    stream: bytes
    taken: int

    def encode(self) -> bytes:
        """16 bytes."""
        return self.stream + self.taken.to_bytes(8, "big")

    @classmethod
    def parse(cls, body: bytes) -> "Receipt":
        """The inverse of `encode`.

        Raises:
            PeerError: with FORMAT.
        """
        if len(body) != _RECEIPT_BYTES:
            raise PeerError(Reason.FORMAT, "a RECEIPT frame")
        return cls(body[:STREAM_BYTES], int.from_bytes(body[STREAM_BYTES:], "big"))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message from a peer that the application has not taken yet.

    Attributes:
        peer_id: who wrote it.
        message: what.
        security: how sure it is who wrote it; a value of `handfast.trust.decision.Security`.
    """

    peer_id: str
    message: Json = field(repr=False)
    security: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one letter that is waited for no more."""

    peer_id: str
    number: int
    fate: Fate


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message goes into the inbox; `security` as of `Arrival`."""

    message: Json
    security: str


@dataclass(frozen=True, slots=True)
class Took:
    """The peer's letters up to this number were taken."""

    stream: bytes
    taken: int


@dataclass(frozen=True, slots=True)
class LettersSent:
    """Our letters up to this number may have left."""

    up_to: int


@dataclass(frozen=True, slots=True)
class LettersDelivered:
    """The peer has taken these letters."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LettersGivenUp:
    """The time of these letters is over, before they were sent or after; they are never sent any more."""

    expired: tuple[int, ...]
    unknown: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The peer has letters of our stream that we know nothing of: an old copy of our database was put in its place.

    What became of the letters up to this number nobody can tell; the others go into a new stream.
    """

    stream: bytes
    up_to: int


MailEffect = Arrived | Took | LettersSent | LettersDelivered | LettersGivenUp | StreamLost


class Mailbox(Protocol):
    """The mail of one agent, in an open transaction."""

    def marks(self, peer_id: str) -> Marks:
        """How far the streams with a peer have come."""
        ...

    def letters(self, peer_id: str, now: float, after: int = 0) -> Sequence[Letter]:
        """The next ones for a peer with higher numbers than `after`, the lowest first; as many as a packet holds, none
        whose time is over."""
        ...

    def overdue(self, peer_id: str, now: float) -> list[int]:
        """The numbers of those that wait though their time is over."""
        ...

    def room(self, peer_id: str) -> int:
        """How many more messages of a peer the inbox holds."""
        ...

    def apply(self, peer_id: str, effect: MailEffect, now: float) -> None:
        """Write down what a step has led to."""
        ...

    def post(
        self, peer_id: str, body: bytes, *, stream: bytes, now: float, expires_at: float | None
    ) -> int | None:
        """Keep a letter until it is done with.

        Args:
            peer_id: for whom.
            body: canonical JSON.
            stream: random bytes, used where there is no stream yet.
            now: seconds since 1970 UTC.
            expires_at: when to give it up; None: never.

        Returns:
            Its number; None where too many wait already.
        """
        ...

    def waiting(self) -> dict[str, int]:
        """For whom letters wait, and the highest number among them."""
        ...

    def expire(self, now: float) -> list[Settled]:
        """Give up the letters whose time is over."""
        ...

    def next_expiry(self) -> float | None:
        """When there will be such a letter; seconds since 1970 UTC."""
        ...

    def fates(self, peer_id: str) -> dict[int, Fate]:
        """What is known of the letters for a peer: of all that wait, and of the latest of the others."""
        ...

    def take(self) -> Arrival | None:
        """The oldest message in the inbox, which is no longer there afterwards."""
        ...

    def put_back(self, arrival: Arrival, now: float) -> None:
        """Undo a `take` whose message nobody got: it becomes the oldest again."""
        ...


def as_many_as_fit(letters: Iterable[Letter]) -> list[Letter]:
    """The first letters, as many as fit into a packet; one at least, if there is one."""
    fitting: list[Letter] = []
    size = 0
    for letter in letters:
        size += len(letter.body)
        if fitting and (size > LETTERS_BYTES or len(fitting) == LETTERS_IN_A_PACKET):
            break
        fitting.append(letter)
    return fitting

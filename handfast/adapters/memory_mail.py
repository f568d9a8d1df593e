"""The mailbox in dictionaries; the same contract as the one in rows. What is read is what is committed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from handfast.mail import (
    INBOX_LETTERS,
    LETTERS_IN_A_PACKET,
    OUTBOX_LETTERS,
    SETTLED_KEPT,
    Arrival,
    Arrived,
    Fate,
    Letter,
    LettersDelivered,
    LettersGivenUp,
    LettersSent,
    MailEffect,
    Marks,
    Settled,
    StreamLost,
    Took,
    as_many_as_fit,
)


@dataclass(frozen=True, slots=True)
class _Posted:
    body: bytes = field(repr=False)
    expires_at: float | None
    fate: Fate = Fate.WAITING


class MemoryMail:
    """What is committed.

    Attributes:
        marks: by peer.
        letters: those for peers, by peer and number.
        inbox: those from peers, the oldest first.
    """

    def __init__(self) -> None:
        self.marks: dict[str, Marks] = {}
        self.letters: dict[str, dict[int, _Posted]] = {}
        self.inbox: list[Arrival] = []


class MemoryMailbox:
    """Reads what is committed, and adds what it writes to the writes of its transaction."""

    def __init__(self, mail: MemoryMail, writes: list[Callable[[], object]]) -> None:
        self._mail = mail
        self._writes = writes

    def marks(self, peer_id: str) -> Marks:
        """How far the streams with a peer have come."""
        return self._mail.marks.get(peer_id, Marks())

    def letters(self, peer_id: str, now: float, after: int = 0) -> list[Letter]:
        """The next ones for a peer."""
        letters = [
            Letter(number, posted.body)
            for number, posted in self._waiting(peer_id).items()
            if number > after and (posted.expires_at is None or posted.expires_at > now)
        ]
        return as_many_as_fit(letters[:LETTERS_IN_A_PACKET])

    def overdue(self, peer_id: str, now: float) -> list[int]:
        """The numbers of those that wait though their time is over."""
        waiting = self._waiting(peer_id)
        return [
            n for n, posted in waiting.items() if posted.expires_at is not None and posted.expires_at <= now
        ]

    def room(self, peer_id: str) -> int:
        """How many more messages of a peer the inbox holds."""
        kept = sum(arrival.peer_id == peer_id for arrival in self._mail.inbox)
        return max(0, INBOX_LETTERS - kept)

    def apply(self, peer_id: str, effect: MailEffect, now: float) -> None:
        """Write down what a step has led to."""
        del now
        match effect:
            case Arrived(message, security):
                self._writes.append(lambda: self._keep(peer_id, message, security))
            case Took(stream, taken):
                self._mark(peer_id, their_stream=stream, taken=taken)
            case LettersSent(up_to):
                self._mark(peer_id, sent=up_to)
            case LettersDelivered(numbers):
                self._settle(peer_id, numbers, Fate.DELIVERED)
            case LettersGivenUp(expired, unknown):
                self._settle(peer_id, expired, Fate.EXPIRED)
                self._settle(peer_id, unknown, Fate.UNKNOWN)
            case StreamLost(stream, up_to):
                self._settle(peer_id, [n for n in self._waiting(peer_id) if n <= up_to], Fate.UNKNOWN)
                self._mark(peer_id, stream=stream, sent=0)

    def post(
        self, peer_id: str, body: bytes, *, stream: bytes, now: float, expires_at: float | None
    ) -> int | None:
        """Keep a letter until it is done with."""
        del now
        if len(self._waiting(peer_id)) >= OUTBOX_LETTERS:
            return None
        marks = self.marks(peer_id)
        number = marks.posted + 1
        self._mark(peer_id, stream=marks.stream or stream, posted=number)
        posted = _Posted(body, expires_at)
        self._writes.append(lambda: self._mail.letters.setdefault(peer_id, {}).update({number: posted}))
        return number

    def waiting(self) -> dict[str, int]:
        """For whom letters wait, and the highest number among them."""
        waiting = {peer_id: self._waiting(peer_id) for peer_id in self._mail.letters}
        return {peer_id: max(letters) for peer_id, letters in waiting.items() if letters}

    def expire(self, now: float) -> list[Settled]:
        """Give up the letters whose time is over."""
        settled = []
        for peer_id in self._mail.letters:
            sent = self.marks(peer_id).sent
            for number in self.overdue(peer_id, now):
                fate = Fate.UNKNOWN if number <= sent else Fate.EXPIRED
                settled.append(Settled(peer_id, number, fate))
        self._writes += [lambda one=one: self._settle_now(one) for one in settled]  # type: ignore[misc]
        return settled

    def next_expiry(self) -> float | None:
        """When there will be such a letter."""
        waiting = [posted for peer_id in self._mail.letters for posted in self._waiting(peer_id).values()]
        return min((posted.expires_at for posted in waiting if posted.expires_at is not None), default=None)

    def fates(self, peer_id: str) -> dict[int, Fate]:
        """What is known of the letters for a peer."""
        return {number: posted.fate for number, posted in self._mail.letters.get(peer_id, {}).items()}

    def take(self) -> Arrival | None:
        """The oldest message in the inbox, which is no longer there afterwards."""
        if not self._mail.inbox:
            return None
        self._writes.append(lambda: self._mail.inbox.pop(0))
        return self._mail.inbox[0]

    def put_back(self, arrival: Arrival, now: float) -> None:
        """Undo a `take` whose message nobody got."""
        del now
        self._writes.append(lambda: self._mail.inbox.insert(0, arrival))

    def _waiting(self, peer_id: str) -> dict[int, _Posted]:
        letters = self._mail.letters.get(peer_id, {})
        return {number: posted for number, posted in letters.items() if posted.fate is Fate.WAITING}

    def _keep(self, peer_id: str, message: object, security: str) -> None:
        self._mail.inbox.append(Arrival(peer_id, message, security))

    def _mark(self, peer_id: str, **changes: object) -> None:
        marks = self._mail.marks

        def write() -> None:
            marks[peer_id] = replace(marks.get(peer_id, Marks()), **changes)  # type: ignore[arg-type]

        self._writes.append(write)

    def _settle(self, peer_id: str, numbers: Iterable[int], fate: Fate) -> None:
        for number in numbers:
            one = Settled(peer_id, number, fate)
            self._writes.append(lambda one=one: self._settle_now(one))  # type: ignore[misc]

    def _settle_now(self, one: Settled) -> None:
        letters = self._mail.letters[one.peer_id]
        if one.number not in self._waiting(one.peer_id):
            return
        letters[one.number] = _Posted(b"", None, one.fate)
        oldest = self.marks(one.peer_id).posted - OUTBOX_LETTERS - SETTLED_KEPT
        for number in [n for n, posted in letters.items() if n <= oldest and posted.fate is not Fate.WAITING]:
            del letters[number]

"""The mailbox in rows: letters and messages sealed under a key of the identity, each bound to its place."""

from collections.abc import Sequence

from db_sdk import Session
from handfast.adapters.rows import Vault
from handfast.adapters.tables import MailIn, MailOut, MailPeer
from handfast.crypto.keys import Secret
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
from handfast.wire.text import Json, canonical_json, strict_json

_MARKS = ("stream", "posted", "sent", "their_stream", "taken")


class MailRows:
    """One agent's mailbox, in an open transaction.

    Args:
        session: how to read and write.
        self_id: whose it is.
        vault: seals what people say.
    """

    def __init__(self, session: Session, self_id: str, vault: Vault) -> None:
        self._session = session
        self._self_id = self_id
        self._vault = vault

    def marks(self, peer_id: str) -> Marks:
        """How far the streams with a peer have come."""
        row = self._session.first(MailPeer, where=self._of(peer_id), fields=_MARKS)
        return Marks() if row is None else Marks(**row)

    def letters(self, peer_id: str, now: float, after: int = 0) -> list[Letter]:
        """The next ones for a peer."""
        rows = self._session.execute(
            "SELECT number, body FROM mail_out WHERE self_id = ? AND peer_id = ? AND fate = 'waiting' AND number > ? "
            "AND (expires_at IS NULL OR expires_at > ?) ORDER BY number LIMIT ?",
            (self._self_id, peer_id, after, now, LETTERS_IN_A_PACKET),
        )
        letters: list[Letter] = []
        for row in rows:
            number: int = row["number"]
            body = self._vault.open(_place_out(peer_id, number), row["body"])
            if body is None:  # sealed by a key that is gone: nobody will ever read it
                self._settle(peer_id, [number], Fate.UNKNOWN)
            else:
                letters.append(Letter(number, body.reveal()))
        return as_many_as_fit(letters)

    def overdue(self, peer_id: str, now: float) -> list[int]:
        """The numbers of those that wait though their time is over."""
        where = self._waiting(peer_id) | {"expires_at__lte": now}
        rows = self._session.find(MailOut, where=where, fields=("number",), order_by="number")
        return [row["number"] for row in rows]

    def room(self, peer_id: str) -> int:
        """How many more messages of a peer the inbox holds."""
        return max(0, INBOX_LETTERS - self._session.count(MailIn, where=self._of(peer_id)))

    def apply(self, peer_id: str, effect: MailEffect, now: float) -> None:
        """Write down what a step has led to."""
        match effect:
            case Arrived(message, security):
                self._keep(peer_id, message, security, now)
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
                waiting = self._session.find(
                    MailOut, where=self._waiting(peer_id) | {"number__lte": up_to}, fields=("number",)
                )
                self._settle(peer_id, [row["number"] for row in waiting], Fate.UNKNOWN)
                self._mark(peer_id, stream=stream, sent=0)

    def post(
        self, peer_id: str, body: bytes, *, stream: bytes, now: float, expires_at: float | None
    ) -> int | None:
        """Keep a letter until it is done with."""
        if self._session.count(MailOut, where=self._waiting(peer_id)) >= OUTBOX_LETTERS:
            return None
        marks = self.marks(peer_id)
        number = marks.posted + 1
        self._mark(peer_id, stream=marks.stream or stream, posted=number)
        self._session.insert(
            MailOut,
            **self._of(peer_id),
            number=number,
            fate=str(Fate.WAITING),
            body=self._vault.seal(_place_out(peer_id, number), Secret(body)),
            posted_at=now,
            expires_at=expires_at,
        )
        return number

    def waiting(self) -> dict[str, int]:
        """For whom letters wait, and the highest number among them."""
        rows = self._session.execute(
            "SELECT peer_id, max(number) AS number FROM mail_out WHERE self_id = ? AND fate = 'waiting' GROUP BY peer_id",
            (self._self_id,),
        )
        return {row["peer_id"]: row["number"] for row in rows}

    def expire(self, now: float) -> list[Settled]:
        """Give up the letters whose time is over."""
        rows = self._session.find(
            MailOut,
            where={"self_id": self._self_id, "fate": str(Fate.WAITING), "expires_at__lte": now},
            fields=("peer_id", "number"),
            order_by="number",
        )
        settled = []
        for row in rows:
            peer_id, number = row["peer_id"], row["number"]
            was_sent = number <= self.marks(peer_id).sent
            fate = Fate.UNKNOWN if was_sent else Fate.EXPIRED
            self._settle(peer_id, [number], fate)
            settled.append(Settled(peer_id, number, fate))
        return settled

    def next_expiry(self) -> float | None:
        """When there will be such a letter."""
        where = {"self_id": self._self_id, "fate": str(Fate.WAITING), "expires_at__is_null": False}
        row = self._session.first(MailOut, where=where, fields=("expires_at",), order_by="expires_at")
        return None if row is None else row["expires_at"]

    def fates(self, peer_id: str) -> dict[int, Fate]:
        """What is known of the letters for a peer."""
        fields = ("number", "fate")
        rows = self._session.find(MailOut, where=self._of(peer_id), fields=fields, order_by="number")
        return {row["number"]: Fate(row["fate"]) for row in rows}

    def take(self) -> Arrival | None:
        """The oldest message in the inbox, which is no longer there afterwards."""
        while row := self._session.first(MailIn, where={"self_id": self._self_id}, order_by="id"):
            self._session.delete(MailIn, where={"id": row["id"]})
            body = self._vault.open(_place_in(row["peer_id"]), row["body"])
            if body is not None:
                message = strict_json(body.reveal())
                return Arrival(row["peer_id"], message, row["security"])
        return None

    def put_back(self, arrival: Arrival, now: float) -> None:
        """Undo a `take` whose message nobody got."""
        first = self._session.first(MailIn, fields=("id",), order_by="id")
        place = {} if first is None else {"id": first["id"] - 1}
        self._keep(arrival.peer_id, arrival.message, arrival.security, now, **place)

    def _of(self, peer_id: str) -> dict[str, object]:
        return {"self_id": self._self_id, "peer_id": peer_id}

    def _waiting(self, peer_id: str) -> dict[str, object]:
        return self._of(peer_id) | {"fate": str(Fate.WAITING)}

    def _keep(self, peer_id: str, message: Json, security: str, now: float, **place: int) -> None:
        body = self._vault.seal(_place_in(peer_id), Secret(canonical_json(message)))
        row = place | self._of(peer_id)
        self._session.insert(MailIn, **row, body=body, security=security, kept_at=now)

    def _mark(self, peer_id: str, **changes: object) -> None:
        if not self._session.update(MailPeer, changes, where=self._of(peer_id)):
            row = {"stream": b"", "their_stream": b""} | changes
            self._session.insert(MailPeer, **self._of(peer_id), **row)

    def _settle(self, peer_id: str, numbers: Sequence[int], fate: Fate) -> None:
        where = self._waiting(peer_id) | {"number__in": list(numbers)}
        if not self._session.update(MailOut, {"fate": str(fate), "body": None}, where=where):
            return
        oldest = self.marks(peer_id).posted - OUTBOX_LETTERS - SETTLED_KEPT
        if oldest > 0:
            where = self._of(peer_id) | {"number__lte": oldest, "fate__ne": str(Fate.WAITING)}
            self._session.delete(MailOut, where=where)


def _place_out(peer_id: str, number: int) -> tuple[str, ...]:
    return "mail_out", peer_id, str(number)


def _place_in(peer_id: str) -> tuple[str, ...]:
    return "mail_in", peer_id

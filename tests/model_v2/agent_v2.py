"""A modelled agent that speaks version 2: it may carry letters, and may learn that its peer is revoked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from modelled_agent import ModelledAgent
from snapshots import Snapshot, Taken
from symbolic import UTTERANCE, CountedEntropy, NumberedDialogue

from handfast.adapters.memory import MemoryStore, MemoryTransaction
from handfast.api.letters import Letters
from handfast.conversation.model import Event, Facts, Party
from handfast.mail import STREAM_BYTES, Arrival, Fate, Marks, Settled
from handfast.trust.decision import Facts as TrustFacts
from handfast.trust.decision import Pin, Proven
from handfast.wire.text import canonical_json

_LONG_AGO = 0.0


class Mail(NamedTuple):
    """The mailbox of one agent, as far as it concerns its peer, and what its application was told.

    Attributes:
        marks, rows, inbox: what is committed; the rows of letters for the peer, by number.
        told: what the receipts of this and of all former processes said.
        read: how many messages the application has taken out of the inbox.
    """

    marks: Marks = Marks()
    rows: tuple[tuple[int, Any], ...] = ()
    inbox: tuple[Arrival, ...] = ()
    told: frozenset[tuple[int, Fate]] = frozenset()
    read: int = 0

    @property
    def fates(self) -> dict[int, Fate]:
        """What became of each letter, as it is written down."""
        return {number: row.fate for number, row in self.rows}

    @property
    def waiting(self) -> list[int]:
        """The letters that are to be sent, or sent again."""
        return [n for n, row in self.rows if row.fate is Fate.WAITING and row.expires_at is None]

    @property
    def overdue(self) -> list[int]:
        """The letters whose time is over, which is not yet noted."""
        return [n for n, row in self.rows if row.fate is Fate.WAITING and row.expires_at is not None]


class Store(MemoryStore):
    """A store that knows whether the peer is revoked, and which keys of others are."""

    revoked: object = None
    dead_keys: frozenset[bytes] = frozenset()


class Transaction(MemoryTransaction):
    """As the one in memory, which revokes nobody."""

    _store: Store

    def is_revoked(self, pin: Pin) -> bool:
        """Whether the peer is."""
        return self._store.revoked is not None or super().is_revoked(pin)

    def about(self, proven: Proven) -> TrustFacts:
        """What bears on a peer that has proven these keys."""
        dead = proven.keys if self._store.revoked is not None else ()
        return replace(super().about(proven), dead_keys=self._store.dead_keys | frozenset(dead))


class Correspondent(ModelledAgent):
    """As `ModelledAgent`, of version 2.

    Attributes:
        carries_mail: whether its conversations carry letters instead of its dialogue.
        dead_keys: revoked keys that are not the peer's.
    """

    carries_mail = False
    dead_keys: frozenset[bytes] = frozenset()

    def take(self, before: Snapshot, event: Event) -> Taken:
        """As in version 1; whoever waits for what became of a letter is told of it."""
        taken = super().take(before, event)
        if not isinstance(before.mail, Mail) or not isinstance(taken.after.mail, Mail):
            return taken
        known = before.mail.told
        letters = Letters()
        receipts = letters.wait_for(self.peer_id, sorted(before.mail.fates.keys() - dict(known).keys()))
        for effect in taken.effects:
            letters.note(self.peer_id, effect)
        told = {(receipt.number, receipt.fate) for receipt in receipts if receipt.fate is not Fate.WAITING}
        mail = taken.after.mail._replace(told=known | told, read=before.mail.read)
        return replace(taken, after=taken.after._replace(mail=mail))

    def posted(self, before: Snapshot) -> Snapshot:
        """After its application has written a letter."""
        entropy = CountedEntropy(self.letter, before.drawn)
        number = len(mail_of(before).rows) + 1
        body = canonical_json(f"{UTTERANCE}-letter-{number}")
        stream, now = entropy.octets(STREAM_BYTES), self._now(before)
        after, _ = self._changed(
            before,
            lambda transaction: transaction.mail.post(
                self.peer_id, body, stream=stream, now=now, expires_at=None
            ),
        )
        return after._replace(drawn=entropy.drawn)

    def out_of_time(self, before: Snapshot, number: int) -> Snapshot:
        """After the time of a letter was over."""
        mail = mail_of(before)
        rows = tuple((n, replace(row, expires_at=_LONG_AGO) if n == number else row) for n, row in mail.rows)
        return before._replace(mail=mail._replace(rows=rows))

    def expired(self, before: Snapshot) -> Snapshot:
        """After it has given up what was overdue, and told its application."""
        after, settled = self._changed(before, lambda transaction: transaction.mail.expire(self._now(before)))
        mail, known = mail_of(after), dict(mail_of(before).told)
        told = {(one.number, one.fate) for one in settled if one.number not in known}
        return after._replace(mail=mail._replace(told=mail.told | told))

    def read(self, before: Snapshot) -> Snapshot:
        """After its application has taken a message out of the inbox."""
        after, _ = self._changed(before, lambda transaction: transaction.mail.take())
        mail = mail_of(after)
        return after._replace(mail=mail._replace(read=mail.read + 1))

    def _changed(
        self, before: Snapshot, work: Callable[[MemoryTransaction], Any]
    ) -> tuple[Snapshot, list[Settled]]:
        store = self._store_of(before)
        transaction = self._transaction(store)
        result = work(transaction)
        for write in transaction.writes:
            write()
        known = mail_of(before)
        mail = self._mail_in(store)._replace(told=known.told, read=known.read)
        return before._replace(mail=mail), result

    def _party(self, dialogue: NumberedDialogue) -> Party:
        return replace(super()._party(dialogue), mail=self.carries_mail)

    def _facts_in_memory(self, before: Snapshot) -> Facts:
        wanted = isinstance(before.mail, Mail) and before.mail.waiting != []
        return replace(super()._facts_in_memory(before), wanted=wanted)

    def _empty_store(self) -> MemoryStore:
        return Store(self.identity.agent_id)

    def _store_of(self, snapshot: Snapshot) -> MemoryStore:
        store = super()._store_of(snapshot)
        if isinstance(store, Store):
            store.revoked, store.dead_keys = snapshot.revoked, self.dead_keys
        if isinstance(snapshot.mail, Mail):
            store.mail.marks = {self.peer_id: snapshot.mail.marks}
            store.mail.letters = {self.peer_id: dict(snapshot.mail.rows)}
            store.mail.inbox = list(snapshot.mail.inbox)
        return store

    def _snapshot_of(self, store: MemoryStore) -> Snapshot:
        revoked: Any = store.revoked if isinstance(store, Store) else None
        mail = self._mail_in(store) if self.carries_mail else None
        return super()._snapshot_of(store)._replace(revoked=revoked, mail=mail)

    def _mail_in(self, store: MemoryStore) -> Mail:
        rows = store.mail.letters.get(self.peer_id, {})
        marks = store.mail.marks.get(self.peer_id, Marks())
        return Mail(marks, tuple(rows.items()), tuple(store.mail.inbox))


def mail_of(snapshot: Snapshot) -> Mail:
    """The mailbox of an agent that has one."""
    if not isinstance(snapshot.mail, Mail):
        raise TypeError("carries no letters")
    return snapshot.mail

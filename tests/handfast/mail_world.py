"""Two ends that carry mail over a fake link: what a node does around the driver, step by step, without a loop of its own."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from fake_world import End, FakeClock, SeededEntropy

from handfast.adapters.memory import MemoryStore
from handfast.api.letters import Letters
from handfast.conversation.effects import SessionOpened
from handfast.conversation.model import Party, Role, Settings
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.driver import Driver
from handfast.identity import Identity
from handfast.identity.agent_ids import self_certifying_id
from handfast.mail import STREAM_BYTES, Fate, LettersDelivered, LettersGivenUp
from handfast.outcomes import Outcome
from handfast.ports import Store
from handfast.trust.decision import Mode, Policy
from handfast.wire.text import Json, canonical_json

INIT, RESP = Role.INITIATOR, Role.RESPONDER


def identity_of(name: str, now: float) -> Identity:
    """The same self-certifying identity for the same name, in every run."""
    exchange, sign, database, static = (
        hashlib.sha256(f"{name} {use}".encode()).digest()
        for use in ("exchange", "sign", "database", "static")
    )
    key = SigningKey(sign)
    identity = Identity(
        self_certifying_id(key.public),
        "2026-01-01T00:00:00+00:00",
        ExchangeKey(exchange),
        key,
        stored_database_key=Secret(database),
    )
    return identity.with_static_key(static, now)


class MailEnd(End):
    """One agent that carries mail.

    Attributes:
        taken: what its application took, with the writer's id.
        fates: what became of the letters that are done with, as the writer was told, by peer and number.
    """

    def __init__(
        self, name: str, clock: FakeClock, settings: Settings | None = None, store: Store | None = None
    ) -> None:
        self.letters = Letters()
        self.taken: list[tuple[str, Json]] = []
        self.fates: dict[tuple[str, int], Fate] = {}
        super().__init__(name, clock, settings, store=store)
        self.identity = identity_of(name, clock.now())
        self.store = store or MemoryStore(self.identity.agent_id)
        self.driver = self.new_driver()

    def new_driver(self) -> Driver:
        self.lives += 1
        policy = Policy(mode=Mode.STRICT)
        party = Party(self.identity, self.settings, policy=policy, mail=True)
        entropy = SeededEntropy((self.name, self.lives))
        return Driver(self.store, self.clock, entropy, party, self.note, wants=self.wants)

    def wants(self, peer_id: str) -> bool:
        return self.letters.wants(peer_id, is_known=False)

    def note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        for effect in outcome.effects:
            match effect:
                case LettersDelivered(numbers):
                    self._settle(outcome.peer_id, numbers, Fate.DELIVERED)
                case LettersGivenUp(expired, unknown):
                    self._settle(outcome.peer_id, expired, Fate.EXPIRED)
                    self._settle(outcome.peer_id, unknown, Fate.UNKNOWN)
                case _:
                    pass
            self.letters.note(outcome.peer_id, effect)

    async def restart(self) -> None:
        self.letters = Letters()
        self.driver = self.new_driver()
        await self.driver.start()
        for peer_id, number in (await self.store.run(lambda t: t.mail.waiting())).items():
            self.letters.want(peer_id, number)
            await self.driver.submit(peer_id)

    async def post(
        self, peer: "MailEnd", data: Json, expires_in: float | None = None, *, tell: bool = True
    ) -> int | None:
        """Post a letter; without `tell`, the process is killed before anybody learns of it."""
        now, stream = self.clock.now(), self.driver._entropy.octets(STREAM_BYTES)
        expires_at = None if expires_in is None else now + expires_in
        number = await self.store.run(
            lambda t: t.mail.post(
                peer.id, canonical_json(data), stream=stream, now=now, expires_at=expires_at
            )
        )
        if number is not None and tell:
            self.letters.want(peer.id, number)
            await self.driver.submit(peer.id)
        return number

    async def expire(self) -> None:
        for one in await self.store.run(lambda t: t.mail.expire(self.clock.now())):
            self.fates.setdefault((one.peer_id, one.number), one.fate)

    async def take_one(self) -> bool:
        arrival = await self.store.run(lambda t: t.mail.take())
        if arrival is not None:
            self.taken.append((arrival.peer_id, arrival.message))
        return arrival is not None

    async def take_all(self) -> list[Json]:
        while await self.take_one():
            pass
        return self.messages()

    def messages(self) -> list[Json]:
        """What its application took."""
        return [message for _, message in self.taken]

    async def fates_in_store(self, peer: "MailEnd") -> dict[int, Fate]:
        return await self.store.run(lambda t: t.mail.fates(peer.id))

    def sessions(self, role: Role) -> list[SessionOpened]:
        return [
            effect
            for outcome in self.outcomes
            for effect in outcome.effects
            if isinstance(effect, SessionOpened) and outcome.role is role
        ]

    def _settle(self, peer_id: str, numbers: Iterable[int], fate: Fate) -> None:
        for number in numbers:
            self.fates.setdefault((peer_id, number), fate)  # the first word is the last


def copy_of(store: MemoryStore) -> MemoryStore:
    """A backup of a database."""
    copy = MemoryStore(store.self_id)
    copy.rows = dict(store.rows)
    copy.identity_pins = dict(store.identity_pins)
    copy.mail.marks = dict(store.mail.marks)
    copy.mail.letters = {peer: dict(letters) for peer, letters in store.mail.letters.items()}
    copy.mail.inbox = list(store.mail.inbox)
    copy.audit_rows = list(store.audit_rows)
    return copy


def without_sessions(store: MemoryStore) -> MemoryStore:
    """The same as a process finds it when it starts: what lives in memory only is in no backup."""
    store.rows = {pair: replace(state, live=None) for pair, state in store.rows.items()}
    return store

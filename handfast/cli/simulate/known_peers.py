"""What one message costs an agent that remembers many peers: no relay, no processes, the driver and its database alone.

Version 2, as agents speak with each other: known peers have a ticket for each role, and pinned identity keys.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handfast.adapters.files import database_path, new_identity
from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore, SqliteTransaction
from handfast.adapters.system import SystemClock, SystemEntropy
from handfast.conversation.effects import PinPeer
from handfast.conversation.model import READY, Party, PeerState, Role, Settings, role_of
from handfast.crypto.keys import Secret
from handfast.driver import Driver
from handfast.identity import Identity
from handfast.ports import Store
from handfast.session.v2.resumption import Ticket
from handfast.session.v2.suites import CHACHA
from handfast.trust.decision import Change, Decision, Pin, Security, Source
from handfast.wire.messages import Message, parse_message
from handfast.wire.text import b64encode, b64url_encode
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import Offered
from handfast.wire.v2.offers import NONCE_BYTES, RESUMPTION, VERSION, Offer

MOST_PEERS = 100_000
_CONVERSATIONS = 25
_REGISTERS = 500
_PEERS_PER_TRANSACTION = 500
# nobody asks for another conversation, nor takes anybody for having lost its memory, while this is measured
_SETTINGS = Settings(reconnect_every=86_400.0, lost_memory_after=86_400.0)
_RECONNECT_SECONDS = 43_200.0
_OFFER = Offer((VERSION,), (CHACHA,), RESUMPTION, bytes(NONCE_BYTES))


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians, in seconds, for an agent that knows so many peers.

    Attributes:
        peers: how many; each has two rows of state, each with a sealed ticket, and a pinned identity key.
        message: one message of a conversation with a newcomer: the step and its transaction.
        first_register: a `register` of a known peer whose state is not in memory yet.
        later_register: the same from then on. Both None if there are none.
    """

    peers: int
    message: float
    first_register: float | None
    later_register: float | None


async def cost_with(peers: int, directory: Path) -> Cost:
    """Measure with a new database in `directory` that holds so many peers."""
    identity = new_identity()
    store = SqliteStore(database_path(directory, identity.agent_id), identity)
    await store.open()
    try:
        known = [new_identity().agent_id for _ in range(peers)]
        for start in range(0, peers, _PEERS_PER_TRANSACTION):
            await _remember(store, identity, known[start : start + _PEERS_PER_TRANSACTION])
        driver = _driver(identity, store)
        spoken = known[:: max(1, peers // _REGISTERS)]
        first = await _registers(driver, spoken)
        later = await _registers(driver, spoken)
        messages: list[float] = []
        for _ in range(_CONVERSATIONS):
            messages += await _talk(driver, identity.agent_id)
    finally:
        await store.close()
    return Cost(peers, statistics.median(messages), first, later)


def _driver(identity: Identity, store: Store) -> Driver:
    return Driver(store, SystemClock(), SystemEntropy(), Party(identity, _SETTINGS))


async def _remember(store: SqliteStore, identity: Identity, peers: Sequence[str]) -> None:
    now, entropy = time.time(), SystemEntropy()

    def work(transaction: SqliteTransaction) -> None:
        for peer in peers:
            key = entropy.octets(32)  # nobody verifies with it, nor with any other that is made up here
            # certified: of pins that strangers can cause, some are forgotten when there are very many
            pin = Pin(peer, key, Source.CERT, first_seen=now, last_seen=now)
            believed = PinPeer(Decision(Security.CERT, Change.NEW, pin))
            for role, state in READY.items():
                after = PeerState(
                    store.self_id,
                    role,
                    peer,
                    state,
                    version=2,
                    local_reference=b64url_encode(entropy.octets(16)),
                    peer_reference=b64url_encode(entropy.octets(16)),
                    peer_sign_pub=b64encode(key),
                    hs_derived_at=now,
                    last_secure_at=now,
                    reconnect_at=now + _RECONNECT_SECONDS if role is Role.INITIATOR else None,
                    ticket=_ticket(peer, key, identity, entropy, now),
                )
                transaction.commit(after, [believed] if role is Role.INITIATOR else [], now)

    await store.run(work)


def _ticket(peer: str, key: bytes, identity: Identity, entropy: SystemEntropy, now: float) -> Ticket:
    return Ticket(
        ticket_id=entropy.octets(16),
        resumption=Secret(entropy.octets(32)),
        peer_id=peer,
        identity_key=key,
        static_key=entropy.octets(32),
        own_static_key=identity.static_key.key.public,
        suite=CHACHA,
        generation=1,
        full_at=now,
        mode=str(Security.CERT),
    )


async def _registers(driver: Driver, peers: Sequence[str]) -> float | None:
    times = []
    for peer in peers:
        message = Offered(Header(peer, None, "register"), _OFFER.encode())
        begin = time.perf_counter()
        for role in Role:
            await driver.receive(role, message)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) if times else None


async def _talk(driver: Driver, own_id: str) -> list[float]:
    """Meet a newcomer in both directions; how long each of its messages took."""
    newcomer = new_identity()
    other = _driver(newcomer, MemoryStore(newcomer.agent_id))
    driver.outgoing.append(driver.register())
    other.outgoing.append(other.register())
    times = []
    while driver.outgoing or other.outgoing:
        for message in _taken(driver, own_id, newcomer.agent_id):
            await _hear(other, message)
        for message in _taken(other, newcomer.agent_id, own_id):
            begin = time.perf_counter()
            await _hear(driver, message)
            times.append(time.perf_counter() - begin)
    return times


async def _hear(driver: Driver, message: Message) -> None:
    for role in Role if isinstance(message, Offered) else (role_of(message),):
        await driver.receive(role, message)


def _taken(driver: Driver, author: str, to: str) -> list[Message]:
    payloads = [payload | {"from": author} for payload in driver.outgoing]
    driver.outgoing.clear()
    messages = [parse_message(payload, to) for payload in payloads]
    return [message for message in messages if message is not None]

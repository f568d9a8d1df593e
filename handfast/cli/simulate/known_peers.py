"""What one message costs an agent that remembers many peers: no relay, no processes, the driver and its database alone."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handfast.adapters.files import database_path, new_identity
from handfast.adapters.memory import MemoryStore
from handfast.adapters.sqlite import SqliteStore, SqliteTransaction
from handfast.adapters.system import SystemClock, SystemEntropy
from handfast.conversation.model import Effect, Party, PeerState, PinKey, Role, Settings, State, role_of
from handfast.driver import Driver
from handfast.identity import Identity
from handfast.ports import Store
from handfast.wire.text import b64encode
from handfast.wire.v1 import Message, Register, parse_message

MOST_PEERS = 100_000
_CONVERSATIONS = 25
_REGISTERS = 500
_PEERS_PER_TRANSACTION = 500
# nobody asks for another conversation, nor takes anybody for having lost its memory, while this is measured
_SETTINGS = Settings(reconnect_every=86_400.0, lost_memory_after=86_400.0)
_RECONNECT_SECONDS = 43_200.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians, in seconds, for an agent that knows so many peers.

    Attributes:
        peers: how many; each has two rows of state and a pinned key.
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
            await _remember(store, known[start : start + _PEERS_PER_TRANSACTION])
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


async def _remember(store: SqliteStore, peers: Sequence[str]) -> None:
    now, entropy = time.time(), SystemEntropy()

    def work(transaction: SqliteTransaction) -> None:
        for peer in peers:
            key = entropy.exchange_key()  # any 32 bytes: nobody verifies with it
            for role, state in ((Role.INITIATOR, State.INIT_READY), (Role.RESPONDER, State.RESP_READY)):
                after = PeerState(
                    store.self_id,
                    role,
                    peer,
                    state,
                    local_reference=entropy.reference(),
                    peer_reference=entropy.reference(),
                    peer_sign_pub=b64encode(key),
                    reconnect_at=now + _RECONNECT_SECONDS if role is Role.INITIATOR else None,
                    waiting_since=now,
                )
                effects: list[Effect] = [PinKey(key)] if role is Role.INITIATOR else []
                transaction.commit(after, effects, now)

    await store.run(work)


async def _registers(driver: Driver, peers: Sequence[str]) -> float | None:
    times = []
    for peer in peers:
        begin = time.perf_counter()
        for role in Role:
            await driver.receive(role, Register(peer))
        times.append(time.perf_counter() - begin)
    return statistics.median(times) if times else None


async def _talk(driver: Driver, own_id: str) -> list[float]:
    """Meet a newcomer in both directions; how long each of its messages took."""
    newcomer = new_identity()
    other = _driver(newcomer, MemoryStore(newcomer.agent_id))
    await driver.receive(Role.RESPONDER, Register(newcomer.agent_id))
    await other.receive(Role.RESPONDER, Register(own_id))
    times = []
    while driver.outgoing or other.outgoing:
        for message in _taken(driver, own_id, newcomer.agent_id):
            await other.receive(role_of(message), message)
        for message in _taken(other, newcomer.agent_id, own_id):
            begin = time.perf_counter()
            await driver.receive(role_of(message), message)
            times.append(time.perf_counter() - begin)
    return times


def _taken(driver: Driver, author: str, to: str) -> list[Message]:
    payloads = [payload | {"from": author} for payload in driver.outgoing]
    driver.outgoing.clear()
    messages = [parse_message(payload, to) for payload in payloads]
    return [message for message in messages if message is not None]

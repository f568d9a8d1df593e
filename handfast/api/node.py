"""`Node`: an agent as a program uses it. It hands messages in and out; what runs meanwhile is in `handfast.api.runner`.

async with Node.open("alice", passphrase=b"...", transport=summoner("127.0.0.1", 8888)) as node:
    peer = await node.peer()
    await peer.send({"hello": "you"})
    async for message in node:
        print(message.peer, message.data)
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from handfast.adapters.files import (
    bring_up_to_date,
    database_path,
    identity_path,
    load_or_create_identity,
    lock_identity,
)
from handfast.adapters.sqlite import SqliteStore
from handfast.adapters.system import SystemClock, SystemEntropy, software
from handfast.api.letters import Letters, Receipt
from handfast.api.peer import Message, Peer, letter_of, strength_of
from handfast.api.runner import Runner
from handfast.api.transport import Transport
from handfast.conversation.effects import Delivered, PinPeer, SessionOpened
from handfast.conversation.model import Party, Settings
from handfast.driver import Driver
from handfast.errors import PeerError, Reason, UsageError
from handfast.identity import Identity
from handfast.identity.names import fingerprint
from handfast.mail import STREAM_BYTES, Arrival, Fate
from handfast.outcomes import Outcome
from handfast.ports import Clock, Entropy, Store, Transaction
from handfast.trust.decision import Mode, Policy, Security
from handfast.wire.text import Json
from handfast.wire.v1 import is_agent_id

T = TypeVar("T")

STRICT = Policy(mode=Mode.STRICT)

# Peers met in this process; the one met longest ago is met again.
_PEERS_REMEMBERED = 16_384


class Node:
    """An agent on a connection; use it with `async with`, once.

    Iterating over it yields messages, each once: what was not taken before the process ended comes after the next start.

    Args:
        identity: who we are; it has a static key for version 2.
        store: where everything is kept; who opened it closes it.
        transport: opened and closed by the node.
        policy: whom we talk to; strict, so version 2 only and no key that nothing vouches for.
        settings: waits, tries, and how long a session is kept when nothing is left to say.
        clock, entropy: time and chance.
    """

    def __init__(
        self,
        identity: Identity,
        store: Store,
        transport: Transport,
        *,
        policy: Policy = STRICT,
        settings: Settings | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self.id = identity.agent_id
        self.fingerprint = fingerprint(identity.identity_key.public)
        self._store = store
        self._transport = transport
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        party = Party(identity, settings or Settings(), policy=policy, mail=True)
        self._driver = Driver(
            store, self._clock, self._entropy, party, self._note, software(), wants=self._wants
        )
        self._letters = Letters()
        self._runner = Runner(
            self.id,
            self._driver,
            self._clock,
            is_idle=lambda: self._letters.is_idle,
            at_tick=self._expire,
            at_failure=self._fail,
        )
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self._next_expiry: float | None = None
        self._failure: BaseException | None = UsageError("the node is not open")
        self._closing = contextlib.AsyncExitStack()
        self._begun: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._taking = asyncio.Lock()
        self._taken: list[Arrival] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        name: str,
        *,
        passphrase: bytes,
        transport: Transport,
        home: Path | str = ".",
        policy: Policy = STRICT,
        settings: Settings | None = None,
    ) -> AsyncIterator[Self]:
        """A node with an identity file and a database, which are made where there are none.

        Args:
            name: of the identity file.
            passphrase: what it is sealed with.
            transport: see `handfast.api.transport`.
            home: the directory of both files.
            policy, settings: as of `Node`.

        Raises:
            UsageError: another process uses this identity.
            IdentityError: the identity file cannot be used.
            StorageError: the database cannot be used.
            TransportError: there is no connection.
        """
        path = identity_path(Path(home), name)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(lock_identity(path).release)
            identity = await asyncio.to_thread(_load, path, passphrase)
            database = database_path(Path(home), identity.agent_id)
            stack.callback(lock_identity(database).release)  # a copied identity file has another name
            store = SqliteStore(database, identity)
            await store.open()
            stack.push_async_callback(store.close)
            async with cls(identity, store, transport, policy=policy, settings=settings) as node:
                yield node

    async def __aenter__(self) -> Self:
        try:
            connection = await self._closing.enter_async_context(self._transport)
            await self._driver.start()
            waiting, self._next_expiry = await self._store.run(
                lambda transaction: (transaction.mail.waiting(), transaction.mail.next_expiry())
            )
        except BaseException:
            await self._closing.aclose()
            raise
        self._failure = None
        for peer_id, number in waiting.items():
            self._letters.want(peer_id, number)
        self._runner.start(connection)
        self._begin(self._seek(waiting))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed = UsageError("the node is closed")
        self._refuse_all(closed)
        try:
            await self._runner.part()
            # what has begun is ended: what it does to the database must be known here
            await asyncio.gather(*self._begun, return_exceptions=True)
            await self._runner.end()
            for arrival in reversed(self._taken):
                await self._run(lambda box, arrival=arrival: box.mail.put_back(arrival, self._clock.now()))  # type: ignore[misc]
            await self._driver.stop()
        finally:
            self._fail(closed)
            self._runner.cancel()
            await self._closing.aclose()

    async def peer(self, agent_id: str | None = None, *, min_security: Security | str = Security.PIN) -> Peer:
        """Meet a peer: wait until it has proven who it is.

        Args:
            agent_id: whom; None: whoever comes first.
            min_security: how sure it must be who the peer is; `v2-tofu`, `v2-pin`, `v2-selfcert`, `v2-cert`, the weakest
                first. What `policy` forbids is not met at all.

        Raises:
            UsageError: that is no agent id, or our own, or no security; or the node is closed.
            PeerError: with POLICY, this peer is met, and it is less sure who it is.
            TransportError: the connection has ended.
        """
        least = strength_of(min_security)
        if agent_id is not None and (not is_agent_id(agent_id) or agent_id == self.id):
            raise UsageError(f"{agent_id!r} is no id of a peer")
        self._letters.wish(agent_id)
        try:
            if agent_id is not None and agent_id not in self._peers:
                await self._runner.reach(agent_id)
            self._runner.hurry()
            return await self._until(lambda: self._find(agent_id, least))
        finally:
            self._letters.unwish(agent_id)

    async def post(self, peer_id: str, data: Json, expires_in: float | None) -> Receipt:
        """What `Peer.send` does."""
        body = letter_of(data)
        if expires_in is not None and not expires_in > 0:
            raise UsageError("expires_in is a number of seconds above zero")
        while True:
            self._check()
            changed = self._changed
            # what is in the database is known in memory, too, whoever is cancelled
            receipt = await asyncio.shield(self._begin(self._post(peer_id, body, expires_in)))
            if receipt is not None:
                return receipt
            await changed.wait()

    async def receipts(self, peer_id: str) -> list[Receipt]:
        """What `Peer.receipts` does."""
        self._check()
        fates = await self._run(lambda transaction: transaction.mail.fates(peer_id))
        waiting = [number for number, fate in fates.items() if fate is Fate.WAITING]
        found = {receipt.number: receipt for receipt in self._letters.wait_for(peer_id, waiting)}
        return [found.get(number) or Receipt(peer_id, number, fate) for number, fate in fates.items()]

    def __aiter__(self) -> "Node":
        return self

    async def __anext__(self) -> Message:
        """The next message.

        Raises:
            StopAsyncIteration: the node is closed.
            TransportError: the connection has ended.
        """
        async with self._taking:  # each message goes to one of those who wait
            while True:
                if isinstance(self._failure, UsageError):
                    raise StopAsyncIteration
                self._arrived.clear()
                if not self._taken:
                    # a message that was taken out for somebody who is cancelled goes to the next one
                    await asyncio.shield(self._begin(self._take()))
                if self._taken:
                    return await self._message(self._taken.pop())
                if self._failure is None:
                    await self._arrived.wait()
                elif not isinstance(self._failure, UsageError):
                    raise self._failure

    # ---- what the driver and its runner need -----------------------------------------------------------------------

    def _wants(self, peer_id: str) -> bool:
        return self._letters.wants(peer_id, is_known=peer_id in self._peers)

    def _note(self, outcome: Outcome) -> None:
        self._runner.stir()
        peer_id, pinned = outcome.peer_id, None
        has_news = False
        for effect in outcome.effects:
            match effect:
                case PinPeer(decision):
                    pinned = decision.pin.identity_public
                case SessionOpened(version=2, security=security) if pinned is not None:
                    self._peers[peer_id] = Peer(peer_id, Security(security), fingerprint(pinned), self)
                    self._peers.move_to_end(peer_id)
                    if len(self._peers) > _PEERS_REMEMBERED:
                        self._peers.popitem(last=False)
                    has_news = True
                case Delivered():
                    self._arrived.set()
                case _:
                    has_news |= self._letters.note(peer_id, effect)
        if has_news:
            self._tell()

    async def _expire(self) -> None:
        now = self._clock.now()
        if self._next_expiry is None or now < self._next_expiry:
            return
        settled, self._next_expiry = await self._run(
            lambda transaction: (transaction.mail.expire(now), transaction.mail.next_expiry())
        )
        for one in settled:
            self._letters.settle(one.peer_id, one.number, one.fate)
        self._tell()

    async def _seek(self, peers: dict[str, int]) -> None:
        for peer_id in peers:
            await self._runner.reach(peer_id)

    # ---- parts -----------------------------------------------------------------------------------------------------

    async def _post(self, peer_id: str, body: bytes, expires_in: float | None) -> Receipt | None:
        now, stream = self._clock.now(), self._entropy.octets(STREAM_BYTES)
        expires_at = None if expires_in is None else now + expires_in
        number = await self._run(
            lambda transaction: transaction.mail.post(
                peer_id, body, stream=stream, now=now, expires_at=expires_at
            )
        )
        if number is None:
            return None
        [receipt] = self._letters.wait_for(peer_id, [number])
        if expires_at is not None:
            self._next_expiry = min(expires_at, self._next_expiry or expires_at)
        await self._runner.reach(peer_id)
        return receipt

    async def _take(self) -> None:
        arrival = await self._run(lambda transaction: transaction.mail.take())
        if arrival is not None:
            self._taken.append(arrival)

    async def _message(self, arrival: Arrival) -> Message:
        known = self._peers.get(arrival.peer_id)
        if known is not None and known.security == arrival.security:
            return Message(known, arrival.message)
        pin = await self._run(lambda transaction: transaction.pin_of(arrival.peer_id))
        key = "" if pin is None else fingerprint(pin.identity_public)
        return Message(Peer(arrival.peer_id, Security(arrival.security), key, self), arrival.message)

    def _find(self, agent_id: str | None, least: int) -> Peer | None:
        if agent_id is None:
            met = (peer for peer in self._peers.values() if strength_of(peer.security) >= least)
            return next(met, None)
        peer = self._peers.get(agent_id)
        if peer is not None and strength_of(peer.security) < least:
            raise PeerError(Reason.POLICY, f"it is no more sure than {peer.security} who {agent_id} is")
        return peer

    async def _until(self, look: Callable[[], T | None]) -> T:
        while True:
            self._check()
            found = look()
            if found is not None:
                return found
            await self._changed.wait()

    def _tell(self) -> None:
        # whoever looks anew and waits again must not miss what comes in between
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.run(work)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that is ended even if nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def _refuse_all(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._tell()
        self._arrived.set()

    def _fail(self, failure: BaseException) -> None:
        self._refuse_all(failure)
        self._letters.fail(self._failure or failure)


def _load(path: Path, passphrase: bytes) -> Identity:
    identity, _ = load_or_create_identity(path, passphrase)
    return bring_up_to_date(path, identity, passphrase, SystemClock().now())[0]

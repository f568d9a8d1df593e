"""`Node`: an agent as a program uses it. It keeps the driver running, and hands messages in and out.

async with Node.open("alice", passphrase=b"...", transport=summoner("127.0.0.1", 8888)) as node:
    peer = await node.peer()
    await peer.send({"hello": "you"})
    async for message in node:
        print(message.peer, message.data)
"""

import asyncio
import contextlib
import logging
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
from handfast.api.transport import Connection, Transport, TransportError
from handfast.congestion import RegisterPace
from handfast.conversation.model import Delivered, Party, PinPeer, Role, SessionOpened, Settings, role_of
from handfast.driver import Driver
from handfast.errors import PeerError, Reason, StorageError, UsageError
from handfast.identity import Identity
from handfast.identity.names import fingerprint
from handfast.mail import STREAM_BYTES, Arrival, Fate
from handfast.outcomes import Outcome
from handfast.ports import Clock, Entropy, Store, Transaction
from handfast.trust.decision import Mode, Policy, Security
from handfast.wire.messages import parse_message
from handfast.wire.text import Json
from handfast.wire.v1 import is_agent_id

T = TypeVar("T")

_log = logging.getLogger("handfast")

STRICT = Policy(mode=Mode.STRICT)

_TICK_SECONDS = 0.25
# Who looks for somebody is heard often, and so is who has just come: somebody may wait. Others are there all the same.
_SEEKING_SECONDS, _RESTING_SECONDS, _GAP_SECONDS = 1.0, 10.0, 0.25
_ARRIVING_SECONDS = 5.0
_LAST_WORDS_SECONDS = 1.0
# Peers met in this process; the one met longest ago is met again.
_PEERS_REMEMBERED = 16_384
# Nothing more is read from the relay while more than that is on its way to it.
_LINES_WAITING = 64


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
        self._peers: OrderedDict[str, Peer] = OrderedDict()
        self._seeking = RegisterPace(_SEEKING_SECONDS, _GAP_SECONDS)
        self._resting = RegisterPace(_RESTING_SECONDS, _GAP_SECONDS)
        self._next_expiry: float | None = None
        self._failure: BaseException | None = UsageError("the node is not open")
        self._closing = contextlib.AsyncExitStack()
        self._forever: list[asyncio.Task[None]] = []
        self._is_ending = False
        self._begun: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._to_send = asyncio.Event()
        self._drained = asyncio.Event()
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
        for work in (self._speak(connection), self._listen(connection), self._keep_time()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._has_ended)
            self._forever.append(task)
        self._begin(self._seek(waiting))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fail(UsageError("the node is closed"))
        speaking, *others = self._forever
        for task in others:
            task.cancel()
        # what has begun is ended: what it does to the database must be known here
        await asyncio.gather(*others, *self._begun, return_exceptions=True)
        await self._driver.settle()
        # somebody may wait for our last answers, and would ask for them again
        self._is_ending = True
        self._to_send.set()
        await asyncio.wait({speaking}, timeout=_LAST_WORDS_SECONDS)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        try:
            for arrival in reversed(self._taken):
                await self._run(lambda box, arrival=arrival: box.mail.put_back(arrival, self._clock.now()))  # type: ignore[misc]
            await self._driver.stop()
        finally:
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
                await self._reach(agent_id)
            self._hurry.set()
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
                self._check()
                await self._arrived.wait()

    # ---- what a driver needs ---------------------------------------------------------------------------------------

    def _wants(self, peer_id: str) -> bool:
        return self._letters.wants(peer_id, is_known=peer_id in self._peers)

    def _note(self, outcome: Outcome) -> None:
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

    # ---- what runs all the time ------------------------------------------------------------------------------------

    async def _listen(self, connection: Connection) -> None:
        async for content in connection:
            try:
                await self._hear(content)
            except StorageError as error:
                _log.warning("the database failed: %s", error)  # the peer will say it again
            self._flush()
            await self._drained.wait()
        raise TransportError("the connection has ended")

    async def _hear(self, content: Json) -> None:
        try:
            message = parse_message(content, self.id)
        except PeerError as refusal:
            await self._driver.refuse(content, refusal.reason)
            return
        if message is None:
            return
        now = self._clock.monotonic()
        for pace in (self._seeking, self._resting):
            pace.heard(message.sender, now, is_newcomer=False)
        for role in Role if message.intent == "register" else (role_of(message),):
            await self._driver.receive(role, message)

    async def _speak(self, connection: Connection) -> None:
        while not self._is_ending:
            await self._to_send.wait()
            self._to_send.clear()
            while self._driver.outgoing:
                await connection.send(self._driver.outgoing.popleft() | {"from": self.id})
                if len(self._driver.outgoing) <= _LINES_WAITING:
                    self._drained.set()

    async def _keep_time(self) -> None:
        arrived_at = self._clock.monotonic() + _ARRIVING_SECONDS
        was_idle = True
        while True:
            try:
                await self._driver.tick()
                await self._expire()
            except StorageError as error:
                _log.warning("the database failed: %s", error)
            now = self._clock.monotonic()
            pace = self._resting if self._letters.is_idle and now > arrived_at else self._seeking
            if pace.is_due(now):
                self._driver.outgoing.append(
                    self._driver.register(anew=was_idle and not self._letters.is_idle)
                )
                was_idle = self._letters.is_idle
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._hurry.wait()
                    self._hurry.clear()
                    self._seeking.heard(self.id, now, is_newcomer=True)
            await self._drained.wait()

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
            await self._reach(peer_id)

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
        await self._reach(peer_id)
        return receipt

    async def _reach(self, peer_id: str) -> None:
        try:
            await self._driver.submit(peer_id)
        except StorageError as error:
            _log.warning("the database failed: %s", error)  # the next message of the peer does the same
        self._flush()
        self._hurry.set()

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

    def _flush(self) -> None:
        if self._driver.outgoing:
            self._to_send.set()
        if len(self._driver.outgoing) > _LINES_WAITING:
            self._drained.clear()
        else:
            self._drained.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that is ended even if nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._letters.fail(self._failure)
        self._tell()
        self._arrived.set()


def _load(path: Path, passphrase: bytes) -> Identity:
    identity, _ = load_or_create_identity(path, passphrase)
    return bring_up_to_date(path, identity, passphrase, SystemClock().now())[0]

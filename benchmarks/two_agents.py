"""Two agents in one process whose messages are handed over in memory: no relay, no client, everything else real."""

import sqlite3
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from db_sdk import Session
from handfast.adapters.files import new_identity
from handfast.adapters.sqlite import SqliteStore, SqliteTransaction
from handfast.adapters.system import SystemClock, SystemEntropy
from handfast.conversation.model import Party, PeerState, Role, Settings, Verdict
from handfast.driver import Driver
from handfast.identity import Identity
from handfast.outcomes import Outcome
from handfast.ports import Store
from handfast.wire.messages import parse_message

T = TypeVar("T")

MakeStore = Callable[[Path, Identity], Any]


class InlineStore(SqliteStore):
    """The SQLite store without its thread, so that one profile sees everything."""

    async def open(self) -> None:
        """Make the database, and open it once more on this thread."""
        await super().open()
        await super().close()
        self._session = Session(sqlite3.connect(self.path, isolation_level=None))
        for pragma in ("foreign_keys = ON", "synchronous = NORMAL", "secure_delete = ON"):
            self._session.execute(f"PRAGMA {pragma}")

    async def run(self, work: Callable[[SqliteTransaction], T]) -> T:
        """Run `work` in one transaction, here and now."""
        return self.perform(self._session, work)

    async def load(self, role: Role, peer_id: str) -> PeerState:
        """The committed state of a pair."""
        return await self.run(lambda transaction: transaction.load(role, peer_id))

    async def close(self) -> None:
        """Close the database."""
        self._session.connection.close()


class Agent:
    """One end of a conversation: a driver with its store, playing one role only."""

    def __init__(self, role: Role, identity: Identity, store: Store, settings: Settings) -> None:
        self.role = role
        self.id = identity.agent_id
        self.store = store
        self.driver = Driver(store, SystemClock(), SystemEntropy(), Party(identity, settings))

    def said(self) -> list[Any]:
        """What waits to be sent, stamped as the agent stamps it."""
        lines = [payload | {"from": self.id} for payload in self.driver.outgoing]
        self.driver.outgoing.clear()
        return lines

    async def hear(self, line: Any) -> Outcome:
        """Handle a line that is for this agent."""
        message = parse_message(line, self.id)
        if message is None:
            raise RuntimeError("a line for somebody else")
        return await self.driver.receive(self.role, message)

    def register(self) -> Any:
        """The broadcast that makes the other side begin."""
        return self.driver.register() | {"from": self.id}


@asynccontextmanager
async def two_agents(
    make_store: MakeStore, settings: Settings, version: int
) -> AsyncIterator[tuple[Agent, Agent]]:
    """An initiator and a responder who speak this version, with stores in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory() as home:
        agents = []
        for role in (Role.INITIATOR, Role.RESPONDER):
            identity = new_identity()
            if version == 1:  # an id made by chance and no static key, as before version 2
                identity = replace(identity, agent_id=str(uuid.uuid4()), static_keys=())
            store = make_store(Path(home) / f"{role}.db", identity)
            if isinstance(store, SqliteStore):
                await store.open()
            agents.append(Agent(role, identity, store, settings))
        try:
            yield agents[0], agents[1]
        finally:
            for agent in agents:
                await agent.store.close()


async def converse(initiator: Agent, responder: Agent, *, again: bool) -> int:
    """One whole conversation, from `register` to an accepted `close`; `again`: they have had one before.

    Returns:
        How many messages it took.
    """
    lines = [(responder if again else initiator).register()]
    count = 0
    while lines:
        line = lines.pop(0)
        listener = responder if line["from"] == initiator.id else initiator
        outcome = await listener.hear(line)
        if outcome.verdict is not Verdict.ACCEPTED:
            raise RuntimeError(f"{outcome.event} was {outcome.verdict}: {outcome.reason}")
        count += 1
        lines.extend(listener.said())
    await (
        initiator.driver.tick()
    )  # in version 1 nothing answers `close`: the initiator is ready when its timer has fired
    return count

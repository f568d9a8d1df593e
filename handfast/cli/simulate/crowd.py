"""Many agents in one process: the agent's core, database and line format over real sockets.

    python crowd.py AGENTS PORT HOME SECRET RECONNECT_EVERY

Each has a driver, a database and a connection of its own. What the shipped agent adds around them is left out: flow and
routes of the Summoner client, sealed identity files, a process. Events are those of the agent's `--events`, with the
`agent` they come from. Run by its path, as `relay.py` is.
"""

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from handfast.adapters.files import database_path, new_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.adapters.system import SystemClock, SystemEntropy
from handfast.congestion import RegisterPace
from handfast.conversation.effects import Closed
from handfast.conversation.model import Party, Role, Settings, role_of
from handfast.dialogue import Dialogue
from handfast.driver import Driver
from handfast.errors import PeerError
from handfast.outcomes import Outcome
from handfast.wire.messages import parse_message
from handfast.wire.text import Json
from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types

_LINE_BYTES = 1024 * 1024
# as the shipped agent's background sender
_TICK_SECONDS = 0.25
_REGISTER_EVERY_SECONDS = 1.0
_REGISTER_GAP_SECONDS = 0.25


class Member:
    """One agent of the crowd.

    Args:
        home: the directory of its database.
        party: who it is, how it behaves, what it says.
    """

    def __init__(self, home: Path, party: Party) -> None:
        self.id = party.identity.agent_id
        self._store = SqliteStore(database_path(home, self.id), party.identity)
        self._driver = Driver(self._store, SystemClock(), SystemEntropy(), party, self._outcome)
        self._register_pace = RegisterPace(_REGISTER_EVERY_SECONDS, _REGISTER_GAP_SECONDS)
        self._met: set[str] = set()

    async def run(self, port: int) -> None:
        """Talk until cancelled, or until the relay hangs up."""
        await self._store.open()
        try:
            self._event("started")
            reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_BYTES)
            repeating = asyncio.create_task(self._repeat())
            try:
                async for line in reader:
                    await self._hear(line.decode())
            finally:
                repeating.cancel()
                self._writer.close()
                with suppress(asyncio.CancelledError, OSError):
                    await repeating
        finally:
            self._store.close_sync()

    async def _hear(self, line: str) -> None:
        try:
            relayed = recover_with_types(line)
            message = parse_message(relayed["content"], self.id) if isinstance(relayed, dict) else None
        except (RecoveryError, PeerError):
            return
        if message is not None:
            is_newcomer = message.sender not in self._met
            self._met.add(message.sender)
            self._register_pace.heard(message.sender, time.monotonic(), is_newcomer=is_newcomer)
            for role in Role if message.intent == "register" else (role_of(message),):
                await self._driver.receive(role, message)
            self._send()

    async def _repeat(self) -> None:
        while True:
            await self._driver.tick()
            if self._register_pace.is_due(time.monotonic()):
                self._driver.outgoing.append(self._driver.register())
            self._send()
            await self._writer.drain()
            await asyncio.sleep(_TICK_SECONDS)

    def _send(self) -> None:
        while self._driver.outgoing:
            payload = self._driver.outgoing.popleft() | {"from": self.id}
            self._writer.write(wrap_with_types(payload).encode())

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.reason is not None:
            self._event("refused", peer=outcome.peer_id, reason=str(outcome.reason))
        if any(isinstance(effect, Closed) for effect in outcome.effects):
            self._event("closed", peer=outcome.peer_id, role=str(outcome.role))

    def _event(self, event: str, **members: Json) -> None:
        text = json.dumps({"event": event, "t": time.time(), "agent": self.id} | members)
        print(text, flush=True)  # noqa: T201


async def run(agents: int, port: int, home: Path, secret: str, reconnect_every: float) -> None:
    """All of them, until SIGTERM."""
    settings = Settings(reconnect_every=reconnect_every, lost_memory_after=max(60.0, 1.5 * reconnect_every))
    dialogue = Dialogue(secret, secret)
    members = [Member(home, Party(new_identity(), settings, dialogue)) for _ in range(agents)]
    everybody = asyncio.gather(*(member.run(port) for member in members))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, everybody.cancel)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # who started us ends us
    with suppress(asyncio.CancelledError):
        await everybody


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], float(sys.argv[5])))

"""The course of the demo: what is started, what is waited for and looked at, in order; the narrator tells it."""

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from handfast.adapters.files import PASSPHRASE_VARIABLE, database_path
from handfast.adapters.tables import NonceEvent, RoleState
from handfast.cli.agent import agent_command
from handfast.cli.demo.eavesdropper import Attempt, Eavesdropper
from handfast.cli.demo.narrator import Narrator
from handfast.cli.demo.processes import PATIENCE_SECONDS, DemoFailed, RelayProcess, Stage
from handfast.cli.demo.results import Agent, Results, Talk, find_talk
from handfast.cli.snapshot import Reader, Snapshot, opened
from handfast.conversation.model import Role, State
from handfast.errors import HandfastError

# Long enough for Eve's attempts in between, short enough to wait for.
_RECONNECT_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 0.05
_ANSWER_SECONDS = 1.0


async def run(narrator: Narrator) -> None:
    """Play the whole demo.

    Raises:
        HandfastError: something did not happen as it should have; `DemoFailed` if nothing else can be said.
        OSError: a process or a connection could not be made.
        asyncio.CancelledError: SIGTERM came.
    """
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError):  # event loops on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    stage = Stage()
    with TemporaryDirectory(prefix="handfast-demo-", ignore_cleanup_errors=True) as directory:
        try:
            await _Course(Path(directory), stage, narrator).play()
        except (HandfastError, OSError):
            narrator.children(stage.children)
            raise
        finally:
            await stage.close()


class _Course:
    def __init__(self, directory: Path, stage: Stage, narrator: Narrator) -> None:
        self._directory = directory
        self._stage = stage
        self._narrator = narrator
        self._began = time.monotonic()
        self._heard = asyncio.Event()
        self._eve = Eavesdropper(self._overheard)
        self._relay = RelayProcess()
        # four texts of which none contains another: each is found if it ever stands in a line of the relay
        self._alice = Agent("alice", say="How are you?", reply="Nobody else can read this.")
        self._bob = Agent("bob", say="Are we alone?", reply="I am OK!")
        self._agents = (self._alice, self._bob)

    async def play(self) -> None:
        """Everything, in order."""
        narrator = self._narrator
        narrator.title()
        async with AsyncExitStack() as stack:
            await self._start_relay()
            await self._eve.connect(self._relay.port or 0)
            stack.push_async_callback(self._eve.close)
            narrator.relay(self._relay)
            for agent in self._agents:
                await self._start_agent(agent)
                path = database_path(self._home(agent), agent.id)
                agent.database = await stack.enter_async_context(opened(path))
            await stack.enter_async_context(self._counted_nonces())
            narrator.agents(self._agents)
            first = await self._talks(1)
            narrator.first_talks(first)
            narrator.databases(self._agents, await self._look())
            narrator.attempts(await self._attempts(first[0]))
            second = await self._talks(2)
            narrator.second_talks(second)
            snapshots = await self._look()
        await self._stop()
        results = Results(self._eve, [*first, *second], snapshots, time.monotonic() - self._began)
        results.check()
        narrator.summary(results)

    def _home(self, agent: Agent) -> Path:
        return self._directory / agent.name

    def _overheard(self) -> None:
        self._heard.set()
        self._stage.tell()

    async def _start_relay(self) -> None:
        config = self._directory / "relay.json"
        config.write_text(json.dumps({"logger": {"log_level": "WARNING", "enable_file_log": False}}))
        command = [sys.executable, "-P", "-m", "handfast.cli", "server", "--config", str(config)]
        await self._stage.start(self._relay, [*command, "--host", "127.0.0.1", "--port", "0"])
        await self._stage.until(lambda: self._relay.port is not None, "the address of the relay")

    async def _start_agent(self, agent: Agent) -> None:
        relay = ["--host", "127.0.0.1", "--port", str(self._relay.port)]
        who = ["--name", agent.name, "--home", str(self._home(agent))]
        what = ["--say", agent.say, "--reply", agent.reply, "--reconnect-every", str(_RECONNECT_SECONDS)]
        command = agent_command([*who, *relay, *what, "--events"])
        await self._stage.start(agent, command, **{PASSPHRASE_VARIABLE: secrets.token_urlsafe(24)})
        await self._stage.until(lambda: bool(agent.find("started")), f"the start of {agent.name}")

    async def _talks(self, number: int) -> list[Talk]:
        """Wait until both directions have closed so many conversations; the last one of each."""
        pairs = [(self._alice, self._bob), (self._bob, self._alice)]
        found: list[Talk] = []

        def are_closed() -> bool:
            found[:] = [talk for pair in pairs if (talk := find_talk(self._eve, *pair, number)) is not None]
            return len(found) == len(pairs)

        await self._stage.until(are_closed, f"the close of conversation {number} in both directions")
        return found

    async def _attempts(self, talk: Talk) -> list[Attempt]:
        """Let Eve try everything on the initiator of `talk`, at moments when it would listen to its peer."""
        victim, friend = talk.initiator, talk.responder
        attempts = self._eve.attempts(victim.id, friend.id, friend.name, talk.confirm)

        def missing() -> list[Attempt]:
            return [one for one in attempts if not victim.find("refused", reason=str(one.answer))]

        what = f"the refusal of forged messages by {victim.name}"
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while missing():
            self._stage.must_run(what)
            if time.monotonic() > give_up_at:
                raise DemoFailed(f"{what} did not come")
            if await self._listens(victim, friend):
                for attempt in missing():
                    self._eve.send(attempt.payload)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        await self._stage.until(lambda: not missing(), what)
            else:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return attempts

    async def _listens(self, agent: Agent, peer: Agent) -> bool:
        if agent.database is None:
            return False
        where = {"role": str(Role.INITIATOR), "peer_id": peer.id}
        row = await RoleState.first(agent.database, where=where, fields=["state"])
        return row is not None and row["state"] == State.INIT_READY

    async def _look(self) -> dict[str, Snapshot]:
        return {
            agent.name: await Reader(agent.database, audit_entries=0).read()
            for agent in self._agents
            if agent.database is not None
        }

    @asynccontextmanager
    async def _counted_nonces(self) -> AsyncIterator[None]:
        counting = asyncio.create_task(self._count_nonces())
        try:
            yield
        finally:
            counting.cancel()
            with suppress(asyncio.CancelledError):
                await counting

    async def _count_nonces(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            for agent in self._agents:
                if agent.database is not None:
                    agent.most_nonces = max(agent.most_nonces, await NonceEvent.count(agent.database))

    async def _stop(self) -> None:
        for name, status in (await self._stage.close()).items():
            if status != 0:
                raise DemoFailed(f"{name} ended with status {status} when it was told to stop")

"""The course of the demo: what is started, what is waited for and looked at, in order; the narrator tells it."""

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from db_sdk import Session
from handfast.adapters.audit_rows import witnessed_head
from handfast.adapters.files import PASSPHRASE_VARIABLE, database_path
from handfast.adapters.tables import HalfOpen, RoleState, Witness
from handfast.audit import Report, SignedHead
from handfast.cli.agent import agent_command
from handfast.cli.audit_keys import verify_log
from handfast.cli.demo.attempts import Attempt, attempts_with, impersonation, used_ticket
from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard
from handfast.cli.demo.narrator import Narrator
from handfast.cli.demo.processes import DemoFailed, RelayProcess, Stage
from handfast.cli.demo.results import Agent, Ending, Results, Talk, check_talk, find_talk
from handfast.cli.snapshot import Reader, Snapshot, audit_entry, audit_rows, opened
from handfast.conversation.model import Role
from handfast.errors import HandfastError

T = TypeVar("T")

# Long enough for the conversations before it to be told, short enough to wait for.
_RECONNECT_SECONDS = 1.0


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
        self._eve = Eavesdropper(stage.tell)
        self._relay = RelayProcess()
        # four texts of which none contains another: each is found if it ever stands in a line of the relay
        self._alice = Agent("alice", say="How are you?", reply="Nobody else hears.")
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
            narrator.agents(self._agents)
            first = await self._talks(1)
            narrator.first_talks(first, await self._transcript(first[0]))
            narrator.databases(self._agents, await self._look())
            second = await self._talks(2)
            narrator.second_talks(second)
            attempts = await self._attempts(first[0], second)
            narrator.attempts(first[0].responder, attempts)
            await self._stop()
            endings = await self._endings()
        seconds = time.monotonic() - self._began
        results = Results(self._eve, [*first, *second], attempts, first[0].responder, endings, seconds)
        results.check()
        narrator.summary(results)

    def _home(self, agent: Agent) -> Path:
        return self._directory / agent.name

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
        """Wait until both directions have closed so many conversations; the last one of each, the earlier one first."""
        pairs = [(self._alice, self._bob), (self._bob, self._alice)]
        found: list[Talk] = []

        def are_closed() -> bool:
            found[:] = [talk for pair in pairs if (talk := find_talk(self._eve, *pair, number)) is not None]
            return len(found) == len(pairs)

        await self._stage.until(are_closed, f"the close of conversation {number} in both directions")
        for talk in found:
            check_talk(talk, is_again=number > 1)
        return sorted(found, key=lambda talk: talk.messages[0].at)

    async def _transcript(self, talk: Talk) -> tuple[int, str]:
        """What both remember of a talk that has just closed: how many messages, and their digest."""
        ours = await _transcripts(talk.initiator, Role.INITIATOR)
        theirs = await _transcripts(talk.responder, Role.RESPONDER)
        if not ours or ours[:1] != theirs[:1]:
            raise DemoFailed(f"{talk.initiator.name} and {talk.responder.name} do not remember the same")
        return ours[0]

    async def _attempts(self, talk: Talk, again: list[Talk]) -> list[Attempt]:
        """Let Eve try everything on the responder of `talk`, of which she and we know what has to come."""
        victim, friend = talk.responder, talk.initiator
        attempts = attempts_with(self._eve, victim.id, friend.id, friend.name, talk.messages)
        k1 = next(one.messages[0].message for one in again if one.initiator is friend)
        attempts.append(used_ticket(self._eve, friend.id, friend.name, k1))
        heard = len(self._eve.between(victim.id, friend.id, "n1"))
        for attempt in attempts:
            self._eve.send(attempt.payload)

        def greetings() -> list[Overheard]:
            return self._eve.between(victim.id, friend.id, "n1")[heard:]

        await self._stage.until(lambda: bool(greetings()), f"the answer of {victim.name} to a used ticket")
        offer = attempts[-1].payload["hs"]["o"]
        attempts.append(impersonation(self._eve, friend.id, friend.name, offer, greetings()[0]))
        self._eve.send(attempts[-1].payload)
        await self._stage.until(
            lambda: bool(victim.find("refused", reason=str(attempts[-1].answer))),
            f"the refusal of a forged handshake by {victim.name}",
        )
        return attempts

    async def _look(self) -> dict[str, Snapshot]:
        return {
            agent.name: await Reader(agent.database, audit_entries=0).read()
            for agent in self._agents
            if agent.database is not None
        }

    async def _stop(self) -> None:
        for name, status in (await self._stage.close()).items():
            if status != 0:
                raise DemoFailed(f"{name} ended with status {status} when it was told to stop")

    async def _endings(self) -> dict[str, Ending]:
        """What is left of the agents; each log is verified against its end that the other one keeps."""
        endings = {}
        snapshots = await self._look()
        for agent, peer in zip(self._agents, reversed(self._agents), strict=True):
            verified = partial(_verified, head=await _witness(peer, agent))
            endings[agent.name] = Ending(
                snapshots[agent.name],
                await _read(agent, verified),
                {role: await _transcripts(agent, role) for role in Role},
                await _read(agent, _stored_keys),
            )
        return endings


async def _read(agent: Agent, work: Callable[[Session], T]) -> T:
    if agent.database is None:
        raise DemoFailed(f"{agent.name} has no database")
    return await agent.database.read(work)


async def _transcripts(agent: Agent, role: Role) -> list[tuple[int, str]]:
    def closed(session: Session) -> list[tuple[int, str]]:
        entries = [audit_entry(row) for row in audit_rows(session) if row["event"] == "closed"]
        details = [entry.detail for entry in entries if entry.role == role]
        return [(one["messages"], one["transcript"]) for one in details if isinstance(one, dict)]

    return await _read(agent, closed)


async def _witness(agent: Agent, peer: Agent) -> SignedHead:
    """The signed end of its log that a peer has given to an agent."""
    row = await _read(agent, lambda session: session.first(Witness, where={"peer_id": peer.id}))
    head = None if row is None else witnessed_head(row)
    if head is None or not head.holds():
        raise DemoFailed(f"{agent.name} keeps no signed end of {peer.name}'s audit log")
    return head


def _verified(session: Session, head: SignedHead) -> Report:
    return verify_log(audit_rows(session), witness=head)


def _stored_keys(session: Session) -> int:
    where = {"sealed_secret__is_null": False}
    return session.count(RoleState, where=where) + session.count(HalfOpen, where=where)

"""A relay that is restarted ten times in a row, `kill -9` among it, under the conversations of real agents: none is lost."""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from agent_processes import PATIENCE, ROOT, AgentProcess, agents
from stage import ROLES, save_first_generation

TALKATIVE = Path(__file__).with_name("talkative_agent.py")
SHIPPED = Path(__file__).resolve().parent.parent / "agent" / "counting_agent.py"

VERSION_1 = ("--policy", "compat")  # with ids of the first generation
RESTARTS = 10
# A first contact that lost too much is given up and begun anew, which the initiator does after 27 s.
PATIENCE_AFTERWARDS = 60
ENDINGS = itertools.cycle((signal.SIGKILL, signal.SIGTERM))
QUICK = {
    "logger": {"log_level": "INFO"},
    "hyper_parameters": {"reconnection": {"retry_delay_seconds": 0.1, "primary_retry_limit": None}},
}


class RelayProcess:
    """The shipped relay as a process, always on the same port."""

    def __init__(self, directory: Path) -> None:
        self.port = 0
        self._config = directory / "relay.json"
        self._config.write_text(json.dumps({"version": "rust", "logger": {"enable_console_log": False}}))
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Self]:
        relay = cls(directory)
        await relay.start()
        try:
            yield relay
        finally:
            await relay.end(signal.SIGKILL)

    async def start(self) -> None:
        """Returns when it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(ROOT / "server.py"), "--config", str(self._config), "--port", str(self.port)),
            cwd=self._config.parent,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        announcement = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        self.port = int(re.findall(rb":(\d+)", announcement)[0])

    async def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            await asyncio.wait_for(self._process.communicate(), PATIENCE)


async def restart_ten_times(
    relay: RelayProcess, team: Sequence[AgentProcess], until: str, patience: float
) -> None:
    """Each time as soon as somebody, or everybody from everybody, has heard something new."""
    pairs = list(itertools.permutations(team, 2))
    for _ in range(RESTARTS):
        heard = [agent.count("delivered", peer=peer.id) for agent, peer in pairs]
        waits = [
            asyncio.create_task(agent.wait_for("delivered", count + 1, patience, peer=peer.id))
            for (agent, peer), count in zip(pairs, heard, strict=True)
        ]
        done, pending = await asyncio.wait(waits, return_when=until)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        await relay.end(next(ENDINGS))
        await relay.start()


async def end_all(team: Sequence[AgentProcess]) -> None:
    for agent in team:
        agent.signal(signal.SIGTERM)
    for agent in team:
        assert await agent.ended() == 0
        assert "Traceback" not in agent.log


def audited(agent: AgentProcess, peer: AgentProcess, role: str) -> Counter[str]:
    """How often the agent's database says what of its conversations with the peer in one role."""
    with contextlib.closing(sqlite3.connect(agent.database())) as database:
        query = "SELECT event, count(*) FROM audit WHERE role = ? AND peer_id = ? GROUP BY event"
        return Counter(dict(database.execute(query, (role, peer.id))))


def messages(agent: AgentProcess, peer: AgentProcess, role: str) -> list[str]:
    found = agent.find("delivered", peer=peer.id, role=role)
    return [json.dumps(event["message"], sort_keys=True) for event in found]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("version", [1, 2])
async def test_ten_restarts_in_a_row_lose_no_conversation_and_no_message(
    tmp_path: Path, version: int
) -> None:
    config = tmp_path / "client.json"
    config.write_text(json.dumps(QUICK))
    # one conversation in each direction, slow enough to outlast the relays, and no second one
    flags = ("--config", str(config), "--pace", "0.08", "--reconnect-every", "3600")
    if version == 1:
        flags += VERSION_1
        save_first_generation(tmp_path, "alice", "bob")
    async with RelayProcess.running(tmp_path) as relay:
        together = agents(tmp_path, relay.port, "alice", "bob", flags=flags, script=TALKATIVE)
        async with together as team:
            await restart_ten_times(relay, team, asyncio.FIRST_COMPLETED, 20)
            assert not all(agent.count("closed", role=role) for agent in team for role in ROLES)
            for agent in team:
                for role in ROLES:
                    await agent.wait_for("closed", patience=PATIENCE_AFTERWARDS, role=role)
            await end_all(team)
            for agent, peer in itertools.permutations(team):
                for role in ROLES:
                    told = audited(agent, peer, role)
                    assert (told["session"], told["closed"], told["gave_up"]) == (1, 1, 0)
                    heard = messages(agent, peer, role)
                    assert len(heard) == len(set(heard)) == 12
                    # lost connections are calm: said when lost and when there again
                    assert agent.log.count("No connection") <= 2 * RESTARTS


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_restarts_under_shipped_agents_lose_no_conversation(tmp_path: Path) -> None:
    names = ("alice", "bob", "carol")
    flags = ("--pace", "0.3", "--reconnect-every", "1")
    async with RelayProcess.running(tmp_path) as relay:
        async with agents(tmp_path, relay.port, *names, flags=flags, script=SHIPPED) as team:
            await restart_ten_times(relay, team, asyncio.ALL_COMPLETED, 60)
            pairs = list(itertools.permutations(team, 2))
            closed = {(agent.name, peer.name): agent.count("closed", peer=peer.id) for agent, peer in pairs}
            for agent, peer in pairs:
                await agent.wait_for("closed", closed[agent.name, peer.name] + 2, 60, peer=peer.id)
            await end_all(team)
            for agent, peer in pairs:
                begun, ended = audited(agent, peer, "initiator"), audited(peer, agent, "responder")
                assert begun["gave_up"] == ended["gave_up"] == 0
                # the one that was under way at the end may have been closed by its initiator alone
                assert 0 <= begun["closed"] - ended["closed"] <= 1
                assert 0 <= begun["session"] - begun["closed"] <= 1
                heard = messages(agent, peer, "responder")
                assert len(heard) == len(set(heard)) >= 4 * audited(agent, peer, "responder")["closed"]

"""Agents that are told to end while they work."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from agent_processes import AgentProcess, agents

from summoner.server.relay import Relay

LATE_AGENT = Path(__file__).with_name("late_agent.py")


def noted(agent: AgentProcess) -> int:
    """How many conversations its audit log calls closed."""
    with closing(sqlite3.connect(agent.database())) as database:
        (count,) = database.execute("SELECT count(*) FROM audit WHERE event = 'closed'").fetchone()
    return int(count)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_committed_when_the_signal_came_is_told(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with Relay.listening() as relay:
        async with agents(tmp_path, relay.port, "alice", "bob", script=LATE_AGENT) as team:
            alice, _ = team
            async with asyncio.timeout(20):
                while not noted(alice):  # noqa: ASYNC110 - nobody is told before it is too late
                    await asyncio.sleep(0.01)
            assert alice.count("closed") == 0
            alice.signal(number)
            assert await alice.ended() == 0
            assert alice.count("closed") == noted(alice)
            assert alice.events[-1]["event"] == "stopped"
            assert "Traceback" not in alice.log

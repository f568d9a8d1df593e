"""Two agents as processes over a relay: how long until both directions are closed, and how long one conversation takes.

    python -m benchmarks.conversation [ROUNDS]

The first generation needs 12 to 15 s for the same (a fixed second between any two messages).
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, print_table
from summoner.server.relay import Relay

SCRIPT = Path(__file__).resolve().parent.parent / "agents" / "agent_HSAgent_1" / "agent.py"
PATIENCE_SECONDS = 60.0


async def one_round() -> dict[str, list[float]]:
    """Start a relay and two agents, wait for two conversations in each direction.

    Returns:
        Seconds, under "both_closed" (second agent's first line to both directions closed), "first" (first `confirm` to
        accepted `close`, each direction) and "again" (the same after a `reconnect`).
    """
    async with Relay.listening() as relay:
        seen: list[tuple[float, dict[str, Any]]] = []
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=2**20)
        somebody_spoke = asyncio.Event()
        watch = asyncio.create_task(_watch(reader, seen, somebody_spoke))
        with tempfile.TemporaryDirectory() as home:
            agents = []
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    agents.append(await _start("alice", home, relay.port))
                    await somebody_spoke.wait()
                    agents.append(await _start("bob", home, relay.port))
                    closed = [await _closed_times(agent, 2) for agent in agents]
            finally:
                for agent in agents:
                    if agent.returncode is None:
                        agent.kill()
                    await agent.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        writer.close()
        await writer.wait_closed()
    return _evaluate(seen, closed)


def _evaluate(
    seen: list[tuple[float, dict[str, Any]]], closed: list[dict[str, list[float]]]
) -> dict[str, list[float]]:
    names = list(dict.fromkeys(message["from"] for _, message in seen))
    second_connects = next(at for at, message in seen if message["from"] == names[1])
    both_closed = max(times[0] for agent in closed for times in agent.values())
    result: dict[str, list[float]] = {
        "both_closed": [both_closed - second_connects],
        "first": [],
        "again": [],
    }
    for agent_id, times in zip(names, (agent["responder"] for agent in closed), strict=True):
        confirms = [
            at for at, message in seen if message["intent"] == "confirm" and message["from"] == agent_id
        ]
        result["first"].append(times[0] - confirms[0])
        result["again"].append(times[1] - confirms[1])
    return result


async def _start(name: str, home: str, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--name", name, "--home", home, "--port", str(port), "--events"),
        *("--reconnect-every", "0.5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"HANDFAST_PASSPHRASE": "benchmark"},
    )


async def _closed_times(agent: asyncio.subprocess.Process, count: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"initiator": [], "responder": []}
    if agent.stdout is None:
        raise RuntimeError("the agent has no stdout")
    async for line in agent.stdout:
        event = json.loads(line)
        if event["event"] == "closed":
            times[event["role"]].append(event["t"])
        if all(len(of_role) >= count for of_role in times.values()):
            return times
    raise RuntimeError("an agent ended early")


async def _watch(
    reader: asyncio.StreamReader, seen: list[tuple[float, dict[str, Any]]], somebody_spoke: asyncio.Event
) -> None:
    while line := await reader.readline():
        seen.append((time.time(), json.loads(json.loads(line)["content"])["_payload"]))
        somebody_spoke.set()


def run(rounds: int = 5) -> list[Result]:
    """The medians over so many rounds."""
    times = [asyncio.run(one_round()) for _ in range(rounds)]
    names = {
        "both_closed": "second agent's connect to both directions closed",
        "first": "first confirm to accepted close",
        "again": "the same after a reconnect",
    }
    return [
        Result(
            f"two processes, {words}",
            1000 * statistics.median(value for result in times for value in result[name]),
            "ms",
        )
        for name, words in names.items()
    ]


if __name__ == "__main__":
    print_table(run(int(sys.argv[1]) if len(sys.argv) > 1 else 5))

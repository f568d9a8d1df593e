"""Two agents as processes over a relay: how long until they hear each other, and until both directions are closed.

    python -m benchmarks.conversation [ROUNDS]

They speak version 2 with each other. The first generation needs 12 to 15 s for a conversation (a fixed second between any two
messages).
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

from benchmarks.measure import Result, Target, print_table
from summoner.server.relay import Relay

SCRIPT = Path(__file__).resolve().parent.parent / "agents" / "agent_HSAgent_1" / "agent.py"
PATIENCE_SECONDS = 60.0
# wanted at the median, in seconds from the first word of the handshake to the first message opened
FIRST_MESSAGE_WITHIN = {"first_message": 0.060, "resumed": 0.030}

Seen = list[tuple[float, dict[str, Any]]]
Events = list[dict[str, Any]]


async def one_round() -> dict[str, list[float]]:
    """Start a relay and two agents, wait for two conversations in each direction.

    Returns:
        Seconds: under "both_closed", from the second agent's first line to both directions closed; for each direction, under
        "first_message" from the first `confirm` to the first message delivered, and under "closed" to the accepted
        `close`; under "resumed" and "closed_again" the same from the `reconnect` of the next conversation.
    """
    async with Relay.listening() as relay:
        seen: Seen = []
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
                    events = [await _events(agent, 2) for agent in agents]
            finally:
                for agent in agents:
                    if agent.returncode is None:
                        agent.kill()
                    await agent.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        writer.close()
        await writer.wait_closed()
    return _evaluate(seen, events)


def _evaluate(seen: Seen, events: list[Events]) -> dict[str, list[float]]:
    names = list(dict.fromkeys(message["from"] for _, message in seen))
    second_connects = next(at for at, message in seen if message["from"] == names[1])
    closed = [
        _times(of_agent, "closed", role)[0] for of_agent in events for role in ("initiator", "responder")
    ]
    result: dict[str, list[float]] = {"both_closed": [max(closed) - second_connects]}
    for responder, of_agent in zip(names, events, strict=True):
        initiator = next(name for name in names if name != responder)
        sessions = [one for one in of_agent if (one["event"], one.get("role")) == ("session", "responder")]
        if [one["resumed"] for one in sessions[:2]] != [False, True]:
            raise RuntimeError("the second conversation was not begun with a ticket")
        ways = (("n1", responder, "first_message", "closed"), ("k1", initiator, "resumed", "closed_again"))
        for number, (kind, author, to_message, to_close) in enumerate(ways):
            opened, ended = sessions[number]["t"], _times(of_agent, "closed", "responder")[number]
            begun = min(at for at, message in seen if _is(message, kind, author))
            delivered = min(at for at in _times(of_agent, "delivered", "responder") if at >= opened)
            result.setdefault(to_message, []).append(delivered - begun)
            result.setdefault(to_close, []).append(ended - begun)
    return result


def _times(events: Events, event: str, role: str) -> list[float]:
    return [one["t"] for one in events if (one["event"], one.get("role")) == (event, role)]


def _is(message: dict[str, Any], kind: str, author: str) -> bool:
    return (message["from"], message.get("hs", {}).get("t")) == (author, kind)


async def _start(name: str, home: str, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--name", name, "--home", home, "--port", str(port), "--events"),
        *("--reconnect-every", "0.5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"HANDFAST_PASSPHRASE": "benchmark"},
    )


async def _events(agent: asyncio.subprocess.Process, conversations: int) -> Events:
    """What an agent reports until it has closed so many conversations in either role."""
    events: Events = []
    if agent.stdout is None:
        raise RuntimeError("the agent has no stdout")
    async for line in agent.stdout:
        events.append(json.loads(line))
        if all(len(_times(events, "closed", role)) >= conversations for role in ("initiator", "responder")):
            return events
    raise RuntimeError("an agent ended early")


async def _watch(reader: asyncio.StreamReader, seen: Seen, somebody_spoke: asyncio.Event) -> None:
    while line := await reader.readline():
        seen.append((time.time(), json.loads(json.loads(line)["content"])["_payload"]))
        somebody_spoke.set()


def run(rounds: int = 5) -> list[Result]:
    """The medians over so many rounds; the ratio, where there is one, is to what is wanted."""
    times = [asyncio.run(one_round()) for _ in range(rounds)]
    names = {
        "first_message": "first confirm to first message / 60 ms",
        "resumed": "reconnect to first message / 30 ms",
        "closed": "first confirm to accepted close",
        "closed_again": "reconnect to accepted close",
        "both_closed": "second agent's connect to both directions closed",
    }
    results = []
    for name, words in names.items():
        median = statistics.median(value for one in times for value in one[name])
        wanted = FIRST_MESSAGE_WITHIN.get(name)
        ratio, target = (None, None) if wanted is None else (median / wanted, Target(1.0, at_most=True))
        results.append(Result(f"two processes, {words}", 1000 * median, "ms", ratio, target))
    return results


if __name__ == "__main__":
    print_table(run(int(sys.argv[1]) if len(sys.argv) > 1 else 5))

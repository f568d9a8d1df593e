"""What the client costs: `python -m benchmarks.client`.

Throughput is that of one connection into which a sender in another thread pours typed lines, as a ratio to a bare
`StreamReader.readline` with `json.loads` in the same run. Latency is from a line being written to the relay's end of
the socket to the first byte of a reactive sender's frame coming back, everything in one thread.
"""

import asyncio
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.measure import Result, percentile, print_table, ratio
from summoner.client import SummonerClient
from summoner.protocol import Direction, Event, Move
from summoner.protocol.triggers import load_triggers

LINES = 20_000
ROUNDS = 7
EXCHANGES = 3_000

QUIET = {"logger": {"log_level": "ERROR"}}
PEERS_PAYLOAD = {
    "from": "8f14e45f",
    "to": "c9f0f895",
    "intent": "request",
    "message": "How are you?",
    "count": 3,
}
PEERS_TYPES = {key: "int" if key == "count" else "str" for key in PEERS_PAYLOAD}
ENVELOPE = json.dumps({"_version": "1.3.0", "_payload": PEERS_PAYLOAD, "_type": PEERS_TYPES})
LINE = json.dumps({"remote_addr": "127.0.0.1:40000", "content": ENVELOPE}).encode() + b"\n"

Trigger: Any = load_triggers(json_dict={"ok": None})


def flooded(use: Callable[[int], None]) -> float:
    """Lines per second that `use`, given the port of a relay that sends `LINES` lines, takes in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pour() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(LINE * LINES)
                connection.recv(1)  # until the client leaves

        relay = threading.Thread(target=pour)
        relay.start()
        begin = time.perf_counter()
        use(listener.getsockname()[1])
        seconds = time.perf_counter() - begin
        relay.join()
    return LINES / seconds


def bare(port: int) -> None:
    """The least a client in Python can do."""

    async def read() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(LINES):
            json.loads(json.loads(await reader.readline())["content"])
        writer.close()
        await writer.wait_closed()

    asyncio.run(read())


def leave_after(client: SummonerClient, lines: int) -> Callable[[], Coroutine[Any, Any, None]]:
    """A function to call once for each line, which lets the client quit after the last."""
    left = lines

    async def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            await client.quit()

    return count


def with_handler(port: int) -> None:
    """One receiver, no flow."""
    client = SummonerClient(name="handler")
    count = leave_after(client, LINES)

    @client.receive(route="")
    async def take(_payload: Any) -> None:
        await count()

    client.run(port=port, config_dict=QUIET)


def with_hook_and_flow(port: int) -> None:
    """A hook, states, a route and an event for each line, as a routed agent has them."""
    client = SummonerClient(name="routed")
    client.flow().activate().add_arrow_style("-", ("[", "]"), ",", ">")
    count = leave_after(client, LINES)

    @client.hook(direction=Direction.RECEIVE)
    async def check(payload: Any) -> dict | None:  # type: ignore[type-arg]
        return payload["content"] if isinstance(payload, dict) and "content" in payload else None

    @client.upload_states()
    async def states(payload: Any) -> dict[str, str]:
        return {f"initiator:{payload['from']}": "init_ready"}

    @client.download_states()
    async def activated(states: Any) -> None: ...

    @client.receive(route="init_ready --> init_exchange")
    async def take(_payload: Any) -> Event:
        await count()
        return Move(Trigger.ok)

    client.run(port=port, config_dict=QUIET)


def latencies() -> list[float]:
    """Seconds from a line to the frame that answers it, for a client with an idle cycle."""
    client = SummonerClient(name="reactive")
    client.flow().activate().add_arrow_style("-", ("[", "]"), ",", ">")
    times: list[float] = []

    @client.receive(route="--> said")
    async def take(_payload: Any) -> Event:
        return Move(Trigger.ok)

    @client.send(route="/all --> /all", on_triggers={Trigger.ok})
    async def never() -> str:
        return "never"

    @client.send(route="--> said", on_triggers={Trigger.ok})
    async def answer() -> str:
        return "answer"

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(EXCHANGES):
            begin = time.perf_counter()
            writer.write(LINE)
            await reader.readline()
            times.append(time.perf_counter() - begin)
        await client.quit()
        writer.close()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(ask, "127.0.0.1", 0)

    server = client.loop.run_until_complete(serve())
    port = server.sockets[0].getsockname()[1]
    client.run(port=port, config_dict=QUIET)
    server.close()
    return times


def run(rounds: int = ROUNDS) -> list[Result]:
    """The rates as ratios to the bare reader, and the latencies."""
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for use in (bare, with_handler, with_hook_and_flow):
            rates.setdefault(use.__name__, []).append(flooded(use))
    names = {"with_handler": "a handler", "with_hook_and_flow": "a hook, the flow and a handler"}
    results = [
        Result(
            f"client, lines through {words} / readline and json.loads",
            statistics.median(rates[name]),
            "lines/s",
            ratio(rates[name], rates["bare"]),
        )
        for name, words in names.items()
    ]
    times = latencies()
    return results + [
        Result(
            f"client, line to the frame that answers it, p{percent}", 1e6 * percentile(times, percent), "us"
        )
        for percent in (50, 99)
    ]


if __name__ == "__main__":
    print_table(run())

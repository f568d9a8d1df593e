"""How fast the relay broadcasts: deliveries per second from one author to 10 and to 50 recipients.

Side by side with two yardsticks that do less than a relay must, each in a process of its own:

- `forwarder`: what asyncio can do at best. Passes every chunk it reads to everybody else as it is; no lines, no
  wrapping, no limits.
- `line by line`: the obvious program. Reads a line, writes it to one recipient, waits for the drain, then the next.

Run with `python -m benchmarks.relay`. The ratios mean something, the absolute numbers only on the machine at hand.
"""

import asyncio
import json
import select
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

from summoner.server import Relay

FAN_OUTS = (10, 50)
ROUNDS = 5
LINES = {"relay": 20_000, "forwarder": 20_000, "line by line": 2_000}
LINE = (
    json.dumps(
        {
            "_version": "1.3.0",
            "_payload": {"from": "f" * 36, "to": "t" * 36, "intent": "request", "your_nonce": "a" * 32},
            "_type": {"from": "str", "to": "str", "intent": "str", "your_nonce": "str"},
        }
    ).encode()
    + b"\n"
)


def run() -> list[dict[str, Any]]:
    """Measure everything; one row per fan-out with the medians, in deliveries per second, and the two ratios."""
    rows = []
    for fan_out in FAN_OUTS:
        rates: dict[str, list[float]] = {system: [] for system in LINES}
        for _ in range(ROUNDS):  # interleaved, so that a busy moment of the machine meets all of them
            for system, lines in LINES.items():
                rates[system].append(_deliveries_per_second(system, fan_out, lines))
        median = {system: statistics.median(values) for system, values in rates.items()}
        rows.append(
            {
                "fan_out": fan_out,
                **{system: round(rate) for system, rate in median.items()},
                "of_forwarder": round(median["relay"] / median["forwarder"], 2),
                "times_line_by_line": round(median["relay"] / median["line by line"], 1),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    print(f"deliveries per second, lines of {len(LINE)} bytes, medians of {ROUNDS} rounds")
    print(f"{'recipients':>10} {'relay':>12} {'forwarder':>12} {'line by line':>13}   ratios")
    for row in run():
        print(
            f"{row['fan_out']:>10} {row['relay']:>12,} {row['forwarder']:>12,} {row['line by line']:>13,}   "
            f"{row['of_forwarder']:.2f} of the forwarder, {row['times_line_by_line']:.1f} times line by line"
        )


# The measuring client: one thread, blocking at nothing but the selector, so that it is cheaper than any server.


def _deliveries_per_second(system: str, fan_out: int, lines: int) -> float:
    command = [sys.executable, "-m", "benchmarks.relay", "--serve", system]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline()) if server.stdout else 0
            sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(fan_out + 1)]
            try:
                frame_bytes = _warm_up(sockets[0], sockets[1:])
                seconds = _broadcast(sockets[0], sockets[1:], lines, frame_bytes)
            finally:
                for sock in sockets:
                    sock.close()
        finally:
            server.kill()
    return lines * fan_out / seconds


def _warm_up(author: socket.socket, recipients: list[socket.socket]) -> int:
    """Send lines until everybody in the room has heard one; the length of what arrives for a line."""
    silent = set(recipients)
    frame = b""
    while silent:
        author.sendall(LINE)
        for sock in select.select(list(silent), [], [], 0.01)[0]:
            frame = sock.recv(len(LINE) * 2).partition(b"\n")[0] + b"\n"
            silent.discard(sock)
    while late := select.select(recipients, [], [], 0.1)[0]:
        for sock in late:
            sock.recv(1 << 16)
    return len(frame)


def _broadcast(author: socket.socket, recipients: list[socket.socket], lines: int, frame_bytes: int) -> float:
    """Seconds from the first byte written until the last recipient has everything."""
    author.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(author, selectors.EVENT_WRITE)
    missing = dict.fromkeys(recipients, lines * frame_bytes)
    for sock in recipients:
        selector.register(sock, selectors.EVENT_READ)
    unsent = memoryview(LINE * lines)
    buffer = bytearray(1 << 18)
    begin = time.perf_counter()
    while missing:
        events = selector.select(timeout=20)
        if not events:
            raise TimeoutError(f"{len(missing)} recipients miss {sum(missing.values())} bytes")
        for key, _ in events:
            if key.fileobj is author:
                unsent = unsent[author.send(unsent[: 1 << 16]) :]
                if not unsent:
                    selector.unregister(author)
                continue
            recipient = cast("socket.socket", key.fileobj)
            missing[recipient] -= recipient.recv_into(buffer)
            if missing[recipient] <= 0:
                del missing[recipient]
                selector.unregister(recipient)
    seconds = time.perf_counter() - begin
    selector.close()
    return seconds


# The systems measured.


async def _serve_relay() -> None:
    async with Relay.listening() as relay:
        print(relay.port, flush=True)
        await asyncio.Event().wait()


class _Forwarder(asyncio.Protocol):
    def __init__(self, everybody: set[asyncio.Transport]) -> None:
        self.everybody = everybody

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.everybody.add(self.transport)

    def data_received(self, data: bytes) -> None:
        for transport in self.everybody:
            if transport is not self.transport:
                transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.everybody.discard(self.transport)


async def _serve_forwarder() -> None:
    everybody: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Forwarder(everybody), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _serve_line_by_line() -> None:
    everybody: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everybody.add(writer)
        while line := await reader.readline():
            for other in tuple(everybody):
                if other is not writer:
                    other.write(line)
                    await other.drain()
        everybody.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


_SERVERS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "relay": _serve_relay,
    "forwarder": _serve_forwarder,
    "line by line": _serve_line_by_line,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(_SERVERS[sys.argv[2]]())
    else:
        main()

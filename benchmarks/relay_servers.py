"""The relay and its two yardsticks, each served by a process of its own: `python -m benchmarks.relay_servers NAME`.

- `relay`: ours.
- `forwarder`: what asyncio can do at best. Passes every chunk it reads to everybody else as it is, many lines in one
  write; no lines, no wrapping, no limits.
- `line by line`: the obvious program. Reads a line, writes it to one recipient, waits for the drain, then the next.

Each prints the port it listens on.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

from summoner.server.relay import Relay


@contextmanager
def serving(system: str) -> Iterator[tuple[int, int]]:
    """One of the three while the context lasts: its port, and its process id."""
    command = [sys.executable, "-m", "benchmarks.relay_servers", system]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield int(server.stdout.readline()) if server.stdout else 0, server.pid
        finally:
            server.kill()


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


SERVERS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "relay": _serve_relay,
    "forwarder": _serve_forwarder,
    "line by line": _serve_line_by_line,
}

if __name__ == "__main__":
    asyncio.run(SERVERS[sys.argv[1]]())

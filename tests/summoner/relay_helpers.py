"""Clients that talk to a relay over real sockets, for tests. They know the wire and nothing of the client package."""

import asyncio
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from summoner.server import Relay, RelaySettings
from summoner.server.connection import Connection

PATIENCE = 20.0
"""Seconds after which a test gives up waiting. Never reached when all is well."""


class Peer:
    """A client of a relay, reduced to its socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        host, port, *_ = writer.get_extra_info("sockname")
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def write(self, data: bytes) -> None:
        """Write bytes and wait until the kernel has most of them."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def line(self) -> bytes:
        """The next line, with its newline; less than that at the end of the stream."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readline()

    async def lines(self, count: int) -> list[bytes]:
        """So many lines."""
        return [await self.line() for _ in range(count)]

    async def frame(self) -> dict[str, Any]:
        """The next line, which must be a JSON object."""
        value = json.loads(await self.line())
        assert isinstance(value, dict)
        return value

    async def content(self) -> str:
        """What the next frame wraps."""
        content = (await self.frame())["content"]
        assert isinstance(content, str)
        return content

    async def contents(self, count: int) -> list[str]:
        """What the next frames wrap."""
        return [await self.content() for _ in range(count)]

    async def rest(self) -> bytes:
        """Everything until the relay ends the stream."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def listen(self) -> None:
        """Begin to read, after `join_deaf`."""
        self.writer.transport.resume_reading()

    async def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """End the connection; whatever state it is in, that is no error."""
        self.writer.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.writer.wait_closed()
        except OSError:
            pass


async def join(port: int, host: str = "127.0.0.1") -> Peer:
    """Connect to a relay; it may take it a moment more to admit the client."""
    async with asyncio.timeout(PATIENCE):
        return Peer(*await asyncio.open_connection(host, port, limit=1 << 20))


async def join_deaf(port: int, host: str = "127.0.0.1") -> Peer:
    """Connect and read nothing, with small kernel buffers, until `Peer.listen` is called."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    async with asyncio.timeout(PATIENCE):
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        peer = Peer(*await asyncio.open_connection(sock=sock, limit=1 << 20))
    peer.writer.transport.pause_reading()
    return peer


class WatchedRelay(Relay):
    """A relay that tells when somebody has come in."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.somebody_came = asyncio.Event()

    def admit(self, connection: Connection, now: float) -> bool:
        """Admit as ever, and tell."""
        self.somebody_came.set()
        return super().admit(connection, now)


@contextmanager
def logged(text: str) -> Iterator[asyncio.Event]:
    """An event that is set when the relay logs a message containing `text`."""
    heard = asyncio.Event()

    def watch(record: logging.LogRecord) -> bool:
        if text in record.getMessage():
            heard.set()
        return True

    logger = logging.getLogger("summoner.server.relay")
    logger.addFilter(watch)
    try:
        yield heard
    finally:
        logger.removeFilter(watch)


class Room:
    """A relay in this process and the clients that were let into it."""

    def __init__(self, relay: WatchedRelay, stack: AsyncExitStack) -> None:
        self.relay = relay
        self._stack = stack

    async def join(self, connect: Callable[[int], Awaitable[Peer]] = join) -> Peer:
        """One more client, admitted when this returns."""
        peer = await connect(self.relay.port)
        self._stack.push_async_callback(peer.close)
        async with asyncio.timeout(PATIENCE):
            while peer.address not in self.addresses():
                self.relay.somebody_came.clear()
                await self.relay.somebody_came.wait()
        return peer

    def addresses(self) -> list[str]:
        """Who is in the room."""
        return [member.address for member in self.relay._members]


@asynccontextmanager
async def room(**settings: Any) -> AsyncIterator[Room]:
    """A relay with these `RelaySettings`; its clients are gone when the context ends."""
    async with WatchedRelay.listening(settings=RelaySettings(**settings)) as relay, AsyncExitStack() as stack:
        assert isinstance(relay, WatchedRelay)
        yield Room(relay, stack)

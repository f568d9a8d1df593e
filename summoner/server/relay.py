"""The room: who is in it, and how what one says reaches the others (sections 2.1, 3.4 and 3.6).

A relay forwards lines and never looks into them, unless it is asked to deliver what has an addressee to that one alone
(`summoner.server.directory`). It is embedded with `Relay.listening`; running it as a process, with a configuration and
signals, is the business of `summoner.server.server`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from operator import itemgetter

from summoner.server import frames
from summoner.server.connection import Connection
from summoner.server.directory import Directory
from summoner.server.listening import open_listeners
from summoner.server.policies import Quarantine
from summoner.server.settings import RelaySettings
from summoner.server.traffic_log import TrafficLog
from summoner.utils import format_addr

SHUTDOWN_GRACE = 0.5
"""Seconds clients have for taking the shutdown notice and closing in their turn."""


class Relay:
    """Broadcasts every line of a client to all other clients; with `directed_delivery`, every line that is for all.

    Lines of one author reach each recipient in order. A recipient that does not read, an author that floods and
    bytes that make no sense concern that client only: nobody waits for anybody else. Lives on the event loop it was
    started on and is used from that loop's thread.
    """

    def __init__(self, settings: RelaySettings | None = None, logger: logging.Logger | None = None) -> None:
        self.settings = settings or RelaySettings()
        self.logger = logger or logging.getLogger(__name__)
        self._traffic_log = TrafficLog(self.logger, self.settings.log_as_json, self.settings.log_keys)
        self._quarantine = Quarantine(
            self.settings.quarantine_cooldown, self.settings.quarantine_cleanup_interval
        )
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()  # all that are not gone yet
        self._members: dict[Connection, None] = {}  # those that hear and are heard, in order of arrival
        self._directory: Directory[Connection] | None = (
            Directory() if self.settings.directed_delivery else None
        )
        self._to_flush: list[Connection] = []
        self._idle_check: asyncio.TimerHandle | None = None
        self._closing = False
        self._nobody_left = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def listening(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: RelaySettings | None = None,
        logger: logging.Logger | None = None,
    ) -> AsyncIterator["Relay"]:
        """A relay that accepts clients while the context lasts, by default on a free port of the loopback interface.

        On leaving, every client gets the shutdown notice and is gone within a second. Raises `OSError` if the
        address cannot be bound.

            async with Relay.listening() as relay:
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        """
        relay = cls(settings, logger)
        await relay.start(host, port)
        try:
            yield relay
        finally:
            await relay.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listeners[0].sockets[0].getsockname()[1])

    @property
    def addresses(self) -> list[str]:
        """All addresses it listens on, as `ip:port` or `[ip]:port`."""
        return [format_addr(sock.getsockname()) for listener in self._listeners for sock in listener.sockets]

    async def start(self, host: str, port: int) -> None:
        """Begin to accept clients. Raises `OSError` if the address cannot be bound."""
        self._listeners = await open_listeners(self.new_connection, host, port)
        if self.settings.idle_timeout is not None:
            self._check_idle(self.settings.idle_timeout)

    async def close(self) -> None:
        """Accept no more clients, tell those that are there, and return when all are gone; takes under a second."""
        self._closing = True
        for listener in self._listeners:
            listener.close()
        if self._idle_check is not None:
            self._idle_check.cancel()
        for connection in tuple(self._connections):
            connection.close(frames.SHUTTING_DOWN, SHUTDOWN_GRACE)
        if self._connections:
            self._nobody_left.clear()
            await self._nobody_left.wait()
        for listener in self._listeners:
            await listener.wait_closed()

    def new_connection(self) -> Connection:
        """The protocol for one more client; what `loop.create_server` and its like take as a factory."""
        return Connection(self)

    # Called by connections

    def admit(self, connection: Connection, now: float) -> bool:
        """Let a new client into the room; `False` if it is not welcome."""
        if self._closing or self._quarantine.refuses(connection.address, now):
            return False
        self._connections.add(connection)
        self._members[connection] = None
        if self._directory is not None:
            self._directory.join(connection)
        self.logger.info("%s joined, %d here", connection.address, len(self._members))
        return True

    def leave(self, connection: Connection) -> None:
        """Take a client out of the room: it hears nothing more and nothing more of it is heard."""
        if connection in self._members:
            del self._members[connection]
            if self._directory is not None:
                self._directory.leave(connection)
            self.logger.info("%s left, %d here", connection.address, len(self._members))

    def gone(self, connection: Connection) -> None:
        """The client's connection no longer exists."""
        self._connections.discard(connection)
        if not self._connections:
            self._nobody_left.set()

    def recipients_of(self, author: Connection) -> int:
        """How many would get a line of this author now that is for everybody."""
        return len(self._members) - (author in self._members)

    def forward(self, author: Connection, lines: Sequence[str]) -> None:
        """Send lines to those in the room that are to hear them. They are encoded once for all recipients."""
        joined_frames, lines_sent = author.encoder.encode(lines)
        if len(lines_sent) < len(lines):
            author.warn_too_long(len(lines) - len(lines_sent))
        if self._directory is None:
            self._send(author, joined_frames, self._members)
        else:
            self._deliver(author, frames.split_frames(joined_frames), lines_sent, self._directory)
        self._traffic_log.forwarded(author.address, lines_sent)

    def force_out(self, author: Connection) -> None:
        """Disconnect a client that sends far more than the room allows, and refuse its address for a while (S6)."""
        self.logger.warning("%s is disconnected: too many of its lines are waiting", author.address)
        self._quarantine.add(author.address, asyncio.get_running_loop().time())
        author.close(frames.TOO_MANY_WAITING)

    def _deliver(
        self,
        author: Connection,
        split_frames: Sequence[bytes],
        lines: Sequence[str],
        directory: Directory[Connection],
    ) -> None:
        """Send each line to its addressee and to those that hear everything, or to everybody where none is clear."""
        addressees = [directory.addressee(author, line) for line in lines]
        for addressee, group in groupby(zip(addressees, split_frames, strict=True), key=itemgetter(0)):
            joined_frames = b"".join([frame for _, frame in group])
            if addressee is None or addressee not in self._members:  # the latter: it has left since
                self._send(author, joined_frames, self._members)
            else:
                self._send(author, joined_frames, (addressee, *directory.hearing_all))

    def _send(self, author: Connection, joined_frames: bytes, recipients: Iterable[Connection]) -> None:
        for member in tuple(recipients):  # a member whose queue overflows may leave
            if member is not author:
                member.send(joined_frames)

    def flush_soon(self, connection: Connection) -> None:
        """Have a connection write once this loop pass has queued all it has for it."""
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_flush.append(connection)

    def _flush(self) -> None:
        connections, self._to_flush = self._to_flush, []
        for connection in connections:
            connection.flush()

    def _check_idle(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._idle_check = loop.call_later(self.settings.idle_check_interval, self._check_idle, timeout)
        for member in tuple(self._members):
            member.close_if_idle(loop.time(), timeout)

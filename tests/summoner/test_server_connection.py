"""A connection on a transport that the test plays itself: what no real socket can be made to do on command."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from summoner.server import Relay, RelaySettings, frames
from summoner.server.connection import Connection


class FakeTransport(asyncio.Transport):
    """Takes everything until it is told to block."""

    def __init__(self, peer: tuple[str, int] | None = ("192.0.2.1", 5)) -> None:
        super().__init__({"peername": peer})
        self.written = b""
        self.blocking = False
        self.closing = False
        self.write_eof_error: OSError | None = None

    def write(self, data: Any) -> None:
        self.written += data
        if self.blocking:
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        if self.write_eof_error is not None:
            raise self.write_eof_error

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def connect(self, relay: Relay) -> Connection:
        """A new client of `relay` on this transport."""
        self.protocol = relay.new_connection()
        self.protocol.connection_made(self)
        return self.protocol


@pytest.fixture
def transport() -> Iterator[FakeTransport]:
    transport = FakeTransport()
    yield transport
    assert transport.closing


async def until_gone(connection: Connection) -> None:
    await asyncio.wait_for(connection.ended.wait(), 20)


async def test_a_client_whose_address_is_gone_already_is_not_admitted() -> None:
    transport, relay = FakeTransport(peer=None), Relay()
    connection = transport.connect(relay)
    assert relay.recipients_of(connection) == 0
    assert not relay._members
    await until_gone(connection)


async def test_a_client_that_was_accepted_while_the_relay_closed_is_not_admitted(
    transport: FakeTransport,
) -> None:
    relay = Relay()
    await relay.close()
    connection = transport.connect(relay)
    assert not relay._members
    connection.data_received(b"too late\n")
    await until_gone(connection)
    assert transport.written == b""


async def test_a_reset_that_shows_while_the_stream_is_ended_ends_that_connection(
    transport: FakeTransport,
) -> None:
    transport.write_eof_error = ConnectionResetError()
    connection = transport.connect(Relay())
    connection.close(b"Warning: bye\n", grace=3_600.0)
    await until_gone(connection)
    assert transport.written == b"Warning: bye\n" + frames.SERVER_DISCONNECTED


async def test_a_client_sent_away_for_not_reading_its_warnings_hears_nothing_after_the_last(
    transport: FakeTransport,
) -> None:
    settings = RelaySettings(
        max_frame_bytes=256,
        queue_max_bytes=256,
        on_overflow="disconnect",
        lines_per_minute=2,
        final_notice=b"",
    )
    transport.blocking = True
    connection = transport.connect(Relay(settings))
    connection.data_received(b"x" * 250 + b"\nfine\n" + b"refused\n" * 20 + b"\xff\n")
    assert transport.written == frames.TOO_FAST * 3  # what was queued when the queue was full the first time
    connection.resume_writing()
    await asyncio.sleep(0)
    assert transport.written == frames.TOO_FAST * 3 + frames.NOT_READING
    transport.abort()
    await until_gone(connection)


async def test_nothing_checks_for_idleness_once_the_relay_is_closed() -> None:
    async with Relay.listening(settings=RelaySettings(idle_timeout=1.0)) as relay:
        assert relay._idle_check is not None
    assert relay._idle_check.cancelled()

"""Connections to a Summoner relay: what is heard of odd lines, and how connections end."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from handfast import relay_lines, summoner
from handfast.api import TransportError, relay
from summoner.protocol.payload import wrap_with_types
from summoner.server.relay import Relay

pytestmark = pytest.mark.timeout(30)

# gives up at once where no relay is left
IMPATIENT: dict[str, Any] = {
    "hyper_parameters": {
        "reconnection": {"retry_delay_seconds": 0.01, "primary_retry_limit": 1, "default_retry_limit": 1}
    }
}


def relayed(line: str) -> bytes:
    return json.dumps({"remote_addr": "127.0.0.1:1", "content": line}).encode() + b"\n"


@asynccontextmanager
async def serving(greet: Callable[[asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """A relay that only says what the case wants; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greet(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_lines_that_are_nothing_for_us_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_LINE_BYTES", 1_000)
    lines = [
        b"no JSON\n",
        b"\xff\xfe\n",
        b'"Warning: too fast"\n',
        relayed(wrap_with_types("longer than any of ours " * 100)),
        relayed(wrap_with_types("first")),
        relayed('{"_version": "0.0.1", "_payload": 1e999, "_type": "int"}'),
        b'["content"]\n',
        relayed(wrap_with_types("last")),
    ]

    async with serving(lambda writer: writer.write(b"".join(lines))) as port:
        async with relay_lines("127.0.0.1", port) as connection:
            heard = aiter(connection)
            assert [await anext(heard), await anext(heard)] == ["first", "last"]


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection as a relay that is killed may."""
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


@pytest.mark.parametrize("end", [reset, asyncio.StreamWriter.close])
async def test_lines_end_with_the_connection_and_nothing_is_sent_on_it_any_more(
    end: Callable[[asyncio.StreamWriter], None],
) -> None:
    async with serving(end) as port:
        async with relay_lines("127.0.0.1", port) as connection:
            assert [line async for line in connection] == []
            with pytest.raises(TransportError):
                while True:  # of a connection that was closed in good order, the first lines are only written
                    await connection.send({"to": None})


async def test_a_client_that_has_given_up_ends_the_connection() -> None:
    async with Relay.listening("127.0.0.1", 0) as server:
        async with summoner("127.0.0.1", server.port, config=IMPATIENT) as connection:
            await connection.send({"to": None})
            await server.close()
            assert [line async for line in connection] == []
            with pytest.raises(TransportError, match="cannot be reached"):
                await connection.send({"to": None})


async def test_a_client_is_closed_while_it_waits_for_a_reader() -> None:
    async with Relay.listening("127.0.0.1", 0) as server:
        async with (
            summoner("127.0.0.1", server.port) as connection,
            relay_lines("127.0.0.1", server.port) as other,
        ):
            await connection.send({"to": None})
            assert await anext(aiter(other)) == {"to": None}  # both are connected
            for number in range(2 * relay._BACKLOG_LINES):
                await other.send({"number": number})
            heard = connection._heard  # type: ignore[attr-defined]
            while not heard.full():  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.001)

"""Connections to a Summoner relay: by its client, which connects again when the relay is lost, or by its lines alone."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from handfast.api.transport import Connection, TransportError
from handfast.wire.text import Json
from summoner.protocol.payload import RecoveryError, recover_with_types, wrap_with_types

if TYPE_CHECKING:
    from summoner.client import SummonerClient

# A relayed line may be 65,535 bytes unless the relay is told otherwise (summoner-runtime.md, section 2.7).
_LINE_BYTES = 1024 * 1024
_BACKLOG_LINES = 256
_LAST_WORDS_SECONDS = 1.0
_CLOSING_SECONDS = 5.0


@contextlib.asynccontextmanager
async def relay_lines(host: str, port: int) -> AsyncIterator[Connection]:
    """A transport: one TCP connection, which ends when the relay does.

    Raises:
        TransportError: there is no connection.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=_LINE_BYTES)
    except OSError as error:
        raise TransportError(f"{host}:{port}: {error.strerror or 'cannot be reached'}") from None
    try:
        yield _Lines(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def summoner(
    host: str, port: int, *, name: str = "handfast", config: dict[str, Any] | None = None
) -> AsyncIterator[Connection]:
    """A transport: a Summoner client in a thread of its own, as it wants an event loop to itself.

    Args:
        host: of the relay.
        port: of the relay.
        name: of the client, in its log.
        config: of the client, in the official SDK's words; how often it tries to connect again, and its log.
    """
    bridge = _Bridge(asyncio.get_running_loop(), name)
    settings = {"logger": {"enable_console_log": False}} | (config or {})
    thread = threading.Thread(
        target=bridge.run, args=(host, port, settings), name=f"relay {name}", daemon=True
    )
    thread.start()
    try:
        yield bridge
    finally:
        await bridge.quit()
        await asyncio.to_thread(thread.join, _CLOSING_SECONDS)


class _Lines:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, line: dict[str, Json]) -> None:
        try:
            self._writer.write(wrap_with_types(line).encode())
            await self._writer.drain()
        except OSError as error:
            raise TransportError(error.strerror or "the relay has closed the connection") from None

    async def __aiter__(self) -> AsyncIterator[Json]:
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:  # longer than any of ours; what follows it is heard again
                continue
            except OSError:
                return
            if not line:
                return
            try:
                relayed = recover_with_types(line.decode())
            except (RecoveryError, UnicodeDecodeError):
                continue
            if isinstance(relayed, dict) and "content" in relayed:
                yield relayed["content"]


class _Bridge:
    """Between our event loop and that of the client: bounded queues, so that who is behind makes the other wait."""

    def __init__(self, home: asyncio.AbstractEventLoop, name: str) -> None:
        self._home = home
        self._name = name
        self._heard: asyncio.Queue[Json] = asyncio.Queue(_BACKLOG_LINES)
        self._ended = asyncio.Event()
        self._is_quitting = False
        self._is_saying = False
        self._started: asyncio.Future[tuple[SummonerClient, asyncio.Queue[dict[str, Json]]]] = (
            home.create_future()
        )

    def run(self, host: str, port: int, config: dict[str, Any]) -> None:
        """The thread."""
        from summoner.client import SummonerClient  # noqa: PLC0415  # for those only who use it

        client: Any = SummonerClient(name=self._name)  # its decorators have no types of their own
        said: asyncio.Queue[dict[str, Json]] = asyncio.Queue(_BACKLOG_LINES)

        async def hear(payload: Any) -> None:
            if isinstance(payload, dict) and "content" in payload and not self._is_quitting:
                put = self._heard.put(payload["content"])
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(put, self._home))

        async def say() -> dict[str, Json]:
            if self._is_saying:  # called again: the line before has left
                said.task_done()
                self._is_saying = False
            line = await said.get()
            self._is_saying = True
            return line

        client.receive(route="heard")(hear)
        client.send(route="said")(say)
        self._tell(self._started.set_result, (client, said))
        try:
            client.run(host=host, port=port, config_dict=config)
        finally:
            self._tell(self._ended.set)

    async def send(self, line: dict[str, Json]) -> None:
        """As `Connection` says."""
        client, said = await asyncio.shield(self._started)
        await _on_loop_of(client, said.put(line))

    async def __aiter__(self) -> AsyncIterator[Json]:
        ended = asyncio.create_task(self._ended.wait())
        try:
            while True:
                heard = asyncio.create_task(self._heard.get())
                await asyncio.wait({heard, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not heard.done():
                    heard.cancel()
                    return
                yield heard.result()
        finally:
            ended.cancel()

    async def quit(self) -> None:
        """Let the thread end."""
        client, said = await asyncio.shield(self._started)
        self._is_quitting = True
        while not self._heard.empty():  # whoever waits for room
            self._heard.get_nowait()
        with contextlib.suppress(TransportError):  # it has ended by itself
            last_words = _on_loop_of(client, said.join())
            await asyncio.wait({last_words}, timeout=_LAST_WORDS_SECONDS)
            last_words.cancel()
            _on_loop_of(client, client.quit())

    def _tell(self, what: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # our loop is closed: nobody is left to be told
            self._home.call_soon_threadsafe(what, *arguments)


def _on_loop_of(client: "SummonerClient", work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, client.loop))
    except RuntimeError:  # the loop is closed
        work.close()
        raise TransportError("the relay cannot be reached any more") from None

"""A relay that says what a test tells it to, on real sockets, and a client that runs in a thread beside it.

Everything a test awaits here is bounded by `PATIENCE` seconds; nothing measures time.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import queue
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from summoner.client import SummonerClient
from summoner.protocol import Event, Move
from summoner.protocol.triggers import load_triggers

PATIENCE = 10.0

Trigger: Any = load_triggers(json_dict={"ok": None, "other": None, "parent": {"child": None}})

_numbers = itertools.count()


def envelope(payload: Any, types: Any, version: str = "1.3.0") -> str:
    """A typed frame as a peer writes it, without its newline."""
    return json.dumps({"_version": version, "_payload": payload, "_type": types})


def native_line(content: str) -> bytes:
    """A peer's line in the byte form of the official native relay."""
    return native_text(content).encode()


def native_text(content: str) -> str:
    wrapper = {"content": content, "remote_addr": "127.0.0.1:51742"}
    return json.dumps(wrapper, separators=(",", ":"), ensure_ascii=False) + "\n"


def python_line(content: str) -> bytes:
    """A peer's line in the byte form of the official Python relay."""
    return json.dumps({"remote_addr": "127.0.0.1:41070", "content": content}).encode() + b"\n"


def frame(payload_json: str, type_json: str) -> bytes:
    """The bytes in which a client sends a payload."""
    return f'{{"_version": "1.3.0", "_payload": {payload_json}, "_type": {type_json}}}\n'.encode()


class Seen(queue.SimpleQueue[Any]):
    """What handlers saw, to be taken out by the test."""

    def next(self) -> Any:
        return self.get(timeout=PATIENCE)

    def take(self, count: int) -> list[Any]:
        return [self.next() for _ in range(count)]


class Connection:
    """The server's end of one connection of the client."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(PATIENCE)
        self.socket = connected
        self._lines = connected.makefile("rb")

    def send(self, *lines: bytes | str) -> None:
        """Send lines in one packet; a missing newline is added to text, not to bytes."""
        self.socket.sendall(
            b"".join(line.encode() + b"\n" if isinstance(line, str) else line for line in lines)
        )

    def read_line(self) -> bytes:
        return self._lines.readline()

    def read_payload(self) -> Any:
        return json.loads(self.read_line())["_payload"]

    def read_payloads(self, count: int) -> list[Any]:
        return [self.read_payload() for _ in range(count)]

    def read_rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return self._lines.read()

    def close(self) -> None:
        self._lines.close()
        self.socket.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class ScriptedServer:
    """A listening socket on loopback."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._connections: list[Connection] = []
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> Connection:
        connection = Connection(self._listener.accept()[0])
        self._connections.append(connection)
        return connection

    def nobody_waits(self) -> bool:
        """Whether no connection is waiting to be accepted."""
        self._listener.settimeout(0)
        try:
            self.accept()
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(PATIENCE)
        return False

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._listener.close()


def unused_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RecordKeeper(logging.Handler):
    """Keeps the texts of a logger's records, whatever the client's configuration says about handlers."""

    _keep = True

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self._arriving = Seen()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname} {record.getMessage()}")
        self._arriving.put(self.texts[-1])

    def wait_for(self, part: str) -> None:
        while part not in self._arriving.next():
            pass

    def matching(self, part: str) -> list[str]:
        return [text for text in self.texts if part in text]


class ClientUnderTest(SummonerClient):
    """A client of its own name that keeps its log records, and runs in a thread as `with client.running(server):`."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name or f"tested-{next(_numbers)}")
        self.log = RecordKeeper()
        self.logger.addHandler(self.log)

    @property
    def registry(self) -> Any:
        """The client's index of handlers."""
        return self._SummonerClient__registry  # type: ignore[attr-defined]

    def with_arrows(self) -> "ClientUnderTest":
        """Switch the flow on, with the usual arrows."""
        self.flow().activate().add_arrow_style("-", ("[", "]"), ",", ">")
        return self

    def config(self, **hyper_parameters: dict[str, Any]) -> dict[str, Any]:
        reconnection = {"retry_delay_seconds": 0.01} | hyper_parameters.pop("reconnection", {})
        return {
            "logger": {"enable_console_log": False},
            "hyper_parameters": {"reconnection": reconnection, **hyper_parameters},
        }

    @contextlib.contextmanager
    def running(
        self, server: ScriptedServer, **hyper_parameters: dict[str, Any]
    ) -> Iterator[threading.Thread]:
        """Run in a thread until the block ends, quitting then if the client has not ended by itself."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.run("127.0.0.1", server.port, config_dict=self.config(**hyper_parameters))
            except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            self.ask(self.quit())
            thread.join(PATIENCE)
        if failures:
            raise failures[0]
        assert not thread.is_alive(), "the client did not end"

    def ask(self, wish: Any) -> None:
        """Run a coroutine on the client's loop, if that still runs."""
        try:
            asyncio.run_coroutine_threadsafe(wish, self.loop)
        except RuntimeError:  # the loop is closed
            wish.close()


class SkippingSelector(selectors.DefaultSelector):
    """Waits for sockets, and skips the time in which nothing happens."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if not timeout or timeout < 0:
            return super().select(timeout)
        ready = super().select(0.001)
        if not ready:
            self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in which only waiting for a time takes time, and no more of it than was asked for."""

    def __init__(self) -> None:
        self.skipping = SkippingSelector()
        super().__init__(self.skipping)

    def time(self) -> float:
        return self.skipping.skipped


def a_server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


def a_client() -> Iterator[ClientUnderTest]:
    tested = ClientUnderTest()
    yield tested
    tested.loop.close()


def collect(client: ClientUnderTest) -> Seen:
    """Register a receiver that shows what it is given."""
    seen = Seen()

    @client.receive(route="")
    async def take(payload: Any) -> None:
        seen.put(payload)

    return seen


def report_events(client: ClientUnderTest) -> Seen:
    """Register a receiver that shows each payload, and reports it as the data of a `Move` to the senders."""
    seen = Seen()

    @client.receive(route="--> S")
    async def report(payload: Any) -> Event:
        seen.put(payload)
        return Move(Trigger.other if payload == "other" else Trigger.ok, data=payload)

    return seen


def send_once(client: ClientUnderTest, payload: Any, **options: Any) -> None:
    """Register a sender that returns a payload, and at its next call waits for the end."""
    called: list[bool] = []

    @client.send(route="", **options)
    async def send() -> Any:
        if called:
            await asyncio.Event().wait()
        called.append(True)
        return payload

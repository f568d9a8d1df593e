"""`SummonerServer`: a relay as a program, with a configuration, a logger, an event loop and signals (section 3.1)."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Mapping
from typing import Any, cast

from summoner.logger import configure_logger, get_logger
from summoner.server.relay import Relay
from summoner.server.settings import read_config
from summoner.utils import load_config


class ClientDisconnected(Exception):
    """A client went away. Never raised here; it exists for code that names it in an `except` clause."""


class SummonerServer:
    """A relay that runs until it is told to stop.

        SummonerServer(name="relay").run(host="127.0.0.1", port=8888, config_path="configs/server_config.json")

    Attributes: `name`, `logger` (without handlers until `run`), `loop` (private to this server, current in the
    thread that created it, closed when `run` ends).
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name if isinstance(name, str) else "<server:no-name>"
        self.logger = get_logger(self.name)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._relay = Relay(logger=self.logger)  # a room without a door, until `run_server`
        self._stop = asyncio.Event()

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8888,
        config_path: str | None = None,
        config_dict: dict[str, Any] | None = None,
    ) -> None:
        """Serve until SIGINT, SIGTERM or `shutdown`; every client is told, and the call returns within a second.

        `config_dict` takes precedence over `config_path`; a file that is missing or broken means defaults. With a
        `version` beginning with `rust` the configuration's `host` and `port` beat the arguments (S1). Works in any
        thread, where off the main thread no signals are handled (S2).

        Raises `TypeError` if `config_dict` is no dict, `ConfigError` for an invalid value,
        `UnsupportedVersionError` (a `RuntimeError`) for an unknown native version, `OSError` if the address cannot
        be bound.
        """
        try:
            config = config_dict if config_dict is not None else load_config(config_path, debug=True)
            if not isinstance(config, dict):
                raise TypeError(f"config_dict must be a dict, got {type(config_dict).__name__}")
            host, port = self._configure(config, host, port)
            self.set_termination_signals()
            self.loop.set_exception_handler(self._log_loop_error)
            self.loop.run_until_complete(self.run_server(host, port))
        finally:
            self._close_loop()

    async def run_server(self, host: str = "127.0.0.1", port: int = 8888) -> None:
        """Bind and serve until `shutdown` is called or the task is cancelled. Raises `OSError` if it cannot bind."""
        async with Relay.listening(host, port, self._relay.settings, self.logger) as self._relay:
            self.listening(self._relay.addresses)
            await self._stop.wait()

    def listening(self, addresses: list[str]) -> None:
        """Called when clients can connect; override it to be told. Logs the addresses."""
        self.logger.info("listening on %s", ", ".join(addresses))

    async def handle_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client that somebody else accepted, as a callback of `asyncio.start_server`, until it is gone."""
        connection = self._relay.new_connection()
        transport = cast("asyncio.Transport", writer.transport)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        reader.feed_eof()  # nothing reaches it any more: what it holds is what came before
        early = await reader.read()
        if early:
            connection.data_received(early)
        transport.pause_reading()
        transport.resume_reading()  # makes the transport report again an end of file that only `reader` saw
        await connection.ended.wait()

    def set_termination_signals(self) -> None:
        """Let SIGINT and SIGTERM call `shutdown`; does nothing off the main thread, where Python forbids it (S2)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.loop.add_signal_handler(number, self.shutdown)
            except NotImplementedError:  # event loops on Windows
                signal.signal(number, lambda *_: self.shutdown())

    def shutdown(self) -> None:
        """End `run`. May be called from any thread, before `run` and repeatedly."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
            self.loop.call_soon_threadsafe(self._stop.set)

    async def wait_for_tasks_to_finish(self) -> None:
        """Wait until no other task of the running loop is left."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _configure(self, given: Mapping[str, Any], host: str, port: int) -> tuple[str, int]:
        """Set up logger and relay; the address to listen on."""
        config = read_config(given)
        configure_logger(self.logger, config.logger)
        for warning in config.warnings:
            self.logger.warning(warning)
        self._relay = Relay(config.relay, self.logger)
        return config.host or host, config.port or port

    def _log_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        """What asyncio cannot tell anybody else, such as running out of file descriptors; one line, no traceback."""
        error = context.get("exception")
        detail = f": {type(error).__name__}: {error}" if error is not None else ""
        self.logger.error("%s%s", context["message"], detail)

    def _close_loop(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.wait_for_tasks_to_finish())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

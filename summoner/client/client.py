"""`SummonerClient`: the interface that agents are written against (section 4).

What happens behind it lives in the modules beside this one whose names begin with an underscore. Attributes that are
not part of the documented interface begin with two: subclasses put their own on `self`, and must not collide.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from summoner._version import __version__
from summoner.client import _settings
from summoner.client._connection import ConnectionMachine
from summoner.client._context import ClientContext
from summoner.client._delivery import ServerDisconnected
from summoner.client._executor import DaemonExecutor
from summoner.client._intent import Intent
from summoner.client._logging import LimitedLog
from summoner.client._registry import Registry, WatchedFlow
from summoner.client._session import Session, close_connection, run_both_sides
from summoner.client._settings import ClientSettings, read_settings
from summoner.client._shutdown import close_loop, install_signal_handlers
from summoner.logger import Logger, configure_logger, get_logger
from summoner.protocol.flow import Flow
from summoner.protocol.process import ClientIntent, Direction, Receiver, Sender
from summoner.protocol.triggers import Event, Signal
from summoner.protocol.validation import (
    check_direction,
    check_handler,
    check_priority,
    check_route,
    check_send_options,
)
from summoner.utils import load_config

__all__ = ["ServerDisconnected", "SummonerClient"]

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]
Priority = int | tuple[int, ...]


class SummonerClient:
    """A connection to a relay, kept up for as long as the agent runs, and the handlers called for what comes over it.

        client = SummonerClient(name="echo")

        @client.receive(route="")
        async def take(payload: Any) -> None: ...

        client.run(host="127.0.0.1", port=8888)

    Attributes:
        name: free to change; the logger keeps the name given here. A name that is no string counts as none.
        logger: the agent's logger, set up from the configuration by `run`.
        loop: the event loop all handlers run on. It exists before `run`, for `loop.run_until_complete(setup())`, is
            the current loop of the thread that made the client, and is closed when `run` ends.
        host, port: where to connect; `None` for the arguments of `run`.
        default_host, default_port: where to connect when `host` and `port` have failed often enough.
    """

    core_version = __version__

    DEFAULT_RETRY_DELAY = _settings.RETRY_DELAY_SECONDS
    DEFAULT_PRIMARY_RETRY_LIMIT = _settings.PRIMARY_RETRY_LIMIT
    DEFAULT_FAILOVER_RETRY_LIMIT = _settings.DEFAULT_RETRY_LIMIT
    DEFAULT_MAX_BYTES_PER_LINE = _settings.MAX_BYTES_PER_LINE
    DEFAULT_CONCURRENCY_LIMIT = _settings.CONCURRENCY_LIMIT
    DEFAULT_EVENT_BRIDGE_SIZE = _settings.EVENT_BRIDGE_MAXSIZE
    DEFAULT_MAX_CONSECUTIVE_ERRORS = _settings.MAX_WORKER_ERRORS

    def __init__(self, name: str | None = None) -> None:
        self.name = name if isinstance(name, str) else "<client:no-name>"
        self.logger: Logger = get_logger(self.name)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.host: str | None = None
        self.port: int | None = None
        self.default_host: str | None = None
        self.default_port: int | None = None
        self.__executor = DaemonExecutor()
        self.loop.set_default_executor(self.__executor)
        self.__log = LimitedLog(self.logger, self.loop)
        self.__flow = WatchedFlow()
        self.__registry = Registry(self.__flow, self.logger, self.loop)
        self.__intent = Intent()
        self.__session: Session | None = None
        self.__is_closing = False
        self.__apply(ClientSettings())

    def __apply(self, settings: ClientSettings) -> None:
        if self.__intent.pending is not ClientIntent.TRAVEL:  # C5: the target asked for before `run` stands
            self.host, self.port = settings.host, settings.port
        self.default_host, self.default_port = settings.default_host, settings.default_port
        self.__context = ClientContext(
            settings, self.__registry, self.__flow, self.__intent, self.__log, self.core_version
        )
        self.__machine = ConnectionMachine(self.__context)

    # ---- What an agent asks for --------------------------------------------------------------------------------

    def flow(self) -> Flow:
        """The client's routing rules, inactive at first."""
        return self.__flow

    def initialize(self) -> None:
        """Prepare the flow for use. `run` does it; calling it oneself is allowed and unnecessary."""
        self.__flow.compile_arrow_patterns()

    async def travel_to(self, host: str | None, port: int | None) -> None:
        """Ask to leave for another relay. Returns at once; `None` stands for the arguments of `run`.

        Senders under way have a fifth of a second to finish, and what they return still goes to the old relay.
        """
        self.host, self.port = host, port
        self.__intent.request(ClientIntent.TRAVEL)

    async def quit(self) -> None:
        """Ask `run` to end. Returns at once. What senders return from now on is discarded, so send before."""
        self.__intent.request(ClientIntent.QUIT)

    def dna(self, include_context: bool = False) -> str:
        """The handlers as text, for merging and translation. Not available yet: raises `NotImplementedError`."""
        raise NotImplementedError(
            f"dna(include_context={include_context}) is not available in this version of the summoner package"
        )

    # ---- Decorators --------------------------------------------------------------------------------------------

    def upload_states(self) -> Decorator[Function]:
        """Register the handler that is given each payload and returns the states it concerns (see `StateTape`).

        Called with an active flow only. Raises `TypeError` for an unsuitable function.
        """

        def decorate(function: Function) -> Function:
            check_handler(function, "upload_states", self.logger)
            self.__registry.schedule(lambda: self.__registry.set_upload_states(function))
            return function

        return decorate

    def download_states(self) -> Decorator[Function]:
        """Register the handler that is given the states activated by each batch of receivers of one priority.

        Called with an active flow only. Raises `TypeError` for an unsuitable function.
        """

        def decorate(function: Function) -> Function:
            check_handler(function, "download_states", self.logger)
            self.__registry.schedule(lambda: self.__registry.set_download_states(function))
            return function

        return decorate

    def hook(self, direction: Direction, priority: Priority = ()) -> Decorator[Function]:
        """Register a function that every payload of a direction passes; it may change it, or drop it by `None`.

        Hooks run by ascending priority; there is one for each. Raises `TypeError` for an unsuitable function or
        direction, `ValueError` for a bad priority.
        """

        def decorate(function: Function) -> Function:
            check_handler(function, "hook", self.logger)
            check_direction(direction)
            order = check_priority(priority)
            self.__registry.schedule(lambda: self.__registry.add_hook(direction, order, function))
            return function

        return decorate

    def receive(self, route: str, priority: Priority = ()) -> Decorator[Function]:
        """Register a handler of incoming payloads, in place of an earlier one on the same route.

        With an active flow it runs for payloads whose states the route accepts, and reports by the event it returns;
        otherwise it runs for every payload. Handlers of one priority run concurrently.

        Raises `TypeError` for an unsuitable function or route, `ValueError` for a bad priority.
        """
        text = check_route(route, "receive")

        def decorate(function: Function) -> Function:
            check_handler(function, "receive", self.logger)
            receiver = Receiver(function, check_priority(priority))
            self.__registry.schedule(lambda: self.__registry.add_receiver(text, receiver))
            return function

        return decorate

    def send(
        self,
        route: str,
        multi: bool = False,
        on_triggers: set[Signal] | None = None,
        on_actions: set[type[Event]] | None = None,
        use_data: bool = False,
        data_mode: Literal["live", "snapshot"] | None = None,
        every: float | None = None,
        run_while: bool | Callable[[], Any] | None = None,
        when_data: Callable[[Any], Any] | None = None,
    ) -> Decorator[Function]:
        """Register a function whose results are sent: one payload, or a list of them with `multi`; `None` is not sent.

        Without further options it is called again as soon as it and its companions have returned. `on_triggers` and
        `on_actions` make it react to events instead; with `use_data` it is given each event's data, the very object
        or, by `data_mode="snapshot"`, a copy, if `when_data` agrees. `every` makes it run each so many seconds, for a
        reactive sender from its first event on, while `run_while` holds.

        Raises `TypeError` or `ValueError` for unsuitable arguments (section 4.6.1), `RuntimeError` for those that
        need an active flow.
        """
        text = check_route(route, "send")

        def decorate(function: Function) -> Function:
            check_handler(function, "send", self.logger, multi=multi, use_data=use_data)
            mode = check_send_options(
                flow_in_use=self.__flow.in_use,
                multi=multi,
                use_data=use_data,
                every=every,
                on_triggers=on_triggers,
                on_actions=on_actions,
                run_while=run_while,
                data_mode=data_mode,
                when_data=when_data,
                logger=self.logger,
            )
            sender = Sender(
                function, multi, on_actions, on_triggers, use_data, mode, when_data, every, run_while
            )
            self.__registry.schedule(lambda: self.__registry.add_sender(text, sender))
            return function

        return decorate

    # ---- Running -----------------------------------------------------------------------------------------------

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8888,
        config_path: str | None = None,
        config_dict: dict[str, Any] | None = None,
    ) -> None:
        """Connect and stay connected until `quit`, SIGINT, SIGTERM, failing senders, or the end of all retries.

        `config_dict` takes precedence over `config_path`; a file that is missing or broken means defaults. The
        configuration's `host` and `port` beat the arguments. Works in any thread, where off the main thread no
        signals are handled (C1). The loop is closed whatever happens.

        Raises `TypeError` if `config_dict` is no dict, `ConfigError` (a `ValueError`) for an invalid value, and
        `RuntimeError` when called a second time.
        """
        if self.loop.is_closed():
            raise RuntimeError("a client runs once, and this one has: its event loop is closed")
        try:
            self.__configure(config_path, config_dict)
            self.initialize()
            self.set_termination_signals()
            self.loop.run_until_complete(asyncio.sleep(0))  # registrations made so far come first
            self.loop.run_until_complete(self.run_client(host, port))
        except asyncio.CancelledError:
            self.logger.info("Stopped")
        finally:
            self.__is_closing = True
            close_loop(self.loop, self.__executor, self.__log)
            self.logger.info("Client %s has ended", self.name)

    def __configure(self, config_path: str | None, config_dict: dict[str, Any] | None) -> None:
        if config_dict is not None and not isinstance(config_dict, dict):
            raise TypeError(f"config_dict must be a dict, got {type(config_dict).__name__}")
        config = load_config(config_path, debug=True) if config_dict is None else config_dict
        settings, warnings = read_settings(config)
        configure_logger(self.logger, settings.logger)
        for warning in warnings:
            self.logger.warning("%s", warning)
        self.__apply(settings)

    def set_termination_signals(self) -> None:
        """Let SIGINT and SIGTERM call `shutdown`. May be replaced on an instance; does nothing off the main thread."""
        install_signal_handlers(self.loop, self.shutdown)

    def shutdown(self) -> None:
        """Cancel every task of the loop, the agent's own included, so that `run` returns. Call it on the loop.

        A second call, as by an impatient Ctrl-C, disturbs nothing that is cleaning up: the end is bounded anyway.
        """
        for task in asyncio.all_tasks(self.loop):
            if not self.__is_closing and not task.cancelling():
                task.cancel()

    async def run_client(self, host: str, port: int) -> None:
        """Keep sessions up until there is a reason to end, with retries and failover."""
        await self.__machine.run(lambda: self.handle_session(host, port), self.__fail_over)

    def __fail_over(self) -> None:
        self.host, self.port = self.default_host, self.default_port

    async def handle_session(self, host: str, port: int) -> None:
        """Run a session, and another one wherever `travel_to` leads. Returns when the client is to end.

        `host` and `port` stand in where `self.host` and `self.port` are `None`. Raises `OSError` if there is no
        connection, `ServerDisconnected` if it ended.
        """
        while self.__intent.pending in (None, ClientIntent.TRAVEL):
            self.__intent.clear()
            streams = await self.__machine.connect(self.host or host, self.port or port)
            if streams is None:
                continue
            await self.__run_session(*streams)
            if self.__intent.pending is None:
                return

    async def __run_session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.__session = Session(self.__context)
        stop_event = self.__intent.event
        receive = asyncio.create_task(self.message_receiver_loop(reader, stop_event), name="the receive side")
        send = asyncio.create_task(self.message_sender_loop(writer, stop_event), name="the send side")
        try:
            await run_both_sides(receive, send, stop_event, self.__context)
        finally:
            self.__session = None
            await close_connection(writer)
            self.__log.report("Disconnected", level=logging.INFO)

    async def message_receiver_loop(self, reader: asyncio.StreamReader, stop_event: asyncio.Event) -> None:
        """The receive side of the current session, or of one of its own if there is none.

        Returns when `stop_event` is set and the line at hand is done with; raises `ServerDisconnected` at the end of
        the stream.
        """
        await (self.__session or Session(self.__context)).receive(reader, stop_event)

    async def message_sender_loop(self, writer: asyncio.StreamWriter, stop_event: asyncio.Event) -> None:
        """The send side of the current session, or of one of its own if there is none.

        Returns when `stop_event` is set and the calls under way are over, or when a worker has failed too often;
        raises `ServerDisconnected` when the connection breaks.
        """
        await (self.__session or Session(self.__context)).send(writer, stop_event)

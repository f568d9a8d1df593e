"""HSAgent_1: meets other agents on a Summoner relay, proves who it is, talks end-to-end encrypted, and remembers.

    python agents/agent_HSAgent_1/agent.py --name alice

Importing this module does nothing; `build` puts an agent together and `main` runs one.
"""

import os
import signal
import sys

_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

if __name__ == "__main__":
    # a signal in the half second of imports is an orderly end, too; there is nothing to close yet
    for _number in _STOPPING_SIGNALS:
        signal.signal(_number, lambda *_: os._exit(0))

import asyncio
import contextlib
import copy
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from filelock import BaseFileLock

from handfast.adapters.files import (
    bring_up_to_date,
    database_path,
    find_passphrase,
    identity_path,
    is_readable_by_others,
    load_or_create_identity,
    lock_identity,
)
from handfast.adapters.sqlite import SqliteStore
from handfast.adapters.system import SystemClock, SystemEntropy, software
from handfast.conversation.model import Party, Settings
from handfast.dialogue import Dialogue
from handfast.driver import Driver
from handfast.errors import HandfastError, StorageError
from options import PROGRAM, Options, parse
from reporting import Reporter, log_to, say
from routes import Wiring
from summoner.client import SummonerClient
from summoner.protocol.triggers import load_triggers

HERE = Path(__file__).resolve().parent

# What has begun when a signal comes takes some milliseconds to end, on a slow disk more.
_SETTLING_SECONDS = 1.0


class HSAgent:
    """One agent, put together and ready to run.

    Attributes:
        client: the Summoner client with all routes attached.
        store: the agent's database, opened by `run`.
    """

    def __init__(
        self,
        options: Options,
        client: SummonerClient,
        store: SqliteStore,
        driver: Driver,
        reporter: Reporter,
        locks: Sequence[BaseFileLock],
    ) -> None:
        self.client = client
        self.store = store
        self._options = options
        self._driver = driver
        self._reporter = reporter
        self._locks = locks
        self._has_started = False

    def run(self) -> None:
        """Connect and talk until told to stop; then everything is closed.

        Raises:
            StorageError: the database cannot be used.
            ValueError: the configuration holds an invalid value.
        """
        options = self._options
        config = copy.deepcopy(options.config)
        # the runtime lets the configuration win over its arguments; a flag of ours wins over both
        config |= {
            key: value for key, value in (("host", options.host), ("port", options.port)) if value is not None
        }
        logger = config.get("logger")
        # the console is written by our own handler, on stdout or stderr as --events asks
        config["logger"] = (logger if isinstance(logger, dict) else {}) | {"enable_console_log": False}
        self.client.set_termination_signals = self._await_signals  # type: ignore[method-assign]
        try:
            self.client.loop.run_until_complete(self._open())
            self.client.run(host="127.0.0.1", port=8888, config_dict=config)
        finally:
            _on_signals(_do_nothing)  # ending takes a moment; a second Ctrl-C must not leave it half done
            if self._has_started:
                with contextlib.suppress(StorageError):
                    asyncio.run(self._driver.stop())  # the runtime has closed its own loop
            self.store.close_sync()
            for lock in self._locks:
                lock.release()
            _on_signals(signal.SIG_IGN)  # which alone outlives the interpreter's own ending
            if self._has_started:
                self._reporter.stopped()

    @property
    def left_undone(self) -> str | None:
        """What `--conversations` asked for and did not come about, in words."""
        wanted, closed = self._options.conversations, self._reporter.closed
        return (
            None if wanted is None or closed >= wanted else f"ended after {closed} of {wanted} conversations"
        )

    async def _open(self) -> None:
        await self.store.open()
        self._has_started = True
        self._reporter.started(self.store.self_id)
        await self._driver.start()

    def _await_signals(self) -> None:
        """In the place of the runtime's own method, whose handlers cancel what has begun before its end is told."""
        loop, leaving = self.client.loop, set[asyncio.Task[None]]()

        def leave() -> None:
            leaving.add(loop.create_task(self._settle_and_shut_down()))

        def stop(_number: int, _frame: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: this is the end
                loop.call_soon_threadsafe(leave)

        _on_signals(stop)

    async def _settle_and_shut_down(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING_SECONDS):
                await self._driver.settle()
        self.client.shutdown()


def build(options: Options, dialogue: Dialogue | None = None) -> HSAgent:
    """Put an agent together.

    Args:
        options: what the command line asks for.
        dialogue: what the agent says; the demonstration, with --say and --reply, if None.

    Raises:
        HandfastError: the identity, its passphrase or the home cannot be used; the text is for people.
    """
    path = identity_path(options.home, options.name)
    locks = [lock_identity(path)]
    passphrase = find_passphrase(
        options.passphrase_file,
        options.keychain,
        demo=options.demo_passphrase,
        warn=lambda text: say(f"WARNING: {text}"),
    )
    identity, is_new = load_or_create_identity(path, passphrase)
    database = database_path(options.home, identity.agent_id)
    locks.append(lock_identity(database))  # a copied identity file has another name and the same database
    identity, renewed = bring_up_to_date(path, identity, passphrase, SystemClock().now())
    client = SummonerClient(name=f"HSAgent_{options.name}")
    log_to(sys.stderr if options.events else sys.stdout, client.logger, options.name)
    if is_new:
        client.logger.info("made a new identity: %s", path)
    elif is_readable_by_others(path):
        say(f"WARNING: {path} can be read by other users of this machine: chmod 600 it")
    for words in renewed:
        client.logger.info(words)
    reporter = Reporter(options.name, client.logger, sys.stdout if options.events else None)
    if dialogue is None:
        standard = Dialogue()
        dialogue = Dialogue(
            standard.say if options.say is None else options.say,
            standard.answer if options.reply is None else options.reply,
        )
    settings = Settings(
        zone=options.zone,
        pace=options.pace,
        reconnect_every=options.reconnect_every,
        # who pauses longer expects others to do so, too
        lost_memory_after=max(Settings().lost_memory_after, 1.5 * options.reconnect_every),
    )
    store = SqliteStore(database, identity)
    driver = Driver(
        store,
        SystemClock(),
        SystemEntropy(),
        Party(
            identity,
            settings,
            dialogue,
            policy=options.policy,
            network=options.network,
            psk=options.psk,
            post_quantum=options.post_quantum,
        ),
        reporter.outcome,
        software(),
    )
    flow = client.flow().activate()
    flow.add_arrow_style(stem="-", brackets=("[", "]"), separator=",", tip=">")
    trigger = load_triggers(triggers_file=str(HERE / "TRIGGERS"))
    Wiring(client, trigger, identity.agent_id, driver, reporter, options.conversations).attach()
    return HSAgent(options, client, store, driver, reporter, locks)


def main(arguments: Sequence[str] | None = None, dialogue: Dialogue | None = None) -> int:
    """Run an agent as the command line says.

    Returns:
        The exit status: 0 after an orderly end, 1 after fewer conversations than were asked for, 2 where something asked
        for cannot be done.
    """
    _on_signals(_stop)  # until the runtime installs its own handlers
    try:
        agent = build(parse(arguments, HERE), dialogue)
        agent.run()
    except KeyboardInterrupt:
        return 0
    except (HandfastError, ValueError, OSError) as error:
        kind = "the database cannot be used: " if isinstance(error, StorageError) else ""
        say(f"{PROGRAM}: {kind}{error}")
        return 2
    if agent.left_undone is None:
        return 0
    say(f"{PROGRAM}: {agent.left_undone}")
    return 1


def _on_signals(handler: object) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING_SIGNALS:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN, a function of ours: Python complains aloud when a signal under way finds it gone."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    _on_signals(_do_nothing)  # once is enough: a second one must not interrupt the closing
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

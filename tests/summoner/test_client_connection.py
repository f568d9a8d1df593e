"""Connecting, failing, travelling and trying again (section 4.4)."""

import asyncio
import contextlib
import itertools
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scripted_server import (
    PATIENCE,
    ClientUnderTest,
    RecordKeeper,
    ScriptedServer,
    Seen,
    SkippingLoop,
    a_client,
    a_server,
    collect,
    native_line,
    send_once,
)

from summoner.client import _connection
from summoner.client._connection import ConnectionMachine
from summoner.client._context import ClientContext
from summoner.client._intent import Intent
from summoner.client._logging import LimitedLog
from summoner.client._settings import ClientSettings

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)


def test_quit_before_run_is_honoured(server: ScriptedServer, client: ClientUnderTest) -> None:
    client.loop.run_until_complete(client.quit())
    client.run("127.0.0.1", server.port, config_dict=client.config())
    assert server.nobody_waits()


def test_travel_before_run_is_honoured(server: ScriptedServer, client: ClientUnderTest) -> None:
    client.loop.run_until_complete(client.travel_to("127.0.0.1", server.port))
    send_once(client, "arrived")
    other = ScriptedServer()
    try:
        with client.running(other):
            assert server.accept().read_payload() == "arrived"
        assert other.nobody_waits()
    finally:
        other.close()


@pytest.mark.parametrize("wish", ["quit", "travel"])
def test_quit_and_travel_during_the_retry_sleep_end_it_at_once(
    server: ScriptedServer, client: ClientUnderTest, wish: str
) -> None:
    dead = ScriptedServer()
    dead.close()
    send_once(client, "arrived")
    with client.running(dead, reconnection={"retry_delay_seconds": 3600}) as thread:
        client.log.wait_for("No connection")
        if wish == "quit":
            client.ask(client.quit())
            thread.join(PATIENCE)
            assert not thread.is_alive()
        else:
            client.ask(client.travel_to("127.0.0.1", server.port))
            assert server.accept().read_payload() == "arrived"


def test_travelling_to_nowhere_in_particular_leads_back_to_the_arguments_of_run(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    second = ScriptedServer()
    seen = collect(client)

    @client.receive(route="travel")
    async def leave(payload: Any) -> None:
        if payload == "away":
            await client.travel_to("127.0.0.1", second.port)
        if payload == "home":
            await client.travel_to(host=client.default_host, port=client.default_port)

    try:
        with client.running(server):
            server.accept().send("away")
            second.accept().send("home")
            server.accept().send("sweet")
            assert seen.take(3) == ["away", "home", "sweet"]
    finally:
        second.close()


def test_with_a_retry_delay_of_zero_every_session_can_send(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    @client.send(route="")
    async def tick() -> str:
        await asyncio.sleep(0.001)
        return "tick"

    reconnection = {"retry_delay_seconds": 0, "primary_retry_limit": None}
    with client.running(server, reconnection=reconnection):
        for _ in range(10):
            connection = server.accept()
            assert connection.read_payload() == "tick"
            connection.close()


def test_a_server_that_accepts_and_drops_exhausts_the_limits(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    reconnection = {"primary_retry_limit": 2, "default_retry_limit": 1}
    with client.running(server, reconnection=reconnection) as thread:
        for _ in range(3):
            server.accept().close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(client.log.matching("CRITICAL")) == 1


def test_a_session_that_lived_clears_the_count_of_failures(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", SkippingLoop)
        client = ClientUnderTest()

    @client.send(route="")
    async def grow_old() -> str:
        await asyncio.sleep(4)
        return "old"

    reconnection = {"retry_delay_seconds": 3, "primary_retry_limit": 2, "default_retry_limit": 1}
    with client.running(server, reconnection=reconnection) as thread:
        for _ in range(6):
            connection = server.accept()
            assert connection.read_payload() == "old"
            connection.close()
        for _ in range(2):
            server.accept().reset()
        thread.join(PATIENCE)


def test_a_connection_reset_by_the_server_is_followed_by_another(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)

    @client.send(route="")
    async def flood() -> str:
        return "x" * 10_000

    with client.running(server, reconnection={"primary_retry_limit": None}):
        server.accept().reset()
        connection = server.accept()
        connection.send(native_line("still here"))
        assert seen.next()["content"] == "still here"


def test_a_server_that_never_reads_does_not_keep_the_client_from_quitting(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    stuck = Seen()

    @client.send(route="")
    async def flood() -> str:
        stuck.put(True)
        return "x" * 1_000_000

    with client.running(server) as thread:
        server.accept()
        stuck.take(3)
        client.ask(client.quit())
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_an_address_that_is_none_counts_as_a_failed_attempt(client: ClientUnderTest) -> None:
    limits = {"primary_retry_limit": 1, "default_retry_limit": 1}
    client.run("x" * 300 + ".example", 1, config_dict=client.config(reconnection=limits))
    assert len(client.log.matching("ERROR No connection")) == 2


Part = Callable[[ConnectionMachine], Awaitable[None]]


async def nothing(machine: ConnectionMachine) -> None: ...


async def connect(machine: ConnectionMachine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        streams = await machine.connect("127.0.0.1", listener.getsockname()[1])
    assert streams is not None
    streams[1].close()
    await streams[1].wait_closed()


class Attempts:
    """A connection machine over attempts that fail, and when each of them was made."""

    def __init__(self, **reconnection: Any) -> None:
        self.log = RecordKeeper()
        self.logger = logging.getLogger("test of attempts")
        self.logger.handlers = [self.log]
        self.logger.propagate = False
        self.logger.setLevel(logging.INFO)
        self.settings = ClientSettings(**reconnection)
        self.times: list[float] = []

    def made(self, failures: int, each: Part = nothing, at_last: Part = nothing) -> None:
        """Run until so many attempts have failed, each after its part; then the client comes to an orderly end."""

        async def attempt() -> None:
            self.times.append(loop.time())
            if len(self.times) <= failures:
                await each(machine)
                raise ConnectionRefusedError("nobody listens")
            await at_last(machine)

        with contextlib.closing(SkippingLoop()) as loop:
            parts = {"settings": self.settings, "intent": Intent(), "log": LimitedLog(self.logger, loop)}
            context = cast("ClientContext", SimpleNamespace(**parts))
            machine = ConnectionMachine(context)
            loop.run_until_complete(machine.run(attempt, lambda: None))

    def delays(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.times)]

    def errors(self) -> list[str]:
        return self.log.matching("ERROR")


@pytest.mark.parametrize(
    ("delay", "longest"), [(1.0, _connection._LONGEST_DELAY_SECONDS), (0.5, 10.0), (60.0, 60.0), (0.0, 0.0)]
)
def test_without_a_limit_each_delay_is_twice_the_last_up_to_the_longest(
    delay: float, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    attempts = Attempts(retry_delay_seconds=delay, primary_retry_limit=None)
    attempts.made(60)
    assert attempts.delays() == pytest.approx([min(delay * 2**number, longest) for number in range(60)])


def test_with_a_limit_the_delay_is_the_one_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    attempts = Attempts(retry_delay_seconds=2.0, primary_retry_limit=5, default_retry_limit=5)
    attempts.made(100)
    assert attempts.delays() == pytest.approx([2.0] * 9)
    assert len(attempts.errors()) == 10


def test_no_two_clients_wait_equally_long() -> None:
    crowd = [Attempts(retry_delay_seconds=8.0, primary_retry_limit=None) for _ in range(20)]
    for attempts in crowd:
        attempts.made(1)
    first = [attempts.delays()[0] for attempts in crowd]
    assert len(set(first)) == len(first)
    assert all(6.0 <= delay <= 10.0 for delay in first)


def test_an_outage_is_told_when_it_begins_now_and_then_and_when_it_ends() -> None:
    attempts = Attempts(retry_delay_seconds=1.0, primary_retry_limit=None)
    attempts.made(360, at_last=connect)
    seconds = attempts.times[-1]
    assert attempts.errors()[0] == "ERROR No connection (attempt 1): nobody listens"
    assert 2 <= len(attempts.errors()) <= 1 + seconds / 60
    (connected,) = attempts.log.matching("Connected")
    assert connected.endswith("after 360 failed attempts")


def test_a_relay_that_accepts_and_drops_is_met_more_slowly_but_never_left_alone_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    attempts = Attempts(retry_delay_seconds=1.0, primary_retry_limit=None)
    attempts.made(60, each=connect)
    assert attempts.delays() == pytest.approx([1.0, 2.0] + [4.0] * 58, abs=0.1)
    assert len(attempts.log.texts) <= 3 * 5 * (1 + attempts.times[-1] / 10)

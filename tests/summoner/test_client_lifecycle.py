"""Scenario 22, and how a client begins, reconnects and ends (sections 4.2 to 4.5)."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from scripted_server import (
    PATIENCE,
    ClientUnderTest,
    ScriptedServer,
    Seen,
    a_client,
    a_server,
    collect,
    send_once,
    unused_port,
)

from summoner.client import ServerDisconnected
from summoner.config import ConfigError

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)

AGENT = """
import asyncio, os, sys
from typing import Any
from summoner.client import SummonerClient

client = SummonerClient(name="agent")

def say(text: str) -> None:
    os.write(1, text.encode() + b"\\n")  # in one piece, from whatever thread


def typed_line() -> str:
    say("reading")
    return input()

@client.receive(route="")
async def take(payload: Any) -> None:
    if payload == "exit":
        sys.exit(3)
    try:
        say("handling")
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)  # cleaning up takes its time, and is not cut short
        say("receiver cancelled")
        raise

@client.send(route="")
async def ask() -> str:
    try:
        if await client.loop.run_in_executor(None, typed_line) == "exit":
            sys.exit(3)
    except asyncio.CancelledError:
        say("sender cancelled")
        raise

@client.receive(route="a second one, so that the two run concurrently")
async def look(payload: Any) -> None:
    await asyncio.sleep(0)

async def background() -> None:
    try:
        async for _ in endless():
            await asyncio.Event().wait()
    finally:
        say("background cancelled")

async def endless():
    try:
        while True:
            yield 1
    finally:
        say("generator closed")

async def setup() -> None:
    client.background = asyncio.create_task(background())

client.loop.run_until_complete(setup())
client.run(port=int(sys.argv[1]), config_dict={"logger": {"log_level": "WARNING"}})
say("run returned")
"""


@contextlib.contextmanager
def agent_process(server: ScriptedServer) -> Any:
    """The agent above in a process of its own, stuck in a handler, a sender, a thread and a task."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", AGENT, str(server.port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_scenario_22_a_signal_cancels_every_handler_and_ends_the_process_with_status_0(
    server: ScriptedServer, number: signal.Signals
) -> None:
    with agent_process(server) as process:
        connection = server.accept()
        connection.send("something to handle")
        begun = {process.stdout.readline().strip() for _ in range(2)}
        assert begun == {"handling", "reading"}
        process.send_signal(number)
        # Standard input stays open: the thread in `input()` is still stuck when the process ends.
        printed = sorted(line for line in process.stdout.read().splitlines() if "WARNING" not in line)
        errors = process.stderr.read()
        status = process.wait(PATIENCE)
    assert printed == [
        "background cancelled",
        "generator closed",
        "receiver cancelled",
        "run returned",
        "sender cancelled",
    ]
    assert errors == ""
    assert status == 0


@pytest.mark.parametrize("where", ["receiver", "sender"])
def test_sys_exit_in_a_handler_ends_the_process_with_its_status_and_without_noise(
    server: ScriptedServer, where: str
) -> None:
    with agent_process(server) as process:
        connection = server.accept()
        if where == "receiver":
            connection.send("exit")
        process.stdin.write("exit\n" if where == "sender" else "\n")
        process.stdin.flush()
        errors = process.stderr.read()
        assert process.wait(PATIENCE) == 3
    assert errors == ""


def test_a_task_that_ignores_its_cancellation_does_not_hold_up_the_end(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    started = Seen()

    @client.send(route="")
    async def stubborn() -> None:
        started.put(True)
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with client.running(server) as thread:
        server.accept()
        started.next()
        client.ask(client.quit())
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert client.log.matching("left behind")


def test_a_handler_may_clean_up_while_the_client_ends(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = Seen()

    @client.receive(route="")
    async def take(payload: Any) -> None:
        try:
            seen.put("handling")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            client.shutdown()  # a second Ctrl-C
            await asyncio.sleep(0.02)
            seen.put("cleaned up")

    with client.running(server) as thread:
        server.accept().send("go")
        assert seen.next() == "handling"
        client.loop.call_soon_threadsafe(client.shutdown)
        thread.join(PATIENCE)
    assert seen.next() == "cleaned up"


def test_run_closes_the_loop_whatever_happens_and_works_once(client: ClientUnderTest) -> None:
    bad = {"hyper_parameters": {"sender": {"concurrency_limit": 0}}}
    with pytest.raises(ConfigError, match=r"hyper_parameters\.sender\.concurrency_limit: must be"):
        client.run(config_dict=bad)
    assert client.loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        client.run()


def test_a_config_dict_must_be_a_dict(client: ClientUnderTest) -> None:
    with pytest.raises(TypeError, match="config_dict"):
        client.run(config_dict="configs/client_config.json")  # type: ignore[arg-type]
    assert client.loop.is_closed()


def test_set_termination_signals_is_called_through_the_instance(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    called = Seen()
    client.set_termination_signals = lambda: called.put(True)  # type: ignore[method-assign]
    with client.running(server):
        server.accept()
        called.next()


def test_a_configuration_may_have_null_sections_and_unknown_keys(client: ClientUnderTest) -> None:
    reconnection = {"retry_delay_seconds": 0, "primary_retry_limit": 1, "default_retry_limit": 1, "tries": 5}
    config = {
        "logger": None,
        "hyper_parameters": {
            "sender": None,
            "receiver": {"read_timeout_seconds": "x"},
            "reconnection": reconnection,
        },
        "colour": "green",
    }
    client.run("127.0.0.1", unused_port(), config_dict=config)
    assert client.log.matching("colour: unknown key")
    assert client.log.matching("hyper_parameters.reconnection.tries: unknown key")


def test_a_queue_smaller_than_the_workers_is_worth_a_warning_and_works(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    for number in range(5):
        send_once(client, number)
    with client.running(server, sender={"concurrency_limit": 5, "queue_maxsize": 1, "batch_drain": 0}):
        assert sorted(server.accept().read_payloads(5)) == [0, 1, 2, 3, 4]
    assert client.log.matching("queue_maxsize")
    assert len(client.log.matching("under pressure")) == 1


def test_a_line_up_to_the_configured_limit_arrives_and_a_longer_one_is_skipped(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)
    with client.running(server, receiver={"max_bytes_per_line": 1_000_000}):
        server.accept().send("x" * 999_999, "y" * 1_000_000, "z")
        assert [len(seen.next()), seen.next()] == [999_999, "z"]
    assert len(client.log.matching("longer than max_bytes_per_line (1000000 bytes)")) == 1


def test_the_loops_of_a_session_can_be_run_by_themselves(client: ClientUnderTest) -> None:
    seen = collect(client)

    async def feed() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"one\ntwo")
        reader.feed_eof()
        with pytest.raises(ServerDisconnected):
            await client.message_receiver_loop(reader, asyncio.Event())
        stop = asyncio.Event()
        stop.set()
        await client.message_receiver_loop(asyncio.StreamReader(), stop)

    client.loop.run_until_complete(asyncio.wait_for(feed(), PATIENCE))
    assert seen.take(2) == ["one", "two"]


def test_blocking_calls_run_in_threads_and_their_errors_come_back(client: ClientUnderTest) -> None:
    met = threading.Barrier(3)

    def meet(number: int) -> int:
        met.wait(PATIENCE)
        if number == 2:
            raise KeyError(number)
        return number

    async def call() -> list[Any]:
        calls = [client.loop.run_in_executor(None, meet, number) for number in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = client.loop.run_until_complete(call())
    assert results[:2] == [0, 1]
    assert isinstance(results[2], KeyError)

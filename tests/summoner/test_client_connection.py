"""Connecting, failing, travelling and trying again (section 4.4)."""

import asyncio
from typing import Any

import pytest
from scripted_server import (
    PATIENCE,
    ClientUnderTest,
    ScriptedServer,
    Seen,
    SkippingLoop,
    a_client,
    a_server,
    collect,
    native_line,
    send_once,
)

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

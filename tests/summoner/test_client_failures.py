"""Scenarios 10 to 19 of section 8: what a client sends, receives and survives, against a scripted server."""

import asyncio
from typing import Any

import pytest
from scripted_server import (
    ClientUnderTest,
    Connection,
    ScriptedServer,
    Seen,
    a_client,
    a_server,
    collect,
    frame,
    send_once,
)

from summoner.protocol import Direction

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)


def test_scenario_18_a_sender_that_fails_every_other_time_keeps_its_session(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    count = 0

    @client.send(route="")
    async def sometimes() -> Any:
        nonlocal count
        count += 1
        if count % 2:
            raise ValueError(f"odd: {count}")
        return count

    with client.running(server, sender={"concurrency_limit": 1, "max_worker_errors": 2}):
        assert server.accept().read_payloads(5) == [2, 4, 6, 8, 10]
    assert not client.log.matching("CRITICAL")


@pytest.mark.parametrize(("workers", "limit", "calls"), [(1, 1, 1), (1, 3, 3), (4, 3, 9), (3, 2, 4)])
def test_scenario_19_a_sender_that_always_fails_ends_the_client_at_the_limit_per_worker(
    server: ScriptedServer, client: ClientUnderTest, workers: int, limit: int, calls: int
) -> None:
    count = 0

    @client.send(route="")
    async def never() -> Any:
        nonlocal count
        count += 1
        raise ValueError("always")

    with client.running(server, sender={"concurrency_limit": workers, "max_worker_errors": limit}) as thread:
        connection = server.accept()
        thread.join(10)
        assert not thread.is_alive()
    assert connection.read_rest() == b""
    assert count == calls
    assert len(client.log.matching("CRITICAL")) == 1
    assert server.nobody_waits()


def test_scenario_19_a_payload_that_cannot_be_wrapped_counts_as_a_failure(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    @client.send(route="", multi=True)
    async def bad() -> list:  # type: ignore[type-arg]
        return ["good", {(1, 2): "a key that JSON does not allow"}, "never reached"]

    with client.running(server, sender={"concurrency_limit": 1, "max_worker_errors": 1}) as thread:
        connection = server.accept()
        thread.join(10)
        assert not thread.is_alive()
    assert connection.read_rest() == frame('"good"', '"str"')


def test_scenario_20_hooks_run_by_priority_may_drop_and_may_fail(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)

    def add_hook(name: str, priority: Any) -> None:
        @client.hook(direction=Direction.RECEIVE, priority=priority)
        async def mark(payload: Any) -> Any:
            if payload == f"drop at {name}":
                return None
            if payload == f"fail at {name}":
                raise ValueError(name)
            return f"{payload}, {name}"

    add_hook("two", 2)
    add_hook("replaced", ())
    add_hook("one-five", (1, 5))
    add_hook("minus", -1)
    add_hook("empty", ())
    with client.running(server):
        connection = server.accept()
        connection.send("a", "drop at minus, empty", "drop at empty", "fail at empty", "drop at replaced")
        payloads = seen.take(4)
    assert payloads == [
        "a, empty, minus, one-five, two",
        "drop at minus, empty, empty, minus, one-five, two",
        "fail at empty, minus, one-five, two",
        "drop at replaced, empty, minus, one-five, two",
    ]
    assert len(client.log.matching("replaces")) == 1
    assert len(client.log.matching("ValueError: empty")) == 1


def test_scenario_20_send_hooks_see_each_payload_and_drop_only_their_own(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    send_once(client, ["a", "drop", "fail", "b"], multi=True)

    @client.hook(Direction.SEND, priority=2)
    async def second(payload: Any) -> Any:
        await asyncio.sleep(0)
        return [payload]

    @client.hook(Direction.SEND, priority=1)
    async def first(payload: Any) -> Any:
        if payload == "fail":
            raise ValueError(payload)
        return None if payload == "drop" else payload + "!"

    with client.running(server):
        assert server.accept().read_payloads(3) == [["a!"], ["fail"], ["b!"]]


def test_scenario_20_a_hook_may_replace_a_null(server: ScriptedServer, client: ClientUnderTest) -> None:
    seen = collect(client)

    @client.hook(Direction.RECEIVE)
    async def fill(payload: Any) -> Any:
        return "was null" if payload is None else payload

    with client.running(server):
        server.accept().send("null")
        assert seen.next() == "was null"


def _ask_in_a_task(client: ClientUnderTest, server: ScriptedServer, concurrency: int) -> Connection:
    """A client with senders that never return quits by a background task; the server's end of its connection."""
    started = Seen()
    for _ in range(3):

        @client.send(route="")
        async def sleep() -> str:
            started.put(True)
            await asyncio.sleep(3600)
            return "never"

    with client.running(server, sender={"concurrency_limit": concurrency}) as thread:
        connection = server.accept()
        started.next()
        client.ask(client.quit())
        thread.join(10)
        assert not thread.is_alive()
    return connection


@pytest.mark.parametrize("concurrency", [1, 50])
def test_scenario_21_quit_from_a_background_task_ends_the_client_while_senders_sleep(
    server: ScriptedServer, client: ClientUnderTest, concurrency: int
) -> None:
    assert _ask_in_a_task(client, server, concurrency).read_rest() == b""
    assert server.nobody_waits()


def test_scenario_21_quit_by_one_of_several_senders_ends_the_client_with_one_worker(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    finished = Seen()

    @client.send(route="")
    async def leave() -> str:
        await client.quit()
        await asyncio.sleep(0.01)
        finished.put("what follows quit in the sender that asked")
        return "discarded"

    @client.send(route="")
    async def other() -> str:
        finished.put("a call that would be discarded")
        return "discarded too"

    with client.running(server, sender={"concurrency_limit": 1}) as thread:
        connection = server.accept()
        thread.join(10)
        assert not thread.is_alive()
    assert connection.read_rest() == b""
    assert finished.next() == "what follows quit in the sender that asked"
    assert finished.empty()


def test_scenario_21_quit_in_a_send_hook_still_sends_the_rest_of_the_list(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    send_once(client, ["a", "b", "c"], multi=True)

    @client.hook(Direction.SEND)
    async def leave(payload: Any) -> Any:
        await client.quit()
        await asyncio.sleep(0.001)
        return payload

    with client.running(server) as thread:
        connection = server.accept()
        thread.join(10)
        assert not thread.is_alive()
    assert connection.read_rest() == frame('"a"', '"str"') + frame('"b"', '"str"') + frame('"c"', '"str"')


def test_scenario_23_run_works_in_a_thread_without_replacing_any_method(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()  # made after the client, outside of its thread

    @client.receive(route="")
    async def take(payload: Any) -> None:
        await queue.put(payload.upper())

    @client.send(route="")
    async def answer() -> str:
        return await queue.get()

    async def setup() -> None:
        await queue.put("from setup")

    client.loop.run_until_complete(setup())
    with client.running(server):
        connection = server.accept()
        assert connection.read_payload() == "from setup"
        connection.send("shout")
        assert connection.read_payload() == "SHOUT"


def test_scenario_24_handlers_registered_inside_a_handler_act_on_the_next_line(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = Seen()

    @client.receive(route="first")
    async def register(payload: Any) -> None:
        if payload != "register":
            return

        @client.receive(route="second")
        async def take(payload: Any) -> None:
            seen.put(payload)

        send_once(client, "hello from the new sender")

    with client.running(server):
        connection = server.accept()
        connection.send("register", "next line of the same packet")
        assert seen.next() == "next line of the same packet"
        assert connection.read_payload() == "hello from the new sender"


def test_scenario_24_handlers_registered_in_another_thread_act_too(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    with client.running(server):
        connection = server.accept()
        send_once(client, "from the test's thread")
        assert connection.read_payload() == "from the test's thread"

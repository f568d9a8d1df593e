"""Scenarios 10 to 19 of section 8: what a client sends, receives and survives, against a scripted server."""

import asyncio
from collections.abc import Callable
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
    envelope,
    frame,
    native_line,
    python_line,
    send_once,
    unused_port,
)

from summoner.client import ServerDisconnected
from summoner.protocol import Direction

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)


def test_scenario_10_a_client_without_handlers_connects_and_sends_no_bytes(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    with client.running(server):
        connection = server.accept()
        connection.send("lines", "nobody", native_line("reads"))
    assert connection.read_rest() == b""


def test_scenario_10_without_receivers_lines_are_discarded_before_the_hooks(client: ClientUnderTest) -> None:
    hooked = Seen()

    @client.hook(Direction.RECEIVE)
    async def never(payload: Any) -> None:
        hooked.put(payload)

    async def receive() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"lines\nnobody\nreads")
        reader.feed_eof()
        with pytest.raises(ServerDisconnected):
            await client.message_receiver_loop(reader, asyncio.Event())

    client.loop.run_until_complete(asyncio.wait_for(receive(), PATIENCE))
    assert hooked.empty()


def test_scenario_11_a_payload_becomes_a_typed_frame(server: ScriptedServer, client: ClientUnderTest) -> None:
    send_once(client, "hello")
    send_once(client, {"a": 1})
    with client.running(server):
        connection = server.accept()
        frames = {connection.read_line(), connection.read_line()}
    assert frames == {frame('"hello"', '"str"'), frame('{"a": 1}', '{"a": "int"}')}


def test_scenario_11_every_payload_of_a_list_becomes_a_frame_in_its_order(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    payloads = [
        "café ☕",
        None,
        [1, "a", None, [True]],
        {},
        "",
        0,
        False,
        (1, 2),
        {1: "z", None: "y"},
        b"xy",
        float("nan"),
    ]
    send_once(client, payloads, multi=True)
    with client.running(server):
        connection = server.accept()
        frames = [connection.read_line() for _ in range(10)]
    assert frames == [
        frame('"caf\\u00e9 \\u2615"', '"str"'),
        frame('[1, "a", null, [true]]', '["int", "str", "null", ["bool"]]'),
        frame("{}", "{}"),
        frame('""', '"str"'),
        frame("0", '"int"'),
        frame("false", '"bool"'),
        frame('"(1, 2)"', '"str"'),
        frame('{"1": "z", "null": "y"}', '{"1": "str", "null": "str"}'),
        frame("\"b'xy'\"", '"str"'),
        frame("NaN", '"float"'),
    ]


@pytest.mark.parametrize("relayed", [native_line, python_line])
def test_scenario_12_lines_of_both_official_relays_arrive_and_the_end_starts_a_retry(
    server: ScriptedServer, client: ClientUnderTest, relayed: Callable[[str], bytes]
) -> None:
    seen = collect(client)
    with client.running(server):
        connection = server.accept()
        connection.send(
            "Warning: hi",
            relayed(envelope({"text": "café", "n": 1.5}, {"text": "str", "n": "float"})),
            relayed("plain"),
            "",
            "null",
            "7",
            '"js"',
            b"Warning: Server disconnected.",
        )
        connection.socket.shutdown(1)
        payloads = seen.take(7)
        server.accept()
    assert payloads[0] == "Warning: hi"
    assert payloads[1].pop("remote_addr").startswith("127.0.0.1:")
    assert payloads[1] == {"content": {"text": "café", "n": 1.5}}
    assert payloads[2]["content"] == "plain"
    assert payloads[3:] == ["", 7, "js", "Warning: Server disconnected."]


def test_scenario_12_lines_cut_anywhere_by_the_network_arrive_whole(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)
    with client.running(server):
        connection = server.accept()
        for byte in native_line("one") + native_line("two"):
            connection.send(bytes([byte]))
        assert [seen.next()["content"], seen.next()["content"]] == ["one", "two"]


def test_scenario_13_without_a_server_the_client_tries_three_times_and_returns(
    client: ClientUnderTest,
) -> None:
    default_port = unused_port()
    reconnection = {
        "retry_delay_seconds": 0.2,
        "primary_retry_limit": 2,
        "default_retry_limit": 1,
        "default_host": "localhost",
        "default_port": default_port,
    }
    client.run("127.0.0.1", unused_port(), config_dict=client.config(reconnection=reconnection))
    attempts = client.log.matching("ERROR No connection")
    assert [attempt.partition(")")[0] for attempt in attempts] == [
        "ERROR No connection (attempt 1 of 2",
        "ERROR No connection (attempt 2 of 2",
        "ERROR No connection (attempt 1 of 1",
    ]
    assert len(client.log.matching("CRITICAL")) == 1
    assert (client.host, client.port) == ("localhost", default_port)


def test_scenario_14_the_address_of_the_configuration_beats_that_of_run(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    send_once(client, "here")
    other = ScriptedServer()
    configured = client.config() | {"host": "127.0.0.1", "port": other.port}
    client.config = lambda **_: configured  # type: ignore[method-assign]
    try:
        with client.running(server):
            assert other.accept().read_payload() == "here"
        assert server.nobody_waits()
    finally:
        other.close()


def test_scenario_15_a_sender_travels_and_later_frames_arrive_at_the_second_server(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    second = ScriptedServer()
    count = 0

    @client.send(route="")
    async def numbers() -> Any:
        nonlocal count
        count += 1
        if count == 2:
            await client.travel_to(host="127.0.0.1", port=second.port)
        if count > 4:
            await asyncio.Event().wait()
        return count

    try:
        with client.running(server):
            at_first = server.accept().read_rest()
            at_second = second.accept().read_payloads(2)
    finally:
        second.close()
    assert at_first == frame("1", '"int"') + frame("2", '"int"')
    assert at_second == [3, 4]
    assert not client.log.matching("ERROR")


@pytest.mark.parametrize("concurrency", [1, 2, 50])
def test_scenario_15_a_receiver_travels_and_the_client_can_still_send(
    server: ScriptedServer, client: ClientUnderTest, concurrency: int
) -> None:
    second = ScriptedServer()
    seen = collect(client)

    @client.receive(route="travel")
    async def leave(payload: Any) -> None:
        if payload == "leave":
            await client.travel_to("127.0.0.1", second.port)

    @client.send(route="")
    async def tick() -> str:
        await asyncio.sleep(0.005)
        return "tick"

    try:
        with client.running(server, sender={"concurrency_limit": concurrency}):
            first = server.accept()
            assert first.read_payload() == "tick"
            first.send("leave")
            connection = second.accept()
            assert connection.read_payloads(3) == ["tick"] * 3
            connection.send("still listening")
            assert seen.take(2) == ["leave", "still listening"]
    finally:
        second.close()


def test_scenario_15_a_call_under_way_may_finish_before_the_client_travels(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    second = ScriptedServer()
    under_way = Seen()
    leaving = asyncio.Event()

    @client.receive(route="")
    async def leave(payload: Any) -> None:
        await client.travel_to("127.0.0.1", second.port)
        leaving.set()

    @client.send(route="")
    async def slow() -> str:
        under_way.put(True)
        await leaving.wait()
        await asyncio.sleep(0.01)
        return "from before"

    try:
        with client.running(server):
            first = server.accept()
            under_way.next()
            first.send("now")
            assert first.read_payload() == "from before"
            assert first.read_rest() == b""
            second.accept()
    finally:
        second.close()


def test_scenario_16_travelling_to_a_dead_port_ends_at_the_default_target(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    dead_port = unused_port()
    travelled = False

    @client.send(route="")
    async def tick() -> str:
        nonlocal travelled
        await asyncio.sleep(0.005)
        if not travelled:
            travelled = True
            await client.travel_to("127.0.0.1", dead_port)
        return "tick"

    reconnection = {"primary_retry_limit": 2, "default_host": "127.0.0.1", "default_port": server.port}
    with client.running(server, reconnection=reconnection):
        assert server.accept().read_rest() == frame('"tick"', '"str"')
        assert server.accept().read_payload() == "tick"
    assert len(client.log.matching(str(dead_port))) == 2


def _deeply_nested(depth: int) -> bytes:
    return native_line("[" * depth + "]" * depth)


POISON = {
    "invalid UTF-8": b'{"remote_addr":"a:1","content":"\xff\xfe"}\n',
    "nesting of 5 000": _deeply_nested(5_000),
    "nesting of 20 000, unwrapped": b"[" * 20_000 + b"\n",
    "a version that is a list": native_line(envelope("x", "str").replace('"1.3.0"', '["1.3.0"]')),
    "a version that is an object": native_line(envelope("x", "str").replace('"1.3.0"', '{"v": 1}')),
    "an infinite integer": native_line('{"_version": "1.3.0", "_payload": 1e400, "_type": "int"}'),
    "an integer of 5 000 digits": b"1" * 5_000 + b"\n",
    "more than 64 KiB": native_line("x" * 70_000),
    "10 MB": native_line("x" * 10_000_000),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_scenario_17_a_poison_line_is_dropped_and_the_following_line_is_delivered(
    server: ScriptedServer, client: ClientUnderTest, poison: bytes
) -> None:
    seen = collect(client)
    with client.running(server):
        connection = server.accept()
        connection.send(poison, native_line("after"))
        assert seen.next()["content"] == "after"
        assert connection.socket.getpeername()
    assert len(client.log.matching("WARNING")) == 1
    assert not client.log.matching("ERROR")


def test_scenario_17_a_flood_of_poison_writes_a_bounded_and_printable_log(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)
    with client.running(server):
        connection = server.accept()
        connection.send(*[b"\xff\x1b[2J\n", b'{"a": 1e400\x1b}' + b"\xfe" * 10 + b"\n"] * 1000, "after")
        assert seen.next() == "after"
    warnings = client.log.matching("WARNING")
    assert 1 <= len(warnings) <= 10
    assert all(text.isprintable() for text in warnings)


def test_scenario_17_values_that_are_odd_but_no_poison_are_delivered(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    seen = collect(client)
    with client.running(server):
        connection = server.accept()
        connection.send('{"a":1,"a":2}', "NaN\x00", '"\\ud800"', "1e400", "after")
        payloads = seen.take(5)
    assert payloads[0] == {"a": 2}
    assert payloads[1:3] == ["NaN\x00", "\ud800"]
    assert payloads[3:] == [float("inf"), "after"]

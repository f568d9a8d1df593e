"""Clients of ours through a relay of ours: the smallest room, and what must survive the way (scenarios 1, 11, 12, 29)."""

import threading
from collections.abc import Iterator

import pytest
from scripted_server import PATIENCE, ClientUnderTest, ScriptedServer, collect, send_once, unused_port

from summoner.server import SummonerServer


class RelayPort(ScriptedServer):
    """Where a relay listens, for clients that know only scripted servers."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.fixture
def relay() -> Iterator[RelayPort]:
    port = unused_port()
    server = SummonerServer(name="relay of the clients' test")
    config = {"logger": {"enable_console_log": False}}
    thread = threading.Thread(target=lambda: server.run("127.0.0.1", port, config_dict=config))
    thread.start()
    yield RelayPort(port)
    server.loop.call_soon_threadsafe(server.shutdown)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def pair() -> Iterator[tuple[ClientUnderTest, ClientUnderTest]]:
    clients = ClientUnderTest("author"), ClientUnderTest("listener")
    yield clients
    for client in clients:
        client.loop.close()


def test_scenario_29_payloads_survive_the_way_through_a_relay_unchanged(
    relay: RelayPort, pair: tuple[ClientUnderTest, ClientUnderTest]
) -> None:
    author, listener = pair
    heard = collect(listener)
    own = collect(author)
    payloads = [
        "true",
        "null",
        "NaN",
        '{"a": 1}',
        "1.10",
        "-0",
        " 5 ",
        '"q"',
        "",
        {"a": ["1e3", None, 2.5]},
        7,
    ]
    payloads.append("café \x00 end")
    with listener.running(relay, reconnection={"primary_retry_limit": None}):
        listener.log.wait_for("Connected")
        send_once(author, payloads, multi=True)
        with author.running(relay, reconnection={"primary_retry_limit": None}):
            contents = [payload["content"] for payload in heard.take(len(payloads))]
    assert contents == payloads
    assert own.empty()

"""`SummonerServer` as a library: construction, threads, addresses, streams, and how it ends."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from relay_helpers import PATIENCE, Peer, join

from summoner.config import ConfigError
from summoner.server import Relay, SummonerServer, frames
from summoner.server.server import ClientDisconnected

QUIET = {"logger": {"enable_console_log": False}}


class Reporting(SummonerServer):
    """Tells another thread when it listens."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.ready = threading.Event()
        self.addresses: list[str] = []

    def listening(self, addresses: list[str]) -> None:
        super().listening(addresses)
        self.addresses = addresses
        self.ready.set()

    @property
    def port(self) -> int:
        assert self.ready.wait(PATIENCE)
        return int(self.addresses[0].rpartition(":")[2])


@contextmanager
def running(**options: Any) -> Iterator[Reporting]:
    """A server that runs in a thread."""
    server = Reporting("in a thread")
    thread = threading.Thread(target=server.run, kwargs={"port": 0, "config_dict": QUIET} | options)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def exchange(one: Peer, other: Peer) -> None:
    """Both hear each other."""
    other.writer.write(b"hello\n")  # the one who came last is certainly in the room, once it is heard
    assert (await one.frame())["content"] == "hello"
    one.writer.write(b"hello\n")
    assert (await other.frame())["content"] == "hello"


async def test_a_server_in_a_thread_serves_and_is_stopped_from_another() -> None:
    with running() as server:
        a, b = await join(server.port), await join(server.port)
        await exchange(a, b)
        server.shutdown()
        assert await a.rest() == frames.SHUTTING_DOWN + frames.SERVER_DISCONNECTED
        await a.close()
        await b.close()
    assert server.loop.is_closed()
    server.shutdown()  # once more does no harm


def test_shutdown_before_run_ends_it_at_once() -> None:
    server = SummonerServer("hasty")
    left_over = server.loop.create_task(asyncio.sleep(3_600))
    server.shutdown()
    server.run(port=0, config_dict=QUIET)
    assert server.loop.is_closed()
    assert left_over.cancelled()


def test_what_the_loop_has_to_complain_about_is_one_logged_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Clumsy(SummonerServer):
        def listening(self, addresses: list[str]) -> None:
            self.loop.call_soon(int, "no number")
            self.shutdown()

    Clumsy("clumsy").run(port=0, config_dict={"logger": {"console_log_format": "%(levelname)s %(message)s"}})
    output, errors = capsys.readouterr()
    assert output.startswith("ERROR Exception in callback int(")
    assert output.count("\n") == 1
    assert errors == ""


def test_unknown_keys_are_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    server = SummonerServer("curious")
    server.shutdown()
    server.run(port=0, config_dict={"colour": "red"})
    assert "colour: unknown key" in capsys.readouterr().out


def test_names_that_are_no_text_are_replaced() -> None:
    server = SummonerServer(name=5)  # type: ignore[arg-type]
    assert server.name == server.logger.name == "<server:no-name>"
    assert asyncio.get_event_loop_policy().get_event_loop() is server.loop
    server.loop.close()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ([], TypeError),
        ({"port": "x"}, ConfigError),
        ({"version": "rust_v9"}, RuntimeError),
        ({"logger": {"console_log_format": "%(nonsense"}}, ConfigError),
    ],
)
def test_a_wrong_configuration_is_an_error_and_leaves_nothing_open(
    config: Any, error: type[Exception]
) -> None:
    server = SummonerServer("wrong")
    with pytest.raises(error):
        server.run(config_dict=config)
    assert server.loop.is_closed()


def test_a_missing_config_file_means_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    server = SummonerServer("defaults")
    server.shutdown()
    server.run(port=0, config_path="no/such/file.json")
    assert capsys.readouterr().out.startswith("[DEBUG] ")


def test_an_address_in_use_is_an_oserror() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = SummonerServer("late")
        with pytest.raises(OSError, match="in use"):
            server.run(port=taken.getsockname()[1], config_dict=QUIET)
    assert server.loop.is_closed()


def test_the_configured_dict_is_not_changed() -> None:
    config: dict[str, Any] = {"logger": {"enable_console_log": False, "log_keys": ["a"]}, "version": "rust"}
    before = repr(config)
    server = SummonerServer("careful")
    server.shutdown()
    server.run(port=0, config_dict=config)
    assert repr(config) == before


async def test_a_policy_relay_listens_where_its_configuration_says() -> None:
    with running(host="256.1.1.1", config_dict=QUIET | {"version": "rust", "host": "127.0.0.1"}) as server:
        a, b = await join(server.port), await join(server.port)
        await exchange(a, b)
        server.shutdown()
        assert await a.rest() == frames.SHUTTING_DOWN
        await a.close()
        await b.close()


async def test_a_plain_relay_listens_where_run_says() -> None:
    with running(config_dict=QUIET | {"host": "256.1.1.1", "port": 1}) as server:
        assert f"127.0.0.1:{server.port}" in server.addresses


def can_listen_on_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("localhost", "localhost"),
        ("", "127.0.0.1"),
        pytest.param("::1", "::1", marks=pytest.mark.skipif(not can_listen_on_ipv6(), reason="no IPv6 here")),
    ],
)
async def test_addresses_names_and_all_interfaces_can_be_listened_on(host: str, reached_at: str) -> None:
    async with Relay.listening(host) as relay:
        assert len({address.rpartition(":")[2] for address in relay.addresses}) == 1
        a, b = await join(relay.port, reached_at), await join(relay.port, reached_at)
        await exchange(a, b)
        b.writer.write(b"who am I?\n")
        assert (await a.frame())["remote_addr"] == b.address
        await a.close()
        await b.close()


async def test_addresses_of_a_name_that_this_machine_lacks_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, "192.0.2.1", "127.0.0.1")
    async with Relay.listening("two.addresses") as relay:
        assert relay.addresses == [f"127.0.0.1:{relay.port}"]
    resolve_to(monkeypatch, "192.0.2.1")
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        await Relay(None).start("only.absent", 0)


async def test_when_one_address_is_taken_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        resolve_to(monkeypatch, "127.0.0.1", "127.0.0.2")
        with pytest.raises(OSError, match="in use"):
            await Relay().start("two.addresses", port)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name stand for these addresses."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_that_cannot_be_one_is_an_oserror() -> None:
    with pytest.raises(OSError, match="is not a host name"):
        await Relay().start("a..b", 0)


async def test_streams_accepted_by_somebody_else_can_be_served() -> None:
    server = await asyncio.to_thread(SummonerServer, "streams")

    async def greet_and_serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        for _ in range(3):  # passes in which the streams take in what has arrived, an end of file included
            await asyncio.sleep(0)
        await server.handle_client(reader, writer)

    accepting = await asyncio.start_server(greet_and_serve, "127.0.0.1", 0)
    port = accepting.sockets[0].getsockname()[1]
    a, b = await join(port), await join(port)
    a.writer.write(b"greeting\n")
    b.writer.write(b"greeting\n")
    await exchange(a, b)
    with socket.create_connection(
        ("127.0.0.1", port)
    ) as early:  # all of it before the event loop takes a look
        early.sendall(b"greeting\nearly\nbird")
        early.shutdown(socket.SHUT_WR)
        early.setblocking(False)
        assert await a.contents(2) == ["early", "bird"]
        received = asyncio.get_running_loop().sock_recv(early, 1_000)
        assert await asyncio.wait_for(received, PATIENCE) == frames.SERVER_DISCONNECTED
    for peer in (a, b):
        await peer.close()
    accepting.close()
    await accepting.wait_closed()
    server.loop.close()


def test_waiting_for_tasks_waits_for_all_of_them() -> None:
    server = SummonerServer("waiting")
    failing = server.loop.create_task(asyncio.wait_for(server.loop.create_future(), 0))
    server.loop.run_until_complete(server.wait_for_tasks_to_finish())
    assert isinstance(failing.exception(), TimeoutError)
    server.loop.close()


def test_the_official_exception_can_be_imported() -> None:
    assert issubclass(ClientDisconnected, Exception)

"""How sessions end: at once where nothing is under way, with a grace for what is, in bounded time whatever happens."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import (
    PATIENCE,
    ClientUnderTest,
    ScriptedServer,
    Seen,
    SkippingLoop,
    Trigger,
    a_server,
    collect,
    frame,
    report_events,
    send_once,
)

from summoner.protocol import Direction

server = pytest.fixture(a_server)
second = pytest.fixture(a_server)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientUnderTest]:
    """A client whose clock moves only if something waits for a time."""
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", SkippingLoop)
        tested = ClientUnderTest()
    yield tested
    tested.loop.close()


def blocked_sender(client: ClientUnderTest) -> Seen:
    """Register a sender that never returns; the result shows that it was called."""
    called = Seen()

    @client.send(route="blocked")
    async def wait() -> None:
        called.put(True)
        await asyncio.Event().wait()

    return called


def test_quit_does_not_wait_for_anything_when_nothing_is_under_way(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    collect(client)
    with client.running(server) as thread:
        server.accept()
        client.ask(client.quit())
        thread.join(PATIENCE)
    assert client.loop.time() == 0


def test_quit_does_not_wait_for_senders_whose_results_would_be_discarded(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    called = blocked_sender(client)
    with client.running(server) as thread:
        connection = server.accept()
        called.next()
        client.ask(client.quit())
        thread.join(PATIENCE)
        assert connection.read_rest() == b""
    assert client.loop.time() == 0


def test_quit_does_not_wait_while_the_bridge_is_full(server: ScriptedServer, client: ClientUnderTest) -> None:
    client.with_arrows()
    handled = report_events(client)
    called = blocked_sender(client)

    with client.running(server, sender={"event_bridge_maxsize": 1}) as thread:
        connection = server.accept()
        called.next()
        connection.send("1", "2")
        handled.take(2)
        client.ask(client.quit())
        thread.join(PATIENCE)
    assert client.loop.time() == 0


def test_lines_behind_the_one_that_made_the_client_quit_are_not_handled(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    handled = Seen()

    @client.receive(route="")
    async def leave(payload: Any) -> None:
        handled.put(payload)
        await client.quit()

    with client.running(server) as thread:
        server.accept().send("1", "2", "3")
        thread.join(PATIENCE)
    assert handled.next() == 1
    assert handled.empty()


def test_travelling_does_not_wait_for_anything_when_nothing_is_under_way(
    server: ScriptedServer, second: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()

    report_events(client)

    @client.send(route="", on_triggers={Trigger.ok})
    async def answer() -> str:
        return "answer"

    with client.running(server):
        first = server.accept()
        first.send("ask")
        assert first.read_payload() == "answer"
        client.ask(client.travel_to("127.0.0.1", second.port))
        second.accept()
        assert first.read_rest() == b""
    assert client.loop.time() == 0


def test_travelling_waits_for_a_blocked_sender_no_longer_than_its_grace(
    server: ScriptedServer, second: ScriptedServer, client: ClientUnderTest
) -> None:
    called = blocked_sender(client)
    with client.running(server):
        server.accept()
        called.next()
        client.ask(client.travel_to("127.0.0.1", second.port))
        second.accept()
        called.next()
    assert client.loop.time() == pytest.approx(0.2)


def test_handlers_that_swallow_their_cancellation_and_return_are_not_left_behind(
    server: ScriptedServer, second: ScriptedServer, client: ClientUnderTest
) -> None:
    called = Seen()

    @client.receive(route="")
    async def receive(payload: Any) -> None:
        called.put(payload)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    @client.send(route="")
    async def send() -> str:
        called.put("sender")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "too late"

    with client.running(server) as thread:
        first = server.accept()
        first.send('"receiver"')
        assert {called.next(), called.next()} == {"receiver", "sender"}
        client.ask(client.travel_to("127.0.0.1", second.port))
        second.accept()
        assert called.next() == "sender"
        client.ask(client.quit())
        thread.join(PATIENCE)
    assert client.loop.time() == pytest.approx(0.2)
    assert not client.log.matching("left behind")


def test_travelling_lets_a_timed_call_finish_although_the_cycle_has_ended(
    server: ScriptedServer, second: ScriptedServer, client: ClientUnderTest
) -> None:
    under_way = asyncio.Event()

    @client.send(route="", every=3600)
    async def timed() -> str:
        under_way.set()
        await asyncio.sleep(0.1)
        return "timed"

    @client.send(route="")
    async def leave() -> None:
        await under_way.wait()
        under_way.clear()
        await client.travel_to("127.0.0.1", second.port)

    with client.running(server):
        assert server.accept().read_rest() == frame('"timed"', '"str"')
        second.accept()


def test_quit_waits_for_a_blocked_receiver_no_longer_than_its_grace(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    called, cancelled = Seen(), Seen()

    @client.receive(route="")
    async def wait(payload: Any) -> None:
        called.put(payload)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.put(payload)

    with client.running(server) as thread:
        server.accept().send("1", "2")
        called.next()
        client.ask(client.quit())
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert cancelled.next() == 1
    assert called.empty()
    assert client.loop.time() == pytest.approx(0.2)


def test_what_is_on_its_way_when_another_task_quits_is_sent_and_cleaning_up_is_not_cut_short(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    in_hook, cleaned_up = Seen(), Seen()

    @client.send(route="")
    async def blocked() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.15)
            cleaned_up.put(True)

    @client.hook(Direction.SEND)
    async def slow(payload: Any) -> Any:
        in_hook.put(payload)
        await asyncio.sleep(0.1)
        return payload

    send_once(client, ["on its way", "so is the rest"], multi=True)
    with client.running(server):
        connection = server.accept()
        in_hook.next()
        client.ask(client.quit())
        assert connection.read_payload() == "on its way"
    cleaned_up.next()


def test_a_task_of_the_agent_may_clean_up_after_shutdown(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    cleaned_up = Seen()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            client.shutdown()  # a second Ctrl-C
            await asyncio.sleep(0.2)
            cleaned_up.put(True)

    client.work = client.loop.create_task(work())
    with client.running(server) as thread:
        server.accept()
        client.loop.call_soon_threadsafe(client.shutdown)
        thread.join(PATIENCE)
    cleaned_up.next()


@pytest.mark.parametrize("quit_first", [True, False])
def test_quit_wins_over_travel(
    server: ScriptedServer, second: ScriptedServer, client: ClientUnderTest, quit_first: bool
) -> None:
    @client.receive(route="")
    async def leave(payload: Any) -> None:
        if quit_first:
            await client.quit()
        await client.travel_to("127.0.0.1", second.port)
        if not quit_first:
            await client.quit()

    with client.running(server) as thread:
        server.accept().send("go")
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert second.nobody_waits()


@pytest.mark.parametrize("batch_drain", [True, False])
def test_a_broken_connection_is_noticed_while_a_receiver_is_blocked(
    server: ScriptedServer, client: ClientUnderTest, batch_drain: bool
) -> None:
    called = Seen()

    @client.receive(route="")
    async def wait(payload: Any) -> None:
        called.put(payload)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    @client.send(route="")
    async def tick() -> str:
        await asyncio.sleep(0)
        return "tick"

    with client.running(server, sender={"batch_drain": batch_drain, "max_worker_errors": 1}):
        connection = server.accept()
        connection.send("1", "2")
        called.next()
        connection.reset()
        assert server.accept().read_payload() == "tick"
    assert called.empty()

"""Scenarios 26 and 27: events on their way to the senders, what they carry, and what happens when they pile up."""

import asyncio
import threading
from typing import Any

import pytest
from scripted_server import (
    ClientUnderTest,
    ScriptedServer,
    Seen,
    Trigger,
    a_client,
    a_server,
    report_events,
    send_once,
)

from summoner.protocol import Direction, Event, Move

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)


class BlockedCycle:
    """A non-reactive sender that holds up the cycle until the test releases it, cycle by cycle.

    Made after the others, so that a single worker gets to it last.
    """

    def __init__(self, client: ClientUnderTest) -> None:
        self._client = client
        self._gate = asyncio.Semaphore(0)
        self.blocked = Seen()

        @client.send(route="held up")
        async def hold() -> None:
            self.blocked.put(True)
            await self._gate.acquire()

    def release(self) -> None:
        self._client.loop.call_soon_threadsafe(self._gate.release)


def test_scenario_26_events_of_one_cycle_coalesce_for_plain_senders_only(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    handled, reactions = report_events(client), Seen()

    def add_plain_sender(name: str) -> None:
        @client.send(route="--> S", on_triggers={Trigger.ok})
        async def plain() -> None:
            reactions.put(name)

    add_plain_sender("first")
    add_plain_sender("second")  # C13: the same function name on the same route

    @client.send(route="/all --> /all", on_triggers={Trigger.ok})
    async def never() -> None:
        reactions.put("a sender whose route does not match")

    @client.send(route="--> S", on_triggers={Trigger.ok}, use_data=True)
    async def with_data(data: Any) -> None:
        reactions.put(data)

    cycle = BlockedCycle(client)
    with client.running(server, sender={"concurrency_limit": 20}):
        connection = server.accept()
        cycle.blocked.next()
        connection.send(*map(str, range(6)))
        assert handled.take(6) == [0, 1, 2, 3, 4, 5]
        cycle.release()
        cycle.blocked.next()
        assert sorted(map(str, reactions.take(8))) == ["0", "1", "2", "3", "4", "5", "first", "second"]
        cycle.release()
        cycle.blocked.next()
        assert reactions.empty()


def test_scenario_26_events_reach_data_senders_by_priority_then_by_arrival(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    handled, reactions = Seen(), Seen()

    def add_receiver(route: str, priority: int) -> None:
        @client.receive(route=route, priority=priority)
        async def handle(payload: Any) -> Event:
            handled.put(payload)
            return Move(Trigger.ok, data=f"{priority} of {payload}")

    add_receiver("--> S", 2)
    add_receiver("--> T", 1)

    @client.send(route="", on_triggers={Trigger.ok}, use_data=True)
    async def react(data: Any) -> None:
        reactions.put(data)

    cycle = BlockedCycle(client)
    with client.running(server, sender={"concurrency_limit": 1}):
        connection = server.accept()
        cycle.blocked.next()
        connection.send("x", "y")
        handled.take(4)
        cycle.release()
        assert reactions.take(4) == ["1 of x", "1 of y", "2 of x", "2 of y"]


def test_scenario_27_a_full_bridge_holds_back_input_until_the_next_cycle(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    handled, reactions = report_events(client), Seen()

    @client.send(route="", on_triggers={Trigger.ok}, use_data=True)
    async def react(data: Any) -> None:
        reactions.put(data)

    cycle = BlockedCycle(client)
    with client.running(server, sender={"event_bridge_maxsize": 2, "concurrency_limit": 1}):
        connection = server.accept()
        cycle.blocked.next()
        connection.send(*map(str, range(7)))
        assert handled.take(3) == [0, 1, 2]
        turns = threading.Semaphore(0)
        for _ in range(20):  # the loop turns, the receive side does not move
            client.loop.call_soon_threadsafe(turns.release)
            assert turns.acquire(timeout=10)
        assert handled.empty()
        cycle.release()
        assert reactions.take(2) == [0, 1]
        cycle.blocked.next()
        assert handled.take(2) == [3, 4]
        for _ in range(3):
            cycle.release()
        assert reactions.take(5) == [2, 3, 4, 5, 6]


def test_a_reactive_sender_answers_although_nothing_else_ever_happens(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    count = 0

    report_events(client)

    @client.send(route="", on_triggers={Trigger.ok}, use_data=True)
    async def react(data: Any) -> Any:
        nonlocal count
        count += 1
        return [count, data]

    with client.running(server):
        connection = server.accept()
        for number in range(1, 50):
            connection.send(f'"ask {number}"')
            assert connection.read_payload() == [number, f"ask {number}"]


def test_live_data_is_the_very_object_and_a_snapshot_is_a_copy_for_each_call(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    handled, reactions = Seen(), Seen()
    shared = {"items": [1]}

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Event:
        handled.put(payload)
        return Move(Trigger.ok, data=shared)

    def add_sender(mode: Any) -> None:
        @client.send(route="", on_triggers={Trigger.ok}, use_data=True, data_mode=mode)
        async def react(data: Any) -> None:
            reactions.put((mode, list(data["items"]), data is shared))
            data["items"].append("changed by a sender")

    for mode in ("snapshot", "snapshot", "live", "live"):
        add_sender(mode)
    cycle = BlockedCycle(client)
    with client.running(server, sender={"concurrency_limit": 1}):
        connection = server.accept()
        cycle.blocked.next()
        connection.send("go")
        handled.next()
        client.loop.call_soon_threadsafe(shared["items"].append, 2)
        cycle.release()
        assert reactions.take(4) == [
            ("snapshot", [1], False),
            ("snapshot", [1], False),
            ("live", [1, 2], True),
            ("live", [1, 2, "changed by a sender"], True),
        ]


class Uncopyable:
    """Data that refuses to be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("not to be copied")


def test_data_that_cannot_be_copied_or_is_not_wanted_costs_its_call_only(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    events: dict[str, Any] = {
        "uncopyable": Uncopyable(),
        "unwanted": False,
        "raises": 5,
        "awaitable": None,
        "good": [True],
    }

    async def slow() -> bool:
        return True

    def wanted(data: Any) -> Any:
        return slow() if data is None else data[0] if data else False

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Event:
        return Move(Trigger.ok, data=events[payload])

    @client.send(route="", on_triggers={Trigger.ok}, use_data=True, data_mode="snapshot", when_data=wanted)
    async def react(data: Any) -> Any:
        return {"called with": data}

    with client.running(server):
        connection = server.accept()
        connection.send(*events)
        assert connection.read_payload() == {"called with": [True]}
    assert len(client.log.matching("cannot be copied")) == 1
    assert len(client.log.matching("must not be asynchronous")) == 1
    assert len(client.log.matching("when_data of sender")) == 2


def test_failures_in_receivers_and_states_are_logged_and_nothing_more(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    seen = Seen()

    @client.upload_states()
    async def report(payload: Any) -> Any:
        if payload == "bad upload":
            raise ValueError("upload\x1b[31m")
        return "no node!" if payload == "bad node" else "A"

    @client.receive(route="A")
    async def handle(payload: Any) -> Event | None:
        if payload == "bad receiver":
            raise KeyError("receiver")
        if payload == "would block":
            raise BlockingIOError("later")
        if payload == "cancelled":
            future: asyncio.Future[None] = client.loop.create_future()
            future.cancel()
            await future
        return Move(Trigger.ok)

    @client.download_states()
    async def download(states: Any) -> None:
        seen.put(len(states))
        raise RuntimeError("download")

    with client.running(server):
        connection = server.accept()
        connection.send("bad upload", "bad node", "bad receiver", "would block", "cancelled", "good")
        assert seen.take(4) == [0, 0, 0, 1]
    assert len(client.log.matching("Traceback")) == 4 + 2
    assert client.log.matching("ValueError: upload\\x1b[31m")
    assert len(client.log.matching("would block")) == 1
    assert len(client.log.matching("was cancelled")) == 1


def test_handlers_of_one_priority_run_concurrently_and_lines_one_at_a_time(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    order = Seen()
    met = asyncio.Barrier(2)

    def add_receiver(name: str) -> None:
        @client.receive(route=name, priority=1)
        async def meet(payload: Any) -> None:
            await met.wait()
            order.put(("met", payload))

    add_receiver("left")
    add_receiver("right")

    @client.receive(route="later", priority=2)
    async def later(payload: Any) -> None:
        order.put(("later", payload))

    with client.running(server):
        server.accept().send("1", "2")
        assert order.take(6) == [("met", 1), ("met", 1), ("later", 1), ("met", 2), ("met", 2), ("later", 2)]


def test_handlers_that_return_none_do_not_fill_the_bridge(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    handled = Seen()

    @client.receive(route="--> S")
    async def handle(payload: Any) -> None:
        handled.put(payload)

    cycle = BlockedCycle(client)
    with client.running(server, sender={"event_bridge_maxsize": 1}):
        connection = server.accept()
        cycle.blocked.next()
        connection.send(*map(str, range(5)))
        assert handled.take(5) == [0, 1, 2, 3, 4]


def test_a_sender_with_nothing_but_empty_filters_is_not_reactive(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    send_once(client, "unasked", on_triggers=set(), on_actions=set())
    with client.running(server):
        assert server.accept().read_payload() == "unasked"


def test_a_payload_does_not_wait_for_the_hooks_of_those_after_it(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    send_once(client, ["first", "second"], multi=True)
    gate = asyncio.Event()

    @client.hook(Direction.SEND)
    async def hold_the_second(payload: Any) -> Any:
        if payload == "second":
            await gate.wait()
        return payload

    with client.running(server):
        connection = server.accept()
        assert connection.read_payload() == "first"
        client.loop.call_soon_threadsafe(gate.set)
        assert connection.read_payload() == "second"

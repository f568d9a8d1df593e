"""Scenarios 25 to 27: the flow's tables, events on their way to the senders, and what happens when they pile up."""

import asyncio
import threading
from typing import Any

import pytest
from scripted_server import ClientUnderTest, ScriptedServer, Seen, a_client, a_server, send_once

from summoner.protocol import Action, Event, Move, Node, Stay, Test
from summoner.protocol.triggers import load_triggers

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)

Trigger: Any = load_triggers(json_dict={"ok": None, "other": None, "parent": {"child": None}})


def show_downloads(client: ClientUnderTest) -> Seen:
    """Register a `download_states` that shows its argument as texts."""
    seen = Seen()

    @client.download_states()
    async def download(states: Any) -> None:
        if isinstance(states, dict):
            seen.put({key: list(map(str, nodes)) for key, nodes in states.items()})
        else:
            seen.put(list(map(str, states)))

    return seen


def upload(client: ClientUnderTest, states: Any) -> None:
    """Register an `upload_states` that always reports the same."""

    @client.upload_states()
    async def report(payload: Any) -> Any:
        return states


def receiver(
    client: ClientUnderTest, route: str, event: Any, priority: Any = (), seen: Seen | None = None
) -> None:
    """Register a receiver that returns an event for every payload, and shows its route."""

    @client.receive(route=route, priority=priority)
    async def handle(payload: Any) -> Any:
        if seen is not None:
            seen.put(route)
        return event


def test_scenario_25_receivers_run_and_report_batch_by_batch(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    calls, downloads = Seen(), show_downloads(client)
    upload(client, {"k1": "A", "k2": ["A", "B"]})
    receiver(client, "A --> B", Move(Trigger.ok), priority=2, seen=calls)
    receiver(client, "A --[L]--> C", Test(Trigger.ok), priority=1, seen=calls)
    receiver(client, "B", Stay(Trigger.ok), priority=1, seen=calls)
    receiver(client, "--> S", Move(Trigger.ok), priority=(1, 0), seen=calls)
    with client.running(server):
        server.accept().send("go")
        arguments = downloads.take(3)
        called = calls.take(6)
    assert sorted(called[:3]) == ["A --[L]--> C", "A --[L]--> C", "B"]
    assert called[3:] == ["--> S", "A --> B", "A --> B"]
    assert arguments == [
        {"k1": ["L"], "k2": ["L", "B"]},
        {"k1": [], "k2": [], None: ["S"]},
        {"k1": ["B"], "k2": ["B"]},
    ]


@pytest.mark.parametrize(
    ("states", "argument"),
    [
        ("A", ["B", "S"]),
        (Node("A"), ["B", "S"]),
        (["A", "B"], ["B", "S"]),
        (("A", "B"), ["B", "S"]),
        ([], ["S"]),
        ({"k": "A"}, {"k": ["B"], None: ["S"]}),
        ({"k": []}, {"k": [], None: ["S"]}),
        ({}, {None: ["S"]}),
        (None, {None: ["S"]}),
        (5, {None: ["S"]}),
        ([["A"]], {None: ["S"]}),
        ({1: "A"}, {None: ["S"]}),
        ("/all", ["B", "S"]),
        ("no handler", {None: ["S"]}),
    ],
)
def test_scenario_25_what_download_states_receives(
    server: ScriptedServer, client: ClientUnderTest, states: Any, argument: Any
) -> None:
    client.with_arrows()
    downloads = show_downloads(client)
    if states != "no handler":
        upload(client, states)
    receiver(client, "A --> B", Move(Trigger.ok))
    receiver(client, "--> S", Move(Trigger.ok))
    with client.running(server):
        server.accept().send("go")
        assert downloads.next() == argument


def test_scenario_25_a_handler_that_returns_none_contributes_an_empty_list(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    downloads = show_downloads(client)
    upload(client, "A")
    receiver(client, "A --> B", None)
    with client.running(server):
        server.accept().send("go")
        assert downloads.next() == []


def test_scenario_25_without_an_activation_download_states_is_not_called(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    downloads = show_downloads(client)

    @client.upload_states()
    async def report(payload: Any) -> str:
        return str(payload)

    receiver(client, "A --> B", Move(Trigger.ok))
    receiver(client, "a route that cannot be parsed", Move(Trigger.ok))
    with client.running(server):
        server.accept().send("Z", "A")
        assert downloads.next() == ["B"]
        assert downloads.empty()
    assert len(client.log.matching("cannot be parsed")) == 1


RECEIVER_ROUTES = ["A --[L]--> B", "A --> B", "A", "--> B", "A --[L]-->", "A, C --> B"]
MATCHES = {
    "A": "TTT.TT",
    "/all": "TTT.TT",
    "A-->B": "TT...T",
    "/all-->/all": "TT...T",
    "A--[L]-->B": "T.....",
    "--[L]-->B": "T.....",
    "/all--[/all]-->/all": "T.....",
    "-->B": "TT.T.T",
    "A--[L]-->": "T...T.",
    "A,C": ".....T",
    "C": ".....T",
    "/not(A)": ".....T",
    "A-->B,D": "......",
    "": "TTTTTT",
}


def test_scenario_25_which_senders_answer_which_receivers(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    upload(client, "A")
    reactions = Seen()
    for route in RECEIVER_ROUTES:
        receiver(client, route, Move(Trigger.ok, data=route))

    def add_sender(route: str) -> None:
        @client.send(route=route, on_triggers={Trigger.ok}, use_data=True)
        async def react(data: Any) -> None:
            reactions.put((route, data))

    for route in MATCHES:
        add_sender(route)
    expected = {
        (sender_route, receiver_route)
        for sender_route, row in MATCHES.items()
        for receiver_route, verdict in zip(RECEIVER_ROUTES, row, strict=True)
        if verdict == "T"
    }
    with client.running(server):
        server.accept().send("go")
        assert set(reactions.take(len(expected))) == expected
    assert reactions.empty()


def test_scenario_25_filters_compare_action_classes_and_equal_signals(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    events: list[Any] = [
        Move(Trigger.ok),
        Stay(Trigger.ok),
        Test(Trigger.other),
        Trigger.ok,
        Move(Trigger.child),
        None,
        "neither event nor signal",
        Action.MOVE(Trigger.ok),
    ]

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Any:
        return events[payload]

    def add_sender(name: str, **filters: Any) -> None:
        @client.send(route="", **filters)
        async def react() -> str:
            return name

    add_sender("ok", on_triggers={Trigger.ok})
    add_sender("moves", on_actions={Move})
    add_sender("ok moves", on_triggers={Trigger.ok}, on_actions={Move})
    add_sender("parent", on_triggers={Trigger.parent})
    add_sender("nothing", on_triggers={Trigger.ok}, on_actions=set())
    expected = [
        ["ok", "moves", "ok moves"],
        ["ok"],
        [],
        ["ok"],
        ["moves"],
        [],
        [],
        ["ok", "moves", "ok moves"],
    ]
    with client.running(server, sender={"concurrency_limit": 1, "queue_maxsize": 10}):
        connection = server.accept()
        for number, names in enumerate(expected):
            connection.send(str(number))
            assert connection.read_payloads(len(names)) == names
    assert len(client.log.matching("neither an event nor None")) == 1


def test_scenario_25_without_the_flow_every_receiver_runs_once_and_filters_are_ignored(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    calls, downloads = Seen(), show_downloads(client)
    upload(client, "A")
    receiver(client, "any label", "any value", priority=2, seen=calls)
    receiver(client, "A --> B", Move(Trigger.ok), priority=1, seen=calls)
    send_once(client, "unasked", on_triggers={Trigger.ok})
    with client.running(server):
        connection = server.accept()
        assert connection.read_payload() == "unasked"
        connection.send("go")
        assert calls.take(2) == ["A --> B", "any label"]
    assert downloads.empty()


def test_scenario_25_switching_the_flow_off_wakes_idle_reactive_senders(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    client.with_arrows()
    send_once(client, "unasked", on_triggers={Trigger.ok})

    @client.receive(route="--> S")
    async def switch(payload: Any) -> None:
        client.flow().deactivate()

    with client.running(server):
        connection = server.accept()
        connection.send("off")
        assert connection.read_payload() == "unasked"


class _BlockedCycle:
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
    handled, reactions = Seen(), Seen()

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Event:
        handled.put(payload)
        return Move(Trigger.ok, data=payload)

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

    cycle = _BlockedCycle(client)
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

    cycle = _BlockedCycle(client)
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
    handled, reactions = Seen(), Seen()

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Event:
        handled.put(payload)
        return Move(Trigger.ok, data=payload)

    @client.send(route="", on_triggers={Trigger.ok}, use_data=True)
    async def react(data: Any) -> None:
        reactions.put(data)

    cycle = _BlockedCycle(client)
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

    @client.receive(route="--> S")
    async def handle(payload: Any) -> Event:
        return Move(Trigger.ok, data=payload)

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
    cycle = _BlockedCycle(client)
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

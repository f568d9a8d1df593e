"""Scenario 25: which receivers run, what is reported of them, and which senders answer."""

from typing import Any

import pytest
from scripted_server import (
    ClientUnderTest,
    ScriptedServer,
    Seen,
    Trigger,
    a_client,
    a_server,
    send_once,
)

from summoner.protocol import Action, Move, Node, Stay, Test

server = pytest.fixture(a_server)
client = pytest.fixture(a_client)


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

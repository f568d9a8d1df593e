"""Scenario 28 and section 4.10: timed senders, on a loop that skips the time in which nothing happens.

Times asserted here are those of that loop's clock, which moves by what is slept and by nothing else.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_server import (
    ClientUnderTest,
    Connection,
    ScriptedServer,
    Seen,
    SkippingLoop,
    Trigger,
    a_server,
    report_events,
)

server = pytest.fixture(a_server)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientUnderTest]:
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", SkippingLoop)
        tested = ClientUnderTest().with_arrows()
    tested.scripts = []
    yield tested
    tested.loop.close()


class Timeline:
    """What happened in the client and when, in hundredths of a second of its loop."""

    def __init__(self, client: ClientUnderTest) -> None:
        self._loop = client.loop
        self.seen = Seen()

    def note(self, what: Any = None) -> None:
        time = round(self._loop.time() * 100)
        self.seen.put(time if what is None else (time, what))


def at(client: ClientUnderTest, script: dict[float, Callable[[], Any]]) -> None:
    """Do something on the client's loop at each of several times."""

    async def act() -> None:
        for time, action in script.items():
            await asyncio.sleep(time - client.loop.time())
            action()

    client.scripts.append(client.loop.create_task(act()))


def send_events(
    client: ClientUnderTest, server: ScriptedServer, script: dict[float, str]
) -> Callable[[], Connection]:
    """Let the server send a line at each of several times; the result accepts the connection."""
    connections: list[Connection] = []

    def accept() -> Connection:
        connections.append(server.accept())
        return connections[0]

    def sends(text: str) -> Callable[[], None]:
        return lambda: connections[0].send(text)

    async def begin() -> None:
        while not connections:  # noqa: ASYNC110 - not an event: spinning keeps the clock from moving
            await asyncio.sleep(0)
        at(client, {time: sends(text) for time, text in script.items()})

    client.scripts.append(client.loop.create_task(begin()))
    return accept


@pytest.mark.parametrize(
    ("every", "body", "times"), [(0.2, 0.0, [0, 20, 40, 60]), (0.25, 0.1, [0, 25, 50, 75, 100])]
)
def test_scenario_28_a_timed_sender_starts_at_once_and_then_at_its_cadence(
    server: ScriptedServer, client: ClientUnderTest, every: float, body: float, times: list[int]
) -> None:
    timeline = Timeline(client)

    @client.send(route="", every=every)
    async def tick() -> str:
        timeline.note()
        await asyncio.sleep(body)
        return "tick"

    with client.running(server):
        connection = server.accept()
        assert timeline.seen.take(len(times)) == times
        assert connection.read_payload() == "tick"


def test_scenario_28_a_body_longer_than_its_period_neither_overlaps_nor_freezes_the_client(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline, answers = Timeline(client), Seen()

    @client.send(route="", every=0.05)
    async def slow() -> None:
        timeline.note("begin")
        await asyncio.sleep(0.2)
        timeline.note("end")

    @client.send(route="", every=0.03)
    async def wakes_the_scheduler_meanwhile() -> None: ...

    @client.receive(route="--> S")
    async def take(payload: Any) -> None:
        answers.put(payload)

    with client.running(server):
        connection = server.accept()
        assert timeline.seen.take(6) == [
            (0, "begin"),
            (20, "end"),
            (20, "begin"),
            (40, "end"),
            (40, "begin"),
            (60, "end"),
        ]
        connection.send("still there")
        assert answers.next() == "still there"


def test_scenario_28_timed_and_untimed_senders_do_not_delay_each_other(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)

    @client.send(route="", every=0.25)
    async def tick() -> None:
        timeline.note("tick")

    @client.send(route="")
    async def slow() -> None:
        await asyncio.sleep(0.4)
        timeline.note("slow")

    with client.running(server):
        server.accept()
        assert timeline.seen.take(6) == [
            (0, "tick"),
            (25, "tick"),
            (40, "slow"),
            (50, "tick"),
            (75, "tick"),
            (80, "slow"),
        ]


def test_a_reactive_timed_sender_sleeps_until_its_first_event_and_then_keeps_its_cadence(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    report_events(client)

    @client.send(route="", every=0.5, on_triggers={Trigger.ok})
    async def tick() -> None:
        timeline.note()

    accept = send_events(client, server, {0.1: "other", 0.31: "first", 0.4: "second", 1.0: "third"})
    with client.running(server):
        accept()
        assert timeline.seen.take(4) == [31, 81, 131, 181]


def test_a_timed_sender_with_data_is_called_for_all_that_came_since_its_last_tick(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    report_events(client)

    @client.send(
        route="",
        every=0.5,
        on_triggers={Trigger.ok},
        use_data=True,
        when_data=lambda data: data != "unwanted",
    )
    async def tick(data: Any) -> None:
        timeline.note(data)

    script = {0.31: "1", 0.51: "2", 0.6: "unwanted", 0.71: "3", 0.91: "4", 2.0: "5"}
    accept = send_events(client, server, script)
    with client.running(server, sender={"concurrency_limit": 2}):
        accept()
        assert timeline.seen.take(5) == [(31, 1), (81, 2), (81, 3), (131, 4), (231, 5)]


def test_events_beyond_the_size_of_the_bridge_are_dropped_while_a_timed_sender_waits(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    report_events(client)

    @client.send(route="", every=0.5, on_triggers={Trigger.ok}, use_data=True, data_mode="snapshot")
    async def tick(data: Any) -> None:
        timeline.note(data)

    accept = send_events(client, server, {0.1: "0", 0.2: "1", 0.3: "2", 0.4: "3", 0.7: "4"})
    with client.running(server, sender={"event_bridge_maxsize": 2, "concurrency_limit": 2}):
        accept()
        assert timeline.seen.take(4) == [(10, 0), (60, 1), (60, 2), (110, 4)]
    assert len(client.log.matching("too many events wait")) == 1


def test_a_paused_timed_sender_resumes_without_catching_up(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    permission = {"granted": True}
    at(client, {0.3: lambda: permission.update(granted=False), 1.0: lambda: permission.update(granted=True)})

    @client.send(route="", every=0.25, run_while=lambda: permission["granted"])
    async def tick() -> None:
        timeline.note()

    with client.running(server):
        server.accept()
        times = timeline.seen.take(5)
    assert times[:2] == [0, 25]
    assert 100 <= times[2] <= 110  # a guard is asked every tenth of a second
    assert [later - times[2] for later in times[3:]] == [25, 50]


def test_a_refusal_disarms_a_reactive_timed_sender_and_drops_its_data(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    permission = {"granted": True}
    report_events(client)

    @client.send(
        route="",
        every=1.0,
        on_triggers={Trigger.ok},
        use_data=True,
        run_while=lambda: permission["granted"],
    )
    async def tick(data: Any) -> None:
        timeline.note(data)

    accept = send_events(client, server, {0.1: "1", 0.3: "dropped", 2.5: "2", 2.7: "3"})
    at(client, {0.5: lambda: permission.update(granted=False), 0.7: lambda: permission.update(granted=True)})
    with client.running(server):
        accept()
        assert timeline.seen.take(3) == [(10, 1), (250, 2), (350, 3)]


@pytest.mark.parametrize("guard", [False, lambda: False, lambda: 1 / 0])
def test_a_timed_sender_whose_guard_is_false_or_fails_does_not_run(
    server: ScriptedServer, client: ClientUnderTest, guard: Any
) -> None:
    timeline = Timeline(client)

    @client.send(route="", every=0.1, run_while=guard)
    async def never() -> None:
        timeline.note("never")

    @client.send(route="", every=0.5, run_while=True)
    async def tick() -> None:
        timeline.note("tick")

    with client.running(server):
        server.accept()
        assert timeline.seen.take(3) == [(0, "tick"), (50, "tick"), (100, "tick")]


def test_an_asynchronous_guard_postpones_its_own_sender_only(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)

    async def slow_guard() -> bool:
        await asyncio.sleep(0.3)
        return True

    async def failing_guard() -> bool:
        await asyncio.sleep(0.01)
        raise ValueError("no answer")

    def add_sender(name: str, every: float, guard: Any) -> None:
        @client.send(route="", every=every, run_while=guard)
        async def tick() -> None:
            timeline.note(name)

    add_sender("guarded", 1.0, slow_guard)
    add_sender("never", 0.1, failing_guard)
    add_sender("free", 0.2, None)
    with client.running(server):
        server.accept()
        assert timeline.seen.take(3) == [(0, "free"), (20, "free"), (30, "guarded")]
    assert client.log.matching("ValueError: no answer")


def test_two_asynchronous_guards_do_not_keep_each_other_busy(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)
    asked = 0

    async def refuse() -> bool:
        nonlocal asked
        asked += 1
        return False

    async def refuse_later() -> bool:
        await asyncio.sleep(0.01)
        return await refuse()

    def add_sender(every: float, guard: Any) -> None:
        @client.send(route="", every=every, run_while=guard)
        async def tick() -> None:
            timeline.note(asked)

    add_sender(0.05, refuse)
    add_sender(0.05, refuse_later)
    add_sender(1.0, None)
    with client.running(server):
        server.accept()
        (_, asked_before), (time, asked_after) = timeline.seen.take(2)
    assert time == 100
    assert 2 * 9 <= asked_after - asked_before <= 2 * 12  # every tenth of a second, each


def test_a_scheduler_without_guards_wakes_for_its_senders_only(
    server: ScriptedServer, client: ClientUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = Timeline(client)
    alarms: list[float] = []
    call_at = client.loop.call_at

    def noted_call_at(when: float, *arguments: Any, **options: Any) -> Any:
        alarms.append(when)
        return call_at(when, *arguments, **options)

    @client.send(route="", every=1.0)
    async def tick() -> None:
        timeline.note(len(alarms))

    monkeypatch.setattr(client.loop, "call_at", noted_call_at)
    with client.running(server):
        server.accept()
        counts = dict(timeline.seen.take(4))
    assert list(counts) == [0, 100, 200, 300]
    assert counts[300] <= 2 * 4  # one before and one after each call


def test_a_failing_timed_sender_ticks_on_and_counts_towards_the_limit(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    timeline = Timeline(client)

    @client.send(route="", every=0.5)
    async def fail() -> None:
        timeline.note()
        raise ValueError("tick")

    with client.running(server, sender={"concurrency_limit": 1, "max_worker_errors": 3}) as thread:
        server.accept()
        thread.join(10)
        assert not thread.is_alive()
    assert timeline.seen.take(3) == [0, 50, 100]
    assert len(client.log.matching("CRITICAL")) == 1


def test_timers_begin_anew_with_each_session(server: ScriptedServer, client: ClientUnderTest) -> None:
    timeline = Timeline(client)
    report_events(client)

    @client.send(route="", every=1e9, on_triggers={Trigger.ok}, use_data=True)
    async def react(data: Any) -> None:
        timeline.note(data)

    @client.send(route="", every=0.25)
    async def tick() -> str:
        return "tick"

    with client.running(server):
        first = server.accept()
        first.send('"first session"', '"kept for the next tick, and lost with the session"')
        timeline.seen.next()
        first.close()
        second = server.accept()
        assert second.read_payloads(10) == ["tick"] * 10
        assert timeline.seen.empty()
        second.send('"second session"')
        assert timeline.seen.next()[1] == "second session"


def test_a_timed_sender_registered_during_a_session_starts_at_once(
    server: ScriptedServer, client: ClientUnderTest
) -> None:
    @client.receive(route="--> S")
    async def register(payload: Any) -> None:
        @client.send(route="", every=3600)
        async def tick() -> str:
            return "here I am"

    with client.running(server):
        connection = server.accept()
        connection.send("now")
        assert connection.read_payload() == "here I am"

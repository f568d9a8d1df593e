"""`Node`, as programs use it."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mail_world import identity_of

import handfast
from handfast import Fate, Hub, Message, Node, Peer, relay_lines, summoner
from handfast.adapters.memory import MemoryStore
from handfast.adapters.system import SystemClock
from handfast.api import Connection, Transport, TransportError
from handfast.conversation.model import Settings
from handfast.errors import HandfastError, IdentityError, PeerError, StorageError, UsageError
from handfast.mail import OUTBOX_LETTERS
from handfast.trust.decision import Mode, Policy, Security
from summoner.server.relay import Relay

HERE = Path(__file__).parent


pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def make(name: str, transport: Transport, store: MemoryStore | None = None, **named: Any) -> Node:
    identity = identity_of(name, SystemClock().now())
    return Node(identity, store or MemoryStore(identity.agent_id), transport, **named)


@pytest.fixture
async def pair(hub: Hub) -> AsyncIterator[tuple[Node, Node]]:
    async with make("bob", hub.connect()) as bob, make("alice", hub.connect()) as alice:
        yield alice, bob


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until something is so that nobody is told of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def open_node(name: str, home: Path, transport: Transport) -> Any:
    return Node.open(name, passphrase=b"for a test", home=home, transport=transport)


# ---- meeting, sending, receiving ----------------------------------------------------------------------------------


async def test_two_nodes_meet_and_talk(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    peer = await alice.peer()
    assert (peer.id, peer.security, peer.fingerprint) == (bob.id, Security.SELFCERT, bob.fingerprint)
    receipt = await peer.send({"hello": "bob"})
    message = await anext(bob)
    assert message.data == {"hello": "bob"}
    assert (message.peer.id, message.peer.fingerprint) == (alice.id, alice.fingerprint)
    assert await receipt.wait() is receipt.fate is Fate.DELIVERED
    await message.peer.send("thanks")
    assert (await anext(alice)).data == "thanks"


async def test_messages_come_in_order_and_to_one_reader_each(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    got: list[Any] = []

    async def read() -> None:
        async for message in bob:
            got.append(message.data)

    readers = [asyncio.create_task(read()) for _ in range(2)]
    peer = await alice.peer(bob.id)
    receipts = [await peer.send(number) for number in range(40)]
    assert {await receipt.wait() for receipt in receipts} == {Fate.DELIVERED}
    await until(lambda: len(got) == 40)
    for reader in readers:
        reader.cancel()
    assert got == list(range(40))


async def test_a_peer_that_is_not_sure_enough_is_not_returned(hub: Hub) -> None:
    async with make("bob", hub.connect()) as bob, make("alice", hub.connect()) as alice:
        with pytest.raises(PeerError, match="no more sure than v2-selfcert"):
            await alice.peer(bob.id, min_security="v2-cert")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await alice.peer(min_security=Security.CERT)


async def test_whom_the_policy_denies_is_never_met(hub: Hub) -> None:
    async with make("bob", hub.connect()) as bob:
        policy = Policy(mode=Mode.STRICT, deny=frozenset({bob.id}))
        async with make("alice", hub.connect(), policy=policy) as alice:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await alice.peer(bob.id)


@pytest.mark.parametrize("agent_id", ["bob", "", "765a4a30-1ce1-4a0f-88e8-d6bda728cba"])
async def test_what_is_no_agent_id_is_refused(pair: tuple[Node, Node], agent_id: str) -> None:
    with pytest.raises(UsageError, match="is no id of a peer"):
        await pair[0].peer(agent_id)


async def test_ones_own_id_and_an_unknown_security_are_refused(pair: tuple[Node, Node]) -> None:
    with pytest.raises(UsageError, match="is no id of a peer"):
        await pair[0].peer(pair[0].id)
    with pytest.raises(UsageError, match="is no security"):
        await pair[0].peer(min_security="v3")


@pytest.mark.parametrize(
    "data",
    [object(), float("nan"), {"a": {1, 2}}, {1: 1, "1": 2}, 10**5000, "x" * 40_000],
    ids=["object", "nan", "set", "key twice", "huge number", "too large"],
)
async def test_what_the_peer_could_not_read_is_not_sent(pair: tuple[Node, Node], data: Any) -> None:
    peer = await pair[0].peer()
    with pytest.raises(UsageError, match="the message is"):
        await peer.send(data)
    for seconds in (0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="above zero"):
            await peer.send("x", expires_in=seconds)
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(UsageError):
        await peer.send(deep)
    assert await peer.receipts() == []
    await (await peer.send("and this is")).wait()
    assert (await anext(pair[1])).data == "and this is"


async def test_hostile_lines_disturb_nobody(hub: Hub) -> None:
    async with make("bob", hub.connect()) as bob, make("alice", hub.connect()) as alice:
        async with hub.connect() as stranger:
            for line in ({}, {"from": bob.id, "to": alice.id, "intent": "request", "message": "plain"}):
                await stranger.send(line)
            for odd in (None, 7, [1], "x", {"from": 1}):
                await stranger.send(odd)  # type: ignore[arg-type]
            peer = await alice.peer(bob.id)
            await peer.send("x")
            assert (await anext(bob)).data == "x"


# ---- limits and deadlines -------------------------------------------------------------------------------------------


async def test_a_full_outbox_makes_the_sender_wait_until_there_is_room(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    peer = await alice.peer()
    total = OUTBOX_LETTERS * 2
    sending = asyncio.create_task(_send_all(peer, total))
    got = [(await anext(bob)).data for _ in range(total)]
    await sending
    assert got == list(range(total))


async def _send_all(peer: Peer, total: int) -> None:
    for number in range(total):
        await peer.send(number)


async def test_a_message_that_nobody_fetches_in_time_expires(hub: Hub) -> None:
    async with make("alice", hub.connect()) as alice:
        async with make("bob", hub.connect()) as bob:
            peer = await alice.peer(bob.id)
            await (await peer.send("in time")).wait()
        sent = await peer.send("sent", expires_in=0.3)
        kept_back = await peer.send("kept back", expires_in=0.3)
        assert await kept_back.wait() is Fate.EXPIRED
        assert await sent.wait() is Fate.UNKNOWN
        fates = [receipt.fate for receipt in await peer.receipts()]
        assert fates == [Fate.DELIVERED, Fate.UNKNOWN, Fate.EXPIRED]


# ---- endings ----------------------------------------------------------------------------------------------------------


async def test_messages_and_receipts_outlive_a_node(hub: Hub, tmp_path: Path) -> None:
    async with open_node("bob", tmp_path, hub.connect()) as bob:
        async with open_node("alice", tmp_path, hub.connect()) as alice:
            peer = await alice.peer(bob.id)
            await (await peer.send("first")).wait()
    async with open_node("alice", tmp_path, hub.connect()) as alice:
        waiting = await peer_of(alice, bob.id).send("second")
        assert [receipt.fate for receipt in await peer_of(alice, bob.id).receipts()] == [
            Fate.DELIVERED,
            Fate.WAITING,
        ]
    with pytest.raises(UsageError, match="closed"):
        await waiting.wait()
    async with open_node("bob", tmp_path, hub.connect()) as bob:
        assert (await anext(bob)).data == "first"
        async with open_node("alice", tmp_path, hub.connect()) as alice:
            [_, receipt] = await peer_of(alice, bob.id).receipts()
            assert (await anext(bob)).data == "second"
            assert await receipt.wait() is Fate.DELIVERED


def peer_of(node: Node, peer_id: str) -> Peer:
    """As it comes with a message of an earlier process."""
    return Peer(peer_id, Security.SELFCERT, "", node)


async def test_a_closed_node_says_so_and_its_iteration_ends(hub: Hub) -> None:
    async with make("bob", hub.connect()), make("alice", hub.connect()) as alice:
        peer = await alice.peer()
        reading = asyncio.create_task(_collect(alice))
        await asyncio.sleep(0)
    assert await reading == []
    assert [message async for message in alice] == []
    for attempt in (peer.send(1), alice.peer(), peer.receipts()):
        with pytest.raises(UsageError, match="the node is closed"):
            await attempt


async def _collect(node: Node) -> list[Message]:
    return [message async for message in node]


async def test_a_reader_that_is_cancelled_loses_no_message(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    peer = await alice.peer()
    for number in range(30):
        reading = asyncio.create_task(anext(bob))
        await asyncio.sleep(0)
        await peer.send(number)
        for _ in range(number % 7):
            await asyncio.sleep(0)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert (await reading).data == number
            continue
        assert (await anext(bob)).data == number


class SlowStore(MemoryStore):
    """Keeps everybody waiting after a commit while `gate` is closed."""

    def __init__(self, name: str) -> None:
        super().__init__(identity_of(name, 0.0).agent_id)
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, work: Any) -> Any:
        result = await super().run(work)
        await self.gate.wait()
        return result


@pytest.mark.parametrize("closes", [False, True], ids=["another reader", "the next start"])
async def test_a_message_that_was_taken_out_for_nobody_is_there_for(hub: Hub, closes: bool) -> None:
    store = SlowStore("bob")
    async with make("alice", hub.connect()) as alice:
        async with make("bob", hub.connect(), store) as bob:
            receipt = await (await alice.peer()).send("x")
            await receipt.wait()
            store.gate.clear()
            reading = asyncio.create_task(anext(bob))  # type: ignore[arg-type]
            await until(lambda: not store.mail.inbox)  # it is on its way to the reader
            reading.cancel()
            await asyncio.wait({reading})
            assert reading.cancelled()
            store.gate.set()
            if not closes:
                assert (await anext(bob)).data == "x"
        if closes:
            async with make("bob", hub.connect(), store) as bob:
                assert (await anext(bob)).data == "x"


class Hesitant:
    """A connection on which each line takes a moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, line: dict[str, Any]) -> None:
        await asyncio.sleep(0.02)
        await self._connection.send(line)

    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self._connection)


async def test_who_leaves_gives_its_last_answers(hub: Hub) -> None:
    async with make("alice", hub.connect()) as alice, hub.connect() as connection:
        async with make("bob", contextlib.nullcontext(Hesitant(connection))) as bob:
            peer = await alice.peer(bob.id)
            await (await peer.send("x")).wait()
            receipt = await peer.send("y")
            assert [(await anext(bob)).data for _ in range(2)] == ["x", "y"]
        assert await receipt.wait() is Fate.DELIVERED


def story(store: MemoryStore) -> list[str]:
    """What the audit log tells of conversations."""
    told = ("session", "closed", "gave_up")
    return [entry.event for entry in store.audit_rows if entry.event in told]


async def test_who_leaves_closes_the_conversations_that_it_keeps_open(hub: Hub) -> None:
    ours, theirs = (MemoryStore(identity_of(name, 0.0).agent_id) for name in ("alice", "bob"))
    async with make("bob", hub.connect(), theirs):
        async with make("alice", hub.connect(), ours) as alice:
            await (await (await alice.peer()).send("x")).wait()
        assert story(ours) == ["session", "closed"]
    assert story(theirs) == ["session", "closed"]


async def test_who_leaves_waits_for_its_last_letters_but_not_without_end(hub: Hub) -> None:
    ours = MemoryStore(identity_of("alice", 0.0).agent_id)
    async with make("alice", hub.connect(), ours) as alice:
        async with make("bob", hub.connect()) as bob:
            peer = await alice.peer(bob.id)
            await (await peer.send("x")).wait()
        unheard = await peer.send("y")
    assert story(ours) == ["session"], "nobody has answered"
    with pytest.raises(UsageError, match="closed"):
        await unheard.wait()
    async with make("bob", hub.connect()):
        async with make("alice", hub.connect()) as alice:
            receipts = [await (await alice.peer()).send(number) for number in range(40)]
        assert {await receipt.wait() for receipt in receipts} == {Fate.DELIVERED}


async def test_who_is_cancelled_while_it_leaves_lets_go_of_everything(hub: Hub) -> None:
    before = asyncio.all_tasks()

    async def live() -> None:
        async with make("alice", hub.connect()) as alice:
            async with make("bob", hub.connect()) as bob:
                await (await (await alice.peer(bob.id)).send("x")).wait()
            leaving.set()

    leaving = asyncio.Event()
    living = asyncio.create_task(live())
    await leaving.wait()
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    await until(lambda: asyncio.all_tasks() == before)
    assert hub._queues == []


async def test_a_connection_that_ends_is_told_to_everybody_who_waits() -> None:
    ended = asyncio.Event()

    class Ending:
        async def send(self, line: dict[str, Any]) -> None:
            pass

        async def __aiter__(self) -> AsyncIterator[Any]:
            await ended.wait()
            return
            yield

    async with make("alice", contextlib.nullcontext(Ending())) as alice:
        waiting = [
            asyncio.create_task(anext(alice)),  # type: ignore[arg-type]
            asyncio.create_task(alice.peer()),  # type: ignore[arg-type]
        ]
        await asyncio.sleep(0)
        ended.set()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, TransportError)


async def test_a_database_that_fails_for_a_moment_costs_no_message(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, False, True])
    run = MemoryStore.run

    async def failing(self: MemoryStore, work: Any) -> Any:
        if self.self_id == bob.id and next(failures, False):
            raise StorageError("the disk is full")
        return await run(self, work)

    quick = Settings(retry_delays=(0.2,) * 10)
    async with make("bob", hub.connect()) as bob, make("alice", hub.connect(), settings=quick) as alice:
        peer = await alice.peer()
        monkeypatch.setattr(MemoryStore, "run", failing)
        receipt = await peer.send("x")
        assert await receipt.wait() is Fate.DELIVERED
        assert (await anext(bob)).data == "x"
    assert next(failures, None) is None


async def test_opening_says_what_is_wrong_and_leaves_nothing_locked(hub: Hub, tmp_path: Path) -> None:
    async with open_node("alice", tmp_path, hub.connect()) as alice:
        with pytest.raises(UsageError, match="in use by another process"):
            async with open_node("alice", tmp_path, hub.connect()):
                pass
    with pytest.raises(IdentityError):
        async with Node.open("alice", passphrase=b"wrong", home=tmp_path, transport=hub.connect()):
            pass
    with pytest.raises(TransportError, match=r"127\.0\.0\.1"):
        async with open_node("alice", tmp_path, relay_lines("127.0.0.1", 1)):
            pass
    async with open_node("alice", tmp_path, hub.connect()) as again:
        assert again.id == alice.id


async def test_a_node_that_is_closed_leaves_nothing_behind(hub: Hub) -> None:
    before = asyncio.all_tasks()
    async with make("bob", hub.connect()), make("alice", hub.connect()) as alice:
        await alice.peer()
        assert len(asyncio.all_tasks()) >= len(before) + 6
    assert asyncio.all_tasks() == before


# ---- over a relay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", [relay_lines, summoner])
async def test_nodes_talk_over_a_summoner_relay(transport: Any) -> None:
    async with Relay.listening("127.0.0.1", 0) as relay:
        async with make("bob", transport("127.0.0.1", relay.port)) as bob:
            async with make("alice", transport("127.0.0.1", relay.port)) as alice:
                peer = await alice.peer(bob.id)
                receipts = [await peer.send({"number": number}) for number in range(20)]
                got = [(await anext(bob)).data for _ in range(20)]
                assert got == [{"number": number} for number in range(20)]
                assert {await receipt.wait() for receipt in receipts} == {Fate.DELIVERED}


async def test_lines_end_with_their_relay() -> None:
    async with Relay.listening("127.0.0.1", 0) as relay:
        async with make("alice", relay_lines("127.0.0.1", relay.port)) as alice:
            closing = asyncio.create_task(relay.close())
            with pytest.raises(TransportError):
                await alice.peer()
            await closing


@pytest.mark.timeout(60)  # a peer that is killed is waited for by the timers of whoever talks to it
async def test_processes_that_are_killed_lose_and_repeat_nothing(tmp_path: Path) -> None:
    got: list[int] = []
    async with Relay.listening("127.0.0.1", 0) as relay:
        writer = await _start("writer", tmp_path, relay.port)
        reader = await _start("reader", tmp_path, relay.port)
        got += [await _number(reader) for _ in range(5)]
        got += await _kill(reader)
        reader = await _start("reader", tmp_path, relay.port)
        got += [await _number(reader) for _ in range(5)]
        told = await _kill(writer)
        writer = await _start("writer", tmp_path, relay.port)
        got += [await _number(reader) for _ in range(5)]
        told += await _kill(writer)
        got += await _kill(reader)
    assert got == sorted(set(got))
    # what a reader had taken and not printed when it was killed may be missing, and nothing else
    assert len(set(range(1, got[-1] + 1)) - set(got)) <= 2
    assert told == sorted(set(told))
    assert set(told) <= {*got, *range(got[-1], got[-1] + 20)}


async def _start(role: str, home: Path, port: int) -> asyncio.subprocess.Process:
    arguments = [sys.executable, str(HERE / "api_process.py"), role, str(home), str(port)]
    return await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)


async def _number(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    return int((await process.stdout.readline()).split()[-1])


async def _kill(process: asyncio.subprocess.Process) -> list[int]:
    """SIGKILL; the numbers that it had printed."""
    process.kill()
    printed = (await process.communicate())[0]
    return [int(line.split()[-1]) for line in printed[: printed.rfind(b"\n") + 1].splitlines()]


# ---- the package -----------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_neither_the_database_nor_the_cryptography() -> None:
    code = (
        "import handfast, sys; print([n for n in ('db_sdk', 'cryptography', 'asyncio') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(getattr(handfast, name) is not None for name in handfast.__all__)
    with pytest.raises(AttributeError):
        _ = handfast.Nodes  # type: ignore[attr-defined]


async def test_nothing_secret_shows_in_a_repr(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    peer = await alice.peer()
    receipt = await peer.send("a whisper")
    shown = repr((await bob._store.run(lambda t: t.mail.take()), receipt, peer, alice))
    assert "whisper" not in shown


async def test_settings_reach_the_conversation(hub: Hub) -> None:
    settings = Settings(linger=0.01)
    async with make("bob", hub.connect()) as bob, make("alice", hub.connect(), settings=settings) as alice:
        await (await (await alice.peer()).send("x")).wait()
        await until(lambda: alice._driver.under_way() == bob._driver.under_way() == 0)


def test_errors_are_of_one_family() -> None:
    assert issubclass(TransportError, HandfastError)

"""Real agents as processes over a real relay on loopback."""

import ast
import asyncio
import contextlib
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_processes import ROOT, SCRIPT, AgentProcess, agents

from handfast.adapters.files import load_identity, new_identity, save_identity
from handfast.conversation.diagram import message_arrows
from summoner.server.relay import Relay

BOTH = ("initiator", "responder")
COUNTING_AGENT = Path(__file__).parent / "counting_agent.py"


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay.listening() as relay:
        yield relay


class Listener:
    """A silent participant that keeps every line the relay shows to everybody."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Listener":
        return self

    async def connect(self, port: int) -> "Listener":
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)

        async def read() -> None:
            async for line in reader:
                self.lines.append(line)

        self._task = asyncio.create_task(read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert self._writer is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()
        await self._writer.wait_closed()

    def contents(self) -> list[dict[str, Any]]:
        """The payloads of all messages of agents."""
        payloads = []
        for line in self.lines:
            content = json.loads(line)["content"]
            payloads.append(json.loads(content)["_payload"])
        return payloads


async def closed_both_ways(*pair: AgentProcess, count: int = 1) -> None:
    for agent in pair:
        for role in BOTH:
            await agent.wait_for("closed", count, role=role)


def assert_nothing_twice(agent: AgentProcess) -> None:
    """Every `delivered` of these agents carries a text of its own, so a second one would show."""
    messages = [json.dumps(event["message"]) for event in agent.find("delivered")]
    assert len(messages) == len(set(messages))


async def test_two_agents_meet_talk_close_and_reconnect(relay: Relay, tmp_path: Path) -> None:
    async with (
        Listener() as listener,
        agents(tmp_path, relay.port, "alice", "bob", flags=("--reconnect-every", "1")) as (alice, bob),
    ):
        await listener.connect(relay.port)
        await closed_both_ways(alice, bob, count=2)
        for agent, other in ((alice, bob), (bob, alice)):
            assert agent.count("peer_seen", peer=other.id) == 1
            assert (
                agent.count("session", peer=other.id, role="initiator", version=2, security="v2-selfcert")
                >= 2
            )
            assert agent.count("session", peer=other.id, role="initiator", resumed=True) >= 1
            assert agent.count("delivered", role="responder", message="How are you?", peer=other.id) >= 8
            assert agent.count("delivered", role="initiator", message="I am OK!", peer=other.id) >= 8
            assert agent.count("refused") == 0
        text = b"".join(listener.lines)
        assert b"How are you" not in text
        assert b"I am OK" not in text
        messages = listener.contents()
        assert any(message["intent"] == "reconnect" for message in messages)
        assert not any("message" in message for message in messages)


async def test_four_agents_close_all_twelve_directed_pairs(relay: Relay, tmp_path: Path) -> None:
    names = ("alice", "bob", "carol", "dave")
    async with agents(tmp_path, relay.port, *names, flags=("--reconnect-every", "600")) as team:
        for agent in team:
            for other in team:
                if other is not agent:
                    await agent.wait_for("closed", role="initiator", peer=other.id)
                    await agent.wait_for("closed", role="responder", peer=other.id)
        assert all(agent.count("refused") == 0 for agent in team)


async def test_what_to_say_and_to_reply_comes_from_the_command_line(relay: Relay, tmp_path: Path) -> None:
    async with (
        agents(tmp_path, relay.port, "alice", flags=("--say", "ça va?", "--reply", "très \x1b[31mbien")) as (
            alice,
        ),
        agents(tmp_path, relay.port, "bob") as (bob,),
    ):
        await closed_both_ways(alice, bob)
        assert bob.count("delivered", role="responder", message="ça va?") == 4
        assert bob.count("delivered", role="initiator", message="très \x1b[31mbien") == 4
        assert "\x1b[31m" not in bob.log, "control characters of a peer never reach a terminal"


async def test_after_so_many_conversations_the_agent_leaves_with_status_0(
    relay: Relay, tmp_path: Path
) -> None:
    flags = ("--reconnect-every", "0.5")
    async with agents(tmp_path, relay.port, "alice", flags=flags) as (alice,):
        async with agents(tmp_path, relay.port, "bob", flags=(*flags, "--conversations", "3")) as (bob,):
            assert await bob.ended() == 0
            assert bob.count("closed") >= 3
            assert bob.events[-1]["event"] == "stopped"
            await alice.wait_for("closed", bob.count("closed", role="initiator"), role="responder")


async def test_fewer_conversations_than_asked_for_are_said_with_status_1(tmp_path: Path) -> None:
    once = {"retry_delay_seconds": 0, "primary_retry_limit": 1, "default_retry_limit": 1}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"hyper_parameters": {"reconnection": once}}))
    flags = ("--config", str(config), "--conversations", "3")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # nobody listens there any more
    async with agents(tmp_path, port, "alice", flags=flags) as (alice,):
        assert await alice.ended() == 1
        assert "agent.py: ended after 0 of 3 conversations" in alice.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_an_agent_with_status_0_and_a_closed_database(
    relay: Relay, tmp_path: Path, number: int
) -> None:
    async with agents(tmp_path, relay.port, "alice", "bob") as (alice, bob):
        await closed_both_ways(alice, bob)
        alice.signal(number)
        assert await alice.ended(patience=10) == 0
        assert alice.events[-1]["event"] == "stopped"
        assert "Traceback" not in alice.log
        assert not alice.database().with_name(alice.database().name + "-wal").exists(), (
            "closed: the log is folded in"
        )
        with sqlite3.connect(alice.database()) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


async def test_signals_that_come_on_top_of_each_other_still_end_an_agent_with_status_0(
    relay: Relay, tmp_path: Path
) -> None:
    async with agents(tmp_path, relay.port, "alice") as (alice,):
        alice.signal(signal.SIGTERM)
        await alice.wait_for("stopped")
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ProcessLookupError):
                alice.signal(number)
        assert await alice.ended(patience=10) == 0
        assert "Traceback" not in alice.log


async def test_an_agent_without_a_relay_still_ends_on_a_signal(tmp_path: Path) -> None:
    async with agents(tmp_path, 9, "alice") as (alice,):
        alice.signal(signal.SIGTERM)
        assert await alice.ended(patience=10) == 0


async def test_a_second_process_with_the_same_home_is_refused_with_one_line(
    relay: Relay, tmp_path: Path
) -> None:
    async with agents(tmp_path, relay.port, "alice") as (alice,):
        second = AgentProcess("alice", alice.home, relay.port)
        await second.start()
        assert await second.ended() == 2
        assert len(second.log.splitlines()) == 1
        assert "in use by another process" in second.log
        alice.signal(signal.SIGTERM)
        assert await alice.ended() == 0


async def test_a_wrong_passphrase_is_one_line_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "id_agent_alice.json"
    save_identity(path, new_identity(), b"another one")
    before = path.read_bytes()
    alice = await AgentProcess("alice", tmp_path, 9).start()
    assert await alice.ended() == 2
    assert alice.log.count("\n") == 1
    assert "wrong passphrase" in alice.log
    assert path.read_bytes() == before
    assert load_identity(path, b"another one").agent_id


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--name", "../x"], "a name has"),
        (["--name", "a", "--port", "70000"], "--port"),
        (["--name", "a", "--pace", "nan"], "--pace"),
        (["--name", "a", "--conversations", "0"], "--conversations"),
        (["--name", "a", "--config", "/nowhere.json"], "--config /nowhere.json"),
        (["--name", "a", "--passphrase-file", "/nowhere"], "passphrase file /nowhere"),
        (["--name", "a", "--say", "x" * 50_000], "--say"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_one_clear_line(tmp_path: Path, flags: list[str], says: str) -> None:
    command = [sys.executable, str(SCRIPT), "--home", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "config", ["[]", "{", '{"hyper_parameters": {"sender": {"concurrency_limit": "many"}}}']
)
def test_a_configuration_that_cannot_be_meant_is_one_clear_line(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    command = [
        sys.executable,
        str(SCRIPT),
        "--home",
        str(tmp_path),
        "--name",
        "a",
        "--demo-passphrase",
        "--config",
    ]
    done = subprocess.run(
        [*command, str(tmp_path / "config.json")], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("agent.py: ")


def field_values() -> list[Any]:
    return [5, [], {}, None, "x" * 50_000, "\ud800", "\x00", "\x1b[31mred\x1b[0m", True, -1.5]


def hostile_payloads(own: str, target: str) -> list[Any]:
    """Messages in which each header field in turn is something it must not be."""
    whole = {
        "to": target,
        "from": own,
        "intent": "request",
        "your_nonce": "a" * 32,
        "my_nonce": "b" * 32,
        "my_ref": "1" * 10,
        "your_ref": "2" * 10,
        "hs": {"type": "init"},
        "sec": {"envelope": {}, "sig": ""},
    }
    intents = ("register", "reconnect", "confirm", "request", "respond", "conclude", "finish", "close")
    payloads: list[Any] = [5, None, [], "from to intent", {}, True, float("inf"), float("nan")]
    payloads += [whole | {"intent": intent} for intent in intents]
    payloads += [whole | {field: value} for field in whole for value in field_values()]
    payloads += [whole | {"hs": {"type": value, "nonce": value}} for value in field_values()]
    payloads += [whole | {"sec": {"envelope": {"nonce": value}, "sig": value}} for value in field_values()]
    return payloads


def hostile_lines(own: str, target: str) -> list[bytes]:
    deep = "[" * 20_000 + "]" * 20_000
    bare = [
        b"5", b"null", b"[]", b'"from to intent"', b"", b"\x00", b"\x1b[2J", deep.encode(), b"x" * 10_000_000,
        b'{"a": 1, "a": 2}', b"9" * 5_000, b"1e400", b"NaN", b"-Infinity", b"{", b'{"remote_addr": 5, "content": {}}',
        b'{"_version": [], "_payload": {}, "_type": "int"}',
        b'{"_version": "1.3.0", "_payload": ' + b"9" * 5_000 + b', "_type": "int"}',
        b'{"_version": "1.3.0", "_payload": 1e400, "_type": "int"}',
        b'{"_version": "1.3.0", "_payload": ' + deep.encode() + b', "_type": ' + deep.encode() + b"}",
        b'{"_version": "1.3.0", "_payload": {"from": "a", "from": "b"}, "_type": {"from": "str"}}',
    ]  # fmt: skip
    typed = [
        json.dumps({"_version": "1.3.0", "_payload": payload, "_type": None}).encode()
        for payload in hostile_payloads(own, target)
    ]
    return [*bare, *typed, b"\xff\xfe invalid"]


async def test_no_line_of_any_participant_ends_an_agent_or_the_relay_or_harms_a_conversation(
    relay: Relay, tmp_path: Path
) -> None:
    async with agents(tmp_path, relay.port, "alice", "bob", flags=("--reconnect-every", "0.5")) as (
        alice,
        bob,
    ):
        await closed_both_ways(alice, bob)
        for target in (alice, bob):
            other = bob if target is alice else alice
            for own in ("11111111-2222-4333-8444-555555555555", other.id):
                # invalid UTF-8, the last line, costs its author the connection: each round begins with a new one
                _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                for line in hostile_lines(own, target.id):
                    writer.write(line + b"\n")
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
        before = {
            (agent.name, role): agent.count("closed", role=role) for agent in (alice, bob) for role in BOTH
        }
        for agent in (alice, bob):
            for role in BOTH:
                await agent.wait_for("closed", before[agent.name, role] + 2, role=role)
        for agent in (alice, bob):
            assert "Traceback" not in agent.log
            agent.signal(signal.SIGTERM)
            assert await agent.ended() == 0


@pytest.mark.parametrize("seed", range(4))
async def test_kill_9_at_a_random_moment_costs_nothing_but_time(
    relay: Relay, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    flags = ("--reconnect-every", "0.2")
    together = agents(tmp_path, relay.port, "alice", "bob", flags=flags, script=COUNTING_AGENT)
    async with Listener() as listener, together as (alice, bob):
        await listener.connect(relay.port)
        for agent in (alice, bob):
            # at a random event from now on: between any two steps of the conversations under way
            enough = len(agent.events) + chance.randrange(1, 25)
            await agent.wait_until(lambda a=agent, n=enough: len(a.events) >= n)  # type: ignore[misc]
            agent.kill()
            assert await agent.ended() == -signal.SIGKILL
            await agent.start()
            await agent.wait_for("started", 2)
            before = {(a.name, role): a.count("closed", role=role) for a in (alice, bob) for role in BOTH}
            for other in (alice, bob):
                for role in BOTH:
                    await other.wait_for("closed", before[other.name, role] + 1, role=role, patience=45)
        for agent in (alice, bob):
            assert_nothing_twice(agent)
            assert agent.count("refused") == 0
        assert b"unique" not in b"".join(listener.lines)
        assert not any("message" in message for message in listener.contents())


async def test_a_relay_that_goes_away_and_comes_back_loses_no_conversation(tmp_path: Path) -> None:
    async with Relay.listening() as first:
        port = first.port
        async with agents(tmp_path, port, "alice", "bob", flags=("--reconnect-every", "0.2")) as (alice, bob):
            await closed_both_ways(alice, bob)
            for _ in range(2):
                await first.close()
                first = Relay()
                await first.start("127.0.0.1", port)
                done = {(a.name, role): a.count("closed", role=role) for a in (alice, bob) for role in BOTH}
                for agent in (alice, bob):
                    for role in BOTH:
                        await agent.wait_for("closed", done[agent.name, role] + 1, role=role, patience=45)
            await first.close()


def test_importing_the_agent_does_nothing(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import agent, routes, options, reporting, db_models"
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT.parent)],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_agents_routes_are_the_arrows_of_the_table() -> None:
    tree = ast.parse((SCRIPT.parent / "routes.py").read_text())
    routes = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and " --> " in str(node.value)
    }
    assert routes == message_arrows() | {"/all --> /all"}


def test_the_agent_uses_only_documented_names_of_the_sdk() -> None:
    documented = {"SummonerClient", "Direction", "Event", "Move", "Stay", "Node", "load_triggers"}
    members = {
        "flow",
        "activate",
        "add_arrow_style",
        "hook",
        "receive",
        "send",
        "upload_states",
        "download_states",
    }
    members |= {"run", "quit", "loop", "logger", "set_termination_signals", "shutdown"}
    used: set[str] = set()
    reached: set[str] = set()
    for path in SCRIPT.parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("summoner"):
                used |= {alias.name for alias in node.names}
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                if owner in ("client", "self.client", "flow", "client.flow()"):
                    reached.add(node.attr)
    assert used <= documented
    assert used >= {"SummonerClient", "Move"}
    assert reached <= members
    assert reached >= {"receive", "send", "hook"}


def test_the_repository_has_what_a_user_starts() -> None:
    assert (ROOT / "server.py").exists()
    assert SCRIPT.exists()

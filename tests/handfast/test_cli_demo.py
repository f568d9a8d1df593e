"""`handfast demo`: played for real, and what it does when something fails."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_world import End, FakeClock, Link

from handfast.audit import Fault, Report, Why
from handfast.cli.demo.attempts import Attempt, attempts_with, used_ticket
from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard, conversations, is_closed
from handfast.cli.demo.processes import AgentProcess, Child, DemoFailed, RelayProcess, Stage
from handfast.cli.demo.results import Agent, Ending, Results, Talk, check_talk
from handfast.cli.snapshot import AuditLog, PinnedKey, Snapshot
from handfast.errors import Reason
from handfast.identity.names import fingerprint
from handfast.session.v2.suites import CHACHA, CHACHA_KEM
from handfast.wire.messages import parse_message
from handfast.wire.text import b64encode, b64url_encode
from handfast.wire.v2.offers import Selection

KEY = bytes(range(32))
DEMO = [sys.executable, "-m", "handfast.cli", "demo"]


def environment(directory: Path) -> dict[str, str]:
    """Ours, with temporary files where the test can look for what is left of them, and no colours."""
    plain = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS"}}
    return plain | {"TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8"}


def test_the_demo_plays_to_its_end_and_leaves_nothing_behind(tmp_path: Path) -> None:
    played = subprocess.run(
        DEMO,
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=55,
        check=False,
    )
    assert (played.returncode, played.stderr) == (0, ""), played.stdout + played.stderr
    for told in (
        "by the key that its id is made of",
        "likewise, and opened the message",
        "keys by Noise_XX",
        "the same 8 messages, word for word",
        '"How are you?"',
        '"I am OK!"',
        "2 for next time, sealed",
        "chain holds",
        "key 32, sealed",
        "silence",
        "refused: nonce_used",
        "greeted like a stranger",
        "refused: id_not_self_certified",
        "bob starts → both directions closed",
        "4, with 8 different X25519 keys",
        "messages sealed and opened             32",
        "not one message in the clear",
        "none: they travel sealed, too",
        "entries, signed; bob keeps its end",
        "inspect --name alice --watch",
    ):
        assert told in played.stdout
    assert "\x1b" not in played.stdout
    assert max(map(len, played.stdout.splitlines())) <= 80
    assert os.listdir(tmp_path) == []


@contextmanager
def playing(directory: Path, until: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A demo that has told a line with `until` in it, and its children; both are ended in any case."""
    children: list[psutil.Process] = []
    with subprocess.Popen(
        DEMO, env=environment(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as demo:
        try:
            assert demo.stdout is not None
            assert any(until in line for line in demo.stdout)
            children = psutil.Process(demo.pid).children()
            yield demo, children
        finally:
            demo.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_demo_that_is_stopped_ends_its_children(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with playing(tmp_path, "never met") as (demo, children):
        assert len(children) == 3
        demo.send_signal(number)
        _, err = demo.communicate(timeout=20)
        assert demo.returncode == status
        assert "Traceback" not in err
        assert not any(child.is_running() for child in children)
    assert os.listdir(tmp_path) == []


def test_a_demo_whose_relay_dies_fails_with_a_reason_and_what_the_children_wrote(tmp_path: Path) -> None:
    with playing(tmp_path, "somebody who listens") as (demo, children):
        relay = next(child for child in children if "server" in child.cmdline())
        relay.kill()
        _, err = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert "relay wrote last:\n  The relay listens on " in err
    assert err.splitlines()[-1].startswith("handfast: the demo failed: relay ended with status -9")
    assert os.listdir(tmp_path) == []


def line(author: str, to: str | None, intent: str, **members: Any) -> Overheard:
    message = {"from": author, "to": to, "intent": intent} | members
    return Overheard(0.0, json.dumps(message), message)


def shake(author: str, to: str, kind: str, key: bytes, **members: Any) -> Overheard:
    """A handshake message that begins with `key`, with 48 sealed bytes behind it."""
    intent = {"n1": "confirm", "k2": "confirm", "n2": "request", "n3": "respond", "k1": "reconnect"}[kind]
    body = key.ljust(32, b"\0") + (b"" if kind == "n1" else bytes(48))
    return line(author, to, intent, hs={"v": 2, "t": kind, "m": b64url_encode(body)}, **members)


def packet(author: str, to: str, intent: str, **members: Any) -> Overheard:
    return line(author, to, intent, sec={"v": 2, "b": b64url_encode(bytes(18 + 32))}, **members)


def rest(first: str, second: str, tag: str) -> list[Overheard]:
    """One turn and the closing, which `first` leads."""
    return [
        packet(first, second, "request", my_nonce=f"{tag}4"),
        packet(second, first, "respond", my_nonce=f"{tag}5"),
        packet(first, second, "conclude", my_ref=f"{tag}r"),
        packet(second, first, "finish", my_ref=f"{tag}s"),
        packet(first, second, "close", my_ref=f"{tag}r"),
        packet(second, first, "finish", my_ref=f"{tag}s", last=True),
    ]


def cycle(first: str, second: str, tag: str) -> list[Overheard]:
    """One conversation that `first` leads with `second`, with a full handshake."""
    return [
        shake(second, first, "n1", f"{tag}a".encode(), my_nonce=f"{tag}1"),
        shake(first, second, "n2", f"{tag}b".encode(), your_nonce=f"{tag}1", my_nonce=f"{tag}2"),
        shake(second, first, "n3", b"", your_nonce=f"{tag}2", my_nonce=f"{tag}3"),
        *rest(first, second, tag),
    ]


def resumed(first: str, second: str, tag: str) -> list[Overheard]:
    """One conversation that `first` leads with `second`, with a ticket."""
    return [
        shake(first, second, "k1", f"{tag}c".encode(), your_ref=tag),
        shake(second, first, "k2", f"{tag}d".encode(), my_nonce=f"{tag}1"),
        *rest(first, second, tag),
    ]


def test_conversations_are_told_apart_by_direction_and_number() -> None:
    there, back, again = cycle("a", "b", "x"), cycle("b", "a", "y"), resumed("a", "b", "z")
    mixed = [one for pair in zip(there, back, strict=True) for one in pair]
    heard = [line("a", None, "register"), *mixed, line("b", None, "register"), *again]
    assert conversations(heard, "a", "b") == [there, again]
    assert conversations(heard, "b", "a") == [back]
    assert conversations(heard, "a", "c") == []


def test_repeated_forged_and_unanswered_messages_belong_to_no_conversation() -> None:
    talk = cycle("a", "b", "x")
    greeting = shake("b", "a", "n1", b"another", my_nonce="never answered")
    old = line("b", "a", "confirm", my_nonce="forged", hs={"kx_pub": "eve"})
    repeated = [one for one in talk for _ in range(3)]
    heard = [packet("b", "a", "finish"), old, greeting, *repeated, old, talk[1], talk[-1]]
    assert conversations(heard, "a", "b") == [talk]
    assert is_closed(talk)
    assert not is_closed(talk[:-1])


def test_what_eve_can_read_of_a_line_is_told_apart_from_what_is_sealed() -> None:
    n1, n2, n3, request = cycle("a", "b", "x")[:4]
    assert (n1.open_bytes, n1.sealed_bytes) == ((32,), 0)
    assert (n2.open_bytes, n2.sealed_bytes) == ((32,), 48)
    assert (n3.open_bytes, n3.sealed_bytes) == ((), 80)
    assert (request.open_bytes, request.sealed_bytes) == ((), 32)
    assert (n2.exchange_key, n3.exchange_key) == (b"xb".ljust(32, b"\0"), None)
    assert n2.shows(b"xb")
    assert not request.shows(b"xb")
    old = line("a", "b", "request", hs={"kx_pub": "x"}, sec={"envelope": {}})
    assert (old.kind, old.exchange_key, old.open_bytes, old.sealed_bytes) == ("", None, (), 0)


@pytest.mark.parametrize(("suite", "is_post_quantum"), [(CHACHA, False), (CHACHA_KEM, True)])
def test_a_key_exchange_with_ml_kem_is_known_by_the_selection(suite: int, is_post_quantum: bool) -> None:
    n1 = shake("b", "a", "n1", bytes(32 + 3 + 1184))
    n1.message["hs"]["s"] = b64url_encode(Selection(2, suite, bytes(16)).encode())
    assert (n1.open_bytes, n1.is_post_quantum) == ((32, 1184), is_post_quantum)
    assert not cycle("a", "b", "x")[2].is_post_quantum


IDENTITY = {"alice": b"A" * 32, "bob": b"B" * 32}
SESSION = {"version": 2, "security": "v2-selfcert", "resumed": False, "suite": "Noise_XX"}


def pin(peer: str, key: bytes | None = None) -> PinnedKey:
    key = key or IDENTITY[peer]
    return PinnedKey(2, "self", peer, fingerprint(key), b64encode(key), "selfcert", None)


def ending(peer: str, own: str, **members: Any) -> Ending:
    """What is left of an agent after one conversation in either direction, all well."""
    snapshot = Snapshot("path", 2, [], {}, [], [pin(peer)], [], [], AuditLog(None, []))
    log = Report(None, 1, 9, 8, IDENTITY[own], is_anchored=True)
    transcripts = {"initiator": [(2, f"of {own}")], "responder": [(2, f"of {peer}")]}
    return replace(Ending(snapshot, log, transcripts, stored_keys=0), **members)


def results(*heard: Overheard, attempts: Sequence[Attempt] = (), **endings: Ending) -> Results:
    """A demo in which alice and bob led one talk each."""
    eve = Eavesdropper(lambda: None)
    eve.heard.extend(heard)
    alice, bob = Agent("alice", "what?", "this."), Agent("bob", "where?", "here.")
    for agent in (alice, bob):
        agent.line(json.dumps({"event": "started", "t": 0.0, "id": agent.name}))
    talks = [talk_of(first, second) for first, second in ((alice, bob), (bob, alice))]
    left = {"alice": ending("bob", "alice"), "bob": ending("alice", "bob")} | endings
    return Results(eve, talks, attempts, bob, left, 1.0)


def talk_of(first: Agent, second: Agent, **members: Any) -> Talk:
    messages = cycle(first.name, second.name, first.name)
    whole = Talk(first, second, messages, [first.say], [second.reply], (SESSION, SESSION), 0.5, 1.0)
    return replace(whole, **members)


def test_a_demo_in_which_all_is_well_passes_its_own_check() -> None:
    results(packet("alice", "bob", "request")).check()


@pytest.mark.parametrize("text", ["what?", "where?", "this.", "here."])
def test_a_message_in_the_clear_fails_the_demo(text: str) -> None:
    with pytest.raises(DemoFailed, match="in the clear"):
        results(line("alice", "bob", "request", message=text)).check()


def test_an_identity_key_in_the_clear_fails_the_demo() -> None:
    with pytest.raises(DemoFailed, match="identity key of bob went over the relay in the clear"):
        results(shake("bob", "alice", "n2", IDENTITY["bob"])).check()


PINS_OF_NOBODY = replace(ending("bob", "alice").snapshot, pins=[])
PINS_OF_TWO = replace(PINS_OF_NOBODY, pins=[pin("bob"), pin("carol", KEY)])
PINS_OF_BOTH_VERSIONS = replace(PINS_OF_NOBODY, pins=[pin("bob"), replace(pin("carol", KEY), version=1)])
GOOD_LOG = ending("bob", "alice").log


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"snapshot": PINS_OF_NOBODY}, "alice did not pin"),
        ({"snapshot": PINS_OF_TWO}, "alice did not pin"),
        ({"snapshot": PINS_OF_BOTH_VERSIONS}, "alice did not pin"),
        ({"stored_keys": 1}, "alice holds session keys"),
        ({"log": replace(GOOD_LOG, fault=Fault(3, Why.CHANGED))}, "audit log of alice is broken"),
        ({"log": replace(GOOD_LOG, key=KEY)}, "alice did not sign"),
        ({"log": replace(GOOD_LOG, key=None)}, "alice did not sign"),
        ({"log": replace(GOOD_LOG, signed_to=5)}, "end of the audit log of alice is not signed"),
        ({"transcripts": {"initiator": [], "responder": [(2, "of bob")]}}, "do not remember the same"),
        ({"transcripts": {"initiator": [(2, "of alice")], "responder": [(3, "of bob")]}}, "do not remember"),
    ],
)
def test_an_agent_that_is_not_left_as_it_should_be_fails_the_demo(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(DemoFailed, match=says):
        results(alice=ending("bob", "alice", **changed)).check()


def test_a_conversation_that_nobody_remembers_fails_the_demo() -> None:
    nothing: dict[str, Any] = {"transcripts": {"initiator": [], "responder": []}}
    left = {"alice": ending("bob", "alice", **nothing), "bob": ending("alice", "bob", **nothing)}
    with pytest.raises(DemoFailed, match="do not remember the same"):
        results(**left).check()


def test_a_key_that_is_used_twice_fails_the_demo() -> None:
    good = results()
    with pytest.raises(DemoFailed, match="used twice"):
        replace(good, talks=[*good.talks, good.talks[0]]).check()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"answers": ["nothing."]}, "did not hear"),
        ({"questions": []}, "did not hear"),
        ({"sessions": (SESSION, SESSION | {"security": "v2-tofu"})}, "not sure of each other"),
        ({"sessions": (SESSION | {"version": 1}, SESSION)}, "not sure of each other"),
        ({"sessions": (SESSION | {"resumed": True}, SESSION | {"resumed": True})}, "did not begin anew"),
        ({"messages": resumed("alice", "bob", "z")}, "did not begin anew"),
    ],
)
def test_a_talk_that_is_not_as_it_should_be_fails_the_demo(changed: dict[str, Any], says: str) -> None:
    alice, bob = Agent("alice", "what?", "this."), Agent("bob", "where?", "here.")
    check_talk(talk_of(alice, bob), is_again=False)
    with pytest.raises(DemoFailed, match=says):
        check_talk(talk_of(alice, bob, **changed), is_again=False)
    with pytest.raises(DemoFailed, match="did not use a ticket"):
        check_talk(talk_of(alice, bob), is_again=True)


FORGED = Attempt("lies", {}, Reason.NONCE_USED)


@pytest.mark.parametrize(
    ("events", "attempts", "says"),
    [
        ([], [FORGED], "bob refused"),
        ([{"event": "refused", "reason": "aead"}], [], "bob refused"),
        ([{"event": "refused", "reason": "aead"}], [FORGED], "bob refused"),
        ([{"event": "session", "peer": "eve"}], [], "bob has talked with a stranger"),
        ([{"event": "delivered", "peer": "eve"}], [], "bob has talked with a stranger"),
    ],
)
def test_an_attempt_of_which_something_else_came_fails_the_demo(
    events: list[dict[str, Any]], attempts: list[Attempt], says: str
) -> None:
    played = results(attempts=attempts)
    for event in events:
        played.victim.line(json.dumps(event))
    with pytest.raises(DemoFailed, match=says):
        played.check()


def test_an_attempt_that_was_refused_as_it_should_be_is_well() -> None:
    played = results(attempts=[FORGED, Attempt("listens", {})])
    played.victim.line(json.dumps({"event": "refused", "reason": "nonce_used"}))
    played.check()


def test_a_word_to_eve_fails_the_demo() -> None:
    played = results()
    played.eve.heard.append(line("bob", played.eve.identity.agent_id, "respond"))
    with pytest.raises(DemoFailed, match="bob has answered eve"):
        played.check()


async def overheard() -> list[Overheard]:
    """A conversation of alice with bob, real but for the relay."""
    ends, clock = [], FakeClock()
    for name in ("alice", "bob"):
        end = End(name, clock)
        end.identity = end.identity.with_static_key(name.encode().ljust(32), clock.now())
        end.driver = end.new_driver()
        ends.append(end)
    link = Link(*ends)
    await link.register()
    heard = [Overheard(0.0, "", content) for content in link.recorded]
    return conversations(heard, ends[0].id, ends[1].id)[0]


async def test_what_eve_says_is_well_formed_so_that_silence_means_something() -> None:
    talk, eve = await overheard(), Eavesdropper(lambda: None)
    alice, bob = talk[1].message["from"], talk[1].message["to"]
    n2 = talk[1].message
    k1 = shake(alice, bob, "k1", b"key", your_ref=n2["my_nonce"]).message
    k1["hs"] |= {"o": n2["hs"]["o"], "i": b64url_encode(bytes(16)), "g": 1}
    attempts = attempts_with(eve, bob, alice, "alice", talk)
    attempts.append(used_ticket(eve, alice, "alice", k1))
    for attempt in attempts:
        message = parse_message(attempt.payload, bob)
        assert message is not None
        assert message.sender in (alice, eve.identity.agent_id)
    assert attempts[-1].payload["hs"]["o"] != n2["hs"]["o"]


async def start(stage: Stage, child: Child, program: str) -> None:
    await stage.start(child, [sys.executable, "-c", program])


async def test_a_child_that_ends_while_something_is_awaited_is_named() -> None:
    stage, child = Stage(), Child("carol")
    await start(stage, child, "print('so long'); raise SystemExit(3)")
    with pytest.raises(DemoFailed, match="carol ended with status 3 before the rain"):
        await stage.until(lambda: False, "the rain")
    assert list(child.output) == ["so long"]
    assert await stage.close() == {"carol": 3}


async def test_what_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.cli.demo.processes.PATIENCE_SECONDS", 0.05)
    with pytest.raises(DemoFailed, match="the rain did not come"):
        await Stage().until(lambda: False, "the rain")


async def test_a_child_that_does_not_heed_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.cli.demo.processes.Child.grace_seconds", 0.05)
    stage, child = Stage(), Child("carol")
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    await start(stage, child, deaf)
    await stage.until(lambda: "deaf" in child.output, "its first line")
    async with asyncio.timeout(20):
        assert await stage.close() == {"carol": -signal.SIGKILL}


def test_events_are_told_apart_from_other_output() -> None:
    agent, relay = AgentProcess("alice"), RelayProcess()
    agent.line('{"event": "closed", "t": 1.0, "peer": "b", "role": "initiator"}')
    agent.line('{"event": "closed", "t": 2.0, "peer": "b", "role": "responder"}')
    agent.line("{no json")
    assert [event["t"] for event in agent.find("closed", role="responder")] == [2.0]
    assert list(agent.output) == ["{no json"]
    relay.line("The relay listens on 127.0.0.1:4711. Ctrl-C stops it.")
    assert relay.port == 4711

"""`handfast demo`: played for real, and what it does when something fails."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from handfast.cli.demo.eavesdropper import Eavesdropper, Overheard, conversations, is_closed
from handfast.cli.demo.processes import AgentProcess, Child, DemoFailed, RelayProcess, Stage
from handfast.cli.demo.results import Agent, Results, Talk
from handfast.cli.snapshot import AuditLog, PinnedKey, Snapshot
from handfast.identity.identity import fingerprint
from handfast.wire.text import b64encode

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
        "alice verified that it is signed",
        "bob verified that it is signed",
        '"How are you?"',
        '"I am OK!"',
        "0 now",
        "refused: hs_replayed",
        "refused: key_changed",
        "refused: key_under_two_ids",
        "reference of last time",
        "bob starts → both directions closed",
        "8, with 8 different X25519 keys",
        "messages sealed and opened             32",
        "not one message in the clear",
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


def cycle(first: str, second: str, tag: str) -> list[Overheard]:
    """One conversation that `first` leads with `second`."""
    return [
        line(
            second, first, "confirm", my_nonce=f"{tag}1", hs={"kx_pub": f"{tag}a", "sign_pub": b64encode(KEY)}
        ),
        line(first, second, "request", your_nonce=f"{tag}1", my_nonce=f"{tag}2", hs={"kx_pub": f"{tag}b"}),
        line(second, first, "respond", your_nonce=f"{tag}2", my_nonce=f"{tag}3"),
        line(first, second, "conclude", your_nonce=f"{tag}3", my_ref=f"{tag}r"),
        line(second, first, "finish", your_ref=f"{tag}r", my_ref=f"{tag}s"),
        line(first, second, "close", your_ref=f"{tag}s", my_ref=f"{tag}r"),
    ]


def test_conversations_are_told_apart_by_direction_and_number() -> None:
    there, back = cycle("a", "b", "x"), cycle("b", "a", "y")
    again = [line("a", "b", "reconnect", your_ref="xs"), *cycle("a", "b", "z")]
    mixed = [one for pair in zip(there, back, strict=True) for one in pair]
    heard = [line("a", None, "register"), *mixed, line("b", None, "register"), *again]
    assert conversations(heard, "a", "b") == [there, again]
    assert conversations(heard, "b", "a") == [back]
    assert conversations(heard, "a", "c") == []


def test_repeated_forged_and_unanswered_messages_belong_to_no_conversation() -> None:
    talk = cycle("a", "b", "x")
    forged = line("b", "a", "confirm", my_nonce="forged", hs={"kx_pub": "eve"})
    repeated = [one for one in talk for _ in range(3)]
    heard = [line("b", "a", "finish", your_ref="old"), forged, *repeated, forged, talk[0], talk[-1]]
    assert conversations(heard, "a", "b") == [talk]
    assert is_closed(talk)
    assert not is_closed(talk[:-1])


def test_what_eve_can_read_of_a_line_is_told_apart_from_what_is_sealed() -> None:
    plain, sealed = (
        line("a", "b", "request"),
        line("a", "b", "request", sec={"envelope": {"ciphertext": "abc"}}),
    )
    assert (plain.ciphertext, plain.exchange_key) == (None, None)
    assert sealed.ciphertext == "abc"
    assert cycle("a", "b", "x")[0].exchange_key == "xa"


def results(snapshot: Snapshot, *heard: Overheard) -> Results:
    """A demo in which alice and bob led one talk each; both databases hold `snapshot`."""
    eve = Eavesdropper(lambda: None)
    eve.heard.extend(heard)
    alice, bob = Agent("alice", "what?", "this."), Agent("bob", "where?", "here.")
    for agent in (alice, bob):
        agent.line(json.dumps({"event": "started", "t": 0.0, "id": agent.name}))
    talks = [
        Talk(first, second, cycle(first.name, second.name, first.name), [first.say], [second.reply], 1.0)
        for first, second in ((alice, bob), (bob, alice))
    ]
    return Results(eve, talks, {"alice": snapshot, "bob": replace(snapshot, pins=[pin("alice")])}, 1.0)


def pin(peer: str) -> PinnedKey:
    return PinnedKey("self", peer, fingerprint(KEY), None, None, None)


GOOD = Snapshot("path", 1, [], {"nonces": 0}, [], [pin("bob")], [], [], AuditLog(None, []))


def test_a_demo_in_which_all_is_well_passes_its_own_check() -> None:
    results(GOOD, line("alice", "bob", "request", sec="sealed")).check()


@pytest.mark.parametrize("text", ["what?", "where?", "this.", "here."])
def test_a_message_in_the_clear_fails_the_demo(text: str) -> None:
    with pytest.raises(DemoFailed, match="in the clear"):
        results(GOOD, line("alice", "bob", "request", message=text)).check()


@pytest.mark.parametrize(
    ("snapshot", "says"),
    [
        (replace(GOOD, totals={"nonces": 1}), "nonces"),
        (replace(GOOD, audit=AuditLog(3, [])), "audit log of alice"),
        (replace(GOOD, pins=[]), "alice did not pin"),
        (replace(GOOD, pins=[pin("carol")]), "alice did not pin"),
    ],
)
def test_a_database_that_is_not_as_it_should_be_fails_the_demo(snapshot: Snapshot, says: str) -> None:
    with pytest.raises(DemoFailed, match=says):
        results(snapshot).check()


def test_a_key_that_is_used_twice_or_a_wrong_answer_fails_the_demo() -> None:
    good = results(GOOD)
    with pytest.raises(DemoFailed, match="used twice"):
        replace(good, talks=[*good.talks, good.talks[0]]).check()
    with pytest.raises(DemoFailed, match="did not hear"):
        replace(good, talks=[replace(good.talks[0], answers=["nothing."])]).check()


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
    monkeypatch.setattr("handfast.cli.demo.processes._GRACE_SECONDS", 0.05)
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

"""After a full run of version 2 no secret stands in a log, the audit log, a database, an exception, an event or a `repr`."""

import base64
import contextlib
import gc
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from secret_scan import Collector, found, spellings
from v2_world import Line, Relay, World2, blob, flipped, kind, with_blob

from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.live import Announcements, Attempt, Half, Live
from handfast.conversation.model import PeerState, Step
from handfast.crypto import kem
from handfast.crypto.keys import Secret
from handfast.driver import Outcome
from handfast.errors import HandfastError
from handfast.identity import Identity
from handfast.session.v2.initiator import InitiatorHandshake
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import Begun, ConfirmSecret
from handfast.session.v2.resumption import ResumptionAttempt, Ticket
from handfast.session.v2.schedule import Keys
from handfast.session.v2.session import Session
from handfast.wire import limits

# whoever prints one of these must not print what it guards
SHOWN = (
    Announcements, Attempt, Begun, ConfirmSecret, Half, Identity, InitiatorHandshake, Keys, Live, Myself,
    Outcome, PeerState, ResumptionAttempt, Secret, Session, Step, Ticket,
)  # fmt: skip


class Run:
    """What is left of a run.

    Attributes:
        collector: every secret there was.
        identities: of those who ran.
        places: everything that somebody else may get to see, by name.
    """

    def __init__(self) -> None:
        self.collector = Collector()
        self.places: dict[str, bytes | str] = {}
        self.identities: list[Identity] = []
        self._seen: set[bytes | str] = set()

    def see(self, what: str, content: bytes | str) -> None:
        if content not in self._seen:
            self._seen.add(content)
            self.places[f"{what} ({len(self._seen)})"] = content


def disturbed(line: Line) -> Iterator[Line]:
    """A line altered in a few places, so that everything that can be refused is refused once."""
    for member in ("o", "s", "i", "m", "b"):
        name = "hs" if "hs" in line else "sec"
        if member in line.get(name, {}):
            raw = blob(line, member)
            for at in (0, len(raw) // 2, len(raw) - 1):
                yield with_blob(line, member, flipped(raw, at))


async def run_everything(directory: Path, run: Run) -> World2:
    """Full and resumed conversations with new keys on the way, ML-KEM, a PSK, restarts, and everything refused once."""

    def store(identity: Identity) -> SqliteStore:
        return SqliteStore(directory / f"{identity.agent_id}.db", identity)

    psk = Secret(b"pre-shared key of thirty-two by.")
    world = World2(store=store, post_quantum="prefer", psk=psk)
    for end in world.ends:
        await end.store.open()
        await end.driver.start()
    world.link.before = lambda line, number: disturbed(line)
    with mock.patch.object(limits, "GENERATION_MESSAGES_SOFT", 2):
        await world.begin()
        show(run, world)
        await world.begin_again()
        await world.begin_and_stop_before(lambda line: kind(line) == "conclude", again=True)
        show(run, world)
        for end in world.ends:
            await end.restart()
        world.link = Relay(*world.ends)
        await world.pass_time(60)
        await world.begin_again()
    assert world.closed()[0] >= 3
    show(run, world)
    for end in world.ends:
        await end.driver.stop()
        await end.store.close()
    return world


def show(run: Run, world: World2) -> None:
    """What is printed of everything there is at this moment."""
    for held in gc.get_objects():
        if isinstance(held, SHOWN):
            run.see(f"repr of a {type(held).__name__}", f"{held!r} {held!s}")
    for end in world.ends:
        for outcome in end.outcomes:
            run.see("event", repr(outcome))


@pytest.fixture
async def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    caplog.set_level(logging.DEBUG)
    run, raised = Run(), []
    original = HandfastError.__init__

    def noted(error: HandfastError, *details: Any) -> None:
        original(error, *details)
        raised.append(error)

    with run.collector.listening(), mock.patch.object(HandfastError, "__init__", noted, create=True):
        world = await run_everything(tmp_path, run)
        run.identities = [end.identity for end in world.ends]
    for error in raised:
        run.see("exception", "".join(traceback.format_exception(error)) + repr(error))
    for line in world.lines:
        run.see("line", repr(line))
        for member in ("o", "s", "i", "m", "b"):
            if member in (line.get("hs") or line["sec"]):
                run.see("blob", blob(line, member))
    run.see("log", caplog.text)
    see_files(run, tmp_path)
    return run


def see_files(run: Run, directory: Path) -> None:
    for path in directory.iterdir():
        run.see(f"file *{path.suffix}", path.read_bytes())
    for path in directory.glob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            run.see("audit", repr(database.execute("SELECT * FROM audit").fetchall()))
            run.see("dump", "\n".join(database.iterdump()))


async def test_no_secret_is_seen_anywhere_after_a_full_run(run: Run) -> None:
    secrets = run.collector.secrets
    assert len(secrets) > 80
    assert {"Secret", "ExchangeKey", "SigningKey"} <= set(secrets.values())
    for identity in run.identities:
        keys = [identity.signing_key, identity.exchange_key, *(static.key for static in identity.static_keys)]
        assert {key.private_bytes() for key in keys} | {identity.database_key().reveal()} <= secrets.keys()
    assert any(len(secret) == kem.SEED_BYTES for secret in secrets)
    words = {name.partition(" (")[0] for name in run.places}
    assert words >= {"audit", "event", "exception", "line", "blob", "log", "file *.db"}
    assert words >= {
        f"repr of a {kind}" for kind in ("Session", "Ticket", "Live", "Half", "ConfirmSecret", "Myself")
    }
    assert found(secrets, run.places) == []


@pytest.mark.parametrize("spelling", range(10))
def test_a_planted_secret_is_found_in_every_spelling(spelling: int) -> None:
    secret = bytes(range(100, 132))
    spelled = list(spellings(secret))
    assert len(spelled) == 10
    places = {"here": b"before " + spelled[spelling] + b" after", "there": b"nothing"}
    assert found({secret: "key"}, places) == ["key in here"]


@pytest.mark.parametrize("lead", range(6))
def test_a_secret_inside_of_something_longer_is_found_in_base64(lead: int) -> None:
    secret = bytes(range(200, 232))
    text = base64.b64encode(b"x" * lead + secret + b"more").decode()
    assert found({secret: "key"}, {"text": text, "url": base64.urlsafe_b64encode(b"x" * lead + secret)}) == [
        "key in text",
        "key in url",
    ]


async def test_a_ticket_stored_open_or_printed_would_be_found(run: Run) -> None:
    ticket = next(name for name in run.places if name.startswith("repr of a Ticket"))
    secret = next(secret for secret, source in run.collector.secrets.items() if source == "Secret")
    leaking = run.places | {ticket: repr(secret)}
    assert found(run.collector.secrets, leaking) == [f"Secret in {ticket}"]

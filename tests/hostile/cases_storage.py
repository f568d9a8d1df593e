"""Disks that are full, databases that others hold or remove, and identity files that are not what they should be."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from agent_processes import AgentProcess, agents
from catalogue import OWN, chapter
from chaos_relay import ChaosRelay
from stage import BRISK_AGENT, ROLES

from handfast.adapters.files import (
    database_path,
    identity_path,
    load_identity,
    new_identity,
    save_identity,
)

case = chapter("Storage", OWN)

PASSPHRASE = b"passphrase of victim"


@dataclass
class Place:
    """An empty directory, and a relay on which nobody is yet."""

    directory: Path
    relay: ChaosRelay

    @property
    def home(self) -> Path:
        return self.directory / "victim"

    @property
    def identity(self) -> Path:
        return identity_path(self.home, "victim")

    def pair(self) -> contextlib.AbstractAsyncContextManager[list[AgentProcess]]:
        """The victim and an honest peer, who talk all the time."""
        flags = ("--reconnect-every", "0.1")
        return agents(self.directory, self.relay.port, "victim", "honest", flags=flags, script=BRISK_AGENT)

    def with_identity(self) -> bytes:
        """The victim's home with a good identity; the file's bytes."""
        save_identity(self.identity, new_identity(), PASSPHRASE)
        return self.identity.read_bytes()

    def database(self) -> Path:
        """Of the identity in the victim's home."""
        return database_path(self.home, load_identity(self.identity, PASSPHRASE).agent_id)

    async def refuses_to_start(self, says: str) -> None:
        """Status 2, and one line that says why."""
        victim = await AgentProcess("victim", self.home, self.relay.port).start()
        try:
            assert await victim.ended(20) == 2
        finally:
            await victim.stop()
        assert [says in line for line in victim.log.splitlines() if "database closed" not in line] == [
            True
        ], victim.log

    async def starts(self) -> str:
        """It starts, and ends with status 0; what it logged."""
        victim = await AgentProcess("victim", self.home, self.relay.port).start()
        try:
            await victim.wait_for("started")
            victim.signal(signal.SIGTERM)
            assert await victim.ended() == 0
        finally:
            await victim.stop()
        return victim.log


async def unharmed(*pair: AgentProcess, patience: float = 45) -> None:
    wanted = [(agent, role, agent.count("closed", role=role) + 1) for agent in pair for role in ROLES]
    for agent, role, count in wanted:
        await agent.wait_for("closed", count, patience, role=role)
    for agent in pair:
        assert "Traceback" not in agent.log
        delivered = [json.dumps(event["message"]) for event in agent.find("delivered")]
        assert len(delivered) == len(set(delivered))


async def logged(agent: AgentProcess, text: str) -> None:
    """Wait until the log says so."""
    for _ in range(1_000):
        if text in agent.log:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{text!r} is not in the log:\n{agent.log[-2000:]}")


@case(
    "disk-full",
    "the disk has no more room in the middle of conversations, and later it has",
    "one clear log line, no traceback; the conversations go on",
)
async def _(place: Place) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux can take the room from a process that runs")
    async with place.pair() as (victim, honest):
        await unharmed(victim, honest)
        before = resource.prlimit(victim.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (4_096, before[1]))
        await logged(victim, "the database failed")
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, before)
        await unharmed(victim, honest)
        await ends_whole(victim)


@case(
    "database-locked",
    "another process holds the database's lock for some seconds",
    "one clear log line; what was not kept was not said",
)
async def _(place: Place) -> None:
    async with place.pair() as (victim, honest):
        await unharmed(victim, honest)
        with contextlib.closing(sqlite3.connect(victim.database(), isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 5000")
            other.execute("BEGIN IMMEDIATE")
            await logged(victim, "the database failed")
            other.execute("ROLLBACK")
        await unharmed(victim, honest)
        await ends_whole(victim)


@case(
    "database-removed",
    "the database file is removed while the agent runs",
    "it goes on, ends with status 0, and starts again afresh",
)
async def _(place: Place) -> None:
    async with place.pair() as (victim, honest):
        await unharmed(victim, honest)
        for path in place.home.glob("HSAgent-*.db*"):
            if path.suffix != ".lock":
                path.unlink()
        await unharmed(victim, honest)
        victim.signal(signal.SIGTERM)
        assert await victim.ended() == 0
        await victim.start()
        await victim.wait_for("started", 2)


@case(
    "database-read-only",
    "the database of an agent that has run before can be read and not written",
    "one clear line, status 2; the file stays as it was",
)
async def _(place: Place) -> None:
    place.with_identity()
    await place.starts()
    database = place.database()
    before = database.read_bytes()
    database.chmod(0o400)
    if os.access(database, os.W_OK):
        pytest.skip("who runs this may write everywhere")
    await place.refuses_to_start("the database cannot be used")
    assert database.read_bytes() == before


@case(
    "database-is-a-directory",
    "the database's place is one that nobody can write: a directory stands there",
    "one clear line, status 2",
)
async def _(place: Place) -> None:
    place.with_identity()
    place.database().mkdir()
    await place.refuses_to_start("the database cannot be used")


@case(
    "database-damaged", "the database file holds noise", "one clear line, status 2; the file stays as it was"
)
async def _(place: Place) -> None:
    place.with_identity()
    database = place.database()
    database.write_bytes(b"noise" * 5_000)
    await place.refuses_to_start("the database cannot be used")
    assert database.read_bytes() == b"noise" * 5_000


@case("home-is-a-file", "the home is a file", "one clear line, status 2")
async def _(place: Place) -> None:
    place.home.write_text("not a directory")
    await place.refuses_to_start("cannot be used as a home")


@case(
    "identity-truncated",
    "the identity file is empty, half as long, or one byte short",
    "one clear line, status 2; the file stays as it was",
)
async def _(place: Place) -> None:
    whole = place.with_identity()
    for size in (0, len(whole) // 2, len(whole) - 3):
        place.identity.write_bytes(whole[:size])
        await place.refuses_to_start("not an identity file")
        assert place.identity.read_bytes() == whole[:size]


@case(
    "identity-scrypt",
    "an `id.v2` file that asks for scrypt with N = 2^40, or r and p in the millions",
    "one clear line, status 2, nothing derived",
)
async def _(place: Place) -> None:
    save_identity(place.identity, new_identity(), PASSPHRASE, version="id.v2")
    document = json.loads(place.identity.read_bytes())
    for parameters in ({"n": 2**40}, {"r": 2**20}, {"p": 2**20}):
        place.identity.write_text(json.dumps(document | {"kdf": document["kdf"] | parameters}))
        await place.refuses_to_start("scrypt parameters out of bounds")


@case(
    "identity-dangling-link",
    "the identity file is a link to nowhere",
    "one clear line, status 2; nothing is made there",
)
async def _(place: Place) -> None:
    place.home.mkdir()
    elsewhere = place.directory / "elsewhere.json"
    place.identity.symlink_to(elsewhere)
    await place.refuses_to_start("cannot be read")
    assert not elsewhere.exists()


@case(
    "identity-device",
    "the identity file is a link to `/dev/zero`, a pipe, or a directory",
    "one clear line, status 2, no waiting",
)
async def _(place: Place) -> None:
    place.home.mkdir()
    place.identity.symlink_to("/dev/zero")
    await place.refuses_to_start("not a regular file")
    place.identity.unlink()
    os.mkfifo(place.identity)
    await place.refuses_to_start("not a regular file")
    place.identity.unlink()
    place.identity.mkdir()
    await place.refuses_to_start("id_agent_victim.json")


@case(
    "identity-linked",
    "the identity file is a link to a good one elsewhere",
    "used, and left as it is; a second agent on it is refused",
)
async def _(place: Place) -> None:
    whole = place.with_identity()
    elsewhere = place.directory / "elsewhere.json"
    place.identity.rename(elsewhere)
    place.identity.symlink_to(elsewhere)
    await place.starts()
    assert place.identity.is_symlink()
    assert elsewhere.read_bytes() == whole


@case(
    "identity-readable",
    "the identity file can be read by everybody on the machine",
    "used, with one warning that says how to mend it",
)
async def _(place: Place) -> None:
    place.with_identity()
    place.identity.chmod(0o644)
    log = await place.starts()
    assert log.count("can be read by other users of this machine: chmod 600 it") == 1


@case(
    "files-modes", "the agent is started with a umask of 0", "identity and database are for their owner only"
)
async def _(place: Place) -> None:
    before = os.umask(0)
    try:
        async with place.pair() as (victim, honest):
            await unharmed(victim, honest)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.home.iterdir()}
    finally:
        os.umask(before)
    secret = {name: mode for name, mode in modes.items() if not name.endswith(".lock")}
    assert len(secret) >= 3
    assert set(secret.values()) == {0o600}, modes


async def ends_whole(agent: AgentProcess) -> None:
    """A signal ends it with status 0, and the database is whole."""
    agent.signal(signal.SIGTERM)
    assert await agent.ended() == 0
    with contextlib.closing(sqlite3.connect(agent.database())) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)

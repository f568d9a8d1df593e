"""Real agents over a relay that loses, repeats, reorders and damages what they say.

**What two generals allow.** Nobody can know that his last word arrived: the initiator counts a conversation as closed
when the responder's `finish` reaches it, the responder when one of the initiator's `close` does. So in each direction

    closed(responder) <= closed(initiator) <= closed(responder) + given up in resp_finalize + 1

where each conversation that the responder gave up while waiting for `close` may have been closed by the initiator, and
one more may have been under way when the processes were ended. Everything else is exact: what one side delivers the other
has said, and nothing is delivered twice.
"""

import asyncio
import itertools
import json
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from agent_processes import AgentProcess, agents
from chaos_relay import KINDS, ChaosRelay, Faults
from stage import save_first_generation

HASTY = Path(__file__).with_name("hasty_agent.py")
SHIPPED = Path(__file__).resolve().parent.parent / "agent" / "counting_agent.py"

LOSSY = Faults(loss=0.3, duplication=0.05, delay=0.05, reordering=0.05)
EVERYTHING = Faults(
    loss=0.1, duplication=0.05, delay=0.05, reordering=0.05, truncation=0.03, bit_flip=0.03,
    forged_from=0.05, replay=0.05, stall=0.005, reset=0.003, half_open=0.002,
)  # fmt: skip
DAMAGE_ONLY = {"truncation", "bit_flip", "forged_from", "replay", "stall", "reset", "half_open"}


def audited(agent: AgentProcess, event: str, role: str, peer: AgentProcess, detail: str = "%") -> int:
    """How many rows of the audit log say so; the log is written by the transaction that did it."""
    with closing(sqlite3.connect(agent.database())) as database:
        query = "SELECT count(*) FROM audit WHERE event = ? AND role = ? AND peer_id = ? AND detail LIKE ?"
        (count,) = database.execute(query, (event, role, peer.id, detail)).fetchone()
    return int(count)


async def converse(team: Sequence[AgentProcess], conversations: int, patience: float) -> None:
    """Wait until so many conversations were closed, at least one in each direction, then end all in good order."""

    def enough() -> bool:
        return sum(agent.count("closed", role="initiator") for agent in team) >= conversations

    async def met(agent: AgentProcess, peer: AgentProcess) -> None:
        for role in ("initiator", "responder"):
            await agent.wait_for("closed", peer=peer.id, role=role, patience=patience)

    await asyncio.gather(*(met(agent, peer) for agent in team for peer in team if peer is not agent))
    async with asyncio.timeout(patience):
        while not enough():
            waits = [
                asyncio.create_task(agent.wait_for("closed", agent.count("closed") + 1, patience))
                for agent in team
            ]
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
    for agent in team:
        agent.signal(signal.SIGTERM)
    for agent in team:
        assert await agent.ended() == 0
        assert agent.events[-1]["event"] == "stopped"
        assert "Traceback" not in agent.log


def assert_directions_agree(team: Sequence[AgentProcess]) -> None:
    for one in team:
        for other in team:
            if one is other:
                continue
            begun = audited(one, "closed", "initiator", other)
            ended = audited(other, "closed", "responder", one)
            unsure = audited(other, "gave_up", "responder", one, '%"resp_finalize"%')
            assert begun >= 1, f"{one.name} → {other.name}"
            assert ended <= begun <= ended + unsure + 1, (
                f"{one.name} → {other.name}: {begun} {ended} {unsure}"
            )
            assert begun == one.count("closed", role="initiator", peer=other.id)
            assert ended == other.count("closed", role="responder", peer=one.id)


def assert_deliveries_are_true(team: Sequence[AgentProcess], relay: ChaosRelay) -> None:
    heard = {agent.id: [event["message"] for event in agent.find("delivered")] for agent in team}
    for agent in team:
        texts = [json.dumps(message, sort_keys=True) for message in heard[agent.id]]
        assert len(texts) == len(set(texts)), f"{agent.name}: delivered twice"
        for event in agent.find("delivered", role="initiator"):
            assert event["message"]["answer to"] in heard[event["peer"]], "an answer to what nobody heard"
        turns = [e["message"]["turn"] for e in agent.find("delivered", role="responder")]
        assert set(turns) <= {1, 2, 3, 4}
    assert relay.recorded
    assert not any("unique" in line for line in relay.recorded), "a message in plaintext"


def transcripts(agent: AgentProcess, role: str, peer: AgentProcess) -> set[str]:
    """What the conversations of a role with a peer left in the audit log, of those that closed."""
    with closing(sqlite3.connect(agent.database())) as database:
        query = "SELECT detail FROM audit WHERE event = 'closed' AND role = ? AND peer_id = ?"
        return {json.loads(detail)["transcript"] for (detail,) in database.execute(query, (role, peer.id))}


def assert_transcripts_agree(team: Sequence[AgentProcess]) -> None:
    """Of a conversation that both count as closed, both remember the same."""
    for one, other in itertools.permutations(team, 2):
        ended = transcripts(other, "responder", one)
        assert ended <= transcripts(one, "initiator", other)
        assert len(ended) == audited(other, "closed", "responder", one)


async def run(
    directory: Path,
    names: Sequence[str],
    relay: ChaosRelay,
    conversations: int,
    script: Path,
    patience: float,
    version: int = 2,
) -> None:
    flags: tuple[str, ...] = ("--reconnect-every", "0.1")
    if version == 1:
        flags += ("--policy", "compat")
        save_first_generation(directory, *names)
    async with agents(directory, relay.port, *names, flags=flags, script=script) as team:
        await converse(team, conversations, patience)
        assert_directions_agree(team)
        assert_deliveries_are_true(team, relay)
        assert {e["version"] for agent in team for e in agent.find("session")} == {version}
        if version == 2:
            assert_transcripts_agree(team)


@pytest.mark.parametrize(
    ("names", "conversations", "seed", "version"),
    [(("alice", "bob"), 6, 1, 1), (("alice", "bob"), 6, 1, 2), (("alice", "bob", "carol"), 9, 2, 2)],
)
async def test_with_30_percent_loss_all_conversations_complete_or_time_out_cleanly(
    tmp_path: Path, names: tuple[str, ...], conversations: int, seed: int, version: int
) -> None:
    async with ChaosRelay.listening(LOSSY, seed) as relay:
        await run(tmp_path, names, relay, conversations, HASTY, 45, version)
        assert all(relay.injected[kind] for kind in ("loss", "duplication", "delay", "reordering"))


async def test_with_every_fault_at_once_conversations_still_complete_and_nothing_is_taken_twice(
    tmp_path: Path,
) -> None:
    async with ChaosRelay.listening(EVERYTHING, 3) as relay:
        await run(tmp_path, ("alice", "bob"), relay, 6, HASTY, 45)
        assert sum(relay.injected[kind] for kind in DAMAGE_ONLY) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("names", "faults", "script", "conversations"),
    [
        (("alice", "bob", "carol"), LOSSY, SHIPPED, 200),
        (("alice", "bob"), LOSSY, HASTY, 200),
        (("alice", "bob", "carol"), EVERYTHING, HASTY, 200),
    ],
    ids=["loss-three-agents", "loss-two-hasty-agents", "everything-three-hasty-agents"],
)
@pytest.mark.parametrize("version", [1, 2])
async def test_200_conversations_over_a_hostile_relay(
    tmp_path: Path,
    names: tuple[str, ...],
    faults: Faults,
    script: Path,
    conversations: int,
    version: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with ChaosRelay.listening(faults, 200) as relay:
        await run(tmp_path, names, relay, conversations, script, 850, version)
        for kind in KINDS:
            assert getattr(faults, kind) == 0 or relay.injected[kind] > 0, kind
        with capsys.disabled():
            print(f"\n{len(relay.recorded)} lines, injected: {dict(relay.injected)}")

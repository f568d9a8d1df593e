"""Both recorded conversations of first-generation agents, replayed from either side, byte for byte."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_world import FakeClock

from handfast.adapters.memory import MemoryStore
from handfast.conversation.effects import Delivered
from handfast.conversation.model import Party, Role, Settings, State
from handfast.crypto.keys import Secret
from handfast.driver import Driver
from handfast.identity import Identity, open_identity
from handfast.outcomes import Outcome
from handfast.session.v1 import open_sec
from handfast.wire.text import b64decode
from handfast.wire.v1 import parse_message
from summoner.protocol.payload import recover_with_types

DATA = Path(__file__).parent.parent / "vectors" / "first-generation"
PASSPHRASES = json.loads((DATA / "id_agent_passphrases.json").read_text())
SESSION_KEY = b64decode(json.loads((DATA / "transcript_keys.json").read_text())["session_keys"].popitem()[1])
TRANSCRIPTS = ("transcript_clean_cycle_a1_to_a2.jsonl", "transcript_first_cycle_a1_to_a2.jsonl")


def identity_of(agent: str) -> Identity:
    name = f"id_agent_{agent[1]}.json"
    return open_identity((DATA / name).read_bytes(), PASSPHRASES[name]["passphrase"].encode())


def lines_of(transcript: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (DATA / transcript).read_text().splitlines()]
    return [line for line in lines if line.get("kind") != "header"]


def is_first_time(lines: list[dict[str, Any]], index: int) -> bool:
    """Whether this line is no repetition: the first generation repeats by the clock, and once forgot its `hs`."""
    line = lines[index]["payload"]
    key = [line.get(name) for name in ("intent", "from", "your_nonce", "my_nonce", "your_ref", "my_ref")]
    return all(
        [
            other["payload"].get(name)
            for name in ("intent", "from", "your_nonce", "my_nonce", "your_ref", "my_ref")
        ]
        != key
        for other in lines[:index]
    )


class RecordedChance:
    """Hands out what one side of a recording once drew: its values for our messages, its long-term key as the fresh one."""

    def __init__(self, identity: Identity, own: list[dict[str, Any]]) -> None:
        self._key = identity.exchange_key.private_bytes()
        self._nonces = [line["my_nonce"] for line in own if "my_nonce" in line]
        self._references = [line["my_ref"] for line in own if line["intent"] in ("conclude", "finish")]
        self._aead_nonces = [b64decode(line["sec"]["envelope"]["nonce"]) for line in own if "sec" in line]

    def nonce(self) -> str:
        return self._nonces.pop(0)

    def reference(self) -> str:
        return self._references.pop(0)

    def exchange_key(self) -> bytes:
        return self._key

    def aead_nonce(self) -> bytes:
        return self._aead_nonces.pop(0)

    def fraction(self) -> float:
        return 0.5


def recorded_time(line: dict[str, Any]) -> float | None:
    """The author's clock when it made this line, where the line says so."""
    stamp = line.get("sec", {}).get("envelope", {}).get("ts") or line.get("hs", {}).get("timestamp")
    return None if stamp is None else datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("agent", ["a1", "a2"])
@pytest.mark.parametrize("transcript", TRANSCRIPTS)
async def test_playing_one_side_of_a_recording_says_every_line_of_it_byte_for_byte(
    transcript: str, agent: str
) -> None:
    lines = lines_of(transcript)
    lines = [
        line
        for index, line in enumerate(lines)
        if line["intent"] != "register" and is_first_time(lines, index)
    ]
    identity = identity_of(agent)
    own = [line["payload"] for line in lines if line["from_agent"] == agent]
    clock = FakeClock()
    outcomes: list[Outcome] = []
    store = MemoryStore(identity.agent_id)
    # the first generation counted a repetition as a turn, so its first cycle has three
    turns = sum(line["intent"] == "request" for line in lines)
    party = Party(identity, Settings(zone=UTC, exchanges=turns, hardened=False))
    driver = Driver(store, clock, RecordedChance(identity, own), party, outcomes.append)
    peer_id = next(line["payload"]["from"] for line in lines if line["from_agent"] != agent)
    role = Role.INITIATOR if agent == "a1" else Role.RESPONDER
    said: list[dict[str, Any]] = []

    async def hear(content: dict[str, Any]) -> None:
        message = parse_message(content, identity.agent_id)
        assert message is not None
        await driver.receive(role, message)
        said.extend(driver.outgoing)
        driver.outgoing.clear()

    if lines[0]["intent"] == "reconnect":  # both sides remember the conversation before
        await remember_references(store, identity.agent_id, role, peer_id, lines[0]["payload"]["your_ref"])
    for index, line in enumerate(lines):
        following = [later["payload"] for later in lines[index:] if later["from_agent"] == agent]
        clock.offset = next((at for at in map(recorded_time, following) if at is not None), clock.offset)
        if index == 0:  # whoever speaks first heard a register
            await hear({"to": None, "intent": "register", "from": peer_id})
        if line["from_agent"] != agent:
            await hear(recover_with_types(line["raw_relayed_line"])["content"])

    assert [payload | {"from": identity.agent_id} for payload in said] == own
    # the order of members, too: what leaves is the very text of the first generation (which wrote `reconnect` in another)
    assert [texts_of(payload | {"from": identity.agent_id}) for payload in said] == [
        texts_of(line) for line in own
    ]
    final = (await driver.state(role, peer_id)).state
    assert final is (State.INIT_FINALIZE_CLOSE if role is Role.INITIATOR else State.RESP_READY)
    heard = [e.message for outcome in outcomes for e in outcome.effects if isinstance(e, Delivered)]
    assert heard == ["I am OK!" if role is Role.INITIATOR else "How are you?"] * turns


def texts_of(line: dict[str, Any]) -> str:
    return json.dumps(line, sort_keys=line["intent"] == "reconnect")


async def remember_references(
    store: MemoryStore, self_id: str, role: Role, peer_id: str, reference: str
) -> None:
    def work(transaction: Any) -> None:
        state = transaction.load(role, peer_id)
        key = {"peer_reference": reference} if role is Role.INITIATOR else {"local_reference": reference}
        transaction.commit(replace(state, peer_sign_pub="known", **key), (), 0.0)

    await store.run(work)


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_every_sealed_message_of_the_recordings_opens(transcript: str) -> None:
    signers = {agent: identity_of(agent).signing_key.public for agent in ("a1", "a2")}
    sealed = [line for line in lines_of(transcript) if "sec" in line["payload"]]
    opened = [
        open_sec(line["payload"]["sec"], Secret(SESSION_KEY), signers[line["from_agent"]])[0]
        for line in sealed
    ]
    assert len(opened) >= 7
    expected = {"a1": {"message": "How are you?"}, "a2": {"message": "I am OK!"}}
    assert opened == [expected[line["from_agent"]] for line in sealed]

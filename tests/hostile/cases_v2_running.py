"""Attacks on running agents of version 2: floods, everything ever said once more, forgeries, and `kill -9`."""

import asyncio
import json
import random
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

from agent_processes import AgentProcess
from cases_resources import bounded, rows
from cases_v2_versions import Impostor
from catalogue import FRESH_2, SHARED_2, chapter
from secret_scan import found
from stage import Payload, Stage, register_of
from v2_world import BLOBS, blob, block, flipped, kind, with_blob

from handfast.adapters.files import identity_path, new_identity
from handfast.adapters.sqlite import SqliteStore
from handfast.adapters.tables import RoleState
from handfast.conversation.model import Role
from handfast.crypto.keys import ExchangeKey
from handfast.identity.agent_ids import is_self_certifying
from handfast.identity.file import open_identity
from handfast.session.v2.parties import Myself
from handfast.session.v2.responder import ConfirmSecret, make_n1
from handfast.wire.text import b64url_encode
from handfast.wire.v2.messages import encode_message

running = chapter("Version 2: sessions", SHARED_2)
flooding = chapter("Version 2: resources", FRESH_2)


def token() -> str:
    return b64url_encode(secrets.token_bytes(16))


def said(stage: Stage) -> list[Payload]:
    """Every line of the two so far."""
    lines = [json.loads(line)["_payload"] for line in stage.relay.recorded]
    return [p for p in lines if p.get("from") in (stage.victim.id, stage.honest.id)]


# ---- on the stage that cases share --------------------------------------------------------------------------------


@running(
    "v2-live-replay",
    "everything that the two have said so far, once more, while they talk; then backwards",
    "nothing is delivered twice, conversations go on",
)
async def _(stage: Stage) -> None:
    lines = said(stage)[-300:]
    await stage.attacker.say(*lines)
    await stage.assert_unharmed()
    await stage.attacker.say(*reversed(lines))


@running(
    "v2-live-altered",
    "two hundred lines of the two with one byte altered in one of their blobs",
    "nothing of it is delivered, conversations go on",
)
async def _(stage: Stage) -> None:
    chance = random.Random(2)
    lines = [p for p in said(stage) if "hs" in p or "sec" in p][-200:]
    for line in lines:
        member = chance.choice([name for name in BLOBS if name in block(line)[1]])
        raw = blob(line, member)
        await stage.attacker.say(with_blob(line, member, flipped(raw, chance.randrange(len(raw)))))


@running(
    "v2-live-version-1",
    "messages of version 1 of every kind in the name of each of the two, with keys of the attacker",
    "passed over: their ids are made of keys. No session of version 1",
)
async def _(stage: Stage) -> None:
    for agent, other in ((stage.honest, stage.victim), (stage.victim, stage.honest)):
        impostor = Impostor(agent.id)
        await stage.attacker.say(*impostor.messages(other.id))
    await stage.assert_unharmed()
    for agent in (stage.honest, stage.victim):
        assert {event["version"] for event in agent.find("session")} == {2}


@running(
    "v2-live-garbage",
    "every kind of message with blobs of random bytes, of every size up to the limits",
    "dropped or refused",
)
async def _(stage: Stage) -> None:
    chance = random.Random(3)
    for line in {kind(p): p for p in said(stage) if "hs" in p or "sec" in p}.values():
        for size in (0, 16, 32, 48, 200, 4_000):
            name, content = block(line)
            garbage = {k: b64url_encode(chance.randbytes(size)) for k in BLOBS if k in content}
            await stage.attacker.say(line | {name: content | garbage})


@running(
    "v2-live-secrets",
    "whoever can read all that the two have written and said looks for their keys and tickets in it: raw, in hexadecimal digits, "
    "in base64",
    "there are none: not in the databases, the logs, the events, on the relay, nor in the identity files",
)
async def _(stage: Stage) -> None:
    secrets_of_both, places = {}, {"relay": "\n".join(stage.relay.recorded)}
    for agent in (stage.victim, stage.honest):
        secrets_of_both |= await secrets_of(agent)
        places |= {f"log of {agent.name}": agent.log, f"events of {agent.name}": json.dumps(agent.events)}
        places |= {path.name: path.read_bytes() for path in files_of(agent)}  # type: ignore[misc]
    assert len(secrets_of_both) >= 10
    assert found(secrets_of_both, places) == []
    planted, source = next(iter(secrets_of_both.items()))
    assert found(secrets_of_both, {"log": f"key {planted.hex()}"}) == [f"{source} in log"]


def files_of(agent: AgentProcess) -> list[Path]:
    return [path for path in agent.home.iterdir() if path.is_file()]


async def secrets_of(agent: AgentProcess) -> dict[bytes, str]:
    """What its identity file and its database hold, opened as whoever knows the passphrase opens them."""
    raw = identity_path(agent.home, agent.name).read_bytes()
    identity = open_identity(raw, f"passphrase of {agent.name}".encode())
    held = {
        identity.signing_key.private_bytes(): "signing key",
        identity.database_key().reveal(): "database key",
    }
    held |= {key.key.private_bytes(): "static key" for key in identity.static_keys}
    held |= {
        identity.exchange_key.private_bytes(): "exchange key",
        f"passphrase of {agent.name}".encode(): "passphrase",
    }
    with tempfile.TemporaryDirectory() as copies:
        for path in files_of(agent):
            shutil.copy(path, copies)
        store = SqliteStore(Path(copies) / agent.database().name, identity)
        await store.open()
        pairs = await store.run(
            lambda transaction: transaction._session.find(RoleState, fields=["role", "peer_id"])
        )
        states = [await store.load(Role(row["role"]), row["peer_id"]) for row in pairs]
        await store.close()
    return held | {state.ticket.resumption.reveal(): "ticket" for state in states if state.ticket is not None}


# ---- floods -------------------------------------------------------------------------------------------------------


def offer(stage: Stage) -> Payload:
    return dict(stage.last_said(stage.honest, "register"))


def fresh(line: Payload, member: str) -> Payload:
    """The same with the end of a blob made up."""
    raw = blob(line, member)
    return with_blob(line, member, raw[:-16] + secrets.token_bytes(16))


async def flood_offers(stage: Stage, count: int) -> None:
    line = offer(stage)
    for _ in range(count):
        await stage.attacker.say(fresh(line, "o") | {"from": str(uuid.uuid4())})


async def flood_offers_of_known(stage: Stage, count: int) -> None:
    line = offer(stage)
    for _ in range(count):
        await stage.attacker.say(fresh(line, "o"))


def answers(stage: Stage, agent_id: str, count: int) -> Iterator[Payload]:
    """`n1` to the victim's offer, each with an ephemeral key and an offer of its own."""
    identity = replace(new_identity(), agent_id=agent_id).with_static_key(secrets.token_bytes(32), 0)
    me = Myself.from_identity(identity, (0x0003, 0x0001), 0)
    victims = blob(stage.last_said(stage.victim, "register"), "o")
    secret = ConfirmSecret.make(me, secrets.token_bytes(48), 0)
    template = encode_message(make_n1(secret, me, stage.victim.id, victims)) | {"from": agent_id}
    raw = blob(template, "m")
    for _ in range(count):
        ephemeral = ExchangeKey(secrets.token_bytes(32)).public
        yield with_blob(template, "m", ephemeral + raw[32:]) | {"my_nonce": token()}


async def flood_n1_of_known(stage: Stage, count: int) -> None:
    for line in answers(stage, stage.honest.id, count):
        await stage.attacker.say(line)


async def flood_n1(stage: Stage, count: int) -> None:
    for line in answers(stage, str(uuid.uuid4()), count):
        await stage.attacker.say(line | {"from": str(uuid.uuid4())})


async def flood_n2(stage: Stage, count: int) -> None:
    """Half of them under the honest peer's id."""
    victims = offer(stage)
    for number in range(count):
        name = stage.honest.id if number % 2 else str(uuid.uuid4())
        hs = victims["hs"] | {
            "t": "n2",
            "s": b64url_encode(bytes([1, 2, 0, 1, 0, 0]) + secrets.token_bytes(16)),
        }
        hs["m"] = b64url_encode(secrets.token_bytes(300))
        line = {"from": name, "to": stage.victim.id, "intent": "request", "hs": hs}
        await stage.attacker.say(line | {"my_nonce": token(), "your_nonce": token()})


async def flood_k1(stage: Stage, count: int) -> None:
    """Half of them under the honest peer's id."""
    victims = offer(stage)
    for number in range(count):
        name = stage.honest.id if number % 2 else str(uuid.uuid4())
        hs = victims["hs"] | {"t": "k1", "i": token(), "g": number + 1}
        hs |= {"m": b64url_encode(secrets.token_bytes(120)), "o": fresh(victims, "o")["hs"]["o"]}
        line = {"from": name, "to": stage.victim.id, "intent": "reconnect", "your_ref": token(), "hs": hs}
        await stage.attacker.say(line)


async def flood_packets(stage: Stage, count: int) -> None:
    """Under the keys' own names and with counters yet to come, so that each must be tried."""
    line = stage.last_said(stage.honest, "request")
    packet = blob(line, "b") if "sec" in line else bytes(100)
    for number in range(count):
        forged = (
            packet[:10] + (1_000 + number % 400).to_bytes(8, "big") + secrets.token_bytes(len(packet) - 18)
        )
        sec = {"v": 2, "b": b64url_encode(forged)}
        await stage.attacker.say({k: v for k, v in line.items() if k != "hs"} | {"sec": sec})


# what is said to strangers and forgers is bounded, too: 100 beginnings at once and 20 a second, and a little of our own
ANSWERS_BURST, ANSWERS_A_SECOND = 130, 25


def answered(stage: Stage) -> tuple[int, int]:
    """How many `n1` and how many `n2` the victim has said."""
    kinds = [kind(line) for line in said(stage) if line["from"] == stage.victim.id]
    return kinds.count("n1"), kinds.count("n2")


Flood = Callable[[Stage, int], Coroutine[None, None, None]]

FLOODS: tuple[tuple[str, str, Flood, int, int], ...] = (
    ("offers", "`register` with offers from {} made-up ids", flood_offers, 1_000, 10_000),
    ("offers-known", "{} offers in a known peer's name", flood_offers_of_known, 0, 10_000),
    ("n1-known", "{} `n1` to the victim's own offer in a known peer's name", flood_n1_of_known, 500, 5_000),
    ("n1", "{} `n1` to the victim's own offer, each from a made-up id", flood_n1, 0, 5_000),
    ("n2", "{} `n2` with made-up nonces, half of them in a known peer's name", flood_n2, 0, 10_000),
    ("k1", "{} `k1` with made-up tickets, half of them in a known peer's name", flood_k1, 500, 10_000),
    ("packets", "{} forged packets under the key of a session that is running", flood_packets, 0, 10_000),
)  # fmt: skip

for name, sends, flood, few, many in FLOODS:
    for suffix, count, slow in (("", few, False), ("-long", many, True)):
        if not count:
            continue

        async def check(stage: Stage, flood: Flood = flood, count: int = count) -> None:
            before, began = answered(stage), asyncio.get_running_loop().time()
            await bounded(stage, flood, count)
            assert rows(stage, "identity_pin") <= 2
            seconds = asyncio.get_running_loop().time() - began
            for said_before, said_after in zip(before, answered(stage), strict=True):
                assert said_after - said_before < ANSWERS_BURST + ANSWERS_A_SECOND * seconds

        flooding(
            f"v2-flood-{name}{suffix}",
            sends.format(f"{count:_}".replace("_", " ")),
            "bounded memory, rows, log and answers; own conversations go on",
            slow=slow,
        )(check)


for suffix, kills in (("", 1), ("-long", 10)):

    async def killed(stage: Stage, kills: int = kills) -> None:
        for _ in range(kills):
            await stage.victim.wait_for("delivered", stage.victim.count("delivered") + 3, 20)
            stage.victim.kill()
            await stage.victim.ended()
            lines = said(stage)[-200:]
            await stage.victim.start()
            await stage.victim.wait_for("started", stage.victim.count("started"), 20)
            await stage.attacker.say(*lines)
            await stage.assert_unharmed()

    flooding(
        f"v2-live-killed{suffix}",
        f"the victim is killed (times: {kills}), and all that was said, tickets among it, is said once more to its next life",
        "nothing is delivered twice; a ticket that was used is good for nothing; conversations go on",
        slow=bool(suffix),
    )(killed)


@flooding(
    "v2-live-stranger",
    "a participant of the first generation comes, with an id that is not made of a key",
    "it is served in version 1, beside the others; with the honest peer all goes on in version 2",
)
async def _(stage: Stage) -> None:
    peer = stage.peer()
    assert not is_self_certifying(peer.id)
    await peer.begin()
    await peer.end()
    await stage.attacker.say(register_of(peer.id))
    assert {event["version"] for event in stage.victim.find("session", peer=peer.id)} == {1}
    assert {event["version"] for event in stage.victim.find("session", peer=stage.honest.id)} == {2}

"""Certificates that are wrong in each way, peers that are revoked while they talk, lists and witnesses that are forged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from catalogue import WORLD_2, chapter
from fake_world import START, make_identity
from v2_world import INIT, RESP, End2, World2, held_up, kind, sealed

from handfast.adapters import trust_store
from handfast.adapters.sqlite import SqliteStore
from handfast.conversation.effects import GaveUp
from handfast.conversation.model import Role
from handfast.crypto import labels
from handfast.crypto.keys import SigningKey
from handfast.identity import Identity
from handfast.trust.certificate import LONGEST_LIFE, issue_certificate, read_request, request_certificate
from handfast.trust.decision import Policy
from handfast.trust.revocation import Revoked, sign_revocation_list, sign_tombstone
from handfast.trust.statement import sign_statement
from handfast.wire.text import canonical_json
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame
from handfast.wire.v2.header import length_prefixed

case = chapter("Version 2: trust", WORLD_2)

CONTROLLER, ANOTHER = SigningKey(b"c" * 32), SigningKey(b"d" * 32)
SERIAL = "0123456789abcdef" * 2
NOW = int(START)
DAY = 86_400


def certificate(of: Identity, by: SigningKey = CONTROLLER, now: float = START, life: int = DAY) -> bytes:
    request = read_request(request_certificate(of, "somebody", b"n" * 16, now))
    return issue_certificate(request, by, serial=SERIAL, now=now, life=life)


def with_members(raw: bytes, by: SigningKey = CONTROLLER, **changes: Any) -> bytes:
    """The same certificate saying something else, signed again."""
    size = int.from_bytes(raw[:4], "big")
    return sign_statement(labels.V2_CERTIFICATE, json.loads(raw[4 : 4 + size]) | changes, by)


def unsigned(raw: bytes, **changes: Any) -> bytes:
    """The same, and the signature as it was."""
    size = int.from_bytes(raw[:4], "big")
    return length_prefixed(canonical_json(json.loads(raw[4 : 4 + size]) | changes)) + raw[4 + size :]


def crl(sequence: int, *entries: Revoked, by: SigningKey = CONTROLLER, now: float = START) -> bytes:
    return sign_revocation_list(by, entries, sequence=sequence, now=now, life=DAY)


async def trusting(directory: Path, *, demanding: bool = True, self_certifying: bool = True) -> World2:
    """Alice trusts the controller, and talks to nobody without its certificate; Bob takes everybody."""
    world = World2(
        alice={
            "policy": Policy(require_certificate=demanding),
            "store": lambda identity: SqliteStore(
                directory / f"{len(list(directory.iterdir()))}.db", identity
            ),
        },
        self_certifying=self_certifying,
    )
    await world.alice.store.open()
    await in_store(
        world.alice, lambda session: trust_store.trust_controller(session, CONTROLLER.public, "c", START)
    )
    return world


async def in_store(end: End2, work: Callable[[Any], Any]) -> Any:
    """As another process does it, such as `handfast trust`: the agent is told nothing."""
    return await end.store.run(lambda transaction: work(transaction._session))


async def learn(end: End2, raw: bytes) -> None:
    await in_store(end, lambda session: trust_store.accept_crl(session, raw))


def show(end: End2, raw: bytes | None) -> None:
    """From now on it shows this certificate, whatever it is."""
    end.identity = replace(end.identity, certificate=raw)
    end.driver = end.new_driver()


WRONG: dict[str, Callable[[Identity, bytes], bytes | None]] = {
    "none at all": lambda _, __: None,
    "one of another controller": lambda bob, _: certificate(bob, ANOTHER),
    "one signed by another key in the controller's name": lambda _, good: with_members(good, ANOTHER),
    "one of another agent": lambda *_: certificate(make_identity("carol")),
    "one for another id with his key": lambda _, good: with_members(
        good, sub=make_identity("carol").agent_id
    ),
    "one for his id with another key": lambda _, good: with_members(
        good, ik=json.loads(certificate(make_identity("carol"))[4:].split(b"}")[0] + b"}")["ik"]
    ),
    "one that has expired": lambda bob, _: certificate(bob, now=START - 2 * DAY),
    "one that does not hold yet": lambda bob, _: certificate(bob, now=START + DAY),
    "one for too long a time": lambda _, good: with_members(good, exp=NOW + LONGEST_LIFE + 60),
    "one that ends before it begins": lambda _, good: with_members(good, nbf=NOW, exp=NOW - 1),
    "one that says something else than what is signed": lambda _, good: unsigned(good, name="root"),
    "one with an altered signature": lambda _, good: good[:-1] + bytes([good[-1] ^ 1]),
    "one that is cut off": lambda _, good: good[:-1],
    "one with more behind it": lambda _, good: good + b"\0",
    "no statement": lambda *_: b"\0\0\0\2{}" + bytes(64),
    "one of another version": lambda _, good: with_members(good, v=1),
    "one without a serial": lambda _, good: with_members(good, ser=""),
    "one with a small-order key": lambda _, good: with_members(good, ik="u" + "A" * 43),
    "a request instead": lambda bob, _: request_certificate(bob, "x", b"n" * 16, START),
    "a revocation list instead": lambda *_: crl(1),
}


async def meets(world: World2) -> list[str]:
    """Each of the two begins; what Alice refused."""
    await world.begin()
    await world.register(world.bob)
    await world.link.settle()
    return world.alice.refusals()


for number, (words, make) in enumerate(WRONG.items(), start=1):

    async def wrong(directory: Path, make: Any = make) -> None:
        world = await trusting(directory)
        good = certificate(world.bob.identity)
        with mock.patch("handfast.announcer.presentable", lambda identity, _: identity.certificate):
            show(world.bob, make(world.bob.identity, good))
            refusals = await meets(world)
            assert {"cert", "weak_key"} & set(refusals)
            assert world.alice.opened() == 0
            assert not world.heard()
            # and the way it should be
            show(world.bob, good)
            await world.wait(61)
            await meets(world)
            assert world.closed() == (1, 1)
            assert (world.alice.closed(RESP), world.bob.closed(INIT)) == (1, 1)
        await world.alice.store.close()

    case(
        f"v2-certificate-{number:02}",
        f"where a certificate is demanded, Bob shows {words}",
        "`cert` (or `weak_key`): no session; with a good one he is served",
    )(wrong)


@case(
    "v2-certificate-revoked",
    "where a certificate is demanded, Bob shows one whose serial, or whose key, is on the controller's list",
    "`revoked`: no session",
)
async def _(directory: Path) -> None:
    for by_serial in (True, False):
        world = await trusting(directory)
        entry = (
            Revoked(SERIAL, None, NOW, "lost")
            if by_serial
            else Revoked(None, world.bob.identity.identity_key.public, NOW, "lost")
        )
        show(world.bob, certificate(world.bob.identity))
        await learn(world.alice, crl(1, entry))
        assert "revoked" in await meets(world)
        assert world.alice.opened() == 0
        assert not world.heard()
        await world.alice.store.close()


@case(
    "v2-crl-stale",
    "where a certificate is demanded, the controller's list should have been renewed two days ago",
    "`cert`: no new session",
)
async def _(directory: Path) -> None:
    world = await trusting(directory)
    await learn(world.alice, crl(1, now=START - 4 * DAY))
    show(world.bob, certificate(world.bob.identity))
    assert "cert" in await meets(world)
    assert world.alice.opened() == 0
    await world.alice.store.close()


@case(
    "v2-revoked-while-talking",
    "Bob's certificate, or his key, is revoked by another process while he and Alice talk, in each role and at each message",
    "his next message is not delivered and the session ends with it; no ticket of his is good any more",
)
async def _(directory: Path) -> None:
    for intent in ("respond", "finish"):
        world = await trusting(directory)
        show(world.bob, certificate(world.bob.identity))
        line = await world.begin_and_stop_before(
            lambda line, intent=intent: line["intent"] == intent and "sec" in line
        )
        heard = len(world.alice.delivered())
        await learn(world.alice, crl(1, Revoked(SERIAL, None, NOW, "lost")))
        await world.link.say(line)
        await assert_dropped(world, INIT, heard)
        await world.alice.store.close()
    for intent in ("request", "conclude", "close"):
        # the other way round: Bob begins, and Alice answers
        world = await trusting(directory)
        show(world.bob, certificate(world.bob.identity))
        world.alice, world.bob = world.bob, world.alice
        line = await world.begin_and_stop_before(second(intent))
        world.alice, world.bob = world.bob, world.alice
        heard = len(world.alice.delivered())
        await learn(world.alice, crl(1, Revoked(None, world.bob.identity.identity_key.public, NOW, "lost")))
        await world.link.say(line)
        await assert_dropped(world, RESP, heard)
        await world.alice.store.close()


def second(intent: str) -> Callable[[Any], bool]:
    """The second packet of this kind, or the first of another."""
    left = 2 if intent == "request" else 1

    def stop(line: Any) -> bool:
        nonlocal left
        left -= "sec" in line and line["intent"] == intent
        return left == 0

    return stop


async def assert_dropped(world: World2, role: Role, heard: int) -> None:
    state = await world.alice.driver.state(role, world.bob.id)
    assert state.is_ready
    assert state.ticket is None
    assert (role, world.bob.id) not in world.alice.driver._pairs.live or world.alice.live(
        role, world.bob
    ).session is None
    effects = world.alice.outcomes[-1].effects
    assert [effect.why for effect in effects if isinstance(effect, GaveUp)] == ["revoked"]
    assert len(world.alice.delivered()) == heard
    opened = world.alice.opened()
    await world.link.advance(world.clock, 60)
    assert world.alice.opened() == opened
    assert len(world.alice.delivered()) == heard


@case(
    "v2-tombstone-while-talking",
    "Bob's key is declared dead while he and Alice talk",
    "his next message is not delivered and the session ends with it",
)
async def _(directory: Path) -> None:
    world = await trusting(directory, demanding=False)
    line = await world.begin_and_stop_before(lambda line: kind(line) == "respond")
    raw = sign_tombstone(world.bob.identity.identity_key, START)
    await in_store(world.alice, lambda session: trust_store.bury(session, raw))
    await world.link.say(line)
    await assert_dropped(world, INIT, 0)
    await world.alice.store.close()


@case(
    "v2-dead-key-shown",
    "while Alice, whose id tells no key, talks with Bob, a thief shows him a key that was declared dead, as hers",
    "`revoked`: the thief is refused, her conversation goes on and her ticket stays",
)
async def _(directory: Path) -> None:
    world = await trusting(directory, demanding=False, self_certifying=False)
    world.alice, world.bob = world.bob, world.alice
    thief = End2("mallory", world.clock)
    thief.take_id_of(world.alice)
    raw = sign_tombstone(thief.identity.identity_key, START)
    await in_store(world.bob, lambda session: trust_store.bury(session, raw))
    await world.bob.receive(thief.driver.register() | {"from": thief.id})
    for line in world.bob.take():
        await thief.receive(line)
    (shown,) = thief.take()
    assert kind(shown) == "n2"
    line, _alice, _bob = await held_up(world, 2)
    await world.link.say(shown)
    assert world.bob.refusals() == ["revoked"]
    await world.link.put(world.bob, line)
    await world.link.settle()
    assert world.closed() == (1, 1)
    await world.begin_again()
    assert world.closed() == (2, 2)
    assert [kind(line) for line in world.lines].count("k1") == 1
    await world.bob.store.close()


@case(
    "v2-revoked-ticket",
    "Bob is revoked between two conversations, and shows his ticket",
    "`revoked`, also for a full handshake",
)
async def _(directory: Path) -> None:
    world = await trusting(directory)
    show(world.bob, certificate(world.bob.identity))
    world.alice, world.bob = world.bob, world.alice
    await world.begin()
    assert world.closed() == (1, 1)
    await learn(world.bob, crl(1, Revoked(SERIAL, None, NOW, "lost")))
    await world.begin_again()
    assert world.closed() == (1, 1)
    assert world.bob.refusals()[-1] == "revoked"
    await world.link.advance(world.clock, 60)
    assert world.bob.opened() == 1
    await world.bob.store.close()


FORGED_LISTS: dict[str, Callable[[], bytes]] = {
    "of a controller that nobody trusts": lambda: crl(9, Revoked(SERIAL, None, NOW, ""), by=ANOTHER),
    "in the controller's name with another signature": lambda: (
        crl(9, Revoked(SERIAL, None, NOW, ""))[:-1] + b"\0"
    ),
    "no newer than the one that is known": lambda: crl(5, Revoked(SERIAL, None, NOW, "")),
    "that is none": lambda: b"\0\0\0\2{}" + bytes(64),
    "of no bytes": lambda: b"",
}


@case(
    "v2-crl-gossip",
    "a peer passes on lists: forged ones, an old one, none at all, then the true one, on which it stands itself",
    "only the true one is believed; what the messages say is delivered all the same, and after it nothing more",
)
async def _(directory: Path) -> None:
    world = await trusting(directory)
    show(world.bob, certificate(world.bob.identity))
    await learn(world.alice, crl(5))
    line, _alice, bob = await held_up(world, 1)
    last = line["your_nonce"]
    world.alice.take()
    for words, make in FORGED_LISTS.items():
        await world.link.say(sealed(world, bob, "respond", words, Frame(frames.CRL, make()), your_nonce=last))
        assert world.alice.delivered()[-1] == words
        (request,) = world.alice.take()
        last = request.get("my_nonce")
        if last is None:
            break
    known = await in_store(world.alice, trust_store.newest_crl)
    assert known[0] == 5
    world = await trusting(directory)
    show(world.bob, certificate(world.bob.identity))
    line, _alice, bob = await held_up(world, 1)
    true = crl(6, Revoked(SERIAL, None, NOW, "lost"))
    await world.link.say(
        sealed(world, bob, "respond", "farewell", Frame(frames.CRL, true), your_nonce=line["your_nonce"])
    )
    assert (await in_store(world.alice, trust_store.newest_crl))[0] == 6
    (request,) = world.alice.take()
    heard = len(world.alice.delivered())
    await world.link.say(sealed(world, bob, "respond", "one more", your_nonce=request["my_nonce"]))
    await assert_dropped(world, INIT, heard)


@case(
    "v2-crl-spreads",
    "Bob has a newer list than Alice, on which nobody of them stands",
    "she has it after their next conversation",
)
async def _(directory: Path) -> None:
    world = World2(store=lambda identity: SqliteStore(directory / f"{identity.agent_id}.db", identity))
    for end in world.ends:
        await end.store.open()
        await in_store(
            end, lambda session: trust_store.trust_controller(session, CONTROLLER.public, "c", START)
        )
    await learn(world.bob, crl(3))
    await world.bob.restart()
    await world.begin()
    assert (await in_store(world.alice, trust_store.newest_crl))[0] == 3
    for end in world.ends:
        await end.store.close()


@case(
    "v2-witness-forged",
    "a peer shows ends of its log that it did not sign, that are cut off, or are another agent's",
    "`format`: the message is refused, the conversation goes on with the true one",
)
async def _(_: Path) -> None:
    for body in (b"", bytes(104), bytes(103)):
        world = World2()
        line, _alice, bob = await held_up(world, 1)
        await world.link.say(
            sealed(world, bob, "respond", "x", Frame(frames.WITNESS, body), your_nonce=line["your_nonce"])
        )
        assert world.alice.refusals() == ["format"]
        assert not world.alice.delivered()
        await world.link.put(world.bob, line)
        await world.link.settle()
        assert world.closed() == (1, 1)

"""Version 1 spoken in the name of peers of version 2, offers stripped on their way, and peers that know no other version."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from catalogue import WORLD_2, chapter
from fake_world import End
from v2_world import End2, Line, Relay, World2

from handfast.conversation.effects import SessionOpened
from handfast.conversation.model import Role
from handfast.crypto.keys import ExchangeKey, SigningKey
from handfast.session.v1 import make_hs
from handfast.trust.decision import Mode, Policy
from handfast.wire.v1 import SENTINEL

case = chapter("Version 2: versions", WORLD_2)

STRICT, PREFER, COMPAT = (Policy(mode=mode) for mode in (Mode.STRICT, Mode.PREFER, Mode.COMPAT))
V4 = {"self_certifying": False}


def versions(*ends: End) -> list[list[int]]:
    return [
        [e.version for o in end.outcomes for e in o.effects if isinstance(e, SessionOpened)] for end in ends
    ]


def all_versions(*ends: End) -> set[int]:
    return {version for seen in versions(*ends) for version in seen}


class Impostor:
    """Speaks version 1 in somebody's name, with keys of his own."""

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.name = name
        self.signing = SigningKey(b"i" * 32)
        self.exchange = ExchangeKey(b"j" * 32)
        self.count = 0

    def nonce(self) -> str:
        self.count += 1
        return f"{self.count:030x}aa"

    def hs(self, use: Any, nonce: str) -> Line:
        return make_hs(use, nonce, self.exchange.public, self.signing, self.clock(), None)

    def messages(self, to: str) -> list[Line]:
        """One of each kind, with whatever nonces."""
        base = {"from": self.name, "to": to}
        sec = {"envelope": {"alg": "none"}}
        asked, answered = self.nonce(), self.nonce()
        return [
            {"from": self.name, "to": None, "intent": "register"},
            base | {"intent": "reconnect", "your_ref": "0123456789"},
            base | {"intent": "confirm", "my_nonce": answered, "hs": self.hs("response", answered)},
            base | {"intent": "request", "your_nonce": self.nonce(), "my_nonce": asked, "hs": self.hs("init", asked), "sec": sec},
            base | {"intent": "request", "your_nonce": self.nonce(), "my_nonce": self.nonce(), "message": "hello"},
            base | {"intent": "respond", "your_nonce": self.nonce(), "my_nonce": self.nonce(), "message": "hello"},
            base | {"intent": "conclude", "your_nonce": self.nonce(), "my_ref": "0123456789"},
            base | {"intent": "finish", "your_ref": "0123456789", "my_ref": "0123456789"},
            base | {"intent": "close", "your_ref": "0123456789", "my_ref": "0123456789"},
        ]  # fmt: skip


@case(
    "v2-v1-forged-between",
    "before each message of a conversation, one message of version 1 of each kind in the name of each of the two, with keys "
    "of the attacker; ids that are made of keys, and others",
    "self-certifying: passed over at once. Others: at worst Alice begins with the attacker, as with any stranger, and leaves him "
    "for the true one; then never again",
)
async def _(_: Path) -> None:
    for party in ({}, V4):
        lines = 30
        for at in range(lines):
            world = World2(**party)

            def before(line: Line, number: int, world: World2 = world, at: int = at) -> list[Line]:
                if number != at:
                    return []
                return [
                    message
                    for end, other in (world.ends, world.ends[::-1])
                    for message in Impostor(end.id, world.clock.now).messages(other.id)
                ]

            world.link.before = before
            await world.begin()
            await world.begin_again()
            assert world.closed() == (2, 2), (party, at)
            assert all_versions(*world.ends) == {2}
            assert len(world.heard()) == 16
            world.assert_nothing_twice()


@case(
    "v2-stripped",
    "the relay takes the offers out of `register` and whatever is of version 2, between two with self-certifying ids",
    "neither ever speaks version 1 with the other",
)
async def _(_: Path) -> None:
    for mode in (STRICT, PREFER, COMPAT):
        world = World2(policy=mode)
        await strip(world)
        assert not world.heard()
        assert versions(*world.ends) == [[], []]
        assert {line["intent"] for line in world.lines} <= {"register"}


async def strip(world: World2) -> None:
    put = world.link.put

    async def stripping(author: Any, line: Any) -> None:
        if author is not None and (line.get("hs") or line.get("sec") or {}).get("v") == 2:
            line = {key: value for key, value in line.items() if key not in ("hs", "sec")}
        await put(author, line)

    world.link.put = stripping  # type: ignore[method-assign]
    await world.link.advance(world.clock, 30)
    world.link.put = put  # type: ignore[method-assign]


@case(
    "v2-stripped-v4",
    "the same between two with ids of the first generation who never met",
    "`downgrade`: their nonces of version 1 tell each other that both know better",
)
async def _(_: Path) -> None:
    world = World2(**V4)
    await strip(world)
    assert versions(*world.ends) == [[], []]
    assert not world.heard()
    assert "downgrade" in world.alice.refusals() + world.bob.refusals()
    await world.link.advance(world.clock, 60)
    await world.assert_unharmed()
    assert all_versions(*world.ends) == {2}


@case(
    "v2-stripped-known",
    "the same between two with such ids who have met in version 2, whose processes were started again meanwhile",
    "who was met in version 2 is not talked to in version 1",
)
async def _(_: Path) -> None:
    world = World2(**V4)
    await world.link.advance(world.clock, 10)
    opened, said = [end.opened() for end in world.ends], len(world.lines)
    assert all(opened)
    for end in world.ends:
        await end.restart()
    await strip(world)
    assert [end.opened() for end in world.ends] == opened
    assert {line["intent"] for line in world.lines[said:]} <= {"register", "reconnect"}
    await world.assert_unharmed()


@case(
    "v2-known-key-v1",
    "the true peer, met in version 2, speaks version 1 with the very key that is pinned",
    "passed over, `downgrade`, or a `confirm` that leads to nothing: no way back",
)
async def _(_: Path) -> None:
    world = World2(**V4)
    await world.begin()
    impostor = Impostor(world.bob.id, world.clock.now)
    impostor.signing = world.bob.identity.signing_key
    opened = world.alice.opened()
    for message in impostor.messages(world.alice.id):
        await world.link.say(message)
    assert world.alice.opened() == opened
    # the role that has not met him yet may answer; nothing comes of it
    assert {line["intent"] for line in world.alice.take()} <= {"confirm"}
    await world.assert_unharmed()


class FirstGeneration(End):
    """An agent that knows version 1 only, to which offers and self-certifying ids mean nothing."""

    async def receive(self, content: Any) -> None:
        if isinstance(content, dict) and content.get("intent") == "register":
            content = {key: value for key, value in content.items() if key != "hs"}
        with mock.patch("handfast.conversation.step.v1_is_allowed", return_value=True):
            await super().receive(content)


@case(
    "v2-first-generation",
    "an agent that knows version 1 only meets ours under each policy, with both kinds of id",
    "`prefer` and `compat`: conversations close in both directions in version 1; `strict`: silence. Its id is not made of a "
    "key, so ours may have any",
)
async def _(_: Path) -> None:
    for party in ({}, V4):
        for policy in (STRICT, PREFER, COMPAT):
            world = World2(policy=policy, **party)
            old = FirstGeneration("old", world.clock)
            link = Relay(world.alice, old)
            await link.advance(world.clock, 40)
            if policy is STRICT:
                assert versions(world.alice, old) == [[], []]
                assert not old.delivered()
                assert not world.alice.delivered()
            else:
                for end in (world.alice, old):
                    assert end.closed(Role.INITIATOR), (party, policy)
                    assert end.closed(Role.RESPONDER), (party, policy)
                assert all_versions(world.alice, old) == {1}
            assert not any(isinstance(line.get("message"), str) for line in link.recorded)
            spoken = [
                line["my_nonce"]
                for line in link.recorded
                if line["from"] == world.alice.id and "my_nonce" in line
            ]
            assert all(nonce.endswith(SENTINEL) for nonce in spoken)


@case(
    "v2-compat-pair",
    "two of ours with ids of the first generation, both under `compat`, then one of them under `prefer`",
    "version 1, because neither makes an offer; version 2 as soon as one does, and never version 1 again",
)
async def _(_: Path) -> None:
    world = World2(policy=COMPAT, **V4)
    await world.link.advance(world.clock, 30)
    assert all_versions(*world.ends) == {1}
    world.bob._policy = PREFER
    await world.bob.restart()
    count = [len(seen) for seen in versions(*world.ends)]
    await world.link.advance(world.clock, 120)
    later = [seen[number:] for seen, number in zip(versions(*world.ends), count, strict=True)]
    assert all(2 in seen for seen in later)
    assert all(1 not in seen[seen.index(2) :] for seen in later)
    world.assert_nothing_twice()


@case(
    "v2-new-id-old-name",
    "somebody registers in version 1 under a self-certifying id that nobody has met",
    "passed over under every policy: whoever has such an id speaks version 2",
)
async def _(_: Path) -> None:
    for policy in (STRICT, PREFER, COMPAT):
        world = World2(policy=policy)
        stranger = End2("stranger", world.clock)
        for message in Impostor(stranger.id, world.clock.now).messages(world.alice.id):
            await world.link.say(message)
        assert not world.alice.take()
        assert not world.alice.outcomes or not world.alice.opened()
        assert json.dumps(world.lines) == "[]"

"""Handshakes of version 2 whose messages are altered, stripped, forged, replayed, and those of others."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from catalogue import WORLD_2, chapter
from v2_world import End2, Line, World2, accepted, altered, blob, kind, with_blob

from handfast.conversation.effects import Send
from handfast.conversation.model import Verdict
from handfast.driver import Outcome
from handfast.session.v2.suites import CHACHA
from handfast.wire.text import Json
from handfast.wire.v2.offers import Offer, Selection

case = chapter("Version 2: handshake", WORLD_2)

HANDSHAKE = ("offer", "n1", "n2", "n3", "k1", "k2")
FORGETTING_SECONDS = 200.0  # by then offers, secrets and used nonces of a former conversation are others


async def converse(world: World2, *, again: bool) -> None:
    """A conversation; `again`: the second one, which resumes."""
    await world.begin()
    if again:
        await world.wait(FORGETTING_SECONDS)
        await world.begin_again()


class Genuine:
    """What a conversation is like that nobody disturbs."""

    def __init__(self, world: World2) -> None:
        self.lines = world.lines
        self.heard = world.heard()
        self.closed = world.closed()
        self.opened = [end.opened() for end in world.ends]

    @classmethod
    async def conversation(cls, *, again: bool, **party: Any) -> "Genuine":
        world = World2(**party)
        await converse(world, again=again)
        return cls(world)

    def assert_equal_to(self, world: World2) -> None:
        """At once, without a timer: nothing good was lost, and nothing else was believed."""
        assert world.heard() == self.heard
        assert world.closed() == self.closed
        assert [end.opened() for end in world.ends] == self.opened

    def positions(self, *kinds: str) -> list[int]:
        """Where the first message of each kind is."""
        names = [kind(line) for line in self.lines]
        return [names.index(name) for name in kinds]


async def with_insertion(genuine: Genuine, at: int, extras: Any, *, again: bool, **party: Any) -> World2:
    """A conversation before whose line number `at` the attacker says `extras(line, world)`."""
    world = World2(**party)

    def before(line: Line, number: int) -> Iterable[Json]:
        return extras(line, world) if number == at else ()

    world.link.before = before
    await converse(world, again=again)
    genuine.assert_equal_to(world)
    return world


async def alter_each_byte(name: str, at_once: int, **party: Any) -> None:
    again = name.startswith("k")
    genuine = await Genuine.conversation(again=again, **party)
    (at,) = genuine.positions(name)
    count = sum(1 for _ in altered(genuine.lines[at]))
    assert count > 16
    for number in range(0, count, at_once):

        def some(line: Line, world: World2, number: int = number) -> Iterator[Line]:
            return itertools.islice(altered(line), number, number + at_once)

        world = await with_insertion(genuine, at, some, again=again, **party)
        assert not believed(world.link.led_to)


def believed(outcomes: list[Outcome]) -> list[Outcome]:
    """Those in which somebody was taken for whom he claims to be; an `n1` or an `n2` is said to anybody."""
    for_anybody = ("n1", "n2")
    return [
        outcome
        for outcome in accepted(outcomes)
        if any(
            not isinstance(effect, Send) or kind(effect.payload) not in for_anybody
            for effect in outcome.effects
        )
    ]


for name in HANDSHAKE:
    for suffix, party, slow in (("", {}, False), ("-pq", {"post_quantum": "prefer"}, True)):
        what = "with ML-KEM, " if suffix else ""
        # more than four answers to `n1` are not waited for at once; alone where time does not matter
        at_once = 1 if slow else 3 if name == "n1" else 8

        async def alter(
            _: Path, name: str = name, count: int = at_once, party: dict[str, Any] = party
        ) -> None:
            await alter_each_byte(name, count, **party)

        case(
            f"v2-altered-{name}{suffix}",
            f"{what}`{name}` with one byte of a blob, a nonce or a reference altered, each in its turn, ahead of the true one",
            "no session comes of it, and the true one is accepted at once",
            slow=slow,
        )(alter)


@case(
    "v2-altered-only",
    "each handshake message with its last byte altered, and the true one never comes",
    "no session, no delivery; timers lead home, and the next conversation closes",
)
async def _(_: Path) -> None:
    for name in HANDSHAKE[1:]:
        world = World2()
        if name.startswith("k"):
            await world.begin()
            await world.wait(FORGETTING_SECONDS)
        opened = [end.opened() for end in world.ends]
        true = await world.begin_and_stop_before(
            lambda line, name=name: kind(line) == name, again=name[0] == "k"
        )
        false = with_blob(true, "m", blob(true, "m")[:-1] + bytes([blob(true, "m")[-1] ^ 1]))
        outcomes = await world.link.say(false)
        assert not accepted(outcomes) or name in (
            "n1",
            "k1",
        )  # these are answered, and nothing else comes of it
        await world.link.settle()
        assert [end.opened() for end in world.ends] == opened
        await world.assert_unharmed()


def members_changed(line: Line) -> Iterator[Line]:
    """`line` without a member, with null in it, and with one too many; the same for its block."""
    name = "hs" if "hs" in line else "sec"
    for key in [key for key in line if key != "from"]:
        yield {other: value for other, value in line.items() if other != key}
        yield line | {key: None} if key != "to" else line | {"to": line["from"]}
    for key in line[name]:
        yield line | {name: {other: value for other, value in line[name].items() if other != key}}
        yield line | {name: line[name] | {key: None}}
    for key in ("my_nonce", "your_nonce", "my_ref", "your_ref"):
        if key not in line:
            yield line | {key: line.get("my_nonce", "u" + "A" * 22)}


@case(
    "v2-members",
    "each message of a conversation with each member missing, null or one too many, ahead of the true one",
    "dropped; the true one is accepted at once",
)
async def _(_: Path) -> None:
    for again in (False, True):
        genuine = await Genuine.conversation(again=again)
        start = len(genuine.lines) // 2 if again else 0

        for at in range(start, len(genuine.lines)):
            await with_insertion(genuine, at, lambda line, _: members_changed(line), again=again)


@case(
    "v2-replayed",
    "before each message of a conversation, everything that was said before, once more",
    "the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    for again in (False, True):
        genuine = await Genuine.conversation(again=again)
        for at in range(1, len(genuine.lines)):
            await with_insertion(genuine, at, lambda _, world: list(world.lines), again=again)


@case(
    "v2-replayed-each",
    "before each message of a conversation, each single one that was said before, once more",
    "the conversation closes with the same messages, at once",
    slow=True,
)
async def _(_: Path) -> None:
    for again in (False, True):
        genuine = await Genuine.conversation(again=again)
        for at in range(1, len(genuine.lines)):
            for number in range(at):
                await with_insertion(
                    genuine, at, lambda _, world, number=number: [world.lines[number]], again=again
                )


def forgeries(strange: list[Line], line: Line) -> list[Line]:
    """Messages of another conversation of the same two, one of each kind and author, and two of them with the routing of
    the message that is due."""
    latest = {(kind(other), other["from"]): other for other in strange}
    routing = {key: line[key] for key in ("my_nonce", "your_nonce", "my_ref", "your_ref") if key in line}
    fitting = [
        other | routing for other in latest.values() if routing.keys() == {k for k in other if k in routing}
    ]
    return [*latest.values(), *fitting]


@case(
    "v2-forged-between",
    "before each message of a conversation, one of each kind from another conversation of the same two, also under the "
    "nonces and references that are due",
    "the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    strangers = World2(seed=1)
    await converse(strangers, again=True)
    for again in (False, True):
        genuine = await Genuine.conversation(again=again)
        for at in range(len(genuine.lines)):
            await with_insertion(genuine, at, lambda line, _: forgeries(strangers.lines, line), again=again)


@case(
    "v2-n2-repeated",
    "Alice's `n2` is repeated twenty times, at once and within ten seconds, before her first packet arrives",
    "the same `n3` at most; her session waits for the packet, and the conversation closes",
)
async def _(_: Path) -> None:
    for pause in (0.0, 2.0):
        world = World2()
        request = await world.begin_and_stop_before(is_first_request)
        n2 = next(line for line in world.lines if kind(line) == "n2")
        for _ in range(20):
            await world.wait(pause / 4)
            for outcome in await world.link.say(n2):
                assert {kind(effect.payload) for effect in outcome.effects if isinstance(effect, Send)} <= {
                    "n3"
                }
        assert len({str(line["hs"]) for line in world.bob.take()}) <= 1
        await world.link.put(world.alice, request)
        await world.link.settle()
        assert world.closed() == (1, 1)


def is_first_request(line: Line) -> bool:
    return line["intent"] == "request" and "sec" in line


@case(
    "v2-old-offer",
    "Alice's `register` of a minute ago is repeated ahead of the present one",
    "both are answered, two handshakes run at once, and the conversation closes whichever comes first",
)
async def _(_: Path) -> None:
    for order in (0, -1):
        world = World2()
        old = world.alice.driver.register() | {"from": world.alice.id}
        await world.wait(61)

        def before(line: Line, number: int, old: Line = old, at: int = order) -> Iterable[Json]:
            return [old] if (number == 0 and at == 0) or (kind(line) == "n2" and at) else ()

        world.link.before = before
        await world.begin()
        await world.link.settle()
        assert world.closed() == (1, 1)
        world.assert_nothing_twice()


@case(
    "v2-many-n1",
    "three made-up `n1` in Bob's name ahead of his own, then a hundred",
    "three cost nothing; by a hundred an attempt may be lost by chance, and the next one closes",
)
async def _(_: Path) -> None:
    for count in (3, 100):
        world = World2()
        template = await world.begin_and_stop_before(lambda line: kind(line) == "n1")
        for number in range(count):
            await world.link.say(with_blob(template, "m", bytes([number + 1]) * 32 + bytes(16)))
        assert len(world.alice.driver._pairs.live) <= 1
        await world.link.put(world.bob, template)
        await world.link.settle()
        if count == 3:
            assert world.closed() == (1, 1)
        await world.assert_unharmed()


# ---- negotiation --------------------------------------------------------------------------------------------------


def reoffered(line: Line, **changes: Any) -> Line:
    offer = Offer.parse(blob(line, "o"))
    members = {"versions": offer.versions, "suites": offer.suites, "flags": offer.flags, "nonce": offer.nonce}
    return with_blob(line, "o", Offer(**(members | changes)).encode())


async def never_opens(name: str, change: Any, **party: Any) -> World2:
    """Each message of this kind is replaced on its way; nothing opens as long as that goes on, and then it does."""
    world = World2(**party)
    put = world.link.put

    async def replacing(author: Any, line: Any) -> None:
        await put(author, change(line) if author is not None and kind(line) == name else line)

    world.link.put = replacing  # type: ignore[method-assign]
    await world.begin()
    await world.link.advance(world.clock, 30)
    assert [end.opened() for end in world.ends] == [0, 0]
    world.link.put = put  # type: ignore[method-assign]
    await world.assert_unharmed()
    return world


@case(
    "v2-offer-suites",
    "on the way of `register`, the suite with ML-KEM is taken out of the offer",
    "the answer is not to what was offered: no session",
)
async def _(_: Path) -> None:
    await never_opens("offer", lambda line: reoffered(line, suites=(CHACHA,)), post_quantum="prefer")


@case(
    "v2-offer-answer-suites",
    "on the way of `n1`, the suite with ML-KEM is taken out of Bob's offer and the selection made to fit",
    "the handshake does not open: no session",
)
async def _(_: Path) -> None:
    def change(line: Line) -> Line:
        selection = Selection.parse(blob(line, "s"))
        fitting = Selection(selection.version, CHACHA, selection.offer_digest).encode()
        return with_blob(reoffered(line, suites=(CHACHA,)), "s", fitting)

    await never_opens("n1", change, post_quantum="prefer")


@case(
    "v2-selection",
    "on the way of `n1`, another suite is selected that both know",
    "`downgrade`: no session",
)
async def _(_: Path) -> None:
    def change(line: Line) -> Line:
        selection = Selection.parse(blob(line, "s"))
        return with_blob(line, "s", Selection(selection.version, CHACHA, selection.offer_digest).encode())

    world = await never_opens("n1", change, post_quantum="prefer")
    assert "downgrade" in world.alice.refusals()


@case("v2-offer-flags", "on the way of both offers, all flags are cleared", "no session")
async def _(_: Path) -> None:
    for name in ("offer", "n1"):
        await never_opens(name, lambda line: reoffered(line, flags=0))


@case("v2-offer-versions", "on the way of an offer, version 2 is replaced by 1", "no session in any version")
async def _(_: Path) -> None:
    for name in ("offer", "n1"):
        await never_opens(name, lambda line: reoffered(line, versions=(1,)))


@case(
    "v2-other-network",
    "the two are configured for networks of different names",
    "no session, nothing delivered",
)
async def _(_: Path) -> None:
    world = World2(network="one", bob={"network": "another"})
    await world.link.advance(world.clock, 60)
    assert [end.opened() for end in world.ends] == [0, 0]
    assert not world.heard()


@case(
    "v2-man-in-the-middle",
    "Mallory answers Alice's offer under Bob's id with his own keys, and Bob's under Alice's",
    "self-certifying ids: `id_not_self_certified`, `id_mismatch` or `static_sig`; no session",
)
async def _(_: Path) -> None:
    world = World2()
    mallory = End2("mallory", world.clock)
    mallory.take_id_of(world.bob)
    register = world.alice.driver.register() | {"from": world.alice.id}
    await mallory.receive(register)
    for _round in range(4):
        for line in mallory.take():
            await world.alice.receive(line)
        for line in world.alice.take():
            await mallory.receive(line)
    assert "id_not_self_certified" in world.alice.refusals()
    assert [end.opened() for end in world.ends] == [0, 0]
    assert any(outcome.verdict is Verdict.REFUSED for outcome in world.alice.outcomes)
    await world.assert_unharmed()

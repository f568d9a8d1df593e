"""New keys while a session runs, keys of old generations, and tickets: lost, crossed, repeated, copied, stolen."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from cases_v2_handshake import FORGETTING_SECONDS, Genuine, with_insertion
from catalogue import WORLD_2, chapter
from v2_world import (
    INIT,
    RESP,
    Line,
    World2,
    blob,
    header_of,
    held_up,
    kind,
    packets_of,
    sealed,
)

from handfast.conversation.effects import Rekeyed
from handfast.conversation.model import Settings
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError
from handfast.session.v2.resumption import Ticket, make_k1
from handfast.session.v2.session import Session
from handfast.wire import limits
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import encode_message

case = chapter("Version 2: sessions", WORLD_2)


# ---- new keys -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def rekeying_every(messages: int) -> Iterator[None]:
    """New keys after so few messages, as they are due after a thousand."""
    with mock.patch.object(limits, "GENERATION_MESSAGES_SOFT", messages):
        yield


def generations(world: World2) -> tuple[list[int], list[int]]:
    """The numbers that Alice, then Bob, went on to."""
    alice, bob = (
        [effect.generation for o in end.outcomes for effect in o.effects if isinstance(effect, Rekeyed)]
        for end in world.ends
    )
    return alice, bob


@case(
    "v2-rekey-lost",
    "each message of a conversation with new keys after every second message is lost once, and once twice",
    "it is repeated, both have the same keys, every message is delivered once",
)
async def _(_: Path) -> None:
    with rekeying_every(2):
        for losses in (1, 2):
            for at in range(4, 20):
                world = World2(settings=Settings(exchanges=8))
                left = {at: losses}
                lost: list[Line] = []

                def fate(
                    line: Line,
                    left: dict[int, int] = left,
                    lost: list[Line] = lost,
                    at: int = at,
                    world: World2 = world,
                ) -> int:
                    if (world.link.carried == at or line in lost) and left[at] > 0:
                        left[at] -= 1
                        lost.append(line)
                        return 0
                    return 1

                world.link.fate = fate
                await world.begin()
                await world.pass_time(20)
                assert lost
                assert world.closed() == (1, 1)
                assert len(world.heard()) == 16
                world.assert_nothing_twice()
                one, other = generations(world)
                assert one[: len(other)] == other
                assert len(one) >= 2


@case(
    "v2-rekey-replayed",
    "before each message of such a conversation everything that was said in it before, once more",
    "the same new keys, the same messages, at once",
)
async def _(_: Path) -> None:
    with rekeying_every(2):
        settings = Settings(exchanges=6)
        genuine = await Genuine.conversation(again=False, settings=settings)
        for at in range(4, len(genuine.lines)):
            await with_insertion(
                genuine, at, lambda _, world: list(world.lines), again=False, settings=settings
            )


@case(
    "v2-rekey-crossed",
    "a malicious peer asks for new keys twice at once, answers what nobody asked, as responder asks itself, and says "
    "nonsense in such frames",
    "a frame that fits nothing is passed over, what else its message says is delivered, and the conversation goes on",
)
async def _(_: Path) -> None:
    bodies = (b"", bytes(48), bytes(4_000))
    for body in bodies:
        world = World2()
        line, alice, _bob = await held_up(world, 1)
        for frame in (Frame(frames.REKEY_INIT, body), Frame(frames.REKEY_RESP, body)):
            await world.link.say(
                sealed(world, alice, "request", "still here", frame, your_nonce=line["my_nonce"])
            )
            (answer,) = world.bob.take()
            line = answer
        assert world.bob.delivered().count("still here") == 2
        assert generations(world) == ([], [])

        world = World2()
        line, _alice, bob = await held_up(world, 1)
        other = sealed(
            world, bob, "respond", "so am I",
            *(Frame(kind, body) for kind in (frames.REKEY_INIT, frames.REKEY_RESP)),
            your_nonce=line["your_nonce"],
        )  # fmt: skip
        await world.link.say(other)
        assert world.alice.delivered() == ["so am I"]
        assert generations(world) == ([], [])
        assert [kind(line) for line in world.alice.take()] == ["request"]


@case(
    "v2-rekey-twice-asked",
    "a malicious peer asks for new keys, and before it uses them for others, several times",
    "each is answered, the last ones count, the conversation goes on",
)
async def _(_: Path) -> None:
    world = World2()
    line, alice, _ = await held_up(world, 1)
    for number in range(5):
        alice._pending = None
        ask = Frame(frames.REKEY_INIT, alice.start_rekey(bytes([number + 1]) * 32))
        await world.link.say(sealed(world, alice, "request", number, ask, your_nonce=line["my_nonce"]))
        (line,) = world.bob.take()
    plain = alice.open(
        Header(world.bob.id, world.alice.id, "respond", line["my_nonce"], line["your_nonce"]).encoded(),
        blob(line, "b"),
        world.clock.now(),
    )
    (answer,) = [frame.body for frame in frames.parse_frames(plain) if frame.type == frames.REKEY_RESP]
    alice.finish_rekey(answer, world.clock.now())
    assert alice.generation == 2
    await world.link.say(sealed(world, alice, "request", "done", your_nonce=line["my_nonce"]))
    assert world.bob.delivered()[-1] == "done"
    assert generations(world)[1] == [2]


@case(
    "v2-old-generation",
    "all keys of a generation become known, both static keys with them, to somebody who heard all of the conversation",
    "nothing of the next generation opens, and nothing that he says under the old keys after 30 seconds; as a test of the "
    "test, he opens the old generation",
)
async def _(_: Path) -> None:
    with rekeying_every(4):
        world = World2(settings=Settings(exchanges=8))
        stolen: list[tuple[Session, Session]] = []

        def before(line: Line, number: int) -> list[Line]:
            if number == 5:
                stolen.append((world.alice.session(INIT, world.bob), world.bob.session(RESP, world.alice)))
            return []

        world.link.before = before
        await world.begin()
        assert world.closed() == (1, 1)
        ((alice, bob),) = stolen
        opened, new, asked = 0, 0, []
        for line in packets_of(world.lines):
            thief = bob if line["from"] == world.alice.id else alice
            try:
                plain = thief.open(header_of(line), blob(line, "b"), world.clock.now())
            except PeerError as refusal:
                new += str(refusal.reason) == "no_session"
                continue
            opened += 1
            asked += [frame for frame in frames.parse_frames(plain) if frame.type in (2, 3)]
        assert opened >= 3
        assert new >= 4
        assert {frame.type for frame in asked} == {frames.REKEY_INIT, frames.REKEY_RESP}
        # he also hears how the next keys were agreed on, but has no ephemeral key of theirs
        init = next(frame.body for frame in asked if frame.type == frames.REKEY_INIT)
        resp = next(frame.body for frame in asked if frame.type == frames.REKEY_RESP)
        alice.start_rekey(bytes(range(32)))
        with contextlib.suppress(PeerError):
            alice.finish_rekey(resp, world.clock.now())
        with contextlib.suppress(PeerError):
            bob.answer_rekey(init, bytes(range(32)), world.clock.now())
        for line in packets_of(world.lines):
            thief = bob if line["from"] == world.alice.id else alice
            with contextlib.suppress(PeerError):
                thief.open(header_of(line), blob(line, "b"), world.clock.now())
                raise AssertionError("a newer generation opens")


@case(
    "v2-old-generation-late",
    "a malicious peer goes on under the keys of the generation before, a second and 31 seconds after the new one was confirmed",
    "the first is delivered, the second `no_session`",
)
async def _(_: Path) -> None:
    for seconds, is_heard in ((1, True), (31, False)):
        with rekeying_every(2):
            world = World2(settings=Settings(exchanges=8))
            old: list[Session] = []

            def before(
                line: Line, number: int, world: World2 = world, old: list[Session] = old
            ) -> list[Line]:
                if kind(line) == "respond" and not generations(world)[1]:
                    old[:] = [world.alice.session(INIT, world.bob)]
                return []

            world.link.before = before
            line, _, bob = await held_up(world, 4)
            assert bob.generation == old[0].generation + 1
            old[0]._sent = 50
            await world.wait(seconds)
            await world.link.say(sealed(world, old[0], "request", "late", your_nonce=line["my_nonce"]))
        assert ("late" in world.bob.delivered()) == is_heard
        assert ("no_session" in world.bob.refusals()) != is_heard


# ---- tickets ------------------------------------------------------------------------------------------------------


def ticket_of(world: World2) -> Ticket:
    """What Alice has kept."""
    ticket = world.alice.driver._pairs.stored[INIT, world.bob.id].ticket
    assert ticket is not None
    return ticket


def shown(world: World2, ticket: Ticket, number: int) -> tuple[Any, Line]:
    """Another `k1` under the same ticket, as one whose database was copied would make it."""
    present = world.alice.driver._announcer.present(world.clock.now(), world.clock.monotonic())
    assert present is not None
    attempt, k1 = make_k1(
        present.myself, ticket, present.offers[0], ephemeral=bytes([number]) * 32, now=world.clock.now()
    )
    return attempt, encode_message(k1) | {"from": world.alice.id}


async def kill(world: World2, *whom: Any) -> None:
    for end in whom:
        end.take()
        await end.restart()


@case(
    "v2-ticket-replayed",
    "a `k1` once more: at once, after the session was confirmed, after it closed, and after Bob was killed in each of these",
    "at most the same answer again; no second session, no delivery",
)
async def _(_: Path) -> None:
    for moment in ("k2", "request", "finish", "nothing"):
        for killed in (False, True):
            world = World2()
            await world.begin()
            await world.wait(FORGETTING_SECONDS)
            if moment == "nothing":
                await world.begin_again()
            else:
                await world.begin_and_stop_before(
                    lambda line, moment=moment: kind(line) == moment, again=True
                )
            if killed:
                await kill(world, world.bob)
            k1 = next(line for line in world.lines if kind(line) == "k1")
            opened, heard = world.bob.opened(), world.bob.delivered()
            for _ in range(3):
                await world.wait(world.bob.settings.repeat_gap + 0.1)
                await world.link.say(k1)
                answers = [kind(line) for line in world.bob.take()]
                assert answers in (["k2"], ["n1"]), (moment, killed, answers)
                assert answers != ["k2"] or (moment in ("k2", "request") and not killed)
            assert (world.bob.opened(), world.bob.delivered()) == (opened, heard)
            await world.assert_unharmed()


@case(
    "v2-ticket-twice",
    "a ticket that is copied is shown in a second, different `k1`: before the session is confirmed, after it closed, and "
    "after Bob was killed",
    "`n1`, as if there were none: a ticket is good for one message",
)
async def _(_: Path) -> None:
    for killed in (False, True):
        for confirmed in (False, True):
            world = World2()
            await world.begin()
            await world.wait(FORGETTING_SECONDS)
            ticket = ticket_of(world)
            _, first = shown(world, ticket, 1)
            _, second = shown(world, ticket, 2)
            if confirmed:
                await world.begin_again()
            else:
                await world.link.say(first)
                assert [kind(line) for line in world.bob.take()] == ["k2"]
            if killed:
                await kill(world, world.bob)
            opened = world.bob.opened()
            await world.link.say(second)
            assert [kind(line) for line in world.bob.take()] == ["n1"]
            assert world.bob.opened() == opened
            await world.assert_unharmed()


@case(
    "v2-ticket-late",
    "a ticket is shown after its day, under another generation, by another id, and after Bob's pin was removed",
    "no session comes of it",
)
async def _(_: Path) -> None:
    for change in ("late", "generation", "id", "pin"):
        world = World2()
        await world.begin()
        await world.wait(FORGETTING_SECONDS)
        _, k1 = shown(world, ticket_of(world), 1)
        if change == "late":
            await world.wait(limits.SESSION_SECONDS + 1)
        if change == "generation":
            k1 = k1 | {"hs": k1["hs"] | {"g": k1["hs"]["g"] + 1}}
        if change == "id":
            k1 = k1 | {"from": "00000000-0000-4000-8000-000000000001"}
        if change == "pin":
            world.bob.store.identity_pins.clear()
        await world.link.say(k1)
        assert [kind(line) for line in world.bob.take()] in ([], ["n1"])
        await world.assert_unharmed()


@case(
    "v2-ticket-of-a-thief",
    "a thief has Alice's ticket, but not her static key; another has the key, but not the ticket",
    "`aead`: no session comes of either",
)
async def _(_: Path) -> None:
    world = World2()
    await world.begin()
    await world.wait(FORGETTING_SECONDS)
    ticket, key = ticket_of(world), ExchangeKey(bytes(range(32)))
    with mock.patch("handfast.session.v2.resumption.Ticket.require_usable", return_value=key):
        _, without_the_key = shown(world, ticket, 3)
    _, without_the_ticket = shown(world, replace(ticket, resumption=Secret(bytes(32))), 4)
    for k1 in (without_the_key, without_the_ticket):
        await world.link.say(k1)
        assert world.bob.refusals()[-1] == "aead"
        assert not world.bob.take()
    await world.begin_again()
    assert world.closed() == (2, 2)

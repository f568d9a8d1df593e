"""Packets of version 2 in the wrong place, too late, too often; counters, new keys, tickets."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from cases_v2_handshake import Genuine, with_insertion
from catalogue import WORLD_2, chapter
from v2_world import INIT, Line, World2, accepted, altered, blob, held_up, kind, packets_of, sealed, with_blob

from handfast.conversation.effects import Rekeyed
from handfast.conversation.model import Settings
from handfast.errors import PeerError
from handfast.wire import limits
from handfast.wire.v2.frames import encode_frames

case = chapter("Version 2: sessions", WORLD_2)

MEMBERS = {
    "request": ("my_nonce", "your_nonce"),
    "respond": ("my_nonce", "your_nonce"),
    "conclude": ("your_nonce", "my_ref"),
    "finish": ("my_ref", "your_ref"),
    "close": ("my_ref", "your_ref"),
}
PACKETS = tuple(MEMBERS)


def is_packet(line: Line) -> bool:
    return "sec" in line


@case(
    "v2-packet-altered",
    "each packet of a conversation with a byte altered (every ninth of it, in its turn), ahead of the true one",
    "refused or passed over; the true one is accepted at once",
)
async def _(_: Path) -> None:
    genuine = await Genuine.conversation(again=False)
    for at, line in enumerate(genuine.lines):
        if is_packet(line):

            def some(line: Line, world: World2) -> list[Line]:
                return list(altered(line))[::9]

            world = await with_insertion(genuine, at, some, again=False)
            assert not accepted(world.link.led_to)


@case(
    "v2-packet-other-session",
    "each packet of a first conversation in each place of the next one, also under the nonces and references due there",
    "none opens; the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    genuine = await Genuine.conversation(again=True)
    middle = len(genuine.lines) // 2

    def theirs(line: Line, world: World2) -> Iterator[Line]:
        routing = {key: line[key] for key in ("my_nonce", "your_nonce", "my_ref", "your_ref") if key in line}
        for old in world.lines[:middle]:
            if is_packet(old) and old["from"] == line["from"]:
                yield old
                yield line | {"sec": old["sec"]}
                if routing.keys() <= old.keys():
                    yield old | routing

    for at in range(middle, len(genuine.lines)):
        await with_insertion(genuine, at, theirs, again=True)


@case(
    "v2-packet-reflected",
    "each packet is sent back to its author under the peer's name, as each kind of message",
    "none opens; the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    genuine = await Genuine.conversation(again=False)

    def mirrored(line: Line, world: World2) -> Iterator[Line]:
        for old in [*world.lines[-4:], line]:
            if is_packet(old):
                swapped = old | {"from": old["to"], "to": old["from"]}
                mine, yours = (swapped.pop(key, None) for key in ("my_nonce", "your_nonce"))
                yield swapped | {"my_nonce": mine or yours, "your_nonce": yours or mine, "intent": "request"}
                yield swapped | {"my_nonce": yours or mine, "your_nonce": mine or yours, "intent": "respond"}
                for intent in ("conclude", "finish", "close"):
                    yield {**line, "from": old["to"], "to": old["from"], "intent": intent, "sec": old["sec"]}

    for at in range(4, len(genuine.lines)):
        await with_insertion(genuine, at, mirrored, again=False)


@case(
    "v2-packet-other-intent",
    "each packet under another intent, and under the nonces and references of another message",
    "the header is bound: none opens; the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    genuine = await Genuine.conversation(again=False)

    def moved(line: Line, world: World2) -> Iterator[Line]:
        for other in packets_of(world.lines):
            if other["from"] == line["from"] and is_packet(line):
                yield other | {"sec": line["sec"]}
        for intent in PACKETS:
            if intent == line["intent"]:
                continue
            yield line | {"intent": intent}
            # in the shape of that kind, with what is due
            members = MEMBERS[intent]
            yield {
                **{key: line[key] for key in ("from", "to", "sec")},
                **{key: line.get(key, "u" + "B" * 21 + "A") for key in members},
                "intent": intent,
            }

    for at in range(4, len(genuine.lines)):
        await with_insertion(genuine, at, moved, again=False)


def with_counter(line: Line, counter: int) -> Line:
    packet = blob(line, "b")
    return with_blob(line, "b", packet[:10] + counter.to_bytes(8, "big") + packet[18:])


COUNTERS = (0, 1, 2, 1_023, 1_024, 1_499, 1_500, 2**32, 2**63, 2**64 - 2**16, 2**64 - 1)


@case(
    "v2-counters",
    "each packet under other counters, the first and the last of all among them",
    "none opens, the window does not move; the conversation closes with the same messages, at once",
)
async def _(_: Path) -> None:
    genuine = await Genuine.conversation(again=False)

    def counted(line: Line, world: World2) -> list[Line]:
        true = int.from_bytes(blob(line, "b")[10:18], "big")
        return [with_counter(line, counter) for counter in COUNTERS if counter != true]

    for at in range(4, len(genuine.lines)):
        await with_insertion(genuine, at, counted, again=False)


@case(
    "v2-window",
    "in a conversation of 1 200 turns, each of the first packets once more after 1 100 others, and the one just heard",
    "`replay` or passed over; every message is delivered once",
)
async def _(_: Path) -> None:
    world = World2(settings=Settings(exchanges=1_200))
    said = 0

    def before(line: Line, number: int) -> list[Line]:
        nonlocal said
        if number < 2_210:
            return []
        said += 1
        packets = packets_of(world.lines)
        return [packets[number % 64], packets[-2]] if said <= 64 else []

    world.link.before = before
    await world.begin()
    assert world.closed() == (1, 1)
    assert len(world.heard()) == 2_400
    world.assert_nothing_twice()
    rekeyed = [e.generation for o in world.bob.outcomes for e in o.effects if isinstance(e, Rekeyed)]
    assert rekeyed == [2]  # after a thousand messages, without being asked


@case(
    "v2-beyond-the-window",
    "of 1 400 packets of one generation all but two arrive; then one that was too late, one that was skipped, and some once more",
    "the session itself: what is older than 1 024 packets is `replay`, heard or not, as is what was heard; the skipped one opens",
)
async def _(_: Path) -> None:
    world = World2()
    _line, alice, bob = await held_up(world, 1)
    now, header, plaintext = world.clock.now(), b"header", encode_frames([])
    first = alice.next_counter
    packets = [alice.seal(header, plaintext) for _ in range(1_400)]
    late, skipped = 10, 1_000
    for number, packet in enumerate(packets):
        if number not in (late, skipped):
            bob.open(header, packet, now)
    assert first == 1
    for number in (0, late, 100, 1_400 - 1_025, 1_399):
        assert bob.is_repeat(packets[number])
        with pytest.raises(PeerError, match="replay"):
            bob.open(header, packets[number], now)
    bob.open(header, packets[skipped], now)
    assert bob.is_repeat(packets[skipped])


@case(
    "v2-last-counter",
    "a malicious peer numbers its packets up to the end of its generation and beyond",
    "it is heard up to the end, then `rekey_required`; a good conversation follows",
)
async def _(_: Path) -> None:
    world = World2()
    line = await world.begin_and_stop_before(lambda line: kind(line) == "respond")
    session = world.alice.session(INIT, world.bob)
    for counter, is_heard in ((limits.GENERATION_MESSAGES, False), (limits.GENERATION_MESSAGES - 1, True)):
        # its own `seal` refuses to go so far
        with mock.patch("handfast.session.v2.session.GENERATION_MESSAGES", 2**64):
            session._sent = counter
            request = sealed(world, session, "request", "hello", your_nonce=line["my_nonce"])
        heard = len(world.bob.delivered())
        await world.link.say(request)
        assert len(world.bob.delivered()) == heard + is_heard
    assert "rekey_required" in world.bob.refusals()
    world.bob.take()
    await world.pass_time(700)
    await world.assert_unharmed()

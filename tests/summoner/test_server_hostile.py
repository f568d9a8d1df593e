"""Clients that flood, stall, reset or write garbage: they cost themselves something and the others nothing."""

import asyncio
import json
import logging
import os
import socket

import pytest
from relay_helpers import PATIENCE, Peer, Room, join_deaf, logged, room

from summoner.server import frames
from summoner.server.connection import LINES_PER_TURN

SMALL_QUEUE = 256 * 1024
BIG_LINE = b"x" * 50_000 + b"\n"
ENOUGH_TO_OVERFLOW = 300  # big lines: more than the queue and what kernels buffer on the way


async def flood_with_one_stuck_recipient(here: Room) -> tuple[Peer, Peer, Peer]:
    """A client that never reads, an author, and a recipient that got everything the author sent in the meantime."""
    stuck = await here.join(join_deaf)
    a, b = [await here.join() for _ in range(2)]
    for _ in range(ENOUGH_TO_OVERFLOW):
        await a.write(BIG_LINE)  # in step with the reader, whose queue is as small
        await b.line()
    return stuck, a, b


async def test_a_recipient_that_does_not_read_is_disconnected_and_nobody_else_notices() -> None:
    async with room(queue_max_bytes=SMALL_QUEUE, on_overflow="disconnect") as here:
        _, a, b = await flood_with_one_stuck_recipient(here)
        assert here.addresses() == [a.address, b.address]
        await b.write(b"fine here\n")
        assert await a.content() == "fine here"


async def test_a_recipient_disconnected_for_not_reading_gets_whole_lines_and_then_the_reason() -> None:
    async with room(queue_max_bytes=SMALL_QUEUE, on_overflow="disconnect", final_notice=b"") as here:
        stuck, _, _ = await flood_with_one_stuck_recipient(here)
        (sent_away,) = here.relay._connections - here.relay._members.keys()
        assert sent_away._outbox.queued_bytes <= len(frames.NOT_READING)
        stuck.listen()
        *lines, last, nothing = (await stuck.rest()).split(b"\n")
        assert last + b"\n" == frames.NOT_READING
        assert nothing == b""
        assert {json.loads(line)["content"] for line in lines} == {"x" * 50_000}


async def test_lines_for_a_recipient_that_does_not_read_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with room(queue_max_bytes=SMALL_QUEUE) as here:
        stuck, a, b = await flood_with_one_stuck_recipient(here)
        assert caplog.text.count(f"{stuck.address} reads too slowly") == 1
        await a.write(b"the end\n")
        assert await b.content() == "the end"
        with logged("were dropped") as caught_up:
            stuck.listen()
            reading = asyncio.create_task(contents_until(stuck, "welcome back"))
            await asyncio.wait_for(caught_up.wait(), PATIENCE)
        await a.write(b"welcome back\n")
        contents = await reading
        (dropped,) = [record.args[0] for record in caplog.records if "were dropped" in record.msg]
        assert len(contents) + dropped == ENOUGH_TO_OVERFLOW + len(["the end", "welcome back"])


@pytest.mark.parametrize("on_overflow", ["drop", "disconnect"])
async def test_a_burst_larger_than_the_queue_is_nothing_to_a_recipient_that_reads(on_overflow: str) -> None:
    async with room(max_frame_bytes=256, queue_max_bytes=256, on_overflow=on_overflow) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"".join(b"%d\n" % number for number in range(100)))
        assert await b.contents(100) == [str(number) for number in range(100)]


async def test_an_author_alone_with_recipients_that_do_not_read_is_not_held_up() -> None:
    async with room(queue_max_bytes=SMALL_QUEUE) as here:
        a, *_ = await here.join(), await here.join(join_deaf), await here.join(join_deaf)
        await a.write(BIG_LINE * ENOUGH_TO_OVERFLOW + b"tail")
        a.writer.write_eof()
        assert await a.rest() == frames.SERVER_DISCONNECTED


async def test_a_reset_with_everything_in_flight_disturbs_nobody() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        for round_number in range(20):
            victim = await here.join()
            await victim.write(b"last words\nand a torn li")
            await a.write(BIG_LINE * 3)
            await victim.reset()
            heard = {len(await b.content()) for _ in range(3)}
            assert 50_000 in heard
            await b.write(b"%d\n" % round_number)
        numbers = [content for content in await contents_until(a, "19") if content.isdecimal()]
        assert numbers == [str(number) for number in range(20)]


async def contents_until(peer: Peer, last: str) -> list[str]:
    contents = [await peer.content()]
    while contents[-1] != last:
        contents.append(await peer.content())
    return contents


FLOODS = [b"\n" * 50_000, (b"y" * 90 + b"\n") * 5_000, b"\xc3\xa9\r\n" * 20_000, b"z" * 5_000_000]


@pytest.mark.parametrize(
    "flood", FLOODS, ids=["blank lines", "short lines", "carriage returns", "no newline"]
)
async def test_a_flooder_does_not_silence_the_others(flood: bytes) -> None:
    async with room() as here:
        flooder, a, b = [await here.join() for _ in range(3)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(flooder.write(flood))
            reading = tasks.create_task(contents_of(b, a.address, 50))
            for number in range(50):
                await a.write(b"%d\n" % number)
        assert reading.result() == [str(number) for number in range(50)]


async def test_an_author_with_much_to_say_lets_others_speak_in_between() -> None:
    async with room() as here:
        _, _, b = [await here.join() for _ in range(3)]
        flooder, a, _ = here.relay._members
        flooder.data_received(b"flood\n" * 10 * LINES_PER_TURN)
        a.data_received(b"a word\n")
        assert await b.contents(LINES_PER_TURN + 1) == ["flood"] * LINES_PER_TURN + ["a word"]
        assert await b.contents(9 * LINES_PER_TURN) == ["flood"] * 9 * LINES_PER_TURN


async def contents_of(peer: Peer, author: str, count: int) -> list[str]:
    contents: list[str] = []
    while len(contents) < count:
        frame = await peer.frame()
        if frame["remote_addr"] == author:
            contents.append(frame["content"])
    return contents


async def test_a_refused_flood_reaches_nobody() -> None:
    async with room(lines_per_minute=10) as here:
        flooder, a, b = [await here.join() for _ in range(3)]
        await flooder.write(b"spam\n" * 10_000)
        assert await flooder.lines(9_990) == [frames.TOO_FAST] * 9_990
        await a.write(b"fine\n")
        assert await b.contents(11) == ["spam"] * 10 + ["fine"]


async def test_a_line_of_ten_megabytes_is_skipped_in_bounded_memory() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        (author,) = [member for member in here.relay._members if member.address == a.address]
        for _ in range(100):
            await a.write(b"x" * 100_000)
            assert len(author._framer._tail) <= here.relay.settings.max_frame_bytes
        await a.write(b"\nnext\n")
        assert await b.content() == "next"
        assert await a.line() == frames.TOO_LONG
        await b.write(b"only one warning\n")
        assert await a.content() == "only one warning"


@pytest.mark.parametrize("notice", [b"", frames.SERVER_DISCONNECTED])
async def test_invalid_utf8_ends_that_connection_only_after_the_lines_before_it(notice: bytes) -> None:
    async with room(final_notice=notice) as here:
        a, b, c = [await here.join() for _ in range(3)]
        await a.write(b"valid\n\xff\xfe\nnever seen\n")
        assert await a.rest() == notice
        await c.write(b"after\n")
        assert await b.contents(2) == ["valid", "after"]


POISON = [
    "5", "null", "[]", '"from to intent"', "[" * 20_000, "NaN", "1e400", "7" * 5_000, "a\0b", "\x1b[2J\x07",
    r'{"from": "\ud800", "to": null}', '{"a": 1, "a": 2}', "Warning: Server is shutting down.", "\u2028\u202e",
]  # fmt: skip


async def test_the_relay_forwards_whatever_a_line_says_letter_by_letter() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write("\n".join(POISON).encode() + b"\n")
        assert await b.contents(len(POISON)) == POISON


async def test_random_bytes_never_take_the_relay_down() -> None:
    async with room(max_frame_bytes=512) as here:
        a, b = [await here.join() for _ in range(2)]
        for _ in range(30):
            await (await here.join()).write(os.urandom(2_000).replace(b"\xff", b"\n"))
        await a.write(b"alive\n")
        assert await contents_of(b, a.address, 1) == ["alive"]


async def test_a_client_gone_before_it_is_admitted_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with room() as here:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", here.relay.port)) as sock:
                sock.sendall(b"hit and run\n")
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"hello\n")
        assert await contents_of(b, a.address, 1) == ["hello"]
    assert not here.relay._connections
    assert not [record for record in caplog.records if record.levelno > logging.INFO]

"""What the relay asks of authors: pauses, forced disconnection, quarantine; and what it owes those who leave."""

import asyncio
import socket

import pytest
from relay_helpers import PATIENCE, join_deaf, room

from summoner.server import connection, frames
from summoner.server.settings import Pause
from summoner.utils import format_addr

LONG = 3_600.0  # a pause that no test sees the end of


async def test_a_paused_author_is_heard_line_by_line_and_hears_others_without_delay() -> None:
    async with room(pauses=(Pause(2, LONG),)) as here:
        a, b, c, d = [await here.join() for _ in range(4)]
        await a.write(b"one\n")
        assert await b.content() == "one"
        await a.write(b"two\n")
        await c.write(b"meanwhile\n")
        assert await a.content() == "meanwhile"
        await d.write(b"and again\n")
        assert await a.content() == "and again"
        assert await b.contents(2) == ["meanwhile", "and again"]


async def test_a_paused_author_that_stops_writing_is_let_go_at_once() -> None:
    async with room(pauses=(Pause(1, LONG),)) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one")
        a.writer.write_eof()
        assert await a.rest() == frames.SERVER_DISCONNECTED
        assert await b.content() == "one"


async def test_little_is_read_from_a_paused_author() -> None:
    async with room(pauses=(Pause(1, LONG),)) as here:
        a, b = [await here.join() for _ in range(2)]
        a.writer.write(b"flood\n" * 1_000_000)
        assert await b.content() == "flood"
        paused = next(iter(here.relay._members))
        assert not paused._transport.is_reading()
        assert len(paused._waiting) < 100_000
        before = len(paused._waiting)
        paused.data_received(b"delivered all the same, as some event loops may\n")
        assert len(paused._waiting) == before + 1
        await a.reset()


async def test_paused_lines_follow_in_order_with_a_pause_each() -> None:
    async with room(pauses=(Pause(1, 0.001), Pause(1, 0.002), Pause(2, LONG))) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"".join(b"%d\n" % number for number in range(20)) + b"tail")
        a.writer.write_eof()
        assert await b.contents(21) == [*map(str, range(20)), "tail"]


async def test_a_room_below_the_threshold_pauses_nobody() -> None:
    async with room(pauses=(Pause(2, LONG),)) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\ntwo\n")
        assert await b.contents(2) == ["one", "two"]


async def test_a_paused_author_is_not_idle() -> None:
    async with room(pauses=(Pause(1, LONG),)) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\ntwo\n")
        assert await b.content() == "one"
        paused, silent = here.relay._members
        for member in (paused, silent):
            member.close_if_idle(asyncio.get_running_loop().time() + 10, timeout=1.0)
        assert (await b.rest()).startswith(frames.INACTIVE)
        assert here.addresses() == [a.address]


async def test_lines_of_a_paused_author_that_leaves_are_still_forwarded() -> None:
    async with room(pauses=(Pause(1, LONG),)) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\ntwo\nthree\n")
        assert await b.content() == "one"
        author = next(iter(here.relay._members))
        author._transport.abort()  # what a reset amounts to that is noticed while writing
        assert await b.contents(2) == ["two", "three"]


async def test_an_author_whose_lines_pile_up_is_disconnected_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "BACKLOG_LASTS", 0.0)
    async with room(pauses=(Pause(1, LONG),), disconnect_threshold=3, final_notice=b"") as here:
        a, b, c, d = [await here.join() for _ in range(4)]
        await a.write(b"one\ntwo\nthree\nfour\n")
        assert await a.rest() == frames.TOO_MANY_WAITING
        a.writer.write(b"nobody hears this\n")
        await c.write(b"next\n")
        assert await b.contents(5) == ["one", "two", "three", "four", "next"]
        forced_out = next(iter(here.relay._connections - here.relay._members.keys()))
        await a.close()
        await asyncio.wait_for(forced_out.ended.wait(), PATIENCE)
        await d.write(b"last\n")
        assert await b.content() == "last"


async def test_a_connection_ends_when_its_client_has_taken_the_last_words() -> None:
    async with room(pauses=(Pause(1, LONG),), final_notice=b"") as here:
        a, b = [await here.join() for _ in range(2)]
        paused, _ = members = list(here.relay._members)
        await a.write(b"one\ntwo\nthree\n")
        assert await b.content() == "one"
        assert not paused._transport.is_reading()
        for member in members:
            member.close(b"Warning: bye\n", grace=LONG)
        for peer, member in zip((a, b), members, strict=True):
            assert await peer.rest() == b"Warning: bye\n"
            await peer.close()
            await asyncio.wait_for(member.ended.wait(), PATIENCE)


async def test_as_many_lines_may_wait_as_the_threshold_says() -> None:
    async with room(pauses=(Pause(1, 0.001),), disconnect_threshold=3) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\ntwo\nthree\n")
        assert await b.contents(3) == ["one", "two", "three"]
        assert a.address in here.addresses()


async def test_a_burst_that_comes_in_one_read_is_no_lasting_backlog() -> None:
    burst = [str(number) for number in range(400)]
    async with room(pauses=(Pause(1, 0.0001),), disconnect_threshold=300) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write("".join(f"{line}\n" for line in burst).encode())
        assert await b.contents(400) == burst
        await a.write(b"still here\n")
        assert await b.content() == "still here"


async def test_a_backlog_that_shrinks_below_the_threshold_begins_anew_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "BACKLOG_LASTS", 100.0)
    clock = [0.0]
    async with room(pauses=(Pause(1, LONG),), disconnect_threshold=2) as here:
        a, _ = [await here.join() for _ in range(2)]
        author = next(iter(here.relay._members))
        with monkeypatch.context() as patched:
            patched.setattr(author._loop, "time", lambda: clock[0])
            for clock[0], waiting, is_out in (
                (0.0, 2, False),
                (99.0, 2, False),
                (100.0, 1, False),
                (150.0, 3, False),
                (250.0, 2, True),
            ):
                author._waiting = ["line"] * waiting
                assert author._is_too_far_behind(LONG) is is_out
            assert not author._is_too_far_behind(0.0), "nobody is behind who need not wait"
        author._waiting.clear()
        assert a.address in here.addresses()


async def test_an_address_that_was_forced_out_is_refused_and_another_port_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "BACKLOG_LASTS", 0.0)
    async with room(pauses=(Pause(1, LONG),), disconnect_threshold=1, final_notice=b"") as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"one\ntwo\n")
        assert await a.rest() == frames.TOO_MANY_WAITING
        loop = asyncio.get_running_loop()
        assert here.relay._quarantine.refuses(a.address, loop.time())
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            here.relay._quarantine.add(format_addr(sock.getsockname()), loop.time())
            await loop.sock_connect(sock, ("127.0.0.1", here.relay.port))
            assert await asyncio.wait_for(loop.sock_recv(sock, 1), PATIENCE) == b""
        another = await here.join()
        assert here.addresses() == [b.address, another.address]


async def test_a_client_that_stops_writing_gets_what_it_is_owed() -> None:
    async with room(lines_per_minute=0, final_notice=b"") as here:
        a = await here.join()
        await a.write(b"one\ntwo\nthree")
        a.writer.write_eof()
        assert await a.rest() == frames.TOO_FAST * 3


async def test_every_connection_a_plain_relay_closes_ends_with_its_last_words() -> None:
    async with room() as here:
        ended, idle = [await here.join() for _ in range(2)]
        ended.writer.write_eof()
        assert await ended.rest() == frames.SERVER_DISCONNECTED
        (member,) = here.relay._members
        member.close_if_idle(asyncio.get_running_loop().time() + 10, timeout=1.0)
        assert await idle.rest() == frames.INACTIVE + frames.SERVER_DISCONNECTED


async def test_closing_the_relay_delivers_what_is_queued_and_tells_everybody() -> None:
    async with room(final_notice=b"") as here:
        a, b, c = [await here.join() for _ in range(3)]
        await a.write(b"last\n")
        assert await b.content() == "last"
        closing = asyncio.create_task(here.relay.close())
        for peer in (a, b):
            assert await peer.rest() == frames.SHUTTING_DOWN
        assert await c.content() == "last"
        assert await c.rest() == frames.SHUTTING_DOWN
        for peer in (a, b, c):
            await peer.close()
        await asyncio.wait_for(closing, PATIENCE)
        assert not here.relay._connections


async def test_closing_the_relay_waits_for_no_client_that_does_not_react() -> None:
    async with room() as here:
        left = await here.join()  # the room has been empty before
        (member,) = here.relay._members
        await left.close()
        await asyncio.wait_for(member.ended.wait(), PATIENCE)
        deaf = await here.join(join_deaf)
        a = await here.join()
        for _ in range(100):
            await a.write(b"x" * 60_000 + b"\n")
        await asyncio.wait_for(here.relay.close(), PATIENCE)
        assert not here.relay._connections
        await deaf.reset()

"""The relay's acceptance scenarios, section 8 of the runtime's specification. Scenario 5 is in `test_server_process`."""

import asyncio
import json

from relay_helpers import join_deaf, room

from summoner.server import frames
from summoner.server.settings import read_config


async def test_scenario_01_a_line_reaches_everybody_but_its_author() -> None:
    async with room() as here:
        a, b, c = [await here.join() for _ in range(3)]
        await a.write(b"hello\n")
        for recipient in (b, c):
            assert await recipient.frame() == {"content": "hello", "remote_addr": a.address}
        await b.write(b"first\n")
        assert await a.frame() == {"content": "first", "remote_addr": b.address}


async def test_scenario_02_blank_lines_carriage_returns_and_an_unterminated_tail() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"\nx\r\ny\r\r\n  spaced \ntwo\nlines\npartial")
        a.writer.write_eof()
        assert await b.contents(7) == ["", "x", "y\r", "  spaced ", "two", "lines", "partial"]


async def test_scenario_02_an_end_of_file_after_a_newline_adds_no_line() -> None:
    async with room() as here:
        a, b, c = [await here.join() for _ in range(3)]
        await a.write(b"whole\n")
        a.writer.write_eof()
        assert await a.rest() == frames.SERVER_DISCONNECTED
        await c.write(b"next\n")
        assert await b.contents(2) == ["whole", "next"]


async def test_scenario_03_lines_over_the_rate_limit_are_refused_with_a_warning_each() -> None:
    config = read_config({"version": "rust", "hyper_parameters": {"rate_limit_msgs_per_minute": 3}})
    async with room(lines_per_minute=config.relay.lines_per_minute) as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"1\n2\n3\n4\n5\n")
        assert await a.lines(2) == [frames.TOO_FAST, frames.TOO_FAST]
        await b.write(b"mine is another count\n")
        assert await a.content() == "mine is another count"
        assert await b.contents(3) == ["1", "2", "3"]


async def test_scenario_04_a_client_that_only_listens_is_told_and_disconnected() -> None:
    async with room(idle_timeout=0.1, idle_check_interval=0.1, final_notice=b"") as here:
        a = await here.join()
        assert await a.rest() == frames.INACTIVE


async def test_scenario_04_hearing_others_does_not_count_as_activity_but_any_line_does() -> None:
    async with room(final_notice=b"") as here:
        talker, listener = [await here.join() for _ in range(2)]
        await talker.write(b"\n")
        assert await listener.content() == ""
        connections = {member.address: member for member in here.relay._members}
        last_line = connections[talker.address]._last_line_at
        for connection in connections.values():
            connection.close_if_idle(now=last_line, timeout=0.0)
        assert await listener.rest() == frames.INACTIVE
        assert here.addresses() == [talker.address]


async def test_scenario_06_twenty_thousand_lines_arrive_in_order_at_three_recipients() -> None:
    count = 20_000
    async with room() as here:
        a, *recipients = [await here.join() for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(a.write(b"".join(b"%d\n" % number for number in range(count))))
            received = [tasks.create_task(recipient.lines(count)) for recipient in recipients]
        for lines in received:
            assert [int(json.loads(line)["content"]) for line in lines.result()] == list(range(count))


async def test_scenario_07_a_recipient_that_never_reads_costs_the_others_nothing() -> None:
    count, line = 400, b"x" * 50_000 + b"\n"
    async with room() as here:
        await here.join(join_deaf)
        a, *recipients = [await here.join() for _ in range(3)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(a.write(line * count))
            received = [tasks.create_task(recipient.lines(count)) for recipient in recipients]
        frame = b'{"content":"%s","remote_addr":"%s"}\n' % (line.strip(), a.address.encode())
        for lines in received:
            assert lines.result() == [frame] * count


async def test_scenario_08_a_recipient_that_resets_does_not_cost_the_author_its_connection() -> None:
    async with room() as here:
        resetting = await here.join(join_deaf)
        a, b = [await here.join() for _ in range(2)]
        for number in range(40):
            if number == 20:
                await resetting.reset()
            await a.write(b"%d" % number + b"." * 50_000 + b"\n")
            assert (await b.content()).rstrip(".") == str(number)
        await b.write(b"still there?\n")
        assert await a.content() == "still there?"


async def test_scenario_09_a_long_line_is_not_forwarded_and_costs_nobody_the_connection() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        await a.write(b"x" * 200_000 + b"\nnext\n")
        assert await b.content() == "next"
        assert await a.line() == frames.TOO_LONG
        await b.write(b"you too\n")
        assert await a.content() == "you too"


async def test_scenario_09_the_longest_frame_ever_sent_is_65_536_bytes() -> None:
    async with room() as here:
        a, b = [await here.join() for _ in range(2)]
        around = len(b'{"content":"","remote_addr":""}\n') + len(a.address)
        fits = b'"' * ((65_536 - around) // 2) + b"x" * ((65_536 - around) % 2)
        await a.write(fits + b"\n" + fits + b"y\n" + b"next\n")
        assert len(await b.line()) == 65_536
        assert await b.content() == "next"
        assert await a.line() == frames.TOO_LONG

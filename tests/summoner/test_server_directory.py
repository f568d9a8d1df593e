"""Directed delivery: what has a clear addressee reaches that one alone, and nobody who may be meant ever misses a line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relay_helpers import Peer, room

from summoner.protocol.payload import wrap_with_types
from summoner.server import frames
from summoner.server.directory import LONGEST_ID, LONGEST_PARSED_LINE, MOST_IDS, Directory


def said(sender: Any, to: Any = None, **members: Any) -> str:
    """A line as clients say it, without its newline."""
    return wrap_with_types({"to": to, "from": sender} | members).rstrip("\n")


def here(*members: str) -> Directory[str]:
    """A room whose members have each said who they are: in capitals."""
    directory: Directory[str] = Directory()
    for member in members:
        directory.join(member)
        directory.addressee(member, said(member.upper()))
    return directory


# ---- what the relay makes of a line ---------------------------------------------------------------------------------


def test_a_line_to_somebody_who_has_spoken_is_for_that_one() -> None:
    directory = here("a", "b", "c")
    assert directory.addressee("a", said("A", "B")) == "b"
    assert directory.addressee("c", said("C", "A")) == "a"
    assert not directory.hearing_all


@pytest.mark.parametrize(
    "line",
    [
        said("A", None),
        said("A", ""),
        said("A", "nobody"),
        said("A", "A"),
        said("A", ["B"]),
        said("A", 7),
        said("A", True),
        said("A", "B" * (LONGEST_ID + 1)),
        said("A", "B", text="x" * LONGEST_PARSED_LINE),
        wrap_with_types({"from": "A"}),
        wrap_with_types("B"),
        wrap_with_types(["to", "B"]),
        '{"to": "B", "from": "A"}',
        json.dumps(said("A", "B")),
        said("A", "B")[:-1],
        '{"_payload": {"to": "B", "n": ' + "9" * 5_000 + "}}",
        '{"_payload": {"to": "B", "deep": ' + "[" * 20_000,
        "",
        "B",
        "null",
        "\x00",
    ],
    ids=lambda line: line[:60],
)
def test_where_no_addressee_is_clear_a_line_is_for_everybody(line: str) -> None:
    assert here("a", "b").addressee("a", line) is None


def test_an_id_that_two_claim_is_for_everybody_until_one_of_them_leaves() -> None:
    directory = here("a", "b", "forger")
    directory.addressee("forger", said("B"))
    assert directory.addressee("a", said("A", "B")) is None
    directory.leave("forger")
    assert directory.addressee("a", said("A", "B")) == "b"


def test_who_has_left_is_no_addressee_and_learns_nothing_more() -> None:
    directory = here("a", "b")
    directory.leave("b")
    assert directory.addressee("b", said("B", "A")) == "a"
    assert directory.addressee("a", said("A", "B")) is None
    directory.leave("b")


def test_who_has_not_said_who_it_is_hears_everything() -> None:
    directory = here("a", "b")
    directory.join("silent")
    directory.addressee("silent", "a line without an envelope")
    assert [*directory.hearing_all] == ["silent"]
    directory.addressee("silent", said("S"))
    assert not directory.hearing_all


def test_who_speaks_for_many_keeps_a_bounded_place_and_hears_everything_again() -> None:
    directory = here("a", "b")
    directory.join("bridge")
    for number in range(MOST_IDS):
        directory.addressee("bridge", said(f"id {number}"))
    assert directory.addressee("a", said("A", "id 0")) == "bridge"
    for number in range(10_000):
        directory.addressee("bridge", said(f"invented {number}"))
    assert [*directory.hearing_all] == ["bridge"]
    assert directory.addressee("a", said("A", "id 0")) is None
    assert directory.addressee("a", said("A", "B")) == "b"
    assert len(directory._speakers) == 2
    directory.leave("bridge")
    assert not directory.hearing_all
    directory.leave("a")
    directory.leave("b")
    assert (directory._speakers, directory._ids) == ({}, {})


MEMBERS = [*range(5)]
moves = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "say", "say", "say"]),
        st.sampled_from(MEMBERS),
        st.sampled_from("ABCDEF"),
        st.none() | st.sampled_from("ABCDEF"),
    ),
    max_size=60,
)


@given(moves)
def test_nobody_who_may_be_meant_misses_a_line(moves: list[tuple[str, int, str, str | None]]) -> None:
    directory: Directory[int] = Directory()
    present: dict[int, set[str]] = {}
    for what, member, sender, to in moves:
        if what == "join" and member not in present:
            directory.join(member)
            present[member] = set()
        elif what == "leave":
            directory.leave(member)
            present.pop(member, None)
        elif what == "say" and member in present:
            present[member].add(sender)
            addressee = directory.addressee(member, said(sender, to))
            hearing = set(present) if addressee is None else {addressee, *directory.hearing_all}
            assert hearing <= set(present)
            meant = {other for other, ids in present.items() if to is None or to in ids or not ids}
            assert meant - {member} <= hearing
            assert addressee is None or to in present[addressee]


# ---- in a room ------------------------------------------------------------------------------------------------------


async def say(peer: Peer, *lines: str) -> None:
    await peer.write("".join(f"{line}\n" for line in lines).encode())


async def test_a_directed_line_reaches_its_addressee_and_whoever_is_silent_but_nobody_else() -> None:
    async with room(directed_delivery=True) as here:
        a, b, c, silent = [await here.join() for _ in range(4)]
        everybody = [said(name) for name in "ABC"]
        for peer, line in zip((a, b, c), everybody, strict=True):
            await say(peer, line)
            assert await silent.content() == line
        lines = [said("A", "B", n=1), said("A", None, n=2), said("A", "C", n=3), said("A", "B", n=4)]
        await say(a, *lines)
        assert await silent.contents(4) == lines
        heard = await b.contents(5)
        assert [line for line in heard if line not in everybody] == [lines[0], lines[1], lines[3]]
        heard = await c.contents(4)
        assert [line for line in heard if line not in everybody] == [lines[1], lines[2]]


async def test_an_addressee_that_comes_back_hears_everything_until_it_says_who_it_is() -> None:
    async with room(directed_delivery=True) as here:
        a, b = [await here.join() for _ in range(2)]
        await say(b, said("B"))
        assert await a.content() == said("B")
        back = await here.join()  # the relay has not noticed that the first connection is dead
        line = said("A", "B")
        await say(a, line)
        assert await b.content() == await back.content() == line
        await say(back, said("B"))
        assert await a.content() == said("B")
        await say(a, line)
        assert await b.contents(2) == [said("B"), line]
        assert await back.content() == line


async def test_an_addressee_that_leaves_in_the_middle_of_a_batch_is_sent_nothing_more() -> None:
    settings = {"queue_max_bytes": 1_000, "max_frame_bytes": 1_000, "on_overflow": "disconnect"}
    async with room(directed_delivery=True, **settings) as here:
        a, b = [await here.join() for _ in range(2)]
        author, addressee = here.relay._members
        await say(b, said("B"))
        assert await a.content() == said("B")
        addressee._writable = False  # the kernel takes nothing more
        lines = [said("A", "B", n="x" * 700), said("A", "B", n="y" * 700), said("A"), said("A", "B")]
        here.relay.forward(author, lines)
        assert [*here.relay._members] == [author]
        assert addressee._outbox.queued_bytes == len(frames.NOT_READING + frames.SERVER_DISCONNECTED)


async def test_without_the_setting_everybody_hears_every_line() -> None:
    async with room() as here:
        a, b, c = [await here.join() for _ in range(3)]
        for peer, line in ((b, said("B")), (c, said("C"))):
            await say(peer, line)
            assert await a.content() == line
        await say(a, said("A", "B"))
        assert await b.contents(2) == [said("C"), said("A", "B")]
        assert await c.contents(2) == [said("B"), said("A", "B")]

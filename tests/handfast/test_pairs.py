"""What is remembered of pairs, and how much of it."""

from dataclasses import replace
from typing import Any

import pytest

from handfast import pairs
from handfast.conversation.live import Live
from handfast.conversation.model import PeerState, Role
from handfast.pairs import Pairs
from handfast.wire.messages import Message
from handfast.wire.v1 import Register
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import N1, Offered

RESP = Role.RESPONDER
UNDER_WAY: Any = "a handshake"


def stored(peer: str) -> PeerState:
    return PeerState.of_stranger("me", RESP, peer)


def live(peer: str, *, is_spent: bool = False) -> PeerState:
    return replace(stored(peer), live=Live() if is_spent else Live(resuming=UNDER_WAY))


def test_who_was_asked_for_last_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CACHED_PAIRS", 3)
    memory = Pairs()
    for peer in ("a", "b", "c"):
        memory.put(stored(peer))
    assert memory.get((RESP, "a")) == stored("a")
    memory.put(stored("b"))
    memory.put(stored("d"))
    assert [memory.get((RESP, peer)) is not None for peer in ("a", "b", "c", "d")] == [
        True,
        True,
        False,
        True,
    ]
    assert memory.get((Role.INITIATOR, "a")) is None


def test_what_is_in_memory_only_is_not_pushed_out_and_is_newer_than_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "CACHED_PAIRS", 1)
    memory = Pairs()
    memory.put(stored("a"))
    memory.put(live("a"))
    memory.put(live("b"))
    memory.put(stored("c"))
    assert memory.get((RESP, "a")) == live("a")
    assert memory.get((RESP, "b")) == live("b")
    memory.put(stored("a"))
    assert memory.get((RESP, "a")) == stored("a")
    assert memory.live.keys() == {(RESP, "b")}


@pytest.mark.parametrize(
    ("known", "message", "has_room"),
    [
        (stored("x"), N1(Header("x", "me", "confirm"), b"", b"", b""), False),
        (live("a"), N1(Header("a", "me", "confirm"), b"", b"", b""), True),
        (stored("x"), Offered(Header("x", None, "register"), b""), True),
        (stored("x"), Register("x"), True),
    ],
    ids=["one more", "one that is there", "an offer", "version 1"],
)
def test_when_memory_is_full_the_pairs_that_are_there_are_served_and_what_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, known: PeerState, message: Message, has_room: bool
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_LIVE", 2)
    memory = Pairs()
    memory.put(live("a"))
    assert memory.has_room_for(known, message, None)
    memory.put(live("b"))
    assert memory.has_room_for(known, message, None) is has_room
    assert len(memory.live) == 2


def test_pairs_on_which_nothing_depends_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "PAIRS_LIVE", 2)
    memory = Pairs()
    memory.put(live("a"))
    memory.put(live("b", is_spent=True))
    assert memory.has_room_for(stored("x"), N1(Header("x", "me", "confirm"), b"", b"", b""), None)
    assert memory.live.keys() == {(RESP, "a")}
    assert memory.get((RESP, "b")) == stored("b"), "it is in the database as well"

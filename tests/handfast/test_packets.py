"""What a turn takes out of a packet and puts into one, frame by frame, over real sessions; and what peers tell each other beside."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from v2_world import RESP, Line, World2, altered, held_up, sealed

from handfast.audit import SignedHead, sign_head
from handfast.conversation import gossip
from handfast.conversation.effects import Learned, Witnessed
from handfast.conversation.live import Live
from handfast.conversation.model import Facts, PeerState
from handfast.conversation.packets import (
    Received,
    close_frame,
    closed,
    data_frame,
    message_of,
    receive,
    require_genuine,
    send_packet,
)
from handfast.conversation.turn import Turn
from handfast.errors import PeerError, Reason
from handfast.session.v2.session import Session
from handfast.wire import limits
from handfast.wire.messages import parse_message
from handfast.wire.v2 import frames
from handfast.wire.v2.frames import Frame
from handfast.wire.v2.messages import Packet

DATA = Frame(frames.DATA, b'{"message":"said"}')
LIST = b"a revocation list"
TOKEN = "u" + "A" * 22


class Book:
    """What gossip asks of a trust book."""

    def __init__(self, head: SignedHead | None = None, newest: tuple[int, bytes] | None = None) -> None:
        self._head = head
        self._newest = newest

    def signed_head(self) -> SignedHead | None:
        return self._head

    def newest_crl(self) -> tuple[int, bytes] | None:
        return self._newest


class Desk:
    """Bob in the middle of a conversation that Alice has begun; she has said nothing yet that he has not answered.

    Attributes:
        hers, his: both ends of the session.
        state: his.
    """

    def __init__(self, world: World2, hers: Session, his: Session, state: PeerState) -> None:
        self.world = world
        self.hers = hers
        self.his = his
        self.state = state

    def packet(self, *content: Frame) -> Packet:
        """What Alice says."""
        packet = parse_message(
            sealed(self.world, self.hers, "request", None, *content, your_nonce=TOKEN), self.world.bob.id
        )
        assert isinstance(packet, Packet)
        return packet

    def turn(self, *content: Frame, book: Any = None, state: PeerState | None = None) -> Turn:
        """Bob's turn when she has said it."""
        driver, now = self.world.bob.driver, self.world.clock.now()
        facts = Facts(book=book)
        return Turn(state or self.state, self.packet(*content), facts, now, driver._entropy, driver._party)

    def receives(self, *content: Frame, closes: bool = False) -> Received:
        return receive(self.turn(*content), self.his.copy(), closes=closes)


@pytest.fixture
async def desk() -> Desk:
    world = World2()
    _, hers, his = await held_up(world, 1)
    return Desk(world, hers, his, await world.bob.driver.state(RESP, world.alice.id))


def reason_of(refused: Callable[[], object]) -> Reason:
    with pytest.raises(PeerError) as caught:
        refused()
    return caught.value.reason


# ---- receiving ------------------------------------------------------------------------------------------------------


def test_every_frame_of_a_packet_is_read_and_reserved_ones_are_passed_over(desk: Desk) -> None:
    received = desk.receives(
        DATA,
        Frame(frames.REKEY_INIT, b"question"),
        Frame(0x04, b"reserved"),
        Frame(frames.REKEY_RESP, b"answer"),
        Frame(frames.RECEIPT, b"receipt"),
        Frame(frames.DATA, b'{"message":"and said","n":1}'),
        Frame(frames.CLOSED),
    )
    assert received == Received(
        data=({"message": "said"}, {"message": "and said", "n": 1}),
        rekey_init=b"question",
        rekey_resp=b"answer",
        receipt=b"receipt",
        closed=True,
    )
    assert [message_of(data) for data in received.data] == ["said", "and said"]


def test_a_packet_without_frames_holds_nothing(desk: Desk) -> None:
    assert desk.receives() == Received()


def test_of_two_frames_that_say_the_same_thing_differently_the_last_counts(desk: Desk) -> None:
    assert desk.receives(Frame(frames.RECEIPT, b"one"), Frame(frames.RECEIPT, b"two")).receipt == b"two"


def test_what_was_delivered_stands_in_the_transcript_in_its_order(desk: Desk) -> None:
    turn = desk.turn(DATA, Frame(frames.DATA, b'{"message":2}'))
    before = turn.live_after.transcript
    assert before is not None
    receive(turn, desk.his.copy())
    counter = desk.hers.next_counter - 1
    expected = before.add(counter, DATA.body, by_initiator=True)
    assert turn.live_after.transcript == expected.add(counter, b'{"message":2}', by_initiator=True)
    assert turn.after.last_secure_at == desk.world.clock.now()


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'"message"', b'{"messages":1}', b'{"message":1}x'])
def test_data_that_holds_no_message_is_refused(desk: Desk, body: bytes) -> None:
    assert reason_of(lambda: desk.receives(Frame(frames.DATA, body))) is Reason.FORMAT


def test_a_packet_that_must_close_is_refused_without_a_close_and_with_data_beside_it(desk: Desk) -> None:
    close = close_frame(desk.turn())
    assert desk.receives(close, closes=True) == Received()
    assert reason_of(lambda: desk.receives(closes=True)) is Reason.FORMAT
    assert reason_of(lambda: desk.receives(DATA, close, closes=True)) is Reason.FORMAT


def test_a_close_that_remembers_another_conversation_is_refused_wherever_it_stands(desk: Desk) -> None:
    close = close_frame(desk.turn())
    other = Frame(frames.CLOSE, close.body[:-1] + bytes([close.body[-1] ^ 1]))
    assert reason_of(lambda: desk.receives(other, closes=True)) is Reason.TRANSCRIPT
    assert reason_of(lambda: desk.receives(other)) is Reason.TRANSCRIPT
    # what is said beside it is part of the conversation that it must remember
    assert reason_of(lambda: desk.receives(DATA, close)) is Reason.TRANSCRIPT
    assert (
        reason_of(lambda: desk.receives(Frame(frames.CLOSE, b"short"), close, closes=True)) is Reason.FORMAT
    )


def test_without_a_conversation_nothing_is_received_or_sent(desk: Desk) -> None:
    nothing = replace(desk.state, live=replace(desk.state.live or Live(), transcript=None))
    turn = desk.turn(DATA, state=nothing)
    assert reason_of(lambda: receive(turn, desk.his.copy())) is Reason.NO_SESSION
    assert reason_of(lambda: send_packet(turn, desk.his.copy(), "respond", [DATA])) is Reason.NO_SESSION


def test_a_packet_of_another_session_is_refused(desk: Desk) -> None:
    assert reason_of(lambda: receive(desk.turn(DATA), desk.hers.copy())) is Reason.NO_SESSION


# ---- genuine or not -------------------------------------------------------------------------------------------------


def test_a_genuine_packet_is_told_from_every_alteration_and_is_good_afterwards(desk: Desk) -> None:
    now = desk.world.clock.now()
    line: Line = sealed(desk.world, desk.hers, "request", "said", your_nonce=TOKEN)
    told = 0
    for other in altered(line):
        packet = parse_message(other, desk.world.bob.id)
        if isinstance(packet, Packet) and desk.his.has(packet.packet):
            with pytest.raises(PeerError):
                require_genuine(desk.state, packet, now)
            told += 1
    assert told > 50
    genuine = parse_message(line, desk.world.bob.id)
    assert isinstance(genuine, Packet)
    for _ in range(2):  # looking at it uses nothing up
        require_genuine(desk.state, genuine, now)


def test_a_repeated_packet_is_not_genuine(desk: Desk) -> None:
    packet, his = desk.packet(DATA), desk.his.copy()
    his.open(packet.header.encoded(), packet.packet, desk.world.clock.now())
    live = desk.state.live
    assert live is not None
    state = replace(desk.state, live=replace(live, session=his))
    assert reason_of(lambda: require_genuine(state, packet, desk.world.clock.now())) is Reason.REPLAY


async def test_a_packet_is_looked_at_under_the_keys_that_it_names_and_no_others(desk: Desk) -> None:
    another = World2(alice={"seed": 1}, bob={"seed": 1})
    line = await another.begin_and_stop_before(lambda line: line["intent"] == "request" and "sec" in line)
    waiting = (await another.bob.driver.state(RESP, another.alice.id)).live
    first = parse_message(line, another.bob.id)
    assert waiting is not None
    assert isinstance(first, Packet)
    now = desk.world.clock.now()
    state = replace(desk.state, live=replace(desk.state.live or Live(), halves=waiting.halves))
    require_genuine(state, desk.packet(DATA), now)
    require_genuine(state, first, now)
    # one of no session at all is nobody's business: no row fires for it
    require_genuine(replace(state, live=None), first, now)


async def test_the_first_packet_of_a_session_is_looked_at_under_the_keys_of_its_handshake() -> None:
    world = World2()
    line = await world.begin_and_stop_before(lambda line: line["intent"] == "request" and "sec" in line)
    state = await world.bob.driver.state(RESP, world.alice.id)
    assert state.live is not None
    assert state.live.session is None
    first = parse_message(line, world.bob.id)
    assert isinstance(first, Packet)
    require_genuine(state, first, world.clock.now())
    forged = replace(first, packet=first.packet[:-1] + bytes([first.packet[-1] ^ 1]))
    assert reason_of(lambda: require_genuine(state, forged, world.clock.now())) is Reason.AEAD


# ---- sending --------------------------------------------------------------------------------------------------------


def test_what_was_said_stands_in_the_transcript_of_both(desk: Desk) -> None:
    turn = desk.turn()
    before = turn.live_after.transcript
    assert before is not None
    his = desk.his.copy()
    counter = his.next_counter
    payload = send_packet(turn, his, "respond", [DATA], my_nonce=TOKEN, your_nonce=TOKEN)
    assert turn.live_after.transcript == before.add(counter, DATA.body, by_initiator=False)
    said = parse_message(payload | {"from": desk.world.bob.id}, desk.world.alice.id)
    assert isinstance(said, Packet)
    plaintext = desk.hers.copy().open(said.header.encoded(), said.packet, desk.world.clock.now())
    assert frames.parse_frames(plaintext) == (DATA,)


def test_a_conversation_that_ended_is_noted_with_its_count_and_a_digest_that_both_can_make(
    desk: Desk,
) -> None:
    turn = desk.turn()
    noted = closed(turn, desk.his)
    assert turn.live_after.transcript is not None
    assert noted.messages == turn.live_after.transcript.count > 0
    assert noted.transcript == desk.hers.audit_digest(turn.live_after.transcript.digest).hex()


def test_what_the_dialogue_cannot_say_is_its_own_failure(desk: Desk) -> None:
    turn = desk.turn()

    def fails() -> Any:
        raise ValueError

    most = "x" * (limits.DATA_BYTES - len('{"message":""}'))
    assert len(data_frame(turn, lambda: most).body) == limits.DATA_BYTES
    for question in (fails, lambda: most + "x", lambda: {"message": object()}):
        assert reason_of(lambda question=question: data_frame(turn, question)) is Reason.DIALOGUE_FAILED  # type: ignore[misc]
    too_much = [Frame(frames.DATA, bytes(limits.PLAINTEXT_BYTES))]
    assert reason_of(lambda: send_packet(turn, desk.his, "respond", too_much)) is Reason.DIALOGUE_FAILED


def test_nothing_is_sent_under_keys_that_are_used_up(desk: Desk) -> None:
    his = desk.his.copy()
    his._sent = limits.GENERATION_MESSAGES
    assert reason_of(lambda: send_packet(desk.turn(), his, "respond", [])) is Reason.EXPIRED


# ---- gossip ---------------------------------------------------------------------------------------------------------


def test_the_end_of_our_log_is_kept_by_the_peer_as_we_signed_it(desk: Desk) -> None:
    head = sign_head(7, "ab" * 32, desk.world.alice.identity.identity_key)
    (frame,) = gossip.witness(desk.turn(book=Book(head)))
    turn = desk.turn(frame)
    receive(turn, desk.his.copy())
    assert turn.effects == [Witnessed(head)]


def test_where_nothing_is_signed_yet_nothing_is_witnessed(desk: Desk) -> None:
    assert gossip.witness(desk.turn(book=Book())) == []


def test_an_end_that_the_peer_has_not_signed_is_refused(desk: Desk) -> None:
    mallory = sign_head(7, "ab" * 32, desk.world.bob.identity.identity_key)
    (not_hers,) = gossip.witness(desk.turn(book=Book(mallory)))
    hers = sign_head(7, "ab" * 32, desk.world.alice.identity.identity_key)
    (frame,) = gossip.witness(desk.turn(book=Book(hers)))
    later = Frame(frames.WITNESS, (8).to_bytes(8, "big") + frame.body[8:])
    for wrong in (
        not_hers,
        later,
        Frame(frames.WITNESS, frame.body[:-1]),
        Frame(frames.WITNESS, frame.body + b"x"),
    ):
        turn = desk.turn(wrong)
        assert reason_of(lambda turn=turn: receive(turn, desk.his.copy())) is Reason.FORMAT  # type: ignore[misc]
        assert turn.effects == []


def test_a_revocation_list_is_passed_on_to_who_has_an_older_one(desk: Desk) -> None:
    session = desk.his.copy()
    known = session.peer.crl_sequence or 0
    for newest, expected in (
        (None, []),
        ((known, LIST), []),
        ((known + 1, LIST), [Frame(frames.CRL, LIST)]),
        ((known + 1, bytes(gossip._LIST_BYTES)), [Frame(frames.CRL, bytes(gossip._LIST_BYTES))]),
        ((known + 1, bytes(gossip._LIST_BYTES + 1)), []),
    ):
        assert gossip.news(desk.turn(book=Book(newest=newest)), session, [DATA]) == expected


def test_a_peer_is_told_of_a_list_that_is_newer_than_the_one_it_named(desk: Desk) -> None:
    session = desk.his.copy()
    session._founding = replace(session._founding, peer=replace(session.peer, crl_sequence=5))
    told = [
        gossip.news(desk.turn(book=Book(newest=(number, LIST))), session, []) != [] for number in (4, 5, 6)
    ]
    assert told == [False, False, True]


def test_a_revocation_list_waits_where_much_is_said_beside_it(desk: Desk) -> None:
    turn = desk.turn(book=Book(newest=(1_000, LIST)))
    half = [Frame(frames.DATA, bytes(limits.DATA_BYTES // 4))] * 2
    assert gossip.news(turn, desk.his, half) == [Frame(frames.CRL, LIST)]
    assert gossip.news(turn, desk.his, [*half, DATA]) == []


def test_a_revocation_list_is_learned_as_it_is(desk: Desk) -> None:
    turn = desk.turn(Frame(frames.CRL, LIST))
    receive(turn, desk.his.copy())
    assert turn.effects == [Learned(LIST)]

"""Who is served, and who is turned away for a moment: the gatekeeper by itself, at moments that the tests choose."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast import gatekeeper, proofs
from handfast.congestion import AT_ONCE, KNOWN_BESIDE_STRANGERS
from handfast.conversation import step
from handfast.conversation.effects import Effect, GaveUp, PinKey
from handfast.conversation.model import Event, Outgoing, PeerState, Role, State, Step, TimerFired, Verdict
from handfast.conversation.turn import Transition
from handfast.conversation.v2.responder import greet
from handfast.gatekeeper import Gatekeeper, would_begin
from handfast.proofs import FailedProofs, Standing
from handfast.wire.messages import Message
from handfast.wire.v1 import Conclude, Confirm, Reconnect, Register, Request
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, N1, N2, N3, Offered, Packet

ME, PEER = "me", "peer"
INIT, RESP = Role.INITIATOR, Role.RESPONDER


def pair(peer: str, state: State, *, is_known: bool, **more: Any) -> PeerState:
    role = INIT if state.startswith("init") else RESP
    key = "its key" if is_known else None
    return PeerState(ME, role, peer, state, peer_sign_pub=key, **more)


def row_of(
    version: int, state: State, on: str, which: Callable[[Transition], bool] = lambda row: True
) -> Transition:
    """The first such row of a shipped table."""
    role = INIT if state.startswith("init") else RESP
    return next(row for row in step._ROWS[version][role, state, on] if which(row))


def offer(peer: str, content: bytes = b"offer") -> Offered:
    return Offered(Header(peer, None, "register"), content)


def n1(peer: str) -> N1:
    return N1(Header(peer, ME, "confirm"), b"offer", b"selection", b"message")


def k1(peer: str, content: bytes = b"offer") -> K1:
    return K1(Header(peer, ME, "reconnect"), content, bytes(16), 1, b"message")


def packet(peer: str, intent: str = "respond", text: bytes = bytes(34)) -> Packet:
    return Packet(Header(peer, ME, intent), text)


def is_greeting(row: Transition) -> bool:
    return row.act is greet


def is_no_greeting(row: Transition) -> bool:
    return row.act is not greet


# What a peer may say, known or not: its pair's state, the message, the row that fires.
SAYINGS: dict[str, tuple[State, Callable[[str], Message], Transition]] = {
    "register": (State.RESP_READY, Register, row_of(1, State.RESP_READY, "register")),
    "reconnect": (
        State.RESP_READY,
        lambda peer: Reconnect(peer, "reference"),
        row_of(1, State.RESP_READY, "reconnect"),
    ),
    "confirm": (
        State.INIT_READY,
        lambda peer: Confirm(peer, "nonce", {}),
        row_of(1, State.INIT_READY, "confirm"),
    ),
    "request": (
        State.RESP_EXCHANGE,
        lambda peer: Request(peer, "yours", "mine", {}, {}),
        row_of(1, State.RESP_EXCHANGE, "request"),
    ),
    "offer": (State.RESP_READY, offer, row_of(2, State.RESP_READY, "register", is_greeting)),
    "n1": (State.INIT_READY, n1, row_of(2, State.INIT_READY, "n1")),
    "further n1": (State.INIT_HS, n1, row_of(2, State.INIT_HS, "n1")),
    "n2": (
        State.RESP_READY,
        lambda peer: N2(Header(peer, ME, "request"), b"offer", b"selection", b"message"),
        row_of(2, State.RESP_READY, "n2"),
    ),
    "n3": (
        State.INIT_HS,
        lambda peer: N3(Header(peer, ME, "respond"), b"message"),
        row_of(2, State.INIT_HS, "n3"),
    ),
    "a good k1": (State.RESP_READY, k1, row_of(2, State.RESP_READY, "k1", is_no_greeting)),
    "a bad k1": (State.RESP_READY, k1, row_of(2, State.RESP_READY, "k1", is_greeting)),
    "packet": (
        State.INIT_EXCHANGE,
        packet,
        row_of(2, State.INIT_EXCHANGE, "respond", lambda row: not row.volatile),
    ),
}


def says(gate: Gatekeeper, saying: str, peer: str, now: float, *, is_known: bool, **state: Any) -> bool:
    """Whether it is served."""
    stands, message, row = SAYINGS[saying]
    known = pair(peer, stands, is_known=is_known, **state)
    return gate.serves(known, message(peer), row, now, is_stranger=not is_known)


def has_begun(
    gate: Gatekeeper,
    peer: str,
    now: float,
    *,
    is_known: bool,
    effects: tuple[Effect, ...] = (),
    role: State = State.RESP_READY,
) -> None:
    """A conversation begins, out of a state in which none was under way."""
    before = pair(peer, role, is_known=is_known)
    after = replace(before, state=State.RESP_EXCHANGE if role is State.RESP_READY else State.INIT_EXCHANGE)
    gate.note_step(before, Register(peer), Step(after, effects, Verdict.ACCEPTED), now)


# ---- strangers ------------------------------------------------------------------------------------------------------


def test_handshakes_begin_with_so_many_strangers_at_once_and_then_with_so_many_a_second() -> None:
    gate = Gatekeeper(0.0)
    burst, per_second = gatekeeper.HANDSHAKES_WITH_STRANGERS

    def begun(now: float) -> int:
        return sum(says(gate, "confirm", f"{now} {number}", now, is_known=False) for number in range(1_000))

    assert begun(0.0) == burst
    assert begun(2.0) == 2 * per_second
    assert says(gate, "confirm", PEER, 2.0, is_known=True)


def test_after_so_many_newcomers_those_who_were_never_heard_of_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "NEWCOMERS", (3, 0.1))
    gate = Gatekeeper(0.0)
    for number in range(10):  # what leaves no pin is nothing new
        has_begun(gate, f"{number}", 0.0, is_known=True)
        gate.note_step(*ending(f"{number}", is_known=True), now=0.0)
    for number in range(3):
        assert says(gate, "confirm", f"{number}", 0.0, is_known=False)
        has_begun(gate, f"{number}", 0.0, is_known=False, effects=(PinKey(bytes(32)),))
        gate.note_step(*ending(f"{number}"), now=0.0)
    assert not says(gate, "confirm", "3", 9.0, is_known=False)
    assert says(gate, "confirm", PEER, 9.0, is_known=True)
    assert says(gate, "confirm", "3", 10.0, is_known=False)


def ending(peer: str, *, is_known: bool = False) -> tuple[PeerState, Message, Step]:
    before = pair(peer, State.RESP_FINALIZE, is_known=is_known)
    return before, packet(peer, "close"), Step(replace(before, state=State.RESP_READY), (), Verdict.ACCEPTED)


def test_a_conversation_of_a_stranger_goes_on_whatever_begins_no_more() -> None:
    gate = Gatekeeper(0.0)
    for number in range(1_000):
        says(gate, "confirm", f"{number}", 0.0, is_known=False)
    assert not says(gate, "register", PEER, 0.0, is_known=False)
    assert says(gate, "request", PEER, 0.0, is_known=False)
    assert says(gate, "offer", PEER, 0.0, is_known=False), (
        "greeting keeps nothing, and has a budget of its own"
    )


# ---- greeting -------------------------------------------------------------------------------------------------------


def test_the_same_offer_is_greeted_once_in_a_while_and_another_one_at_once() -> None:
    gate = Gatekeeper(0.0)
    row = SAYINGS["offer"][2]
    known = pair(PEER, State.RESP_READY, is_known=False)

    def is_greeted(content: bytes, now: float) -> bool:
        return gate.serves(known, offer(PEER, content), row, now, is_stranger=True)

    assert is_greeted(b"one", 0.0)
    assert not is_greeted(b"one", 2.9)
    assert is_greeted(b"another", 2.9)
    assert is_greeted(b"one", 3.0)


def test_a_ticket_that_is_good_for_nothing_is_greeted_though_its_offer_was() -> None:
    gate = Gatekeeper(0.0)
    assert says(gate, "offer", PEER, 0.0, is_known=True)
    assert says(gate, "a bad k1", PEER, 0.0, is_known=True)


def test_an_offer_that_the_initiator_answers_with_a_ticket_counts_as_no_greeting() -> None:
    gate = Gatekeeper(0.0)
    resumes = row_of(2, State.INIT_READY, "register")
    known = pair(PEER, State.INIT_READY, is_known=True)
    for _ in range(1_000):
        assert gate.serves(known, offer(PEER), resumes, 0.0, is_stranger=False)


@pytest.mark.parametrize(
    ("saying", "budget"),
    [
        ("offer", gatekeeper.GREETINGS),
        ("a bad k1", gatekeeper.GREETINGS),
        ("further n1", gatekeeper.FURTHER_ANSWERS),
    ],
)
def test_known_peers_are_answered_as_often_as_strangers_whatever_those_say(
    saying: str, budget: tuple[float, float]
) -> None:
    gate = Gatekeeper(0.0)

    def answered(is_known: bool, now: float) -> int:
        names = (f"{is_known} {now} {number}" for number in range(200))
        return sum(serves(name, is_known, now) for name in names)

    def serves(peer: str, is_known: bool, now: float) -> bool:
        _, message, row = SAYINGS[saying]
        known = pair(peer, State.INIT_HS if saying == "further n1" else State.RESP_HALF, is_known=is_known)
        return gate.serves(known, message(peer), row, now, is_stranger=not is_known)

    burst, per_second = budget
    assert answered(False, 0.0) == burst
    assert answered(True, 0.0) == burst
    assert answered(False, 1.0) == per_second
    assert answered(True, 1.0) == per_second


def test_greeted_offers_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "_GREETINGS_REMEMBERED", 5)
    gate = Gatekeeper(0.0)
    for number in range(30):
        says(gate, "offer", f"{number}", 0.0, is_known=True)
    assert len(gate._greeted) == 5
    # those of them that were greeted last
    assert says(gate, "offer", "25", 3.0, is_known=True)
    assert says(gate, "offer", "30", 3.0, is_known=True)
    assert not says(gate, "offer", "25", 3.1, is_known=True)


def test_only_an_n1_beside_another_one_counts_as_a_further_one() -> None:
    gate = Gatekeeper(0.0)
    for number in range(1_000):
        assert says(gate, "n1", f"{number}", 0.0, is_known=True)
        assert says(gate, "n3", f"{number}", 0.0, is_known=True)
    assert says(gate, "further n1", PEER, 0.0, is_known=True)


# ---- conversations --------------------------------------------------------------------------------------------------


def test_a_conversation_of_version_1_has_so_many_turns() -> None:
    gate = Gatekeeper(0.0)
    most = gatekeeper.TURNS_OF_A_CONVERSATION
    assert says(gate, "request", PEER, 0.0, is_known=True, exchange_count=most - 1)
    assert not says(gate, "request", PEER, 0.0, is_known=True, exchange_count=most)
    known = pair(PEER, State.RESP_EXCHANGE, is_known=True, exchange_count=most)
    ends = row_of(1, State.RESP_EXCHANGE, "conclude")
    assert gate.serves(known, Conclude(PEER, "yours", "reference"), ends, 0.0, is_stranger=False)


@pytest.mark.parametrize("saying", ["confirm", "n2"])
def test_what_answers_us_needs_no_room(saying: str) -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=True, role=SAYINGS[saying][0])
    stands = SAYINGS[saying][0]
    assert not gate.has_room(pair(PEER, stands, is_known=True), 0.0, is_stranger=False)
    assert says(gate, saying, PEER, 0.0, is_known=True)


def test_asking_for_a_conversation_takes_a_place_and_being_ready_takes_none() -> None:
    gate = Gatekeeper(0.0)
    ready = pair(PEER, State.INIT_READY, is_known=True)
    for number in range(10):
        same = replace(ready, peer_id=f"{number}")
        gate.note_step(same, Register(same.peer_id), Step(same, (), Verdict.ACCEPTED), 0.0)
    assert gate.has_room(ready, 0.0, is_stranger=False)
    for number in range(AT_ONCE):
        asked = replace(ready, peer_id=f"{number}", reconnect_tries=1)
        before = replace(ready, peer_id=f"{number}")
        gate.note_step(before, Register(before.peer_id), Step(asked, (), Verdict.ACCEPTED), 0.0)
    assert not gate.has_room(ready, 0.0, is_stranger=False)


def test_a_conversation_ends_for_the_initiator_with_its_close_which_nothing_need_answer() -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=True, role=State.INIT_READY)
    before = pair("0", State.INIT_FINALIZE_PROPOSE, is_known=True)
    closing = replace(before, state=State.INIT_FINALIZE_CLOSE)
    gate.note_step(before, packet("0", "finish"), Step(closing, (), Verdict.ACCEPTED), 0.0)
    assert gate.has_room(pair(PEER, State.INIT_READY, is_known=True), 0.0, is_stranger=False)


def test_a_known_peer_has_a_place_though_strangers_fill_theirs_and_no_second_one() -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=False)
    assert not says(gate, "register", "one more", 0.1, is_known=False)
    for number in range(KNOWN_BESIDE_STRANGERS):
        assert says(gate, "register", f"known {number}", 0.1, is_known=True)
        has_begun(gate, f"known {number}", 0.1, is_known=True)
    assert not says(gate, "register", PEER, 0.1, is_known=True)
    gate.note_step(*ending("known 0", is_known=True), now=0.1)
    assert says(gate, "register", PEER, 0.1, is_known=True)


def test_who_has_proven_a_key_in_the_other_role_takes_the_place_of_the_known() -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=False)
    newcomer_here = pair(PEER, State.RESP_READY, is_known=False)
    assert not gate.has_room(newcomer_here, 0.1, is_stranger=True)
    assert gate.has_room(newcomer_here, 0.1, is_stranger=False)


def test_the_last_word_of_a_conversation_is_said_again_though_there_is_room_for_none() -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=True)
    repeats = row_of(2, State.RESP_READY, "close")
    known = pair(PEER, State.RESP_READY, is_known=True)
    assert not gate.has_room(known, 0.1, is_stranger=False)
    assert would_begin(known, offer(PEER))
    assert not would_begin(known, packet(PEER, "close"))
    assert not would_begin(pair(PEER, State.RESP_EXCHANGE, is_known=True), offer(PEER))
    assert gate.serves(known, packet(PEER, "close"), repeats, 0.1, is_stranger=False)


@pytest.mark.parametrize(
    ("event", "moves", "keeps_its_place"),
    [
        (packet("0", "request"), True, True),
        (packet("0", "request"), False, False),
        (TimerFired(), True, False),
    ],
    ids=["an answer", "a repetition", "our own timer"],
)
def test_a_conversation_keeps_its_place_by_what_the_peer_says_and_not_by_what_is_repeated(
    event: Event, moves: bool, keeps_its_place: bool
) -> None:
    gate = Gatekeeper(0.0)
    for number in range(AT_ONCE):
        has_begun(gate, f"{number}", 0.0, is_known=False)
    before = pair("0", State.RESP_EXCHANGE, is_known=False)
    after = replace(before, outgoing=Outgoing({"intent": "respond"}, 1, 2.0, 0.5)) if moves else before
    gate.note_step(before, event, Step(after, (), Verdict.ACCEPTED), 0.5)
    # nobody else has moved for as long as four answers take
    for number in range(1, AT_ONCE):
        assert says(gate, "register", f"new {number}", 1.2, is_known=False)
        has_begun(gate, f"new {number}", 1.2, is_known=False)
    assert says(gate, "register", "one more", 1.2, is_known=False) is not keeps_its_place


def test_only_answers_that_somebody_had_reason_to_give_are_missed() -> None:
    gate = Gatekeeper(0.0)

    def gives_up(state: State) -> None:
        before = pair(PEER, state, is_known=True)
        gone = replace(before, state=State.RESP_READY if before.role is RESP else State.INIT_READY)
        gate.note_step(before, TimerFired(), Step(gone, (GaveUp("no answer"),), Verdict.ACCEPTED), 0.0)

    gives_up(State.RESP_CONFIRM)
    assert gate.slowness == 1.0, "anybody can make us say a `confirm`"
    gives_up(State.INIT_EXCHANGE)
    assert gate.slowness > 1.0


# ---- proofs ---------------------------------------------------------------------------------------------------------


def test_packets_of_a_session_are_served_when_all_that_forgers_may_cost_is_spent() -> None:
    gate = Gatekeeper(0.0)
    for number in range(1_000):
        for peer in (PEER, f"{number}"):
            gate.note_refusal(INIT, n1(peer), 0.0, is_stranger=False)
            gate.note_refusal(INIT, n1(peer), 0.0, is_stranger=True)
    assert not says(gate, "n3", PEER, 0.0, is_known=True)
    assert not says(gate, "n3", "newcomer", 0.0, is_known=False)
    assert says(gate, "register", PEER, 0.0, is_known=True), "it proves nothing"
    assert says(gate, "packet", PEER, 0.0, is_known=True)
    assert not says(gate, "packet", "newcomer", 0.0, is_known=False), "whose handshake cost it nothing"


def test_who_misuses_its_own_session_is_passed_over_alone_and_for_a_while() -> None:
    gate = Gatekeeper(0.0)
    burst, per_second = proofs.FAILED_IN_SESSION
    served = 0
    while says(gate, "packet", PEER, 0.0, is_known=True):
        gate.note_refusal(INIT, packet(PEER, text=b"%034d" % served), 0.0, is_stranger=False)
        served += 1
    assert served == burst
    assert says(gate, "packet", "another", 0.0, is_known=True)
    assert says(gate, "n3", PEER, 0.0, is_known=True), "what forgers can cause is counted elsewhere"
    repeats = row_of(2, State.INIT_EXCHANGE, "respond", lambda row: row.volatile)
    known = pair(PEER, State.INIT_EXCHANGE, is_known=True)
    assert gate.serves(known, packet(PEER), repeats, 0.0, is_stranger=False), "it computes nothing"
    assert says(gate, "packet", PEER, 1 / per_second, is_known=True)


def test_who_repeats_what_was_refused_costs_the_one_who_said_it_nothing() -> None:
    gate, moment = Gatekeeper(0.0), gatekeeper.REFUSED_AGAIN_AFTER_SECONDS
    for number in range(100):
        at = number * moment
        assert says(gate, "packet", PEER, at, is_known=True), "what it was refused for may have passed"
        gate.note_refusal(INIT, packet(PEER), at, is_stranger=False)
        assert not says(gate, "packet", PEER, at + 0.9 * moment, is_known=True)
    known, row = pair(PEER, State.INIT_EXCHANGE, is_known=True), SAYINGS["packet"][2]
    assert gate.serves(known, packet(PEER, text=b"x" * 34), row, at, is_stranger=False)


def test_what_was_refused_last_is_remembered_of_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "SHARES", 10)
    gate = Gatekeeper(0.0)
    for number in range(100):
        gate.note_refusal(INIT, packet(f"{number}"), 0.0, is_stranger=False)
    assert len(gate._refused._of) == 10


def test_who_fails_as_a_stranger_is_no_burden_to_those_who_are_known() -> None:
    failed = FailedProofs(0.0)
    for number in range(1_000):
        failed.count(number, Standing.STRANGER, 0.0)
    assert failed.are_too_many(PEER, Standing.STRANGER, 0.0)
    assert not failed.are_too_many(PEER, Standing.KNOWN, 0.0)
    assert not failed.are_too_many(PEER, Standing.STRANGER, 1 / proofs.FAILED_BY_STRANGERS[1])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400), st.floats(0, 0.5)), max_size=20))
def test_a_known_peer_with_a_share_left_is_looked_at_whatever_fails_under_other_ids(
    failures: list[tuple[int, int, float]],
) -> None:
    failed, now, mine = FailedProofs(0.0), 0.0, 0
    for peer, count, wait in failures:
        now += wait
        for _ in range(count):
            if peer == 0 and mine == proofs.FAILED_BY_EACH[0] - 1:
                break
            mine += peer == 0
            failed.count(peer, Standing.KNOWN, now)
    assert not failed.are_too_many(0, Standing.KNOWN, now)


def test_a_known_id_under_which_too_much_fails_is_passed_over_once_all_of_them_together_fail_too_much() -> (
    None
):
    failed = FailedProofs(0.0)
    all_of_them, each = proofs.FAILED_BY_KNOWN[0], proofs.FAILED_BY_EACH[0]
    for _ in range(int(all_of_them + each) - 1):
        failed.count(PEER, Standing.KNOWN, 0.0)
        assert not failed.are_too_many(PEER, Standing.KNOWN, 0.0)
    failed.count(PEER, Standing.KNOWN, 0.0)
    assert failed.are_too_many(PEER, Standing.KNOWN, 0.0)
    assert not failed.are_too_many("another", Standing.KNOWN, 0.0)
    assert not failed.are_too_many(PEER, Standing.KNOWN, 0.1), "all of them together may fail again"


@pytest.mark.parametrize("standing", [Standing.KNOWN, Standing.IN_SESSION])
def test_shares_of_invented_peers_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, standing: Standing) -> None:
    monkeypatch.setattr(proofs, "SHARES", 10)
    failed = FailedProofs(0.0)
    for number in range(int(proofs.FAILED_BY_KNOWN[0]) + 1_000):
        failed.count(number, standing, 0.0)
    shares = failed._shares if standing is Standing.KNOWN else failed._in_session
    assert len(shares._of) == 10
    assert shares._of.keys() == set(
        range(int(proofs.FAILED_BY_KNOWN[0]) + 990, int(proofs.FAILED_BY_KNOWN[0]) + 1_000)
    )


# ---- the law --------------------------------------------------------------------------------------------------------


def crowd(
    gate: Gatekeeper, events: list[tuple[str, int, int, str, float]], first: int = 0
) -> Iterator[float]:
    """Strangers say, begin, prove and fail whatever they like; the moments at which they have."""
    now = 0.0
    for saying, ids, count, becomes, wait in events:
        now += wait
        for number in range(count):
            peer = f"stranger {first + number % ids}"
            if not says(gate, saying, peer, now, is_known=False):
                continue
            stands, message, _ = SAYINGS[saying]
            if becomes == "fails":
                gate.note_refusal(INIT, message(peer), now, is_stranger=True)
            elif becomes == "begins":
                has_begun(gate, peer, now, is_known=False)
            elif becomes == "pins":
                has_begun(gate, peer, now, is_known=False, effects=(PinKey(bytes(32)),))
            elif becomes == "gives up":
                before = pair(peer, stands, is_known=False)
                gate.note_step(
                    before, TimerFired(), Step(before, (GaveUp("no answer"),), Verdict.ACCEPTED), now
                )
        yield now


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(SAYINGS)),
            st.integers(1, 200),
            st.integers(1, 300),
            st.sampled_from(["fails", "begins", "pins", "gives up", "nothing"]),
            st.floats(0, 5),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(sorted(SAYINGS)),
)
def test_a_known_peer_is_served_whatever_strangers_do(
    events: list[tuple[str, int, int, str, float]], saying: str
) -> None:
    gate = Gatekeeper(0.0)
    for number, now in enumerate(crowd(gate, events)):
        assert says(gate, saying, f"known {number}", now, is_known=True)

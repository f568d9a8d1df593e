"""What keeps a crowd from choking: whom an agent takes up a conversation with, and how often it registers."""

from itertools import pairwise

import pytest
from fake_world import End, FakeClock, Link, make_identity
from hypothesis import given
from hypothesis import strategies as st

from handfast.congestion import (
    AT_ONCE,
    FEW,
    KNOWN_BESIDE_STRANGERS,
    LONGEST_PATIENCE,
    LONGEST_PLACE,
    MOST_COUNTED,
    PRESENCE_SECONDS,
    Admission,
    RegisterPace,
)
from handfast.conversation.model import Role, Settings, State

STRANGER, KNOWN = True, False
LANE = Role.RESPONDER


def begun(count: int, is_stranger: bool) -> Admission:
    admission = Admission()
    for number in range(count):
        assert admission.admits(LANE, is_stranger, 0.0)
        admission.began(LANE, f"{is_stranger} {number}", is_stranger, 0.0)
    return admission


def slowed_down(count: int, is_stranger: bool) -> tuple[Admission, float]:
    """Conversations whose answers take two seconds each, and when the last came."""
    admission, now = begun(count, is_stranger), 0.0
    for _ in range(12):
        now += 2.0
        for number in range(count):
            admission.answered(LANE, f"{is_stranger} {number}", now)
    return admission, now


# ---- admission ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stranger", [STRANGER, KNOWN])
def test_so_many_conversations_are_begun_and_one_more_when_one_has_ended(is_stranger: bool) -> None:
    admission = begun(AT_ONCE, is_stranger)
    assert not admission.admits(LANE, is_stranger, 0.1)
    assert admission.admits(Role.INITIATOR, is_stranger, 0.1)
    admission.ended(LANE, f"{is_stranger} 1")
    assert admission.admits(LANE, is_stranger, 0.1)


def test_acquaintances_have_one_place_beside_strangers_and_strangers_all_theirs_beside_acquaintances() -> (
    None
):
    admission = begun(AT_ONCE, STRANGER)
    for number in range(KNOWN_BESIDE_STRANGERS):
        assert admission.admits(LANE, KNOWN, 0.0)
        admission.began(LANE, f"known {number}", KNOWN, 0.0)
    assert not admission.admits(LANE, KNOWN, 0.0)
    assert begun(AT_ONCE, KNOWN).admits(LANE, STRANGER, 0.0)


def test_strangers_that_never_answer_hold_their_places_for_a_moment_only() -> None:
    admission = Admission()
    admitted = 0
    for tick in range(1_000):  # ten seconds, a hundred invented ids in each; they come again and again
        now, peer = tick / 100, f"invented {tick % 50}"
        if admission.admits(LANE, STRANGER, now):
            admission.began(LANE, peer, STRANGER, now)
            admitted += 1
    assert admitted >= 2 * 10
    assert admission.admits(LANE, KNOWN, 10.0)


def test_in_a_slow_room_a_conversation_holds_its_place_for_longer_and_never_for_ever() -> None:
    admission, now = slowed_down(AT_ONCE, STRANGER)
    assert not admission.admits(LANE, STRANGER, now + 2.0)
    assert admission.admits(LANE, STRANGER, now + LONGEST_PATIENCE + 0.1)


def test_answers_that_never_come_let_less_begin() -> None:
    admission = Admission()
    for _ in range(20):
        admission.given_up()
    for number in range(AT_ONCE):
        admission.began(LANE, f"peer {number}", STRANGER, 0.0)
    assert not admission.admits(LANE, STRANGER, LONGEST_PATIENCE - 0.1)
    admission.answered(LANE, "peer 0", 0.02)
    assert admission.admits(LANE, STRANGER, 0.5), "one quick answer outweighs them"


def test_one_quick_answer_outweighs_many_slow_ones() -> None:
    admission, now = slowed_down(AT_ONCE, STRANGER)
    admission.answered(LANE, f"{STRANGER} 0", now + 0.01)
    assert admission.admits(LANE, STRANGER, now + 0.3)


def test_who_goes_on_and_on_keeps_nobody_out() -> None:
    admission = begun(AT_ONCE, STRANGER)
    now = 0.0
    while now <= LONGEST_PLACE:
        assert not admission.admits(LANE, STRANGER, now)
        now += 0.2
        for number in range(AT_ONCE):
            admission.answered(LANE, f"{STRANGER} {number}", now)
    assert admission.admits(LANE, STRANGER, now)


def test_what_never_ends_is_forgotten() -> None:
    admission = Admission()
    for number in range(10_000):
        admission.began(LANE, f"peer {number}", KNOWN, float(number))
        admission.answered(LANE, f"forgotten {number}", float(number))
    assert len(admission._places) < 100


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.floats(0, 2), st.sampled_from("beag"))))
def test_a_place_is_free_again_whatever_happened(events: list[tuple[int, bool, float, str]]) -> None:
    admission, now = Admission(), 0.0
    for number, is_stranger, wait, what in events:
        now += wait
        if what == "e":
            admission.ended(LANE, f"peer {number}")
        elif what == "a":
            admission.answered(LANE, f"peer {number}", now)
        elif what == "g":
            admission.given_up()
        elif admission.admits(LANE, is_stranger, now):
            admission.began(LANE, f"peer {number}", is_stranger, now)
    later = now + LONGEST_PATIENCE + 0.001
    assert admission.admits(LANE, STRANGER, later)
    assert admission.admits(LANE, KNOWN, later)


# ---- in the driver --------------------------------------------------------------------------------------------------


def register_of(name: str) -> dict[str, object]:
    return {"to": None, "intent": "register", "from": make_identity(name).agent_id}


def confirms(end: End) -> list[object]:
    return [payload["to"] for payload in end.driver.outgoing if payload["intent"] == "confirm"]


async def test_a_crowd_of_strangers_is_answered_a_few_at_a_time() -> None:
    clock = FakeClock()
    alice = End("alice", clock)
    for number in range(50):
        await alice.receive(register_of(f"stranger {number}"))
    assert len(confirms(alice)) == AT_ONCE
    clock.seconds += LONGEST_PATIENCE + 0.1
    for number in range(50):
        await alice.receive(register_of(f"stranger {number}"))
    assert len(confirms(alice)) == 2 * AT_ONCE


async def test_a_known_peer_is_answered_while_strangers_fill_all_other_places() -> None:
    clock = FakeClock()
    settings = Settings(reconnect_every=5.0)
    alice, bob = End("alice", clock, settings), End("bob", clock, settings)
    link = Link(alice, bob)
    await link.register()
    await link.advance(clock, 4)
    before = alice.closed(Role.RESPONDER)
    for number in range(100):
        await alice.receive(register_of(f"stranger {number}"))
    clock.seconds += 2.0
    for number in range(100):
        await alice.receive(register_of(f"stranger {number + 100}"))
    await link.register()
    assert alice.closed(Role.RESPONDER) == before + 1


async def test_an_unanswered_reconnect_is_repeated_after_ever_longer_waits() -> None:
    clock = FakeClock()
    settings = Settings(reconnect_every=5.0, jitter=0.0)
    alice, bob = End("alice", clock, settings), End("bob", clock, settings)
    link = Link(alice, bob)
    await link.register()
    await link.advance(clock, 6)
    asked = []
    for _ in range(2_000):
        clock.seconds += 0.25
        await alice.driver.tick()
        await alice.receive(register_of("bob"))
        if any(payload["intent"] == "reconnect" for payload in alice.driver.outgoing):
            asked.append(clock.seconds)
        alice.driver.outgoing.clear()
    waits = [round(later - sooner) for sooner, later in pairwise(asked)]
    assert waits[:8] == [2, 4, 8, 16, 32, 64, 64, 64]


async def test_who_asks_many_acquaintances_again_asks_a_few_at_a_time() -> None:
    clock = FakeClock()
    settings = Settings(reconnect_every=5.0)
    alice = End("alice", clock, settings)
    others = [End(f"peer {number}", clock, settings) for number in range(10)]
    for other in others:
        await Link(alice, other).register()
    for _ in range(40):
        clock.seconds += 0.25
        await alice.driver.tick()
    alice.driver.outgoing.clear()
    for other in others:
        assert await alice.state(Role.INITIATOR, other) is State.INIT_READY
        await alice.receive(register_of(other.name))
    asked = [payload for payload in alice.driver.outgoing if payload["intent"] == "reconnect"]
    assert len(asked) == AT_ONCE


# ---- registering ----------------------------------------------------------------------------------------------------


def registers(pace: RegisterPace, around: int, seconds: float) -> list[float]:
    """When it registers among so many who speak twice a second, and are no newcomers."""
    moments = []
    for tick in range(int(seconds * 4)):
        now = tick / 4
        if tick % 2 == 0:
            for number in range(around):
                pace.heard(f"peer {number}", now, is_newcomer=False)
        if pace.is_due(now):
            moments.append(now)
    return moments


@pytest.mark.parametrize(
    ("around", "every"), [(0, 1.0), (1, 1.0), (FEW, 1.0), (2 * FEW, 2.0), (MOST_COUNTED, 5.0), (1_000, 5.0)]
)
def test_the_wait_before_the_next_register_grows_with_the_crowd(around: int, every: float) -> None:
    moments = registers(RegisterPace(1.0, 0.25), around, 60)
    assert moments[0] == 0.0
    assert {later - sooner for sooner, later in pairwise(moments)} == {every}


def test_a_newcomer_is_greeted_at_once_and_many_of_them_together() -> None:
    pace = RegisterPace(1.0, 0.25)
    assert pace.is_due(0.0)
    pace.heard("first", 0.1, is_newcomer=True)
    assert not pace.is_due(0.2)
    pace.heard("second", 0.22, is_newcomer=True)
    assert pace.is_due(0.25)
    assert not pace.is_due(1.2)
    assert pace.is_due(1.25)


def test_in_a_crowd_newcomers_are_greeted_a_little_later() -> None:
    pace = RegisterPace(1.0, 0.25)
    for number in range(4 * FEW):
        pace.heard(f"peer {number}", 0.0, is_newcomer=False)
    assert pace.is_due(0.0)
    pace.heard("newcomer", 0.1, is_newcomer=True)
    assert not pace.is_due(1.0)
    assert pace.is_due(1.1)


def test_who_was_not_heard_for_a_while_is_not_counted() -> None:
    pace = RegisterPace(1.0, 0.25)
    for number in range(MOST_COUNTED):
        pace.heard(f"peer {number}", 0.0, is_newcomer=False)
    later = PRESENCE_SECONDS + 1.0
    assert pace.is_due(later)
    assert not pace.is_due(later + 0.9)
    assert pace.is_due(later + 1.0)
    assert len(pace._around) == 0


def test_invented_peers_cost_bounded_memory() -> None:
    pace = RegisterPace(1.0, 0.25)
    for number in range(10_000):
        pace.heard(f"peer {number}", 0.0, is_newcomer=True)
    assert len(pace._around) == MOST_COUNTED

"""One deadline for each pair, however often it is moved."""

from hypothesis import given
from hypothesis import strategies as st

from handfast.conversation.model import Role
from handfast.schedule import Pair, Timers

PAIRS: list[Pair] = [(role, peer) for role in Role for peer in ("alice", "bob", "carol")]


def test_deadlines_that_were_moved_do_not_pile_up_behind_one_that_stays() -> None:
    timers = Timers()
    timers.set(PAIRS[0], 1.0)
    for number in range(10_000):
        timers.set(PAIRS[1], 600.0 + number)
    assert len(timers._heap) < 100
    assert timers.due(1.0, 10) == [PAIRS[0]]
    assert timers.due(10_598.0, 10) == []
    assert timers.due(10_599.0, 10) == [PAIRS[1]]


@given(
    st.lists(st.tuples(st.sampled_from(PAIRS), st.none() | st.floats(0, 100)), max_size=200),
    st.floats(0, 100),
)
def test_what_is_due_is_what_was_set_last(moves: list[tuple[Pair, float | None]], now: float) -> None:
    timers, last = Timers(), dict[Pair, float | None]()
    for pair, deadline in moves:
        timers.set(pair, deadline)
        last[pair] = deadline
    due = [(at, pair) for pair, at in last.items() if at is not None and at <= now]
    assert timers.due(now, len(PAIRS)) == [pair for _, pair in sorted(due)]
    assert timers.due(now, len(PAIRS)) == []

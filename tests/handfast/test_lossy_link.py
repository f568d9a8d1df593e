"""Two agents over a link that drops, repeats, reorders and replays, while they are killed and their clocks are set.

A state machine of hypothesis: any order of such events, then what must hold whatever happened. The model checker
(tests/model) covers every order within small bounds; this has the real cryptography, driver and clocks, and no bounds.
"""

from typing import Any

import pytest
from fake_world import End, FakeClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from lossy_link import LossyLink, whose

from handfast.congestion import MOST_SLOWNESS
from handfast.conversation.effects import Closed, Delivered, SessionOpened
from handfast.conversation.model import Role, Settings

INIT, RESP = Role.INITIATOR, Role.RESPONDER
TURNS = 2

# longer than all tries of any state together, where much was lost before and every wait has grown
UNTIL_HOME_SECONDS = round(60 * MOST_SLOWNESS)
# a responder that insists on a reference its peer has lost takes `register` for an answer 60 s later
UNTIL_NEXT_CONVERSATION_SECONDS = UNTIL_HOME_SECONDS + 60


def conversations(end: End, role: Role) -> tuple[list[list[Any]], list[list[Any]]]:
    """What was delivered in each conversation of a role: in those that closed, and in all."""
    closed, every = [], []
    for outcome in end.outcomes:
        for effect in outcome.effects if outcome.role is role else ():
            match effect:
                case SessionOpened():
                    every.append([])
                case Delivered(message):
                    every[-1].append(message)
                case Closed():
                    closed.append(every[-1])
    return closed, every


def is_subsequence(some: list[Any], of: list[Any]) -> bool:
    rest = iter(of)
    return all(item in rest for item in some)


class Talk(LossyLink[End]):
    """Two agents with a dialogue."""

    def __init__(self) -> None:
        super().__init__(*(End(name, FakeClock(), Settings(exchanges=TURNS)) for name in ("alice", "bob")))

    def all_ends_well(self) -> None:
        self.without_any_message_both_come_home()
        self.clocks_are_set_right()
        self.a_new_conversation_closes_in_both_directions()
        self.what_was_heard_is_what_was_said()

    def clocks_agree(self) -> bool:
        return self.ends[0].clock.offset == self.ends[1].clock.offset

    # ---- what may happen --------------------------------------------------------------------------------------------

    @rule(who=whose)
    def registers(self, who: int) -> None:
        super().registers(who)

    @precondition(lambda self: self.clocks_agree())
    @rule(who=whose, by=st.sampled_from([-50_000_000.0, -3_600.0, -45.0, 45.0, 3_600.0, 50_000_000.0]))
    def clock_is_set(self, who: int, by: float) -> None:
        self.ends[who].clock.offset += by

    @precondition(lambda self: not self.clocks_agree())
    @rule()
    def clocks_are_set_right(self) -> None:
        for end in self.ends:
            end.clock.offset = self.ends[0].clock.offset

    # ---- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_said_in_the_clear(self) -> None:
        for line in self.ever_sent:
            assert "message" not in line.content
            assert "sec" in line.content or line.content["intent"] not in ("request", "respond")

    @invariant()
    def nothing_is_delivered_twice_or_out_of_order(self) -> None:
        for end in self.ends:
            for role in Role:
                numbers = [message["n"] for message in end.delivered(role)]
                assert numbers == sorted(set(numbers))

    @invariant()
    def what_was_heard_is_what_was_said(self) -> None:
        for initiator, responder in (self.ends, reversed(self.ends)):
            closed_here, _ = conversations(initiator, INIT)
            closed_there, heard_there = conversations(responder, RESP)
            asked = [[answer["re"] for answer in answers] for answers in closed_here]
            assert all([question["turn"] for question in questions] == [1, 2] for questions in asked)
            assert is_subsequence(asked, heard_there)
            # the initiator closes first: what is closed there is closed here
            assert is_subsequence(closed_there, asked)

    @rule()
    def without_any_message_both_come_home(self) -> None:
        self.on_their_way.clear()
        for _ in range(UNTIL_HOME_SECONDS):
            self.time_passes(1.0)
            self.on_their_way.clear()
            if not any(self.run(end.store.unfinished()) for end in self.ends):
                break
        for end in self.ends:
            assert self.run(end.store.unfinished()) == []
            assert end.driver.under_way() == 0

    def a_new_conversation_closes_in_both_directions(self) -> None:
        before = [end.closed(role) for end in self.ends for role in Role]
        for _ in range(UNTIL_NEXT_CONVERSATION_SECONDS):
            for who in range(2):
                self.registers(who)
            self.all_arrive_in_order()
            self.time_passes(1.0)
            after = [end.closed(role) for end in self.ends for role in Role]
            if all(now > then for now, then in zip(after, before, strict=True)):
                return
        raise AssertionError(f"closed before: {before}, and now: {after}")


class TestLossyLink(Talk.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=25, stateful_step_count=40, deadline=None, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestLossyLinkForLong(Talk.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=1000, stateful_step_count=80, deadline=None)

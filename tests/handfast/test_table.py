"""The shape of THE table: which rows there are, that each can fire, and that no state can be stuck in.

What the rows do is the matter of test_conversation.py and of the model check.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_world import START, SeededEntropy, make_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.conversation.diagram import message_arrows
from handfast.conversation.model import (
    READY,
    Event,
    Facts,
    Outgoing,
    Party,
    PeerState,
    Restarted,
    Role,
    Settings,
    State,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import firing_row, step
from handfast.conversation.turn import Transition, Turn, delays_of
from handfast.conversation.v1 import TABLE
from handfast.crypto.keys import Secret
from handfast.errors import Reason
from handfast.wire.v1 import (
    FOR_INITIATOR,
    FOR_RESPONDER,
    Close,
    Conclude,
    Confirm,
    Finish,
    Reconnect,
    Register,
    Request,
    Respond,
)

law = settings(deadline=None, max_examples=100)

ALICE, BOB = make_identity("alice"), make_identity("bob")
UNDER_WAY = [state for state in State if state not in READY.values()]
TIMED = ("timer", "restart")

# hsagent-v1.md, section 2: "Each arrow is a Summoner route of that text"
ARROWS = {
    "init_ready --> init_exchange",
    "init_exchange --> init_finalize_propose",
    "init_finalize_propose --> init_finalize_close",
    "init_finalize_close --> init_ready",
    "resp_ready --> resp_confirm",
    "resp_confirm --> resp_exchange",
    "resp_exchange --> resp_finalize",
    "resp_finalize --> resp_ready",
}
# the same section's table; `init_finalize_close` is left on a timer in ours
CHANGES_OF_STATE = {
    ("resp_ready", "register", "resp_confirm"),
    ("resp_ready", "reconnect", "resp_confirm"),
    ("resp_confirm", "request", "resp_exchange"),
    ("resp_exchange", "conclude", "resp_finalize"),
    ("resp_finalize", "close", "resp_ready"),
    ("init_ready", "confirm", "init_exchange"),
    ("init_exchange", "respond", "init_finalize_propose"),
    ("init_finalize_propose", "finish", "init_finalize_close"),
}


def rows_of(state: State, on: str) -> list[Transition]:
    return [row for row in TABLE if row.state is state and row.on == on]


def role_of_state(state: State) -> Role:
    return Role.INITIATOR if state.value.startswith("init_") else Role.RESPONDER


# ---- which rows there are -----------------------------------------------------------------------------------------


def test_the_messages_that_change_a_state_are_those_of_the_specification() -> None:
    changing = {(row.state.value, row.on, row.goes_to.value) for row in TABLE if row.goes_to is not row.state}
    assert {change for change in changing if change[1] not in TIMED} == CHANGES_OF_STATE


def test_the_arrows_are_the_eight_routes_of_the_specification() -> None:
    assert message_arrows() == ARROWS
    by_message = {f"{source} --> {target}" for source, _, target in CHANGES_OF_STATE}
    assert ARROWS - by_message == {"init_finalize_close --> init_ready"}


def test_timers_and_restarts_lead_home_and_nowhere_else() -> None:
    for row in TABLE:
        if row.on in TIMED:
            assert row.goes_to in (row.state, READY[row.role])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.state}-{row.on}-{row.goes_to}")
def test_a_row_stays_within_its_role_and_speaks_of_a_message_that_is_for_it(row: Transition) -> None:
    assert row.role is role_of_state(row.state) is role_of_state(row.goes_to)
    for_role = FOR_INITIATOR | {"register"} if row.role is Role.INITIATOR else FOR_RESPONDER
    assert row.on in for_role | set(TIMED)
    assert row.when
    assert row.does
    assert "|" not in row.when + row.does, "the words stand in a Markdown table"


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_entered_and_left(state: State) -> None:
    assert any(row.goes_to is state and row.state is not state for row in TABLE)
    assert any(row.state is state and row.goes_to is not state for row in TABLE)


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("on", TIMED)
def test_every_state_under_way_has_a_way_on_and_a_way_home_without_any_message(state: State, on: str) -> None:
    *_, last = rows_of(state, on)
    assert last.goes_to is READY[last.role]
    assert {row.goes_to for row in rows_of(state, on)} == {state, READY[last.role]}


@pytest.mark.parametrize("state", READY.values())
@pytest.mark.parametrize("on", TIMED)
def test_a_ready_state_waits_for_nothing(state: State, on: str) -> None:
    assert rows_of(state, on) == []


def test_the_rows_of_an_event_stand_together_and_no_two_have_the_same_guard() -> None:
    groups: dict[tuple[State, str], list[Callable[[Turn], bool]]] = {}
    for row in TABLE:
        groups.setdefault((row.state, row.on), []).append(row.guard)
    for group, guards in groups.items():
        assert len(set(guards)) == len(guards), f"the second one never fires: {group}"
    assert len(set(TABLE)) == len(TABLE)


# ---- that they fire -----------------------------------------------------------------------------------------------

NONCES = ["a" * 32, "b" * 32]
REFS = ["1111111111", "2222222222"]
moments = st.sampled_from([START - 1e6, START - 61, START - 1, START - 0.1, START, START + 1, START + 1e6])
outgoing = st.builds(
    Outgoing,
    payload=st.sampled_from(["close", "confirm", "respond"]).map(
        lambda intent: {"to": BOB.agent_id, "intent": intent}
    ),
    sends=st.integers(0, 7),
    due_at=moments,
    since=moments,
)


def states(*of: State) -> st.SearchStrategy[PeerState]:
    """Any row that a database could hold in one of these states, also such as ours would never write."""
    return st.sampled_from(of).flatmap(
        lambda state: st.builds(
            PeerState,
            self_id=st.just(ALICE.agent_id),
            role=st.just(role_of_state(state)),
            peer_id=st.just(BOB.agent_id),
            state=st.just(state),
            local_nonce=st.none() | st.sampled_from(NONCES),
            peer_nonce=st.none() | st.sampled_from(NONCES),
            local_reference=st.none() | st.sampled_from(REFS),
            peer_reference=st.none() | st.sampled_from(REFS),
            exchange_count=st.integers(0, 6),
            peer_sign_pub=st.none(),
            secret=st.none() | st.just(Secret(bytes(32))),
            waiting_since=st.none() | moments,
            reconnect_at=st.none() | moments,
            reconnect_tries=st.integers(0, 9),
            last_sent_at=st.none() | moments,
            outgoing=st.none() | outgoing,
        )
    )


BLOCKS: list[Any] = [None, 5, {}, "text"]
peer, nonces, refs, blocks = st.just(BOB.agent_id), *map(st.sampled_from, (NONCES, REFS, BLOCKS))
MESSAGES: dict[str, st.SearchStrategy[Event]] = {
    "register": st.builds(Register, peer),
    "reconnect": st.builds(Reconnect, peer, refs),
    "confirm": st.builds(Confirm, peer, nonces, blocks),
    "request": st.builds(Request, peer, nonces, nonces, blocks, blocks),
    "respond": st.builds(Respond, peer, nonces, nonces, blocks),
    "conclude": st.builds(Conclude, peer, nonces, refs),
    "finish": st.builds(Finish, peer, refs, refs),
    "close": st.builds(Close, peer, refs, refs),
}
# half of them a message for which the state has rows, half any message in any state
situations = st.one_of(
    st.sampled_from([(row.state, row.on) for row in TABLE if row.on not in TIMED]).flatmap(
        lambda key: st.tuples(states(key[0]), MESSAGES[key[1]])
    ),
    st.tuples(states(*State), st.one_of(*MESSAGES.values())),
)
facts = st.builds(Facts, st.booleans(), st.booleans(), st.none() | st.just(bytes(32)), st.booleans())
parties = st.builds(
    Settings,
    reconnect_every=st.none() | st.just(10.0),
    exchanges=st.integers(1, 5),
    pace=st.sampled_from([0.0, 1.0]),
).map(lambda settings: Party(ALICE, settings))


@law
@given(states(*UNDER_WAY), st.sampled_from([TimerFired(), Restarted()]), facts, parties)
def test_the_last_row_of_a_timer_or_restart_fires_always_so_no_state_is_stuck_whatever_its_row_holds(
    before: PeerState, event: Event, known: Facts, party: Party
) -> None:
    *_, last = rows_of(before.state, event.intent)
    assert last.guard(Turn(before, event, known, START, SeededEntropy("any"), party))
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    assert taken.verdict is Verdict.ACCEPTED
    assert taken.state.state in (before.state, READY[before.role])
    # whoever stays goes on sending and has a timer; whoever goes home keeps nothing to send
    assert (taken.state.outgoing is None) == taken.state.is_ready
    if taken.state.outgoing is not None:
        assert taken.state.outgoing.sends <= len(delays_of(taken.state.outgoing, party.settings))


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("event", [TimerFired(), Restarted()], ids=TIMED)
def test_a_conversation_goes_on_while_tries_are_left_and_not_once_more(state: State, event: Event) -> None:
    party = Party(ALICE, Settings())
    # whoever has proven nothing yet, as all do in resp_confirm at first, is answered twice and not more
    limit = 2 if state is State.RESP_CONFIRM else len(party.settings.retry_delays)
    for sends in range(limit + 2):
        waiting = Outgoing({"to": BOB.agent_id, "intent": "any"}, sends, START, START)
        before = PeerState(
            ALICE.agent_id,
            role_of_state(state),
            BOB.agent_id,
            state,
            secret=Secret(bytes(32)),
            outgoing=waiting,
        )
        taken = step(before, event, Facts(), START, SeededEntropy("any"), party)
        assert taken.state.is_ready == (sends >= limit)


@law
@given(situations, facts, parties)
def test_an_event_takes_the_first_row_whose_guard_holds_and_only_an_accepted_one_changes_anything(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    before, event = situation
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    turn = Turn(before, event, known, START, SeededEntropy("any"), party)
    firing = [row for row in rows_of(before.state, event.intent) if row.guard(turn)]
    assert (turn.after, turn.effects) == (before, []), "a guard only reads"
    assert (taken.verdict is Verdict.IGNORED) == (firing == [])
    # asked before the store is, so it must not depend on what the store knows
    row = firing_row(before, event, facts, START, SeededEntropy("any"), party)
    assert (row is None) == (firing == [])
    if taken.verdict is Verdict.ACCEPTED:
        assert taken.state.state is firing[0].goes_to
        assert (taken.state.self_id, taken.state.role, taken.state.peer_id) == (
            before.self_id,
            before.role,
            before.peer_id,
        )
    else:
        assert taken.state is before
        assert taken.effects == ()
    assert (taken.reason is not None) == (taken.verdict is Verdict.REFUSED)


@law
@given(situations, facts, parties)
def test_a_step_is_a_function_of_its_arguments(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    once, twice = (step(*situation, known, START, SeededEntropy("same"), party) for _ in range(2))
    assert once == twice


@law
@given(situations, facts, parties)
def test_no_message_without_its_proof_enters_or_stays_in_an_exchange(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    before, event = situation
    # none of these messages carries an `hs` that verifies or a `sec` that opens
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    if event.intent in ("confirm", "request"):
        repeated = before.state is State.RESP_EXCHANGE and taken.state.peer_nonce == before.peer_nonce
        assert taken.verdict is not Verdict.ACCEPTED or repeated
    assert (
        taken.state.state not in (State.INIT_EXCHANGE, State.RESP_EXCHANGE)
        or taken.state.state is before.state
    )
    assert taken.state.peer_sign_pub == before.peer_sign_pub


@law
@given(situations, facts, parties)
def test_a_nonce_that_was_seen_is_refused_before_any_proof_is_looked_at(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    taken = step(*situation, replace(known, nonce_seen=True), START, SeededEntropy("any"), party)
    assert taken.reason in (None, Reason.NONCE_REPLAYED)

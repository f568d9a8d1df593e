"""The shape of THE tables: which rows there are, that each can fire, and that no state can be stuck in.

What the rows do is the matter of the tests of conversations and of the model checks.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_world import START, SeededEntropy, make_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.conversation.diagram import message_arrows
from handfast.conversation.effects import Send
from handfast.conversation.live import Live, announce
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
    Submitted,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import firing_row, step
from handfast.conversation.turn import Transition, Turn, delays_of
from handfast.conversation.v1.table import TABLE as TABLE_1
from handfast.conversation.v2.table import TABLE as TABLE_2
from handfast.crypto.keys import Secret
from handfast.errors import Reason
from handfast.outcomes import durable
from handfast.session.v2.negotiation import make_selection
from handfast.session.v2.parties import Myself
from handfast.session.v2.suites import CHACHA, SUITES
from handfast.wire import v1
from handfast.wire.text import b64url_encode
from handfast.wire.v1 import Close, Conclude, Confirm, Finish, Reconnect, Register, Request, Respond
from handfast.wire.v2 import messages as v2
from handfast.wire.v2.header import Header

law = settings(deadline=None, max_examples=100)

ALICE = make_identity("alice").with_static_key(bytes(range(32)), START)
BOB = make_identity("bob")
TABLES = {1: TABLE_1, 2: TABLE_2}
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


# v2-handshake.md, section 9.1; `init_exchange` and `resp_confirm` may be of version 1, and are left for a handshake
CHANGES_OF_STATE_2 = {
    ("resp_ready", "n2", "resp_half"),
    ("resp_ready", "k1", "resp_half"),
    ("resp_confirm", "n2", "resp_half"),
    ("resp_half", "request", "resp_exchange"),
    ("resp_finalize", "request", "resp_exchange"),
    ("resp_exchange", "conclude", "resp_finalize"),
    ("resp_finalize", "close", "resp_ready"),
    ("resp_finalize", "close", "resp_half"),
    ("init_ready", "register", "init_hs"),
    ("init_ready", "submit", "init_hs"),
    ("init_ready", "n1", "init_hs"),
    ("init_hs", "n3", "init_exchange"),
    ("init_hs", "k2", "init_exchange"),
    ("init_exchange", "n1", "init_hs"),
    ("init_exchange", "respond", "init_finalize_propose"),
    ("init_exchange", "submit", "init_finalize_propose"),
    ("init_finalize_propose", "n3", "init_exchange"),
    ("init_finalize_propose", "k2", "init_exchange"),
    ("init_finalize_propose", "finish", "init_finalize_close"),
    ("init_finalize_close", "finish", "init_ready"),
}
# a handshake is never written down, and a `resp_confirm` is version 1's
WITHOUT_ROWS = {
    (2, State.INIT_HS, "restart"),
    (2, State.RESP_HALF, "restart"),
    (2, State.RESP_CONFIRM, "timer"),
    (2, State.RESP_CONFIRM, "restart"),
}


def rows_of(version: int, state: State, on: str) -> list[Transition]:
    return [row for row in TABLES[version] if row.state is state and row.on == on]


def role_of_state(state: State) -> Role:
    return Role.INITIATOR if state.value.startswith("init_") else Role.RESPONDER


def states_of(version: int) -> list[State]:
    return [state for state in State if any(row.state is state for row in TABLES[version])]


def is_ready(state: State) -> bool:
    return state in READY.values()


EVERY_ROW = [
    pytest.param(version, row, id=f"{version}-{row.state}-{row.on}-{row.goes_to}")
    for version, table in TABLES.items()
    for row in table
]
EVERY_STATE = [(version, state) for version in TABLES for state in states_of(version)]
TIMED_STATES = [
    (version, state, on)
    for version, state in EVERY_STATE
    for on in TIMED
    if not is_ready(state) and (version, state, on) not in WITHOUT_ROWS
]
versions = pytest.mark.parametrize("version", TABLES)


# ---- which rows there are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "changes"), [(1, CHANGES_OF_STATE), (2, CHANGES_OF_STATE_2)])
def test_the_messages_that_change_a_state_are_those_of_the_specification(
    version: int, changes: set[tuple[str, str, str]]
) -> None:
    changing = {
        (row.state.value, row.on, row.goes_to.value)
        for row in TABLES[version]
        if row.goes_to is not row.state
    }
    assert {change for change in changing if change[1] not in TIMED} == changes


def test_the_arrows_are_the_eight_routes_of_the_specification() -> None:
    assert message_arrows() == ARROWS
    by_message = {f"{source} --> {target}" for source, _, target in CHANGES_OF_STATE}
    assert ARROWS - by_message == {"init_finalize_close --> init_ready"}


@pytest.mark.parametrize(("version", "row"), EVERY_ROW)
def test_timers_and_restarts_lead_home_and_nowhere_else(version: int, row: Transition) -> None:
    if row.on in TIMED:
        # a pause that is over ends the conversation as one that has said all
        ends_a_pause = (row.state, row.goes_to) == (State.INIT_EXCHANGE, State.INIT_FINALIZE_PROPOSE)
        assert row.goes_to in (row.state, READY[row.role]) or (version == 2 and ends_a_pause)


@pytest.mark.parametrize(("version", "row"), EVERY_ROW)
def test_a_row_stays_within_its_role_and_speaks_of_a_message_that_is_for_it(
    version: int, row: Transition
) -> None:
    assert row.role is role_of_state(row.state) is role_of_state(row.goes_to)
    wire = {1: v1, 2: v2}[version]
    for_initiator = wire.FOR_INITIATOR | {"register"} | ({"submit"} if version == 2 else set())
    for_role = for_initiator if row.role is Role.INITIATOR else wire.FOR_RESPONDER
    assert row.on in for_role | set(TIMED)
    assert row.when
    assert row.does
    assert "|" not in row.when + row.does, "the words stand in a Markdown table"


@pytest.mark.parametrize(("version", "state"), EVERY_STATE)
def test_every_state_can_be_entered_and_left(version: int, state: State) -> None:
    entered = TABLE_1 + TABLE_2 if (version, state) == (2, State.RESP_CONFIRM) else TABLES[version]
    assert any(row.goes_to is state and row.state is not state for row in entered)
    assert any(row.state is state and row.goes_to is not state for row in TABLES[version])


def test_there_is_no_state_without_rows() -> None:
    assert {*states_of(1), *states_of(2)} == set(State)


@pytest.mark.parametrize(("version", "state", "on"), TIMED_STATES)
def test_every_state_under_way_has_a_way_home_without_any_message(
    version: int, state: State, on: str
) -> None:
    *others, last = rows_of(version, state, on)
    assert last.goes_to is READY[last.role]
    assert last.guard.__name__.strip("_") == "always" or (version, on) == (1, "timer")
    if (version, on) != (2, "restart"):  # no session outlives its process
        assert state in {row.goes_to for row in others}
    else:
        assert others == []


@pytest.mark.parametrize("key", sorted(WITHOUT_ROWS), ids=str)
def test_a_state_that_waits_for_nothing_of_its_own_has_no_such_row(key: tuple[int, State, str]) -> None:
    assert rows_of(*key) == []


@pytest.mark.parametrize("state", [State.INIT_HS, State.RESP_HALF])
def test_a_handshake_under_way_is_written_down_as_what_was_there_before_it(state: State) -> None:
    stored = PeerState.of_stranger(ALICE.agent_id, role_of_state(state), BOB.agent_id)
    after = replace(stored, state=state, ticket_used=bytes(32), local_nonce="a", live=Live())
    assert durable(after, stored) == replace(stored, ticket_used=bytes(32))


@versions
@pytest.mark.parametrize("state", READY.values())
@pytest.mark.parametrize("on", TIMED)
def test_a_ready_state_waits_for_nothing(version: int, state: State, on: str) -> None:
    assert rows_of(version, state, on) == []


@versions
def test_the_rows_of_an_event_stand_together_and_no_two_have_the_same_guard(version: int) -> None:
    groups: dict[tuple[State, str], list[Callable[[Turn], bool]]] = {}
    for row in TABLES[version]:
        groups.setdefault((row.state, row.on), []).append(row.guard)
    for group, guards in groups.items():
        assert len(set(guards)) == len(guards), f"the second one never fires: {group}"
    assert len(set(TABLES[version])) == len(TABLES[version])


# ---- that they fire -----------------------------------------------------------------------------------------------

EVENTS: dict[str, Event] = {"timer": TimerFired(), "restart": Restarted()}
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


def states(version: int, *of: State) -> st.SearchStrategy[PeerState]:
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
            version=st.just(version),
            live=st.none() if version == 1 else st.none() | st.just(Live()),
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
tokens = st.sampled_from([b64url_encode(bytes([digit]) * 16) for digit in range(2)])


def headers(to: str | None, intent: str, *members: str) -> st.SearchStrategy[Header]:
    return st.builds(Header, peer, st.just(to), st.just(intent), **dict.fromkeys(members, tokens))


OURS = announce(
    None,
    Myself.from_identity(ALICE, (CHACHA,), START),
    SeededEntropy("announced"),
    offering=True,
    now=START,
    monotonic=0.0,
)
THEIRS = replace(OURS.myself, agent_id=BOB.agent_id).offer(bytes(16))
offers, garbage = st.sampled_from([*OURS.offers, THEIRS, bytes(30)]), st.binary(min_size=96, max_size=96)
selections = st.sampled_from([make_selection(SUITES[CHACHA], offer) for offer in (*OURS.offers, THEIRS)])
exchange, references = ("my_nonce", "your_nonce"), ("my_ref", "your_ref")
ALICES = ALICE.agent_id
MESSAGES_2: dict[str, st.SearchStrategy[Event]] = {
    "register": st.builds(v2.Offered, headers(None, "register"), offers),
    "n1": st.builds(v2.N1, headers(ALICES, "confirm", "my_nonce"), offers, selections, garbage),
    "n2": st.builds(v2.N2, headers(ALICES, "request", *exchange), offers, selections, garbage),
    "n3": st.builds(v2.N3, headers(ALICES, "respond", *exchange), garbage),
    "k1": st.builds(
        v2.K1, headers(ALICES, "reconnect", "your_ref"), offers, st.just(bytes(16)), st.just(1), garbage
    ),
    "k2": st.builds(v2.K2, headers(ALICES, "confirm", "my_nonce"), garbage),
    "request": st.builds(v2.Packet, headers(ALICES, "request", *exchange), garbage),
    "respond": st.builds(v2.Packet, headers(ALICES, "respond", *exchange), garbage),
    "conclude": st.builds(v2.Packet, headers(ALICES, "conclude", "your_nonce", "my_ref"), garbage),
    "finish": st.builds(v2.Packet, headers(ALICES, "finish", *references), garbage),
    "close": st.builds(v2.Packet, headers(ALICES, "close", *references), garbage),
    "submit": st.just(Submitted()),
}


def situations_of(
    version: int, messages: dict[str, st.SearchStrategy[Event]]
) -> st.SearchStrategy[tuple[PeerState, Event]]:
    """Half of them a message for which the state has rows, half any message in any state."""
    return st.one_of(
        st.sampled_from([(row.state, row.on) for row in TABLES[version] if row.on not in TIMED]).flatmap(
            lambda key: st.tuples(states(version, key[0]), messages[key[1]])
        ),
        st.tuples(states(version, *states_of(version)), st.one_of(*messages.values())),
    )


situations = situations_of(1, MESSAGES)
situations_2 = situations_of(2, MESSAGES_2)
every_situation = situations | situations_2
facts = st.builds(
    Facts,
    st.booleans(),
    st.booleans(),
    st.none() | st.just(bytes(32)),
    st.booleans(),
    announcements=st.just(OURS),
    wanted=st.booleans(),
)
parties = st.builds(
    Settings,
    reconnect_every=st.none() | st.just(10.0),
    exchanges=st.integers(1, 5),
    pace=st.sampled_from([0.0, 1.0]),
).map(lambda settings: Party(ALICE, settings))


@law
@given(st.sampled_from(TIMED_STATES), st.data(), facts, parties)
def test_the_last_row_of_a_timer_or_restart_fires_always_so_no_state_is_stuck_whatever_its_row_holds(
    situation: tuple[int, State, str], data: st.DataObject, known: Facts, party: Party
) -> None:
    version, state, on = situation
    before, event = data.draw(states(version, state)), EVENTS[on]
    *_, last = rows_of(version, state, on)
    assert last.guard(Turn(before, event, known, START, SeededEntropy("any"), party))
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    assert taken.verdict is Verdict.ACCEPTED
    assert taken.state.state in (before.state, READY[before.role])
    # whoever stays goes on sending and has a timer; whoever goes home keeps nothing to send
    assert (taken.state.outgoing is None) == taken.state.is_ready
    if taken.state.outgoing is not None:
        # in version 2 a `close` is answered, and carries a `sec`, which is not made up here
        delays = delays_of(taken.state.outgoing, party.settings)
        assert taken.state.outgoing.sends <= len(delays if version == 1 else party.settings.retry_delays)


@pytest.mark.parametrize(("version", "state", "on"), TIMED_STATES)
def test_a_conversation_goes_on_while_tries_are_left_and_not_once_more(
    version: int, state: State, on: str
) -> None:
    party = Party(ALICE, Settings())
    limit = len(party.settings.retry_delays)
    if state is State.RESP_CONFIRM:
        limit = 2  # whoever has proven nothing yet, as all do in it at first, is answered twice and not more
    elif version == 2 and on == "restart":
        limit = 0  # no session outlives its process
    elif version == 2 and state is State.RESP_EXCHANGE:
        limit = 1  # the initiator repeats what it misses; what was not sent yet, for an audience's sake, is
    for sends in range(limit + 2):
        waiting = Outgoing({"to": BOB.agent_id, "intent": "any"}, sends, START, START)
        before = PeerState(
            ALICE.agent_id,
            role_of_state(state),
            BOB.agent_id,
            state,
            secret=Secret(bytes(32)),
            outgoing=waiting,
            version=version,
        )
        taken = step(before, EVENTS[on], Facts(), START, SeededEntropy("any"), party)
        assert taken.state.is_ready == (sends >= limit)


@law
@given(every_situation, facts, parties)
def test_an_event_takes_the_first_row_whose_guard_holds_and_only_an_accepted_one_changes_anything(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    before, event = situation
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    turn = Turn(before, event, known, START, SeededEntropy("any"), party)
    firing = [row for row in rows_of(before.version, before.state, event.intent) if row.guard(turn)]
    assert (turn.after, turn.effects) == (before, []), "a guard only reads"
    assert (taken.verdict is Verdict.IGNORED) == (firing == [])
    # asked before the store is, so it must not depend on what the store knows
    in_memory = Facts(announcements=known.announcements, wanted=known.wanted)
    row = firing_row(before, event, in_memory, START, SeededEntropy("any"), party)
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
@given(every_situation, facts, parties)
def test_a_step_is_a_function_of_its_arguments(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    once, twice = (step(*situation, known, START, SeededEntropy("same"), party) for _ in range(2))
    assert (once.state.state, once.verdict, once.reason) == (twice.state.state, twice.verdict, twice.reason)
    assert once.effects == twice.effects


@law
@given(situations_2, facts, parties)
def test_no_message_of_version_2_without_its_proof_begins_moves_or_ends_a_conversation(
    situation: tuple[PeerState, Event], known: Facts, party: Party
) -> None:
    before, event = situation
    # of these messages n1 alone needs no proof: it makes us show who we are, and try
    taken = step(before, event, known, START, SeededEntropy("any"), party)
    if event.intent != "n1":
        assert taken.state.state is before.state
    assert taken.state.state in (before.state, State.INIT_HS)
    assert (taken.state.version, taken.state.peer_sign_pub) == (before.version, before.peer_sign_pub)
    assert (taken.state.ticket, taken.state.ticket_used) == (before.ticket, before.ticket_used)
    assert all(isinstance(effect, Send) for effect in taken.effects)


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

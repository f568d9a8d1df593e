"""What each row of the v1 table leaves behind, field by field: this state and these effects, and nothing else changes.

Each test begins with a row in which every field holds something, so that what is not cleared shows.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC
from types import SimpleNamespace
from typing import Any

import pytest
from fake_world import START, Counting, SeededEntropy, make_identity

from handfast.conversation.effects import (
    Closed,
    Delivered,
    ForgetNonces,
    GaveUp,
    PinKey,
    RecordEnvelope,
    RecordNonce,
    RememberHandshake,
    Send,
    SessionOpened,
)
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
    Step,
    TimerFired,
    Verdict,
)
from handfast.conversation.step import step
from handfast.conversation.turn import Turn
from handfast.conversation.v1.table import TABLE
from handfast.crypto.keys import Secret
from handfast.errors import Reason
from handfast.session.v1 import HS_LIFETIME_SECONDS, make_hs, seal
from handfast.wire.text import b64encode
from handfast.wire.v1 import (
    SENTINEL,
    Close,
    Conclude,
    Confirm,
    Finish,
    Message,
    Reconnect,
    Register,
    Request,
    Respond,
    is_from_version_2,
    parse_message,
)

ALICE, BOB = make_identity("alice"), make_identity("bob")
INIT, RESP = Role.INITIATOR, Role.RESPONDER
MINE, YOURS = "a" * 32, "b" * 32  # nonces
SETTINGS = Settings(
    zone=UTC,
    jitter=0.0,
    exchanges=2,
    retry_delays=(2.0, 3.0, 5.0),
    close_delays=(0.25, 0.5),
    repeat_gap=0.5,
    reconnect_every=10.0,
    lost_memory_after=60.0,
)
NOTHING_KNOWN = Facts()
PARTY = Party(ALICE, SETTINGS, Counting("alice"))
WAITING = Outgoing({"to": BOB.agent_id, "intent": "any"}, 1, START + 1, START - 1)

CLEARED: dict[str, Any] = {
    "local_nonce": None,
    "peer_nonce": None,
    "exchange_count": 0,
    "finalize_retry_count": 0,
    "secret": None,
    "outgoing": None,
}
NO_REFERENCES = {"local_reference": None, "peer_reference": None}
UNDER_WAY = [
    state for state in State if state not in READY.values() and state.name not in ("INIT_HS", "RESP_HALF")
]
GIVEN_UP = [state for state in UNDER_WAY if state is not State.INIT_FINALIZE_CLOSE]
FINALIZING = (State.RESP_FINALIZE, State.INIT_FINALIZE_CLOSE)
NEED_THE_SECRET = (State.INIT_EXCHANGE, State.RESP_CONFIRM, State.RESP_EXCHANGE)


def full(state: State, **changes: Any) -> PeerState:
    """A row of ours in this state in which nothing is empty."""
    values: dict[str, Any] = {
        "local_nonce": MINE,
        "peer_nonce": YOURS,
        "local_reference": "L",
        "peer_reference": "P",
        "exchange_count": 3,
        "finalize_retry_count": 2,
        "peer_address": "127.0.0.1:5",
        "peer_sign_pub": b64encode(BOB.signing_key.public),
        "peer_kx_pub": "kx",
        "hs_derived_at": START - 9,
        "last_secure_at": START - 8,
        "secret": Secret(bytes(range(32))),
        "waiting_since": START - 1000,
        "reconnect_at": START - 6,
        "reconnect_tries": 2,
        "last_sent_at": START - 5,
        "outgoing": WAITING,
    }
    role = INIT if state.startswith("init") else RESP
    return PeerState(ALICE.agent_id, role, BOB.agent_id, state, **(values | changes))


def taken(
    before: PeerState, event: Event, known: Facts = NOTHING_KNOWN, now: float = START, party: Party = PARTY
) -> Step:
    return step(before, event, known, now, SeededEntropy("steps"), party)


def accepted(before: PeerState, event: Event, known: Facts = NOTHING_KNOWN, party: Party = PARTY) -> Step:
    outcome = taken(before, event, known, party=party)
    assert (outcome.verdict, outcome.reason) == (Verdict.ACCEPTED, None)
    return outcome


def fires(before: PeerState, event: Event) -> bool:
    return taken(before, event).verdict is not Verdict.IGNORED


def sent(outcome: Step) -> dict[str, Any]:
    (payload,) = [effect.payload for effect in outcome.effects if isinstance(effect, Send)]
    return payload


def started(payload: dict[str, Any], wait: float = 2.0) -> Outgoing:
    return Outgoing(payload, 1, START + wait, START)


# ---- a whole conversation -----------------------------------------------------------------------------------------


class Side:
    """One role of one of the two, without any store."""

    def __init__(self, name: str, peer: str, role: Role) -> None:
        self.party = Party(make_identity(name), SETTINGS, Counting(name))
        self.entropy = SeededEntropy(name)
        self.state = PeerState.of_stranger(make_identity(name).agent_id, role, make_identity(peer).agent_id)

    def take(self, message: Message, now: float) -> tuple[PeerState, Step]:
        before = self.state
        outcome = step(before, message, Facts(), now, self.entropy, self.party)
        assert outcome.verdict is Verdict.ACCEPTED
        self.state = outcome.state
        return before, outcome


def conversation() -> Iterator[tuple[PeerState, Step]]:
    """Each step of one conversation of two turns, a second apart, with the state before it."""
    alice, bob = Side("alice", "bob", INIT), Side("bob", "alice", RESP)
    before, outcome = bob.take(Register(ALICE.agent_id), START)
    yield before, outcome
    for number in range(1, 9):
        author, reader = (bob, alice) if number % 2 else (alice, bob)
        own_id = reader.state.self_id
        message = parse_message(sent(outcome) | {"from": author.state.self_id}, own_id)
        assert message is not None
        before, outcome = reader.take(message, START + number)
        yield before, outcome


SAID = {"outgoing", "last_sent_at"}
TURN = SAID | {"local_nonce", "peer_nonce", "last_secure_at"}
HANDSHAKE = {"peer_sign_pub", "peer_kx_pub", "hs_derived_at", "secret", "exchange_count", "state"}
CHANGED: list[tuple[set[str], list[type]]] = [
    (SAID | {"state", "local_nonce", "secret"}, [Send]),
    (
        SAID | HANDSHAKE | {"pin_pending", "local_nonce", "peer_nonce"},
        [RememberHandshake, RecordNonce, RecordNonce, Send],
    ),
    (
        TURN | HANDSHAKE,
        [
            RememberHandshake,
            RecordEnvelope,
            RecordNonce,
            PinKey,
            SessionOpened,
            RecordNonce,
            Delivered,
            RecordNonce,
            Send,
        ],
    ),
    (
        TURN | {"pin_pending", "exchange_count"},
        [RecordEnvelope, PinKey, SessionOpened, RecordNonce, Delivered, RecordNonce, Send],
    ),
    (TURN | {"exchange_count"}, [RecordEnvelope, RecordNonce, Delivered, RecordNonce, Send]),
    (TURN | {"state", "local_reference"}, [RecordEnvelope, RecordNonce, Delivered, Send]),
    (SAID | {"state", "local_reference", "peer_reference", "exchange_count", "secret"}, [Send]),
    (SAID | {"state", "peer_reference", "secret", "reconnect_at"}, [ForgetNonces, Closed, Send]),
    ({"state", "local_nonce", "peer_nonce", "outgoing"}, [ForgetNonces, Closed]),
]


def test_each_step_of_a_conversation_changes_what_it_should_and_nothing_else() -> None:
    steps = list(conversation())
    for (before, outcome), (names, effects) in zip(steps, CHANGED, strict=True):
        different = {
            field.name
            for field in fields(PeerState)
            if getattr(before, field.name) != getattr(outcome.state, field.name)
        }
        assert different == names
        assert [type(effect) for effect in outcome.effects] == effects
    counts = [outcome.state.exchange_count for _, outcome in steps]
    assert counts == [0, 1, 1, 2, 2, 2, 0, 2, 0]


def test_a_handshake_is_remembered_for_a_second_longer_than_it_is_fresh() -> None:
    for number in (1, 2):
        remembered = list(conversation())[number][1].effects[0]
        assert isinstance(remembered, RememberHandshake)
        assert remembered.until == START + number - 1 + HS_LIFETIME_SECONDS + 1


def test_each_nonce_is_noted_once_by_whoever_sent_and_once_by_whoever_received_it() -> None:
    notes = [
        (outcome.state.role, effect.flow, effect.nonce)
        for _, outcome in conversation()
        for effect in outcome.effects
        if isinstance(effect, RecordNonce)
    ]
    nonces = [sent(outcome)["my_nonce"] for _, outcome in list(conversation())[:5]]
    assert sorted(notes) == sorted(
        note
        for number, nonce in enumerate(nonces)
        for note in (
            (RESP if number % 2 == 0 else INIT, "sent", nonce),
            (INIT if number % 2 == 0 else RESP, "received", nonce),
        )
    )


# ---- responder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [Reconnect(BOB.agent_id, "L"), Register(BOB.agent_id)], ids=["reconnect", "register"]
)
def test_a_new_conversation_keeps_nothing_of_the_last_one(event: Event) -> None:
    before = full(State.RESP_READY)
    after = accepted(before, event)
    confirm = sent(after)
    expected = replace(
        before,
        **(
            CLEARED
            | NO_REFERENCES
            | {
                "state": State.RESP_CONFIRM,
                "waiting_since": None,
                "local_nonce": confirm["my_nonce"],
                "secret": after.state.secret,
                "outgoing": started(confirm),
                "last_sent_at": START,
            }
        ),
    )
    assert after.state == expected
    assert after.state.secret not in (None, before.secret)
    assert after.effects == (Send(confirm),)


@pytest.mark.parametrize(
    ("waited", "state"),
    [(60.0, State.RESP_READY), (60.5, State.RESP_CONFIRM)],
)
def test_a_responder_insists_on_its_reference_for_exactly_as_long_as_is_set(
    waited: float, state: State
) -> None:
    outcome = taken(full(State.RESP_READY, waiting_since=START - waited), Register(BOB.agent_id))
    assert outcome.state.state is state
    assert (outcome.verdict is Verdict.IGNORED) == (state is State.RESP_READY)


@pytest.mark.parametrize(
    ("since", "waits_anew"), [(None, True), (START + 1, True), (START, False), (START - 1, False)]
)
def test_the_wait_for_a_reconnect_begins_once_and_anew_when_the_clock_was_set_back(
    since: float | None, waits_anew: bool
) -> None:
    before = full(State.RESP_READY, waiting_since=since)
    outcome = taken(before, Register(BOB.agent_id))
    assert (outcome.verdict is Verdict.ACCEPTED) == waits_anew
    assert outcome.effects == ()
    assert outcome.state == (replace(before, waiting_since=START) if waits_anew else before)


def test_a_conclude_leaves_the_exchange_for_good() -> None:
    before = full(State.RESP_EXCHANGE)
    after = accepted(before, Conclude(BOB.agent_id, MINE, "Q"))
    finish = sent(after)
    assert finish == {
        "to": BOB.agent_id,
        "intent": "finish",
        "your_ref": "Q",
        "my_ref": after.state.local_reference,
    }
    assert after.state == replace(
        before,
        state=State.RESP_FINALIZE,
        local_reference=finish["my_ref"],
        peer_reference="Q",
        exchange_count=0,
        finalize_retry_count=0,
        secret=None,
        outgoing=started(finish),
        last_sent_at=START,
    )
    assert after.effects == (Send(finish),)


def test_a_close_keeps_the_references_and_nothing_else() -> None:
    before = full(State.RESP_FINALIZE)
    after = accepted(before, Close(BOB.agent_id, "L", "P"))
    assert after.state == replace(before, **CLEARED, state=State.RESP_READY, waiting_since=None)
    assert after.effects == (ForgetNonces(), Closed())


# ---- initiator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [None, 10.0])
def test_a_finish_closes_and_plans_the_next_conversation(every: float | None) -> None:
    before = full(State.INIT_FINALIZE_PROPOSE)
    party = replace(PARTY, settings=replace(SETTINGS, reconnect_every=every))
    after = accepted(before, Finish(BOB.agent_id, "L", "Q"), party=party)
    close = {"to": BOB.agent_id, "intent": "close", "your_ref": "Q", "my_ref": "L"}
    assert after.state == replace(
        before,
        state=State.INIT_FINALIZE_CLOSE,
        peer_reference="Q",
        finalize_retry_count=0,
        secret=None,
        reconnect_at=None if every is None else START + every,
        reconnect_tries=0,
        outgoing=started(close, 0.25),
        last_sent_at=START,
    )
    assert after.effects == (ForgetNonces(), Closed(), Send(close))


@pytest.mark.parametrize(("tries", "wait"), [(0, 2.0), (1, 4.0), (5, 64.0), (6, 64.0)])
def test_a_reconnect_is_asked_for_less_and_less_often(tries: int, wait: float) -> None:
    before = full(State.INIT_READY, reconnect_tries=tries)
    after = accepted(before, Register(BOB.agent_id))
    assert after.state == replace(
        before, reconnect_at=START + wait, reconnect_tries=tries + 1, last_sent_at=START
    )
    assert after.effects == (Send({"to": BOB.agent_id, "intent": "reconnect", "your_ref": "P"}),)


@pytest.mark.parametrize(
    ("at", "every", "asks"),
    [
        (None, 10.0, True),
        (START, 10.0, True),
        (START + 0.1, 10.0, False),
        (START + 128.0, 10.0, False),  # twice the longest wait after a reconnect without an answer
        (START + 128.5, 10.0, True),  # the clock was set back
        (START + 1000.0, 500.0, False),
        (START + 1000.5, 500.0, True),
        (START, None, False),
    ],
)
def test_a_reconnect_is_asked_for_when_it_is_time(at: float | None, every: float | None, asks: bool) -> None:
    party = replace(PARTY, settings=replace(SETTINGS, reconnect_every=every))
    outcome = taken(full(State.INIT_READY, reconnect_at=at), Register(BOB.agent_id), party=party)
    assert (outcome.verdict is Verdict.ACCEPTED) == asks
    nobody = full(State.INIT_READY, reconnect_at=at, peer_reference=None)
    assert taken(nobody, Register(BOB.agent_id), party=party).verdict is Verdict.IGNORED


@pytest.mark.parametrize(
    ("last_sent_at", "answers"),
    [(None, True), (START - 0.5, True), (START - 0.25, False), (START + 0.25, False), (START + 0.5, True)],
)
def test_a_repeated_message_is_answered_once_in_a_while(last_sent_at: float | None, answers: bool) -> None:
    again: list[tuple[State, Message, dict[str, Any]]] = [
        (State.RESP_EXCHANGE, Request(BOB.agent_id, "c" * 32, YOURS, None, {}), WAITING.payload),
        (State.RESP_FINALIZE, Conclude(BOB.agent_id, "c" * 32, "P"), WAITING.payload),
        (State.INIT_EXCHANGE, Respond(BOB.agent_id, "c" * 32, YOURS, {}), WAITING.payload),
        (State.INIT_FINALIZE_PROPOSE, Respond(BOB.agent_id, "c" * 32, YOURS, {}), WAITING.payload),
        (State.INIT_FINALIZE_CLOSE, Finish(BOB.agent_id, "L", "P"), WAITING.payload),
        (
            State.INIT_READY,
            Finish(BOB.agent_id, "L", "P"),
            {"to": BOB.agent_id, "intent": "close", "your_ref": "P", "my_ref": "L"},
        ),
    ]
    for state, message, answer in again:
        before = full(state, last_sent_at=last_sent_at)
        outcome = taken(before, message)
        assert outcome.effects == ((Send(answer),) if answers else ())
        assert outcome.state == (replace(before, last_sent_at=START) if answers else before)
        if state is not State.INIT_READY:
            assert not fires(
                full(state, last_sent_at=last_sent_at, outgoing=replace(WAITING, sends=0)), message
            )
            assert not fires(full(state, last_sent_at=last_sent_at, outgoing=None), message)


@pytest.mark.parametrize("mine", ["L", "x", None])
@pytest.mark.parametrize("theirs", ["P", "x", None])
def test_only_the_references_agreed_on_close_a_conversation(mine: str | None, theirs: str | None) -> None:
    closing = (
        (State.RESP_FINALIZE, Close(BOB.agent_id, "L", "P")),
        (State.RESP_FINALIZE, Conclude(BOB.agent_id, MINE, "P")),
        (State.INIT_READY, Finish(BOB.agent_id, "L", "P")),
        (State.INIT_FINALIZE_CLOSE, Finish(BOB.agent_id, "L", "P")),
    )
    for state, message in closing:
        before = full(state, local_reference=mine, peer_reference=theirs)
        needs = ("L", "P") if message.intent != "conclude" else (mine, "P")
        assert fires(before, message) == ((mine, theirs) == needs)


# ---- timers and restarts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("sends", [0, 1, 2])
def test_a_timer_sends_the_same_again_and_waits_longer(state: State, sends: int) -> None:
    before = full(state, outgoing=replace(WAITING, sends=sends))
    after = accepted(before, TimerFired())
    counted = 1 if state in FINALIZING else 0
    assert after.state == replace(
        before,
        outgoing=replace(WAITING, sends=sends + 1, due_at=START + SETTINGS.retry_delays[sends]),
        finalize_retry_count=2 + counted,
        last_sent_at=START,
    )
    assert after.effects == (Send(WAITING.payload),)


@pytest.mark.parametrize("state", GIVEN_UP)
@pytest.mark.parametrize(
    ("event", "why"),
    [(TimerFired(), "no answer"), (Restarted(), "restarted too late to go on")],
    ids=["timer", "restart"],
)
def test_what_is_given_up_is_forgotten(state: State, event: Event, why: str) -> None:
    before = full(state, outgoing=replace(WAITING, sends=3))
    after = accepted(before, event)
    assert after.state == replace(before, **CLEARED, **NO_REFERENCES, state=READY[before.role])
    assert after.effects == (ForgetNonces(), GaveUp(why))


@pytest.mark.parametrize("event", [TimerFired(), Restarted()], ids=["timer", "restart"])
def test_an_initiator_that_has_closed_goes_home_with_its_references(event: Event) -> None:
    before = full(State.INIT_FINALIZE_CLOSE, outgoing=replace(WAITING, sends=3))
    after = accepted(before, event)
    assert after.state == replace(before, **CLEARED, state=State.INIT_READY)
    assert after.effects == ()


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize(
    ("since", "sends"),
    [
        (START, 2),
        (START - 10.0, 2),
        (START - 10.5, 3),
        (START + 0.5, 3),
    ],  # all tries together take ten seconds
)
def test_after_a_restart_an_old_message_is_sent_once_and_a_young_one_as_ever(
    state: State, since: float, sends: int
) -> None:
    before = full(state, outgoing=replace(WAITING, since=since))
    after = accepted(before, Restarted())
    assert after.state.state is state
    assert after.state.outgoing == replace(WAITING, since=since, sends=sends, due_at=START + 3.0)
    assert after.state.finalize_retry_count == before.finalize_retry_count + (state in FINALIZING)
    assert after.effects == (Send(WAITING.payload),)


def test_the_pace_of_answers_counts_into_how_long_a_message_is_young() -> None:
    party = replace(PARTY, settings=replace(SETTINGS, pace=5.0))
    for age, sends in ((15.0, 2), (15.5, 3)):
        before = full(State.RESP_EXCHANGE, outgoing=replace(WAITING, since=START - age))
        after = accepted(before, Restarted(), party=party)
        assert after.state.outgoing is not None
        assert after.state.outgoing.sends == sends


def test_the_last_try_after_a_restart_does_not_wait_longer_than_it_would_have() -> None:
    party = replace(PARTY, settings=replace(SETTINGS, retry_delays=(1.0, 2.0, 2.5)))
    after = accepted(full(State.RESP_EXCHANGE), Restarted(), party=party)
    assert after.state.outgoing is not None
    assert after.state.outgoing.due_at == START + 2.0


@pytest.mark.parametrize("state", UNDER_WAY)
def test_after_a_restart_without_the_key_only_what_needs_none_goes_on(state: State) -> None:
    after = accepted(full(state, secret=None), Restarted())
    assert after.state.is_ready == (state in NEED_THE_SECRET)


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("event", [TimerFired(), Restarted()], ids=["timer", "restart"])
def test_who_has_nothing_to_send_goes_home(state: State, event: Event) -> None:
    assert accepted(full(state, outgoing=None), event).state.is_ready


@pytest.mark.parametrize("event", [TimerFired(), Restarted()], ids=["timer", "restart"])
@pytest.mark.parametrize(("age", "goes_on"), [(60.0, True), (60.5, False), (-60.0, True), (-60.5, False)])
def test_an_hs_is_repeated_while_it_is_fresh(event: Event, age: float, goes_on: bool) -> None:
    with_hs = replace(WAITING, payload=WAITING.payload | {"hs": {}}, since=START - age)
    assert accepted(full(State.INIT_EXCHANGE, outgoing=with_hs), event).state.is_ready != goes_on
    without = replace(WAITING, since=START - age)
    assert not accepted(full(State.INIT_EXCHANGE, outgoing=without), event).state.is_ready


@pytest.mark.parametrize(
    ("changes", "tries"), [({}, 3), ({"pin_pending": True}, 2), ({"peer_sign_pub": None}, 2)]
)
def test_a_stranger_is_answered_twice_and_an_acquaintance_as_often_as_anybody(
    changes: dict[str, Any], tries: int
) -> None:
    for sends in range(5):
        before = full(State.RESP_CONFIRM, outgoing=replace(WAITING, sends=sends), **changes)
        assert accepted(before, TimerFired()).state.is_ready == (sends >= tries)
        exchanging = full(State.INIT_EXCHANGE, outgoing=replace(WAITING, sends=sends), **changes)
        assert accepted(exchanging, TimerFired()).state.is_ready == (sends >= 3)


# ---- rows that no run of ours leaves behind -----------------------------------------------------------------------


def at(number: int) -> tuple[PeerState, Message, float]:
    """The state before step `number` of a conversation, the message it takes, and when."""
    steps = list(conversation())
    before, author = steps[number][0], steps[number - 1][1]
    message = parse_message(sent(author) | {"from": before.peer_id}, before.self_id)
    assert message is not None
    return before, message, START + number


def party_of(state: PeerState) -> Party:
    name = "alice" if state.self_id == ALICE.agent_id else "bob"
    return Party(make_identity(name), SETTINGS, Counting(name))


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_without_the_key_nothing_opens(number: int) -> None:
    before, message, now = at(number)
    outcome = taken(replace(before, secret=None), message, now=now, party=party_of(before))
    assert (outcome.verdict, outcome.reason) == (Verdict.REFUSED, Reason.SEC_DOES_NOT_OPEN)


@pytest.mark.parametrize("number", [3, 4, 5])
def test_without_the_peers_key_nothing_is_believed(number: int) -> None:
    before, message, now = at(number)
    outcome = taken(replace(before, peer_sign_pub=None), message, now=now, party=party_of(before))
    assert (outcome.verdict, outcome.reason) == (Verdict.REFUSED, Reason.SEC_DOES_NOT_OPEN)


def test_a_pin_made_by_our_other_role_in_the_meantime_is_the_one_that_counts() -> None:
    before, message, now = at(3)
    assert before.pin_pending
    same = taken(before, message, Facts(pinned=BOB.signing_key.public), now, party_of(before))
    assert same.verdict is Verdict.ACCEPTED
    assert not same.state.pin_pending
    assert not any(isinstance(effect, PinKey) for effect in same.effects)
    assert any(isinstance(effect, SessionOpened) for effect in same.effects)
    other = taken(before, message, Facts(pinned=bytes(32)), now, party_of(before))
    assert (other.verdict, other.reason) == (Verdict.REFUSED, Reason.KEY_CHANGED)


def test_a_pin_removed_while_a_conversation_is_under_way_is_not_made_anew_by_it() -> None:
    before, message, now = at(3)
    outcome = taken(replace(before, pin_pending=False), message, NOTHING_KNOWN, now, party_of(before))
    assert outcome.verdict is Verdict.ACCEPTED
    assert not any(isinstance(effect, PinKey) for effect in outcome.effects)


@pytest.mark.parametrize("content", [None, 5, "message", ["message"], {}, {"Message": 1}], ids=repr)
@pytest.mark.parametrize("number", [3, 4])
def test_an_envelope_that_holds_no_message_is_refused(number: int, content: Any) -> None:
    before, message, now = at(number)
    assert before.secret is not None
    author = BOB if before.self_id == ALICE.agent_id else ALICE
    sec = seal(content, before.secret, author.signing_key, b"another nonc", now, UTC)
    outcome = taken(before, replace(message, sec=sec), now=now, party=party_of(before))  # type: ignore[call-arg]
    assert (outcome.verdict, outcome.reason) == (Verdict.REFUSED, Reason.SEC_MALFORMED)


@pytest.mark.parametrize(
    ("number", "known", "reason"),
    [
        (1, Facts(nonce_seen=True), Reason.NONCE_REPLAYED),
        (1, Facts(handshake_seen=True), Reason.HS_REPLAYED),
        (1, Facts(pinned=bytes(32)), Reason.KEY_CHANGED),
        (1, Facts(key_held_by_another=True), Reason.KEY_UNDER_TWO_IDS),
        (2, Facts(nonce_seen=True), Reason.NONCE_REPLAYED),
        (2, Facts(handshake_seen=True), Reason.HS_REPLAYED),
        (2, Facts(pinned=bytes(32)), Reason.KEY_CHANGED),
        (2, Facts(key_held_by_another=True), Reason.KEY_UNDER_TWO_IDS),
        (1, Facts(met_in_version_2=True), Reason.DOWNGRADE),
        (2, Facts(met_in_version_2=True), Reason.DOWNGRADE),
        (3, Facts(nonce_seen=True), Reason.NONCE_REPLAYED),
        (4, Facts(nonce_seen=True), Reason.NONCE_REPLAYED),
        (5, Facts(nonce_seen=True), Reason.NONCE_REPLAYED),
    ],
)
def test_what_the_store_knows_refuses_a_message_that_is_otherwise_good(
    number: int, known: Facts, reason: Reason
) -> None:
    before, message, now = at(number)
    assert taken(before, message, now=now, party=party_of(before)).verdict is Verdict.ACCEPTED
    outcome = taken(before, message, known, now, party_of(before))
    assert (outcome.verdict, outcome.reason) == (Verdict.REFUSED, reason)
    assert outcome.state is before


def test_a_confirm_ends_the_wait_for_the_next_conversation() -> None:
    _, confirm, now = at(1)
    before = full(State.INIT_READY, peer_sign_pub=None)
    assert isinstance(confirm, Confirm)
    after = taken(before, confirm, now=now)
    assert after.verdict is Verdict.ACCEPTED
    assert (after.state.reconnect_at, after.state.reconnect_tries) == (None, 0)
    assert (after.state.local_reference, after.state.peer_reference) == (None, None)
    assert after.state.exchange_count == 1


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("offers", [("an offer",), (), None])
def test_who_speaks_version_2_is_not_answered_in_version_1_by_who_offers_it(
    says_so: bool, offers: tuple[str, ...] | None
) -> None:
    nonce = "0" * 24 + (SENTINEL if says_so else "0" * len(SENTINEL))
    assert is_from_version_2(nonce) is says_so
    hs = make_hs("response", nonce, BOB.exchange_key.public, BOB.signing_key, START, UTC)
    announcements: Any = None if offers is None else SimpleNamespace(offers=offers)
    before = full(State.INIT_READY, peer_sign_pub=None)
    outcome = taken(before, Confirm(BOB.agent_id, nonce, hs), Facts(announcements=announcements))
    assert outcome.reason == (Reason.DOWNGRADE if says_so and offers else None)
    assert (outcome.verdict is Verdict.ACCEPTED) == (outcome.reason is None)


@pytest.mark.parametrize("number", [0, 1])
def test_a_conversation_of_version_1_says_so_whatever_the_last_one_was(number: int) -> None:
    before = list(conversation())[number][0]
    message = Register(before.peer_id) if number == 0 else at(number)[1]
    (row,) = [row for row in TABLE if (row.state, row.on) == (before.state, message.intent)][:1]
    turn = Turn(
        replace(before, version=2), message, NOTHING_KNOWN, START, SeededEntropy("any"), party_of(before)
    )
    row.act(turn)
    assert turn.after.version == 1

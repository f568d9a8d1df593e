"""The shipped table of version 2, exhaustively within bounds (explorer_v2.py says what is checked and what is not); and that
the checker fails when a row, a guard or one of the things that it rests on is taken away.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import modelled_agent
import pytest
from agent_v2 import Transaction
from explore_v2 import explore
from forgery_v2 import EXCEPTIONS
from moves_v2 import Bounds
from search import Result
from symbolic import LoadedKey
from thinned_tables import mutants_of, put

from handfast.conversation import gossip, packets, shared, step
from handfast.conversation.live import Announcements, Consumed, Live
from handfast.conversation.model import PeerState
from handfast.conversation.turn import Transition, Turn
from handfast.conversation.v1 import messages
from handfast.conversation.v2 import initiator, responder
from handfast.conversation.v2.parts import begin_session
from handfast.conversation.v2.table import TABLE
from handfast.trust import decision as trust
from handfast.trust.decision import Change
from handfast.wire.v2.header import Header

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "protocol-v2.md"

# each with the number of states it has: a model that shrinks unseen proves nothing
SMALL = [
    (Bounds(), 99),
    (Bounds(handshakes=2, rekeyed_after=1), 2_445),
    (Bounds(turns=1, forgeries=1), 6_087),
    (Bounds(turns=1, crashes=1, minutes=1), 11_935),
    (Bounds(handshakes=2, turns=1, revocable=True), 5_838),
    (Bounds(turns=4, tries=5, crashes=1), 2_473),  # turns and tries as they are shipped
    (Bounds(letters=1, overdue=True), 311),
    (Bounds(letters=2, turns=4, room=1), 2_064),
    (Bounds(letters=1, handshakes=2, crashes=1), 19_330),
]
LARGE = [
    (Bounds(handshakes=2, turns=1, nudges=3), 1_967),  # nudges as they are shipped
    (Bounds(handshakes=2, turns=1, crashes=1), 11_198),
    (Bounds(handshakes=2, crashes=1), 24_375),
    (Bounds(handshakes=2, rekeyed_after=1, crashes=1), 20_225),
    (Bounds(turns=1, forgeries=1, acquainted=True), 4_701),
    (Bounds(turns=1, forgeries=2), 401_941),
    (Bounds(turns=1, crashes=1, forgeries=1), 55_652),
    (Bounds(turns=1, crashes=1, forgeries=1, acquainted=True), 44_650),
    (Bounds(turns=1, forgeries=1, pins_from_elsewhere=True), 24_348),
    (Bounds(turns=1, forgeries=1, minutes=1, acquainted=True, revocable=True), 750_046),
    (Bounds(letters=1, forgeries=1), 4_224),
    (Bounds(letters=1, handshakes=2, revocable=True), 11_480),
    (Bounds(letters=1, handshakes=2, crashes=1, overdue=True), 49_869),
    (Bounds(letters=2, turns=3, handshakes=2, room=1), 121_899),
]

# the cheapest first: most mutants fall at once
FOR_MUTANTS = (
    Bounds(turns=1),
    Bounds(turns=2),
    Bounds(handshakes=2, turns=1),
    Bounds(turns=1, crashes=1),
    Bounds(turns=1, forgeries=1),
    Bounds(letters=1, handshakes=2),
    Bounds(letters=2, turns=4, room=1),
    Bounds(handshakes=2, rekeyed_after=1),
    Bounds(turns=1, forgeries=1, acquainted=True),
)
# and what takes more than that to be told from the shipped table: a `k1` more, from another process
DEEPER = {
    "resp_half, k1, repeats_the_k1: without its guard": Bounds(handshakes=2, turns=1, crashes=1),
    "resp_half, k1, shows_our_ticket: without the row": Bounds(handshakes=2, turns=1, crashes=1),
    "resp_half, k1, shows_our_ticket: without its guard": Bounds(handshakes=3, turns=1, crashes=1),
    "resp_exchange, k1, shows_our_ticket: without its guard": Bounds(handshakes=3, turns=1, crashes=1),
    "resp_finalize, k1, shows_our_ticket: without its guard": Bounds(handshakes=3, turns=1, crashes=1),
}

Note = Callable[[str, object], None]


def _assert_holds(bounds: Bounds, states: int, note: Note) -> None:
    result = explore(bounds)
    note("to be told", f"version 2, {bounds}: {result}")
    assert result.violations == {}
    assert result.both_closed > 0, "no conversation was ever closed: nothing was checked"
    assert result.states == states
    if bounds.forgeries and not bounds.letters:
        expected = {name for name in EXCEPTIONS if not (bounds.acquainted and "confirm" in name)}
        assert result.exceptions == expected, "the list of what a forger may change is not what happens"


@pytest.mark.parametrize(("bounds", "states"), SMALL, ids=lambda value: str(value))
def test_the_table_keeps_its_promises_within_small_bounds(
    bounds: Bounds, states: int, record_property: Note
) -> None:
    _assert_holds(bounds, states, record_property)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("bounds", "states"), LARGE, ids=lambda value: str(value))
def test_the_table_keeps_its_promises_within_large_bounds(
    bounds: Bounds, states: int, record_property: Note
) -> None:
    _assert_holds(bounds, states, record_property)


def _row(bounds: Bounds, states: int) -> str:
    counted = ("handshakes", "turns", "tries", "crashes", "forgeries", "minutes", "letters")
    besides = {
        "both know each other": bounds.acquainted,
        "keys are pinned elsewhere meanwhile": bounds.pins_from_elsewhere,
        "new keys after every message": bounds.rekeyed_after == 1,
        f"{bounds.nudges} nudges": bounds.nudges > 1,
        "either may be revoked": bounds.revocable,
        f"room for {bounds.room}": bounds.room < bounds.letters,
        "letters may expire": bounds.overdue,
    }
    numbers = " | ".join(str(getattr(bounds, name) or "–") for name in counted)
    said = "; ".join(text for text, holds in besides.items() if holds) or "–"
    return f"| {numbers} | {said} | {states:_} |".replace("_", " ")


def test_the_page_lists_what_is_explored_here() -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    missing = [row for row in (_row(*explored) for explored in (*SMALL, *LARGE)) if row not in page]
    print("missing in the page:", *missing, sep="\n")
    assert not missing
    listed = [line for line in page if line.count("|") == 10 and line[2].isdigit()]
    assert len(listed) == len(SMALL) + len(LARGE), "bounds that nobody explores any more"


# ---- suites ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds",
    [Bounds(turns=1, crashes=1), pytest.param(Bounds(handshakes=2, turns=1), marks=pytest.mark.slow)],
    ids=str,
)
def test_with_a_secret_mixed_in_by_ml_kem_every_state_is_the_same(bounds: Bounds) -> None:
    classical, hybrid = explore(bounds), explore(replace(bounds, post_quantum=True))
    assert classical.violations == hybrid.violations == {}
    assert (classical.states, classical.transitions) == (hybrid.states, hybrid.transitions)


@pytest.mark.slow
def test_with_a_secret_mixed_in_by_ml_kem_a_forger_achieves_no_more() -> None:
    result = explore(Bounds(turns=1, forgeries=1, post_quantum=True))
    assert result.violations == {}
    assert result.exceptions == set(EXCEPTIONS)


def test_no_row_of_the_table_looks_at_the_suite() -> None:
    places = set()
    package = Path(initiator.__file__).parent
    for path in (*package.glob("*.py"), *(Path(module.__file__) for module in (packets, gossip, shared))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            names = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
            names |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            if names & {"suite", "suites", "SUITES", "kem", "psk", "kem_key", "encapsulate"}:
                places.add((path.stem, function.name))
    assert places == {("parts", "begin_session")}, "which only tells which suite it is"


# ---- the checker itself: what it must find --------------------------------------------------------------------------


def _first_violation(name: str) -> Result:
    for bounds in [DEEPER[name]] if name in DEEPER else FOR_MUTANTS:
        try:
            result = explore(bounds, stop_early=True)
        except KeyError as error:  # a step fails as no refusal does, which nobody would miss
            return Result(violations={"exception": [repr(error)]})
        if result.violations:
            break
    return result


MUTANTS = mutants_of(TABLE)

_REFUSES = "what the guard would have ignored the action refuses by itself"
_SEALED = "the header is sealed and the peer waits for each answer: no other packet can be there"
_REPEATS = "what is said was said before, and moves nobody"
_SLOWER = "a `register` or the timer brings the same about, later"
_AS_GOOD = (
    "a ticket that is good for nothing is answered with an n1, which leads on as well as giving it up does"
)
_NEVER_THERE = "no session of the model grows old, and no answer waits for an audience"
_NEEDLESS = "a conversation in which nothing is said harms nobody, and a `k1` without a ticket cannot be made"
_EARLY = "to end early, or to say more before the answer has come, costs turns and no letter"
_LATER = "the next conversation carries what this one leaves"

# Guards and rows that no property can tell from their absence, within `FOR_MUTANTS`, and why: by the end of the name.
_EQUIVALENT = {
    "n2, carries_our_nonce: without its guard": _REFUSES,
    "resp_half, k1, always: without the row": _SLOWER,
    "resp_exchange, k1, always: without the row": _SLOWER,
    "resp_finalize, k1, always: without the row": _SLOWER,
    "resp_half, request, confirms_the_half: without its guard": _REFUSES,
    "resp_finalize, request, confirms_the_half: without its guard": _REFUSES,
    "resp_exchange, request, echoes_our_nonce: without its guard": _SEALED,
    "resp_exchange, conclude, echoes_our_nonce: without its guard": _SEALED,
    "conclude, concludes_again: without its guard": _REPEATS,
    "resp_finalize, close, closes: without its guard": _SEALED,
    "close, closes_again: without its guard": _REPEATS,
    "init_ready, register, may_resume: without its guard": _REFUSES,
    "init_ready, n1, may_resume: without the row": _SLOWER,
    "init_ready, n1, may_begin: without its guard": _REFUSES,
    "init_hs, n1, is_the_n1_once_more: without the row": _SLOWER,
    "init_hs, n1, is_another_n1: without its guard": _REFUSES,
    "n3, answers_an_attempt: without its guard": _REFUSES,
    "k2, is_resuming: without its guard": _REFUSES,
    "register, may_resume_with_the_silent: without the row": _SLOWER,
    "register, may_resume_with_the_silent: without its guard": _SLOWER,
    "init_exchange, k2, is_resuming: without the row": _SLOWER,
    "init_finalize_propose, k2, is_resuming: without the row": _SLOWER,
    "init_exchange, respond, echoes_our_nonce: without its guard": _SEALED,
    "submit, may_resume: without the row": _SLOWER,
    "submit, may_resume: without its guard": _NEEDLESS,
    "submit, is_exhausted_pausing: without the row": _NEVER_THERE,
    "submit, is_exhausted_pausing: without its guard": _EARLY,
    "submit, may_go_on_at_once: without the row": _SLOWER,
    "submit, may_go_on_at_once: without its guard": _EARLY,
    "timer, may_go_on: without the row": _LATER,
    "init_hs, timer, is_resuming: without the row": _AS_GOOD,
    "resp_exchange, timer, waits_to_answer: without the row": _NEVER_THERE,
    "init_finalize_propose, respond, asks_again: without its guard": _REPEATS,
    "finish, shows_our_reference: without its guard": _SEALED,
    "finish, has_closed: without its guard": _SEALED,
}
EQUIVALENT = [name for name in MUTANTS if name.endswith(tuple(_EQUIVALENT))]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in EQUIVALENT])
def test_a_table_without_one_of_its_rows_or_guards_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, 2, MUTANTS[name])
    assert _first_violation(name).violations


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVALENT)
def test_the_mutants_said_to_be_equivalent_still_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, 2, MUTANTS[name])
    assert _first_violation(name).violations == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("init_exchange, timer, always: without the row", "trap"),
        ("resp_half, timer, always: without the row", "trap"),
        ("resp_exchange, restart, always: without the row", "restart"),
        ("resp_exchange, request, asks_again: without the row", "answer"),
        ("resp_ready, k1, shows_our_ticket: without the row", "liveness"),
        ("resp_ready, register, greets_strangers: without its guard", "register"),
    ],
)
def test_without_a_forger_each_loss_violates_the_property_it_serves(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, 2, MUTANTS[name])
    result = explore(Bounds(turns=1, crashes=1), stop_at=expected)
    print(f"{expected}:", *result.violations.get(expected, ()), sep="\n  ")
    assert expected in result.violations


def _with_action(name: str, act: Callable[[Turn], None]) -> tuple[Transition, ...]:
    return tuple(replace(row, act=act) if row.act.__name__ == name else row for row in TABLE)


def _with_guard(name: str, guard: Callable[[Turn], bool]) -> tuple[Transition, ...]:
    return tuple(replace(row, guard=guard) if row.guard.__name__ == name else row for row in TABLE)


def test_without_the_memory_of_used_nonces_one_brings_two_handshakes_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Live, "fresh_consumed", lambda live, ours: ())
    assert "nonce" in explore(Bounds(handshakes=2, turns=1), stop_at="nonce").violations


def test_a_memory_of_used_nonces_that_is_shorter_than_the_life_of_their_secret_is_too_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def until_the_next_secret(live: Live, ours: Announcements) -> tuple[Consumed, ...]:
        return tuple(entry for entry in live.consumed if entry.newest == ours.secrets[0].offer)

    monkeypatch.setattr(Live, "fresh_consumed", until_the_next_secret)
    assert "nonce" in explore(Bounds(handshakes=2, turns=1, minutes=1), stop_at="nonce").violations


def _shows_a_ticket_used_or_not(turn: Turn) -> bool:
    shown, ticket = turn.event, turn.before.ticket
    return ticket is not None and (ticket.ticket_id, ticket.generation) == (shown.ticket, shown.generation)


def test_a_ticket_that_may_be_used_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, 2, _with_guard("shows_our_ticket", _shows_a_ticket_used_or_not))
    assert "nonce" in explore(Bounds(handshakes=3, turns=1), stop_at="nonce").violations


def test_a_ticket_whose_use_is_not_written_down_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = modelled_agent.durable

    def forgetful(after: PeerState, stored: PeerState) -> PeerState:
        return replace(shipped(after, stored), ticket_used=stored.ticket_used)

    monkeypatch.setattr(modelled_agent, "durable", forgetful)
    assert "nonce" in explore(Bounds(handshakes=3, turns=1, crashes=1), stop_at="nonce").violations


def _accept_n2_at_once(turn: Turn) -> None:
    responder.accept_n2(turn)
    half = turn.after.live.halves[-1] if turn.after.live is not None else None
    if half is not None:
        begin_session(turn, half.session, responder.decide(turn, half.peer), resumed=False)


def test_a_session_that_no_packet_has_confirmed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, 2, _with_action("accept_n2", _accept_n2_at_once))
    assert "confirmation" in explore(Bounds(turns=1), stop_at="confirmation").violations


def test_without_the_binding_of_headers_a_forger_alters_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Header, "digest", lambda header: bytes(32))
    assert "forgery" in explore(Bounds(turns=1, forgeries=1), stop_at="forgery").violations


def test_without_pins_somebody_else_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_change", lambda proven, facts, policy, *, is_certified: Change.REPLACED)
    bounds = Bounds(turns=1, forgeries=2, acquainted=True)
    assert "forgery" in explore(bounds, stop_at="forgery").violations


def test_without_the_sentinel_two_agents_of_version_2_end_up_in_version_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "is_from_version_2", lambda nonce: False)
    assert "downgrade" in explore(Bounds(turns=1, forgeries=1), stop_at="downgrade").violations


def test_a_packet_in_the_clear_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedKey, "encrypt", lambda key, nonce, plaintext, associated: plaintext + bytes(16))
    assert "plaintext" in explore(Bounds(turns=1), stop_at="plaintext").violations


def test_a_dead_key_in_the_name_of_a_peer_that_ends_its_session_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step, "talks_to_the_revoked", lambda turn: turn.live.session is not None)
    bounds = Bounds(turns=1, forgeries=1, minutes=1, acquainted=True, revocable=True)
    assert "forgery" in explore(bounds, stop_at="forgery").violations


def test_a_revocation_that_running_sessions_are_not_asked_about_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Transaction, "is_revoked", lambda book, pin: False)
    assert "revoked" in explore(Bounds(turns=1, revocable=True), stop_at="revoked").violations

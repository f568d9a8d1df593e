"""The shipped table of version 2, exhaustively within bounds (explorer_v2.py says what is checked and what is not); and that
the checker fails when a row, a guard or one of the things that it rests on is taken away.
"""

from collections.abc import Callable
from dataclasses import replace

import modelled_agent
import pytest
from explorer_v2 import explore
from forgery_v2 import EXCEPTIONS
from moves_v2 import Bounds
from search import Result
from symbolic import LoadedKey
from thinned_tables import mutants_of, put

from handfast.conversation import v1
from handfast.conversation.live import Announcements, Consumed, Live
from handfast.conversation.model import PeerState
from handfast.conversation.turn import Transition, Turn
from handfast.conversation.v2 import responder
from handfast.conversation.v2.parts import begin_session
from handfast.conversation.v2.table import TABLE
from handfast.trust import decision as trust
from handfast.trust.decision import Change
from handfast.wire.v2.header import Header

# each with the number of states it has: a model that shrinks unseen proves nothing
SMALL = [
    (Bounds(), 68),
    (Bounds(handshakes=2, turns=1, crashes=1), 5_771),
    (Bounds(handshakes=2, rekeyed_after=1), 782),
    (Bounds(turns=1, forgeries=1), 3_565),
    (Bounds(turns=1, forgeries=1, acquainted=True), 2_685),
    (Bounds(turns=1, crashes=1, minutes=1), 8_342),
    (Bounds(turns=4, tries=5, crashes=1), 1_522),  # turns and tries as they are shipped
]
LARGE = [
    (Bounds(handshakes=2, crashes=1), 8_817),
    (Bounds(handshakes=2, rekeyed_after=1, crashes=1), 7_548),
    (Bounds(turns=1, forgeries=2), 179_711),
    (Bounds(turns=1, crashes=1, forgeries=1), 33_788),
    (Bounds(turns=1, crashes=1, forgeries=1, acquainted=True), 26_390),
    (Bounds(turns=1, forgeries=1, pins_from_elsewhere=True), 14_260),
]

# the cheapest first: most mutants fall at once
FOR_MUTANTS = (
    Bounds(turns=1),
    Bounds(turns=2),
    Bounds(handshakes=2, turns=1),
    Bounds(turns=1, crashes=1),
    Bounds(turns=1, forgeries=1),
    Bounds(handshakes=2, rekeyed_after=1),
    Bounds(turns=1, forgeries=1, acquainted=True),
    Bounds(handshakes=2, turns=1, crashes=1),
)

Note = Callable[[str, object], None]


def _assert_holds(bounds: Bounds, states: int, note: Note) -> None:
    result = explore(bounds)
    note("to be told", f"version 2, {bounds}: {result}")
    assert result.violations == {}
    assert result.both_closed > 0, "no conversation was ever closed: nothing was checked"
    assert result.states == states
    if bounds.forgeries:
        expected = {name for name in EXCEPTIONS if not (bounds.acquainted and "confirm" in name)}
        assert result.exceptions == expected, "the list of what a forger may change is not what happens"


@pytest.mark.parametrize(("bounds", "states"), SMALL, ids=lambda value: str(value))
def test_the_table_keeps_its_promises_within_small_bounds(
    bounds: Bounds, states: int, record_property: Note
) -> None:
    _assert_holds(bounds, states, record_property)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("bounds", "states"), LARGE, ids=lambda value: str(value))
def test_the_table_keeps_its_promises_within_large_bounds(
    bounds: Bounds, states: int, record_property: Note
) -> None:
    _assert_holds(bounds, states, record_property)


# ---- the checker itself: what it must find --------------------------------------------------------------------------


def _first_violation() -> Result:
    for bounds in FOR_MUTANTS:
        result = explore(bounds, stop_early=True)
        if result.violations:
            break
    return result


MUTANTS = mutants_of(TABLE)

_REFUSES = "what the guard would have ignored the action refuses by itself"
_SEALED = "the header is sealed and the peer waits for each answer: no other packet can be there"
_REPEATS = "what is said was said before, and moves nobody"
_SLOWER = "a `register` or the timer brings the same about, later"
_LETTERS = "letters are not modelled"

# Guards and rows that no property can tell from their absence, within `FOR_MUTANTS`, and why: by the end of the name.
_EQUIVALENT = {
    "n2, carries_our_nonce: without its guard": _REFUSES,
    "resp_half, k1, shows_our_ticket: without its guard": _REFUSES,
    "resp_exchange, k1, shows_our_ticket: without its guard": _REFUSES,
    "resp_finalize, k1, shows_our_ticket: without its guard": _REFUSES,
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
    "register, is_waited_for: without its guard": _REPEATS,
    "register, may_resume_with_the_silent: without the row": _SLOWER,
    "register, may_resume_with_the_silent: without its guard": _SLOWER,
    "init_exchange, k2, is_resuming: without the row": _SLOWER,
    "init_finalize_propose, k2, is_resuming: without the row": _SLOWER,
    "init_exchange, respond, echoes_our_nonce: without its guard": _SEALED,
    "respond, continues_with_letters: without the row": _LETTERS,
    "submit, may_resume: without the row": _LETTERS,
    "submit, may_resume: without its guard": _LETTERS,
    "submit, is_exhausted_pausing: without the row": _LETTERS,
    "submit, is_exhausted_pausing: without its guard": _LETTERS,
    "submit, may_go_on_at_once: without the row": _LETTERS,
    "submit, may_go_on_at_once: without its guard": _LETTERS,
    "timer, may_go_on: without the row": _LETTERS,
    "timer, is_pausing: without the row": _LETTERS,
    "init_finalize_propose, respond, asks_again: without its guard": _REPEATS,
    "finish, shows_our_reference: without its guard": _SEALED,
    "finish, has_closed: without the row": _SLOWER,
    "finish, finishes_again: without its guard": _REPEATS,
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
    assert _first_violation().violations


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVALENT)
def test_the_mutants_said_to_be_equivalent_still_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, 2, MUTANTS[name])
    assert _first_violation().violations == {}


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
    monkeypatch.setattr(v1, "is_from_version_2", lambda nonce: False)
    assert "downgrade" in explore(Bounds(turns=1, forgeries=1), stop_at="downgrade").violations


def test_a_packet_in_the_clear_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedKey, "encrypt", lambda key, nonce, plaintext, associated: plaintext + bytes(16))
    assert "plaintext" in explore(Bounds(turns=1), stop_at="plaintext").violations

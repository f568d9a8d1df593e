"""The shipped table, exhaustively within bounds (explorer.py says what is checked and what is not); and that the checker
fails when a row, a guard or a uniqueness is taken away.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from explorer import explore
from forgery import EXCEPTIONS
from moves import Bounds
from search import Result
from symbolic import CountedEntropy
from thinned_tables import mutants_of, put

from handfast.adapters.memory import MemoryTransaction
from handfast.conversation.effects import Effect, RecordEnvelope, RecordNonce, RememberHandshake
from handfast.conversation.model import Facts, PeerState, Role
from handfast.conversation.v1.table import TABLE
from handfast.session import v1 as session
from handfast.trust import v1 as trust
from handfast.wire.v1 import Message

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "protocol-v1.md"

# each with the number of states it has: a model that shrinks unseen proves nothing
SMALL = [
    (Bounds(), 78),
    (Bounds(conversations=2, turns=3, tries=3, crashes=1), 5_083),
    (Bounds(conversations=2, crashes=1, pins_from_elsewhere=True), 2_844),
    (Bounds(conversations=2, crashes=1, forgeries=1), 20_059),
    (Bounds(conversations=2, turns=1, crashes=1, forgeries=1, acquainted=True), 8_355),
    (Bounds(turns=1, forgeries=2), 914),
    (Bounds(conversations=2, turns=4, tries=5, crashes=1), 14_943),  # turns and tries as they are shipped
]
LARGE = [
    (Bounds(conversations=3, crashes=3, acquainted=True), 55_157),
    (Bounds(conversations=3, turns=3, tries=3, crashes=2, pins_from_elsewhere=True), 123_151),
    (Bounds(conversations=2, turns=2, crashes=1, forgeries=2), 160_787),
    (Bounds(conversations=2, turns=1, crashes=1, forgeries=2, acquainted=True), 37_571),
    (Bounds(conversations=2, turns=4, crashes=1, forgeries=1), 53_663),
]

# what costs little and still reaches a second conversation, a crash and a forgery, with strangers and with acquaintances
FOR_MUTANTS = (
    Bounds(conversations=2, crashes=1, forgeries=1),
    Bounds(conversations=2, turns=1, forgeries=1, acquainted=True),
)


Note = Callable[[str, object], None]


def _assert_holds(bounds: Bounds, states: int, note: Note) -> None:
    result = explore(bounds)
    note("to be told", f"{bounds}: {result}")
    assert result.violations == {}
    assert result.both_closed > 0, "no conversation was ever closed: nothing was checked"
    assert result.states == states
    if bounds.forgeries:
        expected = {name for name in EXCEPTIONS if not (bounds.acquainted and "pinned" in name)}
        assert result.exceptions == expected, "the list of what v1 cannot defend is not what happens"


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


def test_the_page_lists_what_is_explored_here() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for bounds, states in (*SMALL, *LARGE):
        numbers = [bounds.conversations, bounds.turns, bounds.tries, bounds.crashes, bounds.forgeries]
        row = " | ".join(str(number or "–") for number in numbers)
        known = "yes" if bounds.acquainted else "no"
        found = [line for line in page.splitlines() if line.startswith(f"| {row} | {known}")]
        assert any(line.endswith(f"| {states:_} |".replace("_", " ")) for line in found), (bounds, states)


# ---- the checker itself: what it must find --------------------------------------------------------------------------


def _first_violation(transaction: type[MemoryTransaction] = MemoryTransaction) -> Result:
    for bounds in FOR_MUTANTS:
        result = explore(bounds, transaction, stop_early=True)
        if result.violations:
            break
    return result


MUTANTS = mutants_of(TABLE)

# Mutants that no property can tell from the shipped table, and why.
EQUIVALENT = {
    "resp_ready, register, hears_register_for_the_first_time: without its guard": (
        "the wait for a reconnect begins anew with each register; in the model time stands still"
    ),
}


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in EQUIVALENT])
def test_a_table_without_one_of_its_rows_or_guards_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, 1, MUTANTS[name])
    assert _first_violation().violations


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUIVALENT)
def test_the_mutants_said_to_be_equivalent_still_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, 1, MUTANTS[name])
    assert _first_violation().violations == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("init_exchange, timer, always: without the row", "trap"),
        ("resp_finalize, restart, always: without the row", "trap"),
        ("resp_exchange, conclude, echoes_our_nonce: without its guard", "correspondence"),
        ("init_exchange, respond, answers_the_last_turn: without its guard", "agreement"),
        ("init_finalize_propose, finish, shows_our_reference: without its guard", "correspondence"),
    ],
)
def test_without_a_forger_each_loss_violates_the_property_it_serves(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, 1, MUTANTS[name])
    result = explore(Bounds(conversations=2, crashes=1))
    print(f"{expected}:", *result.violations.get(expected, ()), sep="\n  ")
    assert expected in result.violations


class _WithoutEnvelopes(MemoryTransaction):
    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        super().commit(after, [e for e in effects if not isinstance(e, RecordEnvelope)], now)


class _WithoutNonces(MemoryTransaction):
    def facts(self, role: Role, message: Message | None) -> Facts:
        return replace(super().facts(role, message), nonce_seen=False)

    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        known = {(flow, nonce) for _, flow, nonce in self._store.nonces}
        super().commit(after, [e for e in effects if _nonce_of(e) not in known], now)


def _nonce_of(effect: Effect) -> tuple[str, str] | None:
    return (effect.flow, effect.nonce) if isinstance(effect, RecordNonce) else None


class _WithoutHandshakes(MemoryTransaction):
    def facts(self, role: Role, message: Message | None) -> Facts:
        return replace(super().facts(role, message), handshake_seen=False)

    def commit(self, after: PeerState, effects: Iterable[Effect], now: float) -> None:
        super().commit(after, [e for e in effects if not isinstance(e, RememberHandshake)], now)


def test_without_unique_envelopes_a_forger_has_one_delivered_twice() -> None:
    assert "delivery" in _first_violation(_WithoutEnvelopes).violations


def test_without_the_memory_of_handshakes_a_repeated_confirm_opens_a_second_session() -> None:
    assert "freshness" in _first_violation(_WithoutHandshakes).violations


def test_without_unique_nonces_a_forger_has_one_taken_twice_and_the_envelopes_hold_the_rest() -> None:
    assert "nonce" in _first_violation(_WithoutNonces).violations
    assert explore(FOR_MUTANTS[1], _WithoutNonces).violations.keys() <= {"nonce"}


def test_with_nonces_of_its_own_that_repeat_an_agent_closes_no_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CountedEntropy, "nonce", lambda entropy: entropy._letter * 32)
    assert "liveness" in explore(Bounds(conversations=2, crashes=1)).violations


def test_without_pins_a_stranger_moves_an_acquaintance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "decide", lambda sign_pub, *, own, pinned, held_by_another: pinned is None)
    assert "forgery" in explore(FOR_MUTANTS[1], stop_early=True).violations


def test_a_message_in_the_clear_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "seal", lambda content, *_: content)
    assert "plaintext" in explore(Bounds()).violations

"""Who may speak for an id, and the chain that shows where an audit log was changed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast import trust
from handfast.audit import FIRST_DIGEST, AuditRow, chain_digest, first_broken
from handfast.errors import HandfastError, PeerError, Reason

law = settings(deadline=None, max_examples=60)

OWN, PEER, OTHER = b"o" * 32, b"p" * 32, b"x" * 32

# ---- trust --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sign_pub", "pinned", "held_by_another", "verdict"),
    [
        (PEER, None, False, True),
        (PEER, PEER, False, False),
        (PEER, OTHER, False, Reason.KEY_CHANGED),
        (PEER, None, True, Reason.KEY_UNDER_TWO_IDS),
        (PEER, PEER, True, Reason.KEY_UNDER_TWO_IDS),
        (PEER, OTHER, True, Reason.KEY_CHANGED),
        (OWN, None, False, Reason.OWN_KEY_REFLECTED),
        (OWN, OWN, False, Reason.OWN_KEY_REFLECTED),
        (OWN, PEER, False, Reason.OWN_KEY_REFLECTED),
        (OWN, None, True, Reason.OWN_KEY_REFLECTED),
        (OWN, OWN, True, Reason.OWN_KEY_REFLECTED),
        (PEER, b"", False, Reason.KEY_CHANGED),  # an empty pin is a pin, and not the absence of one
    ],
)
def test_a_key_is_pinned_at_first_sight_and_no_other_speaks_for_the_id(
    sign_pub: bytes, pinned: bytes | None, held_by_another: bool, verdict: bool | Reason
) -> None:
    if isinstance(verdict, bool):
        assert trust.decide(sign_pub, own=OWN, pinned=pinned, held_by_another=held_by_another) is verdict
        return
    with pytest.raises(PeerError) as caught:
        trust.decide(sign_pub, own=OWN, pinned=pinned, held_by_another=held_by_another)
    assert caught.value.reason is verdict


@given(st.binary(max_size=3), st.binary(max_size=3), st.none() | st.binary(max_size=3), st.booleans())
@law
def test_a_key_that_may_speak_is_new_or_the_pinned_one_and_nobody_elses(
    sign_pub: bytes, own: bytes, pinned: bytes | None, held_by_another: bool
) -> None:
    try:
        is_new = trust.decide(sign_pub, own=own, pinned=pinned, held_by_another=held_by_another)
    except PeerError:
        assert sign_pub == own or held_by_another or pinned not in (None, sign_pub)
    else:
        assert sign_pub != own
        assert not held_by_another
        assert pinned == (None if is_new else sign_pub)


# ---- reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_names_its_reason_as_a_stable_word(reason: Reason) -> None:
    assert reason.value == reason.name.lower()
    assert str(PeerError(reason)) == reason.value
    assert str(PeerError(reason, "my_nonce")) == f"{reason.value}: my_nonce"
    assert PeerError(reason).reason is reason
    assert isinstance(PeerError(reason), HandfastError)


# ---- audit --------------------------------------------------------------------------------------------------------


def chain(length: int, first_seq: int = 1, previous: str = FIRST_DIGEST) -> list[AuditRow]:
    rows = []
    for seq in range(first_seq, first_seq + length):
        members = (
            1000.0 + seq,
            f"event {seq}",
            None if seq % 2 else "initiator",
            f"peer {seq}",
            f'{{"n":{seq}}}',
        )
        previous = chain_digest(previous, *members)
        rows.append(AuditRow(seq, *members, previous))
    return rows


ROWS = chain(6)
CHANGES: list[dict[str, Any]] = [
    {"at": 0.0},
    {"event": "another"},
    {"role": "responder"},
    {"role": "None"},
    {"role": ""},
    {"peer_id": ""},
    {"detail": '{"n": 1}'},
    {"digest": FIRST_DIGEST},
    {"digest": ""},
    {"seq": 99},
]


@pytest.mark.parametrize("length", [0, 1, 2, 6])
def test_a_chain_that_nobody_touched_holds(length: int) -> None:
    assert first_broken(chain(length)) is None
    assert first_broken(iter(chain(length))) is None


def test_a_chain_of_which_the_oldest_rows_were_pruned_holds() -> None:
    assert first_broken(ROWS[2:]) is None


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_changed_row_breaks_the_chain_at_its_place(change: dict[str, Any]) -> None:
    for at in range(1, len(ROWS)):
        rows = list(ROWS)
        rows[at] = replace(rows[at], **change)
        assert rows[at] != ROWS[at]
        assert first_broken(rows) == rows[at].seq


@pytest.mark.parametrize(
    "change", [{"digest": FIRST_DIGEST}, {"seq": 0}, {"detail": "{}"}, {"at": 0.0}], ids=str
)
def test_a_changed_first_row_breaks_the_chain_at_its_place(change: dict[str, Any]) -> None:
    first = replace(ROWS[0], **change)
    assert first_broken([first, *ROWS[1:]]) == first.seq


@pytest.mark.parametrize("at", range(1, 5))
def test_a_removed_row_breaks_the_chain_at_its_place_also_where_the_others_are_numbered_anew(at: int) -> None:
    rows = ROWS[:at] + ROWS[at + 1 :]
    assert first_broken(rows) == ROWS[at + 1].seq
    renumbered = [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]
    assert first_broken(renumbered) == at + 1


@pytest.mark.parametrize("at", range(1, 5))
def test_two_rows_that_changed_places_break_the_chain(at: int) -> None:
    rows = list(ROWS)
    rows[at], rows[at + 1] = rows[at + 1], rows[at]
    assert first_broken(rows) == ROWS[at + 1].seq
    renumbered = [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]
    assert first_broken(renumbered) == at + 1


@pytest.mark.parametrize("at", range(1, 6))
def test_a_row_that_was_put_in_breaks_the_chain(at: int) -> None:
    rows = [
        *ROWS[:at],
        replace(ROWS[at], event="put in"),
        *(replace(row, seq=row.seq + 1) for row in ROWS[at:]),
    ]
    assert first_broken(rows) == at + 1
    assert first_broken([*ROWS[:at], ROWS[at - 1], *ROWS[at:]]) == at, "a row that stands twice"


def test_a_row_changed_together_with_its_own_digest_breaks_the_chain_after_it() -> None:
    rows = list(ROWS)
    forged = chain_digest(rows[1].digest, rows[2].at, "forged", rows[2].role, rows[2].peer_id, rows[2].detail)
    rows[2] = replace(rows[2], event="forged", digest=forged)
    assert first_broken(rows) == rows[3].seq


texts = st.text(st.sampled_from('",[]null\\|0'), max_size=4)
members = st.tuples(texts, st.floats(0, 3e9), texts, st.none() | texts, texts, texts)


@law
@given(members, members)
def test_two_rows_have_one_digest_only_when_they_are_the_same(
    one: tuple[str, float, str, str | None, str, str], other: tuple[str, float, str, str | None, str, str]
) -> None:
    assert (chain_digest(*one) == chain_digest(*other)) == (one == other)


@law
@given(texts, texts)
def test_a_text_moved_from_one_member_to_the_next_changes_the_digest(one: str, other: str) -> None:
    moved = chain_digest("", 0.0, one + other, None, "", ""), chain_digest("", 0.0, one, None, other, "")
    assert (moved[0] == moved[1]) == (other == "")


def test_a_digest_is_64_hex_digits_like_the_first_one() -> None:
    digest = chain_digest(FIRST_DIGEST, 0.0, "started", None, "", "{}")
    assert len(bytes.fromhex(digest)) == len(bytes.fromhex(FIRST_DIGEST)) == 32

"""The audit log's laws: whatever is done to a log, the first bad entry is named, and a good log stays good."""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fake_world import make_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.audit import (
    BY_COMMAND,
    CHECKPOINT,
    CHECKPOINT_ENTRIES,
    ENTRIES_KEPT,
    FIRST_DIGEST,
    STARTED,
    STOPPED,
    AuditRow,
    Fault,
    Report,
    Verifier,
    Why,
    audit_row,
    chain_digest,
    next_rows,
    oldest_needed,
    sign_head,
    signed_head,
    verify,
)
from handfast.crypto.keys import SigningKey
from handfast.wire.text import EncodingError, b64encode

law = settings(deadline=None, max_examples=60)

KEY, OTHER_KEY = make_identity("alice").identity_key, make_identity("mallory").identity_key


def appended(
    rows: list[AuditRow], event: str, at: float, key: SigningKey | None = KEY, **detail: object
) -> None:
    """Let the agent, or a command where there is no key, append an entry to `rows`."""
    checkpoint = next((row for row in reversed(rows) if row.event == CHECKPOINT), None)
    role, peer = ("initiator", f"peer {len(rows)}") if event == "closed" else (None, "")
    said = detail if key else detail | BY_COMMAND
    last = rows[-1] if rows else None
    rows += next_rows(last, checkpoint, key, at=at, event=event, role=role, peer_id=peer, detail=said)


def log(entries: int, pace: float = 0.1, key: SigningKey = KEY) -> list[AuditRow]:
    """What an agent writes that starts and then closes so many conversations, one each `pace` seconds."""
    rows: list[AuditRow] = []
    appended(rows, STARTED, 1000.0, key)
    for number in range(entries):
        appended(rows, "closed", 1000.0 + pace * number, key, n=number)
    return rows


def version_1(entries: int, first_seq: int = 1, previous: str = FIRST_DIGEST) -> list[AuditRow]:
    """A log of version 1: the chain, and nothing signed."""
    rows = []
    for seq in range(first_seq, first_seq + entries):
        role = None if seq % 2 else "initiator"
        members = (1000.0 + seq, f"event {seq}", role, f"peer {seq}", f'{{"n":{seq}}}')
        previous = chain_digest(previous, *members)
        rows.append(AuditRow(seq, *members, previous))
    return rows


def chained_anew(rows: Sequence[AuditRow], start: int) -> list[AuditRow]:
    """The same rows with digests that follow from each other, as whoever can write them but has no key would do it."""
    done = list(rows[:start])
    for row in rows[start:]:
        previous = done[-1].digest if done else FIRST_DIGEST
        digest = chain_digest(previous, row.at, row.event, row.role, row.peer_id, row.detail)
        done.append(replace(row, seq=len(done) + 1, digest=digest))
    return done


def report_of(rows: Sequence[AuditRow], *, kept: int = ENTRIES_KEPT, **how: Any) -> Report:
    return verify(map(asdict, rows), Verifier(kept=kept, **how))


def fault_of(rows: Sequence[AuditRow], **how: Any) -> Fault | None:
    return report_of(rows, **how).fault


ROWS = log(150)
SHORT = log(8)
CHECKPOINTS = [row.seq for row in ROWS if row.event == CHECKPOINT]
CHANGES: list[dict[str, Any]] = [
    {"at": 0.0},
    {"at": 1e300},
    {"event": "another"},
    {"event": STARTED},
    {"role": "responder"},
    {"role": "None"},
    {"role": ""},
    {"peer_id": "nobody"},
    {"detail": "{}"},
    {"detail": '{"by": "command"}'},
    {"digest": FIRST_DIGEST},
    {"digest": ""},
    {"digest": "no hex digits"},
]

# ---- good logs ----------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["closed", "unpinned", STARTED, STOPPED]), st.floats(-100, 100)),
        max_size=100,
    )
)
@law
def test_a_log_holds_whatever_its_agent_and_its_commands_write_and_however_the_clock_is_set(
    entries: list[tuple[str, float]],
) -> None:
    rows: list[AuditRow] = []
    appended(rows, STARTED, 1000.0)
    at = 1000.0
    for event, step in entries:
        at += step
        appended(rows, event, at, None if event == "unpinned" else KEY)
        report = report_of(rows)
        assert report.fault is None
        assert (report.first, report.last, report.key) == (1, len(rows), KEY.public)
    agents = [row for row in rows[report_of(rows).signed_to + 1 :] if row.event != "unpinned"]
    assert len(agents) < CHECKPOINT_ENTRIES, "what is not signed is bounded"


def test_there_is_a_signature_after_the_start_and_the_end_and_each_64_entries() -> None:
    assert [row.event for row in ROWS[:3]] == [STARTED, CHECKPOINT, "closed"]
    assert CHECKPOINTS == [2, 67, 132]
    rows = list(SHORT)
    appended(rows, STOPPED, 1001.0)
    assert [row.event for row in rows[-2:]] == [STOPPED, CHECKPOINT]


@pytest.mark.parametrize("later", [60.0, 3600.0, -60.0, -3600.0])
def test_an_entry_a_minute_after_the_last_signature_is_signed_at_once(later: float) -> None:
    rows = log(0)
    for sooner in (59.9, -59.9):
        appended(rows, "closed", 1000.0 + sooner)
        assert rows[-1].event == "closed"
    appended(rows, "closed", 1000.0 + later)
    assert rows[-1].event == CHECKPOINT


def test_a_checkpoint_holds_a_signature_over_number_and_digest_of_the_entry_before_it() -> None:
    head = signed_head(ROWS[66])
    assert head is not None
    assert (head.seq, head.digest, head.key) == (66, ROWS[65].digest, KEY.public)
    signed = b"SMNR2 audit head\0" + struct.pack(">Q", 66) + bytes.fromhex(ROWS[65].digest)
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(head.signature, signed)
    assert head.holds()
    assert head == sign_head(66, ROWS[65].digest, KEY)


def test_a_report_says_what_is_signed_and_by_whom() -> None:
    assert report_of(ROWS) == Report(None, 1, len(ROWS), 131, KEY.public, is_anchored=True)
    assert report_of([]) == Report(None, 0, 0, 0, None, is_anchored=True)


def test_a_log_of_version_1_holds_and_is_continued_by_a_signed_one() -> None:
    rows = version_1(200)
    assert report_of(rows) == Report(None, 1, 200, 0, None, is_anchored=True)
    appended(rows, STARTED, 3000.0)
    appended(rows, "closed", 3000.0)
    assert report_of(rows) == Report(None, 1, 203, 201, KEY.public, is_anchored=True)
    rows[99] = replace(rows[99], event="another")
    assert fault_of(rows) == Fault(100, Why.CHANGED)
    assert fault_of(chained_anew(rows, 99)) == Fault(202, Why.SIGNATURE)


def test_before_the_agent_has_started_once_nothing_is_signed() -> None:
    rows = version_1(3)
    for number in range(100):
        appended(rows, "closed", 3000.0 + 100 * number)
    assert CHECKPOINT not in [row.event for row in rows]
    assert fault_of(rows) is None


# ---- pruned logs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", CHECKPOINTS)
def test_a_log_pruned_up_to_a_checkpoint_proves_itself(first: int) -> None:
    rows = ROWS[first - 1 :]
    assert report_of(rows, kept=len(rows)) == Report(
        None, first, len(ROWS), 131, KEY.public, is_anchored=True
    )
    for change in CHANGES:
        changed = report_of([replace(rows[0], **change), *rows[1:]], kept=len(rows))
        # without the only checkpoint that was left, what is left is a log of version 1
        assert changed.fault or (change.get("event") and not changed.signed_to), change


def test_a_log_that_begins_late_and_is_shorter_than_pruning_leaves_lacks_its_beginning() -> None:
    for first in range(2, len(ROWS) + 1):
        assert fault_of(ROWS[first - 1 :]) == Fault(first, Why.MISSING)


def test_a_log_that_version_1_pruned_holds_but_its_first_entry_proves_nothing() -> None:
    rows = version_1(5, first_seq=8, previous="ab" * 32)
    assert report_of(rows, kept=5) == Report(None, 8, 12, 0, None, is_anchored=False)
    assert report_of(rows, kept=6).fault == Fault(8, Why.MISSING)
    appended(rows, STARTED, 3000.0)
    assert report_of(rows, kept=6) == Report(None, 8, 14, 13, KEY.public, is_anchored=False)
    assert report_of(rows, kept=7).fault == Fault(8, Why.MISSING), "version 2 prunes up to a checkpoint only"


def test_the_last_so_many_entries_are_needed() -> None:
    assert ENTRIES_KEPT - oldest_needed(ENTRIES_KEPT) == ENTRIES_KEPT - 1
    assert oldest_needed(ENTRIES_KEPT + 7) == 8


# ---- bad logs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_changed_entry_is_named(change: dict[str, Any]) -> None:
    for at, row in enumerate(SHORT):
        rows = list(SHORT)
        rows[at] = replace(row, **change)
        if rows[at] != row:
            assert fault_of(rows) == Fault(row.seq, Why.CHANGED)


@pytest.mark.parametrize("seq", [0, -1, 3, 99])
def test_an_entry_with_another_number_is_named(seq: int) -> None:
    rows = [*SHORT[:4], replace(SHORT[4], seq=seq), *SHORT[5:]]
    assert fault_of(rows) == Fault(seq, Why.MISSING if seq > 5 else Why.ORDER)


@pytest.mark.parametrize("seq", [0, -5])
def test_a_first_entry_with_a_number_that_is_none_is_named(seq: int) -> None:
    assert fault_of([replace(SHORT[0], seq=seq), *SHORT[1:]]) == Fault(seq, Why.ORDER)


@given(st.integers(1, len(ROWS) - 2))
@law
def test_a_removed_entry_is_named_by_the_one_after_it_also_where_the_others_are_numbered_anew(
    at: int,
) -> None:
    rows = ROWS[:at] + ROWS[at + 1 :]
    assert fault_of(rows) == Fault(ROWS[at + 1].seq, Why.MISSING)
    renumbered = [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]
    assert fault_of(renumbered) == Fault(at + 1, Why.CHANGED)


@given(st.data())
@law
def test_two_entries_that_changed_places_are_named_at_the_first_place(data: st.DataObject) -> None:
    one = data.draw(st.integers(1, len(ROWS) - 2))
    other = data.draw(st.integers(one + 1, len(ROWS) - 1))
    rows = list(ROWS)
    rows[one], rows[other] = rows[other], rows[one]
    assert fault_of(rows) == Fault(ROWS[other].seq, Why.MISSING)
    renumbered = [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]
    assert fault_of(renumbered) == Fault(one + 1, Why.CHANGED)


@given(st.integers(1, len(ROWS) - 1), st.booleans())
@law
def test_an_entry_that_was_put_in_is_named(at: int, follows: bool) -> None:
    members = (2000.0, "put in", None, "", "{}")
    forged = AuditRow(at + 1, *members, chain_digest(ROWS[at - 1].digest if follows else "", *members))
    rows = [*ROWS[:at], forged, *(replace(row, seq=row.seq + 1) for row in ROWS[at:])]
    assert fault_of(rows) == Fault(at + 2 if follows else at + 1, Why.CHANGED)
    assert fault_of([*ROWS[:at], ROWS[at - 1], *ROWS[at:]]) == Fault(at, Why.ORDER), (
        "an entry that stands twice"
    )


@given(st.integers(0, len(ROWS) - 1))
@law
def test_a_chain_made_anew_without_the_key_fails_at_the_next_checkpoint(at: int) -> None:
    rows = list(ROWS)
    rows[at] = replace(rows[at], event="forged", detail="{}")
    forged = chained_anew(rows, at)
    following = [seq for seq in CHECKPOINTS if seq > at + 1]
    if following:
        assert fault_of(forged) == Fault(following[0], Why.SIGNATURE)
    elif rows[at].seq in CHECKPOINTS:
        assert fault_of(forged) == Fault(rows[at].seq - 1, Why.OVERDUE)
    else:
        assert fault_of(forged) is None, "behind the last checkpoint nothing is signed yet"
        assert report_of(forged).signed_to < at


def test_without_the_key_no_more_than_an_agent_leaves_unsigned_can_be_made_up() -> None:
    forged = list(ROWS)
    for number in range(100):
        appended(forged, "closed", ROWS[-1].at, OTHER_KEY, n=number)
        if forged[-1].event == CHECKPOINT:
            forged.pop()
    assert fault_of(forged) == Fault(CHECKPOINTS[-1] + CHECKPOINT_ENTRIES, Why.OVERDUE)
    late = list(ROWS)
    appended(late, "closed", ROWS[-1].at + 60.0)
    assert fault_of(late) is None
    assert fault_of(late[:-1]) == Fault(late[-2].seq, Why.OVERDUE)


def test_commands_write_as_much_as_they_like_and_say_so() -> None:
    rows = list(ROWS)
    for number in range(100):
        appended(rows, "unpinned", ROWS[-1].at + 1000 * number, None)
    assert fault_of(rows) is None
    assert report_of(rows).signed_to == 131
    appended(rows, "closed", ROWS[-1].at)
    assert report_of(rows).signed_to == len(rows) - 1


def test_signatures_of_another_key_are_named() -> None:
    forged = log(150, key=OTHER_KEY)
    assert fault_of(forged) is None, "it is a good log of somebody else"
    assert fault_of(forged, is_agents_key=KEY.public.__eq__) == Fault(2, Why.KEY)
    assert fault_of(ROWS, is_agents_key=KEY.public.__eq__) is None
    mixed = list(SHORT)
    appended(mixed, STARTED, 1001.0, OTHER_KEY)
    assert fault_of(mixed) == Fault(mixed[-1].seq, Why.KEY)
    both = {KEY.public, OTHER_KEY.public}
    assert fault_of(mixed, is_agents_key=both.__contains__) is None, "the identity key was rotated"


@pytest.mark.parametrize(
    "detail",
    [
        "{}",
        "[]",
        "no JSON",
        "\ud800",
        '{"head": 1, "key": 2, "signature": 3}',
        '{"head": "", "key": "", "signature": ""}',
        SHORT[1].detail.replace('"head": "', '"head": "z'),
        SHORT[1].detail.replace('"signature": "', '"signature": "AAAA'),
        # a good signature over another number
        json.dumps(
            {
                "head": SHORT[0].digest,
                "key": b64encode(KEY.public),
                "signature": b64encode(sign_head(2, SHORT[0].digest, KEY).signature),
            }
        ),
        SHORT[1].detail.replace(SHORT[0].digest, FIRST_DIGEST),
        ROWS[66].detail,
    ],
)
def test_a_checkpoint_that_signs_nothing_or_something_else_is_named(detail: str) -> None:
    rows = chained_anew([SHORT[0], replace(SHORT[1], detail=detail), *SHORT[2:]], 1)
    assert fault_of(rows) == Fault(2, Why.SIGNATURE)


def test_a_signature_with_one_bit_changed_is_named() -> None:
    head = signed_head(SHORT[1])
    assert head is not None
    for bit in range(0, 512, 37):
        changed = bytearray(head.signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not replace(head, signature=bytes(changed)).holds()
    assert not replace(head, seq=head.seq + 1).holds()
    assert not replace(head, key=OTHER_KEY.public).holds()
    for damaged in ({"digest": "zz"}, {"seq": -1}, {"seq": 2**64}, {"key": b""}, {"signature": b""}):
        assert not replace(head, **damaged).holds()  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.sampled_from(list(asdict(SHORT[3]))), st.none() | st.text() | st.floats() | st.binary()
    )
)
@law
def test_what_is_no_entry_is_named_and_never_raises(damage: dict[str, Any]) -> None:
    entries = [asdict(row) for row in SHORT]
    entries[3] |= damage
    fault = verify(entries).fault
    assert (fault is None) == (entries[3] == asdict(SHORT[3]))
    assert fault is None or (fault.why, fault.seq) in {(Why.DAMAGED, 4), (Why.CHANGED, 4)}
    del entries[3]["digest"]
    assert verify(entries).fault == Fault(4, Why.DAMAGED)
    with pytest.raises(EncodingError):
        audit_row(entries[3])


# ---- what peers keep ----------------------------------------------------------------------------------------------


@given(st.integers(0, len(ROWS)), st.sampled_from(CHECKPOINTS))
@law
def test_an_end_that_was_cut_off_shows_only_against_a_later_head_that_somebody_keeps(
    left: int, checkpoint: int
) -> None:
    rows = ROWS[:left]
    # cutting between an entry and its checkpoint, which one transaction writes, shows by itself
    alone = Fault(left, Why.OVERDUE) if left + 1 in CHECKPOINTS else None
    assert fault_of(rows) == alone
    witness = signed_head(ROWS[checkpoint - 1])
    cut_off = Fault(left + 1, Why.CUT_OFF) if left < checkpoint - 1 else None
    assert fault_of(rows, witness=witness) == (alone or cut_off)


def test_a_log_that_ends_with_the_entry_that_somebody_knows_is_whole() -> None:
    witness = sign_head(5, ROWS[4].digest, KEY)
    assert fault_of(ROWS[:5], witness=witness) is None
    assert fault_of(ROWS[:4], witness=witness) == Fault(5, Why.CUT_OFF)


def test_a_log_that_the_agent_itself_made_anew_shows_against_a_head_that_somebody_keeps() -> None:
    other = log(150, pace=0.2)
    assert fault_of(other) is None
    witness = signed_head(ROWS[66])
    assert fault_of(other, witness=witness) == Fault(66, Why.REWRITTEN)


def test_heads_contradict_each_other_where_no_log_has_both_as_its_end() -> None:
    earlier, later = signed_head(ROWS[66]), signed_head(ROWS[131])
    assert earlier is not None
    assert later is not None
    assert not later.contradicts(earlier)
    assert not later.contradicts(later)
    assert earlier.contradicts(later)
    assert replace(later, digest=FIRST_DIGEST).contradicts(later)


def test_what_is_no_checkpoint_holds_no_head() -> None:
    assert signed_head(ROWS[0]) is None
    assert signed_head(replace(ROWS[66], event="closed")) is None


# ---- digests ------------------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from('",[]null\\|0'), max_size=4)
members = st.tuples(texts, st.floats(0, 3e9), texts, st.none() | texts, texts, texts)


@law
@given(members, members)
def test_two_entries_have_one_digest_only_when_they_are_the_same(
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

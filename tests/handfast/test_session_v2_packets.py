"""session/v2: packets, the window, and new keys while a session runs, over a network that does what it likes."""

import hashlib
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from v2_parties import AES, NOW, header, noise, refused, sessions

from handfast.crypto.keys import ExchangeKey
from handfast.errors import PeerError, Reason, UsageError
from handfast.session.v2.session import Session
from handfast.session.v2.suites import CHACHA
from handfast.session.v2.window import SIZE, Window
from handfast.wire import limits

HARD, SOFT = limits.GENERATION_MESSAGES, limits.GENERATION_MESSAGES_SOFT
law = settings(deadline=None, max_examples=60)


def state(session: Session) -> Any:
    """All that a copy does not share, as values."""
    return (
        session._current.number,
        session._sent,
        (session._window.top, session._window._bits),
        session._other and session._other.number,
        (session._other_window.top, session._other_window._bits),
        session._other_until,
        session._pending,
        session._answered,
    )


def send(sender: Session, receiver: Session, text: bytes = b"text", now: float = NOW) -> bytes:
    """One packet all the way; the packet."""
    hdr = header(sender)
    packet = sender.seal(hdr, text)
    assert receiver.open(hdr, packet, now) == text
    return packet


def rekey(ours: Session, theirs: Session, label: str = "", now: float = NOW) -> None:
    """A rekeying without loss, confirmed."""
    answer = theirs.answer_rekey(ours.start_rekey(noise(f"{label} i")), noise(f"{label} r"), now)
    ours.finish_rekey(answer, now)
    send(ours, theirs, now=now)


# --- the window ------------------------------------------------------------------------------------------------------


class SetModel:
    """What a window should remember, as the set of all counters."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def has(self, counter: int) -> bool:
        return counter in self.seen or counter <= max(self.seen, default=-1) - SIZE


counters = st.lists(
    st.integers(0, 3 * SIZE)
    | st.integers(0, 2**64 - 1)
    | st.sampled_from([0, 1, 63, 64, 65, SIZE - 1, SIZE, SIZE + 1, 2**64 - 2, 2**64 - 1]),
    max_size=40,
)


@given(counters, st.lists(st.integers(-2 * SIZE, SIZE), max_size=40))
@law
def test_the_window_knows_what_the_set_of_all_counters_knows(first: list[int], steps: list[int]) -> None:
    window, model = Window(), SetModel()
    for counter in first + [max(0, max(first, default=SIZE) + step) for step in steps]:
        assert window.has(counter) == model.has(counter)
        if not model.has(counter):
            window.mark(counter)
            model.seen.add(counter)
            assert window.has(counter)
    assert window.top == max(model.seen, default=-1)
    assert window._bits < 1 << SIZE
    copied = window.copy()
    copied.mark(window.top + 1)
    assert not window.has(window.top + 1)


def test_the_window_reaches_back_to_exactly_1024_counters() -> None:
    window = Window()
    window.mark(5000)
    assert not window.has(5000 - SIZE + 1)
    assert window.has(5000 - SIZE)
    assert SIZE == 1024


# --- packets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [CHACHA, AES], ids=hex)
def test_any_altered_byte_of_a_packet_or_its_header_is_refused_and_the_genuine_packet_opens(
    suite: int,
) -> None:
    ours, theirs = sessions(suite)
    hdr = header(ours)
    packet = ours.seal(hdr, b"frames")
    before = state(theirs)
    for at in range(len(packet)):
        forged = packet[:at] + bytes([packet[at] ^ (1 << at % 8)]) + packet[at + 1 :]
        assert refused(lambda forged=forged: theirs.open(hdr, forged, NOW)) in (  # type: ignore[misc]
            Reason.AEAD,
            Reason.NO_SESSION,
            Reason.REKEY_REQUIRED,
        )
    for at in range(len(hdr)):
        other = hdr[:at] + bytes([hdr[at] ^ 1]) + hdr[at + 1 :]
        assert refused(lambda other=other: theirs.open(other, packet, NOW)) == Reason.AEAD  # type: ignore[misc]
    for size in range(len(packet)):
        assert refused(lambda size=size: theirs.open(hdr, packet[:size], NOW))  # type: ignore[misc]
    assert refused(lambda: theirs.open(hdr, packet + b"\0", NOW)) == Reason.AEAD
    assert state(theirs) == before
    assert theirs.open(hdr, packet, NOW) == b"frames"


@given(st.binary(max_size=60))
@law
def test_any_bytes_at_all_are_refused(packet: bytes) -> None:
    _, theirs = sessions()
    assert not theirs.has(packet)
    assert not theirs.is_repeat(packet)
    assert refused(lambda: theirs.open(b"", packet, NOW)) == Reason.NO_SESSION


def test_a_packet_opens_once() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    packet = ours.seal(hdr, b"once")
    assert theirs.has(packet)
    assert not theirs.is_repeat(packet)
    assert theirs.open(hdr, packet, NOW) == b"once"
    assert theirs.is_repeat(packet)
    assert refused(lambda: theirs.open(hdr, packet, NOW)) == Reason.REPLAY


def test_packets_of_one_session_are_nothing_to_another_even_under_its_name() -> None:
    ours, _ = sessions(label="one")
    _, others = sessions(label="other")
    hdr = header(ours)
    packet = ours.seal(hdr, b"text")
    assert not others.has(packet)
    assert refused(lambda: others.open(hdr, packet, NOW)) == Reason.NO_SESSION
    renamed = packet[:2] + others._current.receive_kid + packet[10:]
    assert refused(lambda: others.open(hdr, renamed, NOW)) == Reason.AEAD


def test_packets_of_one_direction_are_nothing_in_the_other_even_under_its_name() -> None:
    ours, _ = sessions()
    hdr = header(ours)
    packet = ours.seal(hdr, b"text")
    assert refused(lambda: ours.open(hdr, packet, NOW)) == Reason.NO_SESSION
    renamed = packet[:2] + ours._current.receive_kid + packet[10:]
    assert refused(lambda: ours.open(hdr, renamed, NOW)) == Reason.AEAD


def test_packets_come_in_any_order_within_the_window_and_not_beyond_it() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    packets = [ours.seal(hdr, b"%d" % number) for number in range(SIZE + 10)]
    assert theirs.open(hdr, packets[-1], NOW) == b"%d" % (SIZE + 9)
    for number in (SIZE + 8, 500, 10):
        assert theirs.open(hdr, packets[number], NOW) == b"%d" % number
    for number in (9, 0, 500, SIZE + 9):
        assert theirs.is_repeat(packets[number])
        assert refused(lambda number=number: theirs.open(hdr, packets[number], NOW)) == Reason.REPLAY  # type: ignore[misc]


def test_the_last_counter_of_a_generation_is_used_and_the_next_is_not() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    ours._sent = HARD - 1
    assert not ours.is_exhausted(NOW)
    packet = ours.seal(hdr, b"last")
    assert ours.is_exhausted(NOW)
    assert theirs.open(hdr, packet, NOW) == b"last"
    with pytest.raises(UsageError):
        ours.seal(hdr, b"one too many")
    assert not theirs.is_exhausted(NOW)  # which may still answer


@pytest.mark.parametrize("counter", [HARD, HARD + 1, 2**63, 2**64 - 2**16, 2**64 - 1])
def test_a_counter_that_no_sender_uses_is_refused_whoever_sealed_it(counter: int) -> None:
    ours, theirs = sessions()
    hdr, generation = header(ours), ours._current
    head = generation.head + counter.to_bytes(8, "big")
    packet = head + generation.load_sending()(generation.nonce(counter), b"text", head + hdr)
    assert refused(lambda: theirs.open(hdr, packet, NOW)) == Reason.REKEY_REQUIRED
    assert send(ours, theirs)


def test_a_counter_is_part_of_the_nonce_in_the_order_that_the_cipher_demands() -> None:
    chacha, aes = sessions()[0]._current.nonce, sessions(AES)[0]._current.nonce
    assert chacha(0x0102) == bytes.fromhex("000000000201000000000000")
    assert aes(0x0102) == bytes.fromhex("000000000000000000000102")


def test_a_copy_goes_its_own_way() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    first = ours.seal(hdr, b"first")
    ours.mode = "v2-pin"
    before = state(ours), state(theirs)
    trial, there = ours.copy(), theirs.copy()
    assert trial.mode == "v2-pin"
    assert state(trial) == state(ours)
    there.open(hdr, first, NOW)
    rekey(trial, there)
    assert (state(ours), state(theirs)) == before
    assert theirs.open(hdr, first, NOW) == b"first"
    assert send(ours, theirs)


def test_a_copy_remembers_all_that_the_session_does_at_every_point_of_a_rekeying() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    opened, late = ours.seal(hdr, b"opened"), ours.seal(hdr, b"late")
    theirs.open(hdr, opened, NOW)

    def check() -> None:
        for session in (ours, theirs):
            assert state(session.copy()) == state(session)
            assert session.copy().session_id == session.session_id

    body = ours.start_rekey(noise("i"))
    check()
    assert ours.copy().start_rekey(noise("another")) == body
    answer = theirs.answer_rekey(body, noise("r"), NOW)
    check()
    assert theirs.copy().answer_rekey(body, noise("another"), NOW) == answer
    ours.finish_rekey(answer, NOW)
    check()
    send(ours, theirs)
    check()
    trial = theirs.copy()
    assert refused(lambda: trial.open(hdr, opened, NOW)) == Reason.REPLAY
    assert trial.open(hdr, late, NOW) == b"late"
    assert theirs.open(hdr, late, NOW) == b"late"  # the copy's window is its own


def test_a_copy_in_the_midst_of_a_rekeying_goes_its_own_way() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    early = ours.seal(hdr, b"early")
    answer = theirs.answer_rekey(ours.start_rekey(noise("i")), noise("r"), NOW)
    ours.copy().finish_rekey(answer, NOW)  # a step that failed afterwards
    assert ours.generation == 1
    ours.finish_rekey(answer, NOW)
    send(ours, theirs)
    assert theirs.copy().open(hdr, early, NOW) == b"early"
    assert theirs.open(hdr, early, NOW) == b"early"


def test_resting_costs_nothing_but_time() -> None:
    ours, theirs = sessions()
    send(ours, theirs)
    for session in (ours, theirs):
        session.rest()
        assert session._current.encrypt is session._current.decrypt is None
    hdr = header(ours)
    late = [ours.seal(hdr, b"late"), ours.seal(hdr, b"late")]
    send(ours, theirs)
    rekey(ours, theirs)
    assert theirs.open(hdr, late[0], NOW) == b"late"
    assert theirs._other is not None
    assert theirs._other.decrypt is not None
    theirs.rest()
    assert theirs._other.decrypt is None
    assert theirs.open(hdr, late[1], NOW) == b"late"
    send(ours, theirs)


def test_a_session_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(sessions()[0])


# --- limits ----------------------------------------------------------------------------------------------------------


def test_new_keys_are_due_after_so_many_messages_in_either_direction_or_so_much_time() -> None:
    ours, theirs = sessions()
    assert not ours.needs_rekey(NOW)
    assert not ours.needs_rekey(NOW + limits.GENERATION_SECONDS_SOFT - 1)
    assert ours.needs_rekey(NOW + limits.GENERATION_SECONDS_SOFT)
    assert theirs.needs_rekey(NOW + limits.GENERATION_SECONDS_SOFT)  # and asks for it
    ours._sent = SOFT - 2
    send(ours, theirs)
    assert not ours.needs_rekey(NOW)
    assert not theirs.needs_rekey(NOW)
    send(ours, theirs)
    assert ours.needs_rekey(NOW)
    assert theirs.needs_rekey(NOW)


def test_new_keys_are_due_until_the_initiator_has_its_answer_and_the_responder_has_answered() -> None:
    ours, theirs = sessions()
    late = NOW + limits.GENERATION_SECONDS_SOFT
    body = ours.start_rekey(noise("i"))
    assert ours.needs_rekey(late)
    assert theirs.needs_rekey(late)
    answer = theirs.answer_rekey(body, noise("r"), late)
    assert not theirs.needs_rekey(late)
    ours.finish_rekey(answer, late)
    send(ours, theirs, now=late)
    assert not ours.needs_rekey(late)
    assert not theirs.needs_rekey(late)
    assert ours.needs_rekey(late + limits.GENERATION_SECONDS_SOFT)


def test_a_generation_and_a_session_end_when_their_time_is_over() -> None:
    ours, theirs = sessions()
    end = NOW + limits.GENERATION_SECONDS
    assert not ours.is_exhausted(end - 1)
    assert ours.is_exhausted(end)
    rekey(ours, theirs, now=end - 1)
    assert not ours.is_exhausted(end)
    for step in range(1, 49):
        rekey(ours, theirs, str(step), now=NOW + step * 1790.0)
    assert not ours.is_exhausted(NOW + limits.SESSION_SECONDS - 1)
    assert ours.is_exhausted(NOW + limits.SESSION_SECONDS)
    assert ours.generation == theirs.generation == 50


# --- new keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [CHACHA, AES], ids=hex)
def test_a_rekeying_gives_both_sides_new_keys_of_every_kind(suite: int) -> None:
    ours, theirs = sessions(suite)
    old = ours._current.keys
    rekey(ours, theirs)
    new = ours._current.keys
    for name in ("send", "receive", "send_kid", "receive_kid", "resumption", "ticket", "audit"):
        assert getattr(old, name) != getattr(new, name)
    assert new.send == theirs._current.keys.receive
    assert new.resumption == theirs._current.keys.resumption
    assert (ours.generation, theirs.generation) == (2, 2)
    assert ours.session_id == theirs.session_id == old.session_id
    assert ours.next_counter == 1  # from zero, and one was sent
    send(theirs, ours)


def test_of_the_old_keys_only_that_to_receive_with_is_kept() -> None:
    ours, theirs = sessions()
    old = ours._current.keys
    rekey(ours, theirs)
    for session in (ours, theirs):
        assert session._other is not None
        kept = session._other.keys
        assert kept.receive in (old.send, old.receive)
        assert kept.send.reveal() == b""
        assert kept.resumption != old.resumption
        assert kept.audit != old.audit
        assert session._other.encrypt is None


def test_the_responder_goes_on_with_the_old_keys_until_the_new_ones_are_confirmed() -> None:
    ours, theirs = sessions()
    answer = theirs.answer_rekey(ours.start_rekey(noise("i")), noise("r"), NOW)
    send(theirs, ours)
    assert theirs.generation == 1
    ours.finish_rekey(answer, NOW)
    assert (ours.generation, ours.next_counter) == (2, 0)
    send(theirs, ours)  # still under the old ones
    hdr = header(ours)
    confirming = ours.seal(hdr, b"confirming")
    altered = confirming[:-1] + bytes([confirming[-1] ^ 1])
    assert refused(lambda: theirs.open(hdr, altered, NOW)) == Reason.AEAD
    assert theirs.generation == 1  # what does not open confirms nothing
    assert theirs.open(hdr, confirming, NOW) == b"confirming"
    assert (theirs.generation, theirs.next_counter) == (2, 0)
    assert refused(lambda: theirs.open(hdr, confirming, NOW)) == Reason.REPLAY


def test_a_lost_answer_is_asked_for_again_and_is_the_same() -> None:
    ours, theirs = sessions()
    body = ours.start_rekey(noise("i"))
    first = theirs.answer_rekey(body, noise("r"), NOW)
    assert ours.start_rekey(noise("another")) == body
    assert theirs.answer_rekey(body, noise("another"), NOW) == first
    ours.finish_rekey(first, NOW)
    before = state(ours)
    ours.finish_rekey(first, NOW)  # the second answer to the repeated question
    assert state(ours) == before
    send(ours, theirs)
    send(theirs, ours)


def test_a_question_whose_sender_forgot_it_gives_way_to_a_new_one() -> None:
    ours, theirs = sessions()
    forgotten = ours.copy()
    theirs.answer_rekey(forgotten.start_rekey(noise("i")), noise("r"), NOW)
    rekey(ours, theirs, "again")
    send(theirs, ours)


def test_an_old_question_after_a_rekeying_is_refused_and_harms_nothing() -> None:
    ours, theirs = sessions()
    body = ours.start_rekey(noise("i"))
    ours.finish_rekey(theirs.answer_rekey(body, noise("r"), NOW), NOW)
    send(ours, theirs)
    before = state(theirs)
    assert refused(lambda: theirs.answer_rekey(body, noise("r"), NOW)) == Reason.AEAD
    assert state(theirs) == before
    send(ours, theirs)
    send(theirs, ours)


def test_any_altered_byte_of_a_rekeying_is_refused_and_the_genuine_one_is_still_good() -> None:
    ours, theirs = sessions()
    body = ours.start_rekey(noise("i"))
    before = state(theirs)
    for at in range(len(body)):
        forged = body[:at] + bytes([body[at] ^ (1 << at % 8)]) + body[at + 1 :]
        assert refused(lambda forged=forged: theirs.answer_rekey(forged, noise("r"), NOW))  # type: ignore[misc]
    assert state(theirs) == before
    answer = theirs.answer_rekey(body, noise("r"), NOW)
    before = state(ours)
    for at in range(len(answer)):
        forged = answer[:at] + bytes([answer[at] ^ (1 << at % 8)]) + answer[at + 1 :]
        assert refused(lambda forged=forged: ours.finish_rekey(forged, NOW))  # type: ignore[misc]
    assert state(ours) == before
    ours.finish_rekey(answer, NOW)
    send(ours, theirs)


def test_a_rekeying_that_carries_anything_is_refused_on_both_sides() -> None:
    ours, theirs = sessions()
    question, answer = ours._rekeying(initiator=True), theirs._rekeying(initiator=False)
    psk, ephemerals = ours.resumption, (ExchangeKey(noise("i")), ExchangeKey(noise("r")))
    before = state(theirs)
    loaded = question.write_message(b"x", ephemeral=ephemerals[0], psk=psk)
    assert refused(lambda: theirs.answer_rekey(loaded, noise("r"), NOW)) == Reason.FORMAT
    assert state(theirs) == before
    answer.read_message(ours.start_rekey(noise("i")), psk=psk)
    before = state(ours)
    loaded = answer.write_message(b"x", ephemeral=ephemerals[1])
    assert refused(lambda: ours.finish_rekey(loaded, NOW)) == Reason.FORMAT
    assert state(ours) == before
    rekey(ours, theirs)


def test_only_the_initiator_starts_so_that_rekeyings_cannot_cross() -> None:
    ours, theirs = sessions()
    with pytest.raises(UsageError):
        theirs.start_rekey(noise("r"))
    assert refused(lambda: ours.answer_rekey(b"x" * 48, noise("i"), NOW)) == Reason.STATE


def test_a_rekeying_of_another_session_or_generation_is_refused() -> None:
    ours, theirs = sessions(label="one")
    others, _ = sessions(label="other")
    assert (
        refused(lambda: theirs.answer_rekey(others.start_rekey(noise("i")), noise("r"), NOW)) == Reason.AEAD
    )
    earlier = ours.copy()
    rekey(ours, theirs)
    assert (
        refused(lambda: theirs.answer_rekey(earlier.start_rekey(noise("i")), noise("r"), NOW)) == Reason.AEAD
    )


def test_what_was_under_way_with_the_old_keys_opens_for_a_while() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    early, late, again = (ours.seal(hdr, text) for text in (b"early", b"late", b"again"))
    theirs.open(hdr, again, NOW)
    rekey(ours, theirs)
    assert theirs.open(hdr, early, NOW + limits.OLD_GENERATION_SECONDS - 1) == b"early"
    assert refused(lambda: theirs.open(hdr, again, NOW)) == Reason.REPLAY
    assert theirs.generation == 2
    assert refused(lambda: theirs.open(hdr, late, NOW + limits.OLD_GENERATION_SECONDS)) == Reason.NO_SESSION
    assert theirs._other is None  # erased


def test_the_old_keys_are_erased_when_their_time_is_over_though_nothing_comes_under_them_any_more() -> None:
    ours, theirs = sessions()
    rekey(ours, theirs)
    send(ours, theirs, now=NOW + limits.OLD_GENERATION_SECONDS - 1)
    assert theirs._other is not None
    send(ours, theirs, now=NOW + limits.OLD_GENERATION_SECONDS)
    assert theirs._other is None


def test_the_old_keys_are_erased_after_so_many_newer_packets() -> None:
    ours, theirs = sessions()
    hdr = header(ours)
    old = [ours.seal(hdr, b"old"), ours.seal(hdr, b"old")]
    rekey(ours, theirs)
    ours._sent = SIZE - 2
    send(ours, theirs)
    assert theirs.open(hdr, old[0], NOW) == b"old"
    send(ours, theirs)
    assert refused(lambda: theirs.open(hdr, old[1], NOW)) == Reason.NO_SESSION


def test_keys_of_an_old_generation_open_nothing_newer_and_do_not_lead_to_newer_ones() -> None:
    ours, theirs = sessions()
    stolen = (
        theirs.copy()
    )  # all that the memory held: transport keys, resumption secret, and the static key, too
    hdr = header(ours)
    question = ours.start_rekey(noise("i"))
    answer = theirs.answer_rekey(question, noise("r"), NOW)
    ours.finish_rekey(answer, NOW)
    packet = ours.seal(hdr, b"newer")
    assert refused(lambda: stolen.open(hdr, packet, NOW)) == Reason.NO_SESSION
    renamed = packet[:2] + stolen._current.receive_kid + packet[10:]
    assert refused(lambda: stolen.open(hdr, renamed, NOW)) == Reason.AEAD
    # the thief listened to the whole rekeying, but its own ephemeral key makes it another one
    stolen.answer_rekey(question, noise("guessed"), NOW)
    assert refused(lambda: stolen.open(hdr, packet, NOW)) == Reason.NO_SESSION
    assert theirs.open(hdr, packet, NOW) == b"newer"


# --- a network that loses, repeats, reorders and alters ---------------------------------------------------------------


class Network(RuleBasedStateMachine):
    """Two sessions; every packet that was ever sent may arrive at any time, any number of times, or never.

    The bodies of rekeyings travel in packets, as frames do.
    """

    def __init__(self) -> None:
        super().__init__()
        ours, theirs = sessions()
        self.sessions = {"i": ours, "r": theirs}
        self.now = NOW
        self.sent: list[
            tuple[str, int, bytes, bytes, bytes]
        ] = []  # receiver, generation, header, packet, text
        self.delivered: set[int] = set()
        self.answer = b""
        self.chance = 0

    def random(self) -> bytes:
        self.chance += 1
        return hashlib.sha256(self.chance.to_bytes(4, "big")).digest()

    @rule(sender=st.sampled_from("ir"), asks=st.booleans())
    def send(self, sender: str, asks: bool) -> None:
        session = self.sessions[sender]
        body = b"nothing"
        if sender == "i" and asks:
            body = b"question" + session.start_rekey(self.random())
        elif sender == "r" and self.answer:
            body = b"answer" + self.answer
        hdr = header(session, label=str(len(self.sent)))
        text = b"%d " % len(self.sent) + body
        generation = session.generation
        packet = session.seal(hdr, text)
        self.sent.append(("r" if sender == "i" else "i", generation, hdr, packet, text))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        newest = len(self.sent) - 1
        number = data.draw(st.integers(max(0, newest - 4), newest) | st.integers(0, newest))
        receiver, generation, hdr, packet, text = self.sent[number]
        session = self.sessions[receiver]
        current, has_other = session.generation, session.has(packet)
        trial = session.copy()
        try:
            opened = trial.open(hdr, packet, self.now)
        except PeerError as refusal:
            if number in self.delivered:
                assert refusal.reason in (Reason.REPLAY, Reason.NO_SESSION)  # noqa: PT017
            else:  # only what belongs to a generation that is over may be refused the first time
                assert refusal.reason == Reason.NO_SESSION  # noqa: PT017
                assert generation < current
                assert generation < current - 1 or not has_other or self.now >= session._other_until
            return
        assert number not in self.delivered
        assert opened == text
        self.delivered.add(number)
        self.sessions[receiver] = trial
        self.react(receiver, trial, opened.split(b" ", 1)[1])

    def react(self, receiver: str, session: Session, body: bytes) -> None:
        if body.startswith(b"question"):
            try:
                self.answer = session.answer_rekey(body.removeprefix(b"question"), self.random(), self.now)
            except PeerError:  # of a generation that is over
                assert session.generation > 1
        elif body.startswith(b"answer"):
            try:
                session.finish_rekey(body.removeprefix(b"answer"), self.now)
            except PeerError:  # to a question before the one that is waited for
                assert session._pending is not None

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), at=st.integers(0, 200))
    def alter(self, data: st.DataObject, at: int) -> None:
        receiver, _, hdr, packet, _ = self.sent[data.draw(st.integers(0, len(self.sent) - 1))]
        at %= len(packet)
        forged = packet[:at] + bytes([packet[at] ^ 0x40]) + packet[at + 1 :]
        for session in self.sessions.values():
            before = state(session)
            trial = session.copy()
            assert refused(lambda trial=trial: trial.open(hdr, forged, self.now))  # type: ignore[misc]
            assert state(session) == before
        assert receiver in self.sessions

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_two_are_never_further_apart_than_one_generation(self) -> None:
        ours, theirs = self.sessions["i"], self.sessions["r"]
        assert theirs.generation <= ours.generation <= theirs.generation + 1

    def teardown(self) -> None:
        """Whatever happened before, once the network behaves everything goes through, new keys too."""
        ours, theirs = self.sessions["i"], self.sessions["r"]
        send(ours, theirs, now=self.now)
        send(theirs, ours, now=self.now)
        generation = ours.generation
        rekey(ours, theirs, "at the end", now=self.now)
        assert ours.generation == theirs.generation == generation + 1
        send(theirs, ours, now=self.now)


Network.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=40)
TestNetwork = Network.TestCase

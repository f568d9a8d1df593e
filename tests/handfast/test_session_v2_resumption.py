"""session/v2: tickets, the short handshake, and the transcript that closes a conversation."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from v2_parties import (
    NOW,
    Handshake,
    agent,
    every_altered,
    header,
    noise,
    parties,
    refused,
    resumed,
    static_key,
    token,
)

from handfast.crypto import kem
from handfast.crypto.keys import Secret
from handfast.errors import Reason, UsageError
from handfast.session.v2 import resumption
from handfast.session.v2.parties import Myself
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.suites import SUITES
from handfast.session.v2.transcript import Transcript
from handfast.wire import limits
from handfast.wire.v2.frames import CLOSE_NORMAL, Close
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, digest_of

CHACHA, WITH_PSK, WITH_KEM, WITH_BOTH, AES = 0x0001, 0x0002, 0x0003, 0x0004, 0x0101

law = settings(deadline=None, max_examples=50)
needs_kem = pytest.mark.skipif(not kem.available(), reason="the installed cryptography has no ML-KEM")

every_suite = pytest.mark.parametrize(
    "suite",
    [pytest.param(number, marks=needs_kem) if suite.kem else number for number, suite in SUITES.items()],
    ids=hex,
)


@pytest.fixture
def tickets() -> tuple[Ticket, Ticket]:
    ours, theirs = Handshake(*parties(CHACHA)).finish()
    ours.mode = theirs.mode = "v2-pin"
    return Ticket.of(ours), Ticket.of(theirs)


@every_suite
def test_a_session_is_resumed_with_new_keys_and_the_peers_of_old(suite: int) -> None:
    me, peer = parties(suite)
    ours, theirs = Handshake(me, peer).finish()
    tickets = Ticket.of(ours), Ticket.of(theirs)
    k1, _, again, there = resumed(me, peer, tickets, now=NOW + 100)
    assert again.session_id == there.session_id != ours.session_id
    assert again.peer.identity_key == peer.identity_key
    assert there.peer.static_key == me.static.key.public
    assert (again.generation, again.made_at, again.full_at) == (2, NOW + 100, NOW)
    assert again.resumption == there.resumption != ours.resumption
    assert Ticket.of(again).ticket_id == Ticket.of(there).ticket_id != k1.ticket
    for sender, receiver in ((again, there), (there, again)):
        hdr = header(sender)
        assert receiver.open(hdr, sender.seal(hdr, b"hello"), NOW) == b"hello"
    hdr = header(again)
    packet = again.seal(hdr, b"newer")
    assert refused(lambda: theirs.open(hdr, packet, NOW)) == Reason.NO_SESSION


def test_a_resumed_session_tells_what_the_peers_know_and_how_they_are_trusted(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = (replace(party, crl_sequence=9) for party in parties(CHACHA))
    attempt, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    answered = read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    session, proven = attempt.read_k2(answered.reply, NOW)
    assert (proven.crl_sequence, answered.peer.crl_sequence) == (9, 9)
    assert session.mode == answered.session.mode == "v2-pin"


def test_any_altered_byte_of_k1_is_refused_and_the_genuine_k1_is_still_good(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = parties(CHACHA)
    attempt, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)

    def read(message: K1) -> Any:
        return read_k1(peer, tickets[1], message, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)

    for forged in (*every_altered(k1), replace(k1, generation=2)):
        assert refused(lambda forged=forged: read(forged))  # type: ignore[misc]
    assert attempt.read_k2(read(k1).reply, NOW)
    assert digest_of(k1) != digest_of(replace(k1, ticket=bytes(16)))


def test_a_k1_whose_offer_is_none_is_refused(tickets: tuple[Ticket, Ticket]) -> None:
    me, peer = parties(CHACHA)
    _, k1 = make_k1(me, tickets[0], noise("no offer"), ephemeral=noise("k1"), now=NOW)
    assert refused(
        lambda: read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    ) == (Reason.OFFER)


def test_any_altered_byte_of_k2_is_refused_and_the_genuine_k2_is_still_good(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = parties(CHACHA)
    attempt, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    answered = read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    for forged in every_altered(answered.reply):
        assert refused(lambda forged=forged: attempt.read_k2(forged, NOW))  # type: ignore[misc]
    session, _ = attempt.read_k2(answered.reply, NOW)
    assert session.session_id == answered.session.session_id


def test_a_k1_sent_back_to_its_sender_is_refused(tickets: tuple[Ticket, Ticket]) -> None:
    me, peer = parties(CHACHA)
    _, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    back = replace(k1, header=replace(k1.header, sender=peer.agent_id, to=me.agent_id))
    assert refused(
        lambda: read_k1(me, tickets[0], back, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    ) == (Reason.AEAD)


def test_who_has_stolen_a_ticket_but_no_static_key_gets_no_session(tickets: tuple[Ticket, Ticket]) -> None:
    me, peer = parties(CHACHA)
    thief = replace(me, static=static_key("Mallory", me.agent_id))
    stolen = replace(tickets[0], own_static_key=thief.static.key.public)
    _, k1 = make_k1(thief, stolen, me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    assert refused(
        lambda: read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    ) == (Reason.AEAD)


def test_who_has_stolen_the_static_keys_but_not_the_ticket_gets_no_session(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = parties(CHACHA)
    guessed = replace(tickets[0], resumption=Secret(noise("guessed")))
    _, k1 = make_k1(me, guessed, me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    assert refused(
        lambda: read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    ) == (Reason.AEAD)


def test_a_ticket_ends_a_day_after_the_full_handshake_and_is_left_alone_some_hours_before(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = parties(CHACHA)
    ticket = tickets[0]
    assert ticket.is_usable(me, NOW + limits.SESSION_SECONDS_SOFT - 1)
    assert not ticket.is_usable(me, NOW + limits.SESSION_SECONDS_SOFT)
    assert resumed(me, peer, tickets, now=ticket.expires_at - 1)
    assert refused(lambda: resumed(me, peer, tickets, now=ticket.expires_at)) == Reason.EXPIRED
    later = resumed(me, peer, tickets, now=NOW + 3600)
    assert Ticket.of(later[2]).expires_at == ticket.expires_at  # resuming does not put it off


def test_a_ticket_outlives_the_static_key_of_its_session_as_long_as_that_key_is_kept(
    tickets: tuple[Ticket, Ticket],
) -> None:
    me, peer = parties(CHACHA)
    renewed = replace(me, static=static_key("Hanna", me.agent_id, generation="second"))
    assert resumed(replace(renewed, resumable=(me.static,)), peer, tickets)
    assert not tickets[0].is_usable(renewed, NOW)
    assert refused(lambda: resumed(renewed, peer, tickets)) == Reason.EXPIRED


def test_a_peer_that_calls_itself_by_another_name_gets_no_session(
    tickets: tuple[Ticket, Ticket], monkeypatch: pytest.MonkeyPatch
) -> None:
    me, peer = parties(CHACHA)
    original = Myself.renewal
    monkeypatch.setattr(Myself, "renewal", lambda self, hdr: original(replace(self, agent_id="0" * 36), hdr))
    _, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    assert refused(
        lambda: read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    ) == (Reason.ID_MISMATCH)


def test_a_ticket_is_good_for_the_two_agents_that_made_it_and_for_nobody_else(
    tickets: tuple[Ticket, Ticket], monkeypatch: pytest.MonkeyPatch
) -> None:
    (me, peer), other = parties(CHACHA), agent("Mallory").agent_id
    assert refused(lambda: resumed(replace(me, agent_id=other), peer, tickets)) == Reason.ID_MISMATCH
    attempt, k1 = make_k1(me, tickets[0], me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    monkeypatch.setattr(
        resumption, "Header", lambda _sender, *rest, **members: Header(other, *rest, **members)
    )
    renewal = Myself.renewal
    monkeypatch.setattr(Myself, "renewal", lambda self, hdr: renewal(replace(self, agent_id=other), hdr))
    answered = read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=NOW)
    assert answered.reply.sender == other
    assert refused(lambda: attempt.read_k2(answered.reply, NOW)) == Reason.NO_SESSION


def test_a_ticket_comes_back_from_its_bytes_as_it_was(tickets: tuple[Ticket, Ticket]) -> None:
    for ticket in tickets:
        assert Ticket.from_bytes(ticket.to_bytes()) == ticket
    for raw in (
        b"",
        b"{}",
        b"[]",
        b"5",
        tickets[0].to_bytes().replace(b'"u', b'"v'),
        tickets[0].to_bytes().replace(b"mode", b"mood"),
    ):
        with pytest.raises(UsageError):
            Ticket.from_bytes(raw)


def test_agents_of_different_networks_do_not_resume(tickets: tuple[Ticket, Ticket]) -> None:
    me, peer = parties(CHACHA)
    assert refused(lambda: resumed(me, replace(peer, network="elsewhere"), tickets)) == (Reason.AEAD)


# --- what was said ---------------------------------------------------------------------------------------------------

said = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=20), st.booleans()), max_size=5)


def transcript(of: list[tuple[int, bytes, bool]], session_id: bytes = b"s") -> Transcript:
    result = Transcript.start(session_id)
    for counter, data, by_initiator in of:
        result = result.add(counter, data, by_initiator=by_initiator)
    return result


@given(said, said)
@law
def test_transcripts_agree_exactly_when_the_same_was_said(one: list[Any], other: list[Any]) -> None:
    close = Close.parse(transcript(one).close(CLOSE_NORMAL).encode())
    transcript(one).require_agreement(close)
    assert close.count == len(one)
    if one != other:
        assert refused(lambda: transcript(other).require_agreement(close)) == Reason.TRANSCRIPT
    assert refused(lambda: transcript(one, b"t").require_agreement(close)) == Reason.TRANSCRIPT


def test_a_transcript_says_who_said_what_in_which_order() -> None:
    told = [(0, b"a", True), (0, b"b", False)]
    others = [
        [(0, b"a", False), (0, b"b", False)],
        [(0, b"b", False), (0, b"a", True)],
        [(1, b"a", True), (0, b"b", False)],
        [(0, b"a", True)],
    ]
    assert len({transcript(words).digest for words in (told, *others)}) == 5

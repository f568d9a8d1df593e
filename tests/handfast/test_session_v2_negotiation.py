"""session/v2: what two offers lead to, and that nobody in between can make it less."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from v2_parties import (
    NOW,
    PSK,
    Handshake,
    agent,
    noise,
    parties,
    refused,
    token,
)

from handfast.crypto import kem
from handfast.errors import Reason, UsageError
from handfast.session.v2 import initiator, responder
from handfast.session.v2.negotiation import check_selection, select
from handfast.session.v2.suites import SUITES, suites_for
from handfast.wire.v2 import offers
from handfast.wire.v2.offers import DEMANDS_PSK, Offer, Selection, offer_digest

CHACHA, WITH_PSK, WITH_KEM, WITH_BOTH, AES = 0x0001, 0x0002, 0x0003, 0x0004, 0x0101

law = settings(deadline=None, max_examples=50)
needs_kem = pytest.mark.skipif(not kem.available(), reason="the installed cryptography has no ML-KEM")


def offer(*suites: int, versions: tuple[int, ...] = (2,), flags: int = 0) -> Offer:
    return Offer(versions, suites, flags, noise("offer", 16))


def test_the_first_suite_of_the_initiator_that_the_responder_shares_is_taken() -> None:
    assert select(offer(3, 1, 2), offer(1, 2)).number == 1
    assert select(offer(2, 1), offer(1, 2)).number == 2
    assert select(offer(0x0999, 0x0010, 1), offer(0x0010, 0x0999, 1)).number == 1


@pytest.mark.parametrize(
    ("number", "pattern", "kem", "psk"),
    [
        (0x0001, "XX", False, False),
        (0x0002, "XXpsk3", False, True),
        (0x0003, "XXpsk3", True, False),
        (0x0004, "XXpsk3", True, True),
    ],
)
def test_a_suite_is_what_the_protocol_says_under_either_cipher(
    number: int, pattern: str, kem: bool, psk: bool
) -> None:
    for bit, cipher in ((0, "ChaChaPoly"), (0x0100, "AESGCM")):
        suite = SUITES[number | bit]
        assert (suite.number, suite.kem, suite.psk) == (number | bit, kem, psk)
        assert suite.full.name == f"Noise_{pattern}_25519_{cipher}_SHA256"
        assert suite.short.name == f"Noise_KKpsk0_25519_{cipher}_SHA256"
    assert len(SUITES) == 8


def test_a_suite_with_a_psk_wins_if_both_demand_one() -> None:
    both = {"flags": DEMANDS_PSK}
    assert select(offer(1, 2, **both), offer(1, 2, **both)).number == 2
    assert select(offer(1, 2, **both), offer(1, 2)).number == 1
    assert select(offer(1, 2), offer(1, 2, **both)).number == 1


@pytest.mark.parametrize(
    ("initiators", "responders", "reason"),
    [
        (offer(1), offer(2), Reason.OFFER),
        (offer(0x0010), offer(0x0010), Reason.OFFER),
        (offer(1, flags=DEMANDS_PSK), offer(1, flags=DEMANDS_PSK), Reason.OFFER),
        (offer(1, versions=(1,)), offer(1, versions=(2, 1)), Reason.VERSION),
        (offer(1, versions=(3,)), offer(1), Reason.VERSION),
    ],
)
def test_offers_that_do_not_meet_are_refused(initiators: Offer, responders: Offer, reason: Reason) -> None:
    assert refused(lambda: select(initiators, responders)) == reason


@given(st.lists(st.sampled_from(list(SUITES)), min_size=1, unique=True), st.data())
@law
def test_any_other_selection_than_the_rules_is_a_downgrade(ours: list[int], data: st.DataObject) -> None:
    theirs = data.draw(st.lists(st.sampled_from(list(SUITES)), min_size=1, unique=True))
    selected = data.draw(st.sampled_from([*SUITES, 0x0010, 0x0999]))
    version = data.draw(st.sampled_from([1, 2, 3]))
    mine, answered = offer(*ours).encode(), offer(*theirs).encode()
    selection = Selection(version, selected, offer_digest(mine)).encode()
    expected = next((number for number in ours if number in theirs), None)
    if (version, selected) == (2, expected):
        assert check_selection(mine, answered, selection).number == selected
    else:
        assert refused(lambda: check_selection(mine, answered, selection)) == Reason.DOWNGRADE


def test_a_selection_is_of_one_of_the_offers_that_are_still_open() -> None:
    handshake = Handshake(*parties(CHACHA))
    old, handshake.offer = handshake.offer, handshake.initiator.offer(noise("newer", 16))
    assert refused(handshake.answer) == Reason.OFFER
    handshake.offer = old
    assert handshake.finish()


@needs_kem
def test_a_relay_that_strips_suites_from_an_offer_ends_the_attempt() -> None:
    me, peer = agent("Hanna", WITH_KEM, CHACHA), agent("Ralf", WITH_KEM, CHACHA)
    true = Handshake(me, peer)
    weakened = Offer((2,), (CHACHA,), 0, noise("weakened", 16)).encode()
    # the initiator's offer is weakened on the way: the answer names an offer that it never made
    assert refused(
        lambda: initiator.read_n1(
            me,
            [true.offer],
            responder.make_n1(true.secrets[0], peer, me.agent_id, weakened),
            ephemeral=noise("e"),
            nonce=token("n"),
        )
    ) == (Reason.OFFER)
    # ... the relay names the true one: it is not what follows from it
    selection = Selection(2, CHACHA, offer_digest(true.offer)).encode()
    true.n1 = replace(true.n1, selection=selection)
    assert refused(true.answer) == Reason.DOWNGRADE
    # ... and weakens the responder's offer, too: it follows, but the prologues differ
    plain = Handshake(agent("Hanna", CHACHA), agent("Ralf", CHACHA))
    true.n1 = replace(plain.n1, offer=plain.secrets[0].offer, selection=selection)
    n2 = true.answer()
    assert refused(lambda: true.accept(n2)) == Reason.NO_SESSION


def test_an_offer_says_what_the_agent_has_and_demands() -> None:
    bare = Offer.parse(agent("Hanna").offer(bytes(16)))
    full = Offer.parse(
        agent("Hanna", WITH_PSK, psk=PSK, certificate=b"c", demands_certificate=True).offer(bytes(16), (2, 1))
    )
    always = offers.RESUMPTION | offers.TRANSCRIPT_AGREEMENT
    assert (bare.versions, bare.suites, bare.flags) == ((2,), (CHACHA,), always)
    assert (full.versions, full.suites) == ((2, 1), (WITH_PSK,))
    assert full.flags == always | DEMANDS_PSK | offers.HAS_CERTIFICATE | offers.DEMANDS_CERTIFICATE


@needs_kem
def test_post_quantum_suites_come_first_alone_or_not_at_all() -> None:
    assert suites_for("prefer", psk=False) == (WITH_KEM, CHACHA)
    assert suites_for("require", psk=False) == (WITH_KEM,)
    assert suites_for("off", psk=False) == (CHACHA,)
    assert suites_for("prefer", psk=True) == (WITH_BOTH, WITH_PSK)


def test_without_ml_kem_only_classical_suites_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kem, "available", lambda: False)
    assert suites_for("prefer", psk=False) == (CHACHA,)
    with pytest.raises(UsageError):
        suites_for("require", psk=False)


def test_a_confirm_secret_is_made_from_so_many_bytes() -> None:
    with pytest.raises(UsageError):
        responder.ConfirmSecret.make(agent("Ralf"), noise("x", 47), NOW)

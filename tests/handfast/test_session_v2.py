"""session/v2: the full handshake, the short one, and all that must end them; byte by byte as in the vectors."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from v2_parties import (
    NOW,
    PSK,
    Handshake,
    agent,
    every_altered,
    header,
    noise,
    parties,
    refused,
    signing_key,
    static_key,
    token,
)

from handfast.crypto import kem
from handfast.crypto.keys import ExchangeKey, Secret, SigningKey
from handfast.errors import PeerError, Reason
from handfast.identity.binding import Binding, bind
from handfast.identity.identity import Identity, StaticKey
from handfast.noise.handshakestate import Split
from handfast.session.v2 import initiator, responder
from handfast.session.v2.negotiation import Agreement
from handfast.session.v2.parties import Myself, Peer
from handfast.session.v2.resumption import Ticket, make_k1, read_k1
from handfast.session.v2.schedule import mixed_psk
from handfast.session.v2.session import Session
from handfast.session.v2.suites import SUITES
from handfast.wire.text import b64url_encode
from handfast.wire.v2.frames import Frame, encode_frames
from handfast.wire.v2.header import Header
from handfast.wire.v2.messages import K1, K2, N3, digest_of, encode_message, parse_message
from handfast.wire.v2.payloads import Credentials

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors/v2/v2_vectors.json").read_text())
CHACHA, WITH_PSK, WITH_KEM, WITH_BOTH, AES = 0x0001, 0x0002, 0x0003, 0x0004, 0x0101

law = settings(deadline=None, max_examples=50)
needs_kem = pytest.mark.skipif(not kem.available(), reason="the installed cryptography has no ML-KEM")
every_suite = pytest.mark.parametrize(
    "suite",
    [pytest.param(number, marks=needs_kem) if suite.kem else number for number, suite in SUITES.items()],
    ids=hex,
)


# --- the vectors -----------------------------------------------------------------------------------------------------


class Recorded:
    """The agents of a group of vectors."""

    def __init__(self, name: str) -> None:
        self.vector = VECTORS[name]
        self.suite = SUITES[self.vector["suite"]]
        self.now = float(self.vector["now"])
        self.me = {role: self._agent(role) for role in "ir"}
        n1 = self.parsed("confirm", "i")
        self.agreement = Agreement(
            self.vector["id_i"],
            self.vector["id_r"],
            self.parsed("register", "r").offer,
            n1.offer,
            n1.selection,
            n1.header.my_nonce,
            "",
        )

    def raw(self, name: str) -> bytes:
        return bytes.fromhex(self.vector["keys"][name])

    def parsed(self, name: str, receiver: str) -> Any:
        message = dict(self.vector[name])
        if name == "request1":  # the members that the vectors do not have; nothing depends on them
            n1, register = self.vector["confirm"]["hs"], self.vector["register"]["hs"]
            message["hs"] = message["hs"] | {"o": register["o"], "s": n1["s"]}
        parsed = parse_message(message, self.vector[f"id_{receiver}"])
        assert parsed is not None
        assert encode_message(parsed) | {"from": parsed.sender} == message
        return parsed

    def _agent(self, role: str) -> Myself:
        key, static = SigningKey(self.raw(f"ik {role}")), ExchangeKey(self.raw(f"s {role}"))
        agent_id, start = self.vector[f"id_{role}"], self.vector["now"] - 3600
        binding = bind(key, agent_id, static.public, start, start + 90_000)
        psk = self.vector["psk"]
        return Myself(
            agent_id,
            key.public,
            StaticKey(static, binding),
            (self.suite.number,),
            psk=Secret(bytes.fromhex(psk)) if psk else None,
        )

    def run(self) -> tuple[Session, Session]:
        n1, n2, n3 = self.parsed("confirm", "i"), self.parsed("request1", "r"), self.parsed("respond1", "i")
        derived = responder.Derived(Secret(self.raw("e r")), Secret(bytes(64)))
        begun = responder.begin(self.me["r"], self.agreement, self.suite, derived)
        assert begun.message == n1.message
        waiting, answer = initiator.answer(
            self.me["i"], self.agreement, self.suite, n1, ephemeral=self.raw("e i"), nonce=n2.header.my_nonce
        )
        assert answer == n2
        accepted = responder.accept(
            self.me["r"], self.suite, begun, n2, nonce=n3.header.my_nonce, now=self.now
        )
        assert accepted.reply == n3
        session, peer = waiting.read_n3(n3, self.now)
        assert (peer.agent_id, peer.identity_key) == (self.me["r"].agent_id, self.me["r"].identity_key)
        assert accepted.peer.static_key == self.me["i"].static.key.public
        return session, accepted.session


def check_secrets(expected: dict[str, str], of_initiator: Session, of_responder: Session) -> None:
    ours, theirs = of_initiator._current.keys, of_responder._current.keys
    assert (ours.send, ours.send_kid) == (theirs.receive, theirs.receive_kid)
    assert (ours.receive, ours.receive_kid) == (theirs.send, theirs.send_kid)
    assert {
        "k_i2r": ours.send.reveal().hex(),
        "k_r2i": ours.receive.reveal().hex(),
        "sid": of_initiator.session_id.hex(),
        "kid_i2r": ours.send_kid.hex(),
        "kid_r2i": ours.receive_kid.hex(),
    } == {name: expected[name] for name in ("k_i2r", "k_r2i", "sid", "kid_i2r", "kid_r2i")}
    for keys in (ours, theirs):
        assert keys.resumption.reveal().hex() == expected["rs"]
        assert keys.ticket.hex() == expected["ticket"]
        assert keys.audit.reveal().hex() == expected["audit"]


@pytest.mark.parametrize("name", ["xx", "xxpsk3"])
def test_the_full_handshake_and_the_first_packet_are_those_of_the_vectors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(name)
    for module in (initiator, responder):  # the vectors put the psk into Noise as it is, without section 6.8
        monkeypatch.setattr(module, "mixed_psk", lambda _suite, psk: psk)
    assert recorded.agreement.prologue().hex() == recorded.vector["prologue"]
    of_initiator, of_responder = recorded.run()
    check_secrets(recorded.vector["secrets"], of_initiator, of_responder)
    request = recorded.parsed("request2", "r")
    hdr = request.header.encoded()
    assert hdr.hex() == recorded.vector["hdr_request2"]
    plaintext = encode_frames([Frame(1, b'{"message":"How are you?"}')])
    assert of_initiator.seal(hdr, plaintext) == request.packet
    assert of_responder.open(hdr, request.packet, recorded.now) == plaintext


def test_the_short_handshake_is_that_of_the_vectors() -> None:
    recorded, vector = Recorded("xx"), VECTORS["kk_after_xx"]
    me, peer = recorded.me["i"], recorded.me["r"]
    tickets = [Ticket.of(session) for session in recorded.run()]
    k1 = parse_message(vector["reconnect"], peer.agent_id)
    k2 = parse_message(vector["confirm"], me.agent_id)
    assert isinstance(k1, K1)
    assert isinstance(k2, K2)
    assert k1.ticket == tickets[0].ticket_id == tickets[1].ticket_id
    # The vectors do not tell the ephemeral keys, so that theirs can be read, and ours are other bytes of the same length.
    answered = read_k1(peer, tickets[1], k1, ephemeral=noise("k2"), nonce=token("k2"), now=recorded.now)
    assert answered.peer.offer == k1.offer
    attempt, ours = make_k1(me, tickets[0], k1.offer, ephemeral=noise("k1"), now=recorded.now)
    assert (ours.header, ours.ticket, ours.generation, len(ours.message)) == (
        k1.header,
        k1.ticket,
        k1.generation,
        len(k1.message),
    )
    assert refused(lambda: attempt.read_k2(k2, recorded.now)) == Reason.AEAD
    assert len(answered.reply.message) == len(k2.message)


@pytest.mark.parametrize("name", ["xx", "xxpsk3", "kk_after_xx"])
def test_the_key_schedule_is_that_of_the_vectors(name: str) -> None:
    expected = VECTORS[name]["secrets"]
    of_initiator, of_responder = (bytes.fromhex(expected[key]) for key in ("k_i2r", "k_r2i"))
    exported, digest = Secret(bytes.fromhex(expected["ems"])), bytes.fromhex(expected["h"])
    short = name.startswith("kk")  # in which the initiator writes first
    first, second = (of_initiator, of_responder) if short else (of_responder, of_initiator)
    split = Split(Secret(first), Secret(second), exported, digest)
    me, peer = parties(CHACHA)
    both = [
        Session.found(
            split,
            suite=SUITES[CHACHA],
            is_initiator=is_initiator,
            wrote_first=is_initiator == short,
            own_static=me.static.key,
            peer=Peer(peer.agent_id, peer.identity_key, peer.static.key.public),
            now=NOW,
            full_at=NOW,
        )
        for is_initiator in (True, False)
    ]
    check_secrets(expected, both[0], both[1])


# --- the full handshake ----------------------------------------------------------------------------------------------


@every_suite
def test_both_sides_of_every_suite_end_in_one_session_and_know_each_other(suite: int) -> None:
    me, peer = parties(suite)
    handshake = Handshake(
        me, replace(peer, crl_sequence=7, certificate=b"certificate", rotations=b"rotations")
    )
    ours, theirs = handshake.finish()
    assert ours.session_id == theirs.session_id
    assert ours.suite is theirs.suite is SUITES[suite]
    assert (ours.is_initiator, theirs.is_initiator) == (True, False)
    assert (ours.peer.agent_id, ours.peer.identity_key) == (peer.agent_id, peer.identity_key)
    assert (theirs.peer.agent_id, theirs.peer.identity_key) == (me.agent_id, me.identity_key)
    assert ours.audit_digest(b"{}") == theirs.audit_digest(b"{}") != ours.audit_digest(b"[]")
    assert handshake.accepted.peer.offer == handshake.offer
    _, proven = handshake.waiting.read_n3(handshake.accepted.reply, NOW)
    assert (proven.crl_sequence, proven.certificate, proven.rotations) == (7, b"certificate", b"rotations")
    assert proven.offer == handshake.secrets[0].offer
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        hdr = header(sender)
        assert receiver.open(hdr, sender.seal(hdr, b"hello"), NOW) == b"hello"


def test_the_offer_is_answered_alike_every_time_and_differently_for_anything_else() -> None:
    me, peer = parties(CHACHA)
    handshake = Handshake(me, peer)
    secret, offer = handshake.secrets[0], handshake.offer
    assert responder.make_n1(secret, peer, me.agent_id, offer) == handshake.n1
    other_offer = me.offer(noise("another", 16))
    other_secret = responder.ConfirmSecret.make(peer, noise("another", 48), NOW)
    others = [
        responder.make_n1(secret, peer, peer.agent_id, offer),
        responder.make_n1(secret, peer, me.agent_id, other_offer),
        responder.make_n1(other_secret, peer, me.agent_id, offer),
    ]
    seen = [handshake.n1, *others]
    assert len({n1.header.my_nonce for n1 in seen}) == len({n1.message for n1 in seen}) == len(seen)


def test_an_answer_is_recognised_under_the_present_secret_and_the_one_before_it() -> None:
    handshake = Handshake(*parties(CHACHA))
    n2 = handshake.answer()
    newer = responder.ConfirmSecret.make(handshake.responder, noise("newer", 48), NOW)
    newest = responder.ConfirmSecret.make(handshake.responder, noise("newest", 48), NOW)
    assert responder.nonce_matches([newer, *handshake.secrets], n2)
    handshake.secrets = [newer, *handshake.secrets]
    assert isinstance(handshake.accept(n2), N3)
    handshake.secrets = [newest, newer]
    assert not responder.nonce_matches(handshake.secrets, n2)
    assert refused(lambda: handshake.accept(n2)) == Reason.NO_SESSION


def test_a_stranger_costs_no_curve_operation_before_the_nonce_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handshake = Handshake(*parties(CHACHA))
    n2 = handshake.answer()
    monkeypatch.setattr(responder, "HandshakeState", lambda *_args, **_members: pytest.fail("touched"))
    monkeypatch.setattr(responder, "ExchangeKey", lambda *_args: pytest.fail("touched"))
    for forged in (
        replace(n2, header=replace(n2.header, your_nonce=token("guessed"))),
        replace(n2, header=replace(n2.header, sender=handshake.responder.agent_id)),
        replace(n2, offer=handshake.initiator.offer(noise("another", 16))),
        replace(n2, selection=n2.selection[:-1] + bytes([n2.selection[-1] ^ 1])),
    ):
        assert not responder.nonce_matches(handshake.secrets, forged)
        assert refused(lambda forged=forged: handshake.accept(forged)) == Reason.NO_SESSION  # type: ignore[misc]


def test_the_same_answer_read_twice_makes_the_same_keys_which_is_why_its_nonce_is_used_up() -> None:
    handshake = Handshake(*parties(CHACHA))
    n2 = handshake.answer()
    first, second = (handshake.accept(n2), handshake.accepted.session), None
    second = handshake.accept(n2), handshake.accepted.session
    assert first[1].session_id == second[1].session_id
    hdr = header(first[1])
    assert first[1].seal(hdr, b"a") == second[1].seal(hdr, b"a")
    assert digest_of(n2) == digest_of(replace(n2))


def test_a_quick_answer_costs_the_responder_no_second_ephemeral_key(monkeypatch: pytest.MonkeyPatch) -> None:
    handshake = Handshake(*parties(CHACHA))
    n2 = handshake.answer()
    monkeypatch.setattr(responder, "ExchangeKey", lambda *_args: pytest.fail("made again"))
    session, _ = handshake.waiting.read_n3(handshake.accept(n2), NOW)
    assert session.session_id == handshake.accepted.session.session_id


def test_only_the_last_handshakes_are_remembered_and_an_answer_to_one_before_them_is_as_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responder, "RECENT", 3)
    handshake = Handshake(*parties(CHACHA))
    n2, secret, peer = handshake.answer(), handshake.secrets[0], handshake.responder
    for number in range(4):
        offer = handshake.initiator.offer(noise(f"flood {number}", 16))
        responder.make_n1(secret, peer, handshake.initiator.agent_id, offer)
    assert len(secret.recent) == 3
    assert all(agreement.initiator_offer != handshake.offer for agreement, _, _ in secret.recent)
    assert "recent" not in repr(secret)
    session, _ = handshake.waiting.read_n3(handshake.accept(n2), NOW)
    assert session.session_id == handshake.accepted.session.session_id


def test_a_responder_with_another_static_key_than_when_it_began_finishes_under_the_present_one() -> None:
    handshake = Handshake(*parties(CHACHA))
    n2, me = handshake.answer(), handshake.responder
    renewed = static_key("Ralf", me.agent_id, generation="renewed")
    handshake.responder = replace(me, static=renewed)
    session, _ = handshake.waiting.read_n3(handshake.accept(n2), NOW)
    assert session.peer.static_key == renewed.key.public
    assert handshake.accepted.session.own_static is renewed.key


@pytest.mark.parametrize(
    ("suite", "changes", "reason"),
    [
        (CHACHA, {"network": "another"}, Reason.AEAD),
        (CHACHA, {"agent_id": "00000000-0000-4000-8000-000000000000"}, Reason.AEAD),
        (WITH_PSK, {"psk": None}, Reason.PSK),
    ],
    ids=["network", "id", "psk"],
)
def test_a_responder_that_has_changed_since_it_began_does_not_go_on_as_what_it_was(
    suite: int, changes: dict[str, Any], reason: Reason
) -> None:
    handshake = Handshake(*parties(suite))
    n2 = handshake.answer()
    handshake.responder = replace(handshake.responder, **changes)
    assert refused(lambda: handshake.accept(n2)) == reason


def test_whatever_changes_in_an_answer_changes_the_digest_by_which_it_is_remembered() -> None:
    n2 = Handshake(*parties(CHACHA)).answer()
    others = [
        replace(n2, header=replace(n2.header, my_nonce=token("other"))),
        replace(n2, offer=n2.offer + b"\0"),
        replace(n2, selection=n2.selection[1:]),
        replace(n2, message=n2.message[1:]),
        replace(n2, selection=n2.selection + n2.message[:1], message=n2.message[1:]),
    ]
    assert len({digest_of(message) for message in [n2, *others]}) == 6


# --- every byte ------------------------------------------------------------------------------------------------------


ALTERED_SUITES = [(CHACHA, 1), pytest.param(WITH_KEM, 23, marks=needs_kem), (WITH_PSK, 9), (AES, 9)]


@pytest.mark.parametrize(("suite", "every"), ALTERED_SUITES)
def test_any_altered_byte_of_n1_ends_the_attempt_and_the_genuine_n1_is_still_good(
    suite: int, every: int
) -> None:
    handshake = Handshake(*parties(suite))
    genuine = handshake.n1
    for forged in every_altered(genuine, every):
        handshake.n1 = forged
        try:
            n2 = handshake.answer()
        except PeerError:
            continue
        assert refused(lambda n2=n2: handshake.accept(n2))  # type: ignore[misc]
    handshake.n1 = genuine
    assert handshake.finish()


@pytest.mark.parametrize(("suite", "every"), ALTERED_SUITES)
def test_any_altered_byte_of_n2_is_refused_and_the_genuine_n2_is_still_good(suite: int, every: int) -> None:
    handshake = Handshake(*parties(suite))
    n2 = handshake.answer()
    for forged in every_altered(n2, every):
        assert refused(lambda forged=forged: handshake.accept(forged))  # type: ignore[misc]
    session, _ = handshake.waiting.read_n3(handshake.accept(n2), NOW)
    assert session.session_id == handshake.accepted.session.session_id


@pytest.mark.parametrize(("suite", "every"), ALTERED_SUITES)
def test_any_altered_byte_of_n3_is_refused_and_the_genuine_n3_is_still_good(suite: int, every: int) -> None:
    handshake = Handshake(*parties(suite))
    n3 = handshake.accept(handshake.answer())
    for forged in every_altered(n3, every):
        assert refused(lambda forged=forged: handshake.waiting.read_n3(forged, NOW))  # type: ignore[misc]
    session, _ = handshake.waiting.read_n3(n3, NOW)
    assert session.session_id == handshake.accepted.session.session_id


def test_messages_of_one_handshake_are_worth_nothing_in_another() -> None:
    me, peer = parties(CHACHA)
    one, other = Handshake(me, peer, "one"), Handshake(me, peer, "other")
    of_one, of_other = one.answer(), other.answer()
    same_nonces = replace(of_other, header=of_one.header, offer=of_one.offer, selection=of_one.selection)
    assert refused(lambda: one.accept(of_other)) == Reason.NO_SESSION
    assert refused(lambda: one.accept(same_nonces)) == Reason.AEAD
    n3, foreign = one.accept(of_one), other.accept(of_other)
    assert refused(lambda: one.waiting.read_n3(foreign, NOW)) == Reason.NO_SESSION
    mixed = replace(foreign, header=n3.header)
    assert refused(lambda: one.waiting.read_n3(mixed, NOW)) == Reason.AEAD


@pytest.mark.parametrize("network", ["", "elsewhere"])
def test_agents_of_different_networks_do_not_meet(network: str) -> None:
    me, peer = agent("Hanna", network="here"), agent("Ralf", network=network)
    handshake = Handshake(me, peer)
    assert refused(lambda: handshake.accept(handshake.answer())) == Reason.AEAD


@pytest.mark.parametrize("suite", [WITH_PSK, pytest.param(WITH_BOTH, marks=needs_kem)])
def test_agents_with_different_psks_do_not_meet(suite: int) -> None:
    handshake = Handshake(agent("Hanna", suite, psk=PSK), agent("Ralf", suite, psk=Secret(noise("other"))))
    n3 = handshake.accept(handshake.answer())
    assert refused(lambda: handshake.waiting.read_n3(n3, NOW)) == Reason.AEAD


def test_a_suite_with_a_psk_is_refused_by_who_has_none() -> None:
    with_psk, without = agent("Hanna", WITH_PSK, psk=PSK), agent("Ralf", WITH_PSK)
    assert refused(lambda: Handshake(with_psk, without)) == Reason.PSK
    handshake = Handshake(with_psk, agent("Ralf", WITH_PSK, psk=PSK))
    handshake.initiator = replace(with_psk, psk=None)
    assert refused(handshake.answer) == Reason.PSK


# --- keys and identities that must not pass ---------------------------------------------------------------------------

SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("key", SMALL_ORDER, ids=lambda key: key.hex()[:8])
def test_an_ephemeral_key_of_small_order_is_refused_on_both_sides(key: bytes) -> None:
    handshake = Handshake(*parties(CHACHA))
    genuine = handshake.n1
    handshake.n1 = replace(genuine, message=key)
    assert refused(handshake.answer) == Reason.WEAK_KEY
    handshake.n1 = genuine
    n2 = handshake.answer()
    forged = replace(n2, message=key + n2.message[32:])
    assert refused(lambda: handshake.accept(forged)) == Reason.WEAK_KEY


def forged_n3(handshake: Handshake, change: Callable[[Credentials], Credentials]) -> N3:
    """n3 of a responder that says something else about itself, everything else being right."""
    n2, me = handshake.answer(), handshake.responder
    original = Myself.credentials

    def credentials(self: Myself, hdr: Header, ciphertext: bytes | None = None) -> bytes:
        return change(Credentials.parse(original(self, hdr, ciphertext))).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Myself, "credentials", credentials)
        return responder.read_n2(handshake.secrets, me, n2, nonce=token("n3"), now=NOW).reply


def rebound(given: Credentials, **changes: Any) -> Credentials:
    """Credentials with a binding that is rightly signed, for other times or by another key."""
    old = Binding.parse(given.binding)
    static = agent("Ralf").static.key.public
    name, start, end = (
        changes.get("by", "Ralf"),
        changes.get("start", old.not_before),
        changes.get("end", old.not_after),
    )
    binding = bind(signing_key(name), changes.get("agent_id", given.agent_id), static, start, end)
    return replace(
        given, binding=binding.encode(), identity_key=changes.get("identity_key", given.identity_key)
    )


IDENTITY_FAULTS: dict[str, tuple[Callable[[Credentials], Credentials], Reason]] = {
    "another id": (lambda c: replace(c, agent_id="0" * 36), Reason.ID_MISMATCH),
    "another header": (lambda c: replace(c, header_digest=noise("hdr")), Reason.HDR_BINDING),
    "our own identity key": (
        lambda c: replace(c, identity_key=signing_key("Hanna").public),
        Reason.SELF,
    ),
    "a signature of another key": (lambda c: rebound(c, by="Mallory"), Reason.STATIC_SIG),
    "a binding of another id": (lambda c: rebound(c, agent_id="0" * 36), Reason.STATIC_SIG),
    "a key that is not ours to show": (
        lambda c: replace(c, identity_key=signing_key("Mallory").public),
        Reason.STATIC_SIG,
    ),
    "a weak identity key": (lambda c: replace(c, identity_key=b"\1" + bytes(31)), Reason.WEAK_KEY),
    "a binding that is over": (
        lambda c: rebound(c, start=int(NOW) - 9999, end=int(NOW) - 301),
        Reason.BINDING_EXPIRED,
    ),
    "a binding that has not begun": (lambda c: rebound(c, start=int(NOW) + 301), Reason.BINDING_EXPIRED),
    "a binding for too long": (lambda c: rebound(c, end=int(NOW) + 91 * 86_400), Reason.BINDING_EXPIRED),
    "a ciphertext in n3": (lambda c: replace(c, kem_ciphertext=bytes(1088)), Reason.FORMAT),
}


@pytest.mark.parametrize("fault", IDENTITY_FAULTS)
def test_each_fault_of_an_identity_ends_the_attempt_with_its_reason(fault: str) -> None:
    change, reason = IDENTITY_FAULTS[fault]
    handshake = Handshake(*parties(CHACHA))
    n3 = forged_n3(handshake, change)
    assert refused(lambda: handshake.waiting.read_n3(n3, NOW)) == reason
    session, _ = handshake.waiting.read_n3(forged_n3(handshake, lambda c: c), NOW)
    assert session.peer.agent_id == handshake.responder.agent_id


def test_a_responder_checks_the_initiator_in_the_same_way() -> None:
    me, peer = parties(CHACHA)
    thief = replace(me, static=static_key("Mallory", me.agent_id))
    handshake = Handshake(thief, peer)
    assert refused(lambda: handshake.accept(handshake.answer())) == Reason.STATIC_SIG
    other = agent("Mallory")
    handshake = Handshake(replace(me, identity_key=other.identity_key), peer)
    assert refused(lambda: handshake.accept(handshake.answer())) == Reason.STATIC_SIG


def test_a_responder_that_ends_under_another_id_than_it_began_is_refused() -> None:
    handshake = Handshake(*parties(CHACHA))
    n2, other = handshake.answer(), agent("Mallory")
    agreement = Agreement(
        handshake.initiator.agent_id,
        handshake.responder.agent_id,
        n2.offer,
        handshake.secrets[0].offer,
        n2.selection,
        handshake.n1.header.my_nonce or "",
        "",
    )
    suite = SUITES[CHACHA]
    begun = responder.begin(other, agreement, suite, responder.derive(handshake.secrets[0], agreement, suite))
    accepted = responder.accept(other, suite, begun, n2, nonce=token("n3"), now=NOW)
    assert accepted.reply.sender == other.agent_id
    assert refused(lambda: handshake.waiting.read_n3(accepted.reply, NOW)) == Reason.NO_SESSION


@pytest.mark.parametrize("shared", [("identity",), ("static",), ("identity", "static")])
def test_an_agent_does_not_shake_its_own_hand(shared: tuple[str, ...]) -> None:
    me, other = agent("Hanna"), agent("Ralf")
    key, static = (me if "identity" in shared else other), (me if "static" in shared else other).static.key
    signer = signing_key("Hanna" if "identity" in shared else "Ralf")
    binding = bind(signer, other.agent_id, static.public, int(NOW), int(NOW) + 1)
    mirror = replace(other, identity_key=key.identity_key, static=StaticKey(static, binding))
    handshake = Handshake(me, mirror)
    assert refused(lambda: handshake.accept(handshake.answer())) == Reason.SELF


def test_a_binding_ends_when_its_time_is_over_and_not_before() -> None:
    handshake = Handshake(*parties(CHACHA))
    n3 = handshake.accept(handshake.answer())
    end = handshake.responder.static.binding.not_after
    assert handshake.waiting.read_n3(n3, end + 300.0)
    assert refused(lambda: handshake.waiting.read_n3(n3, end + 301.0)) == Reason.BINDING_EXPIRED


@needs_kem
def test_an_ml_kem_key_and_ciphertext_are_there_if_and_only_if_the_suite_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handshake = Handshake(*parties(WITH_KEM))
    n2, original = handshake.answer(), Myself.credentials
    monkeypatch.setattr(Myself, "credentials", lambda self, hdr, _ciphertext=None: original(self, hdr))
    without = handshake.answer()
    assert refused(lambda: handshake.accept(without)) == Reason.KEM
    monkeypatch.undo()
    assert handshake.accept(n2)
    handshake = Handshake(*parties(CHACHA))
    monkeypatch.setattr(
        Myself, "credentials", lambda self, hdr, _ciphertext=None: original(self, hdr, bytes(1088))
    )
    with_one = handshake.answer()
    assert refused(lambda: handshake.accept(with_one)) == Reason.KEM


@needs_kem
def test_an_n1_with_or_without_an_ml_kem_key_against_its_suite_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responder, "encode_kem_public", lambda _public: b"")
    assert refused(Handshake(*parties(WITH_KEM)).answer) == Reason.KEM
    monkeypatch.setattr(responder, "encode_kem_public", lambda _public: b"\x20\x04\xa0" + bytes(1184))
    assert refused(Handshake(*parties(CHACHA)).answer) == Reason.KEM


@needs_kem
def test_the_ml_kem_secret_and_everything_about_it_are_in_the_psk() -> None:
    base: dict[str, Any] = {
        "suite_number": WITH_BOTH,
        "psk": PSK,
        "shared": Secret(noise("shared")),
        "public": noise("public", 1184),
        "ciphertext": noise("ciphertext", 1088),
    }
    changes = {
        "suite_number": WITH_KEM,
        "psk": None,
        "shared": Secret(noise("x")),
        "public": noise("y", 1184),
        "ciphertext": noise("z", 1088),
    }
    psks = [mixed_psk(**base), *(mixed_psk(**(base | {name: value})) for name, value in changes.items())]
    assert len({psk.reveal() for psk in psks}) == 6


# --- what is not shown -----------------------------------------------------------------------------------------------


def secret_bytes(value: Any, seen: set[int]) -> Iterator[bytes]:
    """All secrets in an object and in what it is made of."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, ExchangeKey | SigningKey):
        yield value.private_bytes()
    elif isinstance(value, tuple | list | dict):
        value = value.values() if isinstance(value, dict) else value
        for item in value:
            yield from secret_bytes(item, seen)
    elif is_dataclass(value):
        for field in fields(value):
            yield from secret_bytes(getattr(value, field.name), seen)
    elif hasattr(type(value), "__slots__"):
        for name in type(value).__slots__:
            yield from secret_bytes(getattr(value, name, None), seen)


def test_no_representation_shows_a_secret() -> None:
    me, peer = parties(WITH_PSK)
    handshake = Handshake(me, peer)
    ours, theirs = handshake.finish()
    ticket = Ticket.of(ours)
    attempt, _ = make_k1(me, ticket, me.offer(bytes(16)), ephemeral=noise("k1"), now=NOW)
    ours.start_rekey(noise("rekey"))
    objects = [me, handshake.waiting, handshake.accepted, handshake.secrets, ours, theirs, ticket, attempt]
    secrets = {raw for value in objects for raw in secret_bytes(value, set())} | {ticket.ticket_id}
    assert len(secrets) > 12
    shown = "".join(repr(value) for value in objects)
    for raw in secrets:
        for text in (raw.hex(), repr(raw)[2:-1], b64url_encode(raw)[1:], str(list(raw))):
            assert text not in shown
    assert re.search(r"Session\([0-9a-f]{32}, generation 1, ", shown)


def test_myself_is_what_an_identity_says() -> None:
    identity = Identity(
        agent_id=agent("Hanna").agent_id,
        created_at="2026-01-01T00:00:00Z",
        exchange_key=ExchangeKey(noise("kx")),
        signing_key=signing_key("Hanna"),
    ).with_static_key(noise("ns"), NOW)
    me = Myself.from_identity(identity, (CHACHA,), NOW)
    ours, theirs = Handshake(me, agent("Ralf")).finish()
    assert theirs.peer.static_key == identity.static_key.key.public
    assert ours.peer.agent_id == agent("Ralf").agent_id

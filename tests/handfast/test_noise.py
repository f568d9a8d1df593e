"""The Noise handshakes: the design's vectors, another implementation, altered messages, and misuse."""

import base64
import copy
import hashlib
import hmac
import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from handfast.crypto.kdf import hkdf_chain
from handfast.crypto.keys import ExchangeKey, Secret
from handfast.errors import PeerError, Reason, UsageError
from handfast.noise.cipherstate import AESGCM, CHACHAPOLY, CipherFunctions
from handfast.noise.handshakestate import MAX_MESSAGE_BYTES, HandshakeState, Split
from handfast.noise.patterns import KKPSK0, XX, XXPSK3, Pattern, Protocol

law = settings(deadline=None, max_examples=40)

VECTORS: Any = json.loads(
    (Path(__file__).parents[1] / "vectors" / "v2" / "v2_vectors.json").read_text(encoding="utf-8")
)
PROTOCOLS = [Protocol(*both) for both in itertools.product((XX, XXPSK3, KKPSK0), (CHACHAPOLY, AESGCM))]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)

PSK = Secret(b"p" * 32)
INITIATOR_STATIC, RESPONDER_STATIC = ExchangeKey(b"i" * 32), ExchangeKey(b"r" * 32)
PAYLOADS = [b"first", b"second payload", b""]

FIELD_PRIME = 2**255 - 19
# RFC 7748, section 6.1, and the points of small order, some of them not reduced
WEAK_PUBLICS = [
    *(number.to_bytes(32, "little") for number in (0, 1, FIELD_PRIME - 1, FIELD_PRIME, FIELD_PRIME + 1)),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


class Side:
    """A handshake, and what it needs for each of its messages."""

    def __init__(
        self,
        protocol: Protocol,
        *,
        initiator: bool,
        prologue: bytes = b"prologue",
        psk: Secret = PSK,
        static: ExchangeKey | None = None,
        peer: bytes | None = None,
    ) -> None:
        statics = (INITIATOR_STATIC, RESPONDER_STATIC) if initiator else (RESPONDER_STATIC, INITIATOR_STATIC)
        self.messages = protocol.pattern.messages
        self.psk = psk
        self.ephemeral = ExchangeKey((b"I" if initiator else b"R") * 32)
        knows_peer = protocol.pattern.pre_messages[1 if initiator else 0] != ()
        self.state = HandshakeState(
            protocol,
            initiator=initiator,
            prologue=prologue,
            static=static or statics[0],
            remote_static=(peer or statics[1].public) if knows_peer else None,
        )

    def psk_for(self, number: int) -> Secret | None:
        return self.psk if "psk" in self.messages[number] else None

    def write(self, number: int, payload: bytes) -> bytes:
        ephemeral = self.ephemeral if "e" in self.messages[number] else None
        return self.state.write_message(payload, ephemeral=ephemeral, psk=self.psk_for(number))

    def read(self, number: int, message: bytes) -> bytes:
        return self.state.read_message(message, psk=self.psk_for(number))

    def snapshot(self) -> object:
        """Everything that a message can change."""
        progress = self.state._progress
        assert progress is not None
        symmetric = progress.symmetric
        cipher = symmetric._cipher_state
        return (
            (symmetric._hash, symmetric._chaining_key, cipher._key, cipher._nonce),
            (dict(progress.local), dict(progress.remote), progress.messages_done),
        )


def two_sides(protocol: Protocol, **of_both: Any) -> tuple[Side, Side]:
    return Side(protocol, initiator=True, **of_both), Side(protocol, initiator=False, **of_both)


def turns(protocol: Protocol, *sides: Side) -> Iterator[tuple[int, Side, Side]]:
    """The number, writer and reader of each message."""
    for number in range(len(protocol.pattern.messages)):
        yield number, sides[number % 2], sides[1 - number % 2]


def finished(protocol: Protocol, *sides: Side) -> tuple[Split, Split]:
    for number, writer, reader in turns(protocol, *sides):
        assert reader.read(number, writer.write(number, PAYLOADS[number])) == PAYLOADS[number]
    return sides[0].state.finish(), sides[1].state.finish()


def raw(text: str) -> bytes:
    """The design's B(x)."""
    return base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))


# ---- the design's vectors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xx", "xxpsk3"])
def test_every_message_and_secret_of_the_full_handshakes_is_as_in_the_vectors(name: str) -> None:
    vector = VECTORS[name]
    keys = {label: ExchangeKey(bytes.fromhex(private)) for label, private in vector["keys"].items()}
    psk = Secret(bytes.fromhex(vector["psk"])) if vector["psk"] else None
    protocol = Protocol({"xx": XX, "xxpsk3": XXPSK3}[name], CHACHAPOLY)
    prologue = bytes.fromhex(vector["prologue"])
    # the Summoner responder is the Noise initiator (v2-handshake.md, section 5.4)
    first = HandshakeState(protocol, initiator=True, prologue=prologue, static=keys["s r"])
    second = HandshakeState(protocol, initiator=False, prologue=prologue, static=keys["s i"])
    n1, n2, n3 = (raw(vector[message]["hs"]["m"]) for message in ("confirm", "request1", "respond1"))

    assert first.write_message(second.read_message(n1), ephemeral=keys["e r"]) == n1
    assert second.write_message(first.read_message(n2), ephemeral=keys["e i"]) == n2
    assert first.write_message(second.read_message(n3, psk=psk), psk=psk) == n3
    assert (first.remote_static, second.remote_static) == (keys["s i"].public, keys["s r"].public)

    secrets = {label: bytes.fromhex(secret) for label, secret in vector["secrets"].items()}
    for split in first.finish(), second.finish():
        assert split.initiator_to_responder.reveal() == secrets["k_r2i"]
        assert split.responder_to_initiator.reveal() == secrets["k_i2r"]
        assert split.exported.reveal() == secrets["ems"]
        assert split.handshake_hash == secrets["h"]


def test_the_resumption_of_the_vectors_opens_with_the_secret_of_the_session_before() -> None:
    vector, before = VECTORS["kk_after_xx"], VECTORS["xx"]
    keys = {label: ExchangeKey(bytes.fromhex(private)) for label, private in before["keys"].items()}
    responder = HandshakeState(
        Protocol(KKPSK0, CHACHAPOLY),
        initiator=False,
        prologue=bytes.fromhex(vector["prologue"]),
        static=keys["s r"],
        remote_static=keys["s i"].public,
    )
    payload = responder.read_message(
        raw(vector["reconnect"]["hs"]["m"]), psk=Secret(bytes.fromhex(before["secrets"]["rs"]))
    )
    agent_id = before["id_i"].encode()
    assert payload[: 3 + len(agent_id)] == b"\1" + len(agent_id).to_bytes(2, "big") + agent_id
    # the vectors do not tell the ephemeral private keys of this handshake: k2 can be hashed, not opened
    k2 = raw(vector["confirm"]["hs"]["m"])
    progress = responder._progress
    assert progress is not None
    progress.symmetric.mix_hash(k2[:32])
    progress.symmetric.mix_hash(k2[32:])
    assert progress.symmetric.handshake_hash().hex() == vector["secrets"]["h"]


def test_hkdf_is_the_one_of_the_specification() -> None:
    secret = hmac.digest(b"c" * 32, b"material", "sha256")
    first = hmac.digest(secret, b"\1", "sha256")
    second = hmac.digest(secret, first + b"\2", "sha256")
    third = hmac.digest(secret, second + b"\3", "sha256")
    assert hkdf_chain(b"c" * 32, b"material", 3) == [first, second, third]
    assert hkdf_chain(b"c" * 32, b"material", 2) == [first, second]


# ---- another implementation ---------------------------------------------------------------------------------------


def other_side(protocol: Protocol, *, initiator: bool) -> NoiseConnection:
    """A side with our keys in the `noiseprotocol` package."""
    other = NoiseConnection.from_name(protocol.name.encode())
    statics = (INITIATOR_STATIC, RESPONDER_STATIC) if initiator else (RESPONDER_STATIC, INITIATOR_STATIC)
    other.set_keypair_from_private_bytes(Keypair.STATIC, statics[0].private_bytes())
    if protocol.pattern.pre_messages[1 if initiator else 0]:
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, statics[1].public)
    if protocol.pattern.has_psk:
        other.set_psks(psk=PSK.reveal())
    other.set_prologue(b"prologue")
    if initiator:
        other.set_as_initiator()
    else:
        other.set_as_responder()
    other.start_handshake()
    return other


# patterns that we do not use, for what ours have none of: a static key in the clear, a psk in the second message, one
# static key alone known beforehand
IX = Pattern("IX", (("e", "s"), ("e", "ee", "se", "s", "es")))
IXPSK2 = Pattern("IXpsk2", (("e", "s"), ("e", "ee", "se", "s", "es", "psk")))
IK = Pattern("IK", (("e", "es", "s", "ss"), ("e", "ee", "se")), pre_messages=((), ("s",)))
SHARED = [*PROTOCOLS, *(Protocol(pattern, CHACHAPOLY) for pattern in (IX, IXPSK2, IK))]


@pytest.mark.parametrize("protocol", SHARED, ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("initiator", [True, False], ids=["we_begin", "they_begin"])
def test_a_handshake_with_another_implementation_ends_in_the_same_keys(
    protocol: Protocol, initiator: bool
) -> None:
    ours, theirs = Side(protocol, initiator=initiator), other_side(protocol, initiator=not initiator)
    for number, payload in zip(range(len(protocol.pattern.messages)), PAYLOADS, strict=False):
        if (number % 2 == 0) == initiator:
            assert theirs.read_message(ours.write(number, payload)) == payload
        else:
            assert ours.read(number, bytes(theirs.write_message(payload))) == payload
    split = ours.state.finish()
    to_them, to_us = split.initiator_to_responder.reveal(), split.responder_to_initiator.reveal()
    if not initiator:
        to_them, to_us = to_us, to_them
    assert theirs.get_handshake_hash() == split.handshake_hash
    assert theirs.decrypt(protocol.cipher.seal(to_them, bytes(12), b"hello", b"")) == b"hello"
    assert protocol.cipher.open(to_us, bytes(12), bytes(theirs.encrypt(b"hello")), b"") == b"hello"


@pytest.mark.parametrize(("cipher", "number", "nonce"), [(CHACHAPOLY, 258, "0201"), (AESGCM, 258, "0102")])
def test_nonces_are_of_each_ciphers_byte_order(cipher: CipherFunctions, number: int, nonce: str) -> None:
    eight = (
        bytes.fromhex(nonce).ljust(8, b"\0") if cipher is CHACHAPOLY else bytes.fromhex(nonce).rjust(8, b"\0")
    )
    assert cipher.nonce(number) == bytes(4) + eight


def test_a_protocol_name_longer_than_the_hash_is_hashed_and_a_shorter_one_is_filled_up() -> None:
    assert Protocol(XX, AESGCM).initial_hash == b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
    assert Protocol(XX, CHACHAPOLY).initial_hash == b"Noise_XX_25519_ChaChaPoly_SHA256"
    longer = Protocol(KKPSK0, CHACHAPOLY)
    assert longer.initial_hash == hashlib.sha256(b"Noise_KKpsk0_25519_ChaChaPoly_SHA256").digest()


# ---- what both sides agree on -------------------------------------------------------------------------------------


@every_protocol
def test_both_sides_end_in_the_same_keys_hash_and_knowledge_of_each_other(protocol: Protocol) -> None:
    initiator, responder = two_sides(protocol)
    for number, writer, reader in turns(protocol, initiator, responder):
        reader.read(number, writer.write(number, b""))
    assert initiator.state.remote_static == RESPONDER_STATIC.public
    assert responder.state.remote_static == INITIATOR_STATIC.public
    ours, theirs = initiator.state.finish(), responder.state.finish()
    assert ours == theirs
    assert (
        len(
            {
                ours.initiator_to_responder.reveal(),
                ours.responder_to_initiator.reveal(),
                ours.exported.reveal(),
            }
        )
        == 3
    )


@given(
    protocol=st.sampled_from(PROTOCOLS),
    prologue=st.binary(),
    payloads=st.lists(st.binary(), min_size=3, max_size=3),
)
@law
def test_any_payload_comes_through(protocol: Protocol, prologue: bytes, payloads: list[bytes]) -> None:
    sides = two_sides(protocol, prologue=prologue)
    for number, writer, reader in turns(protocol, *sides):
        assert reader.read(number, writer.write(number, payloads[number])) == payloads[number]
    assert sides[0].state.finish() == sides[1].state.finish()


# ---- altered messages ---------------------------------------------------------------------------------------------


def alterations(message: bytes) -> Iterator[bytes]:
    """Each byte altered in its lowest and in its highest bit, each truncation, something appended."""
    for place, bit in itertools.product(range(len(message)), (0x01, 0x80)):
        yield message[:place] + bytes([message[place] ^ bit]) + message[place + 1 :]
    yield from (message[:length] for length in range(len(message)))
    yield message + b"\0"


@every_protocol
def test_any_altered_message_is_refused_and_changes_nothing_and_the_genuine_one_is_taken_after_it(
    protocol: Protocol,
) -> None:
    sides = two_sides(protocol)
    for number, writer, reader in turns(protocol, *sides):
        message = writer.write(number, PAYLOADS[number])
        if (
            number > 0 or protocol.pattern.has_psk
        ):  # the first of XX has no seal yet: the next test is about it
            before = reader.snapshot()
            for altered in alterations(message):
                with pytest.raises(PeerError) as refusal:
                    reader.read(number, altered)
                assert refusal.value.reason in {
                    Reason.AEAD,
                    Reason.MALFORMED,
                    Reason.WEAK_KEY,
                }
                assert reader.snapshot() == before
        assert reader.read(number, message) == PAYLOADS[number]
    assert sides[0].state.finish() == sides[1].state.finish()


@pytest.mark.parametrize("cipher", [CHACHAPOLY, AESGCM], ids=lambda cipher: cipher.name)
def test_an_answer_to_an_altered_first_message_of_xx_is_refused_and_changes_nothing(
    cipher: CipherFunctions,
) -> None:
    protocol = Protocol(XX, cipher)
    initiator, responder = two_sides(protocol)
    n1 = initiator.write(0, PAYLOADS[0])
    before = initiator.snapshot()
    for altered in alterations(n1):
        deceived = Side(protocol, initiator=False)
        if len(altered) < len(initiator.ephemeral.public):
            with pytest.raises(PeerError) as refusal:
                deceived.read(0, altered)
            assert refusal.value.reason is Reason.MALFORMED
            continue
        deceived.read(0, altered)
        with pytest.raises(PeerError):
            initiator.read(1, deceived.write(1, b""))
        assert initiator.snapshot() == before
    assert responder.read(0, n1) == PAYLOADS[0]
    assert initiator.read(1, responder.write(1, b"")) == b""


@given(protocol=st.sampled_from(PROTOCOLS), number=st.integers(0, 2), message=st.binary(max_size=200))
@law
def test_bytes_of_a_stranger_are_refused_by_a_reason_and_nothing_else(
    protocol: Protocol, number: int, message: bytes
) -> None:
    sides = two_sides(protocol)
    for current, writer, reader in turns(protocol, *sides):
        if current == number and (number > 0 or protocol.pattern.has_psk):
            with pytest.raises(PeerError):
                reader.read(number, message)
        reader.read(current, writer.write(current, b""))
    assert sides[0].state.finish() == sides[1].state.finish()


def test_a_message_longer_than_noise_allows_is_neither_read_nor_written() -> None:
    initiator, responder = two_sides(Protocol(XX, CHACHAPOLY))
    longest = bytes(MAX_MESSAGE_BYTES - 32)
    before = initiator.snapshot()
    with pytest.raises(UsageError):
        initiator.write(0, longest + b"\0")
    assert initiator.snapshot() == before
    n1 = initiator.write(0, longest)
    before = responder.snapshot()
    with pytest.raises(PeerError, match="longer") as refusal:
        responder.read(0, n1 + b"\0")
    assert refusal.value.reason is Reason.MALFORMED
    assert responder.snapshot() == before
    assert responder.read(0, n1) == longest


@pytest.mark.parametrize("public", WEAK_PUBLICS, ids=lambda public: public.hex()[:8])
def test_a_key_of_small_order_ends_in_nothing_at_either_side(public: bytes) -> None:
    initiator, responder = two_sides(Protocol(XX, CHACHAPOLY))
    responder.read(0, public)
    before = responder.snapshot()
    with pytest.raises(PeerError) as refusal:
        responder.write(1, b"")
    assert refusal.value.reason is Reason.WEAK_KEY
    assert responder.snapshot() == before

    initiator.write(0, b"")
    before = initiator.snapshot()
    with pytest.raises(PeerError) as refusal:
        initiator.read(1, public + bytes(64))
    assert refusal.value.reason is Reason.WEAK_KEY
    assert initiator.snapshot() == before


# ---- sides that do not belong together ----------------------------------------------------------------------------


STRANGER = ExchangeKey(b"x" * 32)
DIFFERENCES: list[tuple[Protocol, dict[str, Any]]] = [
    *((protocol, {"prologue": b"Prologue"}) for protocol in PROTOCOLS),
    *((protocol, {"psk": Secret(b"q" * 32)}) for protocol in PROTOCOLS if protocol.pattern.has_psk),
    *((protocol, {"static": STRANGER}) for protocol in PROTOCOLS if protocol.pattern is KKPSK0),
    *((protocol, {"peer": STRANGER.public}) for protocol in PROTOCOLS if protocol.pattern is KKPSK0),
]


@pytest.mark.parametrize(
    ("protocol", "other"),
    [pytest.param(*case, id=f"{case[0].name}-{next(iter(case[1]))}") for case in DIFFERENCES],
)
@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])
def test_sides_that_differ_in_what_they_must_agree_on_never_finish(
    protocol: Protocol, other: dict[str, Any], initiator: bool
) -> None:
    differing, usual = Side(protocol, initiator=initiator, **other), Side(protocol, initiator=not initiator)
    with pytest.raises(PeerError) as refusal:
        finished(protocol, *((differing, usual) if initiator else (usual, differing)))
    assert refusal.value.reason is Reason.AEAD


def test_a_message_refused_for_its_psk_is_read_with_the_right_one() -> None:
    protocol = Protocol(KKPSK0, CHACHAPOLY)
    initiator, responder = two_sides(protocol)
    k1 = initiator.write(0, b"payload")
    with pytest.raises(PeerError):
        responder.state.read_message(k1, psk=Secret(b"q" * 32))
    assert responder.state.read_message(k1, psk=PSK) == b"payload"


@every_protocol
def test_a_side_made_again_of_the_same_keys_goes_on_where_the_first_was(protocol: Protocol) -> None:
    initiator, responder = two_sides(protocol)
    again = Side(protocol, initiator=True)
    message = initiator.write(0, b"payload")
    responder.read(0, message)
    assert again.write(0, b"payload") == message
    again.read(1, responder.write(1, b""))


@every_protocol
def test_a_copy_goes_its_own_way(protocol: Protocol) -> None:
    sides = two_sides(protocol)
    for number, writer, reader in turns(protocol, *sides):
        before = writer.snapshot(), reader.snapshot()
        trials = copy.copy(writer), copy.copy(reader)
        for trial, side in zip(trials, (writer, reader), strict=True):
            trial.state = side.state.copy()
        message = trials[0].write(number, b"payload")
        assert trials[1].read(number, message) == b"payload"
        assert (writer.snapshot(), reader.snapshot()) == before
        assert writer.write(number, b"payload") == message
        assert reader.read(number, message) == b"payload"
    copied = [side.state.copy().finish() for side in sides]
    assert copied == [side.state.finish() for side in sides]


# ---- misuse -------------------------------------------------------------------------------------------------------


@every_protocol
def test_of_all_that_keys_agree_on_only_that_of_both_static_keys_is_remembered(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[tuple[ExchangeKey, bytes]] = []

    def exchange_once(key: ExchangeKey, peer_public: bytes) -> bytes:
        remembered.append((key, peer_public))
        return key.exchange(peer_public)

    monkeypatch.setattr(ExchangeKey, "exchange_once", exchange_once)
    finished(protocol, *two_sides(protocol))
    of_both = {(INITIATOR_STATIC, RESPONDER_STATIC.public), (RESPONDER_STATIC, INITIATOR_STATIC.public)}
    assert set(remembered) == (of_both if protocol.pattern is KKPSK0 else set())


@every_protocol
def test_a_finished_handshake_is_used_up(protocol: Protocol) -> None:
    sides = two_sides(protocol)
    finished(protocol, *sides)
    for side in sides:
        assert side.state._progress is None
        for use in (
            side.state.finish,
            lambda side=side: side.state.remote_static,
            lambda side=side: side.state.write_message(b""),
            lambda side=side: side.state.read_message(b""),
        ):
            with pytest.raises(UsageError):
                use()


@every_protocol
def test_messages_out_of_turn_and_an_early_finish_are_errors_of_ours_and_change_nothing(
    protocol: Protocol,
) -> None:
    sides = two_sides(protocol)
    for number, writer, reader in turns(protocol, *sides):
        before = writer.snapshot(), reader.snapshot()
        with pytest.raises(UsageError, match="message is ours"):
            writer.read(number, bytes(200))
        with pytest.raises(UsageError, match="message is the peer's"):
            reader.write(number, b"")
        with pytest.raises(UsageError):
            writer.state.finish()
        assert (writer.snapshot(), reader.snapshot()) == before
        reader.read(number, writer.write(number, b""))
    for side in sides:
        with pytest.raises(UsageError):
            side.state.write_message(b"")
        with pytest.raises(UsageError):
            side.state.read_message(b"")


def test_a_message_gets_exactly_the_keys_it_needs() -> None:
    key = ExchangeKey(b"e" * 32)
    xx, _ = two_sides(Protocol(XX, CHACHAPOLY))
    kk, kk_responder = two_sides(Protocol(KKPSK0, CHACHAPOLY))
    for wrong in ({}, {"ephemeral": key, "psk": PSK}, {"psk": PSK}):
        with pytest.raises(UsageError):
            xx.state.write_message(b"", **wrong)
    for wrong in ({}, {"ephemeral": key}, {"psk": PSK}, {"ephemeral": key, "psk": Secret(b"p" * 31)}):
        with pytest.raises(UsageError):
            kk.state.write_message(b"", **wrong)
    k1 = kk.state.write_message(b"", ephemeral=key, psk=PSK)
    with pytest.raises(UsageError):
        kk_responder.state.read_message(k1)
    with pytest.raises(UsageError):
        kk.state.read_message(k1, psk=PSK)
    xx_responder = Side(Protocol(XX, CHACHAPOLY), initiator=False)
    xx_responder.read(0, xx.write(0, b""))
    xx.read(1, xx_responder.write(1, b""))
    with pytest.raises(UsageError):
        xx.state.write_message(b"", ephemeral=key)


@pytest.mark.parametrize(
    ("pattern", "remote"), [(XX, bytes(32)), (XXPSK3, bytes(32)), (KKPSK0, None), (KKPSK0, bytes(31))]
)
def test_the_peers_static_key_is_given_exactly_where_the_pattern_knows_it(
    pattern: Pattern, remote: bytes | None
) -> None:
    for initiator in (True, False):
        with pytest.raises(UsageError):
            HandshakeState(
                Protocol(pattern, CHACHAPOLY),
                initiator=initiator,
                prologue=b"",
                static=INITIATOR_STATIC,
                remote_static=remote,
            )


def test_nothing_shows_a_secret_of_a_handshake_and_nothing_pickles_it() -> None:
    protocol = Protocol(XXPSK3, CHACHAPOLY)
    sides = two_sides(protocol)
    sides[1].read(0, sides[0].write(0, b""))
    shown = [repr(part) for part in (sides[1].state, sides[1].state._progress)]
    split, _ = finished(protocol, *two_sides(protocol))
    shown.append(repr(split))
    hidden = [split.initiator_to_responder, split.responder_to_initiator, split.exported]
    for text in shown:
        assert all(
            secret.reveal().hex() not in text and repr(secret.reveal()) not in text for secret in hidden
        )
        assert "b'" not in text
    assert "<redacted>" in shown[-1]
    for whole in (sides[1].state, split):
        with pytest.raises(TypeError):
            pickle.dumps(whole)

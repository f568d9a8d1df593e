"""Keys and what is done with them: published test vectors, weak keys, and secrets that show nothing of themselves."""

import base64
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.crypto import keys
from handfast.crypto.aead import DoesNotOpen, aes_open, aes_seal, chacha_open, chacha_seal
from handfast.crypto.kdf import hkdf, scrypt
from handfast.crypto.keys import (
    _SMALL_ORDER_Y,
    ExchangeKey,
    Secret,
    SigningKey,
    WeakKeyError,
    require_strong_signing_key,
    signature_holds,
)

law = settings(deadline=None, max_examples=50)

PRIVATE = bytes(range(1, 33))

# ---- published vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("private", "public", "message", "r", "s"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_signatures_are_those_of_rfc_8032(private: str, public: str, message: str, r: str, s: str) -> None:
    key, text = SigningKey(bytes.fromhex(private)), bytes.fromhex(message)
    assert key.public.hex() == public
    assert key.sign(text).hex() == r + s
    assert key.private_bytes().hex() == private
    assert signature_holds(key.public, bytes.fromhex(r + s), text)


def test_key_agreement_is_that_of_rfc_7748() -> None:
    alice = ExchangeKey(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = ExchangeKey(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.exchange(bob.public).hex() == bob.exchange(alice.public).hex() == shared
    # section 5.2: a point that is nobody's public key
    scalar = ExchangeKey(bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert scalar.exchange(point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_key_derivation_is_that_of_rfc_5869_and_rfc_7914() -> None:
    # the RFCs ask for more bytes than 32; both functions give the same beginning
    assert hkdf(b"\x0b" * 22, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    derived = scrypt(b"", b"", n=16, r=1, p=1)
    assert derived.hex() == "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"


def test_chacha_is_that_of_rfc_8439() -> None:
    text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    sealed = chacha_seal(key, nonce, text, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


@pytest.mark.parametrize(
    ("seal", "unseal"), [(aes_seal, aes_open), (chacha_seal, chacha_open)], ids=["aes", "chacha"]
)
def test_a_sealed_text_opens_only_as_it_was_sealed(seal: Any, unseal: Any) -> None:
    key, nonce, text, associated = PRIVATE, b"n" * 12, b"text", b"associated"
    sealed = seal(key, nonce, text, associated)
    assert unseal(key, nonce, sealed, associated) == text
    altered = [
        (bytes(32), nonce, sealed, associated),
        (key, b"m" * 12, sealed, associated),
        (key, b"n" * 11, sealed, associated),
        (key, b"n" * 13, sealed, associated),
        (key, b"", sealed, associated),
        (key, nonce, sealed, b"other"),
        (key, nonce, sealed[:-1], associated),
        (key, nonce, sealed + b"\0", associated),
        (key, nonce, sealed[:15], associated),
        (key, nonce, b"", associated),
    ]
    altered += [
        (key, nonce, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], associated)
        for at in range(len(sealed))
    ]
    for arguments in altered:
        with pytest.raises(DoesNotOpen):
            unseal(*arguments)


# ---- edwards25519, just enough of it to know its small points ------------------------------------------------------

P = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(factor: int, point: Point) -> Point:
    result = IDENTITY
    while factor:
        if factor & 1:
            result = add(result, point)
        point = add(point, point)
        factor >>= 1
    return result


def point_of(y: int) -> Point | None:
    """One of the two points with this y, if the curve has any."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    for x in (root, root * pow(2, (P - 1) // 4, P) % P):
        if x * x % P == square:
            return x, y
    return None


def encodings(y: int) -> list[bytes]:
    """A y coordinate with either sign of x."""
    return [(y | sign << 255).to_bytes(32, "little") for sign in (0, 1)]


def small_order_points() -> set[Point]:
    """The whole subgroup of order 8: the group has 8 * GROUP_ORDER points, so a point of order 8 generates it."""
    for y in range(2, 50):
        point = point_of(y)
        if point is not None:
            generator = times(GROUP_ORDER, point)
            if times(4, generator) != IDENTITY:
                return {times(factor, generator) for factor in range(8)}
    raise AssertionError("no point of order 8 found")


def is_refused(public: bytes) -> bool:
    try:
        require_strong_signing_key(public)
    except WeakKeyError:
        return True
    return False


def test_the_curve_of_this_test_is_the_curve_of_the_signatures() -> None:
    base = point_of(4 * pow(5, -1, P) % P)
    assert base is not None
    assert times(GROUP_ORDER, base) == IDENTITY
    assert point_of(int.from_bytes(SigningKey(PRIVATE).public, "little") & 2**255 - 1) is not None


def test_exactly_the_points_of_small_order_are_refused() -> None:
    points = small_order_points()
    assert len(points) == 8
    assert all(times(8, point) == IDENTITY for point in points)
    assert {y for _, y in points} == _SMALL_ORDER_Y
    for _, y in points:
        assert all(is_refused(encoded) for encoded in encodings(y))


def test_a_signing_key_that_is_not_canonical_is_refused() -> None:
    for y in range(P, 2**255):
        assert all(is_refused(encoded) for encoded in encodings(y))
    for y in (2, 3, P - 2, P - 3):
        assert not any(is_refused(encoded) for encoded in encodings(y))


@law
@given(st.binary(min_size=32, max_size=32))
def test_no_real_signing_key_is_refused(private: bytes) -> None:
    assert not is_refused(SigningKey(private).public)


def test_why_small_order_is_refused_one_signature_holds_for_every_text() -> None:
    identity = IDENTITY[1].to_bytes(32, "little")
    forged = identity + bytes(32)
    assert signature_holds(identity, forged, b"one text")
    assert signature_holds(identity, forged, b"another text")
    assert is_refused(identity)


# ---- signatures ---------------------------------------------------------------------------------------------------


@law
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50), st.integers(0, 511))
def test_a_signature_with_any_bit_changed_does_not_hold(private: bytes, text: bytes, bit: int) -> None:
    key = SigningKey(private)
    signature = key.sign(text)
    assert signature_holds(key.public, signature, text)
    changed = (int.from_bytes(signature, "little") ^ 1 << bit).to_bytes(64, "little")
    assert not signature_holds(key.public, changed, text)
    assert not signature_holds(key.public, signature, text + b"\0")


def test_a_signature_has_no_second_form() -> None:
    key = SigningKey(PRIVATE)
    signature = key.sign(b"text")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    assert not signature_holds(key.public, signature[:32] + scalar.to_bytes(32, "little"), b"text")


def test_a_signature_under_what_is_no_point_or_no_key_does_not_hold() -> None:
    no_point = next(y for y in range(2, 50) if point_of(y) is None)
    for public in (*encodings(no_point), b"", bytes(31), bytes(33)):
        assert not signature_holds(public, bytes(64), b"text")
    for signature in (b"", bytes(63), bytes(65)):
        assert not signature_holds(SigningKey(PRIVATE).public, signature, b"text")


# ---- key agreement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "u",
    [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,  # order 8
        39382357235489614581723060781553021112529911719440698176882885853963445705823,  # order 8
        P - 1,
        P,  # the same points once more, not reduced
        P + 1,
    ],
)
def test_agreement_with_a_point_of_small_order_is_refused(u: int) -> None:
    for encoded in encodings(u):  # X25519 ignores the highest bit
        with pytest.raises(WeakKeyError):
            ExchangeKey(PRIVATE).exchange(encoded)


class CountingKey(ExchangeKey):
    """Counts its curve operations."""

    exchanges = 0

    def exchange(self, peer_public: bytes) -> bytes:
        self.exchanges += 1
        return super().exchange(peer_public)


def test_what_two_static_keys_agree_on_is_computed_once_for_each_of_so_many_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "EXCHANGES_REMEMBERED", 2)
    key = CountingKey(PRIVATE)
    peers = [ExchangeKey(bytes([number]) * 32) for number in (1, 2, 3)]
    for exchanges, peer in ((1, peers[0]), (2, peers[1]), (2, peers[0]), (3, peers[2]), (4, peers[0])):
        assert key.exchange_once(peer.public) == peer.exchange(key.public)
        assert key.exchanges == exchanges
    assert repr(key) == "ExchangeKey(<redacted>)"


def test_a_point_of_small_order_is_refused_every_time() -> None:
    key = ExchangeKey(PRIVATE)
    for _ in range(2):
        with pytest.raises(WeakKeyError):
            key.exchange_once(bytes(32))


@law
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_both_sides_agree_on_one_secret(one: bytes, other: bytes) -> None:
    alice, bob = ExchangeKey(one), ExchangeKey(other)
    assert alice.exchange(bob.public) == bob.exchange(alice.public)


# ---- secrets stay secret ------------------------------------------------------------------------------------------

HOLDERS = [Secret(PRIVATE), SigningKey(PRIVATE), ExchangeKey(PRIVATE)]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_nothing_that_is_printed_shows_a_secret(holder: Any) -> None:
    shown = f"{holder!r} {holder} {[holder]} {holder:}"
    for form in (
        PRIVATE.hex(),
        base64.b64encode(PRIVATE).decode(),
        base64.urlsafe_b64encode(PRIVATE).decode(),
        repr(PRIVATE),
    ):
        assert form.strip("=") not in shown
    assert "redacted" in shown


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_a_secret_is_neither_pickled_nor_copied(holder: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(holder, protocol)
    for copying in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(holder)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_a_secret_has_no_dictionary_to_look_into(holder: Any) -> None:
    with pytest.raises(TypeError):
        vars(holder)


def test_secrets_are_equal_when_their_bytes_are() -> None:
    assert Secret(PRIVATE) == Secret(PRIVATE)
    assert Secret(PRIVATE) != Secret(bytes(32))
    assert Secret(PRIVATE) != PRIVATE
    assert hash(Secret(PRIVATE)) == hash(Secret(bytes(32))), "the hash says nothing about the bytes"
    assert Secret(PRIVATE).reveal() == PRIVATE

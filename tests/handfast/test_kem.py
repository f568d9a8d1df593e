"""ML-KEM-768 behind our names: agreement, hostile keys and ciphertexts, and an installation without it."""

import pickle
from collections.abc import Iterator

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from handfast.crypto import kem
from handfast.errors import PeerError, Reason, UsageError

SEED = bytes(range(64))

needs_kem = pytest.mark.skipif(not kem.available(), reason="this `cryptography` has no ML-KEM-768")


class NotInThisOpenssl:
    @staticmethod
    def from_seed_bytes(seed: bytes) -> None:
        raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend.")


@pytest.fixture(params=["the module is missing", "openssl has none"])
def old_installation(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "the module is missing":
        monkeypatch.setattr(kem, "_HAS_MODULE", False)
    else:
        monkeypatch.setattr(kem, "_HAS_MODULE", True)
        monkeypatch.setattr(kem, "MLKEM768PrivateKey", NotInThisOpenssl, raising=False)
    kem.available.cache_clear()
    yield
    kem.available.cache_clear()


@needs_kem
def test_both_sides_get_one_secret_and_no_two_encapsulations_are_alike() -> None:
    key = kem.DecapsulationKey(SEED)
    ciphertext, secret = kem.encapsulate(key.public)
    again, other = kem.encapsulate(key.public)
    assert (len(key.public), len(ciphertext)) == (kem.PUBLIC_BYTES, kem.CIPHERTEXT_BYTES)
    assert key.decapsulate(ciphertext) == secret
    assert key.decapsulate(again) == other
    assert len(secret.reveal()) == 32
    assert ciphertext != again
    assert secret != other


@needs_kem
def test_a_key_made_again_of_its_seed_is_the_same() -> None:
    ciphertext, secret = kem.encapsulate(kem.DecapsulationKey(SEED).public)
    assert kem.DecapsulationKey(SEED).decapsulate(ciphertext) == secret
    assert kem.DecapsulationKey(SEED[::-1]).public != kem.DecapsulationKey(SEED).public


@needs_kem
def test_an_altered_ciphertext_gives_another_secret_and_one_of_a_wrong_length_is_refused() -> None:
    key = kem.DecapsulationKey(SEED)
    ciphertext, secret = kem.encapsulate(key.public)
    altered = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert key.decapsulate(altered) != secret
    assert key.decapsulate(altered) == key.decapsulate(altered)
    for wrong in b"", ciphertext[:-1], ciphertext + b"\0":
        with pytest.raises(PeerError) as refusal:
            key.decapsulate(wrong)
        assert refusal.value.reason is Reason.KEM


@needs_kem
def test_an_encapsulation_key_that_is_none_is_refused() -> None:
    public = kem.DecapsulationKey(SEED).public
    not_reduced = b"\xff" * 3 + public[3:]  # coefficients of 4095, above the modulus 3329
    for wrong in b"", public[:-1], public + b"\0", not_reduced:
        with pytest.raises(PeerError) as refusal:
            kem.encapsulate(wrong)
        assert refusal.value.reason is Reason.KEM


@needs_kem
def test_a_private_key_shows_nothing_is_not_pickled_and_takes_no_other_seed() -> None:
    key = kem.DecapsulationKey(SEED)
    assert repr(key) == "DecapsulationKey(<redacted>)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for wrong in b"", SEED[:-1], SEED + b"\0":
        with pytest.raises(UsageError):
            kem.DecapsulationKey(wrong)


@pytest.mark.usefixtures("old_installation")
def test_without_ml_kem_in_the_library_this_says_so() -> None:
    assert not kem.available()
    with pytest.raises(UsageError):
        kem.DecapsulationKey(SEED)
    with pytest.raises(UsageError):
        kem.encapsulate(bytes(kem.PUBLIC_BYTES))

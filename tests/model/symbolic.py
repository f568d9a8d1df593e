"""Cryptography as terms, chance as a count, words that name themselves: what makes a step cheap and repeatable.

Only the primitives are replaced (signatures, sealing, X25519, ML-KEM, HKDF), beneath the shipped `handfast.session.v1`,
`handfast.session.v2` and `handfast.noise`, and they are perfect: what one does not hold the key of cannot be made or
opened. Nothing of the conversation's logic is in here.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from handfast.conversation.v1 import initiator as initiator_of_1
from handfast.conversation.v1 import responder as responder_of_1
from handfast.crypto import kem
from handfast.crypto.aead import TAG_BYTES, DoesNotOpen, InvalidTag
from handfast.crypto.keys import Secret
from handfast.dialogue import Dialogue
from handfast.identity import binding
from handfast.noise import symmetricstate
from handfast.noise.cipherstate import CHACHAPOLY, CipherFunctions
from handfast.noise.patterns import KKPSK0, XX, XXPSK3, Protocol
from handfast.session import v1 as session
from handfast.session.v2 import initiator, responder, resumption
from handfast.session.v2 import session as transport
from handfast.session.v2.suites import CHACHA, CHACHA_KEM, SUITES, Suite
from handfast.wire.text import Json
from handfast.wire.v1 import SENTINEL

# how every utterance begins; no message may carry this in the clear
UTTERANCE = "in-confidence"


def _digest(size: int, *parts: bytes) -> bytes:
    return hashlib.blake2b(b"|".join(parts), digest_size=size).digest()


class SymbolicSigningKey:
    """Signs by naming itself; only its holder calls `sign`."""

    def __init__(self, name: str) -> None:
        self.public = name.encode().ljust(32, b".")

    def sign(self, text: bytes) -> bytes:
        return _digest(64, b"signed", self.public, text)


def signature_holds(public: bytes, signature: bytes, text: bytes) -> bool:
    return signature == _digest(64, b"signed", public, text)


class SymbolicExchangeKey:
    """Diffie-Hellman as an unordered pair of public keys; only a holder of a private half calls `exchange`."""

    def __init__(self, private: bytes) -> None:
        self._private = private
        self.public = _digest(32, b"public", private)

    def exchange(self, peer_public: bytes) -> bytes:
        return _digest(32, b"shared", *sorted((self.public, peer_public)))

    exchange_once = exchange

    def private_bytes(self) -> bytes:
        return self._private


class SymbolicDecapsulationKey:
    """ML-KEM as a name: a ciphertext for a public key, and the secret that only the holder of its seed has."""

    def __init__(self, seed: bytes) -> None:
        self.public = hashlib.shake_128(b"kem|" + seed).digest(kem.PUBLIC_BYTES)

    def decapsulate(self, ciphertext: bytes) -> Secret:
        is_ours = ciphertext == _encapsulate(self.public)[0]
        return _encapsulate(self.public)[1] if is_ours else Secret(_digest(32, b"nobody's", ciphertext))


def _encapsulate(public: bytes) -> tuple[bytes, Secret]:
    ciphertext = hashlib.shake_128(b"encapsulated|" + public).digest(kem.CIPHERTEXT_BYTES)
    return ciphertext, Secret(_digest(32, b"decapsulated", public))


class Vault:
    """Sealing as storing: a ciphertext is a claim check, and says nothing about what it stands for."""

    def __init__(self) -> None:
        self._sealed: dict[tuple[bytes, bytes, bytes, bytes], bytes] = {}

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        parts = b"|".join((b"sealed", key, nonce, plaintext, associated))
        ticket = hashlib.shake_128(parts).digest(len(plaintext) + TAG_BYTES)
        self._sealed[key, nonce, ticket, associated] = plaintext
        return ticket

    def open(self, key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        plaintext = self._sealed.get((key, nonce, ciphertext, associated))
        if plaintext is None:
            raise DoesNotOpen("not sealed like this")
        return plaintext


class LoadedKey:
    """A transport key of version 2, in place of the library's own."""

    def __init__(self, vault: Vault, key: bytes) -> None:
        self._vault = vault
        self._key = key

    def encrypt(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        return self._vault.seal(self._key, nonce, plaintext, associated)

    def decrypt(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        try:
            return self._vault.open(self._key, nonce, ciphertext, associated)
        except DoesNotOpen:
            raise InvalidTag from None


def _chain(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    return [_digest(32, b"chain", chaining_key, material, bytes([number])) for number in range(count)]


def _suites(vault: Vault) -> dict[int, Suite]:
    cipher = CipherFunctions("ChaChaPoly", vault.seal, vault.open, CHACHAPOLY.nonce)
    load: Any = lambda key: LoadedKey(vault, key)  # noqa: E731 - the shipped type names the library's own keys
    return {
        number: Suite(
            number,
            Protocol(pattern, cipher),
            Protocol(KKPSK0, cipher),
            kem=has_kem,
            psk=False,
            nonce=cipher.nonce,
            load=load,
        )
        for number, pattern, has_kem in ((CHACHA, XX, False), (CHACHA_KEM, XXPSK3, True))
    }


@contextmanager
def symbolic_cryptography() -> Iterator[None]:
    """The shipped sessions and conversations, over symbolic primitives; of version 2 the suite that all must have,
    and the one with ML-KEM."""
    vault = Vault()
    with ExitStack() as patches:
        for patched in (
            patch.multiple(
                session, aes_seal=vault.seal, aes_open=vault.open, signature_holds=signature_holds
            ),
            patch.multiple(binding, signature_holds=signature_holds),
            patch.multiple(symmetricstate, hkdf_chain=_chain),
            patch.dict(SUITES, _suites(vault), clear=True),
            patch.multiple(initiator, read_n1=partial(initiator.read_n1, encapsulate=_encapsulate)),
            patch.multiple(responder, DecapsulationKey=SymbolicDecapsulationKey),
            *(
                patch.multiple(module, ExchangeKey=SymbolicExchangeKey)
                for module in (initiator_of_1, responder_of_1, initiator, responder, resumption, transport)
            ),
        ):
            patches.enter_context(patched)
        yield


class CountedEntropy:
    """Every value is the next number, so that equal histories draw equal values.

    Args:
        letter: whose it is; a hex digit.
        drawn: how many values were drawn before.
    """

    def __init__(self, letter: str, drawn: int) -> None:
        self._letter = letter
        self.drawn = drawn

    def _next(self) -> int:
        self.drawn += 1
        return self.drawn

    def nonce(self) -> str:
        return f"{self._letter}{self._next():023x}{SENTINEL}"

    def reference(self) -> str:
        return f"ref-{self._letter}-{self._next()}"

    def exchange_key(self) -> bytes:
        return f"exchange-{self._letter}-{self._next()}".encode().ljust(32, b".")

    def octets(self, size: int) -> bytes:
        return hashlib.shake_128(f"{self._letter}{self._next()}".encode()).digest(size)  # any part is unique

    def aead_nonce(self) -> bytes:
        return f"{self._letter}{self._next()}".encode().ljust(12, b".")

    def fraction(self) -> float:
        return 0.5


class NumberedDialogue(Dialogue):
    """Says something new each time, so that what was heard can be traced to when it was said; keeps what it said."""

    def __init__(self, letter: str, entropy: CountedEntropy) -> None:
        super().__init__()
        self._letter = letter
        self._entropy = entropy
        self.said: list[str] = []

    def opening(self, peer: str, turn: int) -> Json:
        return self._say()

    def reply(self, peer: str, message: Json) -> Json:
        return self._say()

    def _say(self) -> str:
        # nonces are drawn between any two utterances: the count never stands still
        self.said.append(f"{UTTERANCE}-{self._letter}-{self._entropy.drawn}")
        return self.said[-1]

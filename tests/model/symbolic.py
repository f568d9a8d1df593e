"""Cryptography as terms, chance as a count, words that name themselves: what makes a step cheap and repeatable.

Only the primitives are replaced (signatures, AES-GCM, X25519), beneath the shipped `handfast.session.v1`, and they are
perfect: what one does not hold the key of cannot be made or opened. Nothing of the conversation's logic is in here.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from handfast.conversation import v1 as conversation
from handfast.crypto.aead import DoesNotOpen
from handfast.dialogue import Dialogue
from handfast.session import v1 as session
from handfast.wire.text import Json

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

    def private_bytes(self) -> bytes:
        return self._private


class Vault:
    """Sealing as storing: a ciphertext is a claim check, and says nothing about what it stands for."""

    def __init__(self) -> None:
        self._sealed: dict[tuple[bytes, bytes, bytes, bytes], bytes] = {}

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        ticket = _digest(32, b"sealed", key, nonce, plaintext, associated)
        self._sealed[key, nonce, ticket, associated] = plaintext
        return ticket

    def open(self, key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        plaintext = self._sealed.get((key, nonce, ciphertext, associated))
        if plaintext is None:
            raise DoesNotOpen("not sealed like this")
        return plaintext


@contextmanager
def symbolic_cryptography() -> Iterator[None]:
    """The shipped session and conversation, over symbolic primitives."""
    vault = Vault()
    with (
        patch.multiple(session, aes_seal=vault.seal, aes_open=vault.open, signature_holds=signature_holds),
        patch.multiple(conversation, ExchangeKey=SymbolicExchangeKey),
    ):
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
        return f"{self._letter}{self._next():031x}"

    def reference(self) -> str:
        return f"ref-{self._letter}-{self._next()}"

    def exchange_key(self) -> bytes:
        return f"exchange-{self._letter}-{self._next()}".encode().ljust(32, b".")

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

"""Which suites there are, and what each is made of (v2-handshake.md, section 5.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from handfast.crypto import kem
from handfast.crypto.aead import LoadedKey, load_aes_key, load_chacha_key
from handfast.errors import UsageError
from handfast.noise.cipherstate import AESGCM, CHACHAPOLY
from handfast.noise.patterns import KKPSK0, XX, XXPSK3, Protocol

PostQuantum = Literal["prefer", "require", "off"]

CHACHA = 0x0001
CHACHA_PSK = 0x0002
CHACHA_KEM = 0x0003
CHACHA_KEM_PSK = 0x0004
_AES = 0x0100


@dataclass(frozen=True, slots=True)
class Suite:
    """One way to run the full handshake, and what follows from it.

    Attributes:
        number: its id in offers.
        full: the protocol of the full handshake.
        short: the protocol of resumption and rekeying, with the same cipher.
        kem, psk: whether an ML-KEM secret and a configured key are mixed in.
        nonce: the cipher's 12 bytes for a counter.
        load: a transport key of 32 bytes, made ready for use.
    """

    number: int
    full: Protocol
    short: Protocol
    kem: bool
    psk: bool
    nonce: Callable[[int], bytes]
    load: Callable[[bytes], LoadedKey]

    @property
    def name(self) -> str:
        """For people: the protocol of the full handshake, and what it mixes in."""
        mixed_in = [word for word, is_mixed in (("ML-KEM-768", self.kem), ("PSK", self.psk)) if is_mixed]
        return " + ".join([self.full.name, *mixed_in])


def _suites(
    cipher_bit: int, protocols: tuple[Protocol, Protocol, Protocol], load: Callable[[bytes], LoadedKey]
) -> list[Suite]:
    plain, mixed, short = protocols
    nonce = short.cipher.nonce
    return [
        Suite(cipher_bit | CHACHA, plain, short, kem=False, psk=False, nonce=nonce, load=load),
        Suite(cipher_bit | CHACHA_PSK, mixed, short, kem=False, psk=True, nonce=nonce, load=load),
        Suite(cipher_bit | CHACHA_KEM, mixed, short, kem=True, psk=False, nonce=nonce, load=load),
        Suite(cipher_bit | CHACHA_KEM_PSK, mixed, short, kem=True, psk=True, nonce=nonce, load=load),
    ]


SUITES = {
    suite.number: suite
    for suite in (
        *_suites(
            0,
            (Protocol(XX, CHACHAPOLY), Protocol(XXPSK3, CHACHAPOLY), Protocol(KKPSK0, CHACHAPOLY)),
            load_chacha_key,
        ),
        *_suites(
            _AES, (Protocol(XX, AESGCM), Protocol(XXPSK3, AESGCM), Protocol(KKPSK0, AESGCM)), load_aes_key
        ),
    )
}


def suites_for(post_quantum: PostQuantum, *, psk: bool) -> tuple[int, ...]:
    """What to offer, best first.

    Args:
        post_quantum: whether the suites with ML-KEM come first, alone, or not at all.
        psk: whether a key is configured, which is then demanded.

    Raises:
        UsageError: ML-KEM is required, and the installed `cryptography` has none.
    """
    if post_quantum == "require" and not kem.available():
        raise UsageError(
            "post-quantum suites are required, and the installed `cryptography` has no ML-KEM-768"
        )
    hybrid = (CHACHA_KEM_PSK if psk else CHACHA_KEM,) if post_quantum != "off" and kem.available() else ()
    classical = (CHACHA_PSK if psk else CHACHA,) if post_quantum != "require" else ()
    return hybrid + classical

"""Handshake patterns as tables of tokens, and the names of protocols (Noise, sections 7, 8 and 9)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from handfast.noise.cipherstate import CipherFunctions

Token = Literal["e", "s", "ee", "es", "se", "ss", "psk"]
Tokens = tuple[Token, ...]

HASH_BYTES = 32


@dataclass(frozen=True)
class Pattern:
    """A handshake pattern with its modifiers.

    Attributes:
        name: as in a protocol name.
        messages: the tokens of each message; the initiator writes the first, the responder the second, and so on.
        pre_messages: what each side, the initiator first, knows of the other's keys beforehand: `s` or nothing.
    """

    name: str
    messages: tuple[Tokens, ...]
    pre_messages: tuple[Tokens, Tokens] = ((), ())

    @cached_property
    def has_psk(self) -> bool:
        """Whether this is a PSK handshake, which takes ephemeral keys into the chaining key, too (section 9.2)."""
        return any("psk" in tokens for tokens in self.messages)


XX = Pattern(
    "XX",
    (
        ("e",),
        ("e", "ee", "s", "es"),
        ("s", "se"),
    ),
)
XXPSK3 = Pattern(
    "XXpsk3",
    (
        ("e",),
        ("e", "ee", "s", "es"),
        ("s", "se", "psk"),
    ),
)
KKPSK0 = Pattern(
    "KKpsk0",
    (
        ("psk", "e", "es", "ss"),
        ("e", "ee", "se"),
    ),
    pre_messages=(("s",), ("s",)),
)


@dataclass(frozen=True)
class Protocol:
    """A pattern with the functions it is run with: 25519, SHA256, and `cipher`."""

    pattern: Pattern
    cipher: CipherFunctions

    @cached_property
    def name(self) -> str:
        """The protocol name (section 8)."""
        return f"Noise_{self.pattern.name}_25519_{self.cipher.name}_SHA256"

    @cached_property
    def initial_hash(self) -> bytes:
        """What h and ck begin with (section 5.2, InitializeSymmetric)."""
        name = self.name.encode()
        return name.ljust(HASH_BYTES, b"\0") if len(name) <= HASH_BYTES else hashlib.sha256(name).digest()

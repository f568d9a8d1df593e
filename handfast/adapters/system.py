"""The system's clock, the system's randomness, and what software this is."""

import re
import secrets
import time
from importlib.metadata import PackageNotFoundError, version

from handfast.wire.v1 import SENTINEL

_READABLE_AS_A_NUMBER = re.compile(r"[0-9]+(e[0-9]+)?")


def software() -> str:
    """Name and version of this package; the name alone in a checkout that nobody installed."""
    try:
        return f"handfast {version('handfast')}"
    except PackageNotFoundError:
        return "handfast"


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when the machine's clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps."""
        return time.monotonic()


class SystemEntropy:
    """Random values from the operating system."""

    def nonce(self) -> str:
        """32 lower-case hex digits: 96 random bits, and the mark of an agent that speaks version 2, too."""
        return secrets.token_hex(12) + SENTINEL

    def reference(self) -> str:
        """32 lower-case hex digits; v1 agents treat references as opaque text.

        Text such as 12e34… is drawn again: a middle layer that reads strings as JSON would make a number of it
        (summoner-runtime.md, section 2.5). That happens about once in a million.
        """
        while _READABLE_AS_A_NUMBER.fullmatch(text := secrets.token_hex(16)):
            pass
        return text

    def exchange_key(self) -> bytes:
        """32 private bytes of a new X25519 key."""
        return secrets.token_bytes(32)

    def octets(self, size: int) -> bytes:
        """So many random bytes."""
        return secrets.token_bytes(size)

    def aead_nonce(self) -> bytes:
        """12 random bytes."""
        return secrets.token_bytes(12)

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return secrets.randbits(53) / 2**53
